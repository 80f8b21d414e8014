// The debug-exit port holds nothing: its saved state is a version.

import { requireStateVersion, type SavedState } from '../../../bus/saved-state.ts';

export const DEBUG_EXIT_STATE_VERSION = 1;

export type DebugExitState = SavedState;

export function saveDebugExit(): DebugExitState {
  return { version: DEBUG_EXIT_STATE_VERSION };
}

export function restoreDebugExit(state: DebugExitState): void {
  requireStateVersion('debug-exit', state, DEBUG_EXIT_STATE_VERSION);
}
