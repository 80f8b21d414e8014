// Integer work: a hot loop with a load and a store, nested calls, switches in a loop.

import { type Mode, programRow, type Row } from './row.ts';

const LOOP_TURNS = { quick: 20_000_000, short: 150_000_000, standard: 1_000_000_000 };
const CALL_TURNS = { quick: 60, short: 300, standard: 3000 };
const MACHINE_TURNS = { quick: 60, short: 600, standard: 4000 };

export function loopRows(mode: Mode): Row[] {
  const turns = LOOP_TURNS[mode];
  return [
    programRow(
      {
        name: 'load-store',
        group: 'loop',
        summary: `integer loop with a load and a store, ${turns / 1e6} million turns`,
      },
      { source: 'loop', defines: { TURNS: turns } },
    ),
    programRow(
      { name: 'calls', group: 'loop', summary: `nested, recursive and indirect calls, ${CALL_TURNS[mode]} turns` },
      { source: 'calls', defines: { TURNS: CALL_TURNS[mode] } },
    ),
    programRow(
      { name: 'state-machine', group: 'loop', summary: `switches in loops, ${MACHINE_TURNS[mode]} turns` },
      { source: 'state-machine', defines: { TURNS: MACHINE_TURNS[mode] } },
    ),
  ];
}
