// Stands for the translation thread: answers late, by chance and not by time, so that a run can be repeated. The guest
// goes on in between: code is read at one poll, and what came of it arrives at another.

import { createDecoder } from '../../src/decode/decoder.ts';
import { BatchTranslator } from '../../src/engine/software/batch-translator.ts';
import type { RegionJob, TranslatedBatch, TranslationPort } from '../../src/engine/software/translation.ts';
import { PORTABLE_FEATURES } from '../../src/isa/cpuid/portable.ts';
import type { RandomSource } from '../fuzz/random-source.ts';

export class DelayedTranslation implements TranslationPort {
  private readonly translator: BatchTranslator;
  private readonly random: () => RandomSource;
  private jobs: RegionJob[] = [];
  private batches: TranslatedBatch[] = [];
  private isPrompt = false;

  constructor(memory: WebAssembly.Memory, random: () => RandomSource) {
    this.translator = new BatchTranslator(memory, createDecoder(PORTABLE_FEATURES));
    this.random = random;
  }

  request(job: RegionJob): void {
    this.jobs.push(job);
  }

  /** From now on, or no longer, everything is answered at once. */
  answerAtOnce(isPrompt: boolean): void {
    this.isPrompt = isPrompt;
  }

  collect(): readonly TranslatedBatch[] {
    const random = this.random();
    const arrived: TranslatedBatch[] = [];
    if (this.isPrompt || random.chance(0.12)) arrived.push(...this.batches.splice(0));
    if (this.jobs.length > 0 && (this.isPrompt || random.chance(0.3))) {
      const batch = this.translator.translate(this.jobs.splice(0, 1 + random.below(6)));
      if (this.isPrompt || random.chance(0.15)) arrived.push(batch);
      else this.batches.push(batch);
    }
    return arrived;
  }

  get isIdle(): boolean {
    return this.jobs.length === 0 && this.batches.length === 0;
  }
}
