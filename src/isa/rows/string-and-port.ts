// String instructions, which F2 and F3 repeat, and port I/O (SDM volume 1, 5.1.8 and 5.1.9).

import type { RowDefinition } from './row-definition.ts';
import { rowsNeeding } from './row-definition.ts';

const row = rowsNeeding('base');

export const STRING_AND_PORT_ROWS: readonly RowDefinition[] = [
  row('movs', 'A4', 'Yb,Xb', { repeat: 'rep' }),
  row('movs', 'A5', 'Yv,Xv', { repeat: 'rep' }),
  row('cmps', 'A6', 'Xb,Yb', { repeat: 'repz' }),
  row('cmps', 'A7', 'Xv,Yv', { repeat: 'repz' }),
  row('stos', 'AA', 'Yb,AL', { repeat: 'rep' }),
  row('stos', 'AB', 'Yv,rAX', { repeat: 'rep' }),
  row('lods', 'AC', 'AL,Xb', { repeat: 'rep' }),
  row('lods', 'AD', 'rAX,Xv', { repeat: 'rep' }),
  row('scas', 'AE', 'AL,Yb', { repeat: 'repz' }),
  row('scas', 'AF', 'rAX,Yv', { repeat: 'repz' }),
  row('ins', '6C', 'Yb,DX', { repeat: 'rep' }),
  row('ins', '6D', 'Yz,DX', { repeat: 'rep' }),
  row('outs', '6E', 'DX,Xb', { repeat: 'rep' }),
  row('outs', '6F', 'DX,Xz', { repeat: 'rep' }),

  row('in', 'E4 ib', 'AL,Ib'),
  row('in', 'E5 ib', 'eAX,Ib'),
  row('in', 'EC', 'AL,DX'),
  row('in', 'ED', 'eAX,DX'),
  row('out', 'E6 ib', 'Ib,AL'),
  row('out', 'E7 ib', 'Ib,eAX'),
  row('out', 'EE', 'DX,AL'),
  row('out', 'EF', 'DX,eAX'),
];
