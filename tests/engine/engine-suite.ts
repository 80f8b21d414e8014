// The shared suite of the engines: every case of cases/ on a processor that a test gives.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { DEBUG_CASES } from './cases/debug.ts';
import { EXCEPTION_CASES } from './cases/exceptions.ts';
import { FLOATING_POINT_CASES } from './cases/floating-point.ts';
import { INTERRUPT_CASES } from './cases/interrupts.ts';
import { MODE_CASES } from './cases/modes.ts';
import { PAGING_CASES } from './cases/paging.ts';
import { PRIVILEGE_CASES } from './cases/privilege.ts';
import { SEGMENT_CASES } from './cases/segments.ts';
import { SELF_MODIFYING_CASES } from './cases/self-modifying-code.ts';
import { SYSTEM_CALL_CASES } from './cases/system-calls.ts';
import type { EngineCase, Expectation } from './engine-case.ts';
import { Guest, PLACE, REGISTERS } from './guest.ts';
import type { IdleHost } from './idle-host.ts';
import type { TestVcpu } from './vcpu-factory.ts';

export const SUITES: Readonly<Record<string, readonly EngineCase[]>> = {
  paging: PAGING_CASES,
  segments: SEGMENT_CASES,
  privilege: PRIVILEGE_CASES,
  exceptions: EXCEPTION_CASES,
  interrupts: INTERRUPT_CASES,
  debug: DEBUG_CASES,
  'system calls': SYSTEM_CALL_CASES,
  'floating point state': FLOATING_POINT_CASES,
  'self-modifying code': SELF_MODIFYING_CASES,
  'processor modes': MODE_CASES,
};

const hex = (value: bigint | number | undefined) => (value === undefined ? 'none' : `0x${value.toString(16)}`);

function runSteps(guest: Guest, one: EngineCase): void {
  const { expect } = one;
  if (one.steps === 'run') {
    const exit = guest.run();
    const wanted = expect.shutdown ? 'shutdown' : 'halted-forever';
    const detail = 'message' in exit ? exit.message : 'reason' in exit ? exit.reason : '';
    assert.equal(exit.kind, wanted, `${detail} at rip ${hex(guest.vcpu.getState().rip)}`);
    return;
  }
  const steps = one.steps ?? 1;
  for (let step = 1; step <= steps; step++) {
    one.beforeStep?.[step]?.(guest);
    const result = guest.vcpu.step();
    const where = `step ${step}`;
    if (result.kind === 'exit') assert.fail(`${where} left with ${result.exit.kind}`);
    const vector = result.kind === 'exception' ? result.vector : undefined;
    assert.equal(vector, step === steps ? expect.vector : undefined, `vector of ${where}`);
    if (step < steps || result.kind !== 'exception') continue;
    assert.equal(hex(result.errorCode), hex(expect.errorCode), 'error code');
  }
}

function checkState(guest: Guest, expect: Expectation): void {
  const state = guest.vcpu.getState();
  const linearRip = guest.mode === 'real16' ? state.segments.cs.base + state.rip : state.rip;
  if (expect.handler !== undefined) {
    const handler = BigInt(PLACE.HANDLERS + expect.handler * 16);
    const reached = Number(linearRip - 1n - BigInt(PLACE.HANDLERS)) / 16;
    assert.equal(hex(linearRip), hex(handler + 1n), `expected the handler of vector ${expect.handler}, not ${reached}`);
  }
  if (expect.cr2 !== undefined) assert.equal(hex(state.cr2), hex(expect.cr2), 'cr2');
  if (expect.rip !== undefined) assert.equal(hex(state.rip), hex(expect.rip), 'rip');
  for (const [name, value] of Object.entries(expect.registers ?? {})) {
    assert.equal(hex(state.gpr[REGISTERS.indexOf(name)]), hex(value), name);
  }
  const flags = Number(state.rflags);
  assert.equal(flags & (expect.flagsSet ?? 0), expect.flagsSet ?? 0, `flags ${hex(flags)}: to be set`);
  assert.equal(flags & (expect.flagsClear ?? 0), 0, `flags ${hex(flags)}: to be clear`);
  if (expect.dr6 !== undefined) assert.equal(hex(state.debug.dr6), hex(expect.dr6), 'dr6');
  for (const [name, selector] of Object.entries(expect.selectors ?? {})) {
    assert.equal(hex(state.segments[name as 'cs'].selector), hex(selector), name);
  }
  expect.stack?.forEach((value, i) => {
    if (value === undefined) return;
    // Stacks that tests look at lie in the pages that are mapped one to one.
    const stack = Number(state.gpr[4]!) + i * 8;
    assert.equal(hex(guest.memory.readU64(stack)), hex(value), `stack + ${i * 8}`);
  });
  for (const [guestPhysical, value] of Object.entries(expect.memory ?? {})) {
    assert.equal(hex(guest.memory.readU64(Number(guestPhysical))), hex(value), `memory ${hex(Number(guestPhysical))}`);
  }
  expect.check?.(guest);
}

/** Runs one case; throws where the engine does not do what it says. */
export function runCase(target: TestVcpu, host: IdleHost, one: EngineCase): void {
  const guest = new Guest(target, host, one.mode, Buffer.from(one.code.replaceAll(' ', ''), 'hex'));
  one.prepare?.(guest);
  guest.start();
  runSteps(guest, one);
  checkState(guest, one.expect);
}

export interface SuiteOptions {
  readonly host: IdleHost;
  readonly target: TestVcpu;
  /** Why this engine is not held to a case, in a sentence; undefined where it is. */
  readonly skip?: (one: EngineCase, suite: string) => string | undefined;
}

/** The tests of all suites; to be called in a describe(). */
export function testSuites({ host, target, skip }: SuiteOptions): void {
  for (const [suite, cases] of Object.entries(SUITES)) {
    describe(suite, () => {
      for (const one of cases) {
        test(one.name, { skip: one.skip ?? skip?.(one, suite) ?? false }, () => runCase(target, host, one));
      }
    });
  }
}
