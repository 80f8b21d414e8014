import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ManualClock } from '../../../base/clock.ts';
import { GuestMemory } from '../../../memory/guest-memory.ts';
import { KvmClock, tscScale } from './kvm-clock.ts';

const BOOT_MS = Date.UTC(2026, 0, 1);

function makeKvmClock(hz = 2_500_000_000) {
  const clock = new ManualClock();
  const memory = new GuestMemory(new WebAssembly.Memory({ initial: 1, maximum: 1, shared: true }), 0, 0x10000);
  const now = (): bigint => BigInt(Math.floor((clock.nowNs() * hz) / 1e9));
  const wall = { nowMs: () => BOOT_MS + 250 + clock.nowNs() / 1e6 };
  const kvmClock = new KvmClock(memory, clock, wall, { now, hz });
  /** What a guest computes from the structure and its time-stamp counter. */
  const guestNs = (guestPhysical: number): bigint => {
    const delta = now() - memory.readU64(guestPhysical + 8);
    const shift = (memory.readU8(guestPhysical + 28) << 24) >> 24;
    const scaled = shift < 0 ? delta >> BigInt(-shift) : delta << BigInt(shift);
    return ((scaled * BigInt(memory.readU32(guestPhysical + 24))) >> 32n) + memory.readU64(guestPhysical + 16);
  };
  return { clock, memory, kvmClock, guestNs };
}

test('multiplier and shift turn ticks into nanoseconds, whatever the rate', () => {
  for (const hz of [1e6, 9.99e8, 1e9, 1.000001e9, 2.25e9, 4.7e9]) {
    const { multiplier, shift } = tscScale(hz);
    assert.ok(multiplier >= 2 ** 31 && multiplier < 2 ** 32, `${hz}`);
    const ns = (hz * 2 ** shift * multiplier) / 2 ** 32;
    assert.ok(Math.abs(ns - 1e9) < 1, `${hz}: ${ns}`);
  }
});

test('a guest that follows the structure has the right time', () => {
  const { clock, memory, kvmClock, guestNs } = makeKvmClock();
  clock.advanceNs(123_456_789);
  assert.equal(kvmClock.writeMsr(0x4b564d01, 0x1001n), true);
  assert.equal(memory.readU32(0x1000) % 2, 0);
  assert.equal(memory.readU8(0x1000 + 29), 1);
  clock.advanceNs(10e9);
  const error = Number(guestNs(0x1000)) - 10_123_456_789;
  assert.ok(Math.abs(error) < 20, `${error} ns`);
  assert.equal(kvmClock.readMsr(0x4b564d01), 0x1001n);
  assert.equal(kvmClock.readMsr(0x12), 0x1001n);
});

test('the wall clock is that of system time 0', () => {
  const { clock, memory, kvmClock } = makeKvmClock();
  clock.advanceNs(5e9);
  kvmClock.writeMsr(0x4b564d00, 0x2000n);
  assert.equal(memory.readU32(0x2004), BOOT_MS / 1000);
  assert.equal(memory.readU32(0x2008), 250_000_000);
  assert.equal(memory.readU32(0x2000) % 2, 0);
});

test('wild addresses are remembered and nothing is written', () => {
  const { memory, kvmClock } = makeKvmClock();
  const before = [...memory.bytes(0, 0x10000)];
  for (const value of [0xffffffffffffffffn, 0xfff1n, 0x100001n, 1n << 52n, 0xfff5n]) {
    assert.equal(kvmClock.writeMsr(0x4b564d01, value), true);
    assert.equal(kvmClock.writeMsr(0x4b564d00, value), true);
    assert.equal(kvmClock.readMsr(0x4b564d01), value);
  }
  assert.deepEqual([...memory.bytes(0, 0xff00)], before.slice(0, 0xff00));
  kvmClock.writeMsr(0x4b564d01, 0x1000n);
  assert.equal(memory.readU32(0x1000), 0, 'not enabled');
});

test('other MSRs are refused', () => {
  const { kvmClock } = makeKvmClock();
  assert.equal(kvmClock.readMsr(0x4b564d02), undefined);
  assert.equal(kvmClock.writeMsr(0x4b564d03, 0n), false);
});

test('restored time goes on from where it was saved and says that the guest was stopped', () => {
  const first = makeKvmClock();
  first.kvmClock.writeMsr(0x4b564d01, 0x1001n);
  first.clock.advanceNs(7e9);
  const second = makeKvmClock(1_000_000_000);
  second.clock.advanceNs(100e9);
  second.kvmClock.restore(JSON.parse(JSON.stringify(first.kvmClock.save())));
  second.clock.advanceNs(1e9);
  assert.ok(Math.abs(Number(second.guestNs(0x1000)) - 8e9) < 20);
  assert.equal(second.memory.readU8(0x1000 + 29), 3);
});
