// What a 16550A holds between two accesses.

import { requireStateVersion, type SavedState } from '../../../bus/saved-state.ts';
import { MSR } from './wire.ts';

export const UART16550_STATE_VERSION = 1;

export interface Uart16550State extends SavedState {
  ier: number;
  /** FCR.ENABLE and the trigger bits. */
  fcr: number;
  lcr: number;
  mcr: number;
  /** The receiver's overrun bit; the rest of LSR is computed. */
  overrun: boolean;
  msr: number;
  scr: number;
  divisor: number;
  /** The THR-empty interrupt is pending. */
  thrEmptyPending: boolean;
  /** Bytes that the guest may read now: the receive FIFO, or RBR alone. */
  received: number[];
  /** Bytes that came from the other end of the wire and wait for room. */
  waiting: number[];
}

export function initialUart16550State(): Uart16550State {
  return {
    version: UART16550_STATE_VERSION,
    ier: 0,
    fcr: 0,
    lcr: 0,
    mcr: 0,
    overrun: false,
    msr: MSR.DCD | MSR.DSR | MSR.CTS,
    scr: 0,
    divisor: 12,
    thrEmptyPending: false,
    received: [],
    waiting: [],
  };
}

export function saveUart16550(state: Uart16550State): Uart16550State {
  return { ...state, received: [...state.received], waiting: [...state.waiting] };
}

export function restoreUart16550(state: Uart16550State): Uart16550State {
  requireStateVersion('uart16550', state, UART16550_STATE_VERSION);
  return saveUart16550(state);
}
