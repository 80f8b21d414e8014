// Single step, breakpoints in DR0 to DR3 and the debug status register (SDM volume 3, chapter 17.2 and 17.3).

import { VECTOR } from '../../../src/isa/vectors.ts';
import type { EngineCase } from '../engine-case.ts';
import { type Guest, PLACE, SEGMENT, USER } from '../guest.ts';

const K = PLACE.KERNEL_CODE;
const DATA = PLACE.KERNEL_DATA;

const DR6_CLEAR = 0xffff_0ff0n;
const [B0, B1, BD, BS] = [1n, 2n, 0x2000n, 0x4000n];
const DR7_FIXED = 0x400n;
const TF = 0x100n;

/** DR7 bits that enable breakpoint `n` for accesses of `kind` and `length` bytes. */
function enable(n: number, kind: 'execute' | 'write' | 'access', length: 1 | 2 | 4 | 8): bigint {
  const rw = { execute: 0, write: 1, access: 3 }[kind];
  const code = { 1: 0, 2: 1, 4: 3, 8: 2 }[length];
  return DR7_FIXED | (1n << BigInt(n * 2)) | (BigInt((code << 2) | rw) << BigInt(16 + n * 4));
}

const watch =
  (kind: 'write' | 'access', length: 1 | 2 | 4 | 8, address: number, accessed: number) =>
  (guest: Guest): void => {
    guest.state.debug.dr1 = BigInt(address);
    guest.state.debug.dr7 = enable(1, kind, length);
    guest.setRegister('rax', BigInt(accessed));
  };

const READ = '8b 08 90 f4'; // mov ecx, [rax]; nop; hlt
const WRITE = '89 08 90 f4';
const WRITE_BYTE = '88 08 90 f4';

const caught = { handler: VECTOR.DB, dr6: DR6_CLEAR | B1, stack: [BigInt(K + 2)] } as const;
const missed = { rip: K + 4, dr6: DR6_CLEAR } as const;

export const DEBUG_CASES: readonly EngineCase[] = [
  {
    name: 'TF traps after one instruction and sets BS',
    mode: 'kernel64',
    code: '90 90 f4',
    steps: 'run',
    prepare: (guest) => {
      guest.state.rflags |= TF;
    },
    expect: {
      handler: VECTOR.DB,
      dr6: DR6_CLEAR | BS,
      flagsClear: Number(TF),
      stack: [BigInt(K + 1), BigInt(SEGMENT.kernelCode.selector), TF | 2n],
    },
  },
  {
    name: 'TF traps at CPL 3',
    mode: 'user64',
    code: '90 90',
    steps: 'run',
    prepare: (guest) => {
      guest.state.rflags |= TF;
    },
    expect: { handler: VECTOR.DB, dr6: DR6_CLEAR | BS, stack: [BigInt(USER.CODE + 1)] },
  },
  {
    name: 'POPF that sets TF traps after the instruction behind it',
    mode: 'kernel64',
    code: '9d 90 90 f4',
    steps: 'run',
    prepare: (guest) => {
      guest.setRegister('rsp', BigInt(PLACE.KERNEL_STACK - 16));
      guest.memory.writeU64(PLACE.KERNEL_STACK - 16, TF | 2n);
    },
    expect: { handler: VECTOR.DB, stack: [BigInt(K + 2)] },
  },
  {
    name: 'a load of SS holds the single-step trap back for one instruction',
    mode: 'kernel64',
    code: '8e d0 90 90 f4',
    steps: 'run',
    prepare: (guest) => {
      guest.setRegister('rax', BigInt(SEGMENT.kernelData.selector));
      guest.state.rflags |= TF;
    },
    expect: { handler: VECTOR.DB, stack: [BigInt(K + 3)] },
  },
  {
    name: 'a fault under TF is delivered as itself, with TF saved',
    mode: 'kernel64',
    code: '0f 0b',
    steps: 'run',
    prepare: (guest) => {
      guest.state.rflags |= TF;
    },
    expect: { handler: VECTOR.UD, flagsClear: Number(TF), dr6: DR6_CLEAR },
  },
  {
    name: 'a repeated string instruction under TF traps after each turn',
    mode: 'kernel64',
    code: 'f3 a4 f4',
    steps: 'run',
    prepare: (guest) => {
      guest.state.rflags |= TF;
      guest.setRegister('rcx', 3n);
      guest.setRegister('rsi', BigInt(DATA));
      guest.setRegister('rdi', BigInt(DATA + 0x100));
    },
    expect: { handler: VECTOR.DB, registers: { rcx: 2n }, stack: [BigInt(K)] },
  },
  {
    name: 'an instruction breakpoint faults before its instruction and saves RF as it is',
    mode: 'kernel64',
    code: '90 90 f4',
    steps: 'run',
    prepare: (guest) => {
      guest.state.debug.dr0 = BigInt(K + 1);
      guest.state.debug.dr7 = enable(0, 'execute', 1);
    },
    expect: {
      handler: VECTOR.DB,
      dr6: DR6_CLEAR | B0,
      stack: [BigInt(K + 1), BigInt(SEGMENT.kernelCode.selector), 2n],
    },
  },
  {
    name: 'RF from IRET lets the instruction at a breakpoint run, once',
    mode: 'kernel64',
    code: '48 cf',
    steps: 'run',
    prepare: (guest) => {
      const frame = [
        BigInt(K + 0x10),
        BigInt(SEGMENT.kernelCode.selector),
        0x1_0002n,
        BigInt(PLACE.KERNEL_STACK),
        0x10n,
      ];
      frame.forEach((word, i) => {
        guest.memory.writeU64(PLACE.KERNEL_STACK - 40 + i * 8, word);
      });
      guest.setRegister('rsp', BigInt(PLACE.KERNEL_STACK - 40));
      guest.memory.write(K + 0x10, Uint8Array.of(0x90, 0xf4));
      guest.state.debug.dr0 = BigInt(K + 0x10);
      guest.state.debug.dr7 = enable(0, 'execute', 1);
    },
    expect: { rip: K + 0x12, dr6: DR6_CLEAR, flagsClear: 0x1_0000 },
  },
  {
    name: 'an instruction breakpoint that is not enabled does nothing',
    mode: 'kernel64',
    code: '90 90 f4',
    steps: 'run',
    prepare: (guest) => {
      guest.state.debug.dr0 = BigInt(K + 1);
    },
    expect: { rip: K + 3 },
  },
  {
    name: 'a write watch traps after a write',
    mode: 'kernel64',
    code: WRITE,
    steps: 'run',
    prepare: watch('write', 4, DATA, DATA),
    expect: caught,
  },
  {
    name: 'a write watch ignores a read',
    mode: 'kernel64',
    code: READ,
    steps: 'run',
    prepare: watch('write', 4, DATA, DATA),
    expect: missed,
  },
  {
    name: 'an access watch traps after a read',
    mode: 'kernel64',
    code: READ,
    steps: 'run',
    prepare: watch('access', 4, DATA, DATA),
    expect: caught,
  },
  {
    name: 'a watch catches a byte within it',
    mode: 'kernel64',
    code: WRITE_BYTE,
    steps: 'run',
    prepare: watch('write', 4, DATA, DATA + 3),
    expect: caught,
  },
  {
    name: 'a watch ignores the byte behind it',
    mode: 'kernel64',
    code: WRITE_BYTE,
    steps: 'run',
    prepare: watch('write', 4, DATA, DATA + 4),
    expect: missed,
  },
  {
    name: 'a watch catches an access that begins before it',
    mode: 'kernel64',
    code: WRITE,
    steps: 'run',
    prepare: watch('write', 8, DATA + 8, DATA + 5),
    expect: caught,
  },
  {
    name: 'a watch catches a push',
    mode: 'kernel64',
    code: '50 90 f4',
    steps: 'run',
    prepare: (guest) => {
      guest.state.debug.dr1 = BigInt(PLACE.KERNEL_STACK - 8);
      guest.state.debug.dr7 = enable(1, 'write', 8);
    },
    expect: { handler: VECTOR.DB, dr6: DR6_CLEAR | B1 },
  },
  {
    name: 'general detect faults at an access to a debug register and clears GD',
    mode: 'kernel64',
    code: '0f 21 c0', // mov rax, dr0
    steps: 'run',
    prepare: (guest) => {
      guest.state.debug.dr7 = DR7_FIXED | 0x2000n;
    },
    expect: {
      handler: VECTOR.DB,
      dr6: DR6_CLEAR | BD,
      stack: [BigInt(K)],
      check: (guest) => {
        if ((guest.vcpu.getState().debug.dr7 & 0x2000n) !== 0n) throw new Error('GD is still set');
      },
    },
  },
  {
    name: 'INT1 is delivered as #DB and leaves DR6 alone',
    mode: 'kernel64',
    code: 'f1 f4',
    steps: 'run',
    expect: { handler: VECTOR.DB, dr6: DR6_CLEAR, stack: [BigInt(K + 1)] },
  },
];
