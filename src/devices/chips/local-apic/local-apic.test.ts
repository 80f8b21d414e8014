import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ManualClock } from '../../../base/clock.ts';
import { Timers } from '../../../base/timers.ts';
import { ApicBus } from '../../../bus/apic-bus.ts';
import { LocalApic } from './local-apic.ts';
import { APIC } from './wire.ts';

const TSC_HZ = 2_000_000_000;
const EN = 0xfee00800n;
const X2APIC = 0xfee00c00n;
const LVT_PERIODIC = 0x20000;
const LVT_TSC_DEADLINE = 0x40000;
const MASKED = 0x10000;

function makeApic(processorCount = 1, external?: { peekVector(): number; acknowledge(): number }) {
  const clock = new ManualClock();
  const timers = new Timers(clock);
  const bus = new ApicBus();
  const log: string[] = [];
  let tscOffset = 0n;
  const apics = Array.from(
    { length: processorCount },
    (_, apicId) =>
      new LocalApic({
        apicId,
        isBootProcessor: apicId === 0,
        timers,
        timeStampCounter: { now: () => BigInt(Math.floor(clock.nowNs() * 2)) + tscOffset, hz: TSC_HZ },
        bus,
        external,
        sink: {
          onPendingChanged: () => log.push(`pending ${apicId}`),
          onInit: () => log.push(`init ${apicId}`),
          onStartup: (vector) => log.push(`startup ${apicId} at ${vector}`),
        },
        physicalAddressBits: 40,
      }),
  );
  const apic = apics[0]!;
  const read = (offset: number): number => apic.readMmio(offset, 4);
  const write = (offset: number, value: number): void => apic.writeMmio(offset, 4, value);
  const enable = (): void => {
    for (const one of apics) one.writeMmio(APIC.SVR, 4, 0x1ff);
  };
  const advance = (deltaNs: number): void => {
    clock.advanceNs(deltaNs);
    timers.runDue();
  };
  const take = (): number => {
    const vector = apic.pendingVector();
    if (vector >= 0) {
      assert.equal(apic.acknowledge(), vector);
      write(APIC.EOI, 0);
    }
    return vector;
  };
  const shiftTsc = (by: bigint): void => {
    tscOffset += by;
  };
  return { clock, timers, bus, log, apics, apic, read, write, enable, advance, take, shiftTsc };
}

test('reset state', () => {
  const { apic, read } = makeApic(2);
  assert.equal(read(APIC.VERSION), 0x50014);
  assert.equal(read(APIC.SVR), 0xff);
  assert.equal(read(APIC.DFR), 0xffffffff);
  assert.equal(read(APIC.LVT_LINT0), MASKED);
  assert.equal(apic.readMsr(0x1b), EN | 0x100n);
});

test('interrupts come highest priority first, and only above PPR', () => {
  const { apic, write, read, enable } = makeApic();
  enable();
  apic.accept(0, 0x31, false);
  apic.accept(0, 0x45, false);
  apic.accept(0, 0x41, false);
  assert.equal(apic.acknowledge(), 0x45);
  assert.equal(read(APIC.PPR), 0x40);
  assert.equal(apic.pendingVector(), -1, 'same class');
  apic.accept(0, 0x51, false);
  assert.equal(apic.acknowledge(), 0x51);
  write(APIC.EOI, 0);
  assert.equal(apic.pendingVector(), -1);
  write(APIC.EOI, 0);
  assert.equal(apic.acknowledge(), 0x41);
  write(APIC.EOI, 0);
  write(APIC.TPR, 0x30);
  assert.equal(apic.pendingVector(), -1);
  write(APIC.TPR, 0x2f);
  assert.equal(apic.pendingVector(), 0x31);
});

test('CR8 is the upper half of TPR', () => {
  const { apic, read, write, enable } = makeApic();
  enable();
  apic.accept(0, 0x71, false);
  apic.cr8 = 7;
  assert.equal(read(APIC.TPR), 0x70);
  assert.equal(apic.pendingVector(), -1);
  write(APIC.TPR, 0x65);
  assert.equal(apic.cr8, 6);
  assert.equal(apic.pendingVector(), 0x71);
});

test('a software-disabled APIC drops fixed interrupts and keeps its LVT masked', () => {
  const { apic, read, write } = makeApic();
  assert.equal(apic.accept(0, 0x31, false), false);
  write(APIC.LVT_TIMER, 0x30);
  assert.equal(read(APIC.LVT_TIMER), 0x30 | MASKED);
});

test('the one-shot timer fires once, at its time, and its count runs down', () => {
  const { write, read, enable, advance, take } = makeApic();
  enable();
  write(APIC.DIVIDE, 0x3); // by 16
  write(APIC.LVT_TIMER, 0xec);
  write(APIC.INITIAL_COUNT, 1000);
  advance(8000);
  assert.equal(read(APIC.CURRENT_COUNT), 500);
  advance(7999);
  assert.equal(take(), -1);
  advance(1);
  assert.equal(take(), 0xec);
  assert.equal(read(APIC.CURRENT_COUNT), 0);
  advance(1e6);
  assert.equal(take(), -1);
});

test('the periodic timer keeps its phase, and slept-through periods are one interrupt', () => {
  const { timers, write, read, enable, advance, take } = makeApic();
  enable();
  write(APIC.DIVIDE, 0xb); // by 1
  write(APIC.LVT_TIMER, 0xec | LVT_PERIODIC);
  write(APIC.INITIAL_COUNT, 1_000_000);
  let fired = 0;
  for (let i = 0; i < 10; i++) {
    advance(1_000_000);
    if (take() === 0xec) fired++;
  }
  assert.equal(fired, 10);
  advance(5_500_000);
  assert.equal(take(), 0xec);
  assert.equal(take(), -1);
  assert.equal(timers.nextDeadlineNs(), 16_000_000);
  assert.equal(read(APIC.CURRENT_COUNT), 500_000);
  write(APIC.INITIAL_COUNT, 0);
  assert.equal(timers.nextDeadlineNs(), Number.POSITIVE_INFINITY);
});

test('an absurdly short period does not stop the machine', () => {
  const { timers, write, enable, advance, clock } = makeApic();
  enable();
  write(APIC.DIVIDE, 0xb);
  write(APIC.LVT_TIMER, 0xec | LVT_PERIODIC);
  write(APIC.INITIAL_COUNT, 1);
  advance(1e9);
  assert.ok(timers.nextDeadlineNs() > clock.nowNs());
});

test('the TSC deadline fires at or after its time-stamp, then reads 0', () => {
  const { apic, write, enable, advance, take } = makeApic();
  enable();
  assert.equal(apic.writeMsr(0x6e0, 5n), true);
  assert.equal(apic.readMsr(0x6e0), 0n, 'ignored outside its mode');
  write(APIC.LVT_TIMER, 0xec | LVT_TSC_DEADLINE);
  apic.writeMsr(0x6e0, 10_001n);
  assert.equal(apic.readMsr(0x6e0), 10_001n);
  advance(5000);
  assert.equal(take(), -1);
  advance(1);
  assert.equal(take(), 0xec);
  assert.equal(apic.readMsr(0x6e0), 0n);
  apic.writeMsr(0x6e0, 1n);
  advance(0);
  assert.equal(take(), 0xec, 'a deadline in the past fires at once');
  apic.writeMsr(0x6e0, 1_000_000n);
  apic.writeMsr(0x6e0, 0n);
  advance(1e9);
  assert.equal(take(), -1, 'zero disarms');
  write(APIC.INITIAL_COUNT, 5);
  assert.equal(apic.readMmio(APIC.INITIAL_COUNT, 4), 0);
});

test('a TSC deadline follows a write to the time-stamp counter', () => {
  const { apic, write, enable, advance, take, shiftTsc } = makeApic();
  enable();
  write(APIC.LVT_TIMER, 0xec | LVT_TSC_DEADLINE);
  apic.writeMsr(0x6e0, 2_000_000n);
  shiftTsc(1_900_000n);
  apic.onTimeStampCounterChanged();
  advance(50_000);
  assert.equal(take(), 0xec);
});

test('leaving TSC-deadline mode disarms it', () => {
  const { apic, write, enable, advance, take, timers } = makeApic();
  enable();
  write(APIC.LVT_TIMER, 0xec | LVT_TSC_DEADLINE);
  apic.writeMsr(0x6e0, 2_000_000n);
  write(APIC.LVT_TIMER, 0xec);
  assert.equal(timers.nextDeadlineNs(), Number.POSITIVE_INFINITY);
  advance(1e9);
  assert.equal(take(), -1);
});

test('IA32_APIC_BASE allows the legal mode changes only', () => {
  const { apic } = makeApic();
  assert.equal(apic.writeMsr(0x1b, 0xfee00400n), false, 'EXTD without EN');
  assert.equal(apic.writeMsr(0x1b, EN | 1n), false, 'reserved bit');
  assert.equal(apic.writeMsr(0x1b, EN | (1n << 40n)), false, 'above MAXPHYADDR');
  assert.equal(apic.writeMsr(0x1b, X2APIC), true);
  assert.equal(apic.writeMsr(0x1b, EN), false, 'x2APIC to xAPIC');
  assert.equal(apic.writeMsr(0x1b, 0xfee00000n), true);
  assert.equal(apic.writeMsr(0x1b, X2APIC), false, 'off to x2APIC');
  assert.equal(apic.writeMsr(0x1b, EN), true);
});

test('x2APIC registers are MSRs, with #GP for what is reserved; the page is gone', () => {
  const { apic, read } = makeApic(2);
  assert.equal(apic.readMsr(0x802), undefined, 'not in xAPIC mode');
  apic.writeMsr(0x1b, X2APIC | 0x100n);
  assert.equal(read(APIC.VERSION), 0xffffffff);
  assert.equal(apic.readMsr(0x802), 0n);
  assert.equal(apic.readMsr(0x803), 0x50014n);
  assert.equal(apic.readMsr(0x80d), 1n);
  for (const index of [0x80b, 0x80e, 0x831, 0x83f, 0x840, 0x8ff, 0x80c]) assert.equal(apic.readMsr(index), undefined);
  for (const index of [0x802, 0x803, 0x80d, 0x80a, 0x810, 0x839, 0x831]) assert.equal(apic.writeMsr(index, 0n), false);
  assert.equal(apic.writeMsr(0x80b, 1n), false);
  assert.equal(apic.writeMsr(0x80b, 0n), true);
  assert.equal(apic.writeMsr(0x808, 0x100n), false);
  assert.equal(apic.writeMsr(0x80f, 1n << 32n), false);
  assert.equal(apic.writeMsr(0x80f, 0x1ffn), true);
  assert.equal(apic.writeMsr(0x83f, 0x55n), true);
  assert.equal(apic.acknowledge(), 0x55);
  apic.writeMsr(0x80b, 0n);
  assert.equal(apic.writeMsr(0x830, 0x0000_0000_0000_0066n), true);
  assert.equal(apic.acknowledge(), 0x66);
});

test('x2APIC logical destinations reach processors by cluster', () => {
  const { apics } = makeApic(20);
  for (const apic of apics) {
    apic.writeMsr(0x1b, X2APIC);
    apic.writeMsr(0x80f, 0x1ffn);
  }
  assert.equal(apics[17]!.readMsr(0x80d), 0x10002n);
  apics[0]!.writeMsr(0x830, (0x10003n << 32n) | 0x844n);
  const hit = apics.filter((apic) => apic.pendingVector() === 0x44).map((apic) => apic.apicId);
  assert.deepEqual(hit, [16, 17]);
  apics[0]!.writeMsr(0x830, (19n << 32n) | 0x45n);
  assert.equal(apics[19]!.pendingVector(), 0x45);
});

test('inter-processor interrupts: destinations, shorthands, INIT and startup', () => {
  const { apics, write, enable, log } = makeApic(3);
  enable();
  const pending = (): number[] => apics.map((apic) => apic.pendingVector());
  write(APIC.ICR_HIGH, 0x02000000);
  write(APIC.ICR_LOW, 0x40fc);
  assert.deepEqual(pending(), [-1, -1, 0xfc]);
  write(APIC.ICR_LOW, 0xc40fb); // all but self
  assert.deepEqual(pending(), [-1, 0xfb, 0xfc]);
  write(APIC.ICR_LOW, 0x440fa); // self
  assert.deepEqual(pending(), [0xfa, 0xfb, 0xfc]);
  log.length = 0;
  write(APIC.ICR_HIGH, 0x01000000);
  write(APIC.ICR_LOW, 0xc500);
  write(APIC.ICR_LOW, 0x8500);
  write(APIC.ICR_LOW, 0x469a);
  assert.deepEqual(log, ['init 1', 'startup 1 at 154'], 'the de-assert does nothing');
  write(APIC.ICR_LOW, 0x4400);
  assert.deepEqual(
    apics.map((apic) => apic.nmiPending),
    [false, true, false],
  );
});

test('illegal vectors and registers are recorded in ESR and raise the error interrupt', () => {
  const { apic, read, write, enable } = makeApic();
  enable();
  write(APIC.LVT_ERROR, 0xfe);
  write(APIC.ICR_LOW, 0x40005);
  assert.equal(apic.acknowledge(), 0xfe);
  assert.equal(read(APIC.ESR), 0);
  write(APIC.ESR, 0);
  assert.equal(read(APIC.ESR), 0x20);
  write(0x2f0, 0);
  write(APIC.ESR, 0);
  assert.equal(read(APIC.ESR), 0x80);
});

test('an error interrupt with an illegal vector does not recurse', () => {
  const { write, enable, read } = makeApic();
  enable();
  write(APIC.LVT_ERROR, 0x05);
  write(APIC.ICR_LOW, 0x40005);
  write(APIC.ESR, 0);
  assert.equal(read(APIC.ESR), 0x60);
});

test('LINT0 passes the 8259A as ExtINT when its entry says so, or when the APIC is off', () => {
  let acknowledged = 0;
  const external = { peekVector: () => 0x30, acknowledge: () => 0x30 + acknowledged++ };
  const { apic, write, enable } = makeApic(1, external);
  enable();
  apic.setLint0(true);
  assert.equal(apic.pendingVector(), -1);
  write(APIC.LVT_LINT0, 0x700);
  assert.equal(apic.pendingVector(), 0x30);
  assert.equal(apic.acknowledge(), 0x30);
  apic.setLint0(false);
  assert.equal(apic.pendingVector(), -1);
  write(APIC.LVT_LINT0, 0x700 | MASKED);
  apic.setLint0(true);
  assert.equal(apic.pendingVector(), -1);
  apic.writeMsr(0x1b, 0xfee00000n);
  assert.equal(apic.pendingVector(), 0x30);
});

test('firmware leaves LINT0 as ExtINT on the boot processor alone, and LINT1 as NMI', () => {
  const { apics } = makeApic(2);
  for (const apic of apics) apic.setUpAsFirmware();
  assert.equal(apics[0]!.readMmio(APIC.LVT_LINT0, 4), 0x700);
  assert.equal(apics[1]!.readMmio(APIC.LVT_LINT0, 4), 0x700 | MASKED);
  apics[1]!.setLint1(true);
  assert.equal(apics[1]!.nmiPending, true);
});

test('LINT0 with fixed delivery is an edge', () => {
  const { apic, write, enable, take } = makeApic();
  enable();
  write(APIC.LVT_LINT0, 0x35);
  apic.setLint0(true);
  assert.equal(take(), 0x35);
  assert.equal(take(), -1);
});

test('an acknowledge with nothing pending gives the spurious vector', () => {
  const { apic, enable } = makeApic();
  enable();
  assert.equal(apic.acknowledge(), 0xff);
});

test('the processor is told when what it would take changes, and not otherwise', () => {
  const { apic, enable, log, write } = makeApic();
  enable();
  log.length = 0;
  apic.accept(0, 0x40, false);
  apic.accept(0, 0x40, false);
  apic.accept(0, 0x35, false);
  assert.deepEqual(log, ['pending 0']);
  write(APIC.TPR, 0xf0);
  assert.equal(log.length, 2);
});

test('INIT keeps IA32_APIC_BASE and clears the rest', () => {
  const { apic, enable, read } = makeApic();
  enable();
  apic.accept(0, 0x40, false);
  apic.writeMsr(0x1b, EN);
  apic.init();
  assert.equal(apic.readMsr(0x1b), EN);
  assert.equal(apic.pendingVector(), -1);
  assert.equal(read(APIC.SVR), 0xff);
});

test('narrow and misplaced accesses never throw', () => {
  const { apic, enable } = makeApic();
  enable();
  for (let offset = 0; offset < 0x1000; offset++) {
    for (const size of [1, 2, 4]) {
      apic.readMmio(offset, size);
      if (offset !== APIC.ICR_LOW) apic.writeMmio(offset, size, 0xffffffff);
    }
  }
  assert.equal(apic.readMmio(APIC.VERSION, 1), 0x14);
  assert.equal(apic.readMmio(APIC.VERSION + 2, 1), 0x05);
});

test('a restored APIC keeps its timers, requests and mode', () => {
  const first = makeApic();
  first.enable();
  first.write(APIC.DIVIDE, 0xb);
  first.write(APIC.LVT_TIMER, 0xec);
  first.write(APIC.INITIAL_COUNT, 10_000);
  first.apic.accept(0, 0x61, true);
  first.advance(4000);
  const state = JSON.parse(JSON.stringify(first.apic.save()));
  const second = makeApic();
  second.advance(1e9);
  second.apic.restore(state);
  assert.equal(second.take(), 0x61);
  assert.equal(second.read(APIC.CURRENT_COUNT), 6000);
  second.advance(6000);
  assert.equal(second.take(), 0xec);
});
