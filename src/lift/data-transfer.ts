// Moves, exchanges, the stack and addresses (Intel SDM volume 1, 5.1.1).

import type { Builder, InstructionLift, OperandLift, Value } from '../ir/builder.ts';
import { arithmeticFlagsImage, setArithmeticFlagsImage } from './flags.ts';
import { type Lifts, sizeOf } from './lift.ts';

const RAX = 0;
const RSP = 4;
const RBP = 5;
const SS = 2;

/** Linear address of `offset` on the stack, checked against SS outside 64-bit mode. */
export function stackAddress(b: Builder, i: InstructionLift, offset: Value, sizeBytes: number, write: boolean): Value {
  if (i.long) return offset;
  const masked = b.and(offset, b.getField('stackMask'));
  b.call('checkSegment', b.i32(SS), masked, b.i32(sizeBytes), b.i32(write ? 1 : 0));
  return b.truncate(b.add(masked, b.getField('stackBase')), 4);
}

/** Writes the part of RSP that the stack's address size covers. */
export function setStackPointer(b: Builder, i: InstructionLift, value: Value): void {
  if (i.long) {
    b.setGpr(RSP, 8, value);
    return;
  }
  const mask = b.getField('stackMask');
  const old = b.gpr(RSP, 8);
  b.setGpr(RSP, 8, b.or(b.and(value, mask), b.and(old, b.not(mask))));
}

export function push(b: Builder, i: InstructionLift, sizeBytes: number, value: Value): void {
  const offset = b.sub(b.gpr(RSP, 8), b.i64(sizeBytes));
  b.store(stackAddress(b, i, offset, sizeBytes, true), sizeBytes, value);
  setStackPointer(b, i, offset);
}

/** The value on top of the stack; RSP is raised by the caller's `release` once nothing can fault any more. */
export function top(b: Builder, i: InstructionLift, sizeBytes: number): { value: Value; release: () => void } {
  const offset = b.gpr(RSP, 8);
  const value = b.load(stackAddress(b, i, offset, sizeBytes, false), sizeBytes);
  return { value, release: () => setStackPointer(b, i, b.add(offset, b.i64(sizeBytes))) };
}

function mov(b: Builder, i: InstructionLift): void {
  b.write(i.operands[0]!, b.read(i.operands[1]!));
}

function movsx(b: Builder, i: InstructionLift): void {
  const source = i.operands[1]!;
  const size = sizeOf(i.operands[0]!);
  b.write(i.operands[0]!, b.truncate(b.signExtend(b.read(source), sizeOf(source)), size));
}

/** The bytes of an integer in reverse order. */
function reverseBytes(b: Builder, value: Value, sizeBytes: number): Value {
  const lanes = Array.from({ length: 16 }, (_, lane) => (lane < sizeBytes ? sizeBytes - 1 - lane : 8));
  const vector = b.op('i64x2.splat', value);
  return b.truncate(b.lane('i64x2.extract_lane', b.shuffle(vector, vector, lanes), 0), sizeBytes);
}

function movbe(b: Builder, i: InstructionLift): void {
  b.write(i.operands[0]!, reverseBytes(b, b.read(i.operands[1]!), sizeOf(i.operands[0]!)));
}

function bswap(b: Builder, i: InstructionLift): void {
  const operand = i.operands[0]!;
  const size = sizeOf(operand);
  // BSWAP of a 16-bit register is undefined; processors give zero.
  b.write(operand, size === 2 ? b.i64(0) : reverseBytes(b, b.read(operand), size));
}

function lea(b: Builder, i: InstructionLift): void {
  b.write(i.operands[0]!, b.truncate(b.offset(i.operands[1]!), sizeOf(i.operands[0]!)));
}

function xchg(b: Builder, i: InstructionLift): void {
  const [first, second] = [i.operands[0]!, i.operands[1]!];
  const value = b.read(second);
  // Locked with or without the prefix (SDM volume 2, XCHG).
  const old = b.modify(first, true, () => value);
  b.write(second, old);
}

/** The operand is [rBX]; AL is added here. */
function xlat(b: Builder, i: InstructionLift): void {
  b.setGpr(RAX, 1, b.load(b.displacedAddress(i.operands[0]!, false, b.gpr(RAX, 1)), 1));
}

function pushOperand(b: Builder, i: InstructionLift): void {
  push(b, i, i.operandBytes, b.read(i.operands[0]!));
}

function popOperand(b: Builder, i: InstructionLift): void {
  const operand = i.operands[0]!;
  const { value, release } = top(b, i, i.operandBytes);
  if (operand.kind === 'register') {
    // POP RSP: the popped value wins over the increment.
    release();
    b.write(operand, value);
    return;
  }
  popMemory(b, i, operand, value, release);
}

/**
 * POP to memory: an address with RSP as its base uses RSP after the increment. RSP itself is raised only when the
 * segment and the page have taken the value.
 */
function popMemory(b: Builder, i: InstructionLift, operand: OperandLift, value: Value, release: () => void): void {
  const old = b.gpr(RSP, 8);
  const before = b.offset(operand);
  release();
  const raised = b.gpr(RSP, 8);
  const after = b.offset(operand);
  b.setGpr(RSP, 8, old);
  b.store(b.displacedAddress(operand, true, b.sub(after, before)), i.operandBytes, value);
  b.setGpr(RSP, 8, raised);
}

function leave(b: Builder, i: InstructionLift): void {
  const offset = b.gpr(RBP, 8);
  const value = b.load(stackAddress(b, i, offset, i.operandBytes, false), i.operandBytes);
  setStackPointer(b, i, b.add(offset, b.i64(i.operandBytes)));
  b.setGpr(RBP, i.operandBytes, value);
}

function enter(b: Builder, i: InstructionLift): void {
  const size = b.wrap(b.read(i.operands[0]!));
  const level = b.wrap(b.and(b.read(i.operands[1]!), b.i64(31)));
  b.call('enter', size, level, b.i32(i.operandBytes), b.i32(i.long ? 1 : 0));
}

/** EFLAGS as PUSHF stores it: VM and RF clear. */
function flagsImage(b: Builder): Value {
  const system = b.and(b.extend(b.getField('systemFlags')), b.i64(0xfcffff));
  return b.or(arithmeticFlagsImage(b), system);
}

function pushf(b: Builder, i: InstructionLift): void {
  if (!i.long) b.call('checkPushf');
  push(b, i, i.operandBytes, b.truncate(flagsImage(b), i.operandBytes));
}

function popf(b: Builder, i: InstructionLift): void {
  const { value, release } = top(b, i, i.operandBytes);
  b.call('writeFlags', value, b.i32(i.operandBytes));
  release();
  b.leaveNext();
}

function lahf(b: Builder): void {
  b.setRegister({ kind: 'fixed', offset: RAX * 8 + 1 }, 1, b.and(arithmeticFlagsImage(b), b.i64(0xff)));
}

function sahf(b: Builder): void {
  setArithmeticFlagsImage(b, b.getRegister({ kind: 'fixed', offset: RAX * 8 + 1 }, 1), true);
}

function cbw(b: Builder, i: InstructionLift): void {
  const half = i.operandBytes / 2;
  b.setGpr(RAX, i.operandBytes, b.truncate(b.signExtend(b.gpr(RAX, half), half), i.operandBytes));
}

function cwd(b: Builder, i: InstructionLift): void {
  const sign = b.shrS(b.signExtend(b.gpr(RAX, i.operandBytes), i.operandBytes), b.i64(63));
  b.setGpr(2, i.operandBytes, b.truncate(sign, i.operandBytes));
}

function salc(b: Builder): void {
  b.setGpr(RAX, 1, b.and(b.shrS(b.getField('flagC'), b.i64(63)), b.i64(0xff)));
}

export const dataTransferLifts: Lifts = {
  mov,
  movnti: mov,
  movzx: mov,
  movsx,
  movsxd: movsx,
  movbe,
  bswap,
  lea,
  xchg,
  xlat,
  push: pushOperand,
  pop: popOperand,
  pusha: (b, i) => void b.call('pusha', b.i32(i.operandBytes)),
  popa: (b, i) => void b.call('popa', b.i32(i.operandBytes)),
  leave,
  enter,
  pushf,
  popf,
  lahf,
  sahf,
  cbw,
  cwd,
  salc,
  nop: () => {},
  pause: () => {},
};
