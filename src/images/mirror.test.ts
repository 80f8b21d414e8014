import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, test } from 'node:test';
import { UserError } from '../base/errors.ts';
import { findMirror, parseAptProxies, parseDeb822Sources, parseSourcesList } from './mirror.ts';

describe('findMirror', () => {
  let aptFolder: string;

  beforeEach(() => {
    aptFolder = mkdtempSync(join(tmpdir(), 'bulkhead-apt-'));
    mkdirSync(join(aptFolder, 'sources.list.d'));
    mkdirSync(join(aptFolder, 'apt.conf.d'));
  });
  afterEach(() => rmSync(aptFolder, { recursive: true }));

  const write = (file: string, text: string) => writeFileSync(join(aptFolder, file), text);
  const find = (env: NodeJS.ProcessEnv = {}, mirror?: string) => findMirror({ aptFolder, env, mirror });

  test('takes the one that is given, then that of the environment, then that of apt', () => {
    write('sources.list', 'deb http://apt.example/debian trixie main\n');
    const env = { BULKHEAD_MIRROR: 'http://env.example/debian/' };
    assert.equal(find(env, 'https://given.example/d//').url, 'https://given.example/d');
    assert.equal(find(env).url, 'http://env.example/debian');
    assert.equal(find().url, 'http://apt.example/debian');
    assert.equal(find({ BULKHEAD_MIRROR: '' }).url, 'http://apt.example/debian');
  });

  test("passes over the security archive, other vendors' archives, sources and what is no web address", () => {
    write('sources.list', '# deb http://comment.example/debian trixie main\ndeb cdrom:[Debian]/debian trixie main\n');
    write(
      'sources.list.d/a.list',
      'deb-src http://source.example/debian trixie main\ndeb http://x.example/ubuntu n main',
    );
    write('sources.list.d/b.sources', 'Types: deb\nURIs: http://s.example/debian-security http://b.example/debian/\n');
    write('sources.list.d/c.sources.disabled', 'Types: deb\nURIs: http://off.example/debian\n');
    assert.equal(find().url, 'http://b.example/debian');
  });

  test('says how to give a mirror where there is none', () => {
    assert.throws(
      () => find(),
      (error) => error instanceof UserError && /--mirror URL/.test(error.hint!) && /BULKHEAD_MIRROR/.test(error.hint!),
    );
  });

  test('refuses a mirror that is no web address', () => {
    for (const mirror of ['ftp://x/debian', '/srv/debian', 'http://']) assert.throws(() => find({}, mirror), UserError);
  });

  test("apt's proxy serves apt's mirror only, and the environment's comes first", () => {
    write('sources.list', 'deb http://apt.example/debian trixie main\n');
    write('apt.conf.d/90proxy', 'Acquire::http::Proxy "http://proxy.example:3142";\n');
    assert.equal(find().httpProxy, 'http://proxy.example:3142');
    assert.equal(find({ http_proxy: 'http://env.example:1' }).httpProxy, 'http://env.example:1');
    assert.equal(find({}, 'http://given.example/debian').httpProxy, undefined);
    assert.equal(find({ HTTPS_PROXY: 'http://env.example:2', NO_PROXY: 'x' }).httpsProxy, 'http://env.example:2');
  });
});

test('a sources.list line may have options before its archive', () => {
  const text =
    'deb [ arch=amd64 signed-by=/x.gpg ] http://a.example/debian trixie main\n deb http://b.example/d x y\ndebx z\n';
  assert.deepEqual(parseSourcesList(text), ['http://a.example/debian', 'http://b.example/d']);
});

test('a deb822 file may have several stanzas, types, archives and comments, and switched-off stanzas', () => {
  const text = `# top
Types: deb deb-src
URIs: http://a.example/debian
 http://b.example/debian
# within
Suites: trixie

Types: deb-src
URIs: http://source.example/debian

Enabled: no
Types: deb
URIs: http://off.example/debian
`;
  assert.deepEqual(parseDeb822Sources(text), ['http://a.example/debian', 'http://b.example/debian']);
});

test("apt's proxies are read in flat and in nested spelling, without comments", () => {
  const flat = '// Acquire::http::Proxy "http://no.example";\nacquire::HTTPS::proxy "http://s.example:1"; # x\n';
  assert.deepEqual([...parseAptProxies(flat)], [['https', 'http://s.example:1']]);
  const nested = 'APT::X "1";\nAcquire { Retries "3"; http { Proxy "http://p.example:2/"; Timeout "1"; }; /* x */ };';
  assert.deepEqual([...parseAptProxies(nested)], [['http', 'http://p.example:2/']]);
  assert.deepEqual([...parseAptProxies('Acquire::http::Proxy "DIRECT";')], []);
  assert.deepEqual([...parseAptProxies('Acquire::http::Proxy::host.example "http://one.example";')], []);
});
