// /dev/kvm and a VM made by it: memory slots, the dirty log, what KVM can do here (Documentation/virt/kvm/api.rst).

import { DIRTY_PAGE_BYTES, DirtyBitmap, type DirtyLog } from '../dirty-log.ts';
import { GUEST_RAM_OFFSET } from '../software/layout.ts';
import * as ioctls from './ioctls.ts';
import { KVM_DEVICE } from './kvm-check.ts';
import { KvmError } from './kvm-error.ts';
import {
  adviseLargePages,
  closeDescriptor,
  errnoWord,
  ioctlWithBuffer,
  ioctlWithValue,
  locateBytes,
  openDevice,
  SystemCallError,
} from './libc.ts';
import { StructBuffer } from './struct-layout.ts';
import * as structs from './structs.ts';

const MAXIMUM_CPUID_ENTRIES = 256;
/** Where nothing of a PC is: Intel's KVM keeps four pages there for real mode. */
const TSS_GUEST_PHYSICAL = 0xfffb_d000;
const IDENTITY_MAP_GUEST_PHYSICAL = 0xfffb_c000n;

/** A descriptor that answers ioctls; a failure is a KvmError with the ioctl's name. */
export class KvmDescriptor {
  readonly descriptor: number;
  private open = true;

  constructor(descriptor: number) {
    this.descriptor = descriptor;
  }

  /** An ioctl that takes a number. */
  call(ioctl: ioctls.Ioctl, value: number | bigint = 0): number {
    return this.check(ioctl, ioctlWithValue(this.descriptor, ioctl.number, value));
  }

  /** An ioctl on a structure. `detail` goes into the message of a failure. */
  exchange(ioctl: ioctls.Ioctl, buffer: StructBuffer | Uint8Array, detail?: string): number {
    const bytes = buffer instanceof StructBuffer ? buffer.bytes : buffer;
    return this.check(ioctl, ioctlWithBuffer(this.descriptor, ioctl.number, bytes), detail);
  }

  /** Closes it; a second time is nothing. */
  close(): void {
    if (!this.open) return;
    // Before the call: the kernel has closed it even where close() fails, and the number may be another's by then.
    this.open = false;
    closeDescriptor(this.descriptor);
  }

  private check({ name }: ioctls.Ioctl, result: number, detail?: string): number {
    if (result < 0) throw new KvmError(name, errnoWord(-result), detail);
    return result;
  }
}

export interface CpuidEntry {
  readonly leaf: number;
  readonly subleaf: number;
  /** KVM_CPUID_FLAG_SIGNIFCANT_INDEX: the entry is for this subleaf alone. */
  readonly subleafCounts: boolean;
  readonly eax: number;
  readonly ebx: number;
  readonly ecx: number;
  readonly edx: number;
}

/** /dev/kvm itself. */
export class KvmSystem extends KvmDescriptor {
  /** Throws KvmError where the device cannot be opened, is none of KVM's or speaks another version. */
  static open(device = KVM_DEVICE): KvmSystem {
    let descriptor: number;
    try {
      descriptor = openDevice(device);
    } catch (error) {
      if (error instanceof SystemCallError) throw new KvmError(`open ${device}`, error.code);
      throw error;
    }
    const system = new KvmSystem(descriptor);
    try {
      system.requireVersion();
      return system;
    } catch (error) {
      system.close();
      throw error;
    }
  }

  private requireVersion(): void {
    const { name } = ioctls.KVM_GET_API_VERSION;
    const version = this.call(ioctls.KVM_GET_API_VERSION);
    if (version === ioctls.KVM_API_VERSION) return;
    throw new KvmError(name, 'EINVAL', `version ${version}, not ${ioctls.KVM_API_VERSION}`);
  }

  /** The descriptor of a new VM. */
  createVm(): number {
    for (;;) {
      try {
        return this.call(ioctls.KVM_CREATE_VM);
      } catch (error) {
        // A signal for this process came in between, such as a child's end.
        if (!(error instanceof KvmError) || error.code !== 'EINTR') throw error;
      }
    }
  }

  /** What KVM_CHECK_EXTENSION says: 0 is no. */
  extension(capability: number): number {
    return this.call(ioctls.KVM_CHECK_EXTENSION, capability);
  }

  /** CPUID as KVM can give it to guests on this host. */
  supportedCpuid(): CpuidEntry[] {
    const { kvm_cpuid2: head, kvm_cpuid_entry2: entry } = structs;
    const buffer = new StructBuffer(head, MAXIMUM_CPUID_ENTRIES * entry.sizeBytes);
    buffer.set('nent', MAXIMUM_CPUID_ENTRIES);
    this.exchange(ioctls.KVM_GET_SUPPORTED_CPUID, buffer);
    return Array.from({ length: buffer.get('nent') }, (_, index) => {
      const at = head.sizeBytes + index * entry.sizeBytes;
      const one = new StructBuffer(entry, buffer.bytes.subarray(at, at + entry.sizeBytes));
      return {
        leaf: one.get('function'),
        subleaf: one.get('index'),
        subleafCounts: (one.get('flags') & ioctls.KVM_CPUID_FLAG_SIGNIFCANT_INDEX) !== 0,
        eax: one.get('eax'),
        ebx: one.get('ebx'),
        ecx: one.get('ecx'),
        edx: one.get('edx'),
      };
    });
  }

  /** MSRs that KVM saves and restores on this host. */
  msrIndexes(): ReadonlySet<number> {
    const { kvm_msr_list: head } = structs;
    const capacity = 1024;
    const buffer = new StructBuffer(head, capacity * 4);
    buffer.set('nmsrs', capacity);
    this.exchange(ioctls.KVM_GET_MSR_INDEX_LIST, buffer);
    return new Set(new Uint32Array(buffer.bytes.buffer, head.sizeBytes, buffer.get('nmsrs')));
  }
}

/** Who has the interrupt controllers and the PIT: the kernel, or the VcpuHost. */
export type ChipsOwner = 'kernel' | 'host';

export interface KvmVmOptions {
  /** From createGuestMemory(ramBytes). */
  readonly memory: WebAssembly.Memory;
  readonly ramBytes: number;
  readonly chips: ChipsOwner;
}

const RAM_SLOT = 0;
const CASCADE_IRQ = 2;

/** One VM: RAM from guest-physical 0 on, in slot 0. It keeps /dev/kvm open until it is closed. */
export class KvmVm extends KvmDescriptor {
  readonly system: KvmSystem;
  readonly chips: ChipsOwner;
  readonly memory: WebAssembly.Memory;
  readonly ramBytes: number;
  private readonly region = new StructBuffer(structs.kvm_userspace_memory_region);

  static create(options: KvmVmOptions): KvmVm {
    const system = KvmSystem.open();
    let vm: KvmVm | undefined;
    try {
      vm = new KvmVm(system, system.createVm(), options);
      vm.setUp();
      return vm;
    } catch (error) {
      vm?.close();
      system.close();
      throw error;
    }
  }

  private constructor(system: KvmSystem, descriptor: number, { memory, ramBytes, chips }: KvmVmOptions) {
    super(descriptor);
    this.system = system;
    this.chips = chips;
    this.memory = memory;
    this.ramBytes = ramBytes;
  }

  private setUp(): void {
    this.call(ioctls.KVM_SET_TSS_ADDR, TSS_GUEST_PHYSICAL);
    this.exchange(
      ioctls.KVM_SET_IDENTITY_MAP_ADDR,
      new Uint8Array(BigUint64Array.of(IDENTITY_MAP_GUEST_PHYSICAL).buffer),
    );
    const { region } = this;
    region.set('slot', RAM_SLOT);
    region.set64('guest_phys_addr', 0n);
    region.set64('memory_size', BigInt(this.ramBytes));
    // The memory is shared, and made with its maximum: it never moves while anybody holds it, as this object does.
    const ramPlace = locateBytes(new Uint8Array(this.memory.buffer)) + BigInt(GUEST_RAM_OFFSET);
    region.set64('userspace_addr', ramPlace);
    adviseLargePages(ramPlace, this.ramBytes);
    this.exchange(ioctls.KVM_SET_USER_MEMORY_REGION, region, `${this.ramBytes / 1024 ** 2} MiB`);
    if (this.chips === 'kernel') {
      this.call(ioctls.KVM_CREATE_IRQCHIP);
      const config = new StructBuffer(structs.kvm_pit_config);
      // Port 0x61 as well: its bits hang together with counter 2.
      config.set('flags', ioctls.KVM_PIT_SPEAKER_DUMMY);
      this.exchange(ioctls.KVM_CREATE_PIT2, config);
      this.routeInterrupts();
    }
  }

  /** ISA interrupts to both controllers; the timer's reaches pin 2 of the I/O APIC, as the MADT says. */
  private routeInterrupts(): void {
    const routes: [gsi: number, irqchip: number, pin: number][] = [];
    const { PIC_MASTER, PIC_SLAVE, IOAPIC } = ioctls.KVM_IRQCHIP;
    for (let irq = 0; irq < 16; irq++) {
      if (irq !== CASCADE_IRQ) routes.push([irq, irq < 8 ? PIC_MASTER : PIC_SLAVE, irq & 7]);
    }
    for (let gsi = 0; gsi < structs.KVM_IOAPIC_NUM_PINS; gsi++) {
      if (gsi !== CASCADE_IRQ) routes.push([gsi, IOAPIC, gsi === 0 ? 2 : gsi]);
    }
    const { kvm_irq_routing: head, kvm_irq_routing_entry: layout } = structs;
    const table = new StructBuffer(head, routes.length * layout.sizeBytes);
    table.set('nr', routes.length);
    routes.forEach(([gsi, irqchip, pin], index) => {
      const at = head.sizeBytes + index * layout.sizeBytes;
      const entry = new StructBuffer(layout, table.bytes.subarray(at, at + layout.sizeBytes));
      entry.set('gsi', gsi);
      entry.set('type', ioctls.KVM_IRQ_ROUTING_IRQCHIP);
      entry.set('u.irqchip.irqchip', irqchip);
      entry.set('u.irqchip.pin', pin);
    });
    this.exchange(ioctls.KVM_SET_GSI_ROUTING, table);
  }

  /**
   * RAM was written on the host's side. Where KVM shadows the guest's page tables (no second level of address
   * translation), it has not seen that: taking the slot away and back makes it look anew.
   */
  noteHostWrite(guestPhysical: number, lengthBytes: number): void {
    const { region, besideLog } = this;
    // The slot's bitmap goes with it.
    besideLog?.add(this.takeDirtyPages());
    besideLog?.note(guestPhysical, lengthBytes);
    region.set64('memory_size', 0n);
    try {
      this.exchange(ioctls.KVM_SET_USER_MEMORY_REGION, region, 'RAM away');
    } finally {
      region.set64('memory_size', BigInt(this.ramBytes));
    }
    this.exchange(ioctls.KVM_SET_USER_MEMORY_REGION, region, 'RAM back');
  }

  extension(capability: number): number {
    return this.call(ioctls.KVM_CHECK_EXTENSION, capability);
  }

  enable(capability: number, argument: bigint): void {
    const buffer = new StructBuffer(structs.kvm_enable_cap);
    buffer.set('cap', capability);
    buffer.set64('args', argument);
    this.exchange(ioctls.KVM_ENABLE_CAP, buffer, `capability ${capability}`);
  }

  /** Level of a wire to the kernel's interrupt controllers: 0 to 15 to PIC and I/O APIC, 16 to 23 to the latter. */
  setInterruptLine(gsi: number, asserted: boolean): void {
    const level = new StructBuffer(structs.kvm_irq_level);
    level.set('irq', gsi);
    level.set('level', asserted ? 1 : 0);
    this.exchange(ioctls.KVM_IRQ_LINE, level);
  }

  /** While the log is on: dirty pages that KVM does not know of, or no more. */
  private besideLog: DirtyBitmap | undefined;

  readonly dirtyLog: DirtyLog = {
    start: () => {
      // Flags that are set already would leave KVM's bitmap as it is.
      if (this.besideLog !== undefined) this.takeDirtyPages();
      else this.logDirtyPages(true);
      this.besideLog = new DirtyBitmap(this.ramBytes);
    },
    stop: () => {
      if (this.besideLog !== undefined) this.logDirtyPages(false);
      this.besideLog = undefined;
    },
    take: () => {
      if (this.besideLog === undefined) throw new Error('the dirty log is not on');
      this.besideLog.add(this.takeDirtyPages());
      return this.besideLog.take();
    },
  };

  /** Pages written since the last call, as KVM notes them. Writes by the host's own threads are not among them. */
  private takeDirtyPages(): Uint8Array {
    // KVM writes whole words of 64 bits.
    const bitmap = new Uint8Array(Math.ceil(this.ramBytes / DIRTY_PAGE_BYTES / 64) * 8);
    const log = new StructBuffer(structs.kvm_dirty_log);
    log.set('slot', RAM_SLOT);
    log.set64('dirty_bitmap', locateBytes(bitmap));
    this.exchange(ioctls.KVM_GET_DIRTY_LOG, log);
    return bitmap;
  }

  private logDirtyPages(on: boolean): void {
    this.region.set('flags', on ? ioctls.KVM_MEM_LOG_DIRTY_PAGES : 0);
    this.exchange(ioctls.KVM_SET_USER_MEMORY_REGION, this.region, `dirty log ${on ? 'on' : 'off'}`);
  }

  /** Ends the VM. Its processors must have been closed before: they keep it alive. */
  override close(): void {
    super.close();
    this.system.close();
  }
}
