// Which instructions become a region: from a hot entry along direct branches and behind calls, through a few pages, as
// long as each can be translated. What cannot be is an exit.

import type { Instruction } from '../../decode/instruction.ts';
import { BASE_RIP, SEGMENT_INDEX } from '../../decode/instruction.ts';
import type { RegionBlock, RegionCode } from '../../emit/region.ts';
import { Builder, type InstructionLift, type OperandLift, type Statement } from '../../ir/builder.ts';
import { segmentOffset } from '../../ir/guest-state.ts';
import type { Row } from '../../isa/row.ts';
import { LIFTS } from '../../lift/lifts.ts';
import { registerOffset } from './forms.ts';

const MAXIMUM_INSTRUCTIONS = 400;
const MAXIMUM_BLOCKS = 100;
/** Of a switch that stays within its region; one with more (an interpreter's dispatch) goes out by the jump look-up. */
const MAXIMUM_LANDINGS = 12;

/** Kinds of statements that only the interpreter knows. */
const UNTRANSLATED: ReadonlySet<string> = new Set(['location', 'next-record']);

/** Runtime functions that look at the decoded record of their instruction. */
const RECORD_READERS: ReadonlySet<string> = new Set([
  'x87',
  'x87PrepareStore',
  'x87CommitStore',
  'x87Environment',
  'x87Wait',
  'mmxEnter',
  'emms',
  'fxsave',
  'fxrstor',
  'xsave',
  'xrstor',
]);

/**
 * An instruction with its operands known; what is relative to RIP is relative to the page of `nextOffset`, where the
 * next one lies. Undefined where a region cannot hold it.
 */
function constantLift(instruction: Instruction, nextOffset: number): InstructionLift | undefined {
  const { row } = instruction;
  if (instruction.codeSize !== 64 || row.feature === 'x87' || row.feature === 'mmx') return undefined;
  const operands: OperandLift[] = [];
  for (let position = 0; position < instruction.operands.length; position++) {
    const operand = instruction.operands[position]!;
    switch (operand.kind) {
      case 'register': {
        if (operand.file === 'mmx') return undefined;
        const file = operand.file === 'gpr' || operand.file === 'xmm' ? operand.file : 'index';
        const location = { kind: 'fixed', offset: registerOffset(operand) } as const;
        operands.push({ kind: 'register', file, location, sizeBytes: operand.sizeBytes });
        break;
      }
      case 'memory': {
        if (operand.addressBytes !== 8) return undefined;
        const based = operand.segment === SEGMENT_INDEX.fs || operand.segment === SEGMENT_INDEX.gs;
        const ripRelative = operand.base === BASE_RIP;
        const place = {
          base: ripRelative ? -1 : operand.base,
          index: operand.index,
          scaleShift: operand.scaleShift,
          displacement: ripRelative ? operand.displacement + BigInt(nextOffset) : operand.displacement,
          ripRelative,
          segment: based ? segmentOffset(operand.segment) : undefined,
        };
        operands.push({ kind: 'memory', shape: 'base', sizeBytes: operand.sizeBytes, place });
        break;
      }
      case 'immediate': {
        const one = row.operands[position] === '1';
        const value = BigInt.asUintN(64, one ? 1n : operand.value);
        operands.push({ kind: 'immediate', value, sizeBytes: operand.sizeBytes });
        break;
      }
      case 'relative':
        operands.push({ kind: 'target' });
        break;
      default:
        return undefined;
    }
  }
  return {
    lift: row.lift,
    mnemonic: row.mnemonic,
    condition: row.condition ?? 0,
    operands,
    operandBytes: instruction.operandBytes,
    addressBytes: instruction.addressBytes,
    long: true,
    lock: instruction.lock,
    repeat: instruction.repeat,
  };
}

function isTranslatable(statements: readonly Statement[]): boolean {
  return statements.every((statement) => {
    if (UNTRANSLATED.has(statement.kind)) return false;
    if (statement.kind === 'call' && RECORD_READERS.has(statement.name!)) return false;
    return isTranslatable(statement.whenTrue ?? []) && isTranslatable(statement.whenFalse ?? []);
  });
}

/** What is known of the forms met so far: by row, then by what else decides what the lifting function calls. */
const translatableForms = new Map<Row, Map<number, boolean>>();

/** Whether regions can hold instructions of this one's form: its lifting function is tried once. */
function hasTranslatableForm(instruction: Instruction, lift: InstructionLift): boolean {
  let key = (instruction.operandBytes << 4) | instruction.addressBytes;
  key = (key << 3) | (instruction.lock ? 4 : 0) | ['none', 'repz', 'repnz'].indexOf(instruction.repeat);
  for (const operand of lift.operands) {
    const isMemory = operand.kind === 'memory';
    key = key * 2 + (isMemory ? 1 : 0);
  }
  let forms = translatableForms.get(instruction.row);
  if (forms === undefined) {
    forms = new Map();
    translatableForms.set(instruction.row, forms);
  }
  let translatable = forms.get(key);
  if (translatable === undefined) {
    const probe = new Builder(true);
    LIFTS[lift.lift]!(probe, lift);
    translatable = isTranslatable(probe.body);
    forms.set(key, translatable);
  }
  return translatable;
}

interface Decoded {
  readonly instruction: Instruction;
  readonly lift: InstructionLift;
  /** Offset of the direct branch's target; a repeated string instruction goes to itself. */
  readonly target: number | undefined;
  readonly calls: boolean;
  landings: readonly number[];
}

export interface CodeSource {
  /**
   * The instruction at an offset from the page of the region's entry; undefined where there is none, or none that the
   * region may hold.
   */
  decode(offset: number): Instruction | undefined;
  /** Whether the direct branch there has been taken, as far as is known. */
  taken(offset: number): boolean;
  /** Offsets near an indirect jump where indirect jumps have been seen to go, those seen most often first. */
  landings(offset: number): readonly number[];
}

export interface Region extends RegionCode {
  readonly instructions: number;
}

/** Forms a region from `entry`; undefined when not even its first instruction can be translated. */
export function formRegion(source: CodeSource, entry: number, maximum = MAXIMUM_INSTRUCTIONS): Region | undefined {
  const decoded = new Map<number, Decoded>();
  const leaders = new Set<number>([entry]);
  const pending = [entry];
  while (pending.length > 0 && decoded.size < maximum && leaders.size < MAXIMUM_BLOCKS) {
    let offset = pending.shift()!;
    for (;;) {
      if (decoded.has(offset)) {
        leaders.add(offset);
        break;
      }
      if (decoded.size >= maximum) break;
      const found = translate(source, offset);
      if (found === undefined) break;
      decoded.set(offset, found);
      const { instruction, target, calls } = found;
      const next = offset + instruction.lengthBytes;
      if (target !== undefined && !calls) {
        // What has never been gone to is left to the interpreter until it is.
        if (target === offset || !fallsThrough(instruction) || source.taken(offset)) {
          leaders.add(target);
          if (target !== offset) pending.push(target);
        }
      }
      if (instruction.row.lift === 'jmp-indirect') {
        found.landings = chooseLandings(source, decoded, offset);
        for (const landing of found.landings) {
          leaders.add(landing);
          pending.push(landing);
        }
      }
      if (!fallsThrough(instruction)) break;
      if (calls) leaders.add(next);
      offset = next;
    }
  }
  if (!decoded.has(entry)) return undefined;
  const blocks = new Map<number, RegionBlock>();
  let spansPages = false;
  for (const leader of leaders) {
    if (decoded.has(leader)) blocks.set(leader, buildBlock(decoded, leaders, leader));
  }
  for (const [offset, { instruction }] of decoded) {
    if (offset < 0 || offset + instruction.lengthBytes > 4096) spansPages = true;
  }
  return { entry, blocks, spansPages, single: maximum === 1, instructions: decoded.size };
}

function translate(source: CodeSource, offset: number): Decoded | undefined {
  const instruction = source.decode(offset);
  if (instruction === undefined) return undefined;
  const next = offset + instruction.lengthBytes;
  const lift = constantLift(instruction, next);
  if (lift === undefined || LIFTS[lift.lift] === undefined || !hasTranslatableForm(instruction, lift)) return undefined;
  const relative = instruction.operands.find((operand) => operand.kind === 'relative');
  let target = relative?.kind === 'relative' ? next + relative.displacement : undefined;
  if (target === undefined && instruction.repeat !== 'none') target = offset;
  const calls = instruction.row.lift === 'call' || instruction.row.lift === 'call-indirect';
  return { instruction, lift, target, calls, landings: [] };
}

/** Where an indirect jump may go: not behind a call, where returns have been seen to go. */
function chooseLandings(source: CodeSource, decoded: ReadonlyMap<number, Decoded>, offset: number): readonly number[] {
  const returns = new Set<number>();
  for (const [at, { instruction, calls }] of decoded) if (calls) returns.add(at + instruction.lengthBytes);
  const landings = source.landings(offset).filter((landing) => !returns.has(landing));
  return landings.length > MAXIMUM_LANDINGS ? [] : landings;
}

/** Whether the following instruction may run after this one; a call's callee may come back. */
function fallsThrough(instruction: Instruction): boolean {
  const { lift, ends } = instruction.row;
  if (lift === 'call' || lift === 'call-indirect' || lift === 'sti') return true;
  return ends !== true || lift === 'jcc' || lift.startsWith('loop') || lift === 'jrcxz';
}

function buildBlock(decoded: ReadonlyMap<number, Decoded>, leaders: ReadonlySet<number>, first: number): RegionBlock {
  const body = new Builder(true);
  let offset = first;
  for (;;) {
    const found = decoded.get(offset);
    if (found === undefined) return { offset: first, body, next: offset };
    const { instruction, lift, target, calls, landings } = found;
    const next = offset + instruction.lengthBytes;
    body.instruction(offset, next, target, landings);
    LIFTS[lift.lift]!(body, lift);
    if (!fallsThrough(instruction)) return { offset: first, body, next: undefined };
    if (calls || leaders.has(next)) return { offset: first, body, next };
    offset = next;
  }
}
