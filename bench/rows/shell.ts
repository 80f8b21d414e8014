// Busybox's shell: arithmetic in the shell itself, and processes.

import type { Mode, Row } from './row.ts';

const TURNS = { quick: 5_000, standard: 20_000, full: 200_000 };
const PROCESSES = { quick: 50, standard: 100, full: 500 };

export function shellRows(mode: Mode): Row[] {
  const turns = TURNS[mode];
  const processes = PROCESSES[mode];
  return [
    {
      name: 'shell-loop',
      summary: `busybox sh: arithmetic loop of ${turns.toLocaleString('en')} turns`,
      work: `i=0 sum=0
while [ $i -lt ${turns} ]; do
  sum=$(((sum * 31 + i) % 1000003))
  i=$((i + 1))
done
echo $sum`,
      expected: String(shellSum(turns)),
    },
    {
      name: 'shell-fork',
      summary: `busybox sh: ${processes} times fork, exec and reading the output`,
      // A path, so that it is a new program and not the shell's own applet.
      work: `i=0
while [ $i -lt ${processes} ]; do i=$(/bin/expr $i + 1); done
echo $i`,
      expected: String(processes),
    },
  ];
}

function shellSum(turns: number): number {
  let sum = 0;
  for (let i = 0; i < turns; i++) sum = (sum * 31 + i) % 1000003;
  return sum;
}
