// Reads an operand code into addressing method and sizes (SDM volume 2, A.2.1 and A.2.2; the memory forms of x87 and
// the implicit addresses have the letters of the common opcode references). `Rv/Mw`: a register of size v, or memory of
// size w.

/** First letters of an operand code. */
export type AddressingMethod =
  /** ModR/M rm: general register or memory; R only a register, M only memory; G: ModR/M reg. */
  | 'E'
  | 'R'
  | 'M'
  | 'G'
  /** Low three bits of the opcode: a general register. */
  | 'Z'
  /** ModR/M reg: segment, control, debug register. */
  | 'S'
  | 'C'
  | 'D'
  /** XMM: ModR/M reg; rm register or memory; rm register. MMX: the same with P, Q, N. */
  | 'V'
  | 'W'
  | 'U'
  | 'P'
  | 'Q'
  | 'N'
  /** Immediate; its size `bs` is a byte that is sign-extended to the operand size. */
  | 'I'
  /** Branch displacement, far pointer, absolute offset. */
  | 'J'
  | 'A'
  | 'O'
  /** DS:rSI, ES:rDI, DS:rBX (XLAT), DS:rDI (MASKMOVQ); all but Y may have a segment override. */
  | 'X'
  | 'Y'
  | 'BB'
  | 'BD'
  /** ST(i), i in ModR/M rm. */
  | 'STi'
  /** A register that the row names, or the constant 1. */
  | 'fixed';

export interface ParsedOperand {
  readonly method: AddressingMethod;
  /** A key of OPERAND_SIZES: of the register form, and of the memory form. */
  readonly registerSize: string;
  readonly memorySize: string;
  /** The code itself where method is `fixed`: `AL`, `rAX`, `CL`, `DX`, `ES`, `ST0`, `1`. */
  readonly name: string;
}

/** Bytes for operand sizes of 2, 4 and 8 bytes. 0: the instruction accesses none, or the size is its own affair. */
export const OPERAND_SIZES: Readonly<Record<string, readonly [number, number, number]>> = {
  '': [0, 0, 0],
  b: [1, 1, 1],
  bs: [2, 4, 8],
  w: [2, 2, 2],
  d: [4, 4, 4],
  q: [8, 8, 8],
  dq: [16, 16, 16],
  v: [2, 4, 8],
  z: [2, 4, 4],
  y: [4, 4, 8],
  /** Far pointer in memory; pair of bounds; limit and base of a descriptor table (10 bytes in 64-bit code). */
  p: [4, 6, 10],
  a: [4, 8, 8],
  s: [6, 6, 10],
  /** SSE: scalars, packed, and the MMX operand of the conversions. */
  ss: [4, 4, 4],
  sd: [8, 8, 8],
  ps: [16, 16, 16],
  pd: [16, 16, 16],
  pi: [8, 8, 8],
  /** x87: single, double, extended real; word, dword, qword integer; packed decimal; environment; state. */
  sr: [4, 4, 4],
  dr: [8, 8, 8],
  er: [10, 10, 10],
  wi: [2, 2, 2],
  di: [4, 4, 4],
  qi: [8, 8, 8],
  bcd: [10, 10, 10],
  e: [0, 0, 0],
  st: [0, 0, 0],
  /** FXSAVE and XSAVE areas. */
  stx: [0, 0, 0],
  xs: [0, 0, 0],
};

const FIXED = new Set('AL CL AX DX eAX rAX ES CS SS DS FS GS ST0 1'.split(' '));
const FORM = /^(BB|BD|[ERMGZSCDVWUPQNIJAOXY])([a-z]*)$/;

/** Throws an Error that names the code if it is unknown. */
export function parseOperandCode(code: string): ParsedOperand {
  if (FIXED.has(code)) return { method: 'fixed', registerSize: '', memorySize: '', name: code };
  if (code === 'STi') return { method: 'STi', registerSize: 'er', memorySize: 'er', name: code };
  const [registerForm, memoryForm] = code.split('/') as [string, string | undefined];
  const main = FORM.exec(registerForm);
  const size = main?.[2];
  let method = main?.[1] as AddressingMethod | undefined;
  let memorySize = size;
  if (memoryForm !== undefined) {
    memorySize = /^M([a-z]+)$/.exec(memoryForm)?.[1];
    method = method === 'R' ? 'E' : method === 'U' ? 'W' : undefined;
  }
  const sizes = [size, memorySize];
  if (method === undefined || sizes.some((name) => name === undefined || OPERAND_SIZES[name] === undefined)) {
    throw new Error(`operand code '${code}' is unknown`);
  }
  return { method, registerSize: size as string, memorySize: memorySize as string, name: code };
}
