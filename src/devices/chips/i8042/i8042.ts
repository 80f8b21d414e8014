// The 8042 keyboard controller of a machine without keyboard and mouse (IBM PC AT technical reference): it answers its
// own commands at once, tells that no device is there, and has the reset line. A20 is a bit that does nothing.

import type { PortBus } from '../../../bus/port-bus.ts';
import { type I8042State, initialI8042State, restoreI8042 } from './state.ts';
import {
  I8042_COMMAND,
  I8042_PORT,
  I8042_STATUS,
  INTERFACE_TEST_NO_DEVICE,
  OUTPUT_PORT,
  RESEND,
  SELF_TEST_PASSED,
} from './wire.ts';

/** Who resets the machine when the guest asks for it. */
export interface ResetSink {
  requestReset(): void;
}

export class I8042 {
  private readonly resetSink: ResetSink;
  private state: I8042State = initialI8042State();

  constructor(ports: PortBus, resetSink: ResetSink) {
    this.resetSink = resetSink;
    const map = (firstPort: number, read: () => number, write: (value: number) => void): void =>
      ports.map({
        name: 'i8042',
        firstPort,
        count: 1,
        widestBytes: 1,
        handler: { readPort: read, writePort: (_offset, _sizeBytes, value) => write(value) },
      });
    map(
      I8042_PORT.DATA,
      () => this.readData(),
      (value) => this.writeData(value),
    );
    map(
      I8042_PORT.COMMAND,
      () => this.status(),
      (value) => this.writeCommand(value),
    );
  }

  reset(): void {
    this.state = initialI8042State();
  }

  save(): I8042State {
    return { ...this.state };
  }

  restore(state: I8042State): void {
    this.state = restoreI8042(state);
  }

  private status(): number {
    const { output, timeout, lastWasCommand } = this.state;
    return (
      I8042_STATUS.SYSTEM |
      I8042_STATUS.UNLOCKED |
      (lastWasCommand ? I8042_STATUS.COMMAND : 0) |
      (output >= 0 ? I8042_STATUS.OUTPUT_FULL : 0) |
      (output >= 0 && timeout ? I8042_STATUS.TIMEOUT : 0)
    );
  }

  private readData(): number {
    const { output } = this.state;
    this.state.output = -1;
    return Math.max(0, output);
  }

  private answer(byte: number, timeout = false): void {
    this.state.output = byte;
    this.state.timeout = timeout;
  }

  private writeData(value: number): void {
    const { pendingCommand } = this.state;
    this.state.lastWasCommand = false;
    this.state.pendingCommand = 0;
    if (pendingCommand === I8042_COMMAND.WRITE_COMMAND_BYTE) this.state.commandByte = value;
    else if (pendingCommand === I8042_COMMAND.WRITE_OUTPUT_PORT) {
      this.state.outputPort = value;
      if ((value & OUTPUT_PORT.RESET_INACTIVE) === 0) this.resetSink.requestReset();
    } else if (pendingCommand === 0) this.answer(RESEND, true); // for the keyboard, which is not there
  }

  private writeCommand(command: number): void {
    this.state.lastWasCommand = true;
    this.state.pendingCommand = 0;
    switch (command) {
      case I8042_COMMAND.READ_COMMAND_BYTE:
        this.answer(this.state.commandByte);
        return;
      case I8042_COMMAND.SELF_TEST:
        this.answer(SELF_TEST_PASSED);
        return;
      case I8042_COMMAND.TEST_KEYBOARD:
      case I8042_COMMAND.TEST_AUXILIARY:
        this.answer(INTERFACE_TEST_NO_DEVICE);
        return;
      case I8042_COMMAND.READ_INPUT_PORT:
        this.answer(0);
        return;
      case I8042_COMMAND.READ_OUTPUT_PORT:
        this.answer(this.state.outputPort);
        return;
      default:
        if (command >= I8042_COMMAND.PULSE_OUTPUT_PORT) {
          if ((command & OUTPUT_PORT.RESET_INACTIVE) === 0) this.resetSink.requestReset();
        } else if (command === I8042_COMMAND.WRITE_COMMAND_BYTE || (command >= 0xd1 && command <= 0xd4)) {
          this.state.pendingCommand = command;
        }
    }
  }
}
