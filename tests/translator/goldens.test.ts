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
  'move-and-add': { operations: 36.4, hot: 14.6, work: 3.3, bytes: 90.6 },
  load: { operations: 82.2, hot: 39.6, work: 16.9, bytes: 189.7 },
  store: { operations: 89.4, hot: 43.9, work: 17.7, bytes: 199.6 },
  modify: { operations: 121.7, hot: 66.7, work: 23.2, bytes: 275.4 },
  'push-and-pop': { operations: 66.8, hot: 39.4, work: 12.9, bytes: 155 },
  'rip-relative': { operations: 85.3, hot: 39.6, work: 14.3, bytes: 201.6 },
  segment: { operations: 86.4, hot: 47.1, work: 16.8, bytes: 201.9 },
  'compare-loop': { operations: 50.3, hot: 22.5, work: 6.9, bytes: 123.3 },
  'count-loop': { operations: 53.5, hot: 22, work: 6.7, bytes: 127.6 },
  branches: { operations: 22.1, hot: 12.8, work: 3.6, bytes: 54.4 },
  'add-with-carry': { operations: 54.9, hot: 33.5, work: 10.9, bytes: 135.6 },
  hash: { operations: 28.5, hot: 17.3, work: 4.9, bytes: 70.9 },
  shift: { operations: 59.3, hot: 36.9, work: 10.5, bytes: 144.1 },
  multiply: { operations: 61, hot: 33.8, work: 10.8, bytes: 144.5 },
  divide: { operations: 57.8, hot: 23.8, work: 6.8, bytes: 137.2 },
  'partial-registers': { operations: 40.9, hot: 21.6, work: 6.6, bytes: 98 },
  'conditional-move': { operations: 33.6, hot: 15.4, work: 4, bytes: 81.5 },
  'bit-test': { operations: 49.8, hot: 31.1, work: 9.9, bytes: 122.9 },
  call: { operations: 70.7, hot: 47.7, work: 15, bytes: 162.7 },
  'local-calls': { operations: 68.9, hot: 42.7, work: 14.6, bytes: 157.7 },
  function: { operations: 59.6, hot: 36.8, work: 12.6, bytes: 134.5 },
  'tail-jump': { operations: 49.1, hot: 26.4, work: 9.3, bytes: 114.5 },
  'jump-table': { operations: 31.6, hot: 19.6, work: 6, bytes: 74.4 },
  'string-copy': { operations: 80, hot: 18, work: 6.7, bytes: 185.4 },
  'double-arithmetic': { operations: 93, hot: 61.2, work: 23.1, bytes: 242.4 },
  'vector-copy': { operations: 66.4, hot: 33, work: 11.2, bytes: 168.9 },
  'vector-integer': { operations: 51.4, hot: 22.7, work: 7.7, bytes: 127.8 },
  'compare-exchange': { operations: 90.1, hot: 54.4, work: 18.7, bytes: 219 },
  'two-pages': { operations: 62.8, hot: 28.9, work: 9.9, bytes: 151.3 },
  'system-call': { operations: 71.7, hot: 22, work: 7.5, bytes: 183.6 },
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
