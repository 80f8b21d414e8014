// The whole instruction table: every family's rows, numbered. What is not here raises #UD.

import type { Row } from './row.ts';
import { ARITHMETIC_ROWS } from './rows/arithmetic.ts';
import { BIT_AND_BYTE_ROWS } from './rows/bit-and-byte.ts';
import { CONTROL_TRANSFER_ROWS } from './rows/control-transfer.ts';
import { DATA_TRANSFER_ROWS } from './rows/data-transfer.ts';
import { FLAG_AND_NOP_ROWS } from './rows/flag-and-nop.ts';
import { FLOATING_POINT_ROWS } from './rows/floating-point.ts';
import { PACKED_INTEGER_ROWS } from './rows/packed-integer.ts';
import { PACKED_MOVE_ROWS } from './rows/packed-move.ts';
import { SEGMENT_ROWS } from './rows/segment.ts';
import { SHIFT_ROTATE_ROWS } from './rows/shift-rotate.ts';
import { SSE4_ROWS } from './rows/sse4.ts';
import { STRING_AND_PORT_ROWS } from './rows/string-and-port.ts';
import { SYSTEM_ROWS } from './rows/system.ts';
import { X87_ROWS } from './rows/x87.ts';

export const ROWS: readonly Row[] = [
  ...ARITHMETIC_ROWS,
  ...DATA_TRANSFER_ROWS,
  ...SEGMENT_ROWS,
  ...CONTROL_TRANSFER_ROWS,
  ...SHIFT_ROTATE_ROWS,
  ...BIT_AND_BYTE_ROWS,
  ...STRING_AND_PORT_ROWS,
  ...FLAG_AND_NOP_ROWS,
  ...SYSTEM_ROWS,
  ...X87_ROWS,
  ...PACKED_INTEGER_ROWS,
  ...PACKED_MOVE_ROWS,
  ...FLOATING_POINT_ROWS,
  ...SSE4_ROWS,
].map((definition, id) => ({ id, ...definition }));
