// The runtime functions of x87, MMX and SSE instructions: between generated code and x87.ts, sse-exact.ts, crypto.ts
// and packed-string.ts.

import { SEGMENT_INDEX } from '../../decode/instruction.ts';
import { RECORD } from '../../emit/record.ts';
import { FLAT_SEGMENT_OFFSET, SEGMENT_FIELDS, STATE, segmentOffset, X87_OFFSET } from '../../ir/guest-state.ts';
import { X87_OPERATION } from '../../ir/x87-operations.ts';
import { CR0, CR4 } from '../../isa/control-registers.ts';
import type { CpuState } from './cpu-state.ts';
import { computeCrypto } from './crypto.ts';
import { GuestFault } from './guest-fault.ts';
import type { Mmu } from './mmu.ts';
import { compareStrings } from './packed-string.ts';
import type { RuntimeFunctions } from './runtime-functions.ts';
import { sseExact } from './sse-exact.ts';
import { type EnvironmentFormat, environmentSizeBytes, stateSizeBytes, type X87, X87_OUTCOME } from './x87.ts';

const UD = 6;
const NM = 7;
const MF = 16;
const XM = 19;

/** They leave the pointers of the last instruction alone (SDM volume 1, 8.1.8), or set them themselves. */
const CONTROL_OPERATIONS = new Set<number>([
  X87_OPERATION.fninit,
  X87_OPERATION.fnclex,
  X87_OPERATION.fldcw,
  X87_OPERATION.fneni,
]);

export type FloatRuntimeName =
  | 'x87'
  | 'x87PrepareStore'
  | 'x87CommitStore'
  | 'checkWritable'
  | 'x87Environment'
  | 'x87Wait'
  | 'checkX87'
  | 'checkWait'
  | 'mmxEnter'
  | 'emms'
  | 'sseExact'
  | 'pcmpstr'
  | 'crypto';

/** The jumps that take as long as an operation in software, some 300 ns, and as one of x87's functions, some 2 us. */
const OPERATION_JUMPS = 32;
const FUNCTION_JUMPS = 256;

const FUNCTIONS = new Set<number>([
  X87_OPERATION.f2xm1,
  X87_OPERATION.fyl2x,
  X87_OPERATION.fyl2xp1,
  X87_OPERATION.fptan,
  X87_OPERATION.fpatan,
  X87_OPERATION.fsin,
  X87_OPERATION.fcos,
  X87_OPERATION.fsincos,
]);

/** Operations of x87Environment, as lift/x87.ts numbers them. */
export const ENVIRONMENT_OPERATION = { fnstenv: 0, fldenv: 1, fnsave: 2, frstor: 3 } as const;

export interface FloatParts {
  readonly cpu: CpuState;
  readonly mmu: Mmu;
  readonly x87: X87;
}

function formatOf(cpu: CpuState, operandBytes: number): EnvironmentFormat {
  const real = (cpu.getLow(STATE.cr0) & CR0.PE) === 0 || (cpu.get32(STATE.systemFlags) & 0x20000) !== 0;
  return { operandBytes: operandBytes === 2 ? 2 : 4, realMode: real };
}

function runEnvironment(c: FloatParts, operation: number, linear: bigint, operandBytes: number): void {
  const { mmu, x87 } = c;
  const format = formatOf(c.cpu, operandBytes);
  switch (operation) {
    case ENVIRONMENT_OPERATION.fnstenv:
      mmu.writeBlock(linear, x87.environmentImage(format));
      x87.commitEnvironment();
      return;
    case ENVIRONMENT_OPERATION.fnsave:
      mmu.writeBlock(linear, x87.stateImage(format));
      x87.commitState();
      return;
    case ENVIRONMENT_OPERATION.fldenv: {
      const image = new Uint8Array(environmentSizeBytes(format));
      mmu.readBlock(linear, image);
      x87.loadEnvironment(image, format);
      return;
    }
    default: {
      const image = new Uint8Array(stateSizeBytes(format));
      mmu.readBlock(linear, image);
      x87.loadState(image, format);
    }
  }
}

export function floatRuntime(c: FloatParts): Pick<RuntimeFunctions, FloatRuntimeName> {
  const { cpu, x87 } = c;
  const { view, offset: base } = cpu;
  /** The last instruction but for those of control: FOP, FIP, FCS and FDS. */
  const note = (): void => {
    const record = view.getUint32(base + STATE.record.offset, true);
    const opcode = view.getUint16(record + RECORD.imm0, true);
    const low = view.getUint32(base + STATE.codePage.offset, true) + view.getUint16(record + RECORD.ip, true);
    const long = view.getUint32(base + STATE.codeSize.offset, true) === 64;
    const high = long ? view.getUint32(base + STATE.codePage.offset + 4, true) : 0;
    let dataSelector = -1;
    if ((opcode & 0xff) < 0xc0) {
      const segment = view.getUint16(record + RECORD.segment, true) & ~31;
      const named = segment === FLAT_SEGMENT_OFFSET ? segmentOffset(SEGMENT_INDEX.ds) : segment;
      dataSelector = view.getUint16(base + named + SEGMENT_FIELDS.selector, true);
    }
    x87.noteInstruction(opcode, cpu.selector(SEGMENT_INDEX.cs), low, high, dataSelector);
  };
  return {
    x87: (operation, operand, low, high) => {
      cpu.charge(FUNCTIONS.has(operation) ? FUNCTION_JUMPS : OPERATION_JUMPS);
      const outcome = x87.execute(operation, operand, BigInt.asUintN(64, low), high & 0xffff);
      if (outcome === X87_OUTCOME.PENDING) throw new GuestFault(MF);
      if (!CONTROL_OPERATIONS.has(operation)) note();
      cpu.set(STATE.scratch0, BigInt(x87.eflags));
    },
    // The size of the store is left in the low byte of scratch0 (0: nothing is stored), bits 79:64 above it.
    x87PrepareStore: (operation, operand) => {
      if (x87.prepareStore(operation, operand) === X87_OUTCOME.PENDING) throw new GuestFault(MF);
      cpu.set(STATE.scratch0, BigInt(x87.storeSizeBytes) | (BigInt(x87.storeHigh) << 16n));
      return x87.storeLow;
    },
    x87CommitStore: () => {
      x87.commitStore();
      note();
    },
    checkWritable: (linear, sizeBytes) =>
      c.mmu.checkWritable(Number(linear & 0xffffffffn) | 0, Number(linear >> 32n) | 0, sizeBytes),
    x87Environment: (operation, linear, operandBytes) => {
      if (operation === ENVIRONMENT_OPERATION.frstor || operation === ENVIRONMENT_OPERATION.fldenv) {
        if (x87.checkPending()) throw new GuestFault(MF);
      }
      runEnvironment(c, operation, BigInt.asUintN(64, linear), operandBytes);
    },
    x87Wait: () => {
      if (x87.checkPending()) throw new GuestFault(MF);
    },
    checkX87: () => {
      if ((cpu.getLow(STATE.cr0) & (CR0.EM | CR0.TS)) !== 0) throw new GuestFault(NM);
    },
    checkWait: () => {
      const both = CR0.MP | CR0.TS;
      if ((cpu.getLow(STATE.cr0) & both) === both) throw new GuestFault(NM);
      if (x87.checkPending()) throw new GuestFault(MF);
    },
    mmxEnter: (register) => x87.enterMmx(register < 0 ? -1 : (register - X87_OFFSET) >> 4),
    emms: () => x87.emms(),
    sseExact: (operation, immediate) => {
      cpu.charge(OPERATION_JUMPS);
      if (!sseExact(view, base, operation, immediate)) return;
      throw new GuestFault((cpu.getLow(STATE.cr4) & CR4.OSXMMEXCPT) !== 0 ? XM : UD);
    },
    pcmpstr: (immediate, first, second) => {
      cpu.charge(OPERATION_JUMPS);
      return compareStrings(view, base, immediate, first, second);
    },
    crypto: (operation, immediate) => {
      cpu.charge(OPERATION_JUMPS);
      computeCrypto(view, base, operation, immediate);
    },
  };
}
