// What a local APIC holds between two accesses. Times are relative to the moment of saving.

import { requireStateVersion, type SavedState } from '../../../bus/saved-state.ts';
import { APIC_BASE, LOCAL_APIC_BASE, LVT } from './wire.ts';

export const LOCAL_APIC_STATE_VERSION = 1;

/** The registers that are plain numbers: the device works on them as they are. */
export interface LocalApicRegisters {
  /** IA32_APIC_BASE, its base address included. */
  apicBase: number;
  tpr: number;
  ldr: number;
  dfr: number;
  svr: number;
  esr: number;
  /** Errors since the last write to ESR. */
  pendingErrors: number;
  icrLow: number;
  icrHigh: number;
  /** Timer, thermal, performance, LINT0, LINT1, error. */
  lvt: number[];
  initialCount: number;
  divide: number;
  nmiPending: boolean;
  lint0: boolean;
  lint1: boolean;
  /** When the timer's count began. */
  startNs: number;
}

export interface LocalApicState extends SavedState {
  apicId: number;
  /** `startNs` counts back from the moment of saving: how long the timer has been running. */
  registers: LocalApicRegisters;
  irr: number[];
  isr: number[];
  tmr: number[];
  /** IA32_TSC_DEADLINE in hexadecimal, "0" where it is not armed. */
  tscDeadline: string;
}

/** After RESET, or after INIT, which keeps the mode (SDM 3A 11.4.7). */
export function initialRegisters(apicBase: number): LocalApicRegisters {
  return {
    apicBase,
    tpr: 0,
    ldr: 0,
    dfr: 0xffffffff,
    svr: 0xff,
    esr: 0,
    pendingErrors: 0,
    icrLow: 0,
    icrHigh: 0,
    lvt: new Array<number>(6).fill(LVT.MASKED),
    initialCount: 0,
    divide: 0,
    nmiPending: false,
    lint0: false,
    lint1: false,
    startNs: 0,
  };
}

export function resetApicBase(isBootProcessor: boolean): number {
  return LOCAL_APIC_BASE + APIC_BASE.EN + (isBootProcessor ? APIC_BASE.BSP : 0);
}

export function saveRegisters(registers: LocalApicRegisters, nowNs: number): LocalApicRegisters {
  return { ...registers, lvt: [...registers.lvt], startNs: nowNs - registers.startNs };
}

export function restoreRegisters(state: LocalApicState, nowNs: number): LocalApicRegisters {
  requireStateVersion('local-apic', state, LOCAL_APIC_STATE_VERSION);
  return saveRegisters(state.registers, nowNs);
}
