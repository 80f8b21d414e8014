import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { UserError } from '../base/errors.ts';
import { readAr } from './ar.ts';
import { writeAr } from './archive.fixture.ts';

const bytes = (text: string) => new Uint8Array(Buffer.from(text));
const MEMBERS = [
  { name: 'debian-binary', data: bytes('2.0\n') },
  { name: 'odd', data: bytes('abc') },
  { name: 'empty', data: bytes('') },
  { name: 'last', data: bytes('x') },
];

describe('readAr', () => {
  test('gives back every member, those of odd length and empty ones among them', () => {
    assert.deepEqual([...readAr(writeAr(MEMBERS))], MEMBERS);
  });

  test("takes GNU ar's slash off a name", () => {
    const [member] = readAr(writeAr([{ name: 'name/', data: bytes('') }]));
    assert.equal(member?.name, 'name');
  });

  test('takes a last member of odd length whose padding is missing', () => {
    assert.equal([...readAr(writeAr(MEMBERS).slice(0, -1))].length, 4);
  });

  test('refuses what is no archive, and an archive that is cut or damaged', () => {
    const archive = writeAr(MEMBERS);
    const damaged = archive.slice();
    damaged[8 + 58] = 0;
    const badSize = archive.slice();
    badSize[8 + 48] = 'x'.charCodeAt(0);
    for (const bad of [bytes(''), bytes('PK\x03\x04'), archive.slice(0, -2), archive.slice(0, 30), damaged, badSize]) {
      assert.throws(() => [...readAr(bad)], UserError);
    }
  });
});
