// Where the time goes, as the polls tell: the time since the last poll counts for the kind of code that polls.

export class TierClock {
  interpretedMs = 0;
  translatedMs = 0;
  private lastMs = 0;

  /** Begins anew: the processor has slept, or has not run. */
  start(): void {
    this.lastMs = performance.now();
  }

  /** Counts the time since the last call, and gives it. */
  poll(translated: boolean): number {
    const nowMs = performance.now();
    const elapsedMs = nowMs - this.lastMs;
    if (translated) this.translatedMs += elapsedMs;
    else this.interpretedMs += elapsedMs;
    this.lastMs = nowMs;
    return elapsedMs;
  }
}
