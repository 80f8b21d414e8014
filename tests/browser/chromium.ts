// Chromium of the host (Debian's package `chromium`), driven by playwright-core; BULKHEAD_CHROMIUM names another one.

import { accessSync, constants } from 'node:fs';
import { delimiter, join } from 'node:path';
import type { Browser } from 'playwright-core';

const NAMES = ['chromium', 'chromium-browser', 'google-chrome'];

/** A browser, or why there is none here. */
export async function launchChromium(): Promise<Browser | string> {
  const executablePath = process.env.BULKHEAD_CHROMIUM || findChromium();
  if (executablePath === undefined) return 'there is no Chromium here';
  let playwright: typeof import('playwright-core');
  try {
    playwright = await import('playwright-core');
  } catch {
    return 'the package playwright-core is not installed';
  }
  return playwright.chromium.launch({ executablePath });
}

function findChromium(): string | undefined {
  const folders = (process.env.PATH ?? '').split(delimiter).filter((folder) => folder !== '');
  return NAMES.flatMap((name) => folders.map((folder) => join(folder, name))).find((path) => {
    try {
      accessSync(path, constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });
}
