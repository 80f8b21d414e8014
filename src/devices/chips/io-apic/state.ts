// What an I/O APIC holds between two accesses.

import { requireStateVersion, type SavedState } from '../../../bus/saved-state.ts';
import { IO_APIC_PIN_COUNT, REDIRECTION } from './wire.ts';

export const IO_APIC_STATE_VERSION = 1;

export interface IoApicState extends SavedState {
  id: number;
  ioregsel: number;
  /** Low and high halves of the redirection entries. */
  low: number[];
  high: number[];
  /** Levels of the pins, one bit each. */
  pins: number;
}

export function initialIoApicState(): IoApicState {
  return {
    version: IO_APIC_STATE_VERSION,
    id: 0,
    ioregsel: 0,
    low: new Array<number>(IO_APIC_PIN_COUNT).fill(REDIRECTION.MASKED),
    high: new Array<number>(IO_APIC_PIN_COUNT).fill(0),
    pins: 0,
  };
}

export function saveIoApic(state: IoApicState): IoApicState {
  return { ...state, low: [...state.low], high: [...state.high] };
}

export function restoreIoApic(state: IoApicState): IoApicState {
  requireStateVersion('io-apic', state, IO_APIC_STATE_VERSION);
  return saveIoApic(state);
}
