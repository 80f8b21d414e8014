// The CPU model `portable`, version 1: what every engine can honour, and nothing that is absent.
// Not there: machine check (MCE, MCA), MTRRs, performance counters, MONITOR/MWAIT, VME, PSE-36, AVX, BMI. Without MTRRs
// Linux takes all memory as write-back and, before 6.3, leaves the PAT alone; RAM here has no other type. Leaves beyond
// the last give zeros.

import type { Feature } from '../row.ts';
import { CPUID_BITS, type CpuidFeatureName, type CpuidRegister } from './cpuid-bits.ts';

export const PORTABLE_MODEL = { name: 'portable', version: 1 } as const;

export interface CpuidResult {
  /** Unsigned 32-bit. */
  readonly eax: number;
  readonly ebx: number;
  readonly ecx: number;
  readonly edx: number;
}

/** What CPUID reports besides the model. */
export interface CpuidContext {
  readonly apicId: number;
  readonly cpuCount: number;
  readonly tscHz: number;
  /** Input clock of the local APIC's timer before its divider. */
  readonly apicBusHz: number;
  /** CR4.OSXSAVE as it is now. */
  readonly osxsave: boolean;
}

/** Every CPUID feature of the model. */
export const PORTABLE_CPUID_FEATURES: readonly CpuidFeatureName[] = [
  ...(['x87', 'de', 'pse', 'tsc', 'msr', 'pae', 'cx8', 'apic', 'sep', 'pge', 'cmov', 'pat', 'clflush'] as const),
  ...(['mmx', 'fxsr', 'sse', 'sse2', 'sse3', 'ssse3', 'sse4.1', 'sse4.2', 'popcnt', 'cx16', 'movbe'] as const),
  ...(['aes', 'pclmulqdq', 'rdrand', 'rdseed', 'xsave', 'xsaveopt'] as const),
  ...(['pcid', 'invpcid', 'smep', 'smap', 'umip', 'fsgsbase', 'erms', 'fsrm', 'arch-capabilities'] as const),
  ...(['x2apic', 'tsc-deadline', 'arat', 'invariant-tsc', 'rdtscp'] as const),
  ...(['syscall', 'nx', '1gib-pages', 'long-mode', 'lahf-64', 'prefetchw'] as const),
  ...(['hypervisor', 'kvm-nop-io-delay', 'kvm-clocksource2', 'kvm-clocksource-stable'] as const),
];

/** The same as the instruction table names them: what a decoder for this model is created with. */
export const PORTABLE_FEATURES: ReadonlySet<Feature> = new Set<Feature>([
  'base',
  ...(['x87', 'cmov', 'cx8', 'cx16', 'fxsr', 'mmx', 'sse', 'sse2', 'sse3', 'ssse3', 'sse4.1', 'sse4.2'] as const),
  ...(['popcnt', 'aes', 'pclmulqdq', 'rdrand', 'rdseed', 'xsave', 'xsaveopt', 'fsgsbase', 'rdtscp'] as const),
  ...(['invpcid', 'smap', 'clflush', 'movbe'] as const),
]);

/**
 * Guest kernels take mitigations against speculative execution by what CPUID says; nothing of theirs helps here, and
 * retpolines, page-table isolation and buffer clearing cost a lot. Linux (arch/x86/kernel/cpu/common.c, 6.1 to 6.12 and
 * later) consults a whitelist by vendor, family and model before any "not vulnerable" bit, and Spectre v1 and v2 have
 * no such bit: only the models that it lists as NO_SPECULATION are free of all. The 64-bit ones among them are Intel's
 * in-order Atoms; of those, Saltwell (family 6, model 0x36) has no other workaround attached. IA32_ARCH_CAPABILITIES
 * says the same bug by bug for whoever reads that instead.
 *
 * What the vendor entails: SYSCALL raises #UD outside 64-bit mode (32-bit programs use SYSENTER or INT 80h), SYSENTER
 * works in long mode, near branches ignore 66 in 64-bit mode, loading a null selector into FS or GS clears the base.
 */
const VENDOR = 'GenuineIntel';
const KVM_SIGNATURE = 'KVMKVMKVM\0\0\0';
const BRAND = 'Bulkhead virtual processor (portable, v1)'.slice(0, 47).padEnd(48, '\0');
/** Family 6, model 0x36, stepping 1. */
const SIGNATURE = 0x0003_0661;
const LAST_BASIC = 0x16;
const LAST_HYPERVISOR = 0x4000_0010;
const LAST_EXTENDED = 0x8000_0008;
export const PHYSICAL_ADDRESS_BITS = 40;
export const LINEAR_ADDRESS_BITS = 48;
const CACHE_LINE_BYTES = 64;
/** Legacy region and header of the XSAVE area; there are no further components. */
const XSAVE_AREA_BYTES = 576;

/** Deterministic cache parameters (leaf 4): type 1 data, 2 instruction, 3 unified. */
const CACHES = [
  { type: 1, level: 1, ways: 8, sets: 64, shared: false },
  { type: 2, level: 1, ways: 8, sets: 64, shared: false },
  { type: 3, level: 2, ways: 16, sets: 1024, shared: false },
  { type: 3, level: 3, ways: 16, sets: 8192, shared: true },
] as const;
const L2_KIB = 1024;
/** Leaf 0x80000006's code for 16 ways. */
const L2_ASSOCIATIVITY = 8;

type Words = Record<CpuidRegister, number>;

function words(eax = 0, ebx = 0, ecx = 0, edx = 0): Words {
  return { eax, ebx, ecx, edx };
}

/** The `index`th four characters of `text`, little-endian. */
function textWord(text: string, index: number): number {
  let word = 0;
  for (let byte = 3; byte >= 0; byte--) word = (word << 8) | text.charCodeAt(index * 4 + byte);
  return word;
}

/** Bits that hold APIC ids of `cpuCount` processors. */
function apicIdBits(cpuCount: number): number {
  return 32 - Math.clz32(cpuCount - 1);
}

function greatestCommonDivisor(left: number, right: number): number {
  return right === 0 ? left : greatestCommonDivisor(right, left % right);
}

function cacheLeaf(subleaf: number, cpuCount: number): Words {
  const cache = CACHES[subleaf];
  if (cache === undefined) return words();
  const idsPerPackage = 1 << apicIdBits(cpuCount);
  const sharing = cache.shared ? idsPerPackage : 1;
  const selfInitializing = 1 << 8;
  return words(
    cache.type |
      (cache.level << 5) |
      selfInitializing |
      ((sharing - 1) << 14) |
      ((Math.min(idsPerPackage, 64) - 1) << 26),
    (CACHE_LINE_BYTES - 1) | ((cache.ways - 1) << 22),
    cache.sets - 1,
  );
}

/** One thread a core, all cores in one package. */
function topologyLeaf(subleaf: number, { apicId, cpuCount }: CpuidContext): Words {
  const [SMT, CORE] = [1, 2];
  if (subleaf === 0) return words(0, 1, SMT << 8, apicId);
  if (subleaf === 1) return words(apicIdBits(cpuCount), cpuCount, 1 | (CORE << 8), apicId);
  return words(0, 0, subleaf & 0xff, apicId);
}

/** TSC frequency = crystal (the APIC timer's clock) * ebx / eax. */
function timeStampCounterLeaf({ tscHz, apicBusHz }: CpuidContext): Words {
  const [tscKhz, busKhz] = [Math.round(tscHz / 1000), Math.round(apicBusHz / 1000)];
  const divisor = greatestCommonDivisor(tscKhz, busKhz);
  return words(busKhz / divisor, tscKhz / divisor, apicBusHz);
}

function fixedWords(leaf: number, subleaf: number, context: CpuidContext): Words {
  const { apicId, cpuCount, tscHz, apicBusHz } = context;
  switch (leaf) {
    case 0:
      return words(LAST_BASIC, textWord(VENDOR, 0), textWord(VENDOR, 2), textWord(VENDOR, 1));
    case 1: {
      const idsPerPackage = cpuCount === 1 ? 1 : 1 << apicIdBits(cpuCount);
      const counts = ((apicId & 0xff) << 24) | (Math.min(idsPerPackage, 255) << 16) | ((CACHE_LINE_BYTES / 8) << 8);
      const htt = cpuCount > 1 ? 1 << 28 : 0;
      return words(SIGNATURE, counts, context.osxsave ? 1 << 27 : 0, htt);
    }
    case 2:
      // One iteration; the caches are in leaf 4.
      return words(0xff01);
    case 4:
      return cacheLeaf(subleaf, cpuCount);
    case 0xb:
      return topologyLeaf(subleaf, context);
    case 0xd:
      return subleaf === 0 ? words(3, XSAVE_AREA_BYTES, XSAVE_AREA_BYTES) : words();
    case 0x15:
      return timeStampCounterLeaf(context);
    case 0x16: {
      const tscMhz = Math.round(tscHz / 1e6);
      return words(tscMhz, tscMhz, Math.round(apicBusHz / 1e6) & 0xffff);
    }
    case 0x4000_0000:
      return words(LAST_HYPERVISOR, textWord(KVM_SIGNATURE, 0), textWord(KVM_SIGNATURE, 1), textWord(KVM_SIGNATURE, 2));
    case 0x4000_0010:
      return words(Math.round(tscHz / 1000), Math.round(apicBusHz / 1000));
    case 0x8000_0000:
      return words(LAST_EXTENDED);
    case 0x8000_0002:
    case 0x8000_0003:
    case 0x8000_0004: {
      const first = (leaf - 0x8000_0002) * 4;
      return words(
        textWord(BRAND, first),
        textWord(BRAND, first + 1),
        textWord(BRAND, first + 2),
        textWord(BRAND, first + 3),
      );
    }
    case 0x8000_0006:
      return words(0, 0, CACHE_LINE_BYTES | (L2_ASSOCIATIVITY << 12) | (L2_KIB << 16));
    case 0x8000_0008:
      return words(PHYSICAL_ADDRESS_BITS | (LINEAR_ADDRESS_BITS << 8));
    default:
      return words();
  }
}

/** What CPUID returns with EAX = `leaf` and ECX = `subleaf`. */
export function cpuid(leaf: number, subleaf: number, context: CpuidContext): CpuidResult {
  const [wantedLeaf, wantedSubleaf] = [leaf >>> 0, subleaf >>> 0];
  const result = fixedWords(wantedLeaf, wantedSubleaf, context);
  // Leaf 1 and its like ignore ECX; 7 and 0xD have subleaves.
  const subleafCounts = wantedLeaf === 7 || wantedLeaf === 0xd;
  for (const name of PORTABLE_CPUID_FEATURES) {
    const place = CPUID_BITS[name];
    if (place.leaf !== wantedLeaf || (subleafCounts && place.subleaf !== wantedSubleaf)) continue;
    result[place.register] |= 1 << place.bit;
  }
  return { eax: result.eax >>> 0, ebx: result.ebx >>> 0, ecx: result.ecx >>> 0, edx: result.edx >>> 0 };
}
