// Copying and filling host memory at its own speed: what typed arrays on shared memory do byte by byte.

import { FunctionWriter, ModuleWriter } from '../wasm/encoder.ts';

export interface BulkMemory {
  /** As memmove. */
  copy(to: number, from: number, lengthBytes: number): void;
  /** Fills with the element of 1, 2, 4 or 8 bytes at `from`, which does not lie in the filled range. */
  fill(to: number, from: number, lengthBytes: number, elementBytes: number): void;
}

function copy(): FunctionWriter {
  const f = new FunctionWriter(3);
  f.get(0);
  f.get(1);
  f.get(2);
  f.memoryCopy();
  return f;
}

function fill(): FunctionWriter {
  const f = new FunctionWriter(4);
  const [TO, FROM, LENGTH, SIZE] = [0, 1, 2, 3];
  const end = f.local('i32');
  const pattern = f.local('i64');
  // Bytes of all sizes as 8 bytes that repeat.
  const spread = (size: number, load: 'i64.load8_u' | 'i64.load16_u' | 'i64.load32_u', factor: bigint): void => {
    f.get(SIZE);
    f.i32(size);
    f.pure('i32.eq');
    f.if('i64');
    f.get(FROM);
    f.memory(load, 0);
    f.i64(factor);
    f.pure('i64.mul');
    f.else();
  };
  spread(1, 'i64.load8_u', 0x0101010101010101n);
  spread(2, 'i64.load16_u', 0x0001000100010001n);
  spread(4, 'i64.load32_u', 0x0000000100000001n);
  f.get(FROM);
  f.memory('i64.load', 0);
  f.end();
  f.end();
  f.end();
  f.tee(pattern);
  f.get(pattern);
  f.i64(8n);
  f.pure('i64.rotl');
  f.pure('i64.eq');
  f.if();
  f.get(TO);
  f.get(pattern);
  f.pure('i32.wrap_i64');
  f.i32(0xff);
  f.pure('i32.and');
  f.get(LENGTH);
  f.memoryFill();
  f.return();
  f.end();
  f.get(TO);
  f.get(LENGTH);
  f.pure('i32.add');
  f.i32(8);
  f.pure('i32.sub');
  f.set(end);
  f.block();
  f.loop();
  f.get(TO);
  f.get(end);
  f.pure('i32.gt_u');
  f.brIf(1);
  f.get(TO);
  f.get(pattern);
  f.memory('i64.store', 0);
  f.get(TO);
  f.i32(8);
  f.pure('i32.add');
  f.set(TO);
  f.br(0);
  f.end();
  f.end();
  // Fewer than 8 bytes are left.
  f.block();
  f.loop();
  f.get(TO);
  f.get(end);
  f.i32(8);
  f.pure('i32.add');
  f.pure('i32.ge_u');
  f.brIf(1);
  f.get(TO);
  f.get(pattern);
  f.memory('i64.store8', 0);
  f.get(pattern);
  f.i64(8n);
  f.pure('i64.rotr');
  f.set(pattern);
  f.get(TO);
  f.i32(1);
  f.pure('i32.add');
  f.set(TO);
  f.br(0);
  f.end();
  f.end();
  return f;
}

export function createBulkMemory(memory: WebAssembly.Memory): BulkMemory {
  const module = new ModuleWriter();
  module.importMemory('env', 'memory', 1, memory.buffer.byteLength / 65536);
  const define = (name: string, parameters: number, writer: FunctionWriter): void => {
    const index = module.declare(module.type(Array(parameters).fill('i32'), []));
    module.define(index, writer);
    module.export(name, index);
    module.name(index, name);
  };
  define('copy', 3, copy());
  define('fill', 4, fill());
  const { exports } = new WebAssembly.Instance(new WebAssembly.Module(module.finish()), { env: { memory } });
  // An object of V8's own kind: exports are one whose properties are looked up by name each time.
  const { copy: copyFunction, fill: fillFunction } = exports as unknown as BulkMemory;
  return { copy: copyFunction, fill: fillFunction };
}
