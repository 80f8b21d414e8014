import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { fakeBusybox } from './archive.fixture.ts';
import { buildInitramfs } from './initramfs.ts';

describe('initramfs', () => {
  const archive = Buffer.from(buildInitramfs(fakeBusybox()));

  test('holds process 1, busybox, a link for each applet and the console', () => {
    for (const name of ['init', 'usr/bin/busybox', 'usr/bin/[[', 'usr/bin/applet119', 'dev/console', 'etc/fstab']) {
      assert.ok(archive.includes(`${name}\0`), name);
    }
  });

  test('keeps modprobe where the kernel does not look for it', () => {
    assert.ok(archive.includes('usr/local/bin/modprobe\0'));
    assert.ok(!archive.includes('\0usr/bin/modprobe\0'));
  });

  test('every folder comes before what is in it', () => {
    const names = [...archive.toString('latin1').matchAll(/070701[0-9a-f]{104}([^\0]+)\0/gi)].map((match) => match[1]!);
    assert.ok(names.length > 140);
    for (const [index, name] of names.entries()) {
      const folder = name.replace(/\/?[^/]*$/, '');
      assert.ok(folder === '' || names.slice(0, index).includes(folder), name);
    }
  });

  const bash = spawnSync('bash', ['--version']);
  const skip = bash.error === undefined ? false : 'this host has no bash to check the syntax with';
  test('the script of process 1 is well-formed', { skip }, () => {
    const script = fileURLToPath(new URL('guest-init.sh', import.meta.url));
    const checked = spawnSync('bash', ['-n', script]);
    assert.equal(checked.status, 0, checked.stderr.toString());
  });
});
