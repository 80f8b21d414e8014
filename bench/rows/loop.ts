// A hot integer loop (bench/guest/loop.c).

import type { Mode, Row } from './row.ts';

const TURNS = { quick: 10_000_000, standard: 100_000_000, full: 1_000_000_000 };
const INSTRUCTIONS_PER_TURN = 10;
const TABLE_WORDS = 1024;

export function loopRows(mode: Mode): Row[] {
  const turns = TURNS[mode];
  return [
    {
      name: 'loop',
      summary: `integer loop with a load and a store, ${turns / 1e6} million turns`,
      program: { source: 'loop', defines: { TURNS: turns } },
      work: '/bench/program-loop',
      expected: loopSum(turns).toString(16).padStart(8, '0'),
      instructions: turns * INSTRUCTIONS_PER_TURN,
    },
  ];
}

function loopSum(turns: number): number {
  const table = new Uint32Array(TABLE_WORDS);
  let sum = 1;
  for (let turn = 0; turn < turns; turn++) {
    const index = turn % TABLE_WORDS;
    const value = (Math.imul(table[index]!, 1664525) + sum) | 0;
    table[index] = value;
    sum = ((sum << 5) | (sum >>> 27)) ^ value;
  }
  return sum >>> 0;
}
