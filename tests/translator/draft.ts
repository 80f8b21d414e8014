// What a generated piece of a program may use: registers, memory operands, labels. R12 names the place to go on at
// behind an exception, R14 points into the data, R15 is fuel; RSP and RBP are the stack's. The others are free.

import type { RandomSource } from '../fuzz/random-source.ts';
import { AH, Code, type MemoryOperand, RAX, RBP, RBX, RCX, RDX, RSP, type SizeBytes } from './code.ts';
import { DATA_PAGES, FAR_ALIAS, PAGE } from './guest-places.ts';
import type { Group, Item, Node } from './program.ts';
import { VIRTUAL } from './program.ts';

export const FREE_REGISTERS = [0, 1, 2, 3, 6, 7, 8, 9, 10, 11, 13] as const;
export const RESUME = 12;
export const DATA = 14;
export const FUEL = 15;
/** R14 points to the middle of the data. */
export const DATA_MIDDLE = VIRTUAL.data + (DATA_PAGES * PAGE) / 2;
export const LOCAL_BYTES = 0x80;

const HALF = (DATA_PAGES * PAGE) / 2;

export const item = (name: string, code: Code): Item => ({ kind: 'item', name, code });
export const group = (name: string, head: Code, body: readonly Node[], tail: Code): Group => ({
  kind: 'group',
  name,
  head,
  body,
  tail,
});

/** Something that an operand needs before it. */
export interface PreparedMemory {
  readonly setup: Code;
  readonly operand: MemoryOperand;
}

type Labels = readonly string[];

export class Draft {
  readonly random: RandomSource;
  readonly base: bigint;
  readonly features: ReadonlySet<string>;
  readonly functions: readonly string[];
  readonly user: boolean;
  readonly farDistance = FAR_ALIAS;
  /** Its interrupt goes to the other address space. */
  readonly spaceService: number;
  readonly table: string[];
  readonly locked = new Set<number>();
  functionIndex = 0;
  framed = false;
  /** Blocks of the function in work, for jumps between them. */
  blocks: readonly string[] = [];
  depth = 0;
  private labels = 0;

  constructor(
    parts: Pick<Draft, 'random' | 'base' | 'features' | 'user' | 'spaceService'> & {
      functions: Labels;
      table: string[];
    },
  ) {
    this.random = parts.random;
    this.base = parts.base;
    this.features = parts.features;
    this.user = parts.user;
    this.spaceService = parts.spaceService;
    this.functions = parts.functions;
    this.table = parts.table;
  }

  has(feature: string): boolean {
    return this.features.has(feature);
  }

  newLabel(name: string): string {
    return `${this.functions[this.functionIndex]}.${name}${this.labels++}`;
  }

  /** A free register that nothing around relies on. */
  register(...except: number[]): number {
    for (;;) {
      const register = this.random.pick(FREE_REGISTERS);
      if (!this.locked.has(register) && !except.includes(register)) return register;
    }
  }

  /** A register to read. */
  source(): number {
    return this.random.chance(0.1) ? this.random.below(16) : this.random.pick(FREE_REGISTERS);
  }

  /** An 8-bit register to write; AH to BH only with `high`, where no REX prefix comes in. */
  byteRegister(high: boolean): number {
    if (high && this.random.chance(0.3)) {
      const register = this.random.below(4);
      if (!this.locked.has(register)) return AH + register;
    }
    return this.register();
  }

  isFree(...registers: number[]): boolean {
    return registers.every((register) => !this.locked.has(register));
  }

  size(): SizeBytes {
    return this.random.pick([1, 2, 4, 4, 4, 8, 8, 8]);
  }

  /** Offset from the middle of the data, with `sizeBytes` inside it. */
  dataOffset(sizeBytes: number): number {
    const { random } = this;
    switch (random.below(6)) {
      case 0:
        return random.between(-HALF, HALF - sizeBytes);
      case 1: {
        // Across or against a page's border.
        const border = random.between(-3, 3) * PAGE;
        return border - random.below(sizeBytes + 1);
      }
      case 2:
        return random.between(-128, 127);
      default:
        return random.between(-30, 30) * 8;
    }
  }

  /** A memory operand of the data or of the locals. `plain`: without REX, for AH to BH. */
  memory(sizeBytes: number, plain = false): PreparedMemory {
    const { random } = this;
    const setup = new Code();
    const kind = plain ? 2 : random.below(12);
    const low = this.base >= 0n && this.base < 0x7ff0_0000n;
    switch (kind) {
      case 0:
      case 1: {
        // Base, index and scale, the index a byte.
        const index = this.register();
        const scaleShift = random.below(4);
        setup.op([0x0f, 0xb6], { reg: index, rm: this.random.pick([RAX, RBX, RCX, RDX]), byteRm: true });
        const displacement = random.between(-HALF, HALF - 2048 - sizeBytes);
        return { setup, operand: { base: DATA, index, scaleShift, displacement } };
      }
      case 2:
      case 3:
        return { setup, operand: { label: 'data', displacement: HALF + this.dataOffset(sizeBytes) } };
      case 4:
        if (this.framed) {
          return {
            setup,
            operand: { base: RBP, displacement: -8 - LOCAL_BYTES + random.below(LOCAL_BYTES - sizeBytes) },
          };
        }
        break;
      case 5:
        if (this.framed && this.depth === 0) {
          return { setup, operand: { base: RSP, displacement: random.below(LOCAL_BYTES - sizeBytes) } };
        }
        break;
      case 6: {
        const pointer = this.register();
        setup.leaLabel(pointer, 'data', HALF + this.dataOffset(sizeBytes));
        return { setup, operand: { base: pointer } };
      }
      case 7:
        if (low) {
          const at = Number(this.base) + DATA_MIDDLE + this.dataOffset(sizeBytes);
          if (at < 0x7fff_0000) return { setup, operand: { displacement: at, narrow: random.chance(0.3) } };
        }
        break;
      case 8: {
        // FS and GS have bases in the data.
        const index = this.register();
        setup.op([0x0f, 0xb6], { reg: index, rm: index, byteRm: true });
        const segment = random.pick([0x64, 0x65]);
        return { setup, operand: { base: index, segment, displacement: random.between(0, 0x3000) } };
      }
      default:
        break;
    }
    return { setup, operand: { base: DATA, displacement: this.dataOffset(sizeBytes) } };
  }
}
