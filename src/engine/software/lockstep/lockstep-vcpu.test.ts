import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { Guest, PLACE, RAM_BYTES } from '../../../../tests/engine/guest.ts';
import { IdleHost } from '../../../../tests/engine/idle-host.ts';
import { STATE } from '../../../ir/guest-state.ts';
import { createGuestMemory, GUEST_RAM_OFFSET } from '../layout.ts';
import type { SoftwareVcpu } from '../vcpu.ts';
import { type LockstepSettings, LockstepVcpu } from './lockstep-vcpu.ts';
import { WatchedMemory } from './watched-memory.ts';

const SLICE_JUMPS = 64;
const RBX = 3;

/** Ends the run after so many polls, which are slices; time passes with every look at it. */
class TestHost extends IdleHost {
  pollsLeft = 20;
  onPoll: () => void = () => {};
  onWritePort: (value: number) => void = () => {};

  override poll(): boolean {
    this.onPoll();
    return this.stopRequested || --this.pollsLeft < 0;
  }

  override writePort(port: number, sizeBytes: number, value: number): void {
    super.writePort(port, sizeBytes, value);
    this.onWritePort(value);
  }

  override readTsc(): number {
    this.tsc += 17;
    return this.tsc;
  }
}

function createGuest(code: readonly number[], settings: LockstepSettings = {}) {
  const host = new TestHost();
  const memory = createGuestMemory(RAM_BYTES);
  const cpuid = { apicId: 0, cpuCount: 1, tscHz: 1_000_000_000, apicBusHz: 1_000_000_000 };
  const vcpu = new LockstepVcpu(
    { memory, ramBytes: RAM_BYTES, host, cpuid, translateAfterSamples: 1 },
    { sliceJumps: SLICE_JUMPS, maximumTurns: 5000, ...settings },
  );
  const watched = new WatchedMemory(memory, GUEST_RAM_OFFSET, RAM_BYTES);
  const guest = new Guest({ vcpu, memory: watched }, host, 'kernel64', new Uint8Array(code));
  guest.setRegister('rdi', BigInt(PLACE.KERNEL_DATA));
  guest.setRegister('rsp', BigInt(PLACE.KERNEL_STACK));
  return { host, vcpu, guest, watched };
}

function assertSame(vcpu: LockstepVcpu): void {
  assert.equal(vcpu.compareRam()?.report, undefined);
  assert.deepEqual(vcpu.follower.getState().gpr, vcpu.getState().gpr);
}

/** loop: add rbx, rdx; inc rdx; mov [rdi], rbx; jmp loop */
const ENDLESS = [0x48, 0x01, 0xd3, 0x48, 0xff, 0xc2, 0x48, 0x89, 0x1f, 0xeb, 0xf5];

describe('a guest that both run alike', () => {
  test('goes on until its machine ends it, with the hot loop translated', () => {
    const { vcpu, guest } = createGuest(ENDLESS);
    guest.start();
    assert.deepEqual(guest.run(), { kind: 'interrupted' });
    assertSame(vcpu);
    assert.equal(vcpu.slices, 20);
    assert.ok(vcpu.leader.translator.regions > 0, 'nothing was translated');
    assert.equal(vcpu.follower.vcpu.translator.regions, 0);
    assert.ok(vcpu.follower.turns >= 20 * SLICE_JUMPS);
  });

  test('may fall into the loop that the leader stops in', () => {
    // outer: mov ecx, 7; inner: dec ecx; jnz inner; inc rbx; jmp outer
    const { vcpu, guest } = createGuest([
      ...[0xb9, 7, 0, 0, 0, 0xff, 0xc9, 0x75, 0xfc],
      ...[0x48, 0xff, 0xc3, 0xeb, 0xf2],
    ]);
    guest.start();
    guest.run();
    assertSame(vcpu);
  });

  test('may count in memory alone', () => {
    // loop: inc qword [rdi]; xor eax, eax; jmp loop
    const { vcpu, guest } = createGuest([0x48, 0xff, 0x07, 0x31, 0xc0, 0xeb, 0xf9]);
    guest.start();
    guest.run();
    assertSame(vcpu);
  });

  test('may fill memory with a repeated instruction, and fault', () => {
    // loop: mov ecx, 9000; mov edi, data; rep stosb; ud2, whose handler returns to the loop
    const data = PLACE.KERNEL_DATA;
    const { vcpu, guest, watched } = createGuest([
      ...[0xb9, 0x28, 0x23, 0, 0, 0xbf, data & 0xff, (data >> 8) & 0xff, data >> 16, 0, 0xf3, 0xaa, 0x0f, 0x0b],
    ]);
    // mov qword [rsp], code; iretq
    const code = PLACE.KERNEL_CODE;
    const handler = [0x48, 0xc7, 0x04, 0x24, code & 0xff, (code >> 8) & 0xff, code >> 16, 0, 0x48, 0xcf];
    watched.write(PLACE.HANDLERS + 6 * 16, new Uint8Array(handler));
    guest.start();
    guest.run();
    assertSame(vcpu);
  });

  test('gets its interrupts at the same places', () => {
    const { host, vcpu, guest, watched } = createGuest(ENDLESS);
    // inc r15; iretq
    watched.write(PLACE.HANDLERS + 0x40 * 16, new Uint8Array([0x49, 0xff, 0xc7, 0x48, 0xcf]));
    guest.state.rflags |= 0x200n;
    host.pollsLeft = 40;
    host.onPoll = () => {
      if (host.pollsLeft % 3 === 0) host.interrupts.push(0x40);
    };
    guest.start();
    guest.run();
    assertSame(vcpu);
    assert.ok(vcpu.getState().gpr[15]! >= 10n);
  });

  test('gets NMIs at the same places', () => {
    const { host, vcpu, guest, watched } = createGuest(ENDLESS);
    watched.write(PLACE.HANDLERS + 2 * 16, new Uint8Array([0x49, 0xff, 0xc7, 0x48, 0xcf]));
    host.onPoll = () => {
      host.nmiPending ||= host.pollsLeft % 4 === 0;
    };
    guest.start();
    guest.run();
    assertSame(vcpu);
    assert.ok(vcpu.getState().gpr[15]! >= 4n);
  });

  test('sees the same time and the same random numbers', () => {
    // loop: rdtsc; add rbx, rax; rdrand rax; add rbx, rax; jmp loop
    const { vcpu, guest } = createGuest([
      ...[0x0f, 0x31, 0x48, 0x01, 0xc3, 0x48, 0x0f, 0xc7, 0xf0, 0x48, 0x01, 0xc3, 0xeb, 0xf2],
    ]);
    guest.start();
    guest.run();
    assertSame(vcpu);
  });

  test('finds what devices write to its memory, during its own accesses and between them', () => {
    // loop: out dx, al; add rbx, [rdi]; inc eax; jmp loop
    const { host, vcpu, guest, watched } = createGuest([0xee, 0x48, 0x03, 0x1f, 0xff, 0xc0, 0xeb, 0xf8]);
    watched.onWrite = (guestPhysical, lengthBytes) => vcpu.noteDeviceWrite(guestPhysical, lengthBytes);
    host.onWritePort = (value) => watched.writeU32(PLACE.KERNEL_DATA, value * 3);
    host.onPoll = () => watched.writeU32(PLACE.KERNEL_DATA + 4, host.pollsLeft);
    guest.start();
    guest.run();
    assertSame(vcpu);
    assert.ok(host.portWrites.length > SLICE_JUMPS);
  });

  test('may have accessed bits that the leader sets ahead, and no others', () => {
    const run = (bits: bigint, at: number): LockstepVcpu => {
      const harmed = { entry: 0 };
      const { vcpu, guest } = createGuest(ENDLESS, {
        onLeaderStopped: (slice, { cpu }) => {
          const place = GUEST_RAM_OFFSET + harmed.entry;
          if (slice === 3) cpu.view.setBigUint64(place, cpu.view.getBigUint64(place, true) ^ bits, true);
        },
      });
      harmed.entry = guest.tables.entry(BigInt(at), 1);
      guest.start();
      guest.run();
      vcpu.compareRam();
      return vcpu;
    };
    const ahead = run(0x20n, 0x5000);
    assert.equal(ahead.difference?.report, undefined);
    assert.ok(ahead.follower.adoptedPages > 0);
    assert.equal(run(0x20n, PLACE.KERNEL_DATA).difference?.kind, 'memory', 'one that is missing');
    assert.equal(run(0x40n, 0x5000).difference?.kind, 'memory', 'a dirty bit');
  });

  test('may halt for good', () => {
    const { vcpu, guest } = createGuest([0xfa, 0xf4]);
    guest.start();
    assert.deepEqual(guest.run(), { kind: 'halted-forever' });
    assertSame(vcpu);
  });

  test('may shut down', () => {
    // lidt [rdi]: an empty table; ud2
    const { vcpu, guest } = createGuest([0x0f, 0x01, 0x1f, 0x0f, 0x0b]);
    guest.start();
    assert.equal(guest.run().kind, 'shutdown');
    assert.equal(vcpu.difference?.report, undefined);
  });

  test('can be stepped', () => {
    const { vcpu, guest } = createGuest([...ENDLESS.slice(0, 9), 0x0f, 0x0b]);
    guest.start();
    for (let k = 0; k < 3; k++) assert.deepEqual(vcpu.step(), { kind: 'retired' });
    assert.deepEqual(vcpu.step(), { kind: 'exception', vector: 6, errorCode: undefined });
    assertSame(vcpu);
  });
});

describe('a difference', () => {
  const damage = (slice: number, harm: (leader: SoftwareVcpu) => void): LockstepSettings => ({
    onLeaderStopped: (at, leader) => {
      if (at === slice) harm(leader);
    },
  });

  function runDamaged(code: readonly number[], settings: LockstepSettings): LockstepVcpu {
    const { vcpu, guest } = createGuest(code, settings);
    guest.start();
    const exit = guest.run();
    assert.equal(exit.kind, 'internal-error');
    assert.equal(exit.kind === 'internal-error' && exit.message, vcpu.difference?.report);
    assert.deepEqual(guest.run(), exit, 'it stays at the difference');
    return vcpu;
  }

  test('in a register is found in its slice, with the register and the last instructions', () => {
    const settings = damage(7, ({ cpu }) => cpu.setGpr(RBX, cpu.gpr(RBX) ^ 0x100n));
    const { difference } = runDamaged(ENDLESS, settings);
    assert.equal(difference?.slice, 7);
    assert.equal(difference?.kind, 'state');
    const { report } = difference!;
    assert.match(report, /^a difference in slice 7, after \d+ jumps/);
    assert.match(report, /differ at least in\n {2}rbx\n/);
    assert.match(report, /^\* rbx +[0-9a-f]{16} {2}[0-9a-f]{16}$/m);
    assert.equal(report.match(/^\*/gm)?.length, 1);
    assert.match(report, /0000000000010006 {2}48 89 1f +mov qword \[rdi\], rbx$/m);
  });

  test('in XMM registers, flags and segments is found too', () => {
    const harms: Record<string, (leader: SoftwareVcpu) => void> = {
      xmm5: ({ cpu }) => cpu.view.setUint8(cpu.offset + 0x600 + 16 * 5, 1),
      rflags: ({ cpu }) => {
        cpu.eflags ^= 1;
      },
      gs: ({ cpu }) => cpu.setSegment(5, { ...cpu.segment(5), base: 0x1000n }),
      cr2: ({ cpu }) => cpu.set(STATE.cr2, 5n),
    };
    for (const [name, harm] of Object.entries(harms)) {
      const { difference } = runDamaged(ENDLESS, damage(3, harm));
      assert.equal(difference?.slice, 3, name);
      assert.match(difference!.report, new RegExp(`^\\* ${name} `, 'm'));
    }
  });

  test('in memory that the slice touched is found in its slice, with the bytes', () => {
    const at = GUEST_RAM_OFFSET + PLACE.KERNEL_DATA + 0x123;
    const { difference } = runDamaged(
      ENDLESS,
      damage(4, ({ cpu }) => cpu.view.setUint8(at, 0xab)),
    );
    assert.equal(difference?.slice, 4);
    assert.equal(difference?.kind, 'memory');
    assert.match(difference!.report, /guest-physical 000014120: 1 bytes of the page differ/);
    assert.match(difference!.report, /leader +00 00 00 ab 00/);
    assert.match(difference!.report, /follower +00 00 00 00 00/);
  });

  test('in memory that the guest wrote is told with the instruction that did', () => {
    const at = GUEST_RAM_OFFSET + PLACE.KERNEL_DATA;
    const { difference } = runDamaged(
      ENDLESS,
      damage(4, ({ cpu }) => cpu.view.setUint8(at, cpu.view.getUint8(at) ^ 1)),
    );
    assert.equal(difference?.slice, 4);
    assert.match(
      difference!.report,
      /which the follower wrote at {2}0000000000010006 {2}48 89 1f +mov qword \[rdi\], rbx/,
    );
  });

  test('that looks like an accessed bit, but lies in no page table, is one', () => {
    const at = GUEST_RAM_OFFSET + PLACE.KERNEL_DATA + 0x100;
    const { vcpu, guest, watched } = createGuest(ENDLESS, {
      onLeaderStopped: (slice, { cpu }) => {
        if (slice === 3) cpu.view.setUint8(at, 0x21);
      },
    });
    watched.writeU8(PLACE.KERNEL_DATA + 0x100, 1);
    guest.start();
    guest.run();
    assert.equal(vcpu.difference?.slice, 3);
    assert.equal(vcpu.difference?.kind, 'memory');
  });

  test('in other memory is found when all of it is compared', () => {
    const at = GUEST_RAM_OFFSET + 0x30_0000;
    const harm = damage(5, ({ cpu }) => cpu.view.setUint8(at, 0xab));
    const { difference } = runDamaged(ENDLESS, { ...harm, slicesBetweenRamComparisons: 4 });
    assert.equal(difference?.slice, 8);
    assert.match(difference!.report, /1 pages of RAM differ, somewhere after slice 4/);
  });

  test('in what is asked of the machine is found at the call', () => {
    // loop: inc rbx; mov edx, 0x80; out dx, al; jmp loop
    const code = [0x48, 0xff, 0xc3, 0xba, 0x80, 0, 0, 0, 0xee, 0xeb, 0xf5];
    // Another immediate in the leader's code alone: slice 6 is over, slice 7 shows it.
    const harm = (leader: SoftwareVcpu): void => {
      leader.cpu.view.setUint8(GUEST_RAM_OFFSET + PLACE.KERNEL_CODE + 4, 0x81);
      leader.invalidateCode(PLACE.KERNEL_CODE + 4, 1);
    };
    const { difference } = runDamaged(code, damage(6, harm));
    assert.equal(difference?.slice, 7);
    assert.equal(difference?.kind, 'host-call');
    assert.match(difference!.report, /leader +writePort 0x81 \(1 bytes\) value 0x0/);
    assert.match(difference!.report, /follower +writePort 0x80 \(1 bytes\) value 0x0/);
    assert.match(difference!.report, /out dx, al$/m);
  });

  test('in a loop of calls is told with the call that the leader did not come to', () => {
    // loop: out dx, al; jmp loop
    const harm = damage(2, ({ cpu }) => cpu.setGpr(RBX, 1n));
    const { difference } = runDamaged([0xee, 0xeb, 0xfd], harm);
    assert.equal(difference?.slice, 2);
    assert.equal(difference?.kind, 'state');
    assert.match(difference!.report, /differ at least in\n {2}rbx\n.* ask for: writePort 0x600 /);
    assert.match(difference!.report, /calls of the leader to its machine, \d+ to \d+ of \d+\n {2}writePort 0x600/);
  });

  test('in a single step is found by it', () => {
    const { vcpu, guest } = createGuest(
      ENDLESS,
      damage(2, ({ cpu }) => cpu.setGpr(RBX, 1n)),
    );
    guest.start();
    assert.deepEqual(vcpu.step(), { kind: 'retired' });
    assert.equal(vcpu.step().kind, 'exit');
    assert.match(vcpu.difference!.report, /^\* rbx/m);
  });
});
