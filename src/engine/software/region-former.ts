// Which instructions become a region: from a hot entry along direct branches within the page, as long as each can be
// translated. What cannot be (another page, a system instruction) is an exit.

import type { Instruction } from '../../decode/instruction.ts';
import { BASE_RIP, SEGMENT_INDEX } from '../../decode/instruction.ts';
import { REGION_RUNTIME, type RegionBlock } from '../../emit/region.ts';
import { Builder, type InstructionLift, type OperandLift, type Statement } from '../../ir/builder.ts';
import { segmentOffset } from '../../ir/guest-state.ts';
import { LIFTS } from '../../lift/lifts.ts';
import { formOf, registerOffset } from './forms.ts';

const MAXIMUM_INSTRUCTIONS = 400;
const MAXIMUM_BLOCKS = 80;

/** Kinds of statements that only the interpreter knows. */
const UNTRANSLATED: ReadonlySet<string> = new Set(['again', 'leave', 'leave-next', 'location', 'next-record']);

/** The form of an instruction with its operands known. Undefined where a region cannot hold it. */
function constantLift(instruction: Instruction): InstructionLift | undefined {
  if (instruction.codeSize !== 64 || instruction.row.feature === 'x87' || instruction.row.feature === 'mmx')
    return undefined;
  const { lift } = formOf(instruction);
  const operands: OperandLift[] = [];
  for (const [position, operand] of instruction.operands.entries()) {
    switch (operand.kind) {
      case 'register': {
        if (operand.file !== 'gpr' && operand.file !== 'xmm') return undefined;
        const location = { kind: 'fixed', offset: registerOffset(operand) } as const;
        operands.push({ kind: 'register', file: operand.file, location, sizeBytes: operand.sizeBytes });
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
          displacement: operand.displacement,
          ripRelative,
          segment: based ? segmentOffset(operand.segment) : undefined,
        };
        operands.push({ kind: 'memory', shape: 'base', sizeBytes: operand.sizeBytes, place });
        break;
      }
      case 'immediate': {
        const one = instruction.row.operands[position] === '1';
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
  return { ...lift, operands };
}

function isTranslatable(statements: readonly Statement[]): boolean {
  return statements.every((statement) => {
    if (UNTRANSLATED.has(statement.kind)) return false;
    if (statement.kind === 'call' && !REGION_RUNTIME.has(statement.name!)) return false;
    return isTranslatable(statement.whenTrue ?? []) && isTranslatable(statement.whenFalse ?? []);
  });
}

interface Decoded {
  readonly instruction: Instruction;
  readonly lift: InstructionLift;
}

export interface PageCode {
  /** The instruction at an offset of the page; undefined where there is none or it crosses the page's end. */
  decode(offset: number): Instruction | undefined;
}

/** Relative operands carry the displacement to add to the next instruction's offset. */
function relocate(lift: InstructionLift, nextOffset: number): InstructionLift {
  const operands = lift.operands.map((operand): OperandLift => {
    if (operand.kind !== 'memory' || operand.place?.ripRelative !== true) return operand;
    return { ...operand, place: { ...operand.place, displacement: operand.place.displacement + BigInt(nextOffset) } };
  });
  return { ...lift, operands };
}

export interface Region {
  readonly entry: number;
  readonly blocks: ReadonlyMap<number, RegionBlock>;
  readonly instructions: number;
}

/** Forms a region from `entry`; undefined when not even its first instruction can be translated. */
export function formRegion(page: PageCode, entry: number, maximum = MAXIMUM_INSTRUCTIONS): Region | undefined {
  const decoded = new Map<number, Decoded>();
  const leaders = new Set<number>([entry]);
  const pending = [entry];
  while (pending.length > 0 && decoded.size < maximum && leaders.size < MAXIMUM_BLOCKS) {
    let offset = pending.shift()!;
    while (offset >= 0 && offset < 4096 && !decoded.has(offset) && decoded.size < maximum) {
      const found = translate(page, offset);
      if (found === undefined) break;
      decoded.set(offset, found);
      const { instruction } = found;
      const next = offset + instruction.lengthBytes;
      const target = branchTarget(instruction, next);
      if (target !== undefined && instruction.row.lift !== 'call') {
        if (target >= 0 && target < 4096) {
          leaders.add(target);
          pending.push(target);
        }
        leaders.add(next);
      }
      if (!fallsThrough(instruction)) break;
      offset = next;
    }
  }
  if (!decoded.has(entry)) return undefined;
  const blocks = new Map<number, RegionBlock>();
  for (const leader of leaders) {
    if (decoded.has(leader)) blocks.set(leader, buildBlock(decoded, leaders, leader));
  }
  return { entry, blocks, instructions: decoded.size };
}

function translate(page: PageCode, offset: number): Decoded | undefined {
  const instruction = page.decode(offset);
  if (instruction === undefined) return undefined;
  const lift = constantLift(instruction);
  const write = LIFTS[instruction.row.lift];
  if (lift === undefined || write === undefined) return undefined;
  const probe = new Builder(true);
  write(probe, lift);
  return isTranslatable(probe.body) ? { instruction, lift } : undefined;
}

function branchTarget(instruction: Instruction, next: number): number | undefined {
  const relative = instruction.operands.find((operand) => operand.kind === 'relative');
  return relative?.kind === 'relative' ? next + relative.displacement : undefined;
}

/** Whether the following instruction may run after this one. */
function fallsThrough(instruction: Instruction): boolean {
  const { lift, ends } = instruction.row;
  return ends !== true || lift === 'jcc' || lift.startsWith('loop') || lift === 'jrcxz';
}

function buildBlock(decoded: ReadonlyMap<number, Decoded>, leaders: ReadonlySet<number>, first: number): RegionBlock {
  const body = new Builder(true);
  let offset = first;
  for (;;) {
    const found = decoded.get(offset);
    if (found === undefined) return { offset: first, body, target: undefined, next: offset };
    const { instruction, lift } = found;
    const next = offset + instruction.lengthBytes;
    body.instruction(offset, next);
    LIFTS[lift.lift]!(body, relocate(lift, next));
    const target = branchTarget(instruction, next);
    const falls = fallsThrough(instruction);
    if (target !== undefined || !falls) return { offset: first, body, target, next: falls ? next : undefined };
    if (leaders.has(next)) return { offset: first, body, target: undefined, next };
    offset = next;
  }
}
