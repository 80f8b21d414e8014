// Runs the real command line in a process of its own, as a user's shell would.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';

export const CLI = fileURLToPath(new URL('../../bin/bulkhead.js', import.meta.url));

export interface CliResult {
  status: number | null;
  signal: NodeJS.Signals | null;
  stdout: Buffer;
  stderr: string;
}

export interface CliOptions {
  /** Standard input; the null device where there is none. */
  input?: string | Uint8Array;
  /** What to type, line by line: each as soon as the output since the one before matches. Then the input ends. */
  dialogue?: readonly { after: RegExp; type: string }[];
  env?: NodeJS.ProcessEnv;
  /** Called with the process and what it has printed so far, whenever that grows. */
  onOutput?: (child: ReturnType<typeof spawn>, stdout: string) => void;
  /** A run that takes longer is killed, so that a guest that hangs fails its test. */
  timeoutMs?: number;
}

const TIMEOUT_MS = 120_000;

export async function runCli(args: readonly string[], options: CliOptions = {}): Promise<CliResult> {
  const dialogue = [...(options.dialogue ?? [])];
  const child = spawn(process.execPath, [CLI, ...args], {
    env: { ...process.env, ...options.env },
    timeout: options.timeoutMs ?? TIMEOUT_MS,
    killSignal: 'SIGKILL',
    stdio: [options.input === undefined && dialogue.length === 0 ? 'ignore' : 'pipe', 'pipe', 'pipe'],
  });
  const [stdout, stderr]: [Buffer[], Buffer[]] = [[], []];
  let seen = '';
  child.stdout?.on('data', (bytes: Buffer) => {
    stdout.push(bytes);
    seen += bytes.toString('latin1');
    while (dialogue[0]?.after.test(seen)) {
      child.stdin?.write(dialogue.shift()!.type);
      seen = '';
      if (dialogue.length === 0) child.stdin?.end();
    }
    options.onOutput?.(child, Buffer.concat(stdout).toString());
  });
  child.stderr?.on('data', (bytes: Buffer) => stderr.push(bytes));
  // A guest that ends before it has read everything breaks the pipe.
  child.stdin?.on('error', () => {});
  if (options.input !== undefined) child.stdin?.end(options.input);
  const [status, signal] = (await once(child, 'close')) as [number | null, NodeJS.Signals | null];
  return { status, signal, stdout: Buffer.concat(stdout), stderr: Buffer.concat(stderr).toString() };
}
