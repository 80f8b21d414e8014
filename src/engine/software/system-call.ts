// SYSCALL, SYSRET, SYSENTER, SYSEXIT as on Intel processors, which the CPU model names: SYSCALL and SYSRET are 64-bit
// code's only, SYSENTER and SYSEXIT work in every protected mode (SDM volume 2; volume 3, 6.8.7 and 6.8.8).

import { STATE } from '../../ir/guest-state.ts';
import { EFER } from '../../isa/control-registers.ts';
import { EFLAGS } from '../../isa/flags.ts';
import { GPR } from '../../isa/registers.ts';
import type { CpuState } from './cpu-state.ts';
import { writeSegment } from './descriptor.ts';
import {
  cplOf,
  generalProtection,
  invalidOpcode,
  is64BitCode,
  isCanonical,
  isLongMode,
  isRealMode,
  LOW_32,
  SEGMENT,
  setCpl,
  setRip,
  setSystemFlags,
  systemFlagsOf,
  type TransferContext,
} from './transfer-context.ts';

/** Flat segments of 4 GiB; the DPL is added. */
const CODE64 = 0xa09b;
const CODE32 = 0xc09b;
const DATA = 0xc093;
/** What SYSRET may load from R11: all but RF, VM and reserved bits. */
const SYSRET_FLAGS = 0x3c_7fd7;

function loadFlat(cpu: CpuState, code: number, stack: number, codeAttributes: number, cpl: number): void {
  writeSegment(cpu, SEGMENT.CS, code, 0, 0xffff_ffff, codeAttributes | (cpl << 5));
  writeSegment(cpu, SEGMENT.SS, stack, 0, 0xffff_ffff, DATA | (cpl << 5));
  setCpl(cpu, cpl);
}

function checkSyscall(cpu: CpuState): void {
  if (!is64BitCode(cpu) || (cpu.getLow(STATE.efer) & EFER.SCE) === 0) throw invalidOpcode();
}

/** Throws #UD outside 64-bit code or without EFER.SCE. */
export function syscall(context: TransferContext): void {
  const { cpu } = context;
  checkSyscall(cpu);
  const flags = cpu.eflags & ~EFLAGS.RF;
  cpu.setGpr(GPR.RCX, context.nextRip());
  cpu.setGpr(GPR.R11, BigInt(flags));
  cpu.eflags = flags & ~cpu.getLow(STATE.sfmask);
  const selector = (starHigh(cpu) & 0xfffc) >>> 0;
  loadFlat(cpu, selector, (selector + 8) & 0xffff, CODE64, 0);
  setRip(cpu, cpu.get(STATE.lstar));
  context.refreshMode();
}

/** Throws #UD as syscall, #GP(0) unless CPL is 0 and, for the 64-bit form, RCX canonical. */
export function sysret(context: TransferContext, operandBytes: number): void {
  const { cpu } = context;
  checkSyscall(cpu);
  if (cplOf(cpu) !== 0) throw generalProtection(0);
  const long = operandBytes === 8;
  const rip = long ? cpu.gpr(GPR.RCX) : cpu.gpr(GPR.RCX) & LOW_32;
  if (!isCanonical(rip)) throw generalProtection(0);
  const base = starHigh(cpu) >>> 16;
  cpu.eflags = (cpu.gpr32(GPR.R11) & SYSRET_FLAGS) | EFLAGS.FIXED;
  loadFlat(cpu, ((base + (long ? 16 : 0)) & 0xffff) | 3, ((base + 8) & 0xffff) | 3, long ? CODE64 : CODE32, 3);
  setRip(cpu, rip);
  context.refreshMode();
}

/** STAR[63:32]: the selector bases of SYSRET and SYSCALL. */
function starHigh(cpu: CpuState): number {
  return cpu.view.getUint32(cpu.offset + STATE.star.offset + 4, true);
}

/** Throws #GP(0) outside protected mode or when IA32_SYSENTER_CS is null. */
export function sysenter(context: TransferContext): void {
  const { cpu } = context;
  const selector = cpu.getLow(STATE.sysenterCs) & 0xfffc;
  if (isRealMode(cpu) || selector === 0) throw generalProtection(0);
  const long = isLongMode(cpu);
  const mask = long ? 0xffff_ffff_ffff_ffffn : LOW_32;
  setSystemFlags(cpu, systemFlagsOf(cpu) & ~(EFLAGS.VM | EFLAGS.IF | EFLAGS.RF));
  cpu.setGpr(GPR.RSP, cpu.get(STATE.sysenterEsp) & mask);
  setRip(cpu, cpu.get(STATE.sysenterEip) & mask);
  loadFlat(cpu, selector, (selector + 8) & 0xffff, long ? CODE64 : CODE32, 0);
  context.refreshMode();
}

/** Throws #GP(0) as sysenter, unless CPL is 0, and for the 64-bit form unless RCX and RDX are canonical. */
export function sysexit(context: TransferContext, operandBytes: number): void {
  const { cpu } = context;
  const selector = cpu.getLow(STATE.sysenterCs) & 0xfffc;
  if (isRealMode(cpu) || selector === 0 || cplOf(cpu) !== 0) throw generalProtection(0);
  const long = operandBytes === 8;
  const mask = long ? 0xffff_ffff_ffff_ffffn : LOW_32;
  const rsp = cpu.gpr(GPR.RCX) & mask;
  const rip = cpu.gpr(GPR.RDX) & mask;
  if (!isCanonical(rsp) || !isCanonical(rip)) throw generalProtection(0);
  const code = (selector + (long ? 32 : 16)) & 0xffff;
  cpu.setGpr(GPR.RSP, rsp);
  setRip(cpu, rip);
  loadFlat(cpu, code | 3, ((code + 8) & 0xffff) | 3, long ? CODE64 : CODE32, 3);
  context.refreshMode();
}
