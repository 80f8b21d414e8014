import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { describe, it } from 'node:test';
import { crc32 } from 'node:zlib';
import { LZMA, PLAIN, XZ } from '../testing/compressed-vectors.ts';
import { seededBytes } from '../testing/seeded-bytes.ts';
import { DecompressionError } from './decompressor.ts';
import { decompressLzmaAlone } from './lzma.ts';
import { decompressXz } from './xz.ts';

const hasXz = spawnSync('xz', ['--version']).status === 0;
const needsXz = { skip: hasXz ? false : 'this host has no xz' };

function packByXz(plain: Uint8Array, ...options: string[]): Uint8Array {
  const { status, stdout } = spawnSync('xz', ['-c', ...options], { input: plain, maxBuffer: 1 << 26 });
  assert.equal(status, 0);
  return stdout;
}

describe('xz', () => {
  it('unpacks LZMA2 behind the x86 filter', () => assert.deepEqual(decompressXz(XZ, PLAIN.length, crc32), PLAIN));

  it('refuses every truncation', () => {
    for (let length = 0; length < XZ.length; length++) {
      assert.throws(() => decompressXz(XZ.subarray(0, length), PLAIN.length, crc32), DecompressionError, `${length}`);
    }
  });

  it('refuses every damaged byte', () => {
    for (let index = 0; index < XZ.length; index++) {
      const damaged = XZ.slice();
      damaged[index]! ^= 0x10;
      assert.throws(() => decompressXz(damaged, PLAIN.length, crc32), DecompressionError, `byte ${index}`);
    }
  });

  it('refuses a size that is not the announced one', () => {
    assert.throws(() => decompressXz(XZ, PLAIN.length - 1, crc32), DecompressionError);
    assert.throws(() => decompressXz(XZ, PLAIN.length + 1, crc32), DecompressionError);
  });

  const settings: { name: string; options: string[] }[] = [
    { name: "the kernel build's settings", options: ['--check=crc32', '--x86', '--lzma2=dict=128MiB'] },
    { name: 'no filter but LZMA2', options: ['--check=crc32', '--lzma2=preset=0'] },
    { name: 'several blocks', options: ['--check=crc32', '--block-size=20000', '--x86', '--lzma2=preset=1'] },
    { name: 'other literal and position bits', options: ['--check=crc32', '--lzma2=lc=0,lp=4,pb=4'] },
    { name: 'no check', options: ['--check=none', '--lzma2=preset=6,lc=4,pb=0'] },
    { name: 'a start offset of the x86 filter', options: ['--check=crc32', '--x86=start=4096', '--lzma2=preset=1'] },
  ];
  for (const { name, options } of settings) {
    it(`agrees with the xz tool: ${name}`, needsXz, () => {
      for (const seed of [11, 12]) {
        const plain = seededBytes(seed, 90_000);
        const unpacked = decompressXz(packByXz(plain, ...options), plain.length, crc32);
        assert.ok(Buffer.from(plain).equals(unpacked), `seed ${seed}`);
      }
    });
  }

  it('agrees with the xz tool on data that does not compress', needsXz, () => {
    let state = 99;
    const plain = Uint8Array.from({ length: 150_000 }, () => {
      state = (Math.imul(state, 1103515245) + 12345) >>> 0;
      return state >>> 24;
    });
    assert.ok(Buffer.from(plain).equals(decompressXz(packByXz(plain, '--check=crc32'), plain.length, crc32)));
  });

  it('names a check that it does not verify', needsXz, () => {
    assert.throws(() => decompressXz(packByXz(PLAIN, '--check=sha256'), PLAIN.length, crc32), /check is of type 10/);
  });

  it('names a filter that it does not have', needsXz, () => {
    const packed = packByXz(PLAIN, '--check=crc32', '--arm', '--lzma2=preset=1');
    assert.throws(() => decompressXz(packed, PLAIN.length, crc32), /filter 0x7/);
  });
});

describe('lzma', () => {
  it('unpacks a stream with an end marker', () => assert.deepEqual(decompressLzmaAlone(LZMA, PLAIN.length), PLAIN));

  it('unpacks a stream that announces its size', () => {
    const sized = LZMA.slice();
    new DataView(sized.buffer).setBigUint64(5, BigInt(PLAIN.length), true);
    assert.deepEqual(decompressLzmaAlone(sized, PLAIN.length), PLAIN);
  });

  it('refuses every truncation', () => {
    for (let length = 0; length < LZMA.length - 1; length++) {
      assert.throws(() => decompressLzmaAlone(LZMA.subarray(0, length), PLAIN.length), DecompressionError, `${length}`);
    }
  });

  it('refuses another size and properties out of range', () => {
    assert.throws(() => decompressLzmaAlone(LZMA, PLAIN.length - 1), DecompressionError);
    assert.throws(() => decompressLzmaAlone(LZMA, PLAIN.length + 1), DecompressionError);
    assert.throws(() => decompressLzmaAlone(LZMA.with(0, 225), PLAIN.length), DecompressionError);
  });

  it('ends on any damaged byte', () => {
    for (let index = 13; index < LZMA.length; index++) {
      const damaged = LZMA.slice();
      damaged[index]! ^= 0x41;
      try {
        assert.equal(decompressLzmaAlone(damaged, PLAIN.length).length, PLAIN.length);
      } catch (error) {
        assert.ok(error instanceof DecompressionError, `byte ${index}: ${error}`);
      }
    }
  });
});
