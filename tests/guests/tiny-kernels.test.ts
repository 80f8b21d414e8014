// Guests made by hand, run by the real command line: every way in which a guest of one's own speaks, hears and ends.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { type CliOptions, type CliResult, runCli } from '../cli/run-cli.ts';
import { withoutKvm, withoutStockKernel } from '../kvm/kvm-host.ts';
import {
  buildKernel,
  CLI_HLT,
  COM1,
  DEBUG_EXIT_PORT,
  debugExit,
  IN_AL_DX,
  kernelWithData,
  movEcx,
  movEdx,
  movEsi,
  OUT_DX_AL,
  outByte,
  REP_OUTSB,
  SPIN,
  temporaryFolder,
  UD2,
} from './tiny-kernel.ts';

const folder = temporaryFolder();

function testOn(engine: 'software' | 'kvm'): void {
  // Where KVM has no support of the processor's, each access takes ten microseconds.
  const scale = engine === 'kvm' && withoutStockKernel !== false ? 8 : 1;

  function runKernel(
    name: string,
    kernel: Uint8Array,
    args: readonly string[] = [],
    options: CliOptions = {},
  ): Promise<CliResult> {
    const path = folder.put(name, kernel);
    return runCli(
      ['run', '--engine', engine, '--kernel', path, '--memory', '64M', '--debug-exit', '0xf4', ...args],
      options,
    );
  }

  const print = (text: string, then: number[]): Uint8Array =>
    kernelWithData(text, (at) => [...movEsi(at), ...movEcx(text.length), ...movEdx(COM1), ...REP_OUTSB, ...then]);

  /** An incomplete KVM is remarked on. */
  const banner =
    engine === 'kvm'
      ? /^(Bulkhead: this KVM .*\n)?Bulkhead: .*hello, KVM, 64 MiB\.\n$/
      : /^Bulkhead: .*hello, software engine, 64 MiB\.\n$/;

  test('a kernel prints on COM1 and ends with its debug-exit status', async () => {
    const { status, stdout, stderr } = await runKernel('hello', print('hello from ring 0\n', debugExit(3)));
    assert.equal(stdout.toString(), 'hello from ring 0\n');
    assert.equal(status, 7);
    assert.match(stderr, banner);
  });

  test('a triple fault ends the run with status 70 and says so', async () => {
    // lidt [LIMIT_0]: no vector has a gate.
    const kernel = kernelWithData(new Uint8Array(6), (at) => [
      ...[0x0f, 0x01, 0x1d, at & 0xff, (at >> 8) & 0xff, (at >> 16) & 0xff, 0],
      ...UD2,
    ]);
    const { status, stderr } = await runKernel('triple-fault', kernel);
    assert.equal(status, 70);
    assert.match(stderr, /processor shut down: triple fault/);
  });

  test('HLT with interrupts off ends the run with status 70 and says so', async () => {
    const { status, stderr } = await runKernel('halt', buildKernel(CLI_HLT));
    assert.equal(status, 70);
    assert.match(stderr, /halted with interrupts off/);
  });

  test('a kernel reads its modules and their command lines', async () => {
    // ebx: the information; mods_addr at 24; a module is start, end, string.
    const kernel = buildKernel([
      ...[0x8b, 0x5b, 24], // mov ebx, [ebx+24]
      ...[0x83, 0xc3, 16], // add ebx, 16: the second module
      ...[0x8b, 0x33], // mov esi, [ebx]
      ...[0x8b, 0x4b, 4], // mov ecx, [ebx+4]
      ...[0x29, 0xf1], // sub ecx, esi
      ...movEdx(COM1),
      ...REP_OUTSB,
      ...[0x8b, 0x73, 8], // mov esi, [ebx+8]
      ...[0xac, 0x84, 0xc0, 0x74, 0x03], // next: lodsb; test al, al; jz done
      ...[0xee, 0xeb, 0xf8], // out dx, al; jmp next
      ...debugExit(0), // done:
    ]);
    const first = folder.put('first', 'not this one');
    const second = folder.put('second', 'content of the module;');
    const initrds = ['--initrd', first, '--initrd', `${second} with arguments`];
    const { status, stdout } = await runKernel('modules', kernel, initrds);
    assert.equal(stdout.toString(), `content of the module;${second} with arguments`);
    assert.equal(status, 1);
  });

  /** Echoes input in upper case until it meets a full stop. */
  const ECHO = buildKernel([
    ...movEdx(COM1 + 5),
    ...IN_AL_DX,
    ...[0xa8, 0x01, 0x74, 0xfb], // test al, 1; jz to the in
    ...movEdx(COM1),
    ...IN_AL_DX,
    ...[0x3c, 0x2e, 0x74, 0x05], // cmp al, '.'; je end
    ...[0x2c, 0x20], // sub al, 0x20
    ...OUT_DX_AL,
    ...[0xeb, 0xe7], // jmp to the start
    ...debugExit(0),
  ]);

  test('a kernel that polls COM1 gets what comes in on a pipe, however much', async () => {
    const text = 'abcdefgh'.repeat(20_000 / scale);
    const { status, stdout } = await runKernel('echo', ECHO, [], { input: `${text}.ignored` });
    assert.equal(status, 1);
    assert.ok(stdout.toString() === text.toUpperCase(), `${stdout.length} bytes came back`);
  });

  /**
   * Says that it is ready, halts, and ends with what the interrupt of COM1 brings: by pin 4 of the I/O APIC, vector
   * 0x34.
   */
  function interruptKernel(): Uint8Array {
    const le32 = (value: number): number[] => [0, 8, 16, 24].map((shift) => (value >>> shift) & 0xff);
    const ready = 'ready\n';
    const vector = 0x34;
    // in al, dx; and eax, 0x3f; mov edx, DEBUG_EXIT_PORT; out dx, eax
    const handler = [...movEdx(COM1), ...IN_AL_DX, ...[0x83, 0xe0, 0x3f], ...movEdx(DEBUG_EXIT_PORT), 0xef, ...SPIN];
    const [gdtPointer, idtPointer, idt] = [24, 32, 40];
    const text = idt + (vector + 1) * 8;
    const data = new Uint8Array(text + ready.length);
    const code = (at: number): number[] => {
      const jump = [0xea, ...le32(0), 0x08, 0x00];
      const tables = [0x0f, 0x01, 0x15, ...le32(at + gdtPointer), 0x0f, 0x01, 0x1d, ...le32(at + idtPointer)];
      const rest = [
        ...[0xb8, 0x10, 0, 0, 0, 0x8e, 0xd8, 0x8e, 0xc0, 0x8e, 0xd0], // mov eax, 0x10; mov ds, es and ss, eax
        ...[0xbc, 0, 0, 0x09, 0], // mov esp, 0x90000
        ...[0xbf, 0, 0, 0xc0, 0xfe], // mov edi, the I/O APIC
        ...[0xc7, 0x07, 0x18, 0, 0, 0], // mov dword [edi], 0x18
        ...[0xc7, 0x47, 0x10, vector, 0, 0, 0], // mov dword [edi + 0x10], vector
        ...outByte(COM1 + 4, 0x0b),
        ...outByte(COM1 + 1, 0x01),
        ...[...movEsi(at + text), ...movEcx(ready.length), ...movEdx(COM1), ...REP_OUTSB],
        ...[0xfb, 0xf4, 0xeb, 0xfd], // sti; hlt; jmp to the hlt
      ];
      const start = at - (tables.length + jump.length + rest.length + handler.length);
      jump.splice(1, 4, ...le32(start + tables.length + jump.length));
      return [...tables, ...jump, ...rest, ...handler];
    };
    return kernelWithData(data, (at) => {
      const view = new DataView(data.buffer);
      view.setBigUint64(8, 0x00cf_9a00_0000_ffffn, true);
      view.setBigUint64(16, 0x00cf_9200_0000_ffffn, true);
      view.setUint16(gdtPointer, 23, true);
      view.setUint32(gdtPointer + 2, at, true);
      view.setUint16(idtPointer, (vector + 1) * 8 - 1, true);
      view.setUint32(idtPointer + 2, at + idt, true);
      const entry = at - handler.length;
      view.setUint32(idt + vector * 8, 0x0008_0000 | (entry & 0xffff), true);
      view.setUint32(idt + vector * 8 + 4, (entry & 0xffff_0000) | 0x8e00, true);
      data.set(Buffer.from(ready), text);
      return code(at);
    });
  }

  test('input that comes while the guest halts reaches it by an interrupt', async () => {
    const dialogue = [{ after: /ready\n/, type: 'A' }];
    const { status, stdout, stderr } = await runKernel('interrupt', interruptKernel(), [], { dialogue });
    assert.equal(stdout.toString(), 'ready\n', stderr);
    assert.equal(status, ((0x41 & 0x3f) << 1) | 1);
  });

  test('a guest that prints much loses nothing', async () => {
    const text = `${'0123456789abcde\n'.repeat(256)}`;
    const rounds = 256 / scale;
    const kernel = kernelWithData(text, (at) => [
      ...[0xbf, rounds & 0xff, rounds >> 8, 0, 0], // mov edi, rounds
      ...movEdx(COM1),
      ...movEsi(at),
      ...movEcx(text.length),
      ...REP_OUTSB,
      ...[0x4f, 0x75, 0xf1], // dec edi; jnz to the mov esi
      ...debugExit(0),
    ]);
    const { status, stdout } = await runKernel('flood', kernel);
    assert.equal(status, 1);
    assert.equal(stdout.length, text.length * rounds);
    assert.ok(stdout.toString() === text.repeat(rounds));
  });

  /** Resets at its first start, which it notes in a byte of the CMOS memory; its second prints a word. */
  const RESET_ONCE = kernelWithData('once more\n', (at) => [
    ...outByte(0x70, 0x50),
    ...movEdx(0x71),
    ...IN_AL_DX,
    ...[0x3c, 0xa5, 0x74, 0x0d], // cmp al, 0xa5; je second
    ...[0xb0, 0xa5, ...OUT_DX_AL], // mov al, 0xa5; out dx, al
    ...outByte(0x64, 0xfe),
    ...SPIN,
    ...movEsi(at), // second:
    ...movEcx(10),
    ...movEdx(COM1),
    ...REP_OUTSB,
    ...debugExit(5),
  ]);

  test('a reset starts the kernel anew in place', async () => {
    const { status, stdout } = await runKernel('reset', RESET_ONCE);
    assert.equal(stdout.toString(), 'once more\n');
    assert.equal(status, 11);
  });

  test('with --no-reboot a reset ends the run', async () => {
    const { status, stdout } = await runKernel('no-reboot', RESET_ONCE, ['--no-reboot']);
    assert.equal(stdout.toString(), '');
    assert.equal(status, 0);
  });

  test('a guest that never ends goes with a signal', async () => {
    let told = false;
    const { signal } = await runKernel('spin', print('spinning', SPIN), [], {
      onOutput: (child) => {
        if (!told) child.kill('SIGTERM');
        told = true;
      },
    });
    assert.equal(signal, 'SIGTERM');
  });

  test('a guest whose output nobody reads any more ends as by SIGPIPE', async () => {
    const forever = kernelWithData('output without end\n', (at) => [
      ...movEdx(COM1),
      ...movEsi(at),
      ...movEcx(19),
      ...REP_OUTSB,
      ...[0xeb, 0xf2], // jmp to the mov esi
    ]);
    const { status } = await runKernel('broken-pipe', forever, [], { onOutput: (child) => child.stdout?.destroy() });
    assert.equal(status, 141);
  });

  test('a file that is no kernel is refused in one line', async () => {
    const { status, stdout, stderr } = await runKernel('nonsense', new Uint8Array(5000).fill(0x5a));
    assert.equal(status, 1);
    assert.equal(stdout.length, 0);
    assert.match(stderr, /^bulkhead: .*nonsense is not a kernel that Bulkhead can boot: .*\n$/);
  });
}

describe('on the software engine', () => testOn('software'));
describe('on KVM', { skip: withoutKvm }, () => testOn('kvm'));
