// System control port A of the PS/2 and what followed (IBM PS/2 hardware interface reference, system control ports).

export const SYSTEM_CONTROL_A_PORT = 0x92;

export const SYSTEM_CONTROL_A = { FAST_RESET: 0x01, A20: 0x02, WRITABLE: 0xfe } as const;
