import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ALIGNED_16, Builder, type MemoryLift } from './builder.ts';
import { mmxOffset, segmentOffset, xmmOffset } from './guest-state.ts';
import { printBody } from './printer.ts';

function linesOf(build: (b: Builder) => void, lazyFlags = true): string[] {
  const body = new Builder(lazyFlags);
  build(body);
  return printBody(body).split('\n');
}

const memory = (place: Partial<NonNullable<MemoryLift['place']>>): MemoryLift => ({
  kind: 'memory',
  shape: 'base',
  sizeBytes: 8,
  place: { base: -1, index: -1, scaleShift: 0, displacement: 0n, ripRelative: false, segment: undefined, ...place },
});

test('a pure value stands where it is used if that is once, else on a line of its own', () => {
  const lines = linesOf((b) => {
    const x = b.gpr(0, 8);
    const once = b.add(x, b.i64(5));
    const twice = b.shl(once, b.i64(300));
    b.setGpr(1, 8, b.mul(twice, twice));
    b.mul(x, x);
  });
  assert.deepEqual(lines, [
    '  %0 = get-register rax',
    '  %1 = i64.shl(i64.add(%0, 5), 0x12c)',
    '  set-register rcx = i64.mul(%1, %1)',
  ]);
});

test('registers have the names of their size', () => {
  const at = (offset: number) => ({ kind: 'fixed', offset }) as const;
  const lines = linesOf((b) => {
    for (const size of [1, 2, 4, 8]) b.setGpr(8, size, b.i64(0));
    b.setRegister(at(1), 1, b.i64(0));
    b.setRegister(at(mmxOffset(3)), 8, b.i64(0));
    b.setVector(at(xmmOffset(5)), b.vector(1n, 0xffn));
    b.setRegister({ kind: 'slot', slot: 'r1' }, 4, b.i64(-2));
  });
  assert.deepEqual(lines, [
    '  set-register r8b = 0',
    '  set-register r8w = 0',
    '  set-register r8d = 0',
    '  set-register r8 = 0',
    '  set-register ah = 0',
    '  set-register mm3:8 = 0',
    '  set-vector xmm5 = v128:0x1:0xff',
    '  set-register [r1]:4 = -2',
  ]);
});

test('addresses are told as operands', () => {
  const lines = linesOf((b) => {
    b.setGpr(0, 8, b.offset(memory({ base: 3, index: 1, scaleShift: 2, displacement: 16n })));
    b.store(b.address(memory({ base: 4, displacement: -8n & 0xffffffffffffffffn }), true), 8, b.i64(1));
    b.store(b.address(memory({ displacement: 0x28n, segment: segmentOffset(4) }), true), 8, b.i64(1));
    b.loadVector(b.address(memory({ displacement: 0x1000n, ripRelative: true }), false, ALIGNED_16));
    b.setGpr(0, 8, b.load(b.displacedAddress(memory({}), false, b.gpr(1, 8)), 4));
    b.address({ kind: 'memory', shape: 'generic', sizeBytes: 8 }, false);
  });
  assert.deepEqual(lines, [
    '  %0 = offset [rbx+rcx*4+0x10]',
    '  set-register rax = %0',
    '  %1 = address [rsp-8] for writing 8',
    '  store 8 (%1) = 1',
    '  %2 = address [fs:0x28] for writing 8',
    '  store 8 (%2) = 1',
    '  %3 = address [page+0x1000] for reading 16 aligned',
    '  %4 = load-vector (%3)',
    '  %5 = get-register rcx',
    '  %6 = address [0] for reading 8',
    '  %7 = load 4 (i64.add(%6, %5))',
    '  set-register rax = %7',
    '  %8 = address [generic] for reading 8',
  ]);
});

test('branches are indented, and both sides are told', () => {
  const lines = linesOf((b) => {
    const variable = b.variable(b.i64(0));
    b.if(
      b.eqz(b.gpr(0, 8)),
      () => b.set(variable, b.i64(1)),
      () => b.raise(13, 0),
    );
    b.setGpr(0, 8, b.get(variable));
    b.setGpr(1, 8, b.select(b.eqz(b.gpr(0, 8)), b.i64(1), b.i64(2)));
  });
  assert.deepEqual(lines, [
    '  set-variable 0 = 0',
    '  %0 = get-register rax',
    '  if i64.eqz(%0)',
    '    set-variable 0 = 1',
    '  else',
    '    call raise(0xd:i32, 0:i32)',
    '  %1 = get-variable 0',
    '  set-register rax = %1',
    '  %2 = get-register rax',
    '  set-register rcx = select(i64.eqz(%2), 1, 2)',
  ]);
});

test('instructions, flags and ways out are told', () => {
  const lines = linesOf((b) => {
    b.instruction(0x10, 0x13, -2, [0x20, 0x1000]);
    const x = b.gpr(0, 4);
    const old = b.modifyAt(x, 4, true, (value) => b.add(value, x));
    b.setFlags({ kind: 'add', sizeBytes: 4, x: old, y: x, result: b.i64(3) });
    b.setCarryWord(b.carryWord());
    b.newFlags();
    b.setField('flagZ', b.getField('flagN'));
    b.callDirect();
    b.jumpDirect();
    b.returnTo(b.nextRip());
    b.jump(b.target());
    b.again();
    b.leave();
    b.leaveNext();
  });
  assert.deepEqual(lines, [
    'instruction page+0x10 to page+0x13, target page-0x2, landings page+0x20 page+0x1000',
    '  %0 = get-register eax',
    '  %1 = modify-load 4 (%0)',
    '  modify-store 4 locked (%0) = i64.add(%1, %0) was %1',
    '  set-flags add 4 (%1, %0, 3)',
    '  %2 = carry-word',
    '  set-carry-word %2',
    '  new-flags',
    '  %3 = get-field flagN',
    '  set-field flagZ = %3',
    '  jump-direct call',
    '  jump-direct',
    '  %4 = next-rip',
    '  jump return %4',
    '  %5 = target',
    '  jump %5',
    '  again',
    '  leave',
    '  leave-next',
  ]);
});

test("what a handler's body reads of its record is told, and so are lanes, shuffles and calls", () => {
  const lines = linesOf((b) => {
    const value = b.read({ kind: 'immediate', value: 'imm0', sizeBytes: 8 });
    const vector = b.getScratch(1);
    const changed = b.replaceLane('i64x2.replace_lane', vector, 1, value);
    b.setScratch(0, b.shuffle(changed, vector, [...new Uint8Array(16).keys()]));
    b.setGpr(0, 8, b.lane('i64x2.extract_lane', vector, 0));
    b.call('cpuid');
    b.setGpr(1, 8, b.extend(b.call('readPort', b.i32(0x60), b.i32(1))));
    b.nextRecord();
  }, false);
  assert.deepEqual(lines, [
    '  %0 = immediate imm0',
    '  %1 = scratch-get 1',
    '  scratch-set 0 = i8x16.shuffle[0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15](i64x2.replace_lane[1](%1, %0), %1)',
    '  set-register rax = i64x2.extract_lane[0](%1)',
    '  call cpuid()',
    '  %2 = call readPort(0x60:i32, 1:i32)',
    '  set-register rcx = i64.extend_i32_u(%2)',
    '  next-record',
  ]);
});
