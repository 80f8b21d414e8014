import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { ManualClock } from '../base/clock.ts';
import { createProgressBar } from './progress-bar.ts';

function record(stream: { isTTY: boolean; columns?: number }) {
  const written: string[] = [];
  const clock = new ManualClock();
  const progress = createProgressBar({ ...stream, write: (text) => written.push(text) }, clock);
  return { written, clock, progress };
}

const cleared = (text: string) => {
  assert.ok(text.startsWith('\r\x1b[K'));
  return text.slice(4);
};

describe('progress bar', () => {
  test('grows with what has come, at most ten times a second', () => {
    const { written, clock, progress } = record({ isTTY: true });
    progress.start('kernel', 2_000_000);
    for (let i = 0; i < 100; i++) {
      clock.advanceNs(10e6);
      progress.advance(10_000);
    }
    assert.equal(written.length, 11);
    assert.equal(cleared(written[0]!), `${'░'.repeat(24)}  0.0 of 2.0 MB  kernel`);
    assert.equal(cleared(written[10]!), `${'█'.repeat(12)}${'░'.repeat(12)}  1.0 of 2.0 MB  kernel`);
  });

  test('leaves one line when the transfer has ended, whole or not', () => {
    const { written, progress } = record({ isTTY: true });
    progress.start('kernel', 2_000_000);
    progress.advance(1_500_000);
    progress.finish();
    assert.equal(cleared(written.at(-1)!), '1.5 of 2.0 MB  kernel\n');
    progress.start('busybox', 1_000_000);
    progress.advance(1_000_000);
    progress.finish();
    assert.equal(cleared(written.at(-1)!), '1.0 MB  busybox\n');
  });

  test('shows no bar where the size is not known', () => {
    const { written, progress } = record({ isTTY: true });
    progress.start('release', undefined);
    assert.equal(cleared(written[0]!), '0.0 MB  release');
  });

  test('never fills a line of the terminal', () => {
    const { written, progress } = record({ isTTY: true, columns: 20 });
    progress.start('x'.repeat(100), 1000);
    progress.finish();
    for (const text of written) assert.ok(cleared(text).trimEnd().length < 20);
  });

  test('is one plain line a transfer where nobody watches', () => {
    const { written, progress } = record({ isTTY: false });
    progress.start('kernel', 34_402_644);
    progress.advance(34_402_644);
    progress.finish();
    progress.start('release', undefined);
    progress.finish();
    assert.deepEqual(written, ['fetching kernel (34.4 MB)\n', 'fetching release\n']);
  });
});
