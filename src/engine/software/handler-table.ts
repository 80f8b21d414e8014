// The table of generated handlers. A form's handler is generated when the first instruction of that form is decoded;
// forms that came up together share a WebAssembly module.

import { defineCore } from '../../emit/core.ts';
import { emitHandler, emitLeave, emitLink, emitResume, emitRuntimeHandler } from '../../emit/handler.ts';
import { CORE, type CoreName, importAll, type ServiceName } from '../../emit/imports.ts';
import { Builder, type InstructionLift } from '../../ir/builder.ts';
import type { RuntimeName } from '../../ir/runtime.ts';
import { LIFTS } from '../../lift/lifts.ts';
import { FunctionWriter, ModuleWriter } from '../../wasm/encoder.ts';

const TABLE_SIZE = 16384;

/** The engine's own handlers, in table order. */
export const SPECIAL_HANDLERS = { resume: 0, leave: 1, link: 2, cross: 3, invalid: 4, 'too-long': 5 } as const;
const FIRST_FORM = 8;

export interface HandlerParts {
  readonly memory: WebAssembly.Memory;
  readonly runtime: Readonly<Record<RuntimeName, (...args: never[]) => unknown>>;
  readonly services: Readonly<Record<ServiceName, (...args: never[]) => unknown>>;
}

type RunExport = (cpu: number, record: number) => void;

export class HandlerTable {
  private readonly parts: HandlerParts;
  private readonly table: WebAssembly.Table;
  private readonly core: Record<string, WebAssembly.ExportValue>;
  private readonly maximumPages: number;
  private readonly indices = new Map<string, number>();
  private next = FIRST_FORM;
  readonly run: RunExport;
  modules = 1;

  constructor(parts: HandlerParts) {
    this.parts = parts;
    this.maximumPages = parts.memory.buffer.byteLength / 65536;
    this.table = new WebAssembly.Table({ element: 'anyfunc', initial: TABLE_SIZE });
    const module = new ModuleWriter();
    const imports = importAll(module, this.maximumPages, true);
    defineCore(module, imports);
    const specials: number[] = [];
    const define = (writer: FunctionWriter): void => {
      const index = module.declare(imports.handlerType);
      module.define(index, writer);
      specials.push(index);
    };
    define(emitResume(imports));
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
    const module = new WebAssembly.Module(writer.finish());
    const { memory, runtime, services } = this.parts;
    const instance = new WebAssembly.Instance(module, {
      env: { memory, table: this.table },
      runtime: runtime as unknown as WebAssembly.ModuleImports,
      services: services as unknown as WebAssembly.ModuleImports,
      core,
    });
    return instance.exports;
  }

  /** The handler of a form; generated now if it is new. */
  indexOf(key: string, lift: InstructionLift): number {
    return this.indices.get(key) ?? this.generate([[key, lift]]);
  }

  /** Generates handlers for several forms in one module; gives the first one's index. */
  generate(forms: readonly (readonly [string, InstructionLift])[]): number {
    const first = this.next;
    if (first + forms.length > TABLE_SIZE) throw new Error('the table of handlers is full');
    const module = new ModuleWriter();
    const imports = importAll(module, this.maximumPages, false);
    const functions = forms.map(([key, lift]) => {
      const write = LIFTS[lift.lift];
      if (write === undefined) throw new Error(`no lifting function: ${lift.lift} (${key})`);
      const builder = new Builder();
      write(builder, lift);
      const index = module.declare(imports.handlerType);
      module.define(index, emitHandler(builder, imports, lift.long));
      return index;
    });
    module.element(first, functions);
    const core: Record<string, WebAssembly.ExportValue> = {};
    for (const name of Object.keys(CORE) as CoreName[]) core[name] = this.core[name]!;
    this.instantiate(module, core);
    this.modules++;
    forms.forEach(([key], k) => {
      this.indices.set(key, first + k);
    });
    this.next += forms.length;
    return first;
  }
}
