import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CPUID_BITS } from '../../isa/cpuid/cpuid-bits.ts';
import { cpuid, PORTABLE_CPUID_FEATURES } from '../../isa/cpuid/portable.ts';
import { type CpuModelContext, cpuidBuffer, createCpuModel } from './cpu-model.ts';
import type { CpuidEntry } from './kvm-system.ts';

const shared = { apicId: 0, cpuCount: 1, tscHz: 2_000_000_000, apicBusHz: 1_000_000_000 };

/** A KVM that lists every feature of the portable model but those given. */
function context(without: readonly string[] = []): CpuModelContext {
  const entries = new Map<string, { -readonly [Key in keyof CpuidEntry]: CpuidEntry[Key] }>();
  for (const feature of PORTABLE_CPUID_FEATURES) {
    const { leaf, subleaf, register, bit } = CPUID_BITS[feature];
    const key = `${leaf}.${subleaf}`;
    const entry = entries.get(key) ?? { leaf, subleaf, subleafCounts: leaf === 7 || leaf === 0xd, ...empty() };
    if (!without.includes(feature)) entry[register] |= 1 << bit;
    entries.set(key, entry);
  }
  const supported = [...entries.values()];
  return {
    ...shared,
    supported,
    tscDeadline: true,
    msrIndexes: new Set([0x48]),
    kernelChips: true,
    tellMissing: false,
  };
}

const empty = () => ({ eax: 0, ebx: 0, ecx: 0, edx: 0 });

const find = (entries: readonly CpuidEntry[], leaf: number, subleaf = 0): CpuidEntry | undefined =>
  entries.find((entry) => entry.leaf === leaf && entry.subleaf === subleaf);

test('portable is what the software engine tells, leaf by leaf', () => {
  const { entries, missing } = createCpuModel('portable', context());
  assert.deepEqual(missing, []);
  for (const { leaf, subleaf, subleafCounts, ...registers } of entries) {
    assert.deepEqual(registers, cpuid(leaf, subleaf, { ...shared, osxsave: false }), `leaf ${leaf.toString(16)}`);
    assert.equal(subleafCounts, [4, 7, 0xb, 0xd].includes(leaf));
  }
  assert.ok(find(entries, 0x4000_0010) !== undefined && find(entries, 0xb, 1) !== undefined);
});

test('a feature that KVM does not list is told to nobody, unless that is asked for', () => {
  const { entries, missing } = createCpuModel('portable', context(['smep']));
  assert.deepEqual(missing, ['smep']);
  assert.equal((find(entries, 7)!.ebx >> CPUID_BITS.smep.bit) & 1, 0);
  const told = createCpuModel('portable', { ...context(['smep']), tellMissing: true });
  assert.equal((find(told.entries, 7)!.ebx >> CPUID_BITS.smep.bit) & 1, 1);
});

test('portable sends MSRs that KVM does not keep to the engine; the chips of the kernel keep theirs', () => {
  const { ownMsrs, passedMsrs, stateMsrs } = createCpuModel('portable', context());
  assert.ok(ownMsrs.includes(0x10a) && !passedMsrs!.includes(0x10a));
  assert.ok(stateMsrs.every((index) => passedMsrs!.includes(index)));
  assert.ok(passedMsrs!.includes(0x1b) && passedMsrs!.includes(0x6e0));
  const { passedMsrs: withHostChips } = createCpuModel('portable', { ...context(), kernelChips: false });
  assert.ok(!withHostChips!.includes(0x1b) && !withHostChips!.includes(0x6e0));
});

test('host is what KVM lists, without the topology of this host', () => {
  const base = context();
  const supported = [
    ...base.supported,
    { leaf: 0xb, subleaf: 0, subleafCounts: true, eax: 1, ebx: 8, ecx: 0x100, edx: 5 },
    { leaf: 0xa, subleaf: 0, subleafCounts: false, eax: 0x0730_0805, ebx: 0, ecx: 0, edx: 3 },
    { leaf: 0x8000_0008, subleaf: 0, subleafCounts: false, eax: 0x3030, ebx: 0, ecx: 0x7007, edx: 0 },
  ];
  const { entries, stateMsrs, passedMsrs, ownMsrs } = createCpuModel('host', { ...base, supported });
  assert.equal(find(entries, 0xb), undefined);
  assert.equal(find(entries, 0xa)!.eax, 0);
  assert.equal(find(entries, 0x8000_0008)!.ecx, 0);
  assert.equal(find(entries, 0x4000_0010)!.eax, 2_000_000);
  assert.ok(stateMsrs.includes(0x48) && !stateMsrs.includes(0xda0));
  assert.deepEqual([passedMsrs, ownMsrs], [undefined, []]);
});

test('host says that it is a hypervisor, and has a deadline timer, where older kernels do not list either', () => {
  const supported = [{ leaf: 1, subleaf: 0, subleafCounts: false, ...empty() }];
  const { entries } = createCpuModel('host', { ...context(), supported });
  assert.equal(find(entries, 1)!.ecx, ((1 << 31) | (1 << 24)) >>> 0);
});

test('host withholds what has state that a reset or a snapshot would leave behind', () => {
  const all = { eax: 0xffff_ffff, ebx: 0xffff_ffff, ecx: 0xffff_ffff, edx: 0xffff_ffff };
  const supported = [1, 7, 0xa, 0x8000_0001, 0x8000_000a, 0x8000_0022].map((leaf) => ({
    leaf,
    subleaf: 0,
    subleafCounts: leaf === 7,
    ...all,
  }));
  const { entries } = createCpuModel('host', { ...context(), supported });
  const bit = (leaf: number, register: 'ecx' | 'edx', index: number): number =>
    (find(entries, leaf)![register] >>> index) & 1;
  assert.deepEqual([bit(1, 'ecx', 5), bit(1, 'ecx', 15), bit(1, 'ecx', 0)], [0, 0, 1], 'VMX and PDCM');
  assert.deepEqual([bit(1, 'edx', 12), bit(0x8000_0001, 'edx', 12), bit(1, 'edx', 16)], [0, 0, 1], 'MTRR, not PAT');
  assert.deepEqual([bit(7, 'ecx', 7), bit(7, 'edx', 20), bit(7, 'ecx', 2)], [0, 0, 1], 'SHSTK and IBT');
  assert.deepEqual(
    [2, 22, 23, 24, 28, 5].map((index) => bit(0x8000_0001, 'ecx', index)),
    [0, 0, 0, 0, 0, 1],
    'SVM',
  );
  for (const leaf of [0xa, 0x8000_000a, 0x8000_0022]) {
    const { eax, ebx, ecx, edx } = find(entries, leaf)!;
    assert.deepEqual([eax, ebx, ecx, edx], [0, 0, 0, 0]);
  }
});

test('the buffer holds every entry', () => {
  const { entries } = createCpuModel('portable', context());
  const buffer = cpuidBuffer(entries);
  const view = new DataView(buffer.buffer);
  assert.equal(view.getUint32(0, true), entries.length);
  assert.equal(buffer.length, 8 + 40 * entries.length);
  assert.equal(view.getUint32(8 + 40 + 0, true), 1, 'the second is leaf 1');
});
