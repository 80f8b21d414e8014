import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ManualClock } from '../../../base/clock.ts';
import { Timers } from '../../../base/timers.ts';
import { InterruptLine } from '../../../bus/interrupt-line.ts';
import { PortBus } from '../../../bus/port-bus.ts';
import { AcpiPm } from './acpi-pm.ts';

function makeAcpiPm() {
  const clock = new ManualClock();
  const timers = new Timers(clock);
  const ports = new PortBus();
  const line = new InterruptLine(() => {});
  const log: string[] = [];
  const acpiPm = new AcpiPm(ports, timers, line, {
    powerOff: () => log.push('off'),
    requestReset: () => log.push('reset'),
  });
  return { clock, timers, ports, line, log, acpiPm };
}

test('the power button raises the SCI where it is enabled, until its status is cleared', () => {
  const { ports, line, acpiPm } = makeAcpiPm();
  acpiPm.pressPowerButton();
  assert.equal(line.level, false);
  ports.write(0x602, 2, 0x0120);
  assert.equal(line.level, true);
  assert.equal(ports.read(0x600, 2), 0x0100);
  ports.write(0x600, 2, 0x0020);
  assert.equal(line.level, true, 'another bit was cleared');
  ports.write(0x600, 2, 0x0100);
  assert.equal(line.level, false);
  assert.equal(ports.read(0x602, 2), 0x0120);
});

test('SLP_EN with the sleep type of S5 powers off; other sleep types do nothing', () => {
  const { ports, log } = makeAcpiPm();
  assert.equal(ports.read(0x604, 2), 1, 'SCI_EN: ACPI mode');
  ports.write(0x604, 2, (5 << 10) | 1);
  assert.deepEqual(log, []);
  assert.equal(ports.read(0x604, 2), (5 << 10) | 1);
  ports.write(0x604, 2, (1 << 10) | 0x2001);
  assert.deepEqual(log, []);
  ports.write(0x604, 2, (5 << 10) | 0x2001);
  assert.deepEqual(log, ['off']);
  assert.equal(ports.read(0x604, 2) & 0x2000, 0, 'SLP_EN is write-only');
});

test('the reset register resets on a rising RST_CPU', () => {
  const { ports, log } = makeAcpiPm();
  ports.write(0xcf9, 1, 0x02);
  assert.deepEqual(log, []);
  ports.write(0xcf9, 1, 0x06);
  assert.deepEqual(log, ['reset']);
});

test('the PM timer counts 3.579545 MHz in 32 bits', () => {
  const { ports, clock } = makeAcpiPm();
  clock.advanceNs(1e9);
  assert.equal(ports.read(0x608, 4), 3_579_545);
  assert.equal(ports.read(0x608, 1), 3_579_545 & 0xff);
  assert.equal(ports.read(0x60a, 2), 3_579_545 >>> 16);
  clock.advanceNs(1200e9);
  assert.equal(ports.read(0x608, 4), (3_579_545 * 1201) % 2 ** 32);
});

test("the timer's status follows its top bit and interrupts where enabled", () => {
  const { ports, clock, timers, line } = makeAcpiPm();
  ports.write(0x602, 2, 1);
  clock.advanceNs(599e9);
  timers.runDue();
  assert.equal(line.level, false);
  clock.advanceNs(2e9);
  timers.runDue();
  assert.equal(line.level, true);
  ports.write(0x600, 2, 1);
  assert.equal(line.level, false);
  assert.equal(timers.nextDeadlineNs() > 1199e9, true);
});

test('the general-purpose event block has enable bits and no events', () => {
  const { ports } = makeAcpiPm();
  ports.write(0x620, 4, 0xffffffff);
  assert.equal(ports.read(0x620, 4), 0xffff0000);
});

test('restored hardware has its registers, and its timer goes on', () => {
  const first = makeAcpiPm();
  first.ports.write(0x602, 2, 0x0100);
  first.acpiPm.pressPowerButton();
  first.clock.advanceNs(1e9);
  const second = makeAcpiPm();
  second.clock.advanceNs(77e9);
  second.acpiPm.restore(JSON.parse(JSON.stringify(first.acpiPm.save())));
  assert.equal(second.line.level, true);
  assert.equal(second.ports.read(0x608, 4), 3_579_545);
});
