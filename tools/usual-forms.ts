// What src/engine/software/usual-forms.ts holds: an instruction of each form whose handler some runs have generated.

import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { basename } from 'node:path';
import { parseArgs } from 'node:util';
import { createDecoder } from '../src/decode/decoder.ts';
import { fusesWithJump } from '../src/engine/software/form-table.ts';
import { formOf } from '../src/engine/software/forms.ts';
import { PORTABLE_FEATURES } from '../src/isa/cpuid/portable.ts';
import { KernelFile } from '../src/machine/boot/kernel-file.ts';
import { isBzImage, unpackBzImage } from '../src/machine/boot/linux-bzimage.ts';
import { nodeDecompressor } from '../src/vm/node-decompressor.ts';

const USAGE = `Usage: node_modules/.bin/node tools/usual-forms.ts --met MAP FILE... [options]

Finds an instruction for each handler that V8's map names, in the code of bzImages and of 64-bit ELF files, also of
those in archives without compression (cpio). V8 writes /tmp/perf-PID.map when NODE_OPTIONS says --perf-basic-prof.

  --met MAP    such a map; may be given several times
  --write      into src/engine/software/usual-forms.ts instead of standard output
  --help       this text

Example:
  node_modules/.bin/node tools/usual-forms.ts --write --met /tmp/perf-4711.map vmlinuz initrd.cpio`;

const LINE_LENGTH = 118;

const ELF_MAGIC = 0x464c457f;
const EXECUTABLE_SEGMENT = { type: 1, flag: 1 } as const;

/** The executable segments of every ELF file that begins somewhere in the bytes (System V ABI, chapters 4 and 5). */
function* codeOf(bytes: Uint8Array): Generator<Uint8Array> {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  for (let at = 0; at + 64 <= bytes.length; at += 4) {
    if (view.getUint32(at, true) !== ELF_MAGIC || bytes[at + 4] !== 2) continue;
    const file = bytes.subarray(at);
    const header = new DataView(file.buffer, file.byteOffset, file.byteLength);
    const table = Number(header.getBigUint64(0x20, true));
    const count = header.getUint16(0x38, true);
    for (let k = 0; k < count && table + (k + 1) * 56 <= file.length; k++) {
      const entry = table + k * 56;
      const executable = (header.getUint32(entry + 4, true) & EXECUTABLE_SEGMENT.flag) !== 0;
      if (header.getUint32(entry, true) !== EXECUTABLE_SEGMENT.type || !executable) continue;
      const start = Number(header.getBigUint64(entry + 8, true));
      yield file.subarray(start, start + Number(header.getBigUint64(entry + 32, true)));
    }
  }
}

const decode = createDecoder(PORTABLE_FEATURES);

/** An example for each of the keys that the code has. */
function findExamples(code: Uint8Array, keys: ReadonlySet<string>, examples: Map<string, string>): void {
  const note = (key: string, item: () => string): void => {
    if (keys.has(key) && !examples.has(key)) examples.set(key, item());
  };
  let previous: { readonly key: string; readonly hex: () => string; readonly fuses: boolean } | undefined;
  for (let at = 0; at < code.length; ) {
    const instruction = decode(code, at, code.length - at, 64);
    if (typeof instruction === 'string') {
      previous = undefined;
      at++;
      continue;
    }
    const { key } = formOf(instruction);
    const bytes = code.subarray(at, at + instruction.lengthBytes);
    const hex = (): string => Buffer.from(bytes).toString('hex');
    note(key, hex);
    const first = previous;
    if (first?.fuses === true && instruction.row.lift === 'jcc') {
      note(`${first.key} + ${key}`, () => `${first.hex()}+${hex()}`);
    }
    previous = { key, hex, fuses: fusesWithJump(instruction) };
    at += instruction.lengthBytes;
  }
}

/** The names of functions in a map of V8's, which for handlers are the keys of forms. */
const functionsOf = (map: string): string[] =>
  [...map.matchAll(/JS:(.*)-\d+-(?:liftoff|turbofan)$/gm)].map(([, name]) => name!);

function read(name: string): Uint8Array {
  if (existsSync(name)) return readFileSync(name);
  process.stderr.write(`usual-forms: ${name}: no such file\n`);
  process.exit(2);
}

function linesOf(items: readonly string[]): string[] {
  const lines: string[] = [];
  let line = '';
  for (const item of items) {
    if (line.length + 1 + item.length > LINE_LENGTH) {
      lines.push(line);
      line = '';
    }
    line += line === '' ? item : ` ${item}`;
  }
  return [...lines, line];
}

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    met: { type: 'string', multiple: true, default: [] },
    write: { type: 'boolean', default: false },
    help: { type: 'boolean', default: false },
  },
});
if (values.help) {
  process.stdout.write(`${USAGE}\n`);
} else if (positionals.length === 0 || values.met.length === 0) {
  process.stderr.write(`usual-forms: name a map and some files with code\n\n${USAGE}\n`);
  process.exitCode = 2;
} else {
  const keys = new Set(values.met.flatMap((map) => functionsOf(new TextDecoder().decode(read(map)))));
  const examples = new Map<string, string>();
  for (const name of positionals) {
    const file = new KernelFile(basename(name), read(name));
    const bytes = isBzImage(file) ? unpackBzImage(file, nodeDecompressor) : file.bytes;
    for (const code of codeOf(bytes)) findExamples(code, keys, examples);
    process.stderr.write(`${name}: ${examples.size} forms so far\n`);
  }
  const text = linesOf([...examples].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, item]) => item)).join('\n');
  if (values.write) {
    const target = new URL('../src/engine/software/usual-forms.ts', import.meta.url);
    writeFileSync(target, readFileSync(target, 'utf8').replace(/LIST = `[^`]*`/, `LIST = \`\n${text}\n\``));
  } else process.stdout.write(`${text}\n`);
}
