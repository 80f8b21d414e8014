// A row of the suite: one piece of guest work, the same on every peer, that checks its own result.

import type { OverlayFile } from '../../src/images/overlay.ts';
import type { GuestProgram } from '../guest-programs.ts';

/**
 * How much work a row does: `quick` to see that everything runs; `short` so that an interpreter needs no more than some
 * 15 seconds; `standard` to compare translators, and what the targets are meant for.
 */
export type Mode = 'quick' | 'short' | 'standard';

export type Group = 'boot' | 'loop' | 'hash' | 'sort' | 'float' | 'shell' | 'python' | 'sqlite' | 'compile' | 'switch';

/** What a row's own program prints on the host's processor. */
export type HostOutput = (program: GuestProgram) => Promise<Buffer>;

export interface Row {
  name: string;
  group: Group;
  summary: string;
  /** Compiled for the guest's architecture, and found there as /bench/<name>. */
  programs?: readonly GuestProgram[];
  /** Debian packages that the guest has, with what they depend on. */
  packages?: readonly string[];
  files?: readonly OverlayFile[];
  /** Shell commands before the clock starts. */
  setUp?: string;
  /** The measured shell commands. */
  work: string;
  /** Shell commands after the clock has stopped. */
  cleanUp?: string;
  /** What the work must print, without the last newline. */
  expected: string | ((hostOutput: HostOutput) => Promise<string>);
  /** What the work does, to tell how many a second. */
  operations?: { what: string; count: number };
  /** By name of a peer: why it does not run the row. */
  skip?: Readonly<Record<string, string>>;
}

/** The row of one program, which the host runs too for what it must print. */
export function programRow(row: Omit<Row, 'programs' | 'work' | 'expected'>, program: Omit<GuestProgram, 'name'>): Row {
  const named = { ...program, name: row.name };
  return {
    ...row,
    programs: [named],
    work: `/bench/${row.name}`,
    expected: async (hostOutput) => (await hostOutput(named)).toString().trimEnd(),
  };
}
