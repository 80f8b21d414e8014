// How a region reaches memory: by the TLB; within the stack's page; or by a page window, a page that an access by the
// same registers has found before and that the region keeps in locals. A window is right whenever it is set; which
// accesses use one is a guess at where neighbours lie in one page: behind an access by the same registers that have
// since been stepped on by a few bytes at most.

import type { NodeKind, Statement, Value } from '../ir/builder.ts';
import { gprOffset } from '../ir/guest-state.ts';
import type { FlowGraph } from './flow-graph.ts';

const RSP = 4;
/** Registers that are stepped on by more than this are likely to be in another page soon. */
const MAXIMUM_STEP_BYTES = 256n;
/** A window takes two locals. */
const MAXIMUM_WINDOWS = 8;
/** Keys are bits of a word. */
const MAXIMUM_KEYS = 32;

/** Each block's statements, by its offset. */
type Bodies = ReadonlyMap<number, readonly Statement[]>;

/** Bit sets of keys. */
type KeySet = number;
const ALL: KeySet = -1;

/** One for each key and way of access. */
export interface PageWindow {
  readonly key: number;
  readonly writes: boolean;
}

/** `table`: the TLB is looked up, and what is found fills these windows. */
export type AccessWay =
  | { readonly kind: 'stack' }
  | { readonly kind: 'window'; readonly window: PageWindow }
  | { readonly kind: 'table'; readonly fills: readonly PageWindow[] };

const STACK: AccessWay = { kind: 'stack' };
const TABLE: AccessWay = { kind: 'table', fills: [] };

const READS: ReadonlySet<NodeKind> = new Set(['load', 'load-vector']);
const WRITES: ReadonlySet<NodeKind> = new Set(['store', 'store-vector', 'modify-load']);

type Event =
  | { readonly kind: 'access'; readonly statement: Statement; readonly key: number; readonly conditional: boolean }
  /** What these keys lead to is not where it was. */
  | { readonly kind: 'renew'; readonly keys: KeySet };

interface BlockEvents {
  readonly events: readonly Event[];
  /** Keys that no access has been made by since they were renewed, for reading and for writing. */
  freshIn: [KeySet, KeySet];
  freshOut: [KeySet, KeySet];
}

/** Whether an address is RSP with a constant perhaps: most likely in the page of the one before. */
function isStackAddress(address: Value): boolean {
  const { kind, args, location, memory } = address;
  if (kind === 'address') {
    const place = memory!.place!;
    return place.base === RSP && place.index < 0 && place.segment === undefined;
  }
  if (kind === 'get-register') return location?.kind === 'fixed' && location.offset === gprOffset(RSP);
  return isStep(address) && isStackAddress(address.args[0]!) && args[1]!.kind === 'const';
}

const isStep = ({ kind, name }: Value): boolean => kind === 'pure' && (name === 'i64.add' || name === 'i64.sub');

/** The registers that an address follows from, as a name; undefined where a window would be of no use. */
function keyOf(address: Value): { name: string; registers: number[] } | undefined {
  const { kind, args, location, memory } = address;
  if (kind === 'address') {
    const { base, index, segment, ripRelative, displacement } = memory!.place!;
    if (segment !== undefined || args.length > 0) return undefined;
    if (ripRelative) return index < 0 ? { name: `page ${displacement >> 12n}`, registers: [] } : undefined;
    const registers = [base, index].filter((register) => register >= 0);
    return registers.length === 0 ? undefined : { name: `${base} ${index}`, registers };
  }
  if (kind === 'get-register' && location?.kind === 'fixed' && location.offset < gprOffset(16)) {
    const register = location.offset >> 3;
    return { name: `${register} -1`, registers: [register] };
  }
  return isStep(address) && args[1]!.kind === 'const' ? keyOf(args[0]!) : undefined;
}

/** Whether a value is that register with a small constant added. */
function isStepOf(value: Value, register: number): boolean {
  const { kind, args, location, memory, name } = value;
  const small = (step: bigint): boolean => {
    const signed = BigInt.asIntN(64, step);
    return signed <= MAXIMUM_STEP_BYTES && signed >= -MAXIMUM_STEP_BYTES;
  };
  if (kind === 'get-register') return location?.kind === 'fixed' && location.offset === gprOffset(register);
  if (kind === 'offset') {
    const { base, index, displacement } = memory!.place!;
    return base === register && index < 0 && small(displacement);
  }
  if (kind !== 'pure') return false;
  const [first, second] = args as [Value, Value];
  if (second?.kind !== 'const' || typeof second.constant !== 'bigint') return false;
  if (name === 'i64.and') return second.constant === 0xffff_ffffn && isStepOf(first, register);
  return isStep(value) && small(second.constant) && isStepOf(first, register);
}

/** The general register that a statement sets, or undefined. */
function registerSet({ kind, location }: Statement): number | undefined {
  if (kind !== 'set-register' || location?.kind !== 'fixed' || location.offset >= gprOffset(16)) return undefined;
  return location.offset >> 3;
}

/** The register that a statement sets is not just stepped on. */
const isNew = (statement: Statement, register: number): boolean =>
  statement.size! < 4 || !isStepOf(statement.args[0]!, register);

/** The ways of all accesses of a region's blocks, and the windows that they use. */
export class PageWindows {
  readonly windows: readonly PageWindow[];
  readonly usesStack: boolean;
  /**
   * What follows may lie in another page of a stack for long: RSP is loaded with a new address, as at the entry of a
   * kernel, or the region recurses.
   */
  readonly movesStack: boolean;
  readonly usesTable: boolean;
  private readonly ways = new Map<Statement, AccessWay>();

  /**
   * `renewsAll`: whether a statement, of a call that stays within the region perhaps, may change what pages are where,
   * so that windows are dropped.
   */
  constructor(bodies: Bodies, graph: FlowGraph, renewsAll: (statement: Statement, local: boolean) => boolean) {
    const keys = new Map<string, number>();
    const keysOfRegister = new Array<KeySet>(16).fill(0);
    const statementKey = new Map<Statement, number>();
    let usesStack = false;
    let movesStack = false;
    let accesses = 0;
    const collect = (statements: readonly Statement[]): void => {
      for (const statement of statements) {
        if (statement.whenTrue !== undefined) {
          collect(statement.whenTrue);
          collect(statement.whenFalse!);
        }
        if (registerSet(statement) === RSP && isNew(statement, RSP)) movesStack = true;
        if (statement.kind === 'instruction' && statement.name === 'local') movesStack = true;
        if (!READS.has(statement.kind) && !WRITES.has(statement.kind)) continue;
        const address = statement.args[0]!;
        accesses++;
        if (isStackAddress(address)) {
          usesStack = true;
          this.ways.set(statement, STACK);
          continue;
        }
        const found = keyOf(address);
        if (found === undefined) continue;
        let key = keys.get(found.name);
        if (key === undefined) {
          if (keys.size === MAXIMUM_KEYS) continue;
          key = keys.size;
          keys.set(found.name, key);
          for (const register of found.registers) keysOfRegister[register]! |= 1 << key;
        }
        statementKey.set(statement, key);
      }
    };
    for (const offset of graph.order) collect(bodies.get(offset)!);
    this.usesStack = usesStack;
    this.movesStack = movesStack;

    let local = false;
    const eventsOf = (statements: readonly Statement[], conditional: boolean, events: Event[]): Event[] => {
      for (const statement of statements) {
        if (statement.kind === 'instruction') local = statement.name === 'local';
        const key = statementKey.get(statement);
        const register = registerSet(statement);
        if (key !== undefined) events.push({ kind: 'access', statement, key, conditional });
        else if (register !== undefined) {
          if (isNew(statement, register) && keysOfRegister[register] !== 0) {
            events.push({ kind: 'renew', keys: keysOfRegister[register]! });
          }
        } else if (renewsAll(statement, local)) events.push({ kind: 'renew', keys: ALL });
        if (statement.whenTrue !== undefined) {
          eventsOf(statement.whenTrue, true, events);
          eventsOf(statement.whenFalse!, true, events);
        }
      }
      return events;
    };
    const blocks = new Map<number, BlockEvents>();
    if (keys.size > 0) {
      for (const offset of graph.order) {
        const events = eventsOf(bodies.get(offset)!, false, []);
        blocks.set(offset, { events, freshIn: [ALL, ALL], freshOut: [ALL, ALL] });
      }
      this.findFresh(graph, blocks);
    }
    this.windows = this.choose(graph, blocks);
    this.assign(blocks);
    const others = [...this.ways.values()].filter(({ kind }) => kind !== 'table').length;
    this.usesTable = accesses > others;
  }

  wayOf(access: Statement): AccessWay {
    return this.ways.get(access) ?? TABLE;
  }

  /** The way of each access with `fresh` keys before the block, and the keys that are fresh behind it. */
  private static walk(
    { events, freshIn }: BlockEvents,
    visit?: (statement: Statement, key: number, writes: boolean, fresh: boolean) => void,
  ): [KeySet, KeySet] {
    let [reading, writing] = freshIn;
    for (const event of events) {
      if (event.kind === 'renew') {
        reading |= event.keys;
        writing |= event.keys;
        continue;
      }
      const { statement, key, conditional } = event;
      const bit = 1 << key;
      const writes = WRITES.has(statement.kind);
      visit?.(statement, key, writes, ((writes ? writing : reading) & bit) !== 0);
      if (conditional) continue;
      reading &= ~bit;
      if (writes) writing &= ~bit;
    }
    return [reading, writing];
  }

  /** A loop's own edges decide for its head, so that what is stepped on within it counts as known from the start. */
  private findFresh(graph: FlowGraph, blocks: ReadonlyMap<number, BlockEvents>): void {
    for (let changed = true; changed; ) {
      changed = false;
      for (const [index, offset] of graph.order.entries()) {
        const block = blocks.get(offset)!;
        const fresh: [KeySet, KeySet] = index === 0 ? [ALL, ALL] : [0, 0];
        const back: [KeySet, KeySet] = [ALL, ALL];
        for (const from of graph.predecessors.get(offset) ?? []) {
          const { freshOut } = blocks.get(from)!;
          for (const kind of [0, 1] as const) {
            if (graph.position.get(from)! < index) fresh[kind] |= freshOut[kind];
            else back[kind] &= freshOut[kind];
          }
        }
        block.freshIn = [fresh[0] & back[0], fresh[1] & back[1]];
        const out = PageWindows.walk(block);
        if (out[0] === block.freshOut[0] && out[1] === block.freshOut[1]) continue;
        block.freshOut = out;
        changed = true;
      }
    }
  }

  /**
   * The windows that are asked most, by how many loops they are asked in. Outside loops they would make code larger
   * that is compiled for a few turns.
   */
  private choose(graph: FlowGraph, blocks: ReadonlyMap<number, BlockEvents>): PageWindow[] {
    const worth = new Map<number, number>();
    for (const [offset, block] of blocks) {
      const depth = graph.loopDepth(offset);
      if (depth === 0) continue;
      const weight = 8 ** depth;
      PageWindows.walk(block, (_statement, key, writes, fresh) => {
        if (fresh) return;
        const window = key * 2 + (writes ? 1 : 0);
        worth.set(window, (worth.get(window) ?? 0) + weight);
      });
    }
    return [...worth]
      .sort((a, b) => b[1] - a[1])
      .slice(0, MAXIMUM_WINDOWS)
      .map(([window]) => ({ key: window >> 1, writes: (window & 1) !== 0 }));
  }

  private assign(blocks: ReadonlyMap<number, BlockEvents>): void {
    for (const block of blocks.values()) {
      PageWindows.walk(block, (statement, key, writes, fresh) => {
        const own = this.windows.filter((window) => window.key === key);
        const window = own.find((candidate) => candidate.writes === writes);
        if (!fresh && window !== undefined) this.ways.set(statement, { kind: 'window', window });
        // What may be written may be read.
        else this.ways.set(statement, { kind: 'table', fills: writes ? own : own.filter((fill) => !fill.writes) });
      });
    }
  }
}
