// What the manuals leave undefined, as data: flags, bits of the x87 status word, parts of memory images, and results
// that processors only approximate. Everything else must agree. Sections are those of SDM volume 2 unless said
// otherwise.

import { EFLAGS } from '../../src/isa/flags.ts';
import { FXSAVE } from '../oracle/fuzz-case.ts';
import { operandSize, RCX } from './case-draft.ts';
import type { GeneratedCase } from './generator.ts';

const { CF, PF, AF, ZF, SF, OF } = EFLAGS;

/** What not to compare of one case. */
export interface Tolerance {
  /** EFLAGS bits. */
  flags: number;
  /** Bits of the x87 status word. */
  statusWord: number;
  /** Byte ranges of memory, by linear address: start, end. */
  memory: [number, number][];
  /** GPR number to its undefined bits. */
  registers: Map<number, bigint>;
  /** Relative error that XMM single-precision results may have; 0: exact. */
  singleError: number;
  /** Units in the last place that ST registers may differ by; 0: exact. Infinity: not compared. */
  extendedUlps: number;
  /** Which of several accesses or checks fails first is the processor's affair: any #SS, #GP or #PF will do. */
  accessOrder: boolean;
  /** A fault may leave memory and general registers changed in part; RSP and RIP stay. */
  partial: boolean;
  /** Every register and all memory: the manual calls the destination undefined. */
  everything: boolean;
}

interface Rule {
  readonly lifts: readonly string[];
  /** The manual's statement. */
  readonly source: string;
  readonly apply: (tolerance: Tolerance, generated: GeneratedCase) => void;
}

/** Shift count after masking to 5 or 6 bits. */
function shiftCount({ instance, testCase }: GeneratedCase): number {
  const countOperand = instance.row.operands.at(-1);
  const raw =
    countOperand === '1'
      ? 1
      : countOperand === 'CL'
        ? Number(testCase.state.gpr[RCX]! & 0xffn)
        : (testCase.code[instance.immediateOffset] ?? 0);
  return raw & (instance.operandBytes === 8 && shiftBits(instance) === 64 ? 63 : 31);
}

function shiftBits(instance: GeneratedCase['instance']): number {
  return operandSize(instance.row.operands[0]!, instance.operandBytes) * 8;
}

const flags =
  (bits: number): Rule['apply'] =>
  (tolerance) => {
    tolerance.flags |= bits;
  };

const statusWord =
  (bits: number): Rule['apply'] =>
  (tolerance) => {
    tolerance.statusWord |= bits;
  };

const C0 = 0x100;
const C1 = 0x200;
const C2 = 0x400;
const C3 = 0x4000;

const relativeTo = (generated: GeneratedCase, start: number, end: number): [number, number] => {
  const target = Number(generated.memoryTarget);
  return [target + start, target + end];
};

const legacyPointers: Rule['apply'] = (tolerance, generated) => {
  tolerance.memory.push(relativeTo(generated, FXSAVE.FOP, FXSAVE.MXCSR));
  tolerance.memory.push(relativeTo(generated, FXSAVE.MXCSR_MASK, FXSAVE.ST));
  // The upper 6 bytes of each register's 16.
  for (let i = 0; i < 8; i++)
    tolerance.memory.push(relativeTo(generated, FXSAVE.ST + i * 16 + 10, FXSAVE.ST + i * 16 + 16));
};

export const RULES: readonly Rule[] = [
  { lifts: ['and', 'or', 'xor', 'test'], source: 'AND, OR, XOR, TEST: the state of AF is undefined', apply: flags(AF) },
  { lifts: ['mul', 'imul'], source: 'MUL, IMUL: SF, ZF, AF and PF are undefined', apply: flags(SF | ZF | AF | PF) },
  {
    lifts: ['div', 'idiv'],
    source: 'DIV, IDIV: CF, OF, SF, ZF, AF and PF are undefined',
    apply: flags(CF | OF | SF | ZF | AF | PF),
  },
  {
    lifts: ['shl', 'shr', 'sar'],
    source:
      'SAL/SAR/SHL/SHR: AF undefined for a non-zero count, OF for counts other than 1, ' +
      'CF of SHL and SHR for counts not below the size',
    apply: (tolerance, generated) => {
      const count = shiftCount(generated);
      if (count > 0) tolerance.flags |= AF;
      if (count > 1) tolerance.flags |= OF;
      if (generated.instance.row.lift !== 'sar' && count >= shiftBits(generated.instance)) tolerance.flags |= CF;
    },
  },
  {
    lifts: ['rol', 'ror', 'rcl', 'rcr'],
    source: 'RCL/RCR/ROL/ROR: OF is defined for 1-bit rotates only',
    apply: (tolerance, generated) => {
      if (shiftCount(generated) > 1) tolerance.flags |= OF;
    },
  },
  {
    lifts: ['shld', 'shrd'],
    source: 'SHLD, SHRD: AF undefined; OF for counts over 1; all of it for counts over the operand size',
    apply: (tolerance, generated) => {
      const count = shiftCount(generated);
      if (count > 0) tolerance.flags |= AF;
      if (count > 1) tolerance.flags |= OF;
      if (count > shiftBits(generated.instance)) tolerance.everything = true;
    },
  },
  {
    lifts: ['bt', 'bts', 'btr', 'btc'],
    source: 'BT, BTS, BTR, BTC: OF, SF, AF and PF are undefined',
    apply: flags(OF | SF | AF | PF),
  },
  {
    lifts: ['bsf', 'bsr'],
    source: 'BSF, BSR: CF, OF, SF, AF and PF are undefined',
    apply: flags(CF | OF | SF | AF | PF),
  },
  {
    lifts: ['lar'],
    source: 'LAR: bits 19:16 of the access rights are undefined',
    apply: (tolerance, { instance }) => {
      tolerance.registers.set(instance.reg, 0xf_0000n);
    },
  },
  {
    lifts: ['popa', 'pusha', 'callf', 'enter', 'fxsave', 'xsave', 'xsaveopt', 'fnsave', 'fnstenv'],
    source: 'an instruction of several accesses that faults can be restarted, and may have done a part of them',
    apply: (tolerance) => {
      tolerance.partial = true;
    },
  },
  { lifts: ['daa', 'das'], source: 'DAA, DAS: OF is undefined', apply: flags(OF) },
  { lifts: ['aaa', 'aas'], source: 'AAA, AAS: OF, SF, ZF and PF are undefined', apply: flags(OF | SF | ZF | PF) },
  { lifts: ['aam', 'aad'], source: 'AAM, AAD: OF, AF and CF are undefined', apply: flags(OF | AF | CF) },
  {
    lifts: ['bswap'],
    source: 'BSWAP: the result for a 16-bit register is undefined',
    apply: (tolerance, { instance }) => {
      if (instance.operandBytes === 2) tolerance.registers.set(instance.rm, 0xffffn);
    },
  },
  {
    lifts: [
      'fadd',
      'faddp',
      'fiadd',
      'fsub',
      'fsubp',
      'fisub',
      'fsubr',
      'fsubrp',
      'fisubr',
      'fmul',
      'fmulp',
      'fimul',
      'fdiv',
      'fdivp',
      'fidiv',
      'fdivr',
      'fdivrp',
      'fidivr',
      'fld',
      'fild',
      'fst',
      'fstp',
      'fist',
      'fistp',
      'fisttp',
      'fbld',
      'fbstp',
      'fabs',
      'fchs',
      'fld1',
      'fldl2t',
      'fldl2e',
      'fldpi',
      'fldlg2',
      'fldln2',
      'fldz',
      'fsqrt',
      'frndint',
      'fscale',
      'fxtract',
      'fxch',
      'fcmovb',
      'fcmove',
      'fcmovbe',
      'fcmovu',
      'fcmovnb',
      'fcmovne',
      'fcmovnbe',
      'fcmovnu',
      'fdecstp',
      'fincstp',
      'f2xm1',
      'fyl2x',
      'fyl2xp1',
      'fpatan',
    ],
    source: 'x87 arithmetic and moves: C0, C2 and C3 are undefined',
    apply: statusWord(C0 | C2 | C3),
  },
  {
    lifts: ['fcom', 'fcomp', 'fcompp', 'ficom', 'ficomp', 'ftst', 'fucom', 'fucomp', 'fucompp'],
    source: 'FCOM and its kin: C1 is cleared only; nothing is undefined',
    apply: () => {},
  },
  {
    lifts: ['fldcw', 'fnstcw', 'fnstsw', 'ffree', 'ffreep', 'fnop', 'fwait', 'fnclex', 'fnstenv'],
    source: 'FLDCW, FSTCW, FSTSW, FFREE, FNOP, FWAIT, FCLEX, FSTENV: C0 to C3 are undefined',
    apply: statusWord(C0 | C1 | C2 | C3),
  },
  {
    lifts: ['fsin', 'fcos', 'fsincos', 'fptan', 'fpatan', 'f2xm1', 'fyl2x', 'fyl2xp1'],
    source:
      'SDM 1, 8.3.10: transcendental results are within 1 ulp, so that C1 and the last places differ ' +
      'between processors',
    apply: (tolerance) => {
      tolerance.statusWord |= C0 | C1 | C3;
      tolerance.extendedUlps = 8;
    },
  },
  {
    lifts: ['rcpps', 'rcpss', 'rsqrtps', 'rsqrtss'],
    source: 'RCPPS, RSQRTPS: the relative error is at most 1.5 * 2^-12',
    apply: (tolerance) => {
      tolerance.singleError = 2 ** -10;
    },
  },
  {
    lifts: ['fxsave'],
    source: 'FXSAVE: pointers are kept for errors only on AMD processors (APM 2, 11.4.4)',
    apply: legacyPointers,
  },
  {
    lifts: ['xsave', 'xsaveopt'],
    source: "SDM 1, 13.6: whether a component is tracked as in its initial configuration is the processor's choice",
    apply: (tolerance, generated) => {
      legacyPointers(tolerance, generated);
      tolerance.memory.push(relativeTo(generated, 512, 513));
    },
  },
  {
    lifts: [
      'fxsave',
      'xsave',
      'xsaveopt',
      'fxrstor',
      'xrstor',
      'fnstenv',
      'fnsave',
      'fldenv',
      'frstor',
      'retf',
      'iret',
      'callf',
      'jmpf',
      'pusha',
      'popa',
      'enter',
      'bound',
      'lds',
      'les',
      'lfs',
      'lgs',
      'lss',
      'call',
      'call-indirect',
      'movs',
      'cmps',
    ],
    source: 'SDM 3, 6.9: nothing orders the accesses within an instruction',
    apply: (tolerance) => {
      tolerance.accessOrder = true;
    },
  },
  {
    lifts: ['fnstenv', 'fnsave'],
    source: 'SDM 1, 8.1.8: instruction and operand pointers, as FXSAVE; reserved halves',
    apply: (tolerance, generated) => {
      const narrow = generated.instance.operandBytes === 2;
      tolerance.memory.push(relativeTo(generated, narrow ? 6 : 12, narrow ? 14 : 28));
    },
  },
];

/** What no case compares. */
export const NEVER_COMPARED: readonly string[] = [
  'x87: the last instruction pointer, operand pointer and opcode (FIP, FDP, FOP), which AMD processors ' +
    'keep for errors only',
  'RFLAGS: RF, VIF and VIP',
  'outside 64-bit code: the upper halves of general registers',
  'alignment checks (AC is clear in every case) and single steps (TF is clear)',
];

const RULES_BY_LIFT = new Map<string, Rule[]>();
for (const rule of RULES) {
  for (const lift of rule.lifts) RULES_BY_LIFT.set(lift, [...(RULES_BY_LIFT.get(lift) ?? []), rule]);
}

export function toleranceOf(generated: GeneratedCase): Tolerance {
  const { row } = generated.instance;
  const tolerance: Tolerance = {
    flags: 0,
    statusWord: 0,
    memory: [],
    registers: new Map(),
    singleError: 0,
    extendedUlps: 0,
    accessOrder: false,
    partial: false,
    everything: false,
  };
  // Alignment and segment limit of 16-byte operands are checked in no order that the manuals tell.
  if (generated.testCase.mode !== 64 && /sse|aes|clmul/.test(row.feature)) tolerance.accessOrder = true;
  // An access that wraps around a 4 GiB segment may or may not raise an exception (SDM 3, 5.3).
  const wraps = generated.memoryTarget > 0xffff_fc00n || /^bt[rsc]?$/.test(row.lift);
  if (generated.testCase.mode !== 64 && wraps) tolerance.accessOrder = true;
  if (row.operands.includes('Mer') || row.operands.includes('Mbcd')) tolerance.accessOrder = true;
  for (const rule of RULES_BY_LIFT.get(row.lift) ?? []) rule.apply(tolerance, generated);
  return tolerance;
}
