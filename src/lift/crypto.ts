// AES-NI and PCLMULQDQ (Intel SDM volume 1, 5.12): the engine computes.

import { CRYPTO_OPERATION } from '../ir/sse-operations.ts';
import type { Lift, Lifts } from './lift.ts';
import { guarded, immediateByte, readPacked, writePacked } from './packed-operands.ts';

const compute =
  (name: keyof typeof CRYPTO_OPERATION): Lift =>
  (b, i) => {
    b.setScratch(1, readPacked(b, i.operands[1]!));
    b.setScratch(0, readPacked(b, i.operands[0]!));
    const third = i.operands[2];
    const immediate = third === undefined ? b.i32(0) : immediateByte(b, third).value;
    b.call('crypto', b.i32(CRYPTO_OPERATION[name]), immediate);
    writePacked(b, i.operands[0]!, b.getScratch(0));
  };

export const cryptoLifts: Lifts = guarded({
  aesenc: compute('aesenc'),
  aesenclast: compute('aesenclast'),
  aesdec: compute('aesdec'),
  aesdeclast: compute('aesdeclast'),
  aesimc: compute('aesimc'),
  aeskeygenassist: compute('aeskeygenassist'),
  pclmulqdq: compute('pclmulqdq'),
});
