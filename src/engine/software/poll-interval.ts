// How many jumps lie between two polls. A jump stands for a few guest instructions or for hundreds, so the number
// follows the time that the last ones took: interrupts are late by some tens of microseconds at most, whatever runs,
// and polling costs little.

/** Time between two polls that is aimed at. */
const TARGET_MS = 0.03;
const MINIMUM = 64;
/** A loop may become slow from one turn to the next: this many slow turns are waited for then. */
const MAXIMUM = 4096;
const INITIAL = 1024;

export class PollInterval {
  private readonly fixed: number | undefined;
  private jumps: number;

  /** `fixed`: always this many. */
  constructor(fixed?: number) {
    this.fixed = fixed;
    this.jumps = fixed ?? INITIAL;
  }

  /** Jumps until the next poll. */
  get current(): number {
    return this.jumps;
  }

  /** The jumps up to this poll took `elapsedMs`. */
  adapt(elapsedMs: number): void {
    if (this.fixed !== undefined) return;
    // By a factor of two at most: one slow interval may have been the host's.
    if (elapsedMs > TARGET_MS) this.jumps = Math.max(MINIMUM, this.jumps >> 1);
    else if (elapsedMs * 2 < TARGET_MS) this.jumps = Math.min(MAXIMUM, this.jumps << 1);
  }
}
