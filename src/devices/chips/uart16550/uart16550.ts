// The 16550A serial port (National Semiconductor PC16550D data sheet). Transmission takes no time: THR is always empty,
// so that a console costs the fewest port accesses. Nor does reception: what comes in waits in a bounded queue, from
// which the FIFO is filled up, and the character timeout is over at once.

import type { InterruptLine } from '../../../bus/interrupt-line.ts';
import type { PortBus } from '../../../bus/port-bus.ts';
import { initialUart16550State, restoreUart16550, saveUart16550, type Uart16550State } from './state.ts';
import {
  FCR,
  FIFO_SIZE_BYTES,
  IER,
  IIR,
  LCR,
  LSR,
  MCR,
  MSR,
  TRIGGER_LEVELS,
  UART_PORT_COUNT,
  UART_REGISTER,
} from './wire.ts';

/** The other end of the wire. `write` takes one byte that the guest sent; it must not throw and must not wait. */
export interface SerialBackend {
  write(byte: number): void;
  /** The guest's modem outputs changed. */
  modemControl?(dataTerminalReady: boolean, requestToSend: boolean): void;
  /** There is room for more input after `receive` had taken less than it was given. */
  receiveReady?(): void;
}

/** How much input waits for the guest before `receive` takes no more. */
const WAITING_LIMIT_BYTES = 4096;

export interface Uart16550Options {
  name: string;
  firstPort: number;
  /**
   * Keeps input until the guest enables the receive interrupt: what is typed before a driver has opened the port isn't
   * lost to the driver's clearing of the FIFO. (Linux raises DTR long before, when it registers the console.)
   * False for guests that only ever poll.
   */
  holdInputUntilReady: boolean;
}

/** One port. The backend may call `receive` at any time between guest instructions, on the device's thread. */
export class Uart16550 {
  readonly name: string;
  private readonly line: InterruptLine;
  private readonly backend: SerialBackend;
  private readonly holdInputUntilReady: boolean;
  private state: Uart16550State = initialUart16550State();
  /** The backend was refused room and waits for receiveReady. */
  private refused = false;

  constructor(ports: PortBus, line: InterruptLine, backend: SerialBackend, options: Uart16550Options) {
    this.name = options.name;
    this.line = line;
    this.backend = backend;
    this.holdInputUntilReady = options.holdInputUntilReady;
    ports.map({
      name: options.name,
      firstPort: options.firstPort,
      count: UART_PORT_COUNT,
      widestBytes: 1,
      handler: {
        readPort: (offset) => this.read(offset),
        writePort: (offset, _sizeBytes, value) => this.write(offset, value),
      },
    });
  }

  /** How many bytes `receive` takes now. */
  receiveSpace(): number {
    return WAITING_LIMIT_BYTES - this.state.waiting.length;
  }

  /** Input from the other end; returns how many of the bytes were taken, the rest is the caller's to offer again. */
  receive(bytes: Uint8Array): number {
    const taken = Math.min(bytes.length, this.receiveSpace());
    for (let i = 0; i < taken; i++) this.state.waiting.push(bytes[i]!);
    if (taken < bytes.length) this.refused = true;
    this.fill();
    this.update();
    return taken;
  }

  reset(): void {
    const { waiting } = this.state;
    this.state = { ...initialUart16550State(), waiting };
    this.update();
  }

  save(): Uart16550State {
    return saveUart16550(this.state);
  }

  restore(state: Uart16550State): void {
    this.state = restoreUart16550(state);
    this.update();
  }

  private read(offset: number): number {
    const state = this.state;
    switch (offset) {
      case UART_REGISTER.RBR_THR:
        return state.lcr & LCR.DLAB ? state.divisor & 0xff : this.readReceived();
      case UART_REGISTER.IER:
        return state.lcr & LCR.DLAB ? state.divisor >> 8 : state.ier;
      case UART_REGISTER.IIR_FCR: {
        const cause = this.cause();
        if (cause === IIR.THR_EMPTY) {
          state.thrEmptyPending = false;
          this.update();
        }
        return cause | (state.fcr & FCR.ENABLE ? IIR.FIFOS_ENABLED : 0);
      }
      case UART_REGISTER.LCR:
        return state.lcr;
      case UART_REGISTER.MCR:
        return state.mcr;
      case UART_REGISTER.LSR: {
        const status = LSR.THRE | LSR.TEMT | (state.received.length > 0 ? LSR.DR : 0) | (state.overrun ? LSR.OE : 0);
        if (state.overrun) {
          state.overrun = false;
          this.update();
        }
        return status;
      }
      case UART_REGISTER.MSR: {
        const status = state.msr;
        if ((status & 0x0f) !== 0) {
          state.msr &= 0xf0;
          this.update();
        }
        return status;
      }
      default:
        return state.scr;
    }
  }

  private write(offset: number, value: number): void {
    const state = this.state;
    switch (offset) {
      case UART_REGISTER.RBR_THR:
        if (state.lcr & LCR.DLAB) state.divisor = (state.divisor & 0xff00) | value;
        else this.transmit(value);
        return;
      case UART_REGISTER.IER: {
        if (state.lcr & LCR.DLAB) {
          state.divisor = (state.divisor & 0xff) | (value << 8);
          return;
        }
        // THR is empty: enabling its interrupt raises it.
        if ((value & IER.THRI) !== 0 && (state.ier & IER.THRI) === 0) state.thrEmptyPending = true;
        state.ier = value & IER.WRITABLE;
        this.fill();
        break;
      }
      case UART_REGISTER.IIR_FCR:
        this.writeFcr(value);
        break;
      case UART_REGISTER.LCR:
        state.lcr = value;
        return;
      case UART_REGISTER.MCR:
        this.writeMcr(value);
        break;
      case UART_REGISTER.SCR:
        state.scr = value;
        return;
      default:
        return;
    }
    this.update();
  }

  private readReceived(): number {
    const state = this.state;
    if (state.received.length === 0) return 0;
    const byte = state.received.shift()!;
    this.fill();
    this.update();
    return byte;
  }

  private transmit(byte: number): void {
    const state = this.state;
    if (state.mcr & MCR.LOOP) {
      if (state.received.length < this.capacity()) state.received.push(byte);
      else {
        if ((state.fcr & FCR.ENABLE) === 0) state.received[0] = byte;
        state.overrun = true;
      }
    } else this.backend.write(byte);
    // The request falls with the write and rises again at once: an edge for an edge-triggered input.
    state.thrEmptyPending = false;
    this.update();
    state.thrEmptyPending = true;
    this.update();
  }

  private writeFcr(value: number): void {
    const state = this.state;
    const enabled = (value & FCR.ENABLE) !== 0;
    if (enabled !== ((state.fcr & FCR.ENABLE) !== 0)) state.received.length = 0;
    else if (enabled && (value & FCR.CLEAR_RECEIVER) !== 0) state.received.length = 0;
    if (enabled && (value & FCR.CLEAR_TRANSMITTER) !== 0) state.thrEmptyPending = true;
    state.fcr = enabled ? value & (FCR.ENABLE | (3 << FCR.TRIGGER_SHIFT)) : 0;
    this.fill();
  }

  private writeMcr(value: number): void {
    const state = this.state;
    const before = state.mcr;
    state.mcr = value & MCR.WRITABLE;
    // Loopback wires RTS to CTS, DTR to DSR, OUT1 to RI and OUT2 to DCD.
    const inputs =
      state.mcr & MCR.LOOP
        ? (state.mcr & MCR.RTS ? MSR.CTS : 0) |
          (state.mcr & MCR.DTR ? MSR.DSR : 0) |
          (state.mcr & MCR.OUT1 ? MSR.RI : 0) |
          (state.mcr & MCR.OUT2 ? MSR.DCD : 0)
        : MSR.DCD | MSR.DSR | MSR.CTS;
    const changed = (inputs ^ state.msr) & 0xf0;
    let deltas = (changed >> 4) & (MSR.DCTS | MSR.DDSR | MSR.DDCD);
    if (changed & MSR.RI && (inputs & MSR.RI) === 0) deltas |= MSR.TERI;
    state.msr = inputs | (state.msr & 0x0f) | deltas;
    if ((before ^ state.mcr) & (MCR.DTR | MCR.RTS)) {
      this.backend.modemControl?.((state.mcr & MCR.DTR) !== 0, (state.mcr & MCR.RTS) !== 0);
    }
    this.fill();
  }

  private capacity(): number {
    return this.state.fcr & FCR.ENABLE ? FIFO_SIZE_BYTES : 1;
  }

  /** Moves what waits into the FIFO, as far as the guest is ready for it. */
  private fill(): void {
    const state = this.state;
    if (state.waiting.length === 0 || state.mcr & MCR.LOOP) return;
    if (this.holdInputUntilReady && (state.ier & IER.RDI) === 0) return;
    const moved = Math.min(this.capacity() - state.received.length, state.waiting.length);
    if (moved <= 0) return;
    for (let i = 0; i < moved; i++) state.received.push(state.waiting[i]!);
    state.waiting.splice(0, moved);
    if (this.refused && state.waiting.length <= WAITING_LIMIT_BYTES / 2) {
      this.refused = false;
      this.backend.receiveReady?.();
    }
  }

  /** The pending interrupt of highest priority. */
  private cause(): number {
    const { ier, received, fcr, msr } = this.state;
    if (ier & IER.RLSI && this.state.overrun) return IIR.RECEIVER_LINE_STATUS;
    if (ier & IER.RDI && received.length > 0) {
      const full = (fcr & FCR.ENABLE) === 0 || received.length >= TRIGGER_LEVELS[(fcr >> FCR.TRIGGER_SHIFT) & 3]!;
      return full ? IIR.RECEIVED_DATA : IIR.CHARACTER_TIMEOUT;
    }
    if (ier & IER.THRI && this.state.thrEmptyPending) return IIR.THR_EMPTY;
    if (ier & IER.MSI && msr & 0x0f) return IIR.MODEM_STATUS;
    return IIR.NONE;
  }

  private update(): void {
    this.line.set(this.cause() !== IIR.NONE);
  }
}
