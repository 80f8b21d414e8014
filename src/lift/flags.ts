// The arithmetic flags in the form that guest-state.ts describes: written by operation, read by condition.
// Intel SDM volume 1, 3.4.3; condition codes: volume 1, appendix B.

import type { Builder, Value } from '../ir/builder.ts';

const SIGN = 1n << 63n;

function setResult(b: Builder, sizeBytes: number, result: Value): void {
  b.flagSource = undefined;
  const extended = b.signExtend(result, sizeBytes);
  b.setField('flagZ', extended);
  b.setField('flagN', extended);
}

/** `carries`: bit n is the carry out of bit n of the operation. */
function setCarries(b: Builder, sizeBytes: number, carries: Value): void {
  b.setField('flagC', sizeBytes === 8 ? carries : b.shl(carries, b.i64(64 - sizeBytes * 8)));
  b.setField('flagA', b.wrap(carries));
}

const addCarries = (b: Builder, x: Value, y: Value, result: Value): Value =>
  b.or(b.and(x, y), b.and(b.or(x, y), b.not(result)));

const subtractBorrows = (b: Builder, x: Value, y: Value, result: Value): Value =>
  b.or(b.and(b.not(x), y), b.and(b.not(b.xor(x, y)), result));

/** Flags of result = x + y + carry, result = x - y - borrow: conditions do not follow from the operands alone. */
export function setAddWithCarryFlags(b: Builder, sizeBytes: number, x: Value, y: Value, result: Value): void {
  setCarriesFlags(b, sizeBytes, result, addCarries(b, x, y, result));
}

function setCarriesFlags(b: Builder, sizeBytes: number, result: Value, carries: Value): void {
  if (b.lazyFlags) {
    b.setFlags({ kind: 'carries', sizeBytes, x: result, y: carries, result });
    return;
  }
  setResult(b, sizeBytes, result);
  setCarries(b, sizeBytes, carries);
}

export function setSubtractWithBorrowFlags(b: Builder, sizeBytes: number, x: Value, y: Value, result: Value): void {
  setCarriesFlags(b, sizeBytes, result, subtractBorrows(b, x, y, result));
}

/** Flags of result = x + y. Operands and result are zero-extended. */
export function setAddFlags(b: Builder, sizeBytes: number, x: Value, y: Value, result: Value): void {
  if (b.lazyFlags) {
    b.setFlags({ kind: 'add', sizeBytes, x, y, result });
    return;
  }
  setResult(b, sizeBytes, result);
  setCarries(b, sizeBytes, addCarries(b, x, y, result));
}

/** Flags of result = x - y. */
export function setSubtractFlags(b: Builder, sizeBytes: number, x: Value, y: Value, result: Value): void {
  if (b.lazyFlags) {
    b.setFlags({ kind: 'subtract', sizeBytes, x, y, result });
    return;
  }
  setResult(b, sizeBytes, result);
  setCarries(b, sizeBytes, subtractBorrows(b, x, y, result));
  b.flagSource = { kind: 'subtract', sizeBytes, x, y, result };
}

/** Flags of AND, OR, XOR, TEST: CF and OF clear (AF is undefined, clear here). */
export function setLogicFlags(b: Builder, sizeBytes: number, result: Value): void {
  if (b.lazyFlags) {
    b.setFlags({ kind: 'logic', sizeBytes, x: result, y: result, result });
    return;
  }
  setResult(b, sizeBytes, result);
  b.setField('flagC', b.i64(0));
  b.setField('flagA', b.i32(0));
  b.flagSource = { kind: 'logic', sizeBytes, x: result, y: result, result };
}

/** A word with CF in bit 63. */
function carryWord(b: Builder): Value {
  const source = b.flagSource;
  if (source === undefined) return b.carryWord();
  if (source.carry !== undefined) return source.carry;
  const { kind, sizeBytes, x, y, result } = source;
  if (kind === 'increment' || kind === 'decrement') return y;
  if (kind === 'logic') return b.i64(0);
  if (kind === 'carries') return b.shl(y, b.i64(64 - sizeBytes * 8));
  return b.shl(b.extend(kind === 'add' ? b.ltU(result, x) : b.ltU(x, y)), b.i64(63));
}

/** Flags of INC (`up`) and DEC: CF is kept. */
export function setStepFlags(b: Builder, sizeBytes: number, x: Value, result: Value, up: boolean): void {
  if (b.lazyFlags) {
    b.setFlags({ kind: up ? 'increment' : 'decrement', sizeBytes, x, y: carryWord(b), result });
    return;
  }
  setResult(b, sizeBytes, result);
  const one = b.i64(1);
  const carries = up ? addCarries(b, x, one, result) : subtractBorrows(b, x, one, result);
  b.setField('flagA', b.wrap(carries));
  const aligned = sizeBytes === 8 ? carries : b.shl(carries, b.i64(64 - sizeBytes * 8));
  const overflow = b.xor(aligned, b.shl(aligned, b.i64(1)));
  setCarryOverflow(b, b.getField('flagC'), overflow);
}

/** CF from bit 63 of `carry`, OF from bit 63 of `overflow`; the other flags stay. */
export function setCarryOverflow(b: Builder, carry: Value, overflow: Value): void {
  b.setCarryWord(carryOverflowWord(b, carry, overflow));
}

function carryOverflowWord(b: Builder, carry: Value, overflow: Value): Value {
  const cf = b.and(carry, b.i64(SIGN));
  const difference = b.and(b.xor(carry, overflow), b.i64(SIGN));
  return b.or(cf, b.shrU(difference, b.i64(1)));
}

/** CF alone, from an i64 that is 0 or 1. */
export function setCarry(b: Builder, carry: Value): void {
  const old = b.getField('flagC');
  setCarryOverflow(b, b.shl(carry, b.i64(63)), b.xor(old, b.shl(old, b.i64(1))));
}

/** ZF, SF and PF from a result; CF and OF from bits 63; AF clear. */
export function setShiftFlags(b: Builder, sizeBytes: number, result: Value, carry: Value, overflow: Value): void {
  if (b.lazyFlags) {
    // The word of carries that says the same: CF at the top, CF xor OF below it, AF clear.
    const word = carryOverflowWord(b, carry, overflow);
    b.setFlags({ kind: 'carries', sizeBytes, x: result, y: b.shrU(word, b.i64(64 - sizeBytes * 8)), result });
    return;
  }
  setResult(b, sizeBytes, result);
  setCarryOverflow(b, carry, overflow);
  b.setField('flagA', b.i32(0));
}

/** Flags given one by one as i64 0 or 1; OF, SF and AF clear: COMISS, PTEST, POPCNT and their like. */
export function setComparisonFlags(b: Builder, zero: Value, parity: Value, carry: Value): void {
  if (b.lazyFlags) b.newFlags();
  b.setField('flagZ', b.xor(zero, b.i64(1)));
  b.setField('flagN', b.xor(parity, b.i64(1)));
  b.setField('flagC', carryOverflowWord(b, b.shl(carry, b.i64(63)), b.i64(0)));
  b.setField('flagA', b.i32(0));
}

/** ZF alone, from an i32 or i64 condition value: ZF = (value == 0). SF and PF stay. */
export function setZero(b: Builder, zeroWhenZero: Value): void {
  b.flagSource = undefined;
  b.setField('flagZ', zeroWhenZero);
}

/** CF as an i64 0 or 1. */
export const carryFlag = (b: Builder): Value => b.shrU(carryWord(b), b.i64(63));

const overflowWord = (b: Builder): Value => {
  const carries = b.getField('flagC');
  return b.xor(carries, b.shl(carries, b.i64(1)));
};

const negative = (b: Builder, value: Value): Value => b.ltS(value, b.i64(0));
const zeroFlag = (b: Builder): Value => b.eqz(b.getField('flagZ'));
const parityOdd = (b: Builder): Value =>
  b.op('i32.and', b.op('i32.popcnt', b.wrap(b.and(b.getField('flagN'), b.i64(0xff)))), b.i32(1));

function baseCondition(b: Builder, code: number): Value {
  switch (code) {
    case 0:
      return negative(b, overflowWord(b));
    case 1:
      return negative(b, carryWord(b));
    case 2:
      return zeroFlag(b);
    case 3:
      return b.op('i32.or', negative(b, b.getField('flagC')), zeroFlag(b));
    case 4:
      return negative(b, b.getField('flagN'));
    case 5:
      return b.op('i32.eqz', parityOdd(b));
    case 6:
      return negative(b, b.xor(b.getField('flagN'), overflowWord(b)));
    default:
      return b.op('i32.or', negative(b, b.xor(b.getField('flagN'), overflowWord(b))), zeroFlag(b));
  }
}

/**
 * A condition from the operands of the comparison that set the flags; undefined where that takes more than the flags.
 */
function directCondition(b: Builder, pair: number): Value | undefined {
  const source = b.flagSource;
  if (source === undefined) return undefined;
  const { kind, sizeBytes, x, y, result, carry } = source;
  const signed = (value: Value): Value => b.signExtend(value, sizeBytes);
  if (pair === 2) return kind === 'subtract' ? b.eq(x, y) : b.eqz(result);
  if (pair === 4) return b.ltS(signed(result), b.i64(0));
  if (carry !== undefined) return pair === 1 ? b.ltS(carry, b.i64(0)) : undefined;
  if (kind === 'increment' || kind === 'decrement') return pair === 1 ? b.ltS(y, b.i64(0)) : undefined;
  if (kind === 'carries') return pair === 1 ? b.ltS(b.shl(y, b.i64(64 - sizeBytes * 8)), b.i64(0)) : undefined;
  if (kind === 'logic') {
    if (pair === 0 || pair === 1) return b.i32(0);
    if (pair === 3) return b.eqz(result);
    if (pair === 6) return b.ltS(signed(result), b.i64(0));
    if (pair === 7) return b.op('i64.le_s', signed(result), b.i64(0));
    return undefined;
  }
  if (kind === 'add') return pair === 1 ? b.ltU(result, x) : undefined;
  if (pair === 1) return b.ltU(x, y);
  if (pair === 3) return b.op('i64.le_u', x, y);
  if (pair === 6) return b.ltS(signed(x), signed(y));
  if (pair === 7) return b.op('i64.le_s', signed(x), signed(y));
  return undefined;
}

/** Condition code 0 (O) to 15 (NLE) as an i32 0 or 1. */
export function condition(b: Builder, code: number): Value {
  const base = directCondition(b, code >> 1) ?? baseCondition(b, code >> 1);
  return (code & 1) === 0 ? base : b.op('i32.eqz', base);
}

/** CF, PF, AF, ZF, SF, OF in their EFLAGS places and bit 1 set, as an i64. */
export function arithmeticFlagsImage(b: Builder): Value {
  const bit = (flag: Value, position: number): Value => b.shl(b.extend(flag), b.i64(position));
  const af = b.shl(b.and(b.extend(b.getField('flagA')), b.i64(8)), b.i64(1));
  const parts = [
    carryFlag(b),
    bit(baseCondition(b, 5), 2),
    af,
    bit(zeroFlag(b), 6),
    bit(negative(b, b.getField('flagN')), 7),
    bit(negative(b, overflowWord(b)), 11),
  ];
  return parts.reduce((sum, part) => b.or(sum, part), b.i64(2));
}

/** Sets CF, PF, AF, ZF, SF from an image in EFLAGS places; OF too unless `keepOverflow`. */
export function setArithmeticFlagsImage(b: Builder, image: Value, keepOverflow = false): void {
  if (b.lazyFlags && !keepOverflow) b.newFlags();
  const bit = (position: number): Value => b.and(b.shrU(image, b.i64(position)), b.i64(1));
  const overflow = keepOverflow ? overflowWord(b) : b.shl(bit(11), b.i64(63));
  b.setField('flagZ', b.xor(bit(6), b.i64(1)));
  b.setField('flagN', b.or(b.shl(bit(7), b.i64(63)), b.xor(bit(2), b.i64(1))));
  b.setField('flagA', b.wrap(b.shl(bit(4), b.i64(3))));
  b.setField('flagC', carryOverflowWord(b, b.shl(bit(0), b.i64(63)), overflow));
}
