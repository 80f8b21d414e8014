// How much guest work passes at most from a poll that finds an interrupt to the next one, in loops of every kind. What
// that is in microseconds, `npm run bench:interrupts` tells.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { InterruptedLoop } from './interrupted-loop.ts';
import { LOOP_SHAPES, type LoopShape } from './loop-shapes.ts';

const POLL_INTERVAL = 16;
const INTERRUPTS = 200;
/** Enough for all interrupts, and an end where none comes. */
const TURNS = 20_000;
/** What one call of a string instruction moves at most, and what counts as a jump. */
const CALL_BYTES = 0x1_0000;
const BYTES_PER_JUMP = 64;

const TIERS = { interpreted: Number.POSITIVE_INFINITY, 'translated first': 0 };

interface Work {
  readonly turns: number;
  readonly bytes: number;
}

/** What has been done before each interrupt, where every poll finds one. */
function interruptedWork(shape: LoopShape, translateAfterSamples: number, pollInterval = POLL_INTERVAL): Work[] {
  const work: Work[] = [{ turns: 0, bytes: 0 }];
  const loop: InterruptedLoop = new InterruptedLoop({
    ...{ shape, translateAfterSamples, pollInterval, turns: TURNS },
    isDue: () => true,
    readTsc: () => 0,
    handled: () => {
      const left = loop.left();
      const turns = TURNS - left.turns;
      // Behind the loop's end RCX is 0, within a string instruction it is not.
      const elements = turns * loop.elements + (left.elements === 0 ? 0 : loop.elements - left.elements);
      work.push({ turns, bytes: elements * shape.elementBytes });
      return work.length > INTERRUPTS;
    },
  });
  loop.run();
  return work;
}

for (const [tier, translateAfterSamples] of Object.entries(TIERS)) {
  for (const shape of LOOP_SHAPES) {
    test(`${shape.name}, ${tier}: interrupts come within ${POLL_INTERVAL} turns`, () => {
      const work = interruptedWork(shape, translateAfterSamples);
      assert.ok(work.length > INTERRUPTS, `${work.length - 1} interrupts in ${TURNS} turns`);
      for (const [k, { turns, bytes }] of work.entries()) {
        const before = work[k - 1] ?? { turns: 0, bytes: 0 };
        assert.ok(turns - before.turns <= POLL_INTERVAL, `interrupt ${k}: after ${turns - before.turns} turns`);
        const most = CALL_BYTES + POLL_INTERVAL * BYTES_PER_JUMP;
        assert.ok(bytes - before.bytes <= most, `interrupt ${k}: after ${bytes - before.bytes} bytes`);
      }
    });
  }
}

for (const [tier, translateAfterSamples] of Object.entries(TIERS)) {
  test(`long loops count as several jumps, ${tier}`, () => {
    const shape = LOOP_SHAPES.find(({ name }) => name === 'a body of 300 instructions')!;
    const work = interruptedWork(shape, translateAfterSamples, 64);
    assert.ok(work.length > INTERRUPTS);
    for (const [k, { turns }] of work.slice(1).entries()) {
      assert.ok(turns - work[k]!.turns <= 4, `interrupt ${k}: after ${turns - work[k]!.turns} turns`);
    }
  });
}
