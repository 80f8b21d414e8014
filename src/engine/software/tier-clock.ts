// Where the time goes, as the polls tell: the time since the last poll counts for the kind of code that polls.

export class TierClock {
  interpretedMs = 0;
  translatedMs = 0;
  private lastMs = 0;

  /** Begins anew: the processor has slept, or has not run. */
  start(): void {
    this.lastMs = performance.now();
  }

  poll(translated: boolean): void {
    const nowMs = performance.now();
    if (translated) this.translatedMs += nowMs - this.lastMs;
    else this.interpretedMs += nowMs - this.lastMs;
    this.lastMs = nowMs;
  }
}
