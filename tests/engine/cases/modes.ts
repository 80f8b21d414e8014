// The way from real mode to long mode, instruction by instruction as boot code does it (SDM volume 3, 9.8 and 9.9).

import type { EngineCase } from '../engine-case.ts';
import { type Guest, PLACE, SEGMENT } from '../guest.ts';

const K = PLACE.KERNEL_CODE;
const K32 = K + 0x100;
const K64 = K + 0x200;

const bytes = (text: string) => Buffer.from(text.replaceAll(' ', ''), 'hex');
const le32 = (value: number) => {
  const buffer = Buffer.alloc(4);
  buffer.writeUInt32LE(value);
  return buffer.toString('hex');
};

/** lgdt [0]; mov eax, cr0; or al, 1; mov cr0, eax; jmpf 30:K32 */
const TO_PROTECTED = `0f 01 16 00 00 0f 20 c0 0c 01 0f 22 c0 66 ea ${le32(K32)} 30 00`;

const gdtPointer = (guest: Guest): void => {
  guest.memory.writeU16(PLACE.KERNEL_DATA, 0xff);
  guest.memory.writeU32(PLACE.KERNEL_DATA + 2, PLACE.GDT);
};

/** From 32-bit protected mode: PAE, CR3, EFER.LME, PG, then a far jump to 64-bit code. */
const toLong = (root: number) =>
  `0f 20 e0 83 c8 20 0f 22 e0 b8 ${le32(root)} 0f 22 d8 b9 80 00 00 c0 0f 32 0d 00 01 00 00 0f 30` +
  `0f 20 c0 0d 00 00 00 80 0f 22 c0 ea ${le32(K64)} 08 00`;

/** mov rax, 0x1122334455667788; hlt */
const IN_LONG = '48 b8 88 77 66 55 44 33 22 11 f4';

export const MODE_CASES: readonly EngineCase[] = [
  {
    name: 'real mode to protected mode',
    mode: 'real16',
    code: TO_PROTECTED,
    steps: 'run',
    prepare: (guest) => {
      gdtPointer(guest);
      // mov eax, 0x10; mov ds, eax; mov ss, eax; mov ecx, [K + 0x100]; hlt
      guest.memory.write(K32, bytes(`b8 10 00 00 00 8e d8 8e d0 8b 0d ${le32(K32)} f4`));
    },
    expect: { rip: K32 + 16, registers: { rcx: 0x0000_10b8n }, selectors: { cs: 0x30, ds: 0x10, ss: 0x10 } },
  },
  {
    name: 'real mode to long mode',
    mode: 'real16',
    code: TO_PROTECTED,
    steps: 'run',
    prepare: (guest) => {
      gdtPointer(guest);
      guest.memory.write(K32, bytes(toLong(guest.tables.root)));
      guest.memory.write(K64, bytes(IN_LONG));
    },
    expect: {
      rip: K64 + 11,
      registers: { rax: 0x1122_3344_5566_7788n },
      check: (guest) => {
        const { efer, segments } = guest.vcpu.getState();
        if ((efer & 0x500n) !== 0x500n) throw new Error(`efer ${efer.toString(16)}`);
        if ((segments.cs.attributes & 0x2000) === 0) throw new Error('CS.L is clear');
      },
    },
  },
  {
    name: 'protected mode to long mode',
    mode: 'kernel32',
    code: '',
    steps: 'run',
    prepare: (guest) => {
      guest.memory.write(K, bytes(toLong(guest.tables.root)));
      guest.memory.write(K64, bytes(IN_LONG));
    },
    expect: { rip: K64 + 11, registers: { rax: 0x1122_3344_5566_7788n }, selectors: { cs: 0x08 } },
  },
  {
    name: 'long mode back to protected mode without paging',
    mode: 'kernel64',
    code: 'ff 28', // jmpf [rax]
    steps: 'run',
    prepare: (guest) => {
      guest.setRegister('rax', BigInt(PLACE.KERNEL_DATA));
      guest.memory.writeU64(PLACE.KERNEL_DATA, (BigInt(SEGMENT.kernelCode32.selector) << 32n) | BigInt(K32));
      // mov eax, cr0; and eax, 0x7fffffff; mov cr0, eax; hlt
      guest.memory.write(K32, bytes('0f 20 c0 25 ff ff ff 7f 0f 22 c0 f4'));
    },
    expect: {
      rip: K32 + 12,
      check: (guest) => {
        const { efer, cr0 } = guest.vcpu.getState();
        if ((efer & 0x400n) !== 0n || (cr0 & 0x8000_0000n) !== 0n) throw new Error('long mode is still active');
      },
    },
  },
  {
    name: 'a segment limit survives the return to real mode',
    mode: 'real16',
    // lgdt [0]; mov eax, cr0; or al, 1; mov cr0, eax; mov cx, 0x10; mov ds, cx; and al, 0xfe; mov cr0, eax; mov eax,
    // [ebx]; hlt
    code: '0f 01 16 00 00 0f 20 c0 0c 01 0f 22 c0 b9 10 00 8e d9 24 fe 0f 22 c0 67 66 8b 03 f4',
    steps: 'run',
    prepare: (guest) => {
      gdtPointer(guest);
      guest.setRegister('rbx', 0x12_3450n);
      guest.memory.writeU32(0x12_3450, 0xcafe_f00d);
    },
    expect: { registers: { rax: 0xcafe_f00dn } },
  },
];
