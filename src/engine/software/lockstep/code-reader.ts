// The guest's code as a debugger sees it: what stands at an address, and whether an address is reached from another
// without a jump.

import { createDecoder } from '../../../decode/decoder.ts';
import type { CodeSize, Instruction } from '../../../decode/instruction.ts';
import { STATE } from '../../../ir/guest-state.ts';
import { PORTABLE_FEATURES } from '../../../isa/cpuid/portable.ts';
import { GuestFault } from '../guest-fault.ts';
import { GUEST_RAM_OFFSET } from '../layout.ts';
import type { SoftwareVcpu } from '../vcpu.ts';

const PAGE_BYTES = 4096;

/** Rows that end a run of records although the next instruction follows when they do not jump. */
const goesOn = (instruction: Instruction): boolean => {
  const { row } = instruction;
  return row.ends !== true || row.lift === 'jcc' || row.lift.startsWith('loop') || row.lift === 'jrcxz';
};

export class CodeReader {
  private readonly vcpu: SoftwareVcpu;
  private readonly bytes: Uint8Array;
  private readonly ramBytes: number;
  private readonly decode = createDecoder(PORTABLE_FEATURES);

  constructor(vcpu: SoftwareVcpu, memory: WebAssembly.Memory, ramBytes: number) {
    this.vcpu = vcpu;
    this.bytes = new Uint8Array(memory.buffer);
    this.ramBytes = ramBytes;
  }

  private get codeSize(): CodeSize {
    return this.vcpu.cpu.get32(STATE.codeSize) as CodeSize;
  }

  /** Guest-physical address of code at `rip`, which the processor is about to fetch; undefined where it will fault. */
  private locate(rip: bigint): number | undefined {
    const { cpu, mmu } = this.vcpu;
    const cr2 = cpu.get(STATE.cr2);
    const linear = this.codeSize === 64 ? rip : (rip + cpu.get(STATE.codeBase)) & 0xffffffffn;
    try {
      const guestPhysical = mmu.fetch(Number(linear & 0xffffffffn) | 0, Number(linear >> 32n) | 0);
      return guestPhysical < this.ramBytes ? guestPhysical : undefined;
    } catch (error) {
      if (!(error instanceof GuestFault)) throw error;
      cpu.set(STATE.cr2, cr2);
      return undefined;
    }
  }

  /**
   * Whether a run from `rip`, where the processor stands, may come to `target` without taking a jump. Looks no further
   * than the page of `rip`: behind its end the answer is yes. undefined where the page cannot be fetched from now.
   */
  mayFallTo(rip: bigint, target: bigint): boolean | undefined {
    const start = this.locate(rip);
    if (start === undefined) return undefined;
    const codeSize = this.codeSize;
    const left = PAGE_BYTES - (start % PAGE_BYTES);
    const distance = target - rip;
    for (let offset = 0; offset < left; ) {
      if (BigInt(offset) > distance) return false;
      const at = GUEST_RAM_OFFSET + start + offset;
      const instruction = this.decode(this.bytes, at, left - offset, codeSize);
      if (typeof instruction === 'string') return instruction === 'truncated';
      if (offset > 0 && BigInt(offset) === distance) return true;
      // A repeated instruction is its own successor, turn by turn.
      if (offset === 0 && distance === 0n) return instruction.repeat !== 'none';
      if (!goesOn(instruction)) return false;
      offset += instruction.lengthBytes;
    }
    return true;
  }

  /** Bytes of the count register if a repeated instruction stands at `rip`, where the processor is; else 0. */
  countBytes(rip: bigint): number {
    const start = this.locate(rip);
    if (start === undefined) return 0;
    const left = PAGE_BYTES - (start % PAGE_BYTES);
    const instruction = this.decode(this.bytes, GUEST_RAM_OFFSET + start, left, this.codeSize);
    return typeof instruction === 'string' || instruction.repeat === 'none' ? 0 : instruction.addressBytes;
  }

  /** The instruction at `rip` in the present address space and mode, with its bytes. */
  read(rip: bigint): { instruction: Instruction | undefined; bytes: Uint8Array } {
    const joined: number[] = [];
    for (let k = 0n; k < 15n; k++) {
      const guestPhysical = this.locate(BigInt.asUintN(64, rip + k));
      if (guestPhysical === undefined) break;
      joined.push(this.bytes[GUEST_RAM_OFFSET + guestPhysical]!);
    }
    const bytes = new Uint8Array(joined);
    const found = this.decode(bytes, 0, bytes.length, this.codeSize);
    return typeof found === 'string'
      ? { instruction: undefined, bytes }
      : { instruction: found, bytes: bytes.subarray(0, found.lengthBytes) };
  }
}
