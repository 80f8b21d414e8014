// Decoded instructions by physical page and code size. A page's records lie in runs: consecutive instructions up to an
// unconditional transfer. Records of a page that is written become stale: their handler is replaced by the one that
// looks its place up again, so that a run in progress leaves them at the next instruction. Memory is taken from a pool
// that only grows and is emptied as a whole.

import type { CodeSize, DecodeFailure, Instruction } from '../../decode/instruction.ts';
import { CODE_PAGE_TABLE_BYTES, RECORD, SITE } from '../../emit/record.ts';
import { GUEST_RAM_OFFSET } from './layout.ts';

const MAXIMUM_RUN = 64;
/** Granularity of the map of bytes that hold code: a store elsewhere in the page leaves the records alone. */
const CHUNK_LOG2 = 3;

/** One page's table, one run, and an instruction that reaches into the next page. */
const SMALLEST_POOL = CODE_PAGE_TABLE_BYTES + (MAXIMUM_RUN + 3) * RECORD.sizeBytes;

export interface CodePage {
  readonly page: number;
  readonly codeSize: CodeSize;
  /** Host offset of the table: record by offset in the page. */
  readonly table: number;
  readonly runs: { first: number; count: number }[];
  /** How often the run loop found itself at an offset; the translator's. Gone with the page's code. */
  readonly samples: Map<number, number>;
  /** Regions that begin in another page and have code of this one. */
  readonly visitors: { readonly home: CodePage; readonly offset: number; readonly record: number }[];
}

/** A page besides the first that a region has code of. */
export interface RegionPage {
  /** Pages from the region's first. */
  readonly delta: number;
  readonly codePage: CodePage;
}

/** Code that shares a physical page, whatever its code size. */
interface WatchedPage {
  readonly chunks: Uint8Array;
  readonly pages: CodePage[];
  /** Counts invalidations: instructions that reach in from the page before compare it. */
  version: number;
}

const NOWHERE: WatchedPage = { chunks: new Uint8Array(4096 >> CHUNK_LOG2), pages: [], version: 0 };

interface CrossSite {
  readonly codeSize: CodeSize;
  readonly secondPage: number;
  readonly secondVersion: number;
  readonly record: number;
}

export interface CodeCacheParts {
  readonly memory: WebAssembly.Memory;
  readonly ramBytes: number;
  readonly recordsOffset: number;
  readonly recordsEnd: number;
  decode(bytes: Uint8Array, offset: number, available: number, codeSize: CodeSize): Instruction | DecodeFailure;
  /** Writes the record for an instruction at `ip`; gives false when nothing can follow it in a run. */
  writeRecord(record: number, instruction: Instruction, ip: number): boolean;
  /** Lets the record of `first` run the instruction behind it too, where that pair is worth it. */
  fuse(record: number, first: Instruction, second: Instruction): void;
  /** Writes the record of one of the engine's own handlers. */
  writeSpecial(
    record: number,
    kind: 'resume' | 'link' | 'cross' | 'invalid' | 'too-long',
    ip: number,
    link: number,
  ): void;
  forbidDirectWrites(page: number): void;
  clearCodeTlbs(): void;
  /** Code may be elsewhere than it was: what a region remembers of other places counts no more. */
  codeMoved(): void;
}

const RECENT_MASK = 1023;

export class CodeCache {
  private readonly parts: CodeCacheParts;
  private readonly bytes: Uint8Array;
  private readonly words: Uint32Array;
  private readonly halves: Uint16Array;
  private readonly flags: Uint8Array;
  private readonly watched = new Map<number, WatchedPage>();
  private readonly pages = new Map<number, CodePage>();
  /** Some of them by the page's low bits: a look-up in the map costs as much as a page walk. */
  private readonly recent = new Array<CodePage | undefined>(RECENT_MASK + 1).fill(undefined);
  private readonly crossSites = new Map<number, CrossSite>();
  private next: number;
  /** Set when the pool is full: flush() before the next run. */
  full = false;
  invalidations = 0;
  flushes = 0;
  decodedInstructions = 0;

  constructor(parts: CodeCacheParts) {
    this.parts = parts;
    this.bytes = new Uint8Array(parts.memory.buffer);
    this.words = new Uint32Array(parts.memory.buffer);
    this.halves = new Uint16Array(parts.memory.buffer);
    this.flags = new Uint8Array(Math.ceil(parts.ramBytes / 4096));
    this.next = parts.recordsOffset;
    const size = parts.recordsEnd - parts.recordsOffset;
    if (size < SMALLEST_POOL) throw new RangeError(`a pool of ${size} bytes holds no page of code`);
  }

  get bytesUsed(): number {
    return this.next - this.parts.recordsOffset;
  }

  holdsCode(page: number): boolean {
    return this.flags[page] === 1;
  }

  /** Drops every record. No generated code may be on the stack. */
  flush(): void {
    this.flushes++;
    this.pages.clear();
    this.recent.fill(undefined);
    this.crossSites.clear();
    this.watched.clear();
    this.flags.fill(0);
    this.parts.clearCodeTlbs();
    this.parts.codeMoved();
    this.next = this.parts.recordsOffset;
    this.full = false;
  }

  private allocate(sizeBytes: number): number {
    const at = this.next;
    if (at + sizeBytes > this.parts.recordsEnd) {
      this.full = true;
      return 0;
    }
    this.next = at + sizeBytes;
    return at;
  }

  private watch(page: number): WatchedPage {
    let watched = this.watched.get(page);
    if (watched === undefined) {
      watched = { chunks: new Uint8Array(4096 >> CHUNK_LOG2), pages: [], version: 0 };
      this.watched.set(page, watched);
    }
    if (this.flags[page] === 0) {
      this.flags[page] = 1;
      this.parts.forbidDirectWrites(page);
    }
    return watched;
  }

  private mark(watched: WatchedPage, offset: number, lengthBytes: number): void {
    const last = Math.min(offset + lengthBytes - 1, 4095) >> CHUNK_LOG2;
    for (let chunk = offset >> CHUNK_LOG2; chunk <= last; chunk++) watched.chunks[chunk] = 1;
  }

  /** Host offset of the table of a page that has one; 0 for others. */
  tableOf(page: number, codeSize: CodeSize): number {
    return this.pages.get(keyOf(page, codeSize))?.table ?? 0;
  }

  /** The page's code table, or undefined when the pool is full. `page` lies in RAM. */
  page(page: number, codeSize: CodeSize): CodePage | undefined {
    const recent = this.recent[page & RECENT_MASK];
    if (recent !== undefined && recent.page === page && recent.codeSize === codeSize) return recent;
    const key = keyOf(page, codeSize);
    const known = this.pages.get(key);
    if (known !== undefined) {
      this.recent[page & RECENT_MASK] = known;
      return known;
    }
    const table = this.allocate(CODE_PAGE_TABLE_BYTES);
    if (table === 0) return undefined;
    this.bytes.fill(0, table, table + CODE_PAGE_TABLE_BYTES);
    const created: CodePage = { page, codeSize, table, runs: [], samples: new Map(), visitors: [] };
    this.pages.set(key, created);
    this.watch(page).pages.push(created);
    return created;
  }

  /** The record at `offset` of the page, decoded now if it is new; 0 when the pool is full. */
  record(codePage: CodePage, offset: number): number {
    const known = this.words[(codePage.table >> 2) + offset]!;
    if (known !== 0) return known;
    return this.decodeRun(codePage, offset);
  }

  private decodeRun(codePage: CodePage, start: number): number {
    const { parts, words } = this;
    const first = this.allocate((MAXIMUM_RUN + 1) * RECORD.sizeBytes);
    if (first === 0) return 0;
    const watched = this.watch(codePage.page);
    const pageBytes = GUEST_RAM_OFFSET + codePage.page * 4096;
    const table = codePage.table >> 2;
    let record = first;
    let offset = start;
    let open = true;
    let previous: Instruction | undefined;
    while (open) {
      const known = offset < 4096 ? words[table + offset]! : 0;
      if (known !== 0) {
        parts.writeSpecial(record, 'link', offset, known);
        break;
      }
      if (offset >= 4096 || record - first >= (MAXIMUM_RUN - 1) * RECORD.sizeBytes) {
        parts.writeSpecial(record, 'resume', offset, 0);
        break;
      }
      const instruction = parts.decode(this.bytes, pageBytes + offset, 4096 - offset, codePage.codeSize);
      words[table + offset] = record;
      if (typeof instruction === 'string') {
        const kind = instruction === 'truncated' ? 'cross' : instruction;
        this.mark(watched, offset, 15);
        parts.writeSpecial(record, kind, offset, 0);
        break;
      }
      this.decodedInstructions++;
      open = parts.writeRecord(record, instruction, offset);
      if (previous !== undefined) parts.fuse(record - RECORD.sizeBytes, previous, instruction);
      previous = instruction;
      this.mark(watched, offset, instruction.lengthBytes);
      offset += instruction.lengthBytes;
      record += RECORD.sizeBytes;
      if (!open) parts.writeSpecial(record, 'resume', offset, 0);
    }
    const end = record + RECORD.sizeBytes;
    codePage.runs.push({ first, count: (end - first) / RECORD.sizeBytes });
    this.next = end;
    return first;
  }

  /**
   * The record of an instruction that reaches into another page: `record` is its 'cross' record at `offset`, `second`
   * the physical page that follows in the guest's address space now. 0 when the pool is full.
   */
  cross(record: number, page: number, offset: number, codeSize: CodeSize, second: number): number {
    // Behind the end of RAM there is nothing to watch, and all bits read as 1.
    const inRam = second * 4096 < this.parts.ramBytes;
    const watched = inRam ? this.watch(second) : NOWHERE;
    const known = this.crossSites.get(record);
    if (known !== undefined && known.secondPage === second && known.secondVersion === watched.version) {
      return known.record;
    }
    const joined = new Uint8Array(30);
    const left = Math.min(15, 4096 - offset);
    const from = GUEST_RAM_OFFSET + page * 4096 + offset;
    joined.set(this.bytes.subarray(from, from + left));
    const behind = GUEST_RAM_OFFSET + second * 4096;
    if (inRam) joined.set(this.bytes.subarray(behind, behind + 15), left);
    else joined.fill(0xff, left);
    const instruction = this.parts.decode(joined, 0, joined.length, codeSize);
    const built = this.allocate(2 * RECORD.sizeBytes);
    if (built === 0) return 0;
    if (typeof instruction === 'string') {
      this.parts.writeSpecial(built, instruction === 'truncated' ? 'invalid' : instruction, offset, 0);
      this.mark(watched, 0, 15);
    } else {
      this.decodedInstructions++;
      this.parts.writeRecord(built, instruction, offset);
      this.parts.writeSpecial(built + RECORD.sizeBytes, 'resume', offset + instruction.lengthBytes, 0);
      this.mark(watched, 0, Math.max(1, offset + instruction.lengthBytes - 4096));
    }
    this.crossSites.set(record, { codeSize, secondPage: second, secondVersion: watched.version, record: built });
    return built;
  }

  /** Puts a region's record with its sites in front of the record at `offset`, which it links to; 0 without room. */
  install(codePage: CodePage, offset: number, handler: number, sites: number, others: readonly RegionPage[]): number {
    const slot = (codePage.table >> 2) + offset;
    const original = this.words[slot]!;
    const sizeBytes = RECORD.sizeBytes + ((sites + 1) & ~1) * SITE.sizeBytes;
    const record = this.allocate(sizeBytes);
    if (record === 0 || original === 0) return 0;
    this.bytes.fill(0, record, record + sizeBytes);
    this.parts.writeSpecial(record, 'link', offset, original);
    this.halves[(record + RECORD.handler) >> 1] = handler;
    this.words[slot] = record;
    for (const { codePage: other } of others) other.visitors.push({ home: codePage, offset, record });
    // Branches of the page that were linked to the old record go to the region from now on.
    for (const { first, count } of codePage.runs) {
      for (let k = 0; k < count; k++) {
        const link = (first + k * RECORD.sizeBytes + RECORD.link) >> 2;
        if (this.words[link] === original) this.words[link] = record;
      }
    }
    codePage.runs.push({ first: record, count: 1 });
    return record;
  }

  /** Whether memory holds these bytes at an offset of the page. From now on a store to them makes the page stale. */
  watchCode(codePage: CodePage, offset: number, bytes: Uint8Array): boolean {
    // Watched before they are looked at, so that no store comes between.
    this.mark(this.watch(codePage.page), offset, bytes.length);
    const at = GUEST_RAM_OFFSET + codePage.page * 4096 + offset;
    for (let k = 0; k < bytes.length; k++) if (this.bytes[at + k] !== bytes[k]) return false;
    return true;
  }

  noteWrite(guestPhysical: number, lengthBytes: number): void {
    const end = guestPhysical + lengthBytes;
    for (let page = Math.floor(guestPhysical / 4096); page * 4096 < end; page++) {
      if (this.flags[page] !== 1) continue;
      const from = Math.max(guestPhysical - page * 4096, 0);
      const to = Math.min(end - page * 4096, 4096);
      const { chunks } = this.watched.get(page)!;
      for (let chunk = from >> CHUNK_LOG2; chunk <= (to - 1) >> CHUNK_LOG2; chunk++) {
        if (chunks[chunk] === 1) {
          this.invalidate(page);
          break;
        }
      }
    }
  }

  private invalidate(page: number): void {
    const watched = this.watched.get(page)!;
    this.invalidations++;
    this.parts.codeMoved();
    watched.version++;
    watched.chunks.fill(0);
    for (const codePage of watched.pages) {
      for (const { first, count } of codePage.runs) {
        for (let k = 0; k < count; k++) this.halves[(first + k * RECORD.sizeBytes + RECORD.handler) >> 1] = 0;
      }
      for (const { home, offset, record } of codePage.visitors) {
        this.halves[(record + RECORD.handler) >> 1] = 0;
        const slot = (home.table >> 2) + offset;
        if (this.words[slot] === record) this.words[slot] = this.words[(record + RECORD.link) >> 2]!;
      }
      codePage.visitors.length = 0;
      codePage.runs.length = 0;
      codePage.samples.clear();
      this.bytes.fill(0, codePage.table, codePage.table + CODE_PAGE_TABLE_BYTES);
    }
    this.flags[page] = 0;
  }
}

const keyOf = (page: number, codeSize: CodeSize): number => page * 4 + (codeSize === 64 ? 0 : codeSize === 32 ? 1 : 2);
