// The modules that regions came in, and what is known of their use: machine code takes memory by the module, so it is
// let go of by the module.

/**
 * Machine code for a byte of WebAssembly. Measured on 2,400 regions of a boot, 9.2 MB of WebAssembly: 3.5 by V8's
 * baseline compiler, 2.5 by its optimising one.
 */
const CODE_BYTES_PER_WASM_BYTE = 3.5;

/** What a module and its instance take besides, whatever is in them: measured on 2,000 of 1 KiB each. */
const MODULE_BYTES = 20 << 10;

interface RegionModule {
  /** Of its regions that are in use. */
  readonly handlers: Set<number>;
  readonly codeBytes: number;
  usedAt: number;
}

export class RegionModules {
  private readonly modules = new Set<RegionModule>();
  /** By handler, a number of 16 bits. A Map's look-up is a call, and every poll makes one. */
  private readonly moduleOf = new Array<RegionModule | undefined>(1 << 16).fill(undefined);
  private regions = 0;
  private clock = 0;
  /** Memory of the modules that have a region in use, machine code for the most part, as an estimate. */
  codeBytes = 0;

  get size(): number {
    return this.modules.size;
  }

  add(handlers: readonly number[], wasmBytes: number): void {
    if (handlers.length === 0) return;
    const codeBytes = codeBytesOf(wasmBytes) + MODULE_BYTES;
    const module = { handlers: new Set(handlers), codeBytes, usedAt: ++this.clock };
    this.modules.add(module);
    for (const handler of handlers) this.moduleOf[handler] = module;
    this.regions += handlers.length;
    this.codeBytes += codeBytes;
  }

  /** A region has been seen at work. */
  used(handler: number): void {
    const module = this.moduleOf[handler];
    if (module !== undefined) module.usedAt = ++this.clock;
  }

  /** A region is gone, and with the last one its module. */
  remove(handler: number): void {
    const module = this.moduleOf[handler];
    if (module === undefined) return;
    this.moduleOf[handler] = undefined;
    this.regions--;
    module.handlers.delete(handler);
    if (module.handlers.size > 0) return;
    this.modules.delete(module);
    this.codeBytes -= module.codeBytes;
  }

  /**
   * The regions of the modules that have not been seen at work for longest: a quarter of all regions, and as many as it
   * takes to leave no more than `maximumCodeBytes`.
   */
  leastUsed(maximumCodeBytes: number): Set<number> {
    const handlers = new Set<number>();
    let codeBytes = this.codeBytes;
    const enough = (): boolean => codeBytes <= maximumCodeBytes && handlers.size * 4 >= this.regions;
    for (const module of [...this.modules].sort((a, b) => a.usedAt - b.usedAt)) {
      if (enough()) break;
      codeBytes -= module.codeBytes;
      for (const handler of module.handlers) handlers.add(handler);
    }
    return handlers;
  }

  /** Handlers of all regions in use. */
  handlers(): number[] {
    return [...this.modules].flatMap((module) => [...module.handlers]);
  }
}

export function codeBytesOf(wasmBytes: number): number {
  return wasmBytes * CODE_BYTES_PER_WASM_BYTE;
}
