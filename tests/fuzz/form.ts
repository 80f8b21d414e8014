// The forms that the fuzzer covers: one instruction row in one mode. What it leaves out is named with the reason.

import type { Row } from '../../src/isa/row.ts';
import type { FuzzMode } from '../oracle/fuzz-case.ts';
import type { HostProcessor } from '../oracle/oracle.ts';
import { type Encoding, parseEncoding, rowsWithWideSibling } from './assembler.ts';

export interface Form {
  /** Names the form on the command line and seeds its cases: `64 add 00 /r Eb,Gb`. */
  readonly key: string;
  readonly row: Row;
  readonly mode: FuzzMode;
  readonly encoding: Encoding;
}

export interface SkippedForm {
  readonly key: string;
  readonly reason: string;
}

const NONDETERMINISTIC = 'its result is not determined by the state (time, random numbers, processor identity)';
const ENTERS_KERNEL = 'it enters the kernel of the host; tests/engine covers it';
const TRAPS = 'the host reports it as a trap that the oracle uses or the kernel handles; tests/engine covers it';
const EMULATED = "the host's kernel emulates it in user mode (UMIP); tests/engine covers it";

/** By lifting function. Privileged instructions are not here: at CPL 3 all must raise #GP or #UD as the host does. */
const EXCLUDED: ReadonlyMap<string, string> = new Map([
  ['rdtsc', NONDETERMINISTIC],
  ['rdtscp', NONDETERMINISTIC],
  ['rdrand', NONDETERMINISTIC],
  ['rdseed', NONDETERMINISTIC],
  ['cpuid', NONDETERMINISTIC],
  ['xgetbv', 'XCR0 of the host differs from that of the CPU model'],
  ['syscall', ENTERS_KERNEL],
  ['sysenter', ENTERS_KERNEL],
  ['int1', TRAPS],
  ['int3', TRAPS],
  ['sgdt', EMULATED],
  ['sidt', EMULATED],
  ['sldt', EMULATED],
  ['str', EMULATED],
  ['smsw', EMULATED],
]);

export function formKey(row: Row, mode: FuzzMode): string {
  return `${mode} ${row.mnemonic} ${row.opcode} ${row.operands.join(',')}`.trim();
}

/** Splits rows into forms that this host can judge and forms that it cannot. */
export function selectForms(
  rows: readonly Row[],
  mode: FuzzMode,
  host: HostProcessor,
): { forms: Form[]; skipped: SkippedForm[] } {
  const forms: Form[] = [];
  const skipped: SkippedForm[] = [];
  const wideSiblings = rowsWithWideSibling(rows);
  for (const row of rows) {
    const key = formKey(row, mode);
    const skip = (reason: string) => skipped.push({ key, reason });
    const excluded = EXCLUDED.get(row.lift);
    if (mode === 64 ? row.mode === 'no64' : row.mode === 'only64') continue;
    if (mode !== 64 && row.opcode.includes('REX.W')) continue;
    if (excluded !== undefined) skip(excluded);
    else if (mode === 16 && !host.hasLdt) skip('the host kernel makes no 16-bit segments (modify_ldt)');
    else if (row.lift === 'sysret' && mode !== 64 && host.vendor === 'AuthenticAMD') {
      skip("outside 64-bit code it raises #UD on Intel's processors and #GP on AMD's");
    } else if (!host.features.has(row.feature)) skip(`the host lacks ${row.feature}`);
    else forms.push({ key, row, mode, encoding: parseEncoding(row, wideSiblings) });
  }
  return { forms, skipped };
}
