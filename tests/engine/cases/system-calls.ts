// SYSCALL, SYSRET, SYSENTER, SYSEXIT and SWAPGS (SDM volume 2; the model's vendor is Intel where vendors differ).

import { CR4, EFER } from '../../../src/isa/control-registers.ts';
import { MSR } from '../../../src/isa/msrs.ts';
import { VECTOR } from '../../../src/isa/vectors.ts';
import type { EngineCase } from '../engine-case.ts';
import { type Guest, PLACE, SEGMENT, USER } from '../guest.ts';

const ENTRY = BigInt(PLACE.KERNEL_CODE + 0x800);
const HOLE = 0x8000_0000_0000n;

const SYSCALL = '0f 05';
const SYSRETQ = '48 0f 07';
const SYSRETL = '0f 07';
const SYSENTER = '0f 34';
const SYSEXITQ = '48 0f 35';
const SYSEXITL = '0f 35';

const sysenter = (guest: Guest): void => {
  guest.state.msrs.set(MSR.IA32_SYSENTER_CS, BigInt(SEGMENT.kernelCode.selector));
  guest.state.msrs.set(MSR.IA32_SYSENTER_EIP, ENTRY);
  guest.state.msrs.set(MSR.IA32_SYSENTER_ESP, BigInt(PLACE.RSP0));
};

export const SYSTEM_CALL_CASES: readonly EngineCase[] = [
  {
    name: 'SYSCALL saves RIP and RFLAGS, masks flags and enters the kernel',
    mode: 'user64',
    code: SYSCALL,
    prepare: (guest) => {
      guest.state.rflags = 0x0ed7n;
      guest.state.msrs.set(MSR.IA32_FMASK, 0x0700n);
    },
    expect: {
      rip: ENTRY,
      registers: { rcx: BigInt(USER.CODE + 2), r11: 0x0ed7n, rsp: BigInt(USER.STACK) },
      selectors: { cs: SEGMENT.kernelCode.selector, ss: SEGMENT.kernelData.selector },
      flagsSet: 0x08d7,
      flagsClear: 0x0700,
    },
  },
  {
    name: 'SYSCALL without EFER.SCE raises #UD',
    mode: 'user64',
    code: SYSCALL,
    prepare: (guest) => guest.setControl('efer', EFER.SCE, false),
    expect: { vector: VECTOR.UD },
  },
  { name: 'SYSCALL in compatibility mode raises #UD', mode: 'user32', code: SYSCALL, expect: { vector: VECTOR.UD } },
  {
    name: 'SYSRET to 64-bit code',
    mode: 'kernel64',
    code: SYSRETQ,
    prepare: (guest) => {
      guest.setRegister('rcx', BigInt(USER.CODE + 4));
      guest.setRegister('r11', 0x3_4fd7n);
    },
    expect: {
      rip: USER.CODE + 4,
      selectors: { cs: SEGMENT.userCode64.selector, ss: SEGMENT.userData.selector },
      flagsSet: 0x4fd7,
      flagsClear: 0x3_0000,
    },
  },
  {
    name: 'SYSRET to compatibility code',
    mode: 'kernel64',
    code: SYSRETL,
    prepare: (guest) => {
      guest.setRegister('rcx', 0x1_0040_0004n);
      guest.setRegister('r11', 0x202n);
    },
    expect: { rip: USER.CODE + 4, selectors: { cs: SEGMENT.userCode32.selector, ss: SEGMENT.userData.selector } },
  },
  {
    name: 'SYSRET to a non-canonical address raises #GP(0) at CPL 0',
    mode: 'kernel64',
    code: SYSRETQ,
    prepare: (guest) => guest.setRegister('rcx', HOLE),
    expect: { vector: VECTOR.GP, errorCode: 0, rip: PLACE.KERNEL_CODE, selectors: { cs: SEGMENT.kernelCode.selector } },
  },
  {
    name: 'SYSENTER takes CS, RIP and RSP from its MSRs and clears IF',
    mode: 'user64',
    code: SYSENTER,
    prepare: (guest) => {
      sysenter(guest);
      guest.state.rflags = 0x202n;
    },
    expect: {
      rip: ENTRY,
      registers: { rsp: BigInt(PLACE.RSP0) },
      selectors: { cs: SEGMENT.kernelCode.selector, ss: SEGMENT.kernelData.selector },
      flagsClear: 0x200,
    },
  },
  {
    name: 'SYSENTER from compatibility code enters 64-bit code',
    mode: 'user32',
    code: SYSENTER,
    prepare: sysenter,
    expect: {
      rip: ENTRY,
      check: (guest) => {
        if ((guest.vcpu.getState().segments.cs.attributes & 0x2000) === 0) throw new Error('CS.L is clear');
      },
    },
  },
  {
    name: 'SYSENTER without a code segment raises #GP(0)',
    mode: 'user64',
    code: SYSENTER,
    expect: { vector: VECTOR.GP, errorCode: 0 },
  },
  {
    name: 'SYSEXIT to 64-bit code',
    mode: 'kernel64',
    code: SYSEXITQ,
    prepare: (guest) => {
      sysenter(guest);
      guest.setRegister('rdx', BigInt(USER.CODE));
      guest.setRegister('rcx', BigInt(USER.STACK));
    },
    expect: { rip: USER.CODE, registers: { rsp: BigInt(USER.STACK) }, selectors: { cs: 0x2b, ss: 0x33 } },
  },
  {
    name: 'SYSEXIT to compatibility code',
    mode: 'kernel64',
    code: SYSEXITL,
    prepare: (guest) => {
      sysenter(guest);
      guest.setRegister('rdx', BigInt(USER.CODE));
      guest.setRegister('rcx', BigInt(USER.STACK));
    },
    expect: { rip: USER.CODE, registers: { rsp: BigInt(USER.STACK) }, selectors: { cs: 0x1b, ss: 0x23 } },
  },
  {
    name: 'SYSEXIT to a non-canonical address raises #GP(0)',
    mode: 'kernel64',
    code: SYSEXITQ,
    prepare: (guest) => {
      sysenter(guest);
      guest.setRegister('rdx', HOLE);
    },
    expect: { vector: VECTOR.GP, errorCode: 0, rip: PLACE.KERNEL_CODE },
  },
  {
    name: 'SWAPGS exchanges the GS base with its MSR',
    mode: 'kernel64',
    code: '0f 01 f8',
    prepare: (guest) => {
      guest.state.segments.gs.base = 0x1111n;
      guest.state.msrs.set(MSR.IA32_KERNEL_GS_BASE, 0xffff_8000_0000_2222n);
    },
    expect: {
      check: (guest) => {
        const { segments, msrs } = guest.vcpu.getState();
        if (segments.gs.base !== 0xffff_8000_0000_2222n) throw new Error('the GS base is not that of the MSR');
        if (msrs.get(MSR.IA32_KERNEL_GS_BASE) !== 0x1111n) throw new Error('the MSR does not hold the old base');
      },
    },
  },
  {
    name: 'RDFSBASE reads what WRMSR of the FS base wrote',
    mode: 'kernel64',
    code: '0f 30 f3 48 0f ae c7', // wrmsr; rdfsbase rdi
    steps: 2,
    prepare: (guest) => {
      guest.setControl('cr4', CR4.FSGSBASE, true);
      guest.setRegister('rcx', BigInt(MSR.IA32_FS_BASE));
      guest.setRegister('rax', 0x1234_5678n);
      guest.setRegister('rdx', 0x7fffn);
    },
    expect: { registers: { rdi: 0x7fff_1234_5678n } },
  },
];
