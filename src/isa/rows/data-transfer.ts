// Moves, exchanges, stack and address instructions (SDM volume 1, 5.1.1), conditional moves and sets included.

import { CONDITION_NAMES } from '../flags.ts';
import type { RowDefinition } from './row-definition.ts';
import { byteText, rowsNeeding } from './row-definition.ts';

const row = rowsNeeding('base');

function conditionalRows(name: string, condition: number): RowDefinition[] {
  const cmovcc = { lift: 'cmovcc', condition, feature: 'cmov' } as const;
  return [
    row(`cmov${name}`, `0F ${byteText(0x40 + condition)} /r`, 'Gv,Ev', cmovcc),
    row(`set${name}`, `0F ${byteText(0x90 + condition)} /r`, 'Eb', { lift: 'setcc', condition }),
  ];
}

export const DATA_TRANSFER_ROWS: readonly RowDefinition[] = [
  row('mov', '88 /r', 'Eb,Gb'),
  row('mov', '89 /r', 'Ev,Gv'),
  row('mov', '8A /r', 'Gb,Eb'),
  row('mov', '8B /r', 'Gv,Ev'),
  row('mov', 'A0 mo', 'AL,Ob'),
  row('mov', 'A1 mo', 'rAX,Ov'),
  row('mov', 'A2 mo', 'Ob,AL'),
  row('mov', 'A3 mo', 'Ov,rAX'),
  row('mov', 'B0+r ib', 'Zb,Ib'),
  row('mov', 'B8+r iv', 'Zv,Iv'),
  row('mov', 'C6 /0 ib', 'Eb,Ib'),
  row('mov', 'C7 /0 iz', 'Ev,Iz'),
  row('movzx', '0F B6 /r', 'Gv,Eb'),
  row('movzx', '0F B7 /r', 'Gv,Ew'),
  row('movsx', '0F BE /r', 'Gv,Eb'),
  row('movsx', '0F BF /r', 'Gv,Ew'),
  row('movsxd', '63 /r', 'Gv,Ez', { mode: 'only64' }),
  row('movbe', 'NFx 0F 38 F0 /r', 'Gv,Mv', { feature: 'movbe' }),
  row('movbe', 'NFx 0F 38 F1 /r', 'Mv,Gv', { feature: 'movbe' }),
  row('movnti', 'NP 0F C3 /r', 'My,Gy', { feature: 'sse2' }),
  ...CONDITION_NAMES.flatMap(conditionalRows),

  row('lea', '8D /r', 'Gv,M'),
  row('xlat', 'D7', 'BBb'),
  row('bswap', '0F C8+r', 'Zv'),

  row('xchg', '86 /r', 'Eb,Gb', { lock: true }),
  row('xchg', '87 /r', 'Ev,Gv', { lock: true }),
  row('xchg', '90+r', 'Zv,rAX'),
  row('xadd', '0F C0 /r', 'Eb,Gb', { lock: true }),
  row('xadd', '0F C1 /r', 'Ev,Gv', { lock: true }),
  row('cmpxchg', '0F B0 /r', 'Eb,Gb', { lock: true }),
  row('cmpxchg', '0F B1 /r', 'Ev,Gv', { lock: true }),
  row('cmpxchg8b', '0F C7 /1', 'Mq', { lock: true, feature: 'cx8' }),
  row('cmpxchg16b', 'REX.W 0F C7 /1', 'Mdq', { lock: true, feature: 'cx16' }),

  row('push', '50+r', 'Zv', { size64: 'default64' }),
  row('push', '68 iz', 'Iz', { size64: 'default64' }),
  row('push', '6A ib', 'Ibs', { size64: 'default64' }),
  row('push', 'FF /6', 'Ev', { size64: 'default64' }),
  row('pop', '58+r', 'Zv', { size64: 'default64' }),
  row('pop', '8F /0', 'Ev', { size64: 'default64' }),
  row('pusha', '60', '', { mode: 'no64' }),
  row('popa', '61', '', { mode: 'no64' }),
  row('pushf', '9C', '', { size64: 'default64' }),
  // The run ends so that a trap flag or an interrupt that becomes possible is seen at once.
  row('popf', '9D', '', { size64: 'default64', ends: true }),
  row('enter', 'C8 iw ib', 'Iw,Ib', { size64: 'default64' }),
  row('leave', 'C9', '', { size64: 'default64' }),

  row('lahf', '9F', ''),
  row('sahf', '9E', ''),
];
