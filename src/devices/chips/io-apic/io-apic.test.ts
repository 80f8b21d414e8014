import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ManualClock } from '../../../base/clock.ts';
import { Timers } from '../../../base/timers.ts';
import { ApicBus } from '../../../bus/apic-bus.ts';
import { MmioBus } from '../../../bus/mmio-bus.ts';
import { LocalApic } from '../local-apic/local-apic.ts';
import { IoApic } from './io-apic.ts';

const IOREGSEL = 0xfec00000;
const IOWIN = 0xfec00010;
const LEVEL = 0x8000;
const MASKED = 0x10000;
const REMOTE_IRR = 0x4000;

function makeIoApic(processorCount = 1) {
  const bus = new ApicBus();
  const mmio = new MmioBus();
  const apics = Array.from(
    { length: processorCount },
    (_, apicId) =>
      new LocalApic({
        apicId,
        isBootProcessor: apicId === 0,
        timers: new Timers(new ManualClock()),
        timeStampCounter: { now: () => 0n, hz: 1e9 },
        bus,
        external: undefined,
        sink: { onPendingChanged: () => {}, onInit: () => {}, onStartup: () => {} },
        physicalAddressBits: 40,
      }),
  );
  for (const apic of apics) apic.writeMmio(0xf0, 4, 0x1ff);
  const ioApic = new IoApic(mmio, bus);
  const read = (index: number): number => {
    mmio.write(IOREGSEL, 4, index);
    return mmio.read(IOWIN, 4);
  };
  const write = (index: number, value: number): void => {
    mmio.write(IOREGSEL, 4, index);
    mmio.write(IOWIN, 4, value);
  };
  const route = (pin: number, low: number, destination = 0): void => {
    write(0x11 + 2 * pin, destination << 24);
    write(0x10 + 2 * pin, low);
  };
  return { ioApic, apics, apic: apics[0]!, read, write, route, mmio };
}

test('identity, version and masked entries after reset', () => {
  const { read, write } = makeIoApic();
  assert.equal(read(1), 0x00170011);
  assert.equal(read(0x10), MASKED);
  assert.equal(read(0x3f), 0);
  assert.equal(read(0x40), 0, 'no such register');
  write(0, 0x0f000000);
  assert.equal(read(0), 0x0f000000);
});

test('a rising edge is delivered once; an edge on a masked pin is lost', () => {
  const { ioApic, apic, route } = makeIoApic();
  route(4, 0x34);
  ioApic.setPin(4, true);
  assert.equal(apic.acknowledge(), 0x34);
  apic.writeMmio(0xb0, 4, 0);
  ioApic.setPin(4, true);
  assert.equal(apic.pendingVector(), -1);
  ioApic.setPin(4, false);
  route(4, 0x34 | MASKED);
  ioApic.setPin(4, true);
  route(4, 0x34);
  assert.equal(apic.pendingVector(), -1);
});

test('a level stays in service until its EOI, and comes again while the pin is asserted', () => {
  const { ioApic, apic, route, read } = makeIoApic();
  route(9, 0x39 | LEVEL);
  ioApic.setPin(9, true);
  assert.equal(read(0x10 + 18) & REMOTE_IRR, REMOTE_IRR);
  assert.equal(apic.acknowledge(), 0x39);
  assert.equal(apic.readMmio(0x180 + 0x10, 4), 1 << (0x39 - 32), 'TMR says level');
  assert.equal(apic.pendingVector(), -1);
  apic.writeMmio(0xb0, 4, 0);
  assert.equal(apic.pendingVector(), 0x39);
  assert.equal(apic.acknowledge(), 0x39);
  ioApic.setPin(9, false);
  apic.writeMmio(0xb0, 4, 0);
  assert.equal(apic.pendingVector(), -1);
  assert.equal(read(0x10 + 18) & REMOTE_IRR, 0);
});

test('a masked level is delivered when it is unmasked, if it is asserted still', () => {
  const { ioApic, apic, route } = makeIoApic();
  route(10, 0x40 | LEVEL | MASKED);
  ioApic.setPin(10, true);
  assert.equal(apic.pendingVector(), -1);
  route(10, 0x40 | LEVEL);
  assert.equal(apic.pendingVector(), 0x40);
});

test('making an entry edge-triggered for a moment clears its remote IRR', () => {
  const { ioApic, route, read } = makeIoApic();
  route(10, 0x40 | LEVEL);
  ioApic.setPin(10, true);
  ioApic.setPin(10, false);
  assert.equal(read(0x10 + 20) & REMOTE_IRR, REMOTE_IRR);
  route(10, 0x40 | MASKED);
  route(10, 0x40 | LEVEL | MASKED);
  assert.equal(read(0x10 + 20) & REMOTE_IRR, 0);
});

test('writes keep delivery status and remote IRR read-only', () => {
  const { route, read } = makeIoApic();
  route(3, 0xffffffff, 0xff);
  assert.equal(read(0x16), 0x1afff);
  assert.equal(read(0x17), 0xff000000);
});

test('destinations: physical, logical flat, and lowest priority in turns', () => {
  const { ioApic, apics, route } = makeIoApic(2);
  const pulse = (pin: number): void => {
    ioApic.setPin(pin, true);
    ioApic.setPin(pin, false);
  };
  const take = (): number[] =>
    apics.map((apic) => {
      const vector = apic.pendingVector();
      if (vector >= 0) {
        apic.acknowledge();
        apic.writeMmio(0xb0, 4, 0);
      }
      return vector;
    });
  apics[0]!.writeMmio(0xd0, 4, 0x01000000);
  apics[1]!.writeMmio(0xd0, 4, 0x02000000);
  route(5, 0x50, 1);
  pulse(5);
  assert.deepEqual(take(), [-1, 0x50]);
  route(5, 0x50, 0xff);
  pulse(5);
  assert.deepEqual(take(), [0x50, 0x50]);
  route(5, 0x850, 0x02);
  pulse(5);
  assert.deepEqual(take(), [-1, 0x50]);
  route(5, 0x950, 0x03);
  pulse(5);
  const first = take();
  pulse(5);
  const second = take();
  assert.deepEqual([first, second].sort(), [
    [-1, 0x50],
    [0x50, -1],
  ]);
  apics[0]!.writeMmio(0x80, 4, 0x20);
  pulse(5);
  pulse(5);
  assert.deepEqual(take(), [-1, 0x50], 'the one of lower priority has it');
});

test('NMI delivery', () => {
  const { ioApic, apic, route } = makeIoApic();
  route(6, 0x400);
  ioApic.setPin(6, true);
  assert.equal(apic.nmiPending, true);
  apic.acknowledgeNmi();
  assert.equal(apic.nmiPending, false);
});

test('a level that nobody accepts has no remote IRR, so that it is tried again', () => {
  const { ioApic, route, read } = makeIoApic();
  route(7, 0x50 | LEVEL, 9);
  ioApic.setPin(7, true);
  assert.equal(read(0x10 + 14) & REMOTE_IRR, 0);
});

test('a restored I/O APIC knows its pins: an asserted edge does not come twice', () => {
  const first = makeIoApic();
  first.route(4, 0x34);
  first.ioApic.setPin(4, true);
  const second = makeIoApic();
  second.ioApic.restore(JSON.parse(JSON.stringify(first.ioApic.save())));
  second.ioApic.setPin(4, true);
  assert.equal(second.apic.pendingVector(), -1);
  assert.equal(second.read(0x18), 0x34);
});
