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
  'move-and-add': { operations: 46.7, hot: 14.6, work: 3.3, bytes: 113.5 },
  load: { operations: 95, hot: 39.6, work: 16.9, bytes: 218.3 },
  store: { operations: 102.2, hot: 43.9, work: 17.7, bytes: 228.2 },
  modify: { operations: 138.8, hot: 66.7, work: 23.2, bytes: 312.8 },
  'push-and-pop': { operations: 77.1, hot: 39.4, work: 12.9, bytes: 177.9 },
  'rip-relative': { operations: 102.4, hot: 39.6, work: 14.3, bytes: 239.7 },
  segment: { operations: 103.5, hot: 47.1, work: 16.8, bytes: 240.1 },
  'compare-loop': { operations: 60.6, hot: 22.5, work: 6.9, bytes: 146.2 },
  'count-loop': { operations: 66.4, hot: 22, work: 6.7, bytes: 156.3 },
  branches: { operations: 26.8, hot: 12.8, work: 3.6, bytes: 64.8 },
  'add-with-carry': { operations: 63.6, hot: 34.9, work: 11.7, bytes: 154 },
  hash: { operations: 33.6, hot: 17.3, work: 4.9, bytes: 82.3 },
  shift: { operations: 69.6, hot: 36.9, work: 10.5, bytes: 167 },
  multiply: { operations: 73.9, hot: 33.8, work: 10.8, bytes: 173.1 },
  divide: { operations: 66.4, hot: 23.8, work: 6.8, bytes: 156.3 },
  'partial-registers': { operations: 49.4, hot: 21.6, work: 6.6, bytes: 117 },
  'conditional-move': { operations: 42.1, hot: 15.4, work: 4, bytes: 100.6 },
  'bit-test': { operations: 61.6, hot: 34.3, work: 11.6, bytes: 146.6 },
  call: { operations: 115.3, hot: 83.7, work: 31.8, bytes: 264.9 },
  recursion: { operations: 69.8, hot: 44.3, work: 15.2, bytes: 160.7 },
  function: { operations: 74.3, hot: 45.1, work: 16.4, bytes: 167.6 },
  'tail-jump': { operations: 75.5, hot: 44.3, work: 17.9, bytes: 172.5 },
  'jump-table': { operations: 40.4, hot: 24, work: 8.2, bytes: 93.7 },
  'string-copy': { operations: 92.9, hot: 18, work: 6.7, bytes: 214 },
  'double-arithmetic': { operations: 101.5, hot: 61.2, work: 23.1, bytes: 261.1 },
  'vector-copy': { operations: 76.7, hot: 33, work: 11.2, bytes: 191.4 },
  'vector-integer': { operations: 58.7, hot: 22.7, work: 7.7, bytes: 143.9 },
  'compare-exchange': { operations: 100.4, hot: 54.4, work: 18.7, bytes: 241.4 },
  'two-pages': { operations: 73, hot: 28.9, work: 9.9, bytes: 174.2 },
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
