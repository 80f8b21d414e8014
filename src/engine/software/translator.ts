// Decides what is translated. The run loop samples where generated code comes back to poll: a place that turns up often
// is where the time goes. Its region is emitted, compiled and put into the page's table of records in front of the
// interpreter's own record.

import type { Instruction } from '../../decode/instruction.ts';
import { emitRegion } from '../../emit/region.ts';
import type { CodePage } from './code-cache.ts';
import type { HandlerTable } from './handler-table.ts';
import { formRegion } from './region-former.ts';

export interface TranslatorParts {
  readonly handlers: HandlerTable;
  /** The instruction at an offset of a page; undefined where it is invalid or goes on in the next page. */
  decode(page: CodePage, offset: number): Instruction | undefined;
  /** Asks for everything to be dropped and begun anew: there is no room for more regions. */
  requestFlush(): void;
  /** Puts the region with this handler in front of the record at `offset`. */
  install(page: CodePage, offset: number, handler: number): void;
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
  sample(page: CodePage, offset: number): boolean {
    const count = (page.samples.get(offset) ?? 0) + 1;
    page.samples.set(offset, count);
    return count === this.threshold && this.translate(page, offset);
  }

  /** Translates a place that has not been tried yet. */
  translateOnce(page: CodePage, offset: number): void {
    if (page.samples.has(offset)) return;
    page.samples.set(offset, 1);
    this.translate(page, offset);
  }

  /** A region of the instruction at `offset` alone, for a single step; 0 when it cannot be translated. */
  translateSingle(page: CodePage, offset: number): number {
    const region = formRegion({ decode: (at) => this.parts.decode(page, at) }, offset, 1);
    if (region === undefined) return 0;
    return this.parts.handlers.scratchRegion((imports) => emitRegion(imports, region.blocks, region.entry));
  }

  translate(page: CodePage, offset: number): boolean {
    const region = formRegion({ decode: (at) => this.parts.decode(page, at) }, offset);
    if (region === undefined) {
      this.refused++;
      return false;
    }
    const handler = this.parts.handlers.addRegion((imports) => emitRegion(imports, region.blocks, region.entry));
    if (handler === 0) {
      this.parts.requestFlush();
      return false;
    }
    this.parts.install(page, offset, handler);
    this.regions++;
    this.instructions += region.instructions;
    return true;
  }
}
