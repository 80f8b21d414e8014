import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { type FuzzMode, type MachineState, plainState, type TestCase } from './fuzz-case.ts';
import { DATA_BASE, SELECTOR } from './layout.ts';
import { Oracle, oracleUnavailable } from './oracle.ts';

const unavailable = oracleUnavailable();

function makeCase(mode: FuzzMode, code: number[], change: (state: MachineState) => void = () => {}): TestCase {
  const state = plainState(mode);
  state.rip = mode === 16 ? 0x800n : 0x2000_0800n;
  state.gpr[4] = mode === 16 ? 0x1000n : BigInt(DATA_BASE + 0x1000);
  change(state);
  return { mode, code: Uint8Array.from(code), state, patches: [] };
}

describe('the oracle', { skip: unavailable && `no oracle: ${unavailable}` }, () => {
  let oracle: Oracle;
  before(async () => {
    oracle = await Oracle.start();
  });
  after(() => oracle.stop());

  const run = async (testCase: TestCase) => (await oracle.run([testCase]))[0]!;

  for (const mode of [64, 32, 16] as const) {
    test(`runs an addition in ${mode}-bit code`, async (t) => {
      if (mode === 16 && !oracle.host.hasLdt) return t.skip('the kernel makes no 16-bit segments');
      const outcome = await run(
        makeCase(mode, [0x01, 0xc8], (state) => {
          state.gpr[0] = 0x7fffn;
          state.gpr[1] = 1n;
        }),
      );
      assert.equal(outcome.vector, undefined);
      assert.equal(outcome.state.gpr[0], 0x8000n);
      assert.equal(outcome.state.rip, (mode === 16 ? 0x800n : 0x2000_0800n) + 2n);
      assert.equal(outcome.state.rflags & 0x8d5n, mode === 16 ? 0x894n : 0x14n);
    });
  }

  test('reports what a push wrote and no other memory', async () => {
    const outcome = await run(
      makeCase(64, [0x50], (state) => {
        state.gpr[0] = 0x1122_3344_5566_7788n;
      }),
    );
    assert.deepEqual(
      outcome.changes.map((change) => change.guestVirtual),
      [DATA_BASE + 0xff0, 0x2000_0800],
    );
    assert.equal(Buffer.from(outcome.changes[0]!.bytes).readBigUInt64LE(8), 0x1122_3344_5566_7788n);
  });

  test('gives vector, error code and CR2 of a page fault and leaves the state alone', async () => {
    const target = BigInt(DATA_BASE + 0x4010);
    const testCase = makeCase(64, [0x48, 0x89, 0x00], (state) => {
      state.gpr[0] = target;
    });
    const outcome = await run(testCase);
    assert.equal(outcome.vector, 14);
    assert.equal(outcome.errorCode, 7);
    assert.equal(outcome.cr2, target);
    assert.equal(outcome.state.rip, testCase.state.rip);
    assert.deepEqual(outcome.state.gpr, testCase.state.gpr);
  });

  test('follows a far jump from 64-bit into compatibility code', async () => {
    const testCase = makeCase(64, [0xff, 0x28], (state) => {
      state.gpr[0] = BigInt(DATA_BASE);
    });
    testCase.patches.push({
      guestVirtual: DATA_BASE,
      bytes: Uint8Array.of(0, 1, 0, 0x20, SELECTOR.userCode32, 0),
    });
    const outcome = await run(testCase);
    assert.equal(outcome.state.cs, SELECTOR.userCode32);
    assert.equal(outcome.state.rip, 0x2000_0100n);
  });

  test('restores memory between cases', async () => {
    const [, second] = await oracle.run([makeCase(64, [0x50]), makeCase(64, [0x90])]);
    assert.deepEqual(
      second!.changes.map((change) => change.guestVirtual),
      [0x2000_0800],
    );
  });
});
