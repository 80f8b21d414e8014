// The page for a person with a browser on this machine: prints its address, and serves it until it is interrupted.

import { serveDebian } from './debian-page.ts';

const { server } = await serveDebian([]);
process.stdout.write(`${server.url}\n`);
