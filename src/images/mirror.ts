// Which Debian mirror to use: the caller's, the environment's, or the one that the host's own apt is set up with
// (sources.list(5), apt.conf(5)). Only files are read; apt itself need not be there.

import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { EXIT_STATUS, UserError } from '../base/errors.ts';
import { parseStanzas } from './stanzas.ts';

export interface Mirror {
  /** Root of the archive, without a slash at its end. */
  url: string;
  /** Proxies for plain and for TLS connections, where there are any. */
  httpProxy: string | undefined;
  httpsProxy: string | undefined;
  /** Hosts that are reached without a proxy, as in the variable no_proxy. */
  noProxy: string | undefined;
}

export interface FindMirrorOptions {
  mirror?: string;
  env?: NodeJS.ProcessEnv;
  /** Apt's configuration folder; /etc/apt by default. */
  aptFolder?: string;
}

export const MIRROR_VARIABLE = 'BULKHEAD_MIRROR';

/** Throws a UserError where no mirror is known, or the given one is no http or https URL. */
export function findMirror(options: FindMirrorOptions): Mirror {
  const env = options.env ?? process.env;
  const aptFolder = options.aptFolder ?? '/etc/apt';
  const given = options.mirror ?? (env[MIRROR_VARIABLE] || undefined);
  const url = given ?? archivesOfApt(aptFolder).find(isDebianArchive);
  if (url === undefined) {
    throw new UserError('no Debian mirror is known: this host has no apt configuration that names one', {
      hint: `give one with --mirror URL or in the variable ${MIRROR_VARIABLE}; its URL ends in /debian on most mirrors`,
      exitStatus: EXIT_STATUS.unavailable,
    });
  }
  if (!isWebUrl(url)) {
    throw new UserError(`not a mirror's address: ${url}`, {
      hint: 'a mirror is given as an http:// or https:// URL',
      exitStatus: EXIT_STATUS.usage,
    });
  }
  const proxyOfApt = given === undefined ? readAptProxies(aptFolder) : new Map<string, string>();
  return {
    url: url.replace(/\/+$/, ''),
    httpProxy: env.http_proxy ?? env.HTTP_PROXY ?? proxyOfApt.get('http'),
    httpsProxy: env.https_proxy ?? env.HTTPS_PROXY ?? proxyOfApt.get('https'),
    noProxy: env.no_proxy ?? env.NO_PROXY,
  };
}

/** Debian's main archive, and neither its security archive nor another vendor's. */
function isDebianArchive(url: string): boolean {
  return isWebUrl(url) && /\/debian\/*$/.test(new URL(url).pathname);
}

function isWebUrl(url: string): boolean {
  return /^https?:\/\//i.test(url) && URL.canParse(url);
}

function archivesOfApt(aptFolder: string): string[] {
  const parts = filesIn(join(aptFolder, 'sources.list.d'));
  const lists = [join(aptFolder, 'sources.list'), ...parts.filter((path) => path.endsWith('.list'))];
  const sources = parts.filter((path) => path.endsWith('.sources'));
  return [
    ...lists.flatMap((path) => parseSourcesList(readIfThere(path))),
    ...sources.flatMap((path) => parseDeb822Sources(readIfThere(path))),
  ];
}

/** The archives of the `deb` lines: `deb [option=value …] uri suite component …`. */
export function parseSourcesList(text: string): string[] {
  return text.split('\n').flatMap((line) => {
    const uri = /^\s*deb\s+(?:\[[^\]]*\]\s*)?(\S+)/.exec(line)?.[1];
    return uri === undefined ? [] : [uri];
  });
}

/** The archives of the enabled stanzas of type `deb`. */
export function parseDeb822Sources(text: string): string[] {
  return parseStanzas(text).flatMap((stanza) => {
    const enabled = !/^(no|false|0|off|without|disable)$/i.test(stanza.get('enabled') ?? 'yes');
    const isBinary = words(stanza.get('types')).includes('deb');
    return enabled && isBinary ? words(stanza.get('uris')) : [];
  });
}

function readAptProxies(aptFolder: string): Map<string, string> {
  const paths = [...filesIn(join(aptFolder, 'apt.conf.d')), join(aptFolder, 'apt.conf')];
  const proxies = new Map<string, string>();
  for (const path of paths) for (const [scheme, url] of parseAptProxies(readIfThere(path))) proxies.set(scheme, url);
  return proxies;
}

/** `Acquire::http::Proxy "url";` in its flat and its nested spelling: scheme to URL. `DIRECT` means none. */
export function parseAptProxies(text: string): Map<string, string> {
  const proxies = new Map<string, string>();
  const code = text.replace(/"[^"\n]*"|\/\*[\s\S]*?\*\/|(?:\/\/|#).*$/gm, (match) =>
    match.startsWith('"') ? match : ' ',
  );
  const scopes: string[] = [];
  let name = '';
  let value: string | undefined;
  for (const [token] of code.matchAll(/"[^"]*"|[{};]|[^\s"{};]+/g)) {
    if (token === '{') {
      scopes.push(name);
      name = '';
    } else if (token === '}' || token === ';') {
      const scheme = /^acquire::(https?)::proxy$/i.exec([...scopes, name].join('::'))?.[1];
      if (scheme !== undefined && value !== undefined) proxies.set(scheme.toLowerCase(), value);
      if (token === '}') scopes.pop();
      name = '';
      value = undefined;
    } else if (name === '') {
      name = token;
    } else {
      value = token.replace(/^"|"$/g, '');
    }
  }
  for (const [scheme, url] of proxies) if (!isWebUrl(url)) proxies.delete(scheme);
  return proxies;
}

function words(value: string | undefined): string[] {
  return (value ?? '').split(/\s+/).filter((word) => word !== '');
}

function filesIn(folder: string): string[] {
  if (!existsSync(folder)) return [];
  return readdirSync(folder)
    .sort()
    .map((name) => join(folder, name));
}

/** Empty where the file is missing or not for this user's eyes: apt passes such a file over too. */
function readIfThere(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}
