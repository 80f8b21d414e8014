// The suite's rows, in the order in which they run. `boot` is not among them: every guest boots anyway.

import { hashRows } from './hash.ts';
import { loopRows } from './loop.ts';
import type { Mode, Row } from './row.ts';
import { shellRows } from './shell.ts';

export function allRows(mode: Mode): Row[] {
  return [...loopRows(mode), ...shellRows(mode), ...hashRows(mode)];
}
