// Delivery of exceptions and software interrupts through the IDT, and the way back (SDM volume 3, chapter 6; IRET, CALL
// and RET of volume 2).

import { SEGMENT_ATTRIBUTE } from '../../../src/engine/vcpu-state.ts';
import { VECTOR } from '../../../src/isa/vectors.ts';
import { gateDescriptor } from '../descriptors.ts';
import type { EngineCase } from '../engine-case.ts';
import { CALL_GATE_SELECTOR, FREE_SELECTOR, type Guest, PLACE, SEGMENT, USER, userPhysical } from '../guest.ts';

const KERNEL_CS = BigInt(SEGMENT.kernelCode.selector);
const KERNEL_SS = BigInt(SEGMENT.kernelData.selector);
const USER_CS = BigInt(SEGMENT.userCode64.selector);
const USER_SS = BigInt(SEGMENT.userData.selector);
const A = SEGMENT_ATTRIBUTE;

const UD2 = '0f 0b';
/** IDT flag and EXT flag of a selector error code. */
const IDT_EXT = 3;

/** RFLAGS image without the bits that tell how a state was saved. */
const RF = 0x1_0000;

const writeStack = (guest: Guest, words: readonly bigint[]): void => {
  const top = PLACE.KERNEL_STACK - words.length * 8;
  words.forEach((word, i) => {
    guest.memory.writeU64(top + i * 8, word);
  });
  guest.setRegister('rsp', BigInt(top));
};

const IRETQ = '48 cf';

interface Return {
  readonly name: string;
  /** RIP, CS, RFLAGS, RSP, SS. */
  readonly frame: readonly [bigint, bigint, bigint, bigint, bigint];
  readonly rflags?: bigint;
  readonly errorCode: number;
}

const USER_FRAME = [BigInt(USER.CODE), USER_CS, 0x202n, BigInt(USER.STACK), USER_SS] as const;

const REFUSED_RETURNS: readonly Return[] = [
  { name: 'IRET with NT in long mode', frame: USER_FRAME, rflags: 0x4002n, errorCode: 0 },
  { name: 'IRET to a non-canonical RIP', frame: [0x8000_0000_0000n, USER_CS, 2n, 0n, USER_SS], errorCode: 0 },
  { name: 'IRET to a null CS', frame: [0n, 0n, 2n, 0n, USER_SS], errorCode: 0 },
  { name: 'IRET to a data segment', frame: [0n, USER_SS, 2n, 0n, USER_SS], errorCode: Number(USER_SS) & ~3 },
  { name: 'IRET to CPL 3 with a null SS', frame: [BigInt(USER.CODE), USER_CS, 2n, 0n, 0n], errorCode: 0 },
  {
    name: "IRET to CPL 3 with the kernel's SS",
    frame: [BigInt(USER.CODE), USER_CS, 2n, 0n, KERNEL_SS],
    errorCode: Number(KERNEL_SS),
  },
  {
    name: 'IRET to a more privileged requested level than the segment',
    frame: [BigInt(USER.CODE), USER_CS & ~3n, 2n, 0n, USER_SS],
    errorCode: Number(USER_CS) & ~3,
  },
];

const userPointer = (guest: Guest, selector: number, offset = 0): void => {
  guest.memory.writeU64(userPhysical(USER.DATA), (BigInt(selector) << 32n) | BigInt(offset));
  guest.setRegister('rax', BigInt(USER.DATA));
};

const callGate = (guest: Guest, fields: Partial<Parameters<typeof gateDescriptor>[0]> = {}): void => {
  const gate = gateDescriptor({
    selector: SEGMENT.kernelCode.selector,
    offset: BigInt(PLACE.KERNEL_CODE + 0x40),
    type: 12,
    dpl: 3,
    ...fields,
  });
  gate.forEach((word, i) => {
    guest.memory.writeU64(PLACE.GDT + CALL_GATE_SELECTOR + i * 8, word);
  });
  userPointer(guest, CALL_GATE_SELECTOR | 3, 0x1234);
};

const CALLF = 'ff 18'; // callf [rax]
const JMPF = 'ff 28'; // jmpf [rax]

export const EXCEPTION_CASES: readonly EngineCase[] = [
  {
    name: 'a divide error at CPL 3 pushes its frame on RSP0 and clears IF',
    mode: 'user64',
    code: 'f7 f1', // div ecx
    steps: 'run',
    prepare: (guest) => {
      guest.state.rflags = 0x246n;
    },
    expect: {
      handler: VECTOR.DE,
      flagsClear: 0x200,
      selectors: { cs: SEGMENT.kernelCode.selector, ss: 0 },
      registers: { rsp: BigInt(PLACE.RSP0 - 40) },
      stack: [BigInt(USER.CODE), USER_CS, 0x246n | BigInt(RF), BigInt(USER.STACK), USER_SS],
    },
  },
  {
    name: 'a page fault pushes its error code and sets CR2',
    mode: 'user64',
    code: '89 08',
    steps: 'run',
    prepare: (guest) => {
      guest.remap(USER.DATA, 0n);
      guest.setRegister('rax', BigInt(USER.DATA + 8));
    },
    expect: {
      handler: VECTOR.PF,
      cr2: USER.DATA + 8,
      registers: { rsp: BigInt(PLACE.RSP0 - 48) },
      stack: [6n, BigInt(USER.CODE), USER_CS],
    },
  },
  {
    name: 'an exception at CPL 0 stays on its stack, aligned to 16 bytes, and pushes SS and RSP',
    mode: 'kernel64',
    code: UD2,
    steps: 'run',
    prepare: (guest) => guest.setRegister('rsp', BigInt(PLACE.KERNEL_STACK - 3)),
    expect: {
      handler: VECTOR.UD,
      registers: { rsp: BigInt(PLACE.KERNEL_STACK - 16 - 40) },
      stack: [BigInt(PLACE.KERNEL_CODE), KERNEL_CS, undefined, BigInt(PLACE.KERNEL_STACK - 3), KERNEL_SS],
    },
  },
  {
    name: 'a gate with an IST number takes that stack, at CPL 0 too',
    mode: 'kernel64',
    code: UD2,
    steps: 'run',
    prepare: (guest) => guest.setGate(VECTOR.UD, { ist: 1 }),
    expect: { handler: VECTOR.UD, registers: { rsp: BigInt(PLACE.IST1 - 40) } },
  },
  {
    name: 'a trap gate leaves IF set',
    mode: 'kernel64',
    code: 'cc',
    steps: 'run',
    prepare: (guest) => {
      guest.setGate(VECTOR.BP, { type: 15 });
      guest.memory.write(PLACE.HANDLERS + VECTOR.BP * 16, Uint8Array.of(0x9c, 0xfa, 0xf4)); // pushf; cli; hlt
      guest.state.rflags = 0x4202n;
    },
    expect: { rip: PLACE.HANDLERS + VECTOR.BP * 16 + 3, stack: [0x202n] },
  },
  {
    name: 'INT3 at CPL 3 returns to what follows it',
    mode: 'user64',
    code: 'cc',
    steps: 'run',
    expect: { handler: VECTOR.BP, stack: [BigInt(USER.CODE + 1), USER_CS] },
  },
  {
    name: 'INT n through a gate of DPL 3 is delivered at CPL 3',
    mode: 'user64',
    code: 'cd 80',
    steps: 'run',
    expect: { handler: 0x80, stack: [BigInt(USER.CODE + 2), USER_CS, 2n] },
  },
  {
    name: 'INT n through a gate of DPL 0 raises #GP at CPL 3',
    mode: 'user64',
    code: 'cd 81',
    expect: { vector: VECTOR.GP, errorCode: 0x81 * 8 + 2, rip: USER.CODE },
  },
  {
    name: 'INT n in compatibility mode reaches the 64-bit handler',
    mode: 'user32',
    code: 'cd 80',
    steps: 'run',
    expect: {
      handler: 0x80,
      selectors: { cs: SEGMENT.kernelCode.selector },
      stack: [BigInt(USER.CODE + 2), BigInt(SEGMENT.userCode32.selector), 2n, BigInt(USER.STACK), USER_SS],
    },
  },
  {
    name: 'INT n beyond the IDT raises #GP',
    mode: 'kernel64',
    code: 'cd 80',
    prepare: (guest) => {
      guest.state.idtr.limit = 0x80 * 16 - 1;
    },
    expect: { vector: VECTOR.GP, errorCode: 0x80 * 8 + 2 },
  },
  {
    name: 'an exception whose gate is not present raises #NP with EXT',
    mode: 'kernel64',
    code: UD2,
    steps: 'run',
    prepare: (guest) => guest.setGate(VECTOR.UD, { present: false }),
    expect: { handler: VECTOR.NP, stack: [BigInt(VECTOR.UD * 8 + IDT_EXT), BigInt(PLACE.KERNEL_CODE)] },
  },
  {
    name: 'an exception whose gate is of a wrong type raises #GP with EXT',
    mode: 'kernel64',
    code: UD2,
    steps: 'run',
    prepare: (guest) => guest.setGate(VECTOR.UD, { type: 12 }),
    expect: { handler: VECTOR.GP, stack: [BigInt(VECTOR.UD * 8 + IDT_EXT)] },
  },
  {
    name: 'an exception whose gate names no segment raises #GP with EXT alone',
    mode: 'kernel64',
    code: UD2,
    steps: 'run',
    prepare: (guest) => guest.setGate(VECTOR.UD, { selector: 0 }),
    expect: { handler: VECTOR.GP, stack: [1n] },
  },
  {
    name: 'an exception whose gate names a data segment raises #GP with the selector',
    mode: 'kernel64',
    code: UD2,
    steps: 'run',
    prepare: (guest) => guest.setGate(VECTOR.UD, { selector: SEGMENT.kernelData.selector }),
    expect: { handler: VECTOR.GP, stack: [KERNEL_SS | 1n] },
  },
  {
    name: 'an exception whose gate names 32-bit code raises #GP in long mode',
    mode: 'kernel64',
    code: UD2,
    steps: 'run',
    prepare: (guest) => guest.setGate(VECTOR.UD, { selector: SEGMENT.kernelCode32.selector }),
    expect: { handler: VECTOR.GP, stack: [BigInt(SEGMENT.kernelCode32.selector) | 1n] },
  },
  {
    name: 'a contributory exception during a contributory one becomes #DF(0)',
    mode: 'kernel64',
    code: 'f7 f1',
    steps: 'run',
    prepare: (guest) => guest.setGate(VECTOR.DE, { present: false }),
    expect: { handler: VECTOR.DF, stack: [0n, BigInt(PLACE.KERNEL_CODE)] },
  },
  {
    name: 'a page fault while a page fault is delivered becomes #DF(0)',
    mode: 'user64',
    code: '8b 08',
    steps: 'run',
    prepare: (guest) => {
      guest.remap(USER.DATA, 0n);
      guest.setRegister('rax', BigInt(USER.DATA));
      guest.remap(PLACE.RSP0 - 0x1000, 0n);
      guest.setGate(VECTOR.DF, { ist: 1 });
    },
    expect: {
      handler: VECTOR.DF,
      cr2: PLACE.RSP0 - 8,
      registers: { rsp: BigInt(PLACE.IST1 - 48) },
      stack: [0n, BigInt(USER.CODE), USER_CS],
    },
  },
  {
    name: 'a page fault while a benign exception is delivered is delivered itself',
    mode: 'user64',
    code: UD2,
    steps: 'run',
    prepare: (guest) => {
      guest.remap(PLACE.RSP0 - 0x1000, 0n);
      guest.setGate(VECTOR.PF, { ist: 1 });
    },
    expect: { handler: VECTOR.PF, cr2: PLACE.RSP0 - 8, stack: [2n, BigInt(USER.CODE)] },
  },
  {
    name: 'an exception without any IDT is a triple fault',
    mode: 'kernel64',
    code: UD2,
    steps: 'run',
    prepare: (guest) => {
      guest.state.idtr.limit = 0;
    },
    expect: { shutdown: true },
  },
  {
    name: 'a stack that stays unusable for #DF is a triple fault',
    mode: 'kernel64',
    code: '50', // push rax
    steps: 'run',
    prepare: (guest) => {
      guest.setRegister('rsp', BigInt(PLACE.KERNEL_STACK));
      guest.remap(PLACE.KERNEL_STACK - 0x1000, 0n);
    },
    expect: { shutdown: true },
  },
  {
    name: 'IRET to CPL 3 loads CS, RIP, RFLAGS, SS and RSP and drops kernel data segments',
    mode: 'kernel64',
    code: IRETQ,
    prepare: (guest) => {
      writeStack(guest, [BigInt(USER.CODE), USER_CS, 0x3246n, BigInt(USER.STACK), USER_SS]);
      guest.state.segments.es = { ...SEGMENT.userData };
    },
    expect: {
      rip: USER.CODE,
      selectors: { cs: Number(USER_CS), ss: Number(USER_SS), ds: 0, fs: 0, es: SEGMENT.userData.selector },
      registers: { rsp: BigInt(USER.STACK) },
      flagsSet: 0x3246,
    },
  },
  {
    name: 'IRET to compatibility code',
    mode: 'kernel64',
    code: `${IRETQ}`,
    steps: 2,
    prepare: (guest) => {
      writeStack(guest, [BigInt(USER.CODE), BigInt(SEGMENT.userCode32.selector), 2n, BigInt(USER.STACK), USER_SS]);
      guest.memory.writeU8(userPhysical(USER.CODE), 0x40); // inc eax in 32-bit code, REX in 64-bit code
    },
    expect: { rip: USER.CODE + 1, registers: { rax: 1n }, selectors: { cs: SEGMENT.userCode32.selector } },
  },
  {
    name: 'IRET within CPL 0 accepts a null SS',
    mode: 'kernel64',
    code: IRETQ,
    prepare: (guest) => writeStack(guest, [0x1_0040n, KERNEL_CS, 2n, 0x1_7000n, 0n]),
    expect: { rip: 0x1_0040, selectors: { ss: 0 }, registers: { rsp: 0x1_7000n } },
  },
  ...REFUSED_RETURNS.map(
    ({ name, frame, rflags, errorCode }): EngineCase => ({
      name: `${name} raises #GP(${errorCode})`,
      mode: 'kernel64',
      code: IRETQ,
      prepare: (guest) => {
        writeStack(guest, frame);
        if (rflags !== undefined) guest.state.rflags = rflags;
      },
      expect: { vector: VECTOR.GP, errorCode, rip: PLACE.KERNEL_CODE, selectors: { cs: Number(KERNEL_CS) } },
    }),
  ),
  {
    name: 'a far return to CPL 3 loads SS and RSP',
    mode: 'kernel64',
    code: '48 cb', // retfq
    prepare: (guest) => writeStack(guest, [BigInt(USER.CODE), USER_CS, BigInt(USER.STACK), USER_SS]),
    expect: {
      rip: USER.CODE,
      selectors: { cs: Number(USER_CS), ss: Number(USER_SS), ds: 0 },
      registers: { rsp: BigInt(USER.STACK) },
    },
  },
  {
    name: 'a call gate takes CPL 3 to CPL 0 on RSP0',
    mode: 'user64',
    code: CALLF,
    prepare: (guest) => callGate(guest),
    expect: {
      rip: PLACE.KERNEL_CODE + 0x40,
      selectors: { cs: Number(KERNEL_CS), ss: 0 },
      registers: { rsp: BigInt(PLACE.RSP0 - 32) },
      stack: [BigInt(USER.CODE + 2), USER_CS, BigInt(USER.STACK), USER_SS],
    },
  },
  {
    name: 'a call gate of DPL 0 refuses CPL 3',
    mode: 'user64',
    code: CALLF,
    prepare: (guest) => callGate(guest, { dpl: 0 }),
    expect: { vector: VECTOR.GP, errorCode: CALL_GATE_SELECTOR, rip: USER.CODE },
  },
  {
    name: 'a call gate that is not present raises #NP',
    mode: 'user64',
    code: CALLF,
    prepare: (guest) => callGate(guest, { present: false }),
    expect: { vector: VECTOR.NP, errorCode: CALL_GATE_SELECTOR },
  },
  {
    name: 'a jump through a call gate cannot raise privilege',
    mode: 'user64',
    code: JMPF,
    prepare: (guest) => callGate(guest),
    expect: { vector: VECTOR.GP, errorCode: SEGMENT.kernelCode.selector },
  },
  {
    name: "a jump to the kernel's code segment raises #GP at CPL 3",
    mode: 'user64',
    code: JMPF,
    prepare: (guest) => userPointer(guest, SEGMENT.kernelCode.selector, PLACE.KERNEL_CODE),
    expect: { vector: VECTOR.GP, errorCode: SEGMENT.kernelCode.selector },
  },
  {
    name: 'a jump to conforming code keeps CPL 3',
    mode: 'user64',
    code: JMPF,
    prepare: (guest) => userPointer(guest, SEGMENT.conformingCode.selector, USER.CODE + 0x40),
    expect: { rip: USER.CODE + 0x40, selectors: { cs: SEGMENT.conformingCode.selector | 3 } },
  },
  {
    name: 'a jump from 64-bit to compatibility code and back',
    mode: 'user64',
    code: JMPF,
    steps: 2,
    prepare: (guest) => {
      userPointer(guest, SEGMENT.userCode32.selector, USER.CODE + 0x40);
      // jmpf 2b:USER.CODE + 0x80
      guest.memory.write(userPhysical(USER.CODE + 0x40), Uint8Array.of(0xea, 0x80, 0, 0x40, 0, Number(USER_CS), 0));
    },
    expect: { rip: USER.CODE + 0x80, selectors: { cs: Number(USER_CS) } },
  },
  {
    name: 'a call to a code segment that is not present raises #NP',
    mode: 'user64',
    code: CALLF,
    prepare: (guest) => {
      guest.setDescriptor(FREE_SELECTOR, { ...SEGMENT.userCode64, attributes: SEGMENT.userCode64.attributes & ~A.P });
      userPointer(guest, FREE_SELECTOR | 3, USER.CODE);
    },
    expect: { vector: VECTOR.NP, errorCode: FREE_SELECTOR },
  },
];
