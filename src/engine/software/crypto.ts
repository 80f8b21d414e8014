// AES round functions and carry-less multiplication, as AES-NI and PCLMULQDQ have them (FIPS 197; Intel SDM volume 1,
// 12.13). A state is four little-endian doublewords, one a column, byte r of a column being row r.

import { SCRATCH_OFFSET } from '../../ir/guest-state.ts';
import { CRYPTO_OPERATION } from '../../ir/sse-operations.ts';

const SOURCE = 16;

/** Multiplication by x in GF(2^8) modulo x^8 + x^4 + x^3 + x + 1. */
const double = (value: number): number => ((value << 1) ^ ((value >> 7) * 0x11b)) & 0xff;

function multiply(x: number, y: number): number {
  let product = 0;
  for (let bit = 0, shifted = x; bit < 8; bit++, shifted = double(shifted)) {
    if ((y >> bit) & 1) product ^= shifted;
  }
  return product;
}

const S_BOX = new Uint8Array(256);
const INVERSE_S_BOX = new Uint8Array(256);
/** S-box and MixColumns of a byte in row 0, as a column; the other rows' are rotations. */
const MIXED = new Int32Array(256);
const INVERSE_MIXED = new Int32Array(256);
/** InvMixColumns of a byte in row 0, without an S-box. */
const INVERSE_MIX = new Int32Array(256);

const column = (value: number, a: number, b: number, c: number, d: number): number =>
  multiply(value, a) | (multiply(value, b) << 8) | (multiply(value, c) << 16) | (multiply(value, d) << 24);

function fillTables(): void {
  // 3 generates the field's multiplicative group, and f6 is its inverse.
  let power = 1;
  let inverse = 1;
  do {
    const rotated = inverse | (inverse << 8);
    const affine = inverse ^ (rotated >> 4) ^ (rotated >> 5) ^ (rotated >> 6) ^ (rotated >> 7) ^ 0x63;
    S_BOX[power] = affine;
    power = multiply(power, 3);
    inverse = multiply(inverse, 0xf6);
  } while (power !== 1);
  S_BOX[0] = 0x63;
  for (let value = 0; value < 256; value++) INVERSE_S_BOX[S_BOX[value]!] = value;
  for (let value = 0; value < 256; value++) {
    MIXED[value] = column(S_BOX[value]!, 2, 1, 1, 3);
    INVERSE_MIXED[value] = column(INVERSE_S_BOX[value]!, 14, 9, 13, 11);
    INVERSE_MIX[value] = column(value, 14, 9, 13, 11);
  }
}
fillTables();

/** Row r of column c after ShiftRows comes from column c + r (c - r for the inverse), by `step` 1 or 3. */
function mixedRound(view: DataView, scratch: number, table: Int32Array, step: number): void {
  const a = view.getInt32(scratch, true);
  const b = view.getInt32(scratch + 4, true);
  const c = view.getInt32(scratch + 8, true);
  const d = view.getInt32(scratch + 12, true);
  roundColumn(view, scratch, table, a, step === 1 ? b : d, c, step === 1 ? d : b);
  roundColumn(view, scratch + 4, table, b, step === 1 ? c : a, d, step === 1 ? a : c);
  roundColumn(view, scratch + 8, table, c, step === 1 ? d : b, a, step === 1 ? b : d);
  roundColumn(view, scratch + 12, table, d, step === 1 ? a : c, b, step === 1 ? c : a);
}

function roundColumn(
  view: DataView,
  offset: number,
  table: Int32Array,
  row0: number,
  row1: number,
  row2: number,
  row3: number,
): void {
  const t1 = table[(row1 >>> 8) & 0xff]!;
  const t2 = table[(row2 >>> 16) & 0xff]!;
  const t3 = table[row3 >>> 24]!;
  const mixed =
    table[row0 & 0xff]! ^ ((t1 << 8) | (t1 >>> 24)) ^ ((t2 << 16) | (t2 >>> 16)) ^ ((t3 << 24) | (t3 >>> 8));
  view.setInt32(offset, mixed ^ view.getInt32(offset + SOURCE, true), true);
}

function lastRound(view: DataView, scratch: number, box: Uint8Array, step: number): void {
  const a = view.getInt32(scratch, true);
  const b = view.getInt32(scratch + 4, true);
  const c = view.getInt32(scratch + 8, true);
  const d = view.getInt32(scratch + 12, true);
  lastColumn(view, scratch, box, a, step === 1 ? b : d, c, step === 1 ? d : b);
  lastColumn(view, scratch + 4, box, b, step === 1 ? c : a, d, step === 1 ? a : c);
  lastColumn(view, scratch + 8, box, c, step === 1 ? d : b, a, step === 1 ? b : d);
  lastColumn(view, scratch + 12, box, d, step === 1 ? a : c, b, step === 1 ? c : a);
}

function lastColumn(
  view: DataView,
  offset: number,
  box: Uint8Array,
  row0: number,
  row1: number,
  row2: number,
  row3: number,
): void {
  const substituted =
    box[row0 & 0xff]! |
    (box[(row1 >>> 8) & 0xff]! << 8) |
    (box[(row2 >>> 16) & 0xff]! << 16) |
    (box[row3 >>> 24]! << 24);
  view.setInt32(offset, substituted ^ view.getInt32(offset + SOURCE, true), true);
}

function inverseMixColumns(view: DataView, scratch: number): void {
  for (let k = 0; k < 16; k += 4) {
    const value = view.getInt32(scratch + SOURCE + k, true);
    const t1 = INVERSE_MIX[(value >>> 8) & 0xff]!;
    const t2 = INVERSE_MIX[(value >>> 16) & 0xff]!;
    const t3 = INVERSE_MIX[value >>> 24]!;
    const mixed =
      INVERSE_MIX[value & 0xff]! ^ ((t1 << 8) | (t1 >>> 24)) ^ ((t2 << 16) | (t2 >>> 16)) ^ ((t3 << 24) | (t3 >>> 8));
    view.setInt32(scratch + k, mixed, true);
  }
}

const substituteWord = (value: number): number =>
  S_BOX[value & 0xff]! |
  (S_BOX[(value >>> 8) & 0xff]! << 8) |
  (S_BOX[(value >>> 16) & 0xff]! << 16) |
  (S_BOX[value >>> 24]! << 24);

function keygenAssist(view: DataView, scratch: number, constant: number): void {
  for (let k = 0; k < 16; k += 8) {
    const substituted = substituteWord(view.getInt32(scratch + SOURCE + k + 4, true));
    view.setInt32(scratch + k, substituted, true);
    view.setInt32(scratch + k + 4, ((substituted >>> 8) | (substituted << 24)) ^ constant, true);
  }
}

// Multiples 0 to 15 of the multiplicand, 67 bits each.
const low = new Int32Array(16);
const middle = new Int32Array(16);
const high = new Int32Array(16);

/** 64 × 64 bits without carries: quadwords chosen by immediate bits 0 and 4; four bits of the multiplier a turn. */
function carrylessMultiply(view: DataView, scratch: number, immediate: number): void {
  const x = scratch + (immediate & 1 ? 8 : 0);
  const y = scratch + SOURCE + (immediate & 0x10 ? 8 : 0);
  const multiplicandLow = view.getInt32(x, true);
  const multiplicandHigh = view.getInt32(x + 4, true);
  for (let k = 1; k < 16; k++) {
    if (k === 1) {
      low[1] = multiplicandLow;
      middle[1] = multiplicandHigh;
      high[1] = 0;
    } else if (k & 1) {
      low[k] = low[k - 1]! ^ multiplicandLow;
      middle[k] = middle[k - 1]! ^ multiplicandHigh;
      high[k] = high[k - 1]!;
    } else {
      const half = k >> 1;
      low[k] = low[half]! << 1;
      middle[k] = (middle[half]! << 1) | (low[half]! >>> 31);
      high[k] = (high[half]! << 1) | (middle[half]! >>> 31);
    }
  }
  let p0 = 0;
  let p1 = 0;
  let p2 = 0;
  let p3 = 0;
  for (let word = 4; word >= 0; word -= 4) {
    const multiplier = view.getInt32(y + word, true);
    for (let shift = 28; shift >= 0; shift -= 4) {
      p3 = (p3 << 4) | (p2 >>> 28);
      p2 = (p2 << 4) | (p1 >>> 28);
      p1 = (p1 << 4) | (p0 >>> 28);
      p0 <<= 4;
      const digit = (multiplier >>> shift) & 15;
      p0 ^= low[digit]!;
      p1 ^= middle[digit]!;
      p2 ^= high[digit]!;
    }
  }
  view.setInt32(scratch, p0, true);
  view.setInt32(scratch + 4, p1, true);
  view.setInt32(scratch + 8, p2, true);
  view.setInt32(scratch + 12, p3, true);
}

/** Runs one CRYPTO_OPERATION: first operand in scratch slot 0, second in slot 1, result in slot 0. */
export function computeCrypto(view: DataView, cpuBase: number, operation: number, immediate: number): void {
  const scratch = cpuBase + SCRATCH_OFFSET;
  switch (operation) {
    case CRYPTO_OPERATION.aesenc:
      mixedRound(view, scratch, MIXED, 1);
      return;
    case CRYPTO_OPERATION.aesenclast:
      lastRound(view, scratch, S_BOX, 1);
      return;
    case CRYPTO_OPERATION.aesdec:
      mixedRound(view, scratch, INVERSE_MIXED, 3);
      return;
    case CRYPTO_OPERATION.aesdeclast:
      lastRound(view, scratch, INVERSE_S_BOX, 3);
      return;
    case CRYPTO_OPERATION.aesimc:
      inverseMixColumns(view, scratch);
      return;
    case CRYPTO_OPERATION.aeskeygenassist:
      keygenAssist(view, scratch, immediate);
      return;
    case CRYPTO_OPERATION.pclmulqdq:
      carrylessMultiply(view, scratch, immediate);
      return;
    default:
      throw new RangeError(`cryptographic operation ${operation} is unknown`);
  }
}
