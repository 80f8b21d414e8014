// What the ACPI fixed hardware holds between two accesses.

import { requireStateVersion, type SavedState } from '../../../bus/saved-state.ts';

export const ACPI_PM_STATE_VERSION = 1;

export interface AcpiPmState extends SavedState {
  pm1Status: number;
  pm1Enable: number;
  pm1Control: number;
  /** GPE0's two enable bytes; its status bytes are always 0, as nothing raises a general-purpose event. */
  gpe0Enable: number;
  resetControl: number;
  /** Nanoseconds that the PM timer has run. Working copy: the clock's time at which it was 0. */
  timerStartNs: number;
}

export function initialAcpiPmState(nowNs: number): AcpiPmState {
  return {
    version: ACPI_PM_STATE_VERSION,
    pm1Status: 0,
    pm1Enable: 0,
    pm1Control: 0,
    gpe0Enable: 0,
    resetControl: 0,
    timerStartNs: nowNs,
  };
}

export function saveAcpiPm(state: AcpiPmState, nowNs: number): AcpiPmState {
  return { ...state, timerStartNs: nowNs - state.timerStartNs };
}

export function restoreAcpiPm(state: AcpiPmState, nowNs: number): AcpiPmState {
  requireStateVersion('acpi-pm', state, ACPI_PM_STATE_VERSION);
  return { ...state, timerStartNs: nowNs - state.timerStartNs };
}
