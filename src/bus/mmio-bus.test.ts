import assert from 'node:assert/strict';
import { test } from 'node:test';
import { MmioBus, type MmioHandler } from './mmio-bus.ts';

class Recorder implements MmioHandler {
  readonly log: string[] = [];
  readMmio(offset: number, sizeBytes: number): number {
    this.log.push(`r${sizeBytes}@${offset}`);
    return offset;
  }
  writeMmio(offset: number, sizeBytes: number, value: number): void {
    this.log.push(`w${sizeBytes}@${offset}=${value.toString(16)}`);
  }
}

test('an access reaches the range that holds it, with its offset', () => {
  const bus = new MmioBus();
  const low = new Recorder();
  const high = new Recorder();
  bus.map({ name: 'low', guestPhysical: 0xfec00000, sizeBytes: 0x1000, handler: low });
  bus.map({ name: 'high', guestPhysical: 0x4_0000_0000, sizeBytes: 0x1000, handler: high });
  assert.equal(bus.read(0xfec00010, 4), 0x10);
  bus.write(0x4_0000_0020, 4, -1);
  assert.deepEqual(high.log, ['w4@32=ffffffff']);
  assert.deepEqual(low.log, ['r4@16']);
});

test('unclaimed addresses read all ones and drop writes', () => {
  const bus = new MmioBus();
  assert.equal(bus.read(0xfed00000, 4), 0xffffffff);
  assert.equal(bus.read(0xfed00000, 1), 0xff);
  assert.deepEqual(bus.read64(0xfed00000), [0xffffffff, 0xffffffff]);
  bus.write64(0xfed00000, 0, 0);
});

test('an 8-byte access is two of 4 bytes, the low half first', () => {
  const bus = new MmioBus();
  const handler = new Recorder();
  bus.map({ name: 'x', guestPhysical: 0x1000, sizeBytes: 0x10, handler });
  assert.deepEqual(bus.read64(0x1008), [8, 12]);
  bus.write64(0x1000, 0x11, 0x22);
  assert.deepEqual(handler.log, ['r4@8', 'r4@12', 'w4@0=11', 'w4@4=22']);
});

test('overlapping ranges are refused; a range that is unmapped answers no more', () => {
  const bus = new MmioBus();
  const range = { name: 'x', guestPhysical: 0x1000, sizeBytes: 0x1000, handler: new Recorder() };
  bus.map(range);
  assert.throws(() => bus.map({ ...range, name: 'y', guestPhysical: 0x1fff }), /overlaps x/);
  assert.equal(bus.read(0x1004, 4), 4);
  bus.unmap(range);
  assert.equal(bus.read(0x1004, 4), 0xffffffff);
});
