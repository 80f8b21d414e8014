// The messages between the page and its Web Worker, beyond those of every machine's thread.

import type { Channel } from '../../src/vm/channel.ts';
import type { FromMachine, ToMachine } from '../../src/vm/messages.ts';

export interface ToWorker {
  readonly channel: Channel;
  readonly message: ToMachine;
}

/** Follows `ended`: what there is to see of the engine. */
export interface EngineReport {
  readonly kind: 'engine-report';
  /** Regions of guest code that the translator has made into WebAssembly. */
  readonly translatedRegions: number;
}

export type FromWorker = FromMachine | EngineReport;
