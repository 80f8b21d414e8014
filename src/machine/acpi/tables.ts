// The ACPI tables of the machine (ACPI 6.4 chapter 5), laid out for guest RAM below 1 MiB where an operating system
// that gets no pointer scans for the RSDP. They describe what src/devices has, nothing else: no HPET, ECAM or 8042.

import { ACPI_PM_LENGTH_BYTES, ACPI_PM_PORT, RESET_CONTROL, SCI_GSI } from '../../devices/chips/acpi-pm/wire.ts';
import { IO_APIC_BASE } from '../../devices/chips/io-apic/wire.ts';
import { LOCAL_APIC_BASE } from '../../devices/chips/local-apic/wire.ts';
import { RTC } from '../../devices/chips/rtc/wire.ts';
import { buildDsdt } from './dsdt.ts';
import { ASCII, checksum, HEADER_SIZE_BYTES, makeTable } from './header.ts';

/** Where the tables lie; the memory map that the guest gets calls these bytes reserved. */
export const ACPI_AREA = { guestPhysical: 0xe0000, sizeBytes: 0x20000 } as const;

export interface AcpiOptions {
  /** Processors with APIC identities from 0. */
  vcpuCount: number;
  /** Which of COM1 to COM4 are there. */
  serialPorts: readonly boolean[];
}

export interface AcpiTables {
  /** What to copy where. */
  place: { guestPhysical: number; bytes: Uint8Array }[];
  rsdpGuestPhysical: number;
}

/** Generic address structure of an I/O port (5.2.3.2). */
const GAS_SYSTEM_IO = 1;
const GAS_ACCESS = { BYTE: 1, WORD: 2, DWORD: 3 } as const;

const FADT_SIZE_BYTES = 276;
/** FADT fixed feature flags (table 5.10); the power button is a fixed one because PWR_BUTTON is clear. */
const FADT_FLAG = {
  WBINVD: 1 << 0,
  PROC_C1: 1 << 2,
  /** No fixed sleep button. */
  SLP_BUTTON: 1 << 5,
  /** No RTC wake status in PM1. */
  FIX_RTC: 1 << 6,
  TMR_VAL_EXT: 1 << 8,
  RESET_REG_SUP: 1 << 10,
} as const;
/** IA-PC boot architecture flags (table 5.11): 8042 is clear, which spares the guest the probing. */
const IAPC_BOOT_ARCH = { LEGACY_DEVICES: 1 << 0, VGA_NOT_PRESENT: 1 << 2 } as const;

function buildFadt(facsGuestPhysical: number, dsdtGuestPhysical: number): Uint8Array {
  const body = new Uint8Array(FADT_SIZE_BYTES - HEADER_SIZE_BYTES);
  const view = new DataView(body.buffer);
  const at = (offset: number): number => offset - HEADER_SIZE_BYTES;
  const u8 = (offset: number, value: number): void => view.setUint8(at(offset), value);
  const u16 = (offset: number, value: number): void => view.setUint16(at(offset), value, true);
  const u32 = (offset: number, value: number): void => view.setUint32(at(offset), value, true);
  const gas = (offset: number, port: number, sizeBytes: number, access: number): void => {
    u8(offset, GAS_SYSTEM_IO);
    u8(offset + 1, sizeBytes * 8);
    u8(offset + 3, access);
    u32(offset + 4, port);
  };
  u32(36, facsGuestPhysical);
  u32(40, dsdtGuestPhysical);
  u16(46, SCI_GSI);
  u32(56, ACPI_PM_PORT.PM1A_EVENT);
  u32(64, ACPI_PM_PORT.PM1A_CONTROL);
  u32(76, ACPI_PM_PORT.PM_TIMER);
  u32(80, ACPI_PM_PORT.GPE0);
  u8(88, ACPI_PM_LENGTH_BYTES.PM1A_EVENT);
  u8(89, ACPI_PM_LENGTH_BYTES.PM1A_CONTROL);
  u8(91, ACPI_PM_LENGTH_BYTES.PM_TIMER);
  u8(92, ACPI_PM_LENGTH_BYTES.GPE0);
  u16(96, 0xffff); // no C2
  u16(98, 0xffff); // no C3
  u8(108, RTC.CENTURY);
  u16(109, IAPC_BOOT_ARCH.LEGACY_DEVICES | IAPC_BOOT_ARCH.VGA_NOT_PRESENT);
  u32(
    112,
    FADT_FLAG.WBINVD |
      FADT_FLAG.PROC_C1 |
      FADT_FLAG.SLP_BUTTON |
      FADT_FLAG.FIX_RTC |
      FADT_FLAG.TMR_VAL_EXT |
      FADT_FLAG.RESET_REG_SUP,
  );
  gas(116, ACPI_PM_PORT.RESET_CONTROL, 1, GAS_ACCESS.BYTE);
  u8(128, RESET_CONTROL.SYS_RST | RESET_CONTROL.RST_CPU);
  u32(140, dsdtGuestPhysical);
  gas(148, ACPI_PM_PORT.PM1A_EVENT, ACPI_PM_LENGTH_BYTES.PM1A_EVENT, GAS_ACCESS.WORD);
  gas(172, ACPI_PM_PORT.PM1A_CONTROL, ACPI_PM_LENGTH_BYTES.PM1A_CONTROL, GAS_ACCESS.WORD);
  gas(208, ACPI_PM_PORT.PM_TIMER, ACPI_PM_LENGTH_BYTES.PM_TIMER, GAS_ACCESS.DWORD);
  gas(220, ACPI_PM_PORT.GPE0, ACPI_PM_LENGTH_BYTES.GPE0, GAS_ACCESS.BYTE);
  return makeTable('FACP', 6, body);
}

/** Firmware ACPI control structure (5.2.10): no header, no checksum. */
function buildFacs(): Uint8Array {
  const facs = new Uint8Array(64);
  facs.set(ASCII.encode('FACS'), 0);
  facs[4] = facs.length;
  facs[32] = 2; // version
  return facs;
}

/** The highest APIC identity that an 8-bit entry tells. */
const LAST_XAPIC_ID = 254;

/** Multiple APIC description table (5.2.12). */
export function buildMadt(vcpuCount: number): Uint8Array {
  const u32 = (value: number): number[] => [value & 0xff, (value >>> 8) & 0xff, (value >>> 16) & 0xff, value >>> 24];
  const entries: number[] = [];
  const add = (type: number, ...content: number[]): void => {
    entries.push(type, content.length + 2, ...content);
  };
  for (let apicId = 0; apicId < vcpuCount; apicId++) {
    if (apicId <= LAST_XAPIC_ID)
      add(0, apicId, apicId, ...u32(1)); // Processor Local APIC, enabled
    else add(9, 0, 0, ...u32(apicId), ...u32(1), ...u32(apicId)); // Processor Local x2APIC, enabled
  }
  add(1, 0, 0, ...u32(IO_APIC_BASE), ...u32(0)); // I/O APIC 0 from GSI 0
  add(2, 0, 0, ...u32(2), 0, 0); // the timer: ISA 0 is GSI 2
  add(2, 0, SCI_GSI, ...u32(SCI_GSI), 0x0d, 0); // SCI: active high, level
  add(4, 0xff, 0, 0, 1); // NMI at LINT1 of every processor
  if (vcpuCount > LAST_XAPIC_ID + 1) add(10, 0, 0, ...u32(0xffffffff), 1, 0, 0, 0);
  const pcatCompatible = u32(1); // the 8259As are there
  return makeTable('APIC', 5, Uint8Array.from([...u32(LOCAL_APIC_BASE), ...pcatCompatible, ...entries]));
}

function buildRsdp(rsdtGuestPhysical: number, xsdtGuestPhysical: number): Uint8Array {
  const rsdp = new Uint8Array(36);
  const view = new DataView(rsdp.buffer);
  rsdp.set(ASCII.encode('RSD PTR '), 0);
  rsdp.set(ASCII.encode('BLKHD '), 9);
  rsdp[15] = 2; // revision
  view.setUint32(16, rsdtGuestPhysical, true);
  view.setUint32(20, rsdp.length, true);
  view.setUint32(24, xsdtGuestPhysical, true);
  rsdp[8] = checksum(rsdp.subarray(0, 20));
  rsdp[32] = checksum(rsdp);
  return rsdp;
}

function pointers(guestPhysicals: readonly number[], widthBytes: 4 | 8): Uint8Array {
  const body = new Uint8Array(guestPhysicals.length * widthBytes);
  const view = new DataView(body.buffer);
  for (const [i, guestPhysical] of guestPhysicals.entries()) view.setUint32(i * widthBytes, guestPhysical, true);
  return body;
}

/** All tables of a machine. Throws RangeError where they outgrow their area, at some 15,000 processors. */
export function buildAcpiTables(options: AcpiOptions): AcpiTables {
  const place: AcpiTables['place'] = [];
  // The RSDP comes first and is made last.
  let free = ACPI_AREA.guestPhysical + 0x40;
  const put = (bytes: Uint8Array): number => {
    const guestPhysical = free;
    free = Math.ceil((free + bytes.length) / 64) * 64; // the FACS wants this alignment
    if (free > ACPI_AREA.guestPhysical + ACPI_AREA.sizeBytes)
      throw new RangeError('the ACPI tables outgrow their area');
    place.push({ guestPhysical, bytes });
    return guestPhysical;
  };
  const facs = put(buildFacs());
  const dsdt = put(buildDsdt(options.serialPorts));
  const listed = [put(buildFadt(facs, dsdt)), put(buildMadt(options.vcpuCount))];
  const rsdt = put(makeTable('RSDT', 1, pointers(listed, 4)));
  const xsdt = put(makeTable('XSDT', 1, pointers(listed, 8)));
  place.unshift({ guestPhysical: ACPI_AREA.guestPhysical, bytes: buildRsdp(rsdt, xsdt) });
  return { place, rsdpGuestPhysical: ACPI_AREA.guestPhysical };
}
