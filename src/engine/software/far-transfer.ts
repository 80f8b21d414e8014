// JMP, CALL and RET far: direct, through call gates and task gates, to a TSS (SDM volume 2, JMP, CALL, RET; volume 3,
// 6.8, 9.3).

import { GPR } from '../../isa/registers.ts';
import { SEGMENT_ATTRIBUTE } from '../vcpu-state.ts';
import { checkRealTarget, returnToCode } from './code-return.ts';
import {
  type Descriptor,
  dplOf,
  isBig,
  isCode,
  isConforming,
  isLongCode,
  isNull,
  isPresent,
  limitOf,
  markAccessed,
  readDescriptor,
  SYSTEM_TYPE,
  segmentLimit,
  selectorError,
  storeDescriptor,
  storeNull,
  storeReal,
  typeOf,
} from './descriptor.ts';
import { Stack } from './stack.ts';
import { innerStack, readRsp } from './task-state.ts';
import { readTaskDescriptor, switchTask, type TaskSwitchSource } from './task-switch.ts';
import {
  cplOf,
  generalProtection,
  is64BitCode,
  isCanonical,
  isLongMode,
  isProtected,
  notPresent,
  SEGMENT,
  setCpl,
  setRip,
  type TransferContext,
  truncate,
} from './transfer-context.ts';

type Transfer = 'jump' | 'call';

/** JMP far. `offset` is truncated to the operand size; throws #GP, #NP, #SS, #TS or #PF with nothing changed. */
export function farJump(context: TransferContext, selector: number, offset: bigint, operandBytes: number): void {
  transfer(context, 'jump', selector & 0xffff, truncate(offset, operandBytes), operandBytes);
}

/** CALL far: as farJump, pushing CS and the next RIP. */
export function farCall(context: TransferContext, selector: number, offset: bigint, operandBytes: number): void {
  transfer(context, 'call', selector & 0xffff, truncate(offset, operandBytes), operandBytes);
}

function transfer(
  context: TransferContext,
  kind: Transfer,
  selector: number,
  offset: bigint,
  operandBytes: number,
): void {
  if (!isProtected(context.cpu)) {
    transferReal(context, kind, selector, offset, operandBytes);
    return;
  }
  if (isNull(selector)) throw generalProtection(0);
  const descriptor = readDescriptor(context, selector);
  if (descriptor === undefined) throw generalProtection(selectorError(selector));
  if (isCode(descriptor.high)) transferDirect(context, kind, descriptor, offset, operandBytes);
  else transferThroughSystem(context, kind, descriptor);
}

function transferReal(
  context: TransferContext,
  kind: Transfer,
  selector: number,
  offset: bigint,
  operandBytes: number,
): void {
  const { cpu } = context;
  checkRealTarget(offset, segmentLimit(cpu, SEGMENT.CS));
  if (kind === 'call') pushReturn(context, Stack.current(context), operandBytes).commit();
  storeReal(cpu, SEGMENT.CS, selector);
  setRip(cpu, offset);
  context.refreshMode();
}

function pushReturn(context: TransferContext, stack: Stack, operandBytes: number): Stack {
  stack.push(operandBytes, BigInt(context.cpu.selector(SEGMENT.CS)));
  stack.push(operandBytes, context.nextRip());
  return stack;
}

/** The target must lie in the segment, or be canonical in 64-bit code: #GP(0). */
function checkTarget(context: TransferContext, code: Descriptor, offset: bigint): void {
  const to64 = isLongMode(context.cpu) && isLongCode(code.high);
  if (to64 ? !isCanonical(offset) : offset > BigInt(limitOf(code.low, code.high))) throw generalProtection(0);
}

/** A call from 64-bit to compatibility code pushes as the code that it enters: AMD processors do, as measured. */
function returnStack(context: TransferContext, code: Descriptor): Stack {
  const { cpu } = context;
  const unusable = (cpu.attributes(SEGMENT.SS) & SEGMENT_ATTRIBUTE.UNUSABLE) !== 0;
  if (!is64BitCode(cpu) || isLongCode(code.high) || unusable) return Stack.current(context);
  return Stack.ofSegment(context);
}

function transferDirect(
  context: TransferContext,
  kind: Transfer,
  code: Descriptor,
  offset: bigint,
  operandBytes: number,
): void {
  const { cpu } = context;
  const cpl = cplOf(cpu);
  const { selector, high } = code;
  const error = selectorError(selector);
  const dpl = dplOf(high);
  const allowed = isConforming(high) ? dpl <= cpl : (selector & 3) <= cpl && dpl === cpl;
  if (!allowed || (isLongMode(cpu) && isLongCode(high) && isBig(high))) throw generalProtection(error);
  if (!isPresent(high)) throw notPresent(error);
  const stack = kind === 'call' ? pushReturn(context, returnStack(context, code), operandBytes) : undefined;
  checkTarget(context, code, offset);
  markAccessed(context, code.address, high);
  stack?.commit();
  enterCode(context, code, cpl, offset);
}

function enterCode(context: TransferContext, code: Descriptor, level: number, offset: bigint): void {
  const { cpu } = context;
  storeDescriptor(cpu, SEGMENT.CS, (code.selector & 0xfffc) | level, code.low, code.high);
  setCpl(cpu, level);
  setRip(cpu, offset);
  context.refreshMode();
}

function transferThroughSystem(context: TransferContext, kind: Transfer, descriptor: Descriptor): void {
  const { cpu } = context;
  const { selector, low, high } = descriptor;
  const error = selectorError(selector);
  const type = typeOf(high);
  const long = isLongMode(cpu);
  const callGate = type === SYSTEM_TYPE.CALL_GATE || (!long && type === SYSTEM_TYPE.CALL_GATE16);
  const tss = !long && (type === SYSTEM_TYPE.TSS_AVAILABLE || type === SYSTEM_TYPE.TSS16_AVAILABLE);
  const taskGate = !long && type === SYSTEM_TYPE.TASK_GATE;
  if (!callGate && !tss && !taskGate) throw generalProtection(error);
  if (dplOf(high) < Math.max(cplOf(cpu), selector & 3)) throw generalProtection(error);
  if (tss) {
    transferToTask(context, kind, selector);
    return;
  }
  if (!isPresent(high)) throw notPresent(error);
  if (taskGate) transferToTask(context, kind, low >>> 16);
  else transferThroughGate(context, kind, descriptor);
}

function transferToTask(context: TransferContext, kind: TaskSwitchSource, selector: number): void {
  switchTask(context, readTaskDescriptor(context, selector, 0), kind, context.nextRip(), 0);
}

/** Offset that a call gate holds; its second half in IA-32e mode has an upper doubleword and must be of type 0. */
function gateOffset(context: TransferContext, gate: Descriptor): bigint {
  const { low, high, address, selector } = gate;
  const wide = (typeOf(high) & 8) !== 0;
  const offset = BigInt(wide ? ((high & 0xffff_0000) | (low & 0xffff)) >>> 0 : low & 0xffff);
  if (!isLongMode(context.cpu)) return offset;
  const upper = readDescriptor(context, (selector & 0xfffc) + 8);
  if (upper === undefined || upper.address !== address + 8n || (upper.high & 0x1f00) !== 0) {
    throw generalProtection(selectorError(selector));
  }
  return (BigInt(upper.low) << 32n) | offset;
}

function transferThroughGate(context: TransferContext, kind: Transfer, gate: Descriptor): void {
  const { cpu } = context;
  const cpl = cplOf(cpu);
  const long = isLongMode(cpu);
  const offset = gateOffset(context, gate);
  const selector = gate.low >>> 16;
  const error = selectorError(selector);
  if (isNull(selector)) throw generalProtection(0);
  const code = readDescriptor(context, selector);
  if (code === undefined) throw generalProtection(error);
  const { high } = code;
  const dpl = dplOf(high);
  const conforming = isConforming(high);
  if (!isCode(high) || dpl > cpl || (kind === 'jump' && !conforming && dpl !== cpl)) throw generalProtection(error);
  if (long && (!isLongCode(high) || isBig(high))) throw generalProtection(error);
  if (!isPresent(high)) throw notPresent(error);
  checkTarget(context, code, offset);
  const level = conforming ? cpl : dpl;
  if (kind === 'jump') {
    markAccessed(context, code.address, high);
    enterCode(context, code, level, offset);
  } else if (level === cpl) {
    // In IA-32e mode the gate leads to 64-bit code, whose frames have eight bytes a slot.
    const stack = pushReturn(context, Stack.current(context), gateBytes(gate, long));
    markAccessed(context, code.address, high);
    stack.commit();
    enterCode(context, code, level, offset);
  } else if (long) callInnerLong(context, code, level, offset);
  else callInner(context, gate, code, level, offset);
}

function gateBytes(gate: Descriptor, long: boolean): number {
  return long ? 8 : (typeOf(gate.high) & 8) !== 0 ? 4 : 2;
}

function callInnerLong(context: TransferContext, code: Descriptor, level: number, offset: bigint): void {
  const { cpu } = context;
  const stack = new Stack(context, undefined, readRsp(context, level, 0), false, 0);
  stack.push(8, BigInt(cpu.selector(SEGMENT.SS)));
  stack.push(8, cpu.gpr(GPR.RSP));
  pushReturn(context, stack, 8);
  markAccessed(context, code.address, code.high);
  stack.commit();
  storeNull(cpu, SEGMENT.SS, level);
  enterCode(context, code, level, offset);
}

function callInner(context: TransferContext, gate: Descriptor, code: Descriptor, level: number, offset: bigint): void {
  const { cpu } = context;
  const sizeBytes = gateBytes(gate, false);
  const outer = Stack.current(context);
  const parameters = Array.from({ length: gate.high & 0x1f }, () => outer.pop(sizeBytes));
  const { stack, descriptor } = innerStack(context, level, 0);
  stack.push(sizeBytes, BigInt(cpu.selector(SEGMENT.SS)));
  stack.push(sizeBytes, cpu.gpr(GPR.RSP));
  for (const parameter of parameters.reverse()) stack.push(sizeBytes, parameter);
  pushReturn(context, stack, sizeBytes);
  markAccessed(context, code.address, code.high);
  markAccessed(context, descriptor.address, descriptor.high);
  stack.commit();
  storeDescriptor(cpu, SEGMENT.SS, descriptor.selector, descriptor.low, descriptor.high);
  enterCode(context, code, level, offset);
}

/** RET far, releasing `releaseBytes` of parameters from the stack, and from the outer one too if the level changes. */
export function farReturn(context: TransferContext, operandBytes: number, releaseBytes: number): void {
  const { cpu } = context;
  const stack = Stack.current(context);
  const rip = stack.pop(operandBytes);
  const selector = Number(stack.pop(operandBytes) & 0xffffn);
  stack.move(releaseBytes);
  if (!isProtected(cpu)) {
    checkRealTarget(rip, segmentLimit(cpu, SEGMENT.CS));
    stack.commit();
    storeReal(cpu, SEGMENT.CS, selector);
    setRip(cpu, rip);
  } else if ((selector & 3) > cplOf(cpu)) {
    const rsp = stack.pop(operandBytes);
    const stackSelector = Number(stack.pop(operandBytes) & 0xffffn);
    returnToCode(context, selector, rip, true, stackSelector, rsp);
    const outer = Stack.current(context);
    outer.move(releaseBytes);
    outer.commit();
  } else {
    returnToCode(context, selector, rip, false, 0, 0n);
    stack.commit();
  }
  context.refreshMode();
}
