import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ALL_MODES, runCampaign } from './campaign.ts';
import { Comparison } from './comparison.ts';
import { generateProgram } from './generator.ts';
import { MODES } from './guest.ts';
import { layOut } from './program.ts';

// Few programs on two engines with every run of the tests; BULKHEAD_TRANSLATE=first asks for many on all of them.
const thorough = process.env.BULKHEAD_TRANSLATE === 'first';
const programs = Number(process.env.BULKHEAD_TRANSLATOR_PROGRAMS ?? (thorough ? 200 : 10));
const modes = thorough ? ALL_MODES : [MODES.first, MODES.mixedDisturbed];

for (const seed of ['1', process.env.BULKHEAD_SEED ?? `${Date.now()}`]) {
  test(`random programs end translated as they do interpreted (seed ${seed})`, () => {
    const { failures, compared } = runCampaign({ seed, programs, modes });
    assert.deepEqual(failures, []);
    assert.ok(compared > programs * 0.6, `only ${compared} of ${programs} programs could be compared`);
  });
}

test('random programs are translated, and meet exceptions', () => {
  const comparison = new Comparison(modes);
  let exceptions = 0;
  for (let k = 0; k < 5; k++) {
    const verdict = comparison.compare(generateProgram(`1/${k}`));
    if (verdict.kind === 'same') exceptions += verdict.exceptions;
  }
  assert.ok(exceptions > 0);
  for (const mode of modes) {
    const { regions } = comparison.guest(mode).vcpu.translator;
    assert.ok(regions > 5, `${mode.name}: ${regions} regions`);
  }
  assert.equal(comparison.guest(MODES.interpreted).vcpu.translator.regions, 0);
});

test('a program depends on its name alone', () => {
  const [once, again] = [generateProgram('5/5'), generateProgram('5/5')];
  assert.deepEqual(layOut(again).code, layOut(once).code);
  assert.notDeepEqual(layOut(generateProgram('5/6')).code, layOut(once).code);
});
