// A wired machine: guest RAM, the board with its devices, the firmware's tables and one virtual processor, run on the
// thread that calls run(). What lies outside (time, serial lines, sleep) comes in as a MachineEnvironment.

import type { Clock } from '../base/clock.ts';
import { UserError } from '../base/errors.ts';
import { Timers } from '../base/timers.ts';
import type { AccessSizeBytes } from '../bus/port-bus.ts';
import { Board } from '../devices/board.ts';
import { APIC_TIMER_HZ } from '../devices/chips/local-apic/wire.ts';
import type { SerialBackend, Uart16550 } from '../devices/chips/uart16550/uart16550.ts';
import { createDevices, type Devices, resetDevices } from '../devices/registry.ts';
import { createGuestMemory, GUEST_RAM_OFFSET } from '../engine/software/layout.ts';
import type { TranslationPort } from '../engine/software/translation.ts';
import { SoftwareVcpu, type SoftwareVcpuOptions } from '../engine/software/vcpu.ts';
import type { Vcpu, VcpuHost } from '../engine/vcpu.ts';
import { PHYSICAL_ADDRESS_BITS } from '../isa/cpuid/portable.ts';
import { MSR } from '../isa/msrs.ts';
import { GuestMemory } from '../memory/guest-memory.ts';
import { buildAcpiTables } from './acpi/tables.ts';
import type { LoadedKernel } from './boot/boot-request.ts';
import type { Decompressor } from './boot/decompression/decompressor.ts';
import { loadKernel } from './boot/load-kernel.ts';
import { DEFAULT_CODE_CACHE_BYTES, type MachineConfig, machineConfigSchema } from './config.ts';
import type { KernelChipsState } from './kvm/kernel-chips.ts';

/** One tick of the time-stamp counter is one nanosecond of the clock. */
const TSC_HZ = 1_000_000_000;

/** The far end of a serial line. Calls come from the machine's thread and do not throw. */
export interface SerialLine extends Pick<SerialBackend, 'write'> {
  /** Takes up to `maxBytes` of what waits for the guest; undefined where nothing does. */
  read(maxBytes: number): Uint8Array | undefined;
}

/** What a machine needs of the thread that it runs on. */
export interface MachineEnvironment {
  /** Unpacks the kernel. */
  decompressor: Decompressor;
  /** Begins translation on another thread, of code in this memory; undefined where the machine's own does it. */
  startTranslation?: ((memory: WebAssembly.Memory) => TranslationPort) | undefined;
  clock: Clock;
  /** UTC, in milliseconds since 1970. */
  wallClock: { nowMs(): number };
  /** The lines of COM1 to COM4, as many as the configuration has ports. */
  serial: readonly SerialLine[];
  /** Called at least every few hundred microseconds of guest work; true ends the run with `stopped`. */
  poll(): boolean;
  /** When poll() next has something to do by itself, in the clock's nanoseconds; Infinity, or left out: never. */
  nextPollNs?(): number;
  /** True when a serial line may have input: cheap, asked at every poll. */
  inputWaiting(): boolean;
  /** Sleeps until poll() or inputWaiting() may have become true, or `timeoutMs` is over (Infinity is allowed). */
  sleep(timeoutMs: number): void;
}

/** Interrupt controllers, PIT and clock in the host's kernel. */
export interface KernelSide {
  setInterruptLine(gsi: number, asserted: boolean): void;
  save(): KernelChipsState;
  restore(state: KernelChipsState): void;
}

/** What another engine or a debugging tool puts in the place of the usual parts. */
export interface MachineParts {
  /** Gives the host's side of the VM, for whom the machine's own chips are asleep; undefined where it has them. */
  createKernelSide?(memory: WebAssembly.Memory, memoryBytes: number): KernelSide;
  /** Called once, after createKernelSide. */
  createVcpu(options: SoftwareVcpuOptions): Vcpu;
  /** RAM as the loaders and the devices see it. */
  createMemory(memory: WebAssembly.Memory, hostOffset: number, sizeBytes: number): GuestMemory;
}

const USUAL_PARTS: MachineParts = {
  createVcpu: (options) => new SoftwareVcpu(options),
  createMemory: (memory, hostOffset, sizeBytes) => new GuestMemory(memory, hostOffset, sizeBytes),
};

export type MachineExit =
  | { readonly kind: 'power-off' }
  /** The guest reset the machine, and the configuration does not allow that. */
  | { readonly kind: 'reset' }
  | { readonly kind: 'debug-exit'; readonly status: number }
  | { readonly kind: 'triple-fault'; readonly reason: string }
  /** HLT with interrupts off: nothing would ever wake it. */
  | { readonly kind: 'halted-forever' }
  /** A defect of the engine. */
  | { readonly kind: 'internal-error'; readonly message: string; readonly hint?: string }
  /** The environment's poll() asked for it. */
  | { readonly kind: 'stopped' };

/** Sums and levels by name; names that end in `Ms` are times. */
export type Statistics = Readonly<Record<string, number>>;

/** Where the events of a guest's access leave what must happen after it. */
type GuestDemand = Extract<MachineExit, { kind: 'power-off' | 'reset' | 'debug-exit' }>;

function allocateMemory(memoryBytes: number): WebAssembly.Memory {
  try {
    return createGuestMemory(memoryBytes);
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    throw new UserError(`the host has no room for ${memoryBytes / 1024 ** 2} MiB of guest memory`, {
      hint: 'give the guest less, or raise the limit on address space (ulimit -v)',
      cause: error,
    });
  }
}

export class Machine {
  readonly memory: GuestMemory;
  readonly board: Board;
  readonly devices: Devices;
  readonly vcpu: Vcpu;
  readonly kernel: LoadedKernel;
  private readonly config: MachineConfig;
  private readonly environment: MachineEnvironment;
  private readonly timers: Timers;
  private readonly ports: readonly (Uart16550 | undefined)[];
  private readonly kernelSide: KernelSide | undefined;
  private demand: GuestDemand | undefined;
  private tscOffset = 0;

  /** Makes the machine and loads its kernel. Throws UserError for a kernel that cannot be booted on it. */
  constructor(config: MachineConfig, environment: MachineEnvironment, parts: MachineParts = USUAL_PARTS) {
    this.config = machineConfigSchema.parse(config);
    this.environment = environment;
    const { memoryBytes, debugExitPort, codeCacheBytes = DEFAULT_CODE_CACHE_BYTES } = this.config;
    const memory = allocateMemory(memoryBytes);
    this.memory = parts.createMemory(memory, GUEST_RAM_OFFSET, memoryBytes);
    this.timers = new Timers(environment.clock);
    this.kernel = this.load();
    this.kernelSide = parts.createKernelSide?.(memory, memoryBytes);
    const { kernelSide } = this;
    const index = 0;
    this.board = new Board({
      timers: this.timers,
      wallClock: environment.wallClock,
      memory: this.memory,
      processors: [
        {
          // One processor: its run loop looks at the local APIC by itself, and nobody sends it INIT or SIPI.
          sink: { onPendingChanged: () => {}, onInit: () => {}, onStartup: () => {} },
          timeStampCounter: { now: () => BigInt(Math.floor(this.readTsc() + this.tscOffset)), hz: TSC_HZ },
        },
      ],
      physicalAddressBits: PHYSICAL_ADDRESS_BITS,
      events: {
        powerOff: () => this.note({ kind: 'power-off' }),
        requestReset: () => this.note({ kind: 'reset' }),
        exit: (status) => this.note({ kind: 'debug-exit', status }),
      },
      serial: environment.serial.slice(0, this.config.serialPorts),
      // A kernel of one's own may well poll the port without ever raising DTR.
      holdSerialInputUntilReady: this.kernel.format !== 'multiboot1',
      debugExit: debugExitPort === undefined ? undefined : { firstPort: debugExitPort, sizeBytes: 4 },
      interruptSink: kernelSide && ((gsi, asserted) => kernelSide.setInterruptLine(gsi, asserted)),
    });
    this.devices = createDevices(this.board);
    const { com1, com2, com3, com4 } = this.devices;
    this.ports = [com1, com2, com3, com4];
    const translation = kernelSide === undefined ? environment.startTranslation?.(memory) : undefined;
    this.vcpu = parts.createVcpu({
      memory,
      ...(translation === undefined ? {} : { translation }),
      ramBytes: memoryBytes,
      codeCacheBytes,
      prepareUsualForms: this.kernel.format.startsWith('linux-'),
      host: this.vcpuHost(index),
      cpuid: { apicId: index, cpuCount: 1, tscHz: TSC_HZ, apicBusHz: APIC_TIMER_HZ },
    });
    this.startProcessor(this.kernel);
  }

  /** Runs the guest to its end. */
  run(): MachineExit {
    for (;;) {
      const exit = this.vcpu.run();
      switch (exit.kind) {
        case 'interrupted': {
          const { demand } = this;
          if (demand === undefined) return { kind: 'stopped' };
          this.demand = undefined;
          if (demand.kind !== 'reset' || !this.config.reboot) return demand;
          this.restart();
          break;
        }
        case 'shutdown':
          return { kind: 'triple-fault', reason: exit.reason };
        case 'halted-forever':
          return { kind: 'halted-forever' };
        case 'internal-error':
          return exit;
      }
    }
  }

  /** What the engine has counted so far, by name. */
  statistics(): Statistics {
    return this.vcpu.statistics?.() ?? {};
  }

  /** The first demand stands: what the guest does after it did not happen. */
  private note(demand: GuestDemand): void {
    this.demand ??= demand;
  }

  private load(): LoadedKernel {
    const { config, memory, environment } = this;
    const serialPorts = [0, 1, 2, 3].map((port) => port < config.serialPorts);
    const tables = buildAcpiTables({ vcpuCount: 1, serialPorts });
    const kernel = loadKernel({
      memory,
      kernel: config.kernel,
      kernelName: config.kernelName,
      initrds: config.initrds,
      commandLine: config.commandLine,
      rsdpGuestPhysical: tables.rsdpGuestPhysical,
      decompressor: environment.decompressor,
    });
    for (const { guestPhysical, bytes } of tables.place) memory.write(guestPhysical, bytes);
    return kernel;
  }

  /** A reset: the devices as after power-on, the kernel loaded anew. */
  private restart(): void {
    resetDevices(this.board, this.devices);
    this.memory.bytes(0, this.memory.sizeBytes).fill(0);
    const kernel = this.load();
    this.vcpu.invalidateCode(0, this.memory.sizeBytes);
    this.tscOffset = 0;
    this.startProcessor(kernel);
  }

  /** As firmware hands over, with the board as after a reset. */
  private startProcessor({ state }: LoadedKernel): void {
    const { board, kernelSide, devices } = this;
    board.setUpAsFirmware();
    this.vcpu.setState(state);
    kernelSide?.restore({ ...board.save(), pit: devices.pit.save() });
  }

  /** Gives back what the engine holds of the host. The machine must not be used afterwards. */
  close(): void {
    this.vcpu.close?.();
  }

  private readTsc(): number {
    return this.environment.clock.nowNs();
  }

  private poll(): boolean {
    if (this.demand !== undefined) return true;
    const { timers, environment } = this;
    if (timers.nextDeadlineNs() !== Number.POSITIVE_INFINITY) timers.runDue();
    if (environment.inputWaiting()) this.takeInput();
    return environment.poll();
  }

  private takeInput(): void {
    for (const [index, port] of this.ports.entries()) {
      const space = port?.receiveSpace() ?? 0;
      if (space === 0) continue;
      const input = this.environment.serial[index]!.read(space);
      if (input !== undefined) port!.receive(input);
    }
  }

  private waitForInterrupt(): void {
    const apic = this.board.localApics[0]!;
    if (apic.interruptPending || apic.nmiPending || this.demand !== undefined) return;
    const remainingNs = this.timers.nextDeadlineNs() - this.environment.clock.nowNs();
    if (remainingNs > 0) this.environment.sleep(remainingNs / 1e6);
  }

  private vcpuHost(index: number): VcpuHost {
    const { board, timers, environment } = this;
    const nextNs = (): number => {
      const timerNs = timers.nextDeadlineNs();
      return environment.nextPollNs === undefined ? timerNs : Math.min(timerNs, environment.nextPollNs());
    };
    const apic = board.localApics[index]!;
    const asleep = this.kernelSide !== undefined;
    // The engine asks for 1, 2 and 4 bytes only.
    const size = (sizeBytes: number): AccessSizeBytes => sizeBytes as AccessSizeBytes;
    return {
      readPort: (port, sizeBytes) => board.ports.read(port, size(sizeBytes)),
      writePort: (port, sizeBytes, value) => board.ports.write(port, size(sizeBytes), value),
      readMmio: (guestPhysical, sizeBytes) => board.mmio.read(guestPhysical, size(sizeBytes)),
      writeMmio: (guestPhysical, sizeBytes, value) => board.mmio.write(guestPhysical, size(sizeBytes), value),
      acknowledgeInterrupt: () => (apic.interruptPending ? apic.acknowledge() : -1),
      // A demand counts as one, so that the processor comes to poll() at its next jump.
      interruptPending: () => apic.interruptPending || this.demand !== undefined,
      takeNmi: () => {
        if (!apic.nmiPending) return false;
        apic.acknowledgeNmi();
        return true;
      },
      getCr8: () => apic.cr8,
      setCr8: (value) => {
        apic.cr8 = value;
      },
      readMsr: (msr) => (asleep ? undefined : board.readMsr(index, msr)),
      writeMsr: (msr, value) => {
        if (asleep) return false;
        if (msr !== MSR.IA32_TIME_STAMP_COUNTER) return board.writeMsr(index, msr, value);
        this.tscOffset = Number(value) - Math.floor(this.readTsc());
        board.onTimeStampCounterChanged(index);
        return true;
      },
      poll: () => this.poll(),
      waitForInterrupt: () => this.waitForInterrupt(),
      readTsc: () => this.readTsc(),
      deadline: { nowNs: () => timers.clock.nowNs(), nextNs },
    };
  }
}
