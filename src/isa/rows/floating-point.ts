// SSE, SSE2 and SSE3 floating-point instructions (SDM volume 1, 5.5, 5.6 and 5.7).

import type { RowDefinition } from './row-definition.ts';
import { rowsNeeding } from './row-definition.ts';

const sse = rowsNeeding('sse');
const sse2 = rowsNeeding('sse2');
const sse3 = rowsNeeding('sse3');

/** ps, pd, ss and sd by NP, 66, F3 and F2. */
function four(name: string, opcode: string): RowDefinition[] {
  return [
    sse(`${name}ps`, `NP 0F ${opcode} /r`, 'Vps,Wps'),
    sse2(`${name}pd`, `66 0F ${opcode} /r`, 'Vpd,Wpd'),
    sse(`${name}ss`, `F3 0F ${opcode} /r`, 'Vss,Wss'),
    sse2(`${name}sd`, `F2 0F ${opcode} /r`, 'Vsd,Wsd'),
  ];
}

/** ps and pd by NP and 66. */
function packed(name: string, opcode: string): RowDefinition[] {
  return four(name, opcode).slice(0, 2);
}

export const FLOATING_POINT_ROWS: readonly RowDefinition[] = [
  ...four('sqrt', '51'),
  ...four('add', '58'),
  ...four('mul', '59'),
  ...four('sub', '5C'),
  ...four('min', '5D'),
  ...four('div', '5E'),
  ...four('max', '5F'),
  ...packed('and', '54'),
  ...packed('andn', '55'),
  ...packed('or', '56'),
  ...packed('xor', '57'),
  ...packed('unpckl', '14'),
  ...packed('unpckh', '15'),
  sse('rsqrtps', 'NP 0F 52 /r', 'Vps,Wps'),
  sse('rsqrtss', 'F3 0F 52 /r', 'Vss,Wss'),
  sse('rcpps', 'NP 0F 53 /r', 'Vps,Wps'),
  sse('rcpss', 'F3 0F 53 /r', 'Vss,Wss'),
  sse3('haddpd', '66 0F 7C /r', 'Vpd,Wpd'),
  sse3('haddps', 'F2 0F 7C /r', 'Vps,Wps'),
  sse3('hsubpd', '66 0F 7D /r', 'Vpd,Wpd'),
  sse3('hsubps', 'F2 0F 7D /r', 'Vps,Wps'),
  sse3('addsubpd', '66 0F D0 /r', 'Vpd,Wpd'),
  sse3('addsubps', 'F2 0F D0 /r', 'Vps,Wps'),

  sse('cmpps', 'NP 0F C2 /r ib', 'Vps,Wps,Ib'),
  sse2('cmppd', '66 0F C2 /r ib', 'Vpd,Wpd,Ib'),
  sse('cmpss', 'F3 0F C2 /r ib', 'Vss,Wss,Ib'),
  sse2('cmpsd', 'F2 0F C2 /r ib', 'Vsd,Wsd,Ib'),
  sse('ucomiss', 'NP 0F 2E /r', 'Vss,Wss'),
  sse2('ucomisd', '66 0F 2E /r', 'Vsd,Wsd'),
  sse('comiss', 'NP 0F 2F /r', 'Vss,Wss'),
  sse2('comisd', '66 0F 2F /r', 'Vsd,Wsd'),
  sse('shufps', 'NP 0F C6 /r ib', 'Vps,Wps,Ib'),
  sse2('shufpd', '66 0F C6 /r ib', 'Vpd,Wpd,Ib'),

  sse('movups', 'NP 0F 10 /r', 'Vps,Wps'),
  sse('movups', 'NP 0F 11 /r', 'Wps,Vps'),
  sse2('movupd', '66 0F 10 /r', 'Vpd,Wpd'),
  sse2('movupd', '66 0F 11 /r', 'Wpd,Vpd'),
  // From memory MOVSS and MOVSD clear the rest of the destination; between registers they keep it.
  sse('movss', 'F3 0F 10 /r', 'Vss,Wss'),
  sse('movss', 'F3 0F 11 /r', 'Wss,Vss'),
  sse2('movsd', 'F2 0F 10 /r', 'Vsd,Wsd'),
  sse2('movsd', 'F2 0F 11 /r', 'Wsd,Vsd'),
  sse('movaps', 'NP 0F 28 /r', 'Vps,Wps'),
  sse('movaps', 'NP 0F 29 /r', 'Wps,Vps'),
  sse2('movapd', '66 0F 28 /r', 'Vpd,Wpd'),
  sse2('movapd', '66 0F 29 /r', 'Wpd,Vpd'),
  sse('movhlps', 'NP 0F 12 /r', 'Vq,Uq'),
  sse('movlps', 'NP 0F 12 /r', 'Vq,Mq'),
  sse('movlps', 'NP 0F 13 /r', 'Mq,Vq'),
  sse2('movlpd', '66 0F 12 /r', 'Vq,Mq'),
  sse2('movlpd', '66 0F 13 /r', 'Mq,Vq'),
  sse('movlhps', 'NP 0F 16 /r', 'Vdq,Uq'),
  sse('movhps', 'NP 0F 16 /r', 'Vdq,Mq'),
  sse('movhps', 'NP 0F 17 /r', 'Mq,Vdq'),
  sse2('movhpd', '66 0F 16 /r', 'Vdq,Mq'),
  sse2('movhpd', '66 0F 17 /r', 'Mq,Vdq'),
  sse3('movsldup', 'F3 0F 12 /r', 'Vdq,Wdq'),
  sse3('movddup', 'F2 0F 12 /r', 'Vdq,Wq'),
  sse3('movshdup', 'F3 0F 16 /r', 'Vdq,Wdq'),
  sse('movntps', 'NP 0F 2B /r', 'Mps,Vps'),
  sse2('movntpd', '66 0F 2B /r', 'Mpd,Vpd'),
  sse('movmskps', 'NP 0F 50 /r', 'Gy,Ups'),
  sse2('movmskpd', '66 0F 50 /r', 'Gy,Upd'),

  sse('cvtpi2ps', 'NP 0F 2A /r', 'Vq,Qpi'),
  sse2('cvtpi2pd', '66 0F 2A /r', 'Vpd,Qpi'),
  sse('cvtsi2ss', 'F3 0F 2A /r', 'Vss,Ey'),
  sse2('cvtsi2sd', 'F2 0F 2A /r', 'Vsd,Ey'),
  sse('cvttps2pi', 'NP 0F 2C /r', 'Ppi,Wq'),
  sse2('cvttpd2pi', '66 0F 2C /r', 'Ppi,Wpd'),
  sse('cvttss2si', 'F3 0F 2C /r', 'Gy,Wss'),
  sse2('cvttsd2si', 'F2 0F 2C /r', 'Gy,Wsd'),
  sse('cvtps2pi', 'NP 0F 2D /r', 'Ppi,Wq'),
  sse2('cvtpd2pi', '66 0F 2D /r', 'Ppi,Wpd'),
  sse('cvtss2si', 'F3 0F 2D /r', 'Gy,Wss'),
  sse2('cvtsd2si', 'F2 0F 2D /r', 'Gy,Wsd'),
  sse2('cvtps2pd', 'NP 0F 5A /r', 'Vpd,Wq'),
  sse2('cvtpd2ps', '66 0F 5A /r', 'Vps,Wpd'),
  sse2('cvtss2sd', 'F3 0F 5A /r', 'Vsd,Wss'),
  sse2('cvtsd2ss', 'F2 0F 5A /r', 'Vss,Wsd'),
  sse2('cvtdq2ps', 'NP 0F 5B /r', 'Vps,Wdq'),
  sse2('cvtps2dq', '66 0F 5B /r', 'Vdq,Wps'),
  sse2('cvttps2dq', 'F3 0F 5B /r', 'Vdq,Wps'),
  sse2('cvttpd2dq', '66 0F E6 /r', 'Vdq,Wpd'),
  sse2('cvtdq2pd', 'F3 0F E6 /r', 'Vpd,Wq'),
  sse2('cvtpd2dq', 'F2 0F E6 /r', 'Vdq,Wpd'),

  sse('ldmxcsr', 'NP 0F AE /2', 'Md'),
  sse('stmxcsr', 'NP 0F AE /3', 'Md'),
];
