// LZMA and LZMA2 decoding (the LZMA SDK's lzma-specification; .xz file format 1.1, section 5.3.1). The output buffer
// is the dictionary, so that memory use is bounded by the announced size whatever dictionary the stream declares.

import { DecompressionError } from './decompressor.ts';

const PROBABILITY_INITIAL = 1024;
const STATES = 12;
const POSITION_STATES_MAX = 16;

// Offsets into the one array of probabilities.
const IS_MATCH = 0;
const IS_REP = IS_MATCH + STATES * POSITION_STATES_MAX;
const IS_REP_G0 = IS_REP + STATES;
const IS_REP_G1 = IS_REP_G0 + STATES;
const IS_REP_G2 = IS_REP_G1 + STATES;
const IS_REP0_LONG = IS_REP_G2 + STATES;
const POSITION_SLOT = IS_REP0_LONG + STATES * POSITION_STATES_MAX;
const POSITION_SPECIAL = POSITION_SLOT + 4 * 64;
const POSITION_ALIGN = POSITION_SPECIAL + 128;
const MATCH_LENGTH = POSITION_ALIGN + 16;
const LENGTH_LOW = 2;
const LENGTH_MID = LENGTH_LOW + POSITION_STATES_MAX * 8;
const LENGTH_HIGH = LENGTH_MID + POSITION_STATES_MAX * 8;
const LENGTH_CODER = LENGTH_HIGH + 256;
const REP_LENGTH = MATCH_LENGTH + LENGTH_CODER;
const LITERAL = REP_LENGTH + LENGTH_CODER;
const LITERAL_CODER = 0x300;

/** Where a decoder stopped. */
const END_MARKER = -1;

/** One LZMA coder's state over a given input and output; LZMA2 chunks reset parts of it. */
class LzmaDecoder {
  /** Next input byte. */
  input = 0;
  /** Next output byte. */
  written = 0;
  /** Where the dictionary starts: matches reach no further back. */
  dictionaryStart = 0;
  private readonly source: Uint8Array;
  private readonly output: Uint8Array;
  private probabilities = new Uint16Array(0);
  private range = 0;
  private code = 0;
  private state = 0;
  private rep0 = 0;
  private rep1 = 0;
  private rep2 = 0;
  private rep3 = 0;
  private literalContextBits = 0;
  private literalPositionMask = 0;
  private positionMask = 0;

  constructor(source: Uint8Array, output: Uint8Array) {
    this.source = source;
    this.output = output;
  }

  /** Takes the byte that packs lc, lp and pb. */
  setProperties(properties: number): void {
    if (properties >= 9 * 5 * 5) throw new DecompressionError('LZMA properties are out of range');
    this.literalContextBits = properties % 9;
    const rest = Math.floor(properties / 9);
    const literalPositionBits = rest % 5;
    this.literalPositionMask = (1 << literalPositionBits) - 1;
    this.positionMask = (1 << Math.floor(rest / 5)) - 1;
    this.probabilities = new Uint16Array(LITERAL + (LITERAL_CODER << (this.literalContextBits + literalPositionBits)));
  }

  resetState(): void {
    this.probabilities.fill(PROBABILITY_INITIAL);
    this.state = 0;
    this.rep0 = 0;
    this.rep1 = 0;
    this.rep2 = 0;
    this.rep3 = 0;
  }

  startRangeDecoder(): void {
    if (this.source.length - this.input < 5) throw new DecompressionError('LZMA data is cut short');
    if (this.source[this.input] !== 0) throw new DecompressionError('LZMA data does not begin with a zero byte');
    this.code = 0;
    for (let index = 1; index < 5; index++) this.code = (this.code << 8) | this.source[this.input + index]!;
    this.input += 5;
    this.range = -1;
  }

  /** True when the range decoder ended as an encoder's flush leaves it. */
  get rangeDecoderIsFinished(): boolean {
    return this.code === 0;
  }

  /**
   * Decodes until `outputEnd` (returns it) or until an end marker (returns END_MARKER). Throws when the input goes
   * past `inputEnd`. One long function with its state in locals: bit decoding is all that it does, 100 million times.
   */
  decode(outputEnd: number, inputEnd: number): number {
    const source = this.source;
    const output = this.output;
    const probabilities = this.probabilities;
    const literalContextBits = this.literalContextBits;
    const literalPositionMask = this.literalPositionMask;
    const positionMask = this.positionMask;
    const dictionaryStart = this.dictionaryStart;
    let input = this.input;
    let out = this.written;
    // Held as int32; compared unsigned by `>>> 0` on the few places where the top bit can be set.
    let range = this.range;
    let code = this.code;
    let state = this.state;
    let rep0 = this.rep0;
    let rep1 = this.rep1;
    let rep2 = this.rep2;
    let rep3 = this.rep3;

    /** Decodes one bit; the closure is inlined by the optimizing compiler. */
    const bit = (index: number): number => {
      if (range >>> 24 === 0) {
        range <<= 8;
        code = (code << 8) | source[input++]!;
      }
      const probability = probabilities[index]!;
      const bound = Math.imul(range >>> 11, probability);
      if (code >>> 0 < bound >>> 0) {
        range = bound;
        probabilities[index] = probability + ((2048 - probability) >> 5);
        return 0;
      }
      range = (range - bound) | 0;
      code = (code - bound) | 0;
      probabilities[index] = probability - (probability >> 5);
      return 1;
    };
    const bitTree = (base: number, bits: number): number => {
      let symbol = 1;
      for (let count = bits; count > 0; count--) symbol = (symbol << 1) | bit(base + symbol);
      return symbol - (1 << bits);
    };
    const reverseBitTree = (base: number, bits: number): number => {
      let node = 1;
      let symbol = 0;
      for (let index = 0; index < bits; index++) {
        const one = bit(base + node);
        node = (node << 1) | one;
        symbol |= one << index;
      }
      return symbol;
    };
    const decodeLength = (base: number, positionState: number): number => {
      if (bit(base) === 0) return bitTree(base + LENGTH_LOW + (positionState << 3), 3);
      if (bit(base + 1) === 0) return 8 + bitTree(base + LENGTH_MID + (positionState << 3), 3);
      return 16 + bitTree(base + LENGTH_HIGH, 8);
    };

    let result = outputEnd;
    while (out < outputEnd) {
      if (input > inputEnd) throw new DecompressionError('LZMA data is cut short');
      const positionState = (out - dictionaryStart) & positionMask;
      if (bit(IS_MATCH + (state << 4) + positionState) === 0) {
        const previous = out > dictionaryStart ? output[out - 1]! : 0;
        const base =
          LITERAL +
          LITERAL_CODER *
            ((((out - dictionaryStart) & literalPositionMask) << literalContextBits) +
              (previous >> (8 - literalContextBits)));
        let symbol = 1;
        if (state >= 7) {
          let matched = output[out - rep0 - 1]!;
          do {
            const matchedBit = (matched >> 7) & 1;
            matched <<= 1;
            const one = bit(base + ((1 + matchedBit) << 8) + symbol);
            symbol = (symbol << 1) | one;
            if (one !== matchedBit) break;
          } while (symbol < 0x100);
        }
        while (symbol < 0x100) symbol = (symbol << 1) | bit(base + symbol);
        output[out++] = symbol;
        state = state < 4 ? 0 : state < 10 ? state - 3 : state - 6;
        continue;
      }
      let length: number;
      if (bit(IS_REP + state) === 0) {
        rep3 = rep2;
        rep2 = rep1;
        rep1 = rep0;
        length = decodeLength(MATCH_LENGTH, positionState);
        state = state < 7 ? 7 : 10;
        const slot = bitTree(POSITION_SLOT + (Math.min(length, 3) << 6), 6);
        if (slot < 4) {
          rep0 = slot;
        } else {
          const directBits = (slot >> 1) - 1;
          let distance = (2 | (slot & 1)) << directBits;
          if (slot < 14) {
            distance += reverseBitTree(POSITION_SPECIAL + distance - slot, directBits);
          } else {
            let direct = 0;
            for (let count = directBits - 4; count > 0; count--) {
              if (range >>> 24 === 0) {
                range <<= 8;
                code = (code << 8) | source[input++]!;
              }
              range >>>= 1;
              const borrow = code >>> 0 < range >>> 0 ? 0 : 1;
              if (borrow === 1) code = (code - range) | 0;
              direct = (direct << 1) | borrow;
            }
            distance += direct << 4;
            distance += reverseBitTree(POSITION_ALIGN, 4);
          }
          rep0 = distance >>> 0;
          if (rep0 === 0xffffffff) {
            result = END_MARKER;
            break;
          }
        }
      } else {
        if (out === dictionaryStart) throw new DecompressionError('an LZMA match precedes all data');
        if (bit(IS_REP_G0 + state) === 0) {
          if (bit(IS_REP0_LONG + (state << 4) + positionState) === 0) {
            if (rep0 >= out - dictionaryStart) throw new DecompressionError('an LZMA match reaches before its data');
            output[out] = output[out - rep0 - 1]!;
            out++;
            state = state < 7 ? 9 : 11;
            continue;
          }
        } else {
          let distance: number;
          if (bit(IS_REP_G1 + state) === 0) {
            distance = rep1;
          } else {
            if (bit(IS_REP_G2 + state) === 0) {
              distance = rep2;
            } else {
              distance = rep3;
              rep3 = rep2;
            }
            rep2 = rep1;
          }
          rep1 = rep0;
          rep0 = distance;
        }
        length = decodeLength(REP_LENGTH, positionState);
        state = state < 7 ? 8 : 11;
      }
      length += 2;
      if (rep0 >= out - dictionaryStart) throw new DecompressionError('an LZMA match reaches before its data');
      if (length > outputEnd - out) throw new DecompressionError('an LZMA match runs past the announced size');
      const distance = rep0 + 1;
      if (length >= 32 && distance >= length) {
        output.copyWithin(out, out - distance, out - distance + length);
        out += length;
      } else {
        for (let match = out - distance, end = out + length; out < end; ) output[out++] = output[match++]!;
      }
    }
    // The decoder normalizes before a bit, the encoder's flush counts on one after the last.
    if (range >>> 24 === 0) {
      range <<= 8;
      code = (code << 8) | source[input++]!;
    }
    if (input > inputEnd) throw new DecompressionError('LZMA data is cut short');
    this.input = input;
    this.written = out;
    this.range = range;
    this.code = code;
    this.state = state;
    this.rep0 = rep0;
    this.rep1 = rep1;
    this.rep2 = rep2;
    this.rep3 = rep3;
    return result;
  }
}

/**
 * Unpacks the LZMA2 data at `source[position…]` to the start of `output`; returns where the data ends in `source` and
 * how many bytes it unpacked to.
 */
export function decompressLzma2(
  source: Uint8Array,
  position: number,
  output: Uint8Array,
): { dataEnd: number; written: number } {
  const decoder = new LzmaDecoder(source, output);
  let needsDictionaryReset = true;
  let needsProperties = true;
  let needsStateReset = true;
  decoder.input = position;
  const need = (count: number): void => {
    if (source.length - decoder.input < count) throw new DecompressionError('an LZMA2 chunk is cut short');
  };
  for (;;) {
    need(1);
    const control = source[decoder.input]!;
    if (control === 0) return { dataEnd: decoder.input + 1, written: decoder.written };
    if (control >= 0xe0 || control === 1) {
      needsDictionaryReset = false;
      decoder.dictionaryStart = decoder.written;
    } else if (needsDictionaryReset) {
      throw new DecompressionError('LZMA2 data does not begin with a dictionary reset');
    }
    if (control < 0x80) {
      if (control > 2) throw new DecompressionError('an LZMA2 chunk has an unknown control byte');
      need(3);
      const sizeBytes = ((source[decoder.input + 1]! << 8) | source[decoder.input + 2]!) + 1;
      decoder.input += 3;
      need(sizeBytes);
      if (sizeBytes > output.length - decoder.written) {
        throw new DecompressionError('it unpacks to more than was announced');
      }
      output.set(source.subarray(decoder.input, decoder.input + sizeBytes), decoder.written);
      decoder.input += sizeBytes;
      decoder.written += sizeBytes;
      // A state reset is asked of the encoder before the next LZMA chunk only after a dictionary reset.
      if (control === 1) needsStateReset = true;
      continue;
    }
    need(control >= 0xc0 ? 6 : 5);
    const header = decoder.input;
    const unpackedBytes = (((control & 0x1f) << 16) | (source[header + 1]! << 8) | source[header + 2]!) + 1;
    const packedBytes = ((source[header + 3]! << 8) | source[header + 4]!) + 1;
    decoder.input = header + 5;
    if (control >= 0xc0) {
      decoder.setProperties(source[header + 5]!);
      decoder.input++;
      needsProperties = false;
    } else if (needsProperties) {
      throw new DecompressionError('an LZMA2 chunk comes before its properties');
    }
    if (control >= 0xa0) {
      decoder.resetState();
      needsStateReset = false;
    } else if (needsStateReset) {
      throw new DecompressionError('an LZMA2 chunk comes before its state reset');
    }
    need(packedBytes);
    if (unpackedBytes > output.length - decoder.written) {
      throw new DecompressionError('it unpacks to more than was announced');
    }
    const end = decoder.input + packedBytes;
    decoder.startRangeDecoder();
    if (decoder.decode(decoder.written + unpackedBytes, end) === END_MARKER) {
      throw new DecompressionError('LZMA2 data holds an end marker');
    }
    if (decoder.input !== end || !decoder.rangeDecoderIsFinished) {
      throw new DecompressionError('an LZMA2 chunk does not end where it says');
    }
  }
}

/** Unpacks the .lzma format (13 bytes of header, size known or -1 with an end marker) to exactly `sizeBytes` bytes. */
export function decompressLzmaAlone(source: Uint8Array, sizeBytes: number): Uint8Array {
  if (source.length < 18) throw new DecompressionError('LZMA data is cut short');
  const view = new DataView(source.buffer, source.byteOffset, source.byteLength);
  const announced = view.getBigUint64(5, true);
  const hasEndMarker = announced === 0xffff_ffff_ffff_ffffn;
  if (!hasEndMarker && announced !== BigInt(sizeBytes)) {
    throw new DecompressionError(`it unpacks to ${announced} bytes where ${sizeBytes} were announced`);
  }
  // One byte more than announced gives the end marker its turn without letting data follow.
  const output = new Uint8Array(sizeBytes + 1);
  const decoder = new LzmaDecoder(source, output);
  decoder.setProperties(source[0]!);
  decoder.resetState();
  decoder.input = 13;
  decoder.startRangeDecoder();
  decoder.decode(hasEndMarker ? sizeBytes + 1 : sizeBytes, source.length);
  if (decoder.written !== sizeBytes) {
    throw new DecompressionError(`it does not unpack to the ${sizeBytes} bytes that were announced`);
  }
  return output.subarray(0, sizeBytes);
}
