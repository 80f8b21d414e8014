// Draws the text of a terminal as an SVG picture for the documents. The text comes in on standard input with its
// colours (SGR 0, 1 and 30 to 37), as `tmux capture-pane -e -p` prints it; the picture goes out on standard output.
//
//     tmux capture-pane -e -p -t session | node tools/terminal-picture.ts 'A terminal: …' > docs/images/session.svg

import { readFileSync } from 'node:fs';

const COLUMN_WIDTH_PX = 8.4;
const LINE_HEIGHT_PX = 18;
const MARGIN_PX = 16;
const BACKGROUND = '#14181d';
const FOREGROUND = '#d7dde4';
const COLOURS = ['#5c6773', '#f07178', '#a6d189', '#e5c07b', '#7aa2f7', '#c099ff', '#7fd5d5', '#d7dde4'];
const ESCAPE = '\u001b';

interface Span {
  text: string;
  colour: string;
  bold: boolean;
}

const escapeXml = (text: string): string =>
  text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;');

function spansOf(line: string): Span[] {
  const spans: Span[] = [];
  let colour = FOREGROUND;
  let bold = false;
  for (const [index, part] of line.split(`${ESCAPE}[`).entries()) {
    const end = index === 0 ? -1 : part.search(/[A-Za-z]/);
    if (end >= 0 && part[end] === 'm') {
      for (const code of part.slice(0, end).split(';').map(Number)) {
        if (code === 0) [colour, bold] = [FOREGROUND, false];
        if (code === 1) bold = true;
        if (code === 39) colour = FOREGROUND;
        if (code >= 30 && code <= 37) colour = COLOURS[code - 30]!;
      }
    }
    const text = part.slice(end + 1);
    if (text !== '') spans.push({ text, colour, bold });
  }
  return spans;
}

function drawLine(line: string, row: number): string {
  let column = 0;
  const texts = spansOf(line).map(({ text, colour, bold }) => {
    const x = (MARGIN_PX + column * COLUMN_WIDTH_PX).toFixed(1);
    column += [...text].length;
    if (text.trim() === '') return '';
    const y = MARGIN_PX + (row + 1) * LINE_HEIGHT_PX - 5;
    const weight = bold ? ' font-weight="bold"' : '';
    const width = ([...text].length * COLUMN_WIDTH_PX).toFixed(1);
    return `<text x="${x}" y="${y}" fill="${colour}"${weight} textLength="${width}">${escapeXml(text)}</text>\n`;
  });
  return texts.join('');
}

const [title] = process.argv.slice(2);
if (title === undefined) throw new Error('give the picture a title, for those who cannot see it');
const lines = readFileSync(0, 'utf8').trimEnd().split('\n');
const plainLength = (line: string): number => spansOf(line).reduce((sum, { text }) => sum + [...text].length, 0);
const width = Math.ceil(2 * MARGIN_PX + Math.max(...lines.map(plainLength)) * COLUMN_WIDTH_PX);
const height = 2 * MARGIN_PX + lines.length * LINE_HEIGHT_PX;
process.stdout.write(
  `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}" ` +
    `font-family="ui-monospace, Menlo, Consolas, monospace" font-size="14" xml:space="preserve">\n` +
    `<title>${escapeXml(title)}</title>\n` +
    `<rect width="100%" height="100%" rx="8" fill="${BACKGROUND}"/>\n${lines.map(drawLine).join('')}</svg>\n`,
);
