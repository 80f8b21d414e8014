// Deterministic random numbers: xorshift128 (Marsaglia 2003), seeded through a string so that each case has its own
// stream.

export class RandomSource {
  private x: number;
  private y: number;
  private z: number;
  private w: number;

  constructor(key: string) {
    // FNV-1a with four offsets: any key gives four unrelated words.
    const word = (offset: number) => {
      let hash = offset;
      for (let i = 0; i < key.length; i++) hash = Math.imul(hash ^ key.charCodeAt(i), 0x01000193);
      hash = Math.imul(hash ^ (hash >>> 15), 0x2c1b3c6d);
      return (hash ^ (hash >>> 12)) >>> 0;
    };
    this.x = word(0x811c9dc5);
    this.y = word(0x1b873593);
    this.z = word(0xe6546b64);
    this.w = word(0x9e3779b9) | 1;
    for (let i = 0; i < 8; i++) this.u32();
  }

  u32(): number {
    const t = this.x ^ (this.x << 11);
    this.x = this.y;
    this.y = this.z;
    this.z = this.w;
    this.w = (this.w ^ (this.w >>> 19) ^ t ^ (t >>> 8)) >>> 0;
    return this.w;
  }

  u64(): bigint {
    return (BigInt(this.u32()) << 32n) | BigInt(this.u32());
  }

  /** 0 to `bound` - 1. */
  below(bound: number): number {
    return Math.floor((this.u32() / 0x1_0000_0000) * bound);
  }

  /** `low` to `high`, both included. */
  between(low: number, high: number): number {
    return low + this.below(high - low + 1);
  }

  chance(probability: number): boolean {
    return this.u32() < probability * 0x1_0000_0000;
  }

  pick<T>(choices: readonly T[]): T {
    return choices[this.below(choices.length)]!;
  }

  bytes(length: number): Uint8Array {
    const bytes = new Uint8Array(length);
    for (let i = 0; i < length; i++) bytes[i] = this.u32() >>> 24;
    return bytes;
  }
}
