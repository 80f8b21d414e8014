// Busybox's shell: arithmetic in the shell itself, processes, and pipes between them.

import type { Mode, Row } from './row.ts';

const TURNS = { quick: 5_000, short: 20_000, standard: 200_000 };
const PROCESSES = { quick: 50, short: 100, standard: 500 };
const PIPELINES = { quick: 5, short: 10, standard: 60 };
const PIPED_LINES = 2000;

export function shellRows(mode: Mode): Row[] {
  const turns = TURNS[mode];
  const processes = PROCESSES[mode];
  return [
    {
      name: 'shell-loop',
      group: 'shell',
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
      group: 'shell',
      summary: `busybox sh: ${processes} times fork, exec and reading the output`,
      // A path, so that it is a new program and not the shell's own applet.
      work: `i=0
while [ $i -lt ${processes} ]; do i=$(/bin/expr $i + 1); done
echo $i`,
      expected: String(processes),
    },
    {
      name: 'shell-pipes',
      group: 'shell',
      summary: `busybox sh: ${PIPELINES[mode]} pipelines of five programs, ${PIPED_LINES} lines each`,
      work: `i=0 sum=0
while [ $i -lt ${PIPELINES[mode]} ]; do
  i=$((i + 1))
  n=$(seq $i $((i + ${PIPED_LINES - 1})) | sed 's/9/8/' | tr 7 6 | sort -rnu | wc -l)
  sum=$((sum + n))
done
echo $sum`,
      expected: String(pipeSum(PIPELINES[mode])),
    },
  ];
}

function shellSum(turns: number): number {
  let sum = 0;
  for (let i = 0; i < turns; i++) sum = (sum * 31 + i) % 1000003;
  return sum;
}

function pipeSum(pipelines: number): number {
  let sum = 0;
  for (let i = 1; i <= pipelines; i++) {
    const lines = Array.from({ length: PIPED_LINES }, (_, line) => String(i + line));
    sum += new Set(lines.map((line) => line.replace('9', '8').replaceAll('7', '6'))).size;
  }
  return sum;
}
