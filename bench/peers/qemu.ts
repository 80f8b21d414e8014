// QEMU's system emulator with its translator (TCG), on the leanest machine that it has.

import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { UserError } from '../../src/base/errors.ts';
import { debianImage, writeInitrd } from './debian-guest.ts';
import { GUEST_MEMORY_MEBIBYTES, type Peer } from './peer.ts';

const PROGRAM = 'qemu-system-x86_64';
/** Without PIT and PIC, Linux finds nothing to calibrate the time-stamp counter with, and hangs. */
const MACHINE = 'microvm,pit=on,pic=on,rtc=on';
/**
 * With CMPXCHG16B, Linux 6.12 now and then fails on the translator of QEMU 7.2; it does without where there is none.
 */
const PROCESSOR = 'qemu64,-cx16';

/** Kernel options, known after `prepare`. */
let timeStampOptions = '';

/** A nanosecond of the guest's time is an instruction, and its time-stamp counter counts them. */
const COUNTING_OPTIONS = ['-icount', 'shift=0,sleep=off'];
const COUNTING_TIME_STAMP_OPTIONS = 'tsc=reliable tsc_early_khz=1000000';

export const qemu = qemuPeer({ counting: false });
/** Slower, and counts the guest's instructions. */
export const qemuCounting = qemuPeer({ counting: true });

function qemuPeer({ counting }: { counting: boolean }): Peer {
  return {
    name: 'qemu',
    architecture: 'amd64',
    async whyUnavailable() {
      const version = await programVersion();
      return version === undefined ? `${PROGRAM} is not installed: apt-get install qemu-system-x86` : undefined;
    },
    async prepare(files, folder) {
      const image = await debianImage();
      timeStampOptions = counting ? COUNTING_TIME_STAMP_OPTIONS : await kernelTimeStampOptions(folder);
      return {
        file: PROGRAM,
        countsInTimeStamp: counting,
        args: [
          ...(counting ? COUNTING_OPTIONS : []),
          ...['-M', MACHINE, '-accel', 'tcg', '-cpu', PROCESSOR, '-m', `${GUEST_MEMORY_MEBIBYTES}M`],
          ...['-nodefaults', '-no-user-config', '-display', 'none', '-serial', 'stdio', '-no-reboot'],
          ...[
            '-kernel',
            image.kernelPath,
            '-initrd',
            writeInitrd(image, files, folder),
            '-append',
            `${image.defaultCommandLine} ${timeStampOptions}`,
          ],
        ],
      };
    },
    async describe() {
      const program = (await programVersion()) ?? 'unknown';
      return {
        version: `${program}, -M ${MACHINE} -accel tcg -cpu ${PROCESSOR}; ${timeStampOptions}`,
        kernel: (await debianImage()).kernelVersion,
      };
    },
  };
}

/**
 * The guest sees the host's time-stamp counter, but the PIT late where the host is busy: it measures the one by the
 * other, gets a wrong frequency or none, and hangs or distrusts it. So its kernel is told.
 */
async function kernelTimeStampOptions(folder: string): Promise<string> {
  const program = join(folder, 'time-stamp-counter');
  const source = fileURLToPath(new URL('time-stamp-counter.c', import.meta.url));
  try {
    await promisify(execFile)('gcc', ['-O2', '-o', program, source]);
  } catch (error) {
    throw new UserError('the host has no working gcc, which the guest clock of QEMU needs', {
      hint: 'apt-get install gcc libc6-dev',
      cause: error,
    });
  }
  const { stdout } = await promisify(execFile)(program);
  return `tsc=reliable tsc_early_khz=${stdout.trim()}`;
}

async function programVersion(): Promise<string | undefined> {
  try {
    const { stdout } = await promisify(execFile)(PROGRAM, ['--version']);
    return /version (\S+)/.exec(stdout)?.[1] ?? stdout.trim();
  } catch {
    return undefined;
  }
}
