import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { gzipSync, zstdCompressSync } from 'node:zlib';
import { packTar } from 'modern-tar';
import { UserError } from '../base/errors.ts';
import { writeAr } from './archive.fixture.ts';
import { type DebEntry, decompress, readDeb } from './deb.ts';

const text = new TextEncoder();

const TAR = await packTar([
  { header: { name: './', type: 'directory', size: 0 } },
  { header: { name: './usr/', type: 'directory', size: 0, mode: 0o755 } },
  { header: { name: './usr/tool', type: 'file', size: 4, mode: 0o4755 }, body: 'tool' },
  { header: { name: './usr/empty', type: 'file', size: 0, mode: 0o644 } },
  { header: { name: './usr/link', type: 'symlink', size: 0, linkname: './tool' } },
  { header: { name: './usr/hard', type: 'link', size: 0, linkname: './usr/tool' } },
  { header: { name: `./usr/${'long'.repeat(50)}`, type: 'file', size: 70_000 }, body: 'x'.repeat(70_000) },
]);

const deb = (name: string, data: Uint8Array) =>
  writeAr([
    { name: 'debian-binary', data: text.encode('2.0\n') },
    { name: 'control.tar', data: CONTROL },
    { name, data },
  ]);
const CONTROL = await packTar([{ header: { name: './control', size: 10 }, body: 'Package: x' }]);

async function entriesOf(bytes: Uint8Array, options = {}): Promise<DebEntry[]> {
  const entries: DebEntry[] = [];
  for await (const entry of readDeb(bytes, options)) entries.push(entry);
  return entries;
}

describe('readDeb', () => {
  const COMPRESSIONS = [
    ['data.tar', TAR],
    ['data.tar.gz', gzipSync(TAR)],
    ['data.tar.zst', zstdCompressSync(TAR)],
  ] as const;
  for (const [name, data] of COMPRESSIONS) {
    test(`reads files, folders and links out of ${name}`, async () => {
      const entries = await entriesOf(deb(name, data));
      assert.deepEqual(
        entries.map(({ path, type, linkTarget, data: { length } }) => [path, type, linkTarget, length]),
        [
          ['usr', 'directory', undefined, 0],
          ['usr/tool', 'file', undefined, 4],
          ['usr/empty', 'file', undefined, 0],
          ['usr/link', 'symlink', './tool', 0],
          ['usr/hard', 'link', 'usr/tool', 0],
          [`usr/${'long'.repeat(50)}`, 'file', undefined, 70_000],
        ],
      );
      assert.equal(entries[1]!.mode, 0o4755);
      assert.deepEqual(entries[1]!.data, text.encode('tool'));
    });
  }

  test('reads the control files too', async () => {
    const [entry] = await entriesOf(deb('data.tar', TAR), { part: 'control' });
    assert.equal(entry?.path, 'control');
    assert.equal(new TextDecoder().decode(entry?.data), 'Package: x');
  });

  test('passes over what the filter refuses', async () => {
    const entries = await entriesOf(deb('data.tar', TAR), { filter: (path: string) => path.endsWith('tool') });
    assert.deepEqual(
      entries.map(({ path }) => path),
      ['usr/tool'],
    );
  });

  test('can be left in the middle', async () => {
    for await (const entry of readDeb(deb('data.tar.gz', gzipSync(TAR)))) if (entry.path === 'usr/tool') break;
  });

  test('refuses a package without data, damaged compression, a cut tar and an unknown compression', async () => {
    const flipped = gzipSync(TAR);
    flipped[flipped.length >> 1]! ^= 0xff;
    const bad = [
      deb('other.tar', TAR),
      deb('data.tar.gz', flipped),
      deb('data.tar.xz', text.encode('not xz at all')),
      deb('data.tar', TAR.subarray(0, 2000)),
      deb('data.tar.lzma', TAR),
    ];
    for (const bytes of bad) await assert.rejects(entriesOf(bytes), UserError);
  });
});

test('decompress unpacks xz', async () => {
  // The output of `xz` for the text "bulkhead\n".
  const xz = Buffer.from(
    '/Td6WFoAAATm1rRGAgAhARYAAAB0L+WjAQAIYnVsa2hlYWQKAAAAALG3efTSu7abAAEhCWwYxdUftvN9AQAAAAAEWVo=',
    'base64',
  );
  assert.equal(await new Response(decompress(xz, '.xz')).text(), 'bulkhead\n');
});
