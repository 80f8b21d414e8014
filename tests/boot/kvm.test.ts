// The stock Debian kernel on KVM: to the shell where KVM is whole; elsewhere no less far than QEMU comes on the same
// KVM.

import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { describe, test } from 'node:test';
import { resolveImage } from '../../src/images/images.ts';
import { unpackKernel } from '../browser/unpacked-kernel.ts';
import { type CliOptions, runCli } from '../cli/run-cli.ts';
import { temporaryFolder } from '../guests/tiny-kernel.ts';
import { withoutKvm, withoutStockKernel } from '../kvm/kvm-host.ts';

const SLOW: CliOptions = { timeoutMs: 240_000 };
const MEMORY_MIB = 128;
const APPEND = 'console=ttyS0 earlyprintk=ttyS0 ignore_loglevel panic=-1';
const QEMU = 'qemu-system-x86_64';
const SETUP_SECTS = 0x1f1;
const PAYLOAD_OFFSET = 0x248;
const SECTOR_BYTES = 512;

const folder = temporaryFolder();

describe('the stock Debian kernel on a whole KVM', { skip: withoutStockKernel }, () => {
  test('boots to a shell that runs a command', async () => {
    const { status, stdout, stderr } = await runCli(['run', '--engine', 'kvm', 'debian', '--', 'uname', '-sm'], SLOW);
    assert.equal(stdout.toString(), 'Linux x86_64\n', stderr);
    assert.equal(status, 0);
  });

  test('shows the same to the CPU model portable', async () => {
    const command = ['sh', '-c', 'grep -c "model name.*portable" /proc/cpuinfo'];
    const { status, stdout, stderr } = await runCli(
      ['run', '--engine', 'kvm', '--cpu', 'portable', 'debian', '--', ...command],
      SLOW,
    );
    assert.equal(stdout.toString(), '1\n', stderr);
    assert.equal(status, 0);
  });

  test('has a prompt, starts anew at `reboot`, and ends at `poweroff`', async () => {
    const { status, stdout, stderr } = await runCli(['run', '--engine', 'kvm', 'debian'], {
      ...SLOW,
      dialogue: [
        { after: /root@debian:~# /, type: 'echo $((6 * 7)) is the answer; reboot\n' },
        { after: /Restarting system[\s\S]*root@debian:~# /, type: 'poweroff\n' },
      ],
    });
    assert.equal(status, 0, stderr);
    assert.match(stdout.toString(), /42 is the answer/);
    assert.match(stderr, /^Bulkhead: Debian .*, KVM, 256 MiB\.\n$/);
  });
});

/** The vmlinux of a bzImage: QEMU enters it as PVH, without the kernel's own unpacking. */
function vmlinuxOf(bzImage: Uint8Array): Uint8Array {
  const unpacked = unpackKernel(bzImage);
  const view = new DataView(unpacked.buffer);
  return unpacked.subarray((unpacked[SETUP_SECTS]! + 1) * SECTOR_BYTES + view.getUint32(PAYLOAD_OFFSET, true));
}

interface End {
  /** Hexadecimal bytes of the instruction that stopped the guest, and some after it. */
  bytes: string;
  rip: string;
  shown: string;
}

async function endOnQemu(kernel: string): Promise<End> {
  const args = ['-M', 'microvm', '-accel', 'kvm', '-cpu', 'host,-arch-capabilities', '-m', String(MEMORY_MIB)];
  const child = spawn(
    QEMU,
    [...args, ...'-nodefaults -no-reboot -display none -serial stdio -kernel'.split(' '), kernel, '-append', APPEND],
    { stdio: ['ignore', 'pipe', 'pipe'] },
  );
  let [shown, errors] = ['', ''];
  const { promise, resolve } = Promise.withResolvers<void>();
  const timer = setTimeout(resolve, SLOW.timeoutMs);
  child.stdout.on('data', (bytes: Buffer) => {
    shown += bytes.toString('latin1');
  });
  child.stderr.on('data', (bytes: Buffer) => {
    errors += bytes.toString('latin1');
    if (/\nCode=.*\n/.test(errors)) resolve();
  });
  child.once('close', () => resolve());
  await promise;
  clearTimeout(timer);
  child.kill('SIGKILL');
  const code = /\nCode=.*<(..)>((?: ..)*)/.exec(errors);
  assert.ok(code, `QEMU did not stop at an instruction: ${errors.slice(-2000)}`);
  const rip = /\bRIP=([0-9a-f]+)/.exec(errors)?.[1] ?? '';
  return { bytes: `${code[1]}${code[2]}`, rip, shown };
}

async function endOnBulkhead(kernel: string): Promise<End> {
  const { status, stdout, stderr } = await runCli(
    ['run', '--engine', 'kvm', '--kernel', kernel, '--memory', `${MEMORY_MIB}M`, '--append', APPEND],
    SLOW,
  );
  assert.equal(status, 70, stderr);
  const bytes = /bytes at rip: (.*)\n/.exec(stderr)?.[1] ?? '';
  const rip = /\brip=([0-9a-f]+)/.exec(stderr)?.[1] ?? '';
  return { bytes, rip, shown: stdout.toString('latin1') };
}

function reasonToSkip(): string | false {
  if (withoutKvm !== false) return withoutKvm;
  if (withoutStockKernel === false) return "this host's KVM runs a stock kernel to its shell";
  return spawnSync(QEMU, ['--version']).status === 0 ? false : `the host has no ${QEMU} to compare with`;
}

describe('the stock Debian kernel on an incomplete KVM', { skip: reasonToSkip() }, () => {
  test('stops no earlier than on QEMU: at the same instruction, which this KVM lacks', async () => {
    const { kernelPath } = await resolveImage('debian');
    const vmlinux = folder.put('vmlinux', vmlinuxOf(readFileSync(kernelPath)));
    const [theirs, ours] = [await endOnQemu(vmlinux), await endOnBulkhead(kernelPath)];
    assert.ok(theirs.bytes.startsWith(ours.bytes.slice(0, 11)), `QEMU ${theirs.bytes}, Bulkhead ${ours.bytes}`);
    assert.equal(ours.rip, theirs.rip);
    for (const { shown } of [theirs, ours]) assert.match(shown, /Booting paravirtualized kernel on KVM/);
  });
});
