import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { describe, it } from 'node:test';
import { LZ4, PLAIN } from '../testing/compressed-vectors.ts';
import { seededBytes } from '../testing/seeded-bytes.ts';
import { DecompressionError } from './decompressor.ts';
import { decompressLz4Legacy } from './lz4.ts';

const frame = (...blocks: number[][]): Uint8Array =>
  Uint8Array.from([0x02, 0x21, 0x4c, 0x18, ...blocks.flatMap((block) => [block.length, 0, 0, 0, ...block])]);

const ascii = (bytes: Uint8Array): string => new TextDecoder('latin1').decode(bytes);

describe('LZ4 legacy frames', () => {
  const cases = [
    { name: 'a block of literals', bytes: frame([0x30, 0x61, 0x62, 0x63]), plain: 'abc' },
    {
      name: 'a match that overlaps itself repeats its bytes',
      bytes: frame([0x14, 0x61, 1, 0, 0x10, 0x62]),
      plain: 'aaaaaaaaab',
    },
    {
      name: 'a length of 15 goes on in the next bytes until one is not 255',
      bytes: frame([0x1f, 0x61, 1, 0, 255, 5, 0x10, 0x62]),
      plain: `${'a'.repeat(1 + 4 + 15 + 255 + 5)}b`,
    },
    { name: 'blocks follow each other', bytes: frame([0x10, 0x61], [0x10, 0x62]), plain: 'ab' },
    {
      name: 'frames follow each other',
      bytes: Uint8Array.from([...frame([0x10, 0x61]), ...frame([0x10, 0x62])]),
      plain: 'ab',
    },
    { name: 'a frame without blocks is empty', bytes: frame(), plain: '' },
  ];
  for (const { name, bytes, plain } of cases) {
    it(name, () => assert.equal(ascii(decompressLz4Legacy(bytes, plain.length)), plain));
  }

  it('unpacks what lz4 -l packed', () => assert.deepEqual(decompressLz4Legacy(LZ4, PLAIN.length), PLAIN));

  const damaged = [
    { name: 'another magic', bytes: Uint8Array.from([1, 2, 3, 4]), sizeBytes: 0 },
    { name: 'a block size cut short', bytes: frame([0x10, 0x61]).subarray(0, 6), sizeBytes: 1 },
    { name: 'a block longer than the file', bytes: frame([0x10, 0x61]).subarray(0, 9), sizeBytes: 1 },
    { name: 'literals past the end of the block', bytes: frame([0x50, 0x61]), sizeBytes: 5 },
    {
      name: 'a match before the start of its block',
      bytes: frame([0x10, 0x61], [0x14, 0x61, 2, 0, 0x00]),
      sizeBytes: 20,
    },
    { name: 'a match of distance 0', bytes: frame([0x14, 0x61, 0, 0, 0x00]), sizeBytes: 9 },
    { name: 'an offset cut short', bytes: frame([0x14, 0x61, 1]), sizeBytes: 9 },
    { name: 'a length cut short', bytes: frame([0xf0, 255]), sizeBytes: 300 },
    { name: 'a block that ends with a match', bytes: frame([0x14, 0x61, 1, 0]), sizeBytes: 9 },
    { name: 'more literals than were announced', bytes: frame([0x30, 0x61, 0x62, 0x63]), sizeBytes: 2 },
    { name: 'a longer match than was announced', bytes: frame([0x1f, 0x61, 1, 0, 255, 5, 0x00]), sizeBytes: 9 },
    { name: 'less than was announced', bytes: frame([0x10, 0x61]), sizeBytes: 2 },
  ];
  for (const { name, bytes, sizeBytes } of damaged) {
    it(`refuses ${name}`, () => assert.throws(() => decompressLz4Legacy(bytes, sizeBytes), DecompressionError));
  }

  const hasLz4 = spawnSync('lz4', ['--version']).status === 0;
  it('agrees with the lz4 tool on random data', { skip: hasLz4 ? false : 'this host has no lz4' }, () => {
    for (const seed of [1, 2, 3]) {
      const plain = seededBytes(seed, 70_000);
      const packed = spawnSync('lz4', ['-l', '-c', '-9'], { input: plain }).stdout;
      assert.deepEqual(decompressLz4Legacy(packed, plain.length), plain, `seed ${seed}`);
    }
  });
});
