// Flag control, no-operations and hints (SDM volume 1, 5.1.10 to 5.1.12). Hints of features that are not offered (MPX,
// CET, CLDEMOTE, PREFETCHW) execute as NOP, as they do on processors without them.

import type { RowDefinition } from './row-definition.ts';
import { rowsNeeding } from './row-definition.ts';

const row = rowsNeeding('base');
const hint = { lift: 'nop' } as const;

export const FLAG_AND_NOP_ROWS: readonly RowDefinition[] = [
  row('cmc', 'F5', ''),
  row('clc', 'F8', ''),
  row('stc', 'F9', ''),
  row('cli', 'FA', ''),
  // The run ends so that the interrupt that becomes possible is seen at once.
  row('sti', 'FB', ''),
  row('cld', 'FC', ''),
  row('std', 'FD', ''),

  row('nop', 'REX.B0 90', ''),
  // With REX.B it is XCHG of R8 and RAX.
  row('pause', 'F3 REX.B0 90', ''),
  row('prefetchw', '0F 0D /r', 'Ev', hint),
  row('prefetch', '0F 18 /r', 'Ev', hint),
  row('nop', '0F 19 /r', 'Ev'),
  row('nop', '0F 1A /r', 'Ev'),
  row('nop', '0F 1B /r', 'Ev'),
  row('nop', '0F 1C /r', 'Ev'),
  row('nop', '0F 1D /r', 'Ev'),
  row('nop', '0F 1E /r', 'Ev'),
  row('nop', '0F 1F /r', 'Ev'),
];
