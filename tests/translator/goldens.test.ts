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
  'move-and-add': { operations: 45.8, hot: 13.7, work: 3, bytes: 112 },
  load: { operations: 95, hot: 39.6, work: 16.9, bytes: 218.3 },
  store: { operations: 99, hot: 43.9, work: 17.7, bytes: 219.7 },
  modify: { operations: 138.8, hot: 66.7, work: 23.2, bytes: 312.8 },
  'push-and-pop': { operations: 75.8, hot: 38.1, work: 12, bytes: 174.5 },
  'rip-relative': { operations: 101.3, hot: 39.6, work: 14.3, bytes: 236.9 },
  segment: { operations: 98.1, hot: 41.8, work: 15, bytes: 226.9 },
  'compare-loop': { operations: 58.9, hot: 20.8, work: 6.5, bytes: 143.2 },
  'count-loop': { operations: 65.3, hot: 20.9, work: 6.5, bytes: 154.4 },
  branches: { operations: 25.4, hot: 11.4, work: 3.2, bytes: 61.7 },
  'add-with-carry': { operations: 63.2, hot: 34.4, work: 11.4, bytes: 152.8 },
  hash: { operations: 31.7, hot: 15.4, work: 4.3, bytes: 78.6 },
  shift: { operations: 67.9, hot: 35.1, work: 10.1, bytes: 164 },
  multiply: { operations: 69.9, hot: 29.7, work: 9.4, bytes: 165.1 },
  divide: { operations: 64.2, hot: 21.6, work: 6.3, bytes: 151.1 },
  'partial-registers': { operations: 47.7, hot: 19.8, work: 6.1, bytes: 113.8 },
  'conditional-move': { operations: 41.1, hot: 14.3, work: 3.8, bytes: 98.7 },
  'bit-test': { operations: 60.1, hot: 32.9, work: 11.1, bytes: 143.6 },
  call: { operations: 115.3, hot: 83.7, work: 31.8, bytes: 264.9 },
  recursion: { operations: 67.3, hot: 41.8, work: 14.3, bytes: 154.6 },
  function: { operations: 73.5, hot: 44.7, work: 16.1, bytes: 165.5 },
  'tail-jump': { operations: 72.3, hot: 41.1, work: 17.2, bytes: 165.7 },
  'jump-table': { operations: 39.3, hot: 23, work: 7.9, bytes: 91.1 },
  'string-copy': { operations: 92.9, hot: 18, work: 6.7, bytes: 214 },
  'double-arithmetic': { operations: 100.8, hot: 60.5, work: 22.9, bytes: 259.9 },
  'vector-copy': { operations: 75.2, hot: 31.5, work: 10.5, bytes: 188.2 },
  'vector-integer': { operations: 56.9, hot: 20.8, work: 7.2, bytes: 140.1 },
  'compare-exchange': { operations: 100.4, hot: 54.4, work: 18.7, bytes: 241.4 },
  'two-pages': { operations: 70.5, hot: 26.4, work: 9.3, bytes: 169.8 },
  'system-call': { operations: 124.2, hot: 48.7, work: 20.4, bytes: 299.1 },
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
