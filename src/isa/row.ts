// What one row of the instruction tables says. Operand notation is that of the opcode maps
// (Intel SDM volume 2, appendix A.2; AMD64 APM volume 3, appendix A.1). One row is one encoding.

/** How an operand is encoded. The first letter is the addressing method, the rest its size. */
export type OperandCode = string;

/** Processor features a row depends on; a row whose feature the CPU model lacks raises #UD. */
export type Feature =
  | 'base'
  | 'x87'
  | 'cmov'
  | 'cx8'
  | 'cx16'
  | 'fxsr'
  | 'mmx'
  | 'sse'
  | 'sse2'
  | 'sse3'
  | 'ssse3'
  | 'sse4.1'
  | 'sse4.2'
  | 'popcnt'
  | 'aes'
  | 'pclmulqdq'
  | 'rdrand'
  | 'rdseed'
  | 'xsave'
  | 'xsaveopt'
  | 'fsgsbase'
  | 'rdtscp'
  | 'invpcid'
  | 'smap'
  | 'clflush'
  | 'movbe';

export interface Row {
  /** Position in the whole table; stable within one run only. */
  readonly id: number;
  /** The manual's mnemonic in lower case: `add`, `cmovz`, `punpcklbw`. */
  readonly mnemonic: string;
  /**
   * Prefix, opcode and ModR/M extension as the manual writes them: `00 /r`, `80 /0 ib`, `F2 0F 58 /r`,
   * `REX.W 0F C7 /1`, `0F C8+r`, `D8 C0+i`, `NP 0F AE /0`.
   */
  readonly opcode: string;
  /** `['Eb', 'Gb']`, `['rAX', 'Iz']`, `['Vdq', 'Wdq', 'Ib']`: destination first. */
  readonly operands: readonly OperandCode[];
  /** Name of the lifting function; the mnemonic unless several mnemonics share one. */
  readonly lift: string;
  /** Condition code 0 to 15 of jcc, setcc and cmovcc. */
  readonly condition?: number;
  readonly feature: Feature;
  /** A LOCK prefix is allowed with a memory destination. */
  readonly lock?: boolean;
  /** REP/REPE/REPNE repeat the instruction. */
  readonly repeat?: 'rep' | 'repz';
  /** Operand size is 64 bits by default in 64-bit mode (stack operations), or always (`force64`, near branches). */
  readonly size64?: 'default64' | 'force64';
  /** Not valid in, or only valid in, 64-bit mode. */
  readonly mode?: 'no64' | 'only64';
  /** Ends a run of decoded records: the next instruction's address is not known from this alone, or a mode changes. */
  readonly ends?: boolean;
}
