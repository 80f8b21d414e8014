// From places in guest memory to one WebAssembly module. Reads the guest's code without its processor's help, so that
// it may run on any thread that has the memory: whoever installs the result compares the bytes.

import type { Decode } from '../../decode/decoder.ts';
import type { Instruction } from '../../decode/instruction.ts';
import { FIRST_REGION, importLazily } from '../../emit/imports.ts';
import { BRANCH_COUNT, RECORD } from '../../emit/record.ts';
import { emitRegion } from '../../emit/region.ts';
import { ModuleWriter } from '../../wasm/encoder.ts';
import { walkCode } from './code-walk.ts';
import { beginsFunction, FUNCTION_ALIGNMENT_BYTES } from './function-start.ts';
import { GUEST_RAM_OFFSET } from './layout.ts';
import { formRegion, type Region } from './region-former.ts';
import type { CodeBytes, RegionJob, TranslatedBatch, TranslatedRegion } from './translation.ts';

const PAGE_BYTES = 4096;
/** Of one region: each of them is looked at before it runs. */
const MAXIMUM_PAGES = 8;
/** As far as a region's offsets go. */
const MAXIMUM_DISTANCE_PAGES = 1 << 16;
const MAXIMUM_INSTRUCTION_BYTES = 15;
/** As far as the beginning of a function is looked for before a place in it, and so many of them are tried. */
const MAXIMUM_FUNCTION_BYTES = 2048;
const MAXIMUM_FUNCTION_TRIES = 3;

/** A page as it was when the job first looked at it. */
interface CopiedPage {
  readonly page: number;
  readonly bytes: Uint8Array;
  readonly sum: number;
}

interface FormedRegion {
  readonly page: number;
  readonly region: Region;
  readonly code: readonly CodeBytes[];
}

/** Where instructions of regions begin in a page, and the sum of its bytes when they were made. */
interface CoveredPage {
  readonly sum: number;
  readonly starts: Uint8Array;
}

export class BatchTranslator {
  private readonly guest: Uint8Array;
  private readonly words: Int32Array;
  private readonly view: DataView;
  private readonly ramBytes: number;
  private readonly maximumPages: number;
  private readonly decode: Decode;
  private readonly buffers = Array.from({ length: MAXIMUM_PAGES }, () => new Uint8Array(PAGE_BYTES));
  private readonly covered = new Map<number, CoveredPage>();
  /** An instruction that lies in two pages. */
  private readonly joined = new Uint8Array(2 * MAXIMUM_INSTRUCTION_BYTES);

  constructor(memory: WebAssembly.Memory, decode: Decode) {
    this.guest = new Uint8Array(memory.buffer);
    this.words = new Int32Array(memory.buffer);
    this.view = new DataView(memory.buffer);
    this.ramBytes = memory.buffer.byteLength - GUEST_RAM_OFFSET;
    this.maximumPages = memory.buffer.byteLength / 65536;
    this.decode = decode;
  }

  translate(jobs: readonly RegionJob[]): TranslatedBatch {
    const startMs = performance.now();
    const writer = new ModuleWriter();
    const imports = importLazily(writer, this.maximumPages);
    const regions: TranslatedRegion[] = [];
    const refused: number[] = [];
    const postponed: number[] = [];
    const bodies = [];
    // A function begins before the places that its calls return to.
    for (const job of [...jobs].sort((a, b) => a.page - b.page || a.offset - b.offset)) {
      if (!job.insists && this.isCovered(job)) {
        postponed.push(job.handler);
        continue;
      }
      const formed = this.formFunction(job) ?? this.form(job);
      if (formed === undefined) {
        refused.push(job.handler);
        continue;
      }
      const { page, region, code } = formed;
      const body = emitRegion(imports, region);
      bodies.push({ handler: job.handler, entry: region.entry, body });
      const instructions = region.spans.length;
      regions.push({ handler: job.handler, page, offset: region.entry, instructions, code });
    }
    // Imports come before functions: which ones there are is known now.
    for (const { handler, entry, body } of bodies) {
      const index = writer.declare(imports.handlerType);
      writer.define(index, body);
      writer.name(index, `region ${handler - FIRST_REGION} at ${entry.toString(16)}`);
      writer.element(handler, [index]);
    }
    const bytes = regions.length === 0 ? new Uint8Array(0) : writer.finish();
    const emittedMs = performance.now();
    const module = regions.length === 0 ? undefined : new WebAssembly.Module(bytes);
    const compileMs = performance.now() - emittedMs;
    const wasmBytes = bytes.length;
    return { module, regions, refused, postponed, wasmBytes, emitMs: emittedMs - startMs, compileMs };
  }

  /** Whether a region has been made that has this place, from the same bytes. */
  private isCovered({ page, offset }: RegionJob): boolean {
    const covered = this.covered.get(page);
    return covered !== undefined && covered.starts[offset] === 1 && covered.sum === this.sumOf(page);
  }

  private cover(spans: Region['spans'], pages: ReadonlyMap<number, CopiedPage | undefined>): void {
    for (const { first } of spans) {
      const delta = Math.floor(first / PAGE_BYTES);
      const { page, sum } = pages.get(delta)!;
      let covered = this.covered.get(page);
      if (covered?.sum !== sum) {
        covered = { sum, starts: new Uint8Array(PAGE_BYTES) };
        this.covered.set(page, covered);
      }
      covered.starts[first - delta * PAGE_BYTES] = 1;
    }
  }

  private sumOf(page: number): number {
    const first = (GUEST_RAM_OFFSET + page * PAGE_BYTES) >>> 2;
    return sumOfWords(this.words, first);
  }

  /** The region from where a function begins that has the job's place, if that is found. */
  private formFunction(job: RegionJob): FormedRegion | undefined {
    if (job.insists) return undefined;
    for (const { start, needed } of this.functionStarts(job)) {
      const formed = this.form(start, needed);
      if (formed !== undefined) return formed;
    }
    return undefined;
  }

  /**
   * Where the function may begin that a job's place lies in, nearest first: the interpreter has been there. `needed` is
   * the place then.
   */
  private *functionStarts(job: RegionJob): Generator<{ start: RegionJob; needed: number }> {
    const { page, offset, around, tables } = job;
    if (tables === undefined) return;
    const pages = [this.pageNumber(job, -1), page];
    const bytes = new Uint8Array(2 * PAGE_BYTES);
    pages.forEach((number, index) => {
      if (number !== undefined) bytes.set(this.pageBytes(number), index * PAGE_BYTES);
    });
    const place = PAGE_BYTES + offset;
    if (beginsFunction(bytes, place)) return;
    let tries = 0;
    const lowest = Math.max(place - MAXIMUM_FUNCTION_BYTES, FUNCTION_ALIGNMENT_BYTES);
    for (let at = place - 1 - ((place - 1) % FUNCTION_ALIGNMENT_BYTES); at >= lowest; at -= FUNCTION_ALIGNMENT_BYTES) {
      if (!beginsFunction(bytes, at)) continue;
      const index = Math.floor(at / PAGE_BYTES);
      const number = pages[index];
      const table = number === undefined ? 0 : (tables[number] ?? 0);
      const record = table === 0 ? 0 : this.recordAt(table + (at % PAGE_BYTES) * 4);
      if (number === undefined || record === 0) continue;
      // It has a region without the place, which is on a way that it had not gone by then.
      if (this.view.getUint16(record + RECORD.handler, true) >= FIRST_REGION) return;
      const delta = index - 1;
      const home = delta === 0 ? around : { ...around!, linear: around!.linear + BigInt(delta * PAGE_BYTES) };
      const start = { ...job, page: number, offset: at % PAGE_BYTES, around: home };
      yield { start, needed: offset - delta * PAGE_BYTES };
      if (++tries === MAXIMUM_FUNCTION_TRIES) return;
    }
  }

  private pageBytes(page: number): Uint8Array {
    const from = GUEST_RAM_OFFSET + page * PAGE_BYTES;
    return this.guest.subarray(from, from + PAGE_BYTES);
  }

  private form(job: RegionJob, needed = job.offset): FormedRegion | undefined {
    const code: CodeBytes[] = [];
    const pages = new Map<number, CopiedPage | undefined>();
    let copied = 0;
    const pageAt = (delta: number): CopiedPage | undefined => {
      if (pages.has(delta)) return pages.get(delta);
      const page = copied === MAXIMUM_PAGES ? undefined : this.pageNumber(job, delta);
      let found: CopiedPage | undefined;
      // The same page in two places would need two sets of addresses.
      if (page !== undefined && [...pages.values()].every((other) => other?.page !== page)) {
        const bytes = this.buffers[copied++]!;
        bytes.set(this.pageBytes(page));
        found = { page, bytes, sum: sumOfWords(new Int32Array(bytes.buffer), 0) };
      }
      pages.set(delta, found);
      return found;
    };
    const decode = (offset: number): Instruction | undefined => {
      const delta = Math.floor(offset / PAGE_BYTES);
      const bytes = pageAt(delta)?.bytes;
      if (bytes === undefined) return undefined;
      const at = offset - delta * PAGE_BYTES;
      const left = PAGE_BYTES - at;
      let found = this.decode(bytes, at, left, 64);
      if (found === 'truncated') {
        const behind = pageAt(delta + 1)?.bytes;
        if (behind === undefined) return undefined;
        this.joined.set(bytes.subarray(at));
        this.joined.set(behind.subarray(0, MAXIMUM_INSTRUCTION_BYTES), left);
        found = this.decode(this.joined, 0, left + MAXIMUM_INSTRUCTION_BYTES, 64);
      }
      return typeof found === 'string' ? undefined : found;
    };
    const tableAt = (offset: number): number => {
      const page = pageAt(Math.floor(offset / PAGE_BYTES))?.page;
      return page === undefined ? 0 : (job.tables?.[page] ?? 0);
    };
    const source = {
      decode,
      taken: (offset: number) => job.tables === undefined || this.hasBeenTaken(job, tableAt(offset), offset),
      landings: (offset: number) => this.landings(job, tableAt(offset), offset),
    };
    const region = formRegion(source, job.offset, job.single, needed);
    if (region === undefined) return undefined;
    this.gather(region.spans, pages, code);
    if (!job.single) this.cover(region.spans, pages);
    return { page: job.page, region, code };
  }

  private pageNumber({ page, around }: RegionJob, delta: number): number | undefined {
    if (delta === 0) return page;
    if (around === undefined || Math.abs(delta) > MAXIMUM_DISTANCE_PAGES) return undefined;
    const linear = around.linear + BigInt(delta * PAGE_BYTES);
    // Nothing lies beyond either end of what is canonical, nor on the other side of it.
    if (BigInt.asIntN(48, linear) !== BigInt.asIntN(64, linear)) return undefined;
    return walkCode(this.words, this.ramBytes, around, linear);
  }

  /** Whether the branch at an offset has been taken, as its record in the page's table tells. */
  private hasBeenTaken({ untaken }: RegionJob, table: number, offset: number): boolean {
    if (table === 0) return false;
    const record = this.recordAt(table + (offset & (PAGE_BYTES - 1)) * 4);
    if (record === 0) return false;
    const isRegion = this.view.getUint16(record + RECORD.handler, true) >= FIRST_REGION;
    const own = isRegion ? this.recordAt(record + RECORD.link) : record;
    return own !== 0 && this.view.getInt32(own + BRANCH_COUNT, true) !== untaken;
  }

  /**
   * Places in the page of an offset where indirect jumps have gone. The counters are hashed by the low bits of the
   * address, so that some are other pages' places.
   */
  private landings({ heat }: RegionJob, table: number, offset: number): number[] {
    if (table === 0 || heat === 0) return [];
    const page = offset - (offset & (PAGE_BYTES - 1));
    const found: { at: number; count: number }[] = [];
    for (let at = 0; at < PAGE_BYTES; at++) {
      const count = this.view.getUint32(heat + at * 4, true);
      if (count > 0 && this.recordAt(table + at * 4) !== 0) found.push({ at: at + page, count });
    }
    return found.sort((a, b) => b.count - a.count).map(({ at }) => at);
  }

  /** The record that a word names. Its processor may be using that memory for something else by now. */
  private recordAt(hostOffset: number): number {
    const record = this.view.getUint32(hostOffset, true);
    return record < GUEST_RAM_OFFSET ? record : 0;
  }

  /** Joins what the instructions lie in to runs of bytes, each within a page. */
  private gather(spans: Region['spans'], pages: ReadonlyMap<number, CopiedPage | undefined>, code: CodeBytes[]): void {
    let first = 0;
    let end = 0;
    const add = (): void => {
      while (first < end) {
        const delta = Math.floor(first / PAGE_BYTES);
        const until = Math.min(end, (delta + 1) * PAGE_BYTES);
        const { page, bytes } = pages.get(delta)!;
        const offset = first - delta * PAGE_BYTES;
        code.push({ delta, page, offset, bytes: bytes.slice(offset, until - delta * PAGE_BYTES) });
        first = until;
      }
    };
    for (const span of spans.toSorted((a, b) => a.first - b.first)) {
      if (span.first > end || first === end) {
        add();
        first = span.first;
        end = span.end;
      }
      end = Math.max(end, span.end);
    }
    add();
  }
}

/** Tells contents of a page from others, well enough for what is no more than a guess. */
function sumOfWords(words: Int32Array, first: number): number {
  let sum = 0;
  for (let at = first; at < first + PAGE_BYTES / 4; at++) sum = (Math.imul(sum, 31) + words[at]!) | 0;
  return sum;
}
