// Words for a mismatch: the instruction, the state that matters, what the processor did and what the engine did.

import { Decoder, DecoderOptions, Formatter, FormatterSyntax } from 'iced-x86';
import { FXSAVE, plainState, type TestCase } from '../oracle/fuzz-case.ts';
import { findSegment } from '../oracle/layout.ts';
import type { Form } from './form.ts';
import type { FormResult, Mismatch } from './fuzzer.ts';

const REGISTER_NAMES = 'rax rcx rdx rbx rsp rbp rsi rdi r8 r9 r10 r11 r12 r13 r14 r15'.split(' ');

const hexBytes = (bytes: Uint8Array) => Buffer.from(bytes).toString('hex');

export function disassemble({ mode, code, state }: TestCase): string {
  const bits = findSegment(state.cs).attributes & 0x2000 ? 64 : mode;
  const decoder = new Decoder(bits, code, DecoderOptions.None);
  decoder.ip = state.rip;
  const instruction = decoder.decode();
  const formatter = new Formatter(FormatterSyntax.Nasm);
  const text = formatter.format(instruction);
  for (const wasm of [formatter, instruction, decoder]) wasm.free();
  return text;
}

/** The parts of a state that differ from the quiet one. */
export function describeInput(testCase: TestCase): string[] {
  const { state } = testCase;
  const plain = plainState(testCase.mode);
  const words: string[] = [];
  state.gpr.forEach((value, i) => {
    if (value !== 0n) words.push(`${REGISTER_NAMES[i]}=${value.toString(16)}`);
  });
  words.push(`rip=${state.rip.toString(16)}`, `rflags=${state.rflags.toString(16)}`);
  for (const name of ['cs', 'ss', 'ds', 'es', 'fs', 'gs'] as const) {
    if (state[name] !== plain[name]) words.push(`${name}=${state[name].toString(16)}`);
  }
  for (const name of ['fsBase', 'gsBase'] as const) {
    if (state[name] !== 0n) words.push(`${name}=${state[name].toString(16)}`);
  }
  const lines = [words.join(' ')];
  const vectors: string[] = [];
  const part = (name: string, start: number, end: number) => {
    const bytes = state.fxsave.subarray(start, end);
    if (Buffer.compare(bytes, plain.fxsave.subarray(start, end)) !== 0) vectors.push(`${name}=${hexBytes(bytes)}`);
  };
  part('fcw', FXSAVE.FCW, FXSAVE.FCW + 2);
  part('fsw', FXSAVE.FSW, FXSAVE.FSW + 2);
  part('ftw', FXSAVE.FTW, FXSAVE.FTW + 1);
  part('mxcsr', FXSAVE.MXCSR, FXSAVE.MXCSR + 4);
  for (let i = 0; i < 8; i++) part(`st${i}`, FXSAVE.ST + i * 16, FXSAVE.ST + i * 16 + 10);
  for (let i = 0; i < 16; i++) part(`xmm${i}`, FXSAVE.XMM + i * 16, FXSAVE.XMM + i * 16 + 16);
  if (vectors.length > 0) lines.push(vectors.join(' '));
  for (const patch of testCase.patches) lines.push(`[${patch.guestVirtual.toString(16)}]=${hexBytes(patch.bytes)}`);
  return lines;
}

export function replayCommand(form: Form, seed: string, index: number): string {
  return `npm run fuzz -- --seed ${seed} --form '${form.key}' --case ${index}`;
}

export function describeMismatch({ generated, differences, failure }: Mismatch, seed: string): string {
  const { form, testCase, index } = generated;
  const lines = [
    `${form.key}  case ${index}`,
    `  ${hexBytes(testCase.code)}  ${disassemble(testCase)}`,
    ...describeInput(testCase).map((line) => `  in  ${line}`),
  ];
  if (failure !== undefined) lines.push(`  engine failed: ${failure}`);
  for (const { field, expected, actual } of differences) {
    lines.push(`  ${field}: processor ${expected}, engine ${actual}`);
  }
  lines.push(`  replay: ${replayCommand(form, seed, index)}`);
  return lines.join('\n');
}

/** Mismatching forms by lifting function, most mismatches first. */
export function summarise(results: readonly FormResult[]): string {
  const byLift = new Map<string, { forms: number; mismatches: number; cases: number; fields: Map<string, number> }>();
  for (const { form, cases, mismatches } of results) {
    if (mismatches.length === 0) continue;
    const entry = byLift.get(form.row.lift) ?? { forms: 0, mismatches: 0, cases: 0, fields: new Map() };
    entry.forms++;
    entry.cases += cases;
    entry.mismatches += mismatches.length;
    for (const { differences, failure } of mismatches) {
      const first = differences[0];
      const field =
        failure ?? (first?.field === 'outcome' ? `${first.expected} not ${first.actual}` : (first?.field ?? ''));
      const name = field.replace(/^memory .*/, 'memory');
      entry.fields.set(name, (entry.fields.get(name) ?? 0) + 1);
    }
    byLift.set(form.row.lift, entry);
  }
  const rows = [...byLift].sort((a, b) => b[1].mismatches - a[1].mismatches);
  return rows
    .map(([lift, { forms, mismatches, cases, fields }]) => {
      const top = [...fields].sort((a, b) => b[1] - a[1]).slice(0, 4);
      const words = top.map(([name, count]) => `${name} ${count}`).join(', ');
      return `${lift}: ${mismatches} of ${cases} cases in ${forms} forms (${words})`;
    })
    .join('\n');
}
