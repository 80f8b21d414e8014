// ACPI fixed hardware (ACPI 6.4 section 4.8): power button, power management timer, soft off, and the reset register.
// The machine is always in ACPI mode: there is no SMI command port and SCI_EN reads 1.

import type { Timer, Timers } from '../../../base/timers.ts';
import type { InterruptLine } from '../../../bus/interrupt-line.ts';
import type { PortBus } from '../../../bus/port-bus.ts';
import { type AcpiPmState, initialAcpiPmState, restoreAcpiPm, saveAcpiPm } from './state.ts';
import {
  ACPI_PM_LENGTH_BYTES,
  ACPI_PM_PORT,
  PM_TIMER_HZ,
  PM1,
  PM1_CONTROL,
  PM1_ENABLE_WRITABLE,
  RESET_CONTROL,
  SLP_TYP_S5,
} from './wire.ts';

/** Who ends or resets the machine when the guest asks for it. */
export interface PowerSink {
  powerOff(): void;
  requestReset(): void;
}

/** The PM timer's status bit is set when its top bit changes. */
const HALF_TURN_TICKS = 2 ** 31;

export class AcpiPm {
  private readonly timers: Timers;
  private readonly line: InterruptLine;
  private readonly powerSink: PowerSink;
  private readonly timer: Timer;
  private state: AcpiPmState;
  /** Half turns of the PM timer for which TMR_STS was set. */
  private seenHalfTurns = 0;

  constructor(ports: PortBus, timers: Timers, line: InterruptLine, powerSink: PowerSink) {
    this.timers = timers;
    this.line = line;
    this.powerSink = powerSink;
    this.state = initialAcpiPmState(timers.clock.nowNs());
    this.timer = timers.create(() => this.refresh());
    this.mapBytes(
      ports,
      ACPI_PM_PORT.PM1A_EVENT,
      ACPI_PM_LENGTH_BYTES.PM1A_EVENT,
      (offset) => this.readEvent(offset),
      (offset, value) => this.writeEvent(offset, value),
    );
    this.mapBytes(
      ports,
      ACPI_PM_PORT.GPE0,
      ACPI_PM_LENGTH_BYTES.GPE0,
      (offset) => (offset < 2 ? 0 : (this.state.gpe0Enable >> (8 * (offset - 2))) & 0xff),
      (offset, value) => {
        if (offset < 2) return;
        const shift = 8 * (offset - 2);
        this.state.gpe0Enable = (this.state.gpe0Enable & ~(0xff << shift)) | (value << shift);
      },
    );
    this.mapBytes(
      ports,
      ACPI_PM_PORT.RESET_CONTROL,
      1,
      () => this.state.resetControl,
      (_offset, value) => this.writeResetControl(value),
    );
    ports.map({
      name: 'acpi-pm',
      firstPort: ACPI_PM_PORT.PM1A_CONTROL,
      count: ACPI_PM_LENGTH_BYTES.PM1A_CONTROL,
      widestBytes: 2,
      handler: {
        readPort: (offset, sizeBytes) => {
          const control = (this.state.pm1Control | PM1_CONTROL.SCI_EN) >> (8 * offset);
          return sizeBytes === 1 ? control & 0xff : control;
        },
        writePort: (offset, sizeBytes, value) => this.writeControl(offset, sizeBytes, value),
      },
    });
    ports.map({
      name: 'acpi-pm',
      firstPort: ACPI_PM_PORT.PM_TIMER,
      count: ACPI_PM_LENGTH_BYTES.PM_TIMER,
      widestBytes: 4,
      handler: {
        readPort: (offset, sizeBytes) => {
          const value = Math.floor(this.ticks()) % 2 ** 32;
          if (sizeBytes === 4) return value;
          return (value >>> (8 * offset)) & (sizeBytes === 1 ? 0xff : 0xffff);
        },
        writePort: () => {},
      },
    });
  }

  /** Someone pressed the power button: the guest's operating system is asked to shut down. */
  pressPowerButton(): void {
    this.state.pm1Status |= PM1.PWRBTN;
    this.refresh();
  }

  reset(): void {
    const { timerStartNs } = this.state;
    this.state = { ...initialAcpiPmState(0), timerStartNs };
    this.refresh();
  }

  save(): AcpiPmState {
    return saveAcpiPm(this.state, this.timers.clock.nowNs());
  }

  restore(state: AcpiPmState): void {
    this.state = restoreAcpiPm(state, this.timers.clock.nowNs());
    this.seenHalfTurns = Math.floor(this.ticks() / HALF_TURN_TICKS);
    this.refresh();
  }

  private mapBytes(
    ports: PortBus,
    firstPort: number,
    count: number,
    read: (offset: number) => number,
    write: (offset: number, value: number) => void,
  ): void {
    const handler = {
      readPort: read,
      writePort: (offset: number, _sizeBytes: number, value: number) => write(offset, value),
    };
    ports.map({ name: 'acpi-pm', firstPort, count, widestBytes: 1, handler });
  }

  private ticks(): number {
    return ((this.timers.clock.nowNs() - this.state.timerStartNs) * PM_TIMER_HZ) / 1e9;
  }

  /** PM1 status in bytes 0 and 1, PM1 enable in 2 and 3. */
  private readEvent(offset: number): number {
    this.catchUp();
    const register = offset < 2 ? this.state.pm1Status : this.state.pm1Enable;
    return (register >> (8 * (offset & 1))) & 0xff;
  }

  private writeEvent(offset: number, value: number): void {
    this.catchUp();
    const shift = 8 * (offset & 1);
    if (offset < 2) this.state.pm1Status &= ~(value << shift);
    else {
      const enable = (this.state.pm1Enable & ~(0xff << shift)) | (value << shift);
      this.state.pm1Enable = enable & PM1_ENABLE_WRITABLE;
    }
    this.refresh();
  }

  private writeControl(offset: number, sizeBytes: number, value: number): void {
    const mask = sizeBytes === 1 ? 0xff << (8 * offset) : 0xffff;
    const control = (this.state.pm1Control & ~mask) | ((value << (8 * offset)) & mask);
    this.state.pm1Control = control & (PM1_CONTROL.BM_RLD | PM1_CONTROL.SLP_TYP_MASK);
    if ((control & PM1_CONTROL.SLP_EN) === 0) return;
    if ((control & PM1_CONTROL.SLP_TYP_MASK) >> PM1_CONTROL.SLP_TYP_SHIFT === SLP_TYP_S5) this.powerSink.powerOff();
  }

  private writeResetControl(value: number): void {
    const rising = value & ~this.state.resetControl & RESET_CONTROL.RST_CPU;
    this.state.resetControl = value & RESET_CONTROL.WRITABLE;
    if (rising) this.powerSink.requestReset();
  }

  private catchUp(): void {
    const halfTurns = Math.floor(this.ticks() / HALF_TURN_TICKS);
    if (halfTurns > this.seenHalfTurns) this.state.pm1Status |= PM1.TMR;
    this.seenHalfTurns = halfTurns;
  }

  /** Brings status, interrupt line and timer up to date. */
  private refresh(): void {
    this.catchUp();
    const { pm1Status, pm1Enable } = this.state;
    this.line.set((pm1Status & pm1Enable) !== 0);
    if ((pm1Enable & PM1.TMR) === 0 || (pm1Status & PM1.TMR) !== 0) this.timers.cancel(this.timer);
    else {
      const nextTicks = (this.seenHalfTurns + 1) * HALF_TURN_TICKS;
      // Rounded up by a tick, so that the half turn is over when the timer runs.
      this.timers.arm(this.timer, this.state.timerStartNs + ((nextTicks + 1) * 1e9) / PM_TIMER_HZ);
    }
  }
}
