// Guests that mean harm or run wild: whatever they do, run() and step() end with an answer of the contract, in bounded
// work, and nothing outside guest RAM and the processor's own areas changes. Random cases print and take their seed
// (BULKHEAD_SEED).

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { createGuestMemory, GUEST_RAM_OFFSET, layoutVcpu } from '../../src/engine/software/layout.ts';
import { SoftwareVcpu } from '../../src/engine/software/vcpu.ts';
import type { VcpuExit } from '../../src/engine/vcpu.ts';
import { CR0, CR4 } from '../../src/isa/control-registers.ts';
import { GuestMemory } from '../../src/memory/guest-memory.ts';
import { RandomSource } from '../fuzz/random-source.ts';
import { Guest, type GuestMode, PLACE, RAM_BYTES, USER } from './guest.ts';
import { IdleHost } from './idle-host.ts';
import { PTE } from './page-tables.ts';

const SEED = process.env.BULKHEAD_SEED ?? '1';
const MODES: readonly GuestMode[] = ['kernel64', 'user64', 'user32', 'kernel32', 'real16'];
/** The smallest pools that are accepted fill at once. */
const SMALL_POOL = 0x5000;
const CANARY = 0xa5;
const PATTERN = Buffer.alloc(0x1_0000, CANARY);
const RANDOM_CASES = Number(process.env.BULKHEAD_HOSTILE_CASES ?? 20);

class ImpatientHost extends IdleHost {
  pollsLeft = 0;

  override poll(): boolean {
    return this.stopRequested || --this.pollsLeft < 0;
  }
}

/** A processor in a memory that has a second processor's areas and something behind RAM, all filled with a pattern. */
class Target {
  readonly host = new ImpatientHost();
  readonly memory: GuestMemory;
  readonly vcpu: SoftwareVcpu;
  private readonly canaries: readonly Uint8Array[];

  constructor(recordsBytes: number | undefined) {
    const behind = 0x1_0000;
    const memory = createGuestMemory(RAM_BYTES + behind);
    const neighbour = layoutVcpu(1, 2);
    const window = (start: number, end: number) => new Uint8Array(memory.buffer, start, end - start);
    this.canaries = [
      window(0, layoutVcpu(0, 2).stateOffset),
      window(neighbour.stateOffset, neighbour.stateOffset + behind),
      window(neighbour.recordsOffset, neighbour.recordsOffset + behind),
      window(GUEST_RAM_OFFSET - behind, GUEST_RAM_OFFSET),
      window(GUEST_RAM_OFFSET + RAM_BYTES, GUEST_RAM_OFFSET + RAM_BYTES + behind),
    ];
    for (const canary of this.canaries) canary.fill(CANARY);
    const cpuid = { apicId: 0, cpuCount: 2, tscHz: 1_000_000_000, apicBusHz: 1_000_000_000 };
    this.memory = new GuestMemory(memory, GUEST_RAM_OFFSET, RAM_BYTES);
    const limit = recordsBytes === undefined ? {} : { recordsBytes };
    // By time a run would have more polls on a slow host.
    const options = { ramBytes: RAM_BYTES, count: 2, cpuid, pollInterval: 64, ...limit };
    this.vcpu = new SoftwareVcpu({ memory, host: this.host, ...options });
  }

  guest(mode: GuestMode, code: string | Uint8Array): Guest {
    const bytes = typeof code === 'string' ? Buffer.from(code.replaceAll(' ', ''), 'hex') : code;
    return new Guest(this, this.host, mode, bytes);
  }

  run(polls: number): VcpuExit {
    this.host.pollsLeft = polls;
    return this.vcpu.run();
  }

  checkCanaries(): void {
    for (const canary of this.canaries) {
      if (PATTERN.equals(canary)) continue;
      const at = canary.findIndex((byte) => byte !== CANARY);
      assert.fail(`memory that is not the guest's changed at ${canary.byteOffset + at}`);
    }
  }
}

const message = (exit: VcpuExit): string => ('message' in exit ? exit.message : 'reason' in exit ? exit.reason : '');

function expectExit(target: Target, polls: number, kind: VcpuExit['kind']): void {
  const exit = target.run(polls);
  assert.equal(exit.kind, kind, message(exit));
  target.checkCanaries();
}

describe('hostile guests', () => {
  const ample = new Target(undefined);
  const cramped = new Target(SMALL_POOL);

  for (const [name, target] of [
    ['an ample', ample],
    ['a cramped', cramped],
  ] as const) {
    describe(`with ${name} pool of decoded instructions`, () => {
      test('an exception without an IDT is a triple fault', () => {
        const guest = target.guest('kernel64', '0f 0b');
        guest.state.idtr = { base: 0n, limit: 0 };
        guest.start();
        expectExit(target, 1, 'shutdown');
      });

      test('a stack that cannot take the frame is a triple fault', () => {
        const guest = target.guest('kernel64', '0f 0b');
        guest.setRegister('rsp', 0x7fff_0000_0000n);
        guest.start();
        expectExit(target, 1, 'shutdown');
      });

      test('page tables that lie outside RAM are a triple fault', () => {
        const guest = target.guest('kernel64', '90');
        guest.state.cr3 = 0xff_ffff_f000n;
        guest.start();
        expectExit(target, 1, 'shutdown');
      });

      test('a loop that writes the instruction it is about to run sees what it wrote', () => {
        // inc eax; mov [rip + 1], al: the immediate of what follows; mov bl, imm8; cmp al, bl; jne fail; cmp eax, 1000;
        // jb start; hlt; fail: ud2
        const code = 'ff c0 88 05 01 00 00 00 b3 00 38 d8 75 08 3d e8 03 00 00 72 eb f4 0f 0b';
        const guest = target.guest('kernel64', code);
        guest.start();
        expectExit(target, 100, 'halted-forever');
        assert.equal(guest.vcpu.getState().gpr[0], 1000n);
        assert.equal(guest.vcpu.getState().rip, BigInt(PLACE.KERNEL_CODE + 22));
      });

      test('a loop that writes an instruction spanning two pages, in either page, sees what it wrote', () => {
        // At page + 0xffc: mov ebx, imm32 (bytes fffc fffd … 1000); the loop writes its low byte and its high byte.
        const guest = target.guest('kernel64', 'ff c0 88 05 f5 0f 00 00 88 05 f2 0f 00 00 e9 e9 0f 00 00');
        const at = PLACE.KERNEL_CODE + 0xffc;
        guest.memory.write(at, Buffer.from('bb00000000' + '38d8' + '750f' + '0fcb' + '38d8' + '7509', 'hex'));
        guest.memory.write(at + 13, Buffer.from('3de8030000' + '0f82', 'hex'));
        const next = at + 13 + 11;
        guest.memory.writeU32(next - 4, PLACE.KERNEL_CODE - next);
        guest.memory.write(next, Uint8Array.of(0xf4));
        guest.start();
        expectExit(target, 100, 'halted-forever');
        assert.equal(guest.vcpu.getState().gpr[0], 1000n);
        assert.equal(guest.vcpu.getState().rip, BigInt(next + 1));
      });

      test('code in the page that holds its stack runs on through pushes and calls', () => {
        // push rax; call next; pop rbx; pop rcx; dec edi; jnz start; hlt
        const guest = target.guest('kernel64', '50 e8 00 00 00 00 5b 59 ff cf 75 f4 f4');
        guest.setRegister('rsp', BigInt(PLACE.KERNEL_CODE + 0x100));
        guest.setRegister('rdi', 1000n);
        guest.start();
        expectExit(target, 100, 'halted-forever');
        assert.equal(guest.vcpu.getState().gpr[4], BigInt(PLACE.KERNEL_CODE + 0x100));
      });

      test('a push over the instruction behind it runs what was pushed', () => {
        // push rax (RSP is at the byte behind plus 8); the bytes pushed are: inc ecx; hlt.
        const guest = target.guest('kernel64', '50 0f 0b 0f 0b 0f 0b 0f 0b');
        guest.setRegister('rsp', BigInt(PLACE.KERNEL_CODE + 9));
        guest.setRegister('rax', 0xf4_c1ffn);
        guest.start();
        expectExit(target, 10, 'halted-forever');
        assert.equal(guest.vcpu.getState().gpr[1], 1n);
      });

      test('a repeated store over its own code ends where the new bytes say', () => {
        const guest = target.guest('kernel64', 'f3 aa 90 90');
        guest.setRegister('rdi', BigInt(PLACE.KERNEL_CODE));
        guest.setRegister('rcx', 0x2000n);
        guest.setRegister('rax', 0xf4n);
        guest.start();
        expectExit(target, 100, 'halted-forever');
      });

      test('page tables that map themselves can be rewritten through themselves', () => {
        // mov [rbx], rax; mov [rdi], cl; hlt: the entry of RDI's page is changed, then used.
        const guest = target.guest('kernel64', '48 89 03 0f 01 3f 88 0f f4');
        const { tables } = guest;
        guest.memory.writeU64(tables.root + 0x1ff * 8, BigInt(tables.root) | PTE.P | PTE.W);
        const page = BigInt(PLACE.KERNEL_DATA);
        guest.setRegister('rbx', 0xffff_ff80_0000_0000n + (page >> 12n) * 8n);
        guest.setRegister('rax', BigInt(PLACE.KERNEL_DATA + 0x1000) | PTE.P | PTE.W);
        guest.setRegister('rdi', page);
        guest.setRegister('rcx', 0x5an);
        guest.start();
        expectExit(target, 10, 'halted-forever');
        assert.equal(guest.memory.readU8(PLACE.KERNEL_DATA + 0x1000), 0x5a);
      });

      test('code in a page table runs on while the walk marks entries there', () => {
        const guest = target.guest('kernel64', '90');
        const table = guest.tables.entry(BigInt(PLACE.KERNEL_DATA), 1) & ~0xfff;
        // inc ecx; mov [rsi], ecx; dec edi; jnz start; hlt, in entries of the table that map nothing needed.
        const at = table + 0xff0;
        guest.memory.write(at, Buffer.from('ffc1890effcf75f8f4', 'hex'));
        guest.state.rip = BigInt(at);
        guest.setRegister('rsi', BigInt(PLACE.KERNEL_DATA));
        guest.setRegister('rdi', 100n);
        guest.start();
        expectExit(target, 10, 'halted-forever');
        assert.equal(guest.vcpu.getState().gpr[1], 100n);
      });

      test('running off the end of RAM meets ones, then #UD', () => {
        const guest = target.guest('kernel64', '90');
        guest.tables.map(0x60_0000n, RAM_BYTES - 4096, PTE.W);
        guest.tables.map(0x60_1000n, RAM_BYTES, PTE.W);
        // mov eax, imm32, of which RAM holds the opcode alone.
        guest.memory.writeU8(RAM_BYTES - 1, 0xb8);
        guest.state.rip = 0x60_0fffn;
        guest.start();
        expectExit(target, 10, 'halted-forever');
        const state = guest.vcpu.getState();
        assert.equal(state.gpr[0], 0xffff_ffffn);
        assert.equal(state.rip, BigInt(PLACE.HANDLERS + 6 * 16 + 1));
      });

      test('a jump to memory that is not there raises #UD', () => {
        const guest = target.guest('kernel64', 'ff e0');
        guest.tables.map(0x60_0000n, 0x30_0000_0000, PTE.W);
        guest.setRegister('rax', 0x60_0123n);
        guest.start();
        expectExit(target, 10, 'halted-forever');
        assert.equal(guest.vcpu.getState().rip, BigInt(PLACE.HANDLERS + 6 * 16 + 1));
      });

      test('exceptions and software interrupts that lead to each other without a jump still meet polls', () => {
        const guest = target.guest('real16', 'cd 40');
        // Every vector leads to an INT of its own; SP wraps round for ever.
        for (let vector = 0; vector < 256; vector++) {
          guest.memory.write(
            PLACE.HANDLERS + vector * 16,
            vector === 0x40 ? Uint8Array.of(0x0f, 0x0b) : Uint8Array.of(0xcd, 0x40),
          );
        }
        guest.start();
        expectExit(target, 3, 'interrupted');
      });

      test('a repeated instruction without end meets polls', () => {
        const guest = target.guest('kernel64', 'f3 ac');
        guest.setRegister('rcx', 0xffff_ffff_ffff_ffffn);
        guest.setRegister('rsi', BigInt(PLACE.KERNEL_DATA));
        guest.setGate(14, { offset: BigInt(PLACE.KERNEL_CODE) });
        guest.start();
        const exit = target.run(3);
        assert.ok(exit.kind === 'interrupted' || exit.kind === 'shutdown' || exit.kind === 'halted-forever', exit.kind);
        target.checkCanaries();
      });

      test('breakpoints on every instruction and every page, single steps and self-writes together end', () => {
        const guest = target.guest('kernel64', '88 05 00 00 00 00 90 ff c0 eb f4');
        guest.state.debug.dr0 = BigInt(PLACE.KERNEL_CODE + 7);
        guest.state.debug.dr1 = BigInt(PLACE.KERNEL_CODE + 6);
        guest.state.debug.dr7 = 0x400n | 0xfn | (0x3n << 20n);
        guest.state.rflags |= 0x100n;
        // IRETQ from every exception.
        for (let vector = 0; vector < 32; vector++) {
          guest.memory.write(PLACE.HANDLERS + vector * 16, Uint8Array.of(0x48, 0xcf));
        }
        guest.start();
        const exit = target.run(3);
        assert.notEqual(exit.kind, 'internal-error', message(exit));
        target.checkCanaries();
      });
    });
  }

  test('a pool that holds no page of code is refused', () => {
    assert.throws(() => new Target(0x1000), RangeError);
  });

  for (const mode of MODES) {
    test(`random bytes as code in ${mode}, stepped and run (seed ${SEED})`, () => {
      for (let one = 0; one < RANDOM_CASES; one++) {
        const random = new RandomSource(`${SEED}/${mode}/${one}`);
        const target = one % 3 === 0 ? cramped : ample;
        const guest = randomGuest(target, mode, random);
        try {
          guest.start();
          for (let step = 0; step < 40; step++) {
            const result = guest.vcpu.step();
            if (result.kind === 'exit') assert.fail(`step left with ${result.exit.kind}: ${message(result.exit)}`);
            if (result.kind === 'exception') break;
          }
          const exit = target.run(2);
          assert.notEqual(exit.kind, 'internal-error', message(exit));
        } catch (error) {
          throw new Error(`case ${one}`, { cause: error });
        }
        target.checkCanaries();
      }
    });
  }
});

/** Random code over prepared RAM, and a random state: registers, flags, control bits, segments, tables, breakpoints. */
function randomGuest(target: Target, mode: GuestMode, random: RandomSource): Guest {
  const guest = target.guest(mode, random.bytes(0x800));
  const { state } = guest;
  const places = [
    0n,
    BigInt(PLACE.KERNEL_DATA),
    BigInt(PLACE.KERNEL_CODE + 0x80),
    BigInt(USER.DATA),
    BigInt(USER.CODE),
  ];
  const interesting = (): bigint => {
    switch (random.below(5)) {
      case 0:
        return random.u64();
      case 1:
        return BigInt(random.below(0x10000));
      case 2:
        return BigInt.asUintN(64, -BigInt(random.below(0x1000)));
      default:
        return random.pick(places) + BigInt(random.below(0x1000));
    }
  };
  for (let register = 0; register < 16; register++) {
    if (register !== 4 || random.chance(0.3)) state.gpr[register] = interesting();
  }
  state.rflags = 2n | (random.u64() & 0x24_4fd5n);
  if (random.chance(0.3)) state.cr4 ^= BigInt(random.pick([CR4.SMAP, CR4.SMEP, CR4.DE, CR4.PSE, CR4.UMIP, CR4.OSFXSR]));
  if (random.chance(0.2)) state.cr0 ^= BigInt(random.pick([CR0.WP, CR0.TS, CR0.EM, CR0.AM, CR0.NE]));
  if (random.chance(0.3)) {
    const name = random.pick(['es', 'ss', 'ds', 'fs', 'gs', 'cs'] as const);
    const segment = state.segments[name];
    segment.limit = random.u32();
    if (name !== 'cs') segment.base = BigInt(random.u32());
  }
  if (random.chance(0.2)) {
    state.debug.dr7 = 0x400n | (random.u64() & 0xffff_00ffn);
    state.debug.dr0 = interesting();
    state.debug.dr1 = state.rip + BigInt(random.below(16));
  }
  if (random.chance(0.2)) state.idtr.limit = random.below(0x1000);
  if (random.chance(0.2)) state.gdtr.base = interesting();
  if (random.chance(0.2)) guest.memory.write(PLACE.GDT + random.below(0x100), random.bytes(8));
  if (random.chance(0.2)) guest.memory.write(PLACE.IDT + random.below(0x200), random.bytes(16));
  if (random.chance(0.2)) guest.memory.write(PLACE.PAGE_TABLES + random.below(0x6000), random.bytes(64));
  if (random.chance(0.2)) {
    for (let vector = 0; vector < 32; vector++) guest.memory.write(PLACE.HANDLERS + vector * 16, random.bytes(16));
  }
  random.bytes(0x100).forEach((byte, at) => {
    state.xsave[at + 32] = byte;
  });
  return guest;
}
