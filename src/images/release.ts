// The root of trust of a Debian archive: dists/<suite>/InRelease, one signed list of every index's size and hash.
// Its signature (OpenPGP cleartext, RFC 9580 section 7) is checked against the archive's keys.

import { readFileSync } from 'node:fs';
import type { Key } from 'openpgp';
import { UserError } from '../base/errors.ts';
import type { Expected } from './download.ts';
import { parseStanzas } from './stanzas.ts';

export interface Release {
  codename: string;
  /** Indexes can be fetched by their hash, which stays right while the mirror is being updated. */
  byHash: boolean;
  /** Path below dists/<suite>/ to size and hash. */
  indexes: ReadonlyMap<string, Expected>;
}

export const KEYRING_VARIABLE = 'BULKHEAD_KEYRING';
const HOST_KEYRING = '/usr/share/keyrings/debian-archive-keyring.gpg';
const SHIPPED_KEYS = new URL('debian-archive-keys.asc', import.meta.url);

/**
 * The keys that may sign: those of the given keyring (armored or binary) and no others, or else Debian's own, as the
 * host's package debian-archive-keyring and this program have them. Throws a UserError for a keyring without keys.
 */
export async function loadKeys(keyring: string | undefined): Promise<Key[]> {
  if (keyring !== undefined) return readKeyring(keyring);
  const shipped = await readKeyring(SHIPPED_KEYS);
  // The host's may be missing, too old for the suite, or hold kinds of keys that cannot be read: ours remain.
  const host = await readKeyring(HOST_KEYRING).catch(() => []);
  return [...shipped, ...host];
}

/** A cached image needs no signature: openpgp would double the time until it is there. */
const loadOpenpgp = () => import('openpgp');

async function readKeyring(path: string | URL): Promise<Key[]> {
  const { readKeys } = await loadOpenpgp();
  try {
    const bytes = readFileSync(path);
    const isArmored = bytes.includes('-----BEGIN PGP PUBLIC KEY BLOCK-----');
    return isArmored ? await readKeys({ armoredKeys: bytes.toString() }) : await readKeys({ binaryKeys: bytes });
  } catch (error) {
    throw new UserError(`cannot read keys from the keyring ${path}`, {
      hint: `${KEYRING_VARIABLE} takes a file of OpenPGP public keys`,
      cause: error,
    });
  }
}

/** Only what a trusted key has signed is read. Throws a UserError where the signature or the file's own claims fail. */
export async function verifyRelease(inRelease: string, codename: string, keys: Key[], now: Date): Promise<Release> {
  const text = await signedText(inRelease, keys);
  const fields = parseStanzas(text)[0] ?? new Map<string, string>();
  if (fields.get('codename') !== codename) {
    throw refusal(`it is for ${fields.get('codename') ?? 'no release'}, and ${codename} was asked for`);
  }
  const validUntil = fields.get('valid-until');
  // Not (>=): a date that cannot be read counts as past.
  if (validUntil !== undefined && !(Date.parse(validUntil) >= now.getTime())) {
    throw refusal(`it was valid until ${validUntil}`);
  }
  const indexes = new Map<string, Expected>();
  for (const line of fields.get('sha256')?.split('\n') ?? []) {
    const [, sha256, size, path] = /^\s*([0-9a-f]{64})\s+(\d+)\s+(\S+)\s*$/.exec(line) ?? [];
    if (sha256 !== undefined && path !== undefined) indexes.set(path, { sha256, sizeBytes: Number(size) });
  }
  return { codename, byHash: fields.get('acquire-by-hash') === 'yes', indexes };
}

async function signedText(inRelease: string, keys: Key[]): Promise<string> {
  const { readCleartextMessage, verify } = await loadOpenpgp();
  const message = await readCleartextMessage({ cleartextMessage: inRelease }).catch((error) => {
    throw refusal('it is not a signed message', error);
  });
  const { data, signatures } = await verify({ message, verificationKeys: keys });
  // One good signature is enough: the archive signs with its old and its new keys at the same time.
  const reasons: string[] = [];
  for (const signature of signatures) {
    try {
      await signature.verified;
      return data;
    } catch (error) {
      reasons.push(`${signature.keyID.toHex()}: ${error instanceof Error ? error.message : String(error)}`);
    }
  }
  throw refusal(`no signature by a trusted key (${reasons.join('; ') || 'none at all'})`);
}

function refusal(reason: string, cause?: unknown): UserError {
  return new UserError(`the mirror's release file is refused: ${reason}`, {
    hint: `use a true Debian mirror (--mirror URL), or name the keys of your own archive in ${KEYRING_VARIABLE}`,
    cause,
  });
}
