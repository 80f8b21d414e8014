// Bit tests, scans, counts and CRC32 (Intel SDM volume 1, 5.1.6).

import type { Builder, InstructionLift, Value } from '../ir/builder.ts';
import { setCarryOverflow, setLogicFlags } from './flags.ts';
import { type Lift, type Lifts, sizeOf } from './lift.ts';

type Change = ((b: Builder, old: Value, bit: Value) => Value) | undefined;

/**
 * BT and its kin. With a register as bit offset and a memory operand the offset reaches beyond the operand: signed,
 * in units of the operand size.
 */
const bitTest =
  (change: Change): Lift =>
  (b, i) => {
    const [target, source] = [i.operands[0]!, i.operands[1]!];
    const size = sizeOf(target);
    const bits = size * 8;
    const number = b.read(source);
    const position = b.and(number, b.i64(bits - 1));
    const bit = b.shl(b.i64(1), position);
    let old: Value;
    if (target.kind === 'memory' && source.kind === 'register') {
      const unit = b.shrS(b.signExtend(number, size), b.i64(Math.log2(bits)));
      const distance = b.shl(unit, b.i64(Math.log2(size)));
      const address = b.displacedAddress(target, change !== undefined, distance);
      old =
        change === undefined
          ? b.load(address, size)
          : b.modifyAt(address, size, i.lock, (value) => b.truncate(change(b, value, bit), size));
    } else if (change === undefined) {
      old = b.read(target);
    } else {
      old = b.modify(target, i.lock, (value) => b.truncate(change(b, value, bit), size));
    }
    // OF is undefined; the other flags stay.
    setCarryOverflow(b, b.shl(b.shrU(old, position), b.i64(63)), b.i64(0));
  };

/** BSF and BSR: a zero source sets ZF and leaves the destination as it was. */
const scan =
  (forward: boolean): Lift =>
  (b, i) => {
    const destination = i.operands[0]!;
    const size = sizeOf(destination);
    const source = b.read(i.operands[1]!);
    const found = forward ? b.op('i64.ctz', source) : b.sub(b.i64(63), b.op('i64.clz', source));
    // The flags besides ZF are undefined.
    setLogicFlags(b, size, source);
    b.if(b.op('i32.eqz', b.eqz(source)), () => b.write(destination, b.truncate(found, size)));
  };

function popcnt(b: Builder, i: InstructionLift): void {
  const source = b.read(i.operands[1]!);
  b.write(i.operands[0]!, b.op('i64.popcnt', source));
  if (b.lazyFlags) b.newFlags();
  b.setField('flagZ', source);
  b.setField('flagN', b.i64(1));
  setCarryOverflow(b, b.i64(0), b.i64(0));
  b.setField('flagA', b.i32(0));
}

/** CRC32C, polynomial 0x11edc6f41 reflected, eight bits at a turn without a table. */
function crc32(b: Builder, i: InstructionLift): void {
  const [destination, source] = [i.operands[0]!, i.operands[1]!];
  const size = sizeOf(source);
  const input = b.read(source);
  let crc = b.truncate(b.read(destination), 4);
  crc = b.xor(crc, size === 8 ? b.truncate(input, 4) : input);
  const polynomial = b.i64(0x82f63b78);
  const turn = (value: Value): Value =>
    b.xor(b.shrU(value, b.i64(1)), b.and(b.sub(b.i64(0), b.and(value, b.i64(1))), polynomial));
  for (let bit = 0; bit < Math.min(size, 4) * 8; bit++) crc = turn(crc);
  if (size === 8) {
    crc = b.xor(crc, b.shrU(input, b.i64(32)));
    for (let bit = 0; bit < 32; bit++) crc = turn(crc);
  }
  b.write(destination, crc);
}

export const bitAndByteLifts: Lifts = {
  bt: bitTest(undefined),
  bts: bitTest((b, old, bit) => b.or(old, bit)),
  btr: bitTest((b, old, bit) => b.and(old, b.not(bit))),
  btc: bitTest((b, old, bit) => b.xor(old, bit)),
  bsf: scan(true),
  bsr: scan(false),
  popcnt,
  crc32,
};
