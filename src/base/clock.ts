// Time as an injected value: devices and the machine read a Clock, tests own one.

/** Monotonic time in nanoseconds since an arbitrary start (a double: exact to 1 ns for 104 days). */
export interface Clock {
  nowNs(): number;
}

/** The host's monotonic clock; available in Node and in browsers. */
export const hostClock: Clock = {
  nowNs: () => performance.now() * 1e6,
};

/** A clock that moves only when told to. */
export class ManualClock implements Clock {
  private timeNs = 0;

  nowNs(): number {
    return this.timeNs;
  }

  advanceNs(deltaNs: number): void {
    if (deltaNs < 0) throw new RangeError('a clock never goes back');
    this.timeNs += deltaNs;
  }
}
