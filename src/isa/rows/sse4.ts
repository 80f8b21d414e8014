// SSSE3, SSE4.1, SSE4.2, AES-NI and PCLMULQDQ (SDM volume 1, 5.8 to 5.12).

import type { RowDefinition } from './row-definition.ts';
import { rowsNeeding } from './row-definition.ts';

const ssse3 = rowsNeeding('ssse3');
const sse41 = rowsNeeding('sse4.1');
const sse42 = rowsNeeding('sse4.2');
const aes = rowsNeeding('aes');
const pclmulqdq = rowsNeeding('pclmulqdq');

/** SSSE3 has each of its instructions for MMX (NP) and XMM (66) registers. */
function both(mnemonic: string, opcode: string): RowDefinition[] {
  return [ssse3(mnemonic, `NP 0F 38 ${opcode} /r`, 'Pq,Qq'), ssse3(mnemonic, `66 0F 38 ${opcode} /r`, 'Vdq,Wdq')];
}

export const SSE4_ROWS: readonly RowDefinition[] = [
  ...both('pshufb', '00'),
  ...both('phaddw', '01'),
  ...both('phaddd', '02'),
  ...both('phaddsw', '03'),
  ...both('pmaddubsw', '04'),
  ...both('phsubw', '05'),
  ...both('phsubd', '06'),
  ...both('phsubsw', '07'),
  ...both('psignb', '08'),
  ...both('psignw', '09'),
  ...both('psignd', '0A'),
  ...both('pmulhrsw', '0B'),
  ...both('pabsb', '1C'),
  ...both('pabsw', '1D'),
  ...both('pabsd', '1E'),
  ssse3('palignr', 'NP 0F 3A 0F /r ib', 'Pq,Qq,Ib'),
  ssse3('palignr', '66 0F 3A 0F /r ib', 'Vdq,Wdq,Ib'),

  // The mask of the variable blends is XMM0.
  sse41('pblendvb', '66 0F 38 10 /r', 'Vdq,Wdq'),
  sse41('blendvps', '66 0F 38 14 /r', 'Vdq,Wdq'),
  sse41('blendvpd', '66 0F 38 15 /r', 'Vdq,Wdq'),
  sse41('ptest', '66 0F 38 17 /r', 'Vdq,Wdq'),
  sse41('pmovsxbw', '66 0F 38 20 /r', 'Vdq,Wq'),
  sse41('pmovsxbd', '66 0F 38 21 /r', 'Vdq,Wd'),
  sse41('pmovsxbq', '66 0F 38 22 /r', 'Vdq,Ww'),
  sse41('pmovsxwd', '66 0F 38 23 /r', 'Vdq,Wq'),
  sse41('pmovsxwq', '66 0F 38 24 /r', 'Vdq,Wd'),
  sse41('pmovsxdq', '66 0F 38 25 /r', 'Vdq,Wq'),
  sse41('pmuldq', '66 0F 38 28 /r', 'Vdq,Wdq'),
  sse41('pcmpeqq', '66 0F 38 29 /r', 'Vdq,Wdq'),
  sse41('movntdqa', '66 0F 38 2A /r', 'Vdq,Mdq'),
  sse41('packusdw', '66 0F 38 2B /r', 'Vdq,Wdq'),
  sse41('pmovzxbw', '66 0F 38 30 /r', 'Vdq,Wq'),
  sse41('pmovzxbd', '66 0F 38 31 /r', 'Vdq,Wd'),
  sse41('pmovzxbq', '66 0F 38 32 /r', 'Vdq,Ww'),
  sse41('pmovzxwd', '66 0F 38 33 /r', 'Vdq,Wq'),
  sse41('pmovzxwq', '66 0F 38 34 /r', 'Vdq,Wd'),
  sse41('pmovzxdq', '66 0F 38 35 /r', 'Vdq,Wq'),
  sse42('pcmpgtq', '66 0F 38 37 /r', 'Vdq,Wdq'),
  sse41('pminsb', '66 0F 38 38 /r', 'Vdq,Wdq'),
  sse41('pminsd', '66 0F 38 39 /r', 'Vdq,Wdq'),
  sse41('pminuw', '66 0F 38 3A /r', 'Vdq,Wdq'),
  sse41('pminud', '66 0F 38 3B /r', 'Vdq,Wdq'),
  sse41('pmaxsb', '66 0F 38 3C /r', 'Vdq,Wdq'),
  sse41('pmaxsd', '66 0F 38 3D /r', 'Vdq,Wdq'),
  sse41('pmaxuw', '66 0F 38 3E /r', 'Vdq,Wdq'),
  sse41('pmaxud', '66 0F 38 3F /r', 'Vdq,Wdq'),
  sse41('pmulld', '66 0F 38 40 /r', 'Vdq,Wdq'),
  sse41('phminposuw', '66 0F 38 41 /r', 'Vdq,Wdq'),

  sse41('roundps', '66 0F 3A 08 /r ib', 'Vps,Wps,Ib'),
  sse41('roundpd', '66 0F 3A 09 /r ib', 'Vpd,Wpd,Ib'),
  sse41('roundss', '66 0F 3A 0A /r ib', 'Vss,Wss,Ib'),
  sse41('roundsd', '66 0F 3A 0B /r ib', 'Vsd,Wsd,Ib'),
  sse41('blendps', '66 0F 3A 0C /r ib', 'Vps,Wps,Ib'),
  sse41('blendpd', '66 0F 3A 0D /r ib', 'Vpd,Wpd,Ib'),
  sse41('pblendw', '66 0F 3A 0E /r ib', 'Vdq,Wdq,Ib'),
  sse41('pextrb', '66 0F 3A 14 /r ib', 'Ry/Mb,Vdq,Ib'),
  sse41('pextrw', '66 0F 3A 15 /r ib', 'Ry/Mw,Vdq,Ib'),
  sse41('pextrd', '66 0F 3A 16 /r ib', 'Ed,Vdq,Ib'),
  sse41('pextrq', '66 REX.W 0F 3A 16 /r ib', 'Eq,Vdq,Ib', { lift: 'pextrd' }),
  sse41('extractps', '66 0F 3A 17 /r ib', 'Ry/Md,Vdq,Ib'),
  sse41('pinsrb', '66 0F 3A 20 /r ib', 'Vdq,Ry/Mb,Ib'),
  sse41('insertps', '66 0F 3A 21 /r ib', 'Vdq,Udq/Md,Ib'),
  sse41('pinsrd', '66 0F 3A 22 /r ib', 'Vdq,Ed,Ib'),
  sse41('pinsrq', '66 REX.W 0F 3A 22 /r ib', 'Vdq,Eq,Ib', { lift: 'pinsrd' }),
  sse41('dpps', '66 0F 3A 40 /r ib', 'Vps,Wps,Ib'),
  sse41('dppd', '66 0F 3A 41 /r ib', 'Vpd,Wpd,Ib'),
  sse41('mpsadbw', '66 0F 3A 42 /r ib', 'Vdq,Wdq,Ib'),

  // The explicit lengths are in EAX and EDX, or RAX and RDX with REX.W.
  sse42('pcmpestrm', '66 0F 3A 60 /r ib', 'Vdq,Wdq,Ib'),
  sse42('pcmpestri', '66 0F 3A 61 /r ib', 'Vdq,Wdq,Ib'),
  sse42('pcmpistrm', '66 0F 3A 62 /r ib', 'Vdq,Wdq,Ib'),
  sse42('pcmpistri', '66 0F 3A 63 /r ib', 'Vdq,Wdq,Ib'),

  aes('aesimc', '66 0F 38 DB /r', 'Vdq,Wdq'),
  aes('aesenc', '66 0F 38 DC /r', 'Vdq,Wdq'),
  aes('aesenclast', '66 0F 38 DD /r', 'Vdq,Wdq'),
  aes('aesdec', '66 0F 38 DE /r', 'Vdq,Wdq'),
  aes('aesdeclast', '66 0F 38 DF /r', 'Vdq,Wdq'),
  aes('aeskeygenassist', '66 0F 3A DF /r ib', 'Vdq,Wdq,Ib'),
  pclmulqdq('pclmulqdq', '66 0F 3A 44 /r ib', 'Vdq,Wdq,Ib'),
];
