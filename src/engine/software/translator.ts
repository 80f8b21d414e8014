// Decides what is translated. Where generated code polls is a sample of where the time goes: a place that turns up often
// becomes a region, which is put into the page's table of records in front of the interpreter's own record.

import type { Instruction } from '../../decode/instruction.ts';
import type { CodePage, RegionPage } from './code-cache.ts';
import type { HandlerTable } from './handler-table.ts';
import { formRegion, type Region } from './region-former.ts';

/** Pages that a region reaches from the one that it begins in. */
const REACH = 2;

/** What a region is made from: the code around a place, as the guest's addresses have it now. */
export interface CodeAround {
  /** The page that lies `delta` pages from the region's first; undefined where it cannot be fetched from. */
  page(delta: number): CodePage | undefined;
}

export interface TranslatorParts {
  readonly handlers: HandlerTable;
  /** The instruction at an offset of a page, which may go on in the next one. */
  decode(page: CodePage, offset: number, next: () => CodePage | undefined): Instruction | undefined;
  /** Asks for everything to be dropped and begun anew: there is no room for more regions. */
  requestFlush(): void;
  /** Puts a region in front of the record at `offset`. */
  install(page: CodePage, offset: number, handler: number, sites: number, others: readonly RegionPage[]): void;
}

interface Formed {
  readonly region: Region;
  readonly others: readonly RegionPage[];
}

export class Translator {
  private readonly parts: TranslatorParts;
  private readonly threshold: number;
  regions = 0;
  instructions = 0;
  refused = 0;

  constructor(parts: TranslatorParts, threshold: number) {
    this.parts = parts;
    this.threshold = threshold;
  }

  /** Generated code polls at `offset` of the page. True when that made it a region. */
  sample(page: CodePage, offset: number, around: CodeAround): boolean {
    const count = (page.samples.get(offset) ?? 0) + 1;
    page.samples.set(offset, count);
    return count === this.threshold && this.translate(page, offset, around);
  }

  /** The place has been jumped to often. */
  heated(page: CodePage, offset: number, around: CodeAround): void {
    const count = page.samples.get(offset) ?? 0;
    if (count >= this.threshold) return;
    page.samples.set(offset, this.threshold);
    this.translate(page, offset, around);
  }

  /** Translates a place that has not been tried yet. */
  translateOnce(page: CodePage, offset: number, around: CodeAround): void {
    if (page.samples.has(offset)) return;
    page.samples.set(offset, 1);
    this.translate(page, offset, around);
  }

  /** A region of the instruction at `offset` alone, for a single step; 0 when it cannot be translated. */
  translateSingle(page: CodePage, offset: number): number {
    const formed = this.form(page, offset, { page: () => undefined }, 1);
    return formed === undefined ? 0 : this.parts.handlers.scratchRegion(formed.region).handler;
  }

  private form(page: CodePage, entry: number, around: CodeAround, maximum?: number): Formed | undefined {
    const others = new Map<number, CodePage>();
    const pageAt = (delta: number): CodePage | undefined => {
      if (delta === 0) return page;
      if (Math.abs(delta) > REACH) return undefined;
      const known = others.get(delta);
      if (known !== undefined) return known;
      const found = around.page(delta);
      // The same page in two places would need two sets of addresses.
      if (found === undefined || found === page || [...others.values()].includes(found)) return undefined;
      others.set(delta, found);
      return found;
    };
    const decode = (offset: number): Instruction | undefined => {
      const delta = Math.floor(offset / 4096);
      const at = pageAt(delta);
      return at === undefined ? undefined : this.parts.decode(at, offset - delta * 4096, () => pageAt(delta + 1));
    };
    const region = formRegion({ decode }, entry, maximum);
    if (region === undefined) return undefined;
    return { region, others: [...others].map(([delta, codePage]) => ({ delta, codePage })) };
  }

  private translate(page: CodePage, offset: number, around: CodeAround): boolean {
    const formed = this.form(page, offset, around);
    if (formed === undefined) {
      this.refused++;
      return false;
    }
    const placed = this.parts.handlers.addRegion(formed.region);
    if (placed === undefined) {
      this.parts.requestFlush();
      return false;
    }
    this.parts.install(page, offset, placed.handler, placed.sites, formed.others);
    this.regions++;
    this.instructions += formed.region.instructions;
    return true;
  }
}
