// The suite's rows, in the order in which they run. `boot` is not among them: every guest boots anyway.

import { compileRows } from './compile.ts';
import { floatRows } from './float.ts';
import { hashRows } from './hash.ts';
import { loopRows } from './loop.ts';
import { pythonRows } from './python.ts';
import type { Group, Mode, Row } from './row.ts';
import { shellRows } from './shell.ts';
import { sortRows } from './sort.ts';
import { sqliteRows } from './sqlite.ts';
import { switchRows } from './switch.ts';

export const GROUPS: readonly Group[] = [
  ...(['boot', 'loop', 'hash', 'sort', 'float', 'shell'] as const),
  ...(['python', 'sqlite', 'compile', 'switch'] as const),
];

export function allRows(mode: Mode): Row[] {
  return [
    ...loopRows(mode),
    ...hashRows(mode),
    ...sortRows(mode),
    ...floatRows(mode),
    ...shellRows(mode),
    ...pythonRows(mode),
    ...sqliteRows(mode),
    ...compileRows(mode),
    ...switchRows(mode),
  ];
}
