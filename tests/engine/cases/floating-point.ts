// Availability of x87, MMX and SSE by CR0 and CR4 (SDM volume 3, 2.5, 13.1), and XSAVE's checks.

import { CR0, CR4 } from '../../../src/isa/control-registers.ts';
import { VECTOR } from '../../../src/isa/vectors.ts';
import type { EngineCase } from '../engine-case.ts';
import { type Guest, PLACE } from '../guest.ts';

const ADDPS = '0f 58 c1';
const FLD1 = 'd9 e8';
const FWAIT = '9b';
const PADDB_MMX = '0f fc c1';
const FXSAVE = '0f ae 00';
const XSAVE = '0f ae 20';
const XRSTOR = '0f ae 28';

function availability(name: string, code: string, cr0: number, vector: number | undefined): EngineCase {
  return {
    name,
    mode: 'kernel64',
    code,
    prepare: (guest) => {
      guest.setControl('cr0', cr0, true);
      guest.setRegister('rax', BigInt(PLACE.KERNEL_DATA));
    },
    expect: vector === undefined ? {} : { vector, rip: PLACE.KERNEL_CODE },
  };
}

const area = (guest: Guest): void => {
  guest.setRegister('rax', BigInt(PLACE.KERNEL_DATA));
  guest.setRegister('rcx', BigInt(PLACE.KERNEL_DATA));
};

export const FLOATING_POINT_CASES: readonly EngineCase[] = [
  availability('an SSE instruction with TS raises #NM', ADDPS, CR0.TS, VECTOR.NM),
  availability('an x87 instruction with TS raises #NM', FLD1, CR0.TS, VECTOR.NM),
  availability('an MMX instruction with TS raises #NM', PADDB_MMX, CR0.TS, VECTOR.NM),
  availability('FXSAVE with TS raises #NM', FXSAVE, CR0.TS, VECTOR.NM),
  availability('WAIT with TS and MP raises #NM', FWAIT, CR0.TS, VECTOR.NM),
  availability('an SSE instruction with EM raises #UD', ADDPS, CR0.EM, VECTOR.UD),
  availability('an x87 instruction with EM raises #NM', FLD1, CR0.EM, VECTOR.NM),
  availability('an MMX instruction with EM raises #UD', PADDB_MMX, CR0.EM, VECTOR.UD),
  availability('WAIT with EM alone runs', FWAIT, CR0.EM, undefined),
  {
    name: 'WAIT with TS and without MP runs',
    mode: 'kernel64',
    code: FWAIT,
    prepare: (guest) => {
      guest.setControl('cr0', CR0.TS, true);
      guest.setControl('cr0', CR0.MP, false);
    },
    expect: {},
  },
  {
    name: 'CLTS lets x87 instructions run again',
    mode: 'kernel64',
    code: `0f 06 ${FLD1}`,
    steps: 2,
    prepare: (guest) => guest.setControl('cr0', CR0.TS, true),
    expect: {},
  },
  {
    name: 'an SSE instruction without CR4.OSFXSR raises #UD',
    mode: 'kernel64',
    code: ADDPS,
    prepare: (guest) => guest.setControl('cr4', CR4.OSFXSR, false),
    expect: { vector: VECTOR.UD },
  },
  {
    name: 'an unmasked SSE exception raises #XM',
    mode: 'kernel64',
    code: '0f 5e c1', // divps xmm0, xmm1: 0 / 0
    prepare: (guest) => new DataView(guest.state.xsave.buffer).setUint32(24, 0x1f00, true),
    expect: { vector: VECTOR.XM },
  },
  {
    name: 'an unmasked SSE exception without CR4.OSXMMEXCPT raises #UD',
    mode: 'kernel64',
    code: '0f 5e c1',
    prepare: (guest) => {
      new DataView(guest.state.xsave.buffer).setUint32(24, 0x1f00, true);
      guest.setControl('cr4', CR4.OSXMMEXCPT, false);
    },
    expect: { vector: VECTOR.UD },
  },
  {
    name: 'an unmasked x87 exception raises #MF at the next waiting instruction',
    mode: 'kernel64',
    code: `d9 ee d9 e8 d8 f1 df e0 ${FWAIT}`, // fldz; fld1; fdiv st0, st1; fnstsw ax; fwait
    steps: 5,
    prepare: (guest) => new DataView(guest.state.xsave.buffer).setUint16(0, 0x37b, true),
    expect: { vector: VECTOR.MF },
  },
  {
    name: 'LDMXCSR of a reserved bit raises #GP(0)',
    mode: 'kernel64',
    code: '0f ae 10',
    prepare: (guest) => {
      area(guest);
      guest.memory.writeU32(PLACE.KERNEL_DATA, 0x1_0000);
    },
    expect: { vector: VECTOR.GP, errorCode: 0 },
  },
  {
    name: 'FXSAVE to an unaligned area raises #GP(0)',
    mode: 'kernel64',
    code: FXSAVE,
    prepare: (guest) => guest.setRegister('rax', BigInt(PLACE.KERNEL_DATA + 8)),
    expect: { vector: VECTOR.GP, errorCode: 0 },
  },
  {
    name: 'XSAVE to an area that is not aligned to 64 bytes raises #GP(0)',
    mode: 'kernel64',
    code: XSAVE,
    prepare: (guest) => guest.setRegister('rax', BigInt(PLACE.KERNEL_DATA + 16)),
    expect: { vector: VECTOR.GP, errorCode: 0 },
  },
  {
    name: 'XSAVE without CR4.OSXSAVE raises #UD',
    mode: 'kernel64',
    code: XSAVE,
    prepare: (guest) => {
      area(guest);
      guest.setControl('cr4', CR4.OSXSAVE, false);
    },
    expect: { vector: VECTOR.UD },
  },
  {
    name: 'XRSTOR of a component that XCR0 lacks raises #GP(0)',
    mode: 'kernel64',
    code: XRSTOR,
    prepare: (guest) => {
      area(guest);
      guest.memory.writeU64(PLACE.KERNEL_DATA + 512, 1n << 10n);
    },
    expect: { vector: VECTOR.GP, errorCode: 0 },
  },
  {
    name: 'XRSTOR of a header with reserved bytes raises #GP(0)',
    mode: 'kernel64',
    code: XRSTOR,
    prepare: (guest) => {
      area(guest);
      guest.memory.writeU64(PLACE.KERNEL_DATA + 528, 1n);
    },
    expect: { vector: VECTOR.GP, errorCode: 0 },
  },
  {
    name: 'XRSTOR puts components that the header leaves out into their initial state',
    mode: 'kernel64',
    code: '0f ae 29', // xrstor [rcx]
    prepare: (guest) => {
      area(guest);
      guest.setRegister('rax', 3n);
      guest.state.xsave.fill(0x55, 160, 416);
      guest.memory.bytes(PLACE.KERNEL_DATA, 512).fill(0x33);
      guest.memory.writeU32(PLACE.KERNEL_DATA + 24, 0x1f80);
    },
    expect: {
      check: (guest) => {
        const { xsave } = guest.vcpu.getState();
        if (xsave.subarray(160, 416).some((byte) => byte !== 0)) throw new Error('XMM registers are not zero');
        if (new DataView(xsave.buffer).getUint16(0, true) !== 0x37f) throw new Error('FCW is not initial');
      },
    },
  },
];
