// Where APIC interrupt messages travel: from I/O APICs, MSIs and inter-processor interrupts to the local APICs, and
// end-of-interrupt broadcasts back (SDM 3A 11.6.2 destinations, 11.8.5 EOI).

/** Delivery modes as ICR, LVT and redirection entries encode them (SDM 3A 11.5.1, 11.6.1). */
export const DELIVERY_MODE = {
  FIXED: 0,
  LOWEST_PRIORITY: 1,
  SMI: 2,
  NMI: 4,
  INIT: 5,
  STARTUP: 6,
  EXTINT: 7,
} as const;

export interface InterruptMessage {
  /** Raw destination field: 8 bits, or 32 where `wide`. */
  destination: number;
  /** The destination is an x2APIC one. */
  wide: boolean;
  logical: boolean;
  deliveryMode: number;
  vector: number;
  levelTriggered: boolean;
}

/** A local APIC as the bus sees it. */
export interface ApicBusAgent {
  matchesPhysical(destination: number, wide: boolean): boolean;
  matchesLogical(destination: number, wide: boolean): boolean;
  /** Whether fixed interrupts are accepted at all: a software-disabled local APIC takes no part in arbitration. */
  readonly softwareEnabled: boolean;
  /** PPR: who has the lowest gets a lowest-priority interrupt. */
  readonly processorPriority: number;
  /** Takes one interrupt; false where the local APIC drops it. */
  accept(deliveryMode: number, vector: number, levelTriggered: boolean): boolean;
}

/** An I/O APIC, which hears of the end of level-triggered interrupts. */
export interface EndOfInterruptListener {
  endOfInterrupt(vector: number): void;
}

export class ApicBus {
  private readonly agents: ApicBusAgent[] = [];
  private readonly listeners: EndOfInterruptListener[] = [];
  /** Where the search for the lowest priority starts, so that equal processors take turns. */
  private turn = 0;

  attach(agent: ApicBusAgent): void {
    this.agents.push(agent);
  }

  attachListener(listener: EndOfInterruptListener): void {
    this.listeners.push(listener);
  }

  /** Delivers to every agent addressed, or to one for lowest priority. True where at least one accepted. */
  send(message: InterruptMessage): boolean {
    if (message.deliveryMode === DELIVERY_MODE.LOWEST_PRIORITY) return this.sendLowestPriority(message);
    let accepted = false;
    for (const agent of this.agents) {
      if (!this.matches(agent, message)) continue;
      if (agent.accept(message.deliveryMode, message.vector, message.levelTriggered)) accepted = true;
    }
    return accepted;
  }

  /** The "all" shorthands of the ICR. */
  sendToAll(deliveryMode: number, vector: number, except: ApicBusAgent | undefined): void {
    for (const agent of this.agents) if (agent !== except) agent.accept(deliveryMode, vector, false);
  }

  broadcastEndOfInterrupt(vector: number): void {
    for (const listener of this.listeners) listener.endOfInterrupt(vector);
  }

  private sendLowestPriority(message: InterruptMessage): boolean {
    let chosen: ApicBusAgent | undefined;
    let chosenIndex = 0;
    for (let i = 0; i < this.agents.length; i++) {
      const index = (this.turn + i) % this.agents.length;
      const agent = this.agents[index]!;
      if (!agent.softwareEnabled || !this.matches(agent, message)) continue;
      if (chosen === undefined || agent.processorPriority < chosen.processorPriority) {
        chosen = agent;
        chosenIndex = index;
      }
    }
    if (chosen === undefined) return false;
    this.turn = (chosenIndex + 1) % this.agents.length;
    return chosen.accept(DELIVERY_MODE.FIXED, message.vector, message.levelTriggered);
  }

  private matches(agent: ApicBusAgent, message: InterruptMessage): boolean {
    return message.logical
      ? agent.matchesLogical(message.destination, message.wide)
      : agent.matchesPhysical(message.destination, message.wide);
  }
}
