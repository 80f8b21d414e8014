// The MSRs of the CPU model `portable`: whose they are, their reset values, and what may be written. An MSR that is not
// here raises #GP. Linux probes several more with RDMSR that may fault; those are absent on purpose.

import { ARCH_CAPABILITIES, MISC_ENABLE, MSR, type MsrName } from '../msrs.ts';

export interface MsrDefinition {
  readonly index: number;
  readonly name: MsrName;
  /**
   * `msrs`: the value lives in VcpuState.msrs. `state`: in a field of its own (EFER, FS and GS base) or in the clock
   * (TSC). `host`: a device's; VcpuHost.readMsr and writeMsr know it.
   */
  readonly holder: 'msrs' | 'state' | 'host';
  readonly reset: bigint;
  /**
   * Bits that a write sets. A write that differs from the present value in a bit neither here nor in `ignored`
   * raises #GP.
   */
  readonly writable: bigint;
  /** Bits that a write may hold and that have no effect. */
  readonly ignored: bigint;
  /** A rule on the whole value besides the bits. */
  readonly rule?: 'canonical' | 'pat';
}

const ALL = 0xffff_ffff_ffff_ffffn;
const LOW_32 = 0xffff_ffffn;
const [EFER_SCE, EFER_LME, EFER_NXE] = [1n << 0n, 1n << 8n, 1n << 11n];
const EFER_LMA = 1n << 10n;

const NOT_VULNERABLE = Object.values(ARCH_CAPABILITIES).reduce((all, bit) => all | bit, 0n);

function msr(
  name: MsrName,
  holder: MsrDefinition['holder'],
  reset: bigint,
  writable: bigint,
  rest: { ignored?: bigint; rule?: 'canonical' | 'pat' } = {},
): MsrDefinition {
  return { index: MSR[name], name, holder, reset, writable, ignored: 0n, ...rest };
}

export const portableMsrs: readonly MsrDefinition[] = [
  msr('IA32_TIME_STAMP_COUNTER', 'state', 0n, ALL),
  msr('IA32_PLATFORM_ID', 'msrs', 0n, 0n),
  msr('IA32_APIC_BASE', 'host', 0xfee0_0900n, ALL),
  // Locked, with nothing enabled: there is no VMX.
  msr('IA32_FEATURE_CONTROL', 'msrs', 1n, 0n),
  // The microcode revision is in the high half; software writes 0 before it asks.
  msr('IA32_BIOS_SIGN_ID', 'msrs', 1n << 32n, 0n, { ignored: ALL }),
  msr('IA32_ARCH_CAPABILITIES', 'msrs', NOT_VULNERABLE, 0n),
  msr('IA32_SYSENTER_CS', 'msrs', 0n, LOW_32, { ignored: ALL }),
  msr('IA32_SYSENTER_ESP', 'msrs', 0n, ALL, { rule: 'canonical' }),
  msr('IA32_SYSENTER_EIP', 'msrs', 0n, ALL, { rule: 'canonical' }),
  msr(
    'IA32_MISC_ENABLE',
    'msrs',
    MISC_ENABLE.FAST_STRING | MISC_ENABLE.BTS_UNAVAILABLE | MISC_ENABLE.PEBS_UNAVAILABLE,
    MISC_ENABLE.FAST_STRING,
  ),
  // Branch records and single-stepping by branches are not there: their bits stay clear.
  msr('IA32_DEBUGCTL', 'msrs', 0n, 0n, { ignored: 3n }),
  msr('IA32_PAT', 'msrs', 0x0007_0406_0007_0406n, ALL, { rule: 'pat' }),
  msr('IA32_TSC_DEADLINE', 'host', 0n, ALL),
  msr('IA32_EFER', 'state', 0n, EFER_SCE | EFER_LME | EFER_NXE, { ignored: EFER_LMA }),
  msr('IA32_STAR', 'msrs', 0n, ALL),
  msr('IA32_LSTAR', 'msrs', 0n, ALL, { rule: 'canonical' }),
  msr('IA32_CSTAR', 'msrs', 0n, ALL, { rule: 'canonical' }),
  msr('IA32_FMASK', 'msrs', 0n, LOW_32),
  msr('IA32_FS_BASE', 'state', 0n, ALL, { rule: 'canonical' }),
  msr('IA32_GS_BASE', 'state', 0n, ALL, { rule: 'canonical' }),
  msr('IA32_KERNEL_GS_BASE', 'msrs', 0n, ALL, { rule: 'canonical' }),
  msr('IA32_TSC_AUX', 'msrs', 0n, LOW_32),
  msr('KVM_WALL_CLOCK_NEW', 'host', 0n, ALL),
  msr('KVM_SYSTEM_TIME_NEW', 'host', 0n, ALL),
];

export const portableMsrByIndex: ReadonlyMap<number, MsrDefinition> = new Map(
  portableMsrs.map((definition) => [definition.index, definition]),
);

/** VcpuState.msrs after RESET. */
export function resetMsrs(): Map<number, bigint> {
  return new Map(portableMsrs.filter(({ holder }) => holder === 'msrs').map(({ index, reset }) => [index, reset]));
}

/** Sign extension of bit 47 (LINEAR_ADDRESS_BITS - 1). */
function isCanonical(value: bigint): boolean {
  return BigInt.asUintN(64, BigInt.asIntN(48, value)) === value;
}

/** Eight memory types, each one of UC, WC, WT, WP, WB, UC-. */
function isPat(value: bigint): boolean {
  for (let shift = 0n; shift < 64n; shift += 8n) {
    const type = Number((value >> shift) & 0xffn);
    if (type > 7 || type === 2 || type === 3) return false;
  }
  return true;
}

/**
 * The value that a WRMSR of `written` leaves in an MSR that holds `current`; undefined: it raises #GP. Unsigned
 * 64-bit.
 */
export function writtenMsrValue(definition: MsrDefinition, current: bigint, written: bigint): bigint | undefined {
  const { writable, ignored, rule } = definition;
  if (((current ^ written) & ALL & ~(writable | ignored)) !== 0n) return undefined;
  if (rule === 'canonical' && !isCanonical(written)) return undefined;
  if (rule === 'pat' && !isPat(written)) return undefined;
  return (current & ~writable) | (written & writable);
}
