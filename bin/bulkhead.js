#!/usr/bin/env node
// Entry of the command line. Plain JavaScript, so that a Node too old for TypeScript still gets this far: it then hands
// over to the Node that the package brings along, or says what is missing.

import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import * as module from 'node:module';
import { constants, homedir } from 'node:os';
import { isAbsolute, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const NODE_MAJOR = 24;

/** Runs this very command line on the package's own Node; its end is ours. */
function handOver(node) {
  const child = spawn(node, [fileURLToPath(import.meta.url), ...process.argv.slice(2)], { stdio: 'inherit' });
  const signals = ['SIGINT', 'SIGTERM', 'SIGHUP'];
  for (const signal of signals) process.on(signal, () => child.kill(signal));
  child.on('error', (error) => {
    process.stderr.write(`bulkhead: cannot run ${node}: ${error.message}\n`);
    process.exitCode = 1;
  });
  child.on('exit', (code, signal) => {
    process.exitCode = code ?? 128 + constants.signals[signal];
  });
}

/** False for a user that the host does not know. */
function hasHome() {
  try {
    return homedir() !== '';
  } catch {
    return false;
  }
}

/** Stripping types from the sources costs 0.3 s on each thread; Node keeps the result where it is told to. */
function keepCompiledCode() {
  const { XDG_CACHE_HOME: base, HOME } = process.env;
  let caches = base;
  if (caches === undefined || !isAbsolute(caches)) {
    if (!HOME && process.getuid !== undefined && !hasHome()) return;
    caches = join(HOME || homedir(), '.cache');
  }
  // Worker threads look at the variable alone.
  process.env.NODE_COMPILE_CACHE ??= join(caches, 'bulkhead', 'compiled');
  module.enableCompileCache(process.env.NODE_COMPILE_CACHE);
}

/** Node 24 calls type stripping experimental, which is no news to a user of Bulkhead. */
function silenceExperimentalWarnings() {
  const listeners = process.listeners('warning');
  process.removeAllListeners('warning');
  process.on('warning', (warning) => {
    if (warning.name === 'ExperimentalWarning') return;
    for (const listener of listeners) listener.call(process, warning);
  });
}

/**
 * V8 counts at every entry of a function what inlining it would gain, until it is optimised. The software engine's
 * functions call each other across modules, where nothing is inlined. Optimising takes 13 times as long as compiling,
 * on processors that the guest could have: a function is at work for longer before that. A running process cannot be
 * told safely.
 */
const V8_FLAGS = [
  '--no-wasm-inlining-call-indirect',
  '--no-wasm-deopt',
  '--no-wasm-inlining',
  '--wasm-tiering-budget=30000000',
];
/** Of Node: a V8 that does not know a flag would end instead. */
const MAJORS_WITH_FLAGS = [26];
const GUEST_COMMANDS = ['run', 'debug'];

/** Becomes a Node with these flags, some 30 ms later, in the same process. */
function startWithFlags() {
  const { execPath, execArgv, argv } = process;
  if (!GUEST_COMMANDS.includes(argv[2]) || !MAJORS_WITH_FLAGS.includes(Number.parseInt(process.versions.node, 10)))
    return;
  if (process.execve === undefined || execArgv.includes(V8_FLAGS[0])) return;
  process.execve(execPath, [execPath, ...execArgv, ...V8_FLAGS, fileURLToPath(import.meta.url), ...argv.slice(2)]);
}

if (Number.parseInt(process.versions.node, 10) >= NODE_MAJOR) {
  startWithFlags();
  // A clone runs its sources; the published package has them compiled.
  const sources = existsSync(new URL('../src/cli/main.ts', import.meta.url));
  keepCompiledCode();
  silenceExperimentalWarnings();
  const { main } = await import(sources ? '../src/cli/main.ts' : '../dist/cli/main.js');
  await main(process.argv.slice(2));
} else {
  const node = fileURLToPath(new URL('../node_modules/node/bin/node', import.meta.url));
  if (existsSync(node)) {
    handOver(node);
  } else {
    process.stderr.write(
      `bulkhead: Bulkhead needs Node ${NODE_MAJOR} or newer; this is Node ${process.versions.node}\n` +
        '  hint: `npm ci` in the clone brings a Node of its own, or install a newer one\n',
    );
    process.exitCode = 1;
  }
}
