// Reads the opcode text of a row into its parts. The words are those of the SDM (volume 2, 3.1.1.1); parseOpcodeText
// says which there are.

/** The mandatory prefix; `any`: 66, F2 and F3 don't matter. */
export type OpcodePrefix = 'any' | 'NP' | 'NFx' | '66' | 'F3' | 'F2';

/** 0: one-byte opcodes, 1: 0F, 2: 0F 38, 3: 0F 3A. */
export type OpcodeMap = 0 | 1 | 2 | 3;

export interface OpcodeText {
  readonly map: OpcodeMap;
  readonly byte: number;
  /** The opcode covers the eight bytes from `byte` on. */
  readonly plusRegister: boolean;
  readonly prefix: OpcodePrefix;
  readonly rexW: boolean | undefined;
  readonly rexB: boolean | undefined;
  readonly modrm:
    | { readonly kind: 'none' }
    | { readonly kind: 'any' }
    | { readonly kind: 'reg'; readonly reg: number }
    | { readonly kind: 'byte'; readonly byte: number; readonly count: 1 | 8 };
  /** What follows ModR/M: `ib`, `iw`, `iz`, `iv`, `cb`, `cz`, `cp`, `mo`. */
  readonly trailing: readonly string[];
}

const BYTE = /^[0-9A-F]{2}$/;
const TRAILING = new Set(['ib', 'iw', 'iz', 'iv', 'cb', 'cz', 'cp', 'mo']);
const REX_WORDS: Record<string, { rexW?: boolean; rexB?: boolean }> = {
  'REX.W': { rexW: true },
  'REX.W0': { rexW: false },
  'REX.B': { rexB: true },
  'REX.B0': { rexB: false },
};

/**
 * The words, in this order:
 * - `NP`: no 66, F2 or F3; `NFx`: no F2 or F3; `66`, `F2`, `F3`: mandatory prefix
 * - `REX.W`, `REX.W0`, `REX.B`, `REX.B0`: that bit set or clear
 * - `00`, `0F 00`, `0F 38 00`, `0F 3A 00`: the opcode; `50+r`: its low three bits select a register
 * - `/r`: a ModR/M byte; `/0` to `/7`: one with that reg field; `C0`: that very one; `C0+i`: it and the next seven
 * - `ib iw iz iv`: immediate; `cb cz`: branch displacement; `cp`: far pointer; `mo`: absolute offset
 *
 * Throws an Error that names the text if it is not of that form.
 */
export function parseOpcodeText(text: string): OpcodeText {
  const words = text.split(' ');
  const wrong = (why: string): Error => new Error(`opcode text '${text}': ${why}`);
  let prefix: OpcodePrefix = 'any';
  let rexW: boolean | undefined;
  let rexB: boolean | undefined;

  let word = words.shift();
  while (word !== undefined) {
    const rex = REX_WORDS[word];
    if (rex !== undefined) {
      rexW ??= rex.rexW;
      rexB ??= rex.rexB;
    } else if (word === 'NP' || word === 'NFx' || word === '66' || word === 'F2' || word === 'F3') prefix = word;
    else break;
    word = words.shift();
  }

  let map: OpcodeMap = 0;
  if (word === '0F') {
    map = 1;
    word = words.shift();
    if ((word === '38' || word === '3A') && BYTE.test(words[0] ?? '')) {
      map = word === '38' ? 2 : 3;
      word = words.shift();
    }
  }
  if (word === undefined) throw wrong('no opcode byte');
  const plusRegister = word.endsWith('+r');
  const opcode = plusRegister ? word.slice(0, -2) : word;
  if (!BYTE.test(opcode)) throw wrong(`'${word}' is no opcode byte`);
  const byte = Number.parseInt(opcode, 16);
  if (plusRegister && (byte & 7) !== 0) throw wrong('+r on a byte whose low bits are not zero');

  let modrm: OpcodeText['modrm'] = { kind: 'none' };
  const next = words[0];
  if (next === '/r') modrm = { kind: 'any' };
  else if (next !== undefined && /^\/[0-7]$/.test(next)) modrm = { kind: 'reg', reg: Number(next[1]) };
  else if (next !== undefined && /^[0-9A-F]{2}(\+i)?$/.test(next)) {
    const first = Number.parseInt(next.slice(0, 2), 16);
    if (first < 0xc0) throw wrong('a fixed ModR/M byte has mod 3');
    if (next.endsWith('+i') && (first & 7) !== 0) throw wrong('+i on a byte whose low bits are not zero');
    modrm = { kind: 'byte', byte: first, count: next.endsWith('+i') ? 8 : 1 };
  }
  if (modrm.kind !== 'none') words.shift();
  for (const trailing of words) if (!TRAILING.has(trailing)) throw wrong(`'${trailing}' is unknown`);
  return { map, byte, plusRegister, prefix, rexW, rexB, modrm, trailing: words };
}
