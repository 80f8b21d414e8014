import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseOpcodeText } from '../isa/opcode-text.ts';
import { parseOperandCode } from '../isa/operand-code.ts';
import type { Row } from '../isa/row.ts';
import { ROWS } from '../isa/rows.ts';
import { buildDispatchTable } from './dispatch-table.ts';

function rowLike(opcode: string, operands: string[] = []): Row {
  return { id: 0, mnemonic: 'test', opcode, operands, lift: 'test', feature: 'base' };
}

test('no two rows of the table claim the same bytes, and every row can be reached', () => {
  const reached = new Set<number>();
  for (const node of buildDispatchTable(ROWS)) {
    for (const encoding of node?.slots ?? []) if (encoding !== undefined) reached.add(encoding.row.id);
  }
  const unreachable = ROWS.filter(({ id }) => !reached.has(id)).map(({ mnemonic, opcode }) => `${mnemonic} ${opcode}`);
  assert.deepEqual(unreachable, []);
});

test('two rows that claim the same bytes are refused', () => {
  assert.throws(() => buildDispatchTable([rowLike('80 /r', ['Eb']), rowLike('80 /3', ['Eb'])]), /claim the same bytes/);
  assert.throws(() => buildDispatchTable([rowLike('80 /3', ['Eb']), rowLike('80')]), /with and without ModR\/M/);
});

test('a row with a mandatory prefix wins over one that says nothing of prefixes', () => {
  const table = buildDispatchTable([rowLike('90'), rowLike('F3 90')]);
  const opcodes = table[0x90]?.slots.map((encoding) => encoding?.row.opcode);
  assert.deepEqual(new Set(opcodes?.slice(8, 12)), new Set(['F3 90']));
  assert.deepEqual(new Set(opcodes?.slice(0, 8)), new Set(['90']));
});

test('what follows ModR/M in the opcode text agrees with the operands', () => {
  const expected: Record<string, string> = { Ib: 'ib', Ibs: 'ib', Iw: 'iw', Iz: 'iz', Iv: 'iv', Jb: 'cb', Jz: 'cz' };
  for (const { mnemonic, opcode, operands } of ROWS) {
    const trailing = operands.flatMap((code) => {
      if (code.startsWith('O')) return ['mo'];
      return code === 'Ap' ? ['cp'] : (expected[code] ?? []);
    });
    assert.deepEqual(trailing, parseOpcodeText(opcode).trailing, `${mnemonic} ${opcode}`);
  }
});

test('a row has a ModR/M byte exactly where its operands need one', () => {
  for (const { mnemonic, opcode, operands } of ROWS) {
    const needs = operands.some((code) => /^[ERMGSCDVWUPQN]/.test(parseOperandCode(code).method));
    const { kind } = parseOpcodeText(opcode).modrm;
    if (kind !== 'byte') assert.equal(kind !== 'none', needs, `${mnemonic} ${opcode}`);
  }
});

test('opcode texts and operand codes that are not understood are refused', () => {
  for (const text of ['', '0F', '8', '51+r', 'NP 0F AE 20', 'D8 C1+i', '80 /8', '80 /0 ix', 'REX.X 80']) {
    assert.throws(() => parseOpcodeText(text), /opcode text/, text);
  }
  for (const code of ['', 'E?', 'Eqq', 'Hv', 'Gv/Mw', 'Rv/Ew'])
    assert.throws(() => parseOperandCode(code), /unknown/, code);
});
