// What a processor asked of its machine, with the answers: written down while the leader runs, given again to the
// follower, which must ask the same in the same order.

import type { VcpuHost } from '../../vcpu.ts';

export type HostCallName =
  | 'readPort'
  | 'writePort'
  | 'readMmio'
  | 'writeMmio'
  | 'getCr8'
  | 'setCr8'
  | 'readMsr'
  | 'writeMsr'
  | 'readTsc'
  | 'random';

type Answer = number | bigint | boolean | undefined;

/** Bytes of RAM that a device wrote while it answered. */
export interface DeviceWrite {
  readonly guestPhysical: number;
  readonly bytes: Uint8Array;
}

export interface HostCall {
  readonly name: HostCallName;
  /** Port, guest-physical address or MSR. */
  readonly place: number;
  readonly sizeBytes: number;
  /** What is written; undefined for reads. */
  readonly value: number | bigint | undefined;
  readonly answer: Answer;
  readonly deviceWrites: readonly DeviceWrite[];
}

export type HostQuestion = Pick<HostCall, 'name' | 'place' | 'sizeBytes' | 'value'>;

/** The follower asked for something else than the leader did there; `expected` is undefined at the log's end. */
export class UnexpectedHostCall extends Error {
  override readonly name = 'UnexpectedHostCall';
  readonly asked: HostQuestion;
  readonly expected: HostCall | undefined;

  constructor(asked: HostQuestion, expected: HostCall | undefined) {
    super('the follower asked its machine for something else than the leader');
    this.asked = asked;
    this.expected = expected;
  }
}

export class HostCallLog {
  private readonly calls: HostCall[] = [];
  private position = 0;

  /** True when the follower has asked for everything. */
  get consumed(): boolean {
    return this.position === this.calls.length;
  }

  get all(): readonly HostCall[] {
    return this.calls;
  }

  get consumedCount(): number {
    return this.position;
  }

  add(call: HostCall): void {
    this.calls.push(call);
  }

  rewind(): void {
    this.position = 0;
  }

  clear(): void {
    this.calls.length = 0;
    this.position = 0;
  }

  /** The leader's call at this point. Throws UnexpectedHostCall if that was another one. */
  next(name: HostCallName, place: number, sizeBytes: number, value: number | bigint | undefined): HostCall {
    const call = this.calls[this.position];
    if (
      call === undefined ||
      call.name !== name ||
      call.place !== place ||
      call.sizeBytes !== sizeBytes ||
      call.value !== value
    ) {
      throw new UnexpectedHostCall({ name, place, sizeBytes, value }, call);
    }
    this.position++;
    return call;
  }
}

/** What the two ends of the log do differently: make a call and write it down, or look it up. */
export type Exchange = (
  name: HostCallName,
  place: number,
  sizeBytes: number,
  value: number | bigint | undefined,
  ask: () => Answer,
) => Answer;

type DataCalls = Pick<
  VcpuHost,
  'readPort' | 'writePort' | 'readMmio' | 'writeMmio' | 'getCr8' | 'setCr8' | 'readMsr' | 'writeMsr' | 'readTsc'
>;

/** The calls of a VcpuHost that carry data, over an exchange. `host` answers where the exchange asks it. */
export function dataCalls(host: VcpuHost, exchange: Exchange): DataCalls {
  const nothing = (call: () => void) => (): undefined => {
    call();
  };
  return {
    readPort: (port, size) => exchange('readPort', port, size, undefined, () => host.readPort(port, size)) as number,
    writePort: (port, size, value) => {
      exchange(
        'writePort',
        port,
        size,
        value,
        nothing(() => host.writePort(port, size, value)),
      );
    },
    readMmio: (guestPhysical, size) =>
      exchange('readMmio', guestPhysical, size, undefined, () => host.readMmio(guestPhysical, size)) as number,
    writeMmio: (guestPhysical, size, value) => {
      exchange(
        'writeMmio',
        guestPhysical,
        size,
        value,
        nothing(() => host.writeMmio(guestPhysical, size, value)),
      );
    },
    getCr8: () => exchange('getCr8', 8, 1, undefined, () => host.getCr8()) as number,
    setCr8: (value) => {
      exchange(
        'setCr8',
        8,
        1,
        value,
        nothing(() => host.setCr8(value)),
      );
    },
    readMsr: (index) => exchange('readMsr', index, 8, undefined, () => host.readMsr(index)) as bigint | undefined,
    writeMsr: (index, value) => exchange('writeMsr', index, 8, value, () => host.writeMsr(index, value)) as boolean,
    readTsc: () => exchange('readTsc', 0, 8, undefined, () => host.readTsc()) as number,
  };
}
