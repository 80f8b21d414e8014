// The C programs of bench/guest, compiled by the host's gcc into static programs without a C library.

import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import type { Architecture } from './peers/peer.ts';

const run = promisify(execFile);

export interface GuestProgram {
  /** bench/guest/<source>.c */
  source: string;
  defines: Readonly<Record<string, number>>;
}

/** Why there can be no guest programs on this host; undefined where there can. */
export async function whyNoGuestPrograms(): Promise<string | undefined> {
  return run('gcc', ['--version']).then(
    () => undefined,
    () => 'gcc is not installed: apt-get install gcc',
  );
}

/** Compiles into `folder`; returns the program's bytes. */
export async function compileGuestProgram(
  { source, defines }: GuestProgram,
  architecture: Architecture,
  folder: string,
): Promise<Uint8Array> {
  const output = join(folder, `${source}-${architecture}`);
  await run('gcc', [
    architecture === 'amd64' ? '-m64' : '-m32',
    ...['-O2', '-std=gnu11', '-Wall', '-Wextra', '-Werror'],
    ...['-static', '-no-pie', '-fno-pie', '-nostdlib', '-ffreestanding', '-fno-stack-protector', '-Wl,--build-id=none'],
    ...Object.entries(defines).map(([name, value]) => `-D${name}=${value}`),
    ...['-o', output, new URL(`guest/${source}.c`, import.meta.url).pathname],
  ]);
  return readFileSync(output);
}
