// ACPI fixed hardware (ACPI 6.4 section 4.8): the PM1a blocks, the PM timer, the GPE0 block, and the PC's reset control
// register at 0xcf9. The FADT in src/machine/acpi tells the guest these ports.

export const ACPI_PM_PORT = {
  PM1A_EVENT: 0x600,
  PM1A_CONTROL: 0x604,
  PM_TIMER: 0x608,
  GPE0: 0x620,
  RESET_CONTROL: 0xcf9,
} as const;

export const ACPI_PM_LENGTH_BYTES = { PM1A_EVENT: 4, PM1A_CONTROL: 2, PM_TIMER: 4, GPE0: 4 } as const;

/** The global system interrupt of the SCI: level-triggered, active high by the MADT's override. */
export const SCI_GSI = 9;

export const PM_TIMER_HZ = 3_579_545;

/** Bits of PM1 status, and of PM1 enable where they have one. */
export const PM1 = { TMR: 0x0001, GBL: 0x0020, PWRBTN: 0x0100, SLPBTN: 0x0200, RTC: 0x0400, WAK: 0x8000 } as const;

export const PM1_ENABLE_WRITABLE = PM1.TMR | PM1.GBL | PM1.PWRBTN | PM1.SLPBTN | PM1.RTC;

export const PM1_CONTROL = {
  SCI_EN: 0x0001,
  BM_RLD: 0x0002,
  SLP_TYP_SHIFT: 10,
  SLP_TYP_MASK: 0x1c00,
  SLP_EN: 0x2000,
} as const;

/** SLP_TYP of S5, soft off: what the DSDT's \_S5 package says. */
export const SLP_TYP_S5 = 5;

/** Reset control register: a rising RST_CPU resets, RST_CPU with SYS_RST is what the FADT asks for. */
export const RESET_CONTROL = { SYS_RST: 0x02, RST_CPU: 0x04, WRITABLE: 0x0e } as const;
