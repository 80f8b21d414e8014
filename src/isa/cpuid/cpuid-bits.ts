// Where CPUID reports each feature (SDM volume 2, CPUID; APM volume 3, appendix E). A model lists names; this says
// which bits they are.

export type CpuidRegister = 'eax' | 'ebx' | 'ecx' | 'edx';

export interface CpuidBit {
  readonly leaf: number;
  readonly subleaf: number;
  readonly register: CpuidRegister;
  readonly bit: number;
}

function bit(leaf: number, register: CpuidRegister, position: number, subleaf = 0): CpuidBit {
  return { leaf, subleaf, register, bit: position };
}

export const CPUID_BITS = {
  sse3: bit(1, 'ecx', 0),
  pclmulqdq: bit(1, 'ecx', 1),
  ssse3: bit(1, 'ecx', 9),
  cx16: bit(1, 'ecx', 13),
  pcid: bit(1, 'ecx', 17),
  'sse4.1': bit(1, 'ecx', 19),
  'sse4.2': bit(1, 'ecx', 20),
  x2apic: bit(1, 'ecx', 21),
  movbe: bit(1, 'ecx', 22),
  popcnt: bit(1, 'ecx', 23),
  'tsc-deadline': bit(1, 'ecx', 24),
  aes: bit(1, 'ecx', 25),
  xsave: bit(1, 'ecx', 26),
  rdrand: bit(1, 'ecx', 30),
  hypervisor: bit(1, 'ecx', 31),
  x87: bit(1, 'edx', 0),
  de: bit(1, 'edx', 2),
  pse: bit(1, 'edx', 3),
  tsc: bit(1, 'edx', 4),
  msr: bit(1, 'edx', 5),
  pae: bit(1, 'edx', 6),
  cx8: bit(1, 'edx', 8),
  apic: bit(1, 'edx', 9),
  sep: bit(1, 'edx', 11),
  pge: bit(1, 'edx', 13),
  cmov: bit(1, 'edx', 15),
  pat: bit(1, 'edx', 16),
  clflush: bit(1, 'edx', 19),
  mmx: bit(1, 'edx', 23),
  fxsr: bit(1, 'edx', 24),
  sse: bit(1, 'edx', 25),
  sse2: bit(1, 'edx', 26),
  arat: bit(6, 'eax', 2),
  fsgsbase: bit(7, 'ebx', 0),
  smep: bit(7, 'ebx', 7),
  erms: bit(7, 'ebx', 9),
  invpcid: bit(7, 'ebx', 10),
  rdseed: bit(7, 'ebx', 18),
  smap: bit(7, 'ebx', 20),
  umip: bit(7, 'ecx', 2),
  fsrm: bit(7, 'edx', 4),
  'arch-capabilities': bit(7, 'edx', 29),
  xsaveopt: bit(0xd, 'eax', 0, 1),
  'kvm-nop-io-delay': bit(0x4000_0001, 'eax', 1),
  'kvm-clocksource2': bit(0x4000_0001, 'eax', 3),
  'kvm-clocksource-stable': bit(0x4000_0001, 'eax', 24),
  'lahf-64': bit(0x8000_0001, 'ecx', 0),
  prefetchw: bit(0x8000_0001, 'ecx', 8),
  syscall: bit(0x8000_0001, 'edx', 11),
  nx: bit(0x8000_0001, 'edx', 20),
  '1gib-pages': bit(0x8000_0001, 'edx', 26),
  rdtscp: bit(0x8000_0001, 'edx', 27),
  'long-mode': bit(0x8000_0001, 'edx', 29),
  'invariant-tsc': bit(0x8000_0007, 'edx', 8),
} as const satisfies Record<string, CpuidBit>;

export type CpuidFeatureName = keyof typeof CPUID_BITS;
