// Random bytes for the decompressors' tests, the same for the same seed: runs, repeats and branch opcodes among noise.

/** `sizeBytes` bytes in which a compressor finds literals, near and far matches, and operands for the x86 filter. */
export function seededBytes(seed: number, sizeBytes: number): Uint8Array {
  let state = seed >>> 0 || 1;
  const next = (below: number): number => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) % below;
  };
  const bytes = new Uint8Array(sizeBytes);
  for (let position = 0; position < sizeBytes; ) {
    const kind = next(4);
    const length = Math.min(1 + next(kind === 0 ? 12 : 80), sizeBytes - position);
    const distance = 1 + next(position || 1);
    const fill = next(256);
    for (const end = position + length; position < end; position++) {
      if (kind === 0) bytes[position] = next(256);
      else if (kind === 1) bytes[position] = fill;
      else if (kind === 2) bytes[position] = position >= distance ? bytes[position - distance]! : fill;
      else bytes[position] = [0xe8, 0xe9, 0x00, 0xff, next(256)][next(5)]!;
    }
  }
  return bytes;
}
