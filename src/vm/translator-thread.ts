// Entry of the translation thread in Node: takes the places that wait, makes one module of them, and sends it back.

import { receiveMessageOnPort, workerData } from 'node:worker_threads';
import { createDecoder } from '../decode/decoder.ts';
import { BatchTranslator } from '../engine/software/batch-translator.ts';
import type { RegionJob } from '../engine/software/translation.ts';
import { PORTABLE_FEATURES } from '../isa/cpuid/portable.ts';
import type { FromTranslator, ToTranslator, TranslatorThreadData } from './translator-messages.ts';

/** Regions in one module: few enough that the first of them need not wait long for the last. */
const MAXIMUM_BATCH = 16;

// The worker was made by startNodeTranslation().
const { port, results } = workerData as TranslatorThreadData;
const arrived = new Int32Array(results);
let batches: BatchTranslator | undefined;

function receive(message: ToTranslator): RegionJob[] {
  if (message.kind === 'job') return [message.job];
  batches = new BatchTranslator(message.memory, createDecoder(PORTABLE_FEATURES));
  return [];
}

function answer(message: FromTranslator): void {
  port.postMessage(message);
  Atomics.add(arrived, 0, 1);
}

port.on('message', (first: ToTranslator) => {
  const jobs = receive(first);
  while (jobs.length < MAXIMUM_BATCH) {
    const next = receiveMessageOnPort(port) as { message: ToTranslator } | undefined;
    if (next === undefined) break;
    jobs.push(...receive(next.message));
  }
  if (jobs.length === 0) return;
  try {
    answer({ kind: 'batch', batch: batches!.translate(jobs) });
  } catch (error) {
    // The machine's thread is no longer in its event loop, where it would hear of an error.
    answer({ kind: 'failure', message: error instanceof Error ? (error.stack ?? error.message) : String(error) });
  }
});
