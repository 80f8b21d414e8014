import assert from 'node:assert/strict';
import { test } from 'node:test';
import { PortBus, type PortHandler } from './port-bus.ts';

class Recorder implements PortHandler {
  readonly log: string[] = [];
  readPort(offset: number, sizeBytes: number): number {
    this.log.push(`r${sizeBytes}@${offset}`);
    return 0x10 + offset;
  }
  writePort(offset: number, sizeBytes: number, value: number): void {
    this.log.push(`w${sizeBytes}@${offset}=${value.toString(16)}`);
  }
}

test('unclaimed ports read all ones and drop writes', () => {
  const bus = new PortBus();
  assert.equal(bus.read(0x80, 1), 0xff);
  assert.equal(bus.read(0x80, 2), 0xffff);
  assert.equal(bus.read(0x80, 4), 0xffffffff);
  bus.write(0x80, 4, 1);
});

test('a device that takes bytes only sees a wide access as bytes, lowest port first', () => {
  const bus = new PortBus();
  const handler = new Recorder();
  bus.map({ name: 'x', firstPort: 0x40, count: 4, widestBytes: 1, handler });
  assert.equal(bus.read(0x40, 4), 0x13121110);
  bus.write(0x41, 2, 0xbbaa);
  assert.deepEqual(handler.log, ['r1@0', 'r1@1', 'r1@2', 'r1@3', 'w1@1=aa', 'w1@2=bb']);
});

test('a wide access that leaves the last port reads ones for what nobody claims', () => {
  const bus = new PortBus();
  bus.map({ name: 'x', firstPort: 0x40, count: 1, widestBytes: 1, handler: new Recorder() });
  assert.equal(bus.read(0x40, 2), 0xff10);
  assert.equal(bus.read(0x3f, 2), 0x10ff);
});

test('a byte port inside a dword register belongs to its own device', () => {
  const bus = new PortBus();
  const configuration = new Recorder();
  const reset = new Recorder();
  bus.map({ name: 'configuration', firstPort: 0xcf8, count: 1, widestBytes: 4, handler: configuration });
  bus.map({ name: 'reset', firstPort: 0xcf9, count: 1, widestBytes: 1, handler: reset });
  bus.write(0xcf8, 4, 0x80000000);
  bus.write(0xcf9, 1, 6);
  assert.deepEqual(configuration.log, ['w4@0=80000000']);
  assert.deepEqual(reset.log, ['w1@0=6']);
});

test('claiming a port twice is refused, and so is a range that leaves the port space', () => {
  const bus = new PortBus();
  bus.map({ name: 'first', firstPort: 0x40, count: 4, widestBytes: 1, handler: new Recorder() });
  const handler = new Recorder();
  assert.throws(() => bus.map({ name: 'second', firstPort: 0x43, count: 1, widestBytes: 1, handler }), /first/);
  assert.equal(bus.ownerOf(0x43), 'first');
  assert.equal(bus.ownerOf(0x44), undefined);
  assert.throws(() => bus.map({ name: 'far', firstPort: 0xffff, count: 2, widestBytes: 1, handler }), RangeError);
});

test('an access at the last port wraps to port 0', () => {
  const bus = new PortBus();
  bus.map({ name: 'low', firstPort: 0, count: 1, widestBytes: 1, handler: new Recorder() });
  assert.equal(bus.read(0xffff, 2), 0x10ff);
});
