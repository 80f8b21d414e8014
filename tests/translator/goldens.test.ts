import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  type Budget,
  describeDifference,
  listGoldens,
  readGolden,
  spentBy,
  type Translated,
  translateSequence,
  UPDATE_COMMAND,
} from './goldens.ts';
import { SEQUENCES } from './sequences.ts';

/**
 * What a guest instruction may cost in each sequence, the region's entry and exits included: 5 to 10 % above what it
 * cost when the figure was set. `node tests/translator/goldens.ts --budgets` prints rows for figures that got better.
 */
const BUDGETS: Readonly<Record<string, Budget>> = {
  'move-and-add': { operations: 34.5, hot: 16.5, work: 3.5, bytes: 83.3 },
  load: { operations: 73.9, hot: 39.4, work: 18, bytes: 164.6 },
  store: { operations: 76.6, hot: 50.1, work: 20.9, bytes: 165.4 },
  modify: { operations: 110.3, hot: 66.4, work: 24.3, bytes: 245.8 },
  'push-and-pop': { operations: 65.7, hot: 40.5, work: 15.9, bytes: 143.6 },
  'rip-relative': { operations: 71.4, hot: 41.4, work: 15.7, bytes: 164.8 },
  segment: { operations: 74.6, hot: 44.6, work: 17.2, bytes: 167.7 },
  'compare-loop': { operations: 46.1, hot: 24, work: 7.1, bytes: 105.8 },
  'count-loop': { operations: 56.5, hot: 28.4, work: 7.8, bytes: 131.9 },
  branches: { operations: 20, hot: 13.5, work: 3.6, bytes: 48.6 },
  'add-with-carry': { operations: 52.5, hot: 32.1, work: 12.1, bytes: 115 },
  hash: { operations: 37.8, hot: 27.4, work: 7.3, bytes: 91.7 },
  shift: { operations: 70.2, hot: 49.5, work: 14.4, bytes: 166.8 },
  multiply: { operations: 92.1, hot: 69.6, work: 24.1, bytes: 208.2 },
  divide: { operations: 53.4, hot: 23.6, work: 6.8, bytes: 126.1 },
  'partial-registers': { operations: 43.4, hot: 23.2, work: 6.5, bytes: 100.6 },
  'conditional-move': { operations: 32.3, hot: 17.3, work: 4.3, bytes: 76 },
  'bit-test': { operations: 49.8, hot: 32.5, work: 10.4, bytes: 119.4 },
  call: { operations: 69.6, hot: 48.6, work: 17, bytes: 154.1 },
  function: { operations: 56.2, hot: 37.5, work: 14.1, bytes: 122.2 },
  'tail-jump': { operations: 45.3, hot: 28, work: 10.4, bytes: 103.7 },
  'jump-table': { operations: 29.4, hot: 19.9, work: 6.3, bytes: 67.7 },
  'string-copy': { operations: 80.8, hot: 17.2, work: 6.2, bytes: 187.3 },
  'double-arithmetic': { operations: 93.5, hot: 63.7, work: 24.8, bytes: 231 },
  'vector-copy': { operations: 61.9, hot: 32.1, work: 11.6, bytes: 143.6 },
  'vector-integer': { operations: 48.8, hot: 24.2, work: 8.3, bytes: 115.9 },
  'compare-exchange': { operations: 85, hot: 51.2, work: 19.3, bytes: 190.9 },
  'two-pages': { operations: 57.4, hot: 30, work: 9.5, bytes: 131.7 },
  'system-call': { operations: 68, hot: 32.1, work: 11.3, bytes: 172.3 },
};

const translated = new Map<string, Translated>(
  SEQUENCES.map((sequence) => [sequence.name, translateSequence(sequence)]),
);

for (const [name, { text }] of translated) {
  test(`the translation of ${name} is what its golden says`, () => {
    const golden = readGolden(name);
    assert.ok(golden !== undefined, `there is no golden; this makes it:\n  ${UPDATE_COMMAND}`);
    if (golden === text) return;
    const difference = describeDifference(golden, text);
    assert.fail(
      `goldens/${name}.txt differs:\n${difference}\nIf that is meant, this rewrites it:\n  ${UPDATE_COMMAND}`,
    );
  });
}

for (const [name, { report }] of translated) {
  test(`${name} keeps to its budgets`, () => {
    const budget = BUDGETS[name];
    assert.ok(budget !== undefined, 'it has no budgets');
    const over = Object.entries(spentBy(report))
      .map(([kind, spent]) => ({ kind, spent, allowed: budget[kind as keyof Budget] }))
      .filter(({ spent, allowed }) => spent > allowed)
      .map(({ kind, spent, allowed }) => `${spent.toFixed(1)} ${kind} for each guest instruction, ${allowed} allowed`);
    assert.deepEqual(over, []);
  });
}

test('every golden and every budget belongs to a sequence', () => {
  assert.deepEqual(listGoldens().sort(), [...translated.keys()].sort());
  assert.deepEqual(Object.keys(BUDGETS).sort(), [...translated.keys()].sort());
});

test('a region holds every instruction of its sequence that control can reach', () => {
  const lengths = Object.fromEntries(SEQUENCES.map(({ name, code }) => [name, code.trim().split('\n').length]));
  const held = Object.fromEntries([...translated].map(([name, { report }]) => [name, report.figures.instructions]));
  // A system call ends its region.
  assert.deepEqual(held, { ...lengths, 'system-call': 2 });
});

test('a difference is told by its lines, those around it and the figures', () => {
  const was = ['name', 'figures 1', 'a', 'b', 'c', 'old', 'd', ''].join('\n');
  const is = ['name', 'figures 2', 'a', 'b', 'c', 'new', 'newer', 'd', ''].join('\n');
  assert.deepEqual(describeDifference(was.replace('figures 1', 'figures 2'), is).split('\n'), [
    'from line 6 on:',
    '  a',
    '  b',
    '  c',
    '- old',
    '+ new',
    '+ newer',
  ]);
  assert.deepEqual(describeDifference(was, is).split('\n').slice(0, 3), [
    '- figures 1',
    '+ figures 2',
    'from line 2 on:',
  ]);
});
