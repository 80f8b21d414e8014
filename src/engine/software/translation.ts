// What a processor and whoever translates for it tell each other: places in guest memory go one way, compiled
// WebAssembly with the bytes that it was made from comes back. All of it passes from thread to thread as it is.

import type { CodeSpace } from './code-walk.ts';

/** A hot place of 64-bit code. */
export interface RegionJob {
  /** Where its function goes in the table of handlers; no two jobs at one time have the same. */
  readonly handler: number;
  /** Of its first instruction in the page. */
  readonly offset: number;
  /** Number of the physical page. */
  readonly page: number;
  /** Of one instruction, for a single step. */
  readonly single: boolean;
  /** Asked for again: a region is wanted that begins there, even where another one has this place in its middle. */
  readonly insists: boolean;
  /** Where that is in the guest's addresses, and what else is there; undefined for that page alone. */
  readonly around: CodeAround | undefined;
  /**
   * Host offsets of the tables of records of every page of RAM, 0 where there is none. Undefined: every branch may be
   * taken.
   */
  readonly tables: Uint32Array | undefined;
  /** Host offset of the counters of where indirect jumps go (HEAT); 0: not to be looked at. */
  readonly heat: number;
  /** The count in the record of a conditional branch that has never been taken (BRANCH_COUNT). */
  readonly untaken: number;
}

/** A page of code as the guest's addresses have it now. */
export interface CodeAround extends CodeSpace {
  /** Linear address of the page. */
  readonly linear: bigint;
}

/** Code that a region was made from. */
export interface CodeBytes {
  /** Pages from the region's first, and the physical page's number. */
  readonly delta: number;
  readonly page: number;
  readonly offset: number;
  readonly bytes: Uint8Array;
}

export interface TranslatedRegion {
  readonly handler: number;
  /** Where it begins: the job's place, or the beginning of the function that this lies in. */
  readonly page: number;
  readonly offset: number;
  readonly instructions: number;
  /** Within one page each. */
  readonly code: readonly CodeBytes[];
}

/** One module, whose instance puts the regions' functions into the table of handlers. */
export interface TranslatedBatch {
  /** Undefined when no region came of the jobs. */
  readonly module: WebAssembly.Module | undefined;
  readonly regions: readonly TranslatedRegion[];
  /** Handlers of the jobs whose very first instruction cannot be in a region. */
  readonly refused: readonly number[];
  /** Handlers of the jobs whose places another region has in its middle, so that they may well cool down. */
  readonly postponed: readonly number[];
  readonly wasmBytes: number;
  /** Time that it took to write the module, and to compile it. */
  readonly emitMs: number;
  readonly compileMs: number;
}

/** Translates on another thread. A processor without one does it by itself, at once. */
export interface TranslationPort {
  request(job: RegionJob): void;
  /** What has been translated since the last call. Cheap when there is nothing: it is called at every poll. */
  collect(): readonly TranslatedBatch[];
}
