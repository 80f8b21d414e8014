// The Decompressor of a Node host: gzip, zstd and CRC32 by node:zlib, LZ4 and LZMA by our own decoders.

import { constants, crc32, gunzipSync, zstdDecompressSync } from 'node:zlib';
import type { CompressionFormat, Decompressor } from '../machine/boot/decompression/decompressor.ts';
import { DecompressionError } from '../machine/boot/decompression/decompressor.ts';
import { decompressLz4Legacy } from '../machine/boot/decompression/lz4.ts';
import { decompressLzmaAlone } from '../machine/boot/decompression/lzma.ts';
import { decompressXz } from '../machine/boot/decompression/xz.ts';

/** The kernel build compresses with windows of 128 MiB (zstd -22 --ultra); 2^31 is the most that zstd has. */
const ZSTD_WINDOW_LOG_MAX = 31;

type Decode = (compressed: Uint8Array, sizeBytes: number) => Uint8Array;

const DECODERS: Partial<Record<CompressionFormat, Decode>> = {
  gzip: (compressed, sizeBytes) => gunzipSync(compressed, outputLimit(sizeBytes)),
  xz: (compressed, sizeBytes) => decompressXz(compressed, sizeBytes, crc32),
  lzma: decompressLzmaAlone,
  lz4: decompressLz4Legacy,
  zstd: (compressed, sizeBytes) =>
    zstdDecompressSync(compressed, {
      ...outputLimit(sizeBytes),
      params: { [constants.ZSTD_d_windowLogMax]: ZSTD_WINDOW_LOG_MAX },
    }),
};

export const nodeDecompressor: Decompressor = {
  formats: Object.keys(DECODERS) as CompressionFormat[],
  decompress(format, compressed, sizeBytes) {
    const decode = DECODERS[format];
    if (decode === undefined) throw new DecompressionError(`${format} is not supported`);
    const unpacked = decode(compressed, sizeBytes);
    if (unpacked.length !== sizeBytes) {
      throw new DecompressionError(`it unpacks to ${unpacked.length} bytes where ${sizeBytes} were announced`);
    }
    return unpacked;
  },
};

/** One chunk for the whole output, and no more than it: a stream that lies about its size cannot fill the memory. */
function outputLimit(sizeBytes: number): { chunkSize: number; maxOutputLength: number } {
  return { chunkSize: Math.max(sizeBytes, 64), maxOutputLength: Math.max(sizeBytes, 1) };
}
