import assert from 'node:assert/strict';
import { test } from 'node:test';
import { UserError } from '../base/errors.ts';
import { fakeApplets, fakeBusybox } from './archive.fixture.ts';
import { listApplets } from './busybox.ts';

test('listApplets reads the whole table, past a place that only looks like its start', () => {
  assert.deepEqual(listApplets(fakeBusybox()), fakeApplets());
});

test('listApplets refuses a binary without a table, with a short one, or one that the file ends in', () => {
  for (const applets of [[], ['[', '[[', 'ash', 'cat']]) {
    assert.throws(() => listApplets(fakeBusybox(applets)), UserError);
  }
  assert.throws(() => listApplets(fakeBusybox().subarray(0, 200)), UserError);
});
