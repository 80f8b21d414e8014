// Runs batches of single instructions on the host's own processor, for tests that compare a software model with it.
// The runner is processor-oracle.c, compiled when first needed; hosts without x86-64 or a C compiler say so.

import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { arch, platform, tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const REQUEST_BYTES = 16 + 16 + 512 + 128;
const RESPONSE_BYTES = 24 + 512 + 128;

/** Offsets in the FXSAVE image (SDM 1, table 10-2). */
export const FXSAVE = { FCW: 0, FSW: 2, FTW: 4, MXCSR: 24, ST: 32, XMM: 160 } as const;

export interface OracleRequest {
  /** At most 15 bytes; rdi points to `memory`; it may change rax, flags, x87, MMX and XMM registers. */
  instruction: Uint8Array;
  rax: bigint;
  rflags: bigint;
  /** 512 bytes. */
  fxsave: Uint8Array;
  /** 128 bytes. */
  memory: Uint8Array;
}

export interface OracleResponse {
  /** 0, or the number of the signal that the instruction raised. */
  trap: number;
  rax: bigint;
  rflags: bigint;
  fxsave: DataView;
  memory: DataView;
}

export class ProcessorOracle {
  private readonly folder: string;
  private readonly program: string;

  private constructor(folder: string, program: string) {
    this.folder = folder;
    this.program = program;
  }

  /** The runner, or in a sentence why this host has none. */
  static open(): ProcessorOracle | string {
    if (arch() !== 'x64' || platform() !== 'linux') return 'the host is not x86-64 Linux';
    const source = fileURLToPath(new URL('processor-oracle.c', import.meta.url));
    const folder = mkdtempSync(join(tmpdir(), 'bulkhead-oracle-'));
    const program = join(folder, 'oracle');
    for (const compiler of ['cc', 'gcc', 'clang']) {
      const compiled = spawnSync(compiler, ['-O1', '-o', program, source]);
      if (compiled.status === 0) return new ProcessorOracle(folder, program);
    }
    rmSync(folder, { recursive: true, force: true });
    return 'the host has no C compiler (cc, gcc or clang)';
  }

  run(requests: OracleRequest[]): OracleResponse[] {
    const input = Buffer.alloc(requests.length * REQUEST_BYTES);
    requests.forEach((request, index) => {
      const at = index * REQUEST_BYTES;
      input[at] = request.instruction.length;
      input.set(request.instruction, at + 1);
      input.writeBigUInt64LE(request.rax, at + 16);
      input.writeBigUInt64LE(request.rflags, at + 24);
      input.set(request.fxsave, at + 32);
      input.set(request.memory, at + 544);
    });
    const result = spawnSync(this.program, { input, maxBuffer: 2 ** 31 });
    if (result.status !== 0 || result.stdout.length !== requests.length * RESPONSE_BYTES) {
      throw new Error(
        `the oracle failed: status ${result.status}, signal ${result.signal}, ${result.stdout.length} bytes`,
      );
    }
    const { buffer, byteOffset } = result.stdout;
    return requests.map((_, index) => {
      const at = byteOffset + index * RESPONSE_BYTES;
      const view = new DataView(buffer, at, RESPONSE_BYTES);
      return {
        trap: Number(view.getBigUint64(0, true)),
        rax: view.getBigUint64(8, true),
        rflags: view.getBigUint64(16, true),
        fxsave: new DataView(buffer, at + 24, 512),
        memory: new DataView(buffer, at + 536, 128),
      };
    });
  }

  close(): void {
    rmSync(this.folder, { recursive: true, force: true });
  }
}

/** A seeded generator (splitmix64): the same seed gives the same cases everywhere. */
export class Random {
  private state: bigint;

  constructor(seed: number) {
    this.state = BigInt(seed);
  }

  bits64(): bigint {
    this.state = BigInt.asUintN(64, this.state + 0x9e3779b97f4a7c15n);
    let z = this.state;
    z = BigInt.asUintN(64, (z ^ (z >> 30n)) * 0xbf58476d1ce4e5b9n);
    z = BigInt.asUintN(64, (z ^ (z >> 27n)) * 0x94d049bb133111ebn);
    return z ^ (z >> 31n);
  }

  /** An integer in 0 … limit - 1, limit at most 2^32. */
  below(limit: number): number {
    return Math.floor((Number(this.bits64() >> 32n) / 2 ** 32) * limit);
  }

  choose<T>(values: readonly T[]): T {
    return values[this.below(values.length)]!;
  }
}
