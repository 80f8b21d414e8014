// `npm run bench:calls`: what a call from region to region costs, by the jump cache as regions do it and directly as
// functions of one module could. The functions are made up; how they call is as in RegionEmitter.callKnown.

import { parseArgs } from 'node:util';
import { FunctionWriter, ModuleWriter } from '../src/wasm/encoder.ts';

const HELP = `Usage: npm run bench:calls -- [options]

Calls 300 WebAssembly functions that call each other, in turns of all ways, and prints nanoseconds a call and return.

  --turns N        turns of each way (default 200)
  --format FORMAT  text (default) or json
  --help           print this

Example:
  npm run bench:calls -- --turns 50`;

const FUNCTIONS = 300;
const PAGES = 64;
const MAXIMUM_DEPTH = 12;
const RUNS_A_TURN = 20;
const WARM_UP_RUNS = 300;
const WARM_UP_MS = 2000;

/** The processor's state, and the fields of it that stand for those of the engine. */
const STATE_AT = 1024;
const EPOCH = 64;
const DEPTH = 72;
const EXPECTED_RETURN = 80;
const CODE_PAGE = 88;
const BUDGET = 96;
const WORK = 128;
const WORK_WORDS = 6;
/** For direct calls: the epoch of when a function was last known to be in place. */
const VERIFIED_AT = 4096;
const CACHE_AT = 65_536;
const CACHE_MASK = 4095;
const CODE = 0x40_0000;
const BYTES_A_FUNCTION = 13;
const A_WHILE = 2 ** 30;
const NOW = 7;

interface Way {
  readonly name: string;
  readonly direct: boolean;
  readonly functionsAModule: number;
}

const WAYS: readonly Way[] = [
  { name: 'by the jump cache, modules of 8', direct: false, functionsAModule: 8 },
  { name: 'by the jump cache, one module', direct: false, functionsAModule: FUNCTIONS },
  { name: 'directly in modules of 30', direct: true, functionsAModule: 30 },
  { name: 'directly, one module', direct: true, functionsAModule: FUNCTIONS },
];

const CPU = 0;
const calleesOf = (caller: number): number[] => [(caller * 7 + 13) % FUNCTIONS, (caller * 11 + 5) % FUNCTIONS];

function emitFunction(number: number, handlerType: number, directly: ReadonlyMap<number, number>): FunctionWriter {
  const f = new FunctionWriter(2);
  const target = f.local('i64');
  const entry = f.local('i32');
  const load = (name: 'i32.load' | 'i64.load', offset: number): void => {
    f.get(CPU);
    f.memory(name, offset);
  };
  const leaveUnless = (): void => {
    f.if(undefined, 'unlikely');
    f.i32(0);
    f.return();
    f.end();
  };
  const step = (field: number, by: number): void => {
    f.get(CPU);
    load('i32.load', field);
    f.i32(by);
    f.pure('i32.add');
    f.memory('i32.store', field);
  };
  for (let word = 0; word < WORK_WORDS; word++) {
    f.get(CPU);
    load('i64.load', WORK + 8 * ((word + 1) % WORK_WORDS));
    f.i64(BigInt(number + word));
    f.pure('i64.add');
    f.memory('i64.store', WORK + 8 * word);
  }
  step(BUDGET, -1);
  load('i32.load', BUDGET);
  f.i32(0);
  f.pure('i32.lt_s');
  leaveUnless();
  load('i32.load', DEPTH);
  f.i32(MAXIMUM_DEPTH);
  f.pure('i32.gt_s');
  f.if();
  f.i32(1);
  f.return();
  f.end();
  for (const callee of calleesOf(number)) {
    const index = directly.get(callee);
    if (index === undefined) {
      load('i64.load', CODE_PAGE);
      f.i64(BigInt(callee * BYTES_A_FUNCTION));
      f.pure('i64.add');
      f.tee(target);
      f.pure('i32.wrap_i64');
      f.get(target);
      f.i64(12n);
      f.pure('i64.shr_u');
      f.pure('i32.wrap_i64');
      f.pure('i32.xor');
      f.i32(CACHE_MASK);
      f.pure('i32.and');
      f.i32(5);
      f.pure('i32.shl');
      f.i32(CACHE_AT);
      f.pure('i32.add');
      f.tee(entry);
      f.memory('i64.load', 0);
      f.get(target);
      f.pure('i64.ne');
      f.get(entry);
      f.memory('i32.load', 8);
      load('i32.load', EPOCH);
      f.pure('i32.ne');
      f.pure('i32.or');
    } else {
      load('i32.load', EPOCH);
      f.i32(0);
      f.memory('i32.load', VERIFIED_AT + 4 * callee);
      f.pure('i32.ne');
    }
    leaveUnless();
    f.get(CPU);
    f.i64(BigInt(callee));
    f.memory('i64.store', EXPECTED_RETURN);
    step(DEPTH, 1);
    f.get(CPU);
    if (index === undefined) {
      f.get(entry);
      f.memory('i32.load', 12);
      f.get(entry);
      f.memory('i32.load', 16);
      f.callIndirect(handlerType);
    } else {
      f.i32(callee);
      f.call(index);
    }
    f.pure('i32.eqz');
    leaveUnless();
    step(DEPTH, -1);
  }
  f.i32(1);
  return f;
}

/** The functions in a table, as many to a module as the way says, and what runs the first. */
class Work {
  private readonly memory = new WebAssembly.Memory({ initial: PAGES, maximum: PAGES, shared: true });
  private readonly words = new Int32Array(this.memory.buffer);
  private readonly run: (cpu: number, record: number) => number;

  constructor({ direct, functionsAModule }: Way) {
    const runner = new ModuleWriter();
    const type = runner.type(['i32', 'i32'], ['i32']);
    runner.importMemory('env', 'memory', PAGES, PAGES);
    const run = runner.declare(type);
    runner.defineTable('table', type, FUNCTIONS, run);
    const f = new FunctionWriter(2);
    f.get(0);
    f.get(1);
    f.i32(0);
    f.callIndirect(type);
    runner.define(run, f);
    runner.export('run', run);
    const env = { memory: this.memory };
    const { exports } = new WebAssembly.Instance(new WebAssembly.Module(runner.finish()), { env });
    this.run = exports.run as (cpu: number, record: number) => number;
    for (let first = 0; first < FUNCTIONS; first += functionsAModule) {
      const module = new ModuleWriter();
      const handlerType = module.type(['i32', 'i32'], ['i32']);
      module.importMemory('env', 'memory', PAGES, PAGES);
      module.importTable('env', 'table', handlerType, FUNCTIONS);
      const indices = new Map<number, number>();
      const end = Math.min(FUNCTIONS, first + functionsAModule);
      for (let number = first; number < end; number++) indices.set(number, module.declare(handlerType));
      for (const [number, index] of indices) {
        module.define(index, emitFunction(number, handlerType, direct ? indices : new Map()));
      }
      module.element(first, [...indices.values()]);
      new WebAssembly.Instance(new WebAssembly.Module(module.finish()), { env: { ...env, table: exports.table! } });
    }
    this.fillCaches();
  }

  private fillCaches(): void {
    const { words } = this;
    const wide = new BigInt64Array(this.memory.buffer);
    wide[(STATE_AT + CODE_PAGE) >> 3] = BigInt(CODE);
    words[(STATE_AT + EPOCH) >> 2] = NOW;
    for (let number = 0; number < FUNCTIONS; number++) {
      words[(VERIFIED_AT + 4 * number) >> 2] = NOW;
      const target = CODE + number * BYTES_A_FUNCTION;
      const entry = CACHE_AT + (((target ^ (target >> 12)) & CACHE_MASK) << 5);
      if (words[(entry + 8) >> 2] !== 0) throw new Error('two functions meet in the cache');
      wide[entry >> 3] = BigInt(target);
      words.set([NOW, number, number], (entry + 8) >> 2);
    }
  }

  /** Nanoseconds a call and return. */
  time(runs: number): number {
    const { words } = this;
    words[(STATE_AT + DEPTH) >> 2] = 0;
    words[(STATE_AT + BUDGET) >> 2] = A_WHILE;
    const startMs = performance.now();
    for (let run = 0; run < runs; run++) {
      if (this.run(STATE_AT, 0) === 0) throw new Error('a call did not come back');
    }
    return ((performance.now() - startMs) * 1e6) / (A_WHILE - words[(STATE_AT + BUDGET) >> 2]!);
  }
}

const { values } = parseArgs({
  options: {
    turns: { type: 'string', default: '200' },
    format: { type: 'string', default: 'text' },
    help: { type: 'boolean', default: false },
  },
});
const turns = Number(values.turns);
if (values.help) process.stdout.write(`${HELP}\n`);
else if (!Number.isSafeInteger(turns) || turns < 1 || !['text', 'json'].includes(values.format)) {
  process.stderr.write(`bench:calls: --turns wants a whole number from 1, --format text or json\n\n${HELP}\n`);
  process.exitCode = 2;
} else {
  const works = WAYS.map((way) => ({ name: way.name, work: new Work(way), ns: [] as number[] }));
  for (const { work } of works) work.time(WARM_UP_RUNS);
  // V8 optimises on threads of its own.
  await new Promise((done) => setTimeout(done, WARM_UP_MS));
  for (let turn = 0; turn < turns; turn++) for (const { work, ns } of works) ns.push(work.time(RUNS_A_TURN));
  const rows = works.map(({ name, ns }) => {
    ns.sort((a, b) => a - b);
    return { name, medianNs: ns[ns.length >> 1]!, leastNs: ns[0]! };
  });
  if (values.format === 'json') process.stdout.write(`${JSON.stringify(rows, undefined, 2)}\n`);
  else {
    process.stdout.write(`${'nanoseconds a call and return'.padEnd(34)}median   least\n`);
    for (const { name, medianNs, leastNs } of rows) {
      process.stdout.write(`${name.padEnd(34)}${medianNs.toFixed(2).padStart(6)}${leastNs.toFixed(2).padStart(8)}\n`);
    }
  }
}
