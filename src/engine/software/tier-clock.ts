// Where the time goes, as the polls tell: the time since the last poll counts for the kind of code that polls.

/** The name itself is an accessor in a worker of Node. */
const nowMs = performance.now.bind(performance);

export class TierClock {
  interpretedMs = 0;
  translatedMs = 0;
  private lastMs = 0;

  /** Begins anew: the processor has slept, or has not run. */
  start(): void {
    this.lastMs = nowMs();
  }

  /** Counts the time since the last call, and gives it. */
  poll(translated: boolean): number {
    const atMs = nowMs();
    const elapsedMs = atMs - this.lastMs;
    if (translated) this.translatedMs += elapsedMs;
    else this.interpretedMs += elapsedMs;
    this.lastMs = atMs;
    return elapsedMs;
  }
}
