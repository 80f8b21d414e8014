// Makes a program that differs smaller as long as it still does: drops functions, blocks and pieces, takes loops and
// conditions away around what they hold, and makes the processor's start plainer.

import { Code } from './code.ts';
import { item } from './draft.ts';
import type { Block, Node, Program, ProgramFunction } from './program.ts';

const NOTHING = item('nothing', new Code());

/** A way to a smaller program; undefined where it leads nowhere. */
type Step = (program: Program) => Program | undefined;

function withFunction(program: Program, index: number, made: ProgramFunction | undefined): Program {
  const functions = made === undefined ? program.functions.toSpliced(index, 1) : program.functions.with(index, made);
  return { ...program, functions };
}

function withBlock(program: Program, f: number, b: number, block: Block | undefined): Program {
  const one = program.functions[f]!;
  const blocks = block === undefined ? one.blocks.toSpliced(b, 1) : one.blocks.with(b, block);
  return withFunction(program, f, { ...one, blocks });
}

/** All lists of nodes with one run of `count` of them taken away, or one group opened. */
function* smallerLists(nodes: readonly Node[], count: number): Generator<readonly Node[]> {
  for (let from = 0; from < nodes.length; from += count) yield nodes.toSpliced(from, count);
  for (const [k, node] of nodes.entries()) {
    if (node.kind !== 'group') continue;
    if (count === 1) yield [...nodes.slice(0, k), ...node.body, ...nodes.slice(k + 1)];
    for (const body of smallerLists(node.body, count)) yield nodes.with(k, { ...node, body });
  }
}

function* smallerPrograms(program: Program): Generator<Program> {
  const { functions, mainCalls } = program;
  for (let count = mainCalls.length >> 1; count >= 1; count >>= 1) {
    for (let k = 0; k < mainCalls.length; k += count) yield { ...program, mainCalls: mainCalls.toSpliced(k, count) };
  }
  for (let count = functions.length >> 1; count >= 1; count >>= 1) {
    for (let f = functions.length - count; f >= 0; f -= count) {
      yield { ...program, functions: functions.toSpliced(f, count) };
    }
  }
  for (let f = 0; f < functions.length; f++) {
    const { blocks } = functions[f]!;
    for (let b = blocks.length - 1; b >= 0; b--) {
      yield withBlock(program, f, b, undefined);
      if (blocks[b]!.nodes.length > 0) yield withBlock(program, f, b, { ...blocks[b]!, nodes: [] });
      if (blocks[b]!.end.code.bytes.length > 0) yield withBlock(program, f, b, { ...blocks[b]!, end: NOTHING });
    }
  }
  for (const count of [8, 4, 2, 1]) {
    for (let f = 0; f < functions.length; f++) {
      for (const [b, block] of functions[f]!.blocks.entries()) {
        for (const nodes of smallerLists(block.nodes, count)) yield withBlock(program, f, b, { ...block, nodes });
      }
    }
  }
}

/** Single changes that leave the code as it is; each is tried once. */
const PLAINER: readonly Step[] = [
  (program) => (program.interrupts ? { ...program, interrupts: false } : undefined),
  (program) => ({
    ...program,
    codeOrder: program.codeOrder.map((_, k) => k),
    dataOrder: program.dataOrder.map((_, k) => k),
  }),
  (program) => ({ ...program, data: new Uint8Array(program.data.length) }),
  (program) => ({ ...program, xmm: new Uint8Array(program.xmm.length) }),
  (program) => ({ ...program, mxcsr: 0x1f80 }),
  (program) => ({ ...program, rflags: 0n }),
  (program) => ({ ...program, base: 0x40_0000n }),
  (program) => ({ ...program, filler: 0xcc }),
  (program) => (program.supervisorPages.length > 0 ? { ...program, supervisorPages: [] } : undefined),
  (program) => (program.user ? { ...program, user: false } : undefined),
  (program) => ({
    ...program,
    functions: program.functions.map((one) => ({ ...one, place: { kind: 'gap', bytes: 0 } })),
  }),
  ...Array.from(
    { length: 15 },
    (_, k): Step =>
      (program) => ({ ...program, registers: program.registers.with(k, 0n) }),
  ),
];

/** `differs` runs a program. It is asked for `timeoutMs` at most. */
export function shrink(program: Program, differs: (candidate: Program) => boolean, timeoutMs = 60_000): Program {
  let best = program;
  const end = performance.now() + timeoutMs;
  const hasTime = () => performance.now() < end;
  const accept = (candidate: Program): boolean => {
    if (!differs(candidate)) return false;
    best = candidate;
    return true;
  };
  for (let changed = true; changed && hasTime(); ) {
    changed = false;
    // After a success the next candidates are those behind it: what failed before mostly fails again.
    for (let tried = 0, more = true; more && hasTime(); ) {
      more = false;
      for (const candidate of smallerPrograms(best).drop(tried)) {
        if (!hasTime()) break;
        if (accept(candidate)) {
          changed = true;
          more = true;
          break;
        }
        tried++;
      }
    }
  }
  for (const step of PLAINER) {
    const candidate = step(best);
    if (candidate !== undefined && hasTime()) accept(candidate);
  }
  return best;
}
