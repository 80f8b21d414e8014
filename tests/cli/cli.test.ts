// The command line as its users meet it, without a guest: help, mistakes, images and what the host offers.

import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { z } from 'zod';
import { FixtureArchive, type FixturePackage, fakeBusybox, makeKey } from '../../src/images/archive.fixture.ts';
import { type CliResult, runCli } from './run-cli.ts';

/** One line that begins with the program's name, then perhaps a hint. */
const FAILURE = /^bulkhead: [^\n]+\n( {2}hint: [^\n]+\n)?$/;

function assertFailure({ status, stdout, stderr }: CliResult, expectedStatus: number, message: RegExp): void {
  assert.match(stderr, message);
  assert.match(stderr, FAILURE);
  assert.equal(stdout.length, 0);
  assert.equal(status, expectedStatus);
}

test('help is there for every command, with examples', async () => {
  for (const command of [
    [],
    ['run'],
    ['images'],
    ['images', 'list'],
    ['images', 'pull'],
    ['doctor'],
    ['debug', 'lockstep'],
  ]) {
    const { status, stdout, stderr } = await runCli([...command, '--help']);
    assert.equal(status, 0);
    assert.equal(stderr, '');
    assert.match(stdout.toString(), new RegExp(`^Usage: ${['bulkhead', ...command].join(' ')}`));
    assert.match(stdout.toString(), /\nExamples:\n {2}bulkhead /);
  }
});

/** Says at the start of each Node which process it is, and with what flags. */
const TELL_START =
  "data:text/javascript,process.stderr.write([process.pid,...process.execArgv].join(' ')+String.fromCharCode(10))";

test("a guest runs in the process that was started, with V8's flags for the software engine", async (t) => {
  if (!process.versions.node.startsWith('26.')) return t.skip('the flags are for Node 26 alone');
  const starts = async (command: string): Promise<string[][]> => {
    const { stderr } = await runCli([command, '--help'], { env: { NODE_OPTIONS: `--import "${TELL_START}"` } });
    return stderr.split('\n').map((line) => line.split(' '));
  };
  const [[first], [second, ...flags]] = (await starts('run')) as [string[], string[]];
  assert.equal(second, first);
  assert.ok(flags.includes('--no-wasm-inlining'), flags.join(' '));
  const [other, end] = await starts('doctor');
  assert.equal(other!.includes('--no-wasm-inlining'), false);
  assert.deepEqual(end, ['']);
});

test('a mistake on the command line is one line and status 2', async () => {
  for (const [args, message] of [
    [['rum'], /unknown command 'rum'/],
    [['run'], /nothing to run/],
    [['run', '--bogus'], /unknown option '--bogus'/],
    [['run', 'plan9'], /no such image: plan9/],
    [['run', 'debian', '--memory', '63M'], /63M is too little memory/],
    [['run', 'debian', '--memory', '4G'], /4G is too much memory/],
    [['run', 'debian', '--memory', 'much'], /not a size of memory: much/],
    [['run', 'debian', '--kernel', 'x'], /either an image or --kernel/],
    [['run', 'debian', '--initrd', 'x'], /--initrd goes with --kernel/],
    [['run', '--kernel', 'x', '--debug-exit', 'F4'], /not a port: F4/],
    [['run', 'debian', '--terminal', '--', 'vi'], /--terminal needs a terminal/],
    [['run', 'debian', '--file', 'x'], /not a file to bring in: x/],
    [['images', 'pull'], /missing required argument 'image'/],
    [['debug', 'lockstep'], /lockstep needs an image or --kernel/],
    [['debug', 'lockstep', '--kernel', 'x'], /nothing says when the run is over/],
    [['debug', 'lockstep', 'debian', '--jumps', 'many'], /not a number: --jumps many/],
    [['debug', 'lockstep', 'debian', '--slice', '0'], /a slice has one jump at least/],
    [['doctor', '--format', 'xml'], /Allowed choices are text, json/],
    [['run', 'debian', '--engine', 'xen'], /Allowed choices are auto, kvm, software/],
  ] as const) {
    assertFailure(await runCli(args), 2, message);
  }
});

test('a kernel or initrd that is not there is one line and status 1', async () => {
  assertFailure(await runCli(['run', '--kernel', '/none/bzImage']), 1, /cannot read the kernel .*: no such file/);
  const args = ['run', '--kernel', process.execPath, '--initrd', '/none/initrd'];
  assertFailure(await runCli(args), 1, /cannot read the initrd .*: no such file/);
});

test('an ELF program is no kernel', async () => {
  assertFailure(await runCli(['run', '--kernel', process.execPath]), 1, /is not a kernel that Bulkhead can boot/);
});

test('the doctor says what will be used, to people and to programs', async () => {
  const text = await runCli(['doctor']);
  assert.equal(text.status, 0);
  assert.match(text.stdout.toString(), /^engine +(kvm|software): /);
  assert.match(text.stdout.toString(), /\nKVM +(not )?usable: /);
  const json = await runCli(['doctor', '--format', 'json']);
  const report = z
    .object({
      engine: z.object({ used: z.enum(['kvm', 'software']) }),
      kvm: z.object({
        usable: z.boolean(),
        reason: z.string().min(1),
        checks: z.array(z.object({ name: z.string(), passed: z.boolean(), finding: z.string() })).min(1),
      }),
    })
    .parse(JSON.parse(json.stdout.toString()));
  assert.ok(report);
});

describe('images', () => {
  const VERSION = '6.12.1+deb13-cloud-amd64';
  const PACKAGES: FixturePackage[] = [
    { name: 'linux-image-cloud-amd64', depends: `linux-image-${VERSION} (= 1.0-1)` },
    { name: `linux-image-${VERSION}`, files: { [`boot/vmlinuz-${VERSION}`]: 'no kernel' } },
    { name: 'busybox-static', files: { 'usr/bin/busybox': fakeBusybox() } },
  ];
  const folder = mkdtempSync(join(tmpdir(), 'bulkhead-cli-'));
  let archive: FixtureArchive;
  let env: NodeJS.ProcessEnv;

  before(async () => {
    const key = await makeKey();
    writeFileSync(join(folder, 'keys.asc'), key.publicArmored);
    archive = await FixtureArchive.start({ packages: PACKAGES, key });
    const BULKHEAD_KEYRING = join(folder, 'keys.asc');
    env = { XDG_CACHE_HOME: join(folder, 'cache'), BULKHEAD_KEYRING, http_proxy: '', HTTP_PROXY: '', no_proxy: '*' };
  });

  after(async () => {
    await archive.stop();
    rmSync(folder, { recursive: true });
  });

  test('an image that is not cached is not listed as such', async () => {
    const { status, stdout } = await runCli(['images', 'list', '--format', 'json'], { env });
    assert.equal(status, 0);
    const images = z
      .array(z.object({ name: z.string(), cachedKernelVersion: z.null() }))
      .parse(JSON.parse(stdout.toString()));
    assert.deepEqual(
      images.map(({ name }) => name),
      ['debian:13', 'debian:12'],
    );
  });

  test('without a network there is a clear line', async () => {
    const { status, stderr } = await runCli(['run', 'debian', '--offline'], { env });
    assert.equal(status, 69);
    assert.match(stderr, FAILURE);
  });

  test('a mirror out of reach is named', async () => {
    const { status, stderr } = await runCli(['run', 'debian', '--mirror', 'http://127.0.0.1:1/debian'], { env });
    assert.equal(status, 69);
    assert.match(stderr, /^bulkhead: cannot reach the mirror at 127\.0\.0\.1:1: /m);
  });

  test('a corrupt download is refused and not kept', async () => {
    const path = archive.poolPath(`linux-image-${VERSION}`);
    const bytes = Uint8Array.from(archive.files.get(path)!);
    bytes[bytes.length - 1]! ^= 1;
    archive.faults.set(path, { bytes });
    const { status, stderr } = await runCli(['images', 'pull', 'debian', '--mirror', archive.url], { env });
    archive.faults.clear();
    assert.equal(status, 69);
    assert.match(stderr, /^bulkhead: the download of .* is corrupt: /m);
    const { stdout } = await runCli(['images'], { env });
    assert.match(stdout.toString(), /not fetched yet/);
  });

  test('a pulled image is in the cache, and a second start needs no mirror', async () => {
    const pulled = await runCli(['images', 'pull', 'debian', '--mirror', archive.url], { env });
    assert.equal(pulled.stdout.toString(), `debian:13: kernel ${VERSION}\n`, pulled.stderr);
    const { stdout } = await runCli(['images'], { env });
    assert.match(stdout.toString(), /in the cache: kernel 6\.12\.1\+deb13-cloud-amd64/);
    // Its kernel is none: the run gets as far as that, offline.
    const { status, stderr } = await runCli(['run', 'debian', '--offline'], { env });
    assert.equal(status, 1);
    assert.match(stderr, /is not a kernel that Bulkhead can boot/);
  });
});
