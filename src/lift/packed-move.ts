// Moves of MMX and XMM registers, whole and in part (Intel SDM volume 1, 5.4.1, 5.5.1, 5.6.1, 5.7.2 and 5.6.4).

import type { Builder, InstructionLift, Value } from '../ir/builder.ts';
import type { PureOperation } from '../ir/operations.ts';
import { type Lift, type Lifts, sizeOf } from './lift.ts';
import {
  enterMmx,
  guarded,
  highLane,
  isMmx,
  isXmm,
  lowLane,
  lowVector,
  readLow,
  readPacked,
  writeMmx,
  writePacked,
  zero,
} from './packed-operands.ts';

const moveWhole =
  (aligned: boolean): Lift =>
  (b, i) =>
    writePacked(b, i.operands[0]!, readPacked(b, i.operands[1]!, aligned), aligned);

/** At most 8 bytes from any register file or memory to any other; a vector destination is zero above them. */
function moveLow(b: Builder, i: InstructionLift): void {
  const [destination, source] = [i.operands[0]!, i.operands[1]!];
  const value = readLow(b, source);
  if (isMmx(destination)) {
    writeMmx(b, destination, value);
    return;
  }
  if (destination.kind === 'register' && isXmm(destination)) b.setVector(destination.location, lowVector(b, value));
  else b.write(destination, value);
  if (isMmx(source)) enterMmx(b);
}

/** MOVSS and MOVSD: between registers the rest of the destination stays, from memory it is cleared. */
function moveScalar(b: Builder, i: InstructionLift): void {
  const [destination, source] = [i.operands[0]!, i.operands[1]!];
  if (destination.kind !== 'register' || source.kind !== 'register') {
    moveLow(b, i);
    return;
  }
  const old = b.getVector(destination.location);
  const value = b.getVector(source.location);
  const shape = sizeOf(source) === 4 ? 'i32x4' : 'i64x2';
  const lane = b.lane(`${shape}.extract_lane`, value, 0);
  b.setVector(destination.location, b.replaceLane(`${shape}.replace_lane`, old, 0, lane));
}

/** MOVLPS to MOVHLPS: 8 bytes into one half of a register, or out of one half into memory. */
const moveHalf =
  (destinationHalf: 0 | 1, sourceHalf: 0 | 1): Lift =>
  (b, i) => {
    const [destination, source] = [i.operands[0]!, i.operands[1]!];
    const value =
      source.kind === 'register'
        ? b.lane('i64x2.extract_lane', b.getVector(source.location), sourceHalf)
        : b.read(source);
    if (destination.kind !== 'register') {
      b.write(destination, value);
      return;
    }
    const old = b.getVector(destination.location);
    b.setVector(destination.location, b.replaceLane('i64x2.replace_lane', old, destinationHalf, value));
  };

/** MOVHPS and MOVHPD: the half of the register is the high one whichever operand it is. */
const moveHigh = moveHalf(1, 1);

const duplicate =
  (lanes: readonly number[]): Lift =>
  (b, i) => {
    const source = readPacked(b, i.operands[1]!);
    writePacked(b, i.operands[0]!, b.shuffle(source, source, lanes));
  };

function movddup(b: Builder, i: InstructionLift): void {
  writePacked(b, i.operands[0]!, b.op('i64x2.splat', readLow(b, i.operands[1]!)));
}

const signMask =
  (operation: PureOperation): Lift =>
  (b, i) => {
    const source = i.operands[1]!;
    const signs = b.extend(b.op(operation, readPacked(b, source)));
    b.write(i.operands[0]!, isMmx(source) ? b.truncate(signs, 1) : signs);
    if (isMmx(source)) enterMmx(b);
  };

/**
 * MASKMOVQ and MASKMOVDQU: the bytes whose mask byte has its top bit set. All bytes must be writable, and are tried
 * before one is written: the first byte for its page, and the first one of the next page where it goes on there.
 */
function maskedStore(b: Builder, i: InstructionLift): void {
  const [destination, source, mask] = [i.operands[0]!, i.operands[1]!, i.operands[2]!];
  const data = readPacked(b, source);
  const selected = b.op('i8x16.lt_s', readPacked(b, mask), zero(b));
  if (isMmx(source)) enterMmx(b);
  const address = b.address(destination, true, sizeOf(destination));
  const merge = (at: Value, half: (b: Builder, vector: Value) => Value): void => {
    const kept = b.not(half(b, selected));
    const written = half(b, b.op('v128.and', data, selected));
    b.modifyAt(at, 8, true, (old) => b.or(b.and(old, kept), written));
  };
  if (sizeOf(destination) === 16) {
    const lastPage = b.and(b.add(address, b.i64(15)), b.i64(-4096n));
    b.modifyAt(address, 1, true, (old) => old);
    b.modifyAt(b.select(b.ltU(address, lastPage), lastPage, address), 1, true, (old) => old);
    merge(b.add(address, b.i64(8)), highLane);
  }
  merge(address, lowLane);
}

export const packedMoveLifts: Lifts = guarded({
  movd: moveLow,
  movq: moveLow,
  movntq: moveLow,
  movq2dq: moveLow,
  movdq2q: moveLow,
  movdqa: moveWhole(true),
  movaps: moveWhole(true),
  movapd: moveWhole(true),
  movntdq: moveWhole(true),
  movntps: moveWhole(true),
  movntpd: moveWhole(true),
  movntdqa: moveWhole(true),
  movdqu: moveWhole(false),
  movups: moveWhole(false),
  movupd: moveWhole(false),
  lddqu: moveWhole(false),
  movss: moveScalar,
  movsd: moveScalar,
  movlps: moveHalf(0, 0),
  movlpd: moveHalf(0, 0),
  movhps: moveHigh,
  movhpd: moveHigh,
  movhlps: moveHalf(0, 1),
  movlhps: moveHalf(1, 0),
  movddup,
  movsldup: duplicate([0, 1, 2, 3, 0, 1, 2, 3, 8, 9, 10, 11, 8, 9, 10, 11]),
  movshdup: duplicate([4, 5, 6, 7, 4, 5, 6, 7, 12, 13, 14, 15, 12, 13, 14, 15]),
  movmskps: signMask('i32x4.bitmask'),
  movmskpd: signMask('i64x2.bitmask'),
  pmovmskb: signMask('i8x16.bitmask'),
  maskmovq: maskedStore,
  maskmovdqu: maskedStore,
});
