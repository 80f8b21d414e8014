// Model-specific register numbers (SDM volume 4; APM volume 2, appendix A; Linux' Documentation/virt/kvm/x86/msr.rst
// for KVM's).

export const MSR = {
  IA32_TIME_STAMP_COUNTER: 0x10,
  IA32_PLATFORM_ID: 0x17,
  IA32_APIC_BASE: 0x1b,
  IA32_FEATURE_CONTROL: 0x3a,
  IA32_BIOS_SIGN_ID: 0x8b,
  IA32_ARCH_CAPABILITIES: 0x10a,
  IA32_SYSENTER_CS: 0x174,
  IA32_SYSENTER_ESP: 0x175,
  IA32_SYSENTER_EIP: 0x176,
  IA32_MISC_ENABLE: 0x1a0,
  IA32_DEBUGCTL: 0x1d9,
  IA32_PAT: 0x277,
  IA32_TSC_DEADLINE: 0x6e0,
  /** The first of the local APIC's registers in x2APIC mode; the last is 0x8ff. */
  IA32_X2APIC_FIRST: 0x800,
  IA32_X2APIC_LAST: 0x8ff,
  IA32_EFER: 0xc000_0080,
  IA32_STAR: 0xc000_0081,
  IA32_LSTAR: 0xc000_0082,
  IA32_CSTAR: 0xc000_0083,
  IA32_FMASK: 0xc000_0084,
  IA32_FS_BASE: 0xc000_0100,
  IA32_GS_BASE: 0xc000_0101,
  IA32_KERNEL_GS_BASE: 0xc000_0102,
  IA32_TSC_AUX: 0xc000_0103,
  KVM_WALL_CLOCK_NEW: 0x4b56_4d00,
  KVM_SYSTEM_TIME_NEW: 0x4b56_4d01,
} as const;

export type MsrName = keyof typeof MSR;

/** IA32_ARCH_CAPABILITIES bits (SDM volume 4): what the processor is not vulnerable to. */
export const ARCH_CAPABILITIES = {
  RDCL_NO: 1n << 0n,
  SKIP_L1DFL_VMENTRY: 1n << 3n,
  SSB_NO: 1n << 4n,
  MDS_NO: 1n << 5n,
  IF_PSCHANGE_MC_NO: 1n << 6n,
  TAA_NO: 1n << 8n,
  SBDR_SSDP_NO: 1n << 13n,
  FBSDP_NO: 1n << 14n,
  PSDP_NO: 1n << 15n,
  BHI_NO: 1n << 20n,
  PBRSB_NO: 1n << 24n,
  GDS_NO: 1n << 26n,
  RFDS_NO: 1n << 27n,
  ITS_NO: 1n << 62n,
} as const;

/** IA32_MISC_ENABLE bits. */
export const MISC_ENABLE = { FAST_STRING: 1n << 0n, BTS_UNAVAILABLE: 1n << 11n, PEBS_UNAVAILABLE: 1n << 12n } as const;
