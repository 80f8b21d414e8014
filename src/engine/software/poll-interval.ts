// How many jumps lie between two polls. A jump stands for a few guest instructions or for hundreds, so the number
// follows the time that the last ones took: interrupts are late by some tens of microseconds at most, whatever runs,
// and polling costs little. Instructions that take long count as several jumps (CpuState.charge).

/** Time between two polls that is aimed at. */
const TARGET_MS = 0.03;
/** A loop may become slow from one turn to the next: this many slow turns are waited for then. */
const MAXIMUM = 4096;
const INITIAL = 1024;

export class PollInterval {
  private readonly fixed: number | undefined;
  private jumps: number;
  private unused = 0;

  /** `fixed`: always this many. */
  constructor(fixed?: number) {
    this.fixed = fixed;
    this.jumps = fixed ?? INITIAL;
  }

  /** Jumps until the next poll. */
  get current(): number {
    return this.jumps;
  }

  /** The next poll comes at once, `left` jumps early. */
  cut(left: number): void {
    if (left > 0) this.unused = left;
  }

  /** The jumps up to this poll took `elapsedMs`. */
  adapt(elapsedMs: number): void {
    const used = this.jumps - this.unused;
    this.unused = 0;
    if (this.fixed !== undefined) return;
    // At once: a slow interval that was the host's doing costs a few polls more, the next ones double it again.
    if (elapsedMs > TARGET_MS) this.jumps = Math.max(1, Math.floor((Math.max(1, used) * TARGET_MS) / elapsedMs));
    else if (used === this.jumps && elapsedMs * 2 < TARGET_MS) this.jumps = Math.min(MAXIMUM, this.jumps * 2);
  }
}
