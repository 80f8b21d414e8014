import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ROWS } from '../rows.ts';
import { CPUID_BITS } from './cpuid-bits.ts';
import { type CpuidContext, cpuid, PORTABLE_CPUID_FEATURES, PORTABLE_FEATURES } from './portable.ts';
import { portableMsrByIndex, portableMsrs, resetMsrs, writtenMsrValue } from './portable-msrs.ts';

const CONTEXT: CpuidContext = {
  apicId: 0,
  cpuCount: 1,
  tscHz: 2_600_000_000,
  apicBusHz: 1_000_000_000,
  osxsave: false,
};

function textOf(...wordValues: number[]): string {
  const bytes = wordValues.flatMap((word) => [0, 8, 16, 24].map((shift) => (word >>> shift) & 0xff));
  return String.fromCharCode(...bytes);
}

test('every feature of the model is set in the leaf that reports it', () => {
  for (const name of PORTABLE_CPUID_FEATURES) {
    const { leaf, subleaf, register, bit } = CPUID_BITS[name];
    assert.equal((cpuid(leaf, subleaf, CONTEXT)[register] >>> bit) & 1, 1, name);
  }
});

test('features that are absent are not reported', () => {
  const one = cpuid(1, 0, CONTEXT);
  // MONITOR, VMX, FMA, AVX, F16C in ECX; VME, MCE, MTRR, MCA, PSE-36, HTT in EDX.
  for (const bit of [3, 5, 12, 28, 29]) assert.equal((one.ecx >>> bit) & 1, 0, `leaf 1 ecx ${bit}`);
  for (const bit of [1, 7, 12, 14, 17, 28]) assert.equal((one.edx >>> bit) & 1, 0, `leaf 1 edx ${bit}`);
  const seven = cpuid(7, 0, CONTEXT);
  // BMI1, AVX2, BMI2, RTM, ADX, SHA.
  for (const bit of [3, 5, 8, 11, 19, 29]) assert.equal((seven.ebx >>> bit) & 1, 0, `leaf 7 ebx ${bit}`);
  assert.deepEqual(cpuid(7, 1, CONTEXT), { eax: 0, ebx: 0, ecx: 0, edx: 0 });
  assert.equal((cpuid(0x8000_0001, 0, CONTEXT).ecx >>> 5) & 1, 0, 'LZCNT');
});

test('the instruction features are those that CPUID reports and rows need', () => {
  for (const feature of PORTABLE_FEATURES) {
    if (feature !== 'base') assert.ok((PORTABLE_CPUID_FEATURES as readonly string[]).includes(feature), feature);
    assert.ok(
      ROWS.some((row) => row.feature === feature),
      `${feature} has no row`,
    );
  }
});

test('vendor, family, model and brand are those of the model', () => {
  const { ebx, ecx, edx, eax } = cpuid(0, 0, CONTEXT);
  assert.equal(textOf(ebx, edx, ecx), 'GenuineIntel');
  assert.equal(eax, 0x16);
  const signature = cpuid(1, 0, CONTEXT).eax;
  assert.equal((signature >>> 8) & 15, 6);
  assert.equal(((signature >>> 12) & 0xf0) | ((signature >>> 4) & 15), 0x36);
  const brand = [2, 3, 4].map((leaf) => {
    const part = cpuid(0x8000_0000 + leaf, 0, CONTEXT);
    return textOf(part.eax, part.ebx, part.ecx, part.edx);
  });
  assert.match(brand.join(''), /^Bulkhead virtual processor [^\0]*\0+$/);
  const kvm = cpuid(0x4000_0000, 0, CONTEXT);
  assert.equal(textOf(kvm.ebx, kvm.ecx, kvm.edx), 'KVMKVMKVM\0\0\0');
});

test('OSXSAVE follows CR4 and the ids follow the processor', () => {
  assert.equal((cpuid(1, 0, CONTEXT).ecx >>> 27) & 1, 0);
  assert.equal((cpuid(1, 0, { ...CONTEXT, osxsave: true }).ecx >>> 27) & 1, 1);
  const second = { ...CONTEXT, apicId: 3, cpuCount: 4 };
  assert.equal(cpuid(1, 0, second).ebx, 0x0304_0800);
  assert.deepEqual(cpuid(0xb, 1, second), { eax: 2, ebx: 4, ecx: 0x201, edx: 3 });
  assert.deepEqual(cpuid(0xb, 2, second), { eax: 0, ebx: 0, ecx: 2, edx: 3 });
});

test('leaf 0x15 gives the TSC frequency exactly and leaf 0x40000010 in kHz', () => {
  const { eax, ebx, ecx } = cpuid(0x15, 0, CONTEXT);
  assert.equal((ecx * ebx) / eax, CONTEXT.tscHz);
  assert.equal(cpuid(0x4000_0010, 0, CONTEXT).eax, 2_600_000);
});

test('the sizes of leaf 4 add up', () => {
  const bytesOf = (subleaf: number): number => {
    const { ebx, ecx } = cpuid(4, subleaf, CONTEXT);
    return ((ebx >>> 22) + 1) * (((ebx >>> 12) & 0x3ff) + 1) * ((ebx & 0xfff) + 1) * (ecx + 1);
  };
  assert.deepEqual(
    [0, 1, 2, 3].map(bytesOf),
    [32, 32, 1024, 8192].map((kib) => kib * 1024),
  );
  assert.equal(cpuid(4, 4, CONTEXT).eax & 31, 0);
  assert.equal(cpuid(0x8000_0006, 0, CONTEXT).ecx >>> 16, 1024);
});

test('leaves beyond the last give zeros, also with the sign bit set', () => {
  for (const leaf of [0x17, 0x4000_0011, 0x8000_0009, -1]) {
    assert.deepEqual(cpuid(leaf, 0, CONTEXT), { eax: 0, ebx: 0, ecx: 0, edx: 0 });
  }
  assert.equal(cpuid(0x8000_0000 | 0, 0, CONTEXT).eax, 0x8000_0008);
});

test('an MSR write obeys its masks and rules', () => {
  const write = (index: number, written: bigint): bigint | undefined => {
    const definition = portableMsrByIndex.get(index)!;
    return writtenMsrValue(definition, definition.reset, written);
  };
  assert.equal(write(0xc000_0080, 0x901n), 0x901n);
  assert.equal(write(0xc000_0080, 0xd01n), 0x901n, 'LMA is read-only');
  assert.equal(write(0xc000_0080, 1n << 14n), undefined, 'FFXSR is absent');
  assert.equal(write(0xc000_0082, 0xffff_8000_0000_0000n), 0xffff_8000_0000_0000n);
  assert.equal(write(0xc000_0082, 0x0000_8000_0000_0000n), undefined);
  assert.equal(write(0x277, 0x0007_0106_0007_0106n), 0x0007_0106_0007_0106n);
  assert.equal(write(0x277, 2n), undefined);
  assert.equal(write(0x8b, 0n), 1n << 32n);
  assert.equal(write(0x10a, 0n), undefined);
  assert.equal(write(0x1d9, 2n), 0n);
});

test('reset MSRs are those that VcpuState.msrs holds', () => {
  const held = portableMsrs.filter(({ holder }) => holder === 'msrs');
  assert.deepEqual(
    [...resetMsrs().keys()],
    held.map(({ index }) => index),
  );
  assert.equal(new Set(portableMsrs.map(({ index }) => index)).size, portableMsrs.length);
});
