import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { Measurement } from '../../bench/guest.ts';
import { createReport } from '../../bench/report.ts';
import { formatReport } from '../../bench/report-text.ts';
import type { Group } from '../../bench/rows/row.ts';
import type { RowResult, SuiteResult } from '../../bench/suite.ts';

function measurement(hostMs: number, counters: Measurement['counters'] = null): Measurement {
  return { hostMs, guestMs: hostMs, cpuMs: 2 * hostMs, peakMemoryBytes: 1 << 20, counters };
}

function row(group: Group, name: string, timesMs: Record<string, readonly number[]>): RowResult {
  const measurements = Object.entries(timesMs).map(([peer, list]) => [peer, list.map((ms) => measurement(ms))]);
  return { name, group, summary: `work of ${name}`, measurements: Object.fromEntries(measurements) };
}

function suiteResult(rows: RowResult[]): SuiteResult {
  const description = { version: '1', kernel: '6.12' };
  const peers = { bulkhead: description, qemu: description, v86: description };
  return { peers, rows, skipped: [], failures: [] };
}

describe('the report of the benchmarks', () => {
  test('a speed ratio is the time of the peer over ours, by medians', () => {
    const { rows } = createReport(suiteResult([row('loop', 'a', { bulkhead: [90, 10, 20], qemu: [40] })]), 'quick', 3);
    assert.deepEqual(rows[0]?.speedRatios, { qemu: 2 });
  });

  test('a group has the geometric mean of its rows, and counts once in a target however many rows it has', () => {
    const report = createReport(
      suiteResult([
        row('loop', 'a', { bulkhead: [10], qemu: [10] }),
        row('loop', 'b', { bulkhead: [10], qemu: [40] }),
        row('sort', 'c', { bulkhead: [10], qemu: [80] }),
      ]),
      'quick',
      1,
    );
    const close = (value: number | undefined, expected: number): void => assert.ok(Math.abs(value! - expected) < 1e-9);
    close(report.groups.find(({ name }) => name === 'loop')?.speedRatios.qemu, 2);
    close(report.targets[0]?.mean.speedRatio, 4);
    assert.equal(report.targets[0]?.smallest.row, 'a');
  });

  test('a target is met where its mean and its smallest row are', () => {
    const isMet = (qemuMs: readonly number[]): boolean[] => {
      const rows = qemuMs.map((ms, index) => row('loop', `row ${index}`, { bulkhead: [10], qemu: [ms] }));
      return createReport(suiteResult(rows), 'quick', 1).targets.map((target) => target.isMet);
    };
    assert.deepEqual(isMet([12.1, 12.1]), [true]);
    assert.deepEqual(isMet([11, 11]), [false]);
    assert.deepEqual(isMet([6.9, 30]), [false]);
  });

  test('a row that a peer has not run is left out of the ratios to it', () => {
    const rows = [row('loop', 'a', { bulkhead: [10], v86: [60] }), row('sort', 'b', { bulkhead: [10], v86: [] })];
    const report = createReport(suiteResult(rows), 'quick', 1);
    assert.deepEqual(report.rows[1]?.speedRatios, {});
    assert.deepEqual(
      report.targets.map(({ peer, groups, isMet: met }) => ({ peer, groups, met })),
      [{ peer: 'v86', groups: ['loop'], met: true }],
    );
  });

  test('counters become rates, and code bytes for an instruction', () => {
    const counters = { instructions: 5_000_000, codeBytes: 900, translatedInstructions: 100 };
    const counted = { ...row('loop', 'a', {}), measurements: { bulkhead: [measurement(100, counters)] } };
    const summary = createReport(suiteResult([counted]), 'quick', 1).rows[0]?.peers.bulkhead;
    assert.equal(summary?.guestMips, 50);
    assert.equal(summary?.codeBytesPerInstruction, 9);
  });

  test('the text says which targets are missed', () => {
    const text = formatReport(
      createReport(suiteResult([row('boot', 'boot', { bulkhead: [30], qemu: [10] })]), 'quick', 1),
    );
    assert.match(text, /NOT MET: speed to qemu in boot: smallest, boot, 0\.33x/);
  });
});
