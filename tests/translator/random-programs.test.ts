import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ALL_MODES, runCampaign } from './campaign.ts';
import { Code } from './code.ts';
import { Comparison } from './comparison.ts';
import { generateProgram } from './generator.ts';
import { MODES } from './guest.ts';
import { layOut, type Program } from './program.ts';

// Few programs on two engines with every run of the tests; BULKHEAD_TRANSLATE=first asks for many on all of them.
const thorough = process.env.BULKHEAD_TRANSLATE === 'first';
const programs = Number(process.env.BULKHEAD_TRANSLATOR_PROGRAMS ?? (thorough ? 200 : 10));
const modes = thorough ? ALL_MODES : [MODES.first, MODES.mixedDisturbed];

for (const seed of ['1', process.env.BULKHEAD_SEED ?? `${Date.now()}`]) {
  test(`random programs end translated as they do interpreted (seed ${seed})`, () => {
    const { failures, compared } = runCampaign({ seed, programs, modes });
    assert.deepEqual(failures, []);
    // One in eight is of no use, as a rule: six of ten by chance alone once in some thousand runs.
    assert.ok(compared > programs * 0.4, `only ${compared} of ${programs} programs could be compared`);
  });
}

test('random programs are translated, and meet exceptions', () => {
  const comparison = new Comparison(modes);
  let exceptions = 0;
  for (let k = 0; k < 5; k++) {
    const verdict = comparison.compare(generateProgram(`1/${k}`));
    if (verdict.kind === 'same') exceptions += verdict.exceptions;
  }
  assert.ok(exceptions > 0);
  for (const mode of modes) {
    const { regions } = comparison.guest(mode).vcpu.translator;
    assert.ok(regions > 5, `${mode.name}: ${regions} regions`);
  }
  assert.equal(comparison.guest(MODES.interpreted).vcpu.translator.regions, 0);
});

/** Kernel code alone, with interrupts. */
function handMade(code: Code): Program {
  const rest = { user: false, interrupts: true, mainCalls: [], functions: [], table: [] };
  return { ...generateProgram('1/0'), ...rest, features: ['control'], mainEnd: code };
}

test('a program that ends is not endless with interrupts between its single steps', () => {
  // mov eax, 0x401; mov dr7, rax: a breakpoint at 0 that nobody meets
  // mov ecx, 50000; loop: dec ecx; jnz loop; int 0x81
  const code = new Code().raw(0xb8, 1, 4, 0, 0, 0x0f, 0x23, 0xf8, 0xb9, 0x50, 0xc3, 0, 0, 0xff, 0xc9, 0x75, 0xfc);
  const verdict = new Comparison([MODES.mixedDisturbed]).compare(handMade(code.int(0x81)));
  assert.equal(verdict.kind, 'same', JSON.stringify(verdict, undefined, 2));
});

test('a program that does not end is endless with interrupts too', () => {
  // loop: jmp loop
  const { exit } = new Comparison([]).guest(MODES.mixedDisturbed).run(layOut(handMade(new Code().raw(0xeb, 0xfe))));
  assert.equal(exit.kind, 'endless');
});

test('a program depends on its name alone', () => {
  const [once, again] = [generateProgram('5/5'), generateProgram('5/5')];
  assert.deepEqual(layOut(again).code, layOut(once).code);
  assert.notDeepEqual(layOut(generateProgram('5/6')).code, layOut(once).code);
});
