// SSE floating-point arithmetic, comparison and conversion (Intel SDM volume 1, 5.5 to 5.7, 5.9.2 to 5.9.4, chapter 11
// and appendix E).
//
// WebAssembly's arithmetic rounds to nearest and reports no exception, so it is used only where nothing else could
// have happened: rounding to nearest, exceptions masked, PE set already, operands that are zero or normal, a result
// that is surely normal or an exact zero. All else goes to the engine's exact arithmetic, sseExact.

import type { Builder, InstructionLift, OperandLift, Value } from '../ir/builder.ts';
import type { PureOperation } from '../ir/operations.ts';
import { SSE_ARITHMETIC, SSE_CONVERSION, SSE_SHAPE } from '../ir/sse-operations.ts';
import { setComparisonFlags } from './flags.ts';
import { type Lift, type Lifts, sizeOf } from './lift.ts';
import {
  dwords,
  enterMmx,
  guarded,
  immediateByte,
  immediateField,
  isMmx,
  lowLane,
  lowVector,
  readLow,
  readPacked,
  sequence,
  writePacked,
} from './packed-operands.ts';
import { joinHalves } from './packed-shuffle.ts';

// One notation for scalar and packed, single and double.

type Suffix = keyof typeof SSE_SHAPE;

interface Shape {
  readonly suffix: Suffix;
  readonly scalar: boolean;
  readonly double: boolean;
  /** Of the arithmetic, and of the lanes of a register. */
  readonly prefix: 'f32' | 'f64' | 'f32x4' | 'f64x2';
  readonly lanes: 'f32x4' | 'f64x2';
}

const shapeOf = (suffix: Suffix): Shape => {
  const scalar = suffix[0] === 's';
  const double = suffix[1] === 'd';
  const lanes = double ? 'f64x2' : 'f32x4';
  return { suffix, scalar, double, lanes, prefix: scalar ? (double ? 'f64' : 'f32') : lanes };
};

type FloatOperation =
  | 'abs'
  | 'sqrt'
  | 'ceil'
  | 'floor'
  | 'trunc'
  | 'nearest'
  | 'add'
  | 'sub'
  | 'mul'
  | 'div'
  | 'eq'
  | 'lt'
  | 'gt'
  | 'ge';

const op = (b: Builder, shape: Shape, name: FloatOperation, ...args: Value[]): Value =>
  b.op(`${shape.prefix}.${name}` as PureOperation, ...args);

const both = (b: Builder, shape: Shape, x: Value, y: Value): Value => b.op(shape.scalar ? 'i32.and' : 'v128.and', x, y);
const either = (b: Builder, shape: Shape, x: Value, y: Value): Value => b.op(shape.scalar ? 'i32.or' : 'v128.or', x, y);

/** Whether a comparison holds in all lanes, as an i32. */
const all = (b: Builder, shape: Shape, mask: Value): Value =>
  shape.scalar ? mask : b.op(shape.double ? 'i64x2.all_true' : 'i32x4.all_true', mask);

/** The same number in every lane. */
function constant(b: Builder, shape: Shape, value: number): Value {
  if (shape.scalar) return shape.double ? b.f64(value) : b.f32(value);
  const lanes = shape.double ? Float64Array.of(value, value) : Float32Array.of(value, value, value, value);
  return b.v128(new Uint8Array(lanes.buffer));
}

/** An operand's bits as a register, and as what the arithmetic takes. */
interface Operand {
  readonly vector: Value;
  readonly value: Value;
}

function operandOf(b: Builder, shape: Shape, vector: Value): Operand {
  return { vector, value: shape.scalar ? b.lane(`${shape.lanes}.extract_lane`, vector, 0) : vector };
}

const readOperand = (b: Builder, shape: Shape, operand: OperandLift): Operand =>
  operandOf(b, shape, readPacked(b, operand));

/** A result as the whole destination register. */
const merge = (b: Builder, shape: Shape, old: Value, value: Value): Value =>
  shape.scalar ? b.replaceLane(`${shape.lanes}.replace_lane`, old, 0, value) : value;

// When WebAssembly's arithmetic is enough.

const smallestNormal = (shape: Shape): number => (shape.double ? 2 ** -1022 : 2 ** -126);

const isZero = (b: Builder, shape: Shape, x: Value): Value => op(b, shape, 'eq', x, constant(b, shape, 0));

/** Neither NaN nor denormal. */
function isOrdinary(b: Builder, shape: Shape, x: Value): Value {
  const normal = op(b, shape, 'ge', op(b, shape, 'abs', x), constant(b, shape, smallestNormal(shape)));
  return either(b, shape, normal, isZero(b, shape, x));
}

/** Finite and not tiny: the smallest normal number is left out, since a tiny result may have been rounded to it. */
function isSafe(b: Builder, shape: Shape, result: Value): Value {
  const magnitude = op(b, shape, 'abs', result);
  const above = op(b, shape, 'gt', magnitude, constant(b, shape, smallestNormal(shape)));
  return both(b, shape, above, op(b, shape, 'lt', magnitude, constant(b, shape, Number.POSITIVE_INFINITY)));
}

/**
 * MXCSR: rounding to nearest, all exceptions masked, no DAZ, no FTZ, and PE set, so that an inexact result changes
 * nothing.
 */
const plainMode = (b: Builder): Value =>
  b.op('i32.eq', b.op('i32.and', b.getField('mxcsr'), b.i32(0xffe0)), b.i32(0x1fa0));

/** PE is masked and set. */
const inexactIsKnown = (b: Builder): Value =>
  b.op('i32.eq', b.op('i32.and', b.getField('mxcsr'), b.i32(0x1020)), b.i32(0x1020));

const and32 = (b: Builder, x: Value, y: Value): Value => b.op('i32.and', x, y);
const or32 = (b: Builder, x: Value, y: Value): Value => b.op('i32.or', x, y);

/** `quick` where `fast` holds; else the exact operation on the old destination `x` and the source `y`. */
function quickOrExact(
  b: Builder,
  fast: Value,
  quick: Value,
  operation: number,
  x: Value,
  y: Value,
  immediate: Value = b.i32(0),
): Value {
  const result = b.variable(quick);
  b.if(b.op('i32.eqz', fast), () => {
    b.setScratch(0, x);
    b.setScratch(1, y);
    b.call('sseExact', b.i32(operation), immediate);
    const exact = b.getScratch(0);
    b.set(result, quick.type === 'i64' ? lowLane(b, exact) : exact);
  });
  return b.get(result);
}

// Arithmetic.

type Binary = 'add' | 'sub' | 'mul' | 'div';

/** Where a zero result is exact: always, or where an operand explains it. */
const ZERO_RESULT: Record<Binary, (b: Builder, shape: Shape, x: Value, y: Value) => Value | undefined> = {
  add: () => undefined,
  sub: () => undefined,
  mul: (b, shape, x, y) => either(b, shape, isZero(b, shape, x), isZero(b, shape, y)),
  div: (b, shape, x) => isZero(b, shape, x),
};

function arithmeticResult(
  b: Builder,
  shape: Shape,
  rule: Binary,
  operation: number,
  x: Operand,
  y: Operand,
  result: Value,
): Value {
  const explained = ZERO_RESULT[rule](b, shape, x.value, y.value);
  const zero = isZero(b, shape, result);
  const exactZero = explained === undefined ? zero : both(b, shape, zero, explained);
  const ordinary = both(b, shape, isOrdinary(b, shape, x.value), isOrdinary(b, shape, y.value));
  const lanes = both(b, shape, ordinary, either(b, shape, isSafe(b, shape, result), exactZero));
  const fast = and32(b, plainMode(b), all(b, shape, lanes));
  return quickOrExact(b, fast, merge(b, shape, x.vector, result), operation, x.vector, y.vector);
}

const arithmetic = (name: Binary, suffix: Suffix): Lift => {
  const shape = shapeOf(suffix);
  return (b, i) => {
    const y = readOperand(b, shape, i.operands[1]!);
    const x = readOperand(b, shape, i.operands[0]!);
    const result = op(b, shape, name, x.value, y.value);
    const number = SSE_ARITHMETIC[name] + SSE_SHAPE[suffix];
    writePacked(b, i.operands[0]!, arithmeticResult(b, shape, name, number, x, y, result));
  };
};

/** HADDPx and HSUBPx: even lanes with odd lanes. */
const horizontal = (name: 'add' | 'sub', suffix: 'ps' | 'pd'): Lift => {
  const shape = shapeOf(suffix);
  const size = shape.double ? 8 : 4;
  const lanes = (first: number): number[] =>
    sequence(16 / size).flatMap((pair) => sequence(size, pair * size * 2 + first));
  return (b, i) => {
    const source = readPacked(b, i.operands[1]!);
    const old = readPacked(b, i.operands[0]!);
    const x = operandOf(b, shape, b.shuffle(old, source, lanes(0)));
    const y = operandOf(b, shape, b.shuffle(old, source, lanes(size)));
    const result = op(b, shape, name, x.value, y.value);
    const number = SSE_ARITHMETIC[name] + SSE_SHAPE[suffix];
    writePacked(b, i.operands[0]!, arithmeticResult(b, shape, name, number, x, y, result));
  };
};

/** ADDSUBPx: even lanes subtract, odd lanes add. */
const addSubtract = (suffix: 'ps' | 'pd'): Lift => {
  const shape = shapeOf(suffix);
  return (b, i) => {
    const y = readOperand(b, shape, i.operands[1]!);
    const x = readOperand(b, shape, i.operands[0]!);
    const even = shape.double ? b.vector(-1n, 0n) : dwords(b, [0xffffffff, 0, 0xffffffff, 0]);
    const sum = op(b, shape, 'add', x.value, y.value);
    const result = b.op('v128.bitselect', op(b, shape, 'sub', x.value, y.value), sum, even);
    const number = SSE_ARITHMETIC.addsub + SSE_SHAPE[suffix];
    writePacked(b, i.operands[0]!, arithmeticResult(b, shape, 'add', number, x, y, result));
  };
};

const squareRoot = (suffix: Suffix): Lift => {
  const shape = shapeOf(suffix);
  return (b, i) => {
    const y = readOperand(b, shape, i.operands[1]!);
    const old = readPacked(b, i.operands[0]!);
    const result = op(b, shape, 'sqrt', y.value);
    // A root is never tiny; comparisons are false for NaN, the root of what is negative.
    const normal = op(b, shape, 'ge', y.value, constant(b, shape, smallestNormal(shape)));
    const finite = op(b, shape, 'lt', result, constant(b, shape, Number.POSITIVE_INFINITY));
    const lanes = either(b, shape, both(b, shape, normal, finite), isZero(b, shape, y.value));
    const fast = and32(b, plainMode(b), all(b, shape, lanes));
    const number = SSE_ARITHMETIC.sqrt + SSE_SHAPE[suffix];
    writePacked(b, i.operands[0]!, quickOrExact(b, fast, merge(b, shape, old, result), number, old, y.vector));
  };
};

/** MINxx and MAXxx: the source where the operands are equal. */
const extreme = (name: 'min' | 'max', suffix: Suffix): Lift => {
  const shape = shapeOf(suffix);
  return (b, i) => {
    const y = readOperand(b, shape, i.operands[1]!);
    const x = readOperand(b, shape, i.operands[0]!);
    const first = op(b, shape, name === 'min' ? 'lt' : 'gt', x.value, y.value);
    const result = shape.scalar ? b.select(first, x.value, y.value) : b.op('v128.bitselect', x.value, y.value, first);
    const ordinary = both(b, shape, isOrdinary(b, shape, x.value), isOrdinary(b, shape, y.value));
    const number = SSE_ARITHMETIC[name] + SSE_SHAPE[suffix];
    const merged = merge(b, shape, x.vector, result);
    writePacked(b, i.operands[0]!, quickOrExact(b, all(b, shape, ordinary), merged, number, x.vector, y.vector));
  };
};

/** The exact path alone, for what is rare. */
const exactOnly = (name: keyof typeof SSE_ARITHMETIC, suffix: Suffix): Lift => {
  return (b, i) => {
    const y = readPacked(b, i.operands[1]!);
    const x = readPacked(b, i.operands[0]!);
    const third = i.operands[2];
    b.setScratch(0, x);
    b.setScratch(1, y);
    const immediate = third === undefined ? b.i32(0) : immediateByte(b, third).value;
    b.call('sseExact', b.i32(SSE_ARITHMETIC[name] + SSE_SHAPE[suffix]), immediate);
    writePacked(b, i.operands[0]!, b.getScratch(0));
  };
};

// Comparison.

/**
 * CMPxx without NaNs: predicates 0 to 3 are equal, less, less or equal, never; 4 to 7 their opposites.
 */
const comparison = (suffix: Suffix): Lift => {
  const shape = shapeOf(suffix);
  return (b, i) => {
    const y = readOperand(b, shape, i.operands[1]!);
    const x = readOperand(b, shape, i.operands[0]!);
    const predicate = immediateField(b, immediateByte(b, i.operands[2]!), 0, 7);
    const wide = (bit: Value): Value => (shape.scalar ? bit : b.op('i32x4.splat', b.op('i32.sub', b.i32(0), bit)));
    const bit = (value: Value): Value => wide(and32(b, value, b.i32(1)));
    const shifted = (count: number): Value => b.op('i32.shr_u', predicate, b.i32(count));
    const equal = both(b, shape, op(b, shape, 'eq', x.value, y.value), bit(b.op('i32.xor', predicate, b.i32(1))));
    const less = both(b, shape, op(b, shape, 'lt', x.value, y.value), bit(b.op('i32.xor', predicate, shifted(1))));
    const holds = b.op(shape.scalar ? 'i32.xor' : 'v128.xor', either(b, shape, equal, less), bit(shifted(2)));
    const quick = shape.scalar ? mergeMask(b, shape, x.vector, holds) : holds;
    const ordinary = both(b, shape, isOrdinary(b, shape, x.value), isOrdinary(b, shape, y.value));
    const number = SSE_ARITHMETIC.cmp + SSE_SHAPE[suffix];
    const fast = all(b, shape, ordinary);
    writePacked(b, i.operands[0]!, quickOrExact(b, fast, quick, number, x.vector, y.vector, predicate));
  };
};

/** An i32 truth as all ones or zeros in the low lane. */
function mergeMask(b: Builder, shape: Shape, old: Value, holds: Value): Value {
  if (shape.double) return b.replaceLane('i64x2.replace_lane', old, 0, b.sub(b.i64(0), b.extend(holds)));
  return b.replaceLane('i32x4.replace_lane', old, 0, b.op('i32.sub', b.i32(0), holds));
}

/** COMISx and UCOMISx. */
const orderFlags = (name: 'comi' | 'ucomi', suffix: 'ss' | 'sd'): Lift => {
  const shape = shapeOf(suffix);
  return (b, i) => {
    const y = readOperand(b, shape, i.operands[1]!);
    const x = readOperand(b, shape, i.operands[0]!);
    const equal = b.extend(op(b, shape, 'eq', x.value, y.value));
    const less = b.extend(op(b, shape, 'lt', x.value, y.value));
    const ordinary = both(b, shape, isOrdinary(b, shape, x.value), isOrdinary(b, shape, y.value));
    const number = SSE_ARITHMETIC[name] + SSE_SHAPE[suffix];
    const quick = b.or(b.shl(equal, b.i64(6)), less);
    const image = quickOrExact(b, ordinary, quick, number, x.vector, y.vector);
    const flag = (position: number): Value => b.and(b.shrU(image, b.i64(position)), b.i64(1));
    setComparisonFlags(b, flag(6), flag(2), flag(0));
  };
};

// Rounding to integral values.

function roundBy(b: Builder, shape: Shape, mode: Value, x: Value): Value {
  const is = (value: number): Value => b.op('i32.eq', mode, b.i32(value));
  const down = op(b, shape, 'floor', x);
  const up = op(b, shape, 'ceil', x);
  const towardZero = op(b, shape, 'trunc', x);
  const directed = b.select(is(1), down, b.select(is(2), up, towardZero));
  return b.select(b.op('i32.eqz', mode), op(b, shape, 'nearest', x), directed);
}

const ROUNDINGS: readonly FloatOperation[] = ['nearest', 'floor', 'ceil', 'trunc'];

const roundIntegral = (suffix: Suffix): Lift => {
  const shape = shapeOf(suffix);
  return (b, i) => {
    const y = readOperand(b, shape, i.operands[1]!);
    const old = readPacked(b, i.operands[0]!);
    const immediate = immediateByte(b, i.operands[2]!);
    const known = immediate.constant !== undefined && (immediate.constant & 4) === 0;
    let result: Value;
    if (known) {
      result = op(b, shape, ROUNDINGS[immediate.constant & 3]!, y.value);
    } else {
      const current = and32(b, b.op('i32.shr_u', b.getField('mxcsr'), b.i32(13)), b.i32(3));
      const mode = b.select(immediateField(b, immediate, 2, 1), current, immediateField(b, immediate, 0, 3));
      result = roundBy(b, shape, mode, y.value);
    }
    const unchanged = all(b, shape, op(b, shape, 'eq', result, y.value));
    const quiet = or32(b, unchanged, or32(b, immediateField(b, immediate, 3, 1), inexactIsKnown(b)));
    const fast = and32(b, all(b, shape, isOrdinary(b, shape, y.value)), quiet);
    const number = SSE_ARITHMETIC.round + SSE_SHAPE[suffix];
    const merged = merge(b, shape, old, result);
    writePacked(b, i.operands[0]!, quickOrExact(b, fast, merged, number, old, y.vector, immediate.value));
  };
};

// Conversion between formats.

const SINGLES = shapeOf('ps');
const DOUBLES = shapeOf('pd');
const SINGLE = shapeOf('ss');
const DOUBLE = shapeOf('sd');

/** The low 8 bytes of an XMM register or memory, zeros above. */
const readHalf = (b: Builder, operand: OperandLift): Value => lowVector(b, readLow(b, operand));

function cvtps2pd(b: Builder, i: InstructionLift): void {
  const y = readHalf(b, i.operands[1]!);
  const quick = b.op('f64x2.promote_low_f32x4', y);
  const fast = all(b, SINGLES, isOrdinary(b, SINGLES, y));
  writePacked(b, i.operands[0]!, quickOrExact(b, fast, quick, SSE_CONVERSION.cvtps2pd, y, y));
}

function cvtpd2ps(b: Builder, i: InstructionLift): void {
  const y = readPacked(b, i.operands[1]!);
  const quick = b.op('f32x4.demote_f64x2_zero', y);
  // The two upper lanes are zero, as is a lane whose operand is.
  const zeros = isZero(b, DOUBLES, y);
  const upper = dwords(b, [0, 0, 0xffffffff, 0xffffffff]);
  const lowZeros = b.shuffle(zeros, zeros, [0, 1, 2, 3, 8, 9, 10, 11, 0, 1, 2, 3, 8, 9, 10, 11]);
  const lanes = b.op('v128.or', isSafe(b, SINGLES, quick), b.op('v128.or', lowZeros, upper));
  const fast = and32(b, plainMode(b), all(b, SINGLES, lanes));
  writePacked(b, i.operands[0]!, quickOrExact(b, fast, quick, SSE_CONVERSION.cvtpd2ps, y, y));
}

function cvtss2sd(b: Builder, i: InstructionLift): void {
  const y = readOperand(b, SINGLE, i.operands[1]!);
  const old = readPacked(b, i.operands[0]!);
  const quick = merge(b, DOUBLE, old, b.op('f64.promote_f32', y.value));
  const fast = isOrdinary(b, SINGLE, y.value);
  writePacked(b, i.operands[0]!, quickOrExact(b, fast, quick, SSE_CONVERSION.cvtss2sd, old, y.vector));
}

function cvtsd2ss(b: Builder, i: InstructionLift): void {
  const y = readOperand(b, DOUBLE, i.operands[1]!);
  const old = readPacked(b, i.operands[0]!);
  const result = b.op('f32.demote_f64', y.value);
  const fast = and32(b, plainMode(b), or32(b, isSafe(b, SINGLE, result), isZero(b, DOUBLE, y.value)));
  const quick = merge(b, SINGLE, old, result);
  writePacked(b, i.operands[0]!, quickOrExact(b, fast, quick, SSE_CONVERSION.cvtsd2ss, old, y.vector));
}

// Conversion from integers.

/** Doublewords to singles: exact up to 2^24. */
function singlesOf(b: Builder, y: Value): Value {
  const small = b.op('i32x4.all_true', b.op('i32x4.le_u', b.op('i32x4.abs', y), dwords(b, new Array(4).fill(1 << 24))));
  const quick = b.op('f32x4.convert_i32x4_s', y);
  return quickOrExact(b, or32(b, small, plainMode(b)), quick, SSE_CONVERSION.cvtdq2ps, y, y);
}

function cvtdq2ps(b: Builder, i: InstructionLift): void {
  writePacked(b, i.operands[0]!, singlesOf(b, readPacked(b, i.operands[1]!)));
}

/** CVTDQ2PD, and CVTPI2PD, which is a move to the x87's registers as seen by its tags where it reads one. */
function cvtdq2pd(b: Builder, i: InstructionLift): void {
  const value = b.op('f64x2.convert_low_i32x4_s', readHalf(b, i.operands[1]!));
  if (isMmx(i.operands[1]!)) enterMmx(b);
  writePacked(b, i.operands[0]!, value);
}

function cvtpi2ps(b: Builder, i: InstructionLift): void {
  const source = readHalf(b, i.operands[1]!);
  if (isMmx(i.operands[1]!)) enterMmx(b);
  const result = singlesOf(b, source);
  const old = readPacked(b, i.operands[0]!);
  writePacked(b, i.operands[0]!, joinHalves(b, result, old));
}

const fromInteger =
  (shape: Shape): Lift =>
  (b, i) => {
    const source = i.operands[1]!;
    const destination = i.operands[0]!;
    const integer = b.signExtend(b.read(source), sizeOf(source));
    const old = readPacked(b, destination);
    const name = shape.double ? 'f64.convert_i64_s' : 'f32.convert_i64_s';
    const quick = merge(b, shape, old, b.op(name, integer));
    if (shape.double && sizeOf(source) === 4) {
      writePacked(b, destination, quick);
      return;
    }
    const limit = shape.double ? 1n << 53n : 1n << 24n;
    const small = b.op('i64.le_u', b.add(integer, b.i64(limit)), b.i64(limit * 2n));
    const number = shape.double ? SSE_CONVERSION.cvtsi2sd : SSE_CONVERSION.cvtsi2ss;
    const fast = or32(b, small, plainMode(b));
    writePacked(b, destination, quickOrExact(b, fast, quick, number, old, b.op('i64x2.splat', integer)));
  };

// Conversion to integers: quick where the rounded value is in range and PE is set already or nothing was rounded.

/** To a general register. */
const toInteger =
  (name: 'cvtss2si' | 'cvttss2si' | 'cvtsd2si' | 'cvttsd2si', shape: Shape): Lift =>
  (b, i) => {
    const size = sizeOf(i.operands[0]!);
    const y = readOperand(b, shape, i.operands[1]!);
    const value = shape.double ? y.value : b.op('f64.promote_f32', y.value);
    const rounded = b.op(name.startsWith('cvtt') ? 'f64.trunc' : 'f64.nearest', value);
    const limit = size === 8 ? 2 ** 63 : 2 ** 31;
    const inRange = and32(b, b.op('f64.ge', rounded, b.f64(-limit)), b.op('f64.lt', rounded, b.f64(limit)));
    const fast = and32(b, inRange, or32(b, plainMode(b), b.op('f64.eq', rounded, value)));
    const quick = b.truncate(b.op('i64.trunc_sat_f64_s', rounded), size);
    const result = quickOrExact(b, fast, quick, SSE_CONVERSION[name], y.vector, y.vector, b.i32(size));
    b.write(i.operands[0]!, result);
  };

type PackedConversion = 'cvtps2dq' | 'cvttps2dq' | 'cvtpd2dq' | 'cvttpd2dq';

/** To packed doublewords. -2^31 is left to the exact path. */
function doublewordsOf(b: Builder, name: PackedConversion, y: Value): Value {
  const shape = name.endsWith('pd2dq') ? DOUBLES : SINGLES;
  const rounded = op(b, shape, name.startsWith('cvtt') ? 'trunc' : 'nearest', y);
  const inRange = all(b, shape, op(b, shape, 'lt', op(b, shape, 'abs', rounded), constant(b, shape, 2 ** 31)));
  const unchanged = all(b, shape, op(b, shape, 'eq', rounded, y));
  const fast = and32(b, inRange, or32(b, plainMode(b), unchanged));
  const quick = b.op(shape.double ? 'i32x4.trunc_sat_f64x2_s_zero' : 'i32x4.trunc_sat_f32x4_s', rounded);
  return quickOrExact(b, fast, quick, SSE_CONVERSION[name], y, y);
}

/** `half`: two singles of the source count, and the destination is an MMX register. */
const toDoublewords =
  (name: PackedConversion, half = false): Lift =>
  (b, i) => {
    const y = half ? readHalf(b, i.operands[1]!) : readPacked(b, i.operands[1]!);
    // Also where #XM follows.
    if (isMmx(i.operands[0]!)) enterMmx(b);
    writePacked(b, i.operands[0]!, doublewordsOf(b, name, y));
  };

// RCPxx and RSQRTxx. The manual bounds their relative error by 1.5 × 2^-12 and leaves the rest to the processor;
// here the quotient is rounded to single precision. They raise no exception.

const approximate = (name: 'rcp' | 'rsqrt', suffix: 'ps' | 'ss'): Lift => {
  const shape = shapeOf(suffix);
  return (b, i) => {
    const y = readOperand(b, shape, i.operands[1]!);
    const old = readPacked(b, i.operands[0]!);
    const divisor = name === 'rcp' ? y.value : op(b, shape, 'sqrt', y.value);
    const result = op(b, shape, 'div', constant(b, shape, 1), divisor);
    const magnitude = name === 'rcp' ? op(b, shape, 'abs', y.value) : y.value;
    const normal = op(b, shape, 'ge', magnitude, constant(b, shape, smallestNormal(shape)));
    const lanes = both(b, shape, normal, op(b, shape, 'lt', magnitude, constant(b, shape, 2 ** 126)));
    const merged = merge(b, shape, old, result);
    const number = SSE_ARITHMETIC[name] + SSE_SHAPE[suffix];
    const fast = all(b, shape, lanes);
    writePacked(b, i.operands[0]!, quickOrExact(b, fast, merged, number, old, y.vector));
  };
};

const forShapes = (suffixes: readonly Suffix[], name: string, make: (suffix: never) => Lift): Lifts =>
  Object.fromEntries(suffixes.map((suffix) => [`${name}${suffix}`, make(suffix as never)]));

const ALL: readonly Suffix[] = ['ps', 'pd', 'ss', 'sd'];
const PACKED: readonly Suffix[] = ['ps', 'pd'];

export const floatingPointLifts: Lifts = guarded({
  ...forShapes(ALL, 'add', (suffix) => arithmetic('add', suffix)),
  ...forShapes(ALL, 'sub', (suffix) => arithmetic('sub', suffix)),
  ...forShapes(ALL, 'mul', (suffix) => arithmetic('mul', suffix)),
  ...forShapes(ALL, 'div', (suffix) => arithmetic('div', suffix)),
  ...forShapes(ALL, 'sqrt', squareRoot),
  ...forShapes(ALL, 'min', (suffix) => extreme('min', suffix)),
  ...forShapes(ALL, 'max', (suffix) => extreme('max', suffix)),
  ...forShapes(ALL, 'cmp', comparison),
  ...forShapes(ALL, 'round', roundIntegral),
  ...forShapes(PACKED, 'hadd', (suffix) => horizontal('add', suffix)),
  ...forShapes(PACKED, 'hsub', (suffix) => horizontal('sub', suffix)),
  ...forShapes(PACKED, 'addsub', addSubtract),
  ...forShapes(PACKED, 'dp', (suffix) => exactOnly('dp', suffix)),
  ...forShapes(['ps', 'ss'], 'rcp', (suffix) => approximate('rcp', suffix)),
  ...forShapes(['ps', 'ss'], 'rsqrt', (suffix) => approximate('rsqrt', suffix)),
  ...forShapes(['ss', 'sd'], 'comi', (suffix) => orderFlags('comi', suffix)),
  ...forShapes(['ss', 'sd'], 'ucomi', (suffix) => orderFlags('ucomi', suffix)),
  cvtps2pd,
  cvtpd2ps,
  cvtss2sd,
  cvtsd2ss,
  cvtdq2ps,
  cvtdq2pd,
  cvtpi2ps,
  cvtpi2pd: cvtdq2pd,
  cvtsi2ss: fromInteger(SINGLE),
  cvtsi2sd: fromInteger(DOUBLE),
  cvtss2si: toInteger('cvtss2si', SINGLE),
  cvttss2si: toInteger('cvttss2si', SINGLE),
  cvtsd2si: toInteger('cvtsd2si', DOUBLE),
  cvttsd2si: toInteger('cvttsd2si', DOUBLE),
  cvtps2dq: toDoublewords('cvtps2dq'),
  cvttps2dq: toDoublewords('cvttps2dq'),
  cvtpd2dq: toDoublewords('cvtpd2dq'),
  cvttpd2dq: toDoublewords('cvttpd2dq'),
  cvtps2pi: toDoublewords('cvtps2dq', true),
  cvttps2pi: toDoublewords('cvttps2dq', true),
  cvtpd2pi: toDoublewords('cvtpd2dq'),
  cvttpd2pi: toDoublewords('cvttpd2dq'),
});
