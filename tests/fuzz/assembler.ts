// Encodes random instances of an instruction row: prefixes, opcode, ModR/M, SIB, displacement and immediates
// (SDM volume 2, chapter 2). The addressing form is chosen here; the generator then finds register values for it.

import { parseOpcodeText } from '../../src/isa/opcode-text.ts';
import type { OperandCode, Row } from '../../src/isa/row.ts';
import type { FuzzMode } from '../oracle/fuzz-case.ts';
import type { RandomSource } from './random-source.ts';

export const NO_REGISTER = -1;

/** A row's opcode text in parts. */
export interface Encoding {
  readonly mandatoryPrefix: number | undefined;
  readonly noPrefix: boolean;
  readonly rexW: boolean | undefined;
  readonly opcode: readonly number[];
  /** `/r`, a digit, or undefined where the row has no ModR/M byte of its own. */
  readonly modrm: 'r' | number | undefined;
  /** The last opcode byte's low bits name a register. */
  readonly plusRegister: boolean;
  /** That register is ST(i), or means nothing. */
  readonly isFloatStack: boolean;
  /** REX.B extends no register here: 90 is NOP without it and XCHG with it. */
  readonly noRexB: boolean;
}

/** Rows that REX.W turns into another row, by opcode text. */
export function rowsWithWideSibling(rows: readonly Row[]): ReadonlySet<string> {
  return new Set(rows.filter((row) => row.opcode.includes('REX.W ')).map((row) => row.opcode.replace('REX.W ', '')));
}

const MAP_BYTES = [[], [0x0f], [0x0f, 0x38], [0x0f, 0x3a]] as const;

export function parseEncoding(row: Row, wideSiblings: ReadonlySet<string>): Encoding {
  const text = parseOpcodeText(row.opcode);
  const { prefix, modrm } = text;
  const opcode: number[] = [...MAP_BYTES[text.map], text.byte];
  if (modrm.kind === 'byte') opcode.push(modrm.byte);
  return {
    mandatoryPrefix: prefix === '66' || prefix === 'F2' || prefix === 'F3' ? Number.parseInt(prefix, 16) : undefined,
    noPrefix: prefix === 'NP',
    rexW: wideSiblings.has(row.opcode) ? false : text.rexW,
    opcode,
    modrm: modrm.kind === 'any' ? 'r' : modrm.kind === 'reg' ? modrm.reg : undefined,
    plusRegister: text.plusRegister || (modrm.kind === 'byte' && modrm.count === 8),
    isFloatStack: modrm.kind === 'byte',
    noRexB: text.rexB === false,
  };
}

/** How an instance names memory, before registers have values. */
export interface MemoryForm {
  /** -1: the default; else the index of a segment register. */
  segment: number;
  base: number;
  index: number;
  scaleShift: number;
  ripRelative: boolean;
  addressBytes: 2 | 4 | 8;
  displacementOffset: number;
  displacementBytes: 0 | 1 | 2 | 4 | 8;
}

export interface Instance {
  readonly row: Row;
  readonly mode: FuzzMode;
  readonly bytes: Uint8Array;
  readonly memory: MemoryForm | undefined;
  /** Of 'v' operands. */
  readonly operandBytes: 2 | 4 | 8;
  readonly addressBytes: 2 | 4 | 8;
  readonly lock: boolean;
  /** Raises #UD whatever the state: UD0 to UD2, LOCK where it is not allowed. */
  readonly certainlyInvalid: boolean;
  /** 0, 0xf2 or 0xf3 where it repeats. */
  readonly repeatPrefix: number;
  /** GPR numbers that reg and rm name (whatever file they mean), NO_REGISTER where absent. */
  readonly reg: number;
  readonly rm: number;
  readonly immediateOffset: number;
  readonly immediateBytes: number;
}

type RmKind = 'none' | 'register' | 'memory' | 'both';

/** What the r/m field may be, from the operand codes. */
export function rmKind(operands: readonly OperandCode[]): RmKind {
  let register = false;
  let memory = false;
  for (const code of operands) {
    for (const part of code.split('/')) {
      const method = part[0];
      if (method === 'E' || method === 'Q' || method === 'W') {
        register = true;
        memory = true;
      } else if (method === 'M') memory = true;
      else if (method === 'N' || method === 'U' || method === 'R') register = true;
    }
  }
  if (register) return memory ? 'both' : 'register';
  return memory ? 'memory' : 'none';
}

const RELATIVE = 'J';

function immediateSize(code: OperandCode, operandBytes: number, addressBytes: number, near: boolean): number {
  const size = code.slice(1).replace(/s$/, '');
  const z = operandBytes === 2 ? 2 : 4;
  if (code[0] === 'O') return addressBytes;
  if (code[0] === 'A') return 2 + z;
  if (code[0] === RELATIVE && size === 'z') return near ? 4 : z;
  switch (size) {
    case 'b':
      return 1;
    case 'w':
      return 2;
    case 'z':
      return z;
    case 'v':
      return operandBytes;
    default:
      throw new SyntaxError(`no size for operand ${code}`);
  }
}

interface ModRm {
  readonly bytes: number[];
  readonly memory: MemoryForm | undefined;
  readonly rexX: number;
  readonly rexB: number;
  readonly rm: number;
}

function registerRm(random: RandomSource, reg: number, wide: boolean): ModRm {
  const rm = random.below(wide ? 16 : 8);
  return { bytes: [0xc0 | ((reg & 7) << 3) | (rm & 7)], memory: undefined, rexX: 0, rexB: rm >> 3, rm };
}

/** Registers of 16-bit addressing forms (SDM 2 table 2-1). */
const BASE16 = [3, 3, 5, 5, 6, 7, 5, 3] as const;
const INDEX16 = [6, 7, 6, 7, NO_REGISTER, NO_REGISTER, NO_REGISTER, NO_REGISTER] as const;

function memoryRm(random: RandomSource, reg: number, mode: FuzzMode, addressBytes: 2 | 4 | 8): ModRm {
  const wide = mode === 64;
  const form = (fields: Partial<MemoryForm>): MemoryForm => ({
    segment: -1,
    base: NO_REGISTER,
    index: NO_REGISTER,
    scaleShift: 0,
    ripRelative: false,
    addressBytes,
    displacementOffset: 0,
    displacementBytes: 0,
    ...fields,
  });
  const displacement = (count: number) => new Array<number>(count).fill(0);
  const mod = random.below(3);
  const head = (mod << 6) | ((reg & 7) << 3);
  if (addressBytes === 2) {
    const rm = random.below(8);
    const direct = mod === 0 && rm === 6;
    const count = direct ? 2 : ([0, 1, 2] as const)[mod]!;
    const memory = form({
      base: direct ? NO_REGISTER : BASE16[rm]!,
      index: INDEX16[rm]!,
      displacementBytes: count,
      displacementOffset: 1,
    });
    return { bytes: [head | rm, ...displacement(count)], memory, rexX: 0, rexB: 0, rm: NO_REGISTER };
  }
  const rm = random.below(wide ? 16 : 8);
  let count = ([0, 1, 4] as const)[mod]!;
  if ((rm & 7) !== 4) {
    const direct = mod === 0 && (rm & 7) === 5;
    if (direct) count = 4;
    const memory = form({
      base: direct ? NO_REGISTER : rm,
      ripRelative: direct && wide,
      displacementBytes: count,
      displacementOffset: 1,
    });
    return { bytes: [head | (rm & 7), ...displacement(count)], memory, rexX: 0, rexB: rm >> 3, rm: NO_REGISTER };
  }
  const base = random.below(wide ? 16 : 8);
  const index = random.below(wide ? 16 : 8);
  const scaleShift = random.below(4);
  const noBase = mod === 0 && (base & 7) === 5;
  if (noBase) count = 4;
  const memory = form({
    base: noBase ? NO_REGISTER : base,
    index: index === 4 ? NO_REGISTER : index,
    scaleShift,
    displacementBytes: count,
    displacementOffset: 2,
  });
  const sib = (scaleShift << 6) | ((index & 7) << 3) | (base & 7);
  return { bytes: [head | 4, sib, ...displacement(count)], memory, rexX: index >> 3, rexB: base >> 3, rm: NO_REGISTER };
}

const SEGMENT_PREFIX = [0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65] as const;

/** Probabilities of what a plain instance would not have. */
export interface Variety {
  /** 66 where the row has a 'v' operand of its own choosing. */
  readonly operandSizePrefix: number;
  readonly addressSizePrefix: number;
  readonly segmentOverride: number;
  readonly lock: number;
  /** REX bits that change nothing, and prefixes that mean nothing here. */
  readonly idle: number;
}

export const PLAIN: Variety = { operandSizePrefix: 0, addressSizePrefix: 0, segmentOverride: 0, lock: 0, idle: 0 };
export const VARIED: Variety = {
  operandSizePrefix: 0.3,
  addressSizePrefix: 0.1,
  segmentOverride: 0.15,
  lock: 0.2,
  idle: 0.1,
};

/** Operands whose size, or whose layout in memory, follows the operand size. */
const SIZED_OPERAND = /^([A-Z][vzypa]|rAX|eAX|[A-Z][vb]s|Mst|Me|Mstx|Mxs|ES|CS|SS|DS|FS|GS)$/;

const isSized = (operands: readonly OperandCode[]) =>
  operands.some((code) => code.split('/').some((part) => SIZED_OPERAND.test(part)));

/** One random instance; displacements and immediates are zero until the generator fills them in. */
export function assemble(
  row: Row,
  encoding: Encoding,
  mode: FuzzMode,
  random: RandomSource,
  variety: Variety,
): Instance {
  const wide = mode === 64;
  const near = wide && row.size64 === 'force64';
  const sized = isSized(row.operands) || row.operands.length === 0 || row.repeat !== undefined;
  const defaultBytes = mode === 16 ? 2 : 4;

  // Operand size.
  const prefixes: number[] = [];
  let rexW = encoding.rexW === true;
  let operandPrefix = false;
  const takesPrefix = encoding.mandatoryPrefix === undefined ? !encoding.noPrefix : row.operands.includes('Ev');
  if (takesPrefix && sized && !near && encoding.mandatoryPrefix !== 0x66) {
    operandPrefix = random.chance(variety.operandSizePrefix);
  }
  if (encoding.rexW === undefined && wide && row.size64 !== 'default64' && random.chance(sized ? 0.4 : variety.idle)) {
    rexW = true;
  }
  if (operandPrefix) prefixes.push(0x66);
  let operandBytes: 2 | 4 | 8 = operandPrefix ? (defaultBytes === 2 ? 4 : 2) : defaultBytes;
  if (wide) {
    if (near || rexW) operandBytes = 8;
    else if (row.size64 === 'default64') operandBytes = operandPrefix ? 2 : 8;
  }

  // Address size.
  const addressPrefix = random.chance(variety.addressSizePrefix);
  if (addressPrefix) prefixes.push(0x67);
  const addressBytes: 2 | 4 | 8 = wide ? (addressPrefix ? 4 : 8) : addressPrefix === (mode === 32) ? 2 : 4;

  // Register and memory fields.
  const kind = encoding.modrm === undefined ? 'none' : rmKind(row.operands);
  const memoryWanted = kind === 'memory' || (kind === 'both' && random.chance(0.5));
  let reg = NO_REGISTER;
  if (typeof encoding.modrm === 'number') reg = encoding.modrm;
  else if (encoding.modrm === 'r') {
    const segment = row.operands.some((code) => code[0] === 'S' && code.length === 2);
    const control = row.operands.some((code) => (code[0] === 'C' || code[0] === 'D') && code.length === 2);
    if (segment) reg = random.below(6);
    else if (control) reg = random.pick(row.operands.includes('Cy') ? [0, 2, 3, 4] : [0, 1, 2, 3, 6, 7]);
    else reg = random.below(wide ? 16 : 8);
  }
  let modrm: ModRm | undefined;
  if (encoding.modrm !== undefined) {
    modrm = memoryWanted ? memoryRm(random, reg, mode, addressBytes) : registerRm(random, reg, wide);
  }
  let rm = modrm?.rm ?? NO_REGISTER;
  const opcode = [...encoding.opcode];
  let plusRex = 0;
  if (encoding.plusRegister) {
    const isFloat = encoding.isFloatStack;
    // 90 with register 0 is NOP.
    rm = random.between(opcode.at(-1) === 0x90 ? 1 : 0, wide && !isFloat ? 15 : 7);
    if (!isFloat) plusRex = rm >> 3;
    opcode[opcode.length - 1]! |= rm & 7;
  }
  const stringMemory = row.operands.some((code) => code[0] === 'X' && code.length === 2);
  const moffs = row.operands.some((code) => /^O[a-z]$/.test(code));
  let segment = -1;
  if ((modrm?.memory || stringMemory || moffs) && random.chance(variety.segmentOverride)) {
    segment = wide ? random.pick([4, 5]) : random.below(6);
    prefixes.push(SEGMENT_PREFIX[segment]!);
  } else if (wide && random.chance(variety.idle * 0.3)) {
    prefixes.push(random.pick(SEGMENT_PREFIX.slice(0, 4)));
  }

  // LOCK and repeat prefixes.
  const lock = modrm?.memory !== undefined && row.lock === true && random.chance(variety.lock);
  if (lock) prefixes.push(0xf0);
  else if (random.chance(variety.idle * 0.05)) prefixes.push(0xf0);
  let repeatPrefix = 0;
  if (row.repeat !== undefined && random.chance(0.6)) {
    repeatPrefix = row.repeat === 'repz' ? random.pick([0xf2, 0xf3]) : 0xf3;
    prefixes.push(repeatPrefix);
  }
  for (let i = prefixes.length - 1; i > 0; i--) {
    const j = random.below(i + 1);
    [prefixes[i], prefixes[j]] = [prefixes[j]!, prefixes[i]!];
  }
  if (encoding.mandatoryPrefix !== undefined) prefixes.push(encoding.mandatoryPrefix);

  // REX.
  const rex =
    (rexW ? 8 : 0) |
    (reg > 7 && encoding.modrm === 'r' ? 4 : 0) |
    ((modrm?.rexX ?? 0) << 1) |
    (modrm?.rexB ?? 0) |
    plusRex;
  const bytes = [...prefixes];
  const idleB = modrm === undefined && plusRex === 0 && !encoding.noRexB && random.chance(variety.idle) ? 1 : 0;
  if (wide && (rex !== 0 || random.chance(0.15))) bytes.push(0x40 | rex | idleB);
  bytes.push(...opcode);

  // ModR/M to immediates.
  let memory = modrm?.memory;
  if (modrm) {
    if (memory) memory = { ...memory, segment, displacementOffset: bytes.length + memory.displacementOffset };
    bytes.push(...modrm.bytes);
  }
  const immediateOffset = bytes.length;
  let immediateBytes = 0;
  for (const code of row.operands) {
    if (!/^[IJAO][a-z]+$/.test(code)) continue;
    const count = immediateSize(code, operandBytes, addressBytes, near);
    if (code[0] === 'O') {
      memory = {
        segment,
        base: NO_REGISTER,
        index: NO_REGISTER,
        scaleShift: 0,
        ripRelative: false,
        addressBytes,
        displacementOffset: bytes.length,
        displacementBytes: addressBytes,
      };
    } else immediateBytes += count;
    for (let i = 0; i < count; i++) bytes.push(0);
  }
  return {
    row,
    mode,
    bytes: Uint8Array.from(bytes),
    memory,
    operandBytes,
    addressBytes,
    lock,
    certainlyInvalid: row.lift === 'ud' || (prefixes.includes(0xf0) && !lock),
    repeatPrefix,
    reg,
    rm,
    immediateOffset,
    immediateBytes,
  };
}
