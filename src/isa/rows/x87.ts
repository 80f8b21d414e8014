// The x87 FPU (SDM volume 1, 5.2; volume 2, A.5), its undocumented aliases included.

import type { RowDefinition } from './row-definition.ts';
import { byteText, rowsNeeding } from './row-definition.ts';

const row = rowsNeeding('x87');

const OPERATIONS = ['add', 'mul', 'com', 'comp', 'sub', 'subr', 'div', 'divr'];

function arithmeticRows(operation: string, number: number): RowDefinition[] {
  const registerForm = byteText(0xc0 + 8 * number);
  return [
    row(`f${operation}`, `D8 /${number}`, 'Msr'),
    row(`f${operation}`, `DC /${number}`, 'Mdr'),
    row(`fi${operation}`, `DA /${number}`, 'Mdi'),
    row(`fi${operation}`, `DE /${number}`, 'Mwi'),
    row(`f${operation}`, `D8 ${registerForm}+i`, 'ST0,STi'),
  ];
}

/** Instructions without operands, one for each ModR/M byte from `first` on; '' leaves a gap. */
function plainRows(opcode: string, first: number, mnemonics: readonly string[]): RowDefinition[] {
  return mnemonics.flatMap((mnemonic, index) =>
    mnemonic === '' ? [] : [row(mnemonic, `${opcode} ${byteText(first + index)}`, '')],
  );
}

export const X87_ROWS: readonly RowDefinition[] = [
  ...OPERATIONS.flatMap(arithmeticRows),

  row('fld', 'D9 /0', 'Msr'),
  row('fst', 'D9 /2', 'Msr'),
  row('fstp', 'D9 /3', 'Msr'),
  row('fldenv', 'D9 /4', 'Me'),
  row('fldcw', 'D9 /5', 'Mw'),
  row('fnstenv', 'D9 /6', 'Me'),
  row('fnstcw', 'D9 /7', 'Mw'),
  row('fld', 'D9 C0+i', 'STi'),
  row('fxch', 'D9 C8+i', 'ST0,STi'),
  row('fnop', 'D9 D0', ''),
  row('fstpnce', 'D9 D8+i', 'STi'),
  ...plainRows('D9', 0xe0, ['fchs', 'fabs', '', '', 'ftst', 'fxam', '', '']),
  ...plainRows('D9', 0xe8, ['fld1', 'fldl2t', 'fldl2e', 'fldpi', 'fldlg2', 'fldln2', 'fldz', '']),
  ...plainRows('D9', 0xf0, ['f2xm1', 'fyl2x', 'fptan', 'fpatan', 'fxtract', 'fprem1', 'fdecstp', 'fincstp']),
  ...plainRows('D9', 0xf8, ['fprem', 'fyl2xp1', 'fsqrt', 'fsincos', 'frndint', 'fscale', 'fsin', 'fcos']),

  row('fcmovb', 'DA C0+i', 'ST0,STi', { feature: 'cmov' }),
  row('fcmove', 'DA C8+i', 'ST0,STi', { feature: 'cmov' }),
  row('fcmovbe', 'DA D0+i', 'ST0,STi', { feature: 'cmov' }),
  row('fcmovu', 'DA D8+i', 'ST0,STi', { feature: 'cmov' }),
  row('fucompp', 'DA E9', ''),

  row('fild', 'DB /0', 'Mdi'),
  row('fisttp', 'DB /1', 'Mdi', { feature: 'sse3' }),
  row('fist', 'DB /2', 'Mdi'),
  row('fistp', 'DB /3', 'Mdi'),
  row('fld', 'DB /5', 'Mer'),
  row('fstp', 'DB /7', 'Mer'),
  row('fcmovnb', 'DB C0+i', 'ST0,STi', { feature: 'cmov' }),
  row('fcmovne', 'DB C8+i', 'ST0,STi', { feature: 'cmov' }),
  row('fcmovnbe', 'DB D0+i', 'ST0,STi', { feature: 'cmov' }),
  row('fcmovnu', 'DB D8+i', 'ST0,STi', { feature: 'cmov' }),
  // Instructions of the 8087 and 80287 that later processors ignore.
  row('fneni', 'DB E0', ''),
  row('fndisi', 'DB E1', '', { lift: 'fneni' }),
  row('fnclex', 'DB E2', ''),
  row('fninit', 'DB E3', ''),
  row('fnsetpm', 'DB E4', '', { lift: 'fneni' }),
  row('fucomi', 'DB E8+i', 'ST0,STi'),
  row('fcomi', 'DB F0+i', 'ST0,STi'),

  row('fadd', 'DC C0+i', 'STi,ST0'),
  row('fmul', 'DC C8+i', 'STi,ST0'),
  row('fcom', 'DC D0+i', 'ST0,STi'),
  row('fcomp', 'DC D8+i', 'ST0,STi'),
  row('fsubr', 'DC E0+i', 'STi,ST0'),
  row('fsub', 'DC E8+i', 'STi,ST0'),
  row('fdivr', 'DC F0+i', 'STi,ST0'),
  row('fdiv', 'DC F8+i', 'STi,ST0'),

  row('fld', 'DD /0', 'Mdr'),
  row('fisttp', 'DD /1', 'Mqi', { feature: 'sse3' }),
  row('fst', 'DD /2', 'Mdr'),
  row('fstp', 'DD /3', 'Mdr'),
  row('frstor', 'DD /4', 'Mst'),
  row('fnsave', 'DD /6', 'Mst'),
  row('fnstsw', 'DD /7', 'Mw'),
  row('ffree', 'DD C0+i', 'STi'),
  row('fxch', 'DD C8+i', 'ST0,STi'),
  row('fst', 'DD D0+i', 'STi'),
  row('fstp', 'DD D8+i', 'STi'),
  row('fucom', 'DD E0+i', 'ST0,STi'),
  row('fucomp', 'DD E8+i', 'ST0,STi'),

  row('faddp', 'DE C0+i', 'STi,ST0'),
  row('fmulp', 'DE C8+i', 'STi,ST0'),
  row('fcomp', 'DE D0+i', 'ST0,STi'),
  row('fcompp', 'DE D9', ''),
  row('fsubrp', 'DE E0+i', 'STi,ST0'),
  row('fsubp', 'DE E8+i', 'STi,ST0'),
  row('fdivrp', 'DE F0+i', 'STi,ST0'),
  row('fdivp', 'DE F8+i', 'STi,ST0'),

  row('fild', 'DF /0', 'Mwi'),
  row('fisttp', 'DF /1', 'Mwi', { feature: 'sse3' }),
  row('fist', 'DF /2', 'Mwi'),
  row('fistp', 'DF /3', 'Mwi'),
  row('fbld', 'DF /4', 'Mbcd'),
  row('fild', 'DF /5', 'Mqi'),
  row('fbstp', 'DF /6', 'Mbcd'),
  row('fistp', 'DF /7', 'Mqi'),
  row('ffreep', 'DF C0+i', 'STi'),
  row('fxch', 'DF C8+i', 'ST0,STi'),
  row('fstp', 'DF D0+i', 'STi'),
  row('fstp', 'DF D8+i', 'STi'),
  row('fnstsw', 'DF E0', 'AX'),
  row('fucomip', 'DF E8+i', 'ST0,STi'),
  row('fcomip', 'DF F0+i', 'ST0,STi'),

  row('fwait', '9B', ''),
];
