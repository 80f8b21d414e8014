import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { ConsoleScreen } from './console-screen.ts';

/** What is shown after each chunk in turn, with `|` before the cursor's cell. */
function shown(...chunks: (string | Uint8Array)[]): string {
  const screen = new ConsoleScreen();
  for (const chunk of chunks) screen.write(typeof chunk === 'string' ? new TextEncoder().encode(chunk) : chunk);
  const { before, under, after } = screen.parts;
  return `${before}|${under}${after}`;
}

describe('the console of the page', () => {
  it('shows lines', () => assert.equal(shown('one\r\ntwo'), 'one\ntwo| '));
  it('writes over what is there after a carriage return', () => assert.equal(shown('12345\rab'), 'ab|345'));
  it('goes back and erases as a line editor does', () => assert.equal(shown('lss\b\x1b[J -l'), 'ls -l| '));
  it('ends a line at the cursor', () => assert.equal(shown('12345\b\b\x1b[K'), '123| '));
  it('shows nothing of a question for the cursor, nor of colours', () =>
    assert.equal(shown('\x1b[6n\x1b[1;34mblue\x1b[m'), 'blue| '));
  it('takes sequences and characters apart that come in two pieces', () => {
    assert.equal(shown('a\x1b', '[', '1', 'mb'), 'ab| ');
    assert.equal(shown(Uint8Array.of(0xc3), Uint8Array.of(0xa4)), 'ä| ');
  });
  it('keeps columns of tabs', () => assert.equal(shown('a\tb'), 'a       b| '));
  it('clears', () => assert.equal(shown('old\r\nold\x1b[H\x1b[2Jnew'), 'new| '));
  it('forgets the oldest lines', () => {
    const { length } = shown(Array.from({ length: 3000 }, () => 'x\r\n').join('')).split('\n');
    assert.equal(length, 2000);
  });
});
