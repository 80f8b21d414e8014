// Translation on a thread of its own, as a worker of Node. The machine's thread, which starts it, looks for results
// without its event loop: a word in shared memory tells it that there are some.

import { setFlagsFromString } from 'node:v8';
import { MessageChannel, type MessagePort, receiveMessageOnPort, Worker } from 'node:worker_threads';
import type { RegionJob, TranslatedBatch, TranslationPort } from '../engine/software/translation.ts';
import type { FromTranslator, ToTranslator, TranslatorThreadData } from './translator-messages.ts';

const NOTHING: readonly TranslatedBatch[] = [];

class NodeTranslation implements TranslationPort {
  private readonly port: MessagePort;
  private readonly results: Int32Array;
  private taken = 0;

  constructor(port: MessagePort, results: SharedArrayBuffer, memory: WebAssembly.Memory) {
    this.port = port;
    this.results = new Int32Array(results);
    this.post({ kind: 'memory', memory });
  }

  private post(message: ToTranslator): void {
    this.port.postMessage(message);
  }

  request(job: RegionJob): void {
    this.post({ kind: 'job', job });
  }

  collect(): readonly TranslatedBatch[] {
    const arrived = Atomics.load(this.results, 0);
    if (arrived === this.taken) return NOTHING;
    const batches: TranslatedBatch[] = [];
    for (; this.taken !== arrived; this.taken = (this.taken + 1) | 0) {
      const { message } = receiveMessageOnPort(this.port) as { message: FromTranslator };
      if (message.kind === 'failure') throw new Error(`the translation thread failed: ${message.message}`);
      batches.push(message.batch);
    }
    return batches;
  }
}

export interface NodeTranslationThread {
  /** Begins translation in a memory; called once at most. */
  begin(memory: WebAssembly.Memory): TranslationPort;
  /** Ends a thread that is not needed. */
  cancel(): void;
}

/** Starts the thread, which loads its code meanwhile. */
export function startNodeTranslation(): NodeTranslationThread {
  // Otherwise V8 compiles a function when it is first called, which is on the processor's thread.
  setFlagsFromString('--no-wasm-lazy-compilation');
  const { port1, port2 } = new MessageChannel();
  const results = new SharedArrayBuffer(4);
  const workerData: TranslatorThreadData = { port: port2, results };
  const worker = new Worker(new URL('translator-thread.ts', import.meta.url), { workerData, transferList: [port2] });
  worker.unref();
  port1.unref();
  return {
    begin: (memory) => new NodeTranslation(port1, results, memory),
    cancel: () => {
      port1.close();
      void worker.terminate();
    },
  };
}
