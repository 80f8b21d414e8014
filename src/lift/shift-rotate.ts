// Shifts and rotates (Intel SDM volume 1, 5.1.5). A count of zero changes no flag; OF is defined for a count of one
// and follows the processors' usual formula for others.

import type { Builder, InstructionLift, Value } from '../ir/builder.ts';
import { carryFlag, setCarryOverflow, setShiftFlags } from './flags.ts';
import { type Lift, type Lifts, sizeOf } from './lift.ts';

interface Shifted {
  result: Value;
  /** CF and OF in bit 63. */
  carry: Value;
  overflow: Value;
}

const topBit = (b: Builder, value: Value, sizeBytes: number): Value =>
  sizeBytes === 8 ? value : b.shl(value, b.i64(64 - sizeBytes * 8));

function readCount(b: Builder, i: InstructionLift, operand: number, sizeBytes: number): Value {
  return b.and(b.read(i.operands[operand]!), b.i64(sizeBytes === 8 ? 63 : 31));
}

const shl = (b: Builder, x: Value, count: Value, size: number): Shifted => {
  const bits = size * 8;
  // Counts up to 31 on 8 and 16 bits stay within 64, so that the bit shifted out last is at position `bits`.
  const wide = b.shl(x, count);
  const carry = size === 8 ? b.shl(x, b.sub(count, b.i64(1))) : b.shl(b.shrU(wide, b.i64(bits)), b.i64(63));
  return { result: b.truncate(wide, size), carry, overflow: b.xor(topBit(b, wide, size), carry) };
};

const shr = (b: Builder, x: Value, count: Value, size: number): Shifted => {
  const result = b.shrU(x, count);
  const carry = b.shl(b.shrU(x, b.sub(count, b.i64(1))), b.i64(63));
  // OF is the operand's sign for a count of 1: the xor of the result's two top bits.
  const word = topBit(b, result, size);
  return { result, carry, overflow: b.xor(word, b.shl(word, b.i64(1))) };
};

const sar = (b: Builder, x: Value, count: Value, size: number): Shifted => {
  const wide = b.signExtend(x, size);
  const carry = b.shl(b.shrS(wide, b.sub(count, b.i64(1))), b.i64(63));
  return { result: b.truncate(b.shrS(wide, count), size), carry, overflow: b.i64(0) };
};

const shift =
  (operation: typeof shl): Lift =>
  (b, i) => {
    const operand = i.operands[0]!;
    const size = sizeOf(operand);
    const count = readCount(b, i, 1, size);
    let shifted: Shifted | undefined;
    b.modify(operand, i.lock, (old) => {
      shifted = operation(b, old, count, size);
      return shifted.result;
    });
    const { result, carry, overflow } = shifted!;
    b.if(b.wrap(count), () => setShiftFlags(b, size, result, carry, overflow));
  };

/** ROL and ROR: CF and OF alone change. */
const rotate =
  (left: boolean): Lift =>
  (b, i) => {
    const operand = i.operands[0]!;
    const size = sizeOf(operand);
    const bits = size * 8;
    const count = readCount(b, i, 1, size);
    const turn = b.and(count, b.i64(bits - 1));
    let result: Value | undefined;
    b.modify(operand, i.lock, (old) => {
      if (size === 8) {
        result = b.op(left ? 'i64.rotl' : 'i64.rotr', old, turn);
      } else {
        const doubled = b.or(old, b.shl(old, b.i64(bits)));
        const rotated = left ? b.shrU(doubled, b.sub(b.i64(bits), turn)) : b.shrU(doubled, turn);
        result = b.truncate(rotated, size);
      }
      return result;
    });
    b.if(b.wrap(count), () => {
      const top = topBit(b, result!, size);
      const carry = left ? b.shl(result!, b.i64(63)) : top;
      const overflow = left ? b.xor(top, carry) : b.xor(top, b.shl(top, b.i64(1)));
      setCarryOverflow(b, carry, overflow);
    });
  };

/** RCL and RCR rotate through CF: a word of bits + 1. */
const rotateThroughCarry =
  (left: boolean): Lift =>
  (b, i) => {
    const operand = i.operands[0]!;
    const size = sizeOf(operand);
    const bits = size * 8;
    const masked = readCount(b, i, 1, size);
    const count = size >= 4 ? masked : b.op('i64.rem_u', masked, b.i64(bits + 1));
    const carryIn = carryFlag(b);
    let result: Value | undefined;
    const one = b.i64(1);
    const width = b.i64(bits);
    const x = b.modify(operand, i.lock, (old) => {
      // Shifts by 64 wrap in WebAssembly, so each part that may need one is split in two.
      if (left) {
        const high = b.shl(old, count);
        const low = b.shrU(b.shrU(old, one), b.sub(width, count));
        const middle = b.shl(carryIn, b.sub(count, one));
        result = b.truncate(b.or(b.or(high, low), middle), size);
      } else {
        const low = b.shrU(old, count);
        const high = b.shl(b.shl(old, one), b.sub(width, count));
        const middle = b.shl(carryIn, b.sub(width, count));
        result = b.truncate(b.or(b.or(low, high), middle), size);
      }
      return b.select(b.eqz(count), old, result);
    });
    b.if(b.wrap(count), () => {
      const outgoing = left ? b.shrU(x, b.sub(width, count)) : b.shrU(x, b.sub(count, one));
      const carry = b.shl(outgoing, b.i64(63));
      const top = topBit(b, result!, size);
      setCarryOverflow(b, carry, left ? b.xor(top, carry) : b.xor(top, b.shl(top, one)));
    });
  };

/** SHLD and SHRD: bits come in from the second operand. */
const doubleShift =
  (left: boolean): Lift =>
  (b, i) => {
    const operand = i.operands[0]!;
    const size = sizeOf(operand);
    const bits = size * 8;
    const source = b.read(i.operands[1]!);
    const count = readCount(b, i, 2, size);
    const one = b.i64(1);
    const width = b.i64(bits);
    let result: Value | undefined;
    const x = b.modify(operand, i.lock, (old) => {
      let shifted: Value;
      if (size === 2) {
        // Counts above 16 are undefined; processors go on with the destination behind the source.
        shifted = left
          ? b.shrU(b.shl(b.or(b.or(b.shl(old, b.i64(32)), b.shl(source, b.i64(16))), old), count), b.i64(32))
          : b.shrU(b.or(b.or(old, b.shl(source, b.i64(16))), b.shl(old, b.i64(32))), count);
      } else if (left) {
        shifted = b.or(b.shl(old, count), b.shrU(b.shrU(source, one), b.sub(b.i64(bits - 1), count)));
      } else {
        shifted = b.or(b.shrU(old, count), b.shl(b.shl(source, one), b.sub(b.i64(bits - 1), count)));
      }
      result = b.truncate(shifted, size);
      return b.select(b.eqz(count), old, result);
    });
    b.if(b.wrap(count), () => {
      let outgoing: Value;
      if (size === 2) {
        outgoing = left
          ? b.shrU(b.shl(b.or(b.or(b.shl(x, b.i64(32)), b.shl(source, b.i64(16))), x), count), b.i64(48))
          : b.shrU(b.or(b.or(x, b.shl(source, b.i64(16))), b.shl(x, b.i64(32))), b.sub(count, one));
      } else {
        outgoing = left ? b.shrU(x, b.sub(width, count)) : b.shrU(x, b.sub(count, one));
      }
      const carry = b.shl(outgoing, b.i64(63));
      const overflow = b.xor(topBit(b, result!, size), topBit(b, x, size));
      setShiftFlags(b, size, result!, carry, overflow);
    });
  };

export const shiftRotateLifts: Lifts = {
  shl: shift(shl),
  shr: shift(shr),
  sar: shift(sar),
  rol: rotate(true),
  ror: rotate(false),
  rcl: rotateThroughCarry(true),
  rcr: rotateThroughCarry(false),
  shld: doubleShift(true),
  shrd: doubleShift(false),
};
