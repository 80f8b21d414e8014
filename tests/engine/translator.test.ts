// Regions beyond what single instructions show: loops with several exits, nested loops, faults in the middle, code that
// rewrites itself while translated, and more regions than there is room for. The same guests run interpreted.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createGuestMemory, GUEST_RAM_OFFSET } from '../../src/engine/software/layout.ts';
import { SoftwareVcpu } from '../../src/engine/software/vcpu.ts';
import type { VcpuState } from '../../src/engine/vcpu-state.ts';
import { GuestMemory } from '../../src/memory/guest-memory.ts';
import { RandomSource } from '../fuzz/random-source.ts';
import { Guest, PLACE, RAM_BYTES, SEGMENT } from './guest.ts';
import { IdleHost } from './idle-host.ts';

function createVcpu(host: IdleHost, translateAfterSamples: number): { vcpu: SoftwareVcpu; memory: GuestMemory } {
  const memory = createGuestMemory(RAM_BYTES);
  const cpuid = { apicId: 0, cpuCount: 1, tscHz: 1_000_000_000, apicBusHz: 1_000_000_000 };
  const vcpu = new SoftwareVcpu({ memory, ramBytes: RAM_BYTES, host, cpuid, translateAfterSamples });
  return { vcpu, memory: new GuestMemory(memory, GUEST_RAM_OFFSET, RAM_BYTES) };
}

const hosts = { interpreted: new IdleHost(), translated: new IdleHost() };
const interpreted = createVcpu(hosts.interpreted, Number.POSITIVE_INFINITY);
const translated = createVcpu(hosts.translated, 0);

function runOn(target: typeof interpreted, host: IdleHost, code: readonly number[], prepare: (guest: Guest) => void) {
  const guest = new Guest(target, host, 'kernel64', new Uint8Array(code));
  prepare(guest);
  guest.start();
  const exit = guest.run();
  return { exit, state: target.vcpu.getState(), data: target.memory.bytes(PLACE.KERNEL_DATA, 4096).slice() };
}

function compare(code: readonly number[], prepare: (guest: Guest) => void = () => {}): VcpuState {
  const expected = runOn(interpreted, hosts.interpreted, code, prepare);
  const before = translated.vcpu.translator.regions;
  const actual = runOn(translated, hosts.translated, code, prepare);
  assert.ok(translated.vcpu.translator.regions > before, 'nothing was translated');
  assert.deepEqual(actual.exit, expected.exit);
  assert.deepEqual(actual.state.gpr, expected.state.gpr);
  assert.equal(actual.state.rip, expected.state.rip);
  assert.equal(actual.state.rflags, expected.state.rflags);
  assert.equal(actual.state.cr2, expected.state.cr2);
  assert.deepEqual(actual.data, expected.data);
  return actual.state;
}

test('nested loops leave the sum that they count up', () => {
  // mov ecx, 100; outer: mov edx, 50; inner: inc rax; dec edx; jnz inner; add rbx, rax; dec ecx; jnz outer; hlt
  const code = [0xb9, 100, 0, 0, 0, 0xba, 50, 0, 0, 0, 0x48, 0xff, 0xc0, 0xff, 0xca, 0x75, 0xf9];
  code.push(0x48, 0x01, 0xc3, 0xff, 0xc9, 0x75, 0xed, 0xf4);
  const state = compare(code);
  assert.equal(state.gpr[0], 5000n);
  assert.equal(state.gpr[3], (50n * 100n * 101n) / 2n);
});

test('a jump over more than a gigabyte goes to its target', () => {
  // or eax, eax; jns +0x50000000, where nothing is
  const state = compare([0x09, 0xc0, 0x0f, 0x89, 0, 0, 0, 0x50]);
  assert.equal(state.cr2 >> 28n, 5n);
});

test('a fault in a loop finds registers and flags as the instruction before left them', () => {
  // loop: add rax, 7; mov [rdi], rax; add rdi, 8; cmp rdi, r9; jmp loop: runs into the unmapped page
  const code = [0x48, 0x83, 0xc0, 7, 0x48, 0x89, 0x07, 0x48, 0x83, 0xc7, 8, 0x4c, 0x39, 0xcf, 0xeb, 0xf0];
  const state = compare(code, (guest) => {
    guest.setRegister('rdi', BigInt(PLACE.KERNEL_DATA));
    guest.setRegister('r9', 0x1234n);
    guest.remap(PLACE.KERNEL_DATA + 4096, 0n);
  });
  assert.equal(state.cr2, BigInt(PLACE.KERNEL_DATA + 4096));
});

test('a loop that rewrites its own instruction sees the new one in the next turn', () => {
  // mov ecx, 20; loop: add al, 1 (its immediate at +7); inc byte [rip-7]; dec ecx; jnz loop; hlt
  const code = [0xb9, 20, 0, 0, 0, 0x04, 1, 0xfe, 0x05, 0xf9, 0xff, 0xff, 0xff, 0xff, 0xc9, 0x75, 0xf4, 0xf4];
  const state = compare(code);
  let sum = 0;
  for (let k = 1; k <= 20; k++) sum = (sum + k) & 0xff;
  assert.equal(Number(state.gpr[0]! & 0xffn), sum);
});

test('a call that pushes over the code of its own region goes on with the new code', () => {
  // loop: inc rax; nop; dec ecx; js end; call loop; end: hlt, with RSP so that the push replaces the first 8 bytes
  const code = [0x48, 0xff, 0xc0, 0x0f, 0x1f, 0x44, 0, 0, 0xff, 0xc9, 0x78, 5, 0xe8, 0xef, 0xff, 0xff, 0xff, 0xf4];
  compare(code, (guest) => {
    guest.setRegister('rsp', BigInt(PLACE.KERNEL_CODE + 8));
    guest.setRegister('rax', BigInt(PLACE.KERNEL_DATA));
    guest.setRegister('rcx', 1n);
  });
});

test('32-bit code that jumps to where 64-bit code has run means other instructions', () => {
  const code = new Array<number>(0x44).fill(0x90);
  const place = (at: number, ...bytes: number[]): void => void code.splice(at, bytes.length, ...bytes);
  // mov ecx, 5; loop: call f; dec ecx; jnz loop; push kernelCode32; push 0x10030; retfq
  place(0, 0xb9, 5, 0, 0, 0, 0xe8, 0x36, 0, 0, 0, 0xff, 0xc9, 0x75, 0xf7);
  place(0x0e, 0x6a, SEGMENT.kernelCode32.selector, 0x68, 0x30, 0, 1, 0, 0x48, 0xcb);
  // 32-bit: mov ebx, f; call ebx; hlt
  place(0x30, 0xbb, 0x40, 0, 1, 0, 0xff, 0xd3, 0xf4);
  // f: inc rax; ret, or dec eax; inc eax; ret
  place(0x40, 0x48, 0xff, 0xc0, 0xc3);
  assert.equal(PLACE.KERNEL_CODE, 0x1_0000);
  assert.equal(compare(code).gpr[0], 5n);
});

/** Straight pieces of random register arithmetic between random forward and backward jumps, with a turn counter. */
function randomProgram(random: RandomSource): number[] {
  const pieces = 4 + random.below(5);
  const code: number[][] = [];
  const register = (): number => [0, 2, 3, 6, 8, 9, 10, 11][random.below(8)]!;
  for (let piece = 0; piece < pieces; piece++) {
    const bytes: number[] = [];
    for (let k = random.below(6); k >= 0; k--) {
      const [to, from] = [register(), register()];
      const wide = random.below(2) * 8;
      const rex = 0x40 | wide | (from >= 8 ? 4 : 0) | (to >= 8 ? 1 : 0);
      const modrm = 0xc0 | ((from & 7) << 3) | (to & 7);
      const kind = random.below(8);
      if (kind < 5) bytes.push(rex, [0x01, 0x29, 0x21, 0x31, 0x39, 0x11, 0x19, 0x85][random.below(8)]!, modrm);
      else if (kind === 5)
        bytes.push(rex & ~4, 0xc1, 0xc0 | (random.pick([0, 1, 4, 5, 7]) << 3) | (to & 7), random.below(64));
      else if (kind === 6) bytes.push(rex & ~4, 0xff, 0xc0 | (random.below(2) << 3) | (to & 7));
      else {
        const swapped = 0x40 | wide | (to >= 8 ? 4 : 0) | (from >= 8 ? 1 : 0);
        bytes.push(swapped, 0x0f, 0x40 | random.below(16), 0xc0 | ((to & 7) << 3) | (from & 7));
      }
    }
    code.push(bytes);
  }
  // Every piece ends with: dec ecx; js end; jcc piece; the layout is known once all lengths are.
  const lengths = code.map((bytes) => bytes.length + 2 + 6 + 6);
  const starts = lengths.map((_, piece) => lengths.slice(0, piece).reduce((sum, length) => sum + length, 0));
  const end = lengths.reduce((sum, length) => sum + length, 0);
  const relative = (from: number, to: number): number[] => [...new Uint8Array(new Int32Array([to - from]).buffer)];
  return [
    ...code.flatMap((bytes, piece) => {
      const at = starts[piece]! + bytes.length;
      const target = starts[random.below(pieces)]!;
      return [
        ...bytes,
        ...[0xff, 0xc9],
        ...[0x0f, 0x88, ...relative(at + 8, end)],
        ...[0x0f, 0x80 | random.below(16), ...relative(at + 14, target)],
      ];
    }),
    0xf4,
  ];
}

test('random flow of random arithmetic ends as it does interpreted', (t) => {
  const seed = process.env.BULKHEAD_SEED ?? String(Date.now());
  t.diagnostic(`seed ${seed} (BULKHEAD_SEED repeats it)`);
  const cases = Number(process.env.BULKHEAD_TRANSLATOR_CASES ?? 150);
  for (let k = 0; k < cases; k++) {
    const random = new RandomSource(`${seed}/${k}`);
    const code = randomProgram(random);
    const registers = Array.from({ length: 16 }, () => random.u64());
    const turns = BigInt(200 + random.below(200));
    compare(code, (guest) => {
      registers.forEach((value, index) => {
        if (index !== 4) guest.state.gpr[index] = value;
      });
      guest.state.gpr[1] = turns;
    });
  }
});
