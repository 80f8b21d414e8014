// What segmentation and control-transfer functions know of the processor that they work for, the modes (SDM volume 3,
// 2.2) and the exceptions that they raise (SDM volume 3, 7.15). Every function throws before it has changed anything.

import { STATE } from '../../ir/guest-state.ts';
import { CR0, EFER } from '../../isa/control-registers.ts';
import { EFLAGS, IOPL_SHIFT } from '../../isa/flags.ts';
import { VECTOR } from '../../isa/vectors.ts';
import { SEGMENT_ATTRIBUTE } from '../vcpu-state.ts';
import type { CpuState } from './cpu-state.ts';
import { GuestFault } from './guest-fault.ts';
import type { LinearMemory } from './linear-memory.ts';

export interface TransferContext {
  readonly cpu: CpuState;
  readonly memory: LinearMemory;
  /** A segment, CPL, EFER, CR0 or EFLAGS.VM changed: code size, TLB pointers, stack masks, flat marks follow. */
  refreshMode(): void;
  /** Of the mode's inputs, only EFLAGS.AC, IF or TF changed. */
  refreshFlags(): void;
  /** The same of a change between 64-bit code of one privilege and another, or of EFLAGS alone. */
  refreshPrivilege(): void;
  /** Offset in CS of the current instruction, and of the next one. */
  currentRip(): bigint;
  nextRip(): bigint;
  /** A task switch loads CR3: the field is set, translations that are not global are dropped. */
  loadCr3(value: bigint): void;
  /** IRET has ended: NMIs are no longer blocked. */
  nmiUnblocked?(): void;
  /** The new task's T bit asks for a #DB before its first instruction; DR6.BT is set already. */
  taskTrap?(): void;
}

export const SEGMENT = { ES: 0, CS: 1, SS: 2, DS: 3, FS: 4, GS: 5, LDTR: 6, TR: 7 } as const;

export const ALL_ONES = 0xffff_ffff_ffff_ffffn;
export const LOW_32 = 0xffff_ffffn;

export const generalProtection = (errorCode: number): GuestFault => new GuestFault(VECTOR.GP, errorCode);
export const notPresent = (errorCode: number): GuestFault => new GuestFault(VECTOR.NP, errorCode);
export const stackFault = (errorCode: number): GuestFault => new GuestFault(VECTOR.SS, errorCode);
export const invalidTss = (errorCode: number): GuestFault => new GuestFault(VECTOR.TS, errorCode);
export const invalidOpcode = (): GuestFault => new GuestFault(VECTOR.UD);

// The fields that every transfer reads are addressed directly: a field looked up by name costs as much as a memory
// access of the guest's.

const readWord = (cpu: CpuState, offset: number): number => cpu.view.getUint32(cpu.offset + offset, true);

export const cplOf = (cpu: CpuState): number => readWord(cpu, STATE.cpl.offset);
export const systemFlagsOf = (cpu: CpuState): number => readWord(cpu, STATE.systemFlags.offset);

export function setSystemFlags(cpu: CpuState, flags: number): void {
  cpu.view.setUint32(cpu.offset + STATE.systemFlags.offset, flags, true);
}

export function setCpl(cpu: CpuState, cpl: number): void {
  cpu.view.setUint32(cpu.offset + STATE.cpl.offset, cpl, true);
}

export function setRip(cpu: CpuState, rip: bigint): void {
  cpu.view.setBigUint64(cpu.offset + STATE.rip.offset, rip, true);
}

export function isRealMode(cpu: CpuState): boolean {
  return (readWord(cpu, STATE.cr0.offset) & CR0.PE) === 0;
}

export function isVm86(cpu: CpuState): boolean {
  return (systemFlagsOf(cpu) & EFLAGS.VM) !== 0;
}

/** Protected mode proper: descriptors rule, neither real-address nor virtual-8086 mode. */
export function isProtected(cpu: CpuState): boolean {
  return !isRealMode(cpu) && !isVm86(cpu);
}

/** IA-32e mode: 64-bit or compatibility code. */
export function isLongMode(cpu: CpuState): boolean {
  return (readWord(cpu, STATE.efer.offset) & EFER.LMA) !== 0;
}

export function is64BitCode(cpu: CpuState): boolean {
  return isLongMode(cpu) && (cpu.attributes(SEGMENT.CS) & SEGMENT_ATTRIBUTE.L) !== 0;
}

export function ioplOf(cpu: CpuState): number {
  return (systemFlagsOf(cpu) & EFLAGS.IOPL) >>> IOPL_SHIFT;
}

/** Bits 63 to 47 are all equal: what 4-level paging can translate. */
export function isCanonical(linear: bigint): boolean {
  const top = linear >> 47n;
  return top === 0n || top === 0x1ffffn;
}

/** The bits of `value` that an operand of 2, 4 or 8 bytes holds. */
export function truncate(value: bigint, operandBytes: number): bigint {
  return operandBytes === 8 ? value : operandBytes === 4 ? value & LOW_32 : value & 0xffffn;
}
