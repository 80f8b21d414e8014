// Serves the page to one browser on this machine: the project's sources with their types stripped, the packages that
// they import, and the guest's files. Nothing is bundled: what the browser runs is what Node runs.

import { readFileSync } from 'node:fs';
import { createServer, type ServerResponse } from 'node:http';
import { stripTypeScriptTypes } from 'node:module';
import type { AddressInfo } from 'node:net';
import { fileURLToPath } from 'node:url';
import type { GuestDescription } from './guest-description.ts';

const ROOT = new URL('../../', import.meta.url);
const SOURCE = /^\/(?:src|tests\/browser)\/(?:[\w-]+\/)*[\w.-]+\.ts$/;
const PACKAGE_FILE = /^\/node_modules\/(?:@?[\w.-]+\/)+[\w.-]+\.js$/;
/** An import of a package by its name: browsers want an address, and workers know no import map. */
const PACKAGE_IMPORT = /^((?:import|export|\}) .*? ?from |import )'([\w@][^':]*)';$/gm;

/** Cross-origin isolation: without it a page has no SharedArrayBuffer. */
const ISOLATION = {
  'cross-origin-opener-policy': 'same-origin',
  'cross-origin-embedder-policy': 'require-corp',
  'cross-origin-resource-policy': 'same-origin',
};

export interface ServedGuest {
  readonly description: GuestDescription;
  readonly kernel: Uint8Array;
  readonly initrds: readonly Uint8Array[];
}

export interface PageServer {
  readonly url: string;
  close(): Promise<void>;
}

interface Content {
  readonly type: 'text/html' | 'text/javascript' | 'application/json' | 'application/octet-stream';
  readonly body: string | Uint8Array;
}

export async function startPageServer(guest: ServedGuest): Promise<PageServer> {
  const server = createServer((request, response) => {
    const { pathname } = new URL(request.url ?? '/', 'http://localhost');
    try {
      answer(response, contentOf(pathname, guest));
    } catch (error) {
      response.writeHead(500, ISOLATION).end(String(error));
    }
  });
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(0, '127.0.0.1', resolve);
  });
  // A server on a TCP port has an address and a port.
  const { port } = server.address() as AddressInfo;
  return {
    url: `http://127.0.0.1:${port}/`,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

function answer(response: ServerResponse, content: Content | undefined): void {
  if (content === undefined) {
    response.writeHead(404, ISOLATION).end();
    return;
  }
  const { type, body } = content;
  response.writeHead(200, { ...ISOLATION, 'content-type': `${type}; charset=utf-8` }).end(body);
}

function contentOf(path: string, guest: ServedGuest): Content | undefined {
  if (path === '/') return { type: 'text/html', body: readFileSync(new URL('page.html', import.meta.url)) };
  if (path === '/guest/description') return { type: 'application/json', body: JSON.stringify(guest.description) };
  const file = guestFile(path, guest);
  if (file !== undefined) return { type: 'application/octet-stream', body: file };
  if (SOURCE.test(path)) return { type: 'text/javascript', body: browserSource(path) };
  if (PACKAGE_FILE.test(path)) return { type: 'text/javascript', body: readFileSync(new URL(`.${path}`, ROOT)) };
  return undefined;
}

function guestFile(path: string, guest: ServedGuest): Uint8Array | undefined {
  if (path === '/guest/kernel') return guest.kernel;
  const index = /^\/guest\/initrd\/(\d+)$/.exec(path)?.[1];
  return index === undefined ? undefined : guest.initrds[Number(index)];
}

function browserSource(path: string): string {
  const code = stripTypeScriptTypes(readFileSync(new URL(`.${path}`, ROOT), 'utf8'));
  return code.replace(PACKAGE_IMPORT, (_whole, start: string, name: string) => `${start}'${packagePath(name)}';`);
}

/** Where this server has the entry of a package that a source imports. */
function packagePath(name: string): string {
  const path = fileURLToPath(import.meta.resolve(name));
  return path.slice(path.lastIndexOf('/node_modules/'));
}
