// Debian's tcc compiles a generated C file with the C library's headers, links it, and the result runs.

import type { Mode, Row } from './row.ts';

const COMPILATIONS = { quick: 1, short: 2, standard: 20 };
const LINES = 5000;
const LINES_PER_FUNCTION = 20;
const FUNCTIONS = LINES / LINES_PER_FUNCTION;

export function compileRows(mode: Mode): Row[] {
  const count = COMPILATIONS[mode];
  return [
    {
      name: 'compile',
      group: 'compile',
      summary: `tcc: ${count} times a C file of ${LINES.toLocaleString('en')} lines and the program that it makes`,
      packages: ['tcc', 'libc6-dev'],
      files: [{ path: '/bench/generated.c', data: generatedFile() }],
      work: `i=0
while [ $i -lt ${count} ]; do i=$((i + 1)); tcc -o /tmp/generated /bench/generated.c && /tmp/generated; done`,
      cleanUp: 'rm /tmp/generated',
      expected: Array.from({ length: count }, () => generatedResult()).join('\n'),
    },
  ];
}

/** The compiler in a loop for some time: every turn makes code, runs it and throws it away. */
export function compileFor(seconds: number): Row {
  const [row] = compileRows('quick');
  return {
    ...row!,
    summary: `tcc: again and again for ${seconds} s`,
    work: `end=$(($(cut -d. -f1 /proc/uptime) + ${seconds})); wrong=0
while [ $(cut -d. -f1 /proc/uptime) -lt $end ]; do
  tcc -o /tmp/generated /bench/generated.c && [ "$(/tmp/generated)" = ${generatedResult()} ] || wrong=$((wrong + 1))
done
echo $wrong wrong`,
    expected: '0 wrong',
  };
}

function generatedFile(): string {
  const functions = Array.from({ length: FUNCTIONS }, (_, n) => functionText(n)).join('');
  const calls = Array.from({ length: FUNCTIONS }, (_, n) => `  sum = function_${n}(sum, ${n});\n`).join('');
  return `#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <stdint.h>

typedef struct record { uint32_t first, second; char name[16]; struct record *next; } record;

${functions}
int main(void) {
  uint32_t sum = 1;
${calls}  printf("%08x\\n", sum);
  return 0;
}
`;
}

/** LINES_PER_FUNCTION lines. */
function functionText(n: number): string {
  return `
/* Number ${n}: a record on the stack, a loop, a switch. */
static uint32_t function_${n}(uint32_t first, uint32_t second) {
  record record_${n} = { first, second * ${2 * n + 1}u, "record", NULL };
  uint32_t table[8] = { ${Array.from({ length: 8 }, (_, i) => n * i + 1).join(', ')} };
  for (int i = 0; i < 8; i++) {
    switch ((first >> i) & 3) {
      case 0: record_${n}.first += table[i]; break;
      case 1: record_${n}.first ^= table[i] << ${n % 13}; break;
      case 2: record_${n}.second -= table[7 - i] * ${n + 3}u; break;
      default: record_${n}.second = record_${n}.second * 31u + i;
    }
  }
  if (strlen(record_${n}.name) > ${n % 9} && record_${n}.first > ${1000 * n}u) {
    record_${n}.first = (record_${n}.first << 3) | (record_${n}.first >> 29);
  } else {
    record_${n}.second += (uint32_t)abs(${n} - 100);
  }
  return record_${n}.first + record_${n}.second * ${n + 7}u;
}
`;
}

function generatedResult(): string {
  let sum = 1;
  for (let n = 0; n < FUNCTIONS; n++) sum = functionResult(n, sum, n);
  return sum.toString(16).padStart(8, '0');
}

function functionResult(n: number, argument: number, other: number): number {
  let first = argument;
  let second = Math.imul(other, 2 * n + 1) >>> 0;
  const table = (i: number): number => n * i + 1;
  for (let i = 0; i < 8; i++) {
    const choice = (argument >>> i) & 3;
    if (choice === 0) first = (first + table(i)) >>> 0;
    else if (choice === 1) first = (first ^ (table(i) << (n % 13))) >>> 0;
    else if (choice === 2) second = (second - Math.imul(table(7 - i), n + 3)) >>> 0;
    else second = (Math.imul(second, 31) + i) >>> 0;
  }
  if ('record'.length > n % 9 && first > 1000 * n) first = ((first << 3) | (first >>> 29)) >>> 0;
  else second = (second + Math.abs(n - 100)) >>> 0;
  return (first + Math.imul(second, n + 7)) >>> 0;
}
