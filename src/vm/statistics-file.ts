// What engine a VM runs on and its statistics in a file, for benchmarks: as JSON, at SIGUSR2 and at the end.

import { renameSync, writeFileSync } from 'node:fs';
import type { VirtualMachine } from './virtual-machine.ts';

/** The environment variable that names the file. */
export const STATISTICS_VARIABLE = 'BULKHEAD_STATISTICS';

/** Does nothing without the variable. Gives what writes the file at the end of the run. */
export function keepStatisticsFile(machine: VirtualMachine): () => Promise<void> {
  const path = process.env[STATISTICS_VARIABLE];
  if (path === undefined || path === '') return async () => {};
  const write = async (): Promise<void> => {
    // Whoever waits for the file finds it whole.
    const whole = `${path}.new`;
    const content = { engine: machine.engine, ...(await machine.statistics()) };
    writeFileSync(whole, `${JSON.stringify(content, undefined, 2)}\n`);
    renameSync(whole, path);
  };
  process.on('SIGUSR2', () => void write());
  return write;
}
