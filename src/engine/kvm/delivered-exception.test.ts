import assert from 'node:assert/strict';
import { test } from 'node:test';
import { resetState, type VcpuState } from '../vcpu-state.ts';
import { findDeliveredException, isSoftwareInterrupt, undoStepTrap } from './delivered-exception.ts';

const memory = new Uint8Array(0x2000);
const read = (linear: bigint, lengthBytes: number): Uint8Array =>
  memory.subarray(Number(linear), Number(linear) + lengthBytes);

/** Long mode; vector 14 goes to 8:1000, which is HLT. */
function stateIn64(): VcpuState {
  const state = resetState();
  state.cr0 = 0x8000_0001n;
  state.efer = 0x500n;
  state.idtr = { base: 0n, limit: 0xfff };
  state.segments.cs = { selector: 8, base: 0n, limit: 0xffff_ffff, attributes: 0xa09b };
  state.rip = 0x1800n;
  memory.fill(0);
  const view = new DataView(memory.buffer);
  view.setUint32(14 * 16, (8 << 16) | 0x1000, true);
  view.setUint32(14 * 16 + 4, 0x8e00, true);
  memory[0x1000] = 0xf4;
  view.setUint32(0x1f00, 6, true);
  state.gpr[4] = 0x1f00n;
  return state;
}

test('a processor at the first instruction of a handler has had its exception', () => {
  const before = stateIn64();
  const after = { ...before, rip: 0x1000n };
  assert.deepEqual(findDeliveredException(before, after, read), { vector: 14, errorCode: 6 });
  assert.deepEqual(findDeliveredException(before, { ...after, rip: 0x1001n }, read), { vector: 14, errorCode: 6 });
});

test('a processor anywhere else has had none', () => {
  const before = stateIn64();
  assert.equal(findDeliveredException(before, { ...before, rip: 0x1802n }, read), undefined);
  memory[0x1000] = 0x90;
  assert.equal(findDeliveredException(before, { ...before, rip: 0x1001n }, read), undefined);
});

test('software interrupts are known behind their prefixes', () => {
  assert.equal(isSoftwareInterrupt(Uint8Array.of(0x66, 0xcd, 0x80)), true);
  assert.equal(isSoftwareInterrupt(Uint8Array.of(0x48, 0xcc)), true);
  assert.equal(isSoftwareInterrupt(Uint8Array.of(0x90, 0xcc)), false);
  assert.equal(isSoftwareInterrupt(Uint8Array.of()), false);
});

test("a step's own trap in ring 3 is undone, the guest's is not", () => {
  const before = stateIn64();
  const user = { selector: 0x2b, base: 0n, limit: 0xffff_ffff, attributes: 0xa0fb };
  const stack = { selector: 0x23, base: 0n, limit: 0xffff_ffff, attributes: 0xc0f3 };
  const after = structuredClone(before);
  after.rip = 0x1000n;
  after.gpr[0] = 7n;
  after.debug.dr6 = 0xffff_4ff0n;
  before.segments.cs = user;
  before.segments.ss = stack;
  const view = new DataView(memory.buffer);
  // Vector 1 as well.
  view.setUint32(16, (8 << 16) | 0x1000, true);
  view.setUint32(16 + 4, 0x8e00, true);
  for (const [index, word] of [0x1802n, 0x2bn, 0x10302n, 0x5000n, 0x23n].entries()) {
    view.setBigUint64(0x1f00 + 8 * index, word, true);
  }
  const undone = undoStepTrap(before, after, read);
  assert.equal(undone?.rip, 0x1802n);
  assert.equal(undone?.rflags, 0x10202n);
  assert.deepEqual([undone?.gpr[0], undone?.gpr[4]], [7n, 0x5000n]);
  assert.deepEqual(undone?.segments.cs, user);
  assert.equal(undone?.debug.dr6, before.debug.dr6);

  assert.equal(undoStepTrap({ ...before, rflags: 0x102n }, after, read), undefined);
  assert.equal(undoStepTrap(before, { ...after, debug: before.debug }, read), undefined);
  assert.equal(undoStepTrap({ ...before, segments: after.segments }, after, read), undefined);
});
