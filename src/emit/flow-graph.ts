// The flow of a region's blocks: reverse postorder, dominators, loops and merges. A block is its offset in the page.

/** Immediate dominators and reverse postorder of a region's blocks (Cooper, Harvey and Kennedy 2001). */
export class FlowGraph {
  readonly order: number[] = [];
  readonly position = new Map<number, number>();
  readonly dominator = new Map<number, number>();
  readonly predecessors = new Map<number, number[]>();
  private readonly merges = new Set<number>();
  /** By a loop's head, the position of its last back edge. */
  private readonly loops = new Map<number, number>();
  private readonly mergesBelow = new Map<number, number[]>();

  constructor(entry: number, successorsOf: (offset: number) => number[]) {
    const known = new Map<number, number[]>();
    const successors = (offset: number): number[] => {
      let list = known.get(offset);
      if (list === undefined) {
        list = successorsOf(offset);
        known.set(offset, list);
      }
      return list;
    };
    const visited = new Set<number>();
    const postorder: number[] = [];
    const stack: [number, number][] = [[entry, 0]];
    visited.add(entry);
    while (stack.length > 0) {
      const top = stack.at(-1)!;
      const next = successors(top[0])[top[1]++];
      if (next === undefined) {
        postorder.push(top[0]);
        stack.pop();
      } else if (!visited.has(next)) {
        visited.add(next);
        stack.push([next, 0]);
      }
    }
    this.order = postorder.reverse();
    this.order.forEach((offset, index) => {
      this.position.set(offset, index);
    });
    for (const offset of this.order) {
      for (const next of successors(offset)) {
        const list = this.predecessors.get(next) ?? [];
        list.push(offset);
        this.predecessors.set(next, list);
      }
    }
    this.dominator.set(entry, entry);
    for (let changed = true; changed; ) {
      changed = false;
      for (const offset of this.order.slice(1)) {
        let common: number | undefined;
        for (const from of this.predecessors.get(offset)!) {
          if (!this.dominator.has(from)) continue;
          common = common === undefined ? from : this.intersect(common, from);
        }
        if (this.dominator.get(offset) !== common) {
          this.dominator.set(offset, common!);
          changed = true;
        }
      }
    }
    this.classify();
  }

  private intersect(a: number, b: number): number {
    let [left, right] = [a, b];
    while (left !== right) {
      while (this.position.get(left)! > this.position.get(right)!) left = this.dominator.get(left)!;
      while (this.position.get(right)! > this.position.get(left)!) right = this.dominator.get(right)!;
    }
    return left;
  }

  dominates(a: number, b: number): boolean {
    let at = b;
    while (this.position.get(at)! > this.position.get(a)!) at = this.dominator.get(at)!;
    return at === a;
  }

  /** Several forward edges meet at the block. */
  isMerge(offset: number): boolean {
    return this.merges.has(offset);
  }

  /** A back edge leads to the block. */
  isLoop(offset: number): boolean {
    return this.loops.has(offset);
  }

  /** How many loops a block lies in. */
  loopDepth(offset: number): number {
    let depth = 0;
    for (const head of this.loops.keys()) if (this.isInLoop(head, offset)) depth++;
    return depth;
  }

  /** The blocks of the loop at `head`, those of loops in it too. */
  loopBlocks(head: number): readonly number[] {
    return this.order.filter((offset) => this.isInLoop(head, offset));
  }

  private isInLoop(head: number, offset: number): boolean {
    // In reverse postorder a loop's blocks lie between its head and its last back edge.
    return this.position.get(offset)! <= this.loops.get(head)! && this.dominates(head, offset);
  }

  /** The merges that a block dominates at once, in reverse postorder. */
  mergesUnder(offset: number): readonly number[] {
    return this.mergesBelow.get(offset) ?? [];
  }

  private classify(): void {
    for (const [index, offset] of this.order.entries()) {
      let forward = 0;
      for (const from of this.predecessors.get(offset) ?? []) {
        const at = this.position.get(from)!;
        if (at < index) forward++;
        else this.loops.set(offset, Math.max(at, this.loops.get(offset) ?? 0));
      }
      if (forward < 2) continue;
      this.merges.add(offset);
      const dominator = this.dominator.get(offset)!;
      const below = this.mergesBelow.get(dominator);
      if (below === undefined) this.mergesBelow.set(dominator, [offset]);
      else below.push(offset);
    }
  }
}
