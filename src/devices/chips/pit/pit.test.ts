import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ManualClock } from '../../../base/clock.ts';
import { Timers } from '../../../base/timers.ts';
import { InterruptLine } from '../../../bus/interrupt-line.ts';
import { PortBus } from '../../../bus/port-bus.ts';
import { Pit } from './pit.ts';
import { PIT_FREQUENCY_HZ } from './wire.ts';

function makePit() {
  const clock = new ManualClock();
  const timers = new Timers(clock);
  const ports = new PortBus();
  let edges = 0;
  const output = new InterruptLine((asserted) => {
    if (asserted) edges++;
  });
  const pit = new Pit(ports, timers, output);
  const advanceTicks = (ticks: number): void => clock.advanceNs((ticks * 1e9) / PIT_FREQUENCY_HZ);
  return { clock, timers, ports, pit, output, advanceTicks, edges: () => edges };
}

const readWord = (ports: PortBus, port: number): number => ports.read(port, 1) | (ports.read(port, 1) << 8);

test("Linux's calibration over counter 2 and port 0x61 measures the right time", () => {
  const { clock, ports } = makePit();
  const latch = Math.floor(PIT_FREQUENCY_HZ / (1000 / 10)); // 10 ms
  ports.write(0x61, 1, (ports.read(0x61, 1) & ~0x02) | 0x01);
  ports.write(0x43, 1, 0xb0);
  ports.write(0x42, 1, latch & 0xff);
  ports.write(0x42, 1, latch >> 8);
  let polls = 0;
  const stepNs = 1000;
  while ((ports.read(0x61, 1) & 0x20) === 0) {
    clock.advanceNs(stepNs);
    assert.ok(++polls < 20_000, 'the output never rose');
  }
  const expectedNs = (latch * 1e9) / PIT_FREQUENCY_HZ;
  assert.ok(Math.abs(clock.nowNs() - expectedNs) <= stepNs, `${clock.nowNs()} ns instead of ${expectedNs}`);
});

test("Linux's quick calibration sees each high byte of counter 2 for 256 ticks", () => {
  const { ports, advanceTicks } = makePit();
  ports.write(0x61, 1, 1);
  ports.write(0x43, 1, 0xb0);
  ports.write(0x42, 1, 0xff);
  ports.write(0x42, 1, 0xff);
  const seen = new Map<number, number>();
  for (let tick = 0; tick < 1024; tick++) {
    ports.read(0x42, 1);
    const high = ports.read(0x42, 1);
    seen.set(high, (seen.get(high) ?? 0) + 1);
    advanceTicks(1);
  }
  assert.deepEqual([...seen.entries()].slice(0, 4), [
    [0xff, 256],
    [0xfe, 256],
    [0xfd, 256],
    [0xfc, 256],
  ]);
});

test('a rate generator gives an edge each period and its count runs from the reload value', () => {
  const { timers, ports, advanceTicks, edges, output } = makePit();
  ports.write(0x43, 1, 0x34);
  ports.write(0x40, 1, 0x9c);
  ports.write(0x40, 1, 0x2e); // 11932: 100 Hz
  assert.equal(output.level, true);
  advanceTicks(0.5); // off the edge, where a rounded nanosecond decides
  const before = edges();
  for (let period = 0; period < 100; period++) {
    advanceTicks(11932);
    timers.runDue();
  }
  assert.equal(edges() - before, 100);
  advanceTicks(932);
  ports.write(0x43, 1, 0x00);
  assert.equal(readWord(ports, 0x40), 11000);
});

test('periods that the host slept through give one edge, and the phase stays', () => {
  const { clock, timers, ports, advanceTicks, edges } = makePit();
  ports.write(0x43, 1, 0x34);
  ports.write(0x40, 1, 0xe8);
  ports.write(0x40, 1, 0x03);
  const before = edges();
  advanceTicks(10_500);
  timers.runDue();
  assert.equal(edges() - before, 1);
  const expectedNs = (11_000 * 1e9) / PIT_FREQUENCY_HZ;
  assert.ok(Math.abs(timers.nextDeadlineNs() - expectedNs) < 1, `${timers.nextDeadlineNs() - clock.nowNs()}`);
});

test("Linux's one-shot clock event (mode 4) gives one edge after the count", () => {
  const { timers, ports, advanceTicks, edges } = makePit();
  ports.write(0x43, 1, 0x38);
  ports.write(0x40, 1, 100);
  ports.write(0x40, 1, 0);
  const before = edges();
  advanceTicks(99);
  timers.runDue();
  assert.equal(edges(), before);
  advanceTicks(3);
  timers.runDue();
  assert.equal(edges(), before + 1);
  advanceTicks(100_000);
  timers.runDue();
  assert.equal(edges(), before + 1);
});

test('mode 0 rises at the terminal count and a new count starts again', () => {
  const { timers, ports, advanceTicks, output } = makePit();
  ports.write(0x43, 1, 0x30);
  ports.write(0x40, 1, 10);
  ports.write(0x40, 1, 0);
  assert.equal(output.level, false);
  advanceTicks(11);
  timers.runDue();
  assert.equal(output.level, true);
  ports.write(0x40, 1, 20);
  assert.equal(output.level, false, 'the first byte of a count stops the counter');
  ports.write(0x40, 1, 0);
  advanceTicks(21);
  timers.runDue();
  assert.equal(output.level, true);
});

test('a square wave is high for the first half, and reads back its status', () => {
  const { ports, advanceTicks } = makePit();
  ports.write(0x61, 1, 1);
  ports.write(0x43, 1, 0xb6);
  ports.write(0x42, 1, 100);
  ports.write(0x42, 1, 0);
  advanceTicks(49);
  assert.equal(ports.read(0x61, 1) & 0x20, 0x20);
  advanceTicks(2);
  assert.equal(ports.read(0x61, 1) & 0x20, 0);
  ports.write(0x43, 1, 0xe8); // read-back: status of counter 2
  assert.equal(ports.read(0x42, 1), 0x36);
  ports.write(0x43, 1, 0xd8); // count of counter 2
  assert.equal(readWord(ports, 0x42), 98);
});

test('a new count of a periodic mode waits for the end of the period', () => {
  const { ports, advanceTicks } = makePit();
  ports.write(0x43, 1, 0x34);
  ports.write(0x40, 1, 0xe8);
  ports.write(0x40, 1, 0x03);
  advanceTicks(400);
  ports.write(0x40, 1, 0xd0);
  ports.write(0x40, 1, 0x07);
  ports.write(0x43, 1, 0xe2);
  assert.equal(ports.read(0x40, 1) & 0x40, 0x40, 'null count');
  assert.equal(readWord(ports, 0x40), 600);
  advanceTicks(700);
  assert.equal(readWord(ports, 0x40), 1900);
});

test('a closed gate holds counter 2, and a rising one triggers the one-shot', () => {
  const { ports, advanceTicks } = makePit();
  ports.write(0x61, 1, 1);
  ports.write(0x43, 1, 0xb0);
  ports.write(0x42, 1, 100);
  ports.write(0x42, 1, 0);
  advanceTicks(40);
  ports.write(0x61, 1, 0);
  advanceTicks(1000);
  assert.equal(readWord(ports, 0x42), 60);
  ports.write(0x61, 1, 1);
  advanceTicks(10);
  assert.equal(readWord(ports, 0x42), 50);
  ports.write(0x61, 1, 0);
  ports.write(0x43, 1, 0xb2); // mode 1
  ports.write(0x42, 1, 10);
  ports.write(0x42, 1, 0);
  assert.equal(ports.read(0x61, 1) & 0x20, 0x20);
  ports.write(0x61, 1, 1);
  assert.equal(ports.read(0x61, 1) & 0x20, 0);
  advanceTicks(11);
  assert.equal(ports.read(0x61, 1) & 0x20, 0x20);
});

test('a latched count stays while the counter goes on', () => {
  const { ports, advanceTicks } = makePit();
  ports.write(0x43, 1, 0x34);
  ports.write(0x40, 1, 0);
  ports.write(0x40, 1, 0);
  advanceTicks(0x1000);
  ports.write(0x43, 1, 0x00);
  advanceTicks(0x100);
  assert.equal(readWord(ports, 0x40), 0xf000);
  assert.equal(readWord(ports, 0x40), 0xef00);
});

test('binary-coded decimal counts', () => {
  const { ports, advanceTicks } = makePit();
  ports.write(0x43, 1, 0x35);
  ports.write(0x40, 1, 0x00);
  ports.write(0x40, 1, 0x10);
  advanceTicks(1);
  assert.equal(readWord(ports, 0x40), 0x0999);
});

test('a shut-down timer (mode 0, count 0) fires at most once', () => {
  const { timers, ports, advanceTicks } = makePit();
  ports.write(0x43, 1, 0x30);
  ports.write(0x40, 1, 0);
  ports.write(0x40, 1, 0);
  advanceTicks(0x10001);
  timers.runDue();
  assert.equal(timers.nextDeadlineNs(), Number.POSITIVE_INFINITY);
});

test('a restored timer keeps its phase under another clock', () => {
  const first = makePit();
  first.ports.write(0x43, 1, 0x34);
  first.ports.write(0x40, 1, 0xe8);
  first.ports.write(0x40, 1, 0x03);
  first.advanceTicks(300);
  const state = JSON.parse(JSON.stringify(first.pit.save()));
  const second = makePit();
  second.clock.advanceNs(5e9);
  second.pit.restore(state);
  assert.equal(readWord(second.ports, 0x40), 700);
  second.advanceTicks(700.5);
  const before = second.edges();
  second.timers.runDue();
  assert.equal(second.edges(), before + 1);
});
