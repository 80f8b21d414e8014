// IR -> a region: basic blocks of one or several pages, loops included, as one WebAssembly function. Guest registers
// live in locals as register-flow.ts decides; flags stay operands and result until somebody needs the words.
//
// Control flow becomes structured by dominators (Ramsey, Beyond Relooper, ICFP 2022): a block with a back edge is a
// loop, a block that several forward edges reach ends a block of its own around its dominator's code. An edge that
// would make the flow irreducible leaves the region.
//
// A guest call is a call: the callee's RET ends it when it goes to the address that the call has pushed (core.ts, ret).
// Whatever else happens there, the callee gives 0 and every caller returns to the run loop.

import type { Builder, FlagKind, NodeKind, Statement, Value } from '../ir/builder.ts';
import { gprOffset, NO_PAGE, STATE, type StateField, XMM_OFFSET } from '../ir/guest-state.ts';
import { RUNTIME, type RuntimeName, type RuntimeSignature, STATELESS_RUNTIME } from '../ir/runtime.ts';
import type { FunctionWriter, WasmType } from '../wasm/encoder.ts';
import { MAXIMUM_CALL_DEPTH, pushDispatch, pushNotCanonical } from './core.ts';
import { FlowGraph } from './flow-graph.ts';
import { HandlerEmitter, isPure } from './handler.ts';
import { FLAG_CARRY, FLAG_KIND, type Imports } from './imports.ts';
import { pushEnterPage, pushEntry, pushHandlerCall, pushIsOld, pushIsOther } from './jump-cache.ts';
import { type PageWindow, PageWindows } from './page-windows.ts';
import { RECORD, REGION_RECORD, REGION_VERIFIED } from './record.ts';
import {
  describeBlock,
  type FlowBlock,
  type FlowInstruction,
  RegisterFlow,
  type RegisterSet,
} from './register-flow.ts';

const CPU = 0;
const REC = 1;

/** Why a region is left at an instruction of its own. */
const LEAVE = {
  /** Its own handler is to run it: the region's first instruction, or another one. */
  atEntry: 1,
  inside: 2,
  /** The run loop is wanted. */
  runLoop: 3,
} as const;

/** Instructions of a loop that take as long as a jump. */
const INSTRUCTIONS_PER_JUMP = 16;

const needsState = (name: string): boolean => !STATELESS_RUNTIME.has(name);

/** Whether pages may be elsewhere behind a statement, as far as the region's locals tell. */
const renewsPages = ({ kind, name }: Statement, local: boolean): boolean =>
  kind === 'call' ? needsState(name!) : (kind === 'jump' || kind === 'jump-direct') && name === 'call' && !local;

/**
 * Offsets from here on are blocks without code of the guest's, which a region's own returns go to: each finds the place
 * behind a call that the address in `target` is.
 */
export const RETURN_BLOCKS = 2 ** 40;

export interface RegionBlock {
  /** Offset of the first instruction from the page that the region begins in. */
  readonly offset: number;
  readonly body: Builder;
  /** Where control goes behind the last instruction; undefined when it never does. */
  readonly next: number | undefined;
}

export interface RegionCode {
  readonly entry: number;
  readonly blocks: ReadonlyMap<number, RegionBlock>;
  /** More than one page: they are looked at before the region runs. */
  readonly spansPages: boolean;
  /** Of one instruction, for a single step: every way on leaves it. */
  readonly single: boolean;
}

type Label = { kind: 'loop' | 'block' | 'exit' | 'stop'; offset: number; depth: number };

/**
 * What is known of the arithmetic flags: `words`: the words in memory are right. `memory`: memory is right, be it by
 * the words or by the operation that it notes. `dynamic`: the flag locals say. `lazy`: this operation's, CF and OF
 * perhaps by a word of their own.
 */
type StaticFlags =
  | { kind: 'words' }
  | { kind: 'memory' }
  | { kind: 'dynamic' }
  | { kind: 'lazy'; name: FlagKind; size: number; first: Value; second: Value; carry: Value | undefined };

const WORDS: StaticFlags = { kind: 'words' };
const MEMORY: StaticFlags = { kind: 'memory' };
const DYNAMIC: StaticFlags = { kind: 'dynamic' };

/** Where the emitter is within the guest's code. */
interface Place {
  flags: StaticFlags;
  instruction: FlowInstruction | undefined;
  nextInstruction: number;
  lengthBytes: number;
  /** The instruction at hand has stored: it may have changed code. */
  stores: boolean;
  /** Registers dirty when control leaves here. */
  dirty: RegisterSet;
  deadFlags: DeadFlags;
  lastStores: ReadonlyMap<Statement, readonly Statement[]>;
  /** Locals of the instruction at hand, free again after it. */
  temporaries: { type: WasmType; local: number }[];
  /** Locals with the flags' operands, and their types. */
  pinned: Map<number, WasmType>;
}

const FLAG_FIELDS: ReadonlySet<string> = new Set(['flagZ', 'flagN', 'flagC', 'flagA']);

/** Statements that neither read flags nor can be the last thing before somebody else does. */
const IGNORES_FLAGS: ReadonlySet<NodeKind> = new Set<NodeKind>([
  'const',
  'pure',
  'select',
  'lane',
  'replace-lane',
  'shuffle',
  'get-variable',
  'set-variable',
  'get-register',
  'set-register',
  'get-vector',
  'set-vector',
  'immediate',
  'offset',
  'scratch-get',
  'scratch-set',
  'next-rip',
  'target',
]);

/** Operations whose flags nobody sees, and those of their operands that somebody reads behind them all the same. */
type DeadFlags = ReadonlyMap<Statement, readonly Value[]>;

/**
 * Operations whose flags the next operation overwrites before anything can see them. What they alone have asked for is
 * no longer asked for.
 */
function findDeadFlags(body: readonly Statement[], instructions: readonly FlowInstruction[]): DeadFlags {
  const dead = new Map<Statement, readonly Value[]>();
  const drop = (value: Value): void => {
    value.uses--;
    if (value.uses === 0 && isPure(value)) for (const argument of value.args) drop(argument);
  };
  let overwritten = false;
  let position = instructions.length;
  for (const statement of body.toReversed()) {
    switch (statement.kind) {
      case 'set-flags':
      case 'new-flags':
        if (overwritten) {
          dead.set(
            statement,
            statement.args.filter((argument) => argument.isReadBehind),
          );
          for (const argument of statement.args) drop(argument);
        }
        overwritten = true;
        break;
      case 'set-carry-word':
        // It overwrites CF and OF alone: the flags before it are wanted if its own are.
        if (overwritten) {
          dead.set(statement, []);
          drop(statement.args[0]!);
        }
        break;
      case 'carry-word':
        if (statement.uses > 0) overwritten = false;
        break;
      case 'instruction':
        // The one before may leave when it has had its effects.
        position--;
        if (position > 0 && instructions[position - 1]!.exitsAfter) overwritten = false;
        break;
      case 'address':
        if (statement.memory!.place!.segment !== undefined) overwritten = false;
        break;
      default:
        if (!IGNORES_FLAGS.has(statement.kind)) overwritten = false;
    }
    if (!dead.has(statement)) noteReads(statement);
  }
  return dead;
}

function noteReads({ kind, uses, args, whenTrue, whenFalse }: Statement): void {
  if (kind === 'pure' && uses === 0) return;
  for (const argument of args) argument.isReadBehind = true;
  whenTrue?.forEach(noteReads);
  whenFalse?.forEach(noteReads);
}

/** Stores behind which their instruction sets registers at most, with what it does there. */
function findLastStores(body: readonly Statement[]): Map<Statement, readonly Statement[]> {
  const last = new Map<Statement, readonly Statement[]>();
  let local = false;
  body.forEach((statement, index) => {
    const { kind } = statement;
    if (kind === 'instruction') local = statement.name === 'local';
    if (kind !== 'store' && kind !== 'store-vector') return;
    let end = index + 1;
    while (body[end]?.kind === 'set-register') end++;
    const next = body[end];
    const calls = local && next?.kind === 'jump-direct';
    if (next === undefined || next.kind === 'instruction' || calls) last.set(statement, body.slice(index + 1, end));
  });
  return last;
}

function* registersOf(set: RegisterSet): Generator<number> {
  for (let register = 0; register < 32; register++) if ((set >>> register) & 1) yield register;
}

class RegionEmitter extends HandlerEmitter {
  private readonly code: RegionCode;
  private readonly graph: FlowGraph;
  private readonly flow: RegisterFlow;
  private readonly labels: Label[] = [];
  private readonly registers = new Map<number, number>();
  private readonly free = new Map<WasmType, number[]>();
  private readonly codePage: number;
  private readonly tlb: number;
  private readonly tlbKey: number;
  private readonly budget: number;
  private readonly stackPage: number;
  private readonly stackHost: number;
  private readonly stackDistance: number;
  private readonly pages: PageWindows;
  /** Of each window: its page, and the host offset of that less the page's low half. */
  private readonly windows: ReadonlyMap<PageWindow, { page: number; addend: number }>;
  /** The address that the shared exit goes to; why, if the run loop or a handler is wanted. */
  private readonly target: number;
  private readonly why: number;
  private readonly flagKind: number;
  private readonly flagFirst: number;
  private readonly flagSecond: number;
  private readonly flagCarry: number;
  private readonly leaving: number;
  private place: Place = {
    flags: MEMORY,
    instruction: undefined,
    nextInstruction: 0,
    lengthBytes: 0,
    stores: false,
    dirty: 0,
    deadFlags: new Map(),
    lastStores: new Map(),
    temporaries: [],
    pinned: new Map(),
  };

  constructor(imports: Imports, code: RegionCode, graph: FlowGraph, flow: RegisterFlow) {
    super(imports, true, false);
    this.code = code;
    this.graph = graph;
    this.flow = flow;
    const { f } = this;
    this.codePage = f.local('i64');
    this.tlbKey = f.local('i64');
    this.tlb = f.local('i32');
    this.target = f.local('i64');
    this.flagFirst = f.local('i64');
    this.flagSecond = f.local('i64');
    this.flagCarry = f.local('i64');
    this.budget = f.local('i32');
    this.stackPage = f.local('i64');
    this.stackDistance = f.local('i64');
    this.stackHost = f.local('i32');
    const bodies = new Map([...code.blocks].map(([offset, { body }]) => [offset, body.body]));
    this.pages = new PageWindows(bodies, graph, renewsPages);
    this.windows = new Map(
      this.pages.windows.map((window) => [window, { page: f.local('i64'), addend: f.local('i32') }]),
    );
    this.why = f.local('i32');
    this.flagKind = f.local('i32');
    this.leaving = f.local('i32');
  }

  emit(): FunctionWriter {
    const { f } = this;
    const { entry } = this.code;
    this.field('codePage', this.codePage);
    if (this.code.spansPages) this.verify();
    else this.cleanRecord();
    this.refresh();
    this.fill(this.flow.blocks.get(entry)!.liveIn);
    f.block();
    const tail = f.depth;
    f.block();
    const stopTail = f.depth;
    for (const kind of ['stop', 'exit'] as const) {
      for (const exit of this.flow.exits) {
        f.block();
        this.open(kind, exit);
      }
    }
    this.tree(entry);
    f.unreachable();
    while (this.labels.length > 0) {
      const { kind, offset: exit } = this.labels.pop()!;
      f.end();
      if (!this.usedExits.has(kind + exit)) continue;
      this.spill(exit);
      f.br(f.depth - (kind === 'stop' ? stopTail : tail));
    }
    f.end();
    this.stopExit();
    f.end();
    this.exit();
    return f;
  }

  // Registers and fields.

  protected override temporary(type: WasmType): number {
    const local = this.free.get(type)?.pop() ?? this.f.local(type);
    this.place.temporaries.push({ type, local });
    return local;
  }

  /** The instruction is over: its locals are free, but for those that the flags follow from. */
  private releaseTemporaries(): void {
    const { place } = this;
    for (const { type, local } of place.temporaries) {
      if (!place.pinned.has(local)) this.release(type, local);
    }
    place.temporaries = [];
  }

  private release(type: WasmType, local: number): void {
    const list = this.free.get(type);
    if (list === undefined) this.free.set(type, [local]);
    else if (!list.includes(local)) list.push(local);
  }

  /** From here on the flags follow from these values, and no others. */
  private pin(values: readonly Value[]): void {
    const { place } = this;
    const before = place.pinned;
    place.pinned = new Map();
    for (const value of values) {
      const local = this.locals.get(value.id);
      if (local !== undefined) place.pinned.set(local, value.type as WasmType);
    }
    for (const [local, type] of before) {
      // Within this instruction they may still be read.
      if (!place.pinned.has(local)) place.temporaries.push({ type, local });
    }
  }

  private register(register: number): number {
    let local = this.registers.get(register);
    if (local === undefined) {
      local = this.f.local(register < 16 ? 'i64' : 'v128');
      this.registers.set(register, local);
    }
    return local;
  }

  private fill(set: RegisterSet): void {
    const { f } = this;
    for (const register of registersOf(set)) {
      f.get(CPU);
      if (register < 16) f.memory('i64.load', gprOffset(register));
      else f.memory('v128.load', XMM_OFFSET + (register - 16) * 16);
      f.set(this.register(register));
    }
  }

  private spill(set: RegisterSet): void {
    const { f } = this;
    for (const register of registersOf(set)) {
      f.get(CPU);
      f.get(this.register(register));
      if (register < 16) f.memory('i64.store', gprOffset(register));
      else f.memory('v128.store', XMM_OFFSET + (register - 16) * 16);
    }
  }

  private field(name: StateField, local: number): void {
    this.loadField(name);
    this.f.set(local);
  }

  private setField(name: StateField, push: () => void): void {
    this.f.get(CPU);
    push();
    this.f.memory(STATE[name].type === 'u64' ? 'i64.store' : 'i32.store', STATE[name].offset);
  }

  /** Reads what other code may have changed. */
  private refresh(): void {
    if (this.pages.usesTable) {
      this.field('tlb', this.tlb);
      this.field('tlbKey', this.tlbKey);
    }
    this.refreshPages();
  }

  /** The same of what is kept of single pages. */
  private refreshPages(): void {
    const { f } = this;
    for (const { page } of this.windows.values()) {
      f.i64(NO_PAGE);
      f.set(page);
    }
    if (this.pages.usesStack) this.refreshStackPage();
  }

  private refreshStackPage(): void {
    this.field('stackPage', this.stackPage);
    this.field('stackHost', this.stackHost);
  }

  protected override slowFamily(access: Value): 'region' | 'stack' | 'window' {
    const { kind } = this.pages.wayOf(access);
    return kind === 'table' ? 'region' : kind;
  }

  protected override lookup(access: Value, address: number, sizeBytes: number, write: boolean): void {
    const { f } = this;
    const way = this.pages.wayOf(access);
    if (way.kind === 'table') {
      super.lookup(access, address, sizeBytes, write);
      return;
    }
    f.get(address);
    f.get(way.kind === 'stack' ? this.stackPage : this.windows.get(way.window)!.page);
    f.pure('i64.sub');
    if (way.kind === 'stack') f.tee(this.stackDistance);
    f.i64(BigInt(4096 - sizeBytes));
    f.pure('i64.le_u');
  }

  protected override pushHost(access: Value, address: number): void {
    const { f } = this;
    const way = this.pages.wayOf(access);
    switch (way.kind) {
      case 'stack':
        f.get(this.stackDistance);
        f.pure('i32.wrap_i64');
        f.get(this.stackHost);
        f.pure('i32.add');
        return;
      case 'window':
        f.get(address);
        f.pure('i32.wrap_i64');
        f.get(this.windows.get(way.window)!.addend);
        f.pure('i32.add');
        return;
      case 'table':
        for (const fill of way.fills) {
          const { page, addend } = this.windows.get(fill)!;
          f.get(address);
          f.i64(-4096n);
          f.pure('i64.and');
          f.set(page);
          this.pushAddend();
          f.set(addend);
        }
        super.pushHost(access, address);
    }
  }

  protected override afterSlowAccess(access: Value): void {
    const way = this.pages.wayOf(access);
    if (way.kind === 'stack' && this.pages.movesStack) this.refreshStackPage();
    if (way.kind !== 'window') return;
    const { page, addend } = this.windows.get(way.window)!;
    this.field('windowPage', page);
    this.field('windowAddend', addend);
  }

  protected override pushTlb(): void {
    this.f.get(this.tlb);
  }

  protected override pushTlbKey(): void {
    this.f.get(this.tlbKey);
  }

  private pushAddress(offset: number): void {
    const { f } = this;
    if (offset >= RETURN_BLOCKS) {
      f.get(this.target);
      return;
    }
    f.get(this.codePage);
    if (offset === 0) return;
    f.i64(BigInt(offset));
    f.pure('i64.add');
  }

  // Structure.

  /** Runs the entry by its own handler where the region's pages are not what they were. */
  private verify(): void {
    const { f } = this;
    f.get(REC);
    f.i32(REGION_VERIFIED);
    f.pure('i32.and');
    f.if(undefined, 'likely');
    this.cleanRecord();
    f.else();
    f.get(REC);
    f.memory('i32.load', REGION_RECORD.verifiedEpoch);
    this.loadField('codeEpoch');
    f.pure('i32.ne');
    f.get(REC);
    f.memory('i64.load', REGION_RECORD.verifiedPage);
    f.get(this.codePage);
    f.pure('i64.ne');
    f.pure('i32.or');
    f.if(undefined, 'unlikely');
    f.get(CPU);
    f.get(REC);
    f.call(this.imports.services.verifyRegion);
    f.pure('i32.eqz');
    f.if();
    this.dispatchOriginal();
    f.end();
    f.end();
    f.end();
  }

  private cleanRecord(): void {
    const { f } = this;
    f.get(REC);
    f.i32(~REGION_VERIFIED);
    f.pure('i32.and');
    f.set(REC);
  }

  private dispatchOriginal(): void {
    const { f } = this;
    this.setField('codePage', () => f.get(this.codePage));
    f.get(CPU);
    f.call(this.imports.core.settleFlagWords);
    f.get(REC);
    f.memory('i32.load', RECORD.link);
    f.set(this.entry);
    pushDispatch(f, this.imports, this.entry);
  }

  private tree(offset: number): void {
    const { f, graph } = this;
    const within = (): void => this.within(offset, graph.mergesUnder(offset).toReversed());
    if (!this.graph.isLoop(offset)) {
      within();
      return;
    }
    f.loop();
    this.open('loop', offset);
    this.poll(offset);
    within();
    this.labels.pop();
    f.end();
    f.unreachable();
  }

  private within(offset: number, merges: readonly number[]): void {
    const { f } = this;
    const [first, ...rest] = merges;
    if (first === undefined) {
      this.blockBody(offset);
      return;
    }
    f.block();
    this.open('block', first);
    this.within(offset, rest);
    this.labels.pop();
    f.end();
    this.tree(first);
  }

  private open(kind: Label['kind'], offset: number): void {
    this.labels.push({ kind, offset, depth: this.f.depth });
  }

  private label(kind: Label['kind'], offset: number): number {
    if (kind === 'exit' || kind === 'stop') this.usedExits.add(kind + offset);
    const label = this.labels.findLast((open) => open.kind === kind && open.offset === offset);
    if (label === undefined) throw new Error('a branch without its label');
    return this.f.depth - label.depth;
  }

  /** Shared exits that somebody goes to. */
  private readonly usedExits = new Set<string>();

  private branch(kind: Label['kind'], offset: number): void {
    this.f.br(this.label(kind, offset));
  }

  private branchIf(kind: Label['kind'], offset: number): void {
    this.f.brIf(this.label(kind, offset), 'unlikely');
  }

  /** The budget falls at a loop's head, by more where the loop is long; asks the engine when it is used up. */
  private poll(offset: number): void {
    const { f } = this;
    const instructions = (block: number): number => this.flow.blocks.get(block)!.instructions.length;
    const length = this.graph.loopBlocks(offset).reduce((sum, block) => sum + instructions(block), 0);
    f.get(CPU);
    this.loadField('budget');
    f.i32(1 + Math.floor(length / INSTRUCTIONS_PER_JUMP));
    f.pure('i32.sub');
    f.tee(this.budget);
    f.memory('i32.store', STATE.budget.offset);
    f.get(this.budget);
    f.i32(0);
    f.pure('i32.lt_s');
    f.if(undefined, 'unlikely');
    this.setField('rip', () => this.pushAddress(offset));
    this.setField('record', () => f.i32(0));
    f.get(CPU);
    f.get(REC);
    f.call(this.imports.services.poll);
    f.if();
    this.leaveFor(LEAVE.runLoop);
    this.setTarget(offset);
    this.leaveDirty(this.flow.blocks.get(offset)!.dirtyIn);
    f.end();
    this.refreshPages();
    f.end();
  }

  private blockBody(offset: number): void {
    const block = this.code.blocks.get(offset)!;
    // Node numbers are a block's own; a block that is emitted within another's branch must leave that one's alone.
    const outer = this.place;
    this.place = {
      flags: offset === this.code.entry && !this.graph.isLoop(offset) ? MEMORY : DYNAMIC,
      instruction: undefined,
      nextInstruction: offset,
      lengthBytes: 0,
      stores: false,
      dirty: this.flow.blocks.get(offset)!.dirtyIn,
      deadFlags: findDeadFlags(block.body.body, this.flow.blocks.get(offset)!.instructions),
      lastStores: findLastStores(block.body.body),
      temporaries: [],
      pinned: new Map(),
    };
    const [locals, variables, hosts] = [this.locals, this.variables, this.hosts];
    this.locals = new Map();
    this.variables = new Map();
    this.hosts = new Map();
    this.instructionIndex.push({ block: this.flow.blocks.get(offset)!, index: 0 });
    const { inBranch } = this;
    this.inBranch = false;
    this.body(block.body.body);
    this.endInstruction();
    if (block.next !== undefined) this.goTo(block.next, offset);
    this.pin([]);
    this.releaseTemporaries();
    this.inBranch = inBranch;
    this.instructionIndex.pop();
    this.place = outer;
    [this.locals, this.variables, this.hosts] = [locals, variables, hosts];
  }

  private readonly instructionIndex: { block: FlowBlock; index: number }[] = [];

  /** A branch to an offset: within the region, or out of it. */
  private goTo(offset: number, from: number): void {
    const { graph } = this;
    const known = graph.position.get(offset);
    if (known !== undefined && !this.code.single) {
      const backward = known <= graph.position.get(from)!;
      if (!backward || graph.dominates(offset, from)) {
        if (backward) this.branch('loop', offset);
        else if (graph.isMerge(offset)) this.branch('block', offset);
        else this.tree(offset);
        return;
      }
    }
    this.setTarget(offset);
    this.leaveDirty(this.place.dirty);
  }

  private setTarget(offset: number): void {
    if (offset >= RETURN_BLOCKS) return;
    this.pushAddress(offset);
    this.f.set(this.target);
  }

  private leaveFor(why: number): void {
    this.f.i32(why);
    this.f.set(this.why);
  }

  /** Goes to the shared exit; the target and the flag locals are set. */
  private leaveDirty(dirty: RegisterSet): void {
    this.branch('exit', this.flow.exitFor(dirty));
  }

  /** Leaves at the present place for the target. */
  private leaveHere(): void {
    this.leaveDirty(this.place.dirty);
  }

  /** The same if the i32 on the stack is not 0. */
  private leaveHereIf(): void {
    this.branchIf('exit', this.flow.exitFor(this.place.dirty));
  }

  private settleForExit(): void {
    const { f } = this;
    f.get(this.flagKind);
    f.if();
    this.pushFlagLocals();
    f.call(this.imports.core.settleFlags);
    f.end();
    this.setField('codeChanged', () => f.i32(0));
  }

  /** `stop` is set, an exception perhaps: who found it has noted the instruction. */
  private stopExit(): void {
    this.settleForExit();
    this.setField('record', () => this.f.i32(0));
    this.leave();
  }

  private exit(): void {
    const { f } = this;
    f.get(this.why);
    f.pure('i32.eqz');
    f.if(undefined, 'likely');
    this.setField('codeChanged', () => f.i32(0));
    this.storeDynamicFlags();
    this.follow();
    f.end();
    this.settleForExit();
    f.get(this.why);
    f.i32(LEAVE.runLoop);
    f.pure('i32.eq');
    f.if();
    this.setField('rip', () => f.get(this.target));
    this.setField('record', () => f.i32(0));
    this.leave();
    f.end();
    f.get(this.why);
    f.i32(LEAVE.atEntry);
    f.pure('i32.eq');
    f.if();
    this.dispatchOriginal();
    f.end();
    f.get(CPU);
    f.i32(0);
    f.get(this.target);
    f.returnCall(this.imports.core.interpret);
  }

  // Calls, returns and jumps to elsewhere.

  /** Puts registers and flags where the next function looks for them. */
  private handOver(registers: RegisterSet): void {
    this.spill(registers);
    this.storeFlags();
  }

  private jumpOut(pushTarget: () => void): void {
    this.handOver(this.place.dirty);
    pushTarget();
    this.f.set(this.target);
    this.follow();
  }

  /** Goes to the address in `target`, by the jump cache at once where that knows it. */
  private follow(): void {
    const { f } = this;
    const entry = this.temporary('i32');
    f.block();
    this.leaveUnlessKnown(entry);
    pushHandlerCall(f, entry);
    f.returnCallIndirect(this.imports.handlerType);
    f.end();
    f.get(CPU);
    f.get(REC);
    f.get(this.target);
    f.returnCall(this.imports.core.jumpOut);
  }

  /** Leaves the innermost block when a poll is due or the jump cache does not know the address in `target`. */
  private leaveUnlessKnown(entry: number): void {
    const { f, target } = this;
    pushEntry(f, target, entry);
    pushIsOther(f, target, entry);
    f.brIf(0, 'unlikely');
    pushIsOld(f, entry);
    f.brIf(0, 'unlikely');
    this.loadField('budget');
    f.tee(this.budget);
    f.i32(0);
    f.pure('i32.le_s');
    f.brIf(0, 'unlikely');
    this.setField('budget', () => {
      f.get(this.budget);
      f.i32(1);
      f.pure('i32.sub');
    });
    pushEnterPage(f, target);
  }

  /** An indirect jump: to where it has been seen to go if that lies in the region, else out. */
  private jumpTo(target: Value): void {
    const landings = this.place.instruction!.landings.filter((offset) => this.graph.position.has(offset));
    if (landings.length > 0 && !this.code.single) this.landAt(landings, target);
    this.jumpOut(() => this.push(target));
  }

  private landAt(landings: readonly number[], target: Value): void {
    const { f } = this;
    const distance = this.temporary('i64');
    this.push(target);
    f.get(this.codePage);
    f.pure('i64.sub');
    f.set(distance);
    this.land(
      landings.toSorted((a, b) => a - b),
      distance,
    );
  }

  /** Goes to the one of these places, in their order, that lies at `distance` from the code page; else goes on. */
  private land(landings: readonly number[], distance: number): void {
    const { f, place } = this;
    const [first] = landings;
    if (landings.length === 1) {
      f.get(distance);
      f.i64(BigInt(first!));
      f.pure('i64.eq');
      f.if();
      const { flags, dirty } = place;
      this.goTo(first!, this.currentBlock());
      [place.flags, place.dirty] = [flags, dirty];
      f.end();
      return;
    }
    const half = landings.length >> 1;
    f.get(distance);
    f.i64(BigInt(landings[half]!));
    f.pure('i64.lt_s');
    f.if();
    this.land(landings.slice(0, half), distance);
    f.else();
    this.land(landings.slice(half), distance);
    f.end();
  }

  /** RET: to behind a call of this region if that is where it goes. */
  private returnTo(target: Value): void {
    const { f, place } = this;
    const { local, landings, target: block } = place.instruction!;
    if (local) {
      this.push(target);
      f.set(this.target);
      this.goTo(block!, this.currentBlock());
      return;
    }
    if (landings.length > 0) this.landAt(landings, target);
    this.handOver(place.dirty);
    this.push(target);
    this.loadField('expectedReturn');
    f.pure('i64.eq');
    f.if(undefined, 'likely');
    f.i32(1);
    f.return();
    f.end();
    this.push(target);
    f.set(this.target);
    this.follow();
  }

  /** Calls an address, and goes on behind the instruction when it comes back there. */
  private callOut(pushTarget: () => void): void {
    const { f } = this;
    const flow = this.place.instruction!;
    this.handOver(flow.spilled);
    pushTarget();
    f.set(this.target);
    f.block();
    f.block();
    this.callKnown();
    f.br(1);
    f.end();
    f.get(CPU);
    f.get(REC);
    f.get(this.target);
    this.pushAddress(this.place.nextInstruction);
    f.call(this.imports.core.nestedCall);
    f.pure('i32.eqz');
    f.if(undefined, 'unlikely');
    this.leave();
    f.end();
    f.end();
    this.refresh();
    f.i32(FLAG_KIND.none);
    f.set(this.flagKind);
    this.fill(flow.reloaded);
    this.place.flags = MEMORY;
    this.place.dirty = 0;
  }

  /**
   * What nestedCall does (core.ts), where the jump cache knows the address in `target`; where it does not, leaves the
   * innermost block.
   */
  private callKnown(): void {
    const { f } = this;
    const entry = this.temporary('i32');
    const depth = this.temporary('i32');
    const epoch = this.temporary('i32');
    const expected = this.temporary('i64');
    this.loadField('callDepth');
    f.tee(depth);
    f.i32(MAXIMUM_CALL_DEPTH);
    f.pure('i32.ge_s');
    f.brIf(0, 'unlikely');
    this.leaveUnlessKnown(entry);
    this.field('expectedReturn', expected);
    this.field('codeEpoch', epoch);
    this.setField('callDepth', () => {
      f.get(depth);
      f.i32(1);
      f.pure('i32.add');
    });
    this.setField('expectedReturn', () => this.pushAddress(this.place.nextInstruction));
    pushHandlerCall(f, entry);
    f.callIndirect(this.imports.handlerType);
    f.pure('i32.eqz');
    f.if(undefined, 'unlikely');
    this.leave();
    f.end();
    this.setField('callDepth', () => f.get(depth));
    this.setField('expectedReturn', () => f.get(expected));
    this.setField('codePage', () => f.get(this.codePage));
    f.get(epoch);
    this.loadField('codeEpoch');
    f.pure('i32.ne');
    f.if(undefined, 'unlikely');
    // Code may be elsewhere now, this region's too.
    this.setField('rip', () => this.pushAddress(this.place.nextInstruction));
    this.setField('record', () => f.i32(0));
    this.leave();
    f.end();
  }

  // Flags.

  private pushFlagLocals(): void {
    const { f } = this;
    f.get(CPU);
    f.get(this.flagKind);
    f.get(this.flagFirst);
    f.get(this.flagSecond);
    f.get(this.flagCarry);
  }

  /** Pushes the operands of settleFlags but for the first. */
  private pushLazy({ first, second, carry }: Extract<StaticFlags, { kind: 'lazy' }>): void {
    const { f } = this;
    this.push(first);
    this.push(second);
    if (carry === undefined) f.i64(0n);
    else this.push(carry);
  }

  /** Notes the flags in the state, as the next region expects them. */
  private storeFlags(): void {
    const { f } = this;
    const { flags } = this.place;
    if (flags.kind === 'lazy') {
      if (flags.carry !== undefined) {
        this.flushFlags();
        return;
      }
      this.setField('flagKind', () => f.i32(FLAG_KIND[flags.name] | (flags.size << 8)));
      this.setField('flagFirst', () => this.push(flags.first));
      if (flags.name !== 'logic') this.setField('flagSecond', () => this.push(flags.second));
    } else if (flags.kind === 'dynamic') {
      this.storeDynamicFlags();
    }
  }

  private storeDynamicFlags(): void {
    const { f } = this;
    f.get(this.flagKind);
    f.if();
    f.get(this.flagKind);
    f.i32(FLAG_CARRY);
    f.pure('i32.and');
    f.if(undefined, 'unlikely');
    this.pushFlagLocals();
    f.call(this.imports.core.settleFlags);
    f.else();
    this.setField('flagKind', () => f.get(this.flagKind));
    this.setField('flagFirst', () => f.get(this.flagFirst));
    this.setField('flagSecond', () => f.get(this.flagSecond));
    f.end();
    f.end();
  }

  /** Makes the words in memory right. */
  private flushFlags(): void {
    const { f } = this;
    const { flags } = this.place;
    if (flags.kind === 'words') return;
    if (flags.kind === 'memory') {
      f.get(CPU);
      f.call(this.imports.core.settleFlagWords);
    } else if (flags.kind === 'dynamic') {
      this.pushFlagLocals();
      f.call(this.imports.core.settleFlags);
    } else {
      f.get(CPU);
      f.i32(FLAG_KIND[flags.name] | (flags.size << 8) | (flags.carry === undefined ? 0 : FLAG_CARRY));
      this.pushLazy(flags);
      f.call(this.imports.core.settleFlags);
    }
    f.i32(FLAG_KIND.none);
    f.set(this.flagKind);
    this.place.flags = WORDS;
  }

  /** The word whose bit 63 is CF. */
  private carryWord(value: Value): void {
    const { f } = this;
    const { flags } = this.place;
    if (flags.kind === 'lazy' && flags.carry !== undefined) {
      this.push(flags.carry);
    } else if (flags.kind === 'dynamic') {
      // Mostly it is that of an addition or a subtraction, and nobody asks for it in the end: what is pure can go.
      f.get(this.flagKind);
      f.i32(FLAG_CARRY | 0xff);
      f.pure('i32.and');
      f.i32(FLAG_KIND.add);
      f.pure('i32.sub');
      f.i32(FLAG_KIND.subtract - FLAG_KIND.add);
      f.pure('i32.le_u');
      f.if('i64', 'likely');
      f.get(this.flagFirst);
      f.get(this.flagSecond);
      this.pushBorrow();
      f.else();
      this.pushFlagLocals();
      f.call(this.imports.core.carryWord);
      f.end();
    } else if (flags.kind === 'lazy' && (flags.name === 'add' || flags.name === 'subtract')) {
      this.push(flags.first);
      this.push(flags.second);
      this.pushBorrow();
    } else {
      this.flushFlags();
      this.loadField('flagC');
    }
    this.keep(value);
  }

  /** The word whose bit 63 says that the first i64 on the stack is less than the second. */
  private pushBorrow(): void {
    const { f } = this;
    f.pure('i64.lt_u');
    f.pure('i64.extend_i32_u');
    f.i64(63n);
    f.pure('i64.shl');
  }

  private touchesFlags(statements: readonly Statement[]): boolean {
    return statements.some(
      (value) =>
        value.kind === 'set-flags' ||
        value.kind === 'new-flags' ||
        value.kind === 'carry-word' ||
        value.kind === 'set-carry-word' ||
        ((value.kind === 'set-field' || value.kind === 'get-field') && FLAG_FIELDS.has(value.name!)) ||
        (value.whenTrue !== undefined && (this.touchesFlags(value.whenTrue) || this.touchesFlags(value.whenFalse!))),
    );
  }

  // Statements that differ from a handler's.

  private beginInstruction(value: Statement): void {
    const { place } = this;
    this.endInstruction();
    this.releaseTemporaries();
    const at = this.instructionIndex.at(-1)!;
    const flow = at.block.instructions[at.index++]!;
    place.instruction = flow;
    place.dirty = flow.dirtyBefore;
    place.nextInstruction = value.constant as number;
    place.lengthBytes = place.nextInstruction - flow.offset;
  }

  private endInstruction(): void {
    const { place } = this;
    if (place.instruction === undefined) return;
    place.dirty = place.instruction.dirtyAfter;
    if (!place.stores) return;
    place.stores = false;
    this.leaveIfChanged(place.nextInstruction);
  }

  /** Leaves for `offset` when the instruction's store has changed code. */
  private leaveIfChanged(offset: number): void {
    const { f } = this;
    this.setTarget(offset);
    f.get(this.leaving);
    this.leaveHereIf();
  }

  /** Control is about to go elsewhere, once the instruction has had all its effects. */
  private completeInstruction(offset: number): void {
    const { place } = this;
    place.dirty = place.instruction!.dirtyAfter;
    if (place.stores) this.leaveIfChanged(offset);
  }

  protected override statement(value: Statement): void {
    const { f, place } = this;
    switch (value.kind) {
      case 'instruction':
        this.beginInstruction(value);
        return;
      case 'set-flags': {
        const readBehind = place.deadFlags.get(value);
        if (readBehind !== undefined) {
          // A carry that stays may follow from the operands all the same.
          for (const argument of readBehind) this.ensureLocal(argument);
          this.pin(value.args);
          return;
        }
        const [x, y, result] = value.args as [Value, Value, Value];
        const name = value.name as FlagKind;
        const first = name === 'subtract' ? x : result;
        const second = name === 'logic' ? result : y;
        // All are kept in locals: they may be needed at any exit from here on, and by a condition.
        for (const argument of value.args) {
          if (argument.uses > 1 || argument === first || argument === second) this.ensureLocal(argument);
        }
        this.pin(value.args);
        place.flags = { kind: 'lazy', name, size: value.size!, first, second, carry: undefined };
        f.i32(FLAG_KIND[name] | (value.size! << 8));
        f.set(this.flagKind);
        this.push(first);
        f.set(this.flagFirst);
        if (name === 'logic') return;
        this.push(second);
        f.set(this.flagSecond);
        return;
      }
      case 'new-flags':
        if (place.deadFlags.has(value)) return;
        f.i32(FLAG_KIND.none);
        f.set(this.flagKind);
        this.setField('flagKind', () => f.i32(FLAG_KIND.none));
        place.flags = WORDS;
        return;
      case 'carry-word':
        if (value.uses > 0) this.carryWord(value);
        return;
      case 'set-carry-word': {
        const carry = value.args[0]!;
        const dead = place.deadFlags.has(value);
        // A carry may follow from it all the same.
        if (!dead || carry.uses > 0) this.ensureLocal(carry);
        const local = this.locals.get(carry.id);
        if (local !== undefined) place.pinned.set(local, 'i64');
        if (dead) return;
        const { flags } = place;
        if (flags.kind === 'words') {
          this.setField('flagC', () => this.push(carry));
          return;
        }
        if (flags.kind === 'lazy') {
          place.flags = { ...flags, carry };
          f.i32(FLAG_KIND[flags.name] | (flags.size << 8) | FLAG_CARRY);
        } else {
          place.flags = DYNAMIC;
          f.get(this.flagKind);
          f.i32(FLAG_CARRY);
          f.pure('i32.or');
        }
        f.set(this.flagKind);
        this.push(carry);
        f.set(this.flagCarry);
        return;
      }
      case 'get-field':
        if (FLAG_FIELDS.has(value.name!)) {
          if (value.uses === 0) return;
          this.flushFlags();
        }
        super.statement(value);
        return;
      case 'set-field':
        if (FLAG_FIELDS.has(value.name!)) this.flushFlags();
        super.statement(value);
        return;
      case 'get-register':
        this.getRegister(value);
        return;
      case 'set-register': {
        const { offset } = value.location as { offset: number };
        if (offset >= 128) super.statement(value);
        else this.setRegister(offset, value.size!, value.args[0]!);
        return;
      }
      case 'get-vector': {
        const { offset } = value.location as { offset: number };
        f.get(this.register(16 + ((offset - XMM_OFFSET) >> 4)));
        this.keep(value);
        return;
      }
      case 'set-vector': {
        const { offset } = value.location as { offset: number };
        this.push(value.args[0]!);
        f.set(this.register(16 + ((offset - XMM_OFFSET) >> 4)));
        return;
      }
      case 'next-rip':
        if (value.uses === 0) return;
        this.pushAddress(place.nextInstruction);
        this.keep(value);
        return;
      case 'return-target':
        f.get(this.target);
        this.keep(value);
        return;
      case 'target':
        if (value.uses === 0) return;
        this.pushAddress(place.instruction!.target!);
        this.keep(value);
        return;
      case 'if':
        this.conditional(value);
        return;
      case 'jump-direct':
        this.jumpDirectTo(place.instruction!.target!, value.name === 'call');
        return;
      case 'again':
        this.completeInstruction(place.instruction!.offset);
        this.goTo(place.instruction!.offset, this.currentBlock());
        return;
      case 'jump': {
        const target = value.args[0]!;
        this.ensureLocal(target);
        place.dirty = place.instruction!.dirtyAfter;
        place.stores = false;
        if (value.name === 'return') this.returnTo(target);
        else if (value.name === 'call') this.callOut(() => this.push(target));
        else this.jumpTo(target);
        return;
      }
      case 'leave':
        // The engine has set rip; what it has changed of the registers is in memory.
        this.settleForLeave();
        this.leave();
        return;
      case 'leave-next':
        this.settleForLeave();
        this.setField('rip', () => this.pushAddress(place.nextInstruction));
        this.setField('record', () => f.i32(0));
        this.leave();
        return;
      default:
        super.statement(value);
    }
  }

  private currentBlock(): number {
    return this.instructionIndex.at(-1)!.block.instructions[0]!.offset;
  }

  private settleForLeave(): void {
    const { place } = this;
    const { flags } = place;
    this.handOver(place.instruction!.dirtyAfter);
    place.flags = flags;
  }

  private jumpDirectTo(target: number, calls: boolean): void {
    const { place } = this;
    if (calls && !place.instruction!.local) {
      place.dirty = place.instruction!.dirtyAfter;
      place.stores = false;
      this.callOut(() => this.pushAddress(target));
      return;
    }
    this.completeInstruction(target);
    if (calls) place.stores = false;
    if (this.labels.length > 0 && !this.graph.position.has(target) && !this.inBranch) {
      // An unconditional jump out of the region: a tail call, most likely.
      this.jumpOut(() => this.pushAddress(target));
      return;
    }
    this.goTo(target, this.currentBlock());
  }

  /** Within one side of a statement that branches. */
  private inBranch = false;

  private conditional(value: Statement): void {
    const { f } = this;
    const touches = this.touchesFlags(value.whenTrue!) || this.touchesFlags(value.whenFalse!);
    if (touches) {
      // The sides meet with the flags in the locals.
      this.place.flags = DYNAMIC;
    }
    const outer = this.inBranch;
    this.inBranch = true;
    const { flags, pinned } = this.place;
    const { dirty } = this.place;
    this.push(value.args[0]!);
    f.if(undefined, this.leavesFor(value.whenTrue!) ? 'unlikely' : undefined);
    this.side(value.whenTrue!);
    if (value.whenFalse!.length > 0) {
      [this.place.flags, this.place.dirty] = [flags, dirty];
      f.else();
      this.side(value.whenFalse!);
    }
    f.end();
    // What either side has pinned stays out of use until this instruction ends.
    for (const [local, type] of this.place.pinned) {
      if (!pinned.has(local)) this.place.temporaries.push({ type, local });
    }
    this.place.pinned = pinned;
    [this.place.flags, this.place.dirty] = [flags, dirty];
    this.inBranch = outer;
  }

  /** Whether this side raises an exception or jumps to where the region has no code, because nobody has gone there. */
  private leavesFor(statements: readonly Statement[]): boolean {
    const last = statements.at(-1);
    if (last?.kind === 'call') return last.name === 'raise';
    return last?.kind === 'jump-direct' && !this.graph.position.has(this.place.instruction!.target!);
  }

  private side(statements: readonly Statement[]): void {
    const before = new Map(this.place.pinned);
    this.body(statements);
    for (const [local, type] of before) this.place.pinned.set(local, type);
  }

  private ensureLocal(value: Value): void {
    if (value.kind === 'const' || this.locals.has(value.id)) return;
    this.pure(value);
    this.keep(value);
  }

  private getRegister(value: Value): void {
    const { f } = this;
    if (value.uses === 0) return;
    const { offset } = value.location as { offset: number };
    if (offset >= 128) {
      super.statement(value);
      return;
    }
    f.get(this.register(offset >> 3));
    if ((offset & 7) !== 0) {
      f.i64(8n);
      f.pure('i64.shr_u');
    }
    if (value.size! < 8) {
      f.i64((1n << BigInt(value.size! * 8)) - 1n);
      f.pure('i64.and');
    }
    this.keep(value);
  }

  private setRegister(offset: number, sizeBytes: number, value: Value): void {
    const { f } = this;
    const local = this.register(offset >> 3);
    this.push(value);
    if (sizeBytes < 8 && value.bits > sizeBytes * 8) {
      f.i64((1n << BigInt(sizeBytes * 8)) - 1n);
      f.pure('i64.and');
    }
    if (sizeBytes < 4) {
      const shift = BigInt((offset & 7) * 8);
      if (shift !== 0n) {
        f.i64(shift);
        f.pure('i64.shl');
      }
      f.get(local);
      f.i64(BigInt.asUintN(64, ~(((1n << BigInt(sizeBytes * 8)) - 1n) << shift)));
      f.pure('i64.and');
      f.pure('i64.or');
    }
    f.set(local);
  }

  protected override address(value: Value): void {
    const { f } = this;
    const place = value.memory!.place!;
    let empty = true;
    const add = (): void => {
      if (!empty) f.pure('i64.add');
      empty = false;
    };
    if (place.ripRelative) {
      f.get(this.codePage);
      add();
    }
    if (place.base >= 0) {
      f.get(this.register(place.base));
      add();
    }
    if (place.index >= 0) {
      f.get(this.register(place.index));
      if (place.scaleShift > 0) {
        f.i64(BigInt(place.scaleShift));
        f.pure('i64.shl');
      }
      add();
    }
    if (place.displacement !== 0n || empty) {
      f.i64(place.displacement);
      add();
    }
    if (value.kind === 'offset') return;
    if (place.segment !== undefined) {
      this.checkOffset();
      f.get(CPU);
      f.memory('i64.load', place.segment);
      f.pure('i64.add');
    }
    if (value.args.length > 0) {
      this.push(value.args[0]!);
      f.pure('i64.add');
    }
  }

  /** FS and GS: an offset that is not canonical is left to the instruction's own handler. */
  private checkOffset(): void {
    const { f } = this;
    const offset = this.temporary('i64');
    pushNotCanonical(f, offset);
    f.if(undefined, 'unlikely');
    this.startAgain();
    f.end();
    f.get(offset);
  }

  /** Leaves at the present instruction, which its own handler then runs. */
  protected override startAgain(): void {
    const { offset } = this.place.instruction!;
    this.leaveFor(offset === this.code.entry ? LEAVE.atEntry : LEAVE.inside);
    this.setTarget(offset);
    this.leaveHere();
  }

  protected override pushPlace(): void {
    this.f.i32(this.place.instruction!.offset);
  }

  protected override returnIfStopped(): void {
    this.loadField('stop');
    this.branchIf('stop', this.flow.exitFor(this.place.dirty));
  }

  protected override afterSlowStore(value: Statement): void {
    const { f, place } = this;
    f.set(this.leaving);
    const rest = place.lastStores.get(value);
    if (rest !== undefined) {
      // Only here can code have changed or `stop` be set: asked here alone. The instruction ends here too then.
      f.get(this.leaving);
      f.if(undefined, 'unlikely');
      this.returnIfStopped();
      const { locals } = this;
      this.locals = new Map(locals);
      for (const statement of rest) this.statement(statement);
      this.locals = locals;
      const { local, target, dirtyAfter } = place.instruction!;
      this.setTarget(local ? target! : place.nextInstruction);
      this.leaveDirty(dirtyAfter);
      f.end();
      this.afterSlowAccess(value);
      return;
    }
    place.stores = true;
    super.afterSlowStore(value);
  }

  protected override call(value: Value): void {
    const { f, place } = this;
    const name = value.name as RuntimeName;
    const signature: RuntimeSignature = RUNTIME[name];
    const stateful = needsState(name);
    this.setField('rip', () => this.pushAddress(this.place.instruction!.offset));
    this.setField('record', () => f.i32(0));
    if (stateful) {
      this.setField('instructionLength', () => f.i32(place.lengthBytes));
      this.spill(place.instruction!.spilled);
      this.flushFlags();
    }
    for (const argument of value.args) this.push(argument);
    f.call(this.imports.runtime[name]);
    if (value.type !== 'none') this.keep(value);
    if (stateful) this.refresh();
    if (!signature.stops && !stateful) return;
    if (stateful) {
      // Nothing is dirty in memory's view: what was has been spilled.
      const { dirty } = place;
      if (signature.stops) {
        place.dirty = 0;
        this.returnIfStopped();
        place.dirty = dirty;
      }
      this.fill(place.instruction!.reloaded);
      this.loadField('codeChanged');
      f.set(this.leaving);
      place.stores = true;
    } else {
      this.returnIfStopped();
    }
  }
}

/** Emits a region as one function. */
export function emitRegion(imports: Imports, code: RegionCode): FunctionWriter {
  const described = new Map<number, FlowBlock>();
  for (const [offset, block] of code.blocks)
    described.set(offset, describeBlock(block.body.body, block.next, needsState));
  const successors = (offset: number): number[] => {
    if (code.single) return [];
    const block = described.get(offset)!;
    const targets = block.instructions.flatMap(({ kind, target, landings }) =>
      kind === 'call' ? [] : [target, ...landings],
    );
    return [...targets, block.next].filter((to): to is number => to !== undefined && described.has(to));
  };
  const graph = new FlowGraph(code.entry, successors);
  const flow = new RegisterFlow(described, graph);
  return new RegionEmitter(imports, code, graph, flow).emit();
}
