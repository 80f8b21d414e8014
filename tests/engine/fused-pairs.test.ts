// A flag operation and the conditional jump behind it share a handler when code runs, and run one by one when it is
// stepped. Both ways must take the same jumps and leave the same state.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { RandomSource } from '../fuzz/random-source.ts';
import { Guest, PLACE, RAM_BYTES } from './guest.ts';
import { IdleHost } from './idle-host.ts';
import { createTestVcpu } from './vcpu-factory.ts';

const EDGES = [0n, 1n, 2n, 0x7fn, 0x80n, 0xffn, 0x7fffn, 0x8000n, 0xffffn, 0x7fffffffn, 0x80000000n, 0xffffffffn];
const WIDE_EDGES = [1n << 63n, (1n << 63n) - 1n, (1n << 64n) - 1n, 0xffffffff00000000n];

/** ModR/M opcodes of `op r/m, r` for 8 bits and for 16 to 64; `inc`, `dec` and the like have an extension instead. */
const OPERATIONS = [
  { name: 'add', byte: 0x00 },
  { name: 'or', byte: 0x08 },
  { name: 'and', byte: 0x20 },
  { name: 'sub', byte: 0x28 },
  { name: 'xor', byte: 0x30 },
  { name: 'cmp', byte: 0x38 },
  { name: 'test', byte: 0x84 },
  { name: 'inc', byte: 0xfe, extension: 0 },
  { name: 'dec', byte: 0xfe, extension: 1 },
];

const SIZES = [1, 2, 4, 8] as const;
const RAX = 0;
const RCX = 1;
const TAKEN = 0x55;

/** op [rax|rdi], cl-sized operand; jcc +2; hlt; … ; at the target: mov bl, 0x55; hlt. */
function assemble(
  operation: (typeof OPERATIONS)[number],
  size: number,
  condition: number,
  memory: boolean,
): Uint8Array {
  const code: number[] = [];
  if (size === 2) code.push(0x66);
  if (size === 8) code.push(0x48);
  code.push(operation.byte | (size === 1 ? 0 : 1));
  const register = operation.extension ?? RCX;
  code.push(memory ? (register << 3) | 7 : 0xc0 | (register << 3) | RAX);
  code.push(0x70 | condition, 1, 0xf4, 0xb3, TAKEN, 0xf4);
  return new Uint8Array(code);
}

test('a flag operation with its jump does in one handler what it does in two', (t) => {
  const seed = process.env.BULKHEAD_SEED ?? String(Date.now());
  t.diagnostic(`seed ${seed} (BULKHEAD_SEED repeats it)`);
  const random = new RandomSource(seed);
  const host = new IdleHost();
  const target = createTestVcpu(host, RAM_BYTES);
  const guest = new Guest(target, host, 'kernel64', new Uint8Array());
  guest.start();
  const pick = (): bigint => {
    const kind = random.below(4);
    if (kind === 0) return EDGES[random.below(EDGES.length)]!;
    if (kind === 1) return WIDE_EDGES[random.below(WIDE_EDGES.length)]!;
    return random.u64();
  };
  for (const operation of OPERATIONS) {
    for (const size of SIZES) {
      for (let condition = 0; condition < 16; condition++) {
        for (const memory of [false, true]) {
          const code = assemble(operation, size, condition, memory);
          guest.memory.write(PLACE.KERNEL_CODE, code);
          guest.vcpu.invalidateCode(PLACE.KERNEL_CODE, code.length);
          for (let round = 0; round < 3; round++) {
            const [rax, rcx] = [pick(), random.below(3) === 0 ? undefined : pick()];
            const begin = (): void => {
              const state = structuredClone(guest.state);
              state.gpr[RAX] = rax;
              state.gpr[RCX] = rcx ?? rax;
              state.gpr[7] = BigInt(PLACE.KERNEL_DATA);
              guest.memory.writeU64(PLACE.KERNEL_DATA, rax);
              guest.vcpu.setState(state);
            };
            begin();
            guest.vcpu.run();
            const ran = guest.vcpu.getState();
            begin();
            while (!guest.vcpu.getState().events.halted) guest.vcpu.step();
            const stepped = guest.vcpu.getState();
            const what = `${operation.name} size ${size} condition ${condition} memory ${memory} rax ${rax} rcx ${rcx}`;
            assert.deepEqual(ran.gpr, stepped.gpr, what);
            assert.equal(ran.rip, stepped.rip, what);
            assert.equal(ran.rflags, stepped.rflags, what);
          }
        }
      }
    }
  }
});
