// Stock Debian kernels and programs as guests of the software engine (kvm.test.ts has KVM), run by the command line.
// Slow: every test boots a kernel.
// Images come from the cache, or from the mirror that the host's apt is set up with.

import assert from 'node:assert/strict';
import { hash } from 'node:crypto';
import { describe, type TestContext, test } from 'node:test';
import { EXIT_STATUS, UserError } from '../../src/base/errors.ts';
import { listImages } from '../../src/images/images.ts';
import { type FetchedPackage, fetchPackage } from '../../src/images/packages.ts';
import { seededBytes } from '../../src/machine/boot/testing/seeded-bytes.ts';
import { type CliOptions, runCli } from '../cli/run-cli.ts';
import { temporaryFolder } from '../guests/tiny-kernel.ts';

/** On a machine with much else to do, an engine that interprets may take its time. */
const SLOW: CliOptions = { timeoutMs: 180_000 };
const SEED = 0x0b01c4ad;
const PROMPT = /root@debian:~# /;
/** The shell that called `reboot` prompts once more before the kernel stops. */
const REBOOTED = /Restarting system[\s\S]*root@debian:~# /;

const folder = temporaryFolder();
const runIn = (image: string, command: readonly string[], options: CliOptions = {}) =>
  runCli(['run', '--engine', 'software', image, '--', ...command], { ...SLOW, ...options });

for (const { name } of listImages()) {
  describe(name, () => {
    test("a command's output, errors and status come back, and nothing else", async () => {
      const { status, stdout, stderr } = await runIn(name, ['sh', '-c', 'uname -sm; echo oops >&2; exit 42']);
      assert.equal(stdout.toString(), 'Linux x86_64\n');
      assert.match(stderr, /^Bulkhead: Debian 1\d, kernel 6\..*, software engine, 256 MiB\.\noops\n$/);
      assert.equal(status, 42);
    });

    test('input from a pipe reaches the command whole', async () => {
      const data = seededBytes(SEED, 300_000);
      const { status, stdout } = await runIn(name, ['sha256sum'], { input: data });
      assert.equal(stdout.toString(), `${hash('sha256', data, 'hex')}  -\n`, `seed ${SEED}`);
      assert.equal(status, 0);
    });

    test('the shell answers, `reboot` starts anew, and `poweroff` ends with status 0', async () => {
      const { status, stdout, stderr } = await runCli(['run', '--engine', 'software', name], {
        ...SLOW,
        dialogue: [
          { after: PROMPT, type: 'echo $((6 * 7)) is the answer; touch /left-over\n' },
          { after: /42 is the answer/, type: 'reboot\n' },
          { after: REBOOTED, type: 'ls /left-over\n' },
          { after: /No such file/, type: 'poweroff\n' },
        ],
      });
      assert.equal(status, 0, stderr);
      assert.match(stdout.toString(), /42 is the answer[\s\S]*BusyBox[\s\S]*No such file/);
      assert.match(stderr, /^Bulkhead: Debian 1\d, kernel 6\..*, software engine, 256 MiB\.\n$/);
    });
  });
}

test("the end of piped input is the shell's end", async () => {
  const { status, stdout } = await runCli(['run', '--engine', 'software', 'debian'], {
    ...SLOW,
    input: 'echo $((6 * 7)) is the answer\n',
  });
  assert.match(stdout.toString(), /\n42 is the answer\r\n/);
  assert.equal(status, 0);
});

/** A mirror may lack an architecture, or be in the middle of an update. */
async function fetchOrSkip(t: TestContext, name: string, architecture: string): Promise<FetchedPackage | undefined> {
  try {
    return await fetchPackage('trixie', name, architecture);
  } catch (error) {
    if (!(error instanceof UserError) || error.exitStatus !== EXIT_STATUS.unavailable) throw error;
    t.skip(`no mirror gives ${name} for ${architecture}: ${error.message}`);
    return undefined;
  }
}

test('a 32-bit program of Debian computes what the host computes', async (t) => {
  const deb = await fetchOrSkip(t, 'busybox-static', 'i386');
  if (deb === undefined) return;
  const isBusybox = (path: string): boolean => /^(?:usr\/)?bin\/busybox$/.test(path);
  let busybox: Uint8Array | undefined;
  for await (const entry of deb.files({ filter: isBusybox })) if (entry.type === 'file') busybox = entry.data;
  assert.ok(busybox, 'the package holds busybox');
  const path = folder.put('busybox32', busybox);
  const data = folder.put('data', seededBytes(SEED, 100_000));
  const script =
    'busybox32 sha256sum /root/data; busybox32 md5sum /root/data; busybox32 awk "BEGIN { print 355 / 113 }"';
  const files = ['--file', `${path}:/bin/busybox32`, '--file', `${data}:/root/data`];
  const { status, stdout, stderr } = await runCli(
    ['run', '--engine', 'software', 'debian', ...files, '--', 'sh', '-c', script],
    SLOW,
  );
  const digest = (algorithm: string): string => hash(algorithm, seededBytes(SEED, 100_000), 'hex');
  const expected = `${digest('sha256')}  /root/data\n${digest('md5')}  /root/data\n3.14159\n`;
  assert.equal(stdout.toString(), expected, `seed ${SEED}: ${stderr}`);
  assert.equal(status, 0);
});

test('a guest has the memory that it was given', async () => {
  const { status, stdout } = await runCli(
    [
      'run',
      '--engine',
      'software',
      'debian',
      '--memory',
      '1G',
      '--',
      'awk',
      '/MemTotal/ { print int($2 / 1024) }',
      '/proc/meminfo',
    ],
    SLOW,
  );
  const totalMib = Number(stdout.toString());
  assert.ok(totalMib > 900 && totalMib <= 1024, `${totalMib} MiB`);
  assert.equal(status, 0);
});

test('--verbose shows the kernel at work, on standard error', async () => {
  const { status, stdout, stderr } = await runCli(
    ['run', '--engine', 'software', 'debian', '--verbose', '--', 'echo', 'done'],
    SLOW,
  );
  assert.equal(stdout.toString(), 'done\n');
  assert.match(stderr, /Linux version 6\./);
  assert.equal(status, 0);
});

test('a kernel that panics before the command has run fails with what it said', async () => {
  const { status, stdout, stderr } = await runCli(
    ['run', '--engine', 'software', 'debian', '--append', 'rdinit=/none init=/none', '--', 'true'],
    SLOW,
  );
  assert.equal(stdout.length, 0);
  assert.match(stderr, /Kernel panic - not syncing/);
  assert.match(stderr, /bulkhead: the guest reset before the command had ended/);
  assert.equal(status, 70);
});
