// What a guest on KVM asks of its host, and how it ends: ports, MMIO, MSRs, kicks, messages.

import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync } from 'node:fs';
import { after, beforeEach, describe, test } from 'node:test';
import { Worker } from 'node:worker_threads';
import { KvmError } from '../../src/engine/kvm/kvm-error.ts';
import { KvmSystem } from '../../src/engine/kvm/kvm-system.ts';
import { kickThread } from '../../src/engine/kvm/libc.ts';
import type { VcpuExit } from '../../src/engine/vcpu.ts';
import { Guest, type GuestMode, PLACE, RAM_BYTES } from '../engine/guest.ts';
import { IdleHost } from '../engine/idle-host.ts';
import { createKvmTestVcpu } from '../engine/kvm-vcpu-factory.ts';
import { withoutKvm } from './kvm-host.ts';

class AnsweringHost extends IdleHost {
  readonly portReads: { port: number; sizeBytes: number }[] = [];
  shouldStop: () => boolean = () => false;
  msr = 0n;
  onMmioWrite: () => void = () => {};
  onWait: (() => void) | undefined;
  /** Nothing has a time of its own: the guest is left to itself. */
  readonly deadline = { nowNs: () => performance.now() * 1e6, nextNs: () => Number.POSITIVE_INFINITY };

  override readPort(port: number, sizeBytes: number): number {
    this.portReads.push({ port, sizeBytes });
    return 0x1122_3344 & (2 ** (sizeBytes * 8) - 1);
  }

  override readMmio(guestPhysical: number, sizeBytes: number): number {
    return (guestPhysical & 0xff) * (sizeBytes === 1 ? 1 : 0x0101);
  }

  override writeMmio(guestPhysical: number, sizeBytes: number, value: number): void {
    super.writeMmio(guestPhysical, sizeBytes, value);
    this.onMmioWrite();
  }

  override interruptPending(): boolean {
    return this.stopRequested || super.interruptPending();
  }

  override waitForInterrupt(): void {
    if (this.onWait === undefined) super.waitForInterrupt();
    else this.onWait();
  }

  override readMsr(): bigint | undefined {
    return this.msr;
  }

  override poll(): boolean {
    return this.shouldStop() || super.poll();
  }
}

const onLinux = existsSync('/proc/self/fd') ? false : 'the host has no /proc/self/fd';

test('a device that is not KVM is an error, and is closed again', { skip: onLinux }, () => {
  const before = readdirSync('/proc/self/fd').length;
  assert.throws(
    () => KvmSystem.open('/dev/null'),
    (error) => error instanceof KvmError && error.failure === 'KVM_GET_API_VERSION failed with ENOTTY',
  );
  assert.throws(() => KvmSystem.open('/dev/none'), /open \/dev\/none failed with ENOENT/);
  assert.equal(readdirSync('/proc/self/fd').length, before);
});

describe('a guest on KVM', { skip: withoutKvm }, () => {
  if (withoutKvm !== false) return;
  const host = new AnsweringHost();
  const target = createKvmTestVcpu(host, RAM_BYTES);
  after(() => target.close());
  const prepare = (code: string, mode: GuestMode = 'kernel64'): Guest =>
    new Guest(target, host, mode, Buffer.from(code.replaceAll(' ', ''), 'hex'));

  beforeEach(() => {
    host.portReads.length = 0;
    host.portWrites.length = 0;
    host.mmioWrites.length = 0;
    host.shouldStop = () => false;
  });

  function runTo(guest: Guest, kind: VcpuExit['kind']): VcpuExit {
    guest.start();
    const exit = guest.run();
    assert.equal(exit.kind, kind, 'message' in exit ? exit.message : exit.kind);
    return exit;
  }

  test('reads and writes ports of 1, 2 and 4 bytes', () => {
    // in eax, dx; out dx, ax; in al, 0x61; out 0x80, al
    const guest = prepare('ed 66 ef e4 61 e6 80 f4');
    guest.setRegister('rdx', 0x510n);
    runTo(guest, 'halted-forever');
    assert.deepEqual(host.portReads, [
      { port: 0x510, sizeBytes: 4 },
      { port: 0x61, sizeBytes: 1 },
    ]);
    assert.deepEqual(host.portWrites, [
      { port: 0x510, sizeBytes: 2, value: 0x3344 },
      { port: 0x80, sizeBytes: 1, value: 0x44 },
    ]);
    assert.equal(guest.vcpu.getState().gpr[0], 0x1122_3344n);
  });

  test('writes a string to a port in order', () => {
    const guest = prepare('f3 6e f4'); // rep outsb
    guest.setRegister('rdx', 0x3f8n);
    guest.setRegister('rcx', 5n);
    guest.setRegister('rsi', BigInt(PLACE.KERNEL_DATA));
    guest.memory.write(PLACE.KERNEL_DATA, Buffer.from('hello'));
    runTo(guest, 'halted-forever');
    assert.equal(String.fromCharCode(...host.portWrites.map(({ value }) => value)), 'hello');
  });

  test('reaches what is not RAM as MMIO, 8 bytes in two halves', () => {
    // mov [rdi], rax; mov ax, [rdi + 0x12]; mov bl, [rdi + 0x21]
    const guest = prepare('48 89 07 66 8b 47 12 8a 5f 21 f4');
    guest.tables.map(0x40_0000_0000n, 0xfe00_0000, 3n);
    guest.setRegister('rdi', 0x40_0000_0000n);
    guest.setRegister('rax', 0x1122_3344_5566_7788n);
    runTo(guest, 'halted-forever');
    assert.deepEqual(host.mmioWrites, [
      { guestPhysical: 0xfe00_0000, sizeBytes: 4, value: 0x5566_7788 },
      { guestPhysical: 0xfe00_0004, sizeBytes: 4, value: 0x1122_3344 },
    ]);
    const { gpr } = guest.vcpu.getState();
    assert.equal(gpr[0]! & 0xffffn, 0x1212n);
    assert.equal(gpr[3]! & 0xffn, 0x21n);
  });

  test("reads an MSR of the model's, one of the host's, and takes #GP for what the model forbids", () => {
    const rdmsr = (index: number): bigint => {
      const guest = prepare('0f 32 f4');
      guest.setRegister('rcx', BigInt(index));
      runTo(guest, 'halted-forever');
      const { gpr, rip } = guest.vcpu.getState();
      assert.equal(rip, BigInt(PLACE.KERNEL_CODE + 3));
      return (gpr[2]! << 32n) | gpr[0]!;
    };
    assert.equal(rdmsr(0x3a), 1n);
    host.msr = 0x1234_5678_9abc_def0n;
    assert.equal(rdmsr(0x1b), host.msr);
    const guest = prepare('0f 30 f4'); // wrmsr to IA32_ARCH_CAPABILITIES
    guest.setRegister('rcx', 0x10an);
    runTo(guest, 'halted-forever');
    assert.equal(guest.vcpu.getState().rip, BigInt(PLACE.HANDLERS + 13 * 16 + 1));
  });

  test('keeps the task priority that its last access before a stop has set', () => {
    const guest = prepare('88 07 f4'); // mov [rdi], al: as a write to the local APIC's page
    guest.tables.map(0x40_0000_0000n, 0xfee0_0000, 3n);
    guest.setRegister('rdi', 0x40_0000_0000n);
    host.onMmioWrite = () => {
      host.setCr8(5);
      host.stopRequested = true;
    };
    guest.start();
    assert.equal(guest.run().kind, 'interrupted');
    host.onMmioWrite = () => {};
    assert.equal(host.getCr8(), 5);
    const state = guest.vcpu.getState();
    assert.deepEqual([state.cr8, state.rip], [5n, BigInt(PLACE.KERNEL_CODE + 2)]);
  });

  test('is told its processor model', () => {
    const guest = prepare('0f a2 f4');
    runTo(guest, 'halted-forever');
    const { gpr } = guest.vcpu.getState();
    assert.equal(gpr[3], 0x756e_6547n, 'GenuineIntel, as the portable model has it');
  });

  test('is woken from HLT by an NMI, unless NMIs are blocked', () => {
    for (const nmiBlocked of [false, true]) {
      const guest = prepare('fb f4 90 90 f4'); // sti; hlt; nop; nop; hlt
      guest.state.events.nmiBlocked = nmiBlocked;
      host.onWait = () => {
        host.onWait = () => {
          host.stopRequested = true;
        };
        host.nmiPending = true;
      };
      guest.start();
      guest.run();
      host.onWait = undefined;
      const { rip, events } = guest.vcpu.getState();
      assert.equal(rip, BigInt(nmiBlocked ? PLACE.KERNEL_CODE + 2 : PLACE.HANDLERS + 2 * 16 + 1));
      assert.deepEqual([events.halted, events.nmiPending], [true, nmiBlocked]);
    }
  });

  test('ends by a triple fault', () => {
    const guest = prepare('0f 0b');
    guest.state.idtr = { base: 0n, limit: 0 };
    const exit = runTo(guest, 'shutdown');
    assert.match('reason' in exit ? exit.reason : '', /triple fault/);
  });

  test('that spins comes back when another thread kicks it, and goes on', async () => {
    const guest = prepare('eb fe');
    const flag = new Int32Array(new SharedArrayBuffer(4));
    const source = `
      const { workerData } = require('node:worker_threads');
      import(workerData.module).then(({ kickThread }) => {
        Atomics.store(workerData.flag, 0, 1);
        kickThread(workerData.target);
      });`;
    const module = new URL('../../src/engine/kvm/libc.ts', import.meta.url).href;
    const workerData = { module, flag, target: target.vcpu.kickTarget };
    const worker = new Worker(source, { eval: true, workerData });
    host.shouldStop = () => Atomics.load(flag, 0) !== 0;
    runTo(guest, 'interrupted');
    assert.equal(guest.vcpu.getState().rip, BigInt(PLACE.KERNEL_CODE));
    host.shouldStop = () => false;
    host.stopRequested = true;
    assert.equal(guest.run().kind, 'interrupted');
    await worker.terminate();
  });

  test('is kicked too where the kick comes before it enters the guest', () => {
    const guest = prepare('88 07 eb fe'); // mov [rdi], al; jmp to itself
    guest.tables.map(0x40_0000_0000n, 0xfee0_0000, 3n);
    guest.setRegister('rdi', 0x40_0000_0000n);
    host.onMmioWrite = () => {
      host.shouldStop = () => true;
      kickThread(target.vcpu.kickTarget);
      // Nothing else brings it back then.
      target.vcpu['alarm'].disarm();
    };
    runTo(guest, 'interrupted');
    host.onMmioWrite = () => {};
    assert.equal(guest.vcpu.getState().rip, BigInt(PLACE.KERNEL_CODE + 2));
  });

  test('may be kicked before it is made: the process lives on', () => {
    // In a process of its own: none of its threads has made a processor, and the signal ends processes by itself.
    const module = new URL('../../src/engine/kvm/libc.ts', import.meta.url).href;
    const source = `
      import { kickThread, threadId } from '${module}';
      kickThread({ thread: threadId(), timer: 2 ** 31 - 1 });
      console.log('alive');`;
    const child = spawnSync(process.execPath, ['--input-type=module', '--eval', source], { encoding: 'utf8' });
    assert.equal(child.stdout, 'alive\n', child.stderr);
    assert.deepEqual([child.status, child.signal], [0, null]);
  });

  test('whose state KVM refuses is an error that says what was refused', () => {
    const guest = prepare('f4');
    guest.state.cr4 |= 1n << 40n;
    assert.throws(
      () => guest.start(),
      (error) => error instanceof KvmError && /KVM_SET_SREGS failed with EINVAL: .*CR4 100000/.test(error.message),
    );
  });

  test('that KVM cannot run ends with the registers and the bytes at RIP', { skip: cannotFail() }, () => {
    const guest = prepare('f0 48 0f c7 0e f4'); // lock cmpxchg16b [rsi]
    guest.setRegister('rsi', BigInt(PLACE.KERNEL_DATA));
    guest.setRegister('r9', 0xfeed_facen);
    const exit = runTo(guest, 'internal-error');
    const { message, hint } = exit as Extract<VcpuExit, { kind: 'internal-error' }>;
    assert.match(message, /cannot emulate the instruction/);
    assert.match(message, /r9=00000000feedface/);
    assert.match(message, /bytes at rip: f0 48 0f c7 0e f4/);
    assert.match(hint ?? '', /--engine software/);
  });

  /** A KVM with the processor's support emulates no ordinary instruction. */
  function cannotFail(): string | false {
    const guest = prepare('f0 48 0f c7 0e f4');
    guest.setRegister('rsi', BigInt(PLACE.KERNEL_DATA));
    guest.start();
    return guest.run().kind === 'internal-error' ? false : "this host's KVM runs every instruction";
  }
});
