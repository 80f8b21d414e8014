// Pieces that go elsewhere: loops, conditional parts, calls and what programs do to their return addresses, faults.

import { Code, RAX, RBP, RCX, RSP } from './code.ts';
import type { Draft } from './draft.ts';
import { DATA, FUEL, group, item, RESUME } from './draft.ts';
import { INTEGER_ITEMS } from './integer-items.ts';
import { chooseNode, type ItemMaker, type WeightedMakers } from './item-maker.ts';
import { type Node, SPENT } from './program.ts';

/** Ends main's present call when R15 is used up; some of the ways leave the flags alone. */
export function fuelCheck(g: Draft): Code {
  const code = new Code();
  switch (g.random.below(5)) {
    case 0:
      return code.op([0xff], { size: 8, digit: 1, rm: FUEL }).jcc(8, SPENT);
    case 1:
      return code.op([0x83], { size: 8, digit: 5, rm: FUEL, immediate: [1] }).jcc(2, SPENT);
    case 2:
      code.lea(FUEL, { base: FUEL, displacement: -1 }).op([0x85], { size: 8, reg: FUEL, rm: FUEL });
      return code.jcc(14, SPENT);
    default:
      code.op([0x87], { size: 8, reg: RCX, rm: FUEL }).lea(RCX, { base: RCX, displacement: -1 });
      return code.raw(0xe3, 2, 0xeb, 5).jmp(SPENT).op([0x87], { size: 8, reg: RCX, rm: FUEL });
  }
}

function someNodes(g: Draft, most: number, makers: WeightedMakers): Node[] {
  const nodes: Node[] = [];
  for (let k = 1 + g.random.below(most); k > 0; k--) nodes.push(chooseNode(g, makers));
  return nodes;
}

/** Nodes inside of something: `makers` is what the function is made of. */
function nested<T>(g: Draft, work: () => T, ...locks: number[]): T {
  const taken = locks.filter((register) => !g.locked.has(register));
  for (const register of taken) g.locked.add(register);
  g.depth++;
  const result = work();
  g.depth--;
  for (const register of taken) g.locked.delete(register);
  return result;
}

export function makeFlowItems(all: () => WeightedMakers): WeightedMakers {
  const conditional: ItemMaker = (g) => {
    if (g.depth > 3) return undefined;
    const over = g.newLabel('over');
    const body = nested(g, () => someNodes(g, 4, all()));
    const test = g.random.below(16);
    if (g.random.chance(0.3)) {
      const other = g.newLabel('else');
      const tail = new Code().jmp(over).label(other);
      for (const node of nested(g, () => someNodes(g, 2, INTEGER_ITEMS)))
        if (node.kind === 'item') tail.append(node.code);
      return group('if else', new Code().jcc(test, other), body, tail.label(over));
    }
    return group('if', new Code().jcc(test, over), body, new Code().label(over));
  };
  const loop: ItemMaker = (g) => {
    if (g.depth > 2) return undefined;
    const head = g.newLabel('loop');
    const turns = g.random.between(2, g.depth === 0 ? 40 : 6);
    const start = new Code();
    const fuel = g.random.chance(0.5) ? fuelCheck(g) : new Code();
    switch (g.random.below(5)) {
      case 0: {
        // The counter on the stack.
        start.raw(0x6a, turns).label(head).append(fuel);
        const body = nested(g, () => someNodes(g, 6, all()));
        const tail = new Code().op([0xfe], { size: 1, digit: 1, rm: { base: RSP } }).jcc(5, head);
        return group('loop on the stack', start, body, tail.pop(g.register()));
      }
      case 1: {
        const counter = g.register();
        start.movImmediate(counter, BigInt(turns)).label(head).append(fuel);
        const body = nested(g, () => someNodes(g, 6, all()), counter);
        const tail = new Code().op([0xfe], { size: 1, digit: 1, rm: counter }).jcc(g.random.pick([5, 5, 15]), head);
        return group('loop down', start, body, tail);
      }
      case 2: {
        const counter = g.register();
        start.op([0x33], { reg: counter, rm: counter }).label(head).append(fuel);
        const body = nested(g, () => someNodes(g, 6, all()), counter);
        const tail = new Code().op([0xfe], { size: 1, digit: 0, rm: counter });
        tail.op([0x80], { size: 1, digit: 7, rm: counter, immediate: [turns] }).jcc(5, head);
        return group('loop up', start, body, tail);
      }
      case 3: {
        // Flags go around the loop.
        if (!g.isFree(RCX)) return undefined;
        start
          .movImmediate(RCX, BigInt(turns))
          .label(head)
          .append(fuel)
          .op([0x0f, 0xb6], { reg: RCX, rm: RCX, byteRm: true });
        const body = nested(g, () => someNodes(g, 6, all()), RCX);
        const tail = new Code().lea(RCX, { base: RCX, displacement: -1 }).raw(0xe3, 5).jmp(head);
        return group('loop without flags', start, body, tail);
      }
      default: {
        if (!g.isFree(RCX)) return undefined;
        start
          .movImmediate(RCX, BigInt(turns))
          .label(head)
          .append(fuel)
          .op([0x0f, 0xb6], { reg: RCX, rm: RCX, byteRm: true });
        const body = nested(g, () => someNodes(g, 6, all()), RCX);
        const tail = new Code().raw(g.random.pick([0xe0, 0xe1, 0xe2, 0xe2]), 2, 0xeb, 5).jmp(head);
        return group('loop by LOOP', start, body, tail);
      }
    }
  };

  return [
    [4, conditional],
    [4, loop],
  ];
}

function callee(g: Draft): string {
  const { functions, functionIndex, random } = g;
  if (random.chance(0.8) && functionIndex + 1 < functions.length) {
    return functions[random.between(functionIndex + 1, functions.length - 1)]!;
  }
  return random.pick(functions);
}

const tableSlot = (g: Draft, label: string): number => {
  g.table.push(label);
  return (g.table.length - 1) * 8;
};

const call: ItemMaker = (g) => {
  // Everything may change in it: not where a loop's counter is in a register, mostly.
  if (!g.framed || (g.locked.size > 0 && g.random.chance(0.8))) return undefined;
  const label = callee(g);
  const code = new Code();
  switch (g.random.below(6)) {
    case 0: {
      const pointer = g.register();
      code.leaLabel(pointer, label);
      return item(`call register ${label}`, code.op([0xff], { digit: 2, rm: pointer }));
    }
    case 1:
      return item(
        `call [rip] ${label}`,
        code.op([0xff], { digit: 2, rm: { label: 'table', displacement: tableSlot(g, label) } }),
      );
    case 2: {
      // One of several, as values go: an inline cache that misses.
      const slots = [label, ...Array.from({ length: 3 }, () => callee(g))].map((one) => tableSlot(g, one));
      const index = g.register();
      code.op([0x8b], { reg: index, rm: g.source() }).op([0x83], { digit: 4, rm: index, immediate: [3] });
      const pointer = g.register(index);
      code.leaLabel(pointer, 'table', slots[0]!);
      return item('call one of four', code.op([0xff], { digit: 2, rm: { base: pointer, index, scaleShift: 3 } }));
    }
    default:
      return item(`call ${label}`, code.call(label));
  }
};

/** Returns that are no returns, and calls that are no calls. */
const oddReturn: ItemMaker = (g) => {
  const code = new Code();
  const after = g.newLabel('after');
  const other = g.register();
  switch (g.random.below(6)) {
    case 0:
      return item('push ret', code.leaLabel(other, after).push(other).raw(0xc3).raw(0x0f, 0x0b).label(after));
    case 1:
      // The return address in hand, as position-independent code has it.
      return item('call pop', code.raw(0xe8, 0, 0, 0, 0).pop(other));
    case 2: {
      // A return address that moves on.
      const inner = g.newLabel('inner');
      code.call(inner).jmp(after).raw(0x0f, 0x0b).label(inner);
      return item(
        'return elsewhere',
        code
          .op([0x83], { size: 8, digit: 0, rm: { base: RSP }, immediate: [7] })
          .raw(0xc3)
          .label(after),
      );
    }
    case 3: {
      const inner = g.newLabel('inner');
      code.push(other).push(other).call(inner).jmp(after).label(inner);
      return item('ret imm16', code.raw(0xc2, 16, 0).label(after));
    }
    case 4: {
      // Two returns for one call: the second pops what was pushed before it.
      const inner = g.newLabel('inner');
      code.leaLabel(other, after).push(other).call(inner).raw(0xc3).label(inner);
      return item('two returns', code.raw(0xc3).label(after));
    }
    default: {
      const inner = g.newLabel('inner');
      code.call(inner).jmp(after).label(inner);
      return item('call without ret', code.lea(RSP, { base: RSP, displacement: 8 }).label(after));
    }
  }
};

/** Another stack for a while, with a return on it. */
const switchStack: ItemMaker = (g) => {
  if (g.depth > 0) return undefined;
  const keep = g.register();
  const other = g.register(keep);
  const after = g.newLabel('after');
  const code = new Code().mov(keep, RSP).leaLabel(RSP, 'second-stack-top');
  return item('switch stack', code.leaLabel(other, after).push(other).raw(0xc3).label(after).mov(RSP, keep));
};

/** R12 is where the exception handler goes on. */
export function guarded(g: Draft, name: string, body: Code): Node | undefined {
  if (!g.framed) return item(name, body);
  const after = g.newLabel('after');
  const resume = `${g.functions[g.functionIndex]}.resume`;
  const code = g.random.chance(0.75) ? new Code().leaLabel(RESUME, after).append(body) : new Code().append(body);
  return item(name, code.label(after).leaLabel(RESUME, resume));
}

const fault: ItemMaker = (g) => {
  const code = new Code();
  const register = g.register();
  const { random } = g;
  switch (random.below(15)) {
    case 13: {
      // Sometimes base and offset make a canonical address together: it is the offset that counts.
      code.movImmediate(
        register,
        random.pick([0x8000_0000_0000_0000n, 0xffff_0000_0000_0000n, 0x0000_8000_0000_0000n]),
      );
      const rm = { base: register, segment: random.pick([0x64, 0x65]) };
      return guarded(
        g,
        'non-canonical offset',
        code.op([random.pick([0x8b, 0x89])], { size: 8, reg: g.register(), rm }),
      );
    }
    case 0:
      return guarded(g, 'load nowhere', code.leaLabel(register, 'nowhere').load(g.register(), { base: register }));
    case 1: {
      // Over the last page's end: nothing may be stored.
      const displacement = 0x4000 - random.between(1, 7);
      return guarded(g, 'store over the end', code.store({ base: DATA, displacement }, g.source()));
    }
    case 2:
      return guarded(
        g,
        'store to constants',
        code.leaLabel(register, 'constants', random.below(4000)).store({ base: register }, g.source()),
      );
    case 3:
      if (!g.isFree(RAX)) return undefined;
      code.op([0x33], { reg: register, rm: register });
      return guarded(g, 'divide by 0', code.op([0xf7], { size: 8, digit: random.pick([6, 7]), rm: register }));
    case 4:
      return guarded(g, 'ud2', code.raw(0x0f, 0x0b));
    case 5:
      return item('int3', code.raw(0xcc));
    case 6:
      code.movImmediate(
        register,
        random.pick([0x8000_0000_0000_0000n, 0x0000_8000_0000_0000n, 0x7fff_ffff_ffff_fff8n]),
      );
      return guarded(
        g,
        'non-canonical',
        code.op([random.pick([0x8b, 0x89, 0x01])], { size: 8, reg: g.register(), rm: { base: register } }),
      );
    case 7:
      code.movImmediate(register, 0x8000_1234_5678_0000n);
      return guarded(g, 'jump to non-canonical', code.op([0xff], { digit: random.pick([4, 2]), rm: register }));
    case 8:
      return guarded(g, 'jump nowhere', random.chance(0.5) ? code.jmp('nowhere') : code.call('nowhere', 0x123));
    case 9: {
      const displacement = 0x4000 - random.pick([8, 4, 15]);
      return guarded(
        g,
        'movups over the end',
        code.op([0x0f, random.pick([0x10, 0x11])], { reg: random.below(16), rm: { base: DATA, displacement } }),
      );
    }
    case 10: {
      const displacement = 0x4000 - random.between(1, 7);
      const lock = random.chance(0.5);
      const opcode = random.pick([[0x01], [0x11], [0x0f, 0xc1], [0x29]]);
      return guarded(
        g,
        'read-modify-write over the end',
        code.op(opcode, { size: 8, reg: g.register(), rm: { base: DATA, displacement }, lock }),
      );
    }
    case 11: {
      // A push into what is not mapped.
      const keep = g.register(register);
      const after = g.newLabel('after');
      code
        .mov(keep, RSP)
        .leaLabel(RESUME, after)
        .leaLabel(RSP, 'data', random.pick([0, 4]));
      code.append(random.chance(0.5) ? new Code().push(g.source()) : new Code().call('stub'));
      code.label(after).mov(RSP, keep);
      return item('push nowhere', g.framed ? code.leaLabel(RESUME, `${g.functions[g.functionIndex]}.resume`) : code);
    }
    case 12:
      return guarded(
        g,
        'execute constants',
        code.leaLabel(register, 'constants').op([0xff], { digit: 4, rm: register }),
      );
    default:
      return guarded(
        g,
        'load below the data',
        code.op([0x8b], { size: 8, reg: g.register(), rm: { label: 'data', displacement: -random.between(1, 7) } }),
      );
  }
};

/** The stack taken back by a longjmp: to the function's own resume point. */
const unwind: ItemMaker = (g) => {
  if (!g.framed || g.random.chance(0.8)) return undefined;
  const code = new Code().op([0x85], { size: 8, reg: g.source(), rm: g.source() });
  const over = g.newLabel('over');
  return item('jump to resume', code.jcc(g.random.below(16), over).op([0xff], { digit: 4, rm: RESUME }).label(over));
};

export const CALL_ITEMS: WeightedMakers = [
  [8, call],
  [3, oddReturn],
  [1, switchStack],
  [1, unwind],
];

export const FAULT_ITEMS: WeightedMakers = [[1, fault]];

/** A function's own frame, and the point at which it goes on behind an exception. */
export function framedEntry(label: string, fuel: Code): Code {
  const code = new Code().push(RBP).mov(RBP, RSP).push(RESUME);
  code.lea(RSP, { base: RSP, displacement: -128 }).append(fuel);
  return code.leaLabel(RESUME, `${label}.resume`);
}

export function framedExit(g: Draft, label: string): Code {
  const code = new Code().label(`${label}.resume`).lea(RSP, { base: RBP, displacement: -8 }).pop(RESUME);
  if (g.random.chance(0.3)) code.raw(0xc9);
  else code.pop(RBP);
  return code.raw(0xc3);
}
