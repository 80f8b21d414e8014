// A guest that moves between the engines in the middle of its work, and does not notice.

import assert from 'node:assert/strict';
import { after, describe, test } from 'node:test';
import { SoftwareVcpu } from '../../src/engine/software/vcpu.ts';
import type { Vcpu } from '../../src/engine/vcpu.ts';
import { Guest, type GuestMode, PLACE, RAM_BYTES, USER, userPhysical } from '../engine/guest.ts';
import { IdleHost } from '../engine/idle-host.ts';
import { createKvmTestVcpu } from '../engine/kvm-vcpu-factory.ts';
import { withoutKvm } from './kvm-host.ts';

const TURNS = 20_000;
const SEED = 0x1234_5678;
const PROGRESS_PORT = 0x80;
/** Fills 4 KiB with a sequence, over and over, adding up what was there; tells a port about each 256th turn. */
const CODE = [
  '41 b8 78 56 34 12', // mov r8d, SEED
  '31 db', // xor ebx, ebx
  `b9 ${le32(TURNS)}`, // mov ecx, TURNS
  '45 69 c0 0d 66 19 00', // turn: imul r8d, r8d, 1664525
  '41 81 c0 5f f3 6e 3c', // add r8d, 1013904223
  '44 89 c2', // mov edx, r8d
  '81 e2 ff 03 00 00', // and edx, 0x3ff
  '03 1c 96', // add ebx, [rsi + rdx * 4]
  '44 89 04 96', // mov [rsi + rdx * 4], r8d
  'f6 c1 ff', // test cl, 0xff
  '75 02', // jnz skip
  'e6 80', // out 0x80, al
  'ff c9', // skip: dec ecx
  '75 d7', // jnz turn
  'f4', // hlt
].join(' ');

function le32(value: number): string {
  return [0, 8, 16, 24].map((shift) => ((value >>> shift) & 0xff).toString(16).padStart(2, '0')).join(' ');
}

/** The same in JavaScript: what the guest must leave. */
function expectedSum(): { sum: bigint; table: Uint32Array } {
  const table = new Uint32Array(1024);
  let [value, sum] = [SEED, 0];
  for (let turn = 0; turn < TURNS; turn++) {
    value = (Math.imul(value, 1664525) + 1013904223) >>> 0;
    sum = (sum + table[value & 0x3ff]!) >>> 0;
    table[value & 0x3ff] = value;
  }
  return { sum: BigInt(sum), table };
}

class MovingHost extends IdleHost {
  /** Ports written until the next stop. */
  portsToStop = Number.POSITIVE_INFINITY;
  /** Polls until the next stop. */
  pollsToStop = Number.POSITIVE_INFINITY;

  override writePort(port: number, sizeBytes: number, value: number): void {
    super.writePort(port, sizeBytes, value);
    if (--this.portsToStop <= 0) this.stopRequested = true;
  }

  override interruptPending(): boolean {
    return this.stopRequested || super.interruptPending();
  }

  override poll(): boolean {
    if (--this.pollsToStop <= 0) this.stopRequested = true;
    return super.poll();
  }

  goOn(): void {
    this.stopRequested = false;
    this.portsToStop = Number.POSITIVE_INFINITY;
    this.pollsToStop = Number.POSITIVE_INFINITY;
  }
}

describe('a guest', { skip: withoutKvm }, () => {
  if (withoutKvm !== false) return;
  const host = new MovingHost();
  const kvm = createKvmTestVcpu(host, RAM_BYTES);
  after(() => kvm.close());
  const cpuid = { apicId: 0, cpuCount: 1, tscHz: 1e9, apicBusHz: 1e9 };
  const software = new SoftwareVcpu({ memory: kvm.memory.memory, ramBytes: RAM_BYTES, host, cpuid });

  function prepare(mode: GuestMode): Guest {
    host.goOn();
    host.portWrites.length = 0;
    const guest = new Guest(kvm, host, mode, Buffer.from(CODE.replaceAll(' ', ''), 'hex'));
    guest.setRegister('rsi', BigInt(mode === 'user64' ? USER.DATA : PLACE.KERNEL_DATA));
    return guest;
  }

  function move(from: Vcpu, to: Vcpu): void {
    const state = from.getState();
    to.invalidateCode(0, RAM_BYTES);
    to.setState(state);
    host.goOn();
  }

  function check(guest: Guest, vcpu: Vcpu, dataPhysical: number, endRip: bigint): void {
    const { sum, table } = expectedSum();
    const state = vcpu.getState();
    assert.equal(state.gpr[3], sum);
    assert.equal(state.gpr[1], 0n);
    assert.equal(state.rip, endRip);
    const seen = guest.memory.bytes(dataPhysical, 4096);
    assert.deepEqual(new Uint32Array(seen.slice().buffer), table);
  }

  test('goes software, KVM, software, KVM between its accesses, and computes what it should', () => {
    const guest = prepare('kernel64');
    const end = BigInt(PLACE.KERNEL_CODE + CODE.split(' ').length);
    software.invalidateCode(0, RAM_BYTES);
    software.setState(guest.state);
    const engines = [software, kvm.vcpu] as const;
    let moves = 0;
    for (; ; moves++) {
      host.portsToStop = 9;
      const [from, to] = [engines[moves % 2]!, engines[(moves + 1) % 2]!];
      const exit = from.run();
      if (exit.kind !== 'interrupted') {
        assert.equal(exit.kind, 'halted-forever');
        check(guest, from, PLACE.KERNEL_DATA, end);
        break;
      }
      move(from, to);
    }
    assert.ok(moves >= 4, `${moves} moves`);
    assert.equal(host.portWrites.length, Math.floor(TURNS / 256));
    assert.ok(host.portWrites.every(({ port }) => port === PROGRESS_PORT));
  });

  test('is taken from KVM between any two instructions, and goes on in software', () => {
    const guest = prepare('kernel64');
    guest.start();
    host.pollsToStop = 4;
    const exit = kvm.vcpu.run();
    assert.equal(exit.kind, 'interrupted');
    assert.ok(kvm.vcpu.statistics().kicks! > 0, 'the alarm took it out of the guest');
    const end = BigInt(PLACE.KERNEL_CODE + CODE.split(' ').length);
    move(kvm.vcpu, software);
    assert.equal(software.run().kind, 'halted-forever');
    check(guest, software, PLACE.KERNEL_DATA, end);
  });

  test('of ring 3 goes from one engine to the other and back', () => {
    const guest = prepare('user64');
    // The port is the kernel's: IOPL 3, and no accesses for an engine whose ring 3 has no ports.
    const code = guest.memory.bytes(userPhysical(USER.CODE), CODE.split(' ').length);
    const at = CODE.split(' ').join('').indexOf('e680') / 2;
    code.set([0x66, 0x90], at);
    software.invalidateCode(0, RAM_BYTES);
    software.setState(guest.state);
    host.pollsToStop = 3;
    assert.equal(software.run().kind, 'interrupted');
    move(software, kvm.vcpu);
    host.pollsToStop = 2;
    kvm.vcpu.run();
    move(kvm.vcpu, software);
    // HLT is not for ring 3: the handler of #GP halts.
    assert.equal(software.run().kind, 'halted-forever');
    const { sum } = expectedSum();
    assert.equal(software.getState().gpr[3], sum);
    assert.equal(software.getState().rip, BigInt(PLACE.HANDLERS + 13 * 16 + 1));
  });
});
