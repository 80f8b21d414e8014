import assert from 'node:assert/strict';
import { test } from 'node:test';
import { disassembleModule } from './disassembler.ts';
import { FunctionWriter, ModuleWriter } from './encoder.ts';
import { printFunction, type TextNames } from './text.ts';

function textOf(write: (f: FunctionWriter, module: ModuleWriter) => void, names: TextNames = {}): string[] {
  const module = new ModuleWriter();
  const handler = module.type(['i32', 'i32'], ['i32']);
  const f = new FunctionWriter(2);
  write(f, module);
  module.define(module.declare(handler), f);
  return printFunction(disassembleModule(module.finish()).functions[0]!, names).split('\n');
}

test('operands are folded into their instruction', () => {
  const lines = textOf((f) => {
    f.get(0);
    f.i32(8);
    f.pure('i32.add');
    f.return();
  });
  assert.deepEqual(lines, ['(func (param i32 i32) (result i32)', '  (return (i32.add (local.get 0) (i32.const 8))))']);
});

test('labels are named by kind and depth, and branches name them', () => {
  const lines = textOf((f) => {
    f.block();
    f.loop();
    f.get(0);
    f.if();
    f.br(1);
    f.else();
    f.br(2);
    f.end();
    f.end();
    f.end();
    f.unreachable();
  });
  assert.deepEqual(lines, [
    '(func (param i32 i32) (result i32)',
    '  (block $block0',
    '    (loop $loop1',
    '      (if (local.get 0)',
    '        (then',
    '          (br $loop1))',
    '        (else',
    '          (br $block0)))))',
    '  (unreachable))',
  ]);
});

test('names of functions, locals and places are used where they are known', () => {
  const lines = textOf(
    (f, module) => {
      const jump = module.importFunction('core', 'jump', module.type(['i32', 'i32'], ['i32']));
      const local = f.local('i64');
      f.local('i32');
      f.local('v128');
      f.get(0);
      f.memory('i64.load', 16);
      f.set(local);
      f.get(0);
      f.get(1);
      f.returnCall(jump);
    },
    {
      functionName: () => 'core.jump',
      localName: (index) => ['cpu', undefined, 'rdx'][index],
      placeName: ({ offset }) => (offset === 16 ? 'rdx' : undefined),
    },
  );
  assert.deepEqual(lines, [
    '(func (param i32 i32) (result i32)',
    '  (local $rdx i64)',
    '  (local i32 v128)',
    '  (local.set $rdx (i64.load offset=16 (;rdx;) (local.get $cpu)))',
    '  (return_call $core.jump (local.get $cpu) (local.get 1)))',
  ]);
});

test('a statement that is too long is broken by operands', () => {
  const lines = textOf((f) => {
    for (let k = 0; k < 8; k++) f.i64(0x1000_0000_0000n + BigInt(k));
    for (let k = 0; k < 7; k++) f.pure('i64.add');
    f.drop();
    f.unreachable();
  });
  assert.ok(lines.length > 4);
  for (const line of lines) assert.ok(line.length <= 115, line);
  assert.equal(lines[1], '  (drop');
  const opened = lines.join('').split('(').length;
  assert.equal(lines.join('').split(')').length, opened);
});

test('constants are decimal when small, else hexadecimal, and vectors are bytes', () => {
  const lines = textOf((f) => {
    f.i32(-12);
    f.i64(-4096n);
    f.f64(0.5);
    f.f32(-0);
    f.v128(Uint8Array.of(1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 255));
  });
  assert.deepEqual(lines.slice(1), [
    '  (i32.const -12)',
    '  (i64.const -0x1000)',
    '  (f64.const 0.5)',
    '  (f32.const -0)',
    '  (v128.const i8x16 0x01 0x02 0x03 0x04 0x05 0x06 0x07 0x08 0x09 0x0a 0x0b 0x0c 0x0d 0x0e 0x0f 0xff))',
  ]);
});

test('alignment is told only of instructions that promise it, and a value left on the stack is marked', () => {
  const lines = textOf((f) => {
    f.get(0);
    f.i32(1);
    f.set(1);
    f.i64(0n);
    f.i64(1n);
    f.memory('i64.atomic.rmw.cmpxchg', 0, 3);
    f.drop();
    f.unreachable();
  });
  assert.deepEqual(lines.slice(1), [
    '  (local.get 0)',
    '  (local.set 1 (i32.const 1))',
    '  (drop (i64.atomic.rmw.cmpxchg align=8 (;1 from the stack;) (i64.const 0) (i64.const 1)))',
    '  (unreachable))',
  ]);
});
