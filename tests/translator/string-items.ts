// Pieces with string instructions: repeated and not, in both directions, over page borders and into what is unmapped.

import { Code, RAX, RCX, RDI, RSI } from './code.ts';
import type { Draft } from './draft.ts';
import { guarded } from './flow-items.ts';
import { DATA_PAGES, PAGE } from './guest-places.ts';
import type { ItemMaker, WeightedMakers } from './item-maker.ts';

const OPERATIONS = [
  { name: 'movs', opcode: 0xa4 },
  { name: 'cmps', opcode: 0xa6 },
  { name: 'stos', opcode: 0xaa },
  { name: 'lods', opcode: 0xac },
  { name: 'scas', opcode: 0xae },
] as const;

const AREA = DATA_PAGES * PAGE;

function place(g: Draft, bytes: number): number {
  const { random } = g;
  if (random.chance(0.1)) return random.pick([0, AREA - bytes, AREA - 5, 1]);
  if (random.chance(0.3)) return random.between(1, DATA_PAGES - 1) * PAGE - random.below(40);
  return random.below(AREA);
}

const string: ItemMaker = (g) => {
  const { random } = g;
  if (!g.isFree(RCX, RSI, RDI, RAX)) return undefined;
  const size = random.pick([1, 2, 4, 8] as const);
  const { name, opcode } = random.pick(OPERATIONS);
  const count = random.pick([0, 1, 2, random.below(20), random.below(300), g.depth === 0 ? random.below(3000) : 3]);
  const code = new Code();
  const backward = random.chance(0.25);
  const from = place(g, count * size);
  code.leaLabel(RSI, 'data', from);
  // Near one another sometimes: what is stored is loaded again.
  code.leaLabel(RDI, 'data', random.chance(0.3) ? from + random.between(-9, 9) : place(g, count * size));
  if (random.chance(0.3)) code.op([0x33], { reg: RAX, rm: RAX });
  if (backward) code.raw(0xfd);
  const repeat = random.chance(0.8);
  if (repeat) code.movImmediate(RCX, BigInt(count));
  const prefix = repeat ? random.pick([0xf3, 0xf3, 0xf2]) : undefined;
  // REX stands between the prefixes and the opcode.
  if (size === 2) code.raw(0x66);
  if (prefix !== undefined) code.raw(prefix);
  if (size === 8) code.raw(0x48);
  code.raw(size === 1 ? opcode : opcode | 1);
  if (backward && random.chance(0.9)) code.raw(0xfc);
  return guarded(g, `${repeat ? 'rep ' : ''}${name}${backward ? ' backward' : ''}`, code);
};

export const STRING_ITEMS: WeightedMakers = [[1, string]];
