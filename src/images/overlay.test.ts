import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { describe, test } from 'node:test';
import {
  createOverlay,
  encodeInputFrame,
  GuestRequestDecoder,
  MAX_INPUT_FRAME_BYTES,
  type Overlay,
} from './overlay.ts';

/** The text of /etc/bulkhead/run, which is the archive's last file. */
function runFile(overlay: Overlay): string {
  const archive = Buffer.from(createOverlay(overlay));
  const name = 'etc/bulkhead/run\0';
  const nameOffset = archive.indexOf(name);
  assert.ok(nameOffset > 0);
  const size = Number.parseInt(archive.toString('latin1', nameOffset - 110 + 54, nameOffset - 110 + 62), 16);
  const dataOffset = (nameOffset + name.length + 3) & ~3;
  return archive.toString('utf8', dataOffset, dataOffset + size);
}

describe('createOverlay', () => {
  const sh = spawnSync('sh', ['-c', ':']);
  const skip = sh.error === undefined ? false : 'this host has no shell';

  test('a shell reads back exactly the words of the command', { skip }, () => {
    const ascii = String.fromCharCode(...Array.from({ length: 127 }, (_, index) => index + 1));
    const command = ['printf', '', "it's", "''", '$HOME `id` "x" \\', 'a  b\n\n', '-n', '*', 'é€😀', ascii];
    const script = `${runFile({ command })}for word; do printf '%s\\0' "$word"; done`;
    const { stdout } = spawnSync('sh', ['-c', script]);
    assert.deepEqual(stdout.toString().split('\0').slice(0, -1), command);
  });

  test('without a command the guest gets a shell of the given size and terminal', () => {
    const text = runFile({ options: { rows: 24, columns: 80, term: "xterm'256" } });
    assert.deepEqual(text.split('\n'), [
      'MODE=shell',
      'STDIN=null',
      'STDERR=ttyS1',
      'ROWS=24',
      'COLUMNS=80',
      "TERM='xterm'\\''256'",
      '',
    ]);
  });

  test('a command may have its input and errors on ttyS3, or the console as its terminal', () => {
    const apart = runFile({ command: ['cat'], options: { stdin: 'serial', stderr: 'ttyS3' } });
    assert.equal(apart, "MODE=command\nSTDIN=serial\nSTDERR=ttyS3\nset -- 'cat'\n");
    assert.match(runFile({ command: ['vi'], options: { terminal: true } }), /^MODE=terminal\n/);
  });

  test('further files come with the folders that lead to them', () => {
    const archive = Buffer.from(createOverlay({ files: [{ path: '/opt/a/tool', data: 'x', mode: 0o755 }] }));
    const names = [...archive.toString('latin1').matchAll(/070701[0-9a-f]{104}([^\0]+)\0/g)].map((match) => match[1]);
    assert.deepEqual(names, ['opt', 'opt/a', 'opt/a/tool', 'etc', 'etc/bulkhead', 'etc/bulkhead/run', 'TRAILER!!!']);
  });

  test('a symbolic link is an entry of its own type that holds its target', () => {
    const files = [{ path: '/opt/link', type: 'symlink', data: 'a/target' }] as const;
    const archive = Buffer.from(createOverlay({ files })).toString('latin1');
    const [, mode] = /070701[0-9a-f]{8}([0-9a-f]{8})[0-9a-f]{88}opt\/link\0+a\/target/.exec(archive) ?? [];
    assert.equal(Number.parseInt(mode ?? '', 16) & 0o170000, 0o120000);
  });

  test('can follow another archive', () => {
    assert.equal(createOverlay({}).length % 512, 0);
  });
});

describe('the lines between host and guest', () => {
  test('a frame is its length, a newline and the bytes; an empty one ends the input', () => {
    assert.equal(Buffer.from(encodeInputFrame(Buffer.from('a\nb'))).toString(), '3\na\nb');
    assert.equal(Buffer.from(encodeInputFrame(new Uint8Array())).toString(), '0\n');
  });

  test('a frame that the guest could lose bytes of is refused', () => {
    assert.throws(() => encodeInputFrame(new Uint8Array(MAX_INPUT_FRAME_BYTES + 1)), RangeError);
  });

  test('requests are read from pieces of any size, with or without carriage returns', () => {
    const sent = Buffer.from('read\r\nread\nnoise\nexit 127\r\n');
    const expected = [{ kind: 'read' }, { kind: 'read' }, { kind: 'exit', status: 127 }];
    for (let pieceBytes = 1; pieceBytes <= sent.length; pieceBytes++) {
      const decoder = new GuestRequestDecoder();
      const requests = [];
      for (let offset = 0; offset < sent.length; offset += pieceBytes) {
        requests.push(...decoder.push(sent.subarray(offset, offset + pieceBytes)));
      }
      assert.deepEqual(requests, expected, `pieces of ${pieceBytes}`);
    }
  });

  test('a guest that never ends its line is not remembered without limit, and can go on', () => {
    const decoder = new GuestRequestDecoder();
    assert.deepEqual(decoder.push(new Uint8Array(1_000_000).fill(0x78)), []);
    assert.deepEqual(decoder.push(Buffer.from('\nexit 0\n')), [{ kind: 'exit', status: 0 }]);
  });
});
