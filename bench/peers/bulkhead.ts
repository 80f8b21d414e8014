// Bulkhead as its users run it: the command line of this checkout. The files come in an initramfs, as symbolic links
// are among them, which --file does not bring.

import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { debianImage, writeInitrd } from './debian-guest.ts';
import { GUEST_MEMORY_MEBIBYTES, type Peer } from './peer.ts';

/** Makes the process write its engine's counters to that file, at SIGUSR2 and at its end. */
const STATISTICS_VARIABLE = 'BULKHEAD_STATISTICS';

const root = fileURLToPath(new URL('../..', import.meta.url));

export const bulkhead: Peer = {
  name: 'bulkhead',
  architecture: 'amd64',
  whyUnavailable: async () => undefined,
  async prepare(files, folder) {
    const image = await debianImage();
    const countersFile = join(folder, 'statistics.json');
    return {
      file: process.execPath,
      args: [
        ...[join(root, 'bin/bulkhead.js'), 'run', '--engine', 'software', '--memory', `${GUEST_MEMORY_MEBIBYTES}M`],
        ...['--kernel', image.kernelPath, '--initrd', writeInitrd(image, files, folder)],
        ...['--append', image.defaultCommandLine],
      ],
      environment: { [STATISTICS_VARIABLE]: countersFile },
      countersFile,
    };
  },
  async describe() {
    return { version: await checkoutVersion(), kernel: (await debianImage()).kernelVersion };
  },
};

/** The commit, and whether there is more than it in the source. */
async function checkoutVersion(): Promise<string> {
  const git = async (...args: string[]) => (await promisify(execFile)('git', args, { cwd: root })).stdout.trim();
  try {
    const changed = await git('status', '--porcelain', '--', 'src', 'bin');
    return `${await git('rev-parse', '--short', 'HEAD')}${changed === '' ? '' : ' with uncommitted changes'}`;
  } catch {
    return 'not a git checkout';
  }
}
