// What every engine's dirty log must do (src/engine/dirty-log.ts): one guest for each kind of write, with all the pages
// that are to be in the log, and no others.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type DirtyLog, dirtyPages } from '../../src/engine/dirty-log.ts';
import { RandomSource } from '../fuzz/random-source.ts';
import { FREE_SELECTOR, Guest, type GuestMode, PLACE, RAM_BYTES, SEGMENT, USER, userPhysical } from './guest.ts';
import { IdleHost } from './idle-host.ts';
import { PTE } from './page-tables.ts';
import type { TestVcpu } from './vcpu-factory.ts';

const PAGE_BYTES = 4096;
const pageOf = (guestPhysical: number): number => Math.floor(guestPhysical / PAGE_BYTES);
const bytesOf = (code: string): Uint8Array => Buffer.from(code.replaceAll(' ', ''), 'hex');

const DATA = pageOf(PLACE.KERNEL_DATA);
const USER_DATA = pageOf(userPhysical(USER.DATA));
/** Where the frame of an exception in ring 3 goes. */
const RING_0_STACK = pageOf(PLACE.RSP0 - 1);

interface DirtyCase {
  readonly name: string;
  readonly mode: GuestMode;
  /** RDI is the first byte of the data pages, RAX and RCX as `prepare` has them; runs to a HLT. */
  readonly code: string;
  readonly prepare?: (guest: Guest) => void;
  /** Accessed and dirty bits of the page tables are clear at first. */
  readonly freshTables?: boolean;
  readonly pages: readonly number[] | ((guest: Guest) => readonly number[]);
}

const entryPage = (guest: Guest, guestVirtual: number, level: 1 | 2 | 3 | 4): number =>
  pageOf(guest.tables.entry(BigInt(guestVirtual), level));

export const DIRTY_CASES: readonly DirtyCase[] = [
  { name: 'a read', mode: 'kernel64', code: '48 8b 07 8a 4f 01 f4', pages: [] },
  {
    name: 'a read, and a store next to it',
    mode: 'kernel64',
    code: '48 8b 87 00 10 00 00 48 8b 07 88 07 f4',
    pages: [DATA],
  },
  {
    name: 'stores of 1, 2, 4 and 8 bytes',
    mode: 'kernel64',
    code: '88 07 66 89 87 00 10 00 00 89 87 00 20 00 00 48 89 87 00 30 00 00 f4',
    prepare: (guest) => guest.setRegister('rax', 0x0102_0304_0506_0708n),
    pages: [DATA, DATA + 1, DATA + 2, DATA + 3],
  },
  { name: 'a store of what is there', mode: 'kernel64', code: 'c6 07 00 f4', pages: [DATA] },
  {
    name: 'a store over the end of a page',
    mode: 'kernel64',
    code: '48 89 87 fc 0f 00 00 f4',
    pages: [DATA, DATA + 1],
  },
  { name: 'a store of 16 bytes', mode: 'kernel64', code: '0f 11 87 00 10 00 00 f4', pages: [DATA + 1] },
  { name: 'a read-modify-write', mode: 'kernel64', code: '83 87 00 20 00 00 01 f4', pages: [DATA + 2] },
  { name: 'a locked one', mode: 'kernel64', code: 'f0 83 87 00 20 00 00 01 f4', pages: [DATA + 2] },
  { name: 'an exchange', mode: 'kernel64', code: '48 87 87 00 10 00 00 f4', pages: [DATA + 1] },
  { name: 'a push', mode: 'kernel64', code: '50 f4', pages: [pageOf(PLACE.KERNEL_STACK - 1)] },
  {
    name: 'a call, and a pop behind it',
    mode: 'kernel64',
    code: 'e8 00 00 00 00 58 f4',
    pages: [pageOf(PLACE.KERNEL_STACK - 1)],
  },
  {
    name: 'REP STOSB over three pages',
    mode: 'kernel64',
    code: '48 81 c7 ff 0f 00 00 f3 aa f4',
    prepare: (guest) => guest.setRegister('rcx', 0x1002n),
    pages: [DATA, DATA + 1, DATA + 2],
  },
  {
    name: 'REP MOVSQ from one page to another',
    mode: 'kernel64',
    code: '48 89 fe 48 81 c7 00 20 00 00 f3 48 a5 f4',
    prepare: (guest) => guest.setRegister('rcx', 0x200n),
    pages: [DATA + 2],
  },
  {
    name: 'REP STOSD downwards',
    mode: 'kernel64',
    code: 'fd 48 81 c7 00 10 00 00 f3 ab f4',
    prepare: (guest) => guest.setRegister('rcx', 3n),
    pages: [DATA, DATA + 1],
  },
  {
    name: 'SGDT',
    mode: 'kernel64',
    code: '0f 01 87 00 30 00 00 f4',
    pages: [DATA + 3],
  },
  {
    name: 'an exception in ring 0',
    mode: 'kernel64',
    code: '0f 0b',
    pages: [pageOf(PLACE.KERNEL_STACK - 1)],
  },
  {
    name: 'the accessed bit of a descriptor',
    mode: 'kernel64',
    code: '8e e0 f4', // mov fs, eax
    prepare: (guest) => {
      guest.setRegister('rax', BigInt(FREE_SELECTOR));
      const { kernelData } = SEGMENT;
      guest.setDescriptor(FREE_SELECTOR, {
        ...kernelData,
        selector: FREE_SELECTOR,
        attributes: kernelData.attributes & ~1,
      });
    },
    pages: [pageOf(PLACE.GDT)],
  },
  {
    name: 'the accessed bits of a read',
    mode: 'kernel64',
    code: '8a 00 f4',
    prepare: (guest) => {
      guest.tables.map(0x40_0000_0000n, PLACE.KERNEL_DATA, PTE.W);
      setUsedBits(guest);
      const at = guest.tables.entry(0x40_0000_0000n, 2);
      guest.memory.writeU64(at, guest.memory.readU64(at) & ~PTE.A);
      guest.setRegister('rax', 0x40_0000_0000n);
    },
    pages: (guest) => [entryPage(guest, 0x40_0000_0000, 2)],
  },
  {
    name: 'the dirty bit of a store',
    mode: 'kernel64',
    code: '88 07 f4',
    prepare: (guest) => {
      setUsedBits(guest);
      const at = guest.tables.entry(BigInt(PLACE.KERNEL_DATA), 1);
      guest.memory.writeU64(at, guest.memory.readU64(at) & ~PTE.D);
    },
    pages: (guest) => [DATA, entryPage(guest, PLACE.KERNEL_DATA, 1)],
  },
  {
    name: 'tables that nobody has used',
    mode: 'kernel64',
    code: '88 07 f4',
    freshTables: true,
    pages: (guest) => [DATA, ...([1, 2, 3, 4] as const).map((level) => entryPage(guest, PLACE.KERNEL_DATA, level))],
  },
  {
    name: 'a store into the code that runs',
    mode: 'kernel64',
    // mov byte [rip], 0x90: the next instruction, ud2, becomes nop; 0x0b 0xc0 is or eax, eax
    code: 'c6 05 00 00 00 00 90 0f 0b c0 f4',
    pages: [pageOf(PLACE.KERNEL_CODE)],
  },
  {
    name: 'stores of ring 3, and its exception',
    mode: 'user64',
    code: '48 89 07 88 87 ff 1f 00 00 f4',
    pages: [USER_DATA, USER_DATA + 1, RING_0_STACK],
  },
  {
    name: 'a stack of ring 3',
    mode: 'user64',
    code: '50 c8 00 10 00 e8 00 00 00 00 f4', // push rax; enter 0x1000, 0; call
    pages: [1, 2].map((page) => pageOf(userPhysical(USER.STACK)) - page).concat(RING_0_STACK),
  },
  { name: 'FXSAVE', mode: 'user64', code: '0f ae 87 00 10 00 00 f4', pages: [USER_DATA + 1, RING_0_STACK] },
  {
    name: 'FXSAVE over the end of a page',
    mode: 'user64',
    code: '0f ae 87 00 0f 00 00 f4',
    pages: [USER_DATA, USER_DATA + 1, RING_0_STACK],
  },
  {
    name: 'what x87, MMX and SSE store',
    mode: 'user64',
    // fstp tbyte [rdi]; movq [rdi + 0x1000], mm0; movntdq [rdi + 0x2000], xmm0
    code: 'd9 e8 db 3f 0f 7f 87 00 10 00 00 66 0f e7 87 00 20 00 00 f4',
    pages: [USER_DATA, USER_DATA + 1, USER_DATA + 2, RING_0_STACK],
  },
  {
    name: 'a page that lets nobody write',
    mode: 'user64',
    code: '88 07 f4',
    prepare: (guest) => {
      guest.remap(USER.DATA, PTE.U);
      setUsedBits(guest);
    },
    pages: [RING_0_STACK],
  },
];

/** As if everything had been accessed and written before: the processor writes no more to the tables. */
function setUsedBits(guest: Guest): void {
  for (let at: number = PLACE.PAGE_TABLES; at < PLACE.PAGE_TABLES + 0x2_0000; at += 8) {
    const entry = guest.memory.readU64(at);
    if ((entry & PTE.P) !== 0n) guest.memory.writeU64(at, entry | PTE.A | PTE.D);
  }
}

/** A KVM that shadows page tables notes a page of ring 3 that is read first, where that may be written. */
function protectCode(guest: Guest): void {
  if (guest.mode === 'user64') guest.remap(USER.CODE, PTE.U);
}

function prepareCase(target: TestVcpu, host: IdleHost, one: DirtyCase): Guest {
  const guest = new Guest(target, host, one.mode, bytesOf(one.code));
  guest.setRegister('rdi', BigInt(one.mode === 'user64' ? USER.DATA : PLACE.KERNEL_DATA));
  protectCode(guest);
  if (one.freshTables !== true) setUsedBits(guest);
  one.prepare?.(guest);
  guest.start();
  return guest;
}

function runToHalt(guest: Guest): void {
  const exit = guest.run();
  assert.equal(exit.kind, 'halted-forever', 'message' in exit ? exit.message : '');
}

/** Runs with the log on, and gives its bitmap. */
function withLog(log: DirtyLog, run: () => void): Uint8Array {
  log.start();
  try {
    run();
    return log.take();
  } finally {
    log.stop();
  }
}

const numbersOf = (bitmap: Uint8Array): number[] => [...dirtyPages(bitmap)];
const ascending = (pages: Iterable<number>): number[] => [...new Set(pages)].sort((one, other) => one - other);

function checkPages(found: readonly number[], stored: readonly number[], exact: boolean, name = 'pages'): void {
  const pages = ascending(stored);
  const compared = exact ? found : found.filter((page) => pages.includes(page));
  assert.deepEqual(compared, pages, name);
}

/** Runs a case and gives the bitmap that it leaves. */
export function bitmapOfCase(target: TestVcpu, host: IdleHost, one: DirtyCase): Uint8Array {
  const guest = prepareCase(target, host, one);
  return withLog(target.vcpu.dirtyLog, () => runToHalt(guest));
}

// Random stores.

/** Guest-virtual and guest-physical: both modes may write there. */
const ARENA = { guestVirtual: 0x80_0000, guestPhysical: 0x20_0000, pages: 64 } as const;

export interface RandomStores {
  readonly code: Uint8Array;
  readonly pages: readonly number[];
}

/** Stores all over the arena, several times, and loads if wanted; the pages that the stores reach. */
function randomStores(random: RandomSource, loads: boolean): RandomStores {
  const code: number[] = [];
  const pages = new Set<number>();
  const emit = (...bytes: number[]): void => void code.push(...bytes);
  const emit32 = (value: number): void => emit(...[0, 8, 16, 24].map((shift) => (value >>> shift) & 0xff));
  const stored = (offset: number, sizeBytes: number): void => {
    const first = ARENA.guestPhysical + offset;
    for (let page = pageOf(first); page <= pageOf(first + sizeBytes - 1); page++) pages.add(page);
  };
  const last = ARENA.pages * PAGE_BYTES;
  const place = (sizeBytes: number): number => {
    const offset = random.below(last - sizeBytes);
    // One in four lies about the end of a page.
    return random.below(4) === 0
      ? Math.max((offset | 0xfff) - random.below(sizeBytes + 2), 0) % (last - sizeBytes)
      : offset;
  };
  const pointTo = (register: number, offset: number): void => {
    emit(0x48, 0xb8 + register);
    emit32(ARENA.guestVirtual + offset);
    emit32(0);
  };
  const stores: readonly [sizeBytes: number, opcode: readonly number[]][] = [
    [1, [0x88, 0x07]], // mov [rdi], al
    [2, [0x66, 0x89, 0x07]],
    [4, [0x89, 0x07]],
    [8, [0x48, 0x89, 0x07]],
    [16, [0x0f, 0x11, 0x07]], // movups [rdi], xmm0
    [4, [0x01, 0x07]], // add [rdi], eax
    [8, [0x48, 0x87, 0x07]], // xchg [rdi], rax
    [4, [0xf0, 0x01, 0x07]], // lock add [rdi], eax
    [8, [0x48, 0x0f, 0xc1, 0x07]], // xadd [rdi], rax
    [1, [0xaa]], // stosb
  ];
  const actions = 4 + random.below(24);
  emit(0xbd); // mov ebp, turns
  emit32(1 + random.below(12));
  const head = code.length;
  for (let k = 0; k < actions; k++) {
    const kind = random.below(10);
    if (kind < 6) {
      const [sizeBytes, opcode] = stores[random.below(stores.length)]!;
      const offset = place(sizeBytes);
      pointTo(7, offset);
      emit(...opcode);
      stored(offset, sizeBytes);
    } else if (kind === 6) {
      pointTo(7, place(8));
      if (loads) emit(0x48, 0x8b, 0x07); // mov rax, [rdi]
    } else if (kind === 7) {
      const offset = place(16);
      pointTo(4, offset + 16);
      emit(0x50, 0x53); // push rax; push rbx
      stored(offset, 16);
    } else {
      const length = 1 + random.below(kind === 8 ? 64 : 6000);
      const offset = place(length);
      pointTo(7, offset);
      emit(0xb9); // mov ecx, length
      emit32(length);
      emit(0xf3, 0xaa); // rep stosb
      stored(offset, length);
    }
  }
  emit(0xff, 0xcd, 0x0f, 0x85); // dec ebp; jnz head
  emit32(head - (code.length + 4));
  emit(0xf4);
  return { code: Uint8Array.from(code), pages: ascending(pages) };
}

function prepareRandom(target: TestVcpu, host: IdleHost, mode: GuestMode, { code }: RandomStores): Guest {
  const guest = new Guest(target, host, mode, code);
  for (let page = 0; page < ARENA.pages; page++) {
    const at = page * PAGE_BYTES;
    guest.tables.map(BigInt(ARENA.guestVirtual + at), ARENA.guestPhysical + at, PTE.W | PTE.U);
  }
  protectCode(guest);
  setUsedBits(guest);
  guest.setRegister('rax', 0x1234_5678_9abc_def1n);
  guest.setRegister('rbx', 0xfedc_ba98_7654_3210n);
  guest.start();
  return guest;
}

function changedPages(before: Uint8Array, after: Uint8Array): number[] {
  const pages: number[] = [];
  for (let at = 0; at < before.length; at += PAGE_BYTES) {
    if (Buffer.compare(before.subarray(at, at + PAGE_BYTES), after.subarray(at, at + PAGE_BYTES)) !== 0) {
      pages.push(at / PAGE_BYTES);
    }
  }
  return pages;
}

/**
 * Bitmaps of programs 0 to `count` - 1 of a seed, each of which has been held against what it stores. `exact`: as for
 * DirtyLogSuite.
 */
export function runRandomStores(
  { host, target, exact }: Pick<DirtyLogSuite, 'host' | 'target' | 'exact'>,
  seed: string,
  count: number,
): Uint8Array[] {
  return Array.from({ length: count }, (_, index) => {
    const mode = index % 2 === 0 ? 'kernel64' : 'user64';
    // Loads of ring 3 are of the pages that protectCode speaks of.
    const stores = randomStores(new RandomSource(`${seed}/${index}`), mode === 'kernel64');
    const guest = prepareRandom(target, host, mode, stores);
    const before = target.memory.bytes(0, RAM_BYTES).slice();
    const bitmap = withLog(target.vcpu.dirtyLog, () => runToHalt(guest));
    const found = numbersOf(bitmap);
    const name = `program ${seed}/${index}`;
    // HLT is none of ring 3's: its exception ends the program.
    const frame = mode === 'user64' ? [RING_0_STACK] : [];
    checkPages(found, [...stores.pages, ...frame], exact, name);
    const changed = changedPages(before, target.memory.bytes(0, RAM_BYTES));
    assert.deepEqual(
      changed.filter((page) => !found.includes(page)),
      [],
      `${name}: changed without a note`,
    );
    return bitmap;
  });
}

// The suite.

/** The host of a guest that is stopped where it writes to a port. */
export class TurnHost extends IdleHost {
  turns = 0;

  override writePort(): void {
    this.turns++;
    this.stopRequested = true;
  }

  /** So that it is polled soon. */
  override interruptPending(): boolean {
    return this.stopRequested || super.interruptPending();
  }
}

export interface DirtyLogSuite {
  readonly host: TurnHost;
  readonly target: TestVcpu;
  /** False: pages may be in the log that were read only. */
  readonly exact: boolean;
  readonly seed: string;
  readonly programs: number;
}

/** Whether a page of the kernel's that is read only gets into the log. */
export function notesReads(target: TestVcpu, host: IdleHost): boolean {
  return numbersOf(bitmapOfCase(target, host, DIRTY_CASES[0]!)).length > 0;
}

/** The tests of one engine; to be called in a describe(). */
export function testDirtyLog(suite: DirtyLogSuite): void {
  const { host, target, exact, seed, programs } = suite;
  const { dirtyLog } = target.vcpu;

  for (const one of DIRTY_CASES) {
    test(`${one.name}: the log has its pages`, () => {
      const guest = prepareCase(target, host, one);
      const bitmap = withLog(dirtyLog, () => runToHalt(guest));
      const pages = typeof one.pages === 'function' ? one.pages(guest) : one.pages;
      checkPages(numbersOf(bitmap), pages, exact);
      assert.equal(bitmap.length, RAM_BYTES / PAGE_BYTES / 8);
    });
  }

  /** Stores to one page, by a register and by the stack, and tells the port; over and over. */
  const prepareTurns = (): Guest => {
    const one: DirtyCase = { name: '', mode: 'kernel64', code: 'ff 07 50 58 e6 80 eb f8', pages: [] };
    host.turns = 0;
    return prepareCase(target, host, one);
  };
  const TURN_PAGES = [DATA, pageOf(PLACE.KERNEL_STACK - 1)];

  /** To the next time that it tells. */
  const turn = (guest: Guest): void => {
    const { turns } = host;
    host.stopRequested = false;
    assert.equal(guest.run().kind, 'interrupted');
    assert.equal(host.turns, turns + 1);
  };

  test('what was taken is clean, and the next store shows again', () => {
    const guest = prepareTurns();
    dirtyLog.start();
    try {
      for (let k = 0; k < 3; k++) {
        turn(guest);
        checkPages(numbersOf(dirtyLog.take()), TURN_PAGES, exact, `turn ${k}`);
        assert.deepEqual(numbersOf(dirtyLog.take()), [], `after turn ${k}`);
      }
    } finally {
      dirtyLog.stop();
    }
  });

  test('what was written before the start, or between stop and start, is not in it', () => {
    const guest = prepareTurns();
    turn(guest);
    assert.deepEqual(numbersOf(withLog(dirtyLog, () => {})), []);
    turn(guest);
    assert.deepEqual(numbersOf(withLog(dirtyLog, () => {})), []);
    checkPages(numbersOf(withLog(dirtyLog, () => turn(guest))), TURN_PAGES, exact);
  });

  test('a start while it is on begins anew', () => {
    const guest = prepareTurns();
    const bitmap = withLog(dirtyLog, () => {
      turn(guest);
      dirtyLog.start();
    });
    assert.deepEqual(numbersOf(bitmap), []);
  });

  test('it gives nothing where it is not on', () => {
    assert.throws(() => dirtyLog.take(), /the dirty log is not on/);
    dirtyLog.start();
    dirtyLog.stop();
    dirtyLog.stop();
    assert.throws(() => dirtyLog.take(), /the dirty log is not on/);
  });

  test('ranges that another party says it wrote are in it, with what the guest had written', () => {
    const guest = prepareTurns();
    const bitmap = withLog(dirtyLog, () => {
      turn(guest);
      target.vcpu.invalidateCode(0x30_0fff, 2);
    });
    checkPages(numbersOf(bitmap), [...TURN_PAGES, 0x300, 0x301], exact);
  });

  test('the guest computes the same with the log on', () => {
    const guest = prepareTurns();
    withLog(dirtyLog, () => {
      for (let k = 0; k < 4; k++) {
        turn(guest);
        dirtyLog.take();
      }
    });
    assert.equal(guest.memory.readU32(PLACE.KERNEL_DATA), 4);
  });

  test(`${programs} random programs: the log has the pages that they store to (seed ${seed})`, () => {
    runRandomStores(suite, seed, programs);
  });
}
