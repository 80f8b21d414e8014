import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { importsOf, scanSource } from './source-text.ts';
import { readRepository, sourceFiles } from './tree.ts';

const codeOf = (text: string): string => scanSource(text).code;

describe('the scanner of the laws', () => {
  it('blanks comments and keeps every position', () => {
    const text = 'a; // b\n/* c\n */ d';
    const code = codeOf(text);
    assert.equal(code.length, text.length);
    assert.deepEqual(code.split('\n'), ['a;     ', '    ', '    d']);
  });

  it('blanks what literals hold', () => {
    assert.equal(codeOf(`x('process', "a\\"b")`), `x('       ', "    ")`);
    assert.equal(codeOf('y(/Buffer[/]\\//g)'), 'y(/           /g)');
  });

  it('reads the substitutions of a template as code', () => {
    // biome-ignore lint/suspicious/noTemplateCurlyInString: the text under test is a template
    assert.equal(codeOf('`a ${b + `c ${d}`} e`'), '`  ${b + `  ${d}`}  `');
  });

  it('tells a division from a regular expression', () => {
    assert.equal(codeOf('(a) / b / process'), '(a) / b / process');
    assert.equal(codeOf('return /process/'), 'return /       /');
  });

  it('finds static, dynamic and type imports, re-exports and workers', () => {
    const text = `
      import a, { type B } from './a.ts';
      import type {
        C,
      } from "./c.ts";
      import './side.ts';
      export { d } from './d.ts';
      export * from './e.ts';
      const f = await import('./f.ts');
      type G = typeof import('./g.ts');
      new Worker(new URL('h.ts', import.meta.url));
    `;
    assert.deepEqual(
      importsOf(scanSource(text)),
      ['a', 'c', 'side', 'd', 'e', 'f', 'g', 'h'].map((name) => `./${name}.ts`),
    );
  });

  it('finds none in comments, literals and methods called from', () => {
    const text = `
      // import './a.ts'
      const text = "import './b.ts'";
      Array.from('c');
    `;
    assert.deepEqual(importsOf(scanSource(text)), []);
  });

  it('says when brackets do not balance', () => {
    assert.equal(scanSource('f({ a: [1] })').balanced, true);
    assert.equal(scanSource('f({ a: [1 })').balanced, false);
    assert.equal(scanSource('f(`${a`)').balanced, false);
    assert.equal(scanSource("f('a\n')").balanced, false);
  });

  it('keeps its way through every file of the repository', () => {
    const files = sourceFiles(readRepository(), 'src', 'tests', 'tools', 'bench');
    assert.ok(files.length > 100, `only ${files.length} files`);
    const lost = files.filter(({ source }) => !source.balanced).map(({ path }) => path);
    assert.deepEqual(lost, []);
  });
});
