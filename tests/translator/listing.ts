// A program as text: its start state and its instructions, with the pieces that they belong to.

import { Decoder, DecoderOptions, Formatter, FormatterSyntax } from 'iced-x86';
import { GPR_NAMES_64 } from '../../src/isa/registers.ts';
import { hex } from './comparison.ts';
import { layOut, type Program } from './program.ts';

export function listProgram(program: Program): string {
  const image = layOut(program);
  const { base } = program;
  const lines = [
    `program ${program.name}: ${program.features.join(', ')}`,
    `${program.user ? 'user' : 'kernel'} mode, code from ${hex(base)}`,
    `physical order of code pages ${program.codeOrder.slice(0, 6).join(' ')} ..., rflags ${hex(program.rflags)}`,
    program.registers.map((value, k) => `${GPR_NAMES_64[k]}=${hex(value)}`).join(' '),
  ];
  const names = new Map<bigint, string[]>();
  for (const [name, address] of image.labels) names.set(address, [...(names.get(address) ?? []), name]);
  const formatter = new Formatter(FormatterSyntax.Intel);
  for (const { name, offset, lengthBytes } of image.pieces) {
    const bytes = image.code.subarray(offset, offset + lengthBytes);
    const decoder = new Decoder(64, bytes, DecoderOptions.None);
    decoder.ip = BigInt.asUintN(64, base + BigInt(offset));
    lines.push(`    ; ${name}`);
    while (decoder.canDecode) {
      const instruction = decoder.decode();
      const { ip, length } = instruction;
      const at = Number(ip - BigInt.asUintN(64, base)) - offset;
      for (const label of names.get(ip) ?? []) lines.push(`  ${label}:`);
      const raw = [...bytes.subarray(at, at + length)].map((byte) => byte.toString(16).padStart(2, '0')).join('');
      lines.push(`${ip.toString(16).padStart(8, '0')}  ${raw.padEnd(24)} ${formatter.format(instruction)}`);
      instruction.free();
    }
    decoder.free();
  }
  formatter.free();
  if (image.table.length > 0)
    lines.push(`table at ${hex(image.labels.get('table')!)}: ${image.table.map(hex).join(' ')}`);
  return lines.join('\n');
}
