// Drives generator, oracle and engine over forms, and makes a failing case small before it is reported.

import { FXSAVE, type Outcome, plainState, type TestCase } from '../oracle/fuzz-case.ts';
import type { Oracle } from '../oracle/oracle.ts';
import { compareOutcomes, type Difference } from './compare.ts';
import type { EngineUnderTest } from './engine-under-test.ts';
import type { Form } from './form.ts';
import { type GeneratedCase, generateCase } from './generator.ts';

export interface Mismatch {
  readonly generated: GeneratedCase;
  readonly differences: readonly Difference[];
  /** What the engine threw, where it did. */
  readonly failure: string | undefined;
}

export interface FormResult {
  readonly form: Form;
  readonly cases: number;
  /** Cases that retired on the processor. */
  readonly retired: number;
  readonly mismatches: readonly Mismatch[];
}

export class Fuzzer {
  private readonly oracle: Oracle;
  private readonly engine: EngineUnderTest;

  constructor(oracle: Oracle, engine: EngineUnderTest) {
    this.oracle = oracle;
    this.engine = engine;
  }

  async runForms(forms: readonly Form[], seed: string, casesPerForm: number): Promise<FormResult[]> {
    const results: FormResult[] = [];
    for (const form of forms) results.push(await this.runForm(form, seed, casesPerForm));
    return results;
  }

  async runForm(form: Form, seed: string, casesPerForm: number): Promise<FormResult> {
    const { vendor } = this.oracle.host;
    const cases = Array.from({ length: casesPerForm }, (_, index) => generateCase(form, seed, index, vendor));
    return this.judge(form, cases);
  }

  async runCase(form: Form, seed: string, index: number): Promise<FormResult> {
    return this.judge(form, [generateCase(form, seed, index, this.oracle.host.vendor)]);
  }

  private async judge(form: Form, cases: readonly GeneratedCase[]): Promise<FormResult> {
    const outcomes = await this.oracle.run(cases.map(({ testCase }) => testCase));
    const mismatches: Mismatch[] = [];
    cases.forEach((generated, i) => {
      const mismatch = this.compare(generated, outcomes[i]!);
      if (mismatch) mismatches.push(mismatch);
    });
    const retired = outcomes.filter(({ vector }) => vector === undefined).length;
    return { form, cases: cases.length, retired, mismatches };
  }

  private compare(generated: GeneratedCase, expected: Outcome): Mismatch | undefined {
    try {
      const differences = compareOutcomes(generated, expected, this.engine.run(generated.testCase));
      return differences.length === 0 ? undefined : { generated, differences, failure: undefined };
    } catch (error) {
      return { generated, differences: [], failure: error instanceof Error ? error.message : String(error) };
    }
  }

  /** Removes from a failing case what its failure does not need. */
  async minimise(mismatch: Mismatch): Promise<Mismatch> {
    let best = mismatch;
    let improved = true;
    for (let round = 0; improved && round < 4; round++) {
      improved = false;
      for (const simplify of simplifications(best.generated.testCase)) {
        const testCase = structuredClone(best.generated.testCase);
        if (!simplify(testCase)) continue;
        const generated = { ...best.generated, testCase };
        const [expected] = await this.oracle.run([testCase]);
        const candidate = this.compare(generated, expected!);
        if (candidate && signature(candidate) === signature(best)) {
          best = candidate;
          improved = true;
        }
      }
    }
    return best;
  }
}

/** Two cases fail alike when they fail in the same first field, by the same outcomes where that is the field. */
function signature({ differences, failure }: Mismatch): string {
  const first = differences[0];
  if (first === undefined) return failure ?? '';
  return first.field === 'outcome' ? `${first.expected}/${first.actual}` : first.field.replace(/^memory.*/, 'memory');
}

type Simplification = (testCase: TestCase) => boolean;

function simplifications(testCase: TestCase): Simplification[] {
  const plain = plainState(testCase.mode);
  const list: Simplification[] = [];
  const bytesTo =
    (start: number, end: number): Simplification =>
    (one) => {
      const wanted = plain.fxsave.subarray(start, end);
      if (Buffer.compare(one.state.fxsave.subarray(start, end), wanted) === 0) return false;
      one.state.fxsave.set(wanted, start);
      return true;
    };
  list.push(bytesTo(0, FXSAVE.MXCSR), bytesTo(FXSAVE.MXCSR, FXSAVE.MXCSR + 4));
  for (let i = 0; i < 8; i++) list.push(bytesTo(FXSAVE.ST + i * 16, FXSAVE.ST + i * 16 + 16));
  for (let i = 0; i < 16; i++) list.push(bytesTo(FXSAVE.XMM + i * 16, FXSAVE.XMM + i * 16 + 16));
  // Outside 64-bit code the bases follow from the selectors.
  for (const name of testCase.mode === 64 ? (['rflags', 'fsBase', 'gsBase'] as const) : (['rflags'] as const)) {
    list.push(({ state }) => {
      if (state[name] === plain[name]) return false;
      state[name] = plain[name];
      return true;
    });
  }
  for (let i = 0; i < 16; i++) {
    for (const value of [0n, 1n]) {
      list.push(({ state }) => {
        if (state.gpr[i]! <= value) return false;
        state.gpr[i] = value;
        return true;
      });
    }
  }
  for (let i = testCase.patches.length - 1; i >= 0; i--) {
    list.push((one) => {
      if (one.patches[i] === undefined) return false;
      one.patches.splice(i, 1);
      return true;
    });
  }
  return list;
}
