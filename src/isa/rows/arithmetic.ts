// Binary and decimal integer arithmetic, logic and comparison (SDM volume 1, 5.1.2 to 5.1.4).

import type { RowDefinition } from './row-definition.ts';
import { byteText, rowsNeeding } from './row-definition.ts';

const row = rowsNeeding('base');

/** The eight two-operand operations that share one layout in 00 to 3D and group 1. */
function aluRows(mnemonic: string, number: number): RowDefinition[] {
  const lock = mnemonic !== 'cmp';
  const opcode = (offset: number): string => byteText(number * 8 + offset);
  return [
    row(mnemonic, `${opcode(0)} /r`, 'Eb,Gb', { lock }),
    row(mnemonic, `${opcode(1)} /r`, 'Ev,Gv', { lock }),
    row(mnemonic, `${opcode(2)} /r`, 'Gb,Eb'),
    row(mnemonic, `${opcode(3)} /r`, 'Gv,Ev'),
    row(mnemonic, `${opcode(4)} ib`, 'AL,Ib'),
    row(mnemonic, `${opcode(5)} iz`, 'rAX,Iz'),
    row(mnemonic, `80 /${number} ib`, 'Eb,Ib', { lock }),
    row(mnemonic, `81 /${number} iz`, 'Ev,Iz', { lock }),
    row(mnemonic, `82 /${number} ib`, 'Eb,Ib', { lock, mode: 'no64' }),
    row(mnemonic, `83 /${number} ib`, 'Ev,Ibs', { lock }),
  ];
}

export const ARITHMETIC_ROWS: readonly RowDefinition[] = [
  ...['add', 'or', 'adc', 'sbb', 'and', 'sub', 'xor', 'cmp'].flatMap(aluRows),

  row('inc', '40+r', 'Zv', { mode: 'no64' }),
  row('inc', 'FE /0', 'Eb', { lock: true }),
  row('inc', 'FF /0', 'Ev', { lock: true }),
  row('dec', '48+r', 'Zv', { mode: 'no64' }),
  row('dec', 'FE /1', 'Eb', { lock: true }),
  row('dec', 'FF /1', 'Ev', { lock: true }),
  row('not', 'F6 /2', 'Eb', { lock: true }),
  row('not', 'F7 /2', 'Ev', { lock: true }),
  row('neg', 'F6 /3', 'Eb', { lock: true }),
  row('neg', 'F7 /3', 'Ev', { lock: true }),

  row('test', '84 /r', 'Eb,Gb'),
  row('test', '85 /r', 'Ev,Gv'),
  row('test', 'A8 ib', 'AL,Ib'),
  row('test', 'A9 iz', 'rAX,Iz'),
  row('test', 'F6 /0 ib', 'Eb,Ib'),
  row('test', 'F6 /1 ib', 'Eb,Ib'),
  row('test', 'F7 /0 iz', 'Ev,Iz'),
  row('test', 'F7 /1 iz', 'Ev,Iz'),

  row('mul', 'F6 /4', 'Eb'),
  row('mul', 'F7 /4', 'Ev'),
  row('imul', 'F6 /5', 'Eb'),
  row('imul', 'F7 /5', 'Ev'),
  row('imul', '0F AF /r', 'Gv,Ev'),
  row('imul', '69 /r iz', 'Gv,Ev,Iz'),
  row('imul', '6B /r ib', 'Gv,Ev,Ibs'),
  row('div', 'F6 /6', 'Eb'),
  row('div', 'F7 /6', 'Ev'),
  row('idiv', 'F6 /7', 'Eb'),
  row('idiv', 'F7 /7', 'Ev'),

  // CBW, CWDE, CDQE and CWD, CDQ, CQO by operand size.
  row('cbw', '98', ''),
  row('cwd', '99', ''),

  row('daa', '27', '', { mode: 'no64' }),
  row('das', '2F', '', { mode: 'no64' }),
  row('aaa', '37', '', { mode: 'no64' }),
  row('aas', '3F', '', { mode: 'no64' }),
  row('aam', 'D4 ib', 'Ib', { mode: 'no64' }),
  row('aad', 'D5 ib', 'Ib', { mode: 'no64' }),
  row('salc', 'D6', '', { mode: 'no64' }),
];
