// The C programs of bench/guest, compiled by the host's gcc into static programs without a C library. The host runs
// them too, for what they must print.

import { execFile, spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import type { Architecture } from './peers/peer.ts';

const execute = promisify(execFile);

export interface GuestProgram {
  /** bench/guest/<source>.c */
  source: string;
  /** What the guest finds it as: /bench/<name>; the source's by default. */
  name?: string;
  defines: Readonly<Record<string, number | string>>;
}

/** -msse2: 32-bit programs compute as 64-bit ones do. The last two: nothing that calls the C library. */
const CODE_OPTIONS = [
  ...['-O2', '-std=gnu11', '-msse2', '-mfpmath=sse', '-fno-stack-protector'],
  ...['-fno-math-errno', '-fno-tree-loop-distribute-patterns'],
];
const WARNING_OPTIONS = ['-Wall', '-Wextra', '-Werror'];
const LINK_OPTIONS = ['-static', '-no-pie', '-fno-pie', '-nostdlib', '-ffreestanding', '-Wl,--build-id=none'];

/** Why there can be no guest programs on this host; undefined where there can. */
export async function whyNoGuestPrograms(): Promise<string | undefined> {
  return execute('gcc', ['--version']).then(
    () => undefined,
    () => 'gcc is not installed: apt-get install gcc',
  );
}

export class GuestPrograms {
  private readonly folder: string;
  private readonly compiled = new Map<string, Promise<string>>();

  /** `folder` is for the compiled programs. */
  constructor(folder: string) {
    this.folder = folder;
  }

  async read(program: GuestProgram, architecture: Architecture): Promise<Uint8Array> {
    return readFileSync(await this.compile(program, architecture));
  }

  /** What it prints on the host's own processor. */
  async output(program: GuestProgram): Promise<Buffer> {
    const child = spawn(await this.compile(program, 'amd64'), { stdio: ['ignore', 'pipe', 'inherit'] });
    const status = new Promise<number | null>((resolve, reject) => {
      child.once('error', reject);
      child.once('close', resolve);
    });
    const chunks: Buffer[] = [];
    for await (const chunk of child.stdout) chunks.push(chunk as Buffer);
    const code = await status;
    if (code !== 0) throw new Error(`${nameOf(program)} failed on the host: status ${code}`);
    return Buffer.concat(chunks);
  }

  private compile(program: GuestProgram, architecture: Architecture): Promise<string> {
    const identity = JSON.stringify([architecture, program]);
    let output = this.compiled.get(identity);
    if (output === undefined) {
      // Programs of one name may differ in what they define.
      output = compile(program, architecture, join(this.folder, `${this.compiled.size}-${nameOf(program)}`));
      this.compiled.set(identity, output);
    }
    return output;
  }
}

export function nameOf({ name, source }: GuestProgram): string {
  return name ?? source;
}

async function compile({ source, defines }: GuestProgram, architecture: Architecture, output: string): Promise<string> {
  await execute('gcc', [
    architecture === 'amd64' ? '-m64' : '-m32',
    ...[...CODE_OPTIONS, ...WARNING_OPTIONS, ...LINK_OPTIONS],
    ...Object.entries(defines).map(([name, value]) => `-D${name}=${value}`),
    ...['-o', output, new URL(`guest/${source}.c`, import.meta.url).pathname],
  ]);
  return output;
}
