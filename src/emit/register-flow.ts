// Where a region's guest registers live: in locals from the first need on, in memory whenever control leaves. Two
// passes over the flow graph say which registers are dirty (newer in the local than in memory) at a place, and which
// are wanted: a local is filled at the entry, and after a call, only if something behind reads it or must spill it.
//
// A set of registers is a 32-bit mask: general registers in bits 15:0, XMM registers in bits 31:16.

import type { Statement } from '../ir/builder.ts';
import { XMM_OFFSET } from '../ir/guest-state.ts';
import type { FlowGraph } from './flow-graph.ts';

export type RegisterSet = number;

/**
 * Exits that spill the same registers share their code; with more sets than this the rarest are merged. Where the ways
 * into an exit meet, each register costs V8 more than another exit does: with 12 sets it took a twentieth longer.
 */
const MAXIMUM_EXITS = 64;

/**
 * `plain`; `sync`: calls the engine with every register in memory; `call`: a guest call that comes back; `out`: leaves
 * the region for good; `transfer`: calls the engine, whatever happens, and leaves for where that says.
 */
export type FlowKind = 'plain' | 'sync' | 'call' | 'out' | 'transfer';

export interface FlowInstruction {
  readonly offset: number;
  uses: RegisterSet;
  /** Written whatever happens, and written perhaps. */
  definitions: RegisterSet;
  partial: RegisterSet;
  kind: FlowKind;
  /** May leave before it has any effect, and after. */
  exitsBefore: boolean;
  exitsAfter: boolean;
  /** Offset of the direct branch's target; of a local return: of the block that finds out where to. */
  target: number | undefined;
  /** A call or a return within the region. */
  readonly local: boolean;
  /** Offsets in the region where its indirect jump may go. */
  landings: readonly number[];
  // Results.
  dirtyBefore: RegisterSet;
  dirtyAfter: RegisterSet;
  /** What a call or the engine must find in memory, and what is wanted behind it. */
  spilled: RegisterSet;
  reloaded: RegisterSet;
}

export interface FlowBlock {
  readonly instructions: FlowInstruction[];
  readonly next: number | undefined;
  dirtyIn: RegisterSet;
  liveIn: RegisterSet;
}

/** The register that a state offset lies in, as a set; none for other state. */
export function registerAt(stateOffset: number): RegisterSet {
  if (stateOffset < 128) return 1 << (stateOffset >> 3);
  if (stateOffset >= XMM_OFFSET && stateOffset < XMM_OFFSET + 256) return 1 << (16 + ((stateOffset - XMM_OFFSET) >> 4));
  return 0;
}

/** Splits a block's statements by instruction. `needsState`: a runtime function that wants registers in memory. */
export function describeBlock(
  body: readonly Statement[],
  next: number | undefined,
  needsState: (name: string) => boolean,
): FlowBlock {
  const instructions: FlowInstruction[] = [];
  for (const statement of body) {
    if (statement.kind === 'instruction') {
      instructions.push({
        offset: statement.size!,
        uses: 0,
        definitions: 0,
        partial: 0,
        kind: 'plain',
        exitsBefore: false,
        exitsAfter: false,
        target: statement.target,
        local: statement.name === 'local',
        landings: statement.landings!,
        dirtyBefore: 0,
        dirtyAfter: 0,
        spilled: 0,
        reloaded: 0,
      });
      continue;
    }
    describe(instructions.at(-1)!, statement, false, needsState);
  }
  return { instructions, next, dirtyIn: 0, liveIn: 0 };
}

function describe(
  flow: FlowInstruction,
  statement: Statement,
  conditional: boolean,
  needsState: (name: string) => boolean,
): void {
  const { kind, location, name } = statement;
  const place = statement.memory?.place;
  if (place !== undefined) {
    if (place.base >= 0) flow.uses |= (1 << place.base) & ~flow.definitions;
    if (place.index >= 0) flow.uses |= (1 << place.index) & ~flow.definitions;
    if (place.segment !== undefined) flow.exitsBefore = true;
  }
  if (location?.kind === 'fixed') {
    const register = registerAt(location.offset);
    if (kind === 'get-register' || kind === 'get-vector') flow.uses |= register & ~flow.definitions;
    else if (kind === 'set-register' && statement.size! < 4) {
      flow.uses |= register & ~flow.definitions;
      flow.partial |= register;
    } else if (conditional) {
      // What the other side leaves as it was must be there too.
      flow.uses |= register & ~flow.definitions;
      flow.partial |= register;
    } else {
      flow.definitions |= register;
    }
  }
  switch (kind) {
    case 'load':
    case 'load-vector':
    case 'modify-load':
      flow.exitsBefore = true;
      break;
    case 'store':
    case 'store-vector':
    case 'modify-store':
      flow.exitsBefore = true;
      flow.exitsAfter = true;
      break;
    case 'call':
      flow.exitsBefore = true;
      if (needsState(name!)) {
        flow.kind = 'sync';
        // It may have written over code.
        flow.exitsAfter = true;
      }
      break;
    case 'jump-direct':
      if (name === 'call' && !flow.local) flow.kind = 'call';
      break;
    case 'jump':
      if (flow.local) break;
      flow.kind = name === 'call' ? 'call' : flow.kind === 'sync' ? 'transfer' : 'out';
      break;
    case 'leave':
    case 'leave-next':
      flow.exitsAfter = true;
      break;
  }
  for (const inner of statement.whenTrue ?? []) describe(flow, inner, true, needsState);
  for (const inner of statement.whenFalse ?? []) describe(flow, inner, true, needsState);
}

export class RegisterFlow {
  readonly blocks: ReadonlyMap<number, FlowBlock>;
  private readonly graph: FlowGraph;
  /** The sets that shared exits spill; the set of nothing is always among them. */
  readonly exits: RegisterSet[] = [0];
  private readonly exitOf = new Map<RegisterSet, RegisterSet>();

  constructor(blocks: ReadonlyMap<number, FlowBlock>, graph: FlowGraph) {
    this.blocks = blocks;
    this.graph = graph;
    this.findDirty();
    this.chooseExits();
    this.findLive();
  }

  /** The shared exit for a place where these registers are dirty. */
  exitFor(dirty: RegisterSet): RegisterSet {
    const found = this.exitOf.get(dirty);
    if (found === undefined) throw new Error('an exit that the analysis does not know');
    return found;
  }

  /** What is dirty after an instruction, from what is before it. */
  private pass(flow: FlowInstruction, before: RegisterSet): void {
    flow.dirtyBefore = before;
    const written = flow.definitions | flow.partial;
    if (flow.kind === 'call') {
      flow.spilled = before | written;
      flow.dirtyAfter = 0;
    } else if (flow.kind === 'transfer') {
      flow.spilled = before;
      flow.dirtyAfter = 0;
    } else {
      // The engine's registers are read again: what it was given is not dirty any more, except where it was not called.
      if (flow.kind === 'sync') flow.spilled = before;
      flow.dirtyAfter = before | written;
    }
  }

  private findDirty(): void {
    const { order, position } = this.graph;
    for (let changed = true; changed; ) {
      changed = false;
      for (const offset of order) {
        const block = this.blocks.get(offset)!;
        let dirty = block.dirtyIn;
        const flowTo = (to: number | undefined): void => {
          if (to === undefined || !position.has(to)) return;
          const next = this.blocks.get(to)!;
          if ((next.dirtyIn | dirty) !== next.dirtyIn) {
            next.dirtyIn |= dirty;
            changed = true;
          }
        };
        for (const flow of block.instructions) {
          this.pass(flow, dirty);
          dirty = flow.dirtyAfter;
          flowTo(flow.target);
          for (const landing of flow.landings) flowTo(landing);
        }
        flowTo(block.next);
      }
    }
  }

  private chooseExits(): void {
    const counts = new Map<RegisterSet, number>([[0, Number.MAX_SAFE_INTEGER]]);
    const count = (dirty: RegisterSet): void => void counts.set(dirty, (counts.get(dirty) ?? 0) + 1);
    for (const offset of this.graph.order) {
      const block = this.blocks.get(offset)!;
      count(block.dirtyIn);
      for (const flow of block.instructions) {
        count(flow.dirtyBefore);
        count(flow.dirtyAfter);
      }
    }
    const sets = [...counts].sort((a, b) => b[1] - a[1]).map(([dirty]) => dirty);
    const rest = sets.slice(MAXIMUM_EXITS).reduce((all, dirty) => all | dirty, 0);
    for (const [index, dirty] of sets.entries()) this.exitOf.set(dirty, index < MAXIMUM_EXITS ? dirty : rest);
    for (const exit of new Set(this.exitOf.values())) if (exit !== 0) this.exits.push(exit);
  }

  private findLive(): void {
    const { order, position } = this.graph;
    const backwards = order.toReversed();
    for (let changed = true; changed; ) {
      changed = false;
      for (const offset of backwards) {
        const live = this.liveThrough(this.blocks.get(offset)!, position);
        const block = this.blocks.get(offset)!;
        if (live !== block.liveIn) {
          block.liveIn = live;
          changed = true;
        }
      }
    }
  }

  private liveThrough(block: FlowBlock, position: ReadonlyMap<number, number>): RegisterSet {
    const at = (to: number, dirty: RegisterSet): RegisterSet =>
      // An edge that the region cannot keep leaves it: what is dirty is wanted in either case.
      (position.has(to) ? this.blocks.get(to)!.liveIn : 0) | this.exitFor(dirty);
    const last = block.instructions.at(-1);
    let live = block.next === undefined ? 0 : at(block.next, last?.dirtyAfter ?? block.dirtyIn);
    for (let k = block.instructions.length - 1; k >= 0; k--) {
      const flow = block.instructions[k]!;
      if (flow.target !== undefined && flow.kind !== 'call') live |= at(flow.target, flow.dirtyAfter);
      if (flow.kind === 'out') live |= flow.dirtyAfter;
      for (const landing of flow.landings) live |= at(landing, flow.dirtyAfter);
      if (flow.exitsAfter) live |= this.exitFor(flow.dirtyAfter);
      if (flow.kind === 'call') {
        flow.reloaded = live;
        live = flow.spilled;
      }
      live &= ~flow.definitions;
      if (flow.kind === 'sync') {
        flow.reloaded = live | flow.uses | flow.partial;
        live |= flow.spilled;
      }
      live |= flow.uses;
      if (flow.exitsBefore) live |= this.exitFor(flow.dirtyBefore);
    }
    // A loop's head polls.
    return live | this.exitFor(block.dirtyIn);
  }
}
