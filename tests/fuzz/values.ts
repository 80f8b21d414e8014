// Operand values biased to where arithmetic goes wrong: zeros, sign boundaries, carries; for floating point NaNs of
// both kinds, infinities, denormals, halves, and neighbours of powers of two.

import type { RandomSource } from './random-source.ts';

const EDGES: readonly bigint[] = [
  0n,
  1n,
  2n,
  3n,
  7n,
  8n,
  0xfn,
  0x10n,
  0x1fn,
  0x20n,
  0x3fn,
  0x40n,
  0x7fn,
  0x80n,
  0xffn,
  0x100n,
  0x7fffn,
  0x8000n,
  0xffffn,
  0x1_0000n,
  0x7fff_ffffn,
  0x8000_0000n,
  0xffff_ffffn,
  0x1_0000_0000n,
  0x7fff_ffff_ffff_ffffn,
  0x8000_0000_0000_0000n,
  0xffff_ffff_ffff_ffffn,
  0x5555_5555_5555_5555n,
  0xaaaa_aaaa_aaaa_aaaan,
  0x0123_4567_89ab_cdefn,
  0x8080_8080_8080_8080n,
  0x7f7f_7f7f_7f7f_7f7fn,
  0xff00_ff00_ff00_ff00n,
  0x7fff_8000_7fff_8000n,
];

/** A 64-bit integer. */
export function randomInteger(random: RandomSource): bigint {
  switch (random.below(8)) {
    case 0:
    case 1:
      return random.pick(EDGES);
    case 2:
      return BigInt.asUintN(64, -random.pick(EDGES));
    case 3:
      return BigInt.asUintN(64, random.pick(EDGES) + BigInt(random.between(-2, 2)));
    case 4:
      return 1n << BigInt(random.below(64));
    case 5:
      return random.u64() >> BigInt(random.below(64));
    default:
      return random.u64();
  }
}

/** Exponent and fraction widths of an IEEE 754 interchange format. */
interface FloatFormat {
  readonly exponentBits: number;
  readonly fractionBits: number;
}

const SINGLE: FloatFormat = { exponentBits: 8, fractionBits: 23 };
const DOUBLE: FloatFormat = { exponentBits: 11, fractionBits: 52 };

function randomFraction(random: RandomSource, bits: number): bigint {
  const width = BigInt(bits);
  const all = (1n << width) - 1n;
  switch (random.below(6)) {
    case 0:
      return 0n;
    case 1:
      return all - BigInt(random.below(3));
    case 2:
      return BigInt(random.below(4));
    case 3:
      return (random.u64() << BigInt(random.below(bits))) & all;
    default:
      return random.u64() & all;
  }
}

function randomFloat(random: RandomSource, format: FloatFormat): bigint {
  const exponentMax = (1 << format.exponentBits) - 1;
  const bias = exponentMax >> 1;
  const top = 1n << BigInt(format.fractionBits - 1);
  const sign = BigInt(random.below(2)) << BigInt(format.exponentBits + format.fractionBits);
  const make = (exponent: number, fraction: bigint) =>
    sign | (BigInt(exponent) << BigInt(format.fractionBits)) | fraction;
  const fraction = randomFraction(random, format.fractionBits);
  switch (random.below(16)) {
    case 0:
      return make(0, 0n);
    case 1:
      return make(0, fraction); // denormal
    case 2:
      return make(exponentMax, 0n); // infinity
    case 3:
      return make(exponentMax, top | fraction); // quiet NaN
    case 4:
      return make(exponentMax, (fraction & ~top) | 1n); // signalling NaN
    case 5:
      return make(random.between(1, 3), fraction); // near underflow
    case 6:
      return make(exponentMax - random.between(1, 3), fraction); // near overflow
    case 7:
    case 8: // around the integers that conversions round and saturate at
      return make(bias + random.between(-2, 66), fraction);
    case 9:
      return make(bias, 0n); // one
    case 10:
    case 11:
      return make(random.below(exponentMax), fraction);
    default: // exponents near one another, so that sums cancel and round
      return make(bias + random.between(-4, 4), fraction);
  }
}

/** Bits 79:0 of a double-extended value; unnormal and pseudo-denormal encodings included. */
export function randomExtended(random: RandomSource): bigint {
  const sign = BigInt(random.below(2)) << 79n;
  const integerBit = 1n << 63n;
  const fraction = randomFraction(random, 63);
  const make = (exponent: number, significand: bigint) => sign | (BigInt(exponent) << 64n) | significand;
  switch (random.below(20)) {
    case 0:
      return make(0, 0n);
    case 1:
      return make(0, fraction);
    case 2:
      return make(0x7fff, integerBit);
    case 3:
      return make(0x7fff, integerBit | (1n << 62n) | fraction);
    case 4:
      return make(0x7fff, integerBit | (fraction & ~(1n << 62n)) | 1n);
    case 5:
      return make(random.between(1, 70), integerBit | fraction);
    case 6:
      return make(0x7ffe - random.below(70), integerBit | fraction);
    case 7:
      return make(random.below(0x8000), fraction); // the integer bit is clear: unsupported, or denormal
    case 8:
      return make(0, integerBit | fraction); // pseudo-denormal
    case 9:
      return make(0x3fff + random.between(-2, 66), integerBit | fraction);
    case 10:
      return make(0x3fff, integerBit);
    case 11: // doubles' range
      return make(0x3fff + random.between(-1090, 1030), integerBit | fraction);
    case 12: // singles' range
      return make(0x3fff + random.between(-160, 130), integerBit | fraction);
    default:
      return make(0x3fff + random.between(-4, 4), integerBit | fraction);
  }
}

/** A packed decimal of FBLD: 18 digits and a sign byte. */
function randomPackedDecimal(random: RandomSource): bigint {
  let value = BigInt(random.pick([0, 0x80]));
  for (let i = 0; i < 18; i++) value = (value << 4n) | BigInt(random.below(10));
  return value;
}

export const FLAVOURS = ['integer', 'bytes', 'single', 'double', 'extended', 'decimal'] as const;
export type Flavour = (typeof FLAVOURS)[number];

/** `length` bytes of operands of one kind. */
export function randomOperandBytes(random: RandomSource, flavour: Flavour, length: number): Uint8Array {
  const bytes = new Uint8Array((length + 15) & ~15);
  const view = new DataView(bytes.buffer);
  switch (flavour) {
    case 'integer':
      for (let at = 0; at < bytes.length; at += 8) view.setBigUint64(at, randomInteger(random), true);
      break;
    case 'bytes':
      for (let at = 0; at < bytes.length; at++)
        bytes[at] = random.pick([0, 1, 0x7f, 0x80, 0xff, random.below(256), 0x41, 0x61]);
      break;
    case 'single':
      for (let at = 0; at < bytes.length; at += 4) view.setUint32(at, Number(randomFloat(random, SINGLE)), true);
      break;
    case 'double':
      for (let at = 0; at < bytes.length; at += 8) view.setBigUint64(at, randomFloat(random, DOUBLE), true);
      break;
    case 'extended':
    case 'decimal':
      for (let at = 0; at < bytes.length; at += 16) {
        const value = flavour === 'extended' ? randomExtended(random) : randomPackedDecimal(random);
        view.setBigUint64(at, BigInt.asUintN(64, value), true);
        view.setUint16(at + 8, Number(value >> 64n), true);
      }
      break;
    default:
      flavour satisfies never;
  }
  return bytes.subarray(0, length);
}
