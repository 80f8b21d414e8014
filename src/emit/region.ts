// IR -> a region: basic blocks of one page, loops included, as one WebAssembly function. Guest registers live in
// locals, loaded at the entry and spilled in one shared exit; flags stay operands and result until somebody needs the
// words.
//
// Control flow becomes structured by dominators (Ramsey, Beyond Relooper, ICFP 2022): a block with a back edge is a
// loop, a block that several forward edges reach ends a block of its own around its dominator's code. An edge that
// would make the flow irreducible leaves the region.

import type { Builder, FlagKind, Statement, Value } from '../ir/builder.ts';
import { gprOffset, STATE, XMM_OFFSET } from '../ir/guest-state.ts';
import { RUNTIME, type RuntimeName, type RuntimeSignature } from '../ir/runtime.ts';
import type { FunctionWriter } from '../wasm/encoder.ts';
import { pushDispatch, pushNotCanonical } from './core.ts';
import { FlowGraph } from './flow-graph.ts';
import { HandlerEmitter } from './handler.ts';
import { FLAG_KIND, type Imports } from './imports.ts';
import { RECORD } from './record.ts';

const CPU = 0;
const REC = 1;

/** How an instruction that the region cannot run is left to its own handler. The region's record links to it. */
const BAIL = { entry: 1, inside: 2 } as const;

/** Runtime functions that neither look at registers nor at the following address: they may run within a region. */
export const REGION_RUNTIME: ReadonlySet<string> = new Set(['raise', 'sseExact', 'pcmpstr', 'crypto', 'rdrand']);

export interface RegionBlock {
  /** Offset in the page of the first instruction. */
  readonly offset: number;
  readonly body: Builder;
  /** Target offset of the direct branch in the body, relative to the code page (it may lie outside the page). */
  readonly target: number | undefined;
  /** Where control goes behind the last instruction; undefined when it never does. */
  readonly next: number | undefined;
}

type Label = { kind: 'loop' | 'block' | 'exit'; offset: number; depth: number };
type StaticFlags =
  | { kind: 'memory' }
  | { kind: 'dynamic' }
  | { kind: 'lazy'; name: FlagKind; size: number; args: readonly Value[] };

/** Where the emitter is within the guest's code. */
interface Place {
  block: RegionBlock | undefined;
  flags: StaticFlags;
  instruction: number;
  nextInstruction: number;
  /** The instruction at hand has stored: it may have changed code. */
  stores: boolean;
}

const FLAG_FIELDS: ReadonlySet<string> = new Set(['flagZ', 'flagN', 'flagC', 'flagA']);

class RegionEmitter extends HandlerEmitter {
  private readonly blocks: ReadonlyMap<number, RegionBlock>;
  private readonly graph: FlowGraph;
  private readonly labels: Label[] = [];
  private readonly gprLocals = new Map<number, number>();
  private readonly xmmLocals = new Map<number, number>();
  private readonly writtenGprs = new Set<number>();
  private readonly writtenXmms = new Set<number>();
  private readonly codePage: number;
  /** The address that the shared exit goes to; whether it must be interpreted first. */
  private readonly target: number;
  private readonly bails: number;
  private readonly flagKind: number;
  private readonly flagX: number;
  private readonly flagY: number;
  private readonly flagResult: number;
  private readonly leaving: number;
  /** The region's entry. */
  private first = 0;
  private place: Place = {
    block: undefined,
    flags: { kind: 'dynamic' },
    instruction: 0,
    nextInstruction: 0,
    stores: false,
  };

  constructor(imports: Imports, blocks: ReadonlyMap<number, RegionBlock>, graph: FlowGraph) {
    super(imports, true, false);
    this.blocks = blocks;
    this.graph = graph;
    const { f } = this;
    this.codePage = f.local('i64');
    this.target = f.local('i64');
    this.bails = f.local('i32');
    this.flagKind = f.local('i32');
    this.flagX = f.local('i64');
    this.flagY = f.local('i64');
    this.flagResult = f.local('i64');
    this.leaving = f.local('i32');
  }

  emit(entry: number): FunctionWriter {
    const { f } = this;
    this.first = entry;
    for (const block of this.blocks.values()) this.collect(block.body.body);
    f.get(CPU);
    f.memory('i64.load', STATE.codePage.offset);
    f.set(this.codePage);
    for (const [register, local] of this.gprLocals) {
      f.get(CPU);
      f.memory('i64.load', gprOffset(register));
      f.set(local);
    }
    for (const [register, local] of this.xmmLocals) {
      f.get(CPU);
      f.memory('v128.load', XMM_OFFSET + register * 16);
      f.set(local);
    }
    f.block();
    this.open('exit', 0);
    this.tree(entry);
    f.unreachable();
    this.labels.pop();
    f.end();
    this.exit();
    return f;
  }

  /** Gives every register that the region touches a local. */
  private collect(statements: readonly Statement[]): void {
    for (const value of statements) {
      const { location } = value;
      if (location?.kind === 'fixed') {
        if (value.kind === 'get-register' || value.kind === 'set-register') {
          if (location.offset < 128) this.gpr(location.offset >> 3);
          if (value.kind === 'set-register' && location.offset < 128) this.writtenGprs.add(location.offset >> 3);
        } else if (location.offset >= XMM_OFFSET) {
          this.xmm((location.offset - XMM_OFFSET) >> 4);
          if (value.kind === 'set-vector') this.writtenXmms.add((location.offset - XMM_OFFSET) >> 4);
        }
      }
      const place = value.memory?.place;
      if (place !== undefined) {
        if (place.base >= 0) this.gpr(place.base);
        if (place.index >= 0) this.gpr(place.index);
      }
      if (value.whenTrue !== undefined) this.collect(value.whenTrue);
      if (value.whenFalse !== undefined) this.collect(value.whenFalse);
    }
  }

  private gpr(register: number): number {
    let local = this.gprLocals.get(register);
    if (local === undefined) {
      local = this.f.local('i64');
      this.gprLocals.set(register, local);
    }
    return local;
  }

  private xmm(register: number): number {
    let local = this.xmmLocals.get(register);
    if (local === undefined) {
      local = this.f.local('v128');
      this.xmmLocals.set(register, local);
    }
    return local;
  }

  // Structure.

  private tree(offset: number): void {
    const { f, graph } = this;
    const children = graph.order.filter(
      (child) => child !== offset && graph.dominator.get(child) === offset && graph.isMerge(child),
    );
    const within = (): void => this.within(offset, children.reverse());
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

  private branch(kind: Label['kind'], offset: number): void {
    const label = this.labels.findLast((open) => open.kind === kind && open.offset === offset);
    if (label === undefined) throw new Error('a branch without its label');
    this.f.br(this.f.depth - label.depth);
  }

  /** budget - 1 at a loop's head; leaves when it is used up. */
  private poll(offset: number): void {
    const { f } = this;
    f.get(CPU);
    f.get(CPU);
    f.memory('i32.load', STATE.budget.offset);
    f.i32(1);
    f.pure('i32.sub');
    f.tee(this.entry);
    f.memory('i32.store', STATE.budget.offset);
    f.get(this.entry);
    f.i32(0);
    f.pure('i32.lt_s');
    f.if();
    this.setTarget(offset);
    this.leave();
    f.end();
  }

  private blockBody(offset: number): void {
    const block = this.blocks.get(offset)!;
    // Node numbers are a block's own; a block that is emitted within another's branch must leave that one's alone.
    const outer = { ...this.place };
    this.place = { block, flags: { kind: 'dynamic' }, instruction: offset, nextInstruction: offset, stores: false };
    const [locals, variables, hosts] = [this.locals, this.variables, this.hosts];
    this.locals = new Map();
    this.variables = new Map();
    this.hosts = new Map();
    this.body(block.body.body);
    this.endInstruction();
    if (block.next !== undefined) this.goTo(block.next, block);
    this.place = outer;
    [this.locals, this.variables, this.hosts] = [locals, variables, hosts];
  }

  /** A branch to an offset relative to the code page: within the region, or out of it. */
  private goTo(offset: number, from: RegionBlock): void {
    const { graph } = this;
    this.settleFlags();
    if (!this.blocks.has(offset) || !graph.position.has(offset)) {
      this.setTarget(offset);
      this.leave();
      return;
    }
    const backward = graph.position.get(offset)! <= graph.position.get(from.offset)!;
    if (backward) {
      if (graph.dominates(offset, from.offset)) {
        this.branch('loop', offset);
      } else {
        this.setTarget(offset);
        this.leave();
      }
      return;
    }
    if (graph.isMerge(offset)) {
      this.branch('block', offset);
      return;
    }
    this.tree(offset);
  }

  private setTarget(offset: number): void {
    const { f } = this;
    f.get(this.codePage);
    f.i64(BigInt(offset));
    f.pure('i64.add');
    f.set(this.target);
  }

  /** Goes to the shared exit; the target and the dynamic flags are set. */
  private leave(): void {
    this.branch('exit', 0);
  }

  private exit(): void {
    const { f } = this;
    for (const register of this.writtenGprs) {
      f.get(CPU);
      f.get(this.gprLocals.get(register)!);
      f.memory('i64.store', gprOffset(register));
    }
    for (const register of this.writtenXmms) {
      f.get(CPU);
      f.get(this.xmmLocals.get(register)!);
      f.memory('v128.store', XMM_OFFSET + register * 16);
    }
    f.get(this.flagKind);
    f.if();
    this.pushDynamicFlags();
    f.end();
    f.get(CPU);
    f.i32(0);
    f.memory('i32.store', STATE.codeChanged.offset);
    f.get(CPU);
    f.memory('i32.load', STATE.stop.offset);
    f.if();
    f.get(CPU);
    f.get(this.target);
    f.memory('i64.store', STATE.rip.offset);
    f.get(CPU);
    f.i32(0);
    f.memory('i32.store', STATE.record.offset);
    f.return();
    f.end();
    f.get(this.bails);
    f.i32(BAIL.entry);
    f.pure('i32.eq');
    f.if();
    f.get(REC);
    f.memory('i32.load', RECORD.link);
    f.set(this.entry);
    pushDispatch(f, this.imports, this.entry);
    f.end();
    f.get(this.bails);
    f.if();
    f.get(CPU);
    f.i32(0);
    f.get(this.target);
    f.returnCall(this.imports.core.interpret);
    f.end();
    f.get(CPU);
    f.i32(0);
    f.get(this.target);
    f.returnCall(this.imports.core.jump);
  }

  private pushDynamicFlags(): void {
    const { f } = this;
    f.get(CPU);
    f.get(this.flagKind);
    f.get(this.flagX);
    f.get(this.flagY);
    f.get(this.flagResult);
    f.call(this.imports.core.writeFlagWords);
  }

  // Flags.

  /** Makes the dynamic flag locals say what is known here. */
  private settleFlags(): void {
    const { f } = this;
    const { flags } = this.place;
    if (flags.kind === 'dynamic') return;
    if (flags.kind === 'memory') {
      f.i32(FLAG_KIND.none);
      f.set(this.flagKind);
      return;
    }
    f.i32(FLAG_KIND[flags.name] | (flags.size << 8));
    f.set(this.flagKind);
    [this.flagX, this.flagY, this.flagResult].forEach((local, k) => {
      this.push(flags.args[k]!);
      f.set(local);
    });
  }

  /** Makes the words in memory right. */
  private flushFlags(): void {
    const { f } = this;
    const { flags } = this.place;
    if (flags.kind === 'memory') return;
    if (flags.kind === 'dynamic') {
      f.get(this.flagKind);
      f.if();
      this.pushDynamicFlags();
      f.end();
    } else {
      f.get(CPU);
      f.i32(FLAG_KIND[flags.name] | (flags.size << 8));
      for (const argument of flags.args) this.push(argument);
      f.call(this.imports.core.writeFlagWords);
    }
    this.place.flags = { kind: 'memory' };
  }

  private writesFlags(statements: readonly Statement[]): boolean {
    return statements.some(
      (value) =>
        value.kind === 'set-flags' ||
        (value.kind === 'set-field' && FLAG_FIELDS.has(value.name!)) ||
        (value.whenTrue !== undefined && (this.writesFlags(value.whenTrue) || this.writesFlags(value.whenFalse!))),
    );
  }

  private readsFlags(statements: readonly Statement[]): boolean {
    return statements.some(
      (value) =>
        (value.kind === 'get-field' && FLAG_FIELDS.has(value.name!)) ||
        (value.whenTrue !== undefined && (this.readsFlags(value.whenTrue) || this.readsFlags(value.whenFalse!))),
    );
  }

  // Statements that differ from a handler's.

  private endInstruction(): void {
    if (!this.place.stores) return;
    this.place.stores = false;
    this.leaveIfChanged(this.place.nextInstruction);
  }

  /** Leaves for `offset` when the instruction's store has changed code. */
  private leaveIfChanged(offset: number): void {
    const { f } = this;
    f.get(this.leaving);
    f.if();
    const { flags } = this.place;
    this.settleFlags();
    this.setTarget(offset);
    this.leave();
    this.place.flags = flags;
    f.end();
  }

  protected override statement(value: Statement): void {
    const { f } = this;
    switch (value.kind) {
      case 'instruction':
        this.endInstruction();
        this.place.instruction = value.size!;
        this.place.nextInstruction = value.constant as number;
        return;
      case 'set-flags':
        // The operands are kept in locals: they may be needed at any exit from here on.
        for (const argument of value.args) this.ensureLocal(argument);
        this.place.flags = {
          kind: 'lazy',
          name: value.name as FlagKind,
          size: value.size!,
          args: value.args,
        };
        return;
      case 'get-field':
        if (FLAG_FIELDS.has(value.name!)) this.flushFlags();
        super.statement(value);
        return;
      case 'set-field':
        if (FLAG_FIELDS.has(value.name!)) {
          this.flushFlags();
          // Marked in the dynamic locals too: the words in memory count from here on.
          f.i32(FLAG_KIND.none);
          f.set(this.flagKind);
        }
        super.statement(value);
        return;
      case 'get-register': {
        if (value.uses === 0) return;
        const { offset } = value.location as { offset: number };
        if (offset >= 128) {
          super.statement(value);
          return;
        }
        f.get(this.gpr(offset >> 3));
        if ((offset & 7) !== 0) {
          f.i64(8n);
          f.pure('i64.shr_u');
        }
        if (value.size! < 8) {
          f.i64((1n << BigInt(value.size! * 8)) - 1n);
          f.pure('i64.and');
        }
        this.keep(value);
        return;
      }
      case 'set-register': {
        const { offset } = value.location as { offset: number };
        if (offset >= 128) {
          super.statement(value);
          return;
        }
        this.setGpr(offset, value.size!, value.args[0]!);
        return;
      }
      case 'get-vector': {
        const { offset } = value.location as { offset: number };
        f.get(this.xmm((offset - XMM_OFFSET) >> 4));
        this.keep(value);
        return;
      }
      case 'set-vector': {
        const { offset } = value.location as { offset: number };
        this.push(value.args[0]!);
        f.set(this.xmm((offset - XMM_OFFSET) >> 4));
        return;
      }
      case 'next-rip':
        if (value.uses === 0) return;
        f.get(this.codePage);
        f.i64(BigInt(this.place.nextInstruction));
        f.pure('i64.add');
        this.keep(value);
        return;
      case 'target':
        if (value.uses === 0) return;
        f.get(this.codePage);
        f.i64(BigInt(this.place.block!.target!));
        f.pure('i64.add');
        this.keep(value);
        return;
      case 'if': {
        if (this.writesFlags(value.whenTrue!) || this.writesFlags(value.whenFalse!)) this.flushFlags();
        if (this.readsFlags(value.whenTrue!) || this.readsFlags(value.whenFalse!)) this.flushFlags();
        const { flags } = this.place;
        this.push(value.args[0]!);
        f.if();
        this.arm(value.whenTrue!, flags);
        if (value.whenFalse!.length > 0) {
          f.else();
          this.arm(value.whenFalse!, flags);
        }
        f.end();
        return;
      }
      case 'jump-direct':
        if (this.place.stores) this.leaveIfChanged(this.place.block!.target!);
        this.goTo(this.place.block!.target!, this.place.block!);
        return;
      case 'jump':
        this.push(value.args[0]!);
        f.set(this.target);
        this.settleFlags();
        this.leave();
        return;
      default:
        super.statement(value);
    }
  }

  /** One side of a branch. Flags that it has set are in memory when the sides meet again. */
  private arm(statements: readonly Statement[], before: StaticFlags): void {
    this.body(statements);
    if (this.writesFlags(statements)) this.flushFlags();
    this.place.flags = before;
  }

  private ensureLocal(value: Value): void {
    if (value.kind === 'const' || this.locals.has(value.id)) return;
    this.pure(value);
    this.keep(value);
  }

  private setGpr(offset: number, sizeBytes: number, value: Value): void {
    const { f } = this;
    const local = this.gpr(offset >> 3);
    if (sizeBytes === 8) {
      this.push(value);
      f.set(local);
      return;
    }
    const mask = (1n << BigInt(sizeBytes * 8)) - 1n;
    this.push(value);
    f.i64(mask);
    f.pure('i64.and');
    if (sizeBytes === 4) {
      f.set(local);
      return;
    }
    const shift = BigInt((offset & 7) * 8);
    if (shift !== 0n) {
      f.i64(shift);
      f.pure('i64.shl');
    }
    f.get(local);
    f.i64(BigInt.asUintN(64, ~(mask << shift)));
    f.pure('i64.and');
    f.pure('i64.or');
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
      f.get(this.gpr(place.base));
      add();
    }
    if (place.index >= 0) {
      f.get(this.gpr(place.index));
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
    const offset = f.local('i64');
    pushNotCanonical(f, offset);
    f.if();
    this.bail();
    f.end();
    f.get(offset);
  }

  /** Leaves at the present instruction, which its own handler then runs. */
  private bail(): void {
    const { f } = this;
    const { flags } = this.place;
    this.settleFlags();
    f.i32(this.place.instruction === this.first ? BAIL.entry : BAIL.inside);
    f.set(this.bails);
    this.setTarget(this.place.instruction);
    this.leave();
    this.place.flags = flags;
  }

  /** Before a call that may raise an exception: the address of the instruction is made known. */
  protected override beforeSlow(): void {
    const { f } = this;
    f.get(CPU);
    f.get(this.codePage);
    f.i64(BigInt(this.place.instruction));
    f.pure('i64.add');
    f.memory('i64.store', STATE.rip.offset);
  }

  protected override pushRecord(): void {
    this.f.i32(0);
  }

  protected override returnIfStopped(): void {
    const { f } = this;
    const { flags } = this.place;
    f.get(CPU);
    f.memory('i32.load', STATE.stop.offset);
    f.if();
    this.settleFlags();
    this.setTarget(this.place.instruction);
    this.leave();
    this.place.flags = flags;
    f.end();
  }

  protected override afterSlowStore(): void {
    const { f } = this;
    this.place.stores = true;
    f.get(CPU);
    f.memory('i32.load', STATE.codeChanged.offset);
    f.set(this.leaving);
  }

  protected override startAgain(): void {
    this.bail();
  }

  protected override call(value: Value): void {
    const { f } = this;
    const name = value.name as RuntimeName;
    const signature: RuntimeSignature = RUNTIME[name];
    this.beforeSlow();
    f.get(CPU);
    f.i32(0);
    f.memory('i32.store', STATE.record.offset);
    for (const argument of value.args) this.push(argument);
    f.call(this.imports.runtime[name]);
    if (value.type !== 'none') this.keep(value);
    if (signature.stops) this.returnIfStopped();
  }
}

/** Emits a region whose first block is at `entry`. */
export function emitRegion(imports: Imports, blocks: ReadonlyMap<number, RegionBlock>, entry: number): FunctionWriter {
  const successors = (offset: number): number[] => {
    const block = blocks.get(offset)!;
    return [block.target, block.next].filter((to): to is number => to !== undefined && blocks.has(to));
  };
  const graph = new FlowGraph(entry, successors);
  return new RegionEmitter(imports, blocks, graph).emit(entry);
}
