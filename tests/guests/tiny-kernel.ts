// Kernels of a few dozen bytes, assembled by hand: Multiboot 1 images that run in 32-bit protected mode without paging.

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after } from 'node:test';
import { multibootHeader } from '../../src/machine/boot/testing/kernel-builder.ts';

const LOAD_GUEST_PHYSICAL = 0x100000;
const HEADER_BYTES = 32;
/** The header's address fields hold. */
const MULTIBOOT_ADDRESSES = 1 << 16;

export const DEBUG_EXIT_PORT = 0xf4;
export const COM1 = 0x3f8;

const u32 = (value: number): number[] => [
  value & 0xff,
  (value >> 8) & 0xff,
  (value >> 16) & 0xff,
  (value >>> 24) & 0xff,
];

/** mov edx, imm32 */
export const movEdx = (value: number): number[] => [0xba, ...u32(value)];
/** mov eax, imm32 */
export const movEax = (value: number): number[] => [0xb8, ...u32(value)];
/** mov ecx, imm32 */
export const movEcx = (value: number): number[] => [0xb9, ...u32(value)];
/** mov esi, imm32 */
export const movEsi = (value: number): number[] => [0xbe, ...u32(value)];
/** out dx, al */
export const OUT_DX_AL = [0xee];
/** out dx, eax */
export const OUT_DX_EAX = [0xef];
/** in al, dx */
export const IN_AL_DX = [0xec];
/** rep outsb */
export const REP_OUTSB = [0xf3, 0x6e];
export const CLI_HLT = [0xfa, 0xf4];
export const UD2 = [0x0f, 0x0b];
/** jmp to itself */
export const SPIN = [0xeb, 0xfe];

/** Ends the VM with status (value << 1) | 1. */
export const debugExit = (value: number): number[] => [
  ...movEdx(DEBUG_EXIT_PORT),
  ...movEax(value),
  ...OUT_DX_EAX,
  ...SPIN,
];

export const outByte = (port: number, value: number): number[] => [...movEdx(port), 0xb0, value, ...OUT_DX_AL];

/** Prints `text`, which lies behind the code: `code` gives the code for the text's address. */
export function kernelWithData(data: Uint8Array | string, code: (guestPhysical: number) => number[]): Uint8Array {
  const length = code(0).length;
  const bytes = typeof data === 'string' ? Buffer.from(data) : data;
  return buildKernel([...code(LOAD_GUEST_PHYSICAL + HEADER_BYTES + length), ...bytes]);
}

/** A Multiboot 1 image whose entry point is the first byte of `code`. */
export function buildKernel(code: readonly number[]): Uint8Array {
  const end = LOAD_GUEST_PHYSICAL + HEADER_BYTES + code.length;
  const header = multibootHeader(MULTIBOOT_ADDRESSES, [
    LOAD_GUEST_PHYSICAL,
    LOAD_GUEST_PHYSICAL,
    end,
    end,
    LOAD_GUEST_PHYSICAL + HEADER_BYTES,
  ]);
  return Uint8Array.from([...header, ...code]);
}

/** A folder that goes with the test file; `put` writes a file there and gives its path. */
export function temporaryFolder(): { path: string; put(name: string, bytes: Uint8Array | string): string } {
  const path = mkdtempSync(join(tmpdir(), 'bulkhead-guests-'));
  after(() => rmSync(path, { recursive: true }));
  return {
    path,
    put: (name, bytes) => {
      const file = join(path, name);
      writeFileSync(file, bytes);
      return file;
    },
  };
}
