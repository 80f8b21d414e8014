// The board that every PC device plugs into: buses, timers, and the interrupt system with its wires (local APICs, I/O
// APIC, 8259A pair). The devices themselves are the rows of registry.ts.
//
//     device -> isa line n -+-> 8259A input n ----INTR----> LINT0 of the boot processor
//                           +-> I/O APIC pin n (0: pin 2) -> APIC bus -> local APICs

import type { Timers } from '../base/timers.ts';
import { ApicBus } from '../bus/apic-bus.ts';
import { InterruptLine, WiredOr } from '../bus/interrupt-line.ts';
import { MmioBus } from '../bus/mmio-bus.ts';
import { PciConfiguration, type PciConfigurationState } from '../bus/pci-configuration.ts';
import { PortBus } from '../bus/port-bus.ts';
import type { GuestMemory } from '../memory/guest-memory.ts';
import type { DebugExitOptions } from './chips/debug-exit/debug-exit.ts';
import { IoApic } from './chips/io-apic/io-apic.ts';
import type { IoApicState } from './chips/io-apic/state.ts';
import { IO_APIC_PIN_COUNT } from './chips/io-apic/wire.ts';
import { KvmClock } from './chips/kvm-clock/kvm-clock.ts';
import type { KvmClockState } from './chips/kvm-clock/state.ts';
import { type IpiSink, LocalApic } from './chips/local-apic/local-apic.ts';
import type { LocalApicState } from './chips/local-apic/state.ts';
import type { TimeStampCounter } from './chips/local-apic/timer.ts';
import { LOCAL_APIC_BASE, LOCAL_APIC_SIZE_BYTES } from './chips/local-apic/wire.ts';
import { Pic } from './chips/pic/pic.ts';
import type { PicState } from './chips/pic/state.ts';
import type { SerialBackend } from './chips/uart16550/uart16550.ts';

/** One processor as the board needs it. */
export interface BoardProcessor {
  sink: IpiSink;
  timeStampCounter: TimeStampCounter;
}

/** What a guest may ask of the machine. Called from within a guest's access: note it and return. */
export interface MachineEvents {
  powerOff(): void;
  requestReset(): void;
  /** The debug-exit port was written: end the VM with this status. */
  exit(status: number): void;
}

export interface BoardOptions {
  timers: Timers;
  /** UTC, in milliseconds since 1970. */
  wallClock: { nowMs(): number };
  memory: GuestMemory;
  /** By APIC identity from 0; the first is the boot processor. */
  processors: readonly BoardProcessor[];
  /** MAXPHYADDR, as CPUID 0x80000008 tells the guest. */
  physicalAddressBits: number;
  events: MachineEvents;
  /** What COM1 to COM4 are connected to; a port without a backend isn't there. */
  serial: readonly (SerialBackend | undefined)[];
  /** Whether serial input waits until a driver has opened the port (Uart16550Options). */
  holdSerialInputUntilReady: boolean;
  debugExit: DebugExitOptions | undefined;
  /**
   * Where interrupt wires lead that do not end in this board's controllers: the host's kernel has them then, and the
   * board's own are not reached by anything.
   */
  interruptSink?: ((gsi: number, asserted: boolean) => void) | undefined;
}

export interface BoardState {
  localApics: LocalApicState[];
  kvmClocks: KvmClockState[];
  ioApic: IoApicState;
  pic: PicState;
  pci: PciConfigurationState;
}

/** The I/O APIC pin of an ISA interrupt: the timer's is 2, by the override in the MADT. */
export const gsiOfIrq = (irq: number): number => (irq === 0 ? 2 : irq);

export class Board {
  readonly options: BoardOptions;
  readonly ports = new PortBus();
  readonly mmio = new MmioBus();
  readonly timers: Timers;
  readonly apicBus = new ApicBus();
  readonly localApics: readonly LocalApic[];
  readonly kvmClocks: readonly KvmClock[];
  readonly pic: Pic;
  readonly ioApic: IoApic;
  readonly pci: PciConfiguration;
  /** Whose local APIC answers at 0xfee00000: index of the processor whose access the buses see. */
  currentProcessor = 0;
  private readonly wires: WiredOr[] = [];

  constructor(options: BoardOptions) {
    const { timers, processors, memory, wallClock } = options;
    this.options = options;
    this.timers = timers;
    const external = { peekVector: () => this.pic.peekVector(), acknowledge: () => this.pic.acknowledge() };
    this.localApics = processors.map(
      ({ sink, timeStampCounter }, apicId) =>
        new LocalApic({
          apicId,
          isBootProcessor: apicId === 0,
          timers,
          timeStampCounter,
          bus: this.apicBus,
          external: apicId === 0 ? external : undefined,
          sink,
          physicalAddressBits: options.physicalAddressBits,
        }),
    );
    this.kvmClocks = processors.map(
      ({ timeStampCounter }) => new KvmClock(memory, timers.clock, wallClock, timeStampCounter),
    );
    this.pic = new Pic(this.ports, new InterruptLine((asserted) => this.localApics[0]!.setLint0(asserted)));
    this.ioApic = new IoApic(this.mmio, this.apicBus);
    this.pci = new PciConfiguration(this.ports);
    this.mmio.map({
      name: 'local-apic',
      guestPhysical: LOCAL_APIC_BASE,
      sizeBytes: LOCAL_APIC_SIZE_BYTES,
      handler: {
        readMmio: (offset, sizeBytes) => this.localApics[this.currentProcessor]!.readMmio(offset, sizeBytes),
        writeMmio: (offset, sizeBytes, value) =>
          this.localApics[this.currentProcessor]!.writeMmio(offset, sizeBytes, value),
      },
    });
    for (let gsi = 0; gsi < IO_APIC_PIN_COUNT; gsi++) {
      const setLevel = (asserted: boolean): void => {
        if (gsi < 16) this.pic.setInput(gsi, asserted);
        this.ioApic.setPin(gsiOfIrq(gsi), asserted);
      };
      const { interruptSink } = options;
      const sink = interruptSink === undefined ? setLevel : (asserted: boolean) => interruptSink(gsi, asserted);
      this.wires.push(new WiredOr(new InterruptLine(sink)));
    }
  }

  /** A new driver of an interrupt: 0 to 15 the ISA ones, 16 to 23 those that the I/O APIC alone has. */
  interrupt(irq: number): InterruptLine {
    return this.wires[irq]!.input();
  }

  /** An MSR of the local APIC or the KVM clock; undefined is #GP. */
  readMsr(processor: number, index: number): bigint | undefined {
    return this.localApics[processor]!.readMsr(index) ?? this.kvmClocks[processor]!.readMsr(index);
  }

  /** false is #GP. */
  writeMsr(processor: number, index: number, value: bigint): boolean {
    return this.localApics[processor]!.writeMsr(index, value) || this.kvmClocks[processor]!.writeMsr(index, value);
  }

  /** A processor's time-stamp counter was written. */
  onTimeStampCounterChanged(processor: number): void {
    this.localApics[processor]!.onTimeStampCounterChanged();
    this.kvmClocks[processor]!.onTimeStampCounterChanged();
  }

  /** What firmware would have done: vectors 8 and 0x70 in the 8259As, all masked; local APICs on. */
  setUpAsFirmware(): void {
    for (const [command, vectorBase, cascade] of [
      [0x20, 0x08, 0x04],
      [0xa0, 0x70, 0x02],
    ] as const) {
      this.ports.write(command, 1, 0x11);
      for (const word of [vectorBase, cascade, 0x01, 0xff]) this.ports.write(command + 1, 1, word);
    }
    for (const apic of this.localApics) apic.setUpAsFirmware();
  }

  reset(): void {
    for (const apic of this.localApics) apic.reset();
    for (const clock of this.kvmClocks) clock.reset();
    this.ioApic.reset();
    this.pic.reset();
    this.pci.reset();
  }

  save(): BoardState {
    return {
      localApics: this.localApics.map((apic) => apic.save()),
      kvmClocks: this.kvmClocks.map((clock) => clock.save()),
      ioApic: this.ioApic.save(),
      pic: this.pic.save(),
      pci: this.pci.save(),
    };
  }

  /** RAM and the time-stamp counters must have been restored before; the devices of the registry come after. */
  restore(state: BoardState): void {
    this.pic.restore(state.pic);
    this.ioApic.restore(state.ioApic);
    for (const [index, apic] of this.localApics.entries()) apic.restore(state.localApics[index]!);
    for (const [index, clock] of this.kvmClocks.entries()) clock.restore(state.kvmClocks[index]!);
    this.pci.restore(state.pci);
  }
}
