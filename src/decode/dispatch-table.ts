// From rows to what the decoder looks up: opcode map and byte give a node; prefix class, REX bits and ModR/M give the
// row in it. A row that says more about prefixes wins over one that says less; two that say as much about the same
// bytes are a defect.

import type { OpcodeText } from '../isa/opcode-text.ts';
import { parseOpcodeText } from '../isa/opcode-text.ts';
import type { ParsedOperand } from '../isa/operand-code.ts';
import { parseOperandCode } from '../isa/operand-code.ts';
import type { Row } from '../isa/row.ts';
import type { OperandForm } from './operand-form.ts';
import { operandForm } from './operand-form.ts';

export const PREFIX_NONE = 0;
export const PREFIX_66 = 1;
export const PREFIX_F3 = 2;
export const PREFIX_F2 = 3;

/** Slots for mandatory prefix, REX.W and REX.B together. */
const PREFIX_SLOTS = 16;
/** A row as the decoder needs it. */
export interface Encoding {
  readonly row: Row;
  readonly forms: readonly OperandForm[];
  /** 66 is the mandatory prefix and does not change the operand size. */
  readonly mandatory66: boolean;
  /** MOV to and from control and debug registers: mod is taken as 3. */
  readonly ignoresMod: boolean;
  /** 0: by prefixes, 1: default64, 2: force64. */
  readonly size64: 0 | 1 | 2;
  readonly lock: boolean;
  /** 0: not repeatable, 1: rep, 2: repz and repnz. */
  readonly repeat: 0 | 1 | 2;
}

export interface DispatchNode {
  readonly hasModrm: boolean;
  /** The slot depends on prefixes. */
  readonly usesPrefixes: boolean;
  /** Slots per prefix class: 1, 2 (mod 3 or not), 16 (that and reg), 72 (8 reg fields of memory, 64 register forms). */
  readonly modrmSlots: 1 | 2 | 16 | 72;
  readonly slots: readonly (Encoding | undefined)[];
}

/** Indexed by (64-bit code ? 1024 : 0) + map * 256 + opcode byte. */
export type DispatchTable = readonly (DispatchNode | undefined)[];

export function prefixSlot(prefix: number, rexW: number, rexB: number): number {
  return (prefix << 2) | (rexW << 1) | rexB;
}

export function modrmSlot(count: number, modrm: number): number {
  const registerForm = modrm >= 0xc0;
  if (count === 72) return registerForm ? 8 + (modrm & 63) : (modrm >> 3) & 7;
  if (count === 16) return (registerForm ? 8 : 0) + ((modrm >> 3) & 7);
  return count === 2 && registerForm ? 1 : 0;
}

interface Candidate {
  readonly encoding: Encoding;
  readonly text: OpcodeText;
  /** Which ModR/M forms the operands allow. */
  readonly memory: boolean;
  readonly register: boolean;
}

function candidate(row: Row): Candidate {
  const text = parseOpcodeText(row.opcode);
  const parsed = row.operands.map(parseOperandCode);
  const has = (...methods: ParsedOperand['method'][]): boolean => parsed.some(({ method }) => methods.includes(method));
  const ignoresMod = has('C', 'D');
  const encoding: Encoding = {
    row,
    forms: parsed.map(operandForm),
    mandatory66: text.prefix === '66',
    ignoresMod,
    size64: row.size64 === undefined ? 0 : row.size64 === 'default64' ? 1 : 2,
    lock: row.lock === true,
    repeat: row.repeat === undefined ? 0 : row.repeat === 'rep' ? 1 : 2,
  };
  return {
    encoding,
    text,
    memory: ignoresMod || (!has('R', 'N', 'U') && text.modrm.kind !== 'byte'),
    register: ignoresMod || !has('M'),
  };
}

function prefixMatches({ prefix, rexW, rexB }: OpcodeText, slot: number): boolean {
  if (rexW !== undefined && rexW !== ((slot & 2) !== 0)) return false;
  if (rexB !== undefined && rexB !== ((slot & 1) !== 0)) return false;
  switch (prefix) {
    case 'any':
      return true;
    case 'NP':
      return slot >> 2 === PREFIX_NONE;
    case 'NFx':
      return slot >> 2 <= PREFIX_66;
    case '66':
      return slot >> 2 === PREFIX_66;
    case 'F3':
      return slot >> 2 === PREFIX_F3;
    case 'F2':
      return slot >> 2 === PREFIX_F2;
  }
}

/** Whether a ModR/M byte of those that share `modrm`'s slot means this row. */
function modrmMatches({ text, memory, register }: Candidate, modrm: number): boolean {
  const registerForm = modrm >= 0xc0;
  if (registerForm ? !register : !memory) return false;
  const wanted = text.modrm;
  if (wanted.kind === 'byte') return modrm >= wanted.byte && modrm < wanted.byte + wanted.count;
  return wanted.kind !== 'reg' || wanted.reg === ((modrm >> 3) & 7);
}

/** How much a row says about prefixes: the mandatory prefix counts for more than REX bits. */
function precision({ prefix, rexW, rexB }: OpcodeText): number {
  return (prefix === 'any' ? 0 : 2) + (rexW === undefined ? 0 : 1) + (rexB === undefined ? 0 : 1);
}

function claim(slots: (Candidate | undefined)[], slot: number, entry: Candidate): void {
  const other = slots[slot];
  const rank = other === undefined ? 0 : precision(entry.text) - precision(other.text);
  if (other !== undefined && rank === 0) {
    const [first, second] = [other.encoding.row, entry.encoding.row];
    throw new Error(`rows '${first.mnemonic} ${first.opcode}' and '${second.opcode}' claim the same bytes`);
  }
  if (rank >= 0) slots[slot] = entry;
}

/** A ModR/M byte for each of `count` slots. */
function modrmOfSlot(count: number, slot: number): number {
  if (count === 72) return slot < 8 ? slot << 3 : 0xc0 + slot - 8;
  if (count === 16) return slot < 8 ? slot << 3 : 0xc0 | ((slot - 8) << 3);
  return count === 2 && slot === 1 ? 0xc0 : 0;
}

/** The fewest slots that tell these rows apart by ModR/M. */
function modrmSlotsFor(candidates: readonly Candidate[]): DispatchNode['modrmSlots'] {
  const kinds = new Set(candidates.map(({ text }) => text.modrm.kind));
  if (kinds.has('byte')) return 72;
  if (kinds.has('reg')) return 16;
  return kinds.has('any') && candidates.some(({ memory, register }) => !memory || !register) ? 2 : 1;
}

function buildNode(candidates: readonly Candidate[]): DispatchNode {
  const hasModrm = candidates[0]!.text.modrm.kind !== 'none';
  if (candidates.some(({ text }) => (text.modrm.kind !== 'none') !== hasModrm)) {
    throw new Error(`opcode '${candidates[0]!.text.byte.toString(16)}' has rows with and without ModR/M`);
  }
  const usesPrefixes = candidates.some(({ text }) => precision(text) > 0);
  const modrmSlots = modrmSlotsFor(candidates);
  const slots = new Array<Candidate | undefined>((usesPrefixes ? PREFIX_SLOTS : 1) * modrmSlots).fill(undefined);
  for (const entry of candidates) {
    for (let slot = 0; slot < slots.length; slot++) {
      if (usesPrefixes && !prefixMatches(entry.text, Math.floor(slot / modrmSlots))) continue;
      if (hasModrm && !modrmMatches(entry, modrmOfSlot(modrmSlots, slot % modrmSlots))) continue;
      claim(slots, slot, entry);
    }
  }
  return { hasModrm, usesPrefixes, modrmSlots, slots: slots.map((entry) => entry?.encoding) };
}

/** Throws if two rows claim the same encoding or a row's texts don't parse. */
export function buildDispatchTable(rows: readonly Row[]): DispatchTable {
  const byOpcode = new Map<number, Candidate[]>();
  for (const row of rows) {
    const entry = candidate(row);
    const first = entry.text.map * 256 + entry.text.byte;
    for (let opcode = first; opcode < first + (entry.text.plusRegister ? 8 : 1); opcode++) {
      const sharing = byOpcode.get(opcode);
      if (sharing === undefined) byOpcode.set(opcode, [entry]);
      else sharing.push(entry);
    }
  }
  const table = new Array<DispatchNode | undefined>(2048).fill(undefined);
  for (const [opcode, candidates] of byOpcode) {
    const legacy = candidates.filter(({ encoding }) => encoding.row.mode !== 'only64');
    const long = candidates.filter(({ encoding }) => encoding.row.mode !== 'no64');
    if (legacy.length > 0) table[opcode] = buildNode(legacy);
    if (long.length > 0)
      table[1024 + opcode] =
        long.length === candidates.length && legacy.length === candidates.length ? table[opcode] : buildNode(long);
  }
  return table;
}
