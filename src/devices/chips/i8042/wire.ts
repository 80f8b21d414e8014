// The 8042 keyboard controller's ports, status and commands (IBM PC AT technical reference, section 1).

export const I8042_PORT = { DATA: 0x60, COMMAND: 0x64 } as const;

export const I8042_STATUS = { OUTPUT_FULL: 0x01, SYSTEM: 0x04, COMMAND: 0x08, UNLOCKED: 0x10, TIMEOUT: 0x40 } as const;

export const I8042_COMMAND = {
  READ_COMMAND_BYTE: 0x20,
  WRITE_COMMAND_BYTE: 0x60,
  TEST_AUXILIARY: 0xa9,
  SELF_TEST: 0xaa,
  TEST_KEYBOARD: 0xab,
  DISABLE_KEYBOARD: 0xad,
  ENABLE_KEYBOARD: 0xae,
  READ_INPUT_PORT: 0xc0,
  READ_OUTPUT_PORT: 0xd0,
  WRITE_OUTPUT_PORT: 0xd1,
  /** 0xf0 to 0xff pulse the output port's low bits where the command's bit is 0; bit 0 is the reset line. */
  PULSE_OUTPUT_PORT: 0xf0,
} as const;

export const COMMAND_BYTE = { SYSTEM: 0x04, DISABLE_KEYBOARD: 0x10, DISABLE_AUXILIARY: 0x20 } as const;

export const OUTPUT_PORT = { RESET_INACTIVE: 0x01, A20: 0x02 } as const;

export const SELF_TEST_PASSED = 0x55;
/** Interface test: the clock line is stuck low, nobody is there. */
export const INTERFACE_TEST_NO_DEVICE = 0x01;
/** What the controller gives for a keyboard that does not answer: resend, with the timeout bit. */
export const RESEND = 0xfe;
