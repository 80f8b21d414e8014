// Where our decoder and iced-x86 say different things on purpose, as data. Everything else must be equal.

/**
 * CPU features as iced names them that the instruction table covers. An instruction of any other feature must be
 * invalid for us, unless EXECUTES_AS names what it is without that feature.
 */
export const COVERED_FEATURES: readonly string[] = (
  'INTEL8086 INTEL186 INTEL286 INTEL386 INTEL486 X64 AES CLFSH CMOV CMPXCHG16B CPUID CX8 FPU FPU287 FPU387 ' +
  'FSGSBASE FXSR ' +
  'INVPCID MMX MOVBE MSR MULTIBYTENOP PAUSE PCLMULQDQ POPCNT RDPMC RDRAND RDSEED RDTSCP SEP SMAP SMM SSE SSE2 SSE3 ' +
  'SSE4_1 SSE4_2 SSSE3 SYSCALL TSC XSAVE XSAVEOPT'
).split(' ');

/** iced's mnemonic of a newer instruction -> what its bytes are on a processor without it, and why that is sure. */
export const EXECUTES_AS: Readonly<Record<string, { mnemonic: string; reason: string }>> = {
  tzcnt: { mnemonic: 'bsf', reason: 'F3 is ignored before BSF (SDM TZCNT)' },
  lzcnt: { mnemonic: 'bsr', reason: 'F3 is ignored before BSR (SDM LZCNT)' },
  wbnoinvd: { mnemonic: 'wbinvd', reason: 'F3 is ignored before WBINVD (SDM WBNOINVD)' },
  cldemote: { mnemonic: 'nop', reason: 'a NOP where unsupported (SDM CLDEMOTE)' },
  endbr32: { mnemonic: 'nop', reason: 'a NOP where CET is absent (SDM ENDBR32)' },
  endbr64: { mnemonic: 'nop', reason: 'a NOP where CET is absent (SDM ENDBR64)' },
  rdsspd: { mnemonic: 'nop', reason: 'a NOP where CET is absent (SDM RDSSPD)' },
  rdsspq: { mnemonic: 'nop', reason: 'a NOP where CET is absent (SDM RDSSPQ)' },
  prefetchw: { mnemonic: 'nop', reason: 'the table takes 0F 0D as a hint whole' },
  prefetchwt1: { mnemonic: 'nop', reason: 'the table takes 0F 0D as a hint whole' },
  prefetch: { mnemonic: 'nop', reason: 'the table takes 0F 0D as a hint whole' },
  prefetcht0: { mnemonic: 'nop', reason: 'the table takes 0F 18 as a hint whole' },
  prefetcht1: { mnemonic: 'nop', reason: 'the table takes 0F 18 as a hint whole' },
  prefetcht2: { mnemonic: 'nop', reason: 'the table takes 0F 18 as a hint whole' },
  prefetchnta: { mnemonic: 'nop', reason: 'the table takes 0F 18 as a hint whole' },
  prefetchit0: { mnemonic: 'nop', reason: 'the table takes 0F 18 as a hint whole' },
  prefetchit1: { mnemonic: 'nop', reason: 'the table takes 0F 18 as a hint whole' },
  reservednop: { mnemonic: 'nop', reason: '0F 19 to 0F 1F are hints; iced names the undefined ones apart' },
};

/** Our mnemonics whose operands do nothing and are not compared. */
export const HINTS: readonly string[] = ['nop', 'prefetch', 'prefetchw'];

/**
 * Our mnemonics whose memory operand has no size for us, since the instruction accesses none or its size is its
 * own affair.
 */
export const UNSIZED: readonly string[] = (
  'lea invlpg clflush fldenv fnstenv frstor fnsave fxsave fxsave64 fxrstor fxrstor64 xsave xsave64 xrstor xrstor64 ' +
  'xsaveopt xsaveopt64'
).split(' ');

/**
 * Instructions that read 16 bits of a register, which iced calls by its 32- or 64-bit name after the operand
 * size. So is MOV to a segment register.
 */
export const WORD_REGISTERS: readonly string[] = 'lldt ltr verr verw lmsw arpl'.split(' ');
