// The system software of a generated program's guest: a handler for exceptions that keeps frame and registers in a log
// and goes on at R12; services by INT and SYSCALL; a handler for interrupts from outside that leaves no trace but a
// count in a page that is not compared.

import { Code, littleEndian, R12_SLOT, RAX, RBX, RCX, RDI, RDX, RSI, RSP } from './code.ts';
import { directAddress, HANDLER_WORD, PLACE } from './guest-places.ts';

const ERROR_CODES: ReadonlySet<number> = new Set([8, 10, 11, 12, 13, 14, 17]);
const EXCEPTIONS = 32;
const PUSHED = [0, 1, 2, 3, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15] as const;
/** From RSP on in the common handler. */
const FRAME = { vector: 15 * 8, rip: 17 * 8, cs: 18 * 8, rflags: 19 * 8 } as const;

export const LOG_WORDS = [
  ...['r15', 'r14', 'r13', 'r12', 'r11', 'r10', 'r9', 'r8', 'rdi', 'rsi', 'rbp', 'rbx', 'rdx', 'rcx', 'rax'],
  ...['vector', 'error', 'rip', 'cs', 'rflags', 'rsp', 'ss', 'cr2'],
] as const;

export const SERVICE = { plain: 0x80, end: 0x81, toggle: 0x82, entry: 0x83, space: 0x84, spaceById: 0x85 } as const;
/** Vectors that the host may raise. Each also disturbs what the processor keeps. */
export const INTERRUPT = { count: 0x20, reloadCr3: 0x21, toggleGlobal: 0x22, rewriteCode: 0x23 } as const;

export interface Handlers {
  readonly code: Uint8Array;
  readonly vectors: ReadonlyMap<number, { readonly offset: number; readonly ist: number; readonly dpl: number }>;
  /** Offset of the SYSCALL entry. */
  readonly syscall: number;
}

export function makeHandlers(): Handlers {
  const code = new Code();
  const vectors = new Map<number, { offset: number; ist: number; dpl: number }>();
  const here = () => code.bytes.length;
  const jumps: number[] = [];
  for (let vector = 0; vector < EXCEPTIONS; vector++) {
    vectors.set(vector, { offset: here(), ist: 2, dpl: vector === 3 || vector === 4 ? 3 : 0 });
    if (!ERROR_CODES.has(vector)) code.raw(0x6a, 0);
    code.raw(0x6a, vector, 0xe9, 0, 0, 0, 0);
    jumps.push(here());
  }
  const common = here();
  for (const at of jumps) {
    const distance = common - at;
    code.bytes.splice(at - 4, 4, distance & 0xff, (distance >> 8) & 0xff, 0, 0);
  }
  for (const register of PUSHED) code.push(register);
  code.raw(0xfc).movImmediate(RBX, directAddress(PLACE.HANDLER_DATA));
  // A single step: only a hash of where it was, and at most so many of them.
  const step = new Code();
  step.load(RAX, { base: RSP, displacement: FRAME.rip });
  step.op([0x33], { size: 8, reg: RAX, rm: { base: RSP, displacement: FRAME.rflags } });
  step.op([0xc1], { size: 8, digit: 0, rm: { base: RBX, displacement: HANDLER_WORD.stepHash }, immediate: [5] });
  step.op([0x01], { size: 8, reg: RAX, rm: { base: RBX, displacement: HANDLER_WORD.stepHash } });
  step.op([0xff], { size: 8, digit: 1, rm: { base: RBX, displacement: HANDLER_WORD.stepsLeft } });
  // Out of steps: no TF in the frame, no breakpoints.
  const clear = new Code().op([0x81], {
    digit: 4,
    rm: { base: RSP, displacement: FRAME.rflags },
    immediate: [0xff, 0xfe, 0xff, 0xff],
  });
  clear.movImmediate(RAX, 0x400n).raw(0x0f, 0x23, 0xf8);
  step.raw(0x7f, clear.bytes.length).append(clear);
  const resume = new Code();
  for (const register of [...PUSHED].reverse()) resume.pop(register);
  resume.op([0x83], { size: 8, digit: 0, rm: RSP, immediate: [16] }).raw(0x48, 0xcf);
  step.append(resume);
  code.op([0x80], { size: 1, digit: 7, rm: { base: RSP, displacement: FRAME.vector }, immediate: [1] });
  code.raw(0x0f, 0x85, step.bytes.length & 0xff, step.bytes.length >> 8, 0, 0).append(step);
  // Everything else goes into the log.
  code.load(RDI, { base: RBX, displacement: HANDLER_WORD.next }).mov(RSI, RSP);
  code.movImmediate(RCX, BigInt(LOG_WORDS.length - 1)).raw(0xf3, 0x48, 0xa5);
  code.raw(0x0f, 0x20, 0xd0, 0x48, 0xab);
  code.op([0x3b], { size: 8, reg: RDI, rm: { base: RBX, displacement: HANDLER_WORD.end } });
  code.raw(0x76, 2, 0xf4, 0xf4);
  code.store({ base: RBX, displacement: HANDLER_WORD.next }, RDI);
  // Breakpoints end here: with one, everything goes instruction by instruction.
  const divert = new Code()
    .movImmediate(RAX, 0x400n)
    .raw(0x0f, 0x23, 0xf8)
    .load(RAX, { base: RSP, displacement: R12_SLOT });
  divert.store({ base: RSP, displacement: FRAME.rip }, RAX);
  code.op([0x80], { size: 1, digit: 7, rm: { base: RSP, displacement: FRAME.vector }, immediate: [3] });
  code.raw(0x74, divert.bytes.length).append(divert).append(resume);

  vectors.set(SERVICE.end, { offset: here(), ist: 2, dpl: 3 });
  code.raw(0xf4, 0xeb, 0xfd);

  vectors.set(SERVICE.plain, { offset: here(), ist: 0, dpl: 3 });
  code.lea(RAX, { base: RAX, index: RAX, scaleShift: 1, displacement: 7 }).raw(0x48, 0xcf);

  // Between CPL 0 and 3, the rest of the frame as it is.
  vectors.set(SERVICE.toggle, { offset: here(), ist: 2, dpl: 3 });
  code.op([0x83], { digit: 6, rm: { base: RSP, displacement: 8 }, immediate: [0x08 ^ 0x2b] });
  code.op([0x83], { digit: 6, rm: { base: RSP, displacement: 32 }, immediate: [0x10 ^ 0x23] }).raw(0x48, 0xcf);

  // RAX names a place, R8 the bits of its page table entry to change.
  vectors.set(SERVICE.entry, { offset: here(), ist: 3, dpl: 3 });
  for (const register of [RAX, RCX, RDX, RBX, RSI, RDI]) code.push(register);
  code.raw(0x0f, 0x20, 0xda).movImmediate(RCX, 39n);
  code.movImmediate(RSI, directAddress(0)).movImmediate(RDI, 0x000f_ffff_ffff_f000n);
  const level = new Code().mov(RBX, RAX).op([0xd3], { size: 8, digit: 5, rm: RBX });
  level.op([0x81], { digit: 4, rm: RBX, immediate: [0xff, 1, 0, 0] }).op([0x21], { size: 8, reg: RDI, rm: RDX });
  level.op([0x01], { size: 8, reg: RSI, rm: RDX }).lea(RDX, { base: RDX, index: RBX, scaleShift: 3 });
  level.raw(0x83, 0xf9, 12);
  const deeper = new Code().load(RDX, { base: RDX }).raw(0x83, 0xe9, 9);
  level.raw(0x74, deeper.bytes.length + 2).append(deeper);
  level.raw(0xeb, 256 - (level.bytes.length + 2));
  code
    .append(level)
    .op([0x31], { size: 8, reg: 8, rm: { base: RDX } })
    .raw(0x0f, 0x01, 0x38);
  for (const register of [RDI, RSI, RBX, RDX, RCX, RAX]) code.pop(register);
  code.raw(0x48, 0xcf);

  const switchSpace = (vector: number, difference: number, keep: Code): void => {
    vectors.set(vector, { offset: here(), ist: 3, dpl: 3 });
    code.push(RAX).raw(0x0f, 0x20, 0xd8);
    code.op([0x81], { size: 8, digit: 6, rm: RAX, immediate: littleEndian(difference, 4) });
    code.append(keep).raw(0x0f, 0x22, 0xd8).pop(RAX).raw(0x48, 0xcf);
  };
  const roots = PLACE.PAGE_TABLES ^ PLACE.SECOND_PAGE_TABLES;
  switchSpace(SERVICE.space, roots, new Code());
  // By process-context identifier: both spaces keep what the processor knows of them.
  const keep = new Code().op([0x0f, 0xba], { size: 8, digit: 5, rm: RAX, immediate: [63] });
  switchSpace(SERVICE.spaceById, roots ^ 3, keep);

  const outside = (vector: number, disturb: Code): void => {
    vectors.set(vector, { offset: here(), ist: 1, dpl: 0 });
    code
      .push(RAX)
      .push(RCX)
      .movImmediate(RAX, directAddress(PLACE.VOLATILE + (vector & 15) * 8));
    code
      .op([0xff], { size: 8, digit: 0, rm: { base: RAX } })
      .append(disturb)
      .pop(RCX)
      .pop(RAX)
      .raw(0x48, 0xcf);
  };
  outside(INTERRUPT.count, new Code());
  outside(INTERRUPT.reloadCr3, new Code().raw(0x0f, 0x20, 0xd8, 0x0f, 0x22, 0xd8));
  const toggle = new Code()
    .op([0x81], { size: 8, digit: 6, rm: RAX, immediate: [0x80, 0, 0, 0] })
    .raw(0x0f, 0x22, 0xe0);
  outside(INTERRUPT.toggleGlobal, new Code().raw(0x0f, 0x20, 0xe0).append(toggle).append(toggle));
  // A byte of code is written as it was: the interrupted instruction's page is unknown here, so one of each page.
  const rewrite = new Code().movImmediate(RCX, 24n).movImmediate(RAX, directAddress(PLACE.CODE));
  rewrite.op([0x80], { size: 1, digit: 1, rm: { base: RAX }, immediate: [0], lock: true });
  rewrite.op([0x81], { size: 8, digit: 0, rm: RAX, immediate: [0, 0x10, 0, 0] }).raw(0xff, 0xc9, 0x75, 0);
  rewrite.bytes[rewrite.bytes.length - 1] = 256 - (rewrite.bytes.length - rewriteStart(rewrite));
  outside(INTERRUPT.rewriteCode, rewrite);

  const syscall = here();
  code.op([0x33], { size: 8, reg: RAX, rm: 11 }).raw(0x48, 0x0f, 0x07);
  return { code: new Uint8Array(code.bytes), vectors, syscall };
}

/** Offset of the loop's first instruction: behind the two moves. */
function rewriteStart(rewrite: Code): number {
  return rewrite.bytes.indexOf(0xf0);
}
