// Pieces that write code: their own, another function's, the next page's, through another address of the same page;
// code that is made in data; data among code.

import { Code, littleEndian, type MemoryOperand, RAX, RBX, RCX, RDI, RDX, RSI, RSP } from './code.ts';
import { type Draft, item } from './draft.ts';
import { ALIAS } from './guest-places.ts';
import type { ItemMaker, WeightedMakers } from './item-maker.ts';
import type { Item } from './program.ts';

/**
 * One-byte instructions that may stand for each other: NOP, CLC, STC, CMC, SAHF, LAHF, CWDE, CDQ, CLD, and XCHG of EAX
 * with ECX, EDX, EBX, ESI and EDI, whose effects show.
 */
const SHORT = [
  0x90, 0xf8, 0xf9, 0xf5, 0x9e, 0x9f, 0x98, 0x99, 0xfc, 0x91, 0x91, 0x92, 0x92, 0x93, 0x93, 0x96, 0x96, 0x97, 0x97,
] as const;
const NOPS = 24;

export const SITE_KINDS = ['immediate', 'opcode', 'condition', 'nops'] as const;
export type SiteKind = (typeof SITE_KINDS)[number];
export const SITES_OF_A_KIND = 2;

export const siteLabel = (functionLabel: string, kind: SiteKind, number: number): string =>
  `${functionLabel}.site-${kind}${number}`;

/** An instruction that others write to; the label is on the field that they change. */
export function makeSite(g: Draft, kind: SiteKind, label: string): Item {
  const { random } = g;
  const code = new Code();
  switch (kind) {
    case 'immediate': {
      const register = g.register();
      const immediate = littleEndian(random.u32(), 4);
      if (random.chance(0.5)) code.op([0x81], { digit: random.pick([0, 2, 5, 6]), rm: register, immediate });
      else code.raw(...(register > 7 ? [0x41] : []), 0xb8 | (register & 7), ...immediate);
      code.labels.push({ name: label, at: code.bytes.length - 4 });
      break;
    }
    case 'opcode': {
      code.op([0x01], { size: random.pick([4, 8]), reg: g.source(), rm: g.register() });
      code.labels.push({ name: label, at: code.bytes.length - 2 });
      break;
    }
    case 'condition': {
      const register = g.register();
      code
        .label(label)
        .raw(0x70 | random.below(16), 4)
        .lea(register, { base: register, displacement: 5 });
      // REX, opcode, ModR/M (and SIB), displacement.
      code.bytes[1] = code.bytes.length - 2;
      break;
    }
    case 'nops':
      code.label(label).raw(...Array.from({ length: NOPS }, () => random.pick(SHORT)));
      break;
    default:
      kind satisfies never;
  }
  return item(`site ${label}`, code);
}

/** How a writer reaches its site: straight, through a register, through another address of the page. */
function reach(g: Draft, label: string, displacement: number): { setup: Code; operand: MemoryOperand } {
  const { random } = g;
  const setup = new Code();
  if (random.chance(0.4)) return { setup, operand: { label, displacement } };
  const pointer = g.register();
  switch (random.below(g.user ? 5 : 6)) {
    case 0:
      setup.leaLabel(pointer, label, ALIAS);
      break;
    case 1:
      setup.movAbsolute(pointer, label, g.farDistance);
      break;
    case 5:
      // The supervisor's map of all RAM, which has no order of its own.
      setup.movAbsolute(pointer, label, 0, true);
      break;
    default:
      setup.leaLabel(pointer, label);
  }
  return { setup, operand: { base: pointer, displacement } };
}

function writeSite(g: Draft, kind: SiteKind, label: string): Code {
  const { random } = g;
  if (kind === 'nops') return writeNops(g, label);
  const { setup, operand } = reach(g, label, kind === 'immediate' ? random.below(4) : 0);
  const wide = kind === 'immediate' && operand.displacement === 0 && random.chance(0.4);
  if (kind === 'opcode') {
    const immediate = [random.pick([0x01, 0x09, 0x11, 0x19, 0x21, 0x29, 0x31, 0x39])];
    if (random.chance(0.5)) return setup.op([0x80], { size: 1, digit: 6, rm: operand, immediate: [0x28] });
    return setup.op([0xc6], { size: 1, digit: 0, rm: operand, immediate });
  }
  if (kind === 'condition') {
    if (random.chance(0.5)) return setup.op([0x80], { size: 1, digit: 6, rm: operand, immediate: [1] });
    return setup.op([0xc6], { size: 1, digit: 0, rm: operand, immediate: [0x70 | random.below(16)] });
  }
  if (wide) {
    const [opcode, lock] = random.pick([
      [[0x89], false],
      [[0x01], false],
      [[0x0f, 0xc1], true],
      [[0x87], false],
    ] as const);
    return setup.op(opcode, { reg: g.register(), rm: operand, lock });
  }
  if (random.chance(0.3))
    return setup.op([0xfe], { size: 1, digit: random.below(2), rm: operand, lock: random.chance(0.3) });
  return setup.op([0x88], { size: 1, reg: g.source(), rm: operand });
}

function writeNops(g: Draft, label: string): Code {
  const { random } = g;
  const some = (count: number) => Array.from({ length: count }, () => random.pick(SHORT));
  switch (random.below(9)) {
    case 0: {
      const { setup, operand } = reach(g, label, random.below(NOPS));
      return setup.op([0xc6], { size: 1, digit: 0, rm: operand, immediate: some(1) });
    }
    case 1: {
      const { setup, operand } = reach(g, label, random.below(NOPS - 4));
      return setup.op([0xc7], { size: 4, digit: 0, rm: operand, immediate: some(4) });
    }
    case 2: {
      if (!g.isFree(RAX, RCX, RDI)) return new Code();
      const code = new Code()
        .leaLabel(RDI, label)
        .raw(0xb0, ...some(1))
        .movImmediate(RCX, BigInt(random.below(NOPS)));
      return code.raw(0xf3, 0xaa);
    }
    case 3: {
      // Pushed over it.
      const keep = g.register();
      const value = g.register(keep);
      const code = new Code().raw(0x48 | (value >> 3), 0xb8 | (value & 7), ...some(8));
      return code.mov(keep, RSP).leaLabel(RSP, label, random.between(8, NOPS)).push(value).mov(RSP, keep);
    }
    case 4:
    case 5: {
      // Copied there from bytes that the program brings along.
      if (!g.isFree(RCX, RSI, RDI)) return new Code();
      const [over, bytes] = [g.newLabel('over'), g.newLabel('bytes')];
      const code = new Code()
        .jmp(over)
        .label(bytes)
        .raw(...some(NOPS))
        .label(over);
      const count = random.between(1, NOPS);
      code.leaLabel(RSI, bytes).leaLabel(RDI, label).movImmediate(RCX, BigInt(count));
      return code.raw(
        ...random.pick([[0xf3, 0xa4], [0xa4], [0x48, 0xa5], [0xf3, 0x66, 0xa5]].slice(0, count > 11 ? 3 : 4)),
      );
    }
    case 6: {
      // By the x87 or MMX, which may be another tier's.
      const [over, bytes] = [g.newLabel('over'), g.newLabel('bytes')];
      const code = new Code()
        .jmp(over)
        .label(bytes)
        .raw(...some(8))
        .label(over);
      const { setup, operand } = reach(g, label, random.below(NOPS - 8));
      code.append(setup);
      if (random.chance(0.5))
        return code.op([0xdf], { digit: 5, rm: { label: bytes } }).op([0xdf], { digit: 7, rm: operand });
      return code
        .op([0x0f, 0x6f], { reg: 1, rm: { label: bytes } })
        .op([0x0f, 0x7f], { reg: 1, rm: operand })
        .raw(0x0f, 0x77);
    }
    case 7: {
      // By POP, MOVNTI or CMPXCHG8B.
      const value = g.register();
      const code = new Code().raw(0x48 | (value >> 3), 0xb8 | (value & 7), ...some(8));
      const { setup, operand } = reach(g, label, random.below(NOPS - 8));
      if (operand.base === value) return new Code();
      code.append(setup);
      if (random.chance(0.5)) return code.push(value).op([0x8f], { digit: 0, rm: operand });
      if (random.chance(0.5)) return code.op([0x0f, 0xc3], { size: 8, reg: value, rm: operand });
      if (!g.isFree(RAX, RBX, RCX, RDX) || operand.base !== undefined) return new Code();
      code
        .mov(RBX, value)
        .mov(RCX, value)
        .op([0xc1], { size: 8, digit: 5, rm: RCX, immediate: [32] });
      code.op([0x8b], { reg: RAX, rm: operand });
      const upper = { ...operand, displacement: (operand.displacement ?? 0) + 4 };
      return code
        .op([0x8b], { reg: RDX, rm: upper })
        .op([0x0f, 0xc7], { digit: 1, rm: operand, lock: random.chance(0.5) });
    }
    default: {
      // 16 bytes at once, from what the program brings along.
      const over = g.newLabel('over');
      const bytes = g.newLabel('bytes');
      const reg = random.below(16);
      const code = new Code()
        .jmp(over)
        .label(bytes)
        .raw(...some(16))
        .label(over);
      code.op([0x0f, 0x10], { reg, rm: { label: bytes } });
      const { setup, operand } = reach(g, label, random.below(NOPS - 16));
      return code.append(setup).op([0x0f, 0x11], { reg, rm: operand });
    }
  }
}

const modify: ItemMaker = (g) => {
  const { random } = g;
  // In inner loops each turn makes an engine begin anew.
  if (g.depth > 1) return undefined;
  const kind = random.pick(SITE_KINDS);
  const own = g.functions[g.functionIndex]!;
  if (random.chance(0.3)) {
    // The very next instruction, or the one before in a loop.
    const label = g.newLabel('site-next');
    const write = writeSite(g, kind, label);
    const site = makeSite(g, kind, label).code;
    return item(`modify ${kind} nearby`, random.chance(0.7) ? write.append(site) : site.append(write));
  }
  const target = random.chance(0.4) ? own : random.pick(g.functions);
  const label = siteLabel(target, kind, random.below(SITES_OF_A_KIND));
  return item(`modify ${label}`, writeSite(g, kind, label));
};

/** A few bytes of code put together in the data and called. */
const makeCode: ItemMaker = (g) => {
  const { random } = g;
  if (!g.isFree(RAX)) return undefined;
  const pointer = g.register(RAX);
  const offset = random.pick([0x1000, 0x2ff8, 0x2ffb, 0x4100, 0x6ffe]) + random.below(3);
  const body = random.pick([
    [0x48, 0xff, 0xc0, 0xc3],
    [0x48, 0xff, 0xc8, 0xc3],
    [0x04, 0x11, 0xf5, 0xc3],
    [0x48, 0xf7, 0xd8, 0xc3],
    [0xf9, 0x48, 0x19, 0xc0, 0xc3],
    [0xb0, 7, 0x00, 0xc4, 0xc3],
  ]);
  const code = new Code().leaLabel(pointer, 'data', offset);
  const padded = [...body, ...new Array<number>(8 - body.length).fill(0x90)];
  if (random.chance(0.5)) {
    code.op([0xc7], { digit: 0, rm: { base: pointer }, immediate: padded.slice(0, 4) });
    code.op([0xc7], { digit: 0, rm: { base: pointer, displacement: 4 }, immediate: padded.slice(4) });
  } else {
    const value = g.register(RAX, pointer);
    code.raw(0x48 | (value >> 3), 0xb8 | (value & 7), ...padded).store({ base: pointer }, value);
  }
  return item('make code', code.op([0xff], { digit: 2, rm: pointer }));
};

/** Data between instructions: stores that change no code, loads of code. */
const dataAmongCode: ItemMaker = (g) => {
  const { random } = g;
  const over = g.newLabel('over');
  const bytes = g.newLabel('bytes');
  const code = new Code();
  const size = g.size();
  const access = () => {
    const rm = { label: bytes, displacement: random.below(9) };
    const even = size === 1 ? 0 : 1;
    return random.chance(0.6)
      ? new Code().op([0x88 | even], { size, reg: g.source(), rm })
      : new Code().op([0x02 | even], { size, reg: g.register(), rm });
  };
  code
    .append(access())
    .raw(0xeb, 16)
    .label(bytes)
    .raw(...g.random.bytes(16))
    .label(over)
    .append(access());
  return item('data among code', code);
};

const copyFunction: ItemMaker = (g) => {
  // A function's first bytes over themselves: nothing changes, but it is written.
  const { random } = g;
  if (g.depth > 1 || !g.isFree(RCX, RDI, 6)) return undefined;
  const target = random.pick(g.functions);
  const code = new Code()
    .leaLabel(6, target)
    .leaLabel(RDI, target)
    .movImmediate(RCX, BigInt(random.between(1, 200)));
  return item(`copy ${target} over itself`, code.raw(0xf3, 0xa4));
};

export const MODIFICATION_ITEMS: WeightedMakers = [
  [8, modify],
  [2, makeCode],
  [2, dataAmongCode],
  [1, copyFunction],
];
