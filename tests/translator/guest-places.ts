// Where things lie in the RAM of a generated program's guest. All RAM is also mapped for the supervisor from DIRECT on.

export const PAGE = 4096;
export const RAM_BYTES = 0x20_0000;
export const CODE_PAGES = 24;
export const DATA_PAGES = 8;

/** Guest-physical. */
export const PLACE = {
  GDT: 0x1000,
  IDT: 0x2000,
  TSS: 0x3000,
  HANDLERS: 0x4000,
  /** Words of the exception handler: see HANDLER_WORD. */
  HANDLER_DATA: 0x6000,
  /** What interrupts from outside leave behind; not compared. */
  VOLATILE: 0x7000,
  VOLATILE_END: 0x9000,
  IST2: 0xa000,
  RSP0: 0xb000,
  IST3: 0xc000,
  /** Frames and registers of every exception. */
  LOG: 0x1_0000,
  LOG_END: 0x2_0000,
  CODE: 0x4_0000,
  /** Code that differs in some immediates, data that differs: at VARIANT from the other. */
  CODE_VARIANT: 0x6_0000,
  DATA: 0x8_0000,
  TABLE: 0x8_8000,
  CONSTANTS: 0x8_9000,
  STACK: 0x9_0000,
  DATA_VARIANT: 0xa_0000,
  SECOND_STACK: 0xb_0000,
  PAGE_TABLES: 0x10_0000,
  SECOND_PAGE_TABLES: 0x14_0000,
} as const;

/** An exclusive or with this makes of a code or data page's physical address that of its variant. */
export const VARIANT = 0x2_0000;
/** From a place to the same one in a second window on all that the program has. */
export const ALIAS = -0x80_0000;
/** Likewise, out of reach of a direct branch; there some code pages are variants. */
export const FAR_ALIAS = -0x40_0000_0000;
/** No RAM. */
export const DEVICE_PHYSICAL = 0x9000_0000;

export const STACK_PAGES = 16;
export const SECOND_STACK_PAGES = 2;

export const DIRECT = 0xffff_8880_0000_0000n;

export function directAddress(guestPhysical: number): bigint {
  return DIRECT + BigInt(guestPhysical);
}

/** Offsets in HANDLER_DATA. */
export const HANDLER_WORD = { next: 0, end: 8, stepHash: 16, stepsLeft: 24 } as const;
