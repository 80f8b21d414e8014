// Shifts and rotates (SDM volume 1, 5.1.5).

import type { RowDefinition } from './row-definition.ts';
import { rowsNeeding } from './row-definition.ts';

const row = rowsNeeding('base');

function shiftRows(mnemonic: string, number: number): RowDefinition[] {
  // /6 is the second encoding of SHL that the APM calls SAL.
  const attributes = mnemonic === 'sal' ? { lift: 'shl' } : {};
  return [
    row(mnemonic, `C0 /${number} ib`, 'Eb,Ib', attributes),
    row(mnemonic, `C1 /${number} ib`, 'Ev,Ib', attributes),
    row(mnemonic, `D0 /${number}`, 'Eb,1', attributes),
    row(mnemonic, `D1 /${number}`, 'Ev,1', attributes),
    row(mnemonic, `D2 /${number}`, 'Eb,CL', attributes),
    row(mnemonic, `D3 /${number}`, 'Ev,CL', attributes),
  ];
}

export const SHIFT_ROTATE_ROWS: readonly RowDefinition[] = [
  ...['rol', 'ror', 'rcl', 'rcr', 'shl', 'shr', 'sal', 'sar'].flatMap(shiftRows),
  row('shld', '0F A4 /r ib', 'Ev,Gv,Ib'),
  row('shld', '0F A5 /r', 'Ev,Gv,CL'),
  row('shrd', '0F AC /r ib', 'Ev,Gv,Ib'),
  row('shrd', '0F AD /r', 'Ev,Gv,CL'),
];
