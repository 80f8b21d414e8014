// Debian's python3. The rows' scripts are bench/guest/python-*.py; what they must print is computed in JavaScript.

import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import type { Mode, Row } from './row.ts';

const STARTS = { quick: 1, short: 2, standard: 10 };
const FANNKUCH_SIZE = { quick: 7, short: 8, standard: 9 };
const JSON_RECORDS = { quick: 500, short: 4_000, standard: 40_000 };
const REGEX_LINES = { quick: 500, short: 2_500, standard: 40_000 };
const DICT_KEYS = { quick: 5_000, short: 50_000, standard: 500_000 };

/** By size: checksum and most flips. */
const FANNKUCH_RESULTS: Readonly<Record<number, string>> = { 7: '228 16', 8: '1616 22', 9: '8629 30' };

export function pythonRows(mode: Mode): Row[] {
  const starts = STARTS[mode];
  const size = FANNKUCH_SIZE[mode];
  return [
    {
      name: 'python-start',
      group: 'python',
      summary: `python3: ${starts} times start-up with three modules`,
      packages: PACKAGES,
      setUp: 'python3 -c "import json, re, collections"',
      work: `i=0
while [ $i -lt ${starts} ]; do i=$((i + 1)); python3 -c "import json, re, collections; print(6 * 7)"; done`,
      expected: Array.from({ length: starts }, () => '42').join('\n'),
    },
    scriptRow('fannkuch', `permutations of ${size} and their flips`, size, FANNKUCH_RESULTS[size]!),
    scriptRow('json', `${JSON_RECORDS[mode].toLocaleString('en')} records to JSON and back`, JSON_RECORDS[mode], () =>
      jsonHash(JSON_RECORDS[mode]),
    ),
    scriptRow(
      'regex',
      `regular expressions over ${REGEX_LINES[mode].toLocaleString('en')} lines`,
      REGEX_LINES[mode],
      () => regexCounts(REGEX_LINES[mode]),
    ),
    scriptRow('dict', `a dict of ${DICT_KEYS[mode].toLocaleString('en')} keys`, DICT_KEYS[mode], () =>
      dictSums(DICT_KEYS[mode]),
    ),
  ];
}

const PACKAGES = ['python3-minimal', 'libpython3-stdlib'];

function scriptRow(script: string, summary: string, size: number, expected: string | (() => string)): Row {
  const path = `/bench/python-${script}.py`;
  return {
    name: `python-${script}`,
    group: 'python',
    summary: `python3: ${summary}`,
    packages: PACKAGES,
    files: [{ path, data: readFileSync(new URL(`../guest/python-${script}.py`, import.meta.url)) }],
    // Its modules come compiled from the second start on.
    setUp: `python3 ${path} 2 >/dev/null`,
    work: `python3 ${path} ${size}`,
    expected: typeof expected === 'string' ? expected : async () => expected(),
  };
}

/** The numbers of the scripts: x -> 1664525 x + 1013904223 modulo 2^32. */
function* randomNumbers(): Generator<number, never> {
  for (let x = 1; ; ) {
    x = (Math.imul(x, 1664525) + 1013904223) >>> 0;
    yield x;
  }
}

function jsonHash(records: number): string {
  const random = randomNumbers();
  const next = (): number => random.next().value;
  const list = Array.from({ length: records }, (_, id) => ({
    id,
    name: `record ${next() % 1000}`,
    tags: Array.from({ length: id % 5 }, () => `tag-${next() >>> 24}`),
    size: next(),
    nested: { flag: id % 3 === 0, nothing: null, list: [id, id * 2, -id], text: 'quoted "text" and \u00fcber' },
  }));
  const text = JSON.stringify(list);
  return `${createHash('md5').update(text).digest('hex')} ${records}`;
}

function regexCounts(lines: number): string {
  const random = randomNumbers();
  const next = (): number => random.next().value >>> 8;
  const words = ['alpha', 'beta', 'gamma', 'delta', 'GET', 'POST', 'error', 'warning'];
  const text = Array.from({ length: lines }, () => {
    const address = Array.from({ length: 4 }, () => next() % 300).join('.');
    const path = `${words[next() % 8]} /${words[next() % 8]}/${next() % 10000}`;
    return `${address} ${path}?q=${words[next() % 8]} ${next() % 600}\n`;
  }).join('');
  const addresses = text.match(/\b(?:(?:25[0-5]|2[0-4]\d|1?\d?\d)\.){3}(?:25[0-5]|2[0-4]\d|1?\d?\d)\b/g)?.length ?? 0;
  const queries = text.match(/(?:GET|POST) \/(\w+)\/(\d+)\?q=\1/g)?.length ?? 0;
  const replaced = text.replace(/(\w+)=(\w+)/g, '$2:$1');
  const words3 = text.split(/[\s/?.=]+/).filter((word) => /^[a-z]+$/.test(word)).length;
  return `${addresses} ${queries} ${createHash('md5').update(replaced).digest('hex')} ${words3}`;
}

function dictSums(keys: number): string {
  const random = randomNumbers();
  const counts = new Map<string, number>();
  for (let i = 0; i < keys; i++) {
    const key = `key-${random.next().value % (keys * 2)}`;
    counts.set(key, (counts.get(key) ?? 0) + i);
  }
  let sum = 0;
  for (let i = 0; i < keys * 2; i += 3) sum += counts.get(`key-${i}`) ?? 0;
  const largest = Math.max(0, ...[...counts.values()].slice(0, 1000));
  return `${counts.size} ${sum} ${largest}`;
}
