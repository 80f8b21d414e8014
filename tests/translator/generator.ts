// Makes a program from a seed: functions of blocks of pieces, with random flow between the blocks.

import { RandomSource } from '../fuzz/random-source.ts';
import { randomInteger, randomOperandBytes } from '../fuzz/values.ts';
import { Code, type MemoryOperand, RAX, RBP, RSP } from './code.ts';
import { DEEP_ITEMS } from './deep-items.ts';
import { DATA, DATA_MIDDLE, Draft, FUEL, item, RESUME } from './draft.ts';
import { FLOAT_ITEMS } from './float-items.ts';
import { CALL_ITEMS, FAULT_ITEMS, framedEntry, framedExit, fuelCheck, makeFlowItems } from './flow-items.ts';
import { CODE_PAGES, DATA_PAGES, PAGE } from './guest-places.ts';
import { SERVICE } from './handlers.ts';
import { INTEGER_ITEMS } from './integer-items.ts';
import { chooseNode, type WeightedMakers } from './item-maker.ts';
import { MODIFICATION_ITEMS, makeSite, SITE_KINDS, SITES_OF_A_KIND, siteLabel } from './modification-items.ts';
import {
  type Block,
  END,
  type Item,
  type Node,
  type Program,
  type ProgramFunction,
  SPENT,
  VIRTUAL,
} from './program.ts';
import { STRING_ITEMS } from './string-items.ts';
import { DEVICE_ITEMS, makeControlItems, makePagingItems, makePrivilegeItems, makeStepItems } from './system-items.ts';
import { VECTOR_ITEMS } from './vector-items.ts';

/** What a program may be made of besides plain integer code. */
export const FEATURES = [
  'vectors',
  'calls',
  'deep',
  'faults',
  'jump-tables',
  'strings',
  'modification',
  'paging',
  'privilege',
  'steps',
  'control',
  'devices',
  'x87',
] as const;
export type Feature = (typeof FEATURES)[number];

const BASES: readonly bigint[] = [
  0x40_0000n,
  // Code on both sides of 2 and of 4 GiB, and at both ends of what is canonical.
  0x7fff_4000n,
  0xffff_4000n,
  0x5555_5555_4000n,
  0x7fff_ff00_0000n,
  0xffff_8100_0000_0000n,
  0xffff_ffff_8000_0000n,
  0xffff_ffff_fff0_0000n,
];

function permutation(random: RandomSource, count: number): number[] {
  const order = Array.from({ length: count }, (_, k) => k);
  if (random.chance(0.3)) return order;
  for (let k = count - 1; k > 0; k--) {
    const other = random.below(k + 1);
    [order[k], order[other]] = [order[other]!, order[k]!];
  }
  return order;
}

const scaled = (makers: WeightedMakers, factor: number): WeightedMakers =>
  makers.map(([weight, make]) => [weight * factor, make] as const);

function itemsFor(features: ReadonlySet<string>): WeightedMakers {
  const makers: WeightedMakers[] = [scaled(INTEGER_ITEMS, 4)];
  const flow = makeFlowItems(() => all);
  makers.push(scaled(flow, 6));
  if (features.has('vectors')) makers.push(scaled(VECTOR_ITEMS, 3));
  if (features.has('calls')) makers.push(scaled(CALL_ITEMS, 10));
  if (features.has('faults')) makers.push(scaled(FAULT_ITEMS, 25));
  if (features.has('deep')) makers.push(scaled(DEEP_ITEMS, 10));
  if (features.has('strings')) makers.push(scaled(STRING_ITEMS, 25));
  if (features.has('modification')) makers.push(scaled(MODIFICATION_ITEMS, 5));
  if (features.has('paging'))
    makers.push(
      scaled(
        makePagingItems(() => all),
        3,
      ),
    );
  if (features.has('privilege'))
    makers.push(
      scaled(
        makePrivilegeItems(() => all),
        3,
      ),
    );
  if (features.has('steps'))
    makers.push(
      scaled(
        makeStepItems(() => all),
        8,
      ),
    );
  if (features.has('control'))
    makers.push(
      scaled(
        makeControlItems(() => all),
        2,
      ),
    );
  if (features.has('devices')) makers.push(scaled(DEVICE_ITEMS, 15));
  if (features.has('x87')) makers.push(scaled(FLOAT_ITEMS, 8));
  const all: WeightedMakers = makers.flat();
  return all;
}

/** Where a block goes when it ends. */
function blockEnd(g: Draft, own: number): Item {
  const { random, blocks } = g;
  const label = g.functions[g.functionIndex]!;
  const anywhere = () => random.pick(blocks);
  switch (random.below(own === blocks.length - 1 ? 5 : 11)) {
    case 0:
    case 1:
      return item('jcc block', new Code().jcc(random.below(16), anywhere()));
    case 2:
      if (g.has('jump-tables')) return jumpTable(g);
      return item('jmp block', new Code().jmp(anywhere()));
    case 3: {
      const code = new Code().jcc(random.below(16), anywhere()).jcc(random.below(16), anywhere());
      return item('two jcc', code);
    }
    case 4:
      if (g.framed) return item('early exit', new Code().jcc(random.below(16), `${label}.resume`));
      return item('early ret', new Code().raw(0x70 | random.below(16), 1, 0xc3));
    default:
      return item('fall through', new Code());
  }
}

function jumpTable(g: Draft): Item {
  const { random } = g;
  const targets = Array.from({ length: 4 }, () => random.pick(g.blocks));
  const index = g.register();
  const pointer = g.register(index);
  const code = new Code().op([0x0f, 0xb6], { reg: index, rm: g.source(), byteRm: true });
  code.op([0x83], { digit: 4, rm: index, immediate: [3] });
  switch (random.below(3)) {
    case 0: {
      // In the table page.
      const slot = g.table.length * 8;
      g.table.push(...targets);
      code.leaLabel(pointer, 'table', slot).op([0xff], { digit: 4, rm: { base: pointer, index, scaleShift: 3 } });
      return item('jump table', code);
    }
    case 1: {
      // Behind the jump, as offsets.
      const table = g.newLabel('table');
      code.leaLabel(pointer, table).op([0x63], { size: 8, reg: index, rm: { base: pointer, index, scaleShift: 2 } });
      code.op([0x03], { size: 8, reg: index, rm: pointer }).op([0xff], { digit: 4, rm: index }).label(table);
      targets.forEach((target, k) => {
        code.offset32(target, -4 - 4 * k);
      });
      return item('jump table in the code', code);
    }
    default: {
      const table = g.newLabel('table');
      code.leaLabel(pointer, table).op([0x8b], { size: 8, reg: pointer, rm: { base: pointer, index, scaleShift: 3 } });
      code.push(pointer).raw(0xc3).label(table);
      for (const target of targets) code.address64(target);
      return item('jump table by ret', code);
    }
  }
}

function makeFunction(g: Draft, index: number, makers: WeightedMakers): ProgramFunction {
  const { random } = g;
  const label = g.functions[index]!;
  g.functionIndex = index;
  g.framed = random.chance(0.75);
  const blockCount = random.pick([1, 1, 2, 3, 4, 6, 9]);
  g.blocks = Array.from({ length: blockCount }, (_, k) => `${label}.b${k}`);
  const blocks: Block[] = g.blocks.map((blockLabel, k) => {
    const nodes: Node[] = [item('fuel', fuelCheck(g))];
    for (let count = random.below(9); count >= 0; count--) nodes.push(chooseNode(g, makers) as never);
    return { label: blockLabel, nodes, end: blockEnd(g, k) };
  });
  if (g.has('modification')) insertSites(g, blocks);
  const fuel = random.chance(0.8) ? fuelCheck(g) : new Code();
  return {
    label,
    place: random.chance(0.4)
      ? { kind: 'before-page-end', bytes: random.between(1, 100) }
      : { kind: 'gap', bytes: random.pick([0, 0, 1, 3, 17, random.below(2000)]) },
    entry: g.framed ? framedEntry(label, fuel) : fuel,
    blocks,
    exit: g.framed ? framedExit(g, label) : new Code().raw(0xc3),
  };
}

/** What other code writes to. */
function insertSites(g: Draft, blocks: Block[]): void {
  const { random } = g;
  const label = g.functions[g.functionIndex]!;
  for (const kind of SITE_KINDS) {
    for (let number = 0; number < SITES_OF_A_KIND; number++) {
      if (random.chance(0.4)) continue;
      const at = random.below(blocks.length);
      const { nodes } = blocks[at]!;
      blocks[at] = { ...blocks[at]!, nodes: insertSite(g, nodes, makeSite(g, kind, siteLabel(label, kind, number))) };
    }
  }
}

/** Anywhere, also inside of loops. */
function insertSite(g: Draft, nodes: readonly Node[], site: Node): readonly Node[] {
  const at = g.random.below(nodes.length + 1);
  const node = nodes[at];
  if (node?.kind !== 'group') return nodes.toSpliced(at, 0, site);
  return nodes.with(at, { ...node, body: insertSite(g, node.body, site) });
}

/** The program of a name: `features` limits what it may be made of. */
export function generateProgram(name: string, allowed: readonly string[] = FEATURES): Program {
  const random = new RandomSource(name);
  // Few features mostly: what they do to each other shows sooner than among everything else.
  const share = allowed.length < 4 ? 1 : random.pick([0.15, 0.3, 0.5, 0.9]);
  const features = allowed.filter((feature) => random.chance(feature === 'calls' ? Math.max(share, 0.8) : share));
  const set = new Set(features);
  const base = random.pick(BASES);
  const functions = Array.from({ length: random.between(1, 9) }, (_, k) => `f${k}`);
  const table: string[] = [];
  const pcid = set.has('paging') && random.chance(0.4);
  const user = set.has('privilege') && random.chance(0.6);
  const g = new Draft({
    random,
    base,
    features: set,
    user,
    spaceService: pcid ? SERVICE.spaceById : SERVICE.space,
    functions,
    table,
  });
  const makers = itemsFor(set);
  const made = functions.map((_, index) => makeFunction(g, index, makers));
  const registers = Array.from({ length: 16 }, () => randomInteger(random));
  return {
    name,
    features,
    base,
    user,
    pcid,
    supervisorPages: random.chance(0.4) ? [random.between(1, 2), random.between(2, 6)] : [],
    interrupts: random.chance(0.8),
    codeOrder: permutation(random, CODE_PAGES),
    dataOrder: permutation(random, DATA_PAGES),
    filler: random.pick([0xcc, 0x00, 0x90, 0xf4, 0xc3]),
    registers,
    rflags: BigInt(random.u32() & 0x8d5),
    mxcsr: 0x1f80 | (random.chance(0.7) ? 0 : random.below(4) << 13),
    xmm: randomOperandBytes(random, random.pick(['integer', 'bytes', 'single', 'double']), 256),
    data: makeData(random),
    table,
    ...makeMain(random, functions),
    functions: made,
  };
}

/** Operands of one kind, a page of them and the same in other places on the others. */
function makeData(random: RandomSource): Uint8Array {
  const page = randomOperandBytes(random, random.pick(['integer', 'double', 'single']), PAGE);
  const data = new Uint8Array(DATA_PAGES * PAGE);
  for (let k = 0; k < DATA_PAGES; k++) {
    const turn = k * 328;
    data.set(page.subarray(turn), k * PAGE);
    data.set(page.subarray(0, turn), (k + 1) * PAGE - turn);
  }
  return data;
}

/** Calls functions one after another. SPENT goes on with the next one, whatever has become of registers and stack. */
function makeMain(random: RandomSource, functions: readonly string[]): Pick<Program, 'mainCalls' | 'mainEnd'> {
  const next: MemoryOperand = { label: 'stack-top', displacement: -32 };
  // Every function once, and some again.
  const order = permutation(random, functions.length).map((index) => functions[index]!);
  for (let more = random.below(4); more > 0; more--) order.push(random.pick(functions));
  const mainCalls = order.map((label, turn) => {
    const code = new Code().leaLabel(RAX, `main.${turn}`).store(next, RAX);
    code
      .leaLabel(DATA, 'data', DATA_MIDDLE - VIRTUAL.data)
      .leaLabel(RESUME, SPENT)
      .leaLabel(RBP, 'stack-top', -64);
    code.movImmediate(FUEL, BigInt(random.pick([5, 20, 60, 150]))).call(label);
    return item(`main call ${label}`, code.label(`main.${turn}`));
  });
  const mainEnd = new Code().jmp(END).label(SPENT);
  mainEnd.leaLabel(RSP, 'stack-top', -64).op([0xff], { digit: 4, rm: next });
  return { mainCalls, mainEnd };
}
