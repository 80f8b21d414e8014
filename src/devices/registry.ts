// Every PC device that plugs into the board, one row each: where the guest finds it, and how it is made.
// A row whose `create` gives undefined is a device that this machine's configuration leaves out.

import { UserError } from '../base/errors.ts';
import { requireStateVersion, type SavedState } from '../bus/saved-state.ts';
import type { Board, BoardState } from './board.ts';
import { AcpiPm } from './chips/acpi-pm/acpi-pm.ts';
import { ACPI_PM_LENGTH_BYTES, ACPI_PM_PORT, SCI_GSI } from './chips/acpi-pm/wire.ts';
import { DebugExit } from './chips/debug-exit/debug-exit.ts';
import { I8042 } from './chips/i8042/i8042.ts';
import { I8042_PORT } from './chips/i8042/wire.ts';
import { Pit } from './chips/pit/pit.ts';
import { PIT_PORT } from './chips/pit/wire.ts';
import { Rtc } from './chips/rtc/rtc.ts';
import { RTC_IRQ, RTC_PORT } from './chips/rtc/wire.ts';
import { SystemControl } from './chips/system-control/system-control.ts';
import { SYSTEM_CONTROL_A_PORT } from './chips/system-control/wire.ts';
import { Uart16550 } from './chips/uart16550/uart16550.ts';
import { COM_PORTS, UART_PORT_COUNT } from './chips/uart16550/wire.ts';

/**
 * A device's life: constructed on a board (which claims its ports), then any number of resets, saves and restores
 * between guest instructions. `save` changes nothing; `restore` takes what `save` gave, on this board or one like it.
 */
export interface Device {
  reset(): void;
  save(): SavedState;
  restore(state: never): void;
}

export interface DeviceRow<T extends Device | undefined> {
  /** Port ranges that do not depend on the configuration: first port and count. */
  ports: readonly (readonly [firstPort: number, count: number])[];
  irq: number | undefined;
  create(board: Board): T;
}

const row = <T extends Device | undefined>(value: DeviceRow<T>): DeviceRow<T> => value;

const serialRow = (index: number): DeviceRow<Uart16550 | undefined> => {
  const { name, firstPort, irq } = COM_PORTS[index]!;
  return {
    ports: [[firstPort, UART_PORT_COUNT]],
    irq,
    create: (board) => {
      const backend = board.options.serial[index];
      const holdInputUntilReady = board.options.holdSerialInputUntilReady;
      const options = { name, firstPort, holdInputUntilReady };
      return backend && new Uart16550(board.ports, board.interrupt(irq), backend, options);
    },
  };
};

export const DEVICE_ROWS = {
  pit: row({
    ports: [
      [PIT_PORT.COUNTER_0, 4],
      [PIT_PORT.SYSTEM_CONTROL_B, 1],
    ],
    irq: 0,
    create: (board) => new Pit(board.ports, board.timers, board.interrupt(0)),
  }),
  rtc: row({
    ports: [[RTC_PORT.INDEX, 2]],
    irq: RTC_IRQ,
    create: (board) => {
      const { wallClock, memory } = board.options;
      const options = { ramSizeBytes: memory.sizeBytes };
      return new Rtc(board.ports, board.timers, wallClock, board.interrupt(RTC_IRQ), options);
    },
  }),
  com1: serialRow(0),
  com2: serialRow(1),
  com3: serialRow(2),
  com4: serialRow(3),
  i8042: row({
    ports: [
      [I8042_PORT.DATA, 1],
      [I8042_PORT.COMMAND, 1],
    ],
    irq: undefined,
    create: (board) => new I8042(board.ports, board.options.events),
  }),
  systemControl: row({
    ports: [[SYSTEM_CONTROL_A_PORT, 1]],
    irq: undefined,
    create: (board) => new SystemControl(board.ports, board.options.events),
  }),
  acpiPm: row({
    ports: [
      [ACPI_PM_PORT.PM1A_EVENT, ACPI_PM_LENGTH_BYTES.PM1A_EVENT],
      [ACPI_PM_PORT.PM1A_CONTROL, ACPI_PM_LENGTH_BYTES.PM1A_CONTROL],
      [ACPI_PM_PORT.PM_TIMER, ACPI_PM_LENGTH_BYTES.PM_TIMER],
      [ACPI_PM_PORT.GPE0, ACPI_PM_LENGTH_BYTES.GPE0],
      [ACPI_PM_PORT.RESET_CONTROL, 1],
    ],
    irq: SCI_GSI,
    create: (board) => new AcpiPm(board.ports, board.timers, board.interrupt(SCI_GSI), board.options.events),
  }),
  debugExit: row({
    ports: [],
    irq: undefined,
    create: (board) =>
      board.options.debugExit && new DebugExit(board.ports, board.options.events, board.options.debugExit),
  }),
} as const;

export type DeviceName = keyof typeof DEVICE_ROWS;

/** Every device of a board by the name of its row. */
export type Devices = { [Name in DeviceName]: ReturnType<(typeof DEVICE_ROWS)[Name]['create']> };

/** Makes every device of the registry on `board`. */
export function createDevices(board: Board): Devices {
  const entries = Object.entries(DEVICE_ROWS).map(([name, { create }]) => [name, create(board)]);
  // Each row's own `create` made the value that stands under the row's name.
  return Object.fromEntries(entries) as Devices;
}

const DEVICES_STATE_VERSION = 1;

/** The board and its devices, as a snapshot holds them: plain data. */
export interface DevicesState extends SavedState {
  board: BoardState;
  devices: Record<string, SavedState>;
}

const present = (devices: Devices): [string, Device][] =>
  Object.entries(devices).filter((entry): entry is [DeviceName, NonNullable<Devices[DeviceName]>] => !!entry[1]);

export function saveDevices(board: Board, devices: Devices): DevicesState {
  const saved = present(devices).map(([name, device]) => [name, device.save()]);
  return { version: DEVICES_STATE_VERSION, board: board.save(), devices: Object.fromEntries(saved) };
}

/**
 * Restores board and devices. RAM and the processors' time-stamp counters must have been restored before. Throws
 * UserError where the state is of a machine with other devices.
 */
export function restoreDevices(board: Board, devices: Devices, state: DevicesState): void {
  requireStateVersion('the devices', state, DEVICES_STATE_VERSION);
  const here = present(devices);
  const names = (list: string[]): string => list.toSorted().join(', ');
  const wanted = names(Object.keys(state.devices));
  if (wanted !== names(here.map(([name]) => name)) || state.board.localApics.length !== board.localApics.length) {
    throw new UserError(`the saved state is of a machine with other devices: ${wanted}`, {
      hint: 'restore it on a machine with the same configuration',
    });
  }
  board.restore(state.board);
  // The state under a row's name came from that row's device.
  for (const [name, device] of here) device.restore(state.devices[name] as never);
}

/** A machine reset: interrupt system first, so that devices that release their lines find it as after power-on. */
export function resetDevices(board: Board, devices: Devices): void {
  board.reset();
  for (const [, device] of present(devices)) device.reset();
}
