import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { bytesOfKey } from './key-bytes.ts';

const NO_MODIFIERS = { ctrlKey: false, altKey: false, metaKey: false };
const typed = (key: string, modifiers: Partial<typeof NO_MODIFIERS> = {}): string | undefined => {
  const bytes = bytesOfKey({ key, ...NO_MODIFIERS, ...modifiers });
  return bytes && new TextDecoder().decode(bytes);
};

describe('a key', () => {
  it('sends its character, in UTF-8', () => {
    assert.equal(typed('a'), 'a');
    assert.equal(typed('ä'), 'ä');
  });
  it('that ends a line or erases sends what a terminal does', () => {
    assert.equal(typed('Enter'), '\r');
    assert.equal(typed('Backspace'), '\x7f');
    assert.equal(typed('ArrowUp'), '\x1b[A');
  });
  it('with Ctrl sends a control code', () => {
    assert.equal(typed('c', { ctrlKey: true }), '\x03');
    assert.equal(typed(']', { ctrlKey: true }), '\x1d');
    assert.equal(typed('1', { ctrlKey: true }), undefined);
  });
  it('with Alt sends an escape before it', () => assert.equal(typed('b', { altKey: true }), '\x1bb'));
  it('of the browser, or a modifier alone, sends nothing', () => {
    assert.equal(typed('v', { ctrlKey: true }), undefined);
    assert.equal(typed('r', { metaKey: true }), undefined);
    assert.equal(typed('Shift'), undefined);
    assert.equal(typed('F5'), undefined);
  });
});
