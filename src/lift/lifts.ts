// Every lifting function by name.

import { arithmeticLifts } from './arithmetic.ts';
import { bitAndByteLifts } from './bit-and-byte.ts';
import { controlTransferLifts } from './control-transfer.ts';
import { cryptoLifts } from './crypto.ts';
import { dataTransferLifts } from './data-transfer.ts';
import { floatingPointLifts } from './floating-point.ts';
import type { Lifts } from './lift.ts';
import { packedIntegerLifts } from './packed-integer.ts';
import { packedMoveLifts } from './packed-move.ts';
import { packedShuffleLifts } from './packed-shuffle.ts';
import { packedStringLifts } from './packed-string.ts';
import { shiftRotateLifts } from './shift-rotate.ts';
import { stringAndPortLifts } from './string-and-port.ts';
import { systemLifts } from './system.ts';
import { x87Lifts } from './x87.ts';

export const LIFTS: Lifts = {
  ...arithmeticLifts,
  ...bitAndByteLifts,
  ...controlTransferLifts,
  ...dataTransferLifts,
  ...shiftRotateLifts,
  ...stringAndPortLifts,
  ...systemLifts,
  ...cryptoLifts,
  ...floatingPointLifts,
  ...packedIntegerLifts,
  ...packedMoveLifts,
  ...packedShuffleLifts,
  ...packedStringLifts,
  ...x87Lifts,
};
