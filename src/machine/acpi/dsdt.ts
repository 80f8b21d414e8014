// The DSDT: what an operating system cannot find by itself (ACPI 6.4 section 5.2.11.1). Soft off, the PCI root bridge
// and on it the ISA devices that drivers look up by identity.

import { SLP_TYP_S5 } from '../../devices/chips/acpi-pm/wire.ts';
import { RTC_IRQ, RTC_PORT } from '../../devices/chips/rtc/wire.ts';
import { COM_PORTS, UART_PORT_COUNT } from '../../devices/chips/uart16550/wire.ts';
import {
  type Aml,
  concat,
  device,
  dwordMemory,
  eisaId,
  integer,
  io,
  irqNoFlags,
  name,
  packageOf,
  resourceTemplate,
  scope,
  wordBusNumber,
  wordIo,
} from './aml.ts';
import { makeTable } from './header.ts';

/** Memory that the root bridge may give to PCI devices: above the most RAM, below the I/O APIC. */
export const PCI_MEMORY_WINDOW = { first: 0xc0000000, last: 0xfebfffff } as const;

const serialPort = (index: number): Aml => {
  const { name: path, firstPort, irq } = COM_PORTS[index]!;
  return device(
    path,
    name('_HID', eisaId('PNP0501')),
    name('_UID', integer(index + 1)),
    name('_CRS', resourceTemplate(io(firstPort, UART_PORT_COUNT), irqNoFlags(irq))),
  );
};

const realTimeClock = (): Aml =>
  device(
    'RTC',
    name('_HID', eisaId('PNP0B00')),
    name('_CRS', resourceTemplate(io(RTC_PORT.INDEX, 2), irqNoFlags(RTC_IRQ))),
  );

const pciRoot = (...children: readonly Aml[]): Aml =>
  device(
    'PCI0',
    name('_HID', eisaId('PNP0A03')),
    name('_UID', integer(0)),
    name(
      '_CRS',
      resourceTemplate(
        wordBusNumber(0, 0),
        io(0xcf8, 8),
        wordIo(0x0000, 0x0cf7),
        wordIo(0x0d00, 0xffff),
        dwordMemory(PCI_MEMORY_WINDOW.first, PCI_MEMORY_WINDOW.last),
      ),
    ),
    ...children,
  );

/** `serialPorts` says which of COM1 to COM4 are there. */
export function buildDsdt(serialPorts: readonly boolean[]): Uint8Array {
  const present = [...COM_PORTS.keys()].filter((index) => serialPorts[index] === true);
  const sleepType = integer(SLP_TYP_S5);
  const aml = concat(
    name('\\_S5', packageOf(sleepType, sleepType, integer(0), integer(0))),
    scope('\\_SB', pciRoot(...present.map(serialPort), realTimeClock())),
  );
  return makeTable('DSDT', 2, aml);
}
