import assert from 'node:assert/strict';
import { test } from 'node:test';
import { UserError } from '../base/errors.ts';
import { formatMemorySize, parseMemorySize } from './memory-size.ts';

test('sizes have a unit of K, M or G, in either case', () => {
  assert.equal(parseMemorySize('512M'), 512 * 1024 ** 2);
  assert.equal(parseMemorySize('1g'), 1024 ** 3);
  assert.equal(parseMemorySize('262144K'), 256 * 1024 ** 2);
  assert.equal(parseMemorySize('1.5GiB'), 1536 * 1024 ** 2);
  assert.equal(parseMemorySize('256MB'), 256 * 1024 ** 2);
});

test('a size is rounded down to whole MiB', () => {
  assert.equal(parseMemorySize('65537K'), 64 * 1024 ** 2);
});

test('what is no size, too little or too much is refused in one line with a hint', () => {
  for (const [text, message] of [
    ['', /not a size/],
    ['512', /not a size/],
    ['-1G', /not a size/],
    ['lots', /not a size/],
    ['63M', /too little/],
    ['3073M', /too much/],
    ['99999999999999999999G', /too much/],
  ] as const) {
    assert.throws(
      () => parseMemorySize(text),
      (error) =>
        error instanceof UserError &&
        message.test(error.message) &&
        !error.message.includes('\n') &&
        error.hint !== undefined &&
        error.exitStatus === 2,
      text,
    );
  }
});

test('the limits themselves are taken', () => {
  assert.equal(parseMemorySize('64M'), 64 * 1024 ** 2);
  assert.equal(parseMemorySize('3G'), 3 * 1024 ** 3);
});

test('sizes are printed in the largest unit that is whole', () => {
  assert.equal(formatMemorySize(256 * 1024 ** 2), '256 MiB');
  assert.equal(formatMemorySize(3 * 1024 ** 3), '3 GiB');
  assert.equal(formatMemorySize(1536 * 1024 ** 2), '1536 MiB');
});
