// The 8254's ports, control words and the PC's port 0x61 (Intel 8254 data sheet; port 61h: 82371AB section 7.5).

/** The 8254's clock: 14.31818 MHz / 12. */
export const PIT_FREQUENCY_HZ = 1193182;

export const PIT_PORT = { COUNTER_0: 0x40, CONTROL: 0x43, SYSTEM_CONTROL_B: 0x61 } as const;

export const PIT_CONTROL_OFFSET = 3;

/** Control word: counter select in bits 7 and 6, where 3 is the read-back command. */
export const READ_BACK = { SELECT: 3, NO_COUNT: 0x20, NO_STATUS: 0x10 } as const;

/** Control word bits 5 and 4: which bytes of a count travel. */
export const ACCESS = { LATCH: 0, LOW: 1, HIGH: 2, LOW_THEN_HIGH: 3 } as const;

export const PIT_MODE = {
  INTERRUPT_ON_TERMINAL_COUNT: 0,
  HARDWARE_ONE_SHOT: 1,
  RATE_GENERATOR: 2,
  SQUARE_WAVE: 3,
  SOFTWARE_STROBE: 4,
  HARDWARE_STROBE: 5,
} as const;

/** Bits of the status byte that a read-back latches. */
export const PIT_STATUS = { OUT: 0x80, NULL_COUNT: 0x40 } as const;

/** Port 0x61. */
export const SYSTEM_CONTROL_B = {
  GATE_2: 0x01,
  SPEAKER: 0x02,
  WRITABLE: 0x0f,
  REFRESH: 0x10,
  OUT_2: 0x20,
} as const;

/** How often the refresh bit of port 0x61 toggles. */
export const REFRESH_TOGGLE_NS = 15_085;
