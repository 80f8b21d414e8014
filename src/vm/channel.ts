// What the two threads of a VM share besides messages: the serial lines' bytes and a few words that one thread sets and
// the other looks at or sleeps on. The machine's thread sleeps in Atomics.wait; the main thread never does.

import { createRingBuffer } from './byte-ring.ts';

export const SERIAL_LINES = 4;

/** Words of `control`. */
export const CONTROL = {
  /** Main raises it when the machine's thread should look up: it sleeps on this word. */
  wake: 0,
  /** Main sets it to end the run. */
  stop: 1,
  /** Set by the machine's thread with a message that output waits, cleared by main before it looks. */
  told: 2,
  /** Bit n: main has input for line n that did not fit, and wants a message when there is room. */
  roomWanted: 3,
  /** Main raises it after taking output: the machine's thread sleeps on it while a ring is full. */
  taken: 4,
  /** Main sets it to hear the engine's statistics, cleared by the machine's thread before it tells them. */
  statistics: 5,
  /**
   * The kernel's number of the machine's thread while it may be inside a guest on KVM, where it does not sleep on
   * `wake`: it is to be kicked as well. 0 otherwise.
   */
  guestThread: 6,
  /** The timer that a kick of `guestThread` arms; set before it. */
  kickTimer: 7,
} as const;
const CONTROL_WORDS = 8;

/** Enough for a screenful at a time; a guest that is faster than its reader waits. */
const OUTPUT_RING_BYTES = 64 * 1024;
/** Holds the longest input frame (images/overlay.ts) with its header. */
const INPUT_RING_BYTES = 32 * 1024;

/** Plain data: goes to the other thread as it is. */
export interface Channel {
  control: SharedArrayBuffer;
  /** Guest to host, one a line. */
  output: SharedArrayBuffer[];
  /** Host to guest. */
  input: SharedArrayBuffer[];
}

export function createChannel(): Channel {
  const rings = (capacityBytes: number): SharedArrayBuffer[] =>
    Array.from({ length: SERIAL_LINES }, () => createRingBuffer(capacityBytes));
  return {
    control: new SharedArrayBuffer(4 * CONTROL_WORDS),
    output: rings(OUTPUT_RING_BYTES),
    input: rings(INPUT_RING_BYTES),
  };
}
