// Pieces of system code: page tables, privileges, single steps, control registers, devices. Which of them are allowed
// depends on the mode; where they are not, the exception is as good.

import { Code, littleEndian, RAX, RBX, RCX, RDI, RDX, RSI, RSP } from './code.ts';
import { type Draft, group, item } from './draft.ts';
import { guarded } from './flow-items.ts';
import { ALIAS, DATA_PAGES, PAGE, VARIANT } from './guest-places.ts';
import { SERVICE } from './handlers.ts';
import { chooseNode, type ItemMaker, type WeightedMakers } from './item-maker.ts';
import type { Node } from './program.ts';

function someNodes(g: Draft, most: number, makers: WeightedMakers): Node[] {
  const nodes: Node[] = [];
  g.depth++;
  for (let k = 1 + g.random.below(most); k > 0; k--) nodes.push(chooseNode(g, makers));
  g.depth--;
  return nodes;
}

/** Changes bits of the entry that maps a place; both registers are lost. */
function changeEntry(label: string, addend: number, mask: bigint): Code {
  const code = new Code().leaLabel(RAX, label, addend).raw(0x49, 0xb8, ...littleEndian(mask, 8));
  return code.int(SERVICE.entry);
}

const WRITABLE = 2n;
const PRESENT = 1n;
const USER = 4n;
const NO_EXECUTE = 1n << 63n;

export function makePagingItems(all: () => WeightedMakers): WeightedMakers {
  const remap: ItemMaker = (g) => {
    if (!g.isFree(RAX, 8)) return undefined;
    const { random } = g;
    const isCode = random.chance(0.6);
    const label = isCode ? random.pick(g.functions) : 'data';
    const addend = isCode ? random.pick([0, 0, 300, PAGE]) : random.below(DATA_PAGES) * PAGE;
    return item(`remap ${label}`, changeEntry(label, addend, BigInt(VARIANT)));
  };
  const forbid: ItemMaker = (g) => {
    if (!g.isFree(RAX, 8) || g.depth > 1) return undefined;
    const { random } = g;
    const isCode = random.chance(0.3);
    const label = isCode ? random.pick(g.functions) : 'data';
    const addend = isCode ? 0 : random.below(DATA_PAGES) * PAGE;
    const mask = random.pick([
      WRITABLE,
      WRITABLE,
      WRITABLE | BigInt(VARIANT),
      PRESENT,
      USER,
      isCode ? NO_EXECUTE : WRITABLE,
    ]);
    const body = someNodes(g, 4, all());
    const undo = changeEntry(label, addend, mask);
    return group(`entry of ${label} ^ 0x${mask.toString(16)}`, changeEntry(label, addend, mask), body, undo);
  };
  const exchange: ItemMaker = (g) => {
    // Own code under another page while it runs: the next instruction comes from there.
    if (!g.isFree(RAX, 8)) return undefined;
    const label = g.newLabel('here');
    return item('remap own page', new Code().label(label).append(changeEntry(label, 0, BigInt(VARIANT))));
  };
  const switchSpace: ItemMaker = (g) =>
    g.isFree(RAX) ? item('switch CR3', new Code().int(g.spaceService)) : undefined;
  const insideSpace: ItemMaker = (g) => {
    if (g.depth > 1) return undefined;
    return group(
      'in the other space',
      new Code().int(g.spaceService),
      someNodes(g, 4, all()),
      new Code().int(g.spaceService),
    );
  };
  /** A later function, and around its calls what changes where its code lies. */
  const callAround: ItemMaker = (g) => {
    if (!g.framed || g.locked.size > 0) return undefined;
    const label = g.random.pick(g.functions.slice(Math.min(g.functionIndex + 1, g.functions.length - 1)));
    const code = new Code().raw(0x6a, 4);
    const again = g.newLabel('again');
    code
      .label(again)
      .call(label)
      .int(g.spaceService)
      .op([0xfe], { size: 1, digit: 1, rm: { base: RSP } });
    return item(`call ${label} in both spaces`, code.jcc(5, again).pop(RAX));
  };
  const callAlias: ItemMaker = (g) => {
    const { random } = g;
    if (!g.framed || g.locked.size > 0) return undefined;
    const label = random.pick(g.functions.slice(Math.min(g.functionIndex + 1, g.functions.length - 1)));
    if (random.chance(0.5)) return item(`call alias of ${label}`, new Code().call(label, ALIAS));
    const pointer = g.register();
    const code = new Code().movAbsolute(pointer, label, g.farDistance);
    return item(`call far alias of ${label}`, code.op([0xff], { digit: 2, rm: pointer }));
  };
  const jumpAlias: ItemMaker = (g) => {
    // The function goes on at its other address.
    const here = g.newLabel('here');
    const distance = g.random.pick([ALIAS, -ALIAS]);
    return item('go on in the alias', new Code().jmp(here, distance).label(here));
  };
  const loadAlias: ItemMaker = (g) => {
    // A store by one address, a load by the other.
    const pointer = g.register();
    const displacement = g.random.below(DATA_PAGES * PAGE - 8);
    const code = new Code().movAbsolute(pointer, 'data', g.farDistance);
    code.op([0x89], { size: 8, reg: g.source(), rm: { base: pointer, displacement } });
    return item('store by the far alias', code.load(g.register(), { label: 'data', displacement: displacement }));
  };
  return [
    [4, remap],
    [3, forbid],
    [2, exchange],
    [2, switchSpace],
    [3, insideSpace],
    [3, callAround],
    [4, callAlias],
    [1, jumpAlias],
    [1, loadAlias],
  ];
}

export function makePrivilegeItems(all: () => WeightedMakers): WeightedMakers {
  const service: ItemMaker = (g) => (g.isFree(RAX) ? item('int 0x80', new Code().int(SERVICE.plain)) : undefined);
  const systemCall: ItemMaker = (g) => {
    if (!g.isFree(RAX, RCX, 11) || (!g.user && g.random.chance(0.9))) return undefined;
    return item('syscall', new Code().raw(0x0f, 0x05));
  };
  const toggle: ItemMaker = (g) => {
    if (g.depth > 1) return undefined;
    return group(
      'other privilege',
      new Code().int(SERVICE.toggle),
      someNodes(g, 5, all()),
      new Code().int(SERVICE.toggle),
    );
  };
  const callAsBoth: ItemMaker = (g) => {
    if (!g.framed || g.locked.size > 0) return undefined;
    const label = g.random.pick(g.functions.slice(Math.min(g.functionIndex + 1, g.functions.length - 1)));
    const again = g.newLabel('again');
    const code = new Code().raw(0x6a, 4).label(again).call(label).int(SERVICE.toggle);
    code.op([0xfe], { size: 1, digit: 1, rm: { base: RSP } });
    return item(`call ${label} with both privileges`, code.jcc(5, again).pop(RAX));
  };
  const interruptReturn: ItemMaker = (g) => {
    const old = g.register();
    const other = g.register(old);
    const after = g.newLabel('after');
    const code = new Code().mov(old, RSP).op([0x8c], { reg: 2, rm: other }).push(other).push(old).raw(0x9c);
    code.op([0x8c], { reg: 1, rm: other }).push(other).leaLabel(other, after).push(other).raw(0x48, 0xcf);
    return item('iretq', code.label(after));
  };
  const farReturn: ItemMaker = (g) => {
    // Far transfers within the segment: by RETFQ, or by JMP and CALL through memory.
    const other = g.register();
    const after = g.newLabel('after');
    const code = new Code();
    if (g.random.chance(0.5)) {
      code.op([0x8c], { reg: 1, rm: other }).push(other).leaLabel(other, after).push(other).raw(0x48, 0xcb);
      return item('retfq', code.label(after));
    }
    const pointer = { label: 'data', displacement: 0x7f0 };
    code.leaLabel(other, after).store(pointer, other).op([0x8c], { reg: 1, rm: other });
    code.op([0x89], { size: 4, reg: other, rm: { label: 'data', displacement: 0x7f8 } });
    return item('far jmp/call', code.op([0xff], { size: 8, digit: g.random.pick([5, 3]), rm: pointer }).label(after));
  };
  const privileged: ItemMaker = (g) =>
    guarded(
      g,
      'privileged',
      new Code().raw(
        ...g.random.pick([
          [0x0f, 0x06],
          [0x0f, 0x01, 0x38],
          [0x0f, 0x20, 0xc0],
          [0x0f, 0x09],
        ]),
      ),
    );
  return [
    [3, service],
    [3, systemCall],
    [2, toggle],
    [2, callAsBoth],
    [2, interruptReturn],
    [2, farReturn],
    [1, privileged],
  ];
}

export function makeStepItems(all: () => WeightedMakers): WeightedMakers {
  const steps: ItemMaker = (g) => {
    if (g.depth > 0) return undefined;
    const set = new Code()
      .raw(0x9c)
      .op([0x81], { digit: 1, rm: { base: RSP }, immediate: [0, 1, 0, 0] })
      .raw(0x9d);
    const clear = new Code()
      .raw(0x9c)
      .op([0x81], { digit: 4, rm: { base: RSP }, immediate: [0xff, 0xfe, 0xff, 0xff] })
      .raw(0x9d);
    return group('steps', set, someNodes(g, 4, all()), clear);
  };
  return [[1, steps]];
}

export function makeControlItems(all: () => WeightedMakers): WeightedMakers {
  const base: ItemMaker = (g) => {
    const register = g.register();
    const code = new Code();
    if (g.random.chance(0.05)) code.movImmediate(register, 0x8000_0000_0000_0000n);
    else code.leaLabel(register, 'data', g.random.below(0x3000));
    const digit = g.random.pick([2, 3]);
    return guarded(g, 'wrfsbase/wrgsbase', code.op([0x0f, 0xae], { size: 8, digit, rm: register, prefix: 0xf3 }));
  };
  const readBase: ItemMaker = (g) =>
    item(
      'rdfsbase',
      new Code().op([0x0f, 0xae], { size: 8, digit: g.random.below(2), rm: g.register(), prefix: 0xf3 }),
    );
  const swap: ItemMaker = (g) => guarded(g, 'swapgs', new Code().raw(0x0f, 0x01, 0xf8));
  const baseMsr: ItemMaker = (g) => {
    if (!g.isFree(RAX, RCX, RDX)) return undefined;
    const code = new Code().leaLabel(RAX, 'data', g.random.below(0x2000)).mov(RDX, RAX);
    code.op([0xc1], { size: 8, digit: 5, rm: RDX, immediate: [32] });
    return guarded(
      g,
      'wrmsr base',
      code.movImmediate(RCX, g.random.pick([0xc000_0100n, 0xc000_0101n, 0xc000_0102n])).raw(0x0f, 0x30),
    );
  };
  const taskSwitched: ItemMaker = (g) => {
    if (g.depth > 1 || !g.isFree(RAX)) return undefined;
    const set = new Code()
      .raw(0x0f, 0x20, 0xc0)
      .op([0x83], { digit: 1, rm: RAX, immediate: [8] })
      .raw(0x0f, 0x22, 0xc0);
    return group('with CR0.TS', set, someNodes(g, 3, all()), new Code().raw(0x0f, 0x06));
  };
  const alignment: ItemMaker = (g) => {
    if (g.depth > 1) return undefined;
    const set = new Code()
      .raw(0x9c)
      .op([0x81], { digit: 1, rm: { base: RSP }, immediate: [0, 0, 4, 0] })
      .raw(0x9d);
    const clear = new Code()
      .raw(0x9c)
      .op([0x81], { digit: 4, rm: { base: RSP }, immediate: [0xff, 0xff, 0xfb, 0xff] })
      .raw(0x9d);
    return group('with AC', set, someNodes(g, 4, all()), clear);
  };
  const reload: ItemMaker = (g) =>
    g.isFree(RAX)
      ? item(
          'reload CR3 or CR0',
          new Code().raw(
            ...g.random.pick([
              [0x0f, 0x20, 0xd8, 0x0f, 0x22, 0xd8],
              [0x0f, 0x20, 0xc0, 0x0f, 0x22, 0xc0],
            ]),
          ),
        )
      : undefined;
  const interruptFlag: ItemMaker = (g) =>
    item('cli nop sti nop', new Code().raw(...g.random.pick([[0xfa, 0x90, 0xfb, 0x90], [0xfb], [0xfb, 0xfa], [0xfa]])));
  const identify: ItemMaker = (g) => {
    if (!g.isFree(RAX, RBX, RCX, RDX)) return undefined;
    return item(
      'cpuid/rdtsc',
      new Code().movImmediate(RAX, BigInt(g.random.below(8))).raw(0x0f, g.random.pick([0xa2, 0x31])),
    );
  };
  const breakpoint: ItemMaker = (g) => {
    if (g.depth > 0 || !g.isFree(RAX, RBX)) return undefined;
    const { random } = g;
    // DR0: a place in the data that is stored to next, or an instruction; DR7 turns it on.
    const isCode = random.chance(0.5);
    const here = g.newLabel('watched');
    const at = random.below(0x1000) * 8;
    const set = new Code().leaLabel(RAX, isCode ? here : 'data', isCode ? 0 : at);
    set.raw(0x0f, 0x23, 0xc0).movImmediate(RAX, isCode ? 0x401n : random.pick([0xd_0401n, 0xf_0401n]));
    set.raw(0x0f, 0x23, 0xf8).label(here);
    set.op([0x01], { size: 8, reg: g.source(), rm: { label: 'data', displacement: at + random.below(8) } });
    const clear = new Code().movImmediate(RAX, 0x400n).raw(0x0f, 0x23, 0xf8);
    return group('with DR0', set, someNodes(g, 3, all()), clear);
  };
  const segments: ItemMaker = (g) => {
    const register = g.register();
    const code = new Code().op([0x8c], { reg: 3, rm: register });
    return item('mov ds', code.op([0x8e], { reg: g.random.pick([0, 3]), rm: register }));
  };
  const stackShadow: ItemMaker = (g) => {
    const register = g.register();
    return item('mov ss', new Code().op([0x8c], { reg: 2, rm: register }).op([0x8e], { reg: 2, rm: register }));
  };
  const image: ItemMaker = (g) => {
    // The whole XMM and x87 state, from and to memory: it must be there and not in an engine's own registers.
    const { random } = g;
    const place = random.between(0, 0x60) * 64;
    const rm = { label: 'data', displacement: place };
    const size = random.pick([4, 8] as const);
    const code = new Code();
    const changes = () => {
      for (let k = random.below(3); k > 0; k--) {
        code.op([0x0f, 0xef], { prefix: 0x66, reg: random.below(16), rm: random.below(16) });
      }
    };
    changes();
    if (random.chance(0.5)) {
      code.op([0x0f, 0xae], { size, digit: 0, rm });
      changes();
      if (random.chance(0.5)) code.op([0x0f, 0xae], { size, digit: 1, rm });
      return item('fxsave/fxrstor', code);
    }
    if (!g.isFree(RAX, RDX)) return undefined;
    const components = BigInt(random.pick([1, 2, 3, 3]));
    // A header of zeros: nothing is in it yet.
    code.op([0x33], { reg: RAX, rm: RAX });
    for (let word = 0; word < 64; word += 8) code.store({ label: 'data', displacement: place + 512 + word }, RAX);
    code.op([0x33], { reg: RDX, rm: RDX }).movImmediate(RAX, components);
    code.op([0x0f, 0xae], { size, digit: random.pick([4, 6]), rm });
    changes();
    return item('xsave/xrstor', code.op([0x0f, 0xae], { size, digit: 5, rm }));
  };
  const inspect: ItemMaker = (g) => {
    const register = g.register();
    const code = new Code();
    switch (g.random.below(6)) {
      case 0: {
        // LAR, LSL: ZF.
        const selector = g.random.pick([0x08n, 0x10n, 0x2bn, 0x23n, 0x40n, 0x77n, 0n]);
        code.movImmediate(register, selector);
        return item('lar/lsl', code.op([0x0f, g.random.pick([2, 3])], { reg: g.register(), rm: register }));
      }
      case 1:
        return item(
          'sgdt/sidt',
          code.op([0x0f, 0x01], { digit: g.random.below(2), rm: { label: 'data', displacement: 0x900 } }),
        );
      case 2:
        return item('str/sldt', code.op([0x0f, 0x00], { digit: g.random.below(2), rm: register }));
      case 3:
        return item('smsw', code.op([0x0f, 0x01], { digit: 4, rm: register }));
      case 4:
        if (!g.isFree(RAX, RCX, RDX)) return undefined;
        return item(
          'xgetbv/rdtscp',
          code.op([0x33], { reg: RCX, rm: RCX }).raw(0x0f, 0x01, g.random.pick([0xd0, 0xf9])),
        );
      default:
        return guarded(g, 'mov dr', code.raw(0x0f, 0x21, 0xf0 | (register & 3)));
    }
  };
  return [
    [3, base],
    [3, image],
    [2, inspect],
    [2, readBase],
    [1, swap],
    [1, baseMsr],
    [1, taskSwitched],
    [2, alignment],
    [1, reload],
    [1, interruptFlag],
    [1, identify],
    [1, breakpoint],
    [1, segments],
    [1, stackShadow],
  ];
}

const device: ItemMaker = (g) => {
  const { random } = g;
  const size = g.size();
  const code = new Code();
  const rm = { label: 'device', displacement: random.below(0x200) };
  const even = size === 1 ? 0 : 1;
  switch (random.below(7)) {
    case 6: {
      if (!g.isFree(RCX, RDX, RSI, RDI)) return undefined;
      code
        .movImmediate(RDX, 0x60n)
        .movImmediate(RCX, BigInt(random.below(9)))
        .leaLabel(RSI, 'data', 0x100)
        .mov(RDI, RSI);
      return guarded(g, 'rep outs/ins', code.raw(0xf3, random.pick([0x6c, 0x6d, 0x6e, 0x6f])));
    }
    case 0:
      return item('device load', code.op([0x8a | even], { size, reg: g.register(), rm }));
    case 1:
      return item('device store', code.op([0x88 | even], { size, reg: g.source(), rm }));
    case 2:
      return item('device add', code.op([0x00 | even], { size, reg: g.source(), rm, lock: random.chance(0.3) }));
    case 3:
      return item('device movups', code.op([0x0f, random.pick([0x10, 0x11])], { reg: random.below(16), rm }));
    case 4:
      if (!g.isFree(RAX, RDX)) return undefined;
      return guarded(g, 'out/in', code.movImmediate(RDX, 0x3f8n).raw(random.pick([0xec, 0xed, 0xee, 0xef])));
    default:
      return item('device push', code.op([0xff], { digit: 6, rm }).pop(g.register()));
  }
};

export const DEVICE_ITEMS: WeightedMakers = [[1, device]];
