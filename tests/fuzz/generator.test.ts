import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Decoder, DecoderOptions, Mnemonic } from 'iced-x86';
import { decode } from '../../src/decode/decoder.ts';
import { BASE_RIP } from '../../src/decode/instruction.ts';
import { ROWS } from '../../src/isa/rows.ts';
import type { FuzzMode } from '../oracle/fuzz-case.ts';
import type { HostProcessor } from '../oracle/oracle.ts';
import { type Form, selectForms } from './form.ts';
import { generateCase } from './generator.ts';

const MODES: readonly FuzzMode[] = [64, 32, 16];
const CASES = 6;
const SEED = process.env.BULKHEAD_SEED ?? '1';
/** A host with everything: the generator alone is tested here. */
const HOST: HostProcessor = { vendor: 'GenuineIntel', features: new Set(ROWS.map((row) => row.feature)), hasLdt: true };

function eachCase(mode: FuzzMode, check: (form: Form, index: number) => void): void {
  for (const form of selectForms(ROWS, mode, HOST).forms) {
    for (let index = 0; index < CASES; index++) check(form, index);
  }
}

/** Cases that are meant to raise #UD: a LOCK prefix where none is allowed, a load of CS. */
function isInvalid(bytes: Uint8Array, form: Form, lock: boolean, reg: number): boolean {
  return (bytes.includes(0xf0) && !lock) || (form.row.lift === 'mov-to-sreg' && reg === 1);
}

for (const mode of MODES) {
  test(`every ${mode}-bit instance decodes to the row it was made from (seed ${SEED})`, () => {
    eachCase(mode, (form, index) => {
      const { instance } = generateCase(form, SEED, index, HOST.vendor);
      const { bytes, memory } = instance;
      if (isInvalid(bytes, form, instance.lock, instance.reg)) return;
      const decoded = decode(bytes, 0, bytes.length, mode);
      const where = `${form.key}: ${Buffer.from(bytes).toString('hex')}`;
      assert(typeof decoded !== 'string', `${where} is ${decoded}`);
      assert.equal(decoded.row, form.row, where);
      assert.equal(decoded.lengthBytes, bytes.length, where);
      const operand = decoded.operands.find(({ kind }) => kind === 'memory');
      if (memory === undefined || operand?.kind !== 'memory') return;
      assert.equal(operand.base, memory.ripRelative ? BASE_RIP : memory.base, where);
      assert.equal(operand.index, memory.index, where);
      assert.equal(operand.addressBytes, memory.addressBytes, where);
    });
  });
}

test('every 64-bit instance is an instruction of the same length to iced-x86', () => {
  eachCase(64, (form, index) => {
    const { instance } = generateCase(form, SEED, index, HOST.vendor);
    if (isInvalid(instance.bytes, form, instance.lock, instance.reg)) return;
    const decoder = new Decoder(64, instance.bytes, DecoderOptions.None);
    const instruction = decoder.decode();
    const name = `${form.key}: ${Buffer.from(instance.bytes).toString('hex')}`;
    assert.notEqual(instruction.mnemonic, Mnemonic.INVALID, name);
    assert.equal(instruction.length, instance.bytes.length, name);
    instruction.free();
    decoder.free();
  });
});

test('a case depends on seed, form and number alone', () => {
  const { forms } = selectForms(ROWS, 64, HOST);
  const once = forms.map((form) => generateCase(form, SEED, 3, HOST.vendor).testCase);
  const again = forms.map((form) => generateCase(form, SEED, 3, HOST.vendor).testCase);
  assert.deepEqual(again, once);
  const other = generateCase(forms[0]!, `${SEED}'`, 3, HOST.vendor).testCase;
  assert.notDeepEqual(other, once[0]);
});
