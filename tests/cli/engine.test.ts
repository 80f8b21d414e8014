// What engine a VM runs on is told to whoever runs it: to people on standard error, to programs in the statistics.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { z } from 'zod';
import { FixtureArchive, type FixturePackage, fakeBusybox, makeKey } from '../../src/images/archive.fixture.ts';
import {
  buildKernel,
  debugExit,
  kernelWithData,
  movEcx,
  movEdx,
  movEsi,
  REP_OUTSB,
  SPIN,
  temporaryFolder,
} from '../guests/tiny-kernel.ts';
import { withoutKvm } from '../kvm/kvm-host.ts';
import { runCli } from './run-cli.ts';

const COM2 = 0x2f8;
const COM3 = 0x3e8;
const COM4 = 0x2e8;

const folder = temporaryFolder();
const say = (port: number, guestPhysical: number, length: number): number[] => [
  ...movEsi(guestPhysical),
  ...movEcx(length),
  ...movEdx(port),
  ...REP_OUTSB,
];

/** In the place of an image's kernel: prints as a command does, and ends with status 3. */
const COMMAND = kernelWithData('out\nerr\nexit 3\n', (at) => [
  ...say(COM2, at, 4),
  ...say(COM4, at + 4, 4),
  ...say(COM3, at + 8, 7),
  ...SPIN,
]);

function testOn(engine: 'software' | 'kvm'): void {
  const shown = engine === 'kvm' ? 'KVM' : 'software engine';
  /** What an incomplete KVM is remarked with. */
  const remark = engine === 'kvm' ? '(Bulkhead: this KVM .*\\n)?' : '';

  test('a command names it on standard error alone, before its own errors', async () => {
    const { status, stdout, stderr } = await runCli(
      ['run', '--engine', engine, '--offline', '--memory', '64M', 'debian', '--', 'true'],
      { env },
    );
    assert.equal(stdout.toString(), 'out\n', stderr);
    assert.match(stderr, new RegExp(`^${remark}Bulkhead: Debian 13, kernel .*, ${shown}, 64 MiB\\.\\nerr\\n$`));
    assert.equal(status, 3);
  });

  test("a kernel of one's own names it on standard error", async () => {
    const kernel = folder.put(`kernel-${engine}`, buildKernel(debugExit(0)));
    const args = ['run', '--engine', engine, '--kernel', kernel, '--memory', '64M', '--debug-exit', '0xf4'];
    const { stdout, stderr } = await runCli(args);
    assert.equal(stdout.length, 0);
    assert.match(stderr, new RegExp(`^${remark}Bulkhead: .*, ${shown}, 64 MiB\\.\\n$`));
  });

  test('the statistics name it', async () => {
    const kernel = folder.put(`kernel-${engine}`, buildKernel(debugExit(0)));
    const args = ['run', '--engine', engine, '--kernel', kernel, '--memory', '64M', '--debug-exit', '0xf4'];
    const file = join(folder.path, `statistics-${engine}`);
    const { status } = await runCli(args, { env: { BULKHEAD_STATISTICS: file } });
    assert.equal(status, 1);
    const content = JSON.parse(readFileSync(file, 'utf8'));
    const statistics = z
      .object({ engine: z.literal(engine) })
      .catchall(z.number())
      .parse(content);
    assert.ok(Object.keys(statistics).length > 1, 'there are counters too');
  });
}

let archive: FixtureArchive;
let env: NodeJS.ProcessEnv;

before(async () => {
  const version = '6.12.1+deb13-cloud-amd64';
  const key = await makeKey();
  const packages: FixturePackage[] = [
    { name: 'linux-image-cloud-amd64', depends: `linux-image-${version} (= 1.0-1)` },
    { name: `linux-image-${version}`, files: { [`boot/vmlinuz-${version}`]: COMMAND } },
    { name: 'busybox-static', files: { 'usr/bin/busybox': fakeBusybox() } },
  ];
  archive = await FixtureArchive.start({ packages, key });
  const BULKHEAD_KEYRING = folder.put('keys.asc', key.publicArmored);
  env = {
    XDG_CACHE_HOME: join(folder.path, 'cache'),
    BULKHEAD_KEYRING,
    http_proxy: '',
    HTTP_PROXY: '',
    no_proxy: '*',
  };
  const { status, stderr } = await runCli(['images', 'pull', 'debian', '--mirror', archive.url], { env });
  assert.equal(status, 0, stderr);
});

after(() => archive.stop());

describe('the software engine', () => testOn('software'));
describe('KVM', { skip: withoutKvm }, () => testOn('kvm'));
