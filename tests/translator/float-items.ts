// Pieces of x87 and MMX code, which the translator leaves to the interpreter or not.

import { Code, RAX } from './code.ts';
import { item } from './draft.ts';
import type { ItemMaker, WeightedMakers } from './item-maker.ts';

const floatStack: ItemMaker = (g) => {
  const { random } = g;
  const code = new Code();
  const memory = () => ({ base: 14, displacement: g.dataOffset(10) });
  for (let k = random.between(1, 6); k > 0; k--) {
    switch (random.below(12)) {
      case 0:
        code.op([random.pick([0xd9, 0xdd])], { digit: 0, rm: memory() });
        break;
      case 1:
        code.op([random.pick([0xdb, 0xdf])], { digit: 0, rm: memory() });
        break;
      case 2:
        code.raw(0xd9, random.pick([0xe8, 0xe9, 0xeb, 0xee]));
        break;
      case 3:
        code.raw(random.pick([0xd8, 0xdc, 0xde]), 0xc0 | (random.pick([0, 1, 4, 5, 6]) << 3) | random.below(4));
        break;
      case 4:
        code.op([random.pick([0xd8, 0xdc, 0xda, 0xde])], { digit: random.pick([0, 1, 4, 5]), rm: memory() });
        break;
      case 5:
      case 6:
        code.op([random.pick([0xd9, 0xdd, 0xdb])], { digit: 3, rm: memory() });
        break;
      case 7:
        // FCOMI and FCMOV: flags between both worlds.
        code.raw(random.pick([0xdb, 0xdf]), 0xf0 | random.below(2));
        break;
      case 8:
        code.raw(random.pick([0xda, 0xdb]), 0xc0 | (random.below(4) << 3) | 1);
        break;
      case 9:
        if (g.isFree(RAX)) code.raw(0xdf, 0xe0);
        break;
      case 10:
        code.raw(0xd9, random.pick([0xc9, 0xe0, 0xe1, 0xfa, 0xfc, 0xf6, 0xf7]));
        break;
      default:
        if (random.chance(0.3)) code.raw(0xdb, 0xe3);
        else code.op([0xd9], { digit: 7, rm: memory() });
    }
  }
  return item('x87', code);
};

const multimedia: ItemMaker = (g) => {
  const { random } = g;
  const code = new Code();
  const rm = { base: 14, displacement: g.dataOffset(8) };
  const reg = random.below(8);
  code.op([0x0f, 0x6f], { reg, rm });
  for (let k = random.below(4); k > 0; k--) {
    code.op([0x0f, random.pick([0xfc, 0xfd, 0xd4, 0xef, 0xdb, 0x74, 0xd5, 0x60])], { reg, rm: random.below(8) });
  }
  code.op([0x0f, 0x7f], { reg, rm: { base: 14, displacement: g.dataOffset(8) } });
  if (random.chance(0.3)) code.op([0x0f, 0x7e], { size: random.pick([4, 8]), reg, rm: g.register() });
  if (random.chance(0.6)) code.raw(0x0f, 0x77);
  return item('mmx', code);
};

export const FLOAT_ITEMS: WeightedMakers = [
  [2, floatStack],
  [1, multimedia],
];
