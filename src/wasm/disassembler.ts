// The reverse of encoder.ts: a module's bytes -> its functions, each a tree of instructions with their operands (core
// specification 2.0, chapter 5 and 6.5.9, folded instructions). It reads what the encoder can write, no more.

import { PURE_OPERATIONS, type PureOperation } from '../ir/operations.ts';
import { VALUE_TYPE_CODES, type WasmType } from './encoder.ts';
import { LANE_OPCODES, MEMORY_OPCODES, PURE_OPCODES } from './opcodes.ts';

export interface FunctionType {
  readonly parameters: readonly WasmType[];
  readonly results: readonly WasmType[];
}

/** One instruction. `name` is the specification's; which of the other members are set follows from it. */
export interface Expression {
  readonly name: string;
  readonly operands: readonly Expression[];
  /** Further operands, before these: they stand in the body already, as another instruction comes between. */
  readonly stacked?: number;
  /** How many values it leaves on the stack. */
  readonly results: number;
  /** Local, function, branch's label depth or type, as the name says. */
  readonly index?: number;
  readonly constant?: number | bigint | Uint8Array;
  /** Of a memory instruction. */
  readonly offset?: number;
  readonly alignLog2?: number;
  /** One lane, or the sixteen of a shuffle. */
  readonly lanes?: readonly number[];
  /** Of a block, loop, if or typed select. */
  readonly type?: WasmType;
  readonly body?: readonly Expression[];
  /** Of an if that has an else. */
  readonly otherwise?: readonly Expression[];
}

export interface FunctionBody {
  readonly locals: readonly WasmType[];
  readonly body: readonly Expression[];
  /** In the code section, its size field aside. */
  readonly sizeBytes: number;
}

export interface ModuleFunction extends FunctionBody {
  readonly index: number;
  readonly type: FunctionType;
  readonly name: string | undefined;
}

export interface DisassembledModule {
  readonly types: readonly FunctionType[];
  /** `module.name` of each imported function. */
  readonly imports: readonly string[];
  readonly functions: readonly ModuleFunction[];
}

/** What a body's calls take and give. */
export interface BodyContext {
  readonly types: readonly FunctionType[];
  /** By function index, imports first. */
  readonly functionTypes: readonly FunctionType[];
  readonly results: number;
}

type Shape = { readonly name: string; readonly kind: 'pure' | 'lane' | 'memory' };

const SHAPES = new Map<number, Shape>();
for (const [name, code] of Object.entries(PURE_OPCODES)) SHAPES.set(code, { name, kind: 'pure' });
for (const [name, code] of Object.entries(LANE_OPCODES)) SHAPES.set(code, { name, kind: 'lane' });
for (const [name, code] of Object.entries(MEMORY_OPCODES)) SHAPES.set(code, { name, kind: 'memory' });

const TYPE_NAMES = new Map(Object.entries(VALUE_TYPE_CODES).map(([name, code]) => [code as number, name as WasmType]));
const EMPTY_TYPE = 0x40;

class ByteReader {
  readonly bytes: Uint8Array;
  at: number;

  constructor(bytes: Uint8Array, at = 0) {
    this.bytes = bytes;
    this.at = at;
  }

  byte(): number {
    const value = this.bytes[this.at++];
    if (value === undefined) throw new Error('the code ends within an instruction');
    return value;
  }

  u32(): number {
    let value = 0;
    for (let shift = 0; ; shift += 7) {
      const byte = this.byte();
      value |= (byte & 0x7f) << shift;
      if (byte < 0x80) return value >>> 0;
    }
  }

  signed(): bigint {
    let value = 0n;
    for (let shift = 0; ; shift += 7) {
      const byte = this.byte();
      value |= BigInt(byte & 0x7f) << BigInt(shift);
      if (byte < 0x80) return BigInt.asIntN(shift + 7, value);
    }
  }

  take(count: number): Uint8Array {
    const { at } = this;
    this.at += count;
    if (this.at > this.bytes.length) throw new Error('the code ends within an instruction');
    return this.bytes.slice(at, this.at);
  }

  text(): string {
    return new TextDecoder().decode(this.take(this.u32()));
  }

  type(): WasmType {
    const code = this.byte();
    const type = TYPE_NAMES.get(code);
    if (type === undefined) throw new Error(`no value type: 0x${code.toString(16)}`);
    return type;
  }
}

/** A sequence of instructions under way: what is complete, and the values on the stack. */
class Sequence {
  readonly body: Expression[] = [];
  /** `placed` ones stand in the body already. */
  private readonly stack: { readonly expression: Expression; placed: boolean }[] = [];

  /** The operands of an instruction that takes `count`. Behind a branch there may be fewer. */
  pop(count: number): Pick<Expression, 'operands' | 'stacked'> {
    const taken = count === 0 ? [] : this.stack.splice(Math.max(0, this.stack.length - count));
    const operands = taken.filter(({ placed }) => !placed).map(({ expression }) => expression);
    const stacked = taken.length - operands.length;
    return stacked === 0 ? { operands } : { operands, stacked };
  }

  push(expression: Expression): void {
    if (expression.results > 0) {
      this.stack.push({ expression, placed: false });
      return;
    }
    this.flush();
    this.body.push(expression);
  }

  flush(): void {
    for (const value of this.stack) {
      if (!value.placed) this.body.push(value.expression);
      value.placed = true;
    }
  }
}

class BodyReader {
  private readonly reader: ByteReader;
  private readonly context: BodyContext;

  constructor(reader: ByteReader, context: BodyContext) {
    this.reader = reader;
    this.context = context;
  }

  /** Up to the `end` or `else` that closes the sequence. */
  sequence(): { body: readonly Expression[]; end: 'else' | 'end' } {
    const sequence = new Sequence();
    for (;;) {
      const code = this.opcode();
      if (code === 0x0b || code === 0x05) {
        sequence.flush();
        return { body: sequence.body, end: code === 0x0b ? 'end' : 'else' };
      }
      sequence.push(this.instruction(code, sequence));
    }
  }

  private opcode(): number {
    const first = this.reader.byte();
    return first < 0xfc ? first : (first << 16) | this.reader.u32();
  }

  private instruction(code: number, sequence: Sequence): Expression {
    const { reader } = this;
    const shape = SHAPES.get(code);
    if (shape !== undefined) return this.tabled(shape, sequence);
    const plain = (name: string, takes: number, results: number, rest: Partial<Expression> = {}): Expression => ({
      name,
      ...sequence.pop(takes),
      results,
      ...rest,
    });
    switch (code) {
      case 0x00:
        return plain('unreachable', 0, 0);
      case 0x02:
      case 0x03:
      case 0x04:
        return this.structured((['block', 'loop', 'if'] as const)[code - 2]!, sequence);
      case 0x0c:
        return plain('br', 0, 0, { index: reader.u32() });
      case 0x0d:
        return plain('br_if', 1, 0, { index: reader.u32() });
      case 0x0f:
        return plain('return', this.context.results, 0);
      case 0x10:
      case 0x12:
        return this.call(code === 0x10 ? 'call' : 'return_call', sequence);
      case 0x11:
      case 0x13:
        return this.callIndirect(code === 0x11 ? 'call_indirect' : 'return_call_indirect', sequence);
      case 0x1a:
        return plain('drop', 1, 0);
      case 0x1b:
        return plain('select', 3, 1);
      case 0x1c: {
        if (reader.u32() !== 1) throw new Error('select has one type');
        return plain('select', 3, 1, { type: reader.type() });
      }
      case 0x20:
        return plain('local.get', 0, 1, { index: reader.u32() });
      case 0x21:
        return plain('local.set', 1, 0, { index: reader.u32() });
      case 0x22:
        return plain('local.tee', 1, 1, { index: reader.u32() });
      case 0x41:
        return plain('i32.const', 0, 1, { constant: Number(reader.signed()) });
      case 0x42:
        return plain('i64.const', 0, 1, { constant: reader.signed() });
      case 0x43:
        return plain('f32.const', 0, 1, { constant: new Float32Array(reader.take(4).buffer)[0]! });
      case 0x44:
        return plain('f64.const', 0, 1, { constant: new Float64Array(reader.take(8).buffer)[0]! });
      case 0xfc000a:
        if (reader.byte() !== 0 || reader.byte() !== 0) throw new Error('there is one memory');
        return plain('memory.copy', 3, 0);
      case 0xfc000b:
        if (reader.byte() !== 0) throw new Error('there is one memory');
        return plain('memory.fill', 3, 0);
      case 0xfd000c:
        return plain('v128.const', 0, 1, { constant: reader.take(16) });
      case 0xfd000d:
        return plain('i8x16.shuffle', 2, 1, { lanes: [...reader.take(16)] });
      default:
        throw new Error(`no instruction that the encoder writes: 0x${code.toString(16)} before byte ${reader.at}`);
    }
  }

  private tabled({ name, kind }: Shape, sequence: Sequence): Expression {
    const { reader } = this;
    if (kind === 'pure') {
      const [parameters] = PURE_OPERATIONS[name as PureOperation];
      return { name, ...sequence.pop(parameters.length), results: 1 };
    }
    if (kind === 'lane') {
      const lanes = [reader.byte()];
      return { name, ...sequence.pop(name.includes('replace') ? 2 : 1), results: 1, lanes };
    }
    const [alignLog2, offset] = [reader.u32(), reader.u32()];
    const stores = name.includes('.store');
    const operands = sequence.pop(name.includes('cmpxchg') ? 3 : stores ? 2 : 1);
    return { name, ...operands, results: stores ? 0 : 1, offset, alignLog2 };
  }

  private structured(name: 'block' | 'loop' | 'if', sequence: Sequence): Expression {
    const { reader } = this;
    const operands = sequence.pop(name === 'if' ? 1 : 0);
    // What stands on the stack stays there under the block's own.
    sequence.flush();
    const type = reader.bytes[reader.at] === EMPTY_TYPE ? undefined : reader.type();
    if (type === undefined) reader.at++;
    const { body, end } = this.sequence();
    const whole = {
      name,
      ...operands,
      results: type === undefined ? 0 : 1,
      body,
      ...(type === undefined ? {} : { type }),
    };
    return end === 'else' ? { ...whole, otherwise: this.sequence().body } : whole;
  }

  private call(name: string, sequence: Sequence): Expression {
    const index = this.reader.u32();
    const type = this.context.functionTypes[index];
    if (type === undefined) throw new Error(`no function ${index}`);
    const results = name === 'call' ? type.results.length : 0;
    return { name, ...sequence.pop(type.parameters.length), results, index };
  }

  private callIndirect(name: string, sequence: Sequence): Expression {
    const index = this.reader.u32();
    if (this.reader.u32() !== 0) throw new Error('there is one table');
    const type = this.context.types[index];
    if (type === undefined) throw new Error(`no type ${index}`);
    const results = name === 'call_indirect' ? type.results.length : 0;
    return { name, ...sequence.pop(type.parameters.length + 1), results, index };
  }
}

function readBody(reader: ByteReader, context: BodyContext): FunctionBody {
  const sizeBytes = reader.u32();
  const end = reader.at + sizeBytes;
  const locals: WasmType[] = [];
  for (let runs = reader.u32(); runs > 0; runs--) {
    const count = reader.u32();
    locals.push(...new Array<WasmType>(count).fill(reader.type()));
  }
  const { body, end: closed } = new BodyReader(reader, context).sequence();
  if (closed !== 'end' || reader.at !== end) throw new Error('a body ends elsewhere than its size says');
  return { locals, body, sizeBytes };
}

/** A body as `FunctionWriter.finish` gives it. */
export function disassembleBody(bytes: Uint8Array, context: BodyContext): FunctionBody {
  return readBody(new ByteReader(bytes), context);
}

/** A module as `ModuleWriter.finish` gives it. */
export function disassembleModule(bytes: Uint8Array): DisassembledModule {
  const reader = new ByteReader(bytes, 8);
  const types: FunctionType[] = [];
  const imports: string[] = [];
  const functionTypes: FunctionType[] = [];
  const names = new Map<number, string>();
  const functions: ModuleFunction[] = [];
  const bodies: number[] = [];
  while (reader.at < bytes.length) {
    const id = reader.byte();
    const size = reader.u32();
    const end = reader.at + size;
    if (id === 1) types.push(...readVector(reader, readFunctionType));
    else if (id === 2) readImports(reader, types, imports, functionTypes);
    else if (id === 3) functionTypes.push(...readVector(reader, () => types[reader.u32()]!));
    else if (id === 10) {
      for (let left = reader.u32(); left > 0; left--) {
        bodies.push(reader.at);
        const sizeBytes = reader.u32();
        reader.at += sizeBytes;
      }
    } else if (id === 0 && reader.text() === 'name' && reader.byte() === 1) {
      reader.u32();
      for (let left = reader.u32(); left > 0; left--) names.set(reader.u32(), reader.text());
    }
    reader.at = end;
  }
  for (const [position, at] of bodies.entries()) {
    const index = imports.length + position;
    const type = functionTypes[index]!;
    const context = { types, functionTypes, results: type.results.length };
    functions.push({ index, type, name: names.get(index), ...readBody(new ByteReader(bytes, at), context) });
  }
  return { types, imports, functions };
}

function readVector<T>(reader: ByteReader, read: (reader: ByteReader) => T): T[] {
  return Array.from({ length: reader.u32() }, () => read(reader));
}

function readFunctionType(reader: ByteReader): FunctionType {
  if (reader.byte() !== 0x60) throw new Error('a type that is no function');
  const type = (): WasmType => reader.type();
  return { parameters: readVector(reader, type), results: readVector(reader, type) };
}

/** Notes the functions; steps over table and memory. */
function readImports(reader: ByteReader, types: FunctionType[], imports: string[], known: FunctionType[]): void {
  const skipLimits = (): void => {
    const hasMaximum = (reader.byte() & 1) !== 0;
    reader.u32();
    if (hasMaximum) reader.u32();
  };
  for (let left = reader.u32(); left > 0; left--) {
    const name = `${reader.text()}.${reader.text()}`;
    const kind = reader.byte();
    if (kind === 0) {
      imports.push(name);
      known.push(types[reader.u32()]!);
    } else if (kind === 1) {
      // A reference to a type of the module.
      if (reader.byte() !== 0x64) throw new Error('a table of another type');
      reader.signed();
      skipLimits();
    } else if (kind === 2) {
      skipLimits();
    } else {
      throw new Error(`no import that the encoder writes: kind ${kind}`);
    }
  }
}

/** An instruction and all that it contains, operands first, bodies behind it. */
export function* walk(body: readonly Expression[]): Generator<Expression> {
  for (const expression of body) {
    yield* walk(expression.operands);
    yield expression;
    yield* walk(expression.body ?? []);
    yield* walk(expression.otherwise ?? []);
  }
}

/** What only structures others: it costs nothing by itself. */
export const isStructure = ({ name }: Expression): boolean => name === 'block' || name === 'loop';
