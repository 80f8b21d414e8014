import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ManualClock } from '../../../base/clock.ts';
import { Timers } from '../../../base/timers.ts';
import { InterruptLine } from '../../../bus/interrupt-line.ts';
import { PortBus } from '../../../bus/port-bus.ts';
import { Rtc } from './rtc.ts';

const START_MS = Date.UTC(2026, 1, 28, 23, 59, 58);

function makeRtc(ramSizeBytes = 256 * 2 ** 20) {
  const clock = new ManualClock();
  const timers = new Timers(clock);
  const ports = new PortBus();
  const line = new InterruptLine(() => {});
  const rtc = new Rtc(ports, timers, { nowMs: () => START_MS + clock.nowNs() / 1e6 }, line, { ramSizeBytes });
  const read = (index: number): number => {
    ports.write(0x70, 1, index);
    return ports.read(0x71, 1);
  };
  const write = (index: number, value: number): void => {
    ports.write(0x70, 1, index);
    ports.write(0x71, 1, value);
  };
  const advanceMs = (deltaMs: number): void => {
    clock.advanceNs(deltaMs * 1e6);
    timers.runDue();
  };
  return { clock, timers, ports, line, rtc, read, write, advanceMs };
}

const TIME = [0x32, 0x09, 0x08, 0x07, 0x04, 0x02, 0x00];

test('the time of day is UTC in binary-coded decimal, and rolls over', () => {
  const { read, advanceMs } = makeRtc();
  assert.deepEqual(TIME.map(read), [0x20, 0x26, 0x02, 0x28, 0x23, 0x59, 0x58]);
  assert.equal(read(0x06), 7, 'a Saturday');
  advanceMs(2000);
  assert.deepEqual(TIME.map(read), [0x20, 0x26, 0x03, 0x01, 0x00, 0x00, 0x00]);
  assert.equal(read(0x0d), 0x80);
});

test('update in progress shows shortly before the second only', () => {
  const { read, advanceMs } = makeRtc();
  assert.equal(read(0x0a), 0x26);
  advanceMs(997);
  assert.equal(read(0x0a), 0x26);
  advanceMs(1.5);
  assert.equal(read(0x0a), 0xa6);
  advanceMs(1.5);
  assert.equal(read(0x0a), 0x26);
});

test("Linux's way of setting the time takes, with half a second to the next update", () => {
  const { read, write, advanceMs } = makeRtc();
  const b = read(0x0b);
  const a = read(0x0a);
  write(0x0b, b | 0x80);
  write(0x0a, a | 0x70);
  const values = [0x19, 0x99, 0x12, 0x31, 0x13, 0x14, 0x15];
  for (const [i, index] of TIME.entries()) write(index, values[i]!);
  advanceMs(10);
  write(0x0b, b);
  write(0x0a, a);
  assert.deepEqual(TIME.map(read), values);
  advanceMs(499);
  assert.equal(read(0), 0x15);
  advanceMs(2);
  assert.equal(read(0), 0x16);
});

test('binary and 12-hour forms', () => {
  const { read, write, advanceMs } = makeRtc();
  write(0x0b, 0x04);
  assert.equal(read(0x04), 11 | 0x80);
  assert.equal(read(0x02), 59);
  advanceMs(2000);
  assert.equal(read(0x04), 12);
});

test('the update interrupt comes each second and is acknowledged by reading register C', () => {
  const { read, write, line, advanceMs } = makeRtc();
  write(0x0b, 0x12);
  assert.equal(line.level, false);
  advanceMs(1000.1);
  assert.equal(line.level, true);
  assert.equal(read(0x0c) & 0xd0, 0xd0);
  assert.equal(line.level, false);
  advanceMs(500);
  assert.equal(line.level, false);
  advanceMs(500);
  assert.equal(line.level, true);
});

test('the alarm interrupts at its time, wildcards match anything', () => {
  const { read, write, line, advanceMs, timers } = makeRtc();
  write(0x01, 0x05);
  write(0x03, 0x00);
  write(0x05, 0xff);
  write(0x0b, 0x22);
  advanceMs(6900);
  assert.equal(line.level, false);
  advanceMs(200);
  assert.equal(line.level, true);
  assert.equal(read(0x0c) & 0xa0, 0xa0);
  advanceMs(3600 * 1000);
  assert.equal(line.level, true);
  read(0x0c);
  write(0x05, 0x99);
  assert.equal(timers.nextDeadlineNs(), Number.POSITIVE_INFINITY, 'an hour that never comes');
});

test('the periodic interrupt runs at the rate of register A', () => {
  const { read, write, line, advanceMs } = makeRtc();
  write(0x0a, 0x26); // 1024 Hz
  write(0x0b, 0x42);
  let count = 0;
  for (let i = 0; i < 1000; i++) {
    advanceMs(1);
    if (line.level) {
      count++;
      assert.equal(read(0x0c) & 0xc0, 0xc0);
    }
  }
  assert.equal(count, 1000, 'a tick in each millisecond');
  write(0x0b, 0x02);
  advanceMs(10);
  assert.equal(line.level, false);
  assert.equal(read(0x0c) & 0x40, 0x40, 'the flag is there without the interrupt');
});

test('an idle clock arms no timer', () => {
  const { timers } = makeRtc();
  assert.equal(timers.nextDeadlineNs(), Number.POSITIVE_INFINITY);
});

test('CMOS bytes tell the memory size, keep what is written, and the index port masks NMIs', () => {
  const { read, write, rtc, ports } = makeRtc(256 * 2 ** 20);
  assert.equal(read(0x15) | (read(0x16) << 8), 640);
  assert.equal(read(0x17) | (read(0x18) << 8), 0xffff);
  assert.equal((read(0x34) | (read(0x35) << 8)) * 0x10000, 240 * 2 ** 20);
  write(0x0f, 0x0a);
  assert.equal(read(0x0f), 0x0a);
  ports.write(0x70, 1, 0x8f);
  assert.equal(rtc.nmiMasked, true);
  assert.equal(ports.read(0x71, 1), 0x0a);
});

test('a restored clock keeps the guest time that was set and the interrupt that waits', () => {
  const first = makeRtc();
  first.write(0x09, 0x30);
  first.write(0x0b, 0x12);
  first.advanceMs(1001);
  const second = makeRtc();
  second.rtc.restore(JSON.parse(JSON.stringify(first.rtc.save())));
  assert.equal(second.read(0x09), 0x30);
  assert.equal(second.line.level, true);
});
