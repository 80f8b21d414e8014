// Loops of every kind that a guest may stay in, with interrupts on: what is asked of them is how soon an interrupt gets
// through. RBP (EDI outside 64-bit code) counts their turns down, from 0 as good as for ever; at 0 they halt.

import { type Guest, type GuestMode, PLACE, RAM_BYTES } from './guest.ts';
import { PTE } from './page-tables.ts';

export interface LoopShape {
  readonly name: string;
  readonly mode: GuestMode;
  readonly code: readonly number[];
  readonly prepare: (guest: Guest) => void;
  /** Size of the elements of which a repeated string instruction moves R10 in a turn; 0 for other loops. */
  readonly elementBytes: number;
}

/** Free RAM, mapped one to one for the supervisor. */
const SOURCE = 0x4_0000;
const DESTINATION = 0x9_0000;
const STACK = 0xf_f000;
const BLOCK_BYTES = 0x4_0000;
/** Guest-virtual addresses that share an entry of the TLB. */
const ALIASES = 0x8000_0000;
const ALIAS_STRIDE = 0x40_0000;
const DEVICE = 0xa000_0000;
const SYSCALL_ENTRY = PLACE.KERNEL_CODE + 0x800;

const DEC_RBP = [0x48, 0xff, 0xcd];
const HLT = 0xf4;

const word = (value: number): number[] => [value, value >> 8, value >> 16, value >> 24].map((byte) => byte & 0xff);
const times = (count: number, ...bytes: number[]): number[] => Array.from({ length: count }, () => bytes).flat();

/** `body` while RBP lasts; behind the loop what it calls. */
function forever(body: readonly number[], behind: readonly number[] = []): number[] {
  return [...body, ...DEC_RBP, 0x0f, 0x85, ...word(-(body.length + DEC_RBP.length + 6)), HLT, ...behind];
}

/** Distance from the loop's body to what lies behind the loop. */
const BEHIND = DEC_RBP.length + 6 + 1;

type Extras = Partial<Pick<LoopShape, 'mode' | 'elementBytes'>> & { prepare?: (guest: Guest) => void };

function shape(name: string, code: readonly number[], extras: Extras = {}): LoopShape {
  const prepare = (guest: Guest): void => {
    guest.setRegister('rsi', BigInt(SOURCE));
    if (extras.mode === undefined) {
      guest.setRegister('rdi', BigInt(DESTINATION));
      guest.setRegister('rsp', BigInt(STACK));
    }
    extras.prepare?.(guest);
  };
  return { name, mode: 'kernel64', elementBytes: 0, ...extras, code, prepare };
}

/** mov rsi, r8; mov rdi, r9; mov rcx, r10; the instruction. */
function strings(
  name: string,
  instruction: number[],
  elementBytes: number,
  prepare: (guest: Guest) => void = () => {},
) {
  return shape(name, forever([0x4c, 0x89, 0xc6, 0x4c, 0x89, 0xcf, 0x4c, 0x89, 0xd1, ...instruction]), {
    elementBytes,
    prepare: (guest) => {
      guest.setRegister('r8', BigInt(SOURCE));
      guest.setRegister('r9', BigInt(DESTINATION));
      guest.setRegister('r10', BigInt(BLOCK_BYTES));
      prepare(guest);
    },
  });
}

const setAll = (registers: Record<string, number>) => (guest: Guest) => {
  for (const [name, value] of Object.entries(registers)) guest.setRegister(name, BigInt(value));
};

const backwards = (elementBytes: number) => (guest: Guest) => {
  guest.state.rflags |= 0x400n;
  guest.setRegister('r8', BigInt(SOURCE + BLOCK_BYTES - elementBytes));
  guest.setRegister('r9', BigInt(DESTINATION + BLOCK_BYTES - elementBytes));
};

const mapDevice = (guest: Guest): void => {
  guest.tables.map(BigInt(DEVICE), RAM_BYTES + 0x10_0000, PTE.W);
};

/** An interpreter: each of 16 handlers goes to the next one through a table. */
function threadedCode(): LoopShape {
  // dec rbp; jnz +1; hlt; inc ecx; and ecx, 15; mov rax, [r8 + rcx * 8]; jmp rax
  const rest = [0xff, 0xc1, 0x83, 0xe1, 15, 0x49, 0x8b, 0x04, 0xc8, 0xff, 0xe0];
  const handler = [...DEC_RBP, 0x75, 1, HLT, ...rest];
  return shape('jumps through a table', times(16, ...handler), {
    prepare: (guest) => {
      guest.setRegister('r8', BigInt(SOURCE));
      for (let k = 0; k < 16; k++) {
        guest.memory.writeU64(SOURCE + k * 8, BigInt(PLACE.KERNEL_CODE + ((k * 5) % 16) * handler.length));
      }
    },
  });
}

/** Calls itself twice to a depth of `depth`, so that 2 ** depth calls meet no loop. */
function treeRecursion(depth: number): LoopShape {
  // f: dec rbp; jz halt; dec ecx; jz out; call f; call f; out: inc ecx; ret; halt: hlt
  const f = [...DEC_RBP, 0x74, 17, 0xff, 0xc9, 0x74, 10, 0xe8, ...word(-14), 0xe8, ...word(-19), 0xff, 0xc1, 0xc3, HLT];
  // mov ecx, depth; call f
  return shape(`recursion like a tree, ${depth} deep`, forever([0xb9, ...word(depth), 0xe8, ...word(BEHIND)], f));
}

function deepRecursion(): LoopShape {
  // f: dec ecx; jz out; call f; out: ret
  const f = [0xff, 0xc9, 0x74, 5, 0xe8, ...word(-9), 0xc3];
  return shape('recursion 2000 deep', forever([0xb9, ...word(2000), 0xe8, ...word(BEHIND)], f));
}

/** A handler at a vector that does `code` and returns. */
const handle =
  (vector: number, ...code: number[]) =>
  (guest: Guest) => {
    guest.memory.write(PLACE.HANDLERS + vector * 16, new Uint8Array([...code, 0x48, 0xcf]));
  };

const FSIN = [0xd9, 0xfe];
/** fld1; fsin; fcos; fptan; fstp st0; f2xm1; fstp st0 */
const X87_FUNCTIONS = [0xd9, 0xe8, ...FSIN, 0xd9, 0xff, 0xd9, 0xf2, 0xdd, 0xd8, 0xd9, 0xf0, 0xdd, 0xd8];

/** mov ecx, 100000; dec ecx; jnz; mov ecx, `turns`; body; dec ecx; jnz */
function quickThenSlow(name: string, turns: number, body: readonly number[]): LoopShape {
  const quick = [0xb9, ...word(100_000), 0xff, 0xc9, 0x75, 0xfc];
  const back = [0xff, 0xc9, 0x0f, 0x85, ...word(-(body.length + 8))];
  return shape(`quick turns, then ${name}`, forever([...quick, 0xb9, ...word(turns), ...body, ...back]));
}

const PLAIN: readonly LoopShape[] = [
  shape('two instructions', forever([])),
  shape('user code', forever([]), { mode: 'user64' }),
  // mov rax, [rdi]; add rax, rcx; mov [rdi + 8], rax
  shape('loads and stores', forever([0x48, 0x8b, 0x07, 0x48, 0x01, 0xc8, 0x48, 0x89, 0x47, 8])),
  // mov ecx, 100; inner: dec ecx; jnz inner
  shape('nested loops', forever([0xb9, 100, 0, 0, 0, 0xff, 0xc9, 0x75, 0xfc])),
  // mov ecx, 100; inner: loop inner
  shape('LOOP', forever([0xb9, 100, 0, 0, 0, 0xe2, 0xfe])),
  shape('a body of 300 instructions', forever(times(300, 0x48, 0x8d, 0x04, 0x08))),
  shape('a body of 2000 instructions', forever(times(2000, 0x48, 0x8d, 0x04, 0x08))),
  // test esp, esp; jz +0
  shape('a body of 1000 branches not taken', forever(times(1000, 0x85, 0xe4, 0x74, 0))),
  // jmp +5 over what never runs, 50 times
  shape('a body of 50 branches taken', forever(times(50, 0xeb, 1, 0x90))),
  quickThenSlow('a body of 300 instructions', 2000, times(300, 0x48, 0x8d, 0x04, 0x08)),
  // dec edi; jnz; hlt
  shape('32-bit code', [0x4f, 0x75, 0xfd, HLT], { mode: 'kernel32' }),
  shape('16-bit code', [0x66, 0x4f, 0x75, 0xfc, HLT], { mode: 'real16' }),
];

const CALLS: readonly LoopShape[] = [
  shape('calls', forever([0xe8, ...word(BEHIND)], [0xc3])),
  // lea rax, [rip + f]; call rax
  shape('calls through a register', forever([0x48, 0x8d, 0x05, ...word(2 + BEHIND), 0xff, 0xd0], [0xc3])),
  treeRecursion(40),
  treeRecursion(200),
  deepRecursion(),
  threadedCode(),
  // push rax (the address of what follows); ret
  shape('returns to where nobody called', forever([0x48, 0x8d, 0x05, ...word(2), 0x50, 0xc3])),
];

const STRINGS: readonly LoopShape[] = [
  strings('rep movsb', [0xf3, 0xa4], 1),
  strings('rep movsq across elements', [0xf3, 0x48, 0xa5], 8, setAll({ r8: SOURCE + 3, r10: BLOCK_BYTES / 8 })),
  strings('rep movsb onto the byte behind', [0xf3, 0xa4], 1, setAll({ r9: SOURCE + 1 })),
  strings('rep movsb downwards', [0xf3, 0xa4], 1, backwards(1)),
  strings('rep movsb of one byte', [0xf3, 0xa4], 1, setAll({ r10: 1 })),
  strings('rep movsb to a device', [0xf3, 0xa4], 1, (guest) => {
    mapDevice(guest);
    setAll({ r9: DEVICE, r10: 4096 })(guest);
  }),
  strings('rep stosb', [0xf3, 0xaa], 1),
  strings('rep stosq of a pattern', [0xf3, 0x48, 0xab], 8, setAll({ rax: 0x1234_5678, r10: BLOCK_BYTES / 8 })),
  strings('rep stosd downwards', [0xf3, 0xab], 4, (guest) => {
    backwards(4)(guest);
    setAll({ rax: 0x1234_5678, r10: BLOCK_BYTES / 4 })(guest);
  }),
  strings('rep lodsb', [0xf3, 0xac], 1),
  strings('repe cmpsb', [0xf3, 0xa6], 1),
  strings('repne scasb', [0xf2, 0xae], 1, setAll({ rax: 1 })),
  strings('rep insb', [0xf3, 0x6c], 1, setAll({ rdx: 0x3f0 })),
  strings('rep outsb', [0xf3, 0x6e], 1, setAll({ rdx: 0x3f0 })),
  // mov rsi, r8; mov rdi, r9; movsb; movsw; movsd; movsq; stosb; lodsb; scasb; cmpsb
  shape(
    'string instructions alone',
    forever([...[0x4c, 0x89, 0xc6, 0x4c, 0x89, 0xcf], ...[0xa4, 0x66, 0xa5, 0xa5, 0x48, 0xa5, 0xaa, 0xac, 0xae, 0xa6]]),
    { prepare: setAll({ r8: SOURCE, r9: DESTINATION }) },
  ),
];

const FLOATING_POINT: readonly LoopShape[] = [
  // fldpi; fld1; 50 times fmul st, st(1); fstp st0 twice
  shape('x87 products', forever([0xd9, 0xeb, 0xd9, 0xe8, ...times(50, 0xd8, 0xc9), 0xdd, 0xd8, 0xdd, 0xd8])),
  shape('x87 functions', forever(times(2, ...X87_FUNCTIONS))),
  quickThenSlow('x87 functions', 200, X87_FUNCTIONS),
  // mov eax, 1; movq xmm0, rax; 100 times addsd xmm0, xmm0
  shape(
    'denormal sums',
    forever([0xb8, ...word(1), 0x66, 0x48, 0x0f, 0x6e, 0xc0, ...times(100, 0xf2, 0x0f, 0x58, 0xc0)]),
  ),
  shape('PCMPISTRI', forever(times(50, 0x66, 0x0f, 0x3a, 0x63, 0xc1, 0x18))),
  shape('FXSAVE and FXRSTOR', forever(times(10, 0x0f, 0xae, 0x07, 0x0f, 0xae, 0x0f))),
  // mov edx, 1; div rcx
  shape('128-bit divisions', forever(times(100, 0xba, 1, 0, 0, 0, 0x48, 0xf7, 0xf1)), {
    prepare: (guest) => guest.setRegister('rcx', 0xf000_0000_0000_0001n),
  }),
];

const SYSTEM: readonly LoopShape[] = [
  shape('system calls', forever([0x0f, 0x05]), {
    mode: 'user64',
    prepare: (guest) => guest.memory.write(SYSCALL_ENTRY, new Uint8Array([0x48, 0x0f, 0x07])),
  }),
  shape('INT3', forever([0xcc]), { prepare: handle(3) }),
  // The handler skips ud2: add qword [rsp], 2
  shape('faults', forever([0x0f, 0x0b]), { prepare: handle(6, 0x48, 0x83, 0x04, 0x24, 2) }),
  shape('single steps', forever([0x90, 0x90]), {
    prepare: (guest) => {
      handle(1)(guest);
      guest.state.rflags |= 0x100n;
    },
  }),
  shape('a breakpoint that is not met', forever([0x90, 0x90]), {
    prepare: (guest) => {
      guest.state.debug.dr7 = 0x401n;
    },
  }),
  shape('CLI and STI', forever([0xfa, ...times(20, 0x90), 0xfb, 0x90])),
  shape('PUSHF, CLI, POPF', forever([0x9c, 0xfa, 0x9d])),
  // mov rax, cr3; mov cr3, rax; 16 loads from as many pages
  shape('CR3 loads', forever([0x0f, 0x20, 0xd8, 0x0f, 0x22, 0xd8, ...pages(16)])),
  // invlpg [rdi]; mov rax, [rdi]
  shape('INVLPG', forever([0x0f, 0x01, 0x3f, 0x48, 0x8b, 0x07])),
  // mov rax, r8; 16 times: mov rdx, [rax]; add rax, ALIAS_STRIDE
  shape(
    'misses in the TLB',
    forever([0x4c, 0x89, 0xc0, ...times(16, 0x48, 0x8b, 0x10, 0x48, 0x05, ...word(ALIAS_STRIDE))]),
    {
      prepare: (guest) => {
        guest.setRegister('r8', BigInt(ALIASES));
        for (let k = 0; k < 16; k++) guest.tables.map(BigInt(ALIASES + k * ALIAS_STRIDE), SOURCE, PTE.W);
      },
    },
  ),
  // inc byte [rip - 6] of itself: mov al, n
  shape('a loop that changes itself', forever([0xb0, 0, 0xfe, 0x05, ...word(-7)])),
  // inc byte [rip + 2000], in the page of the code
  shape('stores beside the code', forever([0xfe, 0x05, ...word(2000)])),
  shape('CPUID', forever(times(20, 0x0f, 0xa2))),
  shape('loads from a device', forever(times(20, 0x8b, 0x07)), {
    prepare: (guest) => {
      mapDevice(guest);
      guest.setRegister('rdi', BigInt(DEVICE));
    },
  }),
  shape('reads of a port', forever(times(20, 0xec)), { prepare: setAll({ rdx: 0x3f0 }) }),
  // lock cmpxchg16b [rdi]; lock inc qword [rdi]
  shape('locked writes', forever(times(20, 0xf0, 0x48, 0x0f, 0xc7, 0x0f, 0xf0, 0x48, 0xff, 0x07))),
  // mov rax, cr0; mov cr0, rax
  shape('CR0 writes', forever([0x0f, 0x20, 0xc0, 0x0f, 0x22, 0xc0])),
];

/** mov rax, [rsi + n * 4096] */
function pages(count: number): number[] {
  return Array.from({ length: count }, (_, k) => [0x48, 0x8b, 0x86, ...word(k * 4096)]).flat();
}

export const LOOP_SHAPES: readonly LoopShape[] = [...PLAIN, ...CALLS, ...STRINGS, ...FLOATING_POINT, ...SYSTEM];
