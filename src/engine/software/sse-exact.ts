// SSE floating-point arithmetic with every rounding mode, exception flag and mask, one lane at a time (Intel SDM
// volume 1, chapter 11 and appendix E). Lifted code comes here when WebAssembly's own arithmetic might not do.

import { FloatContext } from '../../base/softfloat/context.ts';
import {
  f32Add,
  f32Comi,
  f32Compare,
  f32Div,
  f32FromI32,
  f32FromI64,
  f32Max,
  f32Min,
  f32Mul,
  f32RoundToIntegral,
  f32Sqrt,
  f32Sub,
  f32ToF64,
  f32ToI32,
  f32ToI64,
  f32Ucomi,
} from '../../base/softfloat/f32.ts';
import {
  f64Add,
  f64Comi,
  f64Compare,
  f64Div,
  f64FromI64,
  f64Max,
  f64Min,
  f64Mul,
  f64RoundToIntegral,
  f64Sqrt,
  f64Sub,
  f64ToF32,
  f64ToI32,
  f64ToI64,
  f64Ucomi,
} from '../../base/softfloat/f64.ts';
import { SCRATCH_OFFSET, STATE } from '../../ir/guest-state.ts';
import { SSE_ARITHMETIC, SSE_CONVERSION } from '../../ir/sse-operations.ts';

const A = SSE_ARITHMETIC;
const C = SSE_CONVERSION;
const SOURCE = 16;

const context = new FloatContext();
const products = [0, 0, 0, 0];
/** MXCSR flags of the stages that an operation of several has behind it. */
let earlierFlags = 0;

/**
 * Runs one operation of sse-operations.ts: the old destination in scratch slot 0, the source in slot 1, the result in
 * slot 0; MXCSR's flags are updated. True where an exception is unmasked: the result has no meaning and the caller
 * raises #XM, or #UD where CR4.OSXMMEXCPT is 0.
 */
export function sseExact(view: DataView, cpuBase: number, operation: number, immediate: number): boolean {
  const mxcsrOffset = cpuBase + STATE.mxcsr.offset;
  const mxcsr = view.getUint32(mxcsrOffset, true);
  context.setMxcsr(mxcsr);
  earlierFlags = 0;
  const scratch = cpuBase + SCRATCH_OFFSET;
  if (operation >= C.cvtps2pd) convert(view, scratch, operation, immediate);
  else if ((operation & ~3) === A.dp) dotProduct(view, scratch, (operation & 1) !== 0, immediate);
  else {
    const kind = operation & ~3;
    const double = (operation & 1) !== 0;
    const lanes = (operation & 2) !== 0 ? 1 : double ? 2 : 4;
    for (let lane = 0; lane < lanes; lane++) {
      if (double) double64(view, scratch + lane * 8, kind, lane, immediate);
      else single32(view, scratch + lane * 4, kind, lane, immediate);
    }
  }
  view.setUint32(mxcsrOffset, mxcsr | earlierFlags | context.mxcsrFlags, true);
  return context.unmasked;
}

function single32(view: DataView, offset: number, kind: number, lane: number, immediate: number): void {
  const x = view.getUint32(offset, true);
  const y = view.getUint32(offset + SOURCE, true);
  view.setUint32(offset, singleResult(kind, lane, x, y, immediate), true);
}

function singleResult(kind: number, lane: number, x: number, y: number, immediate: number): number {
  switch (kind) {
    case A.add:
      return f32Add(context, x, y);
    case A.sub:
      return f32Sub(context, x, y);
    case A.addsub:
      return (lane & 1) !== 0 ? f32Add(context, x, y) : f32Sub(context, x, y);
    case A.mul:
      return f32Mul(context, x, y);
    case A.div:
      return f32Div(context, x, y);
    case A.sqrt:
      return f32Sqrt(context, y);
    case A.min:
      return f32Min(context, x, y);
    case A.max:
      return f32Max(context, x, y);
    case A.cmp:
      return f32Compare(context, x, y, immediate & 7) ? 0xffffffff : 0;
    case A.round:
      return f32RoundToIntegral(context, y, immediate);
    case A.comi:
      return f32Comi(context, x, y);
    case A.ucomi:
      return f32Ucomi(context, x, y);
    case A.rcp:
      return reciprocal(y, false);
    case A.rsqrt:
      return reciprocal(y, true);
    default:
      throw new RangeError(`SSE operation ${kind} is unknown`);
  }
}

function double64(view: DataView, offset: number, kind: number, lane: number, immediate: number): void {
  const x = view.getBigUint64(offset, true);
  const y = view.getBigUint64(offset + SOURCE, true);
  view.setBigUint64(offset, doubleResult(kind, lane, x, y, immediate), true);
}

function doubleResult(kind: number, lane: number, x: bigint, y: bigint, immediate: number): bigint {
  switch (kind) {
    case A.add:
      return f64Add(context, x, y);
    case A.sub:
      return f64Sub(context, x, y);
    case A.addsub:
      return lane !== 0 ? f64Add(context, x, y) : f64Sub(context, x, y);
    case A.mul:
      return f64Mul(context, x, y);
    case A.div:
      return f64Div(context, x, y);
    case A.sqrt:
      return f64Sqrt(context, y);
    case A.min:
      return f64Min(context, x, y);
    case A.max:
      return f64Max(context, x, y);
    case A.cmp:
      return f64Compare(context, x, y, immediate & 7) ? 0xffffffffffffffffn : 0n;
    case A.round:
      return f64RoundToIntegral(context, y, immediate);
    case A.comi:
      return BigInt(f64Comi(context, x, y));
    case A.ucomi:
      return BigInt(f64Ucomi(context, x, y));
    default:
      throw new RangeError(`SSE operation ${kind} is unknown`);
  }
}

const float = new Float32Array(1);
const floatBits = new Uint32Array(float.buffer);

/** RCPSS and RSQRTSS: no exception; denormals are zero, as is what may become one, whatever MXCSR says. */
function reciprocal(bits: number, ofRoot: boolean): number {
  const sign = (bits & 0x80000000) >>> 0;
  const magnitude = bits & 0x7fffffff;
  if (magnitude > 0x7f800000) return (bits | 0x00400000) >>> 0;
  if (magnitude < 0x00800000) return (sign | 0x7f800000) >>> 0;
  if (ofRoot && sign !== 0) return 0xffc00000;
  if (!ofRoot && magnitude >= 0x7e800000) return sign;
  floatBits[0] = bits;
  float[0] = ofRoot ? 1 / Math.sqrt(float[0]!) : 1 / float[0]!;
  return floatBits[0]!;
}

/** Ends a stage whose results the next one takes; false where an unmasked exception ends the operation. */
function passStage(): boolean {
  if (context.unmasked) return false;
  earlierFlags |= context.flags;
  context.flags = 0;
  return true;
}

/** DPPS and DPPD: products, their sums by pairs, the sum of the sums; an unmasked exception ends it at any stage. */
function dotProduct(view: DataView, scratch: number, double: boolean, immediate: number): void {
  if (double) {
    let first = 0n;
    let second = 0n;
    if (immediate & 0x10)
      first = f64Mul(context, view.getBigUint64(scratch, true), view.getBigUint64(scratch + 16, true));
    if (immediate & 0x20) {
      second = f64Mul(context, view.getBigUint64(scratch + 8, true), view.getBigUint64(scratch + 24, true));
    }
    if (!passStage()) return;
    const sum = f64Add(context, first, second);
    view.setBigUint64(scratch, immediate & 1 ? sum : 0n, true);
    view.setBigUint64(scratch + 8, immediate & 2 ? sum : 0n, true);
    return;
  }
  for (let lane = 0; lane < 4; lane++) {
    const offset = scratch + lane * 4;
    products[lane] =
      immediate & (0x10 << lane)
        ? f32Mul(context, view.getUint32(offset, true), view.getUint32(offset + SOURCE, true))
        : 0;
  }
  if (!passStage()) return;
  const low = f32Add(context, products[0]!, products[1]!);
  const high = f32Add(context, products[2]!, products[3]!);
  if (!passStage()) return;
  const sum = f32Add(context, low, high);
  for (let lane = 0; lane < 4; lane++) view.setUint32(scratch + lane * 4, immediate & (1 << lane) ? sum : 0, true);
}

function convert(view: DataView, scratch: number, operation: number, immediate: number): void {
  const source = scratch + SOURCE;
  const single = view.getUint32(source, true);
  switch (operation) {
    case C.cvtps2pd: {
      const second = view.getUint32(source + 4, true);
      view.setBigUint64(scratch, f32ToF64(context, single), true);
      view.setBigUint64(scratch + 8, f32ToF64(context, second), true);
      return;
    }
    case C.cvtpd2ps:
      view.setUint32(scratch, f64ToF32(context, view.getBigUint64(source, true)), true);
      view.setUint32(scratch + 4, f64ToF32(context, view.getBigUint64(source + 8, true)), true);
      view.setBigUint64(scratch + 8, 0n, true);
      return;
    case C.cvtss2sd:
      view.setBigUint64(scratch, f32ToF64(context, single), true);
      return;
    case C.cvtsd2ss:
      view.setUint32(scratch, f64ToF32(context, view.getBigUint64(source, true)), true);
      return;
    case C.cvtdq2ps:
      for (let k = 0; k < 16; k += 4) {
        view.setUint32(scratch + k, f32FromI32(context, view.getInt32(source + k, true)), true);
      }
      return;
    case C.cvtps2dq:
    case C.cvttps2dq:
      for (let k = 0; k < 16; k += 4) {
        const value = view.getUint32(source + k, true);
        view.setInt32(scratch + k, f32ToI32(context, value, operation === C.cvttps2dq), true);
      }
      return;
    case C.cvtpd2dq:
    case C.cvttpd2dq:
      for (let k = 0; k < 2; k++) {
        const value = view.getBigUint64(source + k * 8, true);
        view.setInt32(scratch + k * 4, f64ToI32(context, value, operation === C.cvttpd2dq), true);
      }
      view.setBigUint64(scratch + 8, 0n, true);
      return;
    case C.cvtsi2ss:
      view.setUint32(scratch, f32FromI64(context, view.getBigInt64(source, true)), true);
      return;
    case C.cvtsi2sd:
      view.setBigUint64(scratch, f64FromI64(context, view.getBigInt64(source, true)), true);
      return;
    case C.cvtss2si:
    case C.cvttss2si: {
      const truncate = operation === C.cvttss2si;
      view.setBigUint64(
        scratch,
        immediate === 8 ? f32ToI64(context, single, truncate) : BigInt(f32ToI32(context, single, truncate) >>> 0),
        true,
      );
      return;
    }
    case C.cvtsd2si:
    case C.cvttsd2si: {
      const truncate = operation === C.cvttsd2si;
      const value = view.getBigUint64(source, true);
      view.setBigUint64(
        scratch,
        immediate === 8 ? f64ToI64(context, value, truncate) : BigInt(f64ToI32(context, value, truncate) >>> 0),
        true,
      );
      return;
    }
    default:
      throw new RangeError(`SSE operation ${operation} is unknown`);
  }
}
