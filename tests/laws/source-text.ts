// A TypeScript file as the laws read it: code apart from comments and literals, and the modules that it imports. A
// scanner of tokens, no parser: what it must know of the grammar is where a `/` begins a regular expression.

export interface SourceText {
  /** The text with comments and the contents of literals turned to spaces: every position and line stays. */
  readonly code: string;
  /** The same with only comments blanked. */
  readonly uncommented: string;
  /** False where brackets do not balance: the scanner has lost its way, or the file is no TypeScript. */
  readonly balanced: boolean;
}

const REGEX_AFTER_WORDS = new Set('return typeof case in of delete void throw new do else await yield'.split(' '));
const CLOSING: Record<string, string> = { ')': '(', ']': '[', '}': '{' };

class Scanner {
  private readonly text: string;
  private readonly code: string[];
  private readonly uncommented: string[];
  private at = 0;
  /** What came before, comments and spaces aside: a word, or one character. */
  private last = '';
  private readonly open: string[] = [];
  private balanced = true;

  constructor(text: string) {
    this.text = text;
    this.code = [...text].length === text.length ? [...text] : text.split('');
    this.uncommented = [...this.code];
  }

  scan(): SourceText {
    this.scanUntilBrace();
    return {
      code: this.code.join(''),
      uncommented: this.uncommented.join(''),
      balanced: this.balanced && this.open.length === 0 && this.at >= this.text.length,
    };
  }

  private blank(target: string[], from: number, to: number): void {
    for (let k = from; k < to; k++) if (target[k] !== '\n') target[k] = ' ';
  }

  /** Scans to the end, or to the brace that closes a template's substitution. */
  private scanUntilBrace(): void {
    const { text } = this;
    const depth = this.open.length;
    while (this.at < text.length) {
      const character = text[this.at]!;
      const two = text.slice(this.at, this.at + 2);
      if (two === '//') this.comment(text.indexOf('\n', this.at));
      else if (two === '/*') this.comment(text.indexOf('*/', this.at) + 2);
      else if (character === "'" || character === '"') this.literal(character);
      else if (character === '`') this.template();
      else if (character === '/' && this.regexMayBegin()) this.regex();
      else if (/[\w$]/.test(character)) this.word();
      else if (character === '}' && this.open.length === depth && depth > 0 && this.open.at(-1) === '${') return;
      else this.punctuation(character);
    }
  }

  private comment(end: number): void {
    const to = end <= this.at ? this.text.length : end;
    this.blank(this.code, this.at, to);
    this.blank(this.uncommented, this.at, to);
    this.at = to;
  }

  private literal(quote: string): void {
    const from = this.at++;
    while (this.at < this.text.length && this.text[this.at] !== quote && this.text[this.at] !== '\n') {
      this.at += this.text[this.at] === '\\' ? 2 : 1;
    }
    if (this.text[this.at] !== quote) this.balanced = false;
    this.at++;
    this.blank(this.code, from + 1, this.at - 1);
    this.last = quote;
  }

  private template(): void {
    let from = ++this.at;
    while (this.at < this.text.length && this.text[this.at] !== '`') {
      if (this.text.startsWith('${', this.at)) {
        this.blank(this.code, from, this.at);
        this.at += 2;
        this.open.push('${');
        this.last = '{';
        this.scanUntilBrace();
        if (this.open.pop() !== '${') this.balanced = false;
        from = this.at + 1;
      }
      this.at += this.text[this.at] === '\\' ? 2 : 1;
    }
    this.blank(this.code, from, this.at);
    this.at++;
    this.last = '`';
  }

  private regexMayBegin(): boolean {
    return this.last === '' || REGEX_AFTER_WORDS.has(this.last) || /^[^\w$)\]}'"`]$/.test(this.last);
  }

  private regex(): void {
    const from = this.at++;
    let inClass = false;
    while (this.at < this.text.length && this.text[this.at] !== '\n' && (inClass || this.text[this.at] !== '/')) {
      const character = this.text[this.at];
      if (character === '[') inClass = true;
      if (character === ']') inClass = false;
      this.at += character === '\\' ? 2 : 1;
    }
    this.at++;
    this.blank(this.code, from + 1, this.at - 1);
    this.last = ')';
  }

  private word(): void {
    const from = this.at;
    while (/[\w$]/.test(this.text[this.at] ?? '')) this.at++;
    this.last = this.text.slice(from, this.at);
  }

  private punctuation(character: string): void {
    if (character === '(' || character === '[' || character === '{') this.open.push(character);
    else if (character in CLOSING && this.open.pop() !== CLOSING[character]) this.balanced = false;
    if (character.trim() !== '') this.last = character;
    this.at++;
  }
}

export function scanSource(text: string): SourceText {
  return new Scanner(text).scan();
}

const IMPORT = /(?<![\w$.])(?:from|import|import\s*\()\s*(['"])([^'"\n]+)\1/g;
/** A worker's file: `new URL('x.ts', import.meta.url)`. */
const WORKER = /(?<![\w$.])new\s+URL\(\s*(['"])([^'"\n]+\.ts)\1/g;

/** Module specifiers of imports, re-exports, `import(…)` of a literal and workers, values and types alike. */
export function importsOf(source: SourceText): string[] {
  const inCode = (match: RegExpExecArray): boolean => source.code[match.index] === match[0][0];
  const found = (pattern: RegExp): string[] =>
    // A match inside a literal has spaces in the code.
    [...source.uncommented.matchAll(pattern)].filter(inCode).map((match) => match[2]!);
  const relative = (path: string): string => (path.startsWith('.') ? path : `./${path}`);
  return [...found(IMPORT), ...found(WORKER).map(relative)];
}
