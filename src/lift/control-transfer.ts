// Jumps, calls, returns, loops and software interrupts (Intel SDM volume 1, 5.1.7).

import type { Builder, InstructionLift, OperandLift, Value } from '../ir/builder.ts';
import { SEGMENT_FIELDS, segmentOffset } from '../ir/guest-state.ts';
import { push, setStackPointer, stackAddress, top } from './data-transfer.ts';
import { condition } from './flags.ts';
import { type Lifts, sizeOf } from './lift.ts';

const RCX = 1;
const RSP = 4;
const BR = 5;
const UD = 6;
const GP = 13;
/** Its number among the segment registers. */
const CS = 1;

/** Outside 64-bit code a direct branch beyond the limit of CS raises #GP(0) before anything changes. */
function checkDirect(b: Builder, i: InstructionLift): void {
  if (!i.long) checkTarget(b, b.target(), i.operandBytes);
}

function jump(b: Builder, i: InstructionLift): void {
  checkDirect(b, i);
  b.jumpDirect();
}

function jcc(b: Builder, i: InstructionLift): void {
  b.if(condition(b, i.condition), () => jump(b, i));
}

/** The faults of a call's push come before that of its target. */
const checkPush = (b: Builder, i: InstructionLift) => (): void => {
  const offset = b.sub(b.gpr(RSP, 8), b.i64(i.operandBytes));
  b.call('checkWritable', stackAddress(b, i, offset, i.operandBytes, true), b.i32(i.operandBytes));
};

function call(b: Builder, i: InstructionLift): void {
  if (!i.long) checkTarget(b, b.target(), i.operandBytes, checkPush(b, i));
  push(b, i, i.operandBytes, b.truncate(b.nextRip(), i.operandBytes));
  b.callDirect();
}

/**
 * A 64-bit target that is not canonical, or another beyond the limit of CS, raises #GP(0) at the branch, before
 * anything changes. Near branches have 64-bit targets in 64-bit code and nowhere else.
 */
function checkTarget(b: Builder, target: Value, sizeBytes: number, first?: () => void): void {
  if (sizeBytes !== 8) {
    const limit = b.getRegister({ kind: 'fixed', offset: segmentOffset(CS) + SEGMENT_FIELDS.limit }, 4);
    b.if(b.ltU(limit, target), () => {
      first?.();
      b.raise(GP, 0);
    });
    return;
  }
  const sign = b.shrS(b.shl(target, b.i64(16)), b.i64(16));
  b.if(b.ne(sign, target), () => b.raise(GP, 0));
}

function callIndirect(b: Builder, i: InstructionLift): void {
  const target = b.read(i.operands[0]!);
  checkTarget(b, target, i.operandBytes, checkPush(b, i));
  push(b, i, i.operandBytes, b.truncate(b.nextRip(), i.operandBytes));
  b.callTo(target);
}

function jmpIndirect(b: Builder, i: InstructionLift): void {
  const target = b.read(i.operands[0]!);
  checkTarget(b, target, sizeOf(i.operands[0]!));
  b.jump(target);
}

function ret(b: Builder, i: InstructionLift): void {
  const { value, release } = top(b, i, i.operandBytes);
  checkTarget(b, value, i.operandBytes);
  release();
  if (i.operands.length > 0) setStackPointer(b, i, b.add(b.gpr(4, 8), b.read(i.operands[0]!)));
  b.returnTo(value);
}

const loop =
  (zero: boolean | undefined) =>
  (b: Builder, i: InstructionLift): void => {
    const count = b.truncate(b.sub(b.gpr(RCX, i.addressBytes), b.i64(1)), i.addressBytes);
    const more = b.op('i32.eqz', b.eqz(count));
    const taken = zero === undefined ? more : b.op('i32.and', more, condition(b, zero ? 4 : 5));
    if (!i.long) b.if(taken, () => checkDirect(b, i));
    b.setGpr(RCX, i.addressBytes, count);
    b.if(taken, () => b.jumpDirect());
  };

function jrcxz(b: Builder, i: InstructionLift): void {
  b.if(b.eqz(b.gpr(RCX, i.addressBytes)), () => jump(b, i));
}

/** Selector and offset of a far pointer, direct or in memory. */
export function farPointer(b: Builder, i: InstructionLift, operand: OperandLift): { selector: Value; offset: Value } {
  if (operand.kind === 'immediate') {
    return { offset: b.read(operand), selector: b.wrap(b.read({ ...operand, value: 'imm1' })) };
  }
  const address = b.address(operand, false, i.operandBytes + 2);
  const offset = b.load(address, i.operandBytes);
  return { offset, selector: b.wrap(b.load(b.add(address, b.i64(i.operandBytes)), 2)) };
}

const far =
  (name: 'farJump' | 'farCall') =>
  (b: Builder, i: InstructionLift): void => {
    const { selector, offset } = farPointer(b, i, i.operands[0]!);
    b.call(name, selector, offset, b.i32(i.operandBytes));
    b.leave();
  };

function retf(b: Builder, i: InstructionLift): void {
  const release = i.operands.length > 0 ? b.wrap(b.read(i.operands[0]!)) : b.i32(0);
  b.call('farReturn', b.i32(i.operandBytes), release);
  b.leave();
}

function softwareInterrupt(b: Builder, vector: Value, kind: number): void {
  b.call('softwareInterrupt', vector, b.i32(kind));
  b.leave();
}

function bound(b: Builder, i: InstructionLift): void {
  const size = i.operandBytes;
  const index = b.signExtend(b.read(i.operands[0]!), size);
  const address = b.address(i.operands[1]!, false, size * 2);
  const lower = b.signExtend(b.load(address, size), size);
  const upper = b.signExtend(b.load(b.add(address, b.i64(size)), size), size);
  b.if(b.op('i32.or', b.ltS(index, lower), b.ltS(upper, index)), () => b.raise(BR));
}

/** Goes where the engine has set RIP; it makes that jump poll where the run loop is wanted. */
export function goToRip(b: Builder): void {
  b.jump(b.getField('rip'));
}

function iret(b: Builder, i: InstructionLift): void {
  b.call('iret', b.i32(i.operandBytes));
  if (i.long) goToRip(b);
  else b.leave();
}

export const controlTransferLifts: Lifts = {
  jcc,
  jmp: jump,
  'jmp-indirect': jmpIndirect,
  call,
  'call-indirect': callIndirect,
  ret,
  loop: loop(undefined),
  loopz: loop(true),
  loopnz: loop(false),
  jrcxz,
  jmpf: far('farJump'),
  callf: far('farCall'),
  retf,
  int: (b, i) => softwareInterrupt(b, b.wrap(b.read(i.operands[0]!)), 0),
  int3: (b) => softwareInterrupt(b, b.i32(3), 1),
  int1: (b) => softwareInterrupt(b, b.i32(1), 2),
  into: (b) => b.if(condition(b, 0), () => softwareInterrupt(b, b.i32(4), 1)),
  iret,
  bound,
  ud: (b) => b.raise(UD),
};
