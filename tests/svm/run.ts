// `npm run test:svm`: the tests of KVM on a host whose KVM is whole. QEMU emulates a computer whose processor has
// SVM, in which Debian's kernel runs with its own KVM, and Node with this project. The stock kernel boots to its
// shell there, two levels down. What QEMU's processor does unlike a real one is not judged: the engine's suite is
// left out.

import { spawn, spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { packageFiles } from '../../bench/packages.ts';
import { resolveImage } from '../../src/images/images.ts';
import { createOverlay, type OverlayFile } from '../../src/images/overlay.ts';
import { fetchPackage } from '../../src/images/packages.ts';

const HELP = `Usage: npm run test:svm [-- TEST...]

Boots Debian in a computer with SVM that QEMU emulates, and runs tests of KVM in it; it takes some minutes and 3 GiB of
memory. It ends with 0 if all pass, 1 if not, 2 if it cannot be done here.

  TEST    test files (default: the boots, and what QEMU's emulation is exact enough for)
  --help  this text

Example:
  npm run test:svm -- tests/boot/kvm.test.ts`;

const TESTS = ['tests/boot/kvm.test.ts', 'tests/kvm/engine.test.ts', 'tests/kvm/examination.test.ts'];
const QEMU = 'qemu-system-x86_64';
/** V8's use of protection keys ends it on this processor. */
const MACHINE = '-M q35 -accel tcg -cpu max,-pku -smp 1 -m 3072 -nodefaults -display none -no-reboot';
const RELEASE = 'trixie';
const ARCHITECTURE = 'amd64';
const MODULES = ['irqbypass', 'kvm', 'kvm-amd'];
const TIME_LIMIT_MS = 20 * 60_000;
const END = /^tests ended with (\d+)\r?$/m;

const root = fileURLToPath(new URL('../..', import.meta.url));

const script = (tests: readonly string[]): string => `#!/bin/sh
mount -t proc proc /proc; mount -t sysfs sysfs /sys; mount -t devtmpfs dev /dev; mount -t tmpfs tmp /tmp
for module in ${MODULES.join(' ')}; do unxz /mod/$module.ko.xz && insmod /mod/$module.ko; done
cd /app
export HOME=/root NO_COLOR=1 PATH=/usr/bin:/bin
node bin/bulkhead.js doctor
status=0
for test in ${tests.join(' ')}; do
  node --test-reporter=spec $test || status=1
done
echo "tests ended with $status"
poweroff -f
`;

/** The files below a folder of the host's, at the same place below one of the guest's. */
function filesBelow(host: string, guest: string): OverlayFile[] {
  return readdirSync(host, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => {
      const path = join(entry.parentPath, entry.name);
      return { path: guest + path.slice(host.length), data: readFileSync(path), mode: 0o755 };
    });
}

/** What the project needs of node_modules when it runs. */
function dependencies(): OverlayFile[] {
  const lock = JSON.parse(readFileSync(join(root, 'package-lock.json'), 'utf8')) as {
    packages: Record<string, { dev?: boolean; os?: string[]; cpu?: string[] }>;
  };
  return Object.entries(lock.packages).flatMap(([path, { dev = false, os, cpu }]) => {
    const isWanted = path !== '' && !dev && (os?.includes('linux') ?? true) && (cpu?.includes('x64') ?? true);
    return isWanted ? filesBelow(join(root, path), `/app/${path}`) : [];
  });
}

async function kernelModules(kernelVersion: string): Promise<OverlayFile[]> {
  const fetched = await fetchPackage(RELEASE, `linux-image-${kernelVersion}`, ARCHITECTURE);
  const files: OverlayFile[] = [];
  const filter = (path: string): boolean => MODULES.some((module) => path.endsWith(`/${module}.ko.xz`));
  for await (const { path, data } of fetched.files({ filter })) {
    files.push({ path: `/mod/${path.split('/').at(-1)}`, data });
  }
  if (files.length !== MODULES.length) throw new Error(`${fetched.name} has not all of ${MODULES.join(', ')}`);
  return files;
}

/** The image that the tests run, where the cache has it. */
function cachedImage(kernelPath: string): OverlayFile[] {
  const folder = join(kernelPath, '..');
  return filesBelow(folder, `/root/.cache/bulkhead/images/${folder.split('/').at(-1)}`);
}

/** The end of the tests: their status; undefined where they did not come to it. */
async function boot(kernelPath: string, initrdPath: string): Promise<number | undefined> {
  const serial = ['-serial', 'stdio', '-kernel', kernelPath, '-initrd', initrdPath];
  const child = spawn(QEMU, [...MACHINE.split(' '), ...serial, '-append', 'console=ttyS0 quiet panic=-1'], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const timer = setTimeout(() => child.kill('SIGKILL'), TIME_LIMIT_MS);
  let shown = '';
  child.stdout.on('data', (bytes: Buffer) => {
    process.stdout.write(bytes);
    shown += bytes.toString('latin1');
  });
  await new Promise((resolve) => child.once('close', resolve));
  clearTimeout(timer);
  const status = END.exec(shown)?.[1];
  return status === undefined ? undefined : Number(status);
}

const { values, positionals } = parseArgs({
  options: { help: { type: 'boolean', default: false } },
  allowPositionals: true,
});
if (values.help) {
  console.log(HELP);
  process.exit();
}
if (spawnSync(QEMU, ['--version']).status !== 0) {
  console.error(`test:svm: the host has no ${QEMU}\n  hint: apt-get install qemu-system-x86`);
  process.exit(2);
}
const image = await resolveImage('debian');
const files = [
  { path: '/init', data: script(positionals.length > 0 ? positionals : TESTS), mode: 0o755 },
  { path: '/usr/bin/node', data: readFileSync(process.execPath), mode: 0o755 },
  ...(await packageFiles(['libstdc++6', 'libatomic1'], ARCHITECTURE)),
  ...(await kernelModules(image.kernelVersion)),
  ...['bin', 'src', 'tests'].flatMap((folder) => filesBelow(join(root, folder), `/app/${folder}`)),
  { path: '/app/package.json', data: readFileSync(join(root, 'package.json')) },
  ...dependencies(),
  ...cachedImage(image.kernelPath),
];
const folder = mkdtempSync(join(tmpdir(), 'bulkhead-svm-'));
try {
  const initrdPath = join(folder, 'initrd.cpio');
  writeFileSync(initrdPath, Buffer.concat([image.initrd, createOverlay({ files })]));
  const status = await boot(image.kernelPath, initrdPath);
  if (status === undefined) console.error('test:svm: the computer ended before the tests did');
  process.exitCode = status ?? 1;
} finally {
  rmSync(folder, { recursive: true });
}
