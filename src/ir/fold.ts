// Constant folding and the widths of integers, done while the builder builds: with an instruction's operands known,
// much of what its lifting function writes is known too.

import type { PureOperation } from './operations.ts';

/** What is looked at of a value. */
interface Foldable {
  readonly kind: string;
  readonly type: string;
  readonly constant?: bigint | number | Uint8Array | undefined;
  readonly bits: number;
}

const ALL = 0xffffffffffffffffn;

const signed = (value: bigint): bigint => BigInt.asIntN(64, value);

/** i64 operations on unsigned 64-bit values; comparisons give 0 or 1. */
const BINARY: Readonly<Partial<Record<PureOperation, (x: bigint, y: bigint) => bigint>>> = {
  'i64.add': (x, y) => x + y,
  'i64.sub': (x, y) => x - y,
  'i64.mul': (x, y) => x * y,
  'i64.and': (x, y) => x & y,
  'i64.or': (x, y) => x | y,
  'i64.xor': (x, y) => x ^ y,
  'i64.shl': (x, y) => x << (y & 63n),
  'i64.shr_u': (x, y) => x >> (y & 63n),
  'i64.shr_s': (x, y) => signed(x) >> (y & 63n),
  'i64.eq': (x, y) => (x === y ? 1n : 0n),
  'i64.ne': (x, y) => (x !== y ? 1n : 0n),
  'i64.lt_u': (x, y) => (x < y ? 1n : 0n),
  'i64.lt_s': (x, y) => (signed(x) < signed(y) ? 1n : 0n),
};

const UNARY: Readonly<Partial<Record<PureOperation, (x: bigint) => bigint>>> = {
  'i64.eqz': (x) => (x === 0n ? 1n : 0n),
  'i32.eqz': (x) => (x === 0n ? 1n : 0n),
  'i32.wrap_i64': (x) => x & 0xffffffffn,
  'i64.extend_i32_u': (x) => x,
  'i64.extend8_s': (x) => BigInt.asIntN(8, x),
  'i64.extend16_s': (x) => BigInt.asIntN(16, x),
  'i64.extend32_s': (x) => BigInt.asIntN(32, x),
};

const constantOf = (value: Foldable): bigint | undefined => {
  if (value.kind !== 'const') return undefined;
  if (value.type === 'i64') return value.constant as bigint;
  return value.type === 'i32' ? BigInt((value.constant as number) >>> 0) : undefined;
};

/** The result as an unsigned 64-bit integer; undefined where it is not known. */
export function foldConstants(name: PureOperation, args: readonly Foldable[]): bigint | undefined {
  if (args[0] === args[1] && (name === 'i64.xor' || name === 'i64.sub')) return 0n;
  const x = constantOf(args[0]!);
  if (x === undefined) return undefined;
  if (args.length === 1) {
    const result = UNARY[name]?.(x);
    return result === undefined ? undefined : result & ALL;
  }
  const y = constantOf(args[1]!);
  if (y === undefined || args.length !== 2) return undefined;
  const result = BINARY[name]?.(x, y);
  return result === undefined ? undefined : result & ALL;
}

/** An operand that is the result by itself: x + 0, x & all ones, x & x, x << 0 and their kin. */
export function foldIdentity<T extends Foldable>(name: PureOperation, args: readonly T[]): T | undefined {
  const [x, y] = args;
  if (y === undefined) return undefined;
  if (x === y && (name === 'i64.and' || name === 'i64.or')) return x;
  const right = constantOf(y);
  const left = constantOf(x!);
  switch (name) {
    case 'i64.add':
    case 'i64.or':
    case 'i64.xor':
      if (right === 0n) return x;
      return left === 0n ? y : undefined;
    case 'i64.sub':
    case 'i64.shl':
    case 'i64.shr_u':
    case 'i64.shr_s':
      return right === 0n ? x : undefined;
    case 'i64.and':
      // A mask that covers all that the operand can hold.
      return right !== undefined && isMask(right) && x!.bits <= bitLength(right) ? x : undefined;
    default:
      return undefined;
  }
}

const isMask = (value: bigint): boolean => (value & (value + 1n)) === 0n;

function bitLength(value: bigint): number {
  const high = Number(value >> 32n);
  return high === 0 ? 32 - Math.clz32(Number(value & 0xffffffffn)) : 64 - Math.clz32(high);
}

/** How many low bits of an i64 result may be set. */
export function resultBits(name: PureOperation, args: readonly Foldable[]): number {
  const [x, y] = args;
  switch (name) {
    case 'i64.and':
      return Math.min(x!.bits, y!.bits);
    case 'i64.or':
    case 'i64.xor':
      return Math.max(x!.bits, y!.bits);
    case 'i64.add':
      return Math.min(64, Math.max(x!.bits, y!.bits) + 1);
    case 'i64.mul':
      return Math.min(64, x!.bits + y!.bits);
    case 'i64.shl': {
      const count = constantOf(y!);
      return count === undefined ? 64 : Math.min(64, x!.bits + Number(count & 63n));
    }
    case 'i64.shr_u': {
      const count = constantOf(y!);
      return count === undefined ? x!.bits : Math.max(0, x!.bits - Number(count & 63n));
    }
    case 'i64.div_u':
      return x!.bits;
    case 'i64.rem_u':
      return Math.min(x!.bits, y!.bits);
    case 'i64.extend_i32_u':
      return Math.min(32, x!.bits);
    default:
      return 64;
  }
}

/** How many low bits of a constant are in use, of an i32 as of the unsigned number. */
export function constantBits(constant: bigint | number): number {
  return typeof constant === 'bigint' ? bitLength(constant) : 32 - Math.clz32(constant);
}
