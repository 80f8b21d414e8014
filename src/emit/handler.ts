// IR -> a handler of the interpreter: one function that runs one instruction of a given form, its operands taken from
// the decoded record, and tail-calls the next record's handler.

import type { Builder, Location, Statement, Value } from '../ir/builder.ts';
import { SCRATCH_OFFSET, STATE, type StateField } from '../ir/guest-state.ts';
import { RUNTIME, type RuntimeName, type RuntimeSignature } from '../ir/runtime.ts';
import { FunctionWriter, type LaneName, type MemoryName, type PureName, type WasmType } from '../wasm/encoder.ts';
import { pushBaseSum, pushDispatch, pushIndexedSum, pushNotCanonical } from './core.ts';
import type { CoreName, Imports } from './imports.ts';
import { BRANCH_COUNT, BRANCH_JUMPS, RECORD, TLB } from './record.ts';

const CPU = 0;
const REC = 1;
const GP = 13;

const LOADS: Record<number, MemoryName> = { 1: 'i64.load8_u', 2: 'i64.load16_u', 4: 'i64.load32_u', 8: 'i64.load' };
const STORES: Record<number, MemoryName> = { 1: 'i64.store8', 2: 'i64.store16', 4: 'i64.store32', 8: 'i64.store' };
const EXCHANGES: Record<number, MemoryName> = {
  1: 'i64.atomic.rmw8.cmpxchg_u',
  2: 'i64.atomic.rmw16.cmpxchg_u',
  4: 'i64.atomic.rmw32.cmpxchg_u',
  8: 'i64.atomic.rmw.cmpxchg',
};
const SLOTS = { r0: RECORD.r0, r1: RECORD.r1, segment: RECORD.segment } as const;

/** Nodes whose value depends on nothing but their arguments: they may be computed at their use. */
export const isPure = (value: Value): boolean =>
  value.kind === 'pure' ||
  value.kind === 'select' ||
  value.kind === 'lane' ||
  value.kind === 'replace-lane' ||
  value.kind === 'shuffle';

/** Nodes that only read: dropped when nobody uses them. */
const isRead = (value: Value): boolean =>
  value.kind === 'get-register' ||
  value.kind === 'get-vector' ||
  value.kind === 'get-field' ||
  value.kind === 'get-variable' ||
  value.kind === 'scratch-get' ||
  value.kind === 'location' ||
  value.kind === 'immediate' ||
  value.kind === 'next-rip' ||
  value.kind === 'target' ||
  value.kind === 'offset';

export class HandlerEmitter {
  readonly f = new FunctionWriter(2);
  protected readonly imports: Imports;
  protected readonly long: boolean;
  protected locals = new Map<number, number>();
  protected variables = new Map<number, number>();
  /** modify-load's node id -> local with the host offset of the access, 0 for the slow way. */
  protected hosts = new Map<number, number>();
  protected readonly entry: number;
  /** The low half of the address that is looked up. */
  private readonly low: number;
  /** A TLB miss leaves the handler by a tail call and the instruction starts again. */
  protected readonly restarts: boolean;

  constructor(imports: Imports, long: boolean, restarts: boolean) {
    this.imports = imports;
    this.long = long;
    this.restarts = restarts;
    this.entry = this.f.local('i32');
    this.low = this.f.local('i32');
  }

  body(statements: readonly Statement[]): void {
    for (const statement of statements) this.statement(statement);
  }

  /** A local for a value of the instruction at hand. */
  protected temporary(type: WasmType): number {
    return this.f.local(type);
  }

  protected keep(value: Value): void {
    const local = this.temporary(value.type as WasmType);
    this.f.set(local);
    this.locals.set(value.id, local);
  }

  protected push(value: Value): void {
    const { f } = this;
    if (value.kind === 'const') {
      this.constant(value);
      return;
    }
    const local = this.locals.get(value.id);
    if (local !== undefined) {
      f.get(local);
      return;
    }
    if (!isPure(value)) throw new Error(`${value.kind} is used before it was run`);
    this.pure(value);
  }

  protected constant(value: Value): void {
    const { f } = this;
    switch (value.type) {
      case 'i32':
        f.i32(value.constant as number);
        return;
      case 'i64':
        f.i64(value.constant as bigint);
        return;
      case 'f32':
        f.f32(value.constant as number);
        return;
      case 'f64':
        f.f64(value.constant as number);
        return;
      case 'v128':
        f.v128(value.constant as Uint8Array);
        return;
      default:
        throw new Error('a constant has a type');
    }
  }

  protected pure(value: Value): void {
    const { f } = this;
    switch (value.kind) {
      case 'select':
        this.push(value.args[1]!);
        this.push(value.args[2]!);
        this.push(value.args[0]!);
        f.select(value.type as WasmType);
        return;
      case 'lane':
        this.push(value.args[0]!);
        f.lane(value.name as LaneName, value.size!);
        return;
      case 'replace-lane':
        this.push(value.args[0]!);
        this.push(value.args[1]!);
        f.lane(value.name as LaneName, value.size!);
        return;
      case 'shuffle':
        this.push(value.args[0]!);
        this.push(value.args[1]!);
        f.shuffle(value.lanes!);
        return;
      default:
        for (const argument of value.args) this.push(argument);
        f.pure(value.name as PureName);
    }
  }

  /** Pushes the host address whose static offset the caller adds, and returns that offset. */
  protected stateAddress(location: Location): number {
    const { f } = this;
    f.get(CPU);
    if (location.kind === 'fixed') return location.offset;
    f.get(REC);
    f.memory('i32.load16_u', SLOTS[location.slot]);
    f.pure('i32.add');
    return 0;
  }

  /** The family of core functions for the slow way of an access. */
  protected slowFamily(_access: Value): 'slow' | 'region' | 'stack' | 'window' {
    return 'slow';
  }

  /** Code after an access that went the slow way. */
  protected afterSlowAccess(_access: Value): void {}

  /** What says to which instruction the access belongs. */
  protected pushPlace(): void {
    this.f.get(REC);
  }

  /** Code after a store that went the slow way, which may have changed code. */
  protected afterSlowStore(value: Statement): void {
    this.afterSlowAccess(value);
    this.returnIfStopped();
  }

  /** Another processor wrote in between: the instruction starts again. */
  protected startAgain(): void {
    pushDispatch(this.f, this.imports, REC);
  }

  protected storeRecord(): void {
    this.f.get(CPU);
    this.f.get(REC);
    this.f.memory('i32.store', STATE.record.offset);
  }

  /** Back to the run loop. */
  protected leave(): void {
    this.f.i32(0);
    this.f.return();
  }

  protected returnIfStopped(): void {
    const { f } = this;
    f.get(CPU);
    f.memory('i32.load', STATE.stop.offset);
    f.if(undefined, 'unlikely');
    this.leave();
    f.end();
  }

  protected loadField(name: StateField): void {
    this.f.get(CPU);
    this.f.memory(STATE[name].type === 'u64' ? 'i64.load' : 'i32.load', STATE[name].offset);
  }

  protected core(name: CoreName): void {
    this.f.call(this.imports.core[name]);
  }

  /** An address in a local of its own, since it is used several times. */
  protected addressLocal(value: Value): number {
    const known = this.locals.get(value.id);
    if (known !== undefined) return known;
    this.push(value);
    const local = this.temporary('i64');
    this.f.set(local);
    if (value.kind !== 'const') this.locals.set(value.id, local);
    return local;
  }

  /** Looks the access up; leaves an i32 condition (hit) on the stack, with the entry in `this.entry`. */
  protected lookup(_access: Value, address: number, sizeBytes: number, write: boolean): void {
    const { f } = this;
    f.get(address);
    f.pure('i32.wrap_i64');
    f.tee(this.low);
    f.i32(12 - TLB.strideLog2);
    f.pure('i32.shr_u');
    f.i32(((1 << TLB.entriesLog2) - 1) << TLB.strideLog2);
    f.pure('i32.and');
    this.pushTlb();
    f.pure('i32.add');
    f.tee(this.entry);
    f.memory('i64.load', write ? TLB.writeTag : TLB.readTag);
    f.get(address);
    if (sizeBytes > 1) {
      // The last byte's page must be the tag's page, so that a crossing access misses by itself.
      f.i64(BigInt(sizeBytes - 1));
      f.pure('i64.add');
    }
    f.i64(-4096n);
    f.pure('i64.and');
    this.pushTlbKey();
    f.pure('i64.or');
    f.pure('i64.eq');
  }

  protected pushTlb(): void {
    this.loadField('tlb');
  }

  protected pushTlbKey(): void {
    this.loadField('tlbKey');
  }

  /** Leaves the handler when the access misses; goes on with the entry in `this.entry`. */
  protected hitOrRestart(access: Value, address: number, sizeBytes: number, write: boolean): void {
    const { f } = this;
    this.lookup(access, address, sizeBytes, write);
    f.pure('i32.eqz');
    f.if(undefined, 'unlikely');
    f.get(CPU);
    f.get(REC);
    f.get(address);
    f.i32(sizeBytes | (write ? 0x100 : 0));
    f.returnCall(this.imports.core.miss);
    f.end();
  }

  /** Pushes the host address of what was looked up last. */
  protected pushHost(_access: Value, _address: number): void {
    this.f.get(this.low);
    this.pushAddend();
    this.f.pure('i32.add');
  }

  /** Pushes the host offset less the low half of the address, for the page that was looked up last. */
  protected pushAddend(): void {
    this.f.get(this.entry);
    this.f.memory('i32.load', TLB.addend);
  }

  protected load(value: Value, sizeBytes: number): void {
    const { f } = this;
    const address = this.addressLocal(value.args[0]!);
    const type = sizeBytes === 16 ? 'v128' : 'i64';
    const result = this.temporary(type);
    if (this.restarts) {
      this.hitOrRestart(value, address, sizeBytes, false);
      this.pushHost(value, address);
      f.memory(sizeBytes === 16 ? 'v128.load' : LOADS[sizeBytes]!, 0);
      f.set(result);
      this.locals.set(value.id, result);
      return;
    }
    this.lookup(value, address, sizeBytes, false);
    f.if(undefined, 'likely');
    this.pushHost(value, address);
    f.memory(sizeBytes === 16 ? 'v128.load' : LOADS[sizeBytes]!, 0);
    f.set(result);
    f.else();
    f.get(CPU);
    this.pushPlace();
    f.get(address);
    this.core(`${this.slowFamily(value)}Load${sizeBytes}` as CoreName);
    f.set(result);
    this.afterSlowAccess(value);
    this.returnIfStopped();
    f.end();
    this.locals.set(value.id, result);
  }

  protected store(value: Value, sizeBytes: number): void {
    const { f } = this;
    const address = this.addressLocal(value.args[0]!);
    const stored = this.temporary(sizeBytes === 16 ? 'v128' : 'i64');
    this.push(value.args[1]!);
    f.set(stored);
    if (this.restarts) {
      this.hitOrRestart(value, address, sizeBytes, true);
      this.pushHost(value, address);
      f.get(stored);
      f.memory(sizeBytes === 16 ? 'v128.store' : STORES[sizeBytes]!, 0);
      return;
    }
    this.lookup(value, address, sizeBytes, true);
    f.if(undefined, 'likely');
    this.pushHost(value, address);
    f.get(stored);
    f.memory(sizeBytes === 16 ? 'v128.store' : STORES[sizeBytes]!, 0);
    f.else();
    this.slowStore(value, this.slowFamily(value), address, stored, sizeBytes);
    f.end();
  }

  private slowStore(value: Statement, family: string, address: number, stored: number, sizeBytes: number): void {
    const { f } = this;
    f.get(CPU);
    this.pushPlace();
    f.get(address);
    f.get(stored);
    this.core(`${family}Store${sizeBytes}` as CoreName);
    this.afterSlowStore(value);
  }

  protected modifyLoad(value: Value): void {
    const { f } = this;
    const size = value.size!;
    const address = this.addressLocal(value.args[0]!);
    const old = this.temporary('i64');
    const host = this.temporary('i32');
    if (this.restarts) {
      this.hitOrRestart(value, address, size, true);
      this.pushHost(value, address);
      f.tee(host);
      f.memory(LOADS[size]!, 0);
      f.set(old);
      this.locals.set(value.id, old);
      this.hosts.set(value.id, host);
      return;
    }
    this.lookup(value, address, size, true);
    f.if(undefined, 'likely');
    this.pushHost(value, address);
    f.tee(host);
    f.memory(LOADS[size]!, 0);
    f.set(old);
    f.else();
    f.get(CPU);
    this.pushPlace();
    f.get(address);
    this.core(`${this.slowFamily(value)}Modify${size}` as CoreName);
    f.set(old);
    this.afterSlowAccess(value);
    this.returnIfStopped();
    f.get(CPU);
    f.memory('i32.load', STATE.scratch0.offset);
    f.set(host);
    f.end();
    this.locals.set(value.id, old);
    this.hosts.set(value.id, host);
  }

  protected modifyStore(value: Value): void {
    const { f } = this;
    const size = value.size!;
    const [old, addressValue, changed] = value.args as [Value, Value, Value];
    const address = this.addressLocal(addressValue);
    const host = this.hosts.get(old.id)!;
    const stored = this.temporary('i64');
    this.push(changed);
    f.set(stored);
    const plain = (): void => {
      f.get(host);
      f.get(stored);
      f.memory(STORES[size]!, 0);
    };
    if (!this.restarts) {
      f.get(host);
      f.if(undefined, 'likely');
    }
    if (value.lock === true) {
      if (size > 1) {
        f.get(host);
        f.i32(size - 1);
        f.pure('i32.and');
        f.if(undefined, 'unlikely');
        plain();
        f.else();
      }
      f.get(host);
      this.push(old);
      f.get(stored);
      f.memory(EXCHANGES[size]!, 0, Math.log2(size));
      this.push(old);
      f.pure('i64.ne');
      f.if(undefined, 'unlikely');
      this.startAgain();
      f.end();
      if (size > 1) f.end();
    } else {
      plain();
    }
    if (this.restarts) return;
    f.else();
    this.slowStore(value, this.slowFamily(value), address, stored, size);
    f.end();
  }

  protected address(value: Value): void {
    const { f } = this;
    const memory = value.memory!;
    if (value.kind === 'offset') {
      if (memory.shape === 'generic') {
        f.get(CPU);
        f.get(REC);
        this.core('offset');
        return;
      }
      if (memory.shape === 'base') pushBaseSum(f, CPU, REC);
      else pushIndexedSum(f, CPU, REC);
      return;
    }
    switch (memory.shape) {
      case 'base':
        pushBaseSum(f, CPU, REC);
        return;
      case 'indexed':
        pushIndexedSum(f, CPU, REC);
        return;
      case 'absolute': {
        const offset = this.temporary('i64');
        f.get(REC);
        f.memory('i64.load', RECORD.imm0);
        pushNotCanonical(f, offset);
        f.if(undefined, 'unlikely');
        this.storeRecord();
        f.i32(GP);
        f.i32(0);
        f.call(this.imports.runtime.raise);
        this.leave();
        f.end();
        f.get(offset);
        f.get(CPU);
        f.get(REC);
        f.memory('i32.load16_u', RECORD.segment);
        f.pure('i32.add');
        f.memory('i64.load', 0);
        f.pure('i64.add');
        return;
      }
      case 'segmented':
        if (this.restarts) {
          this.segmentedAddress(value);
          return;
        }
        this.genericAddress(value);
        return;
      case 'generic':
        this.genericAddress(value);
        return;
    }
  }

  /** FS or GS in 64-bit code. An offset that is not canonical takes the slow way, which has the rules. */
  protected segmentedAddress(value: Value): void {
    const { f } = this;
    const offset = this.temporary('i64');
    pushIndexedSum(f, CPU, REC);
    pushNotCanonical(f, offset);
    f.if(undefined, 'unlikely');
    f.get(CPU);
    f.get(REC);
    f.returnCall(this.imports.core.slow);
    f.end();
    f.get(offset);
    f.get(CPU);
    f.get(REC);
    f.memory('i32.load16_u', RECORD.segment);
    f.pure('i32.add');
    f.memory('i64.load', 0);
    f.pure('i64.add');
    if (value.args.length > 0) {
      this.push(value.args[0]!);
      f.pure('i64.add');
    }
  }

  protected genericAddress(value: Value): void {
    const { f } = this;
    f.get(CPU);
    f.get(REC);
    f.i32(value.size! | (value.write === true ? 0x100 : 0));
    if (value.args.length > 0) this.push(value.args[0]!);
    else f.i64(0n);
    this.core('genericAddress');
    f.tee(this.keepLater(value));
    f.drop();
    this.returnIfStopped();
    f.get(this.locals.get(value.id)!);
  }

  protected keepLater(value: Value): number {
    const local = this.temporary(value.type as WasmType);
    this.locals.set(value.id, local);
    return local;
  }

  protected pushNextIp(): void {
    const { f } = this;
    this.loadField('codePage');
    f.get(REC);
    f.memory('i64.load16_u', RECORD.ip);
    f.pure('i64.add');
    f.get(REC);
    f.memory('i64.load8_u', RECORD.length);
    f.pure('i64.add');
    if (!this.long) {
      f.i64(0xffffffffn);
      f.pure('i64.and');
    }
  }

  protected statement(value: Statement): void {
    const { f } = this;
    if (isPure(value)) {
      if (value.uses > 1) {
        this.pure(value);
        this.keep(value);
      }
      return;
    }
    if (isRead(value) && value.uses === 0) return;
    switch (value.kind) {
      case 'get-variable':
        f.get(this.variable(value));
        this.keep(value);
        return;
      case 'set-variable':
        this.push(value.args[0]!);
        f.set(this.variable(value));
        return;
      case 'get-register': {
        const offset = this.stateAddress(value.location!);
        f.memory(LOADS[value.size!]!, offset);
        this.keep(value);
        return;
      }
      case 'set-register': {
        const offset = this.stateAddress(value.location!);
        this.push(value.args[0]!);
        if (value.size === 4) {
          f.i64(0xffffffffn);
          f.pure('i64.and');
        }
        f.memory(value.size === 4 ? 'i64.store' : STORES[value.size!]!, offset);
        return;
      }
      case 'get-vector': {
        const offset = this.stateAddress(value.location!);
        f.memory('v128.load', offset);
        this.keep(value);
        return;
      }
      case 'set-vector': {
        const offset = this.stateAddress(value.location!);
        this.push(value.args[0]!);
        f.memory('v128.store', offset);
        return;
      }
      case 'location':
        f.get(REC);
        f.memory('i32.load16_u', SLOTS[(value.location as { slot: keyof typeof SLOTS }).slot]);
        this.keep(value);
        return;
      case 'immediate':
        f.get(REC);
        if (value.immediate === 'imm0') f.memory('i64.load', RECORD.imm0);
        else f.memory('i64.load32_u', RECORD.displacement);
        this.keep(value);
        return;
      case 'offset':
      case 'address':
        this.address(value);
        this.keep(value);
        return;
      case 'get-field':
        this.loadField(value.name as StateField);
        this.keep(value);
        return;
      case 'set-field': {
        const field = STATE[value.name as StateField];
        f.get(CPU);
        this.push(value.args[0]!);
        f.memory(field.type === 'u64' ? 'i64.store' : 'i32.store', field.offset);
        return;
      }
      case 'scratch-get':
        f.get(CPU);
        f.memory('v128.load', SCRATCH_OFFSET + value.size! * 16);
        this.keep(value);
        return;
      case 'scratch-set':
        f.get(CPU);
        this.push(value.args[0]!);
        f.memory('v128.store', SCRATCH_OFFSET + value.size! * 16);
        return;
      case 'load':
        this.load(value, value.size!);
        return;
      case 'load-vector':
        this.load(value, 16);
        return;
      case 'store':
        this.store(value, value.size!);
        return;
      case 'store-vector':
        this.store(value, 16);
        return;
      case 'modify-load':
        this.modifyLoad(value);
        return;
      case 'modify-store':
        this.modifyStore(value);
        return;
      case 'call':
        this.call(value);
        return;
      case 'next-rip':
        this.pushNextIp();
        this.keep(value);
        return;
      case 'target':
        f.get(CPU);
        f.get(REC);
        this.core('directTarget');
        this.keep(value);
        return;
      case 'next-record':
        f.get(REC);
        f.i32(RECORD.sizeBytes);
        f.pure('i32.add');
        f.set(REC);
        return;
      case 'if':
        this.push(value.args[0]!);
        f.if();
        this.body(value.whenTrue!);
        if (value.whenFalse!.length > 0) {
          f.else();
          this.body(value.whenFalse!);
        }
        f.end();
        return;
      case 'jump-direct':
        this.jumpDirect();
        return;
      case 'jump':
        f.get(CPU);
        f.get(REC);
        this.push(value.args[0]!);
        f.returnCall(value.name === 'return' ? this.imports.core.ret : this.imports.core.jump);
        return;
      case 'again':
        this.again();
        return;
      case 'leave':
        f.get(CPU);
        f.i32(0);
        f.memory('i32.store', STATE.record.offset);
        this.leave();
        return;
      case 'leave-next':
        f.get(CPU);
        this.pushNextIp();
        f.memory('i64.store', STATE.rip.offset);
        f.get(CPU);
        f.i32(0);
        f.memory('i32.store', STATE.record.offset);
        this.leave();
        return;
      default:
        throw new Error(`no statement: ${value.kind}`);
    }
  }

  protected variable(value: Value): number {
    const id = value.variable!.id;
    let local = this.variables.get(id);
    if (local === undefined) {
      local = this.temporary(value.variable!.type);
      this.variables.set(id, local);
    }
    return local;
  }

  protected call(value: Value): void {
    const { f } = this;
    const name = value.name as RuntimeName;
    const signature: RuntimeSignature = RUNTIME[name];
    this.storeRecord();
    for (const argument of value.args) this.push(argument);
    f.call(this.imports.runtime[name]);
    if (value.type !== 'none') this.keep(value);
    if (name === 'raise') this.leave();
    else if (signature.stops) this.returnIfStopped();
  }

  protected jumpDirect(): void {
    const { f } = this;
    const link = this.temporary('i32');
    const budget = this.temporary('i32');
    const count = this.temporary('i32');
    f.get(REC);
    f.memory('i32.load', RECORD.link);
    f.tee(link);
    f.if(undefined, 'likely');
    f.get(CPU);
    this.loadField('budget');
    f.get(REC);
    f.memory('i32.load16_u', BRANCH_JUMPS);
    f.pure('i32.sub');
    f.tee(budget);
    f.memory('i32.store', STATE.budget.offset);
    f.get(budget);
    f.get(REC);
    f.memory('i32.load', BRANCH_COUNT);
    f.i32(1);
    f.pure('i32.sub');
    f.tee(count);
    f.pure('i32.or');
    f.i32(0);
    f.pure('i32.ge_s');
    f.if(undefined, 'likely');
    f.get(REC);
    f.get(count);
    f.memory('i32.store', BRANCH_COUNT);
    pushDispatch(f, this.imports, link);
    f.end();
    f.end();
    f.get(CPU);
    f.get(REC);
    f.returnCall(this.imports.core.jumpDirect);
  }

  protected again(): void {
    const { f } = this;
    const budget = this.temporary('i32');
    f.get(CPU);
    this.loadField('budget');
    f.i32(1);
    f.pure('i32.sub');
    f.tee(budget);
    f.memory('i32.store', STATE.budget.offset);
    f.get(budget);
    f.i32(0);
    f.pure('i32.ge_s');
    f.if(undefined, 'likely');
    pushDispatch(f, this.imports, REC);
    f.end();
    f.get(CPU);
    this.loadField('codePage');
    f.get(REC);
    f.memory('i64.load16_u', RECORD.ip);
    f.pure('i64.add');
    f.memory('i64.store', STATE.rip.offset);
    f.get(CPU);
    f.i32(0);
    f.memory('i32.store', STATE.record.offset);
    this.leave();
  }

  /** Goes to the following record. */
  next(): void {
    const { f } = this;
    const next = this.temporary('i32');
    f.get(REC);
    f.i32(RECORD.sizeBytes);
    f.pure('i32.add');
    f.set(next);
    pushDispatch(f, this.imports, next);
  }
}

/** The accesses to memory and calls to the engine that a body contains, branches included. */
function countEffects(statements: readonly Statement[]): { accesses: number; calls: number } {
  let accesses = 0;
  let calls = 0;
  for (const { kind, name, whenTrue, whenFalse } of statements) {
    if (kind === 'load' || kind === 'store' || kind === 'load-vector' || kind === 'store-vector') accesses++;
    else if (kind === 'modify-load') accesses++;
    else if (kind === 'call' && name !== 'raise') calls++;
    for (const block of [whenTrue, whenFalse]) {
      if (block === undefined) continue;
      const inner = countEffects(block);
      accesses += inner.accesses;
      calls += inner.calls;
    }
  }
  return { accesses, calls };
}

/**
 * Whether a body may start again after a TLB miss: it has one access, so that two of them cannot evict each other for
 * ever, and nothing before the access has an effect.
 */
export function canRestart(b: Builder): boolean {
  const { accesses, calls } = countEffects(b.body);
  return accesses === 1 && calls === 0;
}

/**
 * Emits one handler from a lifted body. `long`: the form belongs to 64-bit code. `restarts`: the quick twin, which
 * leaves at a TLB miss; the handler behind it in the table is the same without.
 */
export function emitHandler(b: Builder, imports: Imports, long: boolean, restarts: boolean): FunctionWriter {
  const emitter = new HandlerEmitter(imports, long, restarts);
  emitter.body(b.body);
  emitter.next();
  return emitter.f;
}

/** Handler 1: back to the run loop with `rip` at this place; ends a single step. */
export function emitLeave(): FunctionWriter {
  const f = new FunctionWriter(2);
  f.get(CPU);
  f.get(CPU);
  f.memory('i64.load', STATE.codePage.offset);
  f.get(REC);
  f.memory('i64.load16_u', RECORD.ip);
  f.pure('i64.add');
  f.memory('i64.store', STATE.rip.offset);
  f.get(CPU);
  f.i32(0);
  f.memory('i32.store', STATE.record.offset);
  f.i32(0);
  return f;
}

/** Goes on at the record in the link: a run that runs into another one. */
export function emitLink(imports: Imports): FunctionWriter {
  const f = new FunctionWriter(2);
  const link = f.local('i32');
  f.get(REC);
  f.memory('i32.load', RECORD.link);
  f.set(link);
  pushDispatch(f, imports, link);
  return f;
}

/**
 * `cross`: asks the engine for the record of an instruction that reaches into the next page, and runs it.
 * `invalid` and `too-long`: #UD and #GP(0).
 */
export function emitRuntimeHandler(imports: Imports, kind: 'cross' | 'invalid' | 'too-long'): FunctionWriter {
  const f = new FunctionWriter(2);
  f.get(CPU);
  f.get(REC);
  f.memory('i32.store', STATE.record.offset);
  if (kind === 'cross') {
    const found = f.local('i32');
    f.get(CPU);
    f.get(REC);
    f.call(imports.services.resolveCross);
    f.tee(found);
    f.if();
    pushDispatch(f, imports, found);
    f.end();
    f.i32(0);
    return f;
  }
  f.i32(kind === 'invalid' ? 6 : 13);
  f.i32(kind === 'invalid' ? -1 : 0);
  f.call(imports.runtime.raise);
  f.i32(0);
  return f;
}
