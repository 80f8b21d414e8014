// From places in guest memory to one WebAssembly module. Reads the guest's code without its processor's help, so that
// it may run on any thread that has the memory: whoever installs the result compares the bytes.

import type { Decode } from '../../decode/decoder.ts';
import type { Instruction } from '../../decode/instruction.ts';
import { FIRST_REGION, importLazily } from '../../emit/imports.ts';
import { BRANCH_COUNT, RECORD } from '../../emit/record.ts';
import { emitRegion } from '../../emit/region.ts';
import { ModuleWriter } from '../../wasm/encoder.ts';
import { GUEST_RAM_OFFSET } from './layout.ts';
import { formRegion, type Region } from './region-former.ts';
import { type CodeBytes, REACH, type RegionJob, type TranslatedBatch, type TranslatedRegion } from './translation.ts';

const PAGE_BYTES = 4096;
const PAGES = 2 * REACH + 1;

export class BatchTranslator {
  private readonly guest: Uint8Array;
  private readonly view: DataView;
  private readonly maximumPages: number;
  private readonly decode: Decode;
  /** The pages of a job side by side, as they were when it first looked at each. */
  private readonly copy = new Uint8Array(PAGES * PAGE_BYTES);

  constructor(memory: WebAssembly.Memory, decode: Decode) {
    this.guest = new Uint8Array(memory.buffer);
    this.view = new DataView(memory.buffer);
    this.maximumPages = memory.buffer.byteLength / 65536;
    this.decode = decode;
  }

  /** `maximum`: instructions in a region at most. */
  translate(jobs: readonly RegionJob[], maximum?: number): TranslatedBatch {
    const startMs = performance.now();
    const writer = new ModuleWriter();
    const imports = importLazily(writer, this.maximumPages);
    const regions: TranslatedRegion[] = [];
    const refused: number[] = [];
    const bodies = [];
    for (const job of jobs) {
      const code: CodeBytes[] = [];
      const region = this.form(job, code, maximum);
      if (region === undefined) {
        refused.push(job.handler);
        continue;
      }
      const body = emitRegion(imports, region);
      bodies.push({ handler: job.handler, entry: region.entry, body });
      regions.push({ handler: job.handler, instructions: region.spans.length, code });
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
    return { module, regions, refused, wasmBytes: bytes.length, emitMs: emittedMs - startMs, compileMs };
  }

  private form(job: RegionJob, code: CodeBytes[], maximum: number | undefined): Region | undefined {
    const { copy, guest } = this;
    const present: (boolean | undefined)[] = [];
    const has = (delta: number): boolean => {
      const position = delta + REACH;
      const page = job.pages[position] ?? -1;
      // The same page in two places would need two sets of addresses.
      present[position] ??= page >= 0 && (delta === 0 || job.pages[REACH] !== page) && !isTaken(job, present, page);
      return present[position];
    };
    const read = new Set<number>();
    const ensure = (delta: number): boolean => {
      if (read.has(delta)) return true;
      if (!has(delta)) return false;
      read.add(delta);
      const from = GUEST_RAM_OFFSET + job.pages[delta + REACH]! * PAGE_BYTES;
      copy.set(guest.subarray(from, from + PAGE_BYTES), (delta + REACH) * PAGE_BYTES);
      return true;
    };
    const decode = (offset: number): Instruction | undefined => {
      const delta = Math.floor(offset / PAGE_BYTES);
      if (!ensure(delta)) return undefined;
      const at = offset + REACH * PAGE_BYTES;
      const left = PAGE_BYTES - (offset - delta * PAGE_BYTES);
      let found = this.decode(copy, at, left, 64);
      if (found === 'truncated' && ensure(delta + 1)) found = this.decode(copy, at, left + PAGE_BYTES, 64);
      return typeof found === 'string' ? undefined : found;
    };
    const source = {
      decode,
      taken: (offset: number) => this.hasBeenTaken(job, offset),
      landings: (offset: number) => this.landings(job, offset),
    };
    const region = formRegion(source, job.offset, maximum);
    if (region !== undefined) this.gather(region.spans, code);
    return region;
  }

  /** Whether the branch at an offset has been taken, as its record tells. */
  private hasBeenTaken({ tables, untaken }: RegionJob, offset: number): boolean {
    if (tables === undefined) return true;
    const delta = Math.floor(offset / PAGE_BYTES);
    const table = tables[delta + REACH]!;
    if (table === 0) return false;
    const record = this.recordAt(table + (offset - delta * PAGE_BYTES) * 4);
    if (record === 0) return false;
    const isRegion = this.view.getUint16(record + RECORD.handler, true) >= FIRST_REGION;
    const own = isRegion ? this.recordAt(record + RECORD.link) : record;
    return own !== 0 && this.view.getInt32(own + BRANCH_COUNT, true) !== untaken;
  }

  /**
   * Places in the page of an offset where indirect jumps have gone. The counters are hashed by the low bits of the
   * address, so that some are other pages' places.
   */
  private landings({ tables, heat }: RegionJob, offset: number): number[] {
    const delta = Math.floor(offset / PAGE_BYTES);
    const table = tables?.[delta + REACH] ?? 0;
    if (table === 0 || heat === 0) return [];
    const found: { at: number; count: number }[] = [];
    for (let at = 0; at < PAGE_BYTES; at++) {
      const count = this.view.getUint32(heat + at * 4, true);
      if (count > 0 && this.recordAt(table + at * 4) !== 0) found.push({ at: at + delta * PAGE_BYTES, count });
    }
    return found.sort((a, b) => b.count - a.count).map(({ at }) => at);
  }

  /** The record that a word names. Its processor may be using that memory for something else by now. */
  private recordAt(hostOffset: number): number {
    const record = this.view.getUint32(hostOffset, true);
    return record < GUEST_RAM_OFFSET ? record : 0;
  }

  /** Joins what the instructions lie in to runs of bytes, each within a page. */
  private gather(spans: Region['spans'], code: CodeBytes[]): void {
    const home = REACH * PAGE_BYTES;
    let first = -1;
    let end = -1;
    const add = (): void => {
      while (first < end) {
        const page = Math.floor(first / PAGE_BYTES);
        const until = Math.min(end, (page + 1) * PAGE_BYTES);
        code.push({ delta: page - REACH, offset: first - page * PAGE_BYTES, bytes: this.copy.slice(first, until) });
        first = until;
      }
    };
    for (const span of spans.toSorted((a, b) => a.first - b.first)) {
      if (home + span.first > end) {
        add();
        first = home + span.first;
      }
      end = Math.max(end, home + span.end);
    }
    add();
  }
}

/** Whether a page has been taken for another place already. */
function isTaken(job: RegionJob, present: readonly (boolean | undefined)[], page: number): boolean {
  return present.some((taken, position) => taken === true && job.pages[position] === page);
}
