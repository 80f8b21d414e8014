import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { constants, gzipSync, zstdCompressSync } from 'node:zlib';
import {
  COMPRESSION_FORMATS,
  type CompressionFormat,
  detectCompression,
} from '../machine/boot/decompression/decompressor.ts';
import { LZ4, LZMA, PLAIN, XZ } from '../machine/boot/testing/compressed-vectors.ts';
import { nodeDecompressor } from './node-decompressor.ts';

const packed: Partial<Record<CompressionFormat, Uint8Array>> = {
  gzip: gzipSync(PLAIN),
  xz: XZ,
  lzma: LZMA,
  lz4: LZ4,
  zstd: zstdCompressSync(PLAIN),
};

describe("Node's decompressor", () => {
  for (const format of COMPRESSION_FORMATS) {
    const bytes = packed[format];
    if (bytes === undefined) {
      it(`does not claim ${format}`, () => assert.ok(!nodeDecompressor.formats.includes(format)));
      continue;
    }
    it(`unpacks ${format}, which is told by its magic`, () => {
      assert.equal(detectCompression(bytes), format);
      assert.ok(nodeDecompressor.formats.includes(format));
      assert.deepEqual(Uint8Array.from(nodeDecompressor.decompress(format, bytes, PLAIN.length)), PLAIN);
    });
    it(`refuses ${format} that is cut short, or of another size`, () => {
      assert.throws(() => nodeDecompressor.decompress(format, bytes.subarray(0, bytes.length - 9), PLAIN.length));
      assert.throws(() => nodeDecompressor.decompress(format, bytes, PLAIN.length - 1));
      assert.throws(() => nodeDecompressor.decompress(format, bytes, PLAIN.length + 1));
    });
  }

  it('unpacks zstd whose window is larger than 128 MiB', () => {
    const params = { [constants.ZSTD_c_windowLog]: 28, [constants.ZSTD_c_contentSizeFlag]: 0 };
    const stream = zstdCompressSync(PLAIN, { params });
    assert.deepEqual(Uint8Array.from(nodeDecompressor.decompress('zstd', stream, PLAIN.length)), PLAIN);
  });

  it('takes other bytes for no format', () => assert.equal(detectCompression(PLAIN), undefined));
});
