// Decoded instructions by physical page and code size. A page's records lie in runs: consecutive instructions up to an
// unconditional transfer. Records of a page that is written become stale: their handler is replaced by the one that
// looks its place up again, so that a run in progress leaves them at the next instruction. Their memory goes back to
// the pool, which gives it out again once no generated code can be using it: settle().

import type { CodeSize, DecodeFailure, Instruction } from '../../decode/instruction.ts';
import { CODE_PAGE_TABLE_BYTES, RECORD, REGION_RECORD } from '../../emit/record.ts';
import type { Form } from './form-table.ts';
import { GUEST_RAM_OFFSET } from './layout.ts';
import { CHUNK_BYTES, RecordPool } from './record-pool.ts';

const MAXIMUM_RUN = 64;
/** Granularity of the map of bytes that hold code: a store elsewhere in the page leaves the records alone. */
const CHUNK_LOG2 = 3;

/** A run that cannot be so long begins in a new chunk. */
const SMALLEST_RUN = 12;
/** One page's table and one chunk of records. */
const SMALLEST_POOL = CODE_PAGE_TABLE_BYTES + CHUNK_BYTES;
/** Stale memory and regions that are worth a way back to the run loop. */
const MAXIMUM_STALE_BYTES = 1 << 20;

export interface CodePage {
  readonly page: number;
  readonly codeSize: CodeSize;
  /** Host offset of the table: record by offset in the page. */
  readonly table: number;
  readonly runs: { first: number; count: number }[];
  /** Memory of the records, and what is free of the last piece. */
  readonly chunks: { readonly at: number; readonly sizeBytes: number }[];
  next: number;
  end: number;
  /** By a 'cross' record: the instruction that reaches into another page. */
  readonly crossings: Map<number, CrossSite>;
  /** How often the run loop found itself at an offset; the translator's. Gone with the page's code. */
  readonly samples: Map<number, number>;
  /** Places that the translator has put off once. */
  readonly postponed: Set<number>;
  /** Regions that have code of this page, whether they begin here or not. */
  readonly regions: Set<InstalledRegion>;
  /** By offset: the memory of a region that was taken away, for the next one there. */
  readonly retired: Map<number, { readonly record: number }>;
}

/** A region as the tables of records know it. */
export interface InstalledRegion {
  readonly handler: number;
  readonly record: number;
  readonly home: CodePage;
  readonly offset: number;
  readonly others: readonly RegionPage[];
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
  /** Writes the record for an instruction at `ip`. */
  writeRecord(record: number, instruction: Instruction, ip: number): Form;
  /** Lets the record of an instruction run the one behind it too, where that pair is worth it. */
  fuse(record: number, first: Form, second: Form): void;
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
  /** A region's code has changed: no record names its handler any more. */
  regionGone(handler: number): void;
  /** The region has another handler now. */
  regionReplaced(handler: number): void;
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
  /** By record. */
  private readonly regions = new Map<number, InstalledRegion>();
  private readonly pool: RecordPool;
  /** Host offsets of the tables of 64-bit code by page, 0 for pages without: other threads look at them too. */
  readonly tables: Uint32Array;
  /** Invalidated since the last settle(). */
  private readonly stale = new Set<CodePage>();
  private versions = 0;
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
    const ramPages = Math.ceil(parts.ramBytes / 4096);
    this.flags = new Uint8Array(ramPages);
    this.tables = new Uint32Array(new SharedArrayBuffer(ramPages * 4));
    this.pool = new RecordPool(parts.recordsOffset, parts.recordsEnd);
    const size = parts.recordsEnd - parts.recordsOffset;
    if (size < SMALLEST_POOL) throw new RangeError(`a pool of ${size} bytes holds no page of code`);
  }

  get bytesUsed(): number {
    return this.pool.usedBytes;
  }

  holdsCode(page: number): boolean {
    return this.flags[page] === 1;
  }

  /** Drops every record. No generated code may be on the stack. */
  flush(): void {
    this.flushes++;
    this.pages.clear();
    this.recent.fill(undefined);
    this.regions.clear();
    this.stale.clear();
    this.watched.clear();
    this.flags.fill(0);
    this.tables.fill(0);
    this.parts.clearCodeTlbs();
    this.parts.codeMoved();
    this.pool.reset();
    this.full = false;
  }

  /** Makes room out of what is stale alone; false when that is too little. No generated code may be on the stack. */
  relieve(): boolean {
    const { recordsOffset, recordsEnd } = this.parts;
    if (this.pool.leavingBytes * 8 < recordsEnd - recordsOffset) return false;
    this.settle();
    this.full = false;
    return true;
  }

  /** So much is stale that settle() should be called soon. */
  get wantsSettling(): boolean {
    return this.pool.leavingBytes > MAXIMUM_STALE_BYTES;
  }

  /** Takes stale memory into use again. No generated code may be on the stack. */
  settle(): void {
    let tables = false;
    for (const codePage of this.stale) {
      if (codePage.chunks.length > 0 || codePage.regions.size > 0) continue;
      // What was code has not run since.
      tables = true;
      this.pages.delete(keyOf(codePage.page, codePage.codeSize));
      if (codePage.codeSize === 64) this.tables[codePage.page] = 0;
      if (this.recent[codePage.page & RECENT_MASK] === codePage) this.recent[codePage.page & RECENT_MASK] = undefined;
      const watched = this.watched.get(codePage.page)!;
      watched.pages.splice(watched.pages.indexOf(codePage), 1);
      if (watched.pages.length === 0 && this.flags[codePage.page] === 0) this.watched.delete(codePage.page);
      this.pool.giveBack(codePage.table, CODE_PAGE_TABLE_BYTES);
    }
    this.stale.clear();
    if (tables) this.parts.clearCodeTlbs();
    this.pool.settle();
  }

  private take(sizeBytes: number): number {
    const at = this.pool.take(this.bytes, sizeBytes);
    if (at === 0) this.full = true;
    return at;
  }

  /** Room for a page's records, all zeros; 0 when the pool is full. */
  private allocate(codePage: CodePage, sizeBytes: number): number {
    if (codePage.next + sizeBytes > codePage.end && !this.addChunk(codePage, sizeBytes)) return 0;
    const at = codePage.next;
    codePage.next += sizeBytes;
    return at;
  }

  private addChunk(codePage: CodePage, sizeBytes: number): boolean {
    const whole = Math.ceil(sizeBytes / CHUNK_BYTES) * CHUNK_BYTES;
    const at = this.take(whole);
    if (at === 0) return false;
    codePage.chunks.push({ at, sizeBytes: whole });
    codePage.next = at;
    codePage.end = at + whole;
    return true;
  }

  private watch(page: number): WatchedPage {
    let watched = this.watched.get(page);
    if (watched === undefined) {
      watched = { chunks: new Uint8Array(4096 >> CHUNK_LOG2), pages: [], version: ++this.versions };
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
    const table = this.take(CODE_PAGE_TABLE_BYTES);
    if (table === 0) return undefined;
    const created: CodePage = {
      page,
      codeSize,
      table,
      runs: [],
      chunks: [],
      next: 0,
      end: 0,
      crossings: new Map(),
      samples: new Map(),
      postponed: new Set(),
      regions: new Set(),
      retired: new Map(),
    };
    this.pages.set(key, created);
    if (codeSize === 64) this.tables[page] = table;
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
    const tooLittle = codePage.end - codePage.next < SMALLEST_RUN * RECORD.sizeBytes;
    if (tooLittle && !this.addChunk(codePage, CHUNK_BYTES)) return 0;
    const first = codePage.next;
    // The last record ends the run.
    const last = Math.min(first + (MAXIMUM_RUN - 1) * RECORD.sizeBytes, codePage.end - RECORD.sizeBytes);
    const watched = this.watch(codePage.page);
    const pageBytes = GUEST_RAM_OFFSET + codePage.page * 4096;
    const table = codePage.table >> 2;
    let record = first;
    let offset = start;
    let open = true;
    let previous: Form | undefined;
    while (open) {
      const known = offset < 4096 ? words[table + offset]! : 0;
      if (known !== 0) {
        parts.writeSpecial(record, 'link', offset, known);
        break;
      }
      if (offset >= 4096 || record === last) {
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
      const form = parts.writeRecord(record, instruction, offset);
      if (previous !== undefined) parts.fuse(record - RECORD.sizeBytes, previous, form);
      previous = form;
      open = form.goesOn;
      this.mark(watched, offset, instruction.lengthBytes);
      offset += instruction.lengthBytes;
      record += RECORD.sizeBytes;
      if (!open) parts.writeSpecial(record, 'resume', offset, 0);
    }
    const end = record + RECORD.sizeBytes;
    codePage.runs.push({ first, count: (end - first) / RECORD.sizeBytes });
    codePage.next = end;
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
    const codePage = this.page(page, codeSize);
    if (codePage === undefined) return 0;
    const known = codePage.crossings.get(record);
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
    // The record of before is not in use: this is where it would be asked for.
    const built = known?.record ?? this.allocate(codePage, 2 * RECORD.sizeBytes);
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
    codePage.crossings.set(record, { secondPage: second, secondVersion: watched.version, record: built });
    return built;
  }

  /**
   * Puts a region's record in front of the record at `offset`, which it links to, or gives the region's that is there
   * another handler; 0 without room.
   */
  install(codePage: CodePage, offset: number, handler: number, others: readonly RegionPage[]): number {
    const slot = (codePage.table >> 2) + offset;
    const original = this.words[slot]!;
    if (original === 0) return 0;
    const before = this.regions.get(original);
    if (before !== undefined) {
      this.forget(before);
      this.enter({ ...before, handler, others });
      this.parts.codeMoved();
      this.parts.regionReplaced(before.handler);
      return original;
    }
    const retired = codePage.retired.get(offset);
    const record = retired?.record ?? this.allocate(codePage, RECORD.sizeBytes);
    if (record === 0) return 0;
    if (retired !== undefined) this.bytes.fill(0, record, record + RECORD.sizeBytes);
    codePage.retired.delete(offset);
    this.parts.writeSpecial(record, 'link', offset, original);
    this.words[slot] = record;
    this.enter({ handler, record, home: codePage, offset, others });
    // Branches of the page that were linked to the old record go to the region from now on.
    for (const { first, count } of codePage.runs) {
      for (let k = 0; k < count; k++) {
        const link = (first + k * RECORD.sizeBytes + RECORD.link) >> 2;
        const linked = this.words[link];
        if (linked === original || linked === retired?.record) this.words[link] = record;
      }
    }
    // Its own link leads on, though the record may have been among them.
    this.words[(record + RECORD.link) >> 2] = original;
    if (retired === undefined) codePage.runs.push({ first: record, count: 1 });
    return record;
  }

  private enter(region: InstalledRegion): void {
    const { record, handler, others } = region;
    this.halves[(record + RECORD.handler) >> 1] = handler;
    this.bytes[record + REGION_RECORD.spansPages] = others.length > 0 ? 1 : 0;
    // Its pages have not been looked at.
    this.words[(record + REGION_RECORD.verifiedEpoch) >> 2] = 0;
    this.regions.set(record, region);
    for (const page of pagesOf(region)) page.regions.add(region);
  }

  /** The region whose own record this is. */
  regionAt(record: number): InstalledRegion | undefined {
    return this.regions.get(record);
  }

  /** Takes regions away again: their places are interpreted from now on. No generated code may be on the stack. */
  removeRegions(handlers: ReadonlySet<number>): void {
    for (const region of [...this.regions.values()]) {
      if (!handlers.has(region.handler)) continue;
      this.forget(region);
      // Whoever still has the record goes on to the one behind it.
      const original = this.words[(region.record + RECORD.link) >> 2]!;
      this.parts.writeSpecial(region.record, 'link', region.offset, original);
      this.restoreSlot(region);
      region.home.samples.delete(region.offset);
      region.home.postponed.add(region.offset);
      region.home.retired.set(region.offset, region);
    }
    this.parts.codeMoved();
  }

  private forget(region: InstalledRegion): void {
    this.regions.delete(region.record);
    for (const page of pagesOf(region)) page.regions.delete(region);
  }

  private restoreSlot({ home, offset, record }: InstalledRegion): void {
    const slot = (home.table >> 2) + offset;
    if (this.words[slot] === record) this.words[slot] = this.words[(record + RECORD.link) >> 2]!;
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
    watched.version = ++this.versions;
    watched.chunks.fill(0);
    for (const codePage of watched.pages) {
      for (const region of codePage.regions) {
        this.forget(region);
        this.halves[(region.record + RECORD.handler) >> 1] = 0;
        this.restoreSlot(region);
        this.parts.regionGone(region.handler);
      }
      for (const { first, count } of codePage.runs) {
        for (let k = 0; k < count; k++) this.halves[(first + k * RECORD.sizeBytes + RECORD.handler) >> 1] = 0;
      }
      for (const { at, sizeBytes } of codePage.chunks) this.pool.giveBack(at, sizeBytes);
      codePage.chunks.length = 0;
      codePage.next = 0;
      codePage.end = 0;
      codePage.runs.length = 0;
      codePage.crossings.clear();
      codePage.retired.clear();
      codePage.samples.clear();
      codePage.postponed.clear();
      this.bytes.fill(0, codePage.table, codePage.table + CODE_PAGE_TABLE_BYTES);
      this.stale.add(codePage);
    }
    this.flags[page] = 0;
    if (watched.pages.length === 0) this.watched.delete(page);
  }
}

function pagesOf({ home, others }: InstalledRegion): CodePage[] {
  return [home, ...others.map(({ codePage }) => codePage)];
}

const keyOf = (page: number, codeSize: CodeSize): number => page * 4 + (codeSize === 64 ? 0 : codeSize === 32 ? 1 : 2);
