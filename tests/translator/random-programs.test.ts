import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ALL_MODES, runCampaign } from './campaign.ts';
import { Comparison } from './comparison.ts';
import { generateProgram } from './generator.ts';
import { MODES } from './guest.ts';
import { layOut } from './program.ts';

/** BULKHEAD_TRANSLATOR_PROGRAMS: more than the few that every run of the tests can afford. */
const thorough = process.env.BULKHEAD_TRANSLATE === 'first';
const programs = Number(process.env.BULKHEAD_TRANSLATOR_PROGRAMS ?? (thorough ? 1500 : 30));

for (const seed of ['1', process.env.BULKHEAD_SEED ?? `${Date.now()}`]) {
  test(`random programs end translated as they do interpreted (seed ${seed})`, () => {
    const { failures, compared } = runCampaign({ seed, programs });
    assert.deepEqual(failures, []);
    assert.ok(compared > programs * 0.9, `only ${compared} of ${programs} programs could be compared`);
  });
}

test('random programs are translated, and meet exceptions', () => {
  const comparison = new Comparison(ALL_MODES);
  let exceptions = 0;
  for (let k = 0; k < 8; k++) {
    const verdict = comparison.compare(generateProgram(`1/${k}`));
    if (verdict.kind === 'same') exceptions += verdict.exceptions;
  }
  assert.ok(exceptions > 0);
  for (const mode of ALL_MODES) {
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
