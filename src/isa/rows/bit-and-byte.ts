// Bit tests, bit scans, counts and checksums (SDM volume 1, 5.1.6). TZCNT and LZCNT are not offered: their F3 prefix is
// ignored and BSF or BSR executes.

import type { RowDefinition } from './row-definition.ts';
import { rowsNeeding } from './row-definition.ts';

const row = rowsNeeding('base');

export const BIT_AND_BYTE_ROWS: readonly RowDefinition[] = [
  row('bt', '0F A3 /r', 'Ev,Gv'),
  row('bt', '0F BA /4 ib', 'Ev,Ib'),
  row('bts', '0F AB /r', 'Ev,Gv', { lock: true }),
  row('bts', '0F BA /5 ib', 'Ev,Ib', { lock: true }),
  row('btr', '0F B3 /r', 'Ev,Gv', { lock: true }),
  row('btr', '0F BA /6 ib', 'Ev,Ib', { lock: true }),
  row('btc', '0F BB /r', 'Ev,Gv', { lock: true }),
  row('btc', '0F BA /7 ib', 'Ev,Ib', { lock: true }),
  row('bsf', '0F BC /r', 'Gv,Ev'),
  row('bsr', '0F BD /r', 'Gv,Ev'),
  row('popcnt', 'F3 0F B8 /r', 'Gv,Ev', { feature: 'popcnt' }),
  row('crc32', 'F2 0F 38 F0 /r', 'Gy,Eb', { feature: 'sse4.2' }),
  row('crc32', 'F2 0F 38 F1 /r', 'Gy,Ev', { feature: 'sse4.2' }),
];
