// Numbers of the operations that lifted code asks of the engine's exact SSE arithmetic (sseExact), its string
// comparison (pcmpstr) and its cryptography (crypto).

/** Element type and count: packed and scalar, single and double. */
export const SSE_SHAPE = { ps: 0, pd: 1, ss: 2, sd: 3 } as const;

/** Operations that come in all shapes: the number is this plus the shape. */
export const SSE_ARITHMETIC = {
  add: 0,
  sub: 4,
  mul: 8,
  div: 12,
  sqrt: 16,
  min: 20,
  max: 24,
  /** The immediate is the predicate. */
  cmp: 28,
  /** The immediate is that of ROUNDPS. */
  round: 32,
  addsub: 36,
  /** DPPS and DPPD; the immediate is theirs. */
  dp: 40,
  /** The low doubleword of the result is ZF, PF and CF in their EFLAGS places. */
  comi: 44,
  ucomi: 48,
  rcp: 52,
  rsqrt: 56,
} as const;

/** Conversions. Those to an integer register take its size in bytes, 4 or 8, as immediate; their result is one lane. */
export const SSE_CONVERSION = {
  cvtps2pd: 64,
  cvtpd2ps: 65,
  cvtss2sd: 66,
  cvtsd2ss: 67,
  cvtdq2ps: 68,
  cvtps2dq: 69,
  cvttps2dq: 70,
  cvtpd2dq: 71,
  cvttpd2dq: 72,
  /** From a signed 64-bit integer. */
  cvtsi2ss: 73,
  cvtsi2sd: 74,
  cvtss2si: 75,
  cvttss2si: 76,
  cvtsd2si: 77,
  cvttsd2si: 78,
} as const;

/** The length that stands for an implicit one. */
export const IMPLICIT_LENGTH = -0x80000000;

export const CRYPTO_OPERATION = {
  aesenc: 0,
  aesenclast: 1,
  aesdec: 2,
  aesdeclast: 3,
  aesimc: 4,
  aeskeygenassist: 5,
  pclmulqdq: 6,
} as const;
