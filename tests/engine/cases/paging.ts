// 4-level paging (SDM volume 3, chapter 4): error codes, CR2, accessed and dirty bits, page sizes, invalidation.

import { CR0, CR4, EFER } from '../../../src/isa/control-registers.ts';
import { VECTOR } from '../../../src/isa/vectors.ts';
import type { EngineCase, Expectation } from '../engine-case.ts';
import { type Guest, type GuestMode, PLACE, USER, userPhysical } from '../guest.ts';
import { PageTables, PTE } from '../page-tables.ts';

// Bits of a page fault's error code.
const [P, W, U, RSVD, I] = [1, 2, 4, 8, 16];

/** mov ecx, [rax] · mov [rax], ecx · jmp rax */
const CODE = { read: '8b 08', write: '89 08', fetch: 'ff e0' } as const;

/** A virtual page outside the one-to-one mapping, and two pages of RAM for it. */
const WINDOW = 0x8000_0000;
const RAM_A = PLACE.KERNEL_DATA;
const RAM_B = PLACE.KERNEL_DATA + 0x1000;

function setWindows(guest: Guest): void {
  guest.memory.writeU64(RAM_A, 0xaaaan);
  guest.memory.writeU64(RAM_B, 0xbbbbn);
}

/** Enough for what is called to be translated. */
const TURNS = 3000n;

/** add r8, 1; ret and add r9, 1; ret in the two pages; RAX points to the window, RBP counts. */
function setCode(guest: Guest): void {
  guest.memory.bytes(RAM_A, 5).set([0x49, 0x83, 0xc0, 0x01, 0xc3]);
  guest.memory.bytes(RAM_B, 5).set([0x49, 0x83, 0xc1, 0x01, 0xc3]);
  guest.setRegister('rax', BigInt(WINDOW));
  guest.setRegister('rbp', 2n * TURNS);
  guest.setRegister('rsp', BigInt(PLACE.KERNEL_STACK));
}

interface Access {
  readonly name: string;
  readonly mode: GuestMode;
  readonly kind: keyof typeof CODE;
  readonly address?: bigint;
  readonly prepare?: (guest: Guest) => void;
  /** undefined: no fault. */
  readonly errorCode?: number;
  readonly cr2?: bigint;
}

/** One access to a page that `prepare` has set up; CR2 is the address unless said otherwise. */
function accessCase({ name, mode, kind, address, prepare, errorCode, cr2 }: Access): EngineCase {
  const user = mode === 'user64';
  const target = address ?? BigInt(user ? USER.DATA : PLACE.KERNEL_DATA);
  const expect: Expectation = errorCode === undefined ? {} : { vector: VECTOR.PF, errorCode, cr2: cr2 ?? target };
  return {
    name,
    mode,
    code: CODE[kind],
    // The jump retires, its target is what cannot be fetched.
    steps: kind === 'fetch' ? 2 : 1,
    prepare: (guest) => {
      guest.setRegister('rax', target);
      prepare?.(guest);
    },
    expect,
  };
}

const missing = (page: number) => (guest: Guest) => guest.remap(page, 0n);
const flags = (page: number, bits: bigint) => (guest: Guest) => guest.remap(page, bits);
const D = USER.DATA;
const K = PLACE.KERNEL_DATA;

const ACCESSES: readonly Access[] = [
  { name: 'a user read of a missing page', mode: 'user64', kind: 'read', prepare: missing(D), errorCode: U },
  { name: 'a user write to a missing page', mode: 'user64', kind: 'write', prepare: missing(D), errorCode: U | W },
  { name: 'a kernel read of a missing page', mode: 'kernel64', kind: 'read', prepare: missing(K), errorCode: 0 },
  { name: 'a kernel write to a missing page', mode: 'kernel64', kind: 'write', prepare: missing(K), errorCode: W },
  { name: 'a user fetch from a missing page', mode: 'user64', kind: 'fetch', prepare: missing(D), errorCode: U | I },
  {
    name: 'a user write to a read-only page',
    mode: 'user64',
    kind: 'write',
    prepare: flags(D, PTE.U),
    errorCode: P | W | U,
  },
  { name: 'a user read of a read-only page', mode: 'user64', kind: 'read', prepare: flags(D, PTE.U) },
  {
    name: 'a kernel write to a read-only page with WP',
    mode: 'kernel64',
    kind: 'write',
    prepare: flags(K, 0x20n),
    errorCode: P | W,
  },
  {
    name: 'a kernel write to a read-only page without WP',
    mode: 'kernel64',
    kind: 'write',
    prepare: (guest) => {
      guest.remap(K, PTE.A);
      guest.setControl('cr0', CR0.WP, false);
    },
  },
  {
    name: 'a kernel write to a read-only user page without WP',
    mode: 'kernel64',
    kind: 'write',
    address: BigInt(D),
    prepare: (guest) => {
      guest.remap(D, PTE.U);
      guest.setControl('cr0', CR0.WP, false);
    },
  },
  {
    name: 'a user read of a supervisor page',
    mode: 'user64',
    kind: 'read',
    prepare: flags(D, PTE.W),
    errorCode: P | U,
  },
  {
    name: 'a user write to a supervisor page',
    mode: 'user64',
    kind: 'write',
    prepare: flags(D, PTE.W),
    errorCode: P | W | U,
  },
  {
    name: 'a user fetch from an NX page',
    mode: 'user64',
    kind: 'fetch',
    prepare: flags(D, PTE.U | PTE.NX),
    errorCode: P | U | I,
  },
  {
    name: 'a kernel fetch from an NX page',
    mode: 'kernel64',
    kind: 'fetch',
    prepare: flags(K, PTE.W | PTE.NX),
    errorCode: P | I,
  },
  { name: 'a read of an NX page', mode: 'user64', kind: 'read', prepare: flags(D, PTE.U | PTE.NX) },
  {
    name: 'the NX bit while EFER.NXE is clear is reserved',
    mode: 'user64',
    kind: 'read',
    prepare: (guest) => {
      guest.remap(D, PTE.U | PTE.NX);
      guest.setControl('efer', EFER.NXE, false);
    },
    errorCode: P | U | RSVD,
  },
  {
    name: 'a fetch fault without NXE and SMEP does not say that it was a fetch',
    mode: 'user64',
    kind: 'fetch',
    prepare: (guest) => {
      guest.remap(D, 0n);
      guest.setControl('efer', EFER.NXE, false);
    },
    errorCode: U,
  },
  {
    name: 'an address bit beyond MAXPHYADDR is reserved',
    mode: 'kernel64',
    kind: 'read',
    prepare: flags(K, PTE.W | (1n << 51n)),
    errorCode: P | RSVD,
  },
  {
    name: 'the PS bit of a PML4 entry is reserved',
    mode: 'user64',
    kind: 'read',
    address: 0x80_0000_0000n,
    prepare: (guest) => {
      guest.tables.map(0x80_0000_0000n, RAM_A, PTE.U);
      const entry = guest.tables.entry(0x80_0000_0000n, 4);
      guest.memory.writeU64(entry, guest.memory.readU64(entry) | PTE.PS);
    },
    errorCode: P | U | RSVD,
  },
  {
    name: 'bit 13 of a 2 MiB entry is reserved',
    mode: 'kernel64',
    kind: 'write',
    address: 0x4000_0000n,
    prepare: (guest) => guest.tables.map(0x4000_0000n, 0x2000, PTE.W, 2),
    errorCode: P | W | RSVD,
  },
  {
    name: 'bit 21 of a 1 GiB entry is reserved',
    mode: 'kernel64',
    kind: 'read',
    address: 0x4000_0000n,
    prepare: (guest) => guest.tables.map(0x4000_0000n, 0x20_0000, PTE.W, 3),
    errorCode: P | RSVD,
  },
  {
    name: 'a supervisor bit in the page directory covers the pages below it',
    mode: 'user64',
    kind: 'read',
    prepare: (guest) => {
      const entry = guest.tables.entry(BigInt(D), 2);
      guest.memory.writeU64(entry, guest.memory.readU64(entry) & ~PTE.U);
      // The code page has a directory entry of its own.
      guest.tables.map(0x60_0000n, PLACE.USER_PAGES, PTE.U);
      guest.state.rip = 0x60_0000n;
    },
    errorCode: P | U,
  },
  {
    name: 'a read-only PML4 entry covers the pages below it',
    mode: 'kernel64',
    kind: 'write',
    prepare: (guest) => {
      const entry = guest.tables.entry(BigInt(K), 4);
      guest.memory.writeU64(entry, guest.memory.readU64(entry) & ~PTE.W);
    },
    errorCode: P | W,
  },
  {
    name: 'a no-execute page-directory-pointer entry covers the pages below it',
    mode: 'user64',
    kind: 'fetch',
    address: 0x80_0000_0000n,
    prepare: (guest) => {
      guest.tables.map(0x80_0000_0000n, RAM_A, PTE.U);
      const entry = guest.tables.entry(0x80_0000_0000n, 3);
      guest.memory.writeU64(entry, guest.memory.readU64(entry) | PTE.NX);
    },
    errorCode: P | U | I,
  },
  {
    name: 'a kernel fetch from a user page with SMEP',
    mode: 'kernel64',
    kind: 'fetch',
    address: BigInt(D),
    prepare: (guest) => guest.setControl('cr4', CR4.SMEP, true),
    errorCode: P | I,
  },
  {
    name: 'a kernel fetch from a user page without SMEP',
    mode: 'kernel64',
    kind: 'fetch',
    address: BigInt(D),
    prepare: (guest) => guest.memory.writeU8(userPhysical(D), 0x90),
  },
  {
    name: 'a kernel read of a user page with SMAP and AC clear',
    mode: 'kernel64',
    kind: 'read',
    address: BigInt(D),
    prepare: (guest) => guest.setControl('cr4', CR4.SMAP, true),
    errorCode: P,
  },
  {
    name: 'a kernel write to a user page with SMAP and AC clear',
    mode: 'kernel64',
    kind: 'write',
    address: BigInt(D),
    prepare: (guest) => guest.setControl('cr4', CR4.SMAP, true),
    errorCode: P | W,
  },
  {
    name: 'a kernel read of a user page with SMAP and AC set',
    mode: 'kernel64',
    kind: 'read',
    address: BigInt(D),
    prepare: (guest) => {
      guest.setControl('cr4', CR4.SMAP, true);
      guest.state.rflags |= 0x4_0000n;
    },
  },
  {
    name: 'a user read of a user page with SMAP',
    mode: 'user64',
    kind: 'read',
    prepare: (guest) => guest.setControl('cr4', CR4.SMAP, true),
  },
  {
    name: 'a read across a page boundary reports the second page',
    mode: 'user64',
    kind: 'read',
    address: BigInt(D + 0xffe),
    prepare: missing(D + 0x1000),
    errorCode: U,
    cr2: BigInt(D + 0x1000),
  },
  {
    name: 'a read across a page boundary reports the first page first',
    mode: 'user64',
    kind: 'read',
    address: BigInt(D + 0xffe),
    prepare: (guest) => {
      guest.remap(D, 0n);
      guest.remap(D + 0x1000, 0n);
    },
    errorCode: U,
  },
];

const RIP_AFTER = (bytes: number) => BigInt(PLACE.KERNEL_CODE + bytes);

export const PAGING_CASES: readonly EngineCase[] = [
  ...ACCESSES.map(accessCase).map((one) => ({
    ...one,
    name: `${one.name} ${one.expect.vector === undefined ? 'succeeds' : 'faults'}`,
  })),
  {
    name: 'a non-canonical data address raises #GP(0)',
    mode: 'user64',
    code: CODE.read,
    prepare: (guest) => guest.setRegister('rax', 0x8000_0000_0000n),
    expect: { vector: VECTOR.GP, errorCode: 0, rip: USER.CODE },
  },
  {
    name: 'a non-canonical stack address raises #SS(0)',
    mode: 'user64',
    code: '58', // pop rax
    prepare: (guest) => guest.setRegister('rsp', 0x8000_0000_0000n),
    expect: { vector: VECTOR.SS, errorCode: 0, rip: USER.CODE },
  },
  {
    name: 'a non-canonical address based on RBP raises #SS(0)',
    mode: 'user64',
    code: '8b 45 00', // mov eax, [rbp]
    prepare: (guest) => guest.setRegister('rbp', 0xffff_7fff_ffff_fff0n),
    expect: { vector: VECTOR.SS, errorCode: 0 },
  },
  {
    name: 'a write across a boundary to a read-only page writes nothing',
    mode: 'user64',
    code: '48 89 08', // mov [rax], rcx
    prepare: (guest) => {
      guest.setRegister('rax', BigInt(USER.DATA + 0xffc));
      guest.setRegister('rcx', ~0n & 0xffff_ffff_ffff_ffffn);
      guest.remap(USER.DATA + 0x1000, PTE.U);
    },
    expect: {
      vector: VECTOR.PF,
      errorCode: P | W | U,
      cr2: USER.DATA + 0x1000,
      memory: { [userPhysical(USER.DATA + 0xff8)]: 0n, [userPhysical(USER.DATA + 0x1000)]: 0n },
    },
  },
  {
    name: 'an instruction that continues in a missing page reports that page',
    mode: 'user64',
    code: '',
    prepare: (guest) => {
      // mov eax, imm32 with two bytes before the boundary
      guest.memory.write(userPhysical(USER.CODE + 0xffe), Uint8Array.of(0xb8, 1));
      guest.state.rip = BigInt(USER.CODE + 0xffe);
      guest.remap(USER.CODE + 0x1000, 0n);
    },
    expect: { vector: VECTOR.PF, errorCode: U | I, cr2: USER.CODE + 0x1000, rip: USER.CODE + 0xffe },
  },
  {
    name: 'an instruction that continues in an NX page faults, with the cached page before it',
    mode: 'user64',
    code: '',
    steps: 2,
    prepare: (guest) => {
      guest.memory.write(userPhysical(USER.CODE + 0xffd), Uint8Array.of(0x90, 0xb8, 1));
      guest.state.rip = BigInt(USER.CODE + 0xffd);
      guest.remap(USER.CODE + 0x1000, PTE.U | PTE.NX);
    },
    expect: { vector: VECTOR.PF, errorCode: P | U | I, cr2: USER.CODE + 0x1000, rip: USER.CODE + 0xffe },
  },
  {
    name: 'an instruction that ends with its page does not touch the next page',
    mode: 'user64',
    code: '',
    prepare: (guest) => {
      guest.memory.write(userPhysical(USER.CODE + 0xffb), Uint8Array.of(0xb8, 1, 2, 3, 4));
      guest.state.rip = BigInt(USER.CODE + 0xffb);
      guest.remap(USER.CODE + 0x1000, 0n);
    },
    expect: { rip: USER.CODE + 0x1000, registers: { rax: 0x0403_0201n } },
  },
  {
    name: 'an instruction that spans two pages runs from both',
    mode: 'user64',
    code: '',
    prepare: (guest) => {
      guest.memory.write(userPhysical(USER.CODE + 0xffe), Uint8Array.of(0xb8, 1));
      guest.remap(USER.CODE + 0x1000, PTE.U, PLACE.KERNEL_DATA);
      guest.memory.write(PLACE.KERNEL_DATA, Uint8Array.of(2, 3, 4));
      guest.state.rip = BigInt(USER.CODE + 0xffe);
    },
    expect: { rip: USER.CODE + 0x1003, registers: { rax: 0x0403_0201n } },
  },
  {
    name: 'a read sets the accessed bits of all levels and no dirty bit',
    mode: 'kernel64',
    code: CODE.read,
    prepare: (guest) => {
      guest.tables.map(BigInt(WINDOW), RAM_A, PTE.W);
      guest.setRegister('rax', BigInt(WINDOW));
    },
    expect: {
      check: (guest) => {
        for (const level of [4, 3, 2, 1] as const) {
          const entry = guest.entryValue(WINDOW, level);
          if ((entry & PTE.A) === 0n) throw new Error(`level ${level} is not marked accessed`);
          if ((entry & PTE.D) !== 0n) throw new Error(`level ${level} is marked dirty`);
        }
      },
    },
  },
  {
    name: 'a write sets the dirty bit of the leaf only, also after a read has cached the page',
    mode: 'kernel64',
    code: `${CODE.read} ${CODE.write}`,
    steps: 2,
    prepare: (guest) => {
      guest.tables.map(BigInt(WINDOW), RAM_A, PTE.W);
      guest.setRegister('rax', BigInt(WINDOW));
    },
    expect: {
      check: (guest) => {
        if ((guest.entryValue(WINDOW, 1) & PTE.D) === 0n) throw new Error('the page is not marked dirty');
        if ((guest.entryValue(WINDOW, 2) & PTE.D) !== 0n) throw new Error('the page directory entry is marked dirty');
      },
    },
  },
  {
    name: 'a write that faults marks nothing dirty',
    mode: 'user64',
    code: CODE.write,
    prepare: (guest) => {
      guest.remap(USER.DATA, PTE.U);
      guest.setRegister('rax', BigInt(USER.DATA));
    },
    expect: {
      vector: VECTOR.PF,
      errorCode: P | W | U,
      check: (guest) => {
        if ((guest.entryValue(USER.DATA, 1) & PTE.D) !== 0n) throw new Error('marked dirty');
      },
    },
  },
  {
    name: 'a 2 MiB page maps its 2 MiB',
    mode: 'kernel64',
    code: CODE.read,
    prepare: (guest) => {
      setWindows(guest);
      guest.tables.map(0x4000_0000n, 0, PTE.W, 2);
      guest.setRegister('rax', 0x4000_0000n + BigInt(RAM_B));
    },
    expect: { registers: { rcx: 0xbbbbn } },
  },
  {
    name: 'a 1 GiB page maps its 1 GiB',
    mode: 'kernel64',
    code: `${CODE.read} ${CODE.write}`,
    steps: 2,
    prepare: (guest) => {
      setWindows(guest);
      guest.tables.map(0x8000_0000n, 0, PTE.W, 3);
      guest.setRegister('rax', 0x8000_0000n + BigInt(RAM_B));
    },
    expect: {
      registers: { rcx: 0xbbbbn },
      check: (guest) => {
        if ((guest.entryValue(WINDOW, 3) & (PTE.A | PTE.D)) !== (PTE.A | PTE.D))
          throw new Error('not accessed and dirty');
      },
    },
  },
  {
    name: 'INVLPG makes a changed page table entry visible',
    mode: 'kernel64',
    code: `${CODE.read} 0f 01 38 8b 10`, // invlpg [rax]; mov edx, [rax]
    steps: 3,
    prepare: (guest) => {
      setWindows(guest);
      guest.tables.map(BigInt(WINDOW), RAM_A, PTE.W);
      guest.setRegister('rax', BigInt(WINDOW));
    },
    beforeStep: { 2: (guest) => guest.tables.map(BigInt(WINDOW), RAM_B, PTE.W) },
    expect: { registers: { rcx: 0xaaaan, rdx: 0xbbbbn } },
  },
  {
    name: 'INVLPG drops a 2 MiB page whole, and global pages too',
    mode: 'kernel64',
    code: `${CODE.read} 0f 01 3b 8b 10`, // invlpg [rbx]
    steps: 3,
    prepare: (guest) => {
      setWindows(guest);
      guest.tables.map(0x4000_0000n, 0, PTE.W | PTE.G, 2);
      guest.setRegister('rax', 0x4000_0000n + BigInt(RAM_A));
      guest.setRegister('rbx', 0x401f_f000n);
    },
    beforeStep: {
      2: (guest) => {
        guest.tables.map(0x4000_0000n, 0x20_0000, PTE.W | PTE.G, 2);
        guest.memory.writeU64(0x20_0000 + RAM_A, 0xccccn);
      },
    },
    expect: { registers: { rcx: 0xaaaan, rdx: 0xccccn } },
  },
  {
    name: 'a load of CR3 makes changed entries visible',
    mode: 'kernel64',
    code: `${CODE.read} 0f 22 df 8b 10`, // mov cr3, rdi
    steps: 3,
    prepare: (guest) => {
      setWindows(guest);
      guest.tables.map(BigInt(WINDOW), RAM_A, PTE.W);
      guest.setRegister('rax', BigInt(WINDOW));
      guest.setRegister('rdi', guest.state.cr3);
    },
    beforeStep: { 2: (guest) => guest.tables.map(BigInt(WINDOW), RAM_B, PTE.W) },
    expect: { registers: { rcx: 0xaaaan, rdx: 0xbbbbn } },
  },
  {
    name: 'a change of CR4.PGE makes changed global entries visible',
    mode: 'kernel64',
    code: `${CODE.read} 0f 22 e7 8b 10`, // mov cr4, rdi
    steps: 3,
    prepare: (guest) => {
      setWindows(guest);
      guest.tables.map(BigInt(WINDOW), RAM_A, PTE.W | PTE.G);
      guest.setRegister('rax', BigInt(WINDOW));
      guest.setRegister('rdi', guest.state.cr4 & ~BigInt(CR4.PGE));
    },
    beforeStep: { 2: (guest) => guest.tables.map(BigInt(WINDOW), RAM_B, PTE.W | PTE.G) },
    expect: { registers: { rcx: 0xaaaan, rdx: 0xbbbbn } },
  },
  {
    name: 'a page that becomes present needs no invalidation',
    mode: 'user64',
    code: CODE.read,
    prepare: (guest) => {
      guest.remap(USER.DATA, 0n);
      guest.setRegister('rax', BigInt(USER.DATA));
    },
    expect: {
      vector: VECTOR.PF,
      errorCode: U,
      check: (guest) => {
        guest.remap(USER.DATA, PTE.U | PTE.W, RAM_A);
        guest.memory.writeU64(RAM_A, 0xaaaan);
        const result = guest.vcpu.step();
        if (result.kind !== 'retired') throw new Error('the access still faults');
        if (guest.vcpu.getState().gpr[1] !== 0xaaaan) throw new Error('the wrong page was read');
      },
    },
  },
  {
    name: 'PCIDs keep address spaces apart, and NOFLUSH is accepted',
    mode: 'kernel64',
    // mov ecx,[rax]; mov cr3, rdi; mov edx,[rax]; mov cr3, rsi; mov ebx,[rax]
    code: `${CODE.read} 0f 22 df 8b 10 0f 22 de 8b 18`,
    steps: 5,
    prepare: (guest) => {
      setWindows(guest);
      const second = new PageTables(guest.memory, 0x1c_0000);
      for (let at = 0; at < 0x20_0000; at += 4096) second.map(BigInt(at), at, PTE.W);
      guest.tables.map(BigInt(WINDOW), RAM_A, PTE.W);
      second.map(BigInt(WINDOW), RAM_B, PTE.W);
      guest.setControl('cr4', CR4.PCIDE, true);
      guest.setRegister('rsi', guest.state.cr3 | 1n | (1n << 63n));
      guest.state.cr3 |= 1n;
      guest.setRegister('rdi', BigInt(second.root) | 2n);
      guest.setRegister('rax', BigInt(WINDOW));
    },
    expect: {
      registers: { rcx: 0xaaaan, rdx: 0xbbbbn, rbx: 0xaaaan },
      check: (guest) => {
        const { cr3 } = guest.vcpu.getState();
        if (cr3 >> 63n !== 0n) throw new Error('CR3 reads back bit 63');
      },
    },
  },
  {
    name: 'code at one address is that of its address space, however often they take turns',
    mode: 'kernel64',
    // mov cr3, rdi; xchg rsi, rdi; call rax; dec ebp; jnz; hlt: one place calls both
    code: '0f 22 df 48 87 fe ff d0 ff cd 75 f4 f4',
    steps: 'run',
    prepare: (guest) => {
      setCode(guest);
      const second = new PageTables(guest.memory, 0x1c_0000);
      for (let at = 0; at < 0x20_0000; at += 4096) second.map(BigInt(at), at, PTE.W);
      guest.tables.map(BigInt(WINDOW), RAM_A, PTE.W);
      second.map(BigInt(WINDOW), RAM_B, PTE.W);
      guest.setControl('cr4', CR4.PCIDE, true);
      guest.state.cr3 |= 1n;
      guest.setRegister('rdi', guest.state.cr3 | (1n << 63n));
      guest.setRegister('rsi', BigInt(second.root) | 2n | (1n << 63n));
    },
    expect: { registers: { r8: TURNS, r9: TURNS } },
  },
  {
    name: 'INVLPG of a page of code makes the code run that is there now',
    mode: 'kernel64',
    // mov [rbx], rcx; xchg rdx, rcx; invlpg [rax]; call rax; dec ebp; jnz; hlt
    code: '48 89 0b 48 87 ca 0f 01 38 ff d0 ff cd 75 f1 f4',
    steps: 'run',
    prepare: (guest) => {
      setCode(guest);
      guest.tables.map(BigInt(WINDOW), RAM_A, PTE.W);
      const entry = guest.tables.entry(BigInt(WINDOW), 1);
      guest.setRegister('rbx', BigInt(entry));
      guest.setRegister('rcx', BigInt(RAM_A) | PTE.P | PTE.W);
      guest.setRegister('rdx', BigInt(RAM_B) | PTE.P | PTE.W);
    },
    expect: { registers: { r8: TURNS, r9: TURNS } },
  },
  {
    name: 'a load of CR3 without NOFLUSH drops the translations of its PCID',
    mode: 'kernel64',
    code: `${CODE.read} 0f 22 df 8b 10`,
    steps: 3,
    prepare: (guest) => {
      setWindows(guest);
      guest.tables.map(BigInt(WINDOW), RAM_A, PTE.W);
      guest.setControl('cr4', CR4.PCIDE, true);
      guest.state.cr3 |= 5n;
      guest.setRegister('rdi', guest.state.cr3);
      guest.setRegister('rax', BigInt(WINDOW));
    },
    beforeStep: { 2: (guest) => guest.tables.map(BigInt(WINDOW), RAM_B, PTE.W) },
    expect: { registers: { rcx: 0xaaaan, rdx: 0xbbbbn } },
  },
  {
    name: 'INVPCID of an address drops its translation',
    mode: 'kernel64',
    code: `${CODE.read} 66 0f 38 82 3e 8b 10`, // invpcid rdi, [rsi]
    steps: 3,
    prepare: (guest) => {
      setWindows(guest);
      guest.tables.map(BigInt(WINDOW), RAM_A, PTE.W);
      guest.setControl('cr4', CR4.PCIDE, true);
      guest.state.cr3 |= 5n;
      guest.setRegister('rdi', 0n);
      guest.setRegister('rsi', BigInt(RAM_A + 0x100));
      guest.memory.writeU64(RAM_A + 0x100, 5n);
      guest.memory.writeU64(RAM_A + 0x108, BigInt(WINDOW));
      guest.setRegister('rax', BigInt(WINDOW));
    },
    beforeStep: { 2: (guest) => guest.tables.map(BigInt(WINDOW), RAM_B, PTE.W) },
    expect: { registers: { rcx: 0xaaaan, rdx: 0xbbbbn } },
  },
  {
    name: 'INVPCID of all contexts drops global translations too',
    mode: 'kernel64',
    code: `${CODE.read} 66 0f 38 82 3e 8b 10`,
    steps: 3,
    prepare: (guest) => {
      setWindows(guest);
      guest.tables.map(BigInt(WINDOW), RAM_A, PTE.W | PTE.G);
      guest.setRegister('rdi', 2n);
      guest.setRegister('rsi', BigInt(RAM_A + 0x100));
      guest.setRegister('rax', BigInt(WINDOW));
    },
    beforeStep: { 2: (guest) => guest.tables.map(BigInt(WINDOW), RAM_B, PTE.W | PTE.G) },
    expect: { registers: { rcx: 0xaaaan, rdx: 0xbbbbn } },
  },
  {
    name: 'INVPCID of an unknown type raises #GP(0)',
    mode: 'kernel64',
    code: '66 0f 38 82 3e',
    prepare: (guest) => {
      guest.setRegister('rdi', 4n);
      guest.setRegister('rsi', BigInt(RAM_A));
    },
    expect: { vector: VECTOR.GP, errorCode: 0 },
  },
  {
    name: 'INVPCID with a reserved descriptor bit raises #GP(0)',
    mode: 'kernel64',
    code: '66 0f 38 82 3e',
    prepare: (guest) => {
      guest.setRegister('rdi', 1n);
      guest.setRegister('rsi', BigInt(RAM_A));
      guest.memory.writeU64(RAM_A, 0x1000n);
    },
    expect: { vector: VECTOR.GP, errorCode: 0 },
  },
  {
    name: 'a string instruction stops at a page fault with its registers where it stopped, and goes on after it',
    mode: 'user64',
    code: 'f3 a4', // rep movsb
    prepare: (guest) => {
      guest.setRegister('rcx', 16n);
      guest.setRegister('rsi', BigInt(USER.DATA));
      guest.setRegister('rdi', BigInt(USER.DATA + 0x1000 - 6));
      for (let i = 0; i < 16; i++) guest.memory.writeU8(userPhysical(USER.DATA + i), i + 1);
      guest.remap(USER.DATA + 0x1000, 0n);
    },
    beforeStep: {
      1: (guest) => {
        // A step may be one turn of the loop.
        for (let turn = 0; turn < 5 && guest.vcpu.getState().gpr[1]! > 11n; turn++) {
          if (guest.vcpu.step().kind !== 'retired') break;
        }
      },
    },
    expect: {
      check: (guest) => {
        let result = guest.vcpu.step();
        const stopped = guest.vcpu.getState();
        if (result.kind !== 'exception' || result.vector !== VECTOR.PF || result.errorCode !== (U | W)) {
          throw new Error(`expected a page fault, not ${JSON.stringify(result)}`);
        }
        if (stopped.cr2 !== BigInt(USER.DATA + 0x1000)) throw new Error(`cr2 ${stopped.cr2.toString(16)}`);
        const [, rcx, , , , , rsi, rdi] = stopped.gpr as [
          bigint,
          bigint,
          bigint,
          bigint,
          bigint,
          bigint,
          bigint,
          bigint,
        ];
        if (rcx !== 10n || rsi !== BigInt(USER.DATA + 6) || rdi !== BigInt(USER.DATA + 0x1000)) {
          throw new Error(`stopped with rcx=${rcx} rsi=${rsi.toString(16)} rdi=${rdi.toString(16)}`);
        }
        if (stopped.rip !== BigInt(USER.CODE)) throw new Error('rip moved');
        guest.remap(USER.DATA + 0x1000, PTE.U | PTE.W, userPhysical(USER.DATA + 0x1000));
        do result = guest.vcpu.step();
        while (result.kind === 'retired' && guest.vcpu.getState().rip === BigInt(USER.CODE));
        if (guest.vcpu.getState().gpr[1] !== 0n) throw new Error('did not finish');
        for (let i = 0; i < 16; i++) {
          const copied = guest.memory.readU8(userPhysical(USER.DATA + 0x1000 - 6 + i));
          if (copied !== i + 1) throw new Error(`byte ${i} is ${copied}`);
        }
      },
    },
  },
  {
    name: 'a push that faults leaves RSP alone',
    mode: 'user64',
    code: '50', // push rax
    prepare: (guest) => {
      guest.setRegister('rsp', BigInt(USER.DATA + 0x1000));
      guest.remap(USER.DATA, PTE.U);
    },
    expect: {
      vector: VECTOR.PF,
      errorCode: P | W | U,
      cr2: USER.DATA + 0xff8,
      registers: { rsp: BigInt(USER.DATA + 0x1000) },
    },
  },
  {
    name: 'a call that faults stays where it is',
    mode: 'user64',
    code: 'e8 00 01 00 00', // call
    prepare: (guest) => {
      guest.setRegister('rsp', BigInt(USER.DATA + 0x1000));
      guest.remap(USER.DATA, 0n);
    },
    expect: { vector: VECTOR.PF, errorCode: W | U, rip: USER.CODE, registers: { rsp: BigInt(USER.DATA + 0x1000) } },
  },
  {
    name: 'a guest-physical address outside RAM reads as MMIO',
    mode: 'kernel64',
    code: CODE.read,
    prepare: (guest) => {
      guest.tables.map(BigInt(WINDOW), 0xfed0_0000, PTE.W);
      guest.setRegister('rax', BigInt(WINDOW));
    },
    expect: { registers: { rcx: 0xffff_ffffn }, rip: RIP_AFTER(2) },
  },
  {
    name: 'an MMIO write reaches the host with address, size and value',
    mode: 'kernel64',
    code: '66 89 48 02', // mov [rax + 2], cx
    prepare: (guest) => {
      guest.tables.map(BigInt(WINDOW), 0xfed0_0000, PTE.W);
      guest.setRegister('rax', BigInt(WINDOW));
      guest.setRegister('rcx', 0x1234n);
      guest.host.mmioWrites.length = 0;
    },
    expect: {
      check: (guest) => {
        const [write] = guest.host.mmioWrites;
        if (write?.guestPhysical !== 0xfed0_0002 || write.sizeBytes !== 2 || write.value !== 0x1234) {
          throw new Error(`the host saw ${JSON.stringify(guest.host.mmioWrites)}`);
        }
      },
    },
  },
];
