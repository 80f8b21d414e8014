// System instructions (SDM volume 1, 5.20 and 5.21): descriptor tables, control registers, MSRs, time, identification,
// caches, system calls and processor state.

import type { RowDefinition } from './row-definition.ts';
import { rowsNeeding } from './row-definition.ts';

const row = rowsNeeding('base');

export const SYSTEM_ROWS: readonly RowDefinition[] = [
  row('sldt', '0F 00 /0', 'Rv/Mw'),
  row('str', '0F 00 /1', 'Rv/Mw'),
  row('lldt', '0F 00 /2', 'Ew'),
  row('ltr', '0F 00 /3', 'Ew'),
  row('verr', '0F 00 /4', 'Ew'),
  row('verw', '0F 00 /5', 'Ew'),
  row('sgdt', '0F 01 /0', 'Ms', { size64: 'force64' }),
  row('sidt', '0F 01 /1', 'Ms', { size64: 'force64' }),
  row('lgdt', '0F 01 /2', 'Ms', { size64: 'force64' }),
  row('lidt', '0F 01 /3', 'Ms', { size64: 'force64' }),
  row('smsw', '0F 01 /4', 'Rv/Mw'),
  row('lmsw', '0F 01 /6', 'Ew', { ends: true }),
  row('lar', '0F 02 /r', 'Gv,Rv/Mw'),
  row('lsl', '0F 03 /r', 'Gv,Rv/Mw'),
  row('arpl', '63 /r', 'Ew,Gw', { mode: 'no64' }),

  row('mov', '0F 20 /r', 'Ry,Cy', { lift: 'mov-from-cr', size64: 'force64' }),
  row('mov', '0F 21 /r', 'Ry,Dy', { lift: 'mov-from-dr', size64: 'force64' }),
  row('mov', '0F 22 /r', 'Cy,Ry', { lift: 'mov-to-cr', size64: 'force64', ends: true }),
  row('mov', '0F 23 /r', 'Dy,Ry', { lift: 'mov-to-dr', size64: 'force64', ends: true }),
  row('clts', '0F 06', '', { ends: true }),
  row('hlt', 'F4', '', { ends: true }),
  row('invlpg', '0F 01 /7', 'M'),
  row('invpcid', '66 0F 38 82 /r', 'Gy,Mdq', { feature: 'invpcid', size64: 'force64', ends: true }),
  row('invd', '0F 08', ''),
  row('wbinvd', '0F 09', ''),
  row('clac', 'NP 0F 01 CA', '', { feature: 'smap' }),
  row('stac', 'NP 0F 01 CB', '', { feature: 'smap' }),

  row('rdmsr', '0F 32', ''),
  row('wrmsr', '0F 30', '', { ends: true }),
  row('rdtsc', '0F 31', ''),
  row('rdtscp', '0F 01 F9', '', { feature: 'rdtscp' }),
  row('rdpmc', '0F 33', ''),
  row('cpuid', '0F A2', ''),
  row('rdrand', 'NFx 0F C7 /6', 'Rv', { feature: 'rdrand' }),
  row('rdseed', 'NFx 0F C7 /7', 'Rv', { feature: 'rdseed' }),
  // Outside system management mode RSM raises #UD.
  row('rsm', '0F AA', '', { lift: 'ud', ends: true }),

  row('syscall', '0F 05', '', { ends: true }),
  row('sysret', '0F 07', '', { ends: true }),
  row('sysenter', '0F 34', '', { ends: true }),
  row('sysexit', '0F 35', '', { ends: true }),

  row('fxsave', 'NP 0F AE /0', 'Mstx', { feature: 'fxsr' }),
  row('fxrstor', 'NP 0F AE /1', 'Mstx', { feature: 'fxsr' }),
  row('xsave', 'NP 0F AE /4', 'Mxs', { feature: 'xsave' }),
  row('xrstor', 'NP 0F AE /5', 'Mxs', { feature: 'xsave' }),
  row('xsaveopt', 'NP 0F AE /6', 'Mxs', { feature: 'xsaveopt' }),
  row('fxsave64', 'NP REX.W 0F AE /0', 'Mstx', { lift: 'fxsave', feature: 'fxsr' }),
  row('fxrstor64', 'NP REX.W 0F AE /1', 'Mstx', { lift: 'fxrstor', feature: 'fxsr' }),
  row('xsave64', 'NP REX.W 0F AE /4', 'Mxs', { lift: 'xsave', feature: 'xsave' }),
  row('xrstor64', 'NP REX.W 0F AE /5', 'Mxs', { lift: 'xrstor', feature: 'xsave' }),
  row('xsaveopt64', 'NP REX.W 0F AE /6', 'Mxs', { lift: 'xsaveopt', feature: 'xsaveopt' }),
  row('xgetbv', 'NP 0F 01 D0', '', { feature: 'xsave' }),
  row('xsetbv', 'NP 0F 01 D1', '', { feature: 'xsave', ends: true }),

  row('clflush', 'NP 0F AE /7', 'M', { feature: 'clflush' }),
  row('lfence', 'NP 0F AE E8+i', '', { feature: 'sse2' }),
  row('mfence', 'NP 0F AE F0+i', '', { feature: 'sse2' }),
  row('sfence', 'NP 0F AE F8+i', '', { feature: 'sse' }),
];
