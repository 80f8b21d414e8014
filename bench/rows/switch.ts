// What goes through the kernel: system calls, switches between processes, page faults.

import { type Mode, programRow, type Row } from './row.ts';

const CALLS = { quick: 50_000, short: 200_000, standard: 2_000_000 };
const ROUND_TRIPS = { quick: 2_000, short: 10_000, standard: 100_000 };
const PAGES = 2048;
const FAULTS = { quick: 8 * PAGES, short: 40 * PAGES, standard: 200 * PAGES };

export function switchRows(mode: Mode): Row[] {
  const [calls, trips, faults] = [CALLS[mode], ROUND_TRIPS[mode], FAULTS[mode]];
  return [
    counted('system-calls', 'system calls', calls, 'getppid and one byte from /dev/zero', { CALLS: calls }),
    // Every round trip is two switches.
    counted('context-switches', 'context switches', 2 * trips, 'two processes and two pipes', { TURNS: trips }, trips),
    counted('page-faults', 'page faults', faults, 'first writes to pages', { FAULTS: faults }),
  ];
}

function counted(
  name: string,
  what: string,
  count: number,
  summary: string,
  defines: Record<string, number>,
  printed = count,
): Row {
  const row = programRow(
    {
      name,
      group: 'switch',
      summary: `${count.toLocaleString('en')} ${what}: ${summary}`,
      operations: { what, count },
    },
    { source: name, defines },
  );
  return { ...row, expected: printed.toString(16).padStart(8, '0') };
}
