// A bzImage whose payload has been unpacked (Documentation/arch/x86/boot.rst: setup_sects, payload_offset,
// payload_length): what a browser boots, which has no zstd decoder for kernels.

import { detectCompression } from '../../src/machine/boot/decompression/decompressor.ts';
import { nodeDecompressor } from '../../src/vm/node-decompressor.ts';

const SETUP_SECTS = 0x1f1;
const PAYLOAD_OFFSET = 0x248;
const PAYLOAD_LENGTH = 0x24c;
const SECTOR_BYTES = 512;
const PAYLOAD_SIZE_BYTES = 4;

/** The same kernel with the same setup header; only the payload's length and bytes are others. */
export function unpackKernel(bzImage: Uint8Array): Uint8Array {
  const view = new DataView(bzImage.buffer, bzImage.byteOffset, bzImage.byteLength);
  const start = (bzImage[SETUP_SECTS]! + 1) * SECTOR_BYTES + view.getUint32(PAYLOAD_OFFSET, true);
  const end = start + view.getUint32(PAYLOAD_LENGTH, true);
  const format = detectCompression(bzImage.subarray(start, end));
  if (format === undefined) throw new Error('the bzImage has a payload of unknown format');
  const payload = bzImage.subarray(start, format === 'gzip' ? end : end - PAYLOAD_SIZE_BYTES);
  const vmlinux = nodeDecompressor.decompress(format, payload, view.getUint32(end - PAYLOAD_SIZE_BYTES, true));
  const unpacked = new Uint8Array(start + vmlinux.length);
  unpacked.set(bzImage.subarray(0, start));
  unpacked.set(vmlinux, start);
  new DataView(unpacked.buffer).setUint32(PAYLOAD_LENGTH, vmlinux.length, true);
  return unpacked;
}
