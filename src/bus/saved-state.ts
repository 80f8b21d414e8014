// What every device's saved state has in common: plain data that JSON carries unchanged, with a version.

import { UserError } from '../base/errors.ts';

export interface SavedState {
  version: number;
}

/** Throws UserError where `state` comes from a Bulkhead whose `device` saves in another form. */
export function requireStateVersion(device: string, state: SavedState, version: number): void {
  if (state.version !== version) {
    throw new UserError(`the saved state of ${device} has version ${state.version}, this Bulkhead reads ${version}`, {
      hint: 'resume it with the Bulkhead that saved it',
    });
  }
}
