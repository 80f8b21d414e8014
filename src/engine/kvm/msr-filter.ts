// Which MSRs the guest reaches in the kernel (Documentation/virt/kvm/api.rst, KVM_X86_SET_MSR_FILTER): accesses to all
// others come to the engine. x2APIC registers cannot be filtered.

import { KVM_MSR_FILTER } from './ioctls.ts';
import { locateBytes } from './libc.ts';
import { StructBuffer } from './struct-layout.ts';
import { KVM_MSR_FILTER_MAX_RANGES, kvm_msr_filter } from './structs.ts';

/** MSRs that lie so near share a range: a bitmap of 32 bytes. */
const RANGE_MSRS = 256;
const DENY_BY_DEFAULT = 1;

export class MsrFilter {
  readonly buffer = new StructBuffer(kvm_msr_filter);
  /** The structure points to them. */
  private readonly bitmaps: Uint8Array[] = [];

  /** Passes what is listed; undefined: everything. */
  constructor(passed: readonly number[] | undefined) {
    this.buffer.set('flags', passed === undefined ? KVM_MSR_FILTER.DEFAULT_ALLOW : DENY_BY_DEFAULT);
    for (const group of groupNear(passed ?? [])) this.addRange(group);
  }

  private addRange(indexes: readonly number[]): void {
    const range = this.bitmaps.length;
    if (range === KVM_MSR_FILTER_MAX_RANGES) throw new RangeError('too many ranges of MSRs');
    const base = indexes[0]!;
    // Big enough that it does not lie in the JavaScript heap, where it could move.
    const bitmap = new Uint8Array(RANGE_MSRS);
    for (const index of indexes) bitmap[(index - base) >> 3]! |= 1 << ((index - base) & 7);
    this.bitmaps.push(bitmap);
    const { READ, WRITE } = KVM_MSR_FILTER;
    this.buffer.set(`ranges[${range}].flags`, READ | WRITE);
    this.buffer.set(`ranges[${range}].nmsrs`, RANGE_MSRS);
    this.buffer.set(`ranges[${range}].base`, base);
    this.buffer.set64(`ranges[${range}].bitmap`, locateBytes(bitmap));
  }
}

function groupNear(indexes: readonly number[]): number[][] {
  const groups: number[][] = [];
  for (const index of indexes.toSorted((a, b) => a - b)) {
    const last = groups.at(-1);
    if (last !== undefined && index - last[0]! < RANGE_MSRS) last.push(index);
    else groups.push([index]);
  }
  return groups;
}
