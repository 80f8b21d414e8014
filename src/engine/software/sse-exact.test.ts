import assert from 'node:assert/strict';
import { test } from 'node:test';
import { SCRATCH_OFFSET, STATE, STATE_SIZE_BYTES } from '../../ir/guest-state.ts';
import { SSE_ARITHMETIC, SSE_CONVERSION, SSE_SHAPE } from '../../ir/sse-operations.ts';
import { sseExact } from './sse-exact.ts';

const CPU_BASE = 64;
const buffer = new ArrayBuffer(CPU_BASE + STATE_SIZE_BYTES);
const view = new DataView(buffer);
const singles = new Float32Array(buffer, CPU_BASE + SCRATCH_OFFSET, 8);
const doubles = new Float64Array(buffer, CPU_BASE + SCRATCH_OFFSET, 4);
const MXCSR = CPU_BASE + STATE.mxcsr.offset;
const DEFAULT = 0x1f80;
const [IE, DE, ZE, OE, PE] = [1, 2, 4, 8, 0x20];

interface Result<T> {
  values: T[];
  mxcsr: number;
  unmasked: boolean;
}

function runSingles(operation: number, x: number[], y: number[], mxcsr = DEFAULT, immediate = 0): Result<number> {
  singles.set(x);
  singles.set(y, 4);
  view.setUint32(MXCSR, mxcsr, true);
  const unmasked = sseExact(view, CPU_BASE, operation, immediate);
  return { values: [...singles.subarray(0, 4)], mxcsr: view.getUint32(MXCSR, true), unmasked };
}

function runDoubles(operation: number, x: number[], y: number[], mxcsr = DEFAULT, immediate = 0): Result<number> {
  doubles.set(x);
  doubles.set(y, 2);
  view.setUint32(MXCSR, mxcsr, true);
  const unmasked = sseExact(view, CPU_BASE, operation, immediate);
  return { values: [...doubles.subarray(0, 2)], mxcsr: view.getUint32(MXCSR, true), unmasked };
}

test('addps adds four lanes and collects their flags', () => {
  const result = runSingles(SSE_ARITHMETIC.add, [1, 2, 3e38, 1], [1, 2, 3e38, 2 ** -30]);
  assert.deepEqual(result, { values: [2, 4, Number.POSITIVE_INFINITY, 1], mxcsr: DEFAULT | OE | PE, unmasked: false });
});

test('addss leaves the upper lanes alone', () => {
  const { values, mxcsr } = runSingles(SSE_ARITHMETIC.add + SSE_SHAPE.ss, [1, 2, 3, 4], [10, 20, 30, 40]);
  assert.deepEqual([values, mxcsr], [[11, 2, 3, 4], DEFAULT]);
});

test('an exact result leaves MXCSR as it was', () => {
  assert.equal(runDoubles(SSE_ARITHMETIC.mul + SSE_SHAPE.pd, [1.5, 3], [2, 0.25]).mxcsr, DEFAULT);
});

test('rounding obeys MXCSR.RC', () => {
  const down = runDoubles(SSE_ARITHMETIC.div + SSE_SHAPE.sd, [1, 0], [3, 0], DEFAULT | 0x2000).values[0]!;
  const up = runDoubles(SSE_ARITHMETIC.div + SSE_SHAPE.sd, [1, 0], [3, 0], DEFAULT | 0x4000).values[0]!;
  assert.equal(down, 1 / 3);
  assert.equal(up, 1 / 3 + 2 ** -54);
});

test('an unmasked division by zero is reported and its flag set', () => {
  const { mxcsr, unmasked } = runDoubles(SSE_ARITHMETIC.div + SSE_SHAPE.pd, [1, 1], [0, 3], DEFAULT & ~0x200);
  assert.equal(unmasked, true);
  assert.equal(mxcsr, (DEFAULT & ~0x200) | ZE);
});

test('denormal operands set DE, or are zero with DAZ', () => {
  const operation = SSE_ARITHMETIC.add + SSE_SHAPE.sd;
  assert.equal(runDoubles(operation, [1, 0], [5e-324, 0]).mxcsr, DEFAULT | DE | PE);
  const result = runDoubles(operation, [1, 0], [5e-324, 0], DEFAULT | 0x40);
  assert.deepEqual([result.values[0], result.mxcsr], [1, DEFAULT | 0x40]);
});

test('addsubps subtracts in even lanes', () => {
  assert.deepEqual(runSingles(SSE_ARITHMETIC.addsub, [1, 1, 1, 1], [1, 2, 3, 4]).values, [0, 3, -2, 5]);
});

test('dpps multiplies and broadcasts by the immediate', () => {
  const { values } = runSingles(SSE_ARITHMETIC.dp, [1, 2, 3, 4], [10, 20, 30, 40], DEFAULT, 0x75);
  assert.deepEqual(values, [140, 0, 140, 0]);
});

test('dppd multiplies and broadcasts by the immediate', () => {
  const { values } = runDoubles(SSE_ARITHMETIC.dp + SSE_SHAPE.pd, [1, 2], [10, 20], DEFAULT, 0x32);
  assert.deepEqual(values, [0, 50]);
});

test('rcp and rsqrt stay within their bound and raise nothing', () => {
  const { values, mxcsr } = runSingles(SSE_ARITHMETIC.rcp, [0, 0, 0, 0], [3, -7, 2 ** -10, 0]);
  assert.deepEqual(values, [Math.fround(1 / 3), Math.fround(-1 / 7), 1024, Number.POSITIVE_INFINITY]);
  assert.equal(mxcsr, DEFAULT);
  assert.deepEqual(runSingles(SSE_ARITHMETIC.rsqrt, [0, 0, 0, 0], [4, 0.25, -1, Number.POSITIVE_INFINITY]).values, [
    0.5,
    2,
    Number.NaN,
    0,
  ]);
});

test('rcp gives zero for a tiny result', () => {
  assert.deepEqual(runSingles(SSE_ARITHMETIC.rcp, [0, 0, 0, 0], [2e38, -2e38, 1, 1]).values, [0, -0, 1, 1]);
});

test('conversions to integers raise IE and give the indefinite value out of range', () => {
  doubles.set([0, 0, 3e9, 0]);
  view.setUint32(MXCSR, DEFAULT, true);
  sseExact(view, CPU_BASE, SSE_CONVERSION.cvttsd2si, 4);
  assert.equal(view.getBigUint64(CPU_BASE + SCRATCH_OFFSET, true), 0x80000000n);
  assert.equal(view.getUint32(MXCSR, true), DEFAULT | IE);
  doubles.set([0, 0, -2.5, 0]);
  sseExact(view, CPU_BASE, SSE_CONVERSION.cvttsd2si, 8);
  assert.equal(view.getBigInt64(CPU_BASE + SCRATCH_OFFSET, true), -2n);
});

test('cvtpd2ps clears the upper half', () => {
  doubles.set([9, 9, 0.1, 2]);
  view.setUint32(MXCSR, DEFAULT, true);
  sseExact(view, CPU_BASE, SSE_CONVERSION.cvtpd2ps, 0);
  assert.deepEqual([...singles.subarray(0, 4)], [Math.fround(0.1), 2, 0, 0]);
  assert.equal(view.getUint32(MXCSR, true), DEFAULT | PE);
});

test('dpps keeps the flags of its products when a sum of them is invalid', () => {
  const invalidUnmasked = DEFAULT & ~0x80;
  const { mxcsr, unmasked } = runSingles(
    SSE_ARITHMETIC.dp,
    [3e38, -3e38, 0, 0],
    [3e38, 3e38, 0, 0],
    invalidUnmasked,
    0x31,
  );
  assert.deepEqual([mxcsr, unmasked], [invalidUnmasked | OE | PE | IE, true]);
});
