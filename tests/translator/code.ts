// A small encoder of 64-bit instructions for generated programs (SDM volume 2, chapter 2). Code is bytes, references
// to labels that are filled in when the program is laid out, and the labels that it defines itself.

export type SizeBytes = 1 | 2 | 4 | 8;

export const RAX = 0;
export const RCX = 1;
export const RDX = 2;
export const RBX = 3;
export const RSP = 4;
export const RBP = 5;
export const RSI = 6;
export const RDI = 7;
/** Where the handler of exceptions keeps R12, which names the place to go on at. */
export const R12_SLOT = 24;
/** 16 to 19 as 8-bit registers are AH, CH, DH and BH. */
export const AH = 16;

export interface MemoryOperand {
  readonly base?: number;
  readonly index?: number;
  readonly scaleShift?: number;
  readonly displacement?: number;
  /** RIP-relative, `displacement` behind this label. */
  readonly label?: string;
  /** 0x64 is FS, 0x65 is GS. */
  readonly segment?: number;
  /** With a 67 prefix. */
  readonly narrow?: boolean;
}

export type Operand = number | MemoryOperand;

export interface Reference {
  /** Of the field's first byte. */
  readonly at: number;
  /** `far` is the absolute address in the supervisor's map of all RAM. */
  readonly kind: 'relative8' | 'relative32' | 'absolute64' | 'far64';
  readonly label: string;
  readonly addend: number;
  /** Bytes of the instruction behind the field. */
  readonly behind: number;
}

export interface Encoding {
  readonly size?: SizeBytes;
  /** A register. */
  readonly reg?: number;
  /** Instead of a register: a part of the opcode. */
  readonly digit?: number;
  readonly rm?: Operand;
  readonly immediate?: readonly number[];
  /** 66, F2 or F3 before REX. */
  readonly prefix?: number | undefined;
  readonly lock?: boolean;
  /** reg or rm are 8-bit registers, also where `size` says otherwise (MOVZX). */
  readonly byteReg?: boolean;
  readonly byteRm?: boolean;
}

export function littleEndian(value: bigint | number, sizeBytes: number): number[] {
  const bits = BigInt.asUintN(sizeBytes * 8, BigInt(value));
  return Array.from({ length: sizeBytes }, (_, i) => Number((bits >> BigInt(i * 8)) & 0xffn));
}

const fitsByte = (value: number) => value >= -128 && value < 128;

export class Code {
  readonly bytes: number[] = [];
  readonly references: Reference[] = [];
  readonly labels: { readonly name: string; readonly at: number }[] = [];

  raw(...bytes: readonly number[]): this {
    this.bytes.push(...bytes);
    return this;
  }

  label(name: string): this {
    this.labels.push({ name, at: this.bytes.length });
    return this;
  }

  /** A label `offset` bytes behind here: on a field of the next instruction. */
  labelAhead(name: string, offset: number): this {
    this.labels.push({ name, at: this.bytes.length + offset });
    return this;
  }

  append(other: Code): this {
    const start = this.bytes.length;
    this.bytes.push(...other.bytes);
    for (const reference of other.references) this.references.push({ ...reference, at: reference.at + start });
    for (const { name, at } of other.labels) this.labels.push({ name, at: at + start });
    return this;
  }

  private refer(kind: Reference['kind'], label: string, addend = 0, behind = 0): this {
    this.references.push({ at: this.bytes.length, kind, label, addend, behind });
    const sizeBytes = kind === 'relative8' ? 1 : kind === 'relative32' ? 4 : 8;
    return this.raw(...new Array<number>(sizeBytes).fill(0));
  }

  /** One instruction with ModR/M, or without when `rm` is left out. */
  op(opcode: readonly number[], encoding: Encoding = {}): this {
    const { size = 4, rm, immediate = [] } = encoding;
    const byteReg = encoding.byteReg ?? size === 1;
    const byteRm = encoding.byteRm ?? size === 1;
    let reg = encoding.reg ?? encoding.digit ?? 0;
    let rex = size === 8 ? 0x48 : 0;
    if (byteReg && encoding.reg !== undefined) {
      if (reg >= AH) reg -= 12;
      else if (reg >= 4) rex |= 0x40;
    }
    rex |= reg > 7 ? 0x44 : 0;
    let register = typeof rm === 'number' ? rm : 0;
    if (typeof rm === 'number') {
      if (byteRm) {
        if (register >= AH) register -= 12;
        else if (register >= 4) rex |= 0x40;
      }
      rex |= register > 7 ? 0x41 : 0;
    } else if (rm !== undefined) {
      if ((rm.index ?? 0) > 7) rex |= 0x42;
      if ((rm.base ?? 0) > 7) rex |= 0x41;
    }
    if (encoding.lock) this.raw(0xf0);
    if (typeof rm === 'object' && rm.segment !== undefined) this.raw(rm.segment);
    if (typeof rm === 'object' && rm.narrow) this.raw(0x67);
    if (size === 2) this.raw(0x66);
    if (encoding.prefix !== undefined) this.raw(encoding.prefix);
    if (rex !== 0) this.raw(rex);
    this.raw(...opcode);
    if (typeof rm === 'number') this.raw(0xc0 | ((reg & 7) << 3) | (register & 7));
    else if (rm !== undefined) this.memory(rm, reg & 7, immediate.length);
    return this.raw(...immediate);
  }

  private memory(operand: MemoryOperand, reg: number, behind: number): void {
    const { base, index, scaleShift = 0, displacement = 0, label } = operand;
    if (label !== undefined) {
      this.raw((reg << 3) | 5);
      this.refer('relative32', label, displacement, behind);
      return;
    }
    const word = littleEndian(displacement, 4);
    if (base === undefined) {
      this.raw((reg << 3) | 4, (scaleShift << 6) | (((index ?? 4) & 7) << 3) | 5, ...word);
      return;
    }
    const mod = displacement === 0 && (base & 7) !== 5 ? 0 : fitsByte(displacement) ? 1 : 2;
    const tail = mod === 0 ? [] : mod === 1 ? [displacement & 0xff] : word;
    if (index === undefined && (base & 7) !== 4) this.raw((mod << 6) | (reg << 3) | (base & 7), ...tail);
    else {
      const sib = (scaleShift << 6) | (((index ?? 4) & 7) << 3) | (base & 7);
      this.raw((mod << 6) | (reg << 3) | 4, sib, ...tail);
    }
  }

  // What programs are mostly made of.

  jmp(label: string, addend = 0): this {
    return this.raw(0xe9).refer('relative32', label, addend);
  }

  call(label: string, addend = 0): this {
    return this.raw(0xe8).refer('relative32', label, addend);
  }

  jcc(condition: number, label: string): this {
    return this.raw(0x0f, 0x80 | condition).refer('relative32', label);
  }

  /** JRCXZ, LOOP, a short JMP or Jcc: `opcode` and a byte. */
  short(opcode: number, label: string): this {
    return this.raw(opcode).refer('relative8', label);
  }

  /** LEA with a RIP-relative operand. */
  leaLabel(register: number, label: string, addend = 0): this {
    return this.op([0x8d], { size: 8, reg: register, rm: { label, displacement: addend } });
  }

  movAbsolute(register: number, label: string, addend = 0, far = false): this {
    this.raw(register > 7 ? 0x49 : 0x48, 0xb8 | (register & 7));
    return this.refer(far ? 'far64' : 'absolute64', label, addend);
  }

  /** A table entry among code. */
  address64(label: string): this {
    return this.refer('absolute64', label);
  }

  /** A table entry relative to where it lies, `behind` bytes further on. */
  offset32(label: string, behind: number): this {
    return this.refer('relative32', label, 0, behind);
  }

  movImmediate(register: number, value: bigint): this {
    const rexB = register > 7 ? 1 : 0;
    const bits = BigInt.asUintN(64, value);
    if (bits <= 0xffff_ffffn) {
      if (rexB) this.raw(0x41);
      return this.raw(0xb8 | (register & 7), ...littleEndian(bits, 4));
    }
    if (BigInt.asIntN(32, bits) === BigInt.asIntN(64, bits)) {
      return this.raw(0x48 | rexB, 0xc7, 0xc0 | (register & 7), ...littleEndian(bits, 4));
    }
    return this.raw(0x48 | rexB, 0xb8 | (register & 7), ...littleEndian(bits, 8));
  }

  mov(to: number, from: number): this {
    return this.op([0x8b], { size: 8, reg: to, rm: from });
  }

  load(register: number, rm: MemoryOperand): this {
    return this.op([0x8b], { size: 8, reg: register, rm });
  }

  store(rm: MemoryOperand, register: number): this {
    return this.op([0x89], { size: 8, reg: register, rm });
  }

  lea(register: number, rm: MemoryOperand): this {
    return this.op([0x8d], { size: 8, reg: register, rm });
  }

  push(register: number): this {
    if (register > 7) this.raw(0x41);
    return this.raw(0x50 | (register & 7));
  }

  pop(register: number): this {
    if (register > 7) this.raw(0x41);
    return this.raw(0x58 | (register & 7));
  }

  int(vector: number): this {
    return this.raw(0xcd, vector);
  }
}
