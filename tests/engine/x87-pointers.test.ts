// What the x87 remembers of its last instruction (SDM volume 1, 8.1.8 and 8.1.9), as FNSTENV and FXSAVE show it.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { Guest, type GuestMode, PLACE, RAM_BYTES } from './guest.ts';
import { IdleHost } from './idle-host.ts';
import { createTestVcpu } from './vcpu-factory.ts';

const DATA = PLACE.KERNEL_DATA;

describe('the pointers of the x87', () => {
  const host = new IdleHost();
  const target = createTestVcpu(host, RAM_BYTES);

  /** Runs `steps` instructions with RBX pointing to KERNEL_DATA and gives the XSAVE image. */
  function run(mode: GuestMode, code: string, steps: number, rbx = BigInt(DATA)): { guest: Guest; image: DataView } {
    const guest = new Guest(target, host, mode, Buffer.from(code.replaceAll(' ', ''), 'hex'));
    guest.setRegister('rbx', rbx);
    guest.start();
    for (let step = 0; step < steps; step++) assert.equal(guest.vcpu.step().kind, 'retired');
    return { guest, image: new DataView(guest.vcpu.getState().xsave.buffer) };
  }

  test('an instruction with a memory operand sets opcode, instruction and operand pointer', () => {
    const { image } = run('kernel64', '90 d9 43 08', 2); // nop; fld dword [rbx + 8]
    assert.equal(image.getUint16(6, true), 0x143);
    assert.equal(image.getBigUint64(8, true), BigInt(PLACE.KERNEL_CODE + 1));
    assert.equal(image.getBigUint64(16, true), BigInt(DATA + 8));
  });

  test('a store sets them too', () => {
    const { image } = run('kernel64', 'd9 ee dd 5b 10', 2); // fldz; fstp qword [rbx + 16]
    assert.equal(image.getUint16(6, true), 0x55b);
    assert.equal(image.getBigUint64(8, true), BigInt(PLACE.KERNEL_CODE + 2));
    assert.equal(image.getBigUint64(16, true), BigInt(DATA + 16));
  });

  test('an instruction without one keeps the operand pointer', () => {
    const { image } = run('kernel64', 'd9 03 d9 e8', 2); // fld dword [rbx]; fld1
    assert.equal(image.getUint16(6, true), 0x1e8);
    assert.equal(image.getBigUint64(8, true), BigInt(PLACE.KERNEL_CODE + 2));
    assert.equal(image.getBigUint64(16, true), BigInt(DATA));
  });

  test('FLDCW, FNSTCW, FNSTSW, FNCLEX and FWAIT leave them alone', () => {
    const { image } = run('kernel64', 'd9 e8 d9 7b 20 d9 6b 20 df e0 db e2 9b', 6);
    assert.equal(image.getUint16(6, true), 0x1e8);
    assert.equal(image.getBigUint64(8, true), BigInt(PLACE.KERNEL_CODE));
    assert.equal(image.getBigUint64(16, true), 0n);
  });

  test('FNINIT clears them', () => {
    const { image } = run('kernel64', 'd9 03 db e3', 2);
    assert.deepEqual(
      [image.getUint16(6, true), image.getBigUint64(8, true), image.getBigUint64(16, true)],
      [0, 0n, 0n],
    );
  });

  test('FNSTENV in protected mode stores offsets and selectors', () => {
    const { guest } = run('kernel32', 'd9 03 d9 73 40', 2); // fld dword [ebx]; fnstenv [ebx + 64]
    const at = DATA + 0x40;
    const words = [12, 16, 20, 24].map((offset) => guest.memory.readU32(at + offset));
    const code = guest.vcpu.getState().segments.cs.selector;
    const data = guest.vcpu.getState().segments.ds.selector;
    assert.deepEqual(words, [PLACE.KERNEL_CODE, ((0x103 << 16) | code) >>> 0, DATA, (0xffff0000 | data) >>> 0]);
  });

  test('FNSTENV in real mode stores linear addresses', () => {
    // fld dword [bx]; fnstenv [bx + 0x40], code at 1000:0000 and data at 1400:0000.
    const { guest } = run('real16', 'd9 07 d9 77 40', 2, 0x10n);
    const at = 0x1_4050;
    const words = [6, 8, 10, 12].map((offset) => guest.memory.readU16(at + offset));
    assert.deepEqual(words, [0x0000, 0x1107, 0x4010, 0x1000]);
  });
});
