// Debian's stock kernel in a browser: the page boots it in a Web Worker, and is used as a person would use it. Slow.
// The image comes from the cache, or from the mirror that the host's apt is set up with.

import assert from 'node:assert/strict';
import { hash } from 'node:crypto';
import { after, before, describe, test } from 'node:test';
import type { Browser, Page } from 'playwright-core';
import { seededBytes } from '../../src/machine/boot/testing/seeded-bytes.ts';
import { launchChromium } from './chromium.ts';
import { serveDebian } from './debian-page.ts';
import type { PageServer } from './page-server.ts';

/** On a machine with much else to do, an engine that interprets may take its time. */
const TIMEOUT_MS = 120_000;
const SEED = 0x0b01c4ad;
const DATA = seededBytes(SEED, 2_000_000);

const launched = await launchChromium();
const skip = typeof launched === 'string' ? launched : false;

describe("Debian's kernel in Chromium", { skip }, () => {
  // Without a browser nothing here runs.
  const browser = launched as Browser;
  let server: PageServer;
  let page: Page;
  let kernelVersion: string;
  const failures: string[] = [];

  /** What the page shows once `pattern` is in it. */
  async function shown(pattern: RegExp): Promise<string> {
    const { source } = pattern;
    const isShown = (text: string): boolean =>
      document.body.dataset.state === 'failed' ||
      new RegExp(text).test(document.getElementById('console')!.textContent);
    await page.waitForFunction(isShown, source, { timeout: TIMEOUT_MS }).catch(() => {});
    const text = (await page.locator('#console').textContent()) ?? '';
    const status = await page.locator('#status').textContent();
    assert.match(text, pattern, [`the page says: ${status}`, ...failures].join('\n'));
    return text;
  }

  before(async () => {
    ({ kernelVersion, server } = await serveDebian([{ path: '/root/data', data: DATA }]));
    page = await browser.newPage();
    page.on('pageerror', (error) => failures.push(String(error)));
    page.on('console', (message) => {
      if (message.type() === 'error') failures.push(message.text());
    });
    await page.goto(server.url);
  });

  after(async () => {
    await browser.close();
    await server.close();
  });

  test('boots to the prompt of the shell', async (t) => {
    await shown(/root@debian:~# +$/);
    t.diagnostic(`${await page.locator('#status').textContent()} on ${browser.version()}`);
  });

  test('runs what is typed', async () => {
    await page.keyboard.type('uname -r; echo $((6*7))\n');
    const text = await shown(/\)\)\n[^\n]+\n\d+\nroot@debian:~# +$/);
    assert.ok(text.includes(`\n${kernelVersion}\n42\n`), text);
  });

  test('computes what the host computes', async () => {
    await page.keyboard.type('sha256sum data\n');
    const text = await shown(/[0-9a-f]{64} {2}data\n/);
    assert.equal(/([0-9a-f]{64}) {2}data/.exec(text)?.[1], hash('sha256', DATA, 'hex'), `seed ${SEED}`);
  });

  test('powers off, which is the end of the machine, and was translated', async () => {
    await page.keyboard.type('poweroff\n');
    await page.locator('body[data-state=ended], body[data-state=failed]').waitFor({ timeout: TIMEOUT_MS });
    const { state, exit, translatedRegions } = await page.evaluate(() => ({ ...document.body.dataset }));
    assert.equal(state, 'ended', `the page says: ${await page.locator('#status').textContent()}`);
    assert.equal(exit, 'power-off');
    assert.ok(Number(translatedRegions) > 0, `${translatedRegions} regions`);
    assert.deepEqual(failures, []);
    const picture = process.env.BULKHEAD_SCREENSHOT;
    if (picture) await page.screenshot({ path: picture });
  });
});
