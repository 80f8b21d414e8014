// The processor as kernels find it at their entry point: flat segments over one small GDT, interrupts off; either long
// mode over identity-mapped page tables (Linux 64-bit boot protocol) or 32-bit protected mode without paging.

import { resetState, type SegmentState, type VcpuState } from '../../engine/vcpu-state.ts';
import type { GuestMemory } from '../../memory/guest-memory.ts';
import { PAGE_BYTES } from './boot-space.ts';

/** Linux asks for these two (__BOOT_CS, __BOOT_DS); the others have no preference. */
const CODE_SELECTOR = 0x10;
const DATA_SELECTOR = 0x18;
const TSS_SELECTOR = 0x20;

export const GDT_BYTES = 6 * 8;
const CODE_32_DESCRIPTOR = 0x00cf9b000000ffffn;
const CODE_64_DESCRIPTOR = 0x00af9b000000ffffn;
const DATA_DESCRIPTOR = 0x00cf93000000ffffn;
/** A busy TSS at 0 with the smallest limit; in long mode its second half, which is zero, follows. */
const TSS_DESCRIPTOR = 0x00008b0000000067n;

const CODE_32_ATTRIBUTES = 0xc09b;
const CODE_64_ATTRIBUTES = 0xa09b;
const DATA_ATTRIBUTES = 0xc093;
const BUSY_TSS_ATTRIBUTES = 0x8b;
const UNUSABLE_LDT_ATTRIBUTES = 0x10082;

const CR0_PE = 1n << 0n;
const CR0_ET = 1n << 4n;
const CR0_NE = 1n << 5n;
const CR0_PG = 1n << 31n;
const CR4_PAE = 1n << 5n;
const EFER_LME = 1n << 8n;
const EFER_LMA = 1n << 10n;

const PAGE_PRESENT_WRITABLE = 0x3n;
const PAGE_LARGE = 0x80n;
const PAGE_DIRECTORIES = 4;
const PAGE_ENTRIES = 512;
const LARGE_PAGE_BYTES = 2 * 1024 * 1024;

/** A PML4, a PDPT and a page directory for each GiB of the lower 4. */
export const IDENTITY_MAP_BYTES = (2 + PAGE_DIRECTORIES) * PAGE_BYTES;

/** Writes page tables at `guestPhysical` that map the lower 4 GiB to themselves, in pages of 2 MiB. */
export function writeIdentityMap(memory: GuestMemory, guestPhysical: number): void {
  memory.bytes(guestPhysical, IDENTITY_MAP_BYTES).fill(0);
  const pointerTable = guestPhysical + PAGE_BYTES;
  const directories = pointerTable + PAGE_BYTES;
  memory.writeU64(guestPhysical, BigInt(pointerTable) | PAGE_PRESENT_WRITABLE);
  for (let index = 0; index < PAGE_DIRECTORIES; index++) {
    memory.writeU64(pointerTable + index * 8, BigInt(directories + index * PAGE_BYTES) | PAGE_PRESENT_WRITABLE);
  }
  for (let index = 0; index < PAGE_DIRECTORIES * PAGE_ENTRIES; index++) {
    memory.writeU64(directories + index * 8, BigInt(index * LARGE_PAGE_BYTES) | PAGE_PRESENT_WRITABLE | PAGE_LARGE);
  }
}

export interface EntryPoint {
  entryGuestPhysical: number;
  gdtGuestPhysical: number;
}

/** 64-bit entry: paging over the tables at `pageTablesGuestPhysical`, rsi = `boot_params`. Writes the GDT. */
export function longModeState(
  memory: GuestMemory,
  entry: EntryPoint & { pageTablesGuestPhysical: number; bootParamsGuestPhysical: number },
): VcpuState {
  const state = flatState(memory, entry, CODE_64_DESCRIPTOR, CODE_64_ATTRIBUTES);
  state.cr0 = CR0_PG | CR0_NE | CR0_ET | CR0_PE;
  state.cr3 = BigInt(entry.pageTablesGuestPhysical);
  state.cr4 = CR4_PAE;
  state.efer = EFER_LME | EFER_LMA;
  state.gpr[6] = BigInt(entry.bootParamsGuestPhysical);
  return state;
}

/** 32-bit entry without paging; `eax` and `ebx` are the protocol's. Writes the GDT. */
export function protectedModeState(memory: GuestMemory, entry: EntryPoint & { eax: number; ebx: number }): VcpuState {
  const state = flatState(memory, entry, CODE_32_DESCRIPTOR, CODE_32_ATTRIBUTES);
  state.cr0 = CR0_ET | CR0_PE;
  state.gpr[0] = BigInt(entry.eax);
  state.gpr[3] = BigInt(entry.ebx);
  return state;
}

function flatState(memory: GuestMemory, entry: EntryPoint, codeDescriptor: bigint, codeAttributes: number): VcpuState {
  const descriptors = [0n, 0n, codeDescriptor, DATA_DESCRIPTOR, TSS_DESCRIPTOR, 0n];
  for (const [index, descriptor] of descriptors.entries()) {
    memory.writeU64(entry.gdtGuestPhysical + index * 8, descriptor);
  }
  const flat = (selector: number, attributes: number): SegmentState => ({
    selector,
    base: 0n,
    limit: 0xffffffff,
    attributes,
  });
  const state = resetState();
  state.gpr.fill(0n);
  state.rip = BigInt(entry.entryGuestPhysical);
  const { segments } = state;
  segments.cs = flat(CODE_SELECTOR, codeAttributes);
  for (const name of ['ds', 'es', 'ss', 'fs', 'gs'] as const) segments[name] = flat(DATA_SELECTOR, DATA_ATTRIBUTES);
  segments.tr = { selector: TSS_SELECTOR, base: 0n, limit: 0x67, attributes: BUSY_TSS_ATTRIBUTES };
  segments.ldtr = { selector: 0, base: 0n, limit: 0, attributes: UNUSABLE_LDT_ATTRIBUTES };
  state.gdtr = { base: BigInt(entry.gdtGuestPhysical), limit: GDT_BYTES - 1 };
  state.idtr = { base: 0n, limit: 0 };
  return state;
}
