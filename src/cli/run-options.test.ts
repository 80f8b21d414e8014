import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { parsePort, readGuestFile, readInitrd, readUserFile } from './run-options.ts';

const folder = mkdtempSync(join(tmpdir(), 'bulkhead-run-options-'));
after(() => rmSync(folder, { recursive: true }));

const file = join(folder, 'module');
writeFileSync(file, 'content');
const text = (bytes: Uint8Array | string): string => Buffer.from(bytes).toString();

test('an initrd is a file, or a file and its arguments', () => {
  assert.equal(text(readInitrd(file).bytes), 'content');
  const withArguments = readInitrd(`${file} a=1 b`);
  assert.equal(text(withArguments.bytes), 'content');
  assert.equal(withArguments.commandLine, `${file} a=1 b`);
});

test('an initrd whose name has a space is found', () => {
  const spaced = join(folder, 'a b');
  writeFileSync(spaced, 'spaced');
  assert.equal(text(readInitrd(spaced).bytes), 'spaced');
});

test('a file for the guest has a path on each side', () => {
  const { path, data, mode } = readGuestFile(`${file}:/root/there`);
  assert.equal(path, '/root/there');
  assert.equal(text(data), 'content');
  assert.equal(mode, 0o755);
  for (const bad of [file, `${file}:relative`, `${file}:/`, `${file}:/a/../../etc/passwd`, ':/root/x']) {
    assert.throws(() => readGuestFile(bad), /not a file to bring in/, bad);
  }
});

test("a file for a folder that is a link in the guest goes to the folder's own place", () => {
  for (const [given, placed] of [
    ['/bin/x', '/usr/bin/x'],
    ['/sbin/x', '/usr/bin/x'],
    ['/usr/sbin/x', '/usr/bin/x'],
    ['/lib/a/x', '/usr/lib/a/x'],
    ['/binary/x', '/binary/x'],
  ] as const) {
    assert.equal(readGuestFile(`${file}:${given}`).path, placed);
  }
  assert.throws(() => readGuestFile(`${file}:/proc/x`), /would not see/);
});

test('a file that cannot be read is told by name and reason', () => {
  assert.throws(() => readUserFile(join(folder, 'none'), 'kernel'), /cannot read the kernel .*none: no such file/);
  assert.throws(() => readUserFile(folder, 'kernel'), /it is a folder/);
});

test('ports are decimal or hexadecimal', () => {
  assert.equal(parsePort('0xf4'), 0xf4);
  assert.equal(parsePort('244'), 0xf4);
  for (const bad of ['', 'f4', '-1', '0x', '65536', '1.5']) assert.throws(() => parsePort(bad), /not a port/, bad);
});
