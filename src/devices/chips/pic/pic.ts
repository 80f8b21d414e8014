// The PC's pair of 8259A interrupt controllers, the slave on the master's input 2 (Intel 8259A data sheet).
// As in the chip, an edge is a request only as long as its input stays high: one that falls before the
// acknowledge leaves a spurious interrupt 7.

import type { InterruptLine } from '../../../bus/interrupt-line.ts';
import type { PortBus, PortHandler } from '../../../bus/port-bus.ts';
import { type ChipState, initialChipState, type PicState, restorePic, savePic } from './state.ts';
import {
  CASCADE_INPUT,
  ELCR_WRITABLE,
  ICW1,
  ICW4,
  OCW2,
  OCW3,
  PIC_PORT,
  PIC_REGISTER,
  POLL_INTERRUPT,
} from './wire.ts';

const SPURIOUS_INPUT = 7;

/** One 8259A; `changed` is called when its INT output may differ. */
class Chip implements PortHandler {
  readonly state: ChipState = initialChipState();
  /** The level that the INT output has, -1 for none: an input number. */
  requestedInput = -1;
  private readonly isMaster: boolean;
  private readonly elcrWritable: number;
  private readonly changed: () => void;

  constructor(isMaster: boolean, elcrWritable: number, changed: () => void) {
    this.isMaster = isMaster;
    this.elcrWritable = elcrWritable;
    this.changed = changed;
  }

  setInput(input: number, asserted: boolean): void {
    const state = this.state;
    const bit = 1 << input;
    if (asserted) {
      if ((state.inputs & bit) === 0) state.edges |= bit;
      state.inputs |= bit;
    } else {
      state.inputs &= ~bit;
      state.edges &= ~bit;
    }
    this.update();
  }

  /** IRR: latched edges, and the levels of level-triggered inputs. */
  get irr(): number {
    const { edges, inputs, elcr } = this.state;
    return (edges & ~elcr) | (inputs & elcr);
  }

  update(): void {
    const requested = this.findRequest();
    if (requested === this.requestedInput) return;
    this.requestedInput = requested;
    this.changed();
  }

  /** INTA: the input that is served now, `SPURIOUS_INPUT` where its request has gone. */
  acknowledge(): number {
    const state = this.state;
    const input = this.requestedInput;
    if (input < 0) return SPURIOUS_INPUT;
    const bit = 1 << input;
    state.edges &= ~bit;
    if (!state.autoEoi) state.isr |= bit;
    else if (state.rotateInAutoEoi) state.lowestPriority = input;
    this.update();
    return input;
  }

  readPort(offset: number): number {
    const state = this.state;
    if (state.poll) {
      state.poll = false;
      if (this.requestedInput < 0) return 0;
      return POLL_INTERRUPT | this.acknowledge();
    }
    if (offset === PIC_REGISTER.DATA) return state.imr;
    return state.readIsr ? state.isr : this.irr;
  }

  writePort(offset: number, _sizeBytes: number, value: number): void {
    if (offset === PIC_REGISTER.DATA) this.writeData(value);
    else if (value & ICW1.SELECT) this.writeIcw1(value);
    else if (value & OCW3.SELECT) this.writeOcw3(value);
    else this.writeOcw2(value);
    this.update();
  }

  writeElcr(value: number): void {
    this.state.elcr = value & this.elcrWritable;
    this.update();
  }

  private writeIcw1(value: number): void {
    const { inputs, elcr, vectorBase } = this.state;
    Object.assign(this.state, initialChipState(), { inputs, elcr, vectorBase });
    this.state.needsIcw4 = (value & ICW1.IC4) !== 0;
    this.state.single = (value & ICW1.SNGL) !== 0;
    this.state.expectedIcw = 2;
  }

  private writeData(value: number): void {
    const state = this.state;
    switch (state.expectedIcw) {
      case 2:
        state.vectorBase = value & 0xf8;
        state.expectedIcw = state.single ? (state.needsIcw4 ? 4 : 0) : 3;
        return;
      case 3: // the wiring of the cascade is the board's
        state.expectedIcw = state.needsIcw4 ? 4 : 0;
        return;
      case 4:
        state.autoEoi = (value & ICW4.AEOI) !== 0;
        state.specialFullyNested = (value & ICW4.SFNM) !== 0;
        state.expectedIcw = 0;
        return;
      default:
        state.imr = value;
    }
  }

  private writeOcw3(value: number): void {
    const state = this.state;
    if (value & OCW3.POLL) state.poll = true;
    if (value & OCW3.RR) state.readIsr = (value & OCW3.RIS) !== 0;
    if (value & OCW3.ESMM) state.specialMask = (value & OCW3.SMM) !== 0;
  }

  private writeOcw2(value: number): void {
    const state = this.state;
    const named = value & 7;
    switch (value >> 5) {
      case OCW2.ROTATE_IN_AEOI_CLEAR:
        state.rotateInAutoEoi = false;
        return;
      case OCW2.ROTATE_IN_AEOI_SET:
        state.rotateInAutoEoi = true;
        return;
      case OCW2.SET_PRIORITY:
        state.lowestPriority = named;
        return;
      case OCW2.SPECIFIC_EOI:
        state.isr &= ~(1 << named);
        return;
      case OCW2.ROTATE_SPECIFIC_EOI:
        state.isr &= ~(1 << named);
        state.lowestPriority = named;
        return;
      case OCW2.EOI:
      case OCW2.ROTATE_EOI: {
        // In special mask mode a non-specific EOI leaves alone what the mask covers.
        const served = this.highest(state.specialMask ? state.isr & ~state.imr : state.isr);
        if (served < 0) return;
        state.isr &= ~(1 << served);
        if (value >> 5 === OCW2.ROTATE_EOI) state.lowestPriority = served;
      }
    }
  }

  /** The input of highest priority in `bits`, -1 for none. */
  private highest(bits: number): number {
    if (bits === 0) return -1;
    for (let i = 1; i <= 8; i++) {
      const input = (this.state.lowestPriority + i) & 7;
      if (bits & (1 << input)) return input;
    }
    return -1;
  }

  /** The input that may interrupt now, given masks and what is in service. */
  private findRequest(): number {
    const state = this.state;
    const requested = this.highest(this.irr & ~state.imr);
    if (requested < 0) return -1;
    let inService = state.isr;
    // In special mask mode a level that is served and masked holds no other back.
    if (state.specialMask) inService &= ~state.imr;
    // In special fully nested mode the slave's further requests pass while one of its own is served.
    if (state.specialFullyNested && this.isMaster && requested === CASCADE_INPUT) inService &= ~(1 << CASCADE_INPUT);
    const served = this.highest(inService);
    if (served < 0) return requested;
    const rank = (input: number): number => (input - state.lowestPriority - 1) & 7;
    return rank(requested) < rank(served) ? requested : -1;
  }
}

/** Both chips. Inputs are the ISA interrupt numbers 0 to 15 without 2; `output` is the processor's INTR wire. */
export class Pic {
  private readonly master: Chip;
  private readonly slave: Chip;

  constructor(ports: PortBus, output: InterruptLine) {
    this.master = new Chip(true, ELCR_WRITABLE.MASTER, () => output.set(this.master.requestedInput >= 0));
    this.slave = new Chip(false, ELCR_WRITABLE.SLAVE, () =>
      this.master.setInput(CASCADE_INPUT, this.slave.requestedInput >= 0),
    );
    ports.map({ name: 'pic', firstPort: PIC_PORT.MASTER, count: 2, widestBytes: 1, handler: this.master });
    ports.map({ name: 'pic', firstPort: PIC_PORT.SLAVE, count: 2, widestBytes: 1, handler: this.slave });
    const elcr: PortHandler = {
      readPort: (offset) => (offset === 0 ? this.master : this.slave).state.elcr,
      writePort: (offset, _sizeBytes, value) => (offset === 0 ? this.master : this.slave).writeElcr(value),
    };
    ports.map({ name: 'pic', firstPort: PIC_PORT.ELCR, count: 2, widestBytes: 1, handler: elcr });
  }

  /** Level of an ISA interrupt line; input 2 is the cascade and cannot be driven. */
  setInput(irq: number, asserted: boolean): void {
    if (irq >= 8) this.slave.setInput(irq - 8, asserted);
    else if (irq !== CASCADE_INPUT) this.master.setInput(irq, asserted);
  }

  /** The vector that `acknowledge` would give now; nothing changes. */
  peekVector(): number {
    const input = this.master.requestedInput;
    if (input < 0) return this.master.state.vectorBase | SPURIOUS_INPUT;
    if (input !== CASCADE_INPUT) return this.master.state.vectorBase | input;
    const slaveInput = this.slave.requestedInput;
    return this.slave.state.vectorBase | (slaveInput < 0 ? SPURIOUS_INPUT : slaveInput);
  }

  /** The processor's interrupt acknowledge cycle: the vector, spurious where the request has gone. */
  acknowledge(): number {
    const vector = this.peekVector();
    if (this.master.acknowledge() === CASCADE_INPUT) this.slave.acknowledge();
    return vector;
  }

  reset(): void {
    for (const chip of [this.slave, this.master]) {
      const { inputs } = chip.state;
      Object.assign(chip.state, initialChipState(), { inputs });
      chip.update();
    }
  }

  save(): PicState {
    return savePic(this.master.state, this.slave.state);
  }

  restore(state: PicState): void {
    restorePic(state, this.master.state, this.slave.state);
    this.slave.update();
    this.master.update();
  }
}
