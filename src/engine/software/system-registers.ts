// Control registers, debug registers, MSRs and CPUID of the software engine (Intel SDM volume 3A, chapter 2; volume 4).

import { STATE, type StateField } from '../../ir/guest-state.ts';
import { CR0, CR3, CR4, DR6, DR7, EFER } from '../../isa/control-registers.ts';
import { type CpuidContext, cpuid, PHYSICAL_ADDRESS_BITS } from '../../isa/cpuid/portable.ts';
import { portableMsrByIndex, writtenMsrValue } from '../../isa/cpuid/portable-msrs.ts';
import { MSR } from '../../isa/msrs.ts';
import type { VcpuHost } from '../vcpu.ts';
import type { CpuState } from './cpu-state.ts';
import { GuestFault } from './guest-fault.ts';
import type { Mmu } from './mmu.ts';

const DB = 1;
const UD = 6;
const GP = 13;

const RAX = 0;
const RCX = 1;
const RDX = 2;
const RBX = 3;

/** MSRs that have a field of their own in the state block. */
export const MSR_FIELDS = new Map<
  number,
  StateField &
    (
      | 'star'
      | 'lstar'
      | 'cstar'
      | 'sfmask'
      | 'kernelGsBase'
      | 'sysenterCs'
      | 'sysenterEsp'
      | 'sysenterEip'
      | 'tscAux'
      | 'fsBase'
      | 'gsBase'
    )
>([
  [MSR.IA32_STAR, 'star'],
  [MSR.IA32_LSTAR, 'lstar'],
  [MSR.IA32_CSTAR, 'cstar'],
  [MSR.IA32_FMASK, 'sfmask'],
  [MSR.IA32_KERNEL_GS_BASE, 'kernelGsBase'],
  [MSR.IA32_SYSENTER_CS, 'sysenterCs'],
  [MSR.IA32_SYSENTER_ESP, 'sysenterEsp'],
  [MSR.IA32_SYSENTER_EIP, 'sysenterEip'],
  [MSR.IA32_TSC_AUX, 'tscAux'],
  [MSR.IA32_FS_BASE, 'fsBase'],
  [MSR.IA32_GS_BASE, 'gsBase'],
]);

const CR0_WRITABLE = CR0.PE | CR0.MP | CR0.EM | CR0.TS | CR0.ET | CR0.NE | CR0.WP | CR0.AM | CR0.NW | CR0.CD | CR0.PG;
const CR4_WRITABLE =
  CR4.TSD |
  CR4.DE |
  CR4.PSE |
  CR4.PAE |
  CR4.PGE |
  CR4.OSFXSR |
  CR4.OSXMMEXCPT |
  CR4.UMIP |
  CR4.FSGSBASE |
  CR4.PCIDE |
  CR4.OSXSAVE |
  CR4.SMEP |
  CR4.SMAP; // prettier-ignore
/** Bits of CR4 and CR0 whose change makes translations stale. */
const CR4_PAGING = CR4.PSE | CR4.PAE | CR4.PGE | CR4.PCIDE | CR4.SMEP | CR4.SMAP;
const CR0_PAGING = (CR0.PG | CR0.WP | CR0.PE) >>> 0;

const isCanonical = (value: bigint): boolean => BigInt.asUintN(64, BigInt.asIntN(48, value)) === value;

export interface SystemContext {
  readonly cpu: CpuState;
  readonly mmu: Mmu;
  readonly host: VcpuHost;
  readonly cpuidContext: Omit<CpuidContext, 'osxsave'>;
  /** Values of MSRs without a field of their own. */
  readonly msrs: Map<number, bigint>;
  /** Added to the host's TSC, in ticks. */
  tscOffset: number;
  refreshMode(): void;
  /** Breakpoints were set or cleared. */
  refreshBreakpoints(): void;
}

export function requirePrivilege(c: SystemContext): void {
  if (c.cpu.get32(STATE.cpl) !== 0) throw new GuestFault(GP, 0);
}

export function readControl(c: SystemContext, register: number): bigint {
  requirePrivilege(c);
  switch (register) {
    case 0:
      return c.cpu.get(STATE.cr0);
    case 2:
      return c.cpu.get(STATE.cr2);
    case 3:
      return c.cpu.get(STATE.cr3);
    case 4:
      return c.cpu.get(STATE.cr4);
    case 8:
      return BigInt(c.host.getCr8());
    default:
      throw new GuestFault(UD);
  }
}

export function writeControl(c: SystemContext, register: number, value: bigint): void {
  requirePrivilege(c);
  switch (register) {
    case 0:
      writeCr0(c, value);
      return;
    case 2:
      c.cpu.set(STATE.cr2, value);
      return;
    case 3:
      writeCr3(c, value);
      return;
    case 4:
      writeCr4(c, value);
      return;
    case 8:
      if (value > 15n) throw new GuestFault(GP, 0);
      c.host.setCr8(Number(value));
      return;
    default:
      throw new GuestFault(UD);
  }
}

export function writeCr0(c: SystemContext, value: bigint): void {
  const { cpu } = c;
  if (value > 0xffffffffn) throw new GuestFault(GP, 0);
  const next = ((Number(value) & CR0_WRITABLE) | CR0.ET) >>> 0;
  const old = cpu.getLow(STATE.cr0);
  const has = (bits: number): boolean => (next & bits) !== 0;
  if ((has(CR0.PG) && !has(CR0.PE)) || (has(CR0.NW) && !has(CR0.CD))) throw new GuestFault(GP, 0);
  const paging = has(CR0.PG);
  const wasPaging = (old & CR0.PG) !== 0;
  const efer = cpu.getLow(STATE.efer);
  if (paging && !wasPaging && (efer & EFER.LME) !== 0) {
    const csLong = (cpu.attributes(1) & 0x2000) !== 0;
    if ((cpu.getLow(STATE.cr4) & CR4.PAE) === 0 || csLong) throw new GuestFault(GP, 0);
    cpu.set(STATE.efer, BigInt(efer | EFER.LMA));
  }
  if (!paging && wasPaging) {
    if ((efer & EFER.LMA) !== 0) {
      if (cpu.get32(STATE.codeSize) === 64) throw new GuestFault(GP, 0);
      cpu.set(STATE.efer, BigInt(efer & ~EFER.LMA));
    }
    if ((cpu.getLow(STATE.cr4) & CR4.PCIDE) !== 0) throw new GuestFault(GP, 0);
  }
  cpu.set(STATE.cr0, BigInt(next));
  if (((old ^ next) & CR0_PAGING) !== 0) c.mmu.flushAll();
  c.refreshMode();
}

function writeCr3(c: SystemContext, value: bigint): void {
  const { cpu } = c;
  const pcide = (cpu.getLow(STATE.cr4) & CR4.PCIDE) !== 0;
  const long = (cpu.getLow(STATE.efer) & EFER.LMA) !== 0;
  const keep = pcide && (value & CR3.NO_FLUSH) !== 0n;
  const kept = keep ? value & ~CR3.NO_FLUSH : value;
  if (long && kept >> BigInt(PHYSICAL_ADDRESS_BITS) !== 0n) throw new GuestFault(GP, 0);
  cpu.set(STATE.cr3, kept);
  c.mmu.switchAddressSpace(pcide ? Number(kept & 0xfffn) : 0, keep);
}

function writeCr4(c: SystemContext, value: bigint): void {
  const { cpu } = c;
  if ((value & ~BigInt(CR4_WRITABLE)) !== 0n) throw new GuestFault(GP, 0);
  const next = Number(value);
  const old = cpu.getLow(STATE.cr4);
  const long = (cpu.getLow(STATE.efer) & EFER.LMA) !== 0;
  if (long && (next & CR4.PAE) === 0) throw new GuestFault(GP, 0);
  if ((next & CR4.PCIDE) !== 0 && (old & CR4.PCIDE) === 0) {
    if (!long || (cpu.getLow(STATE.cr3) & 0xfff) !== 0) throw new GuestFault(GP, 0);
  }
  cpu.set(STATE.cr4, value);
  if (((old ^ next) & CR4_PAGING) !== 0) c.mmu.flushAll();
  c.refreshMode();
}

/** LMSW can set PE but not clear it. */
export function lmsw(c: SystemContext, value: number): void {
  requirePrivilege(c);
  const old = c.cpu.getLow(STATE.cr0);
  const next = (old & ~0xe) | (value & 0xf) | (old & CR0.PE);
  writeCr0(c, BigInt(next >>> 0));
}

export function clts(c: SystemContext): void {
  requirePrivilege(c);
  c.cpu.set(STATE.cr0, BigInt((c.cpu.getLow(STATE.cr0) & ~CR0.TS) >>> 0));
  c.refreshMode();
}

const DEBUG_FIELDS = [STATE.dr0, STATE.dr1, STATE.dr2, STATE.dr3] as const;

function debugRegister(c: SystemContext, register: number): number {
  requirePrivilege(c);
  const alias = register === 4 || register === 5;
  if (alias && (c.cpu.getLow(STATE.cr4) & CR4.DE) !== 0) throw new GuestFault(UD);
  if ((c.cpu.getLow(STATE.dr7) & DR7.GD) !== 0) {
    c.cpu.set(STATE.dr6, c.cpu.get(STATE.dr6) | BigInt(DR6.BD));
    c.cpu.set(STATE.dr7, c.cpu.get(STATE.dr7) & ~BigInt(DR7.GD));
    throw new GuestFault(DB);
  }
  return alias ? register + 2 : register;
}

export function readDebug(c: SystemContext, register: number): bigint {
  const number = debugRegister(c, register);
  if (number < 4) return c.cpu.get(DEBUG_FIELDS[number]!);
  return number === 6 ? c.cpu.get(STATE.dr6) : c.cpu.get(STATE.dr7);
}

export function writeDebug(c: SystemContext, register: number, value: bigint): void {
  const number = debugRegister(c, register);
  if (number < 4) {
    c.cpu.set(DEBUG_FIELDS[number]!, value);
  } else {
    if (value > 0xffffffffn) throw new GuestFault(GP, 0);
    const low = Number(value);
    if (number === 6) c.cpu.set(STATE.dr6, BigInt(((low & 0xe00f) | DR6.FIXED) >>> 0));
    else c.cpu.set(STATE.dr7, BigInt(((low & 0xffff2bff) | DR7.FIXED) >>> 0));
  }
  c.refreshBreakpoints();
}

export function readMsr(c: SystemContext, index: number): bigint | undefined {
  const field = MSR_FIELDS.get(index);
  if (field !== undefined) return c.cpu.get(STATE[field]);
  if (index === MSR.IA32_EFER) return c.cpu.get(STATE.efer);
  if (index === MSR.IA32_TIME_STAMP_COUNTER) return BigInt(Math.floor(c.host.readTsc() + c.tscOffset));
  return c.msrs.get(index) ?? c.host.readMsr(index);
}

/** False: the write raises #GP. */
export function writeMsr(c: SystemContext, index: number, value: bigint): boolean {
  const { cpu } = c;
  const definition = portableMsrByIndex.get(index);
  if (definition === undefined || definition.holder === 'host') return c.host.writeMsr(index, value);
  if (index === MSR.IA32_TIME_STAMP_COUNTER) {
    c.tscOffset = Number(value) - Math.floor(c.host.readTsc());
    // The local APIC's deadlines count in the same ticks.
    c.host.writeMsr(index, value);
    return true;
  }
  const current = readMsr(c, index)!;
  const next = writtenMsrValue(definition, current, value);
  if (next === undefined) return false;
  if (index === MSR.IA32_EFER) {
    const paging = (cpu.getLow(STATE.cr0) & CR0.PG) !== 0;
    if (paging && ((current ^ next) & BigInt(EFER.LME)) !== 0n) return false;
    cpu.set(STATE.efer, next);
    c.mmu.flushAll();
    c.refreshMode();
    return true;
  }
  const field = MSR_FIELDS.get(index);
  if (field !== undefined) cpu.set(STATE[field], next);
  else c.msrs.set(index, next);
  return true;
}

export function rdmsr(c: SystemContext): void {
  requirePrivilege(c);
  const value = readMsr(c, c.cpu.gpr32(RCX));
  if (value === undefined) throw new GuestFault(GP, 0);
  c.cpu.setGpr(RAX, value & 0xffffffffn);
  c.cpu.setGpr(RDX, value >> 32n);
}

export function wrmsr(c: SystemContext): void {
  requirePrivilege(c);
  const value = (BigInt(c.cpu.gpr32(RDX)) << 32n) | BigInt(c.cpu.gpr32(RAX));
  if (!writeMsr(c, c.cpu.gpr32(RCX), value)) throw new GuestFault(GP, 0);
}

export function runCpuid(c: SystemContext): void {
  const { cpu } = c;
  const osxsave = (cpu.getLow(STATE.cr4) & CR4.OSXSAVE) !== 0;
  const result = cpuid(cpu.gpr32(RAX), cpu.gpr32(RCX), { ...c.cpuidContext, osxsave });
  cpu.setGpr(RAX, BigInt(result.eax));
  cpu.setGpr(RBX, BigInt(result.ebx));
  cpu.setGpr(RCX, BigInt(result.ecx));
  cpu.setGpr(RDX, BigInt(result.edx));
}

export function readTsc(c: SystemContext): number {
  if ((c.cpu.getLow(STATE.cr4) & CR4.TSD) !== 0 && c.cpu.get32(STATE.cpl) !== 0) throw new GuestFault(GP, 0);
  return Math.floor(c.host.readTsc() + c.tscOffset);
}

export function loadDescriptorTable(c: SystemContext, table: number, limit: number, base: bigint): void {
  if (c.cpu.get32(STATE.codeSize) === 64 && !isCanonical(base)) throw new GuestFault(GP, 0);
  c.cpu.set(table === 0 ? STATE.gdtrBase : STATE.idtrBase, base);
  c.cpu.set32(table === 0 ? STATE.gdtrLimit : STATE.idtrLimit, limit);
}

export function checkUmip(c: SystemContext): void {
  if ((c.cpu.getLow(STATE.cr4) & CR4.UMIP) !== 0 && c.cpu.get32(STATE.cpl) !== 0) throw new GuestFault(GP, 0);
}

/** INVPCID: the descriptor's PCID and address have been read. */
export function invpcid(c: SystemContext, type: bigint, pcid: bigint, linear: bigint): void {
  if (type > 3n || pcid > 0xfffn) throw new GuestFault(GP, 0);
  const current = (c.cpu.getLow(STATE.cr4) & CR4.PCIDE) !== 0 ? c.cpu.getLow(STATE.cr3) & 0xfff : 0;
  if (type === 0n) {
    if (!isCanonical(linear)) throw new GuestFault(GP, 0);
    if (Number(pcid) === current) {
      c.mmu.invalidatePage(Number(linear & 0xffffffffn) | 0, Number(linear >> 32n) | 0);
    } else {
      c.mmu.flushPcid(Number(pcid), false);
    }
  } else if (type === 1n) {
    c.mmu.flushPcid(Number(pcid), Number(pcid) === current);
  } else {
    c.mmu.flushAll();
  }
}
