// Moves of MMX and XMM registers as bits, shuffles of integers, and what exists for one register file only
// (SDM volume 1, 5.4.1, 5.5.5, 5.6.1 and 5.6.3).

import type { RowDefinition } from './row-definition.ts';
import { rowsNeeding } from './row-definition.ts';

const mmxRow = rowsNeeding('mmx');
const sseRow = rowsNeeding('sse');
const sse2Row = rowsNeeding('sse2');

export const PACKED_MOVE_ROWS: readonly RowDefinition[] = [
  mmxRow('movd', 'NP 0F 6E /r', 'Pq,Ed'),
  mmxRow('movd', 'NP 0F 7E /r', 'Ed,Pd'),
  mmxRow('movq', 'NP REX.W 0F 6E /r', 'Pq,Eq', { lift: 'movd' }),
  mmxRow('movq', 'NP REX.W 0F 7E /r', 'Eq,Pq', { lift: 'movd' }),
  mmxRow('movq', 'NP 0F 6F /r', 'Pq,Qq'),
  mmxRow('movq', 'NP 0F 7F /r', 'Qq,Pq'),
  mmxRow('emms', 'NP 0F 77', ''),

  sseRow('pshufw', 'NP 0F 70 /r ib', 'Pq,Qq,Ib'),
  sseRow('movntq', 'NP 0F E7 /r', 'Mq,Pq'),
  sseRow('maskmovq', 'NP 0F F7 /r', 'BDq,Pq,Nq'),

  sse2Row('movd', '66 0F 6E /r', 'Vdq,Ed'),
  sse2Row('movd', '66 0F 7E /r', 'Ed,Vd'),
  sse2Row('movq', '66 REX.W 0F 6E /r', 'Vdq,Eq', { lift: 'movd' }),
  sse2Row('movq', '66 REX.W 0F 7E /r', 'Eq,Vq', { lift: 'movd' }),
  sse2Row('movq', 'F3 0F 7E /r', 'Vq,Wq'),
  sse2Row('movq', '66 0F D6 /r', 'Wq,Vq'),
  sse2Row('movdqa', '66 0F 6F /r', 'Vdq,Wdq'),
  sse2Row('movdqa', '66 0F 7F /r', 'Wdq,Vdq'),
  sse2Row('movdqu', 'F3 0F 6F /r', 'Vdq,Wdq'),
  sse2Row('movdqu', 'F3 0F 7F /r', 'Wdq,Vdq'),
  sse2Row('movq2dq', 'F3 0F D6 /r', 'Vdq,Nq'),
  sse2Row('movdq2q', 'F2 0F D6 /r', 'Pq,Uq'),
  sse2Row('movntdq', '66 0F E7 /r', 'Mdq,Vdq'),
  sse2Row('maskmovdqu', '66 0F F7 /r', 'BDdq,Vdq,Udq'),
  sse2Row('lddqu', 'F2 0F F0 /r', 'Vdq,Mdq', { feature: 'sse3' }),

  sse2Row('pshufd', '66 0F 70 /r ib', 'Vdq,Wdq,Ib'),
  sse2Row('pshufhw', 'F3 0F 70 /r ib', 'Vdq,Wdq,Ib'),
  sse2Row('pshuflw', 'F2 0F 70 /r ib', 'Vdq,Wdq,Ib'),
  sse2Row('punpcklqdq', '66 0F 6C /r', 'Vdq,Wdq'),
  sse2Row('punpckhqdq', '66 0F 6D /r', 'Vdq,Wdq'),
  sse2Row('psrldq', '66 0F 73 /3 ib', 'Udq,Ib'),
  sse2Row('pslldq', '66 0F 73 /7 ib', 'Udq,Ib'),
];
