// The intermediate representation and the builder that lifting functions write it with.
//
// A body is a list of statements; values are nodes in the order of their creation. Pure nodes bear WebAssembly's
// names (operations.ts). Guest integers are i64, zero-extended from their size, everywhere. Registers, memory and
// flags are reached by effect nodes, so that an emitter decides how: the interpreter's handlers take operands from
// a decoded record, translated code has them as constants.
//
// Precision: an instruction commits (registers, flags) only after its last step that can fault.

import { constantBits, foldConstants, foldIdentity, resultBits } from './fold.ts';
import type { StateField } from './guest-state.ts';
import { FLAT_SEGMENT_OFFSET, STATE } from './guest-state.ts';
import { PURE_OPERATIONS, type PureOperation, type ValueType } from './operations.ts';
import { RUNTIME, type RuntimeName, type RuntimeSignature, STATELESS_RUNTIME } from './runtime.ts';

/** Which state bytes a register operand means: known now, or a byte offset taken from a slot of the decoded record. */
export type Location =
  | { readonly kind: 'fixed'; readonly offset: number }
  | { readonly kind: 'slot'; readonly slot: RegisterSlot };
export type RegisterSlot = 'r0' | 'r1' | 'segment';

export interface RegisterLift {
  readonly kind: 'register';
  readonly file: 'gpr' | 'xmm' | 'mmx' | 'index';
  readonly location: Location;
  readonly sizeBytes: number;
}

/**
 * How an address is formed. `generic` covers every mode and segment; `segmented` is 64-bit code through FS or GS; the
 * others are 64-bit code without a segment.
 */
export type AddressShape = 'base' | 'indexed' | 'segmented' | 'generic' | 'absolute';

/** A memory operand whose parts are known: translated code has them as constants. 64-bit code only. */
export interface MemoryPlace {
  /** GPR numbers; -1 for none. */
  readonly base: number;
  readonly index: number;
  readonly scaleShift: number;
  /** Relative to the code page when `ripRelative`. */
  readonly displacement: bigint;
  readonly ripRelative: boolean;
  /** State offset of the FS or GS register, or undefined. */
  readonly segment: number | undefined;
}

export interface MemoryLift {
  readonly kind: 'memory';
  readonly shape: AddressShape;
  readonly sizeBytes: number;
  readonly place?: MemoryPlace;
}

export interface ImmediateLift {
  readonly kind: 'immediate';
  /** First and second immediate of the record, or a constant. */
  readonly value: 'imm0' | 'imm1' | bigint;
  readonly sizeBytes: number;
}

/** The target of a direct near branch: resolved by the flow operations alone. */
export interface TargetLift {
  readonly kind: 'target';
}

export type OperandLift = RegisterLift | MemoryLift | ImmediateLift | TargetLift;

/** What a lifting function sees of an instruction. */
export interface InstructionLift {
  readonly lift: string;
  readonly mnemonic: string;
  readonly condition: number;
  readonly operands: readonly OperandLift[];
  /** Effective operand size of the 'v' operands in bytes. */
  readonly operandBytes: 2 | 4 | 8;
  readonly addressBytes: 2 | 4 | 8;
  /** 64-bit code, or anything else: stack, branch and flag rules differ. */
  readonly long: boolean;
  readonly lock: boolean;
  readonly repeat: 'none' | 'repz' | 'repnz';
}

export type NodeKind =
  | 'const'
  | 'pure'
  | 'select'
  | 'lane'
  | 'replace-lane'
  | 'shuffle'
  | 'get-variable'
  | 'set-variable'
  | 'get-register'
  | 'set-register'
  | 'get-vector'
  | 'set-vector'
  | 'location'
  | 'immediate'
  | 'offset'
  | 'address'
  | 'get-field'
  | 'set-field'
  | 'scratch-get'
  | 'scratch-set'
  | 'load'
  | 'store'
  | 'load-vector'
  | 'store-vector'
  | 'modify-load'
  | 'modify-store'
  | 'call'
  | 'next-rip'
  | 'return-target'
  | 'next-record'
  | 'instruction'
  | 'set-flags'
  | 'new-flags'
  | 'carry-word'
  | 'set-carry-word'
  | 'target'
  | 'if'
  | 'jump-direct'
  | 'jump'
  | 'again'
  | 'leave'
  | 'leave-next';

/**
 * One node. Which of the optional members are set follows from `kind`. All nodes have all members in one order, so that
 * reading them costs the same everywhere.
 */
export class Value {
  readonly kind: NodeKind;
  readonly type: ValueType | 'none';
  readonly args: readonly Value[];
  readonly id: number;
  /** Operation, field, runtime function or lane instruction. */
  readonly name: string | undefined;
  readonly constant: bigint | number | Uint8Array | undefined;
  readonly location: Location | undefined;
  readonly memory: MemoryLift | undefined;
  readonly immediate: 'imm0' | 'imm1' | undefined;
  /** Bytes accessed, or the lane, or a scratch slot, as the kind says. */
  readonly size: number | undefined;
  readonly write: boolean | undefined;
  readonly lock: boolean | undefined;
  readonly lanes: readonly number[] | undefined;
  readonly variable: Variable | undefined;
  readonly whenTrue: Statement[] | undefined;
  readonly whenFalse: Statement[] | undefined;
  /** Of an instruction: offset of its direct branch's target; where its indirect jump has been seen to go. */
  readonly target: number | undefined;
  readonly landings: readonly number[] | undefined;
  /** How many low bits of an integer may be set. */
  readonly bits: number;
  uses = 0;
  /** A statement reads it behind where a pass that goes backwards is. */
  isReadBehind = false;

  constructor(kind: NodeKind, type: ValueType | 'none', args: readonly Value[], id: number, rest: ValueMembers) {
    this.kind = kind;
    this.type = type;
    this.args = args;
    this.id = id;
    this.name = rest.name;
    this.constant = rest.constant;
    this.location = rest.location;
    this.memory = rest.memory;
    this.immediate = rest.immediate;
    this.size = rest.size;
    this.write = rest.write;
    this.lock = rest.lock;
    this.lanes = rest.lanes;
    this.variable = rest.variable;
    this.whenTrue = rest.whenTrue;
    this.whenFalse = rest.whenFalse;
    this.target = rest.target;
    this.landings = rest.landings;
    this.bits = rest.bits ?? 64;
  }
}

type ValueMembers = {
  -readonly [K in Exclude<keyof Value, 'kind' | 'type' | 'args' | 'id' | 'uses' | 'isReadBehind'>]?: Value[K];
};

/** By name, as a Map finds them faster than an object of this many members. */
const OPERATIONS: ReadonlyMap<string, readonly [readonly ValueType[], ValueType]> = new Map(
  Object.entries(PURE_OPERATIONS),
);

const NO_MEMBERS: ValueMembers = {};
const NO_VALUES: readonly Value[] = [];

export type Statement = Value;

export interface Variable {
  readonly id: number;
  readonly type: ValueType;
}

/** Size of an access that must be aligned; a segment check must know, since misalignment is found first. */
export const ALIGNED_16 = 0x90;

const mask = (sizeBytes: number): bigint => (1n << BigInt(sizeBytes * 8)) - 1n;

/**
 * `increment` and `decrement` have the carry, in bit 63, in the place of the second operand; `carries` a word there
 * whose bit n is the carry out of bit n, from which CF, OF and AF follow.
 */
export type FlagKind = 'add' | 'subtract' | 'logic' | 'increment' | 'decrement' | 'carries';

/** The operation that set the flags last, so that a condition on them can be computed from its operands. */
export interface FlagSource {
  readonly kind: FlagKind;
  readonly sizeBytes: number;
  /** Operands and result, zero-extended. */
  readonly x: Value;
  readonly y: Value;
  readonly result: Value;
  /** A word in which bits 63 and 62 are the carries of a later operation that changed CF and OF alone. */
  readonly carry?: Value;
}

export class Builder {
  /** Earlier code of this body has found that SSE may be used. Only with `lazyFlags`. */
  sseChecked = false;
  /** Known only until anything else writes flags. */
  flagSource: FlagSource | undefined;
  /**
   * For translated code: flags stay operands and result (`set-flags`) until somebody reads them, and what is known of
   * the operands is used.
   */
  readonly lazyFlags: boolean;

  constructor(lazyFlags = false) {
    this.lazyFlags = lazyFlags;
  }

  readonly body: Statement[] = [];
  private block: Statement[] = this.body;
  private nextId = 0;
  private nextVariable = 0;
  /** General registers that the instruction at hand has read and not changed since, by offset and size. */
  private readonly reads = new Map<number, Value>();
  readonly variables: Variable[] = [];

  private node(
    kind: NodeKind,
    type: ValueType | 'none',
    args: readonly Value[] = NO_VALUES,
    members: ValueMembers = NO_MEMBERS,
  ): Value {
    for (const argument of args) argument.uses++;
    const value = new Value(kind, type, args, this.nextId++, members);
    if (kind !== 'const') this.block.push(value);
    return value;
  }

  // Constants and pure operations.

  i64(value: bigint | number): Value {
    return this.integer('i64', BigInt.asUintN(64, BigInt(value)));
  }

  i32(value: number): Value {
    return this.integer('i32', value | 0);
  }

  private integer(type: 'i32' | 'i64', constant: bigint | number): Value {
    const bits = this.lazyFlags ? constantBits(constant) : 64;
    return this.node('const', type, NO_VALUES, { constant, bits });
  }

  f32(value: number): Value {
    return this.node('const', 'f32', [], { constant: value });
  }

  f64(value: number): Value {
    return this.node('const', 'f64', [], { constant: value });
  }

  /** 16 bytes, lane 0 first. */
  v128(bytes: Uint8Array): Value {
    return this.node('const', 'v128', [], { constant: bytes });
  }

  /** A v128 of two 64-bit lanes, low first. */
  vector(low: bigint, high: bigint): Value {
    const bytes = new Uint8Array(16);
    const view = new DataView(bytes.buffer);
    view.setBigUint64(0, low & 0xffffffffffffffffn, true);
    view.setBigUint64(8, high & 0xffffffffffffffffn, true);
    return this.v128(bytes);
  }

  op(name: PureOperation, ...args: Value[]): Value {
    const [parameters, result] = OPERATIONS.get(name)!;
    if (args.length !== parameters.length) throw new Error(`${name} takes ${parameters.length} operands`);
    for (let k = 0; k < args.length; k++) {
      if (args[k]!.type !== parameters[k]) throw new Error(`${name}: operand ${k} is ${args[k]!.type}`);
    }
    if (!this.lazyFlags) return this.node('pure', result, args, { name });
    const constant = foldConstants(name, args);
    if (constant !== undefined) {
      return result === 'i64' ? this.i64(constant) : this.i32(Number(BigInt.asIntN(32, constant)));
    }
    const same = foldIdentity(name, args);
    if (same !== undefined) return same;
    return this.node('pure', result, args, { name, bits: result === 'i64' ? resultBits(name, args) : 32 });
  }

  add(a: Value, b: Value): Value {
    return this.op('i64.add', a, b);
  }

  sub(a: Value, b: Value): Value {
    return this.op('i64.sub', a, b);
  }

  mul(a: Value, b: Value): Value {
    return this.op('i64.mul', a, b);
  }

  and(a: Value, b: Value): Value {
    return this.op('i64.and', a, b);
  }

  or(a: Value, b: Value): Value {
    return this.op('i64.or', a, b);
  }

  xor(a: Value, b: Value): Value {
    return this.op('i64.xor', a, b);
  }

  shl(a: Value, b: Value): Value {
    return this.op('i64.shl', a, b);
  }

  shrU(a: Value, b: Value): Value {
    return this.op('i64.shr_u', a, b);
  }

  shrS(a: Value, b: Value): Value {
    return this.op('i64.shr_s', a, b);
  }

  not(a: Value): Value {
    return this.op('i64.xor', a, this.i64(-1n));
  }

  /** Comparisons give i32 0 or 1. */
  eq(a: Value, b: Value): Value {
    return this.op('i64.eq', a, b);
  }

  ne(a: Value, b: Value): Value {
    return this.op('i64.ne', a, b);
  }

  eqz(a: Value): Value {
    return this.op('i64.eqz', a);
  }

  ltU(a: Value, b: Value): Value {
    return this.op('i64.lt_u', a, b);
  }

  ltS(a: Value, b: Value): Value {
    return this.op('i64.lt_s', a, b);
  }

  /** i32 -> i64 zero-extended, and i64 -> i32. */
  extend(a: Value): Value {
    return this.op('i64.extend_i32_u', a);
  }

  wrap(a: Value): Value {
    return this.op('i32.wrap_i64', a);
  }

  /** Zero-extends the low `sizeBytes` of an i64. */
  truncate(value: Value, sizeBytes: number): Value {
    return sizeBytes >= 8 ? value : this.and(value, this.i64(mask(sizeBytes)));
  }

  /** Sign-extends the low `sizeBytes` of an i64. */
  signExtend(value: Value, sizeBytes: number): Value {
    if (sizeBytes === 1) return this.op('i64.extend8_s', value);
    if (sizeBytes === 2) return this.op('i64.extend16_s', value);
    if (sizeBytes === 4) return this.op('i64.extend32_s', value);
    return value;
  }

  /** `condition` (i32) ? a : b. */
  select(condition: Value, a: Value, b: Value): Value {
    if (condition.type !== 'i32' || a.type !== b.type) throw new Error('select: an i32 and two values of one type');
    if (this.lazyFlags && condition.kind === 'const') return condition.constant === 0 ? b : a;
    return this.node('select', a.type, [condition, a, b], { bits: Math.max(a.bits, b.bits) });
  }

  /** `i8x16.extract_lane_u` and its kin. */
  lane(name: string, vector: Value, lane: number): Value {
    const shape = name.slice(0, name.indexOf('.'));
    const type = shape === 'i64x2' ? 'i64' : shape === 'f32x4' ? 'f32' : shape === 'f64x2' ? 'f64' : 'i32';
    return this.node('lane', type, [vector], { name, size: lane });
  }

  /** `i32x4.replace_lane` and its kin. */
  replaceLane(name: string, vector: Value, lane: number, value: Value): Value {
    return this.node('replace-lane', 'v128', [vector, value], { name, size: lane });
  }

  /** i8x16.shuffle: lanes 0 to 15 from `a`, 16 to 31 from `b`. */
  shuffle(a: Value, b: Value, lanes: readonly number[]): Value {
    if (lanes.length !== 16) throw new Error('shuffle takes 16 lanes');
    return this.node('shuffle', 'v128', [a, b], { lanes });
  }

  // Variables carry values out of branches.

  variable(initial: Value): Variable {
    const variable: Variable = { id: this.nextVariable++, type: initial.type as ValueType };
    this.variables.push(variable);
    this.set(variable, initial);
    return variable;
  }

  get(variable: Variable): Value {
    return this.node('get-variable', variable.type, [], { variable });
  }

  set(variable: Variable, value: Value): void {
    if (variable.type !== value.type) throw new Error('a variable keeps its type');
    this.node('set-variable', 'none', [value], { variable });
  }

  /** Statements made by `then` run when `condition` (i32) is not 0, those of `otherwise` when it is. */
  if(condition: Value, then: () => void, otherwise?: () => void): void {
    if (condition.type !== 'i32') throw new Error('if: the condition is an i32');
    if (this.lazyFlags && condition.kind === 'const') {
      if (condition.constant !== 0) then();
      else otherwise?.();
      return;
    }
    const outer = this.block;
    const thenBlock: Statement[] = [];
    const otherwiseBlock: Statement[] = [];
    const before = this.flagSource;
    this.block = thenBlock;
    this.reads.clear();
    then();
    this.reads.clear();
    let changed = this.flagSource !== before;
    this.flagSource = before;
    if (otherwise !== undefined) {
      this.block = otherwiseBlock;
      otherwise();
      changed ||= this.flagSource !== before;
      this.reads.clear();
    }
    this.block = outer;
    this.flagSource = changed ? undefined : before;
    this.node('if', 'none', [condition], { whenTrue: thenBlock, whenFalse: otherwiseBlock });
  }

  // State.

  /** i64 for u64 fields, i32 for all others. */
  getField(name: StateField): Value {
    return this.node('get-field', STATE[name].type === 'u64' ? 'i64' : 'i32', [], { name });
  }

  setField(name: StateField, value: Value): void {
    if (value.type !== (STATE[name].type === 'u64' ? 'i64' : 'i32')) throw new Error(`${name} has another type`);
    if (name.startsWith('flag')) this.flagSource = undefined;
    this.node('set-field', 'none', [value], { name });
  }

  /** General or MMX register bytes as a zero-extended i64. */
  getRegister(location: Location, sizeBytes: number): Value {
    const members = { location, size: sizeBytes, bits: sizeBytes * 8 };
    if (!this.lazyFlags || location.kind !== 'fixed') return this.node('get-register', 'i64', [], members);
    const key = location.offset * 16 + sizeBytes;
    const known = this.reads.get(key);
    if (known !== undefined) return known;
    const value = this.node('get-register', 'i64', [], members);
    this.reads.set(key, value);
    return value;
  }

  /** Writes 1 or 2 bytes alone; 4 bytes clear the upper half; 8 bytes whole. */
  setRegister(location: Location, sizeBytes: number, value: Value): void {
    this.reads.clear();
    this.node('set-register', 'none', [value], { location, size: sizeBytes });
  }

  /** General register by number (0 rax, 1 rcx, 2 rdx, 3 rbx, 4 rsp, 5 rbp, 6 rsi, 7 rdi, 8 …). */
  gpr(index: number, sizeBytes: number): Value {
    return this.getRegister({ kind: 'fixed', offset: index * 8 }, sizeBytes);
  }

  setGpr(index: number, sizeBytes: number, value: Value): void {
    this.setRegister({ kind: 'fixed', offset: index * 8 }, sizeBytes, value);
  }

  getVector(location: Location): Value {
    return this.node('get-vector', 'v128', [], { location });
  }

  setVector(location: Location, value: Value): void {
    this.node('set-vector', 'none', [value], { location });
  }

  /** The number in a register operand's slot as an i32: an st, segment, control or debug register's index. */
  index(operand: OperandLift): Value {
    if (operand.kind !== 'register') throw new Error('index: not a register');
    if (operand.location.kind === 'fixed') return this.i32(operand.location.offset);
    return this.node('location', 'i32', [], { location: operand.location });
  }

  /** State offset of the memory operand's segment register, as an i32. */
  segmentSlot(operand: OperandLift): Value {
    if (operand.kind === 'memory' && operand.place !== undefined) {
      return this.i32(operand.place.segment ?? FLAT_SEGMENT_OFFSET);
    }
    const slot = this.node('location', 'i32', [], { location: { kind: 'slot', slot: 'segment' } });
    return this.op('i32.and', slot, this.i32(~31));
  }

  /** 16-byte scratch slots 0 to 3, shared with runtime functions. */
  getScratch(slot: number): Value {
    return this.node('scratch-get', 'v128', [], { size: slot });
  }

  setScratch(slot: number, value: Value): void {
    this.node('scratch-set', 'none', [value], { size: slot });
  }

  // Memory. Addresses are linear.

  load(address: Value, sizeBytes: number): Value {
    return this.node('load', 'i64', [address], { size: sizeBytes, bits: sizeBytes * 8 });
  }

  store(address: Value, sizeBytes: number, value: Value): void {
    this.node('store', 'none', [address, value], { size: sizeBytes });
  }

  /** 16 bytes, unaligned. */
  loadVector(address: Value): Value {
    return this.node('load-vector', 'v128', [address]);
  }

  storeVector(address: Value, value: Value): void {
    this.node('store-vector', 'none', [address, value]);
  }

  /** Effective address before segmentation, truncated to the address size: LEA. */
  offset(operand: OperandLift): Value {
    if (operand.kind !== 'memory') throw new Error('offset: not a memory operand');
    return this.node('offset', 'i64', [], { memory: operand });
  }

  /** Linear address of a memory operand, its segment checked for an access of `sizeBytes`. */
  address(operand: OperandLift, write: boolean, sizeBytes?: number): Value {
    if (operand.kind !== 'memory') throw new Error('address: not a memory operand');
    return this.node('address', 'i64', [], { memory: operand, write, size: sizeBytes ?? operand.sizeBytes });
  }

  /** Linear address `distance` (i64, signed) bytes from a memory operand's: bit strings reach beyond their operand. */
  displacedAddress(operand: OperandLift, write: boolean, distance: Value): Value {
    if (operand.kind !== 'memory') throw new Error('displacedAddress: not a memory operand');
    if (operand.shape !== 'generic' && operand.shape !== 'segmented')
      return this.add(this.address(operand, write), distance);
    return this.node('address', 'i64', [distance], { memory: operand, write, size: operand.sizeBytes });
  }

  // Operands.

  /** Reads an integer operand of at most 8 bytes. */
  read(operand: OperandLift): Value {
    switch (operand.kind) {
      case 'register':
        return this.getRegister(operand.location, operand.sizeBytes);
      case 'memory':
        return this.load(this.address(operand, false), operand.sizeBytes);
      case 'immediate':
        if (typeof operand.value === 'bigint') return this.i64(operand.value);
        return this.node('immediate', 'i64', [], { immediate: operand.value });
      case 'target':
        throw new Error('a branch target is read by the flow operations');
    }
  }

  write(operand: OperandLift, value: Value): void {
    if (operand.kind === 'register') this.setRegister(operand.location, operand.sizeBytes, value);
    else if (operand.kind === 'memory') this.store(this.address(operand, true), operand.sizeBytes, value);
    else throw new Error('only registers and memory are written');
  }

  /**
   * Read-modify-write: `change` maps the old value to the new one and may return more to do once the write has
   * succeeded. With `lock` the change is atomic; an interfering write by another processor starts the instruction
   * again.
   */
  modify(operand: OperandLift, lock: boolean, change: (old: Value) => Value): Value {
    if (operand.kind === 'register') {
      const old = this.getRegister(operand.location, operand.sizeBytes);
      this.setRegister(operand.location, operand.sizeBytes, change(old));
      return old;
    }
    return this.modifyAt(this.address(operand, true), (operand as MemoryLift).sizeBytes, lock, change);
  }

  /** Read-modify-write at a linear address. */
  modifyAt(address: Value, sizeBytes: number, lock: boolean, change: (old: Value) => Value): Value {
    const old = this.node('modify-load', 'i64', [address], { size: sizeBytes, bits: sizeBytes * 8 });
    const value = change(old);
    this.node('modify-store', 'none', [old, address, value], { size: sizeBytes, lock });
    return old;
  }

  /** Reads 16 bytes (xmm or memory; memory is checked for alignment where `aligned`). */
  readVector(operand: OperandLift, aligned = true): Value {
    if (operand.kind === 'register') return this.getVector(operand.location);
    const address = this.address(operand, false, aligned ? ALIGNED_16 : 16);
    if (aligned) this.checkAligned(address);
    return this.loadVector(address);
  }

  writeVector(operand: OperandLift, value: Value, aligned = true): void {
    if (operand.kind === 'register') {
      this.setVector(operand.location, value);
      return;
    }
    const address = this.address(operand, true, aligned ? ALIGNED_16 : 16);
    if (aligned) this.checkAligned(address);
    this.storeVector(address, value);
  }

  private checkAligned(address: Value): void {
    this.if(this.wrap(this.and(address, this.i64(15))), () => this.raise(13, 0));
  }

  // Control.

  /** Raises an exception at this instruction; what follows does not run. */
  raise(vector: number, errorCode = -1): void {
    this.call('raise', this.i32(vector), this.i32(errorCode));
  }

  call(name: RuntimeName, ...args: Value[]): Value {
    const signature: RuntimeSignature = RUNTIME[name];
    if (args.length !== signature.parameters.length) throw new Error(`${name} takes ${signature.parameters.length}`);
    for (let k = 0; k < args.length; k++) {
      if (args[k]!.type !== signature.parameters[k]) throw new Error(`${name}: argument ${k} is ${args[k]!.type}`);
    }
    if (!STATELESS_RUNTIME.has(name)) this.sseChecked = false;
    this.reads.clear();
    return this.node('call', signature.result ?? 'none', args, { name });
  }

  /** Address of the following instruction (RIP, EIP or IP as a value). */
  nextRip(): Value {
    return this.node('next-rip', 'i64');
  }

  /**
   * Marks where an instruction begins: its offset from the region's page, that of the next one, of its direct branch's
   * target and of places where its indirect jump may go. `local`: a call or a return that stays within the region.
   */
  instruction(
    offset: number,
    nextOffset: number,
    target?: number,
    landings: readonly number[] = [],
    local = false,
  ): void {
    const place = { size: offset, constant: nextOffset, landings, ...(local ? { name: 'local' } : {}) };
    this.reads.clear();
    this.node('instruction', 'none', [], target === undefined ? place : { ...place, target });
  }

  /** In a region: where the local return that has led here goes to. */
  returnTarget(): Value {
    return this.node('return-target', 'i64');
  }

  /** All arithmetic flags are about to be written: what they were does not matter. Only with `lazyFlags`. */
  newFlags(): void {
    this.flagSource = undefined;
    this.node('new-flags', 'none');
  }

  /** CF and OF alone, by the flagC word. */
  setCarryWord(word: Value): void {
    if (!this.lazyFlags) {
      this.flagSource = undefined;
      this.setField('flagC', word);
      return;
    }
    this.node('set-carry-word', 'none', [word]);
    if (this.flagSource !== undefined) this.flagSource = { ...this.flagSource, carry: word };
  }

  /** The word whose bit 63 is CF. */
  carryWord(): Value {
    return this.lazyFlags ? this.node('carry-word', 'i64') : this.getField('flagC');
  }

  /** The flags are those of this operation; see FlagSource. Only with `lazyFlags`. */
  setFlags(source: FlagSource): void {
    this.node('set-flags', 'none', [source.x, source.y, source.result], { name: source.kind, size: source.sizeBytes });
    this.flagSource = source;
  }

  /**
   * Ends the first of two instructions that share a body: operands and the address are the next record's from here on.
   */
  nextRecord(): void {
    this.node('next-record', 'none');
  }

  /** The direct branch's target, truncated to its operand size. */
  target(): Value {
    return this.node('target', 'i64');
  }

  /** Goes to the direct branch's target. */
  jumpDirect(): void {
    this.node('jump-direct', 'none');
  }

  /** The same as a call whose return address has been pushed. */
  callDirect(): void {
    this.node('jump-direct', 'none', [], { name: 'call' });
  }

  /** Goes to an address computed at run time (an offset in CS, truncated to the operand size by the caller). */
  jump(target: Value): void {
    this.node('jump', 'none', [target]);
  }

  /** The same as a call whose return address has been pushed, and as a return. */
  callTo(target: Value): void {
    this.node('jump', 'none', [target], { name: 'call' });
  }

  returnTo(target: Value): void {
    this.node('jump', 'none', [target], { name: 'return' });
  }

  /** Runs this instruction again (a repeated string instruction's next turn); interrupts are taken in between. */
  again(): void {
    this.node('again', 'none');
  }

  /** Back to the run loop, which goes on at the `rip` field. */
  leave(): void {
    this.node('leave', 'none');
  }

  /** Back to the run loop, which goes on at the following instruction. */
  leaveNext(): void {
    this.node('leave-next', 'none');
  }
}
