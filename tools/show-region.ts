// What the translator makes of guest code given in hexadecimal: listing, intermediate representation, WebAssembly text
// and figures, as in the goldens.

import { parseArgs } from 'node:util';
import { listCode } from '../tests/translator/code-listing.ts';
import { figuresText, type GuestCode, reportRegion } from '../tests/translator/region-report.ts';

const USAGE = `Usage: node_modules/.bin/node tools/show-region.ts --hex BYTES [options]

  --hex BYTES        64-bit code, spaces allowed
  --origin OFFSET    of the first byte in its page (default 0)
  --entry OFFSET     of the region's first instruction in the page (default: the origin)
  --landings LIST    offsets in the page that indirect jumps go to, separated by commas
  --help             this text

Numbers may be hexadecimal (0xff0).`;

function parseNumber(name: string, text: string): number {
  const value = Number(text);
  if (text.trim() === '' || !Number.isSafeInteger(value)) throw new RangeError(`--${name} ${text}: not a whole number`);
  return value;
}

function parseCode(): GuestCode | undefined {
  const { values } = parseArgs({
    options: {
      hex: { type: 'string' },
      origin: { type: 'string', default: '0' },
      entry: { type: 'string' },
      landings: { type: 'string', default: '' },
      help: { type: 'boolean', default: false },
    },
  });
  if (values.help) return undefined;
  const hex = (values.hex ?? '').replaceAll(/\s/g, '');
  if (!/^([0-9a-f]{2})+$/i.test(hex)) throw new RangeError('--hex wants bytes, two digits each');
  const origin = parseNumber('origin', values.origin);
  return {
    origin,
    entry: values.entry === undefined ? origin : parseNumber('entry', values.entry),
    bytes: Uint8Array.from(hex.match(/../g)!, (byte) => Number.parseInt(byte, 16)),
    landings: values.landings.split(',').flatMap((text) => (text === '' ? [] : [parseNumber('landings', text)])),
  };
}

function main(): void {
  const code = parseCode();
  if (code === undefined) {
    console.log(USAGE);
    return;
  }
  const { blocks, wasm, figures } = reportRegion(code);
  console.log([listCode(code), blocks, wasm, figuresText(figures)].join('\n\n'));
}

try {
  main();
} catch (error) {
  console.error(`show-region: ${(error as Error).message}`);
  process.exitCode = 1;
}
