// The MC146818's registers and the PC's CMOS bytes behind them (Motorola MC146818 data sheet; CMOS map as PC firmware
// keeps it). Index at port 0x70, data at 0x71.

export const RTC_PORT = { INDEX: 0x70, DATA: 0x71 } as const;
export const RTC_IRQ = 8;
export const CMOS_SIZE_BYTES = 128;

/** Bit 7 of the index port masks NMIs. */
export const INDEX_NMI_MASK = 0x80;

export const RTC = {
  SECONDS: 0x00,
  SECONDS_ALARM: 0x01,
  MINUTES: 0x02,
  MINUTES_ALARM: 0x03,
  HOURS: 0x04,
  HOURS_ALARM: 0x05,
  DAY_OF_WEEK: 0x06,
  DAY_OF_MONTH: 0x07,
  MONTH: 0x08,
  YEAR: 0x09,
  A: 0x0a,
  B: 0x0b,
  C: 0x0c,
  D: 0x0d,
  /** The FADT tells the operating system of this one. */
  CENTURY: 0x32,
} as const;

export const REGISTER_A = { RATE: 0x0f, DIVIDER: 0x70, DIVIDER_RESET: 0x60, UIP: 0x80 } as const;

export const REGISTER_B = {
  HOURS_24: 0x02,
  BINARY: 0x04,
  UIE: 0x10,
  AIE: 0x20,
  PIE: 0x40,
  SET: 0x80,
} as const;

export const REGISTER_C = { UF: 0x10, AF: 0x20, PF: 0x40, IRQF: 0x80 } as const;

/** Register D: valid RAM and time. */
export const REGISTER_D_VRT = 0x80;

/** Hours in 12-hour form carry this bit in the afternoon. */
export const HOURS_PM = 0x80;

/** Alarm bytes from here up match anything. */
export const ALARM_ANY = 0xc0;

/** Memory sizes: base in KiB, above 1 MiB in KiB (twice), above 16 MiB in 64 KiB units. */
export const CMOS = {
  EQUIPMENT: 0x14,
  BASE_MEMORY: 0x15,
  EXTENDED_MEMORY: 0x17,
  EXTENDED_MEMORY_COPY: 0x30,
  HIGH_MEMORY: 0x34,
} as const;

/** How long before the second UIP is set: 244 µs of warning and 1984 µs of update. */
export const UPDATE_IN_PROGRESS_MS = 2.228;
