// What system control port A holds.

import { requireStateVersion, type SavedState } from '../../../bus/saved-state.ts';
import { SYSTEM_CONTROL_A } from './wire.ts';

export const SYSTEM_CONTROL_STATE_VERSION = 1;

export interface SystemControlState extends SavedState {
  value: number;
}

export function initialSystemControlState(): SystemControlState {
  return { version: SYSTEM_CONTROL_STATE_VERSION, value: SYSTEM_CONTROL_A.A20 };
}

export function restoreSystemControl(state: SystemControlState): SystemControlState {
  requireStateVersion('system-control', state, SYSTEM_CONTROL_STATE_VERSION);
  return { ...state };
}
