// Decides what is translated. Where generated code polls is a sample of where the time goes: a place that turns up
// often becomes a region, which is put into the page's table of records in front of the interpreter's own record.
// Translation itself happens elsewhere (translation.ts), or here at once where there is no elsewhere.

import type { BatchTranslator } from './batch-translator.ts';
import type { CodePage, RegionPage } from './code-cache.ts';
import type { HandlerTable } from './handler-table.ts';
import { codeBytesOf, RegionModules } from './region-modules.ts';
import type {
  CodeAround,
  CodeBytes,
  RegionJob,
  TranslatedBatch,
  TranslatedRegion,
  TranslationPort,
} from './translation.ts';

/** Counts of polls and jumps from before say nothing of what is hot now: a place that took minutes to come to them. */
const PERIOD_MS = 10_000;

/** What an eviction leaves of the machine code that may be kept. */
const KEPT_SHARE = 0.75;

export interface TranslatorParts {
  readonly handlers: HandlerTable;
  readonly batches: BatchTranslator;
  /** Where translation happens; undefined for here and at once. */
  readonly port: TranslationPort | undefined;
  /** Polls at one place before it is translated. */
  readonly threshold: number;
  /** As so many count the one that sample() hears of. */
  readonly pollsPerSample: number;
  /** RegionJob.untaken and RegionJob.heat. */
  readonly untaken: number;
  readonly heat: number;
  /** Lets the counters there begin anew, those that have counted anything by 1. */
  cool(): void;
  /** The table of 64-bit code in a page of RAM; undefined when the pool of records is full. */
  codePage(page: number): CodePage | undefined;
  /** RegionJob.tables. */
  readonly tables: Uint32Array;
  /** Whether memory holds these bytes at an offset of a page; from now on a store there makes the code stale. */
  watchCode(page: CodePage, offset: number, bytes: Uint8Array): boolean;
  /**
   * Puts a region in front of the record at `offset`, or in the place of the one there, whose handler is gone then;
   * false when the pool of records is full.
   */
  install(page: CodePage, offset: number, job: RegionJob, others: readonly RegionPage[]): boolean;
  /** Takes regions out of the tables of records. */
  removeRegions(handlers: ReadonlySet<number>): void;
  /** Machine code of regions to be kept at most. */
  readonly maximumCodeBytes: number;
}

/** Sums since the beginning. */
export interface TranslatorStatistics {
  regions: number;
  /** Guest instructions in them. */
  translatedInstructions: number;
  /** Places whose first instruction cannot be in a region. */
  refusedRegions: number;
  /** Places that another region had in its middle: they are translated when they are hot once more. */
  postponedRegions: number;
  /** Regions whose code had changed before they were there. */
  staleRegions: number;
  /** Regions whose code has changed since, and regions that made room for others. */
  goneRegions: number;
  evictedRegions: number;
  /** Regions that have been translated again. */
  replacedRegions: number;
  modules: number;
  wasmBytes: number;
  /** Of machine code, as an estimate. */
  codeBytes: number;
  emitMs: number;
  compileMs: number;
  /** Spent on the processor's own thread to make the regions part of it. */
  installMs: number;
}

export class Translator {
  private readonly parts: TranslatorParts;
  /** Requested, not yet collected: by handler, and whether they are by place. */
  private readonly waiting = new Map<number, RegionJob>();
  private readonly waitingPlaces = new Set<number>();
  private readonly modules = new RegionModules();
  private crowded = false;
  private period = 0;
  private readonly sampledIn = new WeakMap<CodePage, number>();
  readonly statistics: TranslatorStatistics = {
    regions: 0,
    translatedInstructions: 0,
    refusedRegions: 0,
    postponedRegions: 0,
    staleRegions: 0,
    goneRegions: 0,
    evictedRegions: 0,
    replacedRegions: 0,
    modules: 0,
    wasmBytes: 0,
    codeBytes: 0,
    emitMs: 0,
    compileMs: 0,
    installMs: 0,
  };

  constructor(parts: TranslatorParts) {
    this.parts = parts;
  }

  get regions(): number {
    return this.statistics.regions;
  }

  /** Generated code polls at `offset` of the page, as one of several polls. True when that made it a region. */
  sample(page: CodePage, offset: number, around: CodeAround): boolean {
    const { threshold, pollsPerSample, port } = this.parts;
    this.beginPeriod(page);
    const before = page.samples.get(offset) ?? 0;
    page.samples.set(offset, before + pollsPerSample);
    const isHot = before < threshold && before + pollsPerSample >= threshold;
    return isHot && this.translate(page, offset, around, port);
  }

  /** Forgets what has been counted in the periods before. */
  private beginPeriod(page: CodePage): void {
    const { threshold, cool } = this.parts;
    const period = Math.floor(performance.now() / PERIOD_MS);
    if (period !== this.period) cool();
    this.period = period;
    if (this.sampledIn.get(page) === period) return;
    this.sampledIn.set(page, period);
    for (const [offset, count] of page.samples) if (count < threshold) page.samples.delete(offset);
  }

  /** The place has been jumped to often. */
  heated(page: CodePage, offset: number, around: CodeAround): void {
    const { port, threshold } = this.parts;
    if ((page.samples.get(offset) ?? 0) >= threshold) return;
    page.samples.set(offset, threshold);
    this.translate(page, offset, around, port);
  }

  /** Translates a place that has not been tried yet. */
  translateOnce(page: CodePage, offset: number, around: CodeAround): void {
    if (page.samples.has(offset)) return;
    page.samples.set(offset, 1);
    this.translate(page, offset, around, undefined);
  }

  /** A region of the instruction at `offset` alone, for a single step; 0 when it cannot be translated. */
  translateSingle(page: CodePage, offset: number): number {
    const { handlers, batches } = this.parts;
    if (page.codeSize !== 64) return 0;
    const place = { handler: handlers.scratchPlace, offset, page: page.page, around: undefined };
    const job: RegionJob = { ...place, single: true, insists: true, tables: undefined, heat: 0, untaken: 0 };
    const { module } = batches.translate([job]);
    if (module === undefined) return 0;
    handlers.instantiateRegions(module);
    return job.handler;
  }

  /** Makes what has been translated elsewhere part of the processor. */
  collect(): void {
    const { port } = this.parts;
    if (port === undefined) return;
    for (const batch of port.collect()) this.installBatch(batch);
  }

  /** What is in use now. */
  get levels(): { liveModules: number; liveCodeBytes: number } {
    return { liveModules: this.modules.size, liveCodeBytes: this.modules.codeBytes };
  }

  /** There is no room for more regions: evict() is wanted. */
  get isCrowded(): boolean {
    return this.crowded;
  }

  /** The region with this handler is at work. */
  used(handler: number): void {
    this.modules.used(handler);
  }

  /** A region's code has changed: no record names its handler any more. */
  regionGone(handler: number): void {
    this.statistics.goneRegions++;
    this.release(handler);
  }

  /** The region has been translated again: no record names this handler any more. */
  regionReplaced(handler: number): void {
    this.statistics.replacedRegions++;
    this.release(handler);
  }

  /** Makes room. No generated code may be on the stack. */
  evict(): void {
    const handlers = this.modules.leastUsed(this.parts.maximumCodeBytes * KEPT_SHARE);
    this.parts.removeRegions(handlers);
    for (const handler of handlers) this.release(handler);
    this.statistics.evictedRegions += handlers.size;
    this.crowded = false;
  }

  /** Lets go of every region. No record may name one any more. */
  dropRegions(): void {
    for (const handler of this.modules.handlers()) this.release(handler);
    this.crowded = false;
  }

  private release(handler: number): void {
    this.modules.remove(handler);
    this.parts.handlers.releasePlace(handler);
  }

  private translate(page: CodePage, offset: number, around: CodeAround, port: TranslationPort | undefined): boolean {
    const { handlers, batches, threshold, untaken, heat } = this.parts;
    const place = placeOf(page.page, offset);
    if (page.codeSize !== 64 || this.waitingPlaces.has(place)) return false;
    const handler = handlers.takePlace();
    if (handler === undefined) {
      // It may be asked for again.
      page.samples.delete(offset);
      this.crowded = true;
      return false;
    }
    const insists = threshold === 0 || page.postponed.has(offset);
    // What is translated before it runs has no past to go by.
    const past = threshold === 0 ? { tables: undefined, heat: 0 } : { tables: this.parts.tables, heat };
    const job: RegionJob = { handler, offset, page: page.page, single: false, insists, around, ...past, untaken };
    this.waiting.set(handler, job);
    this.waitingPlaces.add(place);
    if (port !== undefined) {
      port.request(job);
      return false;
    }
    const before = this.statistics.regions;
    this.installBatch(batches.translate([job]));
    return this.statistics.regions > before;
  }

  private installBatch(batch: TranslatedBatch): void {
    const startMs = performance.now();
    const { statistics } = this;
    const { handlers } = this.parts;
    for (const handler of batch.refused) {
      statistics.refusedRegions++;
      this.forget(handler);
      handlers.releasePlace(handler);
    }
    for (const handler of batch.postponed) {
      statistics.postponedRegions++;
      this.postpone(this.forget(handler));
      handlers.releasePlace(handler);
    }
    if (batch.module !== undefined) handlers.instantiateRegions(batch.module);
    const installed: number[] = [];
    for (const region of batch.regions) {
      const job = this.forget(region.handler);
      if (this.install(job, region)) {
        installed.push(region.handler);
        statistics.regions++;
        statistics.translatedInstructions += region.instructions;
        if (region.page !== job.page || region.offset !== job.offset) this.postpone(job);
      } else {
        handlers.releasePlace(region.handler);
      }
    }
    this.modules.add(installed, batch.wasmBytes);
    if (this.modules.codeBytes > this.parts.maximumCodeBytes) this.crowded = true;
    statistics.codeBytes += codeBytesOf(batch.wasmBytes);
    statistics.modules += batch.module === undefined ? 0 : 1;
    statistics.wasmBytes += batch.wasmBytes;
    statistics.emitMs += batch.emitMs;
    statistics.compileMs += batch.compileMs;
    statistics.installMs += performance.now() - startMs;
  }

  private install(job: RegionJob, region: TranslatedRegion): boolean {
    const { parts } = this;
    const pages = new Map<number, CodePage>();
    const pageAt = (delta: number, number: number): CodePage | undefined => {
      const page = pages.get(delta) ?? parts.codePage(number);
      if (page !== undefined) pages.set(delta, page);
      return page;
    };
    const home = pageAt(0, region.page);
    if (home === undefined) return false;
    const isCurrent = ({ delta, page: number, offset, bytes }: CodeBytes): boolean => {
      const page = pageAt(delta, number);
      return page !== undefined && parts.watchCode(page, offset, bytes);
    };
    if (!region.code.every(isCurrent)) {
      this.statistics.staleRegions++;
      parts.codePage(job.page)?.samples.delete(job.offset);
      return false;
    }
    home.samples.set(region.offset, parts.threshold);
    pages.delete(0);
    return parts.install(
      home,
      region.offset,
      job,
      [...pages].map(([delta, codePage]) => ({ delta, codePage })),
    );
  }

  /** Another region has this place in its middle: one that begins there is made when it is asked for again. */
  private postpone({ page, offset }: RegionJob): void {
    const codePage = this.parts.codePage(page);
    codePage?.samples.delete(offset);
    codePage?.postponed.add(offset);
  }

  private forget(handler: number): RegionJob {
    const job = this.waiting.get(handler);
    if (job === undefined) throw new Error('a region that nobody has asked for');
    this.waiting.delete(handler);
    this.waitingPlaces.delete(placeOf(job.page, job.offset));
    return job;
  }
}

function placeOf(page: number, offset: number): number {
  return page * 4096 + offset;
}
