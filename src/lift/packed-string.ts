// PCMPESTRM, PCMPESTRI, PCMPISTRM and PCMPISTRI (Intel SDM volume 1, 5.11 and volume 2, 4.1): the engine compares, here
// the lengths go in and the flags and the result come out.

import type { Builder, Value } from '../ir/builder.ts';
import { XMM_OFFSET } from '../ir/guest-state.ts';
import { IMPLICIT_LENGTH } from '../ir/sse-operations.ts';
import { setArithmeticFlagsImage } from './flags.ts';
import type { Lift, Lifts } from './lift.ts';
import { guarded, immediateByte, readPacked } from './packed-operands.ts';

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

const compareStrings =
  (explicit: boolean, mask: boolean): Lift =>
  (b, i) => {
    const lengthBytes = i.operandBytes === 8 ? 8 : 4;
    b.setScratch(1, readPacked(b, i.operands[1]!, false));
    b.setScratch(0, readPacked(b, i.operands[0]!));
    const length = (register: number): Value =>
      explicit ? explicitLength(b, register, lengthBytes) : b.i32(IMPLICIT_LENGTH);
    const outcome = b.extend(b.call('pcmpstr', immediateByte(b, i.operands[2]!).value, length(RAX), length(RDX)));
    if (mask) b.setVector({ kind: 'fixed', offset: XMM_OFFSET }, b.getScratch(0));
    else b.setGpr(RCX, 4, b.shrU(outcome, b.i64(16)));
    setArithmeticFlagsImage(b, outcome);
  };

export const packedStringLifts: Lifts = guarded({
  pcmpestrm: compareStrings(true, true),
  pcmpestri: compareStrings(true, false),
  pcmpistrm: compareStrings(false, true),
  pcmpistri: compareStrings(false, false),
});
