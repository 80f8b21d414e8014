// The 8259A's command words and the ports of the PC's pair (Intel 8259A data sheet; ELCR: 82371AB section 7.1.5).

export const PIC_PORT = { MASTER: 0x20, SLAVE: 0xa0, ELCR: 0x4d0 } as const;

/** Register of a chip by offset: the command port and the data port. */
export const PIC_REGISTER = { COMMAND: 0, DATA: 1 } as const;

export const ICW1 = { IC4: 0x01, SNGL: 0x02, LTIM: 0x08, SELECT: 0x10 } as const;

export const ICW4 = { AEOI: 0x02, SFNM: 0x10 } as const;

/** OCW2 bits 7 to 5: what to do at an end of interrupt. */
export const OCW2 = {
  ROTATE_IN_AEOI_CLEAR: 0,
  EOI: 1,
  NO_OPERATION: 2,
  SPECIFIC_EOI: 3,
  ROTATE_IN_AEOI_SET: 4,
  ROTATE_EOI: 5,
  SET_PRIORITY: 6,
  ROTATE_SPECIFIC_EOI: 7,
} as const;

export const OCW3 = { RIS: 0x01, RR: 0x02, POLL: 0x04, SELECT: 0x08, SMM: 0x20, ESMM: 0x40 } as const;

/** The master's input to which the slave is wired. */
export const CASCADE_INPUT = 2;

/** Lines that the ELCR may make level-triggered: not timer, keyboard and cascade, nor on the slave RTC and FPU. */
export const ELCR_WRITABLE = { MASTER: 0xf8, SLAVE: 0xde } as const;

/** The byte that a poll returns when a request is there: this bit and the level's number. */
export const POLL_INTERRUPT = 0x80;
