// Exception vectors (SDM volume 3, table 6-1): mnemonic, class, whether an error code is pushed.

/**
 * fault: the saved RIP is the instruction's own; trap: the next one's; abort: undefined. #DB is a fault for
 * instruction breakpoints and general detect, else a trap.
 */
export type ExceptionClass = 'fault' | 'trap' | 'abort' | 'interrupt';

export interface ExceptionVector {
  readonly vector: number;
  readonly mnemonic: string;
  readonly exceptionClass: ExceptionClass;
  readonly errorCode: boolean;
  /** How it combines into #DF with another (SDM volume 3, table 6-5). */
  readonly severity: 'benign' | 'contributory' | 'page-fault' | 'double-fault';
}

export const VECTOR = {
  DE: 0,
  DB: 1,
  NMI: 2,
  BP: 3,
  OF: 4,
  BR: 5,
  UD: 6,
  NM: 7,
  DF: 8,
  TS: 10,
  NP: 11,
  SS: 12,
  GP: 13,
  PF: 14,
  MF: 16,
  AC: 17,
  MC: 18,
  XM: 19,
} as const;

export type VectorName = keyof typeof VECTOR;

function vector(
  mnemonic: VectorName,
  exceptionClass: ExceptionClass,
  errorCode: boolean,
  severity: ExceptionVector['severity'],
): ExceptionVector {
  return { vector: VECTOR[mnemonic], mnemonic, exceptionClass, errorCode, severity };
}

export const EXCEPTION_VECTORS: readonly ExceptionVector[] = [
  vector('DE', 'fault', false, 'contributory'),
  vector('DB', 'trap', false, 'benign'),
  vector('NMI', 'interrupt', false, 'benign'),
  vector('BP', 'trap', false, 'benign'),
  vector('OF', 'trap', false, 'benign'),
  vector('BR', 'fault', false, 'benign'),
  vector('UD', 'fault', false, 'benign'),
  vector('NM', 'fault', false, 'benign'),
  vector('DF', 'abort', true, 'double-fault'),
  vector('TS', 'fault', true, 'contributory'),
  vector('NP', 'fault', true, 'contributory'),
  vector('SS', 'fault', true, 'contributory'),
  vector('GP', 'fault', true, 'contributory'),
  vector('PF', 'fault', true, 'page-fault'),
  vector('MF', 'fault', false, 'benign'),
  vector('AC', 'fault', true, 'benign'),
  vector('MC', 'abort', false, 'benign'),
  vector('XM', 'fault', false, 'benign'),
];

/** Page-fault error code bits (SDM volume 3, figure 4-12). */
export const PAGE_FAULT_ERROR = { P: 0x1, WR: 0x2, US: 0x4, RSVD: 0x8, ID: 0x10 } as const;

/** Selector error code bits (SDM volume 3, figure 6-7). */
export const SELECTOR_ERROR = { EXT: 0x1, IDT: 0x2, TI: 0x4 } as const;
