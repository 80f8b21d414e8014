// PCMPESTRM, PCMPESTRI, PCMPISTRM and PCMPISTRI (Intel SDM volume 1, 5.11 and volume 2, 4.1). The comparisons that
// the C library is made of (equal each, equal any) are vector operations where the immediate is known, which it is in
// translated code; the engine does the others.

import type { Builder, Value } from '../ir/builder.ts';
import { XMM_OFFSET } from '../ir/guest-state.ts';
import { IMPLICIT_LENGTH } from '../ir/sse-operations.ts';
import { setArithmeticFlagsImage } from './flags.ts';
import type { Lift, Lifts } from './lift.ts';
import { guarded, immediateByte, lowVector, readPacked, words, zero } from './packed-operands.ts';

const RAX = 0;
const RCX = 1;
const RDX = 2;

/** A signed length as an i32 whose magnitude is at most 16. */
function explicitLength(b: Builder, register: number, sizeBytes: number): Value {
  const value = b.signExtend(b.gpr(register, sizeBytes), sizeBytes);
  const [most, least] = [b.i64(16), b.i64(-16)];
  const above = b.select(b.op('i64.gt_s', value, most), most, value);
  return b.wrap(b.select(b.op('i64.lt_s', value, least), least, above));
}

/** What an immediate says of the comparison (SDM volume 2, 4.1.1 to 4.1.6). */
interface Comparison {
  readonly lanes: 'i8x16' | 'i16x8';
  readonly count: 8 | 16;
  readonly aggregation: 'any' | 'each';
  /** Of IntRes1's bits that are inverted: none, all, or those of valid elements. */
  readonly inverted: 'none' | 'all' | 'valid';
  /** The highest index instead of the lowest, a mask of elements instead of one of bits. */
  readonly alternative: boolean;
}

function comparisonOf(immediate: number): Comparison | undefined {
  const aggregation = (immediate >> 2) & 3;
  if (aggregation !== 0 && aggregation !== 2) return undefined;
  const wide = (immediate & 1) !== 0;
  return {
    lanes: wide ? 'i16x8' : 'i8x16',
    count: wide ? 8 : 16,
    aggregation: aggregation === 0 ? 'any' : 'each',
    inverted: (immediate & 0x10) === 0 ? 'none' : (immediate & 0x20) === 0 ? 'all' : 'valid',
    alternative: (immediate & 0x40) !== 0,
  };
}

/** All ones in the elements whose bits are set in an i32. */
function elementsOf(b: Builder, { lanes, count }: Comparison, bits: Value): Value {
  const places = Array.from({ length: count }, (_, k) => 1 << k);
  if (lanes === 'i16x8') {
    const eachBit = words(b, places);
    return b.op('i16x8.eq', b.op('v128.and', b.op('i16x8.splat', bits), eachBit), eachBit);
  }
  const both = b.op('i16x8.splat', bits);
  const spread = b.shuffle(both, both, [0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1]);
  const eachBit = b.v128(Uint8Array.from([...places.slice(0, 8), ...places.slice(0, 8)]));
  return b.op('i8x16.eq', b.op('v128.and', spread, eachBit), eachBit);
}

/** An i32 with a bit for each valid element: those before the first zero, or as many as the register says. */
function validElements(b: Builder, c: Comparison, text: Value, length: Value | undefined): Value {
  const every = b.i32((1 << c.count) - 1);
  const one = b.i32(1);
  if (length === undefined) {
    const ends = b.op(`${c.lanes}.bitmask`, b.op(`${c.lanes}.eq`, text, zero(b)));
    const below = b.op('i32.and', b.op('i32.sub', ends, one), b.op('i32.xor', ends, b.i32(-1)));
    return b.op('i32.and', below, every);
  }
  const magnitude = b.select(b.op('i32.lt_s', length, b.i32(0)), b.op('i32.sub', b.i32(0), length), length);
  return b.op('i32.and', b.op('i32.sub', b.op('i32.shl', one, magnitude), one), every);
}

/** One bit for each element of `text` that is an element of `set`. */
function equalAny(b: Builder, c: Comparison, set: Value, setValid: Value, text: Value): Value {
  const sizeBytes = 16 / c.count;
  const spread = (element: number): number[] =>
    Array.from({ length: 16 }, (_, k) => element * sizeBytes + (k % sizeBytes));
  // What is not valid becomes the first element once more.
  const first = b.shuffle(set, set, spread(0));
  const elements = b.op('v128.bitselect', set, first, elementsOf(b, c, setValid));
  let found = b.op(`${c.lanes}.eq`, text, first);
  for (let k = 1; k < c.count; k++) {
    const element = b.shuffle(elements, elements, spread(k));
    found = b.op('v128.or', found, b.op(`${c.lanes}.eq`, text, element));
  }
  return b.select(setValid, b.op(`${c.lanes}.bitmask`, found), b.i32(0));
}

/** The result as pcmpstr gives it: index and flags; and the mask, where that is asked for. */
function compareInline(
  b: Builder,
  c: Comparison,
  texts: readonly [Value, Value],
  valid: readonly [Value, Value],
  wantsMask: boolean,
): { outcome: Value; mask: Value | undefined } {
  const every = b.i32((1 << c.count) - 1);
  const zero32 = b.i32(0);
  let result: Value;
  if (c.aggregation === 'any') {
    result = b.op('i32.and', equalAny(b, c, texts[0], valid[0], texts[1]), valid[1]);
  } else {
    const equal = b.op(`${c.lanes}.bitmask`, b.op(`${c.lanes}.eq`, texts[0], texts[1]));
    const inBoth = b.op('i32.and', equal, b.op('i32.and', valid[0], valid[1]));
    const inNone = b.op('i32.xor', b.op('i32.or', valid[0], valid[1]), every);
    result = b.op('i32.or', inBoth, inNone);
  }
  if (c.inverted !== 'none') result = b.op('i32.xor', result, c.inverted === 'all' ? every : valid[1]);
  const lowest = b.op('i32.ctz', b.op('i32.or', result, b.i32(1 << c.count)));
  const highest = (): Value => b.select(result, b.op('i32.sub', b.i32(31), b.op('i32.clz', result)), b.i32(c.count));
  const index = c.alternative ? highest() : lowest;
  const flags: readonly [number, Value][] = [
    [0, b.op('i32.ne', result, zero32)],
    [6, b.op('i32.ne', valid[1], every)],
    [7, b.op('i32.ne', valid[0], every)],
    [11, b.op('i32.and', result, b.i32(1))],
    [16, index],
  ];
  const outcome = flags
    .map(([position, value]) => b.op('i32.shl', value, b.i32(position)))
    .reduce((sum, value) => b.op('i32.or', sum, value));
  if (!wantsMask) return { outcome, mask: undefined };
  return { outcome, mask: c.alternative ? elementsOf(b, c, result) : lowVector(b, b.extend(result)) };
}

const compareStrings =
  (explicit: boolean, mask: boolean): Lift =>
  (b, i) => {
    const lengthBytes = i.operandBytes === 8 ? 8 : 4;
    const second = readPacked(b, i.operands[1]!, false);
    const first = readPacked(b, i.operands[0]!);
    const immediate = immediateByte(b, i.operands[2]!);
    const comparison = immediate.constant === undefined ? undefined : comparisonOf(immediate.constant);
    const length = (register: number): Value | undefined =>
      explicit ? explicitLength(b, register, lengthBytes) : undefined;
    let outcome: Value;
    let result: Value | undefined;
    if (comparison !== undefined) {
      const valid = [
        validElements(b, comparison, first, length(RAX)),
        validElements(b, comparison, second, length(RDX)),
      ] as const;
      ({ outcome, mask: result } = compareInline(b, comparison, [first, second], valid, mask));
      outcome = b.extend(outcome);
    } else {
      b.setScratch(1, second);
      b.setScratch(0, first);
      const implicit = b.i32(IMPLICIT_LENGTH);
      const lengths = [length(RAX) ?? implicit, length(RDX) ?? implicit] as const;
      outcome = b.extend(b.call('pcmpstr', immediate.value, ...lengths));
      if (mask) result = b.getScratch(0);
    }
    if (result !== undefined) b.setVector({ kind: 'fixed', offset: XMM_OFFSET }, result);
    else b.setGpr(RCX, 4, b.shrU(outcome, b.i64(16)));
    setArithmeticFlagsImage(b, outcome);
  };

export const packedStringLifts: Lifts = guarded({
  pcmpestrm: compareStrings(true, true),
  pcmpestri: compareStrings(true, false),
  pcmpistrm: compareStrings(false, true),
  pcmpistri: compareStrings(false, false),
});
