// System and segment instructions and the flag controls (Intel SDM volume 1, 5.1.10 to 5.1.13, 5.20, 5.21). Most ask
// the engine: they are rare, and their rules are long.

import { ALIGNED_16, type Builder, type InstructionLift, type OperandLift, type Value } from '../ir/builder.ts';
import {
  SEGMENT_FIELDS,
  SEGMENT_OFFSET,
  SEGMENT_STRIDE,
  type StateField,
  segmentOffset,
  TLB_BYTES_LOG2,
} from '../ir/guest-state.ts';
import { EFLAGS } from '../isa/flags.ts';
import { farPointer, goToRip } from './control-transfer.ts';
import { push, top } from './data-transfer.ts';
import { carryFlag, setCarry, setCarryOverflow, setZero } from './flags.ts';
import { type Lift, type Lifts, sizeOf } from './lift.ts';

const RAX = 0;
const RCX = 1;
const RDX = 2;
const RSP = 4;
const LDTR = 6;
const TR = 7;
const DIRECTION = 1 << 10;
const AC_BIT = Math.log2(EFLAGS.AC);

/** Number of the segment register whose selector's place a register operand names. */
function segmentNumber(b: Builder, operand: OperandLift): Value {
  const place = b.index(operand);
  return b.op('i32.shr_u', b.op('i32.sub', place, b.i32(SEGMENT_OFFSET)), b.i32(Math.log2(SEGMENT_STRIDE)));
}

function movToSreg(b: Builder, i: InstructionLift): void {
  b.call('loadSegment', segmentNumber(b, i.operands[0]!), b.wrap(b.read(i.operands[1]!)));
  b.leaveNext();
}

function movFromSreg(b: Builder, i: InstructionLift): void {
  writeSelector(b, i, b.read(i.operands[1]!));
}

/** A 16-bit value to a register, zero-extended to the operand size, or to a word of memory. */
function writeSelector(b: Builder, i: InstructionLift, value: Value): void {
  b.write(i.operands[0]!, value);
}

function pushSreg(b: Builder, i: InstructionLift): void {
  push(b, i, i.operandBytes, b.read(i.operands[0]!));
}

function popSreg(b: Builder, i: InstructionLift): void {
  const { value, release } = top(b, i, i.operandBytes);
  const old = b.gpr(RSP, 8);
  // RSP moves by the stack's size as it was, which a load of SS may change, and only if that load succeeds.
  release();
  const raised = b.gpr(RSP, 8);
  b.setGpr(RSP, 8, old);
  b.call('loadSegment', segmentNumber(b, i.operands[0]!), b.wrap(b.truncate(value, 2)));
  b.setGpr(RSP, 8, raised);
  b.leaveNext();
}

const loadFarPointer =
  (segment: number): Lift =>
  (b, i) => {
    const { selector, offset } = farPointer(b, i, i.operands[1]!);
    // Bit 3: a load of SS that holds no trap back.
    b.call('loadSegment', b.i32(segment | 8), selector);
    b.write(i.operands[0]!, offset);
    b.leaveNext();
  };

const loadTable =
  (table: number): Lift =>
  (b, i) => {
    b.call('checkPrivileged');
    const address = b.address(i.operands[0]!, false, i.long ? 10 : 6);
    const limit = b.wrap(b.load(address, 2));
    const base = b.load(b.add(address, b.i64(2)), i.long ? 8 : 4);
    const kept = !i.long && i.operandBytes === 2 ? b.and(base, b.i64(0xffffff)) : base;
    b.call('loadDescriptorTable', b.i32(table), limit, kept);
  };

const storeTable =
  (base: StateField, limit: StateField): Lift =>
  (b, i) => {
    b.call('checkUmip');
    const address = b.address(i.operands[0]!, true, i.long ? 10 : 6);
    b.store(address, 2, b.extend(b.getField(limit)));
    b.store(b.add(address, b.i64(2)), i.long ? 8 : 4, b.getField(base));
  };

const storeSelector =
  (segment: number): Lift =>
  (b, i) => {
    b.call('checkUmip');
    const offset = segmentOffset(segment) + SEGMENT_FIELDS.selector;
    writeSelector(b, i, b.getRegister({ kind: 'fixed', offset }, 2));
  };

function smsw(b: Builder, i: InstructionLift): void {
  b.call('checkUmip');
  const operand = i.operands[0]!;
  b.write(operand, b.truncate(b.getField('cr0'), sizeOf(operand)));
}

/** LAR, LSL: the value when the selector may be inspected; ZF says so. */
const inspect =
  (kind: number): Lift =>
  (b, i) => {
    const selector = b.wrap(b.truncate(b.read(i.operands.at(-1)!), 2));
    const answer = b.call('inspectSelector', b.i32(kind), selector);
    const refused = b.eq(answer, b.i64(-1n));
    if (kind < 2) {
      b.if(b.op('i32.eqz', refused), () => {
        b.write(i.operands[0]!, b.truncate(answer, sizeOf(i.operands[0]!)));
      });
    }
    setZero(b, b.extend(refused));
  };

/** Writes only where it raises the requested privilege level. */
function arpl(b: Builder, i: InstructionLift): void {
  const requested = b.and(b.read(i.operands[1]!), b.i64(3));
  const selector = b.read(i.operands[0]!);
  const lower = b.ltU(b.and(selector, b.i64(3)), requested);
  b.if(lower, () => b.write(i.operands[0]!, b.or(b.and(selector, b.i64(0xfffc)), requested)));
  setZero(b, b.extend(b.op('i32.eqz', lower)));
}

function movToControl(b: Builder, i: InstructionLift): void {
  b.call('writeControl', b.index(i.operands[0]!), b.read(i.operands[1]!));
  b.leaveNext();
}

function movToDebug(b: Builder, i: InstructionLift): void {
  b.call('writeDebug', b.index(i.operands[0]!), b.read(i.operands[1]!));
  b.leaveNext();
}

function movFrom(name: 'readControl' | 'readDebug'): Lift {
  return (b, i) => {
    const value = b.call(name, b.index(i.operands[1]!));
    b.write(i.operands[0]!, b.truncate(value, sizeOf(i.operands[0]!)));
  };
}

function writeTsc(b: Builder, ticks: Value): void {
  const value = b.op('i64.trunc_sat_f64_u', ticks);
  b.setGpr(RAX, 4, b.truncate(value, 4));
  b.setGpr(RDX, 4, b.shrU(value, b.i64(32)));
}

function random(b: Builder, i: InstructionLift): void {
  const operand = i.operands[0]!;
  b.write(operand, b.truncate(b.call('rdrand'), sizeOf(operand)));
  b.setField('flagZ', b.i64(1));
  b.setField('flagN', b.i64(1));
  b.setField('flagA', b.i32(0));
  setCarryOverflow(b, b.i64(1n << 63n), b.i64(0));
}

const baseAccess =
  (base: 'fsBase' | 'gsBase', write: boolean): Lift =>
  (b, i) => {
    const operand = i.operands[0]!;
    b.call('checkFsgsbase');
    if (!write) {
      b.write(operand, b.truncate(b.getField(base), sizeOf(operand)));
      return;
    }
    const value = b.read(operand);
    if (sizeOf(operand) === 8) {
      const sign = b.shrS(b.shl(value, b.i64(16)), b.i64(16));
      b.if(b.ne(sign, value), () => b.raise(13, 0));
    }
    b.setField(base, value);
  };

const setDirection =
  (set: boolean): Lift =>
  (b) => {
    const old = b.getField('systemFlags');
    b.setField('systemFlags', set ? b.op('i32.or', old, b.i32(DIRECTION)) : b.op('i32.and', old, b.i32(~DIRECTION)));
  };

/** SYSCALL is 64-bit code's only. */
function syscall(b: Builder): void {
  b.call('syscall');
  goToRip(b);
}

function sysenter(b: Builder): void {
  b.call('sysenter');
  b.leave();
}

const systemReturn =
  (name: 'sysret' | 'sysexit'): Lift =>
  (b, i) => {
    b.call(name, b.i32(i.operandBytes));
    if (name === 'sysret') goToRip(b);
    else b.leave();
  };

/** FXSAVE and its kin take the address and whether REX.W asks for the 64-bit layout of pointers. */
const saveState =
  (name: 'fxsave' | 'fxrstor' | 'xrstor', alignment: number): Lift =>
  (b, i) => {
    const address = alignedAddress(b, i, name === 'fxsave', alignment);
    b.call(name, address, b.i32(i.operandBytes === 8 ? 1 : 0));
  };

function alignedAddress(b: Builder, i: InstructionLift, write: boolean, alignment: number): Value {
  const address = b.address(i.operands[0]!, write, ALIGNED_16);
  b.if(b.wrap(b.and(address, b.i64(alignment - 1))), () => b.raise(13, 0));
  return address;
}

const xsave =
  (optimised: number): Lift =>
  (b, i) => {
    b.call('xsave', alignedAddress(b, i, true, 64), b.i32(i.operandBytes === 8 ? 1 : 0), b.i32(optimised));
  };

/** CLAC, STAC: the supervisor's TLBs without and with AC lie behind each other (TLB_CLASS). */
function setAc(b: Builder, value: number): void {
  b.if(
    b.getField('cpl'),
    () => void b.call('checkPrivilegedOpcode'),
    () => {
      const old = b.getField('systemFlags');
      const next = value === 0 ? b.op('i32.and', old, b.i32(~EFLAGS.AC)) : b.op('i32.or', old, b.i32(EFLAGS.AC));
      const change = b.op('i32.sub', next, old);
      b.setField('systemFlags', next);
      b.setField('tlb', b.op('i32.add', b.getField('tlb'), b.op('i32.shr_s', change, b.i32(AC_BIT - TLB_BYTES_LOG2))));
    },
  );
}

/** `usual` at CPL 0, where it is allowed in every mode. */
function privileged(b: Builder, name: 'cli' | 'swapgs', usual: () => void): void {
  b.if(b.getField('cpl'), () => void b.call(name), usual);
}

function cli(b: Builder): void {
  privileged(b, 'cli', () => {
    b.setField('systemFlags', b.op('i32.and', b.getField('systemFlags'), b.i32(~EFLAGS.IF)));
  });
}

function sti(b: Builder): void {
  b.if(
    b.op('i32.or', b.getField('cpl'), b.getField('interruptWaiting')),
    () => {
      b.call('sti');
      b.if(b.getField('interruptWaiting'), () => b.leaveNext());
    },
    () => b.setField('systemFlags', b.op('i32.or', b.getField('systemFlags'), b.i32(EFLAGS.IF))),
  );
}

function swapgs(b: Builder): void {
  privileged(b, 'swapgs', () => {
    const old = b.getField('gsBase');
    b.setField('gsBase', b.getField('kernelGsBase'));
    b.setField('kernelGsBase', old);
  });
}

/** SSE instructions raise what CR0 and CR4 ask for before anything else. */
export function checkSse(b: Builder): void {
  if (b.sseChecked) return;
  b.sseChecked = b.lazyFlags;
  const trap = b.getField('sseTrap');
  b.if(trap, () => b.call('raise', b.op('i32.sub', trap, b.i32(1)), b.i32(-1)));
}

export const systemLifts: Lifts = {
  'mov-to-sreg': movToSreg,
  'mov-from-sreg': movFromSreg,
  'push-sreg': pushSreg,
  'pop-sreg': popSreg,
  les: loadFarPointer(0),
  lss: loadFarPointer(2),
  lds: loadFarPointer(3),
  lfs: loadFarPointer(4),
  lgs: loadFarPointer(5),
  lgdt: loadTable(0),
  lidt: loadTable(1),
  sgdt: storeTable('gdtrBase', 'gdtrLimit'),
  sidt: storeTable('idtrBase', 'idtrLimit'),
  sldt: storeSelector(LDTR),
  str: storeSelector(TR),
  smsw,
  lldt: (b, i) => {
    b.call('checkPrivileged');
    b.call('lldt', readSelector(b, i));
  },
  ltr: (b, i) => {
    b.call('checkPrivileged');
    b.call('ltr', readSelector(b, i));
  },
  lmsw: (b, i) => {
    b.call('checkPrivileged');
    b.call('lmsw', readSelector(b, i));
    b.leaveNext();
  },
  lar: inspect(0),
  lsl: inspect(1),
  verr: inspect(2),
  verw: inspect(3),
  arpl,
  'mov-from-cr': movFrom('readControl'),
  'mov-from-dr': movFrom('readDebug'),
  'mov-to-cr': movToControl,
  'mov-to-dr': movToDebug,
  clts: (b) => {
    b.call('clts');
    b.leaveNext();
  },
  hlt: (b) => {
    b.call('hlt');
    b.leaveNext();
  },
  invlpg: (b, i) => {
    b.if(b.getField('cpl'), () => void b.call('checkPrivileged'));
    const epoch = b.getField('codeEpoch');
    b.call('invlpg', b.address(i.operands[0]!, false, 1));
    // What follows may be elsewhere now.
    b.if(b.op('i32.ne', epoch, b.getField('codeEpoch')), () => b.leaveNext());
  },
  invpcid: (b, i) => {
    b.call('checkPrivileged');
    b.call('invpcid', b.read(i.operands[0]!), b.address(i.operands[1]!, false, 16));
    b.leaveNext();
  },
  invd: (b) => void b.call('checkPrivileged'),
  wbinvd: (b) => void b.call('checkPrivileged'),
  clac: (b) => setAc(b, 0),
  stac: (b) => setAc(b, 1),
  rdmsr: (b) => void b.call('rdmsr'),
  wrmsr: (b) => {
    b.call('wrmsr');
    b.leaveNext();
  },
  rdpmc: (b) => void b.call('rdpmc'),
  cpuid: (b) => void b.call('cpuid'),
  rdtsc: (b) => writeTsc(b, b.call('readTsc')),
  rdtscp: (b) => {
    writeTsc(b, b.call('readTscp'));
    b.setGpr(RCX, 4, b.truncate(b.getField('tscAux'), 4));
  },
  rdrand: random,
  rdseed: random,
  syscall,
  sysenter,
  sysret: systemReturn('sysret'),
  sysexit: systemReturn('sysexit'),
  swapgs,
  rdfsbase: baseAccess('fsBase', false),
  rdgsbase: baseAccess('gsBase', false),
  wrfsbase: baseAccess('fsBase', true),
  wrgsbase: baseAccess('gsBase', true),
  fxsave: saveState('fxsave', 16),
  fxrstor: saveState('fxrstor', 16),
  xsave: xsave(0),
  xsaveopt: xsave(1),
  xrstor: saveState('xrstor', 64),
  xgetbv: (b) => void b.call('xgetbv'),
  xsetbv: (b) => {
    b.call('xsetbv');
    b.leaveNext();
  },
  ldmxcsr: (b, i) => {
    checkSse(b);
    b.call('ldmxcsr', b.wrap(b.read(i.operands[0]!)));
  },
  stmxcsr: (b, i) => {
    checkSse(b);
    b.write(i.operands[0]!, b.extend(b.getField('mxcsr')));
  },
  emms: (b) => {
    b.call('checkX87');
    b.call('x87Wait');
    b.call('emms');
  },
  clflush: (b, i) => void b.load(b.address(i.operands[0]!, false, 1), 1),
  lfence: () => {},
  mfence: () => {},
  sfence: () => {},
  cmc: (b) => setCarry(b, b.xor(carryFlag(b), b.i64(1))),
  clc: (b) => setCarry(b, b.i64(0)),
  stc: (b) => setCarry(b, b.i64(1)),
  cld: setDirection(false),
  std: setDirection(true),
  cli,
  sti,
};

function readSelector(b: Builder, i: InstructionLift): Value {
  return b.wrap(b.truncate(b.read(i.operands[0]!), 2));
}
