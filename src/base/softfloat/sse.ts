// What f32.ts and f64.ts share: the rules of SSE for NaN operands, compare predicates, min and max
// (Intel SDM volume 1, 4.8.3.5, 11.5.2 and appendix E.4).

import { order, stopsOnDenormal } from './arithmetic.ts';
import type { FloatContext } from './context.ts';
import { WORDS } from './significand.ts';
import { A, B, type Format, KIND, QUIET_BIT, setResult, WORD_A, WORD_B } from './unpacked.ts';

/** COMISS and its kin set ZF, PF and CF alone; these are their places in EFLAGS. */
export const UNORDERED_EFLAGS = 0x45;
const EQUAL_EFLAGS = 0x40;
const LESS_EFLAGS = 0x01;

/** True where neither A nor B is NaN; else RESULT holds the NaN to return, and IE is raised for a signalling one. */
export function acceptOperands(context: FloatContext, target: Format): boolean {
  if (A.kind < KIND.QUIET_NAN && B.kind < KIND.QUIET_NAN) return true;
  if (A.kind === KIND.SIGNALLING_NAN || B.kind === KIND.SIGNALLING_NAN) context.flags |= 0x01;
  if (A.kind >= KIND.QUIET_NAN) setResult(A.sign, target.maximumExponent, WORDS[WORD_A]! | QUIET_BIT);
  else setResult(B.sign, target.maximumExponent, WORDS[WORD_B]! | QUIET_BIT);
  return false;
}

/** acceptOperands for A alone. */
export function acceptOperand(context: FloatContext, target: Format): boolean {
  if (A.kind < KIND.QUIET_NAN) return true;
  if (A.kind === KIND.SIGNALLING_NAN) context.flags |= 0x01;
  setResult(A.sign, target.maximumExponent, WORDS[WORD_A]! | QUIET_BIT);
  return false;
}

/** The EFLAGS bits of COMISS (signalling: IE on quiet NaNs too) and UCOMISS. */
export function compareToEflags(context: FloatContext, signalling: boolean): number {
  if (A.kind >= KIND.QUIET_NAN || B.kind >= KIND.QUIET_NAN) {
    if (signalling || A.kind === KIND.SIGNALLING_NAN || B.kind === KIND.SIGNALLING_NAN) context.flags |= 0x01;
    return UNORDERED_EFLAGS;
  }
  if (stopsOnDenormal(context)) return 0;
  const relation = order();
  return relation === 0 ? EQUAL_EFLAGS : relation < 0 ? LESS_EFLAGS : 0;
}

// Bits of a predicate's truth: 1 less, 2 equal, 4 greater, 8 unordered. In the order of the immediate (SDM 2,
// CMPPD, table 3-1); those above 7 are VEX's, and 16 to 31 swap signalling and quiet.
const TRUTH = [2, 1, 3, 8, 13, 14, 12, 7, 10, 9, 11, 0, 5, 6, 4, 15];
// Predicates 0 to 15 that raise IE on quiet NaNs.
const SIGNALLING = 0b0110_0110_0110_0110;

/** The truth of CMPPS's predicate (immediate bits 4:0) for A and B. */
export function comparePredicate(context: FloatContext, predicate: number): boolean {
  const truth = TRUTH[predicate & 15]!;
  if (A.kind >= KIND.QUIET_NAN || B.kind >= KIND.QUIET_NAN) {
    const signalling = ((SIGNALLING >> (predicate & 15)) & 1) !== ((predicate >> 4) & 1);
    if (signalling || A.kind === KIND.SIGNALLING_NAN || B.kind === KIND.SIGNALLING_NAN) context.flags |= 0x01;
    return (truth & 8) !== 0;
  }
  if (stopsOnDenormal(context)) return false;
  return (truth & (1 << (order() + 1))) !== 0;
}

/** Whether MIN (`wanted` -1) or MAX (`wanted` 1) takes A; B it is for NaNs and for equal values. */
export function takesFirst(context: FloatContext, wanted: number): boolean {
  if (A.kind >= KIND.QUIET_NAN || B.kind >= KIND.QUIET_NAN) {
    context.flags |= 0x01;
    return false;
  }
  if (stopsOnDenormal(context)) return false;
  return order() === wanted;
}
