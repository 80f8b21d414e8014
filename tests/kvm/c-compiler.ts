// The host's C compiler, for tests and benchmarks that hold what is ours against a C program.

import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const COMPILERS = ['cc', 'gcc', 'clang'];

export interface Compiled {
  readonly program: string;
  remove(): void;
}

/** Compiles one source text; a sentence where there is no compiler, or the headers that it includes are missing. */
export function compileC(source: string, headers: readonly string[] = []): Compiled | string {
  if (process.platform !== 'linux' || process.arch !== 'x64') return 'the host is not x86-64 Linux';
  const folder = mkdtempSync(join(tmpdir(), 'bulkhead-c-'));
  const remove = (): void => rmSync(folder, { recursive: true, force: true });
  const build = (compiler: string, name: string, text: string): ReturnType<typeof spawnSync> => {
    const path = join(folder, `${name}.c`);
    writeFileSync(path, text);
    return spawnSync(compiler, ['-O2', '-o', join(folder, name), path, '-lpthread'], { encoding: 'utf8' });
  };
  const empty = 'int main(void) { return 0; }\n';
  const compiler = COMPILERS.find((one) => build(one, 'empty', empty).status === 0);
  if (compiler === undefined) {
    remove();
    return `the host has no C compiler (${COMPILERS.join(', ')})`;
  }
  const missing = headers.find((header) => build(compiler, 'header', `#include <${header}>\n${empty}`).status !== 0);
  if (missing !== undefined) {
    remove();
    return `the host has no <${missing}> (Debian: linux-libc-dev)`;
  }
  const result = build(compiler, 'program', source);
  if (result.status !== 0) {
    remove();
    throw new Error(`${compiler} failed: ${result.stderr}`);
  }
  return { program: join(folder, 'program'), remove };
}
