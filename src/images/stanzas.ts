// Parser of Debian's control syntax (deb822(5)): stanzas of `Field: value`, continued by lines that start with a space.
// Release files, package indexes and apt's *.sources are written in it.

/** Field names in lower case; a continued value keeps its line breaks, without the leading space of each line. */
export type Stanza = ReadonlyMap<string, string>;

export function parseStanzas(text: string): Stanza[] {
  const stanzas: Stanza[] = [];
  let fields = new Map<string, string>();
  let field: string | undefined;
  for (const line of text.split(/\r?\n/)) {
    if (line.startsWith('#')) continue;
    if (line.trim() === '') {
      if (fields.size > 0) stanzas.push(fields);
      fields = new Map();
      field = undefined;
    } else if (line.startsWith(' ') || line.startsWith('\t')) {
      if (field !== undefined) fields.set(field, `${fields.get(field)}\n${line.slice(1)}`);
    } else {
      const colon = line.indexOf(':');
      field = colon > 0 ? line.slice(0, colon).toLowerCase() : undefined;
      if (field !== undefined) fields.set(field, line.slice(colon + 1).trim());
    }
  }
  if (fields.size > 0) stanzas.push(fields);
  return stanzas;
}
