// The short run of the fuzzer. The long one: npm run fuzz.

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { ROWS } from '../../src/isa/rows.ts';
import { IdleHost } from '../engine/idle-host.ts';
import { createTestVcpu } from '../engine/vcpu-factory.ts';
import { Oracle, oracleUnavailable } from '../oracle/oracle.ts';
import { EngineUnderTest, RAM_BYTES } from './engine-under-test.ts';
import { selectForms } from './form.ts';
import { Fuzzer } from './fuzzer.ts';
import { describeMismatch } from './report.ts';

const SEED = process.env.BULKHEAD_SEED ?? '1';
const CASES_PER_FORM = 4;
const SHOWN = 5;

const unavailable = oracleUnavailable();

describe(`instructions on the engine and on this host's processor (seed ${SEED})`, {
  skip: unavailable && `no oracle: ${unavailable}`,
}, () => {
  let oracle: Oracle;
  let fuzzer: Fuzzer;
  before(async () => {
    oracle = await Oracle.start();
    const { vcpu, memory } = createTestVcpu(new IdleHost(), RAM_BYTES);
    fuzzer = new Fuzzer(oracle, new EngineUnderTest(vcpu, memory));
  });
  after(() => oracle.stop());

  for (const mode of [64, 32, 16] as const) {
    test(`every ${mode}-bit form agrees in all that is defined`, async (t) => {
      const { forms, skipped } = selectForms(ROWS, mode, oracle.host);
      t.diagnostic(`${forms.length} forms, ${CASES_PER_FORM} cases each; ${skipped.length} forms not covered`);
      if (forms.length === 0) return t.skip(skipped[0]?.reason);
      const results = await fuzzer.runForms(forms, SEED, CASES_PER_FORM);
      const mismatches = results.flatMap((result) => result.mismatches);
      const texts: string[] = [];
      for (const mismatch of mismatches.slice(0, SHOWN)) {
        texts.push(describeMismatch(await fuzzer.minimise(mismatch), SEED));
      }
      assert.equal(mismatches.length, 0, `${mismatches.length} mismatches\n${texts.join('\n')}`);
    });
  }
});
