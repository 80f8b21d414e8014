// What generated modules share: the memory, the table of handlers, the runtime functions and the core functions.

import { RUNTIME, type RuntimeName, type RuntimeSignature } from '../ir/runtime.ts';
import type { ModuleWriter, WasmType } from '../wasm/encoder.ts';

/** Handlers that one processor can have: of single instructions, then of regions from FIRST_REGION on. */
export const HANDLER_TABLE_SIZE = 32768;
export const FIRST_REGION = 8192;

const HANDLER: readonly WasmType[] = ['i32', 'i32'];

/** Core functions, generated once (core.ts): name -> [parameters, results]. All begin with (cpu, record). */
export const CORE = {
  slowLoad1: [['i32', 'i32', 'i64'], ['i64']],
  slowLoad2: [['i32', 'i32', 'i64'], ['i64']],
  slowLoad4: [['i32', 'i32', 'i64'], ['i64']],
  slowLoad8: [['i32', 'i32', 'i64'], ['i64']],
  slowLoad16: [['i32', 'i32', 'i64'], ['v128']],
  slowStore1: [['i32', 'i32', 'i64', 'i64'], []],
  slowStore2: [['i32', 'i32', 'i64', 'i64'], []],
  slowStore4: [['i32', 'i32', 'i64', 'i64'], []],
  slowStore8: [['i32', 'i32', 'i64', 'i64'], []],
  slowStore16: [['i32', 'i32', 'i64', 'v128'], []],
  /**
   * Read for a later write: gives the value; the host offset, or 0 when the store must go the slow way, is in scratch0.
   */
  slowModify1: [['i32', 'i32', 'i64'], ['i64']],
  slowModify2: [['i32', 'i32', 'i64'], ['i64']],
  slowModify4: [['i32', 'i32', 'i64'], ['i64']],
  slowModify8: [['i32', 'i32', 'i64'], ['i64']],
  /**
   * The same for a region: (cpu, offset of the instruction from codePage, address[, value]). A store gives whether the
   * region cannot simply go on: code has changed, or `stop` is set.
   */
  regionLoad1: [['i32', 'i32', 'i64'], ['i64']],
  regionLoad2: [['i32', 'i32', 'i64'], ['i64']],
  regionLoad4: [['i32', 'i32', 'i64'], ['i64']],
  regionLoad8: [['i32', 'i32', 'i64'], ['i64']],
  regionLoad16: [['i32', 'i32', 'i64'], ['v128']],
  regionStore1: [['i32', 'i32', 'i64', 'i64'], ['i32']],
  regionStore2: [['i32', 'i32', 'i64', 'i64'], ['i32']],
  regionStore4: [['i32', 'i32', 'i64', 'i64'], ['i32']],
  regionStore8: [['i32', 'i32', 'i64', 'i64'], ['i32']],
  regionStore16: [['i32', 'i32', 'i64', 'v128'], ['i32']],
  regionModify1: [['i32', 'i32', 'i64'], ['i64']],
  regionModify2: [['i32', 'i32', 'i64'], ['i64']],
  regionModify4: [['i32', 'i32', 'i64'], ['i64']],
  regionModify8: [['i32', 'i32', 'i64'], ['i64']],
  /** The same for an access by RSP outside the state's stackPage, which becomes its page if that can be. */
  stackLoad1: [['i32', 'i32', 'i64'], ['i64']],
  stackLoad2: [['i32', 'i32', 'i64'], ['i64']],
  stackLoad4: [['i32', 'i32', 'i64'], ['i64']],
  stackLoad8: [['i32', 'i32', 'i64'], ['i64']],
  stackLoad16: [['i32', 'i32', 'i64'], ['v128']],
  stackStore1: [['i32', 'i32', 'i64', 'i64'], ['i32']],
  stackStore2: [['i32', 'i32', 'i64', 'i64'], ['i32']],
  stackStore4: [['i32', 'i32', 'i64', 'i64'], ['i32']],
  stackStore8: [['i32', 'i32', 'i64', 'i64'], ['i32']],
  stackStore16: [['i32', 'i32', 'i64', 'v128'], ['i32']],
  stackModify1: [['i32', 'i32', 'i64'], ['i64']],
  stackModify2: [['i32', 'i32', 'i64'], ['i64']],
  stackModify4: [['i32', 'i32', 'i64'], ['i64']],
  stackModify8: [['i32', 'i32', 'i64'], ['i64']],
  /** The same for an access outside its page window; windowPage and windowAddend are the new one. */
  windowLoad1: [['i32', 'i32', 'i64'], ['i64']],
  windowLoad2: [['i32', 'i32', 'i64'], ['i64']],
  windowLoad4: [['i32', 'i32', 'i64'], ['i64']],
  windowLoad8: [['i32', 'i32', 'i64'], ['i64']],
  windowLoad16: [['i32', 'i32', 'i64'], ['v128']],
  windowStore1: [['i32', 'i32', 'i64', 'i64'], ['i32']],
  windowStore2: [['i32', 'i32', 'i64', 'i64'], ['i32']],
  windowStore4: [['i32', 'i32', 'i64', 'i64'], ['i32']],
  windowStore8: [['i32', 'i32', 'i64', 'i64'], ['i32']],
  windowStore16: [['i32', 'i32', 'i64', 'v128'], ['i32']],
  windowModify1: [['i32', 'i32', 'i64'], ['i64']],
  windowModify2: [['i32', 'i32', 'i64'], ['i64']],
  windowModify4: [['i32', 'i32', 'i64'], ['i64']],
  windowModify8: [['i32', 'i32', 'i64'], ['i64']],
  /**
   * SERVICES.translate, for an address as one number: (cpu, record, address, sizeBytes | write << 8). What the TLB has
   * as a victim changes places with the entry in its way instead.
   */
  translate: [['i32', 'i32', 'i64', 'i32'], ['i32']],
  /** The word whose bit 63 is CF, for flags as settleFlags takes them. */
  carryWord: [['i32', 'i32', 'i64', 'i64', 'i64'], ['i64']],
  /** Effective address of the record's memory operand before segmentation, truncated to its address size. */
  offset: [HANDLER, ['i64']],
  /** Linear address of the record's memory operand: (cpu, record, sizeBytes | write << 8, signed distance from it). */
  genericAddress: [['i32', 'i32', 'i32', 'i64'], ['i64']],
  /**
   * An access missed the TLB: (cpu, record, address, sizeBytes | write << 8). Fills it and runs the record again, or
   * runs the record's slow handler when the access cannot go through the TLB.
   */
  miss: [['i32', 'i32', 'i64', 'i32'], ['i32']],
  /** Runs the record's slow handler, which is the next one in the table. */
  slow: [HANDLER, ['i32']],
  /** Handler 0. */
  resume: [HANDLER, ['i32']],
  /** Writes the flag words of an operation: (cpu, kind | sizeBytes << 8, first, second), as FLAG_KIND has it. */
  writeFlagWords: [['i32', 'i32', 'i64', 'i64'], []],
  /** Writes the flag words of the operation that is noted in the state; none may be. */
  settleFlagWords: [['i32'], []],
  /**
   * Makes the words in memory those of (cpu, kind | sizeBytes << 8, first, second, carry), `none`: of what the state
   * notes. With FLAG_CARRY, flagC is `carry`.
   */
  settleFlags: [['i32', 'i32', 'i64', 'i64', 'i64'], []],
  /** Goes to an offset in CS and runs at least one instruction there by its own handler. */
  interpret: [['i32', 'i32', 'i64'], ['i32']],
  /** The target of the record's direct branch. */
  directTarget: [HANDLER, ['i64']],
  /** Goes to an offset in CS. */
  jump: [['i32', 'i32', 'i64'], ['i32']],
  /** The same for a region, which is 64-bit code: by the jump cache. */
  jumpOut: [['i32', 'i32', 'i64'], ['i32']],
  /** RET to an offset in CS: ends the nested call that expects it, or goes there. */
  ret: [['i32', 'i32', 'i64'], ['i32']],
  /**
   * A guest call: (cpu, record of the region, target, return address). 1 when it has come back there and code is where
   * it was; 0: back to the run loop.
   */
  nestedCall: [['i32', 'i32', 'i64', 'i64'], ['i32']],
  /** Goes to a direct branch's target and links it when it lies in the same page. */
  jumpDirect: [HANDLER, ['i32']],
} as const satisfies Record<string, readonly [readonly WasmType[], readonly WasmType[]]>;

/**
 * Kinds of lazily kept flags, with the two values that each keeps: `add` result and second operand, `subtract` both
 * operands, `logic` the result, `increment` and `decrement` the result and the word of the carry that stays, `carries`
 * the result and a word whose bit n is the carry out of bit n. `none`: the words in memory are right.
 */
export const FLAG_KIND = { none: 0, add: 1, subtract: 2, logic: 3, increment: 4, decrement: 5, carries: 6 } as const;

/** Added to a kind: a later operation has changed CF and OF alone, and left the word flagC. */
export const FLAG_CARRY = 0x10000;

export type CoreName = keyof typeof CORE;

/** Services of the engine: what generated code needs besides the instructions' own runtime functions. */
export const SERVICES = {
  /**
   * Translates for an access: (cpu, record, address low, address high, sizeBytes | write << 8). Fills the TLB. Gives
   * the host offset, 1 when the access must go through loadSpecial or storeSpecial, 0 when it faulted.
   */
  translate: [['i32', 'i32', 'i32', 'i32', 'i32'], ['i32']],
  /** Page-crossing, MMIO and watched accesses; the value passes through scratch memory. 0: it faulted. */
  loadSpecial: [['i32', 'i32', 'i32', 'i32', 'i32'], ['i32']],
  storeSpecial: [['i32', 'i32', 'i32', 'i32', 'i32'], ['i32']],
  /**
   * The budget is used up before the instruction at `rip`: 0 to go on with a new one, 1: back to the run loop. With the
   * record of the region that asks; 0 for code that is interpreted.
   */
  poll: [['i32', 'i32'], ['i32']],
  /** The instruction at `rip` has been jumped to often. */
  hot: [['i32'], []],
  /** Whether a region's pages are where they were when it was made: (cpu, its record). */
  verifyRegion: [['i32', 'i32'], ['i32']],
  /** The record at the `rip` field's address, decoded if need be; 0: an exception is pending. */
  resolve: [['i32'], ['i32']],
  /** The record of an instruction whose bytes go on in the next page: (cpu, its 'cross' record); 0 as above. */
  resolveCross: [['i32', 'i32'], ['i32']],
} as const satisfies Record<string, readonly [readonly WasmType[], readonly WasmType[]]>;

export type ServiceName = keyof typeof SERVICES;

/** Function indices of one module. */
export interface Imports {
  readonly core: Readonly<Record<CoreName, number>>;
  readonly services: Readonly<Record<ServiceName, number>>;
  readonly runtime: Readonly<Record<RuntimeName, number>>;
  readonly handlerType: number;
}

const names = <T extends string>(record: Record<T, unknown>): T[] => Object.keys(record) as T[];

const typeOf = (
  module: ModuleWriter,
  [parameters, results]: readonly [readonly WasmType[], readonly WasmType[]],
): number => module.type(parameters, results);

const runtimeType = (module: ModuleWriter, name: RuntimeName): number => {
  const signature: RuntimeSignature = RUNTIME[name];
  return module.type(signature.parameters, signature.result === undefined ? [] : [signature.result]);
};

/** A record whose members come to be when they are first read. */
function lazily<T extends string>(create: (name: T) => number): Readonly<Record<T, number>> {
  const known: Record<string, number> = {};
  return new Proxy(known, {
    get: (_target, name) => {
      known[name as T] ??= create(name as T);
      return known[name as T];
    },
  }) as Record<T, number>;
}

/**
 * What a module of handlers imports: memory and table, and each function when the first call of it is emitted. All
 * bodies are emitted before the module declares its functions.
 */
export function importLazily(module: ModuleWriter, maximumPages: number): Imports {
  module.importMemory('env', 'memory', 1, maximumPages);
  const handlerType = module.type(HANDLER, ['i32']);
  module.importTable('core', 'table', handlerType, HANDLER_TABLE_SIZE);
  return {
    handlerType,
    runtime: lazily((name: RuntimeName) => module.importFunction('runtime', name, runtimeType(module, name))),
    core: lazily((name: CoreName) => module.importFunction('core', name, typeOf(module, CORE[name]))),
    services: lazily((name: ServiceName) => module.importFunction('services', name, typeOf(module, SERVICES[name]))),
  };
}

/** Imports for the core module, which defines the core functions and the table. */
export function importForCore(module: ModuleWriter, maximumPages: number): Imports {
  module.importMemory('env', 'memory', 1, maximumPages);
  const handlerType = module.type(HANDLER, ['i32']);
  const runtime = {} as Record<RuntimeName, number>;
  const services = {} as Record<ServiceName, number>;
  const core = {} as Record<CoreName, number>;
  for (const name of names(RUNTIME)) runtime[name] = module.importFunction('runtime', name, runtimeType(module, name));
  for (const name of names(SERVICES)) {
    services[name] = module.importFunction('services', name, typeOf(module, SERVICES[name]));
  }
  for (const name of names(CORE)) core[name] = module.declare(typeOf(module, CORE[name]));
  // Places without a handler hold one that looks the instruction up again.
  module.defineTable('table', handlerType, HANDLER_TABLE_SIZE, core.resume);
  return { core, services, runtime, handlerType };
}
