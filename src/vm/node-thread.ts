// The machine's thread as a worker of Node.

import { Worker } from 'node:worker_threads';
import { EXIT_STATUS, UserError } from '../base/errors.ts';
import type { KickTarget } from '../engine/kvm/libc.ts';
import type { FromMachine } from './messages.ts';
import type { StartThread } from './virtual-machine.ts';

/** Node 24 calls type stripping experimental on every thread. */
const QUIET = ['--disable-warning=ExperimentalWarning'];

/** Loaded with the first machine that runs on KVM: a kick before that is lost, and the guest looks up by itself. */
let kickThread: ((target: KickTarget) => void) | undefined;

export const startNodeThread: StartThread = (channel, events) => {
  const worker = new Worker(new URL('machine-thread.ts', import.meta.url), {
    workerData: channel,
    // Those of the process that are V8's or Node's own are refused here, and count for every thread as they are.
    execArgv: QUIET,
  });
  worker.on('message', (message: FromMachine) => events.onMessage(message));
  worker.on('error', (error) => events.onCrash(failureOf(error)));
  worker.on('exit', (code) => events.onCrash(new Error(`it ended with code ${code}`)));
  return {
    post: (message) => {
      worker.postMessage(message);
      if (message.engine.name === 'kvm') void loadKick();
    },
    kick: (target) => kickThread?.(target),
    terminate: () => void worker.terminate(),
  };
};

async function loadKick(): Promise<void> {
  ({ kickThread } = await import('../engine/kvm/libc.ts'));
}

function failureOf(error: unknown): Error {
  if (!(error instanceof Error)) return new Error(String(error));
  if (!('code' in error) || error.code !== 'ERR_WORKER_OUT_OF_MEMORY') return error;
  return new UserError('there is not enough memory for this guest', {
    hint: 'give the guest less with --memory, or the process more (ulimit -v, or the limit of the container)',
    exitStatus: EXIT_STATUS.guestFault,
    cause: error,
  });
}
