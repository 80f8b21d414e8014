// What a terminal shows of a guest's output, as plain text: lines, a cursor, and of the escape sequences (ECMA-48)
// those that a shell's line editor uses. Lines have no end at the right: the page wraps them.

const TAB_COLUMNS = 8;
const MAXIMUM_LINES = 2000;
/** What goes on for longer is none. */
const MAXIMUM_SEQUENCE_LENGTH = 64;
const ESCAPE = '\x1b';
/** What follows an escape: a whole control sequence with its parameters and its final, or one character. */
const SEQUENCE = /^(?:\[([0-?]*)[ -/]*([@-~])|[^[])/;

export class ConsoleScreen {
  private lines: string[][] = [[]];
  private row = 0;
  private column = 0;
  private readonly decoder = new TextDecoder();
  /** The beginning of a sequence whose end has not come yet. */
  private rest = '';

  write(bytes: Uint8Array): void {
    const text = this.rest + this.decoder.decode(bytes, { stream: true });
    this.rest = '';
    let position = 0;
    while (position < text.length) {
      if (text[position] === ESCAPE) {
        const sequence = SEQUENCE.exec(text.slice(position + 1, position + 1 + MAXIMUM_SEQUENCE_LENGTH));
        if (sequence === null) {
          if (text.length - position <= MAXIMUM_SEQUENCE_LENGTH) {
            this.rest = text.slice(position);
            return;
          }
          position++;
          continue;
        }
        const [whole, parameters, final] = sequence;
        if (final !== undefined) this.control(final, parameters!);
        position += 1 + whole.length;
        continue;
      }
      // A character outside the basic plane is two code units.
      const character = String.fromCodePoint(text.codePointAt(position)!);
      this.put(character);
      position += character.length;
    }
  }

  /** All that is shown: before the cursor, under it, and after it. */
  get parts(): { before: string; under: string; after: string } {
    const line = this.lines[this.row]!;
    const above = this.lines.slice(0, this.row).map((cells) => `${cells.join('')}\n`);
    const below = this.lines.slice(this.row + 1).map((cells) => `\n${cells.join('')}`);
    return {
      before: above.join('') + line.slice(0, this.column).join(''),
      under: line[this.column] ?? ' ',
      after: line.slice(this.column + 1).join('') + below.join(''),
    };
  }

  private put(character: string): void {
    switch (character) {
      case '\r':
        this.column = 0;
        return;
      case '\n':
        this.row++;
        if (this.row === this.lines.length) this.lines.push([]);
        if (this.lines.length > MAXIMUM_LINES) {
          this.lines.shift();
          this.row--;
        }
        this.pad();
        return;
      case '\b':
        this.column = Math.max(0, this.column - 1);
        return;
      case '\t':
        this.column += TAB_COLUMNS - (this.column % TAB_COLUMNS);
        this.pad();
        return;
    }
    if (character < ' ' || character === '\x7f') return;
    this.lines[this.row]![this.column++] = character;
  }

  /** Fills a line up to the cursor. */
  private pad(): void {
    const line = this.lines[this.row]!;
    while (line.length < this.column) line.push(' ');
  }

  private control(final: string, parameters: string): void {
    const count = Math.max(1, Number.parseInt(parameters, 10) || 1);
    const line = this.lines[this.row]!;
    switch (final) {
      case 'C':
        this.column += count;
        this.pad();
        return;
      case 'D':
        this.column = Math.max(0, this.column - count);
        return;
      case 'J':
        if (parameters === '2') {
          this.lines = [[]];
          this.row = 0;
          this.pad();
        } else {
          this.lines.length = this.row + 1;
          line.length = Math.min(line.length, this.column);
        }
        return;
      case 'K':
        if (parameters === '' || parameters === '0') line.length = Math.min(line.length, this.column);
        return;
      case 'H':
        // Only home: `clear` goes there before it clears.
        if (parameters === '' || parameters === '1;1') {
          this.row = 0;
          this.column = 0;
        }
    }
  }
}
