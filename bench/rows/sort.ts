// Work that memory decides: quicksort and a hash table of 64-bit keys, and a walk along pointers.

import { type Mode, programRow, type Row } from './row.ts';

const KEYS_LOG2 = { quick: 17, short: 19, standard: 22 };
const CHASE_STEPS = { quick: 200_000, short: 1_000_000, standard: 16_000_000 };
const CHASE_MEBIBYTES = { quick: 8, short: 32, standard: 64 };
const NODE_BYTES = 64;

export function sortRows(mode: Mode): Row[] {
  const log2 = KEYS_LOG2[mode];
  const keys = 2 ** log2;
  return [
    programRow(
      { name: 'quicksort', group: 'sort', summary: `quicksort of ${keys.toLocaleString('en')} 64-bit keys` },
      { source: 'quicksort', defines: { KEYS: keys } },
    ),
    programRow(
      { name: 'hash-table', group: 'sort', summary: `${keys.toLocaleString('en')} 64-bit keys put in and looked up` },
      { source: 'hash-table', defines: { KEYS: keys, SLOTS: 2 * keys, SLOTS_LOG2: log2 + 1 } },
    ),
    programRow(
      {
        name: 'pointer-chase',
        group: 'sort',
        summary: `${CHASE_STEPS[mode] / 1e6} million steps along pointers in ${CHASE_MEBIBYTES[mode]} MiB`,
      },
      {
        source: 'pointer-chase',
        defines: { NODES: (CHASE_MEBIBYTES[mode] << 20) / NODE_BYTES, STEPS: CHASE_STEPS[mode] },
      },
    ),
  ];
}
