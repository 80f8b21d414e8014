// The x86 branch filter of .xz (.xz file format 1.1, section 5.3.2, filter ID 4), undoing direction: the operands of
// CALL and JMP, absolute in the filtered data, become relative again.
// An operand is filtered only when its top byte is a sign (00 or FF). Opcodes that lie within the operand of an opcode
// just before are doubtful: more than one such neighbour, or one whose own top byte is a sign, leaves it as it is.

const OPERAND_BYTES = 4;

/** By the opcodes seen in the last three bytes (bit n: n + 1 bytes ago): how far back the only one lies, 0: none. */
const ONLY_NEIGHBOUR_DISTANCE = [0, 1, 2, undefined, 3, undefined, undefined, undefined] as const;

const isSign = (byte: number): boolean => byte === 0x00 || byte === 0xff;

/** Undoes the filter in place; `bytes[0]` stands at `startOffset` of what was filtered. */
export function undoBcjX86(bytes: Uint8Array, startOffset = 0): void {
  const end = bytes.length - OPERAND_BYTES;
  let recentOpcodes = 0;
  for (let position = 0; position < end; position++) {
    if ((bytes[position]! & 0xfe) !== 0xe8) {
      recentOpcodes = (recentOpcodes << 1) & 7;
      continue;
    }
    const distance = ONLY_NEIGHBOUR_DISTANCE[recentOpcodes];
    const neighbourTop = distance === undefined ? 0 : position - distance + OPERAND_BYTES;
    const isDoubtful = distance === undefined || (distance > 0 && isSign(bytes[neighbourTop]!));
    if (isDoubtful || !isSign(bytes[position + OPERAND_BYTES]!)) {
      recentOpcodes = ((recentOpcodes << 1) | 1) & 7;
      continue;
    }
    const relative = relativeOperand(bytes, position, startOffset + position + 1 + OPERAND_BYTES, distance);
    bytes[position + 1] = relative;
    bytes[position + 2] = relative >>> 8;
    bytes[position + 3] = relative >>> 16;
    // Operands have 25 bits; the top byte repeats the sign.
    bytes[position + 4] = (relative & 0x0100_0000) === 0 ? 0x00 : 0xff;
    position += OPERAND_BYTES;
    recentOpcodes = 0;
  }
}

function relativeOperand(bytes: Uint8Array, position: number, next: number, distance: number): number {
  const absolute =
    bytes[position + 1]! | (bytes[position + 2]! << 8) | (bytes[position + 3]! << 16) | (bytes[position + 4]! << 24);
  const relative = (absolute - next) | 0;
  if (distance === 0) return relative;
  // The byte that becomes the neighbour's top byte must not turn into a sign: the filter then went round once more,
  // from the operand with the bits below that byte's end inverted. Once is enough: it yields the complement of the
  // neighbour's top byte as it stands, which is no sign.
  const shift = 32 - 8 * distance;
  if (!isSign((relative >>> (shift - 8)) & 0xff)) return relative;
  return ((relative ^ ((1 << shift) - 1)) - next) | 0;
}
