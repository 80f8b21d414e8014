// Who may change which bits of EFLAGS: POPF, IRET, CLI, STI, PUSHF (SDM volume 2, POPF and CLI; volume 3, 21.2.7).
// CR4.VME and PVI are not offered, so that virtual interrupt flags never take part.

import { EFLAGS, STATUS_FLAGS } from '../../isa/flags.ts';
import {
  cplOf,
  generalProtection,
  ioplOf,
  isProtected,
  isVm86,
  setSystemFlags,
  systemFlagsOf,
  type TransferContext,
} from './transfer-context.ts';

const ALWAYS = STATUS_FLAGS | EFLAGS.TF | EFLAGS.DF | EFLAGS.NT;

/** Bits of EFLAGS that POPF and IRET of this operand size may change at this privilege. */
export function changeableFlags(context: TransferContext, operandBytes: number): number {
  const { cpu } = context;
  const cpl = isVm86(cpu) ? 3 : cplOf(cpu);
  let mask = ALWAYS;
  if (operandBytes > 2) mask |= EFLAGS.AC | EFLAGS.ID;
  if (cpl <= ioplOf(cpu)) mask |= EFLAGS.IF;
  if (cpl === 0) mask |= EFLAGS.IOPL;
  return mask;
}

/** POPF: throws #GP(0) in virtual-8086 mode with IOPL below 3. RF is cleared, VM kept. */
export function writeFlags(context: TransferContext, value: bigint, operandBytes: number): void {
  checkPushf(context);
  const { cpu } = context;
  const mask = changeableFlags(context, operandBytes);
  cpu.eflags = (Number(value & 0xffff_ffffn) & mask) | (cpu.eflags & ~mask & ~EFLAGS.RF);
  context.refreshFlags();
}

/** PUSHF (and POPF) in virtual-8086 mode want IOPL 3: #GP(0). */
export function checkPushf(context: TransferContext): void {
  if (isVm86(context.cpu) && ioplOf(context.cpu) < 3) throw generalProtection(0);
}

function checkInterruptFlag(context: TransferContext): void {
  const { cpu } = context;
  if ((isProtected(cpu) || isVm86(cpu)) && cplOf(cpu) > ioplOf(cpu)) throw generalProtection(0);
}

/** Throws #GP(0) when CPL is above IOPL. */
export function cli(context: TransferContext): void {
  checkInterruptFlag(context);
  setSystemFlags(context.cpu, systemFlagsOf(context.cpu) & ~EFLAGS.IF);
  context.refreshFlags();
}

/** As cli. True when IF was clear: interrupts stay off for one more instruction. */
export function sti(context: TransferContext): boolean {
  checkInterruptFlag(context);
  const flags = systemFlagsOf(context.cpu);
  setSystemFlags(context.cpu, flags | EFLAGS.IF);
  context.refreshFlags();
  return (flags & EFLAGS.IF) === 0;
}
