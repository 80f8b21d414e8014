// Pieces that call and return more often than an engine may nest: recursion, calls that never return, returns that
// were never called, coroutines.

import { Code, RAX, RBX, RCX, RSP } from './code.ts';
import { item } from './draft.ts';
import type { ItemMaker, WeightedMakers } from './item-maker.ts';

const deep: ItemMaker = (g) => {
  if (g.depth > 0 || !g.isFree(RAX, RBX, RCX)) return undefined;
  const { random } = g;
  const turns = random.pick([3, 20, 20, 300, 300, 300, 3000, g.random.chance(0.2) ? 12_000 : 100]);
  const [one, two, over] = [g.newLabel('one'), g.newLabel('two'), g.newLabel('over')];
  const code = new Code();
  const depth = Math.min(turns, 6000);
  switch (random.below(9)) {
    case 0:
      // Flags of the deepest turn come back through all returns.
      code.movImmediate(RCX, BigInt(depth)).jmp(over).label(one);
      code.raw(0xff, 0xc9).raw(0x74, 8).call(one).op([0x11], { size: 8, reg: RCX, rm: RAX }).raw(0xc3);
      return item('recursion', code.label(over).call(one));
    case 1:
      // Two functions that call each other through a register.
      code.movImmediate(RCX, BigInt(depth)).leaLabel(RBX, two).jmp(over).label(one);
      code
        .raw(0xff, 0xc9)
        .raw(0x78, 5)
        .op([0xff], { digit: 2, rm: RBX })
        .op([0xff], { size: 8, digit: 0, rm: RAX })
        .raw(0xc3);
      code.label(two).raw(0xff, 0xc9).raw(0x78, 5).call(one).raw(0xf5, 0xc3);
      return item('mutual recursion', code.label(over).call(one));
    case 2:
      code.movImmediate(RCX, BigInt(turns)).label(one).call(two).label(two);
      if (random.chance(0.5)) code.pop(RAX);
      else code.lea(RSP, { base: RSP, displacement: 8 });
      return item('calls without returns', code.raw(0xff, 0xc9).jcc(5, one));
    case 3:
      code.movImmediate(RCX, BigInt(turns)).label(one).leaLabel(RAX, two).push(RAX).raw(0xc3);
      return item('returns without calls', code.label(two).raw(0xff, 0xc9).jcc(5, one));
    case 4: {
      // Until the stack ends.
      const keep = g.register(RAX, RCX);
      code.mov(keep, RSP).jmp(over).label(one).raw(0xff, 0xc0).call(one).raw(0xc3).label(over).call(one);
      return item('endless recursion', recover(g, code, keep));
    }
    case 5: {
      // Two stacks; each switch returns into the other.
      const other = 13;
      if (!g.isFree(other)) return undefined;
      const [body, change] = [g.newLabel('body'), g.newLabel('change')];
      code.leaLabel(other, 'second-stack-top', -8).leaLabel(RAX, body).store({ base: other }, RAX);
      code.movImmediate(RCX, BigInt(turns)).jmp(one).label(change);
      code.op([0x87], { size: 8, reg: other, rm: RSP }).raw(0xc3);
      code.label(body).lea(RBX, { base: RBX, displacement: 3 }).call(change).jmp(body);
      return item('coroutines', code.label(one).call(change).raw(0xff, 0xc9).jcc(5, one));
    }
    case 6: {
      // Past the caller, to the caller's caller.
      const inner = g.newLabel('inner');
      code.movImmediate(RCX, BigInt(turns)).jmp(one).label(inner).lea(RSP, { base: RSP, displacement: 8 }).raw(0xc3);
      code.label(two).call(inner).raw(0x0f, 0x0b);
      return item('return past the caller', code.label(one).call(two).raw(0xff, 0xc9).jcc(5, one));
    }
    case 7: {
      // A leaf that is called from two places in turn: a prediction that is right and wrong.
      code.movImmediate(RCX, BigInt(turns)).jmp(one).label(two).op([0x13], { size: 8, reg: RAX, rm: RCX }).raw(0xc3);
      code.label(one).call(two).raw(0xf6, 0xc1, 1).raw(0x74, 5).call(two).raw(0xff, 0xc9);
      return item('a leaf in a loop', code.jcc(5, one));
    }
    default: {
      // The return address goes to the instruction behind by one byte: a NOP or a CLC.
      code.movImmediate(RCX, BigInt(turns)).jmp(one).label(two);
      code.op([0xf6], { size: 1, digit: 0, rm: RCX, immediate: [3] }).raw(0x75, 5);
      code.op([0x83], { size: 8, digit: 0, rm: { base: RSP }, immediate: [1] }).raw(0xc3);
      return item(
        'return one byte on',
        code.label(one).call(two).raw(0xf9).op([0x13], { reg: RAX, rm: RBX }).raw(0xff, 0xc9).jcc(5, one),
      );
    }
  }
};

/** R12 leads behind the piece for its time, and the stack comes back. */
function recover(g: Parameters<ItemMaker>[0], body: Code, keep: number): Code {
  const after = g.newLabel('after');
  const code = new Code().leaLabel(12, after).append(body).label(after).mov(RSP, keep);
  return g.framed ? code.leaLabel(12, `${g.functions[g.functionIndex]}.resume`) : code.leaLabel(12, 'spent');
}

export const DEEP_ITEMS: WeightedMakers = [[1, deep]];
