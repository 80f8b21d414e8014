// What the keyboard controller holds between two accesses.

import { requireStateVersion, type SavedState } from '../../../bus/saved-state.ts';
import { COMMAND_BYTE, OUTPUT_PORT } from './wire.ts';

export const I8042_STATE_VERSION = 1;

export interface I8042State extends SavedState {
  commandByte: number;
  outputPort: number;
  /** The byte in the output buffer, -1 for none. */
  output: number;
  /** That byte stands for a keyboard that did not answer. */
  timeout: boolean;
  /** The command whose data byte comes next, 0 for none. */
  pendingCommand: number;
  lastWasCommand: boolean;
}

export function initialI8042State(): I8042State {
  return {
    version: I8042_STATE_VERSION,
    commandByte: COMMAND_BYTE.SYSTEM | COMMAND_BYTE.DISABLE_KEYBOARD | COMMAND_BYTE.DISABLE_AUXILIARY,
    outputPort: OUTPUT_PORT.RESET_INACTIVE | OUTPUT_PORT.A20,
    output: -1,
    timeout: false,
    pendingCommand: 0,
    lastWasCommand: false,
  };
}

export function restoreI8042(state: I8042State): I8042State {
  requireStateVersion('i8042', state, I8042_STATE_VERSION);
  return { ...state };
}
