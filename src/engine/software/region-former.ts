// Which instructions become a region: from a hot entry along direct branches and behind calls, through a few pages, as
// long as each can be translated. What cannot be is an exit.

import type { Instruction } from '../../decode/instruction.ts';
import { BASE_RIP, SEGMENT_INDEX } from '../../decode/instruction.ts';
import { RETURN_BLOCKS, type RegionBlock, type RegionCode } from '../../emit/region.ts';
import { Builder, type InstructionLift, type OperandLift, type Statement } from '../../ir/builder.ts';
import { segmentOffset } from '../../ir/guest-state.ts';
import type { Row } from '../../isa/row.ts';
import { LIFTS } from '../../lift/lifts.ts';
import { registerOffset } from './forms.ts';

const MAXIMUM_INSTRUCTIONS = 400;
const MAXIMUM_BLOCKS = 150;
/** Of a function that calls itself, in its own region. */
const MAXIMUM_RECURSIVE_INSTRUCTIONS = 120;
/** Of a switch that stays within its region; one with more (an interpreter's dispatch) goes out by the jump look-up. */
const MAXIMUM_LANDINGS = 12;
const MAXIMUM_JUMP_BYTES = 2 * 4096;
/** Places that a return within a region may go to. */
const MAXIMUM_RETURN_SITES = 24;

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
  /** Offset of the direct branch's target, of a local return's block; a repeated string instruction goes to itself. */
  target: number | undefined;
  readonly calls: boolean;
  landings: readonly number[];
  /** A call or a return that stays within the region. */
  local: boolean;
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
  /** Of its instructions: first byte, and first byte behind. */
  readonly spans: readonly { readonly first: number; readonly end: number }[];
}

/**
 * Forms a region from `entry`, of one instruction where it is for a single step; undefined when not even its first
 * instruction can be translated, or when it would not have the instruction at `needed`.
 */
export function formRegion(source: CodeSource, entry: number, single = false, needed = entry): Region | undefined {
  const code = new RegionInstructions(source, entry, single ? 1 : MAXIMUM_INSTRUCTIONS);
  code.follow();
  const { decoded, leaders } = code;
  if (!decoded.has(needed)) return undefined;
  const blocks = single ? new Map<number, RegionBlock>() : closeCalls(code);
  for (const leader of leaders) {
    if (decoded.has(leader)) blocks.set(leader, buildBlock(decoded, leaders, leader));
  }
  const spans = [...decoded].map(([first, { instruction }]) => ({ first, end: first + instruction.lengthBytes }));
  const spansPages = spans.some(({ first, end }) => first < 0 || end > 4096);
  return { entry, blocks, spansPages, single, spans };
}

/** The instructions of a region as they are found. */
class RegionInstructions {
  readonly decoded = new Map<number, Decoded>();
  readonly leaders = new Set<number>();
  private readonly source: CodeSource;
  private readonly entry: number;
  private readonly maximumInstructions: number;
  /** Decoded to see how large a function is. */
  private readonly seen = new Map<number, Decoded | undefined>();

  constructor(source: CodeSource, entry: number, maximumInstructions: number) {
    this.source = source;
    this.entry = entry;
    this.maximumInstructions = maximumInstructions;
  }

  follow(): void {
    const { source, decoded, leaders, entry } = this;
    const maximum = this.maximumInstructions;
    leaders.add(entry);
    const pending = [entry];
    while (pending.length > 0 && decoded.size < maximum && leaders.size < MAXIMUM_BLOCKS) {
      let offset = pending.shift()!;
      for (;;) {
        if (decoded.has(offset)) {
          leaders.add(offset);
          break;
        }
        if (decoded.size >= maximum) break;
        const found = this.translate(offset);
        if (found === undefined) break;
        decoded.set(offset, found);
        const { instruction, target, calls } = found;
        const next = offset + instruction.lengthBytes;
        if (this.goesTo(offset, found)) {
          leaders.add(target!);
          if (target !== offset) pending.push(target!);
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
  }

  private translate(offset: number): Decoded | undefined {
    if (this.seen.has(offset)) return this.seen.get(offset);
    const found = translate(this.source, offset);
    this.seen.set(offset, found);
    return found;
  }

  /** Whether the region goes on at the target of the direct branch at an offset. */
  private goesTo(offset: number, { instruction, target, calls }: Decoded): boolean {
    if (target === undefined) return false;
    if (calls) return target === this.entry && this.isSmall();
    // Far jumps go to other functions, or to code that is seldom wanted.
    if (Math.abs(target - offset) > MAXIMUM_JUMP_BYTES) return false;
    // What has never been gone to is left to the interpreter until it is.
    return target === offset || !fallsThrough(instruction) || this.source.taken(offset);
  }

  /** Whether the function at the entry is small, and calls nobody but itself. */
  private isSmall(): boolean {
    const { entry } = this;
    const visited = new Set<number>();
    const pending = [entry];
    let returns = false;
    while (pending.length > 0) {
      let offset = pending.pop()!;
      while (!visited.has(offset)) {
        if (visited.size === MAXIMUM_RECURSIVE_INSTRUCTIONS) return false;
        const found = this.translate(offset);
        if (found === undefined) return false;
        visited.add(offset);
        const { instruction, target, calls } = found;
        // Registers would be put into memory for a call all the same, and more of them than for the caller's own.
        if (calls && target !== entry) return false;
        if (instruction.row.lift === 'ret') returns = true;
        if (target !== undefined && !calls && (!fallsThrough(instruction) || this.source.taken(offset))) {
          pending.push(target);
        }
        if (!fallsThrough(instruction)) break;
        offset += instruction.lengthBytes;
      }
    }
    return returns;
  }
}

/**
 * Makes the calls of functions that the region has taken in stay within it, and the returns of these go to a block that
 * finds out behind which call. Gives these blocks.
 */
function closeCalls({ decoded }: RegionInstructions): Map<number, RegionBlock> {
  const blocks = new Map<number, RegionBlock>();
  const sites = new Map<number, number[]>();
  for (const [offset, found] of decoded) {
    const { target, calls, instruction } = found;
    if (!calls || target === undefined || !decoded.has(target)) continue;
    const next = offset + instruction.lengthBytes;
    if (!decoded.has(next)) continue;
    const list = sites.get(target);
    if (list === undefined) sites.set(target, [next]);
    else list.push(next);
  }
  const sitesOfReturn = new Map<number, Set<number>>();
  for (const [callee, list] of sites) {
    for (const offset of returnsOf(decoded, callee)) {
      const all = sitesOfReturn.get(offset) ?? new Set();
      for (const site of list) all.add(site);
      sitesOfReturn.set(offset, all);
    }
  }
  const blockOf = new Map<string, number>();
  const returning = new Set<number>();
  for (const [offset, all] of sitesOfReturn) {
    if (all.size > MAXIMUM_RETURN_SITES) continue;
    const list = [...all].sort((a, b) => a - b);
    const key = list.join();
    let at = blockOf.get(key);
    if (at === undefined) {
      at = RETURN_BLOCKS + blockOf.size;
      blockOf.set(key, at);
      const body = new Builder(true);
      body.instruction(at, at, undefined, list);
      body.returnTo(body.returnTarget());
      blocks.set(at, { offset: at, body, next: undefined });
      for (const site of list) returning.add(site);
    }
    const found = decoded.get(offset)!;
    found.target = at;
    found.local = true;
  }
  // A call whose callee never comes back within the region may as well be a nested one.
  for (const [offset, found] of decoded) {
    if (!found.calls || found.target === undefined || !decoded.has(found.target)) continue;
    if (returning.has(offset + found.instruction.lengthBytes)) found.local = true;
  }
  return blocks;
}

/** The returns of the function at `entry`, as far as the region has it. */
function returnsOf(decoded: ReadonlyMap<number, Decoded>, entry: number): number[] {
  const visited = new Set<number>();
  const pending = [entry];
  const returns: number[] = [];
  while (pending.length > 0) {
    const offset = pending.pop()!;
    const found = decoded.get(offset);
    if (found === undefined || visited.has(offset)) continue;
    visited.add(offset);
    const { instruction, target, calls, landings } = found;
    if (instruction.row.lift === 'ret') returns.push(offset);
    if (target !== undefined && !calls && target < RETURN_BLOCKS) pending.push(target);
    pending.push(...landings);
    if (fallsThrough(instruction)) pending.push(offset + instruction.lengthBytes);
  }
  return returns;
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
  return { instruction, lift, target, calls, landings: [], local: false };
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
    const { instruction, lift, target, calls, landings, local } = found;
    const next = offset + instruction.lengthBytes;
    body.instruction(offset, next, target, landings, local);
    LIFTS[lift.lift]!(body, lift);
    if (local || !fallsThrough(instruction)) return { offset: first, body, next: undefined };
    if (calls || leaders.has(next)) return { offset: first, body, next };
    offset = next;
  }
}
