// The .xz container (.xz file format 1.1): stream and block headers, the filters LZMA2 and x86 BCJ, index and footer.
// What the kernel build writes, and any other single .xz stream of those two filters; other filters are refused by
// name.

import { undoBcjX86 } from './bcj-x86.ts';
import { DecompressionError } from './decompressor.ts';
import { decompressLzma2 } from './lzma.ts';

const HEADER_MAGIC = [0xfd, 0x37, 0x7a, 0x58, 0x5a, 0x00];
const FOOTER_MAGIC = 0x5a59;
const STREAM_HEADER_BYTES = 12;
const FILTER_X86 = 4;
const FILTER_LZMA2 = 0x21;
const CHECK_NONE = 0;
const CHECK_CRC32 = 1;

export type Crc32 = (bytes: Uint8Array) => number;

/**
 * Unpacks one stream to exactly `sizeBytes` bytes. Block checks are verified where they are CRC32; a stream with a
 * check of another kind is refused, as the kernel's own decompressor does.
 */
export function decompressXz(compressed: Uint8Array, sizeBytes: number, crc32: Crc32): Uint8Array {
  const view = new DataView(compressed.buffer, compressed.byteOffset, compressed.byteLength);
  const need = (position: number, count: number, what: string): void => {
    if (compressed.length - position < count) throw new DecompressionError(`its ${what} is cut short`);
  };
  need(0, STREAM_HEADER_BYTES, 'xz stream header');
  if (HEADER_MAGIC.some((byte, index) => compressed[index] !== byte)) {
    throw new DecompressionError('it does not begin with the xz magic');
  }
  if (crc32(compressed.subarray(6, 8)) !== view.getUint32(8, true)) {
    throw new DecompressionError('its xz stream header fails its CRC32');
  }
  const check = compressed[7]!;
  if (compressed[6] !== 0 || (check !== CHECK_NONE && check !== CHECK_CRC32)) {
    throw new DecompressionError(`its xz check is of type ${check}, where kernels use CRC32`);
  }

  const output = new Uint8Array(sizeBytes);
  const blocks: { unpaddedBytes: number; unpackedBytes: number }[] = [];
  let written = 0;
  let position = STREAM_HEADER_BYTES;
  for (;;) {
    need(position, 1, 'xz index');
    if (compressed[position] === 0) break;
    const block = readBlockHeader(compressed, position, crc32);
    const unpacked = decompressLzma2(compressed, block.dataPosition, output.subarray(written));
    if (block.unpackedBytes !== undefined && block.unpackedBytes !== unpacked.written) {
      throw new DecompressionError('an xz block is not of the size that it announces');
    }
    const { dataEnd } = unpacked;
    const blockOutput = output.subarray(written, written + unpacked.written);
    for (const startOffset of block.x86StartOffsets) undoBcjX86(blockOutput, startOffset);
    let next = skipPadding(compressed, position, dataEnd);
    let unpaddedBytes = dataEnd - position;
    if (check === CHECK_CRC32) {
      need(next, 4, 'xz block check');
      if (crc32(blockOutput) !== view.getUint32(next, true)) throw new DecompressionError('it fails its CRC32');
      next += 4;
      unpaddedBytes += 4;
    }
    blocks.push({ unpaddedBytes, unpackedBytes: blockOutput.length });
    written += blockOutput.length;
    position = next;
  }
  if (written !== sizeBytes) {
    throw new DecompressionError(`it unpacks to ${written} bytes where ${sizeBytes} were announced`);
  }
  checkIndexAndFooter(compressed, position, blocks, crc32);
  return output;
}

interface BlockHeader {
  dataPosition: number;
  unpackedBytes: number | undefined;
  /** One start offset for each x86 filter of the chain, in undoing order. */
  x86StartOffsets: number[];
}

function readBlockHeader(bytes: Uint8Array, position: number, crc32: Crc32): BlockHeader {
  const headerBytes = (bytes[position]! + 1) * 4;
  if (bytes.length - position < headerBytes) throw new DecompressionError('its xz block header is cut short');
  const header = bytes.subarray(position, position + headerBytes);
  const view = new DataView(header.buffer, header.byteOffset, header.byteLength);
  if (crc32(header.subarray(0, headerBytes - 4)) !== view.getUint32(headerBytes - 4, true)) {
    throw new DecompressionError('its xz block header fails its CRC32');
  }
  const cursor = { bytes: header, position: 2, end: headerBytes - 4 };
  const flags = header[1]!;
  if ((flags & 0x3c) !== 0) throw new DecompressionError('its xz block header has reserved flags');
  if ((flags & 0x40) !== 0) readMultibyte(cursor);
  const unpackedBytes = (flags & 0x80) === 0 ? undefined : readMultibyte(cursor);
  const filterCount = (flags & 3) + 1;
  const x86StartOffsets: number[] = [];
  for (let index = 1; index <= filterCount; index++) {
    const id = readMultibyte(cursor);
    const propertiesBytes = readMultibyte(cursor);
    const properties = cursor.position;
    cursor.position += propertiesBytes;
    if (cursor.position > cursor.end) throw new DecompressionError('its xz filter properties are cut short');
    const isLast = index === filterCount;
    if (id === FILTER_X86 && !isLast && (propertiesBytes === 0 || propertiesBytes === 4)) {
      x86StartOffsets.unshift(propertiesBytes === 0 ? 0 : view.getUint32(properties, true));
    } else if (!(id === FILTER_LZMA2 && isLast && propertiesBytes === 1)) {
      throw new DecompressionError(`its xz filter 0x${id.toString(16)} is not one that kernels use (LZMA2, x86)`);
    }
  }
  return { dataPosition: position + headerBytes, unpackedBytes, x86StartOffsets };
}

function checkIndexAndFooter(
  bytes: Uint8Array,
  indexPosition: number,
  blocks: readonly { unpaddedBytes: number; unpackedBytes: number }[],
  crc32: Crc32,
): void {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const cursor = { bytes, position: indexPosition + 1, end: bytes.length };
  const isTrue =
    readMultibyte(cursor) === blocks.length &&
    blocks.every(
      (block) => readMultibyte(cursor) === block.unpaddedBytes && readMultibyte(cursor) === block.unpackedBytes,
    );
  if (!isTrue) throw new DecompressionError('its xz index does not match its blocks');
  const indexEnd = skipPadding(bytes, indexPosition, cursor.position);
  if (bytes.length - indexEnd < 4 + STREAM_HEADER_BYTES) throw new DecompressionError('its xz footer is cut short');
  const indexCrc = view.getUint32(indexEnd, true);
  const footer = indexEnd + 4;
  const footerIsTrue =
    crc32(bytes.subarray(indexPosition, indexEnd)) === indexCrc &&
    crc32(bytes.subarray(footer + 4, footer + 10)) === view.getUint32(footer, true) &&
    (view.getUint32(footer + 4, true) + 1) * 4 === footer - indexPosition &&
    view.getUint16(footer + 8, true) === view.getUint16(6, true) &&
    view.getUint16(footer + 10, true) === FOOTER_MAGIC;
  if (!footerIsTrue) throw new DecompressionError('its xz index or footer is damaged');
}

/** Where the padding ends that fills up what lies from `start` to `end` to a multiple of 4; it must be zeros. */
function skipPadding(bytes: Uint8Array, start: number, end: number): number {
  const padded = start + Math.ceil((end - start) / 4) * 4;
  if (bytes.subarray(end, padded).some((byte) => byte !== 0)) throw new DecompressionError('its xz padding is damaged');
  return padded;
}

/** A multibyte integer (section 1.2), as far as a number holds it. */
function readMultibyte(cursor: { bytes: Uint8Array; position: number; end: number }): number {
  let value = 0;
  for (let index = 0; index < 7; index++) {
    if (cursor.position >= cursor.end) throw new DecompressionError('an xz number is cut short');
    const byte = cursor.bytes[cursor.position++]!;
    value += (byte & 0x7f) * 2 ** (7 * index);
    if ((byte & 0x80) === 0) return value;
  }
  throw new DecompressionError('an xz number is out of range');
}
