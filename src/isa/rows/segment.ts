// Segment registers and far pointers (SDM volume 1, 5.1.13). SS changes the stack's address size, so that its
// loads end a run.

import type { RowDefinition } from './row-definition.ts';
import { rowsNeeding } from './row-definition.ts';

const row = rowsNeeding('base');

export const SEGMENT_ROWS: readonly RowDefinition[] = [
  row('mov', '8C /r', 'Rv/Mw,Sw', { lift: 'mov-from-sreg' }),
  row('mov', '8E /r', 'Sw,Ew', { lift: 'mov-to-sreg', ends: true }),

  row('push', '06', 'ES', { lift: 'push-sreg', mode: 'no64' }),
  row('pop', '07', 'ES', { lift: 'pop-sreg', mode: 'no64' }),
  row('push', '0E', 'CS', { lift: 'push-sreg', mode: 'no64' }),
  row('push', '16', 'SS', { lift: 'push-sreg', mode: 'no64' }),
  row('pop', '17', 'SS', { lift: 'pop-sreg', mode: 'no64', ends: true }),
  row('push', '1E', 'DS', { lift: 'push-sreg', mode: 'no64' }),
  row('pop', '1F', 'DS', { lift: 'pop-sreg', mode: 'no64' }),
  row('push', '0F A0', 'FS', { lift: 'push-sreg', size64: 'default64' }),
  row('pop', '0F A1', 'FS', { lift: 'pop-sreg', size64: 'default64' }),
  row('push', '0F A8', 'GS', { lift: 'push-sreg', size64: 'default64' }),
  row('pop', '0F A9', 'GS', { lift: 'pop-sreg', size64: 'default64' }),

  row('les', 'C4 /r', 'Gv,Mp', { mode: 'no64' }),
  row('lds', 'C5 /r', 'Gv,Mp', { mode: 'no64' }),
  row('lss', '0F B2 /r', 'Gv,Mp', { ends: true }),
  row('lfs', '0F B4 /r', 'Gv,Mp'),
  row('lgs', '0F B5 /r', 'Gv,Mp'),

  row('rdfsbase', 'F3 0F AE /0', 'Ry', { mode: 'only64', feature: 'fsgsbase' }),
  row('rdgsbase', 'F3 0F AE /1', 'Ry', { mode: 'only64', feature: 'fsgsbase' }),
  row('wrfsbase', 'F3 0F AE /2', 'Ry', { mode: 'only64', feature: 'fsgsbase' }),
  row('wrgsbase', 'F3 0F AE /3', 'Ry', { mode: 'only64', feature: 'fsgsbase' }),
  row('swapgs', '0F 01 F8', '', { mode: 'only64' }),
];
