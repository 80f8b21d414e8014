// Address translation: page walks (Intel SDM volume 3A, chapter 4), the software TLBs that generated code reads, and
// every access that generated code cannot do by itself: MMIO, page-crossing operands, pages that hold code.
//
// Addresses come from generated code as two 32-bit halves; physical addresses are doubles below 2^52.

import { CODE_TLB, TLB, TLB_CLASS, VICTIM_SHIFTS } from '../../emit/record.ts';
import { NO_PAGE_HIGH, SCRATCH_OFFSET, STATE } from '../../ir/guest-state.ts';
import { CR0, CR4, EFER } from '../../isa/control-registers.ts';
import { PTE } from '../../isa/page-tables.ts';
import { DirtyBitmap, type DirtyLog } from '../dirty-log.ts';
import type { VcpuHost } from '../vcpu.ts';
import type { CpuState } from './cpu-state.ts';
import { GuestFault } from './guest-fault.ts';
import {
  CODE_SIZE_TLBS,
  CODE_TLB_BYTES,
  DATA_TLB_BYTES,
  GUEST_RAM_OFFSET,
  SUPERVISOR_TLBS,
  TLB_SETS,
  USER_TLBS,
  type VcpuLayout,
} from './layout.ts';
import type { LinearMemory } from './linear-memory.ts';

const PF = 14;
const GP = 13;
const AC = 17;

/** Bits 51:40 in the high half: beyond the physical address width of 40 bits. */
const RESERVED_HIGH = 0x000fff00;
const NX_HIGH = 0x80000000 | 0;

export const PF_ERROR = { P: 1, W: 2, U: 4, RSVD: 8, I: 16 } as const;

export const ACCESS = { read: 0, write: 1, execute: 2 } as const;

/** Value bytes of loadSpecial and storeSpecial, as core.ts places them. */
const SPECIAL_OFFSET = SCRATCH_OFFSET + 0x60;

/** What the MMU asks of the cache of decoded code. */
export interface CodeWatch {
  /** True when the page (physical address / 4096) holds decoded instructions. */
  holdsCode(page: number): boolean;
  /** Bytes of RAM are about to change. */
  noteWrite(guestPhysical: number, lengthBytes: number): void;
}

const CR0_LOW = STATE.cr0.offset >> 2;
const CR3_LOW = STATE.cr3.offset >> 2;
const CR4_LOW = STATE.cr4.offset >> 2;
const EFER_LOW = STATE.efer.offset >> 2;
const SYSTEM_FLAGS = STATE.systemFlags.offset >> 2;
const TLB_POINTER = STATE.tlb.offset >> 2;
const CODE_TLB_POINTER = STATE.codeTlb.offset >> 2;
const CODE_SIZE = STATE.codeSize.offset >> 2;
const CODE_PAGE = STATE.codePage.offset >> 2;
const RIP = STATE.rip.offset >> 2;
const STACK_PAGE = STATE.stackPage.offset >> 2;
const STACK_HOST = STATE.stackHost.offset >> 2;

const EXECUTED_LOG2 = 14;
const executedSlot = (low: number, high: number): number =>
  ((low >>> 12) ^ (low >>> 26) ^ (high << 6)) & ((1 << EXECUTED_LOG2) - 1);

/** Offsets in a data TLB: of the entry for an address, and of where it is as a victim. */
const entryOf = (low: number): number => ((low >>> 12) & ((1 << TLB.entriesLog2) - 1)) << TLB.strideLog2;
const victimOf = (low: number, high: number): number => {
  const [page, middle, upper] = VICTIM_SHIFTS;
  const hash = (low >>> page) ^ (low >>> middle) ^ (high << (32 - middle)) ^ (high >>> (upper - 32));
  return TLB.victims + ((hash & ((1 << TLB.entriesLog2) - 1)) << TLB.strideLog2);
};

/** In `writers`: places, or that there are more than can be told. */
const WRITER = 1 << (2 * TLB.entriesLog2);
const MANY_WRITERS = -1;

const words32 = (cpu: CpuState, field: number): number => cpu.words[(cpu.offset >> 2) + field]!;

/** A present entry that was used before, with none of the bits 51:32 set. */
const isTable = (low: number, high: number): boolean =>
  (low & (PTE.P | PTE.A)) === (PTE.P | PTE.A) && (high & 0xfffff) === 0;

export class Mmu implements LinearMemory {
  private readonly cpu: CpuState;
  private readonly host: VcpuHost;
  private readonly layout: VcpuLayout;
  private readonly words: Int32Array;
  private readonly bytes: Uint8Array;
  private readonly view: DataView;
  private readonly ramBytes: number;
  private code: CodeWatch | undefined;

  // Result of the last successful walk.
  private physicalPage = 0;
  private writable = false;
  private dirty = false;

  /** Set by the engine: addresses may lead to other code than before. */
  codeMoved: () => void = () => {};
  /** Set by the engine: `addressSpace` has changed, and with it all but global pages. */
  addressSpaceChanged: () => void = () => {};

  private nextKey = 1;
  private readonly pcidKeys = new Map<number, number>();
  /** 2 MiB and 1 GiB regions of which the TLB holds pieces: INVLPG of one address drops them all. */
  private readonly large2m = new Set<number>();
  private readonly large1g = new Set<number>();
  /** Some of them, so that the sets are seldom asked; -1 for none. */
  private readonly recentLarge = new Float64Array(256).fill(-1);
  /** Data breakpoints: pages that must take the slow path. */
  watchedPages: readonly number[] = [];

  constructor(cpu: CpuState, host: VcpuHost, memory: WebAssembly.Memory, layout: VcpuLayout, ramBytes: number) {
    this.cpu = cpu;
    this.host = host;
    this.layout = layout;
    this.words = new Int32Array(memory.buffer);
    this.bytes = new Uint8Array(memory.buffer);
    this.view = new DataView(memory.buffer);
    this.ramBytes = ramBytes;
    this.writers = new Int32Array(2 * Math.ceil(ramBytes / 4096));
    this.isLocal = new Uint8Array((DATA_TLB_BYTES + CODE_TLB_BYTES) >> CODE_TLB.strideLog2);
  }

  /** Host offset of the value of loadSpecial and storeSpecial. */
  get specialOffset(): number {
    return this.cpu.offset + SPECIAL_OFFSET;
  }

  attachCode(code: CodeWatch): void {
    this.code = code;
  }

  // The address-space key.

  /** All translations of every address space are forgotten. */
  flushAll(): void {
    this.codeMoved();
    this.pcidKeys.clear();
    this.large2m.clear();
    this.large1g.clear();
    this.recentLarge.fill(-1);
    this.supervisorKey = this.newKey();
    const pcide = (this.cpu.getLow(STATE.cr4) & CR4.PCIDE) !== 0;
    this.takeNewKey(pcide ? this.cpu.getLow(STATE.cr3) & 0xfff : 0);
  }

  /** MOV to CR3: `keep` is the NOFLUSH bit with PCIDE set. */
  switchAddressSpace(pcid: number, keep: boolean): void {
    const known = keep ? this.pcidKeys.get(pcid) : undefined;
    if (known !== undefined) {
      this.useKey(pcid, known);
      return;
    }
    this.takeNewKey(pcid);
  }

  /** Translations of one PCID are forgotten (INVPCID type 1). */
  flushPcid(pcid: number, current: boolean): void {
    if (current) this.takeNewKey(pcid);
    else this.pcidKeys.delete(pcid);
  }

  private takeNewKey(pcid: number): void {
    const key = this.newKey();
    this.pcidKeys.set(pcid, key);
    this.useKey(pcid, key);
  }

  private newKey(): number {
    if (this.nextKey > 0xfff) {
      this.clearTlbs();
      this.pcidKeys.clear();
      this.nextKey = 1;
      this.supervisorKey = this.nextKey++;
    }
    return this.nextKey++;
  }

  private useKey(pcid: number, key: number): void {
    const { cpu, setOwners } = this;
    let set = setOwners.indexOf(pcid);
    if (set < 0) {
      set = this.nextSet;
      this.nextSet = (set + 1) % TLB_SETS;
      setOwners[set] = pcid;
    }
    const moved = set - this.set;
    this.set = set;
    this.userKey = key;
    if (this.isUserTlb(cpu.get32(STATE.tlb))) {
      cpu.set32(STATE.tlb, cpu.get32(STATE.tlb) + moved * USER_TLBS * TLB.sizeBytes);
      cpu.set32(STATE.codeTlb, cpu.get32(STATE.codeTlb) + moved * CODE_SIZE_TLBS * CODE_TLB.sizeBytes);
    }
    this.showKey();
    this.dropLocal();
    this.forgetStackPage();
    this.addressSpaceChanged();
  }

  /** Names the present address space: 1 to 4095, the key of its users' entries. */
  get addressSpace(): number {
    return this.userKey;
  }

  /** Keys of what users have found in this address space, and of what supervisors have found in any. */
  private userKey = 0;
  private supervisorKey = 0;

  private keyOf(tlb: number): number {
    return this.isUserTlb(tlb) ? this.userKey : this.supervisorKey;
  }

  private isUserTlb(tlb: number): boolean {
    return tlb >= this.layout.tlbOffset + SUPERVISOR_TLBS * TLB.sizeBytes;
  }

  private showKey(): void {
    this.cpu.set(STATE.tlbKey, BigInt(this.keyOf(words32(this.cpu, TLB_POINTER))));
  }

  /** Entries of supervisors that are no global pages', by their first word: they go with the address space. */
  private readonly local: number[] = [];
  private readonly isLocal: Uint8Array;

  private noteLocal(at: number): void {
    const entry = (at - (this.layout.tlbOffset >> 2)) >> 2;
    if (this.isLocal[entry] === 1) return;
    this.isLocal[entry] = 1;
    this.local.push(at);
  }

  private dropLocal(): void {
    const { words, local, isLocal } = this;
    const first = this.layout.tlbOffset >> 2;
    for (const at of local) {
      isLocal[(at - first) >> 2] = 0;
      words[at] = 0;
      words[at + 1] = 0;
      if (at < this.layout.codeTlbOffset >> 2) {
        words[at + 2] = 0;
        words[at + 3] = 0;
      }
    }
    local.length = 0;
  }

  /** The set of users' TLBs in use, and the PCID that each holds; -1 for none. */
  private set = 0;
  private nextSet = 0;
  private readonly setOwners = new Array<number>(TLB_SETS).fill(-1);

  /** The stack's pages of the classes that are not in use: a system call and its return go from one to another. */
  private readonly stackPages = Array.from({ length: SUPERVISOR_TLBS + USER_TLBS }, () => ({
    low: 0,
    high: NO_PAGE_HIGH,
    host: 0,
  }));

  /** Entries of TLBs are about to be others. */
  forgetStackPage(): void {
    this.setStackPage(0, NO_PAGE_HIGH, 0);
    for (const page of this.stackPages) page.high = NO_PAGE_HIGH;
  }

  private setStackPage(low: number, high: number, host: number): void {
    const state = this.cpu.offset >> 2;
    this.words[state + STACK_PAGE] = low;
    this.words[state + STACK_PAGE + 1] = high;
    this.words[state + STACK_HOST] = host;
  }

  private classOf(tlb: number): number {
    const index = (tlb - this.layout.tlbOffset) / TLB.sizeBytes;
    return index < SUPERVISOR_TLBS ? index : SUPERVISOR_TLBS + ((index - SUPERVISOR_TLBS) % USER_TLBS);
  }

  /** Makes the TLB at this host offset, of the set in use, the one in use. */
  useTlb(tlb: number): void {
    const before = words32(this.cpu, TLB_POINTER);
    if (before === tlb) return;
    const { words, stackPages } = this;
    const state = this.cpu.offset >> 2;
    const left = stackPages[this.classOf(before)];
    if (left !== undefined) {
      left.low = words[state + STACK_PAGE]!;
      left.high = words[state + STACK_PAGE + 1]!;
      left.host = words[state + STACK_HOST]!;
    }
    this.cpu.set32(STATE.tlb, tlb);
    this.showKey();
    const { low, high, host } = stackPages[this.classOf(tlb)]!;
    this.setStackPage(low, high, host);
  }

  private clearTlbs(): void {
    this.codeMoved();
    this.forgetStackPage();
    const { tlbOffset } = this.layout;
    this.bytes.fill(0, tlbOffset, tlbOffset + DATA_TLB_BYTES + CODE_TLB_BYTES);
    this.dropLocal();
    this.executed.fill(0);
    this.large2m.clear();
    this.large1g.clear();
    this.recentLarge.fill(-1);
  }

  /** Forgets the translations of one page, global ones of every address space included. */
  invalidatePage(low: number, high: number): void {
    // What was never found as code, no region goes to.
    if (this.executed[executedSlot(low, high)] === 1) this.codeMoved();
    this.forgetStackPage();
    const region2m = (high >>> 0) * 2048 + (low >>> 21);
    if (this.large2m.has(region2m) || this.large1g.has(Math.floor(region2m / 512))) {
      this.flushAll();
      return;
    }
    const { words } = this;
    const page = low & ~0xfff;
    const slot = entryOf(low);
    const victim = victimOf(low, high);
    for (let tlb = this.layout.tlbOffset; tlb < this.layout.codeTlbOffset; tlb += TLB.sizeBytes) {
      this.invalidateEntry((tlb + slot) >> 2, page, high);
      this.invalidateEntry((tlb + victim) >> 2, page, high);
    }
    const codeSlot = ((low >>> 12) & ((1 << CODE_TLB.entriesLog2) - 1)) << CODE_TLB.strideLog2;
    const first = this.layout.codeTlbOffset;
    for (let tlb = first; tlb < first + CODE_TLB_BYTES; tlb += CODE_TLB.sizeBytes) {
      const at = (tlb + codeSlot) >> 2;
      if ((words[at]! & ~0xfff) === page && words[at + 1] === high) {
        words[at] = 0;
        words[at + 1] = 0;
      }
    }
  }

  private invalidateEntry(at: number, page: number, high: number): void {
    const { words } = this;
    if (words[at + 1] === high && (words[at]! & ~0xfff) === page) {
      words[at] = 0;
      words[at + 1] = 0;
    }
    if (words[at + 3] === high && (words[at + 2]! & ~0xfff) === page) {
      words[at + 2] = 0;
      words[at + 3] = 0;
    }
  }

  /** A page of RAM now holds code: no TLB entry may let stores pass unseen. */
  forbidDirectWrites(page: number): void {
    const { writers } = this;
    const one = writers[2 * page]!;
    const other = writers[2 * page + 1]!;
    if (one === 0) return;
    writers[2 * page] = 0;
    writers[2 * page + 1] = 0;
    this.forgetStackPage();
    const host = (GUEST_RAM_OFFSET + page * 4096) | 0;
    const { tlbOffset } = this.layout;
    const end = tlbOffset + DATA_TLB_BYTES;
    if (other === MANY_WRITERS) {
      for (let at = tlbOffset; at < end; at += 1 << TLB.strideLog2) this.forbidEntry(at >> 2, host);
      return;
    }
    for (let tlb = tlbOffset; tlb < end; tlb += TLB.sizeBytes) {
      this.forbidPlaces(tlb, one, host);
      if (other !== 0) this.forbidPlaces(tlb, other, host);
    }
  }

  private forbidPlaces(tlb: number, places: number, host: number): void {
    const mask = (1 << TLB.entriesLog2) - 1;
    this.forbidEntry((tlb + ((places & mask) << TLB.strideLog2)) >> 2, host);
    const victim = TLB.victims + (((places >> TLB.entriesLog2) & mask) << TLB.strideLog2);
    this.forbidEntry((tlb + victim) >> 2, host);
  }

  private forbidEntry(at: number, host: number): void {
    const { words } = this;
    const tag = words[at + (TLB.writeTag >> 2)]!;
    if ((tag & 0xfff) === 0) return;
    if (((words[at + (TLB.addend >> 2)]! + (tag & ~0xfff)) | 0) !== host) return;
    words[at + (TLB.writeTag >> 2)] = 0;
    words[at + (TLB.writeTag >> 2) + 1] = 0;
  }

  /** Some entry for the address, in whatever TLB, lets stores to the page pass. */
  private noteWriter(page: number, low: number, high: number): void {
    const victim = (victimOf(low, high) - TLB.victims) >> TLB.strideLog2;
    const places = (entryOf(low) >> TLB.strideLog2) | (victim << TLB.entriesLog2) | WRITER;
    const { writers } = this;
    const one = writers[2 * page]!;
    if (one === places) return;
    if (one === 0) {
      writers[2 * page] = places;
      return;
    }
    const other = writers[2 * page + 1]!;
    if (other !== places) writers[2 * page + 1] = other === 0 ? places : MANY_WRITERS;
  }

  /** No TLB entry lets stores pass any more: the next one to each page comes by fill(). */
  forbidAllDirectWrites(): void {
    this.forgetStackPage();
    this.writers.fill(0);
    const { words } = this;
    const first = this.layout.tlbOffset >> 2;
    const end = first + (DATA_TLB_BYTES >> 2);
    const stride = 1 << (TLB.strideLog2 - 2);
    for (let at = first + (TLB.writeTag >> 2); at < end; at += stride) {
      words[at] = 0;
      words[at + 1] = 0;
    }
  }

  /** While a dirty log is on: what it has. TLB entries let stores into its pages alone. */
  private dirtyPages: DirtyBitmap | undefined;

  readonly dirtyLog: DirtyLog = {
    start: () => {
      this.dirtyPages = new DirtyBitmap(this.ramBytes);
      this.forbidAllDirectWrites();
    },
    stop: () => {
      this.dirtyPages = undefined;
    },
    take: () => {
      if (this.dirtyPages === undefined) throw new Error('the dirty log is not on');
      const bitmap = this.dirtyPages.take();
      this.forbidAllDirectWrites();
      return bitmap;
    },
  };

  /** For the dirty log: bytes of RAM change, and not by the TLB. */
  noteDirty(guestPhysical: number, lengthBytes: number): void {
    this.dirtyPages?.note(guestPhysical, lengthBytes);
  }

  /** The processor itself is about to change bytes of RAM. */
  private noteWrite(guestPhysical: number, lengthBytes: number): void {
    this.noteDirty(guestPhysical, lengthBytes);
    this.code?.noteWrite(guestPhysical, lengthBytes);
  }

  /** Empties every code TLB: their page pointers are about to become stale. */
  clearCodeTlbs(): void {
    const { codeTlbOffset } = this.layout;
    this.bytes.fill(0, codeTlbOffset, codeTlbOffset + CODE_TLB_BYTES);
  }

  private readonly codeLimits = new Float64Array((2 * CODE_TLB_BYTES) / CODE_TLB.sizeBytes);

  /** Entries of the current code TLB were checked against the CS of another base or limit: they go. */
  limitCode(base: number, limit: number): void {
    const at = this.cpu.get32(STATE.codeTlb);
    const kind = (at - this.layout.codeTlbOffset) / CODE_TLB.sizeBytes;
    const { codeLimits } = this;
    if (codeLimits[2 * kind] === base && codeLimits[2 * kind + 1] === limit) return;
    // What a smaller segment let in, one of 4 GiB does.
    if (limit !== 0xffffffff) this.bytes.fill(0, at, at + CODE_TLB.sizeBytes);
    codeLimits[2 * kind] = base;
    codeLimits[2 * kind + 1] = limit;
  }

  /** `shared`: the page is global. */
  fillCodeTlb(low: number, high: number, table: number, shared: boolean): void {
    const slot = ((low >>> 12) & ((1 << CODE_TLB.entriesLog2) - 1)) << CODE_TLB.strideLog2;
    const at = (this.cpu.get32(STATE.codeTlb) + slot) >> 2;
    if (!shared && !this.isUserTlb(words32(this.cpu, TLB_POINTER))) this.noteLocal(at);
    this.words[at] = (low & ~0xfff) | this.key;
    this.words[at + 1] = high;
    this.words[at + 2] = table;
  }

  /** The record at RIP in 64-bit code, and codePage set, as the code TLB has it; 0 where it has none. */
  knownRecord(): number {
    const { words } = this;
    const state = this.cpu.offset >> 2;
    if (words[state + CODE_SIZE] !== 64) return 0;
    const low = words[state + RIP]!;
    const high = words[state + RIP + 1]!;
    const slot = ((low >>> 12) & ((1 << CODE_TLB.entriesLog2) - 1)) << CODE_TLB.strideLog2;
    const at = (words[state + CODE_TLB_POINTER]! + slot) >> 2;
    if (words[at] !== ((low & ~0xfff) | this.key) || words[at + 1] !== high) return 0;
    words[state + CODE_PAGE] = low & ~0xfff;
    words[state + CODE_PAGE + 1] = high;
    return words[(words[at + (CODE_TLB.page >> 2)]! >> 2) + (low & 0xfff)]!;
  }

  private get key(): number {
    return this.words[(this.cpu.offset + STATE.tlbKey.offset) >> 2]!;
  }

  // Page walks.

  private pageFault(low: number, high: number, code: number): GuestFault {
    this.view.setInt32(this.cpu.offset + STATE.cr2.offset, low, true);
    this.view.setInt32(this.cpu.offset + STATE.cr2.offset + 4, high, true);
    return new GuestFault(PF, code);
  }

  /**
   * Translates one page. `user`: with CPL 3's rights; `implicit`: a supervisor access that EFLAGS.AC does not free from
   * SMAP. Returns undefined and sets physicalPage, writable, dirty; or the fault.
   */
  private walk(low: number, high: number, access: number, user: boolean, implicit: boolean): GuestFault | undefined {
    return this.walkUsual(low, high, access, user, implicit)
      ? undefined
      : this.walkAny(low, high, access, user, implicit);
  }

  /**
   * The same where nothing is rare: IA-32e mode, tables in RAM, accessed bits set, no reserved bit, access allowed.
   * False, with nothing changed: walkAny() is to find out.
   */
  private walkUsual(low: number, high: number, access: number, user: boolean, implicit: boolean): boolean {
    const { words, ramBytes } = this;
    const state = this.cpu.offset >> 2;
    const efer = words[state + EFER_LOW]!;
    if ((efer & EFER.LMA) === 0 || words[state + CR3_LOW + 1] !== 0) return false;
    const root = words[state + CR3_LOW]! & ~0xfff;
    if ((root >>> 0) + 4096 > ramBytes) return false;
    let at = (GUEST_RAM_OFFSET + (root >>> 0) + (((high >>> 7) & 0x1ff) << 3)) >>> 2;
    let entryLow = words[at]!;
    let entryHigh = words[at + 1]!;
    if (!isTable(entryLow, entryHigh) || (entryLow & PTE.PS) !== 0) return false;
    let allowed = entryLow;
    let upper = entryHigh;
    let table = entryLow & ~0xfff;
    if ((table >>> 0) + 4096 > ramBytes) return false;
    at = (GUEST_RAM_OFFSET + (table >>> 0) + ((((high & 0x7f) << 2) | (low >>> 30)) << 3)) >>> 2;
    entryLow = words[at]!;
    entryHigh = words[at + 1]!;
    if (!isTable(entryLow, entryHigh)) return false;
    allowed &= entryLow;
    upper |= entryHigh;
    let frame: number;
    let shift = 12;
    if ((entryLow & PTE.PS) !== 0) {
      if ((entryLow & 0x3fffe000) !== 0) return false;
      shift = 30;
      frame = ((entryLow >>> 12) & ~0x3ffff) | ((low >>> 12) & 0x3ffff);
    } else {
      table = entryLow & ~0xfff;
      if ((table >>> 0) + 4096 > ramBytes) return false;
      at = (GUEST_RAM_OFFSET + (table >>> 0) + (((low >>> 21) & 0x1ff) << 3)) >>> 2;
      entryLow = words[at]!;
      entryHigh = words[at + 1]!;
      if (!isTable(entryLow, entryHigh)) return false;
      allowed &= entryLow;
      upper |= entryHigh;
      if ((entryLow & PTE.PS) !== 0) {
        if ((entryLow & 0x1fe000) !== 0) return false;
        shift = 21;
        frame = ((entryLow >>> 12) & ~0x1ff) | ((low >>> 12) & 0x1ff);
      } else {
        table = entryLow & ~0xfff;
        if ((table >>> 0) + 4096 > ramBytes) return false;
        at = (GUEST_RAM_OFFSET + (table >>> 0) + (((low >>> 12) & 0x1ff) << 3)) >>> 2;
        entryLow = words[at]!;
        entryHigh = words[at + 1]!;
        // The accessed bit is set below.
        if (!isTable(entryLow | PTE.A, entryHigh)) return false;
        allowed &= entryLow;
        upper |= entryHigh;
        frame = entryLow >>> 12;
      }
    }
    if (upper < 0 && (efer & EFER.NXE) === 0) return false;
    const cr0 = words[state + CR0_LOW]!;
    const cr4 = words[state + CR4_LOW]!;
    const allowUser = (allowed & PTE.U) !== 0;
    const writable = (allowed & PTE.W) !== 0 || (!user && (cr0 & CR0.WP) === 0);
    const write = access === ACCESS.write;
    if (user && !allowUser) return false;
    if (access === ACCESS.execute) {
      if (upper < 0 || (!user && allowUser && (cr4 & CR4.SMEP) !== 0)) return false;
    } else {
      if (write && !writable) return false;
      if (!user && allowUser && (cr4 & CR4.SMAP) !== 0) {
        if (implicit || (words[state + SYSTEM_FLAGS]! & 0x40000) === 0) return false;
      }
    }
    const marks = PTE.A | (write ? PTE.D : 0);
    if ((entryLow & marks) !== marks) {
      if (this.peeking) return false;
      entryLow |= marks;
      this.markEntry(at * 4 - GUEST_RAM_OFFSET, entryLow);
    }
    this.writable = writable;
    this.dirty = (entryLow & PTE.D) !== 0;
    this.physicalPage = frame;
    this.globalPage = (entryLow & PTE.G) !== 0 && (cr4 & CR4.PGE) !== 0;
    if (shift !== 12) this.noteLarge(low, high, shift);
    return true;
  }

  /** A piece of a large page is about to be cached. */
  private noteLarge(low: number, high: number, shift: number): void {
    const region2m = (high >>> 0) * 2048 + (low >>> 21);
    const recent = region2m & 0xff;
    if (this.recentLarge[recent] === region2m) return;
    this.recentLarge[recent] = region2m;
    if (shift === 30) this.large1g.add(Math.floor(region2m / 512));
    else this.large2m.add(region2m);
  }

  /** A page that a region goes to: INVLPG of it is heard. */
  noteExecuted(low: number, high: number): void {
    this.executed[executedSlot(low, high)] = 1;
  }

  /** Linear pages where code was found, hashed. */
  private readonly executed = new Uint8Array(1 << EXECUTED_LOG2);
  /**
   * By page of RAM, for two addresses: where in each data TLB an entry may be that lets stores into it, as the entry
   * and as a victim; 0 where there is none, MANY_WRITERS as the second for more.
   */
  private readonly writers: Int32Array;
  /** The last walk ended at a global page: it is the same in every address space. */
  globalPage = false;

  private walkAny(low: number, high: number, access: number, user: boolean, implicit: boolean): GuestFault | undefined {
    const { cpu, view } = this;
    this.globalPage = false;
    const cr0 = cpu.getLow(STATE.cr0);
    if ((cr0 & CR0.PG) >>> 0 === 0) {
      this.physicalPage = low >>> 12;
      this.writable = true;
      this.dirty = true;
      return undefined;
    }
    const efer = cpu.getLow(STATE.efer);
    const cr4 = cpu.getLow(STATE.cr4);
    const nxe = (efer & EFER.NXE) !== 0;
    const write = access === ACCESS.write;
    const base =
      (write ? PF_ERROR.W : 0) |
      (user ? PF_ERROR.U : 0) |
      (access === ACCESS.execute && (nxe || (cr4 & CR4.SMEP) !== 0) ? PF_ERROR.I : 0);
    const long = (efer & EFER.LMA) !== 0;
    const pae = (cr4 & CR4.PAE) !== 0;
    const cr3Low = cpu.getLow(STATE.cr3);
    const cr3High = view.getUint32(cpu.offset + STATE.cr3.offset + 4, true) & 0xff;
    let table: number;
    let level: number;
    if (long) {
      table = cr3High * 0x1_0000_0000 + ((cr3Low & ~0xfff) >>> 0);
      level = 4;
    } else if (pae) {
      table = (cr3Low & ~0x1f) >>> 0;
      level = 3;
    } else {
      table = (cr3Low & ~0xfff) >>> 0;
      level = 2;
    }
    const wide = long || pae;
    let allowWrite = true;
    let allowUser = true;
    let noExecute = false;
    let shift = 0;
    let entryAt = 0;
    let entryLow = 0;
    let entryHigh = 0;
    for (;;) {
      let index: number;
      if (wide) {
        shift = 12 + (level - 1) * 9;
        if (level === 4) index = (high >>> 7) & 0x1ff;
        else if (level === 3) index = long ? ((high & 0x7f) << 2) | (low >>> 30) : low >>> 30;
        else index = (low >>> shift) & 0x1ff;
        entryAt = table + index * 8;
      } else {
        shift = level === 2 ? 22 : 12;
        index = (low >>> shift) & 0x3ff;
        entryAt = table + index * 4;
      }
      // Where there is no memory all bits read as 1, the reserved ones too.
      if (entryAt + (wide ? 8 : 4) > this.ramBytes) {
        return this.pageFault(low, high, base | PF_ERROR.P | PF_ERROR.RSVD);
      }
      entryLow = view.getUint32(GUEST_RAM_OFFSET + entryAt, true);
      entryHigh = wide ? view.getInt32(GUEST_RAM_OFFSET + entryAt + 4, true) : 0;
      if ((entryLow & PTE.P) === 0) return this.pageFault(low, high, base);
      const legacyPdpte = !long && pae && level === 3;
      let reserved = (entryHigh & RESERVED_HIGH) !== 0 || (!nxe && wide && entryHigh < 0);
      const large = (entryLow & PTE.PS) !== 0 && (level === 2 || (level === 3 && long));
      if (level === 4 && (entryLow & PTE.PS) !== 0) reserved = true;
      if (legacyPdpte && ((entryLow & 0x1e6) !== 0 || (entryHigh & 0x7fffff00) !== 0)) reserved = true;
      const pageSize = large && (wide || (cr4 & CR4.PSE) !== 0);
      if (pageSize) {
        if (wide && level === 2 && (entryLow & 0x1fe000) !== 0) reserved = true;
        if (wide && level === 3 && (entryLow & 0x3fffe000) !== 0) reserved = true;
        if (!wide && (entryLow & 0x3fe000) !== 0) reserved = true;
      }
      if (reserved) return this.pageFault(low, high, base | PF_ERROR.P | PF_ERROR.RSVD);
      if (!legacyPdpte) {
        if ((entryLow & PTE.W) === 0) allowWrite = false;
        if ((entryLow & PTE.U) === 0) allowUser = false;
        if (wide && (entryHigh & NX_HIGH) !== 0) noExecute = true;
      }
      if (level === 1 || pageSize) break;
      if ((entryLow & PTE.A) === 0 && !legacyPdpte) {
        if (this.peeking) return this.pageFault(low, high, base);
        this.markEntry(entryAt, entryLow | PTE.A);
      }
      table = (entryHigh & 0xff) * 0x1_0000_0000 + ((entryLow & ~0xfff) >>> 0);
      level--;
    }
    const writeProtected = !allowWrite && (user || (cr0 & CR0.WP) !== 0);
    let denied = false;
    if (user && !allowUser) denied = true;
    else if (access === ACCESS.execute) {
      denied = noExecute || (!user && allowUser && (cr4 & CR4.SMEP) !== 0);
    } else {
      if (write && writeProtected) denied = true;
      if (!user && allowUser && (cr4 & CR4.SMAP) !== 0) {
        if (implicit || (cpu.get32(STATE.systemFlags) & 0x40000) === 0) denied = true;
      }
    }
    if (denied) return this.pageFault(low, high, base | PF_ERROR.P);
    const marks = PTE.A | (write ? PTE.D : 0);
    if ((entryLow & marks) !== marks) {
      if (this.peeking) return this.pageFault(low, high, base);
      entryLow |= marks;
      this.markEntry(entryAt, entryLow);
    }
    this.writable = !writeProtected;
    this.dirty = (entryLow & PTE.D) !== 0;
    this.globalPage = (entryLow & PTE.G) !== 0 && (cr4 & CR4.PGE) !== 0;
    const frame = (entryHigh & 0xff) * 0x10_0000 + (entryLow >>> 12);
    if (level === 1) {
      this.physicalPage = frame;
    } else {
      const pages = 2 ** (shift - 12);
      const within = ((high & 0x7f) * 0x10_0000 + (low >>> 12)) % pages;
      this.physicalPage = Math.floor(frame / pages) * pages + within;
      this.noteLarge(low, high, shift);
    }
    return undefined;
  }

  /** Accessed and dirty bits are writes to the table's page, which may hold code. */
  private markEntry(entryAt: number, entryLow: number): void {
    this.noteWrite(entryAt, 4);
    this.view.setUint32(GUEST_RAM_OFFSET + entryAt, entryLow, true);
  }

  private get user(): boolean {
    return this.cpu.get32(STATE.cpl) === 3;
  }

  private notCanonical(high: number): boolean {
    const top = high >> 15;
    return top !== 0 && top !== -1;
  }

  /** Whether an address may be used in the present mode; 32-bit modes have no high half. */
  private checkCanonical(low: number, high: number): void {
    if (this.notCanonical(high) && this.cpu.get32(STATE.codeSize) === 64)
      throw new GuestFault(this.stackFault(low) ? 12 : GP, 0);
  }

  /** CR0.AM, EFLAGS.AC and CPL 3. */
  private alignmentChecked = false;

  /** #AC(0) for an operand of 2, 4 or 8 bytes that is not aligned (SDM volume 3, table 7-7), if that is checked now. */
  checkAligned(low: number, sizeBytes: number): void {
    if (this.alignmentChecked && sizeBytes <= 8 && (low & (sizeBytes - 1)) !== 0) throw new GuestFault(AC, 0);
  }

  /** Set by the engine: whether the access at hand is one that raises #SS instead of #GP. */
  stackFault: (low: number) => boolean = () => false;

  // Services of generated code.

  /** See SERVICES.translate. A page fault gives 0 and is in pageFaulted; throws GuestFault for what is rarer. */
  translate(low: number, high: number, sizeBytes: number, write: boolean): number {
    this.checkCanonical(low, high);
    if (this.alignmentChecked) {
      this.checkAligned(low, sizeBytes);
      return 1;
    }
    if ((low & 0xfff) + sizeBytes > 4096) return 1;
    const user = this.user;
    const fault = this.walk(low, high, write ? ACCESS.write : ACCESS.read, user, false);
    if (fault !== undefined) {
      this.pageFaulted = fault;
      return 0;
    }
    return this.fill(words32(this.cpu, TLB_POINTER), low, high, write);
  }

  /** The fault for which translate() has given 0. */
  pageFaulted: GuestFault | undefined;

  /** Enters the page just walked into the TLB at `tlb`. Host offset of the byte, or 1. */
  private fill(tlb: number, low: number, high: number, write: boolean): number {
    const page = this.physicalPage;
    if ((page + 1) * 4096 > this.ramBytes) return 1;
    for (const watched of this.watchedPages) {
      if (watched === ((high << 20) | (low >>> 12))) return 1;
    }
    const holdsCode = this.code!.holdsCode(page);
    const host = GUEST_RAM_OFFSET + page * 4096;
    const at = (tlb + entryOf(low)) >> 2;
    const key = this.keyOf(tlb);
    const tag = (low & ~0xfff) | key;
    const { words } = this;
    const before = words[at]!;
    const beforeHigh = words[at + 1]!;
    if ((before & 0xfff) === key && (before !== tag || beforeHigh !== high)) {
      const victim = (tlb + victimOf(before, beforeHigh)) >> 2;
      for (let word = 0; word <= TLB.addend >> 2; word++) words[victim + word] = words[at + word]!;
    }
    if (!this.globalPage && !this.isUserTlb(tlb)) {
      // It may become a victim.
      this.noteLocal(at);
      this.noteLocal((tlb + victimOf(low, high)) >> 2);
    }
    words[at] = tag;
    words[at + 1] = high;
    const { dirtyPages } = this;
    if (write) dirtyPages?.notePage(page);
    const direct = this.writable && this.dirty && !holdsCode && dirtyPages?.has(page) !== false;
    if (direct) this.noteWriter(page, low, high);
    words[at + 2] = direct ? tag : 0;
    words[at + 3] = direct ? high : 0;
    words[at + 4] = (host - (low & ~0xfff)) | 0;
    if (write && holdsCode) return 1;
    return host + (low & 0xfff);
  }

  /** Physical address of one byte for an access of generated code's own rights. Throws GuestFault. */
  private physical(low: number, high: number, access: number): number {
    const fault = this.walk(low, high, access, this.user, false);
    if (fault !== undefined) throw fault;
    return this.physicalPage * 4096 + (low & 0xfff);
  }

  /** Physical address of an instruction byte. Throws GuestFault. */
  fetch(low: number, high: number): number {
    if (this.notCanonical(high) && this.cpu.get32(STATE.codeSize) === 64) throw new GuestFault(GP, 0);
    return this.physical(low, high, ACCESS.execute);
  }

  /** A walk that leaves the page tables as they are, and fails where it would set an accessed bit. */
  private peeking = false;

  /**
   * The number of the physical page that instructions at an address come from, if the guest has fetched some there;
   * undefined otherwise. Changes nothing that the guest can see.
   */
  peekCode(low: number, high: number): number | undefined {
    if (this.notCanonical(high) && this.cpu.get32(STATE.codeSize) === 64) return undefined;
    const cr2 = this.cpu.get(STATE.cr2);
    this.peeking = true;
    const fault = this.walk(low, high, ACCESS.execute, this.user, false);
    this.peeking = false;
    if (fault === undefined) return this.physicalPage < this.ramBytes / 4096 ? this.physicalPage : undefined;
    this.cpu.set(STATE.cr2, cr2);
    return undefined;
  }

  /** A load that crosses pages or leaves RAM; the value goes to scratch memory. Throws GuestFault. */
  loadSpecial(low: number, high: number, sizeBytes: number, write: boolean): void {
    this.checkCanonical(low, high);
    const access = write ? ACCESS.write : ACCESS.read;
    const inFirst = Math.min(sizeBytes, 4096 - (low & 0xfff));
    const first = this.physical(low, high, access);
    const to = this.cpu.offset + SPECIAL_OFFSET;
    if (inFirst === sizeBytes) {
      this.loadPhysical(first, sizeBytes, to);
      return;
    }
    const nextLow = (low + inFirst) | 0;
    const nextHigh = nextLow === 0 && low !== 0 ? (high + 1) | 0 : high;
    this.checkCanonical(nextLow, nextHigh);
    const second = this.physical(nextLow, nextHigh, access);
    this.loadPhysical(first, inFirst, to);
    this.loadPhysical(second, sizeBytes - inFirst, to + inFirst);
  }

  storeSpecial(low: number, high: number, sizeBytes: number): void {
    this.checkCanonical(low, high);
    const inFirst = Math.min(sizeBytes, 4096 - (low & 0xfff));
    const first = this.physical(low, high, ACCESS.write);
    const from = this.cpu.offset + SPECIAL_OFFSET;
    if (inFirst === sizeBytes) {
      this.storePhysical(first, sizeBytes, from);
      return;
    }
    const nextLow = (low + inFirst) | 0;
    const nextHigh = nextLow === 0 && low !== 0 ? (high + 1) | 0 : high;
    this.checkCanonical(nextLow, nextHigh);
    const second = this.physical(nextLow, nextHigh, ACCESS.write);
    this.storePhysical(first, inFirst, from);
    this.storePhysical(second, sizeBytes - inFirst, from + inFirst);
  }

  // Physical accesses between guest memory or MMIO and host bytes.

  private loadPhysical(guestPhysical: number, sizeBytes: number, to: number): void {
    if (guestPhysical + sizeBytes <= this.ramBytes) {
      const from = GUEST_RAM_OFFSET + guestPhysical;
      for (let k = 0; k < sizeBytes; k++) this.bytes[to + k] = this.bytes[from + k]!;
      return;
    }
    for (let k = 0; k < sizeBytes; ) {
      const size = pieceSize(guestPhysical + k, sizeBytes - k);
      const value = this.host.readMmio(guestPhysical + k, size);
      for (let byte = 0; byte < size; byte++) this.bytes[to + k + byte] = (value >>> (8 * byte)) & 0xff;
      k += size;
    }
  }

  private storePhysical(guestPhysical: number, sizeBytes: number, from: number): void {
    if (guestPhysical + sizeBytes <= this.ramBytes) {
      this.noteWrite(guestPhysical, sizeBytes);
      const to = GUEST_RAM_OFFSET + guestPhysical;
      for (let k = 0; k < sizeBytes; k++) this.bytes[to + k] = this.bytes[from + k]!;
      return;
    }
    for (let k = 0; k < sizeBytes; ) {
      const size = pieceSize(guestPhysical + k, sizeBytes - k);
      let value = 0;
      for (let byte = 0; byte < size; byte++) value |= this.bytes[from + k + byte]! << (8 * byte);
      this.host.writeMmio(guestPhysical + k, size, value >>> 0);
      k += size;
    }
  }

  // LinearMemory: accesses of the engine's own functions.

  direct(low: number, high: number, sizeBytes: number, write: boolean, user: boolean): number {
    if ((low & 0xfff) + sizeBytes > 4096 || this.notCanonical(high) || (user && this.alignmentChecked)) return 0;
    const { words } = this;
    const tlb = this.tlbOf(user ? TLB_CLASS.user : TLB_CLASS.supervisor);
    const at = (tlb + entryOf(low)) >> 2;
    const tag = write ? at + (TLB.writeTag >> 2) : at;
    if (words[tag] === ((low & ~0xfff) | this.keyOf(tlb)) && words[tag + 1] === high) {
      return (words[at + (TLB.addend >> 2)]! + low) >>> 0;
    }
    const fault = this.walk(low, high, write ? ACCESS.write : ACCESS.read, user, !user);
    if (fault !== undefined) throw fault;
    const host = this.fill(tlb, low, high, write);
    return host === 1 ? 0 : host;
  }

  private readonly staging = new DataView(new ArrayBuffer(16));

  private physicalAs(linear: bigint, access: number, user: boolean): number {
    const low = Number(linear & 0xffffffffn) | 0;
    const high = Number((linear >> 32n) & 0xffffffffn) | 0;
    if (this.notCanonical(high)) throw new GuestFault(GP, 0);
    const fault = this.walk(low, high, access, user, !user);
    if (fault !== undefined) throw fault;
    return this.physicalPage * 4096 + (low & 0xfff);
  }

  read(linear: bigint, sizeBytes: number, user: boolean): bigint {
    if (user) this.checkAligned(Number(linear & 15n), sizeBytes);
    const inFirst = Math.min(sizeBytes, 4096 - Number(linear & 0xfffn));
    const first = this.physicalAs(linear, ACCESS.read, user);
    if (inFirst === sizeBytes && first + sizeBytes <= this.ramBytes) {
      const at = GUEST_RAM_OFFSET + first;
      if (sizeBytes === 8) return this.view.getBigUint64(at, true);
      if (sizeBytes === 4) return BigInt(this.view.getUint32(at, true));
      if (sizeBytes === 2) return BigInt(this.view.getUint16(at, true));
      return BigInt(this.view.getUint8(at));
    }
    const to = this.cpu.offset + SPECIAL_OFFSET;
    this.loadPhysical(first, inFirst, to);
    if (inFirst < sizeBytes) {
      const second = this.physicalAs(BigInt.asUintN(64, linear + BigInt(inFirst)), ACCESS.read, user);
      this.loadPhysical(second, sizeBytes - inFirst, to + inFirst);
    }
    this.staging.setBigUint64(0, 0n, true);
    for (let k = 0; k < sizeBytes; k++) this.staging.setUint8(k, this.bytes[to + k]!);
    return this.staging.getBigUint64(0, true);
  }

  write(linear: bigint, sizeBytes: number, value: bigint, user: boolean): void {
    if (user) this.checkAligned(Number(linear & 15n), sizeBytes);
    const inFirst = Math.min(sizeBytes, 4096 - Number(linear & 0xfffn));
    const first = this.physicalAs(linear, ACCESS.write, user);
    const from = this.cpu.offset + SPECIAL_OFFSET;
    this.view.setBigUint64(from, BigInt.asUintN(64, value), true);
    if (inFirst === sizeBytes) {
      this.storePhysical(first, sizeBytes, from);
      return;
    }
    const second = this.physicalAs(BigInt.asUintN(64, linear + BigInt(inFirst)), ACCESS.write, user);
    this.storePhysical(first, inFirst, from);
    this.storePhysical(second, sizeBytes - inFirst, from + inFirst);
  }

  probeWrite(linear: bigint, sizeBytes: number, user: boolean): void {
    if (user) this.checkAligned(Number(linear & 15n), sizeBytes);
    this.physicalAs(linear, ACCESS.write, user);
    if (Number(linear & 0xfffn) + sizeBytes > 4096) {
      this.physicalAs(BigInt.asUintN(64, linear + BigInt(sizeBytes - 1)), ACCESS.write, user);
    }
  }

  /** Reads a block with the present privilege. Throws GuestFault. */
  readBlock(linear: bigint, target: Uint8Array): void {
    this.forPages(linear, target.length, ACCESS.read, (guestPhysical, from, length) => {
      if (guestPhysical + length <= this.ramBytes) {
        const at = GUEST_RAM_OFFSET + guestPhysical;
        for (let k = 0; k < length; k++) target[from + k] = this.bytes[at + k]!;
        return;
      }
      const to = this.cpu.offset + SPECIAL_OFFSET;
      for (let k = 0; k < length; k++) {
        this.loadPhysical(guestPhysical + k, 1, to);
        target[from + k] = this.bytes[to]!;
      }
    });
  }

  /** Writes a block with the present privilege, all of it or nothing. Throws GuestFault. */
  writeBlock(linear: bigint, source: Uint8Array): void {
    this.forPages(linear, source.length, ACCESS.write, () => {});
    this.forPages(linear, source.length, ACCESS.write, (guestPhysical, from, length) => {
      if (guestPhysical + length <= this.ramBytes) {
        this.noteWrite(guestPhysical, length);
        const to = GUEST_RAM_OFFSET + guestPhysical;
        for (let k = 0; k < length; k++) this.bytes[to + k] = source[from + k]!;
        return;
      }
      const at = this.cpu.offset + SPECIAL_OFFSET;
      for (let k = 0; k < length; k++) {
        this.bytes[at] = source[from + k]!;
        this.storePhysical(guestPhysical + k, 1, at);
      }
    });
  }

  private forPages(
    linear: bigint,
    lengthBytes: number,
    access: number,
    visit: (guestPhysical: number, from: number, length: number) => void,
  ): void {
    for (let done = 0; done < lengthBytes; ) {
      const at = BigInt.asUintN(64, linear + BigInt(done));
      const length = Math.min(lengthBytes - done, 4096 - Number(at & 0xfffn));
      const low = Number(at & 0xffffffffn) | 0;
      const high = Number(at >> 32n) | 0;
      this.checkCanonical(low, high);
      visit(this.physical(low, high, access), done, length);
      done += length;
    }
  }

  /** Throws GuestFault unless the bytes can be written by the present privilege. */
  checkWritable(low: number, high: number, sizeBytes: number): void {
    this.checkCanonical(low, high);
    this.physical(low, high, ACCESS.write);
    if ((low & 0xfff) + sizeBytes > 4096) {
      const nextLow = (low + sizeBytes - 1) | 0;
      this.physical(nextLow, nextLow >= 0 && low < 0 ? (high + 1) | 0 : high, ACCESS.write);
    }
  }

  /**
   * Host offset of a byte that may be read or written directly with generated code's own rights, to the end of its
   * page; 0 where other ways are to be tried, and nothing is changed. Throws GuestFault.
   */
  place(low: number, high: number, write: boolean): number {
    const { words } = this;
    const at = (words32(this.cpu, TLB_POINTER) + entryOf(low)) >> 2;
    const tag = write ? at + (TLB.writeTag >> 2) : at;
    if (words[tag] === ((low & ~0xfff) | this.key) && words[tag + 1] === high) {
      return (words[at + (TLB.addend >> 2)]! + low) >>> 0;
    }
    if (this.alignmentChecked) return 0;
    const host = this.translate(low, high, 1, write);
    if (host === 0) throw this.pageFaulted!;
    return host === 1 ? 0 : host;
  }

  /** Host offset of RAM bytes for a bulk access that stays in one page, or 0 outside RAM. Throws GuestFault. */
  bulk(low: number, high: number, lengthBytes: number, write: boolean): number {
    this.checkCanonical(low, high);
    const guestPhysical = this.physical(low, high, write ? ACCESS.write : ACCESS.read);
    if (guestPhysical + lengthBytes > this.ramBytes) return 0;
    if (write) this.noteWrite(guestPhysical, lengthBytes);
    return GUEST_RAM_OFFSET + guestPhysical;
  }

  /**
   * The pointer of the data TLB that fits the privilege; whether accesses are checked for alignment follows from it.
   */
  tlbFor(cpl: number, ac: boolean): number {
    this.alignmentChecked = cpl === 3 && ac && (this.cpu.getLow(STATE.cr0) & CR0.AM) !== 0;
    let kind: number = cpl === 3 ? TLB_CLASS.user : ac ? TLB_CLASS.supervisorWithAc : TLB_CLASS.supervisor;
    if (this.alignmentChecked) kind = TLB_CLASS.userAligned;
    return this.tlbOf(kind);
  }

  private tlbOf(kind: number): number {
    const index = kind < SUPERVISOR_TLBS ? kind : this.set * USER_TLBS + kind;
    return this.layout.tlbOffset + index * TLB.sizeBytes;
  }

  codeTlbFor(cpl: number, codeSize: number): number {
    const size = codeSize === 64 ? 0 : codeSize === 32 ? 1 : 2;
    const index = (cpl === 3 ? 1 + this.set : 0) * CODE_SIZE_TLBS + size;
    return this.layout.codeTlbOffset + index * CODE_TLB.sizeBytes;
  }
}

/** The largest aligned access of at most 4 bytes. */
function pieceSize(guestPhysical: number, left: number): number {
  if (left >= 4 && guestPhysical % 4 === 0) return 4;
  if (left >= 2 && guestPhysical % 2 === 0) return 2;
  return 1;
}
