// The I/O APIC (Intel 82093AA): 24 pins, a redirection entry each. A pin is asserted or not; the polarity bit of an
// entry is stored and read back, no more, because the wires of this machine carry meanings instead of voltages.

import { type ApicBus, DELIVERY_MODE, type EndOfInterruptListener } from '../../../bus/apic-bus.ts';
import type { MmioBus, MmioHandler } from '../../../bus/mmio-bus.ts';
import { type IoApicState, initialIoApicState, restoreIoApic, saveIoApic } from './state.ts';
import {
  IO_APIC_BASE,
  IO_APIC_PIN_COUNT,
  IO_APIC_REGISTER,
  IO_APIC_SIZE_BYTES,
  IO_APIC_VERSION,
  IO_APIC_WINDOW,
  REDIRECTION,
} from './wire.ts';

export class IoApic implements MmioHandler, EndOfInterruptListener {
  private readonly bus: ApicBus;
  private state: IoApicState = initialIoApicState();

  constructor(mmio: MmioBus, bus: ApicBus) {
    this.bus = bus;
    bus.attachListener(this);
    mmio.map({ name: 'io-apic', guestPhysical: IO_APIC_BASE, sizeBytes: IO_APIC_SIZE_BYTES, handler: this });
  }

  /** Level of a pin. */
  setPin(pin: number, asserted: boolean): void {
    const bit = 1 << pin;
    const rose = asserted && (this.state.pins & bit) === 0;
    if (asserted) this.state.pins |= bit;
    else this.state.pins &= ~bit;
    const low = this.state.low[pin]!;
    if ((low & REDIRECTION.LEVEL_TRIGGERED) !== 0) this.serviceLevel(pin);
    // An edge on a masked pin is gone.
    else if (rose && (low & REDIRECTION.MASKED) === 0) this.deliver(pin);
  }

  endOfInterrupt(vector: number): void {
    for (let pin = 0; pin < IO_APIC_PIN_COUNT; pin++) {
      const low = this.state.low[pin]!;
      if ((low & REDIRECTION.VECTOR_MASK) !== vector || (low & REDIRECTION.REMOTE_IRR) === 0) continue;
      this.state.low[pin] = low & ~REDIRECTION.REMOTE_IRR;
      this.serviceLevel(pin);
    }
  }

  readMmio(offset: number, sizeBytes: number): number {
    let value: number;
    if ((offset & 0xfc) === IO_APIC_WINDOW.IOREGSEL) value = this.state.ioregsel;
    else if ((offset & 0xfc) === IO_APIC_WINDOW.IOWIN) value = this.readRegister(this.state.ioregsel);
    else return 0;
    value >>>= 8 * (offset & 3);
    return sizeBytes === 4 ? value : sizeBytes === 2 ? value & 0xffff : value & 0xff;
  }

  writeMmio(offset: number, sizeBytes: number, value: number): void {
    if ((offset & 0xff) === IO_APIC_WINDOW.IOREGSEL) this.state.ioregsel = value & 0xff;
    else if ((offset & 0xff) === IO_APIC_WINDOW.IOWIN && sizeBytes === 4) {
      this.writeRegister(this.state.ioregsel, value);
    }
  }

  reset(): void {
    const { pins } = this.state;
    this.state = { ...initialIoApicState(), pins };
  }

  save(): IoApicState {
    return saveIoApic(this.state);
  }

  restore(state: IoApicState): void {
    this.state = restoreIoApic(state);
  }

  private readRegister(index: number): number {
    switch (index) {
      case IO_APIC_REGISTER.IOAPICID:
      case IO_APIC_REGISTER.IOAPICARB:
        return (this.state.id << 24) >>> 0;
      case IO_APIC_REGISTER.IOAPICVER:
        return IO_APIC_VERSION;
      default: {
        const pin = (index - IO_APIC_REGISTER.IOREDTBL) >> 1;
        if (pin < 0 || pin >= IO_APIC_PIN_COUNT) return 0;
        return index & 1 ? this.state.high[pin]! : this.state.low[pin]!;
      }
    }
  }

  private writeRegister(index: number, value: number): void {
    if (index === IO_APIC_REGISTER.IOAPICID) {
      this.state.id = (value >>> 24) & 0xf;
      return;
    }
    const pin = (index - IO_APIC_REGISTER.IOREDTBL) >> 1;
    if (pin < 0 || pin >= IO_APIC_PIN_COUNT) return;
    if (index & 1) {
      this.state.high[pin] = (value & REDIRECTION.WRITABLE_HIGH) >>> 0;
      return;
    }
    const remoteIrr = this.state.low[pin]! & REDIRECTION.REMOTE_IRR;
    const low = value & REDIRECTION.WRITABLE_LOW;
    // An edge-triggered entry has no remote IRR: making it one for a moment is how Linux clears a stuck bit.
    this.state.low[pin] = low & REDIRECTION.LEVEL_TRIGGERED ? low | remoteIrr : low;
    this.serviceLevel(pin);
  }

  /** Delivers a level-triggered pin that is asserted, unmasked and not being served. */
  private serviceLevel(pin: number): void {
    const blocked = REDIRECTION.MASKED | REDIRECTION.REMOTE_IRR;
    const low = this.state.low[pin]!;
    if ((low & (blocked | REDIRECTION.LEVEL_TRIGGERED)) !== REDIRECTION.LEVEL_TRIGGERED) return;
    if ((this.state.pins & (1 << pin)) === 0) return;
    // Before the delivery: whoever takes it may end it at once.
    this.state.low[pin] = low | REDIRECTION.REMOTE_IRR;
    if (!this.deliver(pin)) this.state.low[pin] = this.state.low[pin]! & ~REDIRECTION.REMOTE_IRR;
  }

  /** True where a local APIC accepted. */
  private deliver(pin: number): boolean {
    const low = this.state.low[pin]!;
    const deliveryMode = (low >> REDIRECTION.DELIVERY_MODE_SHIFT) & 7;
    // ExtINT reaches the boot processor over LINT0.
    if (deliveryMode === DELIVERY_MODE.EXTINT) return false;
    const hasLevel = deliveryMode === DELIVERY_MODE.FIXED || deliveryMode === DELIVERY_MODE.LOWEST_PRIORITY;
    const accepted = this.bus.send({
      destination: this.state.high[pin]! >>> 24,
      wide: false,
      logical: (low & REDIRECTION.LOGICAL) !== 0,
      deliveryMode,
      vector: low & REDIRECTION.VECTOR_MASK,
      levelTriggered: hasLevel && (low & REDIRECTION.LEVEL_TRIGGERED) !== 0,
    });
    return accepted && hasLevel;
  }
}
