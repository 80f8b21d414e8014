// The long run of the instruction fuzzer: every user-mode form against the host's processor, deterministic from a seed.
// Prints what is covered, what is not and why, and mismatches made small, each with the command that repeats it.

import { parseArgs } from 'node:util';
import { ROWS } from '../src/isa/rows.ts';
import { IdleHost } from '../tests/engine/idle-host.ts';
import { createTestVcpu } from '../tests/engine/vcpu-factory.ts';
import { EngineUnderTest, RAM_BYTES } from '../tests/fuzz/engine-under-test.ts';
import { type Form, type SkippedForm, selectForms } from '../tests/fuzz/form.ts';
import { type FormResult, Fuzzer } from '../tests/fuzz/fuzzer.ts';
import { describeMismatch, summarise } from '../tests/fuzz/report.ts';
import { NEVER_COMPARED, RULES } from '../tests/fuzz/undefined-results.ts';
import type { FuzzMode } from '../tests/oracle/fuzz-case.ts';
import { Oracle, oracleUnavailable } from '../tests/oracle/oracle.ts';

const USAGE = `Usage: npm run fuzz -- [options]

Compares the software engine with this host's processor, instruction by instruction.

  --seed S              names the random cases (default: 1)
  --cases-per-form N    default 1000
  --mode 64|32|16       one mode only
  --only WORDS          mnemonics or lifting functions, separated by commas
  --form KEY            one form, as the report names it
  --case K              one case of that form
  --show N              mismatches shown for each form (default 1)
  --list                lists covered and uncovered forms and what is not compared, and runs nothing
  --help                this text`;

const MODES: readonly FuzzMode[] = [64, 32, 16];

function positiveInteger(name: string, text: string): number {
  const value = Number(text);
  if (!Number.isSafeInteger(value) || value < 0) throw new RangeError(`--${name} ${text}: not a whole number`);
  return value;
}

function printSkipped(skipped: readonly SkippedForm[]): void {
  console.log(`\n${skipped.length} forms not covered:`);
  for (const { key, reason } of skipped) console.log(`  ${key}: ${reason}`);
}

async function main(): Promise<number> {
  const { values } = parseArgs({
    options: {
      seed: { type: 'string', default: process.env.BULKHEAD_SEED ?? '1' },
      'cases-per-form': { type: 'string', default: '1000' },
      mode: { type: 'string' },
      only: { type: 'string' },
      form: { type: 'string' },
      case: { type: 'string' },
      show: { type: 'string', default: '1' },
      list: { type: 'boolean', default: false },
      help: { type: 'boolean', default: false },
    },
  });
  if (values.help) {
    console.log(USAGE);
    return 0;
  }
  const unavailable = oracleUnavailable();
  if (unavailable !== undefined) {
    console.error(`This host cannot judge instructions: ${unavailable}.`);
    return 69;
  }
  const casesPerForm = positiveInteger('cases-per-form', values['cases-per-form']);
  const shown = positiveInteger('show', values.show);
  const only = values.only?.split(',');
  const modes = values.mode === undefined ? MODES : MODES.filter((mode) => String(mode) === values.mode);
  if (modes.length === 0) throw new RangeError(`--mode ${values.mode}: 64, 32 or 16`);

  const oracle = await Oracle.start();
  const forms: Form[] = [];
  const skipped: SkippedForm[] = [];
  for (const mode of modes) {
    const selected = selectForms(ROWS, mode, oracle.host);
    skipped.push(...selected.skipped);
    forms.push(
      ...selected.forms.filter(
        ({ key, row }) =>
          (only === undefined || only.includes(row.mnemonic) || only.includes(row.lift)) &&
          (values.form === undefined || values.form === key),
      ),
    );
  }
  if (values.list) {
    console.log(`${forms.length} forms covered:`);
    for (const { key } of forms) console.log(`  ${key}`);
    printSkipped(skipped);
    console.log('\nNot compared in covered forms:');
    for (const { lifts, source } of RULES) console.log(`  ${lifts.join(', ')}: ${source}`);
    for (const text of NEVER_COMPARED) console.log(`  ${text}`);
    oracle.stop();
    return 0;
  }
  if (forms.length === 0) {
    oracle.stop();
    throw new RangeError('no form matches');
  }

  const { vcpu, memory } = createTestVcpu(new IdleHost(), RAM_BYTES);
  const fuzzer = new Fuzzer(oracle, new EngineUnderTest(vcpu, memory));
  console.log(`seed ${values.seed}, ${forms.length} forms, ${casesPerForm} cases a form, on ${oracle.host.vendor}`);
  const startMs = performance.now();
  const results: FormResult[] = [];
  for (const form of forms) {
    const result =
      values.case === undefined
        ? await fuzzer.runForm(form, values.seed, casesPerForm)
        : await fuzzer.runCase(form, values.seed, positiveInteger('case', values.case));
    results.push(result);
    for (const mismatch of result.mismatches.slice(0, shown)) {
      console.log(`\n${describeMismatch(await fuzzer.minimise(mismatch), values.seed)}`);
    }
  }
  const elapsedSeconds = (performance.now() - startMs) / 1000;
  oracle.stop();

  if (only === undefined && values.form === undefined) printSkipped(skipped);
  const cases = results.reduce((sum, result) => sum + result.cases, 0);
  const failing = results.filter(({ mismatches }) => mismatches.length > 0);
  const mismatches = failing.reduce((sum, result) => sum + result.mismatches.length, 0);
  if (failing.length > 0) console.log(`\nMismatches by lifting function:\n${summarise(failing)}`);
  console.log(
    `\n${results.length} forms, ${cases} cases in ${elapsedSeconds.toFixed(1)} s: ` +
      `${mismatches} mismatches in ${failing.length} forms`,
  );
  return mismatches === 0 ? 0 : 1;
}

try {
  process.exitCode = await main();
} catch (error) {
  console.error(error instanceof RangeError || error instanceof TypeError ? error.message : error);
  process.exitCode = 2;
}
