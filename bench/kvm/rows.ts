// The work of the KVM benchmark: guests of a few bytes, each of which ends with a write to END_PORT: in ring 0 by
// itself, in ring 3 by HLT, whose #GP has a handler that writes.

import type { Guest, GuestMode } from '../../tests/engine/guest.ts';
import { USER } from '../../tests/engine/guest.ts';
import { PTE } from '../../tests/engine/page-tables.ts';

const MIB = 1024 ** 2;
export const BENCH_RAM_BYTES = 64 * MIB;
/** Guest-virtual: 32 MiB of memory for ring 3, by large pages. */
const ARRAY = 0x4000_0000;
const ARRAY_PHYSICAL = 32 * MIB;
const ARRAY_BYTES = 32 * MIB;
const LARGE_PAGE_BYTES = 2 * MIB;
const DEVICE_PHYSICAL = 0xfe00_0000;
const DEVICE = 0x8000_0000;

export const END_PORT = 0xf4;
/** out END_PORT, al; jmp to itself */
export const END = 'e6f4 ebfe';

export interface KvmRow {
  readonly name: string;
  /** What `amount` counts. */
  readonly unit: string;
  readonly mode: GuestMode;
  readonly code: string;
  readonly exits: number;
  readonly amount: number;
  prepare(guest: Guest): void;
}

const le32 = (value: number): string => {
  const bytes = new Uint8Array(4);
  new DataView(bytes.buffer).setUint32(0, value, true);
  return Buffer.from(bytes).toString('hex');
};

function mapArray(guest: Guest): void {
  for (let at = 0; at < ARRAY_BYTES; at += LARGE_PAGE_BYTES) {
    guest.tables.map(BigInt(ARRAY + at), ARRAY_PHYSICAL + at, PTE.W | PTE.U, 2);
  }
}

/** `scale` 1 is a second or so a row. */
export function createRows(scale: number): readonly KvmRow[] {
  const exits = Math.ceil(60_000 * scale);
  const turns = Math.ceil(400_000_000 * scale);
  const passes = Math.ceil(120 * scale);
  return [
    {
      name: 'port-exits',
      unit: 'exits',
      mode: 'kernel64',
      code: `b9${le32(exits)} e680 ffc9 75fa ${END}`, // mov ecx, n; turn: out 0x80, al; dec ecx; jnz turn; end
      exits,
      amount: exits,
      prepare: () => {},
    },
    {
      name: 'mmio-exits',
      unit: 'exits',
      mode: 'kernel64',
      code: `b9${le32(exits)} 8907 ffc9 75fa ${END}`, // mov ecx, n; turn: mov [rdi], eax; dec ecx; jnz turn; end
      exits,
      amount: exits,
      prepare: (guest) => {
        guest.tables.map(BigInt(DEVICE), DEVICE_PHYSICAL, PTE.W);
        guest.setRegister('rdi', BigInt(DEVICE));
      },
    },
    {
      name: 'ring3-loop',
      unit: 'turns',
      mode: 'user64',
      // mov ecx, n; turn: add rax, [rsi]; imul rdx, rax, 3; xor rbx, rdx; dec ecx; jnz turn; hlt
      code: `b9${le32(turns)} 480306 486bd003 4831d3 ffc9 75f2 f4`,
      exits: 0,
      amount: turns,
      prepare: (guest) => guest.setRegister('rsi', BigInt(USER.DATA)),
    },
    {
      name: 'memory-copy',
      unit: 'bytes',
      mode: 'user64',
      // mov ebx, n; pass: mov rsi, r8; mov rdi, r9; mov rcx, r10; rep movsq; dec ebx; jnz pass; hlt
      code: `bb${le32(passes)} 4c89c6 4c89cf 4c89d1 f348a5 ffcb 75f0 f4`,
      exits: 0,
      amount: passes * (ARRAY_BYTES / 2),
      prepare: (guest) => {
        mapArray(guest);
        guest.setRegister('r8', BigInt(ARRAY));
        guest.setRegister('r9', BigInt(ARRAY + ARRAY_BYTES / 2));
        guest.setRegister('r10', BigInt(ARRAY_BYTES / 16));
      },
    },
  ];
}
