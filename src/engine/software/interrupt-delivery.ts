// Delivery of interrupts and exceptions through the IDT or the interrupt vector table (SDM volume 3, 7.11 to 7.15 and
// 21.1.4; volume 2, INT n), and how faults on the way combine into #DF and shutdown (volume 3, table 7-5).

import { STATE } from '../../ir/guest-state.ts';
import { EFLAGS } from '../../isa/flags.ts';
import { GPR } from '../../isa/registers.ts';
import { EXCEPTION_VECTORS, SELECTOR_ERROR, VECTOR } from '../../isa/vectors.ts';
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
  limitOf,
  linearOf,
  lowOf,
  markAccessed,
  SYSTEM_TYPE,
  selectorError,
  storeDescriptor,
  storeNull,
  storeReal,
  typeOf,
} from './descriptor.ts';
import { GuestFault } from './guest-fault.ts';
import { Stack } from './stack.ts';
import { innerStack, readIst, readRsp } from './task-state.ts';
import { readTaskDescriptor, switchTask } from './task-switch.ts';
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
  notPresent,
  SEGMENT,
  setCpl,
  setRip,
  setSystemFlags,
  stackFault,
  systemFlagsOf,
  type TransferContext,
} from './transfer-context.ts';

/**
 * hardware: an interrupt or NMI; exception: raised by an instruction; software: INT n, INT3, INTO, for which the gate's
 * DPL counts; privileged-software: INT1, for which it does not.
 */
export type EventKind = 'hardware' | 'exception' | 'software' | 'privileged-software';

export interface GuestEvent {
  readonly vector: number;
  /** undefined: none is pushed. */
  readonly errorCode: number | undefined;
  readonly kind: EventKind;
}

/** No error code is pushed. */
export const NO_ERROR_CODE = -1;

const ALIGN_16 = ALL_ONES & ~15n;
/** Exceptions whose saved EFLAGS image has RF set: all faults but #DB, which decides for itself. */
const RF_VECTORS = new Set(EXCEPTION_VECTORS.filter((v) => v.exceptionClass === 'fault').map((v) => v.vector));
const SEVERITY = new Map(EXCEPTION_VECTORS.map((v) => [v.vector, v.severity]));

/**
 * Delivers one event; `errorCode` is NO_ERROR_CODE or what is pushed where the mode has error codes; `returnRip` is
 * saved. Throws GuestFault, nothing being changed, when the event cannot be delivered.
 */
export function deliver(
  context: TransferContext,
  vector: number,
  errorCode: number,
  kind: EventKind,
  returnRip: bigint,
): void {
  const { cpu } = context;
  if (isLongMode(cpu)) deliverLong(context, vector, errorCode, kind, returnRip);
  else if (!isRealMode(cpu)) deliverProtected(context, vector, errorCode, kind, returnRip);
  else deliverReal(context, vector, returnRip);
}

/**
 * Delivers an interrupt or exception whatever happens on the way: a fault during delivery is delivered in its place or
 * becomes #DF; `shutdown` is a triple fault.
 */
export function deliverEvent(context: TransferContext, event: GuestEvent, returnRip: bigint): 'delivered' | 'shutdown' {
  let current = event.vector;
  let currentError = event.errorCode ?? NO_ERROR_CODE;
  let currentKind = event.kind;
  for (;;) {
    try {
      deliver(context, current, currentError, currentKind, returnRip);
      return 'delivered';
    } catch (fault) {
      if (!(fault instanceof GuestFault)) throw fault;
      const first = currentKind === 'exception' ? SEVERITY.get(current) : 'benign';
      if (first === 'double-fault') return 'shutdown';
      const second = SEVERITY.get(fault.vector);
      const doubles =
        (first === 'contributory' && second === 'contributory') ||
        (first === 'page-fault' && (second === 'contributory' || second === 'page-fault'));
      current = doubles ? VECTOR.DF : fault.vector;
      currentError = doubles ? 0 : (fault.errorCode ?? NO_ERROR_CODE);
      currentKind = 'exception';
    }
  }
}

/** INT n (kind 0), INT3 and INTO (1), INT1 (2). */
export function softwareInterrupt(context: TransferContext, vector: number, kind: number): void {
  if (kind === 0 && isVm86(context.cpu) && ioplOf(context.cpu) < 3) throw generalProtection(0);
  deliver(context, vector & 0xff, NO_ERROR_CODE, kind === 2 ? 'privileged-software' : 'software', context.nextRip());
}

function flagsImage(context: TransferContext, vector: number, kind: EventKind): number {
  const flags = context.cpu.eflags;
  return kind === 'exception' && RF_VECTORS.has(vector) ? flags | EFLAGS.RF : flags;
}

function clearFlags(context: TransferContext, gateType: number): void {
  const { cpu } = context;
  const trap = (gateType & 1) !== 0;
  const cleared = EFLAGS.TF | EFLAGS.NT | EFLAGS.RF | EFLAGS.VM | (trap ? 0 : EFLAGS.IF);
  setSystemFlags(cpu, systemFlagsOf(cpu) & ~cleared);
}

// IA-32e mode. The path of every system with a 64-bit kernel: no object is made on it.

function deliverLong(
  context: TransferContext,
  vector: number,
  errorCode: number,
  kind: EventKind,
  returnRip: bigint,
): void {
  const { cpu, memory } = context;
  const external = kind === 'software' ? 0 : SELECTOR_ERROR.EXT;
  const idtError = (vector << 3) | SELECTOR_ERROR.IDT | external;
  const cpl = cplOf(cpu);

  if (vector * 16 + 15 > cpu.get32(STATE.idtrLimit)) throw generalProtection(idtError);
  const gate = (cpu.get(STATE.idtrBase) + BigInt(vector * 16)) & ALL_ONES;
  const lowHalf = memory.read(gate, 8, false);
  const [low, high] = [lowOf(lowHalf), highOf(lowHalf)];
  const type = typeOf(high);
  if (type !== SYSTEM_TYPE.INTERRUPT_GATE && type !== SYSTEM_TYPE.TRAP_GATE) throw generalProtection(idtError);
  if (kind === 'software' && dplOf(high) < cpl) throw generalProtection(idtError);
  if (!isPresent(high)) throw notPresent(idtError);
  const rip = (memory.read(gate + 8n, 4, false) << 32n) | BigInt(((high & 0xffff_0000) | (low & 0xffff)) >>> 0);

  const selector = low >>> 16;
  if (isNull(selector)) throw generalProtection(external);
  const codeError = selectorError(selector) | external;
  const codeAddress = descriptorAddress(cpu, selector);
  if (codeAddress < 0n) throw generalProtection(codeError);
  const code = memory.read(codeAddress, 8, false);
  const codeHigh = highOf(code);
  if (!isCode(codeHigh) || dplOf(codeHigh) > cpl) throw generalProtection(codeError);
  if (!isLongCode(codeHigh) || isBig(codeHigh)) throw generalProtection(codeError);
  if (!isPresent(codeHigh)) throw notPresent(codeError);
  if (!isCanonical(rip)) throw generalProtection(external);

  const level = isConforming(codeHigh) ? cpl : dplOf(codeHigh);
  const ist = high & 7;
  const oldRsp = cpu.gpr(GPR.RSP);
  let rsp = oldRsp;
  if (ist !== 0) rsp = readIst(context, ist, external);
  else if (level !== cpl) rsp = readRsp(context, level, external);
  rsp &= ALIGN_16;
  const bottom = (rsp - 48n) & ALL_ONES;
  if (!isCanonical((rsp - 1n) & ALL_ONES) || !isCanonical(bottom)) throw stackFault(external);
  markAccessed(context, codeAddress, codeHigh);

  const user = level === 3;
  memory.write(bottom + 40n, 8, BigInt(cpu.selector(SEGMENT.SS)), user);
  memory.write(bottom + 32n, 8, oldRsp, user);
  memory.write(bottom + 24n, 8, BigInt(flagsImage(context, vector, kind)), user);
  memory.write(bottom + 16n, 8, BigInt(cpu.selector(SEGMENT.CS)), user);
  memory.write(bottom + 8n, 8, returnRip, user);
  if (errorCode !== NO_ERROR_CODE) memory.write(bottom, 8, BigInt(errorCode >>> 0), user);

  cpu.setGpr(GPR.RSP, errorCode === NO_ERROR_CODE ? bottom + 8n : bottom);
  setRip(cpu, rip);
  clearFlags(context, type);
  const target = (selector & 0xfffc) | level;
  // Within the same 64-bit code segment only the flags have changed.
  if (level === cpl && target === cpu.selector(SEGMENT.CS) && is64BitCode(cpu)) {
    context.refreshFlags();
    return;
  }
  storeDescriptor(cpu, SEGMENT.CS, target, lowOf(code), codeHigh);
  if (level !== cpl) {
    storeNull(cpu, SEGMENT.SS, level);
    setCpl(cpu, level);
  }
  context.refreshMode();
}

// Legacy protected mode and virtual-8086 mode.

function deliverProtected(
  context: TransferContext,
  vector: number,
  errorCode: number,
  kind: EventKind,
  returnRip: bigint,
): void {
  const { cpu, memory } = context;
  const external = kind === 'software' ? 0 : SELECTOR_ERROR.EXT;
  const idtError = (vector << 3) | SELECTOR_ERROR.IDT | external;
  const cpl = cplOf(cpu);
  if (vector * 8 + 7 > cpu.get32(STATE.idtrLimit)) throw generalProtection(idtError);
  const gate = memory.read(linearOf(cpu, cpu.get(STATE.idtrBase), BigInt(vector * 8)), 8, false);
  const [low, high] = [lowOf(gate), highOf(gate)];
  const type = typeOf(high);
  const interruptGate = (type & ~9) === SYSTEM_TYPE.INTERRUPT_GATE16;
  if (type !== SYSTEM_TYPE.TASK_GATE && !interruptGate) throw generalProtection(idtError);
  if (kind === 'software' && dplOf(high) < cpl) throw generalProtection(idtError);
  if (!isPresent(high)) throw notPresent(idtError);
  const selector = low >>> 16;
  if (type === SYSTEM_TYPE.TASK_GATE) {
    deliverToTask(context, selector, errorCode, returnRip, external);
    return;
  }
  const wide = (type & 8) !== 0;
  const rip = wide ? ((high & 0xffff_0000) | (low & 0xffff)) >>> 0 : low & 0xffff;
  const image = BigInt(flagsImage(context, vector, kind));
  enterHandler(context, { selector, rip, type, errorCode, returnRip, external, image });
}

function deliverToTask(
  context: TransferContext,
  selector: number,
  errorCode: number,
  returnRip: bigint,
  external: number,
): void {
  const descriptor = readTaskDescriptor(context, selector, external);
  switchTask(context, descriptor, 'interrupt', returnRip, external);
  if (errorCode === NO_ERROR_CODE) return;
  const stack = Stack.current(context, external);
  stack.push((typeOf(descriptor.high) & 8) !== 0 ? 4 : 2, BigInt(errorCode >>> 0));
  stack.commit();
}

interface HandlerEntry {
  readonly selector: number;
  readonly rip: number;
  readonly type: number;
  readonly errorCode: number;
  readonly returnRip: bigint;
  readonly external: number;
  readonly image: bigint;
}

function enterHandler(context: TransferContext, entry: HandlerEntry): void {
  const { cpu, memory } = context;
  const { selector, external } = entry;
  const cpl = cplOf(cpu);
  if (isNull(selector)) throw generalProtection(external);
  const error = selectorError(selector) | external;
  const address = descriptorAddress(cpu, selector);
  if (address < 0n) throw generalProtection(error);
  const code = memory.read(address, 8, false);
  const [low, high] = [lowOf(code), highOf(code)];
  if (!isCode(high) || dplOf(high) > cpl) throw generalProtection(error);
  if (!isPresent(high)) throw notPresent(error);
  const vm86 = isVm86(cpu);
  const level = isConforming(high) ? cpl : dplOf(high);
  if (vm86 && level !== 0) throw generalProtection(error);

  const inner = level !== cpl ? innerStack(context, level, external) : undefined;
  const stack = inner?.stack ?? Stack.current(context, external);
  const sizeBytes = (entry.type & 8) !== 0 ? 4 : 2;
  if (vm86) {
    for (const index of [SEGMENT.GS, SEGMENT.FS, SEGMENT.DS, SEGMENT.ES]) {
      stack.push(sizeBytes, BigInt(cpu.selector(index)));
    }
  }
  if (inner !== undefined) {
    stack.push(sizeBytes, BigInt(cpu.selector(SEGMENT.SS)));
    stack.push(sizeBytes, cpu.gpr(GPR.RSP));
  }
  stack.push(sizeBytes, entry.image);
  stack.push(sizeBytes, BigInt(cpu.selector(SEGMENT.CS)));
  stack.push(sizeBytes, entry.returnRip);
  if (entry.errorCode !== NO_ERROR_CODE) stack.push(sizeBytes, BigInt(entry.errorCode >>> 0));
  if (entry.rip > limitOf(low, high)) throw generalProtection(external);
  markAccessed(context, address, high);
  if (inner !== undefined) markAccessed(context, inner.descriptor.address, inner.descriptor.high);

  stack.commit();
  if (inner !== undefined) {
    storeDescriptor(cpu, SEGMENT.SS, inner.descriptor.selector, inner.descriptor.low, inner.descriptor.high);
  }
  if (vm86) for (const index of [SEGMENT.GS, SEGMENT.FS, SEGMENT.DS, SEGMENT.ES]) storeNull(cpu, index, 0);
  storeDescriptor(cpu, SEGMENT.CS, (selector & 0xfffc) | level, low, high);
  setCpl(cpu, level);
  setRip(cpu, BigInt(entry.rip));
  clearFlags(context, entry.type);
  context.refreshMode();
}

// Real-address mode: four bytes a vector, no error codes.

function deliverReal(context: TransferContext, vector: number, returnRip: bigint): void {
  const { cpu, memory } = context;
  // A vector outside the table is a double fault's cause, whatever it is (SDM volume 3, 21.1.4).
  if (vector * 4 + 3 > cpu.get32(STATE.idtrLimit)) throw generalProtection(0);
  const entry = Number(memory.read(linearOf(cpu, cpu.get(STATE.idtrBase), BigInt(vector * 4)), 4, false));
  const stack = Stack.current(context);
  stack.push(2, BigInt(cpu.eflags));
  stack.push(2, BigInt(cpu.selector(SEGMENT.CS)));
  stack.push(2, returnRip);
  stack.commit();
  storeReal(cpu, SEGMENT.CS, entry >>> 16);
  setRip(cpu, BigInt(entry & 0xffff));
  const cleared = EFLAGS.TF | EFLAGS.IF | EFLAGS.RF | EFLAGS.AC;
  setSystemFlags(cpu, systemFlagsOf(cpu) & ~cleared);
  context.refreshMode();
}
