// What the end of a guest means to whoever ran it: an exit status, and a line where something went wrong.

import { EXIT_STATUS } from '../base/errors.ts';
import type { MachineExit } from '../machine/machine.ts';

export interface Outcome {
  exitStatus: number;
  message?: string;
  hint?: string;
}

/** The end of a guest that ran by itself, on its console. */
export function outcomeOfGuest(exit: MachineExit): Outcome {
  switch (exit.kind) {
    case 'power-off':
    case 'stopped':
    case 'reset':
      return { exitStatus: EXIT_STATUS.ok };
    case 'debug-exit':
      return { exitStatus: exit.status & 0xff };
    case 'triple-fault':
      return {
        exitStatus: EXIT_STATUS.guestFault,
        message: `the guest's processor shut down: ${exit.reason}`,
        hint: 'the kernel met an exception that it had no working handler for',
      };
    case 'halted-forever':
      return {
        exitStatus: EXIT_STATUS.guestFault,
        message: 'the guest halted with interrupts off, from which nothing would wake it',
      };
    case 'internal-error':
      return {
        exitStatus: EXIT_STATUS.guestFault,
        message: `the engine stopped: ${exit.message}`,
        hint: exit.hint ?? 'this is a defect of Bulkhead; please report it with the lines above',
      };
  }
}

/** The end of a guest that was to run a command; `status` is the command's, if it got that far. */
export function outcomeOfCommand(exit: MachineExit, status: number | undefined): Outcome {
  if (status !== undefined) return { exitStatus: status };
  switch (exit.kind) {
    case 'power-off':
      // The command did that: nobody else in the guest would.
      return { exitStatus: EXIT_STATUS.ok };
    case 'reset':
      return {
        exitStatus: EXIT_STATUS.guestFault,
        message: 'the guest reset before the command had ended; it may have panicked',
        hint: '--verbose shows everything that its kernel says',
      };
    default:
      return outcomeOfGuest(exit);
  }
}
