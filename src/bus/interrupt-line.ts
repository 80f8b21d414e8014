// One interrupt wire: a device asserts it, an interrupt controller listens. Asserted is true, whatever the voltage:
// polarity is a matter between a board and its controller's registers, and never reaches a device.

/** A wire with one driver. The sink hears changes only. */
export class InterruptLine {
  private asserted = false;
  private readonly sink: (asserted: boolean) => void;

  constructor(sink: (asserted: boolean) => void) {
    this.sink = sink;
  }

  get level(): boolean {
    return this.asserted;
  }

  set(asserted: boolean): void {
    if (asserted === this.asserted) return;
    this.asserted = asserted;
    this.sink(asserted);
  }

  /** Asserts and releases: one edge. A line that is asserted already ends released. */
  pulse(): void {
    this.set(true);
    this.set(false);
  }
}

/** Several drivers on one wire, which is asserted while any of them asserts (COM1 and COM3 share IRQ 4). */
export class WiredOr {
  private readonly output: InterruptLine;
  private assertedInputs = 0;

  constructor(output: InterruptLine) {
    this.output = output;
  }

  /** A new driver of the wire. */
  input(): InterruptLine {
    return new InterruptLine((asserted) => {
      this.assertedInputs += asserted ? 1 : -1;
      this.output.set(this.assertedInputs > 0);
    });
  }
}
