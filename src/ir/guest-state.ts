// Where a virtual processor's state lies in memory: byte offsets from the processor's base, in engine memory.
// Lifted code names fields; emitters and the engine's own helpers read and write the same bytes.
//
// Arithmetic flags are not kept as EFLAGS bits but as four words from which each flag follows without knowing
// which operation set them:
//   flagZ  ZF = (flagZ == 0)
//   flagN  SF = bit 63; PF = even parity of bits 7:0
//   flagC  CF = bit 63; OF = bit 63 xor bit 62 (the carry out of, and into, the sign bit)
//   flagA  AF = bit 3 (the carry out of bit 3)

export type FieldType = 'u8' | 'u16' | 'u32' | 'i32' | 'u64';

export interface Field {
  readonly offset: number;
  readonly type: FieldType;
}

const field = <T extends FieldType>(offset: number, type: T): { offset: number; type: T } => ({ offset, type });

/**
 * Bytes from one segment register's state to the next's: base u64 at 0, limit u32 at 8, attributes u32 at 12, selector
 * u32 at 16, and at 24 a u32 that is not 0 when no access through the segment needs a check (flat, or 64-bit code).
 * 64-bit code names FLAT_SEGMENT_OFFSET instead of ES, CS, SS and DS, whose bases do not count there.
 */
export const SEGMENT_STRIDE = 32;
export const SEGMENT_OFFSET = 0x100;
/** A segment with base 0 that never needs a check. */
export const FLAT_SEGMENT_OFFSET = 0x380;
export const GPR_OFFSET = 0x000;
export const X87_OFFSET = 0x400;
export const XMM_OFFSET = 0x600;

/** Size of one privilege's data TLB: the supervisor's, with AC clear and set, lie behind each other. */
export const TLB_BYTES_LOG2 = 17;

export const STATE = {
  /** Always zero: the base or index that an address does not have. */
  zero: field(0x080, 'u64'),
  /** Address of the current code page, so that RIP = codePage + offset of the record's instruction. */
  codePage: field(0x088, 'u64'),
  flagZ: field(0x090, 'u64'),
  flagN: field(0x098, 'u64'),
  flagC: field(0x0a0, 'u64'),
  flagA: field(0x0a8, 'u32'),
  /** EFLAGS bits other than the arithmetic flags: TF, IF, DF, IOPL, NT, RF, VM, AC, VIF, VIP, ID. */
  systemFlags: field(0x0ac, 'u32'),
  /** The record that was being run when generated code returned; 0 when `rip` holds the address. */
  record: field(0x0b0, 'u32'),
  /** Set by a runtime function to make generated code return: an exception is pending, or the run loop is wanted. */
  stop: field(0x0b4, 'u32'),
  /** Jumps left until generated code returns for polling. */
  budget: field(0x0b8, 'i32'),
  /** Not 0: an interrupt waits for IF. */
  interruptWaiting: field(0x0bc, 'u32'),
  /** Host offset of the data TLB of the current privilege. */
  tlb: field(0x0c0, 'u32'),
  /** Host offset of the code TLB of the current privilege and code size. */
  codeTlb: field(0x0c4, 'u32'),
  /** Address-space key, 12 bits, as the low bits of every TLB tag. */
  tlbKey: field(0x0c8, 'u64'),
  rip: field(0x0d0, 'u64'),
  cpl: field(0x0d8, 'u32'),
  /** 16, 32 or 64: the meaning of code bytes. */
  codeSize: field(0x0dc, 'u32'),
  /** All ones in 64-bit mode, 0xffffffff or 0xffff by SS.B: the part of RSP that addresses the stack. */
  stackMask: field(0x0e0, 'u64'),
  /** Base of SS, or 0 in 64-bit mode. */
  stackBase: field(0x0e8, 'u64'),
  /** Base of CS, or 0 in 64-bit mode. */
  codeBase: field(0x0f0, 'u64'),
  /** Set when a store has made decoded instructions stale: translated code leaves at its next instruction. */
  codeChanged: field(0x218 + 8, 'u32'),
  /** Scratch doublewords through which runtime functions hand over values. */
  scratch0: field(0x0f8, 'u64'),
  /**
   * Where RET would go back to the region whose nested call is being run; NO_RETURN where none is. See core.ts.
   */
  expectedReturn: field(0x3a0, 'u64'),
  /** Not 0: the arithmetic flags are not in the words but follow from an operation (FLAG_KIND | sizeBytes << 8). */
  flagKind: field(0x3a8, 'u32'),
  /** Changes whenever code may be found elsewhere than before; bit 0: CPL is 3. */
  codeEpoch: field(0x3ac, 'u32'),
  /** The operation's values, as FLAG_KIND says. */
  flagFirst: field(0x3b0, 'u64'),
  flagSecond: field(0x3b8, 'u64'),
  /** Nested calls of regions that are under way. */
  callDepth: field(0x3c0, 'u32'),
  /** Host offset of the counters of jumps' targets (HEAT in record.ts), and how often makes a target hot. */
  heat: field(0x3c8, 'u32'),
  heatLimit: field(0x3cc, 'u32'),
  /** Host offset of where jumps out of regions went last (JUMP_CACHE in record.ts). */
  jumpCache: field(0x3d0, 'u32'),
  /** Length of the instruction at `rip`, where a region calls the engine. */
  instructionLength: field(0x3c4, 'u32'),
  /**
   * A page that regions reach by RSP, readable and writable at the current privilege, and its host offset; or
   * NO_PAGE_HIGH and 0. A cache of one TLB entry: whatever drops that drops this.
   */
  stackPage: field(0x3d8, 'u64'),
  stackHost: field(0x3d4, 'u32'),
  /** The page where a core function has found a window's access, or NO_PAGE, and its entry's addend. */
  windowPage: field(0x3e0, 'u64'),
  windowAddend: field(0x3e8, 'u32'),
  cr0: field(0x200, 'u64'),
  cr2: field(0x208, 'u64'),
  cr3: field(0x210, 'u64'),
  cr4: field(0x218, 'u64'),
  efer: field(0x228, 'u64'),
  xcr0: field(0x230, 'u64'),
  /** Limit of CS; all ones in 64-bit mode. */
  codeLimit: field(0x238, 'u64'),
  gdtrBase: field(0x240, 'u64'),
  gdtrLimit: field(0x248, 'u32'),
  idtrBase: field(0x250, 'u64'),
  idtrLimit: field(0x258, 'u32'),
  dr0: field(0x260, 'u64'),
  dr1: field(0x268, 'u64'),
  dr2: field(0x270, 'u64'),
  dr3: field(0x278, 'u64'),
  dr6: field(0x280, 'u64'),
  dr7: field(0x288, 'u64'),
  star: field(0x300, 'u64'),
  lstar: field(0x308, 'u64'),
  cstar: field(0x310, 'u64'),
  sfmask: field(0x318, 'u64'),
  kernelGsBase: field(0x320, 'u64'),
  sysenterCs: field(0x328, 'u64'),
  sysenterEsp: field(0x330, 'u64'),
  sysenterEip: field(0x338, 'u64'),
  tscAux: field(0x340, 'u64'),
  /** Segment 0 is ES; in 64-bit code its base counts as 0. */
  esBase: field(SEGMENT_OFFSET, 'u64'),
  fsBase: field(SEGMENT_OFFSET + 4 * SEGMENT_STRIDE, 'u64'),
  gsBase: field(SEGMENT_OFFSET + 5 * SEGMENT_STRIDE, 'u64'),
  /** x87 control and status words, 16 bits each: the upper half of these fields is something else. */
  x87Control: field(X87_OFFSET + 128, 'u32'),
  x87Status: field(X87_OFFSET + 130, 'u32'),
  /** FDP: offset of the last memory operand. */
  x87DataPointer: field(X87_OFFSET + 144, 'u64'),
  mxcsr: field(0x500, 'u32'),
  /** Not 0: an x87 or MMX instruction raises #NM (CR0.TS or CR0.EM), an SSE instruction #NM or #UD. */
  x87Trap: field(0x504, 'u32'),
  sseTrap: field(0x508, 'u32'),
} as const satisfies Record<string, Field>;

/** Not canonical: no RET goes there. */
export const NO_RETURN = 1n << 63n;

/** The upper half of an address that is not canonical nor near one that is: nothing points there. The lower is 0. */
export const NO_PAGE_HIGH = 0x5aa5_c33c;
export const NO_PAGE = BigInt(NO_PAGE_HIGH) << 32n;

export type StateField = keyof typeof STATE;

/** 16-byte scratch values, for operands that do not fit a doubleword. */
export const SCRATCH_OFFSET = 0x700;
/** Two records with which a single instruction is run on its own. */
export const STEP_RECORDS_OFFSET = 0x800;
/** Size of one processor's state block. */
export const STATE_SIZE_BYTES = 0x1000;

export const SEGMENT_FIELDS = { base: 0, limit: 8, attributes: 12, selector: 16, flat: 24 } as const;

export const gprOffset = (index: number): number => GPR_OFFSET + index * 8;
export const xmmOffset = (index: number): number => XMM_OFFSET + index * 16;
/** MMX registers are the significands of the physical x87 registers. */
export const mmxOffset = (index: number): number => X87_OFFSET + index * 16;
export const segmentOffset = (index: number): number => SEGMENT_OFFSET + index * SEGMENT_STRIDE;
