// How the command line tells of failures: one line on standard error, and a hint where there is one.

import { EXIT_STATUS, UserError } from '../base/errors.ts';
import { MachineCrash } from '../vm/virtual-machine.ts';

/** The text, and the status to exit with. */
export function describeFailure(error: unknown): { text: string; exitStatus: number } {
  if (error instanceof UserError) {
    const hint = error.hint === undefined ? '' : `  hint: ${error.hint}\n`;
    return { text: `bulkhead: ${error.message}\n${hint}`, exitStatus: error.exitStatus };
  }
  // A defect: whoever reports it needs to say where.
  const cause = error instanceof MachineCrash ? error.cause : error;
  const where = cause instanceof Error ? (cause.stack ?? cause.message) : String(cause);
  const message = error instanceof MachineCrash ? "the machine's thread failed" : 'internal error';
  const hint = '  hint: this is a defect of Bulkhead; please report it with the lines above\n';
  return { text: `bulkhead: ${message}: ${where}\n${hint}`, exitStatus: EXIT_STATUS.guestFault };
}
