// Segment registers, limits and types (SDM volume 3, chapter 5.3 to 5.5), in protected mode, compatibility and real
// mode.

import { SEGMENT_ATTRIBUTE } from '../../../src/engine/vcpu-state.ts';
import { VECTOR } from '../../../src/isa/vectors.ts';
import type { EngineCase } from '../engine-case.ts';
import { CALL_GATE_SELECTOR, FREE_SELECTOR, type Guest, LDT_SELECTOR, PLACE, SEGMENT, TSS_SELECTOR } from '../guest.ts';

const A = SEGMENT_ATTRIBUTE;
const K = BigInt(PLACE.KERNEL_DATA);

const MOV_ECX_EAX = '8b 08';
const MOV_EAX_ECX = '89 08';
const MOV_DS_AX = '8e d8';
const MOV_SS_AX = '8e d0';

/** A data segment in DS with the hidden part given. */
const withDs =
  (limit: number, type: number, eax: bigint, base = 0n) =>
  (guest: Guest): void => {
    guest.state.segments.ds = { selector: FREE_SELECTOR, base, limit, attributes: A.P | A.S | A.DB | type };
    guest.setRegister('rax', eax);
  };

interface Load {
  readonly name: string;
  readonly register?: 'ds' | 'ss';
  readonly selector: number;
  readonly descriptor?: { readonly attributes: number };
  readonly mode?: 'kernel32' | 'user32';
  /** undefined: the load succeeds. */
  readonly vector?: number;
  readonly errorCode?: number;
}

function loadCase({
  name,
  register = 'ds',
  selector,
  descriptor,
  mode = 'kernel32',
  vector,
  errorCode,
}: Load): EngineCase {
  return {
    name,
    mode,
    code: register === 'ds' ? MOV_DS_AX : MOV_SS_AX,
    prepare: (guest) => {
      guest.setRegister('rax', BigInt(selector));
      if (descriptor)
        guest.setDescriptor(FREE_SELECTOR, { selector: FREE_SELECTOR, base: K, limit: 0xffff, ...descriptor });
    },
    expect:
      vector === undefined
        ? { selectors: { [register]: selector } }
        : { vector, errorCode: errorCode ?? selector & ~3 },
  };
}

const LOADS: readonly Load[] = [
  { name: 'DS takes a data segment', selector: SEGMENT.kernelData.selector },
  { name: 'DS takes a null selector', selector: 0 },
  { name: 'DS takes a readable code segment', selector: FREE_SELECTOR, descriptor: { attributes: A.P | A.S | 0xb } },
  {
    name: 'DS refuses an execute-only code segment',
    selector: FREE_SELECTOR,
    descriptor: { attributes: A.P | A.S | 0x9 },
    vector: VECTOR.GP,
  },
  { name: 'DS refuses a system segment', selector: TSS_SELECTOR, vector: VECTOR.GP },
  { name: 'DS refuses a selector beyond the GDT', selector: 0x200, vector: VECTOR.GP },
  { name: 'DS refuses an LDT selector without an LDT', selector: 0x0c, vector: VECTOR.GP, errorCode: 0x0c },
  {
    name: 'DS of a segment that is not present raises #NP',
    selector: FREE_SELECTOR,
    descriptor: { attributes: A.S | 0x3 },
    vector: VECTOR.NP,
  },
  {
    name: 'DS refuses a more privileged segment',
    mode: 'user32',
    selector: SEGMENT.kernelData.selector,
    vector: VECTOR.GP,
  },
  {
    name: 'DS refuses a requested privilege beyond the segment',
    selector: SEGMENT.kernelData.selector | 3,
    vector: VECTOR.GP,
  },
  { name: 'SS refuses a null selector', register: 'ss', selector: 0, vector: VECTOR.GP },
  {
    name: 'SS refuses a read-only segment',
    register: 'ss',
    selector: FREE_SELECTOR,
    descriptor: { attributes: A.P | A.S | 0x1 },
    vector: VECTOR.GP,
  },
  { name: 'SS refuses another privilege', register: 'ss', selector: SEGMENT.userData.selector, vector: VECTOR.GP },
  {
    name: 'SS of a segment that is not present raises #SS',
    register: 'ss',
    selector: FREE_SELECTOR,
    descriptor: { attributes: A.S | 0x3 },
    vector: VECTOR.SS,
  },
];

export const SEGMENT_CASES: readonly EngineCase[] = [
  ...LOADS.map(loadCase),
  {
    name: 'a load of a segment sets its accessed bit in the table',
    mode: 'kernel32',
    code: MOV_DS_AX,
    prepare: (guest) => {
      guest.setRegister('rax', BigInt(FREE_SELECTOR));
      guest.setDescriptor(FREE_SELECTOR, {
        selector: FREE_SELECTOR,
        base: K,
        limit: 0x1234,
        attributes: A.P | A.S | A.DB | 0x2,
      });
    },
    expect: {
      memory: { [PLACE.GDT + FREE_SELECTOR]: 0x0040_9301_4000_1234n },
      check: (guest) => {
        const { ds } = guest.vcpu.getState().segments;
        if (ds.base !== K || ds.limit !== 0x1234) throw new Error(`DS has base ${ds.base} and limit ${ds.limit}`);
      },
    },
  },
  {
    name: 'LLDT gives selectors with TI their table',
    mode: 'kernel32',
    code: `0f 00 d3 ${MOV_DS_AX}`, // lldt bx
    steps: 2,
    prepare: (guest) => {
      guest.setRegister('rbx', BigInt(LDT_SELECTOR));
      guest.setRegister('rax', 0x0cn);
      guest.memory.writeU64(PLACE.LDT + 8, 0x0040_9301_4000_1234n);
    },
    expect: { selectors: { ds: 0x0c, ldtr: LDT_SELECTOR } },
  },
  {
    name: 'an access that ends at the limit succeeds',
    mode: 'kernel32',
    code: MOV_ECX_EAX,
    prepare: withDs(0xfff, 0x3, 0xffcn),
    expect: {},
  },
  {
    name: 'an access that reaches beyond the limit raises #GP(0)',
    mode: 'kernel32',
    code: MOV_ECX_EAX,
    prepare: withDs(0xfff, 0x3, 0xffdn),
    expect: { vector: VECTOR.GP, errorCode: 0, rip: PLACE.KERNEL_CODE },
  },
  {
    name: 'the base of a segment is added to the offset',
    mode: 'kernel32',
    code: MOV_ECX_EAX,
    prepare: (guest) => {
      withDs(0xfff, 0x3, 0x10n, K)(guest);
      guest.memory.writeU64(PLACE.KERNEL_DATA + 0x10, 0xabcdn);
    },
    expect: { registers: { rcx: 0xabcdn } },
  },
  {
    name: 'an expand-down segment has no offsets up to its limit',
    mode: 'kernel32',
    code: MOV_ECX_EAX,
    prepare: withDs(0xfff, 0x7, 0xfffn),
    expect: { vector: VECTOR.GP, errorCode: 0 },
  },
  {
    name: 'an expand-down segment has the offsets above its limit',
    mode: 'kernel32',
    code: MOV_ECX_EAX,
    prepare: withDs(0xfff, 0x7, 0x1000n),
    expect: {},
  },
  {
    name: 'a write to a read-only segment raises #GP(0)',
    mode: 'kernel32',
    code: MOV_EAX_ECX,
    prepare: withDs(0xfff, 0x1, 0x10n),
    expect: { vector: VECTOR.GP, errorCode: 0 },
  },
  {
    name: 'a write through CS raises #GP(0)',
    mode: 'kernel32',
    code: `2e ${MOV_EAX_ECX}`,
    prepare: (guest) => guest.setRegister('rax', K),
    expect: { vector: VECTOR.GP, errorCode: 0 },
  },
  {
    name: 'a read through an execute-only CS raises #GP(0)',
    mode: 'kernel32',
    code: `2e ${MOV_ECX_EAX}`,
    prepare: (guest) => {
      guest.setRegister('rax', K);
      guest.state.segments.cs.attributes &= ~0x2;
    },
    expect: { vector: VECTOR.GP, errorCode: 0 },
  },
  {
    name: 'an access through a null DS raises #GP(0)',
    mode: 'kernel32',
    code: MOV_ECX_EAX,
    prepare: (guest) => {
      guest.state.segments.ds = { selector: 0, base: 0n, limit: 0, attributes: A.UNUSABLE };
    },
    expect: { vector: VECTOR.GP, errorCode: 0 },
  },
  {
    name: 'an access beyond the limit of SS raises #SS(0)',
    mode: 'kernel32',
    code: '8b 4d 00', // mov ecx, [ebp]
    prepare: (guest) => {
      guest.state.segments.ss = { ...SEGMENT.kernelData, limit: 0xfff, attributes: A.P | A.S | A.DB | 0x3 };
      guest.setRegister('rbp', 0xffen);
    },
    expect: { vector: VECTOR.SS, errorCode: 0 },
  },
  {
    name: 'a push below a limited stack raises #SS(0)',
    mode: 'kernel32',
    code: '50', // push eax
    prepare: (guest) => {
      guest.state.segments.ss = { ...SEGMENT.kernelData, limit: 0xffff, attributes: A.P | A.S | A.DB | 0x3 };
      guest.setRegister('rsp', 2n);
    },
    expect: { vector: VECTOR.SS, errorCode: 0, registers: { rsp: 2n } },
  },
  {
    name: 'a 16-bit stack wraps within its 64 KiB',
    mode: 'kernel32',
    code: '50',
    prepare: (guest) => {
      guest.state.segments.ss = { ...SEGMENT.kernelData16, base: 0x8_0000n };
      guest.setRegister('rsp', 0xabcd_0000n);
      guest.setRegister('rax', 0x1234_5678n);
    },
    expect: { registers: { rsp: 0xabcd_fffcn }, memory: { 589816: 0x1234_5678_0000_0000n } },
  },
  {
    name: 'a jump beyond the limit of CS raises #GP(0) at the jump',
    mode: 'kernel32',
    code: 'eb 20',
    prepare: (guest) => {
      guest.state.segments.cs = {
        ...SEGMENT.kernelCode32,
        limit: PLACE.KERNEL_CODE + 0x10,
        attributes: A.P | A.S | A.DB | 0xb,
      };
    },
    expect: { vector: VECTOR.GP, errorCode: 0, rip: PLACE.KERNEL_CODE },
  },
  {
    name: 'an instruction that reaches beyond the limit of CS raises #GP(0)',
    mode: 'kernel32',
    code: '90 b8 01 00 00 00', // nop; mov eax, 1
    steps: 2,
    prepare: (guest) => {
      guest.state.segments.cs = {
        ...SEGMENT.kernelCode32,
        limit: PLACE.KERNEL_CODE + 4,
        attributes: A.P | A.S | A.DB | 0xb,
      };
    },
    expect: { vector: VECTOR.GP, errorCode: 0, rip: PLACE.KERNEL_CODE + 1 },
  },
  {
    name: 'long mode ignores base and limit of DS and takes those of FS',
    mode: 'kernel64',
    code: '8b 08 64 8b 10', // mov ecx, [rax]; mov edx, fs:[rax]
    steps: 2,
    prepare: (guest) => {
      guest.state.segments.ds = { ...SEGMENT.kernelData16, base: 0x100n, limit: 1 };
      guest.state.segments.fs = { ...SEGMENT.kernelData, base: 8n };
      guest.setRegister('rax', K);
      guest.memory.writeU64(PLACE.KERNEL_DATA, 1n);
      guest.memory.writeU64(PLACE.KERNEL_DATA + 8, 2n);
    },
    expect: { registers: { rcx: 1n, rdx: 2n } },
  },
  {
    name: 'real mode: a word that reaches beyond 64 KiB raises #GP, without an error code',
    mode: 'real16',
    code: 'a1 ff ff', // mov ax, [ffff]
    steps: 'run',
    expect: { handler: VECTOR.GP, registers: { rsp: 0x7ffan } },
  },
  {
    name: 'real mode: a load of DS shifts its value by 4',
    mode: 'real16',
    code: `${MOV_DS_AX} a1 08 00`, // mov ax, [8]
    steps: 2,
    prepare: (guest) => {
      guest.setRegister('rax', 0x2345n);
      guest.memory.writeU64(0x2_3450 + 8, 0xbeefn);
    },
    expect: { registers: { rax: 0xbeefn }, selectors: { ds: 0x2345 } },
  },
  {
    name: 'real mode: INT pushes FLAGS, CS and IP and takes the vector from the table at 0',
    mode: 'real16',
    code: 'cd 21',
    steps: 'run',
    prepare: (guest) => {
      guest.state.rflags = 0x202n;
    },
    expect: {
      handler: 0x21,
      flagsClear: 0x200,
      registers: { rsp: 0x7ffan },
      check: (guest) => {
        const frame = [0, 2, 4].map((at) => guest.memory.readU16(0x1_7ffa + at).toString(16)).join(' ');
        if (frame !== '2 1000 202') throw new Error(`the frame is ${frame}`);
      },
    },
  },
  {
    name: 'real mode: IRET returns to where FLAGS, CS and IP say',
    mode: 'real16',
    code: 'cf',
    prepare: (guest) => {
      [0x1234, 0x2000, 0x0ed7].forEach((word, i) => {
        guest.memory.writeU16(0x1_8000 + i * 2, word);
      });
    },
    expect: { rip: 0x1234, selectors: { cs: 0x2000 }, flagsSet: 0xcd5, registers: { rsp: 0x8006n } },
  },
  {
    name: 'real mode: a far call and its return',
    mode: 'real16',
    code: '9a 00 01 20 10', // callf 1020:0100
    prepare: (guest) => guest.memory.writeU8(0x1_0300, 0xcb),
    expect: {
      rip: 0x100,
      selectors: { cs: 0x1020 },
      check: (guest) => {
        guest.vcpu.step();
        const state = guest.vcpu.getState();
        if (state.rip !== 5n || state.segments.cs.selector !== 0x1000) throw new Error('the return went elsewhere');
      },
    },
  },
  {
    name: 'a jump to a data segment raises #GP',
    mode: 'kernel32',
    code: 'ea 00 00 01 00 10 00', // jmpf 10:00010000
    expect: { vector: VECTOR.GP, errorCode: 0x10 },
  },
  {
    name: 'a jump to the null selector raises #GP(0)',
    mode: 'kernel32',
    code: 'ea 00 00 01 00 00 00',
    expect: { vector: VECTOR.GP, errorCode: 0 },
  },
  {
    name: 'a 64-bit jump to a task-state segment raises #GP',
    mode: 'kernel64',
    code: 'ff 28', // jmpf [rax]
    prepare: (guest) => {
      guest.setRegister('rax', K);
      guest.memory.writeU64(PLACE.KERNEL_DATA, BigInt(TSS_SELECTOR) << 32n);
    },
    expect: { vector: VECTOR.GP, errorCode: TSS_SELECTOR },
  },
  {
    name: 'a jump to a gate that is not there raises #GP',
    mode: 'kernel64',
    code: 'ff 28',
    prepare: (guest) => {
      guest.setRegister('rax', K);
      guest.memory.writeU64(PLACE.KERNEL_DATA, BigInt(CALL_GATE_SELECTOR) << 32n);
    },
    expect: { vector: VECTOR.GP, errorCode: CALL_GATE_SELECTOR },
  },
];
