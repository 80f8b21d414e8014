// Pieces of XMM code, mixed with general registers.

import { Code, type MemoryOperand } from './code.ts';
import type { Draft } from './draft.ts';
import { item } from './draft.ts';
import type { ItemMaker, WeightedMakers } from './item-maker.ts';

/** Opcodes behind 66 0F with an XMM register and a 16-byte operand. */
const PACKED = [
  0xfc, 0xfd, 0xfe, 0xd4, 0xf8, 0xf9, 0xfa, 0xfb, 0xdb, 0xdf, 0xeb, 0xef, 0x74, 0x75, 0x76, 0x64, 0x65, 0x66, 0xd5,
  0xe5, 0xf4, 0xf5, 0xf6, 0xe0, 0xe3, 0xda, 0xde, 0xea, 0xee, 0x60, 0x61, 0x62, 0x6c, 0x68, 0x69, 0x6a, 0x6d, 0x63,
  0x67, 0x6b, 0xd1, 0xd2, 0xd3, 0xf1, 0xf2, 0xf3, 0xe1, 0xe2,
] as const;
const FLOAT = [0x58, 0x59, 0x5c, 0x5d, 0x5e, 0x5f, 0x51, 0x54, 0x55, 0x56, 0x57, 0x14, 0x15] as const;
const SCALAR = [0x58, 0x59, 0x5c, 0x5d, 0x5e, 0x5f, 0x51] as const;

const xmm = (g: Draft) => g.random.below(16);

/** An XMM register, or memory where that is wanted: 16 bytes and aligned, or not at all. */
function source(g: Draft, sizeBytes: number, aligned: boolean): { setup: Code; operand: number | MemoryOperand } {
  if (g.random.chance(0.7)) return { setup: new Code(), operand: xmm(g) };
  if (!aligned) return g.memory(sizeBytes);
  // Rarely misaligned: #GP.
  const displacement = (g.dataOffset(16) & ~15) + (g.random.chance(0.02) ? 8 : 0);
  return { setup: new Code(), operand: { base: 14, displacement: Math.min(displacement, 0x3ff0) } };
}

const packed: ItemMaker = (g) => {
  const { setup, operand } = source(g, 16, true);
  return item('packed', setup.op([0x0f, g.random.pick(PACKED)], { prefix: 0x66, reg: xmm(g), rm: operand }));
};

const shuffle: ItemMaker = (g) => {
  const { setup, operand } = source(g, 16, true);
  const encoding = { reg: xmm(g), rm: operand, immediate: [g.random.below(256)] };
  if (g.random.chance(0.3))
    return item('pshufb', setup.op([0x0f, 0x38, 0x00], { prefix: 0x66, reg: xmm(g), rm: operand }));
  if (g.random.chance(0.3)) return item('palignr', setup.op([0x0f, 0x3a, 0x0f], { prefix: 0x66, ...encoding }));
  return item('pshuf', setup.op([0x0f, g.random.pick([0x70, 0xc6])], { prefix: 0x66, ...encoding }));
};

const float: ItemMaker = (g) => {
  const prefix = g.random.pick([undefined, 0x66]);
  const { setup, operand } = source(g, 16, true);
  return item('float packed', setup.op([0x0f, g.random.pick(FLOAT)], { prefix, reg: xmm(g), rm: operand }));
};

const scalar: ItemMaker = (g) => {
  const prefix = g.random.pick([0xf3, 0xf2]);
  const { setup, operand } = source(g, 8, false);
  return item('float scalar', setup.op([0x0f, g.random.pick(SCALAR)], { prefix, reg: xmm(g), rm: operand }));
};

const compare: ItemMaker = (g) => {
  const prefix = g.random.pick([undefined, 0x66]);
  const { setup, operand } = source(g, 8, false);
  if (g.random.chance(0.3)) {
    const { setup: before, operand: from } = source(g, 16, true);
    return item('ptest', before.op([0x0f, 0x38, 0x17], { prefix: 0x66, reg: xmm(g), rm: from }));
  }
  return item('ucomis/comis', setup.op([0x0f, g.random.pick([0x2e, 0x2f])], { prefix, reg: xmm(g), rm: operand }));
};

const move: ItemMaker = (g) => {
  const code = new Code();
  const store = g.random.chance(0.5) ? 1 : 0;
  switch (g.random.below(6)) {
    case 0: {
      const { setup, operand } = g.memory(16);
      return item('movups', setup.op([0x0f, 0x10 | store], { reg: xmm(g), rm: operand }));
    }
    case 1: {
      const { setup, operand } = g.memory(16);
      const prefix = g.random.pick([0x66, 0xf3, 0xf2]);
      return item('movupd/ss/sd', setup.op([0x0f, 0x10 | store], { prefix, reg: xmm(g), rm: operand }));
    }
    case 2: {
      const rm = { base: 14, displacement: Math.min(g.dataOffset(16) & ~15, 0x3ff0) };
      return item('movaps', code.op([0x0f, 0x28 | store], { reg: xmm(g), rm }));
    }
    case 3: {
      // Between an XMM register and a general one.
      const size = g.random.pick([4, 8] as const);
      const rm = store ? g.register() : g.source();
      return item('movd/movq', code.op([0x0f, store ? 0x7e : 0x6e], { size, prefix: 0x66, reg: xmm(g), rm }));
    }
    case 4: {
      const { setup, operand } = g.memory(8);
      const [prefix, opcode] = g.random.pick([
        [0xf3, 0x7e],
        [0x66, 0xd6],
        [undefined, 0x12],
        [undefined, 0x16],
        [undefined, 0x13],
        [undefined, 0x17],
      ] as const);
      return item('movq/movlps/movhps', setup.op([0x0f, opcode], { prefix, reg: xmm(g), rm: operand }));
    }
    default:
      return item('movdqa', code.op([0x0f, 0x6f], { prefix: 0x66, reg: xmm(g), rm: xmm(g) }));
  }
};

const convert: ItemMaker = (g) => {
  const size = g.random.pick([4, 8] as const);
  const prefix = g.random.pick([0xf3, 0xf2]);
  switch (g.random.below(4)) {
    case 0:
      return item('cvtsi2s', new Code().op([0x0f, 0x2a], { size, prefix, reg: xmm(g), rm: g.source() }));
    case 1:
      return item(
        'cvts2si',
        new Code().op([0x0f, g.random.pick([0x2c, 0x2d])], { size, prefix, reg: g.register(), rm: xmm(g) }),
      );
    case 2:
      return item(
        'cvt',
        new Code().op([0x0f, 0x5a], { prefix: g.random.pick([undefined, 0x66, 0xf3, 0xf2]), reg: xmm(g), rm: xmm(g) }),
      );
    default:
      return item(
        'cvtdq/pd/ps',
        new Code().op([0x0f, 0x5b], { prefix: g.random.pick([undefined, 0x66, 0xf3]), reg: xmm(g), rm: xmm(g) }),
      );
  }
};

const masks: ItemMaker = (g) => {
  const code = new Code();
  if (g.random.chance(0.4))
    return item('pmovmskb', code.op([0x0f, 0xd7], { prefix: 0x66, reg: g.register(), rm: xmm(g) }));
  if (g.random.chance(0.5)) {
    return item(
      'movmskps',
      code.op([0x0f, 0x50], { prefix: g.random.pick([undefined, 0x66]), reg: g.register(), rm: xmm(g) }),
    );
  }
  const immediate = [g.random.below(8)];
  if (g.random.chance(0.5))
    return item('pinsrw', code.op([0x0f, 0xc4], { prefix: 0x66, reg: xmm(g), rm: g.source(), immediate }));
  return item('pextrw', code.op([0x0f, 0xc5], { prefix: 0x66, reg: g.register(), rm: xmm(g), immediate }));
};

const control: ItemMaker = (g) => {
  const rm = { base: 14, displacement: g.dataOffset(4) };
  if (g.random.chance(0.5)) return item('stmxcsr', new Code().op([0x0f, 0xae], { digit: 3, rm }));
  // Rounding and flush-to-zero; exceptions stay masked, mostly.
  const value = 0x1f80 | (g.random.below(4) << 13) | g.random.pick([0, 0, 0x8000, 0x8040]);
  const unmasked = g.random.chance(0.05) ? value & ~0x80 : value;
  const code = new Code().op([0xc7], { digit: 0, rm, immediate: [unmasked & 0xff, unmasked >> 8, 0, 0] });
  return item('ldmxcsr', code.op([0x0f, 0xae], { digit: 2, rm }));
};

export const VECTOR_ITEMS: WeightedMakers = [
  [8, packed],
  [2, shuffle],
  [3, float],
  [4, scalar],
  [2, compare],
  [8, move],
  [3, convert],
  [2, masks],
  [1, control],
];
