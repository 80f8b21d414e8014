// MMX and SSE packed-integer instructions (SDM volume 1, 5.4, 5.5.4, 5.6.3) that exist for MMX registers (NP) and for
// XMM registers (66) alike: one line is both rows.

import type { Feature } from '../row.ts';
import type { RowDefinition } from './row-definition.ts';
import { rowsNeeding } from './row-definition.ts';

const mmxRow = rowsNeeding('mmx');
const sse2Row = rowsNeeding('sse2');

/** `mmxFeature` is that of the MMX form; the XMM form is SSE2's. */
function both(mnemonic: string, opcode: string, mmxFeature: Feature = 'mmx', mmxSource = 'Qq'): RowDefinition[] {
  return [
    mmxRow(mnemonic, `NP 0F ${opcode} /r`, `Pq,${mmxSource}`, { feature: mmxFeature }),
    sse2Row(mnemonic, `66 0F ${opcode} /r`, 'Vdq,Wdq'),
  ];
}

/** A shift by an immediate count, groups 12 to 14. */
function shift(mnemonic: string, opcode: string): RowDefinition[] {
  return [mmxRow(mnemonic, `NP 0F ${opcode} ib`, 'Nq,Ib'), sse2Row(mnemonic, `66 0F ${opcode} ib`, 'Udq,Ib')];
}

export const PACKED_INTEGER_ROWS: readonly RowDefinition[] = [
  ...both('punpcklbw', '60', 'mmx', 'Qd'),
  ...both('punpcklwd', '61', 'mmx', 'Qd'),
  ...both('punpckldq', '62', 'mmx', 'Qd'),
  ...both('packsswb', '63'),
  ...both('pcmpgtb', '64'),
  ...both('pcmpgtw', '65'),
  ...both('pcmpgtd', '66'),
  ...both('packuswb', '67'),
  ...both('punpckhbw', '68'),
  ...both('punpckhwd', '69'),
  ...both('punpckhdq', '6A'),
  ...both('packssdw', '6B'),
  ...shift('psrlw', '71 /2'),
  ...shift('psraw', '71 /4'),
  ...shift('psllw', '71 /6'),
  ...shift('psrld', '72 /2'),
  ...shift('psrad', '72 /4'),
  ...shift('pslld', '72 /6'),
  ...shift('psrlq', '73 /2'),
  ...shift('psllq', '73 /6'),
  ...both('pcmpeqb', '74'),
  ...both('pcmpeqw', '75'),
  ...both('pcmpeqd', '76'),
  ...both('psrlw', 'D1'),
  ...both('psrld', 'D2'),
  ...both('psrlq', 'D3'),
  ...both('paddq', 'D4', 'sse2'),
  ...both('pmullw', 'D5'),
  ...both('psubusb', 'D8'),
  ...both('psubusw', 'D9'),
  ...both('pminub', 'DA', 'sse'),
  ...both('pand', 'DB'),
  ...both('paddusb', 'DC'),
  ...both('paddusw', 'DD'),
  ...both('pmaxub', 'DE', 'sse'),
  ...both('pandn', 'DF'),
  ...both('pavgb', 'E0', 'sse'),
  ...both('psraw', 'E1'),
  ...both('psrad', 'E2'),
  ...both('pavgw', 'E3', 'sse'),
  ...both('pmulhuw', 'E4', 'sse'),
  ...both('pmulhw', 'E5'),
  ...both('psubsb', 'E8'),
  ...both('psubsw', 'E9'),
  ...both('pminsw', 'EA', 'sse'),
  ...both('por', 'EB'),
  ...both('paddsb', 'EC'),
  ...both('paddsw', 'ED'),
  ...both('pmaxsw', 'EE', 'sse'),
  ...both('pxor', 'EF'),
  ...both('psllw', 'F1'),
  ...both('pslld', 'F2'),
  ...both('psllq', 'F3'),
  ...both('pmuludq', 'F4', 'sse2'),
  ...both('pmaddwd', 'F5'),
  ...both('psadbw', 'F6', 'sse'),
  ...both('psubb', 'F8'),
  ...both('psubw', 'F9'),
  ...both('psubd', 'FA'),
  ...both('psubq', 'FB', 'sse2'),
  ...both('paddb', 'FC'),
  ...both('paddw', 'FD'),
  ...both('paddd', 'FE'),

  mmxRow('pinsrw', 'NP 0F C4 /r ib', 'Pq,Ry/Mw,Ib', { feature: 'sse' }),
  sse2Row('pinsrw', '66 0F C4 /r ib', 'Vdq,Ry/Mw,Ib'),
  mmxRow('pextrw', 'NP 0F C5 /r ib', 'Gy,Nq,Ib', { feature: 'sse' }),
  sse2Row('pextrw', '66 0F C5 /r ib', 'Gy,Udq,Ib'),
  mmxRow('pmovmskb', 'NP 0F D7 /r', 'Gy,Nq', { feature: 'sse' }),
  sse2Row('pmovmskb', '66 0F D7 /r', 'Gy,Udq'),
];
