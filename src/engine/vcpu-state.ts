// The canonical architectural state of one virtual processor, as every engine exports and imports it.
// Names follow the AMD64 APM volume 2 and Intel SDM volume 3; segment attributes are the packed descriptor bits
// that VMX calls access rights (SDM 3C 25.4.1).

export const VCPU_STATE_VERSION = 1;

/** Attribute bits of a segment register's hidden part. */
export const SEGMENT_ATTRIBUTE = {
  TYPE_MASK: 0x000f,
  S: 0x0010,
  DPL_SHIFT: 5,
  DPL_MASK: 0x0060,
  P: 0x0080,
  AVL: 0x1000,
  L: 0x2000,
  DB: 0x4000,
  G: 0x8000,
  /** The register holds no usable segment (a null selector). */
  UNUSABLE: 0x10000,
} as const;

export interface SegmentState {
  selector: number;
  base: bigint;
  /** In bytes, already scaled by G: 0xffffffff for a 4 GiB segment. */
  limit: number;
  attributes: number;
}

export interface DescriptorTableState {
  base: bigint;
  limit: number;
}

export const SEGMENT_NAMES = ['es', 'cs', 'ss', 'ds', 'fs', 'gs', 'ldtr', 'tr'] as const;
export type SegmentName = (typeof SEGMENT_NAMES)[number];

export interface VcpuState {
  version: number;
  /** rax, rcx, rdx, rbx, rsp, rbp, rsi, rdi, r8 … r15. */
  gpr: bigint[];
  rip: bigint;
  rflags: bigint;
  segments: Record<SegmentName, SegmentState>;
  gdtr: DescriptorTableState;
  idtr: DescriptorTableState;
  cr0: bigint;
  cr2: bigint;
  cr3: bigint;
  cr4: bigint;
  cr8: bigint;
  efer: bigint;
  xcr0: bigint;
  /** dr0 to dr3, dr6, dr7. */
  debug: { dr0: bigint; dr1: bigint; dr2: bigint; dr3: bigint; dr6: bigint; dr7: bigint };
  /** MSR index to value: every MSR of the CPU model that holds state, the local APIC's excepted. */
  msrs: Map<number, bigint>;
  /** XSAVE area in standard format (SDM 1 13.4): 512 bytes legacy region, 64 bytes header. */
  xsave: Uint8Array;
  /** Interrupt shadow, blocked NMIs, a halted processor, and an exception that is on its way. */
  events: {
    interruptShadow: boolean;
    nmiBlocked: boolean;
    nmiPending: boolean;
    halted: boolean;
    exception: { vector: number; errorCode: number | undefined } | undefined;
  };
}

const flatSegment = (selector: number, attributes: number): SegmentState => ({
  selector,
  base: 0n,
  limit: 0xffff,
  attributes,
});

/** The state after RESET (SDM 3A table 11-1). */
export function resetState(): VcpuState {
  const data = (): SegmentState => flatSegment(0, 0x93);
  return {
    version: VCPU_STATE_VERSION,
    gpr: new Array<bigint>(16).fill(0n).with(2, 0x600n),
    rip: 0xfff0n,
    rflags: 2n,
    segments: {
      es: data(),
      cs: { selector: 0xf000, base: 0xffff0000n, limit: 0xffff, attributes: 0x9b },
      ss: data(),
      ds: data(),
      fs: data(),
      gs: data(),
      ldtr: flatSegment(0, 0x82),
      tr: flatSegment(0, 0x8b),
    },
    gdtr: { base: 0n, limit: 0xffff },
    idtr: { base: 0n, limit: 0xffff },
    cr0: 0x60000010n,
    cr2: 0n,
    cr3: 0n,
    cr4: 0n,
    cr8: 0n,
    efer: 0n,
    xcr0: 1n,
    debug: { dr0: 0n, dr1: 0n, dr2: 0n, dr3: 0n, dr6: 0xffff0ff0n, dr7: 0x400n },
    msrs: new Map(),
    xsave: initialXsave(),
    events: {
      interruptShadow: false,
      nmiBlocked: false,
      nmiPending: false,
      halted: false,
      exception: undefined,
    },
  };
}

/** An XSAVE area whose components are in their initial configuration: FCW 0x37f, MXCSR 0x1f80. */
export function initialXsave(): Uint8Array {
  const area = new Uint8Array(576);
  const view = new DataView(area.buffer);
  view.setUint16(0, 0x37f, true);
  view.setUint32(24, 0x1f80, true);
  view.setUint32(28, 0xffff, true);
  return area;
}
