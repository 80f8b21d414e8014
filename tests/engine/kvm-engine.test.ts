import assert from 'node:assert/strict';
import { after, describe, test } from 'node:test';
import { examineKvm } from '../../src/engine/kvm/kvm-report.ts';
import { runCase, SUITES, testSuites } from './engine-suite.ts';
import { RAM_BYTES } from './guest.ts';
import { IdleHost } from './idle-host.ts';
import { CASES_WITH_DEPARTURES, findDepartures } from './kvm-departures.ts';
import { createKvmTestVcpu } from './kvm-vcpu-factory.ts';

const { opens, reason } = await examineKvm();

describe('the KVM engine', { skip: opens ? false : reason }, () => {
  if (!opens) return;
  const host = new IdleHost();
  const departures = findDepartures(host);
  const target = createKvmTestVcpu(host, RAM_BYTES);
  after(() => target.close());
  testSuites({ host, target, skip: ({ name }) => departures.get(name) });

  test('no case is skipped that would pass', () => {
    for (const one of Object.values(SUITES).flat()) {
      if (!departures.has(one.name)) continue;
      // What fails may leave something behind in its processor.
      const own = createKvmTestVcpu(host, RAM_BYTES);
      try {
        assert.throws(() => runCase(own, host, one), Error, one.name);
      } finally {
        own.close();
      }
    }
  });
});

test('every departure of an incomplete KVM names cases that are there', () => {
  const names = new Set(Object.values(SUITES).flatMap((cases) => cases.map(({ name }) => name)));
  assert.deepEqual(
    CASES_WITH_DEPARTURES.filter((name) => !names.has(name)),
    [],
  );
  assert.equal(new Set(CASES_WITH_DEPARTURES).size, CASES_WITH_DEPARTURES.length, 'each case has one departure');
});
