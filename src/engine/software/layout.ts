// Where the software engine keeps its own data: the low part of the shared memory, before guest RAM.
//
//   0x0000_0000  unused: no valid pointer is 0
//   0x0001_0000  one block a processor: state, data TLBs, code TLBs
//   0x0100_0000  decoded records and code page tables, a share for each processor
//   0x1000_0000  guest RAM (GUEST_RAM_OFFSET)
//
// Pages that are never touched cost the host nothing.

import { CODE_TLB, HEAT, JUMP_CACHE, TLB } from '../../emit/record.ts';
import { STATE_SIZE_BYTES } from '../../ir/guest-state.ts';

export const GUEST_RAM_OFFSET = 0x1000_0000;
export const MAXIMUM_RAM_BYTES = 3 * 1024 ** 3;
const VCPU_BLOCKS_OFFSET = 0x1_0000;
const RECORDS_OFFSET = 0x100_0000;

/** Address spaces whose users have TLBs of their own: what one has found is still there when it comes again. */
export const TLB_SETS = 4;
/** Data TLBs of supervisors, which all address spaces share, and of the users of one. */
export const SUPERVISOR_TLBS = 2;
export const USER_TLBS = 2;
/** Code TLBs likewise: one for each code size. */
export const CODE_SIZE_TLBS = 3;
/** All data TLBs of a processor, the supervisors' first; the code TLBs are behind them. */
export const DATA_TLB_BYTES = (SUPERVISOR_TLBS + TLB_SETS * USER_TLBS) * TLB.sizeBytes;
export const CODE_TLB_BYTES = (1 + TLB_SETS) * CODE_SIZE_TLBS * CODE_TLB.sizeBytes;

export interface VcpuLayout {
  readonly stateOffset: number;
  readonly tlbOffset: number;
  readonly codeTlbOffset: number;
  readonly heatOffset: number;
  readonly jumpCacheOffset: number;
  readonly recordsOffset: number;
  readonly recordsEnd: number;
}

const TLB_BYTES = DATA_TLB_BYTES + CODE_TLB_BYTES;
const BLOCK_BYTES = STATE_SIZE_BYTES + TLB_BYTES + HEAT.sizeBytes + JUMP_CACHE.sizeBytes;

/** Layout of processor `index` of `count`. */
export function layoutVcpu(index: number, count: number): VcpuLayout {
  const stateOffset = VCPU_BLOCKS_OFFSET + index * BLOCK_BYTES;
  if (stateOffset + BLOCK_BYTES > RECORDS_OFFSET) throw new RangeError('too many processors');
  const share = Math.floor((GUEST_RAM_OFFSET - RECORDS_OFFSET) / count / 0x1_0000) * 0x1_0000;
  return {
    stateOffset,
    tlbOffset: stateOffset + STATE_SIZE_BYTES,
    codeTlbOffset: stateOffset + STATE_SIZE_BYTES + DATA_TLB_BYTES,
    heatOffset: stateOffset + STATE_SIZE_BYTES + TLB_BYTES,
    jumpCacheOffset: stateOffset + STATE_SIZE_BYTES + TLB_BYTES + HEAT.sizeBytes,
    recordsOffset: RECORDS_OFFSET + index * share,
    recordsEnd: RECORDS_OFFSET + (index + 1) * share,
  };
}

/** A shared memory with the engine's area and `ramBytes` of guest RAM behind it. */
export function createGuestMemory(ramBytes: number): WebAssembly.Memory {
  const pages = Math.ceil((GUEST_RAM_OFFSET + ramBytes) / 65536);
  return new WebAssembly.Memory({ initial: pages, maximum: pages, shared: true });
}
