// A generated program as a tree that can lose any part and still be a program, and its layout in the code pages:
// a label whose part is gone leads to a stub that returns.

import { Code } from './code.ts';
import { CODE_PAGES, directAddress, PAGE, PLACE } from './guest-places.ts';

export interface Item {
  readonly kind: 'item';
  readonly name: string;
  readonly code: Code;
}

/** A loop, a conditional part: code around other nodes. */
export interface Group {
  readonly kind: 'group';
  readonly name: string;
  readonly head: Code;
  readonly body: readonly Node[];
  readonly tail: Code;
}

export type Node = Item | Group;

export interface Block {
  readonly label: string;
  readonly nodes: readonly Node[];
  readonly end: Item;
}

export interface ProgramFunction {
  readonly label: string;
  /** Bytes left free before it; or, from the end of the page that the code before it ends in, bytes before that. */
  readonly place: { readonly kind: 'gap' | 'before-page-end'; readonly bytes: number };
  readonly entry: Code;
  readonly blocks: readonly Block[];
  readonly exit: Code;
}

export interface Program {
  readonly name: string;
  readonly features: readonly string[];
  /** Guest-virtual address of the first code page. */
  readonly base: bigint;
  readonly user: boolean;
  /** Code pages that user code may not execute. */
  readonly supervisorPages: readonly number[];
  readonly interrupts: boolean;
  /** With process-context identifiers. */
  readonly pcid: boolean;
  /** Physical page of each code page, and of each data page, as an index. */
  readonly codeOrder: readonly number[];
  readonly dataOrder: readonly number[];
  readonly filler: number;
  readonly registers: readonly bigint[];
  readonly rflags: bigint;
  readonly mxcsr: number;
  readonly xmm: Uint8Array;
  readonly data: Uint8Array;
  /** Addresses in the table page, 8 bytes each. */
  readonly table: readonly string[];
  /** Calls of functions, one after another, and what follows them. */
  readonly mainCalls: readonly Item[];
  readonly mainEnd: Code;
  readonly functions: readonly ProgramFunction[];
}

/** Where a piece of code came to lie, for listings. */
export interface Piece {
  readonly name: string;
  readonly offset: number;
  readonly lengthBytes: number;
}

export interface Image {
  readonly program: Program;
  readonly code: Uint8Array;
  /** Offsets of bytes that the variant of the code has otherwise. */
  readonly varied: readonly number[];
  readonly table: readonly bigint[];
  readonly pieces: readonly Piece[];
  readonly labels: ReadonlyMap<string, bigint>;
  readonly entry: bigint;
}

export class ProgramTooLong extends RangeError {}

export const STUB = 'stub';
export const END = 'end';
/** Goes on with what main does next. */
export const SPENT = 'spent';

/** Physical address of a byte of the code pages. */
export function codePhysical(program: Program, offset: number): number {
  return PLACE.CODE + program.codeOrder[Math.floor(offset / PAGE)]! * PAGE + (offset % PAGE);
}

export function layOut(program: Program): Image {
  const sizeBytes = CODE_PAGES * PAGE;
  const code = new Uint8Array(sizeBytes).fill(program.filler);
  const pieces: Piece[] = [];
  const offsets = new Map<string, number>();
  const placed: { code: Code; at: number }[] = [];
  let cursor = 0;
  const place = (name: string, part: Code): void => {
    if (cursor + part.bytes.length > sizeBytes) throw new ProgramTooLong(`${program.name} is too long`);
    code.set(part.bytes, cursor);
    for (const label of part.labels) offsets.set(label.name, cursor + label.at);
    placed.push({ code: part, at: cursor });
    if (part.bytes.length > 0) pieces.push({ name, offset: cursor, lengthBytes: part.bytes.length });
    cursor += part.bytes.length;
  };
  const placeNode = (node: Node): void => {
    if (node.kind === 'item') place(node.name, node.code);
    else {
      place(`${node.name} {`, node.head);
      for (const inner of node.body) placeNode(inner);
      place(`} ${node.name}`, node.tail);
    }
  };
  offsets.set('main', cursor);
  for (const { name, code: part } of program.mainCalls) place(name, part);
  place('main end', program.mainEnd);
  place('stub', new Code().label(STUB).raw(0xc3).label(END).int(0x81));
  for (const { label, place: where, entry, blocks, exit } of program.functions) {
    if (where.kind === 'gap') cursor += where.bytes;
    else cursor = Math.max(cursor, Math.ceil(cursor / PAGE) * PAGE - where.bytes);
    offsets.set(label, cursor);
    place(label, entry);
    for (const block of blocks) {
      offsets.set(block.label, cursor);
      for (const node of block.nodes) placeNode(node);
      place(block.end.name, block.end.code);
    }
    place(`${label} exit`, exit);
  }
  const { base } = program;
  const labels = new Map<string, bigint>();
  for (const [name, offset] of offsets) labels.set(name, base + BigInt(offset));
  for (const [name, offset] of Object.entries(VIRTUAL)) labels.set(name, base + BigInt(offset));
  const resolve = (label: string): bigint => {
    const missing = label.includes('.site-') ? 'data' : STUB;
    return labels.get(label) ?? labels.get(missing)!;
  };
  const view = new DataView(code.buffer);
  for (const { code: part, at } of placed) {
    for (const { at: within, kind, label, addend, behind } of part.references) {
      const field = at + within;
      const target = resolve(label) + BigInt(addend);
      const relative = target - (base + BigInt(field + behind));
      if (kind === 'relative8') view.setInt8(field, Number(relative) - 1);
      else if (kind === 'relative32') view.setInt32(field, Number(relative) - 4, true);
      else if (kind === 'absolute64') view.setBigUint64(field, BigInt.asUintN(64, target), true);
      else {
        const offset = offsets.get(label);
        const physical = offset === undefined ? PLACE.DATA : codePhysical(program, offset);
        view.setBigUint64(field, directAddress(physical + addend), true);
      }
    }
  }
  const table = program.table.map((label) => resolve(label));
  const varied = [...offsets].filter(([name]) => /\.(site-immediate|varied)/.test(name)).map(([, offset]) => offset);
  return { program, code, varied, table, pieces, labels, entry: labels.get('main')! };
}

/** From the program's base on: what code may refer to besides itself. */
export const VIRTUAL = {
  /** DATA_PAGES pages between two that are not mapped. */
  data: 0x2_1000,
  'data-end': 0x2_9000,
  /** Addresses of functions and blocks; the processor may only read it. */
  table: 0x2_b000,
  stack: 0x3_1000,
  'stack-top': 0x4_1000,
  'second-stack-top': 0x4_4000,
  /** Readable, not writable, not executable. */
  constants: 0x4_6000,
  device: 0x4_8000,
  nowhere: 0x5_0000,
} as const;
