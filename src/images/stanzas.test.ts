import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseStanzas } from './stanzas.ts';

test('stanzas are parted by blank lines, values continued by a space, comments passed over', () => {
  const text = '\nPackage: a\nDescription: short\n long\n .\n# no\n more\r\n\n\n\nPackage:b\nEmpty:\n x\nnonsense\n';
  assert.deepEqual(
    parseStanzas(text).map((stanza) => Object.fromEntries(stanza)),
    [
      { package: 'a', description: 'short\nlong\n.\nmore' },
      { package: 'b', empty: '\nx' },
    ],
  );
});

test('a text without fields has no stanzas', () => {
  assert.deepEqual(parseStanzas('\n\n# x\n continued nothing\n'), []);
});
