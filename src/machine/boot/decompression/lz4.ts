// LZ4 legacy frames (LZ4 frame format description, "Legacy frame") and the LZ4 block format inside them: what
// `lz4 -l`, and so the kernel build, writes. Every read and copy is checked against both buffers.

import { DecompressionError } from './decompressor.ts';

const LEGACY_MAGIC = 0x184c2102;
const MINIMUM_MATCH_BYTES = 4;
/** Above this length a copy by the engine's own memmove beats a loop over bytes. */
const LONG_COPY_BYTES = 32;

/** Unpacks a legacy frame, or several one after the other, to exactly `sizeBytes` bytes. */
export function decompressLz4Legacy(compressed: Uint8Array, sizeBytes: number): Uint8Array {
  const view = new DataView(compressed.buffer, compressed.byteOffset, compressed.byteLength);
  if (compressed.length < 4 || view.getUint32(0, true) !== LEGACY_MAGIC) {
    throw new DecompressionError('it does not begin with the magic of an LZ4 legacy frame');
  }
  const output = new Uint8Array(sizeBytes);
  let written = 0;
  let position = 4;
  while (position < compressed.length) {
    if (position + 4 > compressed.length) throw new DecompressionError('an LZ4 block size is cut short');
    const blockSizeBytes = view.getUint32(position, true);
    position += 4;
    if (blockSizeBytes === LEGACY_MAGIC) continue;
    if (blockSizeBytes > compressed.length - position) throw new DecompressionError('an LZ4 block is cut short');
    written = decompressLz4Block(compressed, position, position + blockSizeBytes, output, written);
    position += blockSizeBytes;
  }
  if (written !== sizeBytes) {
    throw new DecompressionError(`it unpacks to ${written} bytes where ${sizeBytes} were announced`);
  }
  return output;
}

/**
 * Unpacks the block `source[from, to)` into `output` from `written` on and returns the end of what it wrote.
 * Matches reach back no further than the block's own start: legacy blocks are independent.
 */
export function decompressLz4Block(
  source: Uint8Array,
  from: number,
  to: number,
  output: Uint8Array,
  written: number,
): number {
  const start = written;
  const limit = output.length;
  let input = from;
  let out = written;
  while (input < to) {
    const token = source[input++]!;
    let literals = token >> 4;
    if (literals === 15) {
      let more: number;
      do {
        if (input >= to) throw new DecompressionError('an LZ4 length is cut short');
        more = source[input++]!;
        literals += more;
      } while (more === 255);
    }
    if (literals > to - input) throw new DecompressionError('LZ4 literals are cut short');
    if (literals > limit - out) throw new DecompressionError('it unpacks to more than was announced');
    if (literals > LONG_COPY_BYTES) {
      output.set(source.subarray(input, input + literals), out);
      input += literals;
      out += literals;
    } else {
      for (const end = input + literals; input < end; ) output[out++] = source[input++]!;
    }
    // The last sequence of a block has no match.
    if (input === to) return out;
    if (to - input < 2) throw new DecompressionError('an LZ4 offset is cut short');
    const distance = source[input]! | (source[input + 1]! << 8);
    input += 2;
    if (distance === 0 || distance > out - start) {
      throw new DecompressionError('an LZ4 match reaches before the start of its block');
    }
    let length = (token & 15) + MINIMUM_MATCH_BYTES;
    if ((token & 15) === 15) {
      let more: number;
      do {
        if (input >= to) throw new DecompressionError('an LZ4 length is cut short');
        more = source[input++]!;
        length += more;
      } while (more === 255);
    }
    if (length > limit - out) throw new DecompressionError('it unpacks to more than was announced');
    if (length > LONG_COPY_BYTES && distance >= length) {
      output.copyWithin(out, out - distance, out - distance + length);
      out += length;
    } else {
      for (let match = out - distance, end = out + length; out < end; ) output[out++] = output[match++]!;
    }
  }
  throw new DecompressionError('an LZ4 block ends without its last literals');
}
