// IRET, IRETD, IRETQ in every mode (SDM volume 2, IRET; volume 3, 7.14.3 and 21.2.6).

import { STATE } from '../../ir/guest-state.ts';
import { EFLAGS } from '../../isa/flags.ts';
import { GPR } from '../../isa/registers.ts';
import { checkRealTarget, returnToCode } from './code-return.ts';
import { segmentLimit, storeReal, storeVm86 } from './descriptor.ts';
import { changeableFlags } from './flags-control.ts';
import { Stack } from './stack.ts';
import { returnToTask } from './task-switch.ts';
import {
  ALL_ONES,
  cplOf,
  generalProtection,
  ioplOf,
  is64BitCode,
  isCanonical,
  isLongMode,
  isRealMode,
  isVm86,
  LOW_32,
  SEGMENT,
  setCpl,
  setRip,
  stackFault,
  systemFlagsOf,
  type TransferContext,
} from './transfer-context.ts';

/** Sets rip; throws #GP, #NP, #SS, #TS or #PF with nothing changed. */
export function iret(context: TransferContext, operandBytes: number): void {
  const { cpu } = context;
  if (isRealMode(cpu)) returnReal(context, operandBytes);
  else if (isVm86(cpu)) {
    if (ioplOf(cpu) < 3) throw generalProtection(0);
    returnReal(context, operandBytes);
  } else if ((systemFlagsOf(cpu) & EFLAGS.NT) !== 0) {
    if (isLongMode(cpu)) throw generalProtection(0);
    returnToTask(context);
  } else if (operandBytes === 8) returnLong(context);
  else returnProtected(context, operandBytes);
  context.nmiUnblocked?.();
}

/** The flags of an image that may change; `mask` from before CPL and IOPL changed. */
function loadFlags(context: TransferContext, image: number, mask: number): void {
  const { cpu } = context;
  cpu.eflags = (image & mask) | (cpu.eflags & ~mask);
}

/**
 * RF only matters to an armed breakpoint, with which instructions run one by one; generated code that runs freely does
 * not clear it, so that it is not set without need.
 */
function returnMask(context: TransferContext, operandBytes: number): number {
  const resumes = operandBytes > 2 && (context.cpu.getLow(STATE.dr7) & 0xff) !== 0;
  return changeableFlags(context, operandBytes) | (resumes ? EFLAGS.RF : 0);
}

/** IRETQ, which only 64-bit code has. */
function returnLong(context: TransferContext): void {
  const { cpu, memory } = context;
  const user = cplOf(cpu) === 3;
  const rsp = cpu.gpr(GPR.RSP);
  if (!isCanonical(rsp) || !isCanonical((rsp + 39n) & ALL_ONES)) throw stackFault(0);
  const rip = memory.read(rsp, 8, user);
  const selector = Number(memory.read(rsp + 8n, 2, user));
  const image = Number(memory.read(rsp + 16n, 4, user));
  const newRsp = memory.read(rsp + 24n, 8, user);
  const stackSelector = Number(memory.read(rsp + 32n, 2, user));
  const mask = returnMask(context, 8);
  const changed = returnToCode(context, selector, rip, true, stackSelector, newRsp);
  loadFlags(context, image, mask);
  if (changed) context.refreshMode();
  else context.refreshFlags();
}

function returnProtected(context: TransferContext, operandBytes: number): void {
  const { cpu } = context;
  const cpl = cplOf(cpu);
  const stack = Stack.current(context);
  const rip = stack.pop(operandBytes);
  const selector = Number(stack.pop(operandBytes) & 0xffffn);
  const image = Number(stack.pop(operandBytes) & LOW_32);
  const long = isLongMode(cpu);
  if (!long && operandBytes === 4 && cpl === 0 && (image & EFLAGS.VM) !== 0) {
    returnToVm86(context, stack, rip, selector, image);
    return;
  }
  const mask = returnMask(context, operandBytes);
  const loadsStack = is64BitCode(cpu) || (selector & 3) > cpl;
  if (loadsStack) {
    const rsp = stack.pop(operandBytes);
    const stackSelector = Number(stack.pop(operandBytes) & 0xffffn);
    returnToCode(context, selector, rip, true, stackSelector, rsp);
  } else {
    returnToCode(context, selector, rip, false, 0, 0n);
    stack.commit();
  }
  loadFlags(context, image, mask);
  context.refreshMode();
}

function returnToVm86(context: TransferContext, stack: Stack, rip: bigint, selector: number, image: number): void {
  const { cpu } = context;
  const rsp = stack.pop(4);
  const popSelector = (): number => Number(stack.pop(4) & 0xffffn);
  const selectors: [number, number][] = [[SEGMENT.SS, popSelector()]];
  for (const index of [SEGMENT.ES, SEGMENT.DS, SEGMENT.FS, SEGMENT.GS]) selectors.push([index, popSelector()]);
  if (rip > 0xffffn) throw generalProtection(0);
  for (const [index, value] of selectors) storeVm86(cpu, index, value);
  storeVm86(cpu, SEGMENT.CS, selector);
  cpu.setGpr(GPR.RSP, rsp);
  setRip(cpu, rip & 0xffffn);
  setCpl(cpu, 3);
  cpu.eflags = image | EFLAGS.FIXED;
  context.refreshMode();
}

/** Real-address mode, and virtual-8086 mode with IOPL 3, where IOPL and VM don't change. */
function returnReal(context: TransferContext, operandBytes: number): void {
  const { cpu } = context;
  const stack = Stack.current(context);
  const rip = stack.pop(operandBytes);
  const selector = Number(stack.pop(operandBytes) & 0xffffn);
  const image = Number(stack.pop(operandBytes) & LOW_32);
  checkRealTarget(rip, segmentLimit(cpu, SEGMENT.CS));
  const mask = returnMask(context, operandBytes);
  stack.commit();
  storeReal(cpu, SEGMENT.CS, selector);
  setRip(cpu, rip);
  loadFlags(context, image, mask);
  context.refreshMode();
}
