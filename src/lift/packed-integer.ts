// Packed-integer arithmetic, logic, comparison and shifts of MMX and XMM registers (Intel SDM volume 1, 5.4.3 to 5.4.6,
// 5.6.3, 5.8, 5.9.1, 5.9.8 to 5.9.12), and the logic of packed floating-point values, which is the same.

import type { Builder, InstructionLift, OperandLift, Value } from '../ir/builder.ts';
import type { PureOperation } from '../ir/operations.ts';
import { setComparisonFlags } from './flags.ts';
import type { Lift, Lifts } from './lift.ts';
import {
  bytes,
  dwords,
  guarded,
  immediateByte,
  immediateField,
  isMmx,
  isMmxForm,
  lowLane,
  readLow,
  readPacked,
  sequence,
  words,
  writePacked,
  zero,
} from './packed-operands.ts';
import { joinHalves, selectedDword, swizzle } from './packed-shuffle.ts';

type Combine = (b: Builder, x: Value, y: Value) => Value;

/** destination = combine(destination, source). */
const binary =
  (combine: Combine): Lift =>
  (b, i) => {
    const y = readPacked(b, i.operands[1]!);
    const x = readPacked(b, i.operands[0]!);
    writePacked(b, i.operands[0]!, combine(b, x, y));
  };

const lanewise = (operation: PureOperation): Lift => binary((b, x, y) => b.op(operation, x, y));

const unary =
  (operation: PureOperation): Lift =>
  (b, i) =>
    writePacked(b, i.operands[0]!, b.op(operation, readPacked(b, i.operands[1]!)));

const andNot = binary((b, x, y) => b.op('v128.andnot', y, x));

// Multiplication.

/** High halves of 16-bit products. */
const multiplyHigh = (sign: 's' | 'u'): Lift =>
  binary((b, x, y) => {
    const low = b.op(`i32x4.extmul_low_i16x8_${sign}`, x, y);
    const high = b.op(`i32x4.extmul_high_i16x8_${sign}`, x, y);
    return b.shuffle(
      low,
      high,
      sequence(8).flatMap((lane) => [lane * 4 + 2, lane * 4 + 3]),
    );
  });

/** Products of the even doublewords as quadwords. */
const multiplyEven = (sign: 's' | 'u'): Lift =>
  binary((b, x, y) => {
    const even = (vector: Value): Value =>
      b.shuffle(vector, vector, [0, 1, 2, 3, 8, 9, 10, 11, 0, 1, 2, 3, 8, 9, 10, 11]);
    return b.op(`i64x2.extmul_low_i32x4_${sign}`, even(x), even(y));
  });

/** Rounded high halves: WebAssembly saturates -1 × -1 where PMULHRSW wraps. */
const pmulhrsw = binary((b, x, y) => {
  const lowest = words(b, new Array<number>(8).fill(0x8000));
  const wraps = b.op('v128.and', b.op('i16x8.eq', x, lowest), b.op('i16x8.eq', y, lowest));
  return b.op('v128.xor', b.op('i16x8.q15mulr_sat_s', x, y), wraps);
});

/** Unsigned bytes of the destination times signed bytes of the source, neighbours added with saturation. */
const pmaddubsw = binary((b, x, y) => {
  const eight = b.i32(8);
  const even = b.op(
    'i16x8.mul',
    b.op('v128.and', x, words(b, new Array<number>(8).fill(0xff))),
    b.op('i16x8.shr_s', b.op('i16x8.shl', y, eight), eight),
  );
  const odd = b.op('i16x8.mul', b.op('i16x8.shr_u', x, eight), b.op('i16x8.shr_s', y, eight));
  return b.op('i16x8.add_sat_s', even, odd);
});

// Sums of absolute differences.

const absoluteDifference = (b: Builder, x: Value, y: Value): Value =>
  b.op('i8x16.sub', b.op('i8x16.max_u', x, y), b.op('i8x16.min_u', x, y));

const fourSums = (b: Builder, x: Value, y: Value): Value =>
  b.op('i32x4.extadd_pairwise_i16x8_u', b.op('i16x8.extadd_pairwise_i8x16_u', absoluteDifference(b, x, y)));

const psadbw = binary((b, x, y) => {
  const sums = fourSums(b, x, y);
  const folded = b.op('i64x2.add', sums, b.op('i64x2.shr_u', sums, b.i32(32)));
  return b.op('v128.and', folded, b.vector(0xffffffffn, 0xffffffffn));
});

function mpsadbw(b: Builder, i: InstructionLift): void {
  const y = readPacked(b, i.operands[1]!);
  const x = readPacked(b, i.operands[0]!);
  const immediate = immediateByte(b, i.operands[2]!);
  const block = selectedDword(b, y, immediateField(b, immediate, 0, 3));
  const start = b.op('i8x16.splat', b.op('i32.mul', immediateField(b, immediate, 2, 1), b.i32(4)));
  const windows = (first: number): Value => {
    const numbers = sequence(4, first).flatMap((byte) => sequence(4, byte));
    return swizzle(b, x, b.op('i8x16.add', start, bytes(b, numbers)));
  };
  const low = fourSums(b, windows(0), block);
  const high = fourSums(b, windows(4), block);
  writePacked(b, i.operands[0]!, b.op('i16x8.narrow_i32x4_u', low, high));
}

// Horizontal arithmetic: even lanes combined with odd lanes, the destination's below the source's.

const horizontal =
  (operation: PureOperation, size: 2 | 4): Lift =>
  (b, i) => {
    const y = readPacked(b, i.operands[1]!);
    const x = readPacked(b, i.operands[0]!);
    const low = isMmxForm(i) ? joinHalves(b, x, y) : x;
    const lanes = (first: number): number[] =>
      sequence(16 / size).flatMap((pair) => sequence(size, pair * size * 2 + first));
    const even = b.shuffle(low, y, lanes(0));
    const odd = b.shuffle(low, y, lanes(size));
    writePacked(b, i.operands[0]!, b.op(operation, even, odd));
  };

/** PSIGNx: negated where the source is negative, 0 where it is 0. */
const sign = (shape: 'i8x16' | 'i16x8' | 'i32x4'): Lift =>
  binary((b, x, y) => {
    const negative = b.op(`${shape}.lt_s`, y, zero(b));
    const signed = b.op(`${shape}.sub`, b.op('v128.xor', x, negative), negative);
    return b.op('v128.andnot', signed, b.op(`${shape}.eq`, y, zero(b)));
  });

/** The smallest word and its number: both in one doubleword, the word above. */
function phminposuw(b: Builder, i: InstructionLift): void {
  const source = readPacked(b, i.operands[1]!);
  const numbered = (half: 'low' | 'high', first: number): Value =>
    b.op(
      'v128.or',
      b.op('i32x4.shl', b.op(`i32x4.extend_${half}_i16x8_u`, source), b.i32(16)),
      dwords(b, sequence(4, first)),
    );
  const four = b.op('i32x4.min_u', numbered('low', 0), numbered('high', 4));
  const two = b.op('i32x4.min_u', four, b.shuffle(four, four, sequence(8, 8).concat(sequence(8))));
  const one = b.op(
    'i32x4.min_u',
    two,
    b.shuffle(two, two, sequence(4, 4).concat(sequence(4), sequence(4, 12), sequence(4, 8))),
  );
  const smallest = b.op('i32.rotl', b.lane('i32x4.extract_lane', one, 0), b.i32(16));
  writePacked(b, i.operands[0]!, b.replaceLane('i32x4.replace_lane', zero(b), 0, smallest));
}

// Shifts. Counts from the lane's width on shift everything out; WebAssembly's are taken modulo the width.

/** The count as an i64: an immediate, or the low 64 bits of the source. */
function readCount(b: Builder, operand: OperandLift): Value {
  if (operand.kind === 'immediate') return b.extend(immediateByte(b, operand).value);
  return isMmx(operand) ? readLow(b, operand) : lowLane(b, readPacked(b, operand));
}

const shift =
  (shape: 'i16x8' | 'i32x4' | 'i64x2', direction: 'shl' | 'shr_u' | 'shr_s'): Lift =>
  (b, i) => {
    const width = { i16x8: 16, i32x4: 32, i64x2: 64 }[shape];
    const count = readCount(b, i.operands[1]!);
    const x = readPacked(b, i.operands[0]!);
    const inRange = b.ltU(count, b.i64(width));
    const operation = `${shape}.${direction}` as const;
    if (direction === 'shr_s') {
      const limited = b.select(inRange, b.wrap(count), b.i32(width - 1));
      writePacked(b, i.operands[0]!, b.op(operation, x, limited));
    } else {
      writePacked(b, i.operands[0]!, b.select(inRange, b.op(operation, x, b.wrap(count)), zero(b)));
    }
  };

function ptest(b: Builder, i: InstructionLift): void {
  const y = readPacked(b, i.operands[1]!);
  const x = readPacked(b, i.operands[0]!);
  const isZero = (vector: Value): Value => b.extend(b.op('i32.eqz', b.op('v128.any_true', vector)));
  setComparisonFlags(b, isZero(b.op('v128.and', x, y)), b.i64(0), isZero(b.op('v128.andnot', y, x)));
}

export const packedIntegerLifts: Lifts = guarded({
  paddb: lanewise('i8x16.add'),
  paddw: lanewise('i16x8.add'),
  paddd: lanewise('i32x4.add'),
  paddq: lanewise('i64x2.add'),
  paddsb: lanewise('i8x16.add_sat_s'),
  paddsw: lanewise('i16x8.add_sat_s'),
  paddusb: lanewise('i8x16.add_sat_u'),
  paddusw: lanewise('i16x8.add_sat_u'),
  psubb: lanewise('i8x16.sub'),
  psubw: lanewise('i16x8.sub'),
  psubd: lanewise('i32x4.sub'),
  psubq: lanewise('i64x2.sub'),
  psubsb: lanewise('i8x16.sub_sat_s'),
  psubsw: lanewise('i16x8.sub_sat_s'),
  psubusb: lanewise('i8x16.sub_sat_u'),
  psubusw: lanewise('i16x8.sub_sat_u'),
  pavgb: lanewise('i8x16.avgr_u'),
  pavgw: lanewise('i16x8.avgr_u'),
  pminub: lanewise('i8x16.min_u'),
  pminsb: lanewise('i8x16.min_s'),
  pminuw: lanewise('i16x8.min_u'),
  pminsw: lanewise('i16x8.min_s'),
  pminud: lanewise('i32x4.min_u'),
  pminsd: lanewise('i32x4.min_s'),
  pmaxub: lanewise('i8x16.max_u'),
  pmaxsb: lanewise('i8x16.max_s'),
  pmaxuw: lanewise('i16x8.max_u'),
  pmaxsw: lanewise('i16x8.max_s'),
  pmaxud: lanewise('i32x4.max_u'),
  pmaxsd: lanewise('i32x4.max_s'),
  pabsb: unary('i8x16.abs'),
  pabsw: unary('i16x8.abs'),
  pabsd: unary('i32x4.abs'),
  psignb: sign('i8x16'),
  psignw: sign('i16x8'),
  psignd: sign('i32x4'),
  phaddw: horizontal('i16x8.add', 2),
  phaddd: horizontal('i32x4.add', 4),
  phaddsw: horizontal('i16x8.add_sat_s', 2),
  phsubw: horizontal('i16x8.sub', 2),
  phsubd: horizontal('i32x4.sub', 4),
  phsubsw: horizontal('i16x8.sub_sat_s', 2),
  phminposuw,
  pmullw: lanewise('i16x8.mul'),
  pmulld: lanewise('i32x4.mul'),
  pmulhw: multiplyHigh('s'),
  pmulhuw: multiplyHigh('u'),
  pmulhrsw,
  pmuludq: multiplyEven('u'),
  pmuldq: multiplyEven('s'),
  pmaddwd: lanewise('i32x4.dot_i16x8_s'),
  pmaddubsw,
  psadbw,
  mpsadbw,
  pcmpeqb: lanewise('i8x16.eq'),
  pcmpeqw: lanewise('i16x8.eq'),
  pcmpeqd: lanewise('i32x4.eq'),
  pcmpeqq: lanewise('i64x2.eq'),
  pcmpgtb: lanewise('i8x16.gt_s'),
  pcmpgtw: lanewise('i16x8.gt_s'),
  pcmpgtd: lanewise('i32x4.gt_s'),
  pcmpgtq: lanewise('i64x2.gt_s'),
  psllw: shift('i16x8', 'shl'),
  pslld: shift('i32x4', 'shl'),
  psllq: shift('i64x2', 'shl'),
  psrlw: shift('i16x8', 'shr_u'),
  psrld: shift('i32x4', 'shr_u'),
  psrlq: shift('i64x2', 'shr_u'),
  psraw: shift('i16x8', 'shr_s'),
  psrad: shift('i32x4', 'shr_s'),
  pand: lanewise('v128.and'),
  pandn: andNot,
  por: lanewise('v128.or'),
  pxor: lanewise('v128.xor'),
  andps: lanewise('v128.and'),
  andpd: lanewise('v128.and'),
  andnps: andNot,
  andnpd: andNot,
  orps: lanewise('v128.or'),
  orpd: lanewise('v128.or'),
  xorps: lanewise('v128.xor'),
  xorpd: lanewise('v128.xor'),
  ptest,
});
