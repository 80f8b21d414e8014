// Bulkhead as its users run it: the command line of this checkout.

import { execFile } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { resolveImage } from '../../src/images/images.ts';
import { GUEST_MEMORY_MEBIBYTES, type Peer } from './peer.ts';

export const IMAGE = 'debian';

const root = fileURLToPath(new URL('../..', import.meta.url));

export const bulkhead: Peer = {
  name: 'bulkhead',
  architecture: 'amd64',
  whyUnavailable: async () => undefined,
  async prepare(files, folder) {
    await resolveImage(IMAGE);
    const fileArguments = files.flatMap(({ path, data }) => {
      const hostPath = join(folder, basename(path));
      writeFileSync(hostPath, data);
      return ['--file', `${hostPath}:${path}`];
    });
    const command = ['run', IMAGE, '--offline', '--memory', `${GUEST_MEMORY_MEBIBYTES}M`, ...fileArguments];
    return { file: process.execPath, args: [join(root, 'bin/bulkhead.js'), ...command] };
  },
  async describe() {
    return { version: await checkoutVersion(), kernel: (await resolveImage(IMAGE)).kernelVersion };
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
