// Pieces of integer code: arithmetic, moves, bits, flags, the stack.

import { randomInteger } from '../fuzz/values.ts';
import { AH, Code, littleEndian, RAX, RCX, RDX, RSP, type SizeBytes } from './code.ts';
import type { Draft } from './draft.ts';
import { item } from './draft.ts';
import type { ItemMaker } from './item-maker.ts';

const ALU = ['add', 'or', 'adc', 'sbb', 'and', 'sub', 'xor', 'cmp'] as const;
const SHIFTS = ['rol', 'ror', 'rcl', 'rcr', 'shl', 'shr', 'sar'] as const;
const SHIFT_DIGITS = [0, 1, 2, 3, 4, 5, 7] as const;

const byte = (size: SizeBytes, opcode: number) => (size === 1 ? opcode & ~1 : opcode | 1);

/** The code's last byte is one that the variant of the page has otherwise. */
const varied = (g: Draft, code: Code): Code => {
  if (g.has('paging')) code.labels.push({ name: g.newLabel('varied'), at: code.bytes.length - 1 });
  return code;
};

function immediate(g: Draft, size: SizeBytes): number[] {
  return littleEndian(randomInteger(g.random), size === 8 ? 4 : size);
}

/** Two registers; of 8 bits sometimes AH to BH, which go with no REX prefix. */
function pair(g: Draft, size: SizeBytes): [number, number] {
  if (size !== 1 || g.random.chance(0.6)) return [g.register(), g.source()];
  const to = g.random.below(4);
  const high = () => (g.random.chance(0.5) ? AH : 0);
  return [(g.isFree(to) ? to : RAX) + (g.isFree(to) ? high() : 0), g.random.below(4) + high()];
}

const alu: ItemMaker = (g) => {
  const size = g.size();
  const operation = g.random.below(8);
  const [to, from] = pair(g, size);
  if (to < 16 && !g.isFree(to)) return undefined;
  const code = new Code();
  const opcode = byte(size, operation << 3);
  switch (g.random.below(6)) {
    case 0:
    case 1:
      code.op([opcode], { size, reg: from, rm: to });
      break;
    case 2:
      code.op([opcode | 2], { size, reg: to, rm: from });
      break;
    case 3:
      code.op([byte(size, 0x80)], { size, digit: operation, rm: to, immediate: immediate(g, size) });
      break;
    case 4: {
      const { setup, operand } = g.memory(size, to >= AH || from >= AH);
      code.append(setup).op([opcode | 2], { size, reg: to, rm: operand });
      break;
    }
    default: {
      const { setup, operand } = g.memory(size, to >= AH || from >= AH);
      const lock = operation !== 7 && g.random.chance(0.2);
      if (g.random.chance(0.3)) {
        code
          .append(setup)
          .op([byte(size, 0x80)], { size, digit: operation, rm: operand, immediate: immediate(g, size), lock });
      } else code.append(setup).op([opcode], { size, reg: from, rm: operand, lock });
    }
  }
  return item(ALU[operation]!, code);
};

const smallImmediate: ItemMaker = (g) => {
  const operation = g.random.below(8);
  const size = g.random.pick([2, 4, 8] as const);
  const code = new Code().op([0x83], { size, digit: operation, rm: g.register(), immediate: [g.random.below(256)] });
  return item(`${ALU[operation]} imm8`, varied(g, code));
};

const test: ItemMaker = (g) => {
  const size = g.size();
  return item('test', new Code().op([byte(size, 0x84)], { size, reg: g.source(), rm: g.source() }));
};

const unary: ItemMaker = (g) => {
  const size = g.size();
  const [opcode, digit, name] = g.random.pick([
    [0xfe, 0, 'inc'],
    [0xfe, 1, 'dec'],
    [0xf6, 2, 'not'],
    [0xf6, 3, 'neg'],
  ] as const);
  if (g.random.chance(0.6)) return item(name, new Code().op([byte(size, opcode)], { size, digit, rm: g.register() }));
  const { setup, operand } = g.memory(size);
  const lock = g.random.chance(0.3);
  return item(name, setup.op([byte(size, opcode)], { size, digit, rm: operand, lock }));
};

const shift: ItemMaker = (g) => {
  const size = g.size();
  const which = g.random.below(SHIFTS.length);
  const digit = SHIFT_DIGITS[which]!;
  const inMemory = g.random.chance(0.25);
  const { setup, operand } = inMemory ? g.memory(size) : { setup: new Code(), operand: g.register() };
  const form = g.random.below(3);
  if (form === 0) setup.op([byte(size, 0xd0)], { size, digit, rm: operand });
  else if (form === 1) setup.op([byte(size, 0xd2)], { size, digit, rm: operand });
  else setup.op([byte(size, 0xc0)], { size, digit, rm: operand, immediate: [g.random.below(80)] });
  return item(SHIFTS[which]!, form === 2 ? varied(g, setup) : setup);
};

const doubleShift: ItemMaker = (g) => {
  const size = g.random.pick([2, 4, 8] as const);
  const left = g.random.chance(0.5);
  const code = new Code();
  if (g.random.chance(0.5)) {
    code.op([0x0f, left ? 0xa4 : 0xac], { size, reg: g.source(), rm: g.register(), immediate: [g.random.below(70)] });
  } else code.op([0x0f, left ? 0xa5 : 0xad], { size, reg: g.source(), rm: g.register() });
  return item(left ? 'shld' : 'shrd', code);
};

const move: ItemMaker = (g) => {
  const size = g.size();
  const code = new Code();
  switch (g.random.below(8)) {
    case 0:
      return item('mov', code.movImmediate(g.register(), randomInteger(g.random)));
    case 1: {
      const [to, from] = pair(g, size);
      if (to < 16 && !g.isFree(to)) return undefined;
      return item('mov', code.op([byte(size, 0x8a)], { size, reg: to, rm: from }));
    }
    case 2:
    case 3: {
      const high = size === 1 && g.random.chance(0.4);
      const { setup, operand } = g.memory(size, high);
      const to = high ? AH + g.random.below(4) : g.register();
      if (high && !g.isFree(to - AH)) return undefined;
      return item('mov load', setup.op([byte(size, 0x8a)], { size, reg: to, rm: operand }));
    }
    case 4:
    case 5: {
      const high = size === 1 && g.random.chance(0.4);
      const { setup, operand } = g.memory(size, high);
      const from = high ? AH + g.random.below(4) : g.source();
      return item('mov store', setup.op([byte(size, 0x88)], { size, reg: from, rm: operand }));
    }
    case 6: {
      const { setup, operand } = g.memory(size);
      return item(
        'mov imm',
        setup.op([byte(size, 0xc6)], { size, digit: 0, rm: operand, immediate: immediate(g, size) }),
      );
    }
    default:
      return item('xchg', code.op([byte(size, 0x86)], { size, reg: g.register(), rm: g.register() }));
  }
};

const extend: ItemMaker = (g) => {
  const size = g.random.pick([2, 4, 8] as const);
  const opcode = g.random.pick([0xb6, 0xb7, 0xbe, 0xbf]);
  const byteRm = (opcode & 1) === 0;
  if (g.random.chance(0.3)) {
    return item('movsxd', new Code().op([0x63], { size: 8, reg: g.register(), rm: g.source() }));
  }
  if (g.random.chance(0.5)) {
    return item('movzx/movsx', new Code().op([0x0f, opcode], { size, reg: g.register(), rm: g.source(), byteRm }));
  }
  const { setup, operand } = g.memory(2);
  return item('movzx/movsx', setup.op([0x0f, opcode], { size, reg: g.register(), rm: operand }));
};

const lea: ItemMaker = (g) => {
  const index = g.source();
  const operand = {
    base: g.source(),
    ...(index === RSP ? {} : { index }),
    scaleShift: g.random.below(4),
    displacement: g.random.pick([0, g.random.between(-128, 127), g.random.between(-0x7fff_0000, 0x7fff_0000)]),
    narrow: g.random.chance(0.15),
    ...(g.random.chance(0.1) ? { segment: g.random.pick([0x64, 0x65]) } : {}),
  };
  return item(
    'lea',
    new Code().op([0x8d], { size: g.random.pick([2, 4, 8] as const), reg: g.register(), rm: operand }),
  );
};

const condition: ItemMaker = (g) => {
  const test = g.random.below(16);
  if (g.random.chance(0.5)) {
    const size = g.random.pick([2, 4, 8] as const);
    if (g.random.chance(0.3)) {
      const { setup, operand } = g.memory(size);
      return item('cmovcc', setup.op([0x0f, 0x40 | test], { size, reg: g.register(), rm: operand }));
    }
    return item('cmovcc', new Code().op([0x0f, 0x40 | test], { size, reg: g.register(), rm: g.source() }));
  }
  if (g.random.chance(0.7)) {
    const rm = g.byteRegister(true);
    return item('setcc', new Code().op([0x0f, 0x90 | test], { size: 1, digit: 0, rm }));
  }
  const { setup, operand } = g.memory(1);
  return item('setcc', setup.op([0x0f, 0x90 | test], { size: 1, digit: 0, rm: operand }));
};

const flags: ItemMaker = (g) => {
  const code = new Code();
  switch (g.random.below(8)) {
    case 0:
      return g.isFree(RAX) ? item('lahf', code.raw(0x9f)) : undefined;
    case 1:
      return item('sahf', code.raw(0x9e));
    case 2:
      return item('stc/clc/cmc', code.raw(g.random.pick([0xf8, 0xf9, 0xf5])));
    case 3:
      return item('pushfq pop', code.raw(0x9c).pop(g.register()));
    case 4: {
      // Status flags alone change; the others stay as they are.
      const value = g.register();
      code.raw(0x9c).op([0x81], { size: 8, digit: 4, rm: { base: RSP }, immediate: [0x2a, 0xf7, 0xff, 0xff] });
      code.op([0x81], { digit: 4, rm: value, immediate: [0xd5, 8, 0, 0] });
      return item('popfq', code.op([0x09], { size: 8, reg: value, rm: { base: RSP } }).raw(0x9d));
    }
    case 5:
      return item(
        'rcl/rcr',
        code.op([0xd1], { size: g.random.pick([4, 8]), digit: g.random.pick([2, 3]), rm: g.register() }),
      );
    default: {
      const size = g.size();
      const operation = g.random.pick([2, 3]);
      return item(
        ALU[operation]!,
        code.op([byte(size, operation << 3)], { size, reg: g.register(), rm: g.register() }),
      );
    }
  }
};

const bits: ItemMaker = (g) => {
  const size = g.random.pick([2, 4, 8] as const);
  const operation = g.random.below(4);
  const code = new Code();
  switch (g.random.below(6)) {
    case 0:
      return item('bt reg', code.op([0x0f, 0xa3 | (operation << 3)], { size, reg: g.source(), rm: g.register() }));
    case 1:
      code.op([0x0f, 0xba], { size, digit: 4 | operation, rm: g.register(), immediate: [g.random.below(64)] });
      return item('bt imm', varied(g, code));
    case 2: {
      const { setup, operand } = g.memory(size);
      const lock = operation !== 0 && g.random.chance(0.4);
      setup.op([0x0f, 0xba], { size, digit: 4 | operation, rm: operand, immediate: [g.random.below(64)], lock });
      return item('bt mem, imm', setup);
    }
    case 3: {
      // The bit's number reaches beyond the operand.
      const number = g.register();
      code.op([0x0f, 0xbe], { size: 8, reg: number, rm: number, byteRm: true });
      const { setup, operand } = g.memory(64);
      if (operand.index === number || operand.base === number) return undefined;
      return item(
        'bt mem, reg',
        setup.append(code).op([0x0f, 0xa3 | (operation << 3)], { size, reg: number, rm: operand }),
      );
    }
    case 4: {
      const prefix = g.random.pick([undefined, 0xf3]);
      const opcode = g.random.pick([0xbc, 0xbd]);
      return item('bsf/bsr/tzcnt/lzcnt', code.op([0x0f, opcode], { size, reg: g.register(), rm: g.source(), prefix }));
    }
    default:
      if (g.random.chance(0.5))
        return item('popcnt', code.op([0x0f, 0xb8], { size, reg: g.register(), rm: g.source(), prefix: 0xf3 }));
      {
        const register = g.register();
        const wide = g.random.chance(0.5) ? 8 : 0;
        return item('bswap', code.raw(0x40 | wide | (register >> 3), 0x0f, 0xc8 | (register & 7)));
      }
  }
};

const multiply: ItemMaker = (g) => {
  const size = g.size();
  const code = new Code();
  if (g.random.chance(0.5)) {
    const wide = size === 1 ? 4 : size;
    if (g.random.chance(0.5))
      return item('imul', code.op([0x0f, 0xaf], { size: wide, reg: g.register(), rm: g.source() }));
    code.op([0x69], { size: wide, reg: g.register(), rm: g.source(), immediate: immediate(g, wide) });
    return item('imul imm', varied(g, code));
  }
  if (!g.isFree(RAX, RDX)) return undefined;
  return item('mul', code.op([byte(size, 0xf6)], { size, digit: g.random.pick([4, 5]), rm: g.source() }));
};

const divide: ItemMaker = (g) => {
  if (!g.isFree(RAX, RDX)) return undefined;
  const size = g.size();
  const digit = g.random.pick([6, 7]);
  const divisor = g.register(RAX, RDX);
  const code = new Code();
  // Mostly the quotient fits: the upper half is 0, or the sign; a few bits of the divisor are set.
  code.op([0x83], { size: 8, digit: 1, rm: divisor, immediate: [g.random.between(1, 127)] });
  if (size === 1) code.op([0x0f, 0xb6], { reg: RAX, rm: RAX, byteRm: true });
  else if (g.random.chance(0.3)) {
    // A dividend above 64 bits, its upper half well below the divisor.
    code
      .mov(RDX, divisor)
      .op([0xc1], { size: 8, digit: digit === 6 ? 5 : 7, rm: RDX, immediate: [g.random.between(1, 3)] });
  } else if (digit === 6) code.op([0x33], { reg: RDX, rm: RDX });
  else code.raw(...(size === 2 ? [0x66, 0x99] : size === 4 ? [0x99] : [0x48, 0x99]));
  return item('div/idiv', code.op([byte(size, 0xf6)], { size, digit, rm: divisor }));
};

const signs: ItemMaker = (g) => {
  if (!g.isFree(RAX, RDX)) return undefined;
  return item(
    'cbw/cwd family',
    new Code().raw(...g.random.pick([[0x66, 0x98], [0x98], [0x48, 0x98], [0x66, 0x99], [0x99], [0x48, 0x99]])),
  );
};

const exchangeAdd: ItemMaker = (g) => {
  const size = g.size();
  const { setup, operand } = g.memory(size);
  const lock = g.random.chance(0.6);
  if (g.random.chance(0.5))
    return item('xadd', setup.op([0x0f, byte(size, 0xc0)], { size, reg: g.register(), rm: operand, lock }));
  if (g.random.chance(0.5)) {
    if (!g.isFree(RAX)) return undefined;
    // Every second time RAX has what is in memory.
    if (g.random.chance(0.5)) setup.op([byte(size, 0x8a)], { size, reg: RAX, rm: operand });
    if (operand.index === RAX || operand.base === RAX) return undefined;
    return item('cmpxchg', setup.op([0x0f, byte(size, 0xb0)], { size, reg: g.source(), rm: operand, lock }));
  }
  return item('xchg mem', setup.op([byte(size, 0x86)], { size, reg: g.register(), rm: operand }));
};

const exchangePair: ItemMaker = (g) => {
  if (!g.isFree(RAX, RDX)) return undefined;
  const wide = g.random.chance(0.5);
  const offset = wide ? g.dataOffset(16) & ~15 : g.dataOffset(8);
  const operand = { base: 14, displacement: Math.max(-0x4000, Math.min(offset, 0x3ff0)) };
  const code = new Code();
  const size = wide ? 8 : 4;
  if (g.random.chance(0.6)) {
    code.op([0x8b], { size, reg: RAX, rm: operand });
    code.op([0x8b], { size, reg: RDX, rm: { ...operand, displacement: operand.displacement + size } });
  }
  return item('cmpxchg8b/16b', code.op([0x0f, 0xc7], { size, digit: 1, rm: operand, lock: g.random.chance(0.5) }));
};

const stack: ItemMaker = (g) => {
  const code = new Code();
  switch (g.random.below(6)) {
    case 0:
      return item('push pop', code.push(g.source()).pop(g.register()));
    case 1: {
      const first = g.register();
      const second = g.register();
      code
        .push(g.source())
        .push(g.source())
        .raw(0x68, ...immediate(g, 4))
        .pop(first);
      return item('push push push pop pop pop', code.pop(second).pop(g.register()));
    }
    case 2: {
      const { setup, operand } = g.memory(8);
      setup.op([0xff], { digit: 6, rm: operand });
      return item('push mem, pop', setup.pop(g.register()));
    }
    case 3: {
      const { setup, operand } = g.memory(8);
      return item('push, pop mem', setup.push(g.source()).op([0x8f], { digit: 0, rm: operand }));
    }
    case 4: {
      const to = g.random.below(4);
      if (!g.isFree(to)) return undefined;
      code
        .raw(0x66, 0x6a, g.random.below(256))
        .raw(0x66, 0x50 | RCX)
        .raw(0x66, 0x58 | to);
      return item('push16 push16 pop16 lea', code.lea(RSP, { base: RSP, displacement: 2 }));
    }
    default: {
      const level = g.random.pick([0, 0, 0, 1, 2, 5]);
      return item('enter leave', code.raw(0xc8, ...littleEndian(g.random.below(64), 2), level).raw(0xc9));
    }
  }
};

export const INTEGER_ITEMS: readonly (readonly [number, ItemMaker])[] = [
  [14, alu],
  [4, smallImmediate],
  [2, test],
  [4, unary],
  [6, shift],
  [1, doubleShift],
  [12, move],
  [4, extend],
  [4, lea],
  [6, condition],
  [7, flags],
  [4, bits],
  [3, multiply],
  [2, divide],
  [1, signs],
  [3, exchangeAdd],
  [1, exchangePair],
  [4, stack],
];
