// `bulkhead debug`: tools for whoever works on Bulkhead itself.

import { writeSync } from 'node:fs';
import { Command } from 'commander';
import { EXIT_STATUS } from '../base/errors.ts';
import { DEFAULT_SLICE_JUMPS } from '../engine/software/lockstep/lockstep-vcpu.ts';
import { createOverlay } from '../images/overlay.ts';
import { DEFAULT_RAM_BYTES } from '../machine/config.ts';
import { type LockstepOutcome, type LockstepProgress, runLockstep } from '../vm/lockstep-run.ts';
import { parseMemorySize } from './memory-size.ts';
import { fetchImage, type Guest, imageGuest, ownGuest } from './run.ts';
import { type RunFlags, usageError } from './run-options.ts';
import { outcomeOfGuest } from './run-outcome.ts';

const EXAMPLES = `
Examples:
  bulkhead debug lockstep debian                     boot Debian to its shell on both
  bulkhead debug lockstep debian --verbose --until 'Freeing unused kernel'
  bulkhead debug lockstep debian --jumps 20M         only the first 20 million jumps
  bulkhead debug lockstep --kernel bzImage --initrd initrd.gz --append console=ttyS0 --until login:

Exit status:
  0   no difference until then           1   a difference, which is printed; or a file cannot be read
  2   a mistake on the command line      70  the guest crashed, or Bulkhead did, without a difference`;

/** What the shell of an image prints when it is ready. */
const SHELL_PROMPT = 'root@debian:~# ';
const PROGRESS_INTERVAL_MS = 5000;

interface LockstepFlags extends RunFlags {
  until?: string;
  jumps?: string;
  slice: string;
  translateAfter: string;
}

export function createDebugCommand(): Command {
  const collect = (value: string, list: string[] = []): string[] => [...list, value];
  const lockstep = new Command('lockstep')
    .summary('run interpreter and translator side by side')
    .description(
      'Boots a guest on the translator and, behind it, on the interpreter alone, compares registers and memory after ' +
        'every slice, and stops at the first difference. Takes some twenty times as long as a plain boot.',
    )
    .usage('[options] IMAGE | --kernel FILE [options]')
    .argument('[image]', 'guest image, such as debian or debian:12')
    .option('--until <text>', 'end with success when the console shows this; the shell prompt of an image')
    .option('--jumps <n>', 'end with success after so many jumps, such as 500K or 20M')
    .option('--kernel <file>', 'boot this kernel: bzImage, ELF (Linux, PVH) or Multiboot 1')
    .option('--initrd <file>', 'initrd, or boot module with arguments; repeat for more', collect)
    .option('--append <text>', "kernel command line; is added to an image's own")
    .option('--memory <size>', 'guest memory, such as 512M or 1G', `${DEFAULT_RAM_BYTES / 1024 ** 2}M`)
    .option('--slice <n>', "jumps between two polls: a slice's length", String(DEFAULT_SLICE_JUMPS))
    .option('--translate-after <n>', 'polls at one place before it is translated; 0 is before it first runs', '1')
    .option('--verbose', "show the kernel's messages")
    .option('--mirror <url>', "Debian mirror to make images from; the host's apt knows one by default")
    .option('--offline', 'do not use the network')
    .addHelpText('after', EXAMPLES)
    .action(async (image: string | undefined, flags: LockstepFlags) => {
      process.exit(await debugLockstep(image, flags));
    });
  return new Command('debug')
    .summary('find defects of Bulkhead itself')
    .description('Tools for whoever works on Bulkhead.')
    .addHelpText('after', '\nExamples:\n  bulkhead debug lockstep debian')
    .addCommand(lockstep);
}

/** A whole number, with K, M or G for powers of 1000. */
export function parseCount(option: string, text: string): number {
  const [, digits, unit] = /^(\d+)([KMG]?)$/i.exec(text) ?? [];
  const count = Number(digits) * 1000 ** ['', 'K', 'M', 'G'].indexOf((unit ?? '').toUpperCase());
  if (!Number.isSafeInteger(count)) throw usageError(`not a number: ${option} ${text}`, 'give one such as 4096 or 20M');
  return count;
}

async function debugLockstep(imageName: string | undefined, flags: LockstepFlags): Promise<number> {
  if ((imageName === undefined) === (flags.kernel === undefined)) {
    throw usageError('lockstep needs an image or --kernel, one of them', 'try bulkhead debug lockstep debian');
  }
  const sliceJumps = parseCount('--slice', flags.slice);
  if (sliceJumps < 1) throw usageError('a slice has one jump at least', 'try --slice 64');
  const until = flags.until ?? (imageName === undefined ? undefined : SHELL_PROMPT);
  if (until === undefined && flags.jumps === undefined) {
    throw usageError('nothing says when the run is over', 'give --until TEXT or --jumps N');
  }
  if (until === '') throw usageError('--until needs a text', "try --until 'login:'");
  const memoryBytes = parseMemorySize(flags.memory);
  const guest: Guest =
    imageName === undefined
      ? ownGuest(flags)
      : imageGuest(
          await fetchImage(imageName, flags),
          createOverlay({ options: { terminal: true }, files: [] }),
          flags,
        );
  let shownAtMs = Date.now();
  const outcome = runLockstep({
    config: {
      memoryBytes,
      kernel: guest.kernel,
      kernelName: guest.kernelName,
      initrds: guest.initrds,
      commandLine: guest.commandLine,
      serialPorts: 1,
      reboot: false,
    },
    settings: { sliceJumps },
    until,
    maximumTurns: flags.jumps === undefined ? Number.POSITIVE_INFINITY : parseCount('--jumps', flags.jumps),
    translateAfterSamples: parseCount('--translate-after', flags.translateAfter),
    onOutput: (bytes) => writeWhole(1, bytes),
    onProgress: (progress) => {
      if (Date.now() - shownAtMs < PROGRESS_INTERVAL_MS) return;
      shownAtMs = Date.now();
      print(`lockstep: ${describe(progress)}`);
    },
  });
  return conclude(outcome, until);
}

function describe({ slices, turns, adoptedPages, guestMs }: LockstepProgress): string {
  const millions = (turns / 1e6).toFixed(1);
  const adopted = adoptedPages === 0 ? '' : `, accessed bits set ahead in ${adoptedPages} pages`;
  return `${slices} slices, ${millions} million jumps, ${(guestMs / 1000).toFixed(2)} s of the guest's time${adopted}`;
}

/** Tells how it ended; gives the exit status. */
function conclude(outcome: LockstepOutcome, until: string | undefined): number {
  const { end } = outcome;
  switch (end.kind) {
    case 'difference':
      print(`\nbulkhead: ${end.difference.report}`);
      return EXIT_STATUS.failure;
    case 'text-shown':
    case 'turns-done':
      print(`\nlockstep: no difference in ${describe(outcome)}`);
      return EXIT_STATUS.ok;
    case 'guest-ended': {
      print(`\nlockstep: no difference in ${describe(outcome)}`);
      const { exitStatus, message } = outcomeOfGuest(end.exit);
      const missing = until === undefined ? '' : ` before its console showed ${JSON.stringify(until)}`;
      print(`bulkhead: the guest ended (${end.exit.kind})${missing}${message === undefined ? '' : `: ${message}`}`);
      return exitStatus;
    }
  }
}

const print = (line: string): void => writeWhole(2, new TextEncoder().encode(`${line}\n`));

/** The run keeps the thread to itself, so that streams would print at its end only. */
function writeWhole(descriptor: number, bytes: Uint8Array): void {
  for (let done = 0; done < bytes.length; ) {
    try {
      done += writeSync(descriptor, bytes, done);
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      if (code === 'EPIPE') process.exit(141);
      // A pipe that somebody made non-blocking is full for now.
      if (code !== 'EAGAIN') throw error;
    }
  }
}
