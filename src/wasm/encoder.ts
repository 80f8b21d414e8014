// WebAssembly's binary format (core specification 2.0, chapter 5, with tail calls): a writer of bytes, a function
// body and a module. It knows nothing of x86.

import { LANE_OPCODES, MEMORY_OPCODES, PURE_OPCODES } from './opcodes.ts';

export const VALUE_TYPE_CODES = { i32: 0x7f, i64: 0x7e, f32: 0x7d, f64: 0x7c, v128: 0x7b } as const;
export type WasmType = keyof typeof VALUE_TYPE_CODES;

/** How a condition usually is; compilers lay code out and keep registers by it. */
export type Likelihood = 'likely' | 'unlikely';

export type PureName = keyof typeof PURE_OPCODES;
export type LaneName = keyof typeof LANE_OPCODES;
export type MemoryName = keyof typeof MEMORY_OPCODES;

/** By name, as a Map finds them faster than an object of this many members. */
const PURE_CODES: ReadonlyMap<string, number> = new Map(Object.entries(PURE_OPCODES));
const MEMORY_CODES: ReadonlyMap<string, number> = new Map(Object.entries(MEMORY_OPCODES));

const encoder = new TextEncoder();
/** Names that recur in every module, encoded. */
const encodedNames = new Map<string, Uint8Array>();

function encodeName(text: string): Uint8Array {
  let encoded = encodedNames.get(text);
  if (encoded === undefined) {
    encoded = encoder.encode(text);
    encodedNames.set(text, encoded);
  }
  return encoded;
}

/** A growing byte buffer with LEB128 numbers (5.2.2). */
export class ByteWriter {
  private buffer: Uint8Array<ArrayBuffer>;
  length = 0;

  constructor(capacityBytes = 64) {
    this.buffer = new Uint8Array(capacityBytes);
  }

  private reserve(count: number): void {
    if (this.length + count <= this.buffer.length) return;
    const grown = new Uint8Array(Math.max(this.buffer.length * 2, this.length + count));
    grown.set(this.buffer.subarray(0, this.length));
    this.buffer = grown;
  }

  byte(value: number): void {
    if (this.length === this.buffer.length) this.reserve(1);
    this.buffer[this.length++] = value;
  }

  u32(value: number): void {
    if (value >= 0 && value < 0x80) {
      this.byte(value);
      return;
    }
    let rest = value >>> 0;
    while (rest >= 0x80) {
      this.byte((rest & 0x7f) | 0x80);
      rest >>>= 7;
    }
    this.byte(rest);
  }

  s32(value: number): void {
    let rest = value | 0;
    for (;;) {
      const low = rest & 0x7f;
      rest >>= 7;
      if ((rest === 0 && (low & 0x40) === 0) || (rest === -1 && (low & 0x40) !== 0)) {
        this.byte(low);
        return;
      }
      this.byte(low | 0x80);
    }
  }

  s64(value: bigint): void {
    if (value >= -64n && value < 64n) {
      this.byte(Number(value) & 0x7f);
      return;
    }
    let rest = BigInt.asIntN(64, value);
    if (rest >= -0x80000000n && rest <= 0x7fffffffn) {
      this.s32(Number(rest));
      return;
    }
    for (;;) {
      const low = Number(rest & 0x7fn);
      rest >>= 7n;
      if ((rest === 0n && (low & 0x40) === 0) || (rest === -1n && (low & 0x40) !== 0)) {
        this.byte(low);
        return;
      }
      this.byte(low | 0x80);
    }
  }

  bytes(source: Uint8Array): void {
    this.reserve(source.length);
    this.buffer.set(source, this.length);
    this.length += source.length;
  }

  /** A name that comes once is better given to `text`. */
  name(text: string): void {
    this.sized(encodeName(text));
  }

  text(text: string): void {
    this.sized(encoder.encode(text));
  }

  private sized(encoded: Uint8Array): void {
    this.u32(encoded.length);
    this.bytes(encoded);
  }

  /** What has been written; stays what it is only as long as nothing more is. */
  finish(): Uint8Array<ArrayBuffer> {
    return this.buffer.subarray(0, this.length);
  }
}

/** A function body: instructions in order; locals are declared as they are asked for. */
export class FunctionWriter {
  readonly code = new ByteWriter(1024);
  private readonly localTypes: WasmType[] = [];
  private readonly parameterCount: number;
  /** Blocks, loops and ifs that are open: a branch's label is counted from here. */
  depth = 0;
  /** Places in `code` of branches, and whether they are usually taken. */
  private readonly hints: [number, 0 | 1][] = [];

  constructor(parameterCount: number) {
    this.parameterCount = parameterCount;
  }

  /** A fresh local; returns its index. */
  local(type: WasmType): number {
    this.localTypes.push(type);
    return this.parameterCount + this.localTypes.length - 1;
  }

  private opcode(code: number): void {
    if (code > 0xff) {
      this.code.byte(code >>> 16);
      this.code.u32(code & 0xffff);
    } else {
      this.code.byte(code);
    }
  }

  pure(name: PureName): void {
    this.opcode(PURE_CODES.get(name)!);
  }

  lane(name: LaneName, lane: number): void {
    this.opcode(LANE_OPCODES[name]);
    this.code.byte(lane);
  }

  shuffle(lanes: readonly number[]): void {
    this.opcode(0xfd000d);
    for (const lane of lanes) this.code.byte(lane);
  }

  /** A load or store. `alignLog2` is a promise for atomics, a hint otherwise. */
  memory(name: MemoryName, offset: number, alignLog2 = 0): void {
    this.opcode(MEMORY_CODES.get(name)!);
    this.code.u32(alignLog2);
    this.code.u32(offset);
  }

  memoryCopy(): void {
    this.opcode(0xfc000a);
    this.code.byte(0);
    this.code.byte(0);
  }

  memoryFill(): void {
    this.opcode(0xfc000b);
    this.code.byte(0);
  }

  i32(value: number): void {
    this.code.byte(0x41);
    this.code.s32(value);
  }

  i64(value: bigint): void {
    this.code.byte(0x42);
    this.code.s64(value);
  }

  f32(value: number): void {
    this.code.byte(0x43);
    this.code.bytes(new Uint8Array(new Float32Array([value]).buffer));
  }

  f64(value: number): void {
    this.code.byte(0x44);
    this.code.bytes(new Uint8Array(new Float64Array([value]).buffer));
  }

  /** `bytes`: 16 of them, lane 0 first. */
  v128(bytes: Uint8Array): void {
    this.opcode(0xfd000c);
    this.code.bytes(bytes);
  }

  get(local: number): void {
    this.code.byte(0x20);
    this.code.u32(local);
  }

  set(local: number): void {
    this.code.byte(0x21);
    this.code.u32(local);
  }

  tee(local: number): void {
    this.code.byte(0x22);
    this.code.u32(local);
  }

  /** Ternary by an i32 condition on top of the stack. v128 operands need the typed form. */
  select(type: WasmType): void {
    if (type === 'v128') {
      this.code.byte(0x1c);
      this.code.byte(1);
      this.code.byte(VALUE_TYPE_CODES.v128);
    } else {
      this.code.byte(0x1b);
    }
  }

  /** `hint`: how the condition usually is. */
  if(result?: WasmType, hint?: Likelihood): void {
    if (hint !== undefined) this.hints.push([this.code.length, hint === 'likely' ? 1 : 0]);
    this.depth++;
    this.code.byte(0x04);
    this.code.byte(result === undefined ? 0x40 : VALUE_TYPE_CODES[result]);
  }

  else(): void {
    this.code.byte(0x05);
  }

  end(): void {
    this.depth--;
    this.code.byte(0x0b);
  }

  block(): void {
    this.depth++;
    this.code.byte(0x02);
    this.code.byte(0x40);
  }

  loop(): void {
    this.depth++;
    this.code.byte(0x03);
    this.code.byte(0x40);
  }

  br(depth: number): void {
    this.code.byte(0x0c);
    this.code.u32(depth);
  }

  brIf(depth: number, hint?: Likelihood): void {
    if (hint !== undefined) this.hints.push([this.code.length, hint === 'likely' ? 1 : 0]);
    this.code.byte(0x0d);
    this.code.u32(depth);
  }

  return(): void {
    this.code.byte(0x0f);
  }

  drop(): void {
    this.code.byte(0x1a);
  }

  unreachable(): void {
    this.code.byte(0x00);
  }

  call(functionIndex: number): void {
    this.code.byte(0x10);
    this.code.u32(functionIndex);
  }

  callIndirect(typeIndex: number, tableIndex = 0): void {
    this.code.byte(0x11);
    this.code.u32(typeIndex);
    this.code.u32(tableIndex);
  }

  returnCall(functionIndex: number): void {
    this.code.byte(0x12);
    this.code.u32(functionIndex);
  }

  returnCallIndirect(typeIndex: number, tableIndex = 0): void {
    this.code.byte(0x13);
    this.code.u32(typeIndex);
    this.code.u32(tableIndex);
  }

  /** The body as the code section holds it: size, locals in runs of one type, instructions, end. */
  finish(): FunctionBody {
    const locals = new ByteWriter();
    const runs: [number, WasmType][] = [];
    for (const type of this.localTypes) {
      const last = runs.at(-1);
      if (last !== undefined && last[1] === type) last[0]++;
      else runs.push([1, type]);
    }
    locals.u32(runs.length);
    for (const [count, type] of runs) {
      locals.u32(count);
      locals.byte(VALUE_TYPE_CODES[type]);
    }
    const size = locals.length + this.code.length + 1;
    const sized = new ByteWriter(size + 5);
    sized.u32(size);
    sized.bytes(locals.finish());
    sized.bytes(this.code.finish());
    sized.byte(0x0b);
    const hints = this.hints.map(([at, taken]): [number, 0 | 1] => [at + locals.length, taken]);
    return { bytes: sized.finish(), hints };
  }
}

interface FunctionBody {
  readonly bytes: Uint8Array;
  /** Branch hints: the branch's place behind the body's size, and 1 if it is likely. */
  readonly hints: readonly [number, 0 | 1][];
}

interface FunctionImport {
  module: string;
  name: string;
  typeIndex: number;
}

/** One module: imports first, then functions, elements and exports, each section in the specification's order (5.5). */
export class ModuleWriter {
  private readonly types: { key: string; parameters: readonly WasmType[]; results: readonly WasmType[] }[] = [];
  private readonly functionImports: FunctionImport[] = [];
  private readonly otherImports: ByteWriter[] = [];
  private readonly functions: { typeIndex: number; body: FunctionBody | undefined }[] = [];
  private readonly names: [number, string][] = [];
  private readonly exports: [string, number][] = [];
  private table: { name: string; size: number; filler: number } | undefined;
  private tableType = 0;
  private readonly elements: { offset: number; functions: number[] }[] = [];

  type(parameters: readonly WasmType[], results: readonly WasmType[]): number {
    const key = `${parameters.join('')}->${results.join('')}`;
    const known = this.types.findIndex((type) => type.key === key);
    if (known >= 0) return known;
    this.types.push({ key, parameters, results });
    return this.types.length - 1;
  }

  /** All imports come before the first function. Returns the function's index. */
  importFunction(module: string, name: string, typeIndex: number): number {
    if (this.functions.length > 0) throw new Error('imports come before functions');
    this.functionImports.push({ module, name, typeIndex });
    return this.functionImports.length - 1;
  }

  importMemory(module: string, name: string, minimumPages: number, maximumPages: number): void {
    const writer = new ByteWriter();
    writer.name(module);
    writer.name(name);
    writer.byte(0x02);
    writer.byte(0x03);
    writer.u32(minimumPages);
    writer.u32(maximumPages);
    this.otherImports.push(writer);
  }

  /** Imports table 0: functions of one type, so that indirect calls through it need no check of the type. */
  importTable(module: string, name: string, typeIndex: number, size: number): void {
    const writer = new ByteWriter();
    writer.name(module);
    writer.name(name);
    writer.byte(0x01);
    this.writeTableType(writer, typeIndex, size);
    this.tableType = typeIndex;
    this.otherImports.push(writer);
  }

  /** Defines table 0 with a fixed size, filled with one function, and exports it. */
  defineTable(name: string, typeIndex: number, size: number, filler: number): void {
    this.tableType = typeIndex;
    this.table = { name, size, filler };
  }

  private writeTableType(writer: ByteWriter, typeIndex: number, size: number): void {
    writer.byte(0x64);
    writer.s32(typeIndex);
    writer.byte(0x01);
    writer.u32(size);
    writer.u32(size);
  }

  /** Declares a function, so that others can call it before its body is there. Returns its index. */
  declare(typeIndex: number): number {
    this.functions.push({ typeIndex, body: undefined });
    return this.functionImports.length + this.functions.length - 1;
  }

  define(functionIndex: number, writer: FunctionWriter): void {
    this.functions[functionIndex - this.functionImports.length]!.body = writer.finish();
  }

  /** A name for profilers and stack traces (name section, core specification appendix 7.4). */
  name(functionIndex: number, name: string): void {
    this.names.push([functionIndex, name]);
  }

  export(name: string, functionIndex: number): void {
    this.exports.push([name, functionIndex]);
  }

  /** Functions put into table 0 from `offset` on when the module is instantiated. */
  element(offset: number, functions: number[]): void {
    this.elements.push({ offset, functions });
  }

  /** The branch hinting proposal's custom section, which comes before the code. */
  private writeHints(section: (id: number, fill: (writer: ByteWriter) => void) => void): void {
    const hinted = this.functions.flatMap(({ body }, index) =>
      body === undefined || body.hints.length === 0 ? [] : [{ index, hints: body.hints }],
    );
    if (hinted.length === 0) return;
    section(0, (writer) => {
      writer.name('metadata.code.branch_hint');
      writer.u32(hinted.length);
      for (const { index, hints } of hinted) {
        writer.u32(this.functionImports.length + index);
        writer.u32(hints.length);
        for (const [at, taken] of hints) {
          writer.u32(at);
          writer.byte(1);
          writer.byte(taken);
        }
      }
    });
  }

  finish(): Uint8Array<ArrayBuffer> {
    const codeBytes = this.functions.reduce((sum, { body }) => sum + (body?.bytes.length ?? 0), 0);
    const module = new ByteWriter(codeBytes + 2048);
    module.bytes(new Uint8Array([0x00, 0x61, 0x73, 0x6d, 0x01, 0x00, 0x00, 0x00]));
    const section = (id: number, fill: (writer: ByteWriter) => void, capacityBytes = 256): void => {
      const content = new ByteWriter(capacityBytes);
      fill(content);
      module.byte(id);
      module.u32(content.length);
      module.bytes(content.finish());
    };
    section(1, (writer) => {
      writer.u32(this.types.length);
      for (const { parameters, results } of this.types) {
        writer.byte(0x60);
        writer.u32(parameters.length);
        for (const type of parameters) writer.byte(VALUE_TYPE_CODES[type]);
        writer.u32(results.length);
        for (const type of results) writer.byte(VALUE_TYPE_CODES[type]);
      }
    });
    section(2, (writer) => {
      writer.u32(this.functionImports.length + this.otherImports.length);
      for (const entry of this.functionImports) {
        writer.name(entry.module);
        writer.name(entry.name);
        writer.byte(0x00);
        writer.u32(entry.typeIndex);
      }
      for (const entry of this.otherImports) writer.bytes(entry.finish());
    });
    section(3, (writer) => {
      writer.u32(this.functions.length);
      for (const { typeIndex } of this.functions) writer.u32(typeIndex);
    });
    const { table } = this;
    if (table !== undefined) {
      section(4, (writer) => {
        writer.u32(1);
        writer.byte(0x40);
        writer.byte(0x00);
        this.writeTableType(writer, this.tableType, table.size);
        writer.byte(0xd2);
        writer.u32(table.filler);
        writer.byte(0x0b);
      });
    }
    section(7, (writer) => {
      writer.u32(this.exports.length + (table === undefined ? 0 : 1));
      if (table !== undefined) {
        writer.name(table.name);
        writer.byte(0x01);
        writer.u32(0);
      }
      for (const [name, index] of this.exports) {
        writer.name(name);
        writer.byte(0x00);
        writer.u32(index);
      }
    });
    if (this.elements.length > 0) {
      section(9, (writer) => {
        writer.u32(this.elements.length);
        for (const { offset, functions } of this.elements) {
          // Active, table 0, expressions of the table's own type (5.5.12, form 6).
          writer.u32(6);
          writer.u32(0);
          writer.byte(0x41);
          writer.s32(offset);
          writer.byte(0x0b);
          writer.byte(0x64);
          writer.s32(this.tableType);
          writer.u32(functions.length);
          for (const index of functions) {
            writer.byte(0xd2);
            writer.u32(index);
            writer.byte(0x0b);
          }
        }
      });
    }
    const writeBodies = (writer: ByteWriter): void => {
      writer.u32(this.functions.length);
      for (const { body } of this.functions) {
        if (body === undefined) throw new Error('a declared function has no body');
        writer.bytes(body.bytes);
      }
    };
    this.writeHints(section);
    section(10, writeBodies, codeBytes + 5);
    if (this.names.length > 0) {
      section(0, (writer) => {
        writer.name('name');
        const map = new ByteWriter();
        map.u32(this.names.length);
        for (const [index, name] of this.names) {
          map.u32(index);
          map.text(name);
        }
        writer.byte(1);
        writer.u32(map.length);
        writer.bytes(map.finish());
      });
    }
    return module.finish();
  }
}
