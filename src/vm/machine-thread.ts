// Entry of the machine's thread in Node: one worker that is one virtual processor with all its devices. It learns what
// to run by a `start` message, and ends after its `ended` or `refused`.

import { flushCompileCache } from 'node:module';
import { parentPort, workerData } from 'node:worker_threads';
import type { CpuModelName } from '../engine/kvm/cpu-model.ts';
import { type Channel, CONTROL } from './channel.ts';
import { type MachineThreadParts, runMachine } from './machine-end.ts';
import type { FromMachine, ToMachine } from './messages.ts';
import { nodeDecompressor } from './node-decompressor.ts';
import { startNodeTranslation } from './node-translation.ts';

if (parentPort === null) throw new Error('machine-thread.ts runs as a worker');
const port = parentPort;
// The worker was made by startNodeThread, with a channel.
const channel = workerData as Channel;
const translation = startNodeTranslation();
const parts: MachineThreadParts = {
  post: (answer) => port.postMessage('statistics' in answer ? withThreadTime(answer) : answer),
  decompressor: nodeDecompressor,
};
// The thread never ends by itself, which is when Node would keep what it has compiled.
flushCompileCache();
port.once('message', (message: ToMachine) => {
  const { engine } = message;
  if (engine.name === 'kvm') void runOnKvm(message, engine.cpuModel);
  else runMachine(channel, message.config, { ...parts, startTranslation: translation.begin });
});

async function runOnKvm({ config }: ToMachine, model: CpuModelName): Promise<void> {
  translation.cancel();
  // Foreign calls are loaded here alone: without KVM there are none.
  const { KvmParts } = await import('./kvm-parts.ts');
  const control = new Int32Array(channel.control);
  const machineParts = new KvmParts(model, ({ thread, timer }) => {
    Atomics.store(control, CONTROL.kickTimer, timer);
    Atomics.store(control, CONTROL.guestThread, thread);
  });
  try {
    runMachine(channel, config, { ...parts, machineParts })?.close();
  } finally {
    Atomics.store(control, CONTROL.guestThread, 0);
    machineParts.close();
  }
}

/** Adds the processor time of this thread, which says more than the clock where the host has other work. */
function withThreadTime(message: Extract<FromMachine, { statistics: unknown }>): FromMachine {
  const { user, system } = process.threadCpuUsage();
  return { ...message, statistics: { ...message.statistics, threadCpuMs: (user + system) / 1000 } };
}
