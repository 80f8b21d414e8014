// The table of generated handlers. A form's handler is generated when the first instruction of that form is decoded.

import { defineCore } from '../../emit/core.ts';
import { canRestart, emitHandler, emitLeave, emitLink, emitRuntimeHandler } from '../../emit/handler.ts';
import {
  CORE,
  type CoreName,
  FIRST_REGION,
  HANDLER_TABLE_SIZE,
  importForCore,
  importLazily,
  type ServiceName,
} from '../../emit/imports.ts';
import { Builder, type InstructionLift } from '../../ir/builder.ts';
import type { RuntimeName } from '../../ir/runtime.ts';
import { LIFTS } from '../../lift/lifts.ts';
import { FunctionWriter, ModuleWriter } from '../../wasm/encoder.ts';

/** The engine's own handlers, in table order. */
export const SPECIAL_HANDLERS = { resume: 0, leave: 1, link: 2, cross: 3, invalid: 4, 'too-long': 5 } as const;
const FIRST_FORM = 8;
const SCRATCH_REGION = HANDLER_TABLE_SIZE - 1;

export interface HandlerParts {
  readonly memory: WebAssembly.Memory;
  readonly runtime: Readonly<Record<RuntimeName, (...args: never[]) => unknown>>;
  readonly services: Readonly<Record<ServiceName, (...args: never[]) => unknown>>;
}

type RunExport = (cpu: number, record: number) => void;

export class HandlerTable {
  private readonly parts: HandlerParts;
  private readonly core: Record<string, WebAssembly.ExportValue>;
  private readonly maximumPages: number;
  private readonly indices = new Map<string, number>();
  /** A handler that runs two instructions -> the one of the first alone. */
  private readonly firstOfPair = new Map<number, number>();
  private next = FIRST_FORM;
  private nextRegion = FIRST_REGION;
  private readonly freePlaces: number[] = [];
  readonly run: RunExport;
  /** Modules of handlers. */
  modules = 0;

  constructor(parts: HandlerParts) {
    this.parts = parts;
    this.maximumPages = parts.memory.buffer.byteLength / 65536;
    const module = new ModuleWriter();
    const imports = importForCore(module, this.maximumPages);
    defineCore(module, imports);
    const specials: number[] = [];
    const define = (writer: FunctionWriter): void => {
      const index = module.declare(imports.handlerType);
      module.define(index, writer);
      specials.push(index);
    };
    specials.push(imports.core.resume);
    define(emitLeave());
    define(emitLink(imports));
    define(emitRuntimeHandler(imports, 'cross'));
    define(emitRuntimeHandler(imports, 'invalid'));
    define(emitRuntimeHandler(imports, 'too-long'));
    module.element(0, specials);
    const run = module.declare(imports.handlerType);
    const entry = new FunctionWriter(2);
    entry.get(0);
    entry.get(1);
    entry.get(1);
    entry.memory('i32.load16_u', 0);
    entry.callIndirect(imports.handlerType);
    entry.drop();
    entry.get(0);
    entry.call(imports.core.settleFlagWords);
    entry.i32(0);
    module.define(run, entry);
    module.export('run', run);
    this.core = this.instantiate(module, {});
    this.run = this.core.run as RunExport;
  }

  /** Number of forms that have a handler. */
  get forms(): number {
    return this.indices.size;
  }

  keys(): IterableIterator<string> {
    return this.indices.keys();
  }

  private instantiate(
    writer: ModuleWriter,
    core: Record<string, WebAssembly.ExportValue>,
  ): Record<string, WebAssembly.ExportValue> {
    this.modules++;
    return this.link(new WebAssembly.Module(writer.finish()), core);
  }

  private link(
    module: WebAssembly.Module,
    core: Record<string, WebAssembly.ExportValue>,
  ): Record<string, WebAssembly.ExportValue> {
    const { memory, runtime, services } = this.parts;
    const instance = new WebAssembly.Instance(module, {
      env: { memory },
      runtime: runtime as unknown as WebAssembly.ModuleImports,
      services: services as unknown as WebAssembly.ModuleImports,
      core,
    });
    return instance.exports;
  }

  /** The handler of a form; generated now if it is new. */
  indexOf(key: string, lift: InstructionLift): number {
    if (!this.indices.has(key)) this.generate([{ key, lifts: [lift] }]);
    return this.indices.get(key)!;
  }

  /** A handler that runs an instruction and, by the record behind it, the conditional jump that follows. */
  indexOfPair(index: number, key: string, lifts: readonly [InstructionLift, InstructionLift]): number {
    if (!this.indices.has(key)) {
      // Every form must find room, whatever pairs a guest makes up.
      if (this.next > FIRST_REGION / 2) return index;
      this.generate([{ key, lifts }]);
    }
    const pair = this.indices.get(key)!;
    this.firstOfPair.set(pair, index);
    return pair;
  }

  /** The handler for the record's own instruction alone. */
  single(index: number): number {
    return this.firstOfPair.get(index) ?? index;
  }

  /** A free place in the table for a region's function; undefined when there are too many. */
  takePlace(): number | undefined {
    const free = this.freePlaces.pop();
    if (free !== undefined) return free;
    return this.nextRegion === SCRATCH_REGION ? undefined : this.nextRegion++;
  }

  /** Lets go of what is in a place. No record may name it any more. */
  releasePlace(place: number): void {
    (this.core.table as WebAssembly.Table).set(place, this.core.resume);
    this.freePlaces.push(place);
  }

  /** A place of no region, for a function that the next one takes the place of. */
  readonly scratchPlace = SCRATCH_REGION;

  /** Puts the functions of a module of regions into their places. */
  instantiateRegions(module: WebAssembly.Module): void {
    this.link(module, this.coreImports());
  }

  private coreImports(): Record<string, WebAssembly.ExportValue> {
    const core: Record<string, WebAssembly.ExportValue> = { table: this.core.table! };
    for (const name of Object.keys(CORE) as CoreName[]) core[name] = this.core[name]!;
    return core;
  }

  /** Generates the handlers of forms that have none, and slow twins behind those that have one, in one module. */
  generate(forms: Iterable<{ readonly key: string; readonly lifts: readonly InstructionLift[] }>): void {
    const module = new ModuleWriter();
    const imports = importLazily(module, this.maximumPages);
    const place = this.next;
    const bodies: { readonly name: string; readonly body: FunctionWriter }[] = [];
    for (const { key, lifts } of forms) {
      if (this.indices.has(key)) continue;
      const builder = new Builder();
      lifts.forEach((lift, position) => {
        const write = LIFTS[lift.lift];
        if (write === undefined) throw new Error(`no lifting function: ${lift.lift} (${key})`);
        if (position > 0) builder.nextRecord();
        write(builder, lift);
      });
      const long = lifts[0]!.long;
      const twins = canRestart(builder) ? [true, false] : [false];
      if (this.next + twins.length > FIRST_REGION) throw new RangeError('the table of handlers is full');
      for (const restarts of twins) bodies.push({ name: key, body: emitHandler(builder, imports, long, restarts) });
      this.indices.set(key, this.next);
      this.next += twins.length;
    }
    const functions = bodies.map(({ name, body }) => {
      const index = module.declare(imports.handlerType);
      module.define(index, body);
      module.name(index, name);
      return index;
    });
    module.element(place, functions);
    this.instantiate(module, this.coreImports());
  }
}
