// What the suite compares: a program that boots a Linux guest to a shell on its standard input and output.

import type { OverlayFile } from '../../src/images/overlay.ts';

export type Architecture = 'amd64' | 'i386';

export interface CommandLine {
  file: string;
  args: readonly string[];
  /** Beside the process's own. */
  environment?: Readonly<Record<string, string>>;
  /** Answers a message on its channel with its counters (`Counters` in guest.ts): a Node program. */
  answersCounters?: boolean;
  /** The guest's time-stamp counter counts instructions. */
  countsInTimeStamp?: boolean;
  /** Where it writes its counters at SIGUSR2, if it catches that. */
  countersFile?: string;
}

/** What is compared, for the record. */
export interface PeerDescription {
  version: string;
  kernel: string;
}

export interface Peer {
  readonly name: string;
  readonly architecture: Architecture;
  /** Why it cannot run on this host, as one line that says what to do; undefined where it can. */
  whyUnavailable(): Promise<string | undefined>;
  /**
   * Fetches and writes what its guests need, with these files in the guest's file system; `folder` is its own to use.
   * Every start of the result is one guest with GUEST_MEMORY_MEBIBYTES and one processor.
   */
  prepare(files: readonly OverlayFile[], folder: string): Promise<CommandLine>;
  /** After `prepare`. */
  describe(): Promise<PeerDescription>;
}

export const GUEST_MEMORY_MEBIBYTES = 512;
