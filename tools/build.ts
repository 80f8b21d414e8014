// Makes dist/, what the published package runs: Node strips types in a clone, but not below node_modules. TypeScript
// compiles; here follow what it leaves alone, the files that workers are started from and those that are no code.

import { spawnSync } from 'node:child_process';
import { cpSync, globSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));
const SPECIFIER_OF_WORKER = /(new URL\('[^']+)\.ts(', import\.meta\.url\))/g;

process.chdir(root);
rmSync('dist', { recursive: true, force: true });
const { status } = spawnSync('tsc', ['-p', 'tsconfig.build.json'], { stdio: 'inherit' });
if (status !== 0) throw new Error('tsc failed: run this by `npm run build`, which has it on the path');

for (const path of globSync('dist/**/*.js')) {
  const text = readFileSync(path, 'utf8');
  const changed = text.replace(SPECIFIER_OF_WORKER, '$1.js$2');
  if (changed !== text) writeFileSync(path, changed);
}
for (const path of globSync('src/**/*.{asc,sh}')) cpSync(path, path.replace('src', 'dist'));
