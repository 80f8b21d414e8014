// The messages between the machine's thread and its translation thread, in Node.

import type { MessagePort } from 'node:worker_threads';
import type { RegionJob, TranslatedBatch } from '../engine/software/translation.ts';

export type ToTranslator = { kind: 'memory'; memory: WebAssembly.Memory } | { kind: 'job'; job: RegionJob };

export type FromTranslator = { kind: 'batch'; batch: TranslatedBatch } | { kind: 'failure'; message: string };

export interface TranslatorThreadData {
  port: MessagePort;
  /** One word that counts the answers. */
  results: SharedArrayBuffer;
}
