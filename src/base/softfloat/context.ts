// The environment of one floating-point operation: rounding, masks and the exceptions that it raised.
// Encodings are those of MXCSR and of the x87 control and status words (Intel SDM volume 1, 4.8 and 8.1).

import { WORDS } from './significand.ts';

/** Exception bits in the order of MXCSR and of the x87 status word. */
export const FLOAT_EXCEPTION = {
  IE: 0x01,
  DE: 0x02,
  ZE: 0x04,
  OE: 0x08,
  UE: 0x10,
  PE: 0x20,
  /** Those that are known before the result is computed: unmasked, they leave the destination as it was. */
  BEFORE_RESULT: 0x07,
  ALL: 0x3f,
} as const;

/** The RC field. */
export const ROUNDING = { NEAREST_EVEN: 0, DOWN: 1, UP: 2, TOWARD_ZERO: 3 } as const;
export type Rounding = (typeof ROUNDING)[keyof typeof ROUNDING];

/** The x87 PC field: bits of the significand that results are rounded to. */
export const PRECISION = { SINGLE: 0, RESERVED: 1, DOUBLE: 2, EXTENDED: 3 } as const;

export class FloatContext {
  /** RC: a value of ROUNDING. */
  rounding = 0;
  /** Exceptions raised since the caller last cleared them. Operations only ever set bits. */
  flags = 0;
  /** A set bit masks that exception: 0x3f masks all. */
  masks = 0x3f;
  /** x87 PC: a value of PRECISION; add, sub, mul, div and sqrt of f80 obey it. */
  precision = 3;
  /** MXCSR.DAZ; f32 and f64 only. */
  denormalsAreZero = false;
  /** MXCSR.FTZ; f32 and f64 only, and only where underflow is masked. */
  flushToZero = false;
  /** C1: the last f80 operation rounded its result away from zero. */
  roundedUp = false;

  /**
   * The significand of the last f80 result, whatever context it was computed in (all share one register); its sign and
   * exponent are what the operation returned.
   */
  get significand(): bigint {
    return WORDS[5]!;
  }

  set significand(value: bigint) {
    WORDS[5] = value;
  }

  /** Takes RC, the masks, DAZ and FTZ from MXCSR, and clears the flags. */
  setMxcsr(mxcsr: number): void {
    this.rounding = (mxcsr >> 13) & 3;
    this.masks = (mxcsr >> 7) & 0x3f;
    this.denormalsAreZero = (mxcsr & 0x40) !== 0;
    this.flushToZero = (mxcsr & 0x8000) !== 0;
    this.flags = 0;
  }

  /** Takes RC, PC and the masks from the x87 control word, and clears the flags and C1. */
  setControlWord(controlWord: number): void {
    this.rounding = (controlWord >> 10) & 3;
    this.precision = (controlWord >> 8) & 3;
    this.masks = controlWord & 0x3f;
    this.flags = 0;
    this.roundedUp = false;
  }

  /** True when a raised exception is unmasked: the instruction faults. */
  get unmasked(): boolean {
    return (this.flags & ~this.masks) !== 0;
  }

  /**
   * The bits that an SSE instruction sets in MXCSR after all its elements are done: where any element raised an
   * unmasked IE, DE or ZE, no element's result was computed, and OE, UE and PE stay as they were.
   */
  get mxcsrFlags(): number {
    const before = this.flags & FLOAT_EXCEPTION.BEFORE_RESULT;
    return before & ~this.masks ? before : this.flags;
  }
}
