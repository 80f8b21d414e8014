// The x87 FPU's instructions over a state block in memory (Intel SDM volume 1, chapter 8; volume 2, F…). Arithmetic is
// src/base/softfloat's; here are the register stack, the status word, exceptions and the memory images.
// #NM, CR0 and the fetching and storing of operands are the engine's.

import { FloatContext } from '../../base/softfloat/context.ts';
import * as f80 from '../../base/softfloat/f80.ts';
import * as transcendental from '../../base/softfloat/transcendental.ts';
import { X87_OPERAND, X87_OPERATION } from '../../ir/x87-operations.ts';

/**
 * The state block, 256 bytes: physical registers R0 … R7 (not ST(i)) 16 bytes apart, significand u64 at 0 (which is
 * also the MMX register), sign and exponent u16 at 8; then the control registers.
 */
export const X87_LAYOUT = {
  REGISTER_STRIDE: 16,
  SIGN_EXPONENT: 8,
  /** u16. */
  FCW: 128,
  /** u16; TOP in bits 13:11. */
  FSW: 130,
  /** u8; bit i is set when Ri is not empty (the FXSAVE form). */
  FTW: 132,
  /** u16, 11 bits. */
  FOP: 134,
  /** u64. */
  FIP: 136,
  FDP: 144,
  /** u16: selectors. */
  FCS: 152,
  FDS: 154,
  SIZE_BYTES: 256,
} as const;

export { X87_OPERAND, X87_OPERATION };

const STORE_SIZE_BYTES: Record<number, number> = {
  [X87_OPERAND.F32]: 4,
  [X87_OPERAND.F64]: 8,
  [X87_OPERAND.F80]: 10,
  [X87_OPERAND.I16]: 2,
  [X87_OPERAND.I32]: 4,
  [X87_OPERAND.I64]: 8,
  [X87_OPERAND.BCD]: 10,
};

export const X87_OUTCOME = {
  DONE: 0,
  /** An unmasked exception is pending: nothing was done, the engine raises #MF. */
  PENDING: 1,
  /** prepareStore only: an unmasked exception forbids the store; commitStore() all the same, to record it. */
  NOTHING_TO_STORE: 2,
} as const;

/** The four forms of FNSTENV's and FNSAVE's image (SDM 1, figures 8-9 to 8-12); 64-bit mode uses the protected ones. */
export interface EnvironmentFormat {
  /** The operand size: 28 bytes of environment or 14. */
  operandBytes: 2 | 4;
  /** Real-address or virtual-8086 mode: addresses are linear, and the opcode is stored. */
  realMode: boolean;
}

export const environmentSizeBytes = (format: EnvironmentFormat): number => (format.operandBytes === 4 ? 28 : 14);
/** FNSAVE's and FRSTOR's image: the environment and the eight registers. */
export const stateSizeBytes = (format: EnvironmentFormat): number => environmentSizeBytes(format) + 80;

const O = X87_OPERATION;
const IE = 0x01;
const DE_AND_ZE = 0x06;
const BEFORE_RESULT = IE | DE_AND_ZE;
const OE_AND_UE = 0x18;
const SF = 0x40;
const C0 = 0x100;
const C1 = 0x200;
const C2 = 0x400;
const C3 = 0x4000;
const CONDITIONS = C0 | C2 | C3;
const SUMMARY = 0x80;
const BUSY = 0x8000;
/** By f80.COMPARED. */
const COMPARED_CONDITIONS = [0, C0, C3, CONDITIONS];
const COMPARED_EFLAGS = [0, 0x01, 0x40, 0x45];
/** Bits of the control word that exist; bit 6 always reads as 1. */
const CONTROL_WORD_BITS = 0x1f3f;
const CONTROL_WORD_ALWAYS = 0x40;

export class X87 {
  /** ZF, PF and CF after FCOMI and its kin, as EFLAGS bits; OF, SF and AF become 0. */
  eflags = 0;
  /** What prepareStore() wants stored: the low 64 bits, the 16 above them, and the size (0: nothing). */
  storeLow = 0n;
  storeHigh = 0;
  storeSizeBytes = 0;

  private readonly view: DataView;
  private readonly base: number;
  private readonly context = new FloatContext();
  /** The status word and tags while an instruction runs; finish() writes them back. */
  private statusWord = 0;
  private tags = 0;
  private committing = false;
  private readonly exponent = { signExponent: 0, significand: 0n };
  private readonly angle: transcendental.AngleReport = { outOfRange: false };
  private readonly remainder: f80.RemainderReport = { quotient: 0, incomplete: false };

  /** The block's 256 bytes lie at `byteOffset` of `view`; their contents are taken as they are: see reset(). */
  constructor(view: DataView, byteOffset: number) {
    this.view = view;
    this.base = byteOffset;
  }

  /** The state of FNINIT, with all registers +0.0 and empty: what RESET leaves but for FCW (0x40 there). */
  reset(): void {
    for (let i = 0; i < 8; i++) this.setPhysical(i, 0, 0n);
    this.initialize();
  }

  get controlWord(): number {
    return this.view.getUint16(this.base + X87_LAYOUT.FCW, true);
  }

  get fullStatusWord(): number {
    return this.view.getUint16(this.base + X87_LAYOUT.FSW, true);
  }

  /** True when the next waiting x87 or MMX instruction must raise #MF. */
  checkPending(): boolean {
    return (this.view.getUint16(this.base + X87_LAYOUT.FSW, true) & SUMMARY) !== 0;
  }

  /** Records the last non-control instruction: FOP is the low 3 bits of the first opcode byte, and ModR/M. */
  recordPointers(opcode: number, selector: number, instruction: bigint, dataSelector: number, data: bigint): void {
    const { view, base } = this;
    view.setUint16(base + X87_LAYOUT.FOP, opcode & 0x7ff, true);
    view.setBigUint64(base + X87_LAYOUT.FIP, instruction, true);
    view.setBigUint64(base + X87_LAYOUT.FDP, data, true);
    view.setUint16(base + X87_LAYOUT.FCS, selector, true);
    view.setUint16(base + X87_LAYOUT.FDS, dataSelector, true);
  }

  /**
   * As recordPointers for an instruction at `high`:`low`, without the operand's offset, which lifted code has stored.
   */
  noteInstruction(opcode: number, selector: number, low: number, high: number, dataSelector: number): void {
    const { view, base } = this;
    view.setUint16(base + X87_LAYOUT.FOP, opcode, true);
    view.setUint32(base + X87_LAYOUT.FIP, low, true);
    view.setUint32(base + X87_LAYOUT.FIP + 4, high, true);
    view.setUint16(base + X87_LAYOUT.FCS, selector, true);
    if (dataSelector >= 0) view.setUint16(base + X87_LAYOUT.FDS, dataSelector, true);
  }

  /** What an MMX instruction does: TOP = 0, all valid, and in `written` (0 … 7, or -1) sign and exponent all ones. */
  enterMmx(written: number): void {
    const { view, base } = this;
    view.setUint16(base + X87_LAYOUT.FSW, view.getUint16(base + X87_LAYOUT.FSW, true) & ~0x3800, true);
    view.setUint8(base + X87_LAYOUT.FTW, 0xff);
    if (written >= 0) {
      view.setUint16(base + written * X87_LAYOUT.REGISTER_STRIDE + X87_LAYOUT.SIGN_EXPONENT, 0xffff, true);
    }
  }

  /** EMMS: as any MMX instruction, but all registers become empty. */
  emms(): void {
    this.enterMmx(-1);
    this.view.setUint8(this.base + X87_LAYOUT.FTW, 0);
  }

  /**
   * Runs any instruction that stores nothing to memory (for FNSTSW AX read `fullStatusWord`). `operation` is a value of
   * X87_OPERATION, `operand` a register number or a value of X87_OPERAND (of no account where the mnemonic takes no
   * operand), `low` and `high` the memory operand's bits 63:0 and 79:64; FCMOVcc is `fcmov` with the condition in
   * `low`. Returns a value of X87_OUTCOME: DONE or PENDING.
   */
  execute(operation: number, operand: number, low: bigint, high: number): number {
    if (operation === O.fninit) {
      this.initialize();
      return X87_OUTCOME.DONE;
    }
    if (operation === O.fnclex) {
      const status = this.view.getUint16(this.base + X87_LAYOUT.FSW, true);
      this.view.setUint16(this.base + X87_LAYOUT.FSW, status & 0x7f00, true);
      return X87_OUTCOME.DONE;
    }
    if (operation === O.fneni) return X87_OUTCOME.DONE;
    if (!this.begin()) return X87_OUTCOME.PENDING;
    if (operation < 16) {
      this.arithmetic(operation, operand, low);
      this.finish();
      return X87_OUTCOME.DONE;
    }
    switch (operation) {
      case O.fld:
        this.load(operand, low, high);
        break;
      case O.fst:
      case O.fstp:
      case O.fstpnce:
        this.storeToRegister(operation, operand & 7);
        break;
      case O.fucom:
      case O.fucomp:
      case O.fucompp:
        this.compareRegisters(operation === O.fucompp ? 1 : operand & 7, false, operation - O.fucom);
        break;
      case O.fcomi:
      case O.fcomip:
        this.compareToEflags(operand & 7, true, operation === O.fcomip);
        break;
      case O.fucomi:
      case O.fucomip:
        this.compareToEflags(operand & 7, false, operation === O.fucomip);
        break;
      case O.fxch:
        this.exchange(operand & 7);
        break;
      case O.fcmov:
        this.conditionalMove(operand & 7, low !== 0n);
        break;
      case O.ffree:
      case O.ffreep:
        this.free(operand & 7, operation === O.ffreep);
        break;
      case O.fnop:
      case O.fwait:
        return X87_OUTCOME.DONE;
      case O.fldcw:
        this.loadControlWord(Number(low & 0xffffn));
        return X87_OUTCOME.DONE;
      case O.fchs:
      case O.fabs:
        this.changeSign(operation === O.fabs);
        break;
      case O.ftst:
        this.test();
        break;
      case O.fxam:
        this.examine();
        break;
      case O.fdecstp:
        this.rotate(-1);
        break;
      case O.fincstp:
        this.rotate(1);
        break;
      case O.fptan:
      case O.fsincos:
        this.tangentOrSineAndCosine(operation === O.fptan);
        break;
      case O.fxtract:
        this.extract();
        break;
      case O.f2xm1:
      case O.fsqrt:
      case O.frndint:
      case O.fsin:
      case O.fcos:
        this.unary(operation);
        break;
      case O.fyl2x:
      case O.fyl2xp1:
      case O.fpatan:
        this.binaryPopping(operation);
        break;
      case O.fprem:
      case O.fprem1:
      case O.fscale:
        this.binaryKeeping(operation);
        break;
      default:
        if (operation < O.fld1 || operation > O.fldz) throw new RangeError(`no x87 operation ${operation}`);
        if (this.makesRoom()) this.push(f80.f80Constant(this.context, operation - O.fld1), this.context.significand);
        break;
    }
    this.finish();
    return X87_OUTCOME.DONE;
  }

  /**
   * First half of FST, FSTP, FIST, FISTP, FISTTP, FBSTP, FNSTCW and FNSTSW to memory: leaves the value in `storeLow`,
   * `storeHigh` and `storeSizeBytes` and changes no state. Once the value is stored, commitStore() makes the
   * instruction's effects happen; without it, nothing has happened. Returns any value of X87_OUTCOME.
   */
  prepareStore(operation: number, operand: number): number {
    const { context } = this;
    this.storeHigh = 0;
    this.storeSizeBytes = 2;
    if (operation === O.fnstcw || operation === O.fnstsw) {
      this.committing = false;
      this.storeLow = BigInt(operation === O.fnstcw ? this.controlWord : this.fullStatusWord);
      return X87_OUTCOME.DONE;
    }
    if (!this.begin()) return X87_OUTCOME.PENDING;
    this.committing = true;
    const pops = operation !== O.fst && operation !== O.fist;
    if (this.isEmpty(0)) {
      this.stackFault(false);
      this.storeIndefinite(operand);
    } else {
      this.convertForStore(operation === O.fisttp, operand);
    }
    if ((context.flags & ~context.masks & (IE | OE_AND_UE)) !== 0) {
      this.storeSizeBytes = 0;
      return X87_OUTCOME.NOTHING_TO_STORE;
    }
    this.storeSizeBytes = STORE_SIZE_BYTES[operand]!;
    if (pops) this.pop();
    return X87_OUTCOME.DONE;
  }

  /** Second half of a store. */
  commitStore(): void {
    if (this.committing) this.finish();
    this.committing = false;
  }

  private convertForStore(truncate: boolean, operand: number): void {
    const { context } = this;
    const signExponent = this.signExponent(0);
    const significand = this.significand(0);
    switch (operand) {
      case X87_OPERAND.F32:
        this.storeLow = BigInt(f80.f80ToF32(context, signExponent, significand));
        break;
      case X87_OPERAND.F64:
        this.storeLow = f80.f80ToF64(context, signExponent, significand);
        break;
      case X87_OPERAND.F80:
        this.storeLow = significand;
        this.storeHigh = signExponent;
        break;
      case X87_OPERAND.BCD: {
        const digits = f80.f80ToBcd(context, signExponent, significand);
        this.storeLow = BigInt.asUintN(64, digits);
        this.storeHigh = Number(digits >> 64n);
        break;
      }
      default:
        this.storeLow = f80.f80ToInteger(context, signExponent, significand, STORE_SIZE_BYTES[operand]! * 8, truncate);
    }
  }

  private storeIndefinite(operand: number): void {
    switch (operand) {
      case X87_OPERAND.F32:
        this.storeLow = 0xffc00000n;
        break;
      case X87_OPERAND.F64:
        this.storeLow = 0xfff8000000000000n;
        break;
      case X87_OPERAND.F80:
      case X87_OPERAND.BCD:
        this.storeLow = f80.INDEFINITE_SIGNIFICAND;
        this.storeHigh = f80.INDEFINITE_SIGN_EXPONENT;
        break;
      default:
        this.storeLow = 1n << BigInt(STORE_SIZE_BYTES[operand]! * 8 - 1);
    }
  }

  // The stack.

  private offsetOf(index: number): number {
    return this.base + (((this.statusWord >> 11) + index) & 7) * X87_LAYOUT.REGISTER_STRIDE;
  }

  private isEmpty(index: number): boolean {
    return ((this.tags >> (((this.statusWord >> 11) + index) & 7)) & 1) === 0;
  }

  private signExponent(index: number): number {
    return this.view.getUint16(this.offsetOf(index) + X87_LAYOUT.SIGN_EXPONENT, true);
  }

  private significand(index: number): bigint {
    return this.view.getBigUint64(this.offsetOf(index), true);
  }

  private setPhysical(index: number, signExponent: number, significand: bigint): void {
    const at = this.base + index * X87_LAYOUT.REGISTER_STRIDE;
    this.view.setBigUint64(at, significand, true);
    this.view.setUint16(at + X87_LAYOUT.SIGN_EXPONENT, signExponent, true);
  }

  /** Writes ST(index) and marks it valid. */
  private set(index: number, signExponent: number, significand: bigint): void {
    const physical = ((this.statusWord >> 11) + index) & 7;
    this.setPhysical(physical, signExponent, significand);
    this.tags |= 1 << physical;
  }

  private setTop(top: number): void {
    this.statusWord = (this.statusWord & ~0x3800) | ((top & 7) << 11);
  }

  private pop(): void {
    const top = (this.statusWord >> 11) & 7;
    this.tags &= ~(1 << top);
    this.setTop(top + 1);
  }

  private push(signExponent: number, significand: bigint): void {
    this.setTop((this.statusWord >> 11) - 1);
    this.set(0, signExponent, significand);
  }

  private setIndefinite(index: number): void {
    this.set(index, f80.INDEFINITE_SIGN_EXPONENT, f80.INDEFINITE_SIGNIFICAND);
  }

  /** Raises IE with SF; C1 tells overflow from underflow. True where IE is masked: the indefinite is the result. */
  private stackFault(overflow: boolean): boolean {
    this.context.flags |= IE;
    this.context.roundedUp = overflow;
    this.statusWord |= SF;
    return (this.context.masks & IE) !== 0;
  }

  /** False after a stack overflow, which it has dealt with. */
  private makesRoom(): boolean {
    if (this.isEmpty(7)) return true;
    if (this.stackFault(true)) {
      this.push(f80.INDEFINITE_SIGN_EXPONENT, f80.INDEFINITE_SIGNIFICAND);
    }
    return false;
  }

  /** True when an unmasked exception among `which` leaves the destination as it was. */
  private suppressed(which: number): boolean {
    return (this.context.flags & ~this.context.masks & which) !== 0;
  }

  /** Takes the state out of memory; false when an exception is pending. */
  private begin(): boolean {
    const { view, base } = this;
    const statusWord = view.getUint16(base + X87_LAYOUT.FSW, true);
    if ((statusWord & SUMMARY) !== 0) return false;
    this.statusWord = statusWord;
    this.tags = view.getUint8(base + X87_LAYOUT.FTW);
    this.context.setControlWord(view.getUint16(base + X87_LAYOUT.FCW, true));
    return true;
  }

  /** Puts the state back, with the exceptions raised and C1. */
  private finish(): void {
    const { view, base, context } = this;
    let statusWord = (this.statusWord & ~(C1 | SUMMARY | BUSY)) | context.flags;
    if (context.roundedUp) statusWord |= C1;
    if ((statusWord & ~context.masks & 0x3f) !== 0) statusWord |= SUMMARY | BUSY;
    view.setUint16(base + X87_LAYOUT.FSW, statusWord, true);
    view.setUint8(base + X87_LAYOUT.FTW, this.tags);
  }

  private setConditions(conditions: number): void {
    this.statusWord = (this.statusWord & ~CONDITIONS) | conditions;
  }

  // The instructions.

  private initialize(): void {
    const { view, base } = this;
    view.setUint16(base + X87_LAYOUT.FCW, 0x37f, true);
    view.setUint16(base + X87_LAYOUT.FSW, 0, true);
    view.setUint8(base + X87_LAYOUT.FTW, 0);
    view.setUint16(base + X87_LAYOUT.FOP, 0, true);
    view.setBigUint64(base + X87_LAYOUT.FIP, 0n, true);
    view.setBigUint64(base + X87_LAYOUT.FDP, 0n, true);
    view.setUint16(base + X87_LAYOUT.FCS, 0, true);
    view.setUint16(base + X87_LAYOUT.FDS, 0, true);
  }

  /** A new control word; exceptions that it unmasks become pending, others cease to be. */
  private loadControlWord(value: number): void {
    const { view, base } = this;
    const controlWord = (value & CONTROL_WORD_BITS) | CONTROL_WORD_ALWAYS;
    let statusWord = view.getUint16(base + X87_LAYOUT.FSW, true) & ~(SUMMARY | BUSY);
    if ((statusWord & ~controlWord & 0x3f) !== 0) statusWord |= SUMMARY | BUSY;
    view.setUint16(base + X87_LAYOUT.FCW, controlWord, true);
    view.setUint16(base + X87_LAYOUT.FSW, statusWord, true);
  }

  /** Operations 0 to 15: bits 2:0 say what, bit 3 that it pops. */
  private arithmetic(operation: number, operand: number, low: bigint): void {
    const kind = operation & 7;
    const toRegister = operand >= X87_OPERAND.TO_REGISTER && operand < X87_OPERAND.F32;
    const destination = toRegister ? operand & 7 : 0;
    const source = toRegister ? 0 : operand;
    if (kind === 2 || kind === 3) {
      if (operation === O.fcompp) this.compareRegisters(1, true, 2);
      else this.compareArithmetic(operand, low, kind - 2);
      return;
    }
    const pops = (operation & 8) !== 0;
    if (this.isEmpty(destination) || (source < 8 && this.isEmpty(source))) {
      if (this.stackFault(false)) {
        this.setIndefinite(destination);
        if (pops) this.pop();
      }
      return;
    }
    f80.loadA(this.view, this.offsetOf(destination));
    this.setSource(source, low);
    const { context } = this;
    let result: number;
    switch (kind) {
      case 0:
        result = f80.addOperands(context);
        break;
      case 1:
        result = f80.multiplyOperands(context);
        break;
      case 4:
        result = f80.subtractOperands(context);
        break;
      case 5:
        f80.swapOperands();
        result = f80.subtractOperands(context);
        break;
      case 6:
        result = f80.divideOperands(context);
        break;
      default:
        f80.swapOperands();
        result = f80.divideOperands(context);
        break;
    }
    if (this.suppressed(BEFORE_RESULT)) return;
    this.set(destination, result, context.significand);
    if (pops) this.pop();
  }

  private setSource(source: number, low: bigint): void {
    switch (source) {
      case X87_OPERAND.F32:
        f80.setBFromF32(Number(BigInt.asUintN(32, low)));
        break;
      case X87_OPERAND.F64:
        f80.setBFromF64(BigInt.asUintN(64, low));
        break;
      case X87_OPERAND.I16:
        f80.setBFromInteger(BigInt.asIntN(16, low));
        break;
      case X87_OPERAND.I32:
        f80.setBFromInteger(BigInt.asIntN(32, low));
        break;
      default:
        f80.loadB(this.view, this.offsetOf(source));
    }
  }

  private compareArithmetic(operand: number, low: bigint, pops: number): void {
    const source = operand < X87_OPERAND.F32 ? operand & 7 : operand;
    if (this.isEmpty(0) || (source < 8 && this.isEmpty(source))) {
      this.compareEmpty(pops);
      return;
    }
    f80.loadA(this.view, this.offsetOf(0));
    this.setSource(source, low);
    this.finishCompare(f80.compareOperands(this.context, true), pops);
  }

  private compareRegisters(index: number, signalling: boolean, pops: number): void {
    if (this.isEmpty(0) || this.isEmpty(index)) {
      this.compareEmpty(pops);
      return;
    }
    f80.loadA(this.view, this.offsetOf(0));
    f80.loadB(this.view, this.offsetOf(index));
    this.finishCompare(f80.compareOperands(this.context, signalling), pops);
  }

  private compareEmpty(pops: number): void {
    this.stackFault(false);
    this.finishCompare(f80.COMPARED.UNORDERED, pops);
  }

  private finishCompare(relation: number, pops: number): void {
    // An unmasked exception keeps the stack, but not the condition codes.
    this.setConditions(COMPARED_CONDITIONS[relation]!);
    if (this.suppressed(BEFORE_RESULT)) return;
    for (let i = 0; i < pops; i++) this.pop();
  }

  private compareToEflags(index: number, signalling: boolean, pops: boolean): void {
    const { context } = this;
    context.roundedUp = (this.statusWord & C1) !== 0;
    let relation: number = f80.COMPARED.UNORDERED;
    if (this.isEmpty(0) || this.isEmpty(index)) {
      this.stackFault(false);
    } else {
      f80.loadA(this.view, this.offsetOf(0));
      f80.loadB(this.view, this.offsetOf(index));
      relation = f80.compareOperands(context, signalling);
    }
    this.eflags = COMPARED_EFLAGS[relation]!;
    if (pops && !this.suppressed(BEFORE_RESULT)) this.pop();
  }

  private test(): void {
    if (this.isEmpty(0)) {
      this.compareEmpty(0);
      return;
    }
    f80.loadA(this.view, this.offsetOf(0));
    f80.setB(0, 0n);
    this.finishCompare(f80.compareOperands(this.context, true), 0);
  }

  private load(operand: number, low: bigint, high: number): void {
    const { context } = this;
    if (operand < 8) {
      this.loadRegister(operand);
      return;
    }
    if (!this.makesRoom()) return;
    let signExponent: number;
    switch (operand) {
      case X87_OPERAND.F32:
        signExponent = f80.f80FromF32(context, Number(BigInt.asUintN(32, low)));
        break;
      case X87_OPERAND.F64:
        signExponent = f80.f80FromF64(context, BigInt.asUintN(64, low));
        break;
      case X87_OPERAND.F80:
        signExponent = high & 0xffff;
        context.significand = BigInt.asUintN(64, low);
        break;
      case X87_OPERAND.I16:
        signExponent = f80.f80FromInteger(context, BigInt.asIntN(16, low));
        break;
      case X87_OPERAND.I32:
        signExponent = f80.f80FromInteger(context, BigInt.asIntN(32, low));
        break;
      case X87_OPERAND.I64:
        signExponent = f80.f80FromInteger(context, BigInt.asIntN(64, low));
        break;
      default:
        signExponent = f80.f80FromBcd(context, BigInt.asUintN(64, low) | (BigInt(high & 0xffff) << 64n));
        break;
    }
    // A denormal is loaded even where DE is unmasked.
    if (!this.suppressed(IE)) this.push(signExponent, context.significand);
  }

  private loadRegister(index: number): void {
    if (!this.isEmpty(index)) {
      const signExponent = this.signExponent(index);
      const significand = this.significand(index);
      if (this.makesRoom()) this.push(signExponent, significand);
    } else if (this.stackFault(false)) {
      this.push(f80.INDEFINITE_SIGN_EXPONENT, f80.INDEFINITE_SIGNIFICAND);
    }
  }

  private storeToRegister(operation: number, index: number): void {
    if (this.isEmpty(0)) {
      if (operation === O.fstpnce) {
        this.pop();
        return;
      }
      if (!this.stackFault(false)) return;
      this.setIndefinite(index);
    } else {
      this.set(index, this.signExponent(0), this.significand(0));
    }
    if (operation !== O.fst) this.pop();
  }

  private exchange(index: number): void {
    const empty0 = this.isEmpty(0);
    const emptyI = this.isEmpty(index);
    if (empty0 || emptyI) {
      if (!this.stackFault(false)) return;
      if (empty0) this.setIndefinite(0);
      if (emptyI) this.setIndefinite(index);
    }
    const signExponent = this.signExponent(0);
    const significand = this.significand(0);
    this.set(0, this.signExponent(index), this.significand(index));
    this.set(index, signExponent, significand);
  }

  private conditionalMove(index: number, moves: boolean): void {
    this.context.roundedUp = (this.statusWord & C1) !== 0;
    if (this.isEmpty(0) || this.isEmpty(index)) {
      if (this.stackFault(false)) this.setIndefinite(0);
      return;
    }
    if (moves) this.set(0, this.signExponent(index), this.significand(index));
  }

  private free(index: number, pops: boolean): void {
    this.tags &= ~(1 << (((this.statusWord >> 11) + index) & 7));
    if (pops) this.pop();
  }

  private rotate(distance: number): void {
    this.setTop((this.statusWord >> 11) + distance);
  }

  private changeSign(clears: boolean): void {
    if (this.isEmpty(0)) {
      if (this.stackFault(false)) this.setIndefinite(0);
      return;
    }
    const signExponent = this.signExponent(0);
    this.set(0, clears ? signExponent & 0x7fff : signExponent ^ 0x8000, this.significand(0));
  }

  private examine(): void {
    const signExponent = this.signExponent(0);
    const significand = this.significand(0);
    const exponent = signExponent & 0x7fff;
    this.context.roundedUp = (signExponent & 0x8000) !== 0;
    if (this.isEmpty(0)) this.setConditions(C3 | C0);
    else if (exponent === 0) this.setConditions(significand === 0n ? C3 : C3 | C2);
    else if (significand < 0x8000000000000000n) this.setConditions(0);
    else if (exponent !== 0x7fff) this.setConditions(C2);
    else this.setConditions(significand === 0x8000000000000000n ? C2 | C0 : C0);
  }

  private unary(operation: number): void {
    if (operation === O.fsin || operation === O.fcos) this.setC2(false);
    if (this.isEmpty(0)) {
      if (this.stackFault(false)) this.setIndefinite(0);
      return;
    }
    const { context } = this;
    const signExponent = this.signExponent(0);
    const significand = this.significand(0);
    let result: number;
    this.angle.outOfRange = false;
    switch (operation) {
      case O.f2xm1:
        result = transcendental.f80Exp2Minus1(context, signExponent, significand);
        break;
      case O.fsqrt:
        result = f80.f80Sqrt(context, signExponent, significand);
        break;
      case O.frndint:
        result = f80.f80RoundToIntegral(context, signExponent, significand);
        break;
      case O.fsin:
        result = transcendental.f80Sin(context, signExponent, significand, this.angle);
        break;
      default:
        result = transcendental.f80Cos(context, signExponent, significand, this.angle);
        break;
    }
    if (this.angle.outOfRange) this.setC2(true);
    if (this.angle.outOfRange || this.suppressed(BEFORE_RESULT)) return;
    this.set(0, result, context.significand);
  }

  private setC2(value: boolean): void {
    this.statusWord = value ? this.statusWord | C2 : this.statusWord & ~C2;
  }

  private tangentOrSineAndCosine(tangent: boolean): void {
    const { context } = this;
    this.setC2(false);
    if (this.isEmpty(0) || !this.isEmpty(7)) {
      if (this.stackFault(!this.isEmpty(0))) {
        this.setIndefinite(0);
        this.push(f80.INDEFINITE_SIGN_EXPONENT, f80.INDEFINITE_SIGNIFICAND);
      }
      return;
    }
    const signExponent = this.signExponent(0);
    const significand = this.significand(0);
    const compute = tangent ? transcendental.f80Tan : transcendental.f80Sin;
    const first = compute(context, signExponent, significand, this.angle);
    const firstSignificand = context.significand;
    if (this.angle.outOfRange) this.setC2(true);
    if (this.angle.outOfRange || this.suppressed(BEFORE_RESULT)) return;
    if (tangent) {
      this.set(0, first, firstSignificand);
      if ((first & 0x7fff) === 0x7fff && firstSignificand > 0x8000000000000000n) this.push(first, firstSignificand);
      else this.push(0x3fff, 0x8000000000000000n);
      return;
    }
    const flags = context.flags;
    const second = transcendental.f80Cos(context, signExponent, significand, this.angle);
    context.flags |= flags;
    this.set(0, first, firstSignificand);
    this.push(second, context.significand);
  }

  private extract(): void {
    const { context, exponent } = this;
    if (this.isEmpty(0) || !this.isEmpty(7)) {
      if (this.stackFault(!this.isEmpty(0))) {
        this.setIndefinite(0);
        this.push(f80.INDEFINITE_SIGN_EXPONENT, f80.INDEFINITE_SIGNIFICAND);
      }
      return;
    }
    const result = f80.f80Extract(context, this.signExponent(0), this.significand(0), exponent);
    if (this.suppressed(BEFORE_RESULT)) return;
    this.set(0, exponent.signExponent, exponent.significand);
    this.push(result, context.significand);
  }

  private binaryPopping(operation: number): void {
    if (this.isEmpty(0) || this.isEmpty(1)) {
      if (this.stackFault(false)) {
        this.setIndefinite(1);
        this.pop();
      }
      return;
    }
    const compute =
      operation === O.fyl2x
        ? transcendental.f80YLog2X
        : operation === O.fyl2xp1
          ? transcendental.f80YLog2XPlus1
          : transcendental.f80AtanYX;
    const { context } = this;
    const result = compute(
      context,
      this.signExponent(0),
      this.significand(0),
      this.signExponent(1),
      this.significand(1),
    );
    if (this.suppressed(BEFORE_RESULT)) return;
    this.set(1, result, context.significand);
    this.pop();
  }

  private binaryKeeping(operation: number): void {
    if (operation !== O.fscale) this.setC2(false);
    if (this.isEmpty(0) || this.isEmpty(1)) {
      if (this.stackFault(false)) this.setIndefinite(0);
      return;
    }
    const { context, remainder } = this;
    const signExponent = this.signExponent(0);
    const significand = this.significand(0);
    const otherSignExponent = this.signExponent(1);
    const other = this.significand(1);
    if (operation === O.fscale) {
      const result = f80.f80Scale(context, signExponent, significand, otherSignExponent, other);
      if (!this.suppressed(BEFORE_RESULT)) this.set(0, result, context.significand);
      return;
    }
    const nearest = operation === O.fprem1;
    const result = f80.f80Remainder(context, signExponent, significand, otherSignExponent, other, nearest, remainder);
    if (this.suppressed(BEFORE_RESULT)) return;
    this.set(0, result, context.significand);
    const { quotient, incomplete } = remainder;
    if (quotient < 0) return;
    this.setConditions(((quotient & 4) !== 0 ? C0 : 0) | ((quotient & 2) !== 0 ? C3 : 0) | (incomplete ? C2 : 0));
    context.roundedUp = (quotient & 1) !== 0;
  }

  // Images.

  /** The tag word of FNSTENV: two bits a physical register: valid 0, zero 1, special 2, empty 3. */
  get fullTagWord(): number {
    const { view, base } = this;
    const tags = view.getUint8(base + X87_LAYOUT.FTW);
    let word = 0;
    for (let i = 0; i < 8; i++) {
      const at = base + i * X87_LAYOUT.REGISTER_STRIDE;
      const exponent = view.getUint16(at + X87_LAYOUT.SIGN_EXPONENT, true) & 0x7fff;
      const significand = view.getBigUint64(at, true);
      let tag = 0;
      if (((tags >> i) & 1) === 0) tag = 3;
      else if (exponent === 0 && significand === 0n) tag = 1;
      else if (exponent === 0 || exponent === 0x7fff || significand < 0x8000000000000000n) tag = 2;
      word |= tag << (2 * i);
    }
    return word;
  }

  /** FNSTENV's image. Store it, then commitEnvironment(). */
  environmentImage(format: EnvironmentFormat): Uint8Array {
    const { view, base } = this;
    const image = new Uint8Array(environmentSizeBytes(format));
    const out = new DataView(image.buffer);
    const opcode = view.getUint16(base + X87_LAYOUT.FOP, true);
    let instruction = view.getUint32(base + X87_LAYOUT.FIP, true);
    let data = view.getUint32(base + X87_LAYOUT.FDP, true);
    const instructionSelector = view.getUint16(base + X87_LAYOUT.FCS, true);
    const dataSelector = view.getUint16(base + X87_LAYOUT.FDS, true);
    const words = [this.controlWord, this.fullStatusWord, this.fullTagWord];
    if (format.realMode) {
      // Linear addresses.
      instruction = (instruction + (instructionSelector << 4)) >>> 0;
      data = (data + (dataSelector << 4)) >>> 0;
    }
    if (format.operandBytes === 4) {
      words.forEach((word, index) => {
        out.setUint32(4 * index, word | 0xffff0000, true);
      });
      if (format.realMode) {
        out.setUint32(12, (instruction & 0xffff) | 0xffff0000, true);
        out.setUint32(16, ((instruction >>> 16) << 12) | opcode, true);
        out.setUint32(20, (data & 0xffff) | 0xffff0000, true);
        out.setUint32(24, (data >>> 16) << 12, true);
      } else {
        out.setUint32(12, instruction, true);
        out.setUint32(16, instructionSelector | (opcode << 16), true);
        out.setUint32(20, data, true);
        out.setUint32(24, dataSelector | 0xffff0000, true);
      }
      return image;
    }
    words.forEach((word, index) => {
      out.setUint16(2 * index, word, true);
    });
    out.setUint16(6, instruction, true);
    out.setUint16(8, format.realMode ? ((instruction >>> 4) & 0xf000) | opcode : instructionSelector, true);
    out.setUint16(10, data, true);
    out.setUint16(12, format.realMode ? (data >>> 4) & 0xf000 : dataSelector, true);
    return image;
  }

  /** What FNSTENV does once its image is stored: masks all exceptions. */
  commitEnvironment(): void {
    this.loadControlWord(this.controlWord | 0x3f);
  }

  /** FNSAVE's image: the environment, then ST(0) … ST(7), 10 bytes each. Store it, then commitState(). */
  stateImage(format: EnvironmentFormat): Uint8Array {
    const environment = this.environmentImage(format);
    const image = new Uint8Array(stateSizeBytes(format));
    image.set(environment);
    const out = new DataView(image.buffer);
    this.statusWord = this.fullStatusWord;
    for (let i = 0; i < 8; i++) {
      const at = environment.length + 10 * i;
      out.setBigUint64(at, this.significand(i), true);
      out.setUint16(at + 8, this.signExponent(i), true);
    }
    return image;
  }

  /** What FNSAVE does once its image is stored: FNINIT. */
  commitState(): void {
    this.initialize();
  }

  /** FLDENV. FLDENV and FRSTOR wait: see checkPending(). */
  loadEnvironment(image: Uint8Array, format: EnvironmentFormat): void {
    const { view, base } = this;
    const source = new DataView(image.buffer, image.byteOffset, image.byteLength);
    const wide = format.operandBytes === 4;
    const word = (index: number): number => source.getUint16((wide ? 4 : 2) * index, true);
    const tagWord = word(2);
    let tags = 0;
    for (let i = 0; i < 8; i++) if (((tagWord >> (2 * i)) & 3) !== 3) tags |= 1 << i;
    let opcode = 0;
    let instructionSelector = 0;
    let dataSelector = 0;
    let instruction: number;
    let data: number;
    if (format.realMode) {
      const high = wide ? source.getUint32(16, true) : word(4);
      const dataHigh = wide ? source.getUint32(24, true) : word(6);
      opcode = high & 0x7ff;
      // 16 more bits, of which the 16-bit form has 4.
      instruction = word(3) | (((high >>> 12) & 0xffff) << 16);
      data = word(5) | (((dataHigh >>> 12) & 0xffff) << 16);
    } else if (wide) {
      instruction = source.getUint32(12, true);
      data = source.getUint32(20, true);
      instructionSelector = word(4);
      dataSelector = word(6);
      opcode = source.getUint16(18, true) & 0x7ff;
    } else {
      instruction = word(3);
      instructionSelector = word(4);
      data = word(5);
      dataSelector = word(6);
    }
    this.recordPointers(opcode, instructionSelector, BigInt(instruction >>> 0), dataSelector, BigInt(data >>> 0));
    view.setUint16(base + X87_LAYOUT.FSW, word(1), true);
    view.setUint8(base + X87_LAYOUT.FTW, tags);
    this.loadControlWord(word(0));
  }

  /** FRSTOR. */
  loadState(image: Uint8Array, format: EnvironmentFormat): void {
    const header = environmentSizeBytes(format);
    this.loadEnvironment(image.subarray(0, header), format);
    const source = new DataView(image.buffer, image.byteOffset, image.byteLength);
    this.statusWord = this.fullStatusWord;
    for (let i = 0; i < 8; i++) {
      const physical = ((this.statusWord >> 11) + i) & 7;
      const at = header + 10 * i;
      this.setPhysical(physical, source.getUint16(at + 8, true), source.getBigUint64(at, true));
    }
  }

  /**
   * The x87 part of FXSAVE and XSAVE: bytes 0 to 23 and 32 to 159 of the image at `offset` (MXCSR and XMM are the
   * engine's). `wide` is REX.W: 64-bit pointers instead of 32 bits with selectors.
   */
  saveLegacyRegion(target: DataView, offset: number, wide: boolean): void {
    const { view, base } = this;
    this.statusWord = this.fullStatusWord;
    target.setUint16(offset, this.controlWord, true);
    target.setUint16(offset + 2, this.statusWord, true);
    target.setUint16(offset + 4, view.getUint8(base + X87_LAYOUT.FTW), true);
    target.setUint16(offset + 6, view.getUint16(base + X87_LAYOUT.FOP, true), true);
    const instruction = view.getBigUint64(base + X87_LAYOUT.FIP, true);
    const data = view.getBigUint64(base + X87_LAYOUT.FDP, true);
    if (wide) {
      target.setBigUint64(offset + 8, instruction, true);
      target.setBigUint64(offset + 16, data, true);
    } else {
      const instructionSelector = BigInt(view.getUint16(base + X87_LAYOUT.FCS, true));
      const dataSelector = BigInt(view.getUint16(base + X87_LAYOUT.FDS, true));
      target.setBigUint64(offset + 8, (instruction & 0xffffffffn) | (instructionSelector << 32n), true);
      target.setBigUint64(offset + 16, (data & 0xffffffffn) | (dataSelector << 32n), true);
    }
    for (let i = 0; i < 8; i++) {
      const at = offset + 32 + 16 * i;
      target.setBigUint64(at, this.significand(i), true);
      target.setBigUint64(at + 8, BigInt(this.signExponent(i)), true);
    }
  }

  /** The x87 part of FXRSTOR and XRSTOR; the counterpart of saveLegacyRegion(). */
  loadLegacyRegion(source: DataView, offset: number, wide: boolean): void {
    const { view, base } = this;
    const instruction = source.getBigUint64(offset + 8, true);
    const data = source.getBigUint64(offset + 16, true);
    this.recordPointers(
      source.getUint16(offset + 6, true),
      wide ? 0 : Number((instruction >> 32n) & 0xffffn),
      wide ? instruction : instruction & 0xffffffffn,
      wide ? 0 : Number((data >> 32n) & 0xffffn),
      wide ? data : data & 0xffffffffn,
    );
    this.statusWord = source.getUint16(offset + 2, true);
    view.setUint16(base + X87_LAYOUT.FSW, this.statusWord, true);
    view.setUint8(base + X87_LAYOUT.FTW, source.getUint8(offset + 4));
    this.loadControlWord(source.getUint16(offset, true));
    for (let i = 0; i < 8; i++) {
      const physical = ((this.statusWord >> 11) + i) & 7;
      const at = offset + 32 + 16 * i;
      this.setPhysical(physical, source.getUint16(at + 8, true), source.getBigUint64(at, true));
    }
  }
}
