// Privileged instructions, I/O permission, and values that control registers and MSRs refuse (SDM volume 3, 2.5, 2.8,
// 4.1.3, 5.9; volume 1, 19.5).

import { SEGMENT_ATTRIBUTE } from '../../../src/engine/vcpu-state.ts';
import { CR0, CR4 } from '../../../src/isa/control-registers.ts';
import { MSR } from '../../../src/isa/msrs.ts';
import { VECTOR } from '../../../src/isa/vectors.ts';
import type { EngineCase } from '../engine-case.ts';
import { FREE_SELECTOR, type Guest, LDT_SELECTOR, PLACE, SEGMENT, TSS_SELECTOR } from '../guest.ts';

const A = SEGMENT_ATTRIBUTE;

const PRIVILEGED: readonly [string, string][] = [
  ['hlt', 'f4'],
  ['cli', 'fa'],
  ['sti', 'fb'],
  ['in al, dx', 'ec'],
  ['out dx, al', 'ee'],
  ['insb', '6c'],
  ['outsb', '6e'],
  ['mov rax, cr0', '0f 20 c0'],
  ['mov cr3, rax', '0f 22 d8'],
  ['mov rax, cr8', '44 0f 20 c0'],
  ['mov rax, dr7', '0f 21 f8'],
  ['mov dr0, rax', '0f 23 c0'],
  ['lgdt [rax]', '0f 01 10'],
  ['lidt [rax]', '0f 01 18'],
  ['lldt ax', '0f 00 d0'],
  ['ltr ax', '0f 00 d8'],
  ['lmsw ax', '0f 01 f0'],
  ['clts', '0f 06'],
  ['invlpg [rax]', '0f 01 38'],
  ['invpcid rax, [rax]', '66 0f 38 82 00'],
  ['invd', '0f 08'],
  ['wbinvd', '0f 09'],
  ['rdmsr', '0f 32'],
  ['wrmsr', '0f 30'],
  ['rdpmc', '0f 33'],
  ['swapgs', '0f 01 f8'],
  ['sysret', '48 0f 07'],
  ['sysexit', '48 0f 35'],
  ['xsetbv', '0f 01 d1'],
];

const privilegedCases = PRIVILEGED.map(
  ([name, code]): EngineCase => ({
    name: `${name} at CPL 3 raises #GP(0)`,
    mode: 'user64',
    code,
    expect: { vector: VECTOR.GP, errorCode: 0 },
  }),
);

const CANONICAL_HOLE = 0x8000_0000_0000n;

interface Refusal {
  readonly name: string;
  readonly code: string;
  /** RDI, or ECX and EDX:EAX for WRMSR and XSETBV. */
  readonly value: (guest: Guest) => bigint;
  readonly ecx?: number;
  readonly vector?: number;
  readonly prepare?: (guest: Guest) => void;
}

const MOV_CR0 = '0f 22 c7';
const MOV_CR3 = '0f 22 df';
const MOV_CR4 = '0f 22 e7';
const WRMSR = '0f 30';

const REFUSED: readonly Refusal[] = [
  { name: 'CR0.PG without PE', code: MOV_CR0, value: ({ state }) => state.cr0 & ~BigInt(CR0.PE) },
  { name: 'a clear CR0.PG in 64-bit code', code: MOV_CR0, value: ({ state }) => state.cr0 & ~BigInt(CR0.PG) },
  { name: 'CR0.NW without CD', code: MOV_CR0, value: ({ state }) => state.cr0 | BigInt(CR0.NW) },
  { name: 'an upper half in CR0', code: MOV_CR0, value: ({ state }) => state.cr0 | (1n << 32n) },
  { name: 'an address beyond MAXPHYADDR in CR3', code: MOV_CR3, value: ({ state }) => state.cr3 | (1n << 60n) },
  { name: 'bit 63 in CR3 without PCIDs', code: MOV_CR3, value: ({ state }) => state.cr3 | (1n << 63n) },
  { name: 'an unknown bit in CR4', code: MOV_CR4, value: ({ state }) => state.cr4 | (1n << 40n) },
  { name: 'a clear CR4.PAE in long mode', code: MOV_CR4, value: ({ state }) => state.cr4 & ~BigInt(CR4.PAE) },
  {
    name: 'CR4.PCIDE while CR3 holds other than PCID 0',
    code: MOV_CR4,
    value: ({ state }) => state.cr4 | BigInt(CR4.PCIDE),
    prepare: ({ state }) => {
      state.cr3 |= 0x18n;
    },
  },
  { name: 'a task priority over 15 in CR8', code: '44 0f 22 c7', value: () => 16n },
  { name: 'an upper half in DR7', code: '0f 23 ff', value: () => 1n << 32n },
  { name: 'an upper half in DR6', code: '0f 23 f7', value: () => 1n << 32n },
  { name: 'CR1', code: '0f 22 cf', value: () => 0n, vector: VECTOR.UD },
  {
    name: 'DR4 with CR4.DE',
    code: '0f 23 e7',
    value: () => 0n,
    vector: VECTOR.UD,
    prepare: (g) => g.setControl('cr4', CR4.DE, true),
  },
  { name: 'an unknown EFER bit', code: WRMSR, ecx: MSR.IA32_EFER, value: ({ state }) => state.efer | 4n },
  {
    name: 'a changed EFER.LME while paging',
    code: WRMSR,
    ecx: MSR.IA32_EFER,
    value: ({ state }) => state.efer & ~0x100n,
  },
  { name: 'a non-canonical LSTAR', code: WRMSR, ecx: MSR.IA32_LSTAR, value: () => CANONICAL_HOLE },
  { name: 'a non-canonical FS base', code: WRMSR, ecx: MSR.IA32_FS_BASE, value: () => CANONICAL_HOLE },
  { name: 'an MSR that does not exist', code: WRMSR, ecx: 0x1234_5678, value: () => 0n },
  { name: 'a read of an MSR that does not exist', code: '0f 32', ecx: 0x1234_5678, value: () => 0n },
  { name: 'XCR0 without x87', code: '0f 01 d1', ecx: 0, value: () => 2n },
  { name: 'an unknown component in XCR0', code: '0f 01 d1', ecx: 0, value: () => 3n | (1n << 40n) },
  { name: 'XCR1', code: '0f 01 d1', ecx: 1, value: () => 3n },
  {
    name: 'XGETBV without CR4.OSXSAVE',
    code: '0f 01 d0',
    ecx: 0,
    value: () => 0n,
    vector: VECTOR.UD,
    prepare: (guest) => guest.setControl('cr4', CR4.OSXSAVE, false),
  },
  { name: 'a non-canonical base by WRFSBASE', code: 'f3 48 0f ae d7', value: () => CANONICAL_HOLE },
  {
    name: 'WRFSBASE without CR4.FSGSBASE',
    code: 'f3 48 0f ae d7',
    value: () => 0n,
    vector: VECTOR.UD,
    prepare: (guest) => guest.setControl('cr4', CR4.FSGSBASE, false),
  },
];

const refusedCases = REFUSED.map(
  ({ name, code, value, ecx, vector = VECTOR.GP, prepare }): EngineCase => ({
    name: `${name} is refused`,
    mode: 'kernel64',
    code,
    prepare: (guest) => {
      prepare?.(guest);
      const wanted = value(guest);
      guest.setRegister('rdi', BigInt.asUintN(64, wanted));
      if (ecx === undefined) return;
      guest.setRegister('rcx', BigInt(ecx));
      guest.setRegister('rax', wanted & 0xffff_ffffn);
      guest.setRegister('rdx', wanted >> 32n);
    },
    expect: { vector, errorCode: vector === VECTOR.GP ? 0 : undefined },
  }),
);

const PORT = 0x60;
const IO_MAP = 0x68;

/** IN AL, DX at CPL 3 with a permission map of `limit` bytes in the task state. */
function portCase(name: string, limit: number, mapByte: number, allowed: boolean): EngineCase {
  return {
    name,
    mode: 'user64',
    code: 'ec',
    prepare: (guest) => {
      guest.setRegister('rdx', BigInt(PORT));
      guest.state.segments.tr.limit = limit;
      guest.memory.writeU8(PLACE.TSS + IO_MAP + PORT / 8, mapByte);
    },
    expect: allowed ? { registers: { rax: 0xffn } } : { vector: VECTOR.GP, errorCode: 0 },
  };
}

interface TaskLoad {
  readonly name: string;
  readonly selector: number;
  readonly type: number;
  readonly present?: boolean;
  readonly vector?: number;
}

function taskLoadCase({ name, selector, type, present = true, vector }: TaskLoad): EngineCase {
  return {
    name,
    mode: 'kernel64',
    code: '0f 00 df', // ltr di
    prepare: (guest) => {
      guest.setRegister('rdi', BigInt(selector));
      const attributes = type | (present ? A.P : 0);
      guest.setDescriptor(FREE_SELECTOR, { selector: FREE_SELECTOR, base: BigInt(PLACE.TSS), limit: 0x67, attributes });
    },
    expect:
      vector === undefined
        ? {
            selectors: { tr: selector },
            check: (guest) => {
              const type = guest.memory.readU8(PLACE.GDT + FREE_SELECTOR + 5) & 0xf;
              if (type !== 0xb) throw new Error(`the descriptor's type is ${type}, not busy`);
            },
          }
        : { vector, errorCode: selector & ~3 },
  };
}

export const PRIVILEGE_CASES: readonly EngineCase[] = [
  ...privilegedCases,
  ...refusedCases,
  portCase('a clear bit of the I/O permission map opens its port', 0x200, 0xfe, true),
  portCase('a set bit of the I/O permission map closes its port', 0x200, 0x01, false),
  portCase('a port beyond the I/O permission map is closed', IO_MAP + 4, 0, false),
  {
    name: 'IOPL 3 opens ports and CLI to CPL 3',
    mode: 'user64',
    code: 'fa ec',
    steps: 2,
    prepare: (guest) => {
      guest.state.rflags = 0x3202n;
    },
    expect: { flagsClear: 0x200, registers: { rax: 0xffn } },
  },
  {
    name: 'POPF at CPL 3 leaves IF and IOPL as they are',
    mode: 'user64',
    code: '6a 00 9d', // push 0; popf
    steps: 2,
    prepare: (guest) => {
      guest.state.rflags = 0x1202n;
    },
    expect: { flagsSet: 0x1202 },
  },
  {
    name: 'SGDT at CPL 3 with UMIP raises #GP(0)',
    mode: 'user64',
    code: '0f 01 00',
    prepare: (guest) => {
      guest.setRegister('rax', guest.state.gpr[4]! - 64n);
      guest.setControl('cr4', CR4.UMIP, true);
    },
    expect: { vector: VECTOR.GP, errorCode: 0 },
  },
  {
    name: 'RDTSC at CPL 3 with TSD raises #GP(0)',
    mode: 'user64',
    code: '0f 31',
    prepare: (guest) => guest.setControl('cr4', CR4.TSD, true),
    expect: { vector: VECTOR.GP, errorCode: 0 },
  },
  {
    name: 'LMSW sets TS and cannot clear PE',
    mode: 'kernel32',
    code: '0f 01 f7', // lmsw di
    prepare: (guest) => guest.setRegister('rdi', 0x8n),
    expect: {
      check: (guest) => {
        const { cr0 } = guest.vcpu.getState();
        if ((cr0 & 9n) !== 9n) throw new Error(`cr0 ${cr0.toString(16)}`);
      },
    },
  },
  {
    name: 'DR4 stands for DR6 without CR4.DE',
    mode: 'kernel64',
    code: '0f 21 e7', // mov rdi, dr4
    expect: { registers: { rdi: 0xffff_0ff0n } },
  },
  {
    name: 'WRMSR and RDMSR keep a value',
    mode: 'kernel64',
    code: `${WRMSR} 31 c0 31 d2 0f 32`, // xor eax, eax; xor edx, edx; rdmsr
    steps: 4,
    prepare: (guest) => {
      guest.setRegister('rcx', BigInt(MSR.IA32_LSTAR));
      guest.setRegister('rax', 0x8123_4567n);
      guest.setRegister('rdx', 0xffff_ffffn);
    },
    expect: { registers: { rax: 0x8123_4567n, rdx: 0xffff_ffffn } },
  },
  taskLoadCase({ name: 'LTR takes an available task state and marks it busy', selector: FREE_SELECTOR, type: 0x9 }),
  taskLoadCase({ name: 'LTR refuses a busy task state', selector: TSS_SELECTOR, type: 0x9, vector: VECTOR.GP }),
  taskLoadCase({ name: 'LTR refuses a null selector', selector: 0, type: 0x9, vector: VECTOR.GP }),
  taskLoadCase({
    name: 'LTR refuses a data segment',
    selector: SEGMENT.kernelData.selector,
    type: 0x9,
    vector: VECTOR.GP,
  }),
  taskLoadCase({
    name: 'LTR of a task state that is not present raises #NP',
    selector: FREE_SELECTOR,
    type: 0x9,
    present: false,
    vector: VECTOR.NP,
  }),
  taskLoadCase({
    name: 'LTR refuses a selector into the LDT',
    selector: FREE_SELECTOR | 4,
    type: 0x9,
    vector: VECTOR.GP,
  }),
  {
    name: 'LLDT takes a null selector',
    mode: 'kernel64',
    code: '0f 00 d7',
    expect: { selectors: { ldtr: 0 } },
  },
  {
    name: 'LLDT takes a local descriptor table',
    mode: 'kernel64',
    code: '0f 00 d7',
    prepare: (guest) => guest.setRegister('rdi', BigInt(LDT_SELECTOR)),
    expect: { selectors: { ldtr: LDT_SELECTOR } },
  },
  {
    name: 'LLDT refuses a data segment',
    mode: 'kernel64',
    code: '0f 00 d7',
    prepare: (guest) => guest.setRegister('rdi', BigInt(SEGMENT.kernelData.selector)),
    expect: { vector: VECTOR.GP, errorCode: SEGMENT.kernelData.selector },
  },
  {
    name: 'CMPXCHG16B of an unaligned operand raises #GP(0)',
    mode: 'user64',
    code: '48 0f c7 0c 24', // cmpxchg16b [rsp]
    prepare: (guest) => guest.setRegister('rsp', guest.state.gpr[4]! - 24n),
    expect: { vector: VECTOR.GP, errorCode: 0 },
  },
  {
    name: 'MOVAPS of an unaligned operand raises #GP(0), on the stack too',
    mode: 'user64',
    code: '0f 28 04 24', // movaps xmm0, [rsp]
    prepare: (guest) => guest.setRegister('rsp', guest.state.gpr[4]! - 24n),
    expect: { vector: VECTOR.GP, errorCode: 0 },
  },
  {
    name: 'an unaligned access with AC at CPL 3 raises #AC(0)',
    mode: 'user64',
    code: '8b 44 24 f9', // mov eax, [rsp - 7]
    prepare: (guest) => {
      guest.state.rflags |= 0x4_0000n;
    },
    expect: { vector: VECTOR.AC, errorCode: 0 },
  },
  {
    name: 'an unaligned access with AC at CPL 0 succeeds',
    mode: 'kernel64',
    code: '8b 44 24 f9',
    prepare: (guest) => {
      guest.state.rflags |= 0x4_0000n;
    },
    expect: {},
  },
  {
    name: 'CLAC and STAC change AC at CPL 0',
    mode: 'kernel64',
    code: '0f 01 cb 9c 0f 01 ca', // stac; pushf; clac
    steps: 3,
    prepare: (guest) => guest.setControl('cr4', CR4.SMAP, true),
    expect: { flagsClear: 0x4_0000, stack: [0x4_0002n] },
  },
  {
    name: 'CLAC at CPL 3 raises #UD',
    mode: 'user64',
    code: '0f 01 ca',
    expect: { vector: VECTOR.UD },
  },
  {
    name: 'a LOCK prefix on a register destination raises #UD',
    mode: 'user64',
    code: 'f0 01 c8', // lock add eax, ecx
    expect: { vector: VECTOR.UD },
  },
  {
    name: 'an instruction of more than 15 bytes raises #GP(0)',
    mode: 'user64',
    code: '66 66 66 66 66 66 66 66 66 66 66 66 66 66 66 90',
    expect: { vector: VECTOR.GP, errorCode: 0 },
  },
];
