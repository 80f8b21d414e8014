// Debug traps of instructions that do more than one thing: string instructions, ports, software interrupts, faults
// (SDM volume 3, 17.2 and 17.3).

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { CR4 } from '../../src/isa/control-registers.ts';
import { EFLAGS } from '../../src/isa/flags.ts';
import { MSR } from '../../src/isa/msrs.ts';
import { VECTOR } from '../../src/isa/vectors.ts';
import { Guest, PLACE, RAM_BYTES } from './guest.ts';
import { IdleHost } from './idle-host.ts';
import { createTestVcpu } from './vcpu-factory.ts';

const DATA = PLACE.KERNEL_DATA;
const CODE = BigInt(PLACE.KERNEL_CODE);
const handlerOf = (vector: number): bigint => BigInt(PLACE.HANDLERS + vector * 16 + 1);
const DR6_CLEAR = 0xffff_0ff0n;

describe('debug traps', () => {
  const host = new IdleHost();
  const target = createTestVcpu(host, RAM_BYTES);
  const prepare = (code: string): Guest =>
    new Guest(target, host, 'kernel64', Buffer.from(code.replaceAll(' ', ''), 'hex'));

  /** DR1 watches `kind` (1 writes, 2 a port, 3 accesses) of 8 or, for a port, 1 bytes. */
  function watch(guest: Guest, kind: 1 | 2 | 3, address: number): void {
    guest.state.debug.dr1 = BigInt(address);
    guest.state.debug.dr7 = 0x404n | (BigInt(kind | (kind === 2 ? 0 : 8)) << 20n);
  }

  test('a repeated move meets a write watch in the turn that writes there', () => {
    const guest = prepare('f3 a4 f4');
    guest.setRegister('rcx', 0x20n);
    guest.setRegister('rsi', BigInt(DATA));
    guest.setRegister('rdi', BigInt(DATA + 0x100));
    watch(guest, 1, DATA + 0x108);
    guest.start();
    guest.run();
    const state = guest.vcpu.getState();
    assert.equal(state.rip, handlerOf(VECTOR.DB));
    assert.equal(state.gpr[1], 0x17n);
    assert.equal(state.debug.dr6, DR6_CLEAR | 2n);
    // RF is set between the turns: a breakpoint on the instruction itself is met once.
    assert.equal(guest.memory.readU64(Number(state.gpr[4]! + 16n)) & BigInt(EFLAGS.RF), BigInt(EFLAGS.RF));
  });

  test('a repeated store meets a watch in its first turn', () => {
    const guest = prepare('f3 aa f4');
    guest.setRegister('rcx', 8n);
    guest.setRegister('rdi', BigInt(DATA));
    watch(guest, 3, DATA);
    guest.start();
    guest.run();
    assert.equal(guest.vcpu.getState().gpr[1], 7n);
  });

  for (const [name, code] of [
    ['IN', 'ec 90 f4'],
    ['OUT', 'ee 90 f4'],
  ] as const) {
    test(`${name} meets a port watch with CR4.DE, and none without`, () => {
      for (const on of [true, false]) {
        const guest = prepare(code);
        guest.setRegister('rdx', 0x80n);
        guest.setControl('cr4', CR4.DE, on);
        watch(guest, 2, 0x80);
        guest.start();
        guest.run();
        assert.equal(guest.vcpu.getState().rip, on ? handlerOf(VECTOR.DB) : CODE + 3n);
      }
    });
  }

  test('an instruction that faults after an access leaves no watch behind', () => {
    const guest = prepare('48 a7'); // cmpsq: RSI is watched, RDI has no page
    guest.setRegister('rsi', BigInt(DATA));
    guest.setRegister('rdi', 0x5000_0000n);
    watch(guest, 3, DATA);
    guest.start();
    guest.run();
    const state = guest.vcpu.getState();
    assert.equal(state.rip, handlerOf(VECTOR.PF));
    assert.equal(state.debug.dr6, DR6_CLEAR);
  });

  test('INT n under TF goes to its handler without a trap', () => {
    const guest = prepare('cd 80');
    guest.state.rflags |= BigInt(EFLAGS.TF);
    guest.start();
    guest.run();
    assert.equal(guest.vcpu.getState().rip, handlerOf(0x80));
  });

  for (const masked of [true, false]) {
    test(`SYSCALL under TF ${masked ? 'that masks TF does not trap' : 'traps at its target'}`, () => {
      const guest = prepare('0f 05');
      guest.memory.writeU8(PLACE.KERNEL_CODE + 0x800, 0xf4);
      guest.setControl('efer', 1, true);
      guest.state.msrs.set(MSR.IA32_FMASK, masked ? BigInt(EFLAGS.TF) : 0n);
      guest.state.rflags |= BigInt(EFLAGS.TF);
      guest.start();
      guest.run();
      assert.equal(guest.vcpu.getState().rip, masked ? CODE + 0x801n : handlerOf(VECTOR.DB));
    });
  }

  test('general detect holds for DR4 and DR5 too', () => {
    const guest = prepare('0f 21 e0'); // mov rax, dr4
    guest.state.debug.dr7 = 0x2400n;
    guest.start();
    guest.run();
    assert.equal(guest.vcpu.getState().rip, handlerOf(VECTOR.DB));
  });

  test('STI holds interrupts back for one instruction, HLT included', () => {
    const guest = prepare('fb f4 90');
    host.interruptAtWait = 0x40;
    guest.start();
    guest.run();
    const state = guest.vcpu.getState();
    assert.equal(state.rip, handlerOf(0x40));
    assert.equal(guest.memory.readU64(Number(state.gpr[4]!)), CODE + 2n);
  });

  test('an interrupt that waits for STI comes after the instruction behind it', () => {
    const guest = prepare('fb 90 90 f4');
    host.interrupts.push(0x40);
    guest.start();
    guest.run();
    const state = guest.vcpu.getState();
    assert.equal(state.rip, handlerOf(0x40));
    assert.equal(guest.memory.readU64(Number(state.gpr[4]!)), CODE + 2n);
  });
});
