// The named CPU models as KVM takes them: CPUID leaves, the MSRs that a processor's state has, and whose each of them
// is.
//
//   portable  what every engine has: isa/cpuid/portable.ts, less what this host's KVM does not have
//   host      what KVM offers on this host; a state of it needs a host like this one

import { CPUID_BITS, type CpuidFeatureName } from '../../isa/cpuid/cpuid-bits.ts';
import { type CpuidContext, cpuid, PORTABLE_CPUID_FEATURES } from '../../isa/cpuid/portable.ts';
import { portableMsrs } from '../../isa/cpuid/portable-msrs.ts';
import { MSR } from '../../isa/msrs.ts';
import { KVM_CPUID_FLAG_SIGNIFCANT_INDEX } from './ioctls.ts';
import type { CpuidEntry } from './kvm-system.ts';
import { StructBuffer } from './struct-layout.ts';
import * as structs from './structs.ts';

export const CPU_MODELS = ['portable', 'host'] as const;
export type CpuModelName = (typeof CPU_MODELS)[number];

const LAST_BASIC = 0x16;
const LAST_EXTENDED = 0x8000_0008;
/** Leaves of the portable model whose result depends on ECX, and how many subleaves say something. */
const SUBLEAVES: ReadonlyMap<number, number> = new Map([
  [4, 5],
  [7, 1],
  [0xb, 2],
  [0xd, 2],
]);

/** Leaves of `host` that tell a topology: the guest takes leaf 1's instead. */
const TOPOLOGY_LEAVES: ReadonlySet<number> = new Set([0xb, 0x1f, 0x8000_001e, 0x8000_0026]);
const KVM_SIGNATURE_LEAF = 0x4000_0000;
const KVM_FEATURES_LEAF = 0x4000_0001;
const KVM_TIMING_LEAF = 0x4000_0010;

/** MSRs that KVM keeps for the guest; the other ones of the portable model are kept by the engine. */
const KEPT_BY_KVM: readonly number[] = [
  MSR.IA32_SYSENTER_CS,
  MSR.IA32_SYSENTER_ESP,
  MSR.IA32_SYSENTER_EIP,
  MSR.IA32_PAT,
  MSR.IA32_STAR,
  MSR.IA32_LSTAR,
  MSR.IA32_CSTAR,
  MSR.IA32_FMASK,
  MSR.IA32_KERNEL_GS_BASE,
  MSR.IA32_TSC_AUX,
];
/** The other ones that hold state. */
const KEPT_BY_ENGINE: readonly number[] = portableMsrs
  .filter(({ holder, index }) => holder === 'msrs' && !KEPT_BY_KVM.includes(index))
  .map(({ index }) => index);
/** With `host` besides, where KVM has them. */
const HOST_STATE_MSRS = { IA32_TSC_ADJUST: 0x3b, IA32_SPEC_CTRL: 0x48, IA32_XSS: 0xda0 } as const;

/** MSRs that KVM answers itself and that are no part of VcpuState.msrs. */
const ANSWERED_BY_KVM: readonly number[] = [
  MSR.IA32_TIME_STAMP_COUNTER,
  MSR.IA32_EFER,
  MSR.IA32_FS_BASE,
  MSR.IA32_GS_BASE,
];
/** The kernel's local APIC and clock. */
const ANSWERED_BY_KERNEL_CHIPS: readonly number[] = [
  MSR.IA32_APIC_BASE,
  MSR.IA32_TSC_DEADLINE,
  MSR.KVM_WALL_CLOCK_NEW,
  MSR.KVM_SYSTEM_TIME_NEW,
];

export interface CpuModel {
  readonly name: CpuModelName;
  readonly entries: readonly CpuidEntry[];
  /** Features of the portable model that this host lacks. */
  readonly missing: readonly CpuidFeatureName[];
  /** MSRs of VcpuState.msrs that KVM keeps. */
  readonly stateMsrs: readonly number[];
  /** MSRs of VcpuState.msrs that the engine keeps, by the rules of the portable model. */
  readonly ownMsrs: readonly number[];
  /** MSRs that the guest reaches in the kernel; all others come to the engine. undefined: KVM decides. */
  readonly passedMsrs: readonly number[] | undefined;
}

export interface CpuModelContext extends Omit<CpuidContext, 'osxsave'> {
  readonly supported: readonly CpuidEntry[];
  /** KVM_CAP_TSC_DEADLINE_TIMER: older kernels leave it out of the supported CPUID. */
  readonly tscDeadline: boolean;
  readonly msrIndexes: ReadonlySet<number>;
  readonly kernelChips: boolean;
  /** Features that KVM does not list are told to the guest all the same. */
  readonly tellMissing: boolean;
}

export function createCpuModel(name: CpuModelName, context: CpuModelContext): CpuModel {
  return name === 'portable' ? portableModel(context) : hostModel(context);
}

/** Features that do not hang on the processor: KVM or we give them everywhere. */
const GIVEN: ReadonlySet<CpuidFeatureName> = new Set<CpuidFeatureName>([
  'hypervisor',
  'kvm-nop-io-delay',
  'kvm-clocksource2',
  'kvm-clocksource-stable',
  'arch-capabilities',
]);

function portableModel(context: CpuModelContext): CpuModel {
  const { supported } = context;
  const missing = PORTABLE_CPUID_FEATURES.filter((feature) => {
    if (GIVEN.has(feature) || (feature === 'tsc-deadline' && context.tscDeadline)) return false;
    const { leaf, subleaf, register, bit } = CPUID_BITS[feature];
    const entry = supported.find((one) => one.leaf === leaf && (!one.subleafCounts || one.subleaf === subleaf));
    return entry === undefined || (entry[register] & (1 << bit)) === 0;
  });
  const entries: CpuidEntry[] = [];
  const add = (leaf: number): void => {
    const count = SUBLEAVES.get(leaf);
    for (let subleaf = 0; subleaf < (count ?? 1); subleaf++) {
      // KVM sets OSXSAVE itself, as CR4 changes.
      const result = { ...cpuid(leaf, subleaf, { ...context, osxsave: false }) };
      for (const feature of context.tellMissing ? [] : missing) {
        const place = CPUID_BITS[feature];
        if (place.leaf === leaf && place.subleaf === subleaf) {
          result[place.register] = (result[place.register] & ~(1 << place.bit)) >>> 0;
        }
      }
      entries.push({ leaf, subleaf, subleafCounts: count !== undefined, ...result });
    }
  };
  for (let leaf = 0; leaf <= LAST_BASIC; leaf++) add(leaf);
  for (const leaf of [KVM_SIGNATURE_LEAF, KVM_FEATURES_LEAF, KVM_TIMING_LEAF]) add(leaf);
  for (let leaf = 0x8000_0000; leaf <= LAST_EXTENDED; leaf++) add(leaf);
  const passedMsrs = [...KEPT_BY_KVM, ...ANSWERED_BY_KVM, ...(context.kernelChips ? ANSWERED_BY_KERNEL_CHIPS : [])];
  return { name: 'portable', entries, missing, stateMsrs: KEPT_BY_KVM, ownMsrs: KEPT_BY_ENGINE, passedMsrs };
}

/**
 * Features of `host` that come with state that is in no VcpuState, or that KVM counts on the host's side: VMX, SVM,
 * MTRRs, shadow stacks and branch tracking, performance counters. A reset or a snapshot would leave that state behind.
 * MTRRs that no firmware has set up would make Linux take all but RAM as uncached; without them all is write-back.
 */
const WITHHELD = {
  LEAF_1_ECX: (1 << 5) | (1 << 15), // VMX, PDCM
  LEAF_1_EDX: 1 << 12, // MTRR
  LEAF_7_ECX: 1 << 7, // SHSTK
  LEAF_7_EDX: 1 << 20, // IBT
  LEAF_80000001_EDX: 1 << 12, // MTRR once more
  LEAF_80000001_ECX: (1 << 2) | (1 << 22) | (1 << 23) | (1 << 24) | (1 << 28), // SVM, TOPOEXT, PERFCTR
} as const;
/** Leaves about what is withheld: performance counters, SVM, those of AMD once more. */
const WITHHELD_LEAVES: ReadonlySet<number> = new Set([0xa, 0x8000_000a, 0x8000_0022]);

function hostModel(context: CpuModelContext): CpuModel {
  const { supported, apicId, cpuCount, msrIndexes } = context;
  const shared = cpuid(KVM_FEATURES_LEAF, 0, { ...context, osxsave: false });
  const entries = supported
    .filter(({ leaf }) => !TOPOLOGY_LEAVES.has(leaf) && leaf !== KVM_TIMING_LEAF)
    .map((entry): CpuidEntry => {
      const { leaf, subleaf, eax, ebx, ecx, edx } = entry;
      if (WITHHELD_LEAVES.has(leaf)) return { ...entry, eax: 0, ebx: 0, ecx: 0, edx: 0 };
      switch (leaf) {
        case 1: {
          const ids = ((apicId & 0xff) << 24) | (Math.min(cpuCount, 255) << 16);
          const htt = cpuCount > 1 ? 1 << 28 : 0;
          const deadline = context.tscDeadline && context.kernelChips ? 1 << 24 : 0;
          return {
            ...entry,
            ebx: ((ebx & 0xffff) | ids) >>> 0,
            // Older kernels do not list that there is a hypervisor: without the bit a guest looks for no KVM clock.
            ecx: ((ecx & ~WITHHELD.LEAF_1_ECX) | deadline | (1 << CPUID_BITS.hypervisor.bit)) >>> 0,
            edx: ((edx & ~WITHHELD.LEAF_1_EDX & ~(1 << 28)) | htt) >>> 0,
          };
        }
        case 4:
        case 0x8000_001d:
          // No cache is shared, and no core has a second thread.
          return { ...entry, eax: (eax & 0x3fff) >>> 0 };
        case 7:
          if (subleaf !== 0) return entry;
          return { ...entry, ecx: (ecx & ~WITHHELD.LEAF_7_ECX) >>> 0, edx: (edx & ~WITHHELD.LEAF_7_EDX) >>> 0 };
        case 0x8000_0001:
          // Leaf 0x8000001e is not there either.
          return {
            ...entry,
            ecx: (ecx & ~WITHHELD.LEAF_80000001_ECX) >>> 0,
            edx: (edx & ~WITHHELD.LEAF_80000001_EDX) >>> 0,
          };
        case 0x8000_0008:
          return { ...entry, ecx: Math.min(cpuCount - 1, 255) };
        case KVM_SIGNATURE_LEAF:
          return { ...entry, eax: KVM_TIMING_LEAF };
        case KVM_FEATURES_LEAF:
          // What the machine saves and restores, and no more.
          return { ...entry, eax: shared.eax & eax, ebx: 0, ecx: 0, edx: 0 };
        default:
          return entry;
      }
    });
  const timing = cpuid(KVM_TIMING_LEAF, 0, { ...context, osxsave: false });
  entries.push({ leaf: KVM_TIMING_LEAF, subleaf: 0, subleafCounts: false, ...timing });
  const stateMsrs = [...KEPT_BY_KVM, ...Object.values(HOST_STATE_MSRS).filter((index) => msrIndexes.has(index))];
  return { name: 'host', entries, missing: [], stateMsrs, ownMsrs: [], passedMsrs: undefined };
}

/** What KVM_SET_CPUID2 takes. */
export function cpuidBuffer(entries: readonly CpuidEntry[]): Uint8Array {
  const { kvm_cpuid2: head, kvm_cpuid_entry2: layout } = structs;
  const buffer = new StructBuffer(head, entries.length * layout.sizeBytes);
  buffer.set('nent', entries.length);
  for (const [index, entry] of entries.entries()) {
    const at = head.sizeBytes + index * layout.sizeBytes;
    const one = new StructBuffer(layout, buffer.bytes.subarray(at, at + layout.sizeBytes));
    one.set('function', entry.leaf);
    one.set('index', entry.subleaf);
    one.set('flags', entry.subleafCounts ? KVM_CPUID_FLAG_SIGNIFCANT_INDEX : 0);
    for (const register of ['eax', 'ebx', 'ecx', 'edx'] as const) one.set(register, entry[register]);
  }
  return buffer.bytes;
}
