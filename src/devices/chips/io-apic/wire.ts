// The I/O APIC's registers (Intel 82093AA data sheet, section 3).

export const IO_APIC_BASE = 0xfec00000;
export const IO_APIC_SIZE_BYTES = 0x1000;
export const IO_APIC_PIN_COUNT = 24;

/** Offsets in the page. */
export const IO_APIC_WINDOW = { IOREGSEL: 0x00, IOWIN: 0x10 } as const;

/** Indirect registers, selected by IOREGSEL; the redirection table has two a pin from IOREDTBL on. */
export const IO_APIC_REGISTER = { IOAPICID: 0x00, IOAPICVER: 0x01, IOAPICARB: 0x02, IOREDTBL: 0x10 } as const;

/** Version 0x11 with 24 entries: ends of interrupts come from the local APICs, there is no EOI register. */
export const IO_APIC_VERSION = 0x00170011;

export const REDIRECTION = {
  VECTOR_MASK: 0x000ff,
  DELIVERY_MODE_SHIFT: 8,
  LOGICAL: 0x00800,
  ACTIVE_LOW: 0x02000,
  REMOTE_IRR: 0x04000,
  LEVEL_TRIGGERED: 0x08000,
  MASKED: 0x10000,
  /** Bits of the low half that a write changes: not delivery status and remote IRR. */
  WRITABLE_LOW: 0x1afff,
  WRITABLE_HIGH: 0xff000000,
} as const;
