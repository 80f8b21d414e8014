// PCI configuration mechanism #1 (PCI Local Bus 3.0 section 3.2.2.3.2): CONFIG_ADDRESS at port 0xcf8 and CONFIG_DATA
// at 0xcfc, over bus 0. The host bridge is there; other functions are plugged in by the machine.

import type { AccessSizeBytes, PortBus, PortHandler } from './port-bus.ts';
import { requireStateVersion, type SavedState } from './saved-state.ts';

export const PCI_PORT = { CONFIG_ADDRESS: 0xcf8, CONFIG_DATA: 0xcfc } as const;

const CONFIG_ENABLE = 0x80000000;
const CONFIG_ADDRESS_MASK = 0x80fffffc;

/** The 256 bytes of configuration space of one function. `offset` is a byte offset; an access never crosses a dword. */
export interface PciFunction {
  readConfiguration(offset: number, sizeBytes: AccessSizeBytes): number;
  writeConfiguration(offset: number, sizeBytes: AccessSizeBytes, value: number): void;
}

/** The Intel 440FX host bridge (8086:1237), as far as an operating system looks at it: an identity and no resources. */
class HostBridge implements PciFunction {
  private readonly space = new DataView(new ArrayBuffer(256));

  constructor() {
    this.space.setUint16(0x00, 0x8086, true);
    this.space.setUint16(0x02, 0x1237, true);
    this.space.setUint16(0x04, 0x0006, true); // COMMAND: memory space, bus master
    this.space.setUint8(0x08, 0x02); // revision
    this.space.setUint16(0x0a, 0x0600, true); // class: host bridge
  }

  readConfiguration(offset: number, sizeBytes: AccessSizeBytes): number {
    if (sizeBytes === 1) return this.space.getUint8(offset);
    return sizeBytes === 2 ? this.space.getUint16(offset & 0xfe, true) : this.space.getUint32(offset & 0xfc, true);
  }

  writeConfiguration(): void {
    // every register is read-only
  }
}

export const PCI_CONFIGURATION_STATE_VERSION = 1;

export interface PciConfigurationState extends SavedState {
  configAddress: number;
}

/** The two ports and the functions of bus 0, by device and function number. */
export class PciConfiguration {
  private configAddress = 0;
  private readonly functions = new Map<number, PciFunction>([[0, new HostBridge()]]);

  constructor(ports: PortBus) {
    const address: PortHandler = {
      // Only a dword access reaches CONFIG_ADDRESS; narrower ones are ordinary I/O that nobody claims.
      readPort: (_offset, sizeBytes) => (sizeBytes === 4 ? this.configAddress : sizeBytes === 2 ? 0xffff : 0xff),
      writePort: (_offset, sizeBytes, value) => {
        if (sizeBytes === 4) this.configAddress = (value & CONFIG_ADDRESS_MASK) >>> 0;
      },
    };
    const data: PortHandler = {
      readPort: (offset, sizeBytes) => this.read(offset, sizeBytes),
      writePort: (offset, sizeBytes, value) => this.write(offset, sizeBytes, value),
    };
    ports.map({ name: 'pci', firstPort: PCI_PORT.CONFIG_ADDRESS, count: 1, widestBytes: 4, handler: address });
    ports.map({ name: 'pci', firstPort: PCI_PORT.CONFIG_DATA, count: 4, widestBytes: 4, handler: data });
  }

  /** Plugs a function into bus 0. Throws where the place is taken: that is a defect of the machine. */
  plug(device: number, pciFunction: number, target: PciFunction): void {
    const place = (device << 3) | pciFunction;
    if (this.functions.has(place)) throw new RangeError(`PCI device ${device}.${pciFunction} is there already`);
    this.functions.set(place, target);
  }

  reset(): void {
    this.configAddress = 0;
  }

  save(): PciConfigurationState {
    return { version: PCI_CONFIGURATION_STATE_VERSION, configAddress: this.configAddress };
  }

  restore(state: PciConfigurationState): void {
    requireStateVersion('pci', state, PCI_CONFIGURATION_STATE_VERSION);
    this.configAddress = state.configAddress;
  }

  private selected(): PciFunction | undefined {
    if ((this.configAddress & CONFIG_ENABLE) === 0) return undefined;
    return this.functions.get((this.configAddress >>> 8) & 0xffff); // bus 0 only: any other bus has bits above 0xff
  }

  private read(offset: number, sizeBytes: AccessSizeBytes): number {
    const target = offset + sizeBytes <= 4 ? this.selected() : undefined;
    if (target === undefined) return sizeBytes === 1 ? 0xff : sizeBytes === 2 ? 0xffff : 0xffffffff;
    return target.readConfiguration((this.configAddress & 0xfc) + offset, sizeBytes);
  }

  private write(offset: number, sizeBytes: AccessSizeBytes, value: number): void {
    if (offset + sizeBytes > 4) return;
    this.selected()?.writeConfiguration((this.configAddress & 0xfc) + offset, sizeBytes, value);
  }
}
