import assert from 'node:assert/strict';
import { test } from 'node:test';
import { PURE_OPERATIONS, type PureOperation, type ValueType } from '../ir/operations.ts';
import { disassembleBody, disassembleModule, type Expression, walk } from './disassembler.ts';
import { FunctionWriter, type LaneName, type MemoryName, ModuleWriter, type PureName } from './encoder.ts';
import { LANE_OPCODES, MEMORY_OPCODES, PURE_OPCODES } from './opcodes.ts';

const HANDLER = { parameters: ['i32', 'i32'], results: ['i32'] } as const;
const CONTEXT = { types: [HANDLER], functionTypes: [HANDLER], results: 1 };

/** The statements of a body. */
function read(write: (f: FunctionWriter) => void): readonly Expression[] {
  const f = new FunctionWriter(2);
  write(f);
  return disassembleBody(f.finish().bytes, CONTEXT).body;
}

function pushZero(f: FunctionWriter, type: ValueType): void {
  if (type === 'i32') f.i32(0);
  else if (type === 'i64') f.i64(0n);
  else if (type === 'f32') f.f32(0);
  else if (type === 'f64') f.f64(0);
  else f.v128(new Uint8Array(16));
}

const names = <T extends string>(table: Record<T, number>): T[] => Object.keys(table) as T[];

test('every pure instruction is read with its operands', () => {
  for (const name of names(PURE_OPCODES)) {
    const [parameters] = PURE_OPERATIONS[name as PureOperation];
    const body = read((f) => {
      for (const type of parameters) pushZero(f, type as ValueType);
      f.pure(name as PureName);
      f.drop();
    });
    assert.equal(body.length, 1, name);
    const [read1] = body[0]!.operands;
    assert.deepEqual([body[0]!.name, read1!.name, read1!.operands.length], ['drop', name, parameters.length]);
  }
});

test('every lane instruction is read with its lane', () => {
  for (const name of names(LANE_OPCODES)) {
    const replaces = name.includes('replace');
    const body = read((f) => {
      f.v128(new Uint8Array(16));
      if (replaces) f.i32(0);
      f.lane(name as LaneName, 1);
      f.drop();
    });
    const [lane] = body[0]!.operands;
    assert.deepEqual([lane!.name, lane!.lanes, lane!.operands.length], [name, [1], replaces ? 2 : 1]);
  }
});

test('every memory instruction is read with its offset and alignment', () => {
  for (const name of names(MEMORY_OPCODES)) {
    const count = name.includes('cmpxchg') ? 3 : name.includes('.store') ? 2 : 1;
    const body = read((f) => {
      for (let k = 0; k < count; k++) f.i32(k);
      f.memory(name as MemoryName, 300, 2);
      if (!name.includes('.store')) f.drop();
    });
    assert.equal(body.length, 1, name);
    const access = name.includes('.store') ? body[0]! : body[0]!.operands[0]!;
    const { operands, offset, alignLog2 } = access;
    assert.deepEqual([access.name, operands.length, offset, alignLog2], [name, count, 300, 2]);
  }
});

/** What else a FunctionWriter can write: method -> its text as names. */
const METHODS: Readonly<Record<string, (f: FunctionWriter) => string[]>> = {
  shuffle: (f) => {
    f.v128(new Uint8Array(16).fill(255));
    f.v128(new Uint8Array(16));
    f.shuffle([...new Uint8Array(16).keys()]);
    f.drop();
    return ['v128.const', 'v128.const', 'i8x16.shuffle', 'drop'];
  },
  memoryCopy: (f) => {
    for (let k = 0; k < 3; k++) f.i32(k);
    f.memoryCopy();
    return ['i32.const', 'i32.const', 'i32.const', 'memory.copy'];
  },
  memoryFill: (f) => {
    for (let k = 0; k < 3; k++) f.i32(k);
    f.memoryFill();
    return ['i32.const', 'i32.const', 'i32.const', 'memory.fill'];
  },
  i32: (f) => {
    f.i32(-5);
    f.drop();
    return ['i32.const', 'drop'];
  },
  i64: (f) => {
    f.i64(-1n << 40n);
    f.drop();
    return ['i64.const', 'drop'];
  },
  f32: (f) => {
    f.f32(0.5);
    f.drop();
    return ['f32.const', 'drop'];
  },
  f64: (f) => {
    f.f64(0.1);
    f.drop();
    return ['f64.const', 'drop'];
  },
  v128: (f) => {
    f.v128(Uint8Array.from({ length: 16 }, (_, k) => k));
    f.drop();
    return ['v128.const', 'drop'];
  },
  get: (f) => {
    f.get(0);
    f.drop();
    return ['local.get', 'drop'];
  },
  set: (f) => {
    f.i32(0);
    f.set(1);
    return ['i32.const', 'local.set'];
  },
  tee: (f) => {
    f.i32(0);
    f.tee(1);
    f.drop();
    return ['i32.const', 'local.tee', 'drop'];
  },
  select: (f) => {
    for (let k = 0; k < 3; k++) f.i32(k);
    f.select('i32');
    f.drop();
    return ['i32.const', 'i32.const', 'i32.const', 'select', 'drop'];
  },
  if: (f) => {
    f.i32(1);
    f.if();
    f.unreachable();
    f.end();
    return ['i32.const', 'if', 'unreachable'];
  },
  else: (f) => {
    f.i32(1);
    f.if('i32');
    f.i32(2);
    f.else();
    f.get(0);
    f.end();
    f.drop();
    return ['i32.const', 'if', 'i32.const', 'local.get', 'drop'];
  },
  block: (f) => {
    f.block();
    f.br(0);
    f.end();
    return ['block', 'br'];
  },
  loop: (f) => {
    f.loop();
    f.i32(1);
    f.brIf(0);
    f.end();
    return ['loop', 'i32.const', 'br_if'];
  },
  return: (f) => {
    f.i32(0);
    f.return();
    return ['i32.const', 'return'];
  },
  drop: (f) => {
    f.i32(0);
    f.drop();
    return ['i32.const', 'drop'];
  },
  unreachable: (f) => {
    f.unreachable();
    return ['unreachable'];
  },
  call: (f) => {
    f.get(0);
    f.get(1);
    f.call(0);
    f.drop();
    return ['local.get', 'local.get', 'call', 'drop'];
  },
  callIndirect: (f) => {
    for (let k = 0; k < 3; k++) f.i32(k);
    f.callIndirect(0);
    f.drop();
    return ['i32.const', 'i32.const', 'i32.const', 'call_indirect', 'drop'];
  },
  returnCall: (f) => {
    f.get(0);
    f.get(1);
    f.returnCall(0);
    return ['local.get', 'local.get', 'return_call'];
  },
  returnCallIndirect: (f) => {
    for (let k = 0; k < 3; k++) f.i32(k);
    f.returnCallIndirect(0);
    return ['i32.const', 'i32.const', 'i32.const', 'return_call_indirect'];
  },
};

/** Tested above, within the methods of blocks, or writing nothing by themselves. */
const OTHER_METHODS = ['constructor', 'local', 'opcode', 'pure', 'lane', 'memory', 'end', 'br', 'brIf', 'finish'];

test('every other method of a function writer is read back, and none is forgotten', () => {
  for (const [method, write] of Object.entries(METHODS)) {
    let expected: string[] = [];
    const body = read((f) => {
      expected = write(f);
    });
    const found = [...walk(body)].map(({ name }) => name);
    // An else's arm comes behind the if: in the order of the tree.
    assert.deepEqual(found, expected, method);
  }
  const known = [...Object.keys(METHODS), ...OTHER_METHODS].sort();
  assert.deepEqual(Object.getOwnPropertyNames(FunctionWriter.prototype).sort(), known);
});

test('constants keep their values', () => {
  const numbers = [0, -1, 63, 64, -64, -65, 0x7fffffff, -0x80000000];
  const long = [0n, -1n, 1n << 62n, -1n << 63n, 0x123456789abcdefn];
  const body = read((f) => {
    for (const value of numbers) f.i32(value);
    for (const value of long) f.i64(value);
    f.f32(0.5);
    f.f64(-0.1);
    f.v128(Uint8Array.from({ length: 16 }, (_, k) => k * 16));
  });
  const bytes = Uint8Array.from({ length: 16 }, (_, k) => k * 16);
  assert.deepEqual(
    body.map(({ constant }) => constant),
    [...numbers, ...long, 0.5, -0.1, bytes],
  );
});

test('an operand that another instruction separates from its use keeps its place', () => {
  const body = read((f) => {
    f.get(0);
    f.i32(7);
    f.set(1);
    f.get(1);
    f.pure('i32.add');
    f.return();
  });
  assert.deepEqual(
    body.map(({ name, stacked }) => [name, stacked]),
    [
      ['local.get', undefined],
      ['local.set', undefined],
      ['return', undefined],
    ],
  );
  const [sum] = body[2]!.operands;
  assert.deepEqual([sum!.name, sum!.stacked, sum!.operands.length], ['i32.add', 1, 1]);
});

test("a module's types, imports, functions and names are read", () => {
  const module = new ModuleWriter();
  module.importMemory('env', 'memory', 1, 100);
  const handler = module.type(HANDLER.parameters, HANDLER.results);
  module.importTable('core', 'table', handler, 16);
  const imported = module.importFunction('core', 'jump', handler);
  const f = new FunctionWriter(2);
  f.local('i64');
  f.local('i64');
  f.local('v128');
  f.get(0);
  f.get(1);
  f.returnCall(imported);
  const index = module.declare(handler);
  module.define(index, f);
  module.name(index, 'region 1');
  module.element(3, [index]);
  const second = new FunctionWriter(2);
  second.i32(1);
  module.define(module.declare(handler), second);
  const { types, imports, functions } = disassembleModule(module.finish());
  assert.deepEqual(types, [HANDLER]);
  assert.deepEqual(imports, ['core.jump']);
  assert.equal(functions.length, 2);
  const [first, other] = functions;
  assert.deepEqual([first!.index, first!.name, first!.type], [1, 'region 1', HANDLER]);
  assert.deepEqual(first!.locals, ['i64', 'i64', 'v128']);
  assert.deepEqual([first!.body.length, first!.body[0]!.name, first!.body[0]!.index], [1, 'return_call', 0]);
  assert.deepEqual([other!.index, other!.name, other!.locals.length], [2, undefined, 0]);
  assert.deepEqual(
    other!.body.map(({ name }) => name),
    ['i32.const'],
  );
});

test('what the encoder does not write is refused', () => {
  assert.throws(() => disassembleBody(Uint8Array.of(3, 0, 0x06, 0x0b), CONTEXT), /no instruction that the encoder/);
  assert.throws(() => disassembleBody(Uint8Array.of(2, 0, 0x01), CONTEXT), /0x1 before/);
  assert.throws(() => disassembleBody(Uint8Array.of(4, 0, 0x00, 0x0b, 0x00), CONTEXT), /elsewhere than its size/);
  assert.throws(() => disassembleBody(Uint8Array.of(3, 0, 0x41), CONTEXT), /ends within/);
});
