// How pieces of programs are made and chosen.

import type { Draft } from './draft.ts';
import type { Node } from './program.ts';

/** Makes a piece; undefined where it does not fit here (a register that it needs is locked, say). */
export type ItemMaker = (draft: Draft) => Node | undefined;

export type WeightedMakers = readonly (readonly [weight: number, make: ItemMaker])[];

export function chooseNode(draft: Draft, makers: WeightedMakers): Node {
  const total = makers.reduce((sum, [weight]) => sum + weight, 0);
  for (;;) {
    let dice = draft.random.below(total);
    for (const [weight, make] of makers) {
      dice -= weight;
      if (dice >= 0) continue;
      const node = make(draft);
      if (node !== undefined) return node;
      break;
    }
  }
}
