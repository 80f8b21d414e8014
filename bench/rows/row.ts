// A row of the suite: one piece of guest work, the same on every peer, that checks its own result.

import type { GuestProgram } from '../guest-programs.ts';

/**
 * How much work a row does: `quick` to see that everything runs; `standard` so that an interpreter needs no more than
 * some 15 seconds; `full` to compare translators.
 */
export type Mode = 'quick' | 'standard' | 'full';

export interface Row {
  name: string;
  summary: string;
  /** Compiled for the guest's architecture, and found there as /bench/program-<source>. */
  program?: GuestProgram;
  /** Shell commands before the clock starts. */
  setUp?: string;
  /** The measured shell commands. */
  work: string;
  /** What the work must print, without the last newline. */
  expected: string;
  /** Guest instructions of the work, where they are known. */
  instructions?: number;
}
