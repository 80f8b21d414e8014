// Shuffles, unpacks, blends, inserts and extracts of MMX and XMM registers (Intel SDM volume 1, 5.4.2, 5.5.2, 5.6.3,
// 5.9.5 to 5.9.7). A shuffle by an immediate swizzles with a vector of byte numbers that is computed from it where it
// is not known in advance.

import type { Builder, InstructionLift, OperandLift, Value } from '../ir/builder.ts';
import { XMM_OFFSET } from '../ir/guest-state.ts';
import { type Lift, type Lifts, sizeOf } from './lift.ts';
import {
  bytes,
  dwords,
  enterMmx,
  guarded,
  type ImmediateByte,
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

type LaneBytes = 1 | 2 | 4 | 8;
const SHAPES = { 1: 'i8x16', 2: 'i16x8', 4: 'i32x4', 8: 'i64x2' } as const;

/** Byte numbers of whole lanes. */
const laneBytes = (size: LaneBytes, lanes: readonly number[]): number[] =>
  lanes.flatMap((lane) => sequence(size, lane * size));

export const swizzle = (b: Builder, vector: Value, control: Value): Value => b.op('i8x16.swizzle', vector, control);
const splatBytes = (b: Builder, value: Value): Value => b.op('i8x16.splat', value);

/** The smaller of an immediate and `limit`. */
function clamp(b: Builder, immediate: ImmediateByte, limit: number): ImmediateByte {
  if (immediate.constant !== undefined) {
    const constant = Math.min(immediate.constant, limit);
    return { constant, value: b.i32(constant) };
  }
  const { value } = immediate;
  return { constant: undefined, value: b.select(b.op('i32.lt_u', value, b.i32(limit)), value, b.i32(limit)) };
}

// Unpacks: the low or high lanes of two operands in turn.

const unpack =
  (size: LaneBytes, high: boolean): Lift =>
  (b, i) => {
    const half = (isMmxForm(i) ? 4 : 8) / size;
    const lanes = sequence(half, high ? half : 0).flatMap((lane) => [lane, lane + 16 / size]);
    const control = laneBytes(size, lanes);
    const y = readPacked(b, i.operands[1]!);
    const x = readPacked(b, i.operands[0]!);
    writePacked(b, i.operands[0]!, b.shuffle(x, y, control.concat(control).slice(0, 16)));
  };

// Shuffles by an immediate of four 2-bit fields.

/** Byte numbers for four lanes of 2 or 4 bytes (the 2-byte form twice), lane k taken from the immediate's field k. */
function fieldControl(b: Builder, immediate: ImmediateByte, size: 2 | 4): Value {
  const fields = (values: readonly number[]): Value =>
    size === 2 ? words(b, values.concat(values)) : dwords(b, values);
  if (immediate.constant !== undefined) {
    const control = laneBytes(
      size,
      [0, 2, 4, 6].map((shift) => (immediate.constant! >> shift) & 3),
    );
    return bytes(b, control.concat(control).slice(0, 16));
  }
  const shape = SHAPES[size] as 'i16x8' | 'i32x4';
  const aligned = b.op(`${shape}.mul`, b.op(`${shape}.splat`, immediate.value), fields([64, 16, 4, 1]));
  const selected = b.op('v128.and', b.op(`${shape}.shr_u`, aligned, b.i32(6)), fields([3, 3, 3, 3]));
  const [scale, base] = size === 2 ? [0x0202, 0x0100] : [0x04040404, 0x03020100];
  const scaled = b.op(`${shape}.mul`, selected, fields([scale, scale, scale, scale]));
  return b.op(`${shape}.add`, scaled, fields([base, base, base, base]));
}

function pshufd(b: Builder, i: InstructionLift): void {
  const source = readPacked(b, i.operands[1]!);
  writePacked(b, i.operands[0]!, swizzle(b, source, fieldControl(b, immediateByte(b, i.operands[2]!), 4)));
}

function pshufw(b: Builder, i: InstructionLift): void {
  const source = readPacked(b, i.operands[1]!);
  writePacked(b, i.operands[0]!, swizzle(b, source, fieldControl(b, immediateByte(b, i.operands[2]!), 2)));
}

const pshufHalf =
  (high: boolean): Lift =>
  (b, i) => {
    const source = readPacked(b, i.operands[1]!);
    const control = fieldControl(b, immediateByte(b, i.operands[2]!), 2);
    const kept = bytes(b, sequence(16));
    const moved = high ? b.op('i8x16.add', control, splatBytes(b, b.i32(8))) : control;
    const lanes = high ? sequence(8).concat(sequence(8, 24)) : sequence(8, 16).concat(sequence(8, 8));
    writePacked(b, i.operands[0]!, swizzle(b, source, b.shuffle(kept, moved, lanes)));
  };

/** The low half from one vector, the high half from another. */
export const joinHalves = (b: Builder, low: Value, high: Value): Value =>
  b.shuffle(low, high, sequence(8).concat(sequence(8, 24)));

function shufps(b: Builder, i: InstructionLift): void {
  const y = readPacked(b, i.operands[1]!);
  const x = readPacked(b, i.operands[0]!);
  const control = fieldControl(b, immediateByte(b, i.operands[2]!), 4);
  writePacked(b, i.operands[0]!, joinHalves(b, swizzle(b, x, control), swizzle(b, y, control)));
}

function shufpd(b: Builder, i: InstructionLift): void {
  const y = readPacked(b, i.operands[1]!);
  const x = readPacked(b, i.operands[0]!);
  const immediate = immediateByte(b, i.operands[2]!);
  const exchange = (vector: Value): Value => b.shuffle(vector, vector, sequence(8, 8).concat(sequence(8)));
  // Bit 0 asks for x's high half below, bit 1 for y's low half above (where it is not by itself).
  const low = b.select(immediateField(b, immediate, 0, 1), exchange(x), x);
  const high = b.select(immediateField(b, immediate, 1, 1), y, exchange(y));
  writePacked(b, i.operands[0]!, joinHalves(b, low, high));
}

function pshufb(b: Builder, i: InstructionLift): void {
  const y = readPacked(b, i.operands[1]!);
  const x = readPacked(b, i.operands[0]!);
  // Bit 7 asks for zero, as numbers from 16 on do in a swizzle; the bits between don't count.
  const used = splatBytes(b, b.i32(isMmxForm(i) ? 0x87 : 0x8f));
  writePacked(b, i.operands[0]!, swizzle(b, x, b.op('v128.and', y, used)));
}

// Shifts by bytes. Byte numbers below 0 and from 16 on give zero.

/** `vector` moved down by `count` bytes (0 to 16), or up where `left`. */
function shiftBytes(b: Builder, vector: Value, count: Value, left: boolean): Value {
  return swizzle(b, vector, b.op(left ? 'i8x16.sub' : 'i8x16.add', bytes(b, sequence(16)), splatBytes(b, count)));
}

const byteShift =
  (left: boolean): Lift =>
  (b, i) => {
    const count = clamp(b, immediateByte(b, i.operands[1]!), 16);
    const x = readPacked(b, i.operands[0]!);
    writePacked(b, i.operands[0]!, shiftBytes(b, x, count.value, left));
  };

function palignr(b: Builder, i: InstructionLift): void {
  const y = readPacked(b, i.operands[1]!);
  const x = readPacked(b, i.operands[0]!);
  const immediate = immediateByte(b, i.operands[2]!);
  if (isMmxForm(i)) {
    const both = joinHalves(b, y, x);
    writePacked(b, i.operands[0]!, shiftBytes(b, both, clamp(b, immediate, 16).value, false));
    return;
  }
  const count = clamp(b, immediate, 32);
  if (count.constant !== undefined && count.constant <= 16) {
    writePacked(b, i.operands[0]!, b.shuffle(y, x, sequence(16, count.constant)));
    return;
  }
  const fromX = shiftBytes(b, x, b.op('i32.sub', count.value, b.i32(16)), false);
  writePacked(b, i.operands[0]!, b.op('v128.or', shiftBytes(b, y, count.value, false), fromX));
}

// Blends.

/** All ones in the lanes whose bit of the immediate (from bit `shift` on) is set. */
export function laneMask(b: Builder, immediate: Value, size: LaneBytes): Value {
  const bits = sequence(16 / size).map((lane) => 1 << lane);
  const constant =
    size === 8 ? b.vector(BigInt(bits[0]!), BigInt(bits[1]!)) : size === 4 ? dwords(b, bits) : words(b, bits);
  const splat =
    size === 8
      ? b.op('i64x2.splat', b.extend(immediate))
      : b.op(`${SHAPES[size] as 'i16x8' | 'i32x4'}.splat`, immediate);
  const shape = SHAPES[size] as 'i16x8' | 'i32x4' | 'i64x2';
  return b.op(`${shape}.eq`, b.op('v128.and', splat, constant), constant);
}

const blend =
  (size: 2 | 4 | 8): Lift =>
  (b, i) => {
    const y = readPacked(b, i.operands[1]!);
    const x = readPacked(b, i.operands[0]!);
    const mask = laneMask(b, immediateByte(b, i.operands[2]!).value, size);
    writePacked(b, i.operands[0]!, b.op('v128.bitselect', y, x, mask));
  };

/** By the top bits of XMM0's lanes. */
const blendVariable =
  (size: 1 | 4 | 8): Lift =>
  (b, i) => {
    const y = readPacked(b, i.operands[1]!);
    const x = readPacked(b, i.operands[0]!);
    const selector = b.getVector({ kind: 'fixed', offset: XMM_OFFSET });
    const mask = b.op(`${SHAPES[size]}.lt_s`, selector, zero(b));
    writePacked(b, i.operands[0]!, b.op('v128.bitselect', y, x, mask));
  };

// Inserts and extracts of one lane.

/** All ones in lane `lane` (i32, in range). */
function oneLane(b: Builder, lane: Value, size: LaneBytes): Value {
  if (size === 8) return b.op('i64x2.eq', b.op('i64x2.splat', b.extend(lane)), b.vector(0n, 1n));
  const numbers = sequence(16 / size);
  const constant = size === 1 ? bytes(b, numbers) : size === 2 ? words(b, numbers) : dwords(b, numbers);
  return b.op(`${SHAPES[size]}.eq`, b.op(`${SHAPES[size]}.splat`, lane), constant);
}

const splatLane = (b: Builder, value: Value, size: LaneBytes): Value =>
  size === 8 ? b.op('i64x2.splat', value) : b.op(`${SHAPES[size]}.splat`, b.wrap(value));

function insertLane(b: Builder, i: InstructionLift, size: LaneBytes): void {
  const lanes = (isMmxForm(i) ? 8 : 16) / size;
  const value = b.read(i.operands[1]!);
  const x = readPacked(b, i.operands[0]!);
  const immediate = immediateByte(b, i.operands[2]!);
  if (immediate.constant !== undefined) {
    const lane = immediate.constant & (lanes - 1);
    const scalar = size === 8 ? value : b.wrap(value);
    writePacked(b, i.operands[0]!, b.replaceLane(`${SHAPES[size]}.replace_lane`, x, lane, scalar));
    return;
  }
  const mask = oneLane(b, immediateField(b, immediate, 0, lanes - 1), size);
  writePacked(b, i.operands[0]!, b.op('v128.bitselect', splatLane(b, value, size), x, mask));
}

function extractLane(b: Builder, i: InstructionLift, size: LaneBytes): void {
  const source = i.operands[1]!;
  const lanes = (isMmx(source) ? 8 : 16) / size;
  const lane = immediateField(b, immediateByte(b, i.operands[2]!), 0, lanes - 1);
  const offset = b.op('i32.mul', lane, b.i32(size));
  b.write(i.operands[0]!, b.truncate(lowLane(b, shiftBytes(b, readPacked(b, source), offset, false)), size));
  if (isMmx(source)) enterMmx(b);
}

/** PINSRD and PINSRQ, PEXTRD and PEXTRQ by the size of the general operand. */
const wide = (operand: OperandLift): 4 | 8 => (sizeOf(operand) === 8 ? 8 : 4);

function insertps(b: Builder, i: InstructionLift): void {
  const source = i.operands[1]!;
  const immediate = immediateByte(b, i.operands[2]!);
  const value =
    source.kind === 'memory'
      ? b.op('i32x4.splat', b.wrap(b.read(source)))
      : selectedDword(b, readPacked(b, source), immediateField(b, immediate, 6, 3));
  const x = readPacked(b, i.operands[0]!);
  const mask = oneLane(b, immediateField(b, immediate, 4, 3), 4);
  const cleared = laneMask(b, immediateField(b, immediate, 0, 15), 4);
  writePacked(b, i.operands[0]!, b.op('v128.andnot', b.op('v128.bitselect', value, x, mask), cleared));
}

/** Doubleword `lane` in every lane. */
export function selectedDword(b: Builder, vector: Value, lane: Value): Value {
  const base = splatBytes(b, b.op('i32.mul', lane, b.i32(4)));
  return swizzle(b, vector, b.op('i8x16.add', base, dwords(b, new Array<number>(4).fill(0x03020100))));
}

// Widening moves.

const SIGNED = { true: 's', false: 'u' } as const;

const widen =
  (from: 1 | 2 | 4, to: 2 | 4 | 8, signed: boolean): Lift =>
  (b, i) => {
    let value = b.op('i64x2.splat', readLow(b, i.operands[1]!));
    const sign = SIGNED[`${signed}`];
    if (from === 1) value = b.op(`i16x8.extend_low_i8x16_${sign}`, value);
    if (from <= 2 && to >= 4) value = b.op(`i32x4.extend_low_i16x8_${sign}`, value);
    if (to === 8) value = b.op(`i64x2.extend_low_i32x4_${sign}`, value);
    writePacked(b, i.operands[0]!, value);
  };

// Narrowing: the lanes of the destination, then those of the source.

const pack =
  (
    operation: 'i8x16.narrow_i16x8_s' | 'i8x16.narrow_i16x8_u' | 'i16x8.narrow_i32x4_s' | 'i16x8.narrow_i32x4_u',
  ): Lift =>
  (b, i) => {
    const y = readPacked(b, i.operands[1]!);
    const x = readPacked(b, i.operands[0]!);
    const low = isMmxForm(i) ? joinHalves(b, x, y) : x;
    writePacked(b, i.operands[0]!, b.op(operation, low, y));
  };

export const packedShuffleLifts: Lifts = guarded({
  punpcklbw: unpack(1, false),
  punpcklwd: unpack(2, false),
  punpckldq: unpack(4, false),
  punpcklqdq: unpack(8, false),
  punpckhbw: unpack(1, true),
  punpckhwd: unpack(2, true),
  punpckhdq: unpack(4, true),
  punpckhqdq: unpack(8, true),
  unpcklps: unpack(4, false),
  unpckhps: unpack(4, true),
  unpcklpd: unpack(8, false),
  unpckhpd: unpack(8, true),
  packsswb: pack('i8x16.narrow_i16x8_s'),
  packuswb: pack('i8x16.narrow_i16x8_u'),
  packssdw: pack('i16x8.narrow_i32x4_s'),
  packusdw: pack('i16x8.narrow_i32x4_u'),
  pshufb,
  pshufd,
  pshufw,
  pshuflw: pshufHalf(false),
  pshufhw: pshufHalf(true),
  shufps,
  shufpd,
  pslldq: byteShift(true),
  psrldq: byteShift(false),
  palignr,
  pblendw: blend(2),
  blendps: blend(4),
  blendpd: blend(8),
  pblendvb: blendVariable(1),
  blendvps: blendVariable(4),
  blendvpd: blendVariable(8),
  pinsrb: (b, i) => insertLane(b, i, 1),
  pinsrw: (b, i) => insertLane(b, i, 2),
  pinsrd: (b, i) => insertLane(b, i, wide(i.operands[1]!)),
  pextrb: (b, i) => extractLane(b, i, 1),
  pextrw: (b, i) => extractLane(b, i, 2),
  pextrd: (b, i) => extractLane(b, i, wide(i.operands[0]!)),
  extractps: (b, i) => extractLane(b, i, 4),
  insertps,
  pmovsxbw: widen(1, 2, true),
  pmovsxbd: widen(1, 4, true),
  pmovsxbq: widen(1, 8, true),
  pmovsxwd: widen(2, 4, true),
  pmovsxwq: widen(2, 8, true),
  pmovsxdq: widen(4, 8, true),
  pmovzxbw: widen(1, 2, false),
  pmovzxbd: widen(1, 4, false),
  pmovzxbq: widen(1, 8, false),
  pmovzxwd: widen(2, 4, false),
  pmovzxwq: widen(2, 8, false),
  pmovzxdq: widen(4, 8, false),
});
