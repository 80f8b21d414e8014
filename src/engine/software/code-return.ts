// The half of RET far and IRET that loads CS and, towards an outer level or in 64-bit code, SS (SDM volume 2, RET and
// IRET; volume 3, 6.8.6). Hot in IA-32e mode: it makes no object.

import {
  descriptorAddress,
  dplOf,
  highOf,
  isBig,
  isCode,
  isConforming,
  isLongCode,
  isNull,
  isPresent,
  isWritableData,
  limitOf,
  lowOf,
  markAccessed,
  selectorError,
  storeDescriptor,
  storeNull,
} from './descriptor.ts';
import { dropInnerSegments } from './segment-load.ts';
import { setStackPointer, stackMask } from './stack.ts';
import {
  cplOf,
  generalProtection,
  is64BitCode,
  isCanonical,
  isLongMode,
  LOW_32,
  notPresent,
  SEGMENT,
  setCpl,
  setRip,
  stackFault,
  type TransferContext,
} from './transfer-context.ts';

/**
 * Loads CS:RIP and, if `loadsStack`, SS:RSP, and what follows from them. Returns false when the code segment and the
 * privilege are those that were, so that the mode needs no refresh. Throws with nothing changed.
 */
export function returnToCode(
  context: TransferContext,
  selector: number,
  rip: bigint,
  loadsStack: boolean,
  stackSelector: number,
  rsp: bigint,
): boolean {
  const { cpu, memory } = context;
  const cpl = cplOf(cpu);
  const rpl = selector & 3;
  const error = selectorError(selector);
  if (isNull(selector)) throw generalProtection(0);
  const address = descriptorAddress(cpu, selector);
  if (address < 0n) throw generalProtection(error);
  const code = memory.read(address, 8, false);
  const [low, high] = [lowOf(code), highOf(code)];
  const dpl = dplOf(high);
  if (!isCode(high) || rpl < cpl || (isConforming(high) ? dpl > rpl : dpl !== rpl)) throw generalProtection(error);
  if (!isPresent(high)) throw notPresent(error);
  const to64 = isLongMode(cpu) && isLongCode(high);
  if (to64 && isBig(high)) throw generalProtection(error);

  let stackLow = 0;
  let stackHigh = 0;
  if (loadsStack) {
    if (isNull(stackSelector)) {
      if (!to64 || rpl === 3 || (stackSelector & 3) !== rpl) throw generalProtection(0);
    } else {
      const stackError = selectorError(stackSelector);
      const stackAddress = descriptorAddress(cpu, stackSelector);
      if (stackAddress < 0n) throw generalProtection(stackError);
      const stack = memory.read(stackAddress, 8, false);
      stackLow = lowOf(stack);
      stackHigh = highOf(stack);
      const matches = (stackSelector & 3) === rpl && dplOf(stackHigh) === rpl;
      if (!matches || !isWritableData(stackHigh)) throw generalProtection(stackError);
      if (!isPresent(stackHigh)) throw stackFault(stackError);
      markAccessed(context, stackAddress, stackHigh);
    }
  }
  if (to64 ? !isCanonical(rip) : rip > BigInt(limitOf(low, high))) throw generalProtection(0);
  markAccessed(context, address, high);

  const from64 = is64BitCode(cpu);
  const sameCode = from64 && to64 && selector === cpu.selector(SEGMENT.CS);
  const sameStack = !loadsStack || (sameCode && stackSelector === cpu.selector(SEGMENT.SS));
  setRip(cpu, rip);
  if (!sameCode) storeDescriptor(cpu, SEGMENT.CS, selector, low, high);
  if (!sameStack) {
    if (isNull(stackSelector)) storeNull(cpu, SEGMENT.SS, stackSelector);
    else storeDescriptor(cpu, SEGMENT.SS, stackSelector, stackLow, stackHigh);
  }
  if (loadsStack) setStackPointer(cpu, rsp, stackMask(to64 ? undefined : (stackHigh >>> 8) & 0xf0ff));
  if (rpl !== cpl) {
    setCpl(cpu, rpl);
    dropInnerSegments(context, rpl);
  }
  return !(sameCode && sameStack);
}

/** A direct target of a return or jump in real-address or virtual-8086 mode must lie within CS: #GP(0). */
export function checkRealTarget(rip: bigint, limit: number): void {
  if ((rip & LOW_32) > BigInt(limit)) throw generalProtection(0);
}
