// Runtime functions: what lifted code asks of the engine because it needs more than arithmetic on state, or is too
// rare to be worth generating. Declared once; emitters import them by name, the engine implements them all.
//
// Before a call the emitter makes the address of the instruction known to the engine. A function that `stops` may
// raise an exception or end the run: the emitter returns from generated code when the `stop` field is set after it.

import type { ValueType } from './operations.ts';

export interface RuntimeSignature {
  readonly parameters: readonly ValueType[];
  readonly result?: ValueType;
  readonly stops: boolean;
}

function signature<const P extends readonly ValueType[]>(
  parameters: P,
  stops: boolean,
): { parameters: P; stops: boolean };
function signature<const P extends readonly ValueType[], const R extends ValueType>(
  parameters: P,
  stops: boolean,
  result: R,
): { parameters: P; stops: boolean; result: R };
function signature(parameters: readonly ValueType[], stops: boolean, result?: ValueType): RuntimeSignature {
  return result === undefined ? { parameters, stops } : { parameters, result, stops };
}

export const RUNTIME = {
  /** (vector, error code or -1): raises an exception at the current instruction. */
  raise: signature(['i32', 'i32'], true),
  /** Software interrupt: INT n, INT3, INTO, INT1. (vector, kind 0 = INT n, 1 = INT3/INTO, 2 = INT1). Sets rip. */
  softwareInterrupt: signature(['i32', 'i32'], true),
  /** (port, sizeBytes) after the permission check of CPL, IOPL and the TSS bitmap. */
  readPort: signature(['i32', 'i32'], true, 'i32'),
  writePort: signature(['i32', 'i32', 'i32'], true),
  cpuid: signature([], false),
  /** Ticks, as an integral double. */
  readTsc: signature([], true, 'f64'),
  readTscp: signature([], true, 'f64'),
  rdmsr: signature([], true),
  wrmsr: signature([], true),
  rdpmc: signature([], true),
  /** (control register, value). */
  writeControl: signature(['i32', 'i64'], true),
  readControl: signature(['i32'], true, 'i64'),
  writeDebug: signature(['i32', 'i64'], true),
  readDebug: signature(['i32'], true, 'i64'),
  lmsw: signature(['i32'], true),
  clts: signature([], true),
  /** (which: 0 GDTR, 1 IDTR; limit; base). */
  loadDescriptorTable: signature(['i32', 'i32', 'i64'], true),
  /** Raises #GP when UMIP forbids SGDT, SIDT, SLDT, STR, SMSW at this privilege. */
  checkUmip: signature([], true),
  /** Raises #GP unless CPL is 0. */
  checkPrivileged: signature([], true),
  lldt: signature(['i32'], true),
  ltr: signature(['i32'], true),
  /**
   * A load of a segment register: (index, plus 8 where MOV SS's hold on traps and interrupts does not apply; selector).
   */
  loadSegment: signature(['i32', 'i32'], true),
  /** Selector checks that answer in ZF: (0 LAR, 1 LSL, 2 VERR, 3 VERW; selector). -1 when ZF is to be cleared. */
  inspectSelector: signature(['i32', 'i32'], true, 'i64'),
  invlpg: signature(['i64'], true),
  /** (type, linear address of the descriptor). */
  invpcid: signature(['i64', 'i64'], true),
  /** All cached code and translations are dropped: WBINVD and INVD only need the privilege check. */
  syscall: signature([], true),
  /** (operandBytes). */
  sysret: signature(['i32'], true),
  sysenter: signature([], true),
  sysexit: signature(['i32'], true),
  iret: signature(['i32'], true),
  /** (selector, offset, operandBytes). */
  farJump: signature(['i32', 'i64', 'i32'], true),
  farCall: signature(['i32', 'i64', 'i32'], true),
  /** (operandBytes, bytes to release). */
  farReturn: signature(['i32', 'i32'], true),
  /** Flags image pushed by PUSHF is composed in lifted code; POPF and IF/IOPL rules are here: (value, operandBytes). */
  writeFlags: signature(['i64', 'i32'], true),
  cli: signature([], true),
  sti: signature([], true),
  /** EFLAGS.AC = argument: CLAC and STAC. */
  writeAc: signature(['i32'], true),
  hlt: signature([], true),
  swapgs: signature([], true),
  /** Raises #UD unless CR4.FSGSBASE is set. */
  checkFsgsbase: signature([], true),
  /** (element size; addressBytes; state offset of the source's segment). As many turns as fit before polling is due. */
  repMovs: signature(['i32', 'i32', 'i32'], true),
  repStos: signature(['i32', 'i32'], true),
  /** INS and OUTS, one turn or repeated: (sizeBytes, addressBytes, repeated 0/1[, state offset of the segment]). */
  ins: signature(['i32', 'i32', 'i32'], true),
  outs: signature(['i32', 'i32', 'i32', 'i32'], true),
  enter: signature(['i32', 'i32', 'i32', 'i32'], true),
  pusha: signature(['i32'], true),
  popa: signature(['i32'], true),
  /**
   * 64-bit DIV by a 128-bit dividend RDX:RAX whose quotient does not fit the quick path: (divisor); 0 quotient overflow
   * raises #DE.
   */
  divide128: signature(['i64'], true),
  idivide128: signature(['i64'], true),
  rdrand: signature([], false, 'i64'),
  fxsave: signature(['i64', 'i32'], true),
  fxrstor: signature(['i64', 'i32'], true),
  /** (linear address, 64-bit form, optimised). */
  xsave: signature(['i64', 'i32', 'i32'], true),
  xrstor: signature(['i64', 'i32'], true),
  xgetbv: signature([], true),
  xsetbv: signature([], true),
  /** Checks the bits, then sets. */
  ldmxcsr: signature(['i32'], true),
  /** Raises #NM or #UD when the x87 may not be used; used before memory is touched. */
  checkX87: signature([], true),
  /** FWAIT: #NM when CR0.MP and CR0.TS are set, #MF when an exception is pending. */
  checkWait: signature([], true),
  /** Raises #UD unless CPL is 0: CLAC and STAC. */
  checkPrivilegedOpcode: signature([], true),
  /** PUSHF in virtual-8086 mode. */
  checkPushf: signature([], true),
  /** Legacy segment limit and type check: (segment index, offset, sizeBytes, write 0/1). */
  checkSegment: signature(['i32', 'i64', 'i32', 'i32'], true),
  /**
   * x87: (operation number, operand index or size, low 64 bits, high 16 bits of a memory operand). See the engine's
   * x87.
   */
  x87: signature(['i32', 'i32', 'i64', 'i32'], true),
  /**
   * The value an x87 store is about to write, low 64 bits; in scratch0 its size in bytes (bits 7:0; 0 when nothing is
   * to be stored) and its bits 79:64 (bits 31:16). (operation number, operand).
   */
  x87PrepareStore: signature(['i32', 'i32'], true, 'i64'),
  x87CommitStore: signature([], false),
  /** Raises what a store of (linear address, sizeBytes) would raise. */
  checkWritable: signature(['i64', 'i32'], true),
  /** FNSTENV, FNSAVE, FLDENV, FRSTOR: (operation number, linear address, operandBytes). */
  x87Environment: signature(['i32', 'i64', 'i32'], true),
  /** Raises #MF when an unmasked x87 exception is pending; used by MMX and x87 instructions that wait. */
  x87Wait: signature([], true),
  /**
   * What an MMX instruction does to the x87 state: TOP = 0, all tags valid, all ones in the sign and exponent of the
   * register written. (state offset of that register, or -1 where none is).
   */
  mmxEnter: signature(['i32'], false),
  emms: signature([], false),
  /**
   * Exact SSE arithmetic: (operation number, immediate). The old destination in scratch slot 0, the source in slot 1,
   * the result in slot 0. Raises #XM, or #UD where CR4.OSXMMEXCPT is 0, for an unmasked exception. See
   * sse-operations.ts.
   */
  sseExact: signature(['i32', 'i32'], true),
  /**
   * PCMPxSTRx: (immediate; lengths of the first and second operand, negative or large ones not yet reduced, or
   * -0x80000000 for an implicit length). Operands in scratch slots 0 and 1. The mask comes back in slot 0; the result
   * is the index in bits 31:16 and CF, ZF, SF and OF in their EFLAGS places.
   */
  pcmpstr: signature(['i32', 'i32', 'i32'], false, 'i32'),
  /** AES and PCLMULQDQ: (operation number, immediate); operands in scratch slots 0 and 1, result in 0. */
  crypto: signature(['i32', 'i32'], false),
} as const satisfies Record<string, RuntimeSignature>;

export type RuntimeName = keyof typeof RUNTIME;

/** Functions that neither look at registers, flags or the following address nor change them or the processor's mode. */
export const STATELESS_RUNTIME: ReadonlySet<string> = new Set<RuntimeName>([
  'raise',
  'sseExact',
  'pcmpstr',
  'crypto',
  'rdrand',
]);
