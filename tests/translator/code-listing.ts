// Guest code as a listing: offset in the page, bytes, and what another disassembler makes of them.

import { Decoder, DecoderOptions, Formatter, FormatterSyntax } from 'iced-x86';
import type { GuestCode } from './region-report.ts';

const byteText = (byte: number): string => byte.toString(16).padStart(2, '0');

/** Branch targets are offsets from the page too. */
export function listCode({ origin, bytes }: GuestCode): string {
  const formatter = new Formatter(FormatterSyntax.Intel);
  formatter.branchLeadingZeros = false;
  formatter.ripRelativeAddresses = true;
  formatter.spaceAfterOperandSeparator = true;
  const decoder = new Decoder(64, bytes, DecoderOptions.None);
  decoder.ip = BigInt.asUintN(64, BigInt(origin));
  const lines: string[] = [];
  for (let at = 0; decoder.canDecode; ) {
    const instruction = decoder.decode();
    const raw = [...bytes.subarray(at, at + instruction.length)].map(byteText).join(' ');
    lines.push(`${(origin + at).toString(16).padStart(4, '0')}  ${raw.padEnd(30)}  ${formatter.format(instruction)}`);
    at += instruction.length;
    instruction.free();
  }
  decoder.free();
  formatter.free();
  return lines.join('\n');
}
