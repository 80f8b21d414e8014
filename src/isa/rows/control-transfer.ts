// Jumps, calls, returns and software interrupts (SDM volume 1, 5.1.7). Every one ends a run of decoded records.

import { CONDITION_NAMES } from '../flags.ts';
import type { RowAttributes, RowDefinition } from './row-definition.ts';
import { byteText, rowsNeeding } from './row-definition.ts';

const baseRow = rowsNeeding('base');

function row(mnemonic: string, opcode: string, operands: string, attributes: RowAttributes = {}): RowDefinition {
  return baseRow(mnemonic, opcode, operands, { ...attributes, ends: true });
}

function jccRows(name: string, condition: number): RowDefinition[] {
  const jcc = { lift: 'jcc', condition, size64: 'force64' } as const;
  return [
    row(`j${name}`, `${byteText(0x70 + condition)} cb`, 'Jb', jcc),
    row(`j${name}`, `0F ${byteText(0x80 + condition)} cz`, 'Jz', jcc),
  ];
}

export const CONTROL_TRANSFER_ROWS: readonly RowDefinition[] = [
  ...CONDITION_NAMES.flatMap(jccRows),
  row('jmp', 'EB cb', 'Jb', { size64: 'force64' }),
  row('jmp', 'E9 cz', 'Jz', { size64: 'force64' }),
  row('jmp', 'FF /4', 'Ev', { size64: 'force64', lift: 'jmp-indirect' }),
  row('jmpf', 'EA cp', 'Ap', { mode: 'no64' }),
  row('jmpf', 'FF /5', 'Mp'),
  row('call', 'E8 cz', 'Jz', { size64: 'force64' }),
  row('call', 'FF /2', 'Ev', { size64: 'force64', lift: 'call-indirect' }),
  row('callf', '9A cp', 'Ap', { mode: 'no64' }),
  row('callf', 'FF /3', 'Mp'),
  row('ret', 'C2 iw', 'Iw', { size64: 'force64' }),
  row('ret', 'C3', '', { size64: 'force64' }),
  row('retf', 'CA iw', 'Iw'),
  row('retf', 'CB', ''),

  row('loopnz', 'E0 cb', 'Jb', { size64: 'force64' }),
  row('loopz', 'E1 cb', 'Jb', { size64: 'force64' }),
  row('loop', 'E2 cb', 'Jb', { size64: 'force64' }),
  // JCXZ, JECXZ, JRCXZ by address size.
  row('jrcxz', 'E3 cb', 'Jb', { size64: 'force64' }),

  row('int1', 'F1', ''),
  row('int3', 'CC', ''),
  row('int', 'CD ib', 'Ib'),
  row('into', 'CE', '', { mode: 'no64' }),
  row('iret', 'CF', ''),
  baseRow('bound', '62 /r', 'Gv,Ma', { mode: 'no64' }),

  row('ud0', '0F FF /r', 'Gv,Ev', { lift: 'ud' }),
  row('ud1', '0F B9 /r', 'Gv,Ev', { lift: 'ud' }),
  row('ud2', '0F 0B', '', { lift: 'ud' }),
];
