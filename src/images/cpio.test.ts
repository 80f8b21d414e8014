import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { describe, test } from 'node:test';
import { type CpioEntry, writeCpio } from './cpio.ts';

const ENTRIES: CpioEntry[] = [
  { path: 'dev', type: 'directory', mode: 0o755 },
  { path: 'dev/console', type: 'characterDevice', mode: 0o600, device: [5, 1] },
  { path: 'a', type: 'file', mode: 0o644, data: 'odd' },
  { path: 'bin', type: 'symlink', mode: 0o777, data: 'usr/bin' },
  { path: 'pipe', type: 'fifo', mode: 0o600 },
  { path: 'ünïcode', type: 'file', mode: 0o755, data: new Uint8Array([0, 255, 10]) },
];

/** The header fields of the record at `offset`, as numbers, after its magic. */
function headerAt(archive: Uint8Array, offset: number): number[] {
  const header = Buffer.from(archive).toString('latin1', offset, offset + 110);
  assert.equal(header.slice(0, 6), '070701');
  return header
    .slice(6)
    .match(/.{8}/g)!
    .map((field) => Number.parseInt(field, 16));
}

describe('writeCpio', () => {
  test('a header says type, permissions, size and device; name and data follow, aligned to 4', () => {
    const archive = writeCpio([
      { path: 'ab', type: 'file', mode: 0o640, data: 'hello' },
      { path: 'tty', type: 'characterDevice', mode: 0o620, device: [4, 64] },
    ]);
    const [inode, mode, uid, gid, links, , size] = headerAt(archive, 0);
    assert.deepEqual([inode, mode, uid, gid, links, size], [1, 0o100640, 0, 0, 1, 5]);
    assert.equal(Buffer.from(archive).toString('latin1', 110, 113), 'ab\0');
    assert.equal(Buffer.from(archive).toString('latin1', 116, 121), 'hello');
    const second = headerAt(archive, 124);
    assert.equal(second[1], 0o020620);
    assert.deepEqual(second.slice(9, 11), [4, 64]);
  });

  test('another archive can follow: the length is a multiple of 512', () => {
    for (let size = 0; size < 600; size += 37) {
      assert.equal(writeCpio([{ path: 'f', type: 'file', mode: 0, data: 'x'.repeat(size) }]).length % 512, 0);
    }
  });

  test('the same entries give the same bytes', () => {
    assert.deepEqual(writeCpio(ENTRIES), writeCpio(ENTRIES));
  });

  const cpio = spawnSync('cpio', ['--version']);
  const skip = cpio.error === undefined ? false : 'this host has no cpio';
  test("the host's cpio lists it", { skip }, () => {
    const listed = spawnSync('cpio', ['-t', '--quiet'], { input: writeCpio(ENTRIES) });
    assert.equal(listed.status, 0, listed.stderr.toString());
    assert.deepEqual(
      listed.stdout.toString().trimEnd().split('\n'),
      ENTRIES.map(({ path }) => path),
    );
  });
});
