// Arithmetic on significands of 64 and 128 bits. Every value is a non-negative bigint below 2^64: compilers turn
// chains of asUintN(64) into machine words. Two-word results leave through WORDS, so that nothing is allocated.

/** BIG[n] is BigInt(n) for shift counts. */
export const BIG: bigint[] = Array.from({ length: 129 }, (_, n) => BigInt(n));

/**
 * The words by which this folder's modules hand over significands: 0 and 1 operands A and B, 2 (HIGH) and 3 (LOW) what
 * functions here compute, 5 the result, the others scratch.
 */
export const WORDS = new BigUint64Array(8);
/** The same words as 32-bit halves: 2n is the low half of word n (hosts with WebAssembly are little-endian). */
export const HALVES = new Uint32Array(WORDS.buffer);

export const TOP_BIT = 0x8000000000000000n;
const ALL_ONES = 0xffffffffffffffffn;

/** Leading zeros of a value below 2^64; 64 for zero. */
export function countLeadingZeros(value: bigint): number {
  WORDS[4] = value;
  const high = HALVES[9]!;
  return high !== 0 ? Math.clz32(high) : 32 + Math.clz32(HALVES[8]!);
}

/** WORDS[HIGH]:WORDS[LOW] = high:low >> count (count ≥ 0); bits shifted out are kept as a sticky lowest bit. */
export function shiftRightSticky(high: bigint, low: bigint, count: number): void {
  if (count === 0) {
    WORDS[2] = high;
    WORDS[3] = low;
  } else if (count < 64) {
    const lost = BigInt.asUintN(64, low << BIG[64 - count]!) !== 0n;
    const shifted =
      BigInt.asUintN(64, low >> BIG[count]!) | BigInt.asUintN(64, high << BIG[64 - count]!) | (lost ? 1n : 0n);
    WORDS[2] = BigInt.asUintN(64, high >> BIG[count]!);
    WORDS[3] = shifted;
  } else if (count === 64) {
    WORDS[2] = 0n;
    WORDS[3] = high | (low !== 0n ? 1n : 0n);
  } else if (count < 128) {
    const lost = low !== 0n || BigInt.asUintN(64, high << BIG[128 - count]!) !== 0n;
    WORDS[2] = 0n;
    WORDS[3] = BigInt.asUintN(64, high >> BIG[count - 64]!) | (lost ? 1n : 0n);
  } else {
    WORDS[2] = 0n;
    WORDS[3] = (high | low) !== 0n ? 1n : 0n;
  }
}

/**
 * WORDS[HIGH] = floor(sqrt(radicand)); WORDS[LOW] stands for the rest: 0 where the root is exact, 1 where it is less
 * than half a unit too small, above 2^63 where more (it is never just half). The radicand lies between 2^126 and
 * 2^128, so that the root fills 64 bits.
 */
export function squareRootWords(radicand: bigint): void {
  // The double's root is right to 2^-52; one Newton step makes that 2^-104, more than the 64 bits wanted.
  let root = BigInt(Math.sqrt(Number(radicand)));
  root = (root + radicand / root) >> 1n;
  if (root > ALL_ONES) root = ALL_ONES;
  let rest = radicand - root * root;
  while (rest < 0n) {
    rest += 2n * root - 1n;
    root -= 1n;
  }
  while (rest > 2n * root) {
    rest -= 2n * root + 1n;
    root += 1n;
  }
  WORDS[2] = root;
  WORDS[3] = rest === 0n ? 0n : rest > root ? 0xc000000000000000n : 1n;
}
