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
  'move-and-add': { operations: 37.7, hot: 15.9, work: 3.7, bytes: 94 },
  load: { operations: 80.3, hot: 42, work: 16.4, bytes: 192.4 },
  store: { operations: 84.8, hot: 54.9, work: 20.1, bytes: 196.9 },
  modify: { operations: 122, hot: 71, work: 23.6, bytes: 282.9 },
  'push-and-pop': { operations: 65.5, hot: 38.1, work: 12, bytes: 152 },
  'rip-relative': { operations: 84.9, hot: 39.6, work: 14.3, bytes: 200.5 },
  segment: { operations: 86, hot: 46.8, work: 16.5, bytes: 200.9 },
  'compare-loop': { operations: 51.6, hot: 23.8, work: 7.3, bytes: 126.7 },
  'count-loop': { operations: 55.2, hot: 23.6, work: 7.3, bytes: 131.9 },
  branches: { operations: 22.7, hot: 13.4, work: 3.7, bytes: 56 },
  'add-with-carry': { operations: 55.7, hot: 34.3, work: 11.1, bytes: 137.6 },
  hash: { operations: 29.2, hot: 17.9, work: 5.1, bytes: 72.6 },
  shift: { operations: 60.6, hot: 38.1, work: 11, bytes: 147.5 },
  multiply: { operations: 62.6, hot: 35.4, work: 11.3, bytes: 148.8 },
  divide: { operations: 60, hot: 24.8, work: 7.2, bytes: 142.9 },
  'partial-registers': { operations: 42, hot: 22.7, work: 7, bytes: 100.8 },
  'conditional-move': { operations: 34.6, hot: 16.5, work: 4.3, bytes: 84.4 },
  'bit-test': { operations: 50.9, hot: 32.1, work: 10.2, bytes: 125.8 },
  call: { operations: 70.7, hot: 47.7, work: 15, bytes: 162.7 },
  function: { operations: 57.7, hot: 37.2, work: 12, bytes: 133.4 },
  'tail-jump': { operations: 49.1, hot: 26.4, work: 9.3, bytes: 114.5 },
  'jump-table': { operations: 31.6, hot: 19.6, work: 6, bytes: 74.4 },
  'string-copy': { operations: 84.8, hot: 19.6, work: 7.3, bytes: 198.3 },
  'double-arithmetic': { operations: 94, hot: 62.3, work: 23.4, bytes: 245.3 },
  'vector-copy': { operations: 67.5, hot: 34.1, work: 11.4, bytes: 171.7 },
  'vector-integer': { operations: 52.3, hot: 23.6, work: 8, bytes: 130.3 },
  'compare-exchange': { operations: 90.1, hot: 54.4, work: 18.7, bytes: 219 },
  'two-pages': { operations: 64, hot: 30.2, work: 10.3, bytes: 154.8 },
  'system-call': { operations: 78.2, hot: 28.4, work: 9.7, bytes: 200.7 },
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
