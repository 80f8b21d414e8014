// Binary integer arithmetic and logic: ADD to CMP, INC, DEC, NEG, NOT, TEST, XADD, CMPXCHG, MUL, DIV and the decimal
// adjustments (Intel SDM volume 1, 5.1.2 to 5.1.4 and 5.1.13).

import type { Builder, InstructionLift, Value } from '../ir/builder.ts';
import * as flags from './flags.ts';
import { condition } from './flags.ts';
import { type Lift, type Lifts, sizeOf } from './lift.ts';

const RAX = 0;
const RDX = 2;
const DE = 0;

type Combine = (b: Builder, x: Value, y: Value) => Value;
type Flags = (b: Builder, sizeBytes: number, x: Value, y: Value, result: Value) => void;

/** dst = dst op src, flags after the write has succeeded. */
const binary =
  (combine: Combine, setFlags: Flags): Lift =>
  (b, i) => {
    const [destination, source] = [i.operands[0]!, i.operands[1]!];
    const size = sizeOf(destination);
    const y = b.read(source);
    let result: Value | undefined;
    const x = b.modify(destination, i.lock, (old) => {
      result = b.truncate(combine(b, old, y), size);
      return result;
    });
    setFlags(b, size, x, y, result!);
  };

/** The flags of dst op src alone. */
const compare =
  (combine: Combine, setFlags: Flags): Lift =>
  (b, i) => {
    const size = sizeOf(i.operands[0]!);
    const x = b.read(i.operands[0]!);
    const y = b.read(i.operands[1]!);
    setFlags(b, size, x, y, b.truncate(combine(b, x, y), size));
  };

const logicFlags: Flags = (b, size, _x, _y, result) => flags.setLogicFlags(b, size, result);
const add: Combine = (b, x, y) => b.add(x, y);
const subtract: Combine = (b, x, y) => b.sub(x, y);
const addWithCarry: Combine = (b, x, y) => b.add(b.add(x, y), flags.carryFlag(b));
const subtractWithBorrow: Combine = (b, x, y) => b.sub(b.sub(x, y), flags.carryFlag(b));

const step =
  (up: boolean): Lift =>
  (b, i) => {
    const operand = i.operands[0]!;
    const size = sizeOf(operand);
    let result: Value | undefined;
    const x = b.modify(operand, i.lock, (old) => {
      result = b.truncate(up ? b.add(old, b.i64(1)) : b.sub(old, b.i64(1)), size);
      return result;
    });
    flags.setStepFlags(b, size, x, result!, up);
  };

function neg(b: Builder, i: InstructionLift): void {
  const operand = i.operands[0]!;
  const size = sizeOf(operand);
  let result: Value | undefined;
  const x = b.modify(operand, i.lock, (old) => {
    result = b.truncate(b.sub(b.i64(0), old), size);
    return result;
  });
  flags.setSubtractFlags(b, size, b.i64(0), x, result!);
}

function not(b: Builder, i: InstructionLift): void {
  const operand = i.operands[0]!;
  b.modify(operand, i.lock, (old) => b.truncate(b.not(old), sizeOf(operand)));
}

function xadd(b: Builder, i: InstructionLift): void {
  const [destination, source] = [i.operands[0]!, i.operands[1]!];
  const size = sizeOf(destination);
  const y = b.read(source);
  let result: Value | undefined;
  if (destination.kind === 'register') {
    // The sum is written last: XADD r, r with both the same leaves the sum.
    const x = b.read(destination);
    result = b.truncate(b.add(x, y), size);
    b.write(source, x);
    b.write(destination, result);
    flags.setAddFlags(b, size, x, y, result);
    return;
  }
  const x = b.modify(destination, i.lock, (old) => {
    result = b.truncate(b.add(old, y), size);
    return result;
  });
  b.write(source, x);
  flags.setAddFlags(b, size, x, y, result!);
}

function cmpxchg(b: Builder, i: InstructionLift): void {
  const [destination, source] = [i.operands[0]!, i.operands[1]!];
  const size = sizeOf(destination);
  const replacement = b.read(source);
  const accumulator = b.gpr(RAX, size);
  // Memory is written in either case: the old value goes back when the comparison fails.
  const old =
    destination.kind === 'register'
      ? b.read(destination)
      : b.modify(destination, i.lock, (value) => b.select(b.eq(value, accumulator), replacement, value));
  flags.setSubtractFlags(b, size, accumulator, old, b.truncate(b.sub(accumulator, old), size));
  b.if(
    b.eq(old, accumulator),
    () => {
      if (destination.kind === 'register') b.write(destination, replacement);
    },
    () => b.setGpr(RAX, size, old),
  );
}

/** CMPXCHG8B and CMPXCHG16B. The locked form is atomic as long as one processor runs; memory is always written. */
function cmpxchgPair(b: Builder, i: InstructionLift): void {
  const half = i.operandBytes === 8 ? 8 : 4;
  const operand = i.operands[0]!;
  const address = b.address(operand, true, half * 2);
  if (half === 8) b.if(b.wrap(b.and(address, b.i64(15))), () => b.raise(13, 0));
  const low = b.variable(b.i64(0));
  const high = b.variable(b.i64(0));
  const [rbx, rcx] = [b.gpr(3, half), b.gpr(1, half)];
  const [rax, rdx] = [b.gpr(RAX, half), b.gpr(RDX, half)];
  if (half === 4) {
    const replacement = b.or(rbx, b.shl(rcx, b.i64(32)));
    const expected = b.or(rax, b.shl(rdx, b.i64(32)));
    const old = b.modify({ ...operand, sizeBytes: 8 } as typeof operand, i.lock, (value) =>
      b.select(b.eq(value, expected), replacement, value),
    );
    b.set(low, b.truncate(old, 4));
    b.set(high, b.shrU(old, b.i64(32)));
  } else {
    // The operand is a write's from the first access on.
    b.modifyAt(address, 8, false, (value) => value);
    const oldVector = b.loadVector(address);
    const [oldLow, oldHigh] = [b.lane('i64x2.extract_lane', oldVector, 0), b.lane('i64x2.extract_lane', oldVector, 1)];
    const same = b.op('i32.and', b.eq(oldLow, rax), b.eq(oldHigh, rdx));
    const pair = b.replaceLane('i64x2.replace_lane', b.op('i64x2.splat', rbx), 1, rcx);
    b.storeVector(address, b.select(same, pair, oldVector));
    b.set(low, oldLow);
    b.set(high, oldHigh);
  }
  const difference = b.or(b.xor(b.get(low), rax), b.xor(b.get(high), rdx));
  // ZF alone changes; flagZ is nothing but ZF.
  flags.setZero(b, difference);
  b.if(b.op('i32.eqz', b.eqz(difference)), () => {
    b.setGpr(RAX, half, b.get(low));
    b.setGpr(RDX, half, b.get(high));
  });
}

/** High 64 bits of an unsigned 64 x 64 product, from 32-bit halves. */
export function multiplyHighUnsigned(b: Builder, x: Value, y: Value): Value {
  const low = (v: Value): Value => b.truncate(v, 4);
  const high = (v: Value): Value => b.shrU(v, b.i64(32));
  const lowLow = b.mul(low(x), low(y));
  const middle = b.add(b.mul(high(x), low(y)), high(lowLow));
  const other = b.add(b.mul(low(x), high(y)), low(middle));
  return b.add(b.add(b.mul(high(x), high(y)), high(middle)), high(other));
}

function multiplyHighSigned(b: Builder, x: Value, y: Value): Value {
  const unsigned = multiplyHighUnsigned(b, x, y);
  const correction = (sign: Value, other: Value): Value => b.and(b.shrS(sign, b.i64(63)), other);
  return b.sub(b.sub(unsigned, correction(x, y)), correction(y, x));
}

/** CF = OF = `significant` (i32); the other arithmetic flags are undefined and follow the low half of the product. */
function setMultiplyFlags(b: Builder, sizeBytes: number, low: Value, significant: Value): void {
  const word = b.shl(b.extend(significant), b.i64(63));
  flags.setShiftFlags(b, sizeBytes, low, word, word);
}

const multiplyAccumulator =
  (signed: boolean): Lift =>
  (b, i) => {
    const size = sizeOf(i.operands.at(-1)!);
    const source = b.read(i.operands.at(-1)!);
    const extend = (v: Value): Value => (signed ? b.signExtend(v, size) : v);
    const [x, y] = [extend(b.gpr(RAX, size)), extend(source)];
    const product = b.mul(x, y);
    if (size === 8) {
      const high = signed ? multiplyHighSigned(b, x, y) : multiplyHighUnsigned(b, x, y);
      b.setGpr(RAX, 8, product);
      b.setGpr(RDX, 8, high);
      setMultiplyFlags(b, 8, product, signed ? b.ne(high, b.shrS(product, b.i64(63))) : b.ne(high, b.i64(0)));
      return;
    }
    const low = b.truncate(product, size);
    if (size === 1) {
      b.setGpr(RAX, 2, b.truncate(product, 2));
    } else {
      b.setGpr(RAX, size, low);
      b.setGpr(RDX, size, b.truncate(b.shrU(product, b.i64(size * 8)), size));
    }
    const significant = signed ? b.ne(b.signExtend(product, size), product) : b.ne(low, product);
    setMultiplyFlags(b, size, low, significant);
  };

/** IMUL with one operand is the accumulator form; with two or three the product goes to the first. */
function imul(b: Builder, i: InstructionLift): void {
  if (i.operands.length === 1) {
    multiplyAccumulator(true)(b, i);
    return;
  }
  const size = sizeOf(i.operands[0]!);
  const x = b.signExtend(b.read(i.operands.at(-2)!), size);
  const y = b.signExtend(b.read(i.operands.at(-1)!), size);
  const product = b.mul(x, y);
  const low = b.truncate(product, size);
  b.write(i.operands[0]!, low);
  const significant =
    size === 8
      ? b.ne(multiplyHighSigned(b, x, y), b.shrS(product, b.i64(63)))
      : b.ne(b.signExtend(product, size), product);
  setMultiplyFlags(b, size, low, significant);
}

function divideUnsigned(b: Builder, i: InstructionLift): void {
  const size = sizeOf(i.operands.at(-1)!);
  const divisor = b.read(i.operands.at(-1)!);
  b.if(b.eqz(divisor), () => b.raise(DE));
  if (size === 8) {
    const high = b.gpr(RDX, 8);
    b.if(
      b.eqz(high),
      () => {
        const low = b.gpr(RAX, 8);
        b.setGpr(RAX, 8, b.op('i64.div_u', low, divisor));
        b.setGpr(RDX, 8, b.op('i64.rem_u', low, divisor));
      },
      () => void b.call('divide128', divisor),
    );
    return;
  }
  const dividend = size === 1 ? b.gpr(RAX, 2) : b.or(b.shl(b.gpr(RDX, size), b.i64(size * 8)), b.gpr(RAX, size));
  const quotient = b.op('i64.div_u', dividend, divisor);
  b.if(b.ne(b.truncate(quotient, size), quotient), () => b.raise(DE));
  const remainder = b.op('i64.rem_u', dividend, divisor);
  writeQuotient(b, size, quotient, remainder);
}

function divideSigned(b: Builder, i: InstructionLift): void {
  const size = sizeOf(i.operands.at(-1)!);
  const divisor = b.signExtend(b.read(i.operands.at(-1)!), size);
  b.if(b.eqz(divisor), () => b.raise(DE));
  if (size === 8) {
    const [low, high] = [b.gpr(RAX, 8), b.gpr(RDX, 8)];
    // The quick path leaves out a divisor of -1, the only one whose quotient can overflow.
    const quick = b.op('i32.and', b.eq(high, b.shrS(low, b.i64(63))), b.ne(divisor, b.i64(-1n)));
    b.if(
      quick,
      () => {
        b.setGpr(RAX, 8, b.op('i64.div_s', low, divisor));
        b.setGpr(RDX, 8, b.op('i64.rem_s', low, divisor));
      },
      () => void b.call('idivide128', divisor),
    );
    return;
  }
  const dividend =
    size === 1
      ? b.signExtend(b.gpr(RAX, 2), 2)
      : b.signExtend(b.or(b.shl(b.gpr(RDX, size), b.i64(size * 8)), b.gpr(RAX, size)), size * 2);
  // WebAssembly traps on INT64_MIN / -1, whose quotient overflows here too.
  b.if(b.op('i32.and', b.eq(dividend, b.i64(-(1n << 63n))), b.eq(divisor, b.i64(-1n))), () => b.raise(DE));
  const quotient = b.op('i64.div_s', dividend, divisor);
  b.if(b.ne(b.signExtend(quotient, size), quotient), () => b.raise(DE));
  const remainder = b.op('i64.rem_s', dividend, divisor);
  writeQuotient(b, size, b.truncate(quotient, size), b.truncate(remainder, size));
}

function writeQuotient(b: Builder, size: number, quotient: Value, remainder: Value): void {
  if (size === 1) {
    b.setGpr(RAX, 2, b.or(b.shl(remainder, b.i64(8)), quotient));
    return;
  }
  b.setGpr(RAX, size, quotient);
  b.setGpr(RDX, size, remainder);
}

// Decimal adjustments: legacy modes only. AF and CF decide, so the flags are composed bit by bit.

const auxiliaryFlag = (b: Builder): Value => b.and(b.shrU(b.extend(b.getField('flagA')), b.i64(3)), b.i64(1));

function decimalAdjust(subtracting: boolean): Lift {
  return (b) => {
    const al = b.gpr(RAX, 1);
    const combine = (x: Value, y: Value): Value => (subtracting ? b.sub(x, y) : b.add(x, y));
    const cf = carryFlagOf(b);
    const lowAdjust = b.op('i32.or', b.ltU(b.i64(9), b.and(al, b.i64(15))), b.wrap(auxiliaryFlag(b)));
    const highAdjust = b.op('i32.or', b.ltU(b.i64(0x99), al), b.wrap(cf));
    const first = b.select(lowAdjust, b.truncate(combine(al, b.i64(6)), 1), al);
    const result = b.select(highAdjust, b.truncate(combine(first, b.i64(0x60)), 1), first);
    // A borrow out of the low step sets CF too (DAS only; after DAA's low step a carry implies al > 0x99).
    const borrow = subtracting ? b.op('i32.and', lowAdjust, b.ltU(al, b.i64(6))) : b.i32(0);
    b.setGpr(RAX, 1, result);
    flags.setLogicFlags(b, 1, result);
    flags.setCarryOverflow(b, b.shl(b.extend(b.op('i32.or', highAdjust, borrow)), b.i64(63)), b.i64(0));
    b.setField('flagA', b.op('i32.shl', lowAdjust, b.i32(3)));
  };
}

const carryFlagOf = (b: Builder): Value => flags.carryFlag(b);

function asciiAdjust(subtracting: boolean): Lift {
  return (b) => {
    const ax = b.gpr(RAX, 2);
    const adjust = b.op('i32.or', b.ltU(b.i64(9), b.and(ax, b.i64(15))), b.wrap(auxiliaryFlag(b)));
    const step = b.i64(0x106);
    const adjusted = b.truncate(subtracting ? b.sub(ax, step) : b.add(ax, step), 2);
    const result = b.and(b.select(adjust, adjusted, ax), b.i64(0xff0f));
    b.setGpr(RAX, 2, result);
    flags.setLogicFlags(b, 1, b.truncate(result, 1));
    flags.setCarryOverflow(b, b.shl(b.extend(adjust), b.i64(63)), b.i64(0));
    b.setField('flagA', b.op('i32.shl', adjust, b.i32(3)));
  };
}

function aam(b: Builder, i: InstructionLift): void {
  const divisor = b.truncate(b.read(i.operands.at(-1)!), 1);
  b.if(b.eqz(divisor), () => b.raise(DE));
  const al = b.gpr(RAX, 1);
  const low = b.op('i64.rem_u', al, divisor);
  b.setGpr(RAX, 2, b.or(b.shl(b.op('i64.div_u', al, divisor), b.i64(8)), low));
  flags.setLogicFlags(b, 1, low);
}

function aad(b: Builder, i: InstructionLift): void {
  const base = b.truncate(b.read(i.operands.at(-1)!), 1);
  const ax = b.gpr(RAX, 2);
  const result = b.truncate(b.add(ax, b.mul(b.shrU(ax, b.i64(8)), base)), 1);
  b.setGpr(RAX, 2, result);
  flags.setLogicFlags(b, 1, result);
}

/** SETcc and CMOVcc. */
function setcc(b: Builder, i: InstructionLift): void {
  b.write(i.operands[0]!, b.extend(condition(b, i.condition)));
}

function cmovcc(b: Builder, i: InstructionLift): void {
  const [destination, source] = [i.operands[0]!, i.operands[1]!];
  const value = b.read(source);
  // Written in either case: a 32-bit move clears the upper half even when the condition is false.
  b.write(destination, b.select(condition(b, i.condition), value, b.read(destination)));
}

export const arithmeticLifts: Lifts = {
  add: binary(add, flags.setAddFlags),
  or: binary((b, x, y) => b.or(x, y), logicFlags),
  adc: binary(addWithCarry, flags.setAddWithCarryFlags),
  sbb: binary(subtractWithBorrow, flags.setSubtractWithBorrowFlags),
  and: binary((b, x, y) => b.and(x, y), logicFlags),
  sub: binary(subtract, flags.setSubtractFlags),
  xor: binary((b, x, y) => b.xor(x, y), logicFlags),
  cmp: compare(subtract, flags.setSubtractFlags),
  test: compare((b, x, y) => b.and(x, y), logicFlags),
  inc: step(true),
  dec: step(false),
  neg,
  not,
  xadd,
  cmpxchg,
  cmpxchg8b: cmpxchgPair,
  cmpxchg16b: cmpxchgPair,
  mul: multiplyAccumulator(false),
  imul,
  div: divideUnsigned,
  idiv: divideSigned,
  daa: decimalAdjust(false),
  das: decimalAdjust(true),
  aaa: asciiAdjust(false),
  aas: asciiAdjust(true),
  aam,
  aad,
  setcc,
  cmovcc,
};
