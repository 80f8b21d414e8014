// What the boot loaders ask of a decompressor: one call, a whole payload in, exactly the announced bytes out.
// The payload formats are those of Linux' kernel build (Documentation/arch/x86/boot.rst, field payload_offset).

/** The formats that a kernel payload can have, by their names in messages. */
export const COMPRESSION_FORMATS = ['gzip', 'xz', 'lzma', 'lz4', 'zstd', 'bzip2', 'lzo'] as const;
export type CompressionFormat = (typeof COMPRESSION_FORMATS)[number];

/** Unpacks kernel payloads. Node's is `nodeDecompressor`; a browser supplies its own. */
export interface Decompressor {
  /** The formats that `decompress` accepts. */
  readonly formats: readonly CompressionFormat[];
  /**
   * Unpacks `compressed`, which holds one stream and no trailer. Returns exactly `sizeBytes` bytes; throws an
   * Error (DecompressionError or another) when the stream is damaged, ends early or holds more or less than that.
   */
  decompress(format: CompressionFormat, compressed: Uint8Array, sizeBytes: number): Uint8Array;
}

/** A stream that breaks the rules of its format; the message completes "the payload is damaged: …". */
export class DecompressionError extends Error {
  override readonly name = 'DecompressionError';
}

const MAGICS: readonly { format: CompressionFormat; magic: readonly number[] }[] = [
  { format: 'gzip', magic: [0x1f, 0x8b] },
  { format: 'xz', magic: [0xfd, 0x37, 0x7a, 0x58, 0x5a, 0x00] },
  { format: 'lz4', magic: [0x02, 0x21, 0x4c, 0x18] },
  { format: 'zstd', magic: [0x28, 0xb5, 0x2f, 0xfd] },
  { format: 'bzip2', magic: [0x42, 0x5a, 0x68] },
  { format: 'lzo', magic: [0x89, 0x4c, 0x5a, 0x4f] },
  { format: 'lzma', magic: [0x5d, 0x00, 0x00] },
];

/** The format that the first bytes of `payload` announce, or undefined. */
export function detectCompression(payload: Uint8Array): CompressionFormat | undefined {
  return MAGICS.find(({ magic }) => magic.every((byte, index) => payload[index] === byte))?.format;
}
