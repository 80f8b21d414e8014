// ENTER, PUSHA and POPA (SDM volume 2): every access is checked before anything is written.

import { GPR } from '../../isa/registers.ts';
import { Stack, setStackPointer, stackMask } from './stack.ts';
import { ALL_ONES, cplOf, is64BitCode, SEGMENT, type TransferContext, truncate } from './transfer-context.ts';

/** Writes a register as an operand of 2, 4 or 8 bytes does. */
function writeRegister(context: TransferContext, index: number, operandBytes: number, value: bigint): void {
  const { cpu } = context;
  const low = truncate(value, operandBytes);
  cpu.setGpr(index, operandBytes === 2 ? (cpu.gpr(index) & ~0xffffn & ALL_ONES) | low : low);
}

/**
 * ENTER with `level` 0 to 31. The frame pointers of outer levels are copied one by one, so that a copy may read what an
 * earlier push of the same instruction wrote.
 */
export function enter(context: TransferContext, operandBytes: number, level: number, sizeBytes: number): void {
  const { cpu, memory } = context;
  const stack = Stack.current(context);
  const user = cplOf(cpu) === 3;
  const step = BigInt(operandBytes);
  const rsp = cpu.gpr(GPR.RSP);
  const frame = rsp - step;
  const rbp = cpu.gpr(GPR.RBP);
  const pushes = level === 0 ? 1 : level + 1;
  const last = rsp - step * BigInt(pushes) - BigInt(sizeBytes);
  for (let i = 1; i <= pushes; i++) stack.probe((rsp - step * BigInt(i)) & ALL_ONES, operandBytes);
  for (let i = 1; i < level; i++) stack.read((rbp - step * BigInt(i)) & ALL_ONES, operandBytes);
  stack.probe(last & ALL_ONES, operandBytes);

  const put = (slot: number, value: bigint): void => {
    const linear = stack.linear(stackOffset(context, rsp - step * BigInt(slot)), operandBytes);
    memory.write(linear, operandBytes, truncate(value & ALL_ONES, operandBytes), user);
  };
  put(1, rbp);
  for (let i = 1; i < level; i++) put(i + 1, stack.read((rbp - step * BigInt(i)) & ALL_ONES, operandBytes));
  if (level > 0) put(level + 1, frame);
  writeRegister(context, GPR.RBP, operandBytes, frame & ALL_ONES);
  setStackPointer(cpu, last & ALL_ONES, currentMask(context));
}

function currentMask(context: TransferContext): bigint {
  const { cpu } = context;
  return stackMask(is64BitCode(cpu) ? undefined : cpu.attributes(SEGMENT.SS));
}

function stackOffset(context: TransferContext, offset: bigint): bigint {
  return offset & currentMask(context);
}

/** PUSHA, PUSHAD: the value of SP pushed is that before the first push. */
export function pusha(context: TransferContext, operandBytes: number): void {
  const { cpu } = context;
  const stack = Stack.current(context);
  for (let index = 0; index < 8; index++) stack.push(operandBytes, cpu.gpr(index));
  stack.commit();
}

/** POPA, POPAD: the image of SP is skipped. */
export function popa(context: TransferContext, operandBytes: number): void {
  const stack = Stack.current(context);
  const values = Array.from({ length: 8 }, () => stack.pop(operandBytes));
  values.forEach((value, i) => {
    const index = 7 - i;
    if (index !== GPR.RSP) writeRegister(context, index, operandBytes, value);
  });
  stack.commit();
}
