// Deadlines over a Clock: a binary heap of timers that the owner of a thread runs between guest instructions.
// A device that re-arms often creates its Timer once, so that arming allocates nothing.

import type { Clock } from './clock.ts';

/** One callback and its deadline. Made by Timers only; opaque to everyone else. */
export class Timer {
  /** When the callback is due; Infinity while the timer is not armed. */
  deadlineNs = Number.POSITIVE_INFINITY;
  /** @internal Place in the heap, -1 while not armed. */
  heapIndex = -1;
  /** @internal Order of arming: equal deadlines run first come, first served. */
  order = 0;
  readonly callback: () => void;

  constructor(callback: () => void) {
    this.callback = callback;
  }

  get armed(): boolean {
    return this.heapIndex >= 0;
  }
}

/**
 * The timers of one thread. Callbacks run inside `runDue` only, in order of deadline, never inside `arm` or `schedule`,
 * whatever the deadline. A callback may arm and cancel timers, its own too; one that arms itself again must choose
 * a deadline after the present moment, else `runDue` does not end.
 */
export class Timers {
  readonly clock: Clock;
  private readonly heap: Timer[] = [];
  private armings = 0;

  constructor(clock: Clock) {
    this.clock = clock;
  }

  /** A timer that is not armed yet, to be used again and again. */
  create(callback: () => void): Timer {
    return new Timer(callback);
  }

  /** Sets the deadline of `timer`, which replaces the one that it had; Infinity or NaN disarms it. */
  arm(timer: Timer, deadlineNs: number): void {
    if (!(deadlineNs < Number.POSITIVE_INFINITY)) {
      this.cancel(timer);
      return;
    }
    timer.deadlineNs = deadlineNs;
    timer.order = this.armings++;
    if (timer.heapIndex < 0) {
      timer.heapIndex = this.heap.length;
      this.heap.push(timer);
    }
    this.siftUp(timer);
    this.siftDown(timer);
  }

  /** Calls `callback` once at `deadlineNs` of the clock. */
  schedule(deadlineNs: number, callback: () => void): Timer {
    const timer = new Timer(callback);
    this.arm(timer, deadlineNs);
    return timer;
  }

  /** Disarms `timer`; nothing happens where it is not armed. */
  cancel(timer: Timer): void {
    const index = timer.heapIndex;
    timer.deadlineNs = Number.POSITIVE_INFINITY;
    if (index < 0) return;
    timer.heapIndex = -1;
    const last = this.heap.pop()!;
    if (last === timer) return;
    this.heap[index] = last;
    last.heapIndex = index;
    this.siftUp(last);
    this.siftDown(last);
  }

  /** The earliest deadline, Infinity where no timer is armed. */
  nextDeadlineNs(): number {
    return this.heap.length === 0 ? Number.POSITIVE_INFINITY : this.heap[0]!.deadlineNs;
  }

  /** Runs every callback that is due now. */
  runDue(): void {
    if (this.heap.length === 0) return;
    const nowNs = this.clock.nowNs();
    while (this.heap.length > 0 && this.heap[0]!.deadlineNs <= nowNs) {
      const timer = this.heap[0]!;
      this.cancel(timer);
      timer.callback();
    }
  }

  private before(a: Timer, b: Timer): boolean {
    return a.deadlineNs < b.deadlineNs || (a.deadlineNs === b.deadlineNs && a.order < b.order);
  }

  private siftUp(timer: Timer): void {
    while (timer.heapIndex > 0) {
      const parent = this.heap[(timer.heapIndex - 1) >> 1]!;
      if (!this.before(timer, parent)) return;
      this.swap(timer, parent);
    }
  }

  private siftDown(timer: Timer): void {
    for (;;) {
      const left = 2 * timer.heapIndex + 1;
      if (left >= this.heap.length) return;
      let least = this.heap[left]!;
      const right = this.heap[left + 1];
      if (right !== undefined && this.before(right, least)) least = right;
      if (!this.before(least, timer)) return;
      this.swap(timer, least);
    }
  }

  private swap(a: Timer, b: Timer): void {
    const index = a.heapIndex;
    a.heapIndex = b.heapIndex;
    b.heapIndex = index;
    this.heap[a.heapIndex] = a;
    this.heap[b.heapIndex] = b;
  }
}
