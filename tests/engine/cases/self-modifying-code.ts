// Code that is written while it runs: the next instruction must be the new one, whatever was decoded before
// (SDM volume 3, 8.1.3 and 11.6).

import { VECTOR } from '../../../src/isa/vectors.ts';
import type { EngineCase } from '../engine-case.ts';
import { type Guest, PLACE } from '../guest.ts';
import { PTE } from '../page-tables.ts';

const K = PLACE.KERNEL_CODE;
const ALIAS = 0x8000_0000;

const bytes = (text: string) => Buffer.from(text.replaceAll(' ', ''), 'hex');

export const SELF_MODIFYING_CASES: readonly EngineCase[] = [
  {
    name: 'a write to the next instruction is seen by it',
    mode: 'kernel64',
    // mov byte [rip + 1], 0x42; mov eax, 0x11; hlt
    code: 'c6 05 01 00 00 00 42 b8 11 00 00 00 f4',
    steps: 'run',
    expect: { registers: { rax: 0x42n } },
  },
  {
    name: 'a loop that rewrites its own immediate adds the new one from then on',
    mode: 'kernel64',
    // mov eax, 0x11; add ebx, eax; mov byte [rip - 13], 0x22; dec ecx; jnz start; hlt
    code: 'b8 11 00 00 00 01 c3 c6 05 f3 ff ff ff 22 ff c9 75 ee f4',
    steps: 'run',
    prepare: (guest) => guest.setRegister('rcx', 3n),
    expect: { registers: { rbx: 0x55n } },
  },
  {
    name: 'a write to the second page of an instruction that spans two is seen',
    mode: 'kernel64',
    code: 'e9 f9 0f 00 00', // jmp K + 0xffe
    steps: 'run',
    prepare: (guest) => {
      // mov eax, 0x11; add ebx, eax; mov byte [K + 0x1001], 0x22; dec ecx; jnz; hlt
      guest.memory.write(K + 0xffe, bytes('b8 11 00 00 00 01 c3 c6 04 25 01 10 01 00 22 ff c9 75 ed f4'));
      guest.setRegister('rcx', 2n);
    },
    expect: { registers: { rbx: 0x22_0022n } },
  },
  {
    name: 'a write through another virtual address is seen',
    mode: 'kernel64',
    // mov eax, 0x11; add ebx, eax; mov byte [rdi + 1], 0x22; dec ecx; jnz start; hlt
    code: 'b8 11 00 00 00 01 c3 c6 47 01 22 ff c9 75 f1 f4',
    steps: 'run',
    prepare: (guest) => {
      guest.tables.map(BigInt(ALIAS), K, PTE.W);
      guest.setRegister('rdi', BigInt(ALIAS));
      guest.setRegister('rcx', 2n);
    },
    expect: { registers: { rbx: 0x33n } },
  },
  {
    name: 'a string copy over code that has run is seen',
    mode: 'kernel64',
    // call f; mov ebx, eax; rep movsb; call f; hlt
    code: 'e8 fb 00 00 00 89 c3 f3 a4 e8 f2 00 00 00 f4',
    steps: 'run',
    prepare: (guest) => {
      guest.memory.write(K + 0x100, bytes('b8 11 00 00 00 c3'));
      guest.memory.write(PLACE.KERNEL_DATA, bytes('b8 22 00 00 00 c3'));
      guest.setRegister('rsi', BigInt(PLACE.KERNEL_DATA));
      guest.setRegister('rdi', BigInt(K + 0x100));
      guest.setRegister('rcx', 6n);
    },
    expect: { registers: { rbx: 0x11n, rax: 0x22n } },
  },
  {
    name: 'a push over the instruction behind it is seen',
    mode: 'kernel64',
    code: '50 b8 11 00 00 00 f4', // push rax; mov eax, 0x11; hlt
    steps: 'run',
    prepare: (guest) => {
      // mov ecx, 0x22; hlt; nop; nop
      guest.setRegister('rax', 0x9090_f400_0000_22b9n);
      guest.setRegister('rsp', BigInt(K + 9));
    },
    expect: { registers: { rcx: 0x22n, rax: 0x9090_f400_0000_22b9n } },
  },
  {
    name: 'data written beside code that runs leaves the code as it is',
    mode: 'kernel64',
    // mov [rip + 0x100], ecx; dec ecx; jnz start; hlt
    code: '89 0d 00 01 00 00 ff c9 75 f6 f4',
    steps: 'run',
    prepare: (guest) => guest.setRegister('rcx', 1000n),
    expect: { registers: { rcx: 0n }, memory: { [K + 0x106]: 1n } },
  },
  {
    name: 'another mapping of the same virtual address runs its own code',
    mode: 'kernel64',
    // call rdi; mov ebx, eax; mov [rsi], rdx; invlpg [rdi]; call rdi; hlt
    code: 'ff d7 89 c3 48 89 16 0f 01 3f ff d7 f4',
    steps: 'run',
    prepare: (guest) => {
      guest.tables.map(BigInt(ALIAS), PLACE.KERNEL_DATA, PTE.W);
      guest.memory.write(PLACE.KERNEL_DATA, bytes('b8 11 00 00 00 c3'));
      guest.memory.write(PLACE.KERNEL_DATA + 0x1000, bytes('b8 22 00 00 00 c3'));
      guest.setRegister('rdi', BigInt(ALIAS));
      guest.setRegister('rsi', BigInt(guest.tables.entry(BigInt(ALIAS), 1)));
      guest.setRegister('rdx', BigInt(PLACE.KERNEL_DATA + 0x1000) | PTE.P | PTE.W);
    },
    expect: { registers: { rbx: 0x11n, rax: 0x22n } },
  },
  {
    name: 'the same bytes mean other instructions in another mode',
    mode: 'kernel64',
    // 32-bit: inc eax; hlt. 64-bit: rex hlt.
    code: '48 cf',
    steps: 'run',
    prepare: (guest: Guest) => {
      guest.memory.write(K + 0x40, bytes('40 f4'));
      const frame = [BigInt(K + 0x40), 0x30n, 2n, BigInt(PLACE.KERNEL_STACK), 0x10n];
      frame.forEach((word, i) => {
        guest.memory.writeU64(PLACE.KERNEL_STACK - 40 + i * 8, word);
      });
      guest.setRegister('rsp', BigInt(PLACE.KERNEL_STACK - 40));
    },
    expect: { registers: { rax: 1n }, rip: K + 0x42 },
  },
  {
    name: 'code that another party wrote runs after invalidateCode',
    mode: 'kernel64',
    code: 'b8 11 00 00 00 f4',
    steps: 'run',
    expect: {
      registers: { rax: 0x11n },
      check: (guest) => {
        guest.memory.writeU8(K + 1, 0x22);
        guest.vcpu.invalidateCode(K + 1, 1);
        const state = guest.vcpu.getState();
        state.rip = BigInt(K);
        state.events.halted = false;
        guest.vcpu.setState(state);
        guest.vcpu.run();
        const { gpr } = guest.vcpu.getState();
        if (gpr[0] !== 0x22n) throw new Error(`rax is ${gpr[0]}`);
      },
    },
  },
  {
    name: 'a write that makes the next instruction invalid is seen',
    mode: 'kernel64',
    code: 'c7 05 00 00 00 00 0f 0b 90 90 90 90 f4', // mov dword [rip], ud2 …; nop; nop; hlt
    steps: 2,
    expect: { vector: VECTOR.UD, rip: K + 10 },
  },
];
