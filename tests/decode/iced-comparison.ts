// One line of text for what iced-x86 decodes and for what we decode, in the same words, so that equal lines are equal
// instructions.

import iced from 'iced-x86';
import type { Instruction, MemoryOperand, Operand } from '../../src/decode/instruction.ts';
import { BASE_RIP, NO_REGISTER } from '../../src/decode/instruction.ts';
import { COVERED_FEATURES, EXECUTES_AS, HINTS, UNSIZED, WORD_REGISTERS } from './iced-deviations.ts';

const { CpuidFeature, MemorySizeExt, Mnemonic, OpKind, Register } = iced;

type IcedInstruction = InstanceType<typeof iced.Instruction>;

const COVERED = new Set(COVERED_FEATURES.map((name) => CpuidFeature[name as keyof typeof CpuidFeature] as number));
const MNEMONICS = new Map<number, string>();
for (const [name, value] of Object.entries(Mnemonic)) {
  if (typeof value === 'number') MNEMONICS.set(value, name.toLowerCase());
}
const SEGMENTS = ['es', 'cs', 'ss', 'ds', 'fs', 'gs'];

/** Our words -> iced's, by the size that distinguishes iced's. */
const BY_OPERAND_SIZE: Readonly<Record<string, readonly [string, string, string]>> = {
  cbw: ['cbw', 'cwde', 'cdqe'],
  cwd: ['cwd', 'cdq', 'cqo'],
  pushf: ['pushf', 'pushfd', 'pushfq'],
  popf: ['popf', 'popfd', 'popfq'],
  pusha: ['pusha', 'pushad', ''],
  popa: ['popa', 'popad', ''],
  iret: ['iret', 'iretd', 'iretq'],
  sysret: ['sysret', 'sysret', 'sysretq'],
  sysexit: ['sysexit', 'sysexit', 'sysexitq'],
  pcmpestrm: ['pcmpestrm', 'pcmpestrm', 'pcmpestrm64'],
  pcmpestri: ['pcmpestri', 'pcmpestri', 'pcmpestri64'],
};
const RENAMED: Readonly<Record<string, string>> = {
  callf: 'call',
  jmpf: 'jmp',
  loopnz: 'loopne',
  loopz: 'loope',
  fwait: 'wait',
  xlat: 'xlatb',
};
const CONDITIONS = ['o', 'no', 'b', 'ae', 'e', 'ne', 'be', 'a', 's', 'ns', 'p', 'np', 'l', 'ge', 'le', 'g'];

export function icedMnemonicOf({ row, operandBytes, addressBytes, operands }: Instruction): string {
  const { mnemonic, condition } = row;
  if (condition !== undefined) return mnemonic.replace(/^(j|set|cmov).*/, `$1${CONDITIONS[condition]}`);
  if (row.repeat !== undefined) {
    const accessed = operands.find(({ kind }) => kind === 'memory') as MemoryOperand;
    return mnemonic + { 1: 'b', 2: 'w', 4: 'd', 8: 'q' }[accessed.sizeBytes as 1 | 2 | 4 | 8];
  }
  if (mnemonic === 'jrcxz') return { 2: 'jcxz', 4: 'jecxz', 8: 'jrcxz' }[addressBytes];
  if (HINTS.includes(mnemonic)) return 'nop';
  return BY_OPERAND_SIZE[mnemonic]?.[operandBytes >> 2] ?? RENAMED[mnemonic] ?? mnemonic;
}

function memoryText(
  segment: string,
  base: string,
  index: string,
  scale: number,
  displacement: bigint,
  sizeBytes: number | string,
): string {
  return `[${segment}:${base}+${index}*${scale}+${displacement}]:${sizeBytes}`;
}

function generalName(index: number, sizeBytes: number): string {
  return `gpr${index}.${sizeBytes}`;
}

function ourOperand(operand: Operand, instruction: Instruction, nextIp: bigint): string {
  switch (operand.kind) {
    case 'register': {
      const { file, index, highByte, sizeBytes } = operand;
      if (highByte) return `high${index}`;
      return file === 'gpr' ? generalName(index, sizeBytes) : `${file}${index}`;
    }
    case 'immediate':
      return `imm${operand.sizeBytes}=${operand.value}`;
    case 'relative': {
      const bits = instruction.operandBytes * 8;
      return `to${bits}=${BigInt.asUintN(bits, nextIp + BigInt(operand.displacement))}`;
    }
    case 'far':
      return `far${instruction.operandBytes}=${operand.selector}:${operand.offset}`;
    case 'memory': {
      const { segment, base, index, scaleShift, displacement, addressBytes, sizeBytes } = operand;
      const relative = base === BASE_RIP ? nextIp : 0n;
      const baseName = base === NO_REGISTER ? '' : base === BASE_RIP ? 'ip' : generalName(base, addressBytes);
      return memoryText(
        SEGMENTS[segment]!,
        baseName,
        index === NO_REGISTER ? '' : generalName(index, addressBytes),
        1 << scaleShift,
        BigInt.asUintN(addressBytes * 8, relative + displacement),
        UNSIZED.includes(instruction.row.mnemonic) ? `none${sizeBytes}` : sizeBytes,
      );
    }
  }
}

export function ourText(instruction: Instruction, nextIp: bigint): string {
  const { row, lengthBytes, lock, repeat, operands } = instruction;
  const hint = HINTS.includes(row.mnemonic);
  const operandTexts = hint ? [] : operands.map((operand) => ourOperand(operand, instruction, nextIp));
  return [icedMnemonicOf(instruction), lengthBytes, lock ? 'lock' : '', repeat, ...operandTexts].join(' ');
}

const REGISTER_RANGES: readonly (readonly [first: string, last: string, text: (index: number) => string])[] = [
  ['AL', 'BL', (index) => generalName(index, 1)],
  ['AH', 'BH', (index) => `high${index}`],
  ['SPL', 'R15L', (index) => generalName(index + 4, 1)],
  ['AX', 'R15W', (index) => generalName(index, 2)],
  ['EAX', 'R15D', (index) => generalName(index, 4)],
  ['RAX', 'R15', (index) => generalName(index, 8)],
  ['EIP', 'RIP', () => 'ip'],
  ['ES', 'GS', (index) => `segment${index}`],
  ['XMM0', 'XMM15', (index) => `xmm${index}`],
  ['CR0', 'CR15', (index) => `control${index}`],
  ['DR0', 'DR15', (index) => `debug${index}`],
  ['ST0', 'ST7', (index) => `st${index}`],
  ['MM0', 'MM7', (index) => `mmx${index}`],
];
const REGISTER_TEXTS: string[] = [];
REGISTER_TEXTS[Register.None] = '';
for (const [first, last, text] of REGISTER_RANGES) {
  const start = Register[first as keyof typeof Register] as number;
  const stop = Register[last as keyof typeof Register] as number;
  for (let value = start; value <= stop; value++) REGISTER_TEXTS[value] = text(value - start);
}

const IMMEDIATE_BYTES = new Map<number, number>([
  [OpKind.Immediate8, 1],
  [OpKind.Immediate8_2nd, 1],
  [OpKind.Immediate16, 2],
  [OpKind.Immediate32, 4],
  [OpKind.Immediate64, 8],
  [OpKind.Immediate8to16, 2],
  [OpKind.Immediate8to32, 4],
  [OpKind.Immediate8to64, 8],
  [OpKind.Immediate32to64, 8],
]);
const BRANCH_BITS = new Map<number, number>([
  [OpKind.NearBranch16, 16],
  [OpKind.NearBranch32, 32],
  [OpKind.NearBranch64, 64],
]);
/** Implicit addresses: register number, size, and whether the segment is ES. */
const IMPLICIT = new Map<number, readonly [index: number, addressBytes: number, es: boolean]>([
  [OpKind.MemorySegSI, [6, 2, false]],
  [OpKind.MemorySegESI, [6, 4, false]],
  [OpKind.MemorySegRSI, [6, 8, false]],
  [OpKind.MemorySegDI, [7, 2, false]],
  [OpKind.MemorySegEDI, [7, 4, false]],
  [OpKind.MemorySegRDI, [7, 8, false]],
  [OpKind.MemoryESDI, [7, 2, true]],
  [OpKind.MemoryESEDI, [7, 4, true]],
  [OpKind.MemoryESRDI, [7, 8, true]],
]);

/** The segment that counts: in 64-bit code only FS and GS prefixes do, iced reports the others too. */
function segmentText(instruction: IcedInstruction, bitness: number, base: string): string {
  const prefix = instruction.segmentPrefix;
  if (bitness === 64 && prefix !== Register.None && prefix !== Register.FS && prefix !== Register.GS) {
    return /^gpr[45]\./.test(base) ? 'ss' : 'ds';
  }
  return SEGMENTS[instruction.memorySegment - Register.ES]!;
}

function isSegment(register: number): boolean {
  return register >= Register.ES && register <= Register.GS;
}

function icedOperand(instruction: IcedInstruction, index: number, bitness: number, mnemonic: string): string {
  const kind = instruction.opKind(index);
  if (kind === OpKind.Register) {
    const text = REGISTER_TEXTS[instruction.opRegister(index)] ?? 'unknown register';
    const loadsSegment = mnemonic === 'mov' && index === 1 && isSegment(instruction.opRegister(0));
    return loadsSegment || WORD_REGISTERS.includes(mnemonic) ? text.replace(/^(gpr\d+)\.\d$/, '$1.2') : text;
  }
  const immediateBytes = IMMEDIATE_BYTES.get(kind);
  if (immediateBytes !== undefined) {
    return `imm${immediateBytes}=${BigInt.asUintN(immediateBytes * 8, instruction.immediate(index))}`;
  }
  const bits = BRANCH_BITS.get(kind);
  if (bits !== undefined) return `to${bits}=${instruction.nearBranchTarget}`;
  if (kind === OpKind.FarBranch16) return `far2=${instruction.farBranchSelector}:${instruction.farBranch16}`;
  if (kind === OpKind.FarBranch32) return `far4=${instruction.farBranchSelector}:${instruction.farBranch32}`;
  const sizeBytes = MemorySizeExt.size(instruction.memorySize);
  const implicit = IMPLICIT.get(kind);
  if (implicit !== undefined) {
    const [register, addressBytes, es] = implicit;
    const base = generalName(register, addressBytes);
    return memoryText(es ? 'es' : segmentText(instruction, bitness, base), base, '', 1, 0n, sizeBytes);
  }
  const base = REGISTER_TEXTS[instruction.memoryBase] ?? 'unknown register';
  // XLAT adds AL by itself.
  const indexRegister = mnemonic === 'xlatb' ? Register.None : instruction.memoryIndex;
  const indexText = REGISTER_TEXTS[indexRegister] ?? 'unknown register';
  const segment = segmentText(instruction, bitness, base);
  const scale = indexText === '' ? 1 : instruction.memoryIndexScale;
  const size = UNSIZED.includes(mnemonic) ? 'none0' : sizeBytes;
  return memoryText(segment, base, indexText, scale, BigInt.asUintN(64, instruction.memoryDisplacement), size);
}

/** undefined: the bytes are no instruction for a processor with the table's features. */
export function icedText(instruction: IcedInstruction, bitness: number): string | undefined {
  if (instruction.isInvalid) return undefined;
  const icedMnemonic = MNEMONICS.get(instruction.mnemonic)!;
  const mnemonic = EXECUTES_AS[icedMnemonic]?.mnemonic ?? icedMnemonic;
  if (mnemonic === icedMnemonic && !instruction.cpuidFeatures().every((feature) => COVERED.has(feature)))
    return undefined;
  const repeatable = instruction.isStringInstruction;
  const repeat = !repeatable
    ? 'none'
    : instruction.hasRepnePrefix
      ? /^(cmps|scas)/.test(mnemonic)
        ? 'repnz'
        : 'repz'
      : instruction.hasRepPrefix
        ? 'repz'
        : 'none';
  const operandTexts: string[] = [];
  for (let index = 0; mnemonic !== 'nop' && index < instruction.opCount; index++) {
    operandTexts.push(icedOperand(instruction, index, bitness, mnemonic));
  }
  const lock = instruction.hasLockPrefix ? 'lock' : '';
  return [mnemonic, instruction.length, lock, repeat, ...operandTexts].join(' ');
}
