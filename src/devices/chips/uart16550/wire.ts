// The 16550A's registers and their bits (National Semiconductor PC16550D data sheet, section 8).

export const UART_PORT_COUNT = 8;

/** Base port and ISA interrupt of the PC's four serial ports. */
export const COM_PORTS = [
  { name: 'COM1', firstPort: 0x3f8, irq: 4 },
  { name: 'COM2', firstPort: 0x2f8, irq: 3 },
  { name: 'COM3', firstPort: 0x3e8, irq: 4 },
  { name: 'COM4', firstPort: 0x2e8, irq: 3 },
] as const;

/** Register by offset; with LCR.DLAB set, 0 and 1 are the divisor latch. */
export const UART_REGISTER = {
  RBR_THR: 0,
  IER: 1,
  IIR_FCR: 2,
  LCR: 3,
  MCR: 4,
  LSR: 5,
  MSR: 6,
  SCR: 7,
} as const;

export const IER = { RDI: 0x01, THRI: 0x02, RLSI: 0x04, MSI: 0x08, WRITABLE: 0x0f } as const;

/** IIR: what interrupts, highest priority first. */
export const IIR = {
  RECEIVER_LINE_STATUS: 0x06,
  RECEIVED_DATA: 0x04,
  CHARACTER_TIMEOUT: 0x0c,
  THR_EMPTY: 0x02,
  MODEM_STATUS: 0x00,
  NONE: 0x01,
  FIFOS_ENABLED: 0xc0,
} as const;

export const FCR = { ENABLE: 0x01, CLEAR_RECEIVER: 0x02, CLEAR_TRANSMITTER: 0x04, TRIGGER_SHIFT: 6 } as const;

/** Bytes in the receive FIFO at which it interrupts, by FCR bits 7 and 6. */
export const TRIGGER_LEVELS = [1, 4, 8, 14] as const;

export const LCR = { DLAB: 0x80 } as const;

export const MCR = { DTR: 0x01, RTS: 0x02, OUT1: 0x04, OUT2: 0x08, LOOP: 0x10, WRITABLE: 0x1f } as const;

export const LSR = { DR: 0x01, OE: 0x02, THRE: 0x20, TEMT: 0x40 } as const;

export const MSR = {
  DCTS: 0x01,
  DDSR: 0x02,
  TERI: 0x04,
  DDCD: 0x08,
  CTS: 0x10,
  DSR: 0x20,
  RI: 0x40,
  DCD: 0x80,
} as const;

export const FIFO_SIZE_BYTES = 16;
