// Entry of the translation thread in Node: takes the places that wait, makes one module of them, and sends it back.

import { workerData } from 'node:worker_threads';
import { createDecoder } from '../decode/decoder.ts';
import { BatchTranslator } from '../engine/software/batch-translator.ts';
import type { RegionJob } from '../engine/software/translation.ts';
import { PORTABLE_FEATURES } from '../isa/cpuid/portable.ts';
import type { FromTranslator, ToTranslator, TranslatorThreadData } from './translator-messages.ts';

/** Regions in one module: few enough that the first of them need not wait long for the last. */
const MAXIMUM_BATCH = 16;
/** How long the first waits for others: a module takes some 50 KiB besides its code. */
const GATHERING_MS = 40;

// The worker was made by startNodeTranslation().
const { port, results } = workerData as TranslatorThreadData;
const arrived = new Int32Array(results);
let batches: BatchTranslator | undefined;

function answer(message: FromTranslator): void {
  port.postMessage(message);
  Atomics.add(arrived, 0, 1);
}

let waiting: RegionJob[] = [];
let timer: NodeJS.Timeout | undefined;

function translate(): void {
  clearTimeout(timer);
  timer = undefined;
  const jobs = waiting;
  waiting = [];
  try {
    answer({ kind: 'batch', batch: batches!.translate(jobs) });
  } catch (error) {
    // The machine's thread is no longer in its event loop, where it would hear of an error.
    answer({ kind: 'failure', message: error instanceof Error ? (error.stack ?? error.message) : String(error) });
  }
}

port.on('message', (message: ToTranslator) => {
  if (message.kind === 'memory') {
    batches = new BatchTranslator(message.memory, createDecoder(PORTABLE_FEATURES));
    return;
  }
  waiting.push(message.job);
  if (waiting.length >= MAXIMUM_BATCH) translate();
  else timer ??= setTimeout(translate, GATHERING_MS);
});
