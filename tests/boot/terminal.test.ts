// The shell on a real terminal: script(1) lends one. What a person relies on: keys go over one by one, the window's
// size is right, and the terminal is as before on every way out.

import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { test } from 'node:test';
import { CLI } from '../cli/run-cli.ts';

const hasScript = spawnSync('script', ['--version']).status === 0;
const skip = hasScript ? false : 'there is no script(1) here, which lends a terminal';
const TIMEOUT_MS = 180_000;

/** Types each text once the output has what comes before it; gives everything that was shown. */
async function converse(shell: string, dialogue: readonly (readonly [after: RegExp, type: string])[]): Promise<string> {
  const child = spawn('script', ['--quiet', '--return', '--command', shell, '/dev/null'], {
    stdio: ['pipe', 'pipe', 'inherit'],
    // One shell for the tests wherever they run: script(1) takes the user's.
    env: { ...process.env, SHELL: '/bin/sh' },
    timeout: TIMEOUT_MS,
    killSignal: 'SIGKILL',
  });
  let [shown, seen, step] = ['', '', 0];
  child.stdout.on('data', (bytes: Buffer) => {
    shown += bytes.toString('latin1');
    seen += bytes.toString('latin1');
    for (let next = dialogue[step]; next?.[0].test(seen); next = dialogue[++step]) {
      child.stdin.write(next[1]);
      seen = '';
    }
  });
  await once(child, 'close');
  assert.equal(step, dialogue.length, `the dialogue stopped at step ${step}:\n${shown}`);
  return shown;
}

const BULKHEAD = `'${process.execPath}' '${CLI}'`;
const STATE = 'stty -a | grep -o -- "-\\?icanon\\|-\\?echo "';
const COOKED = /\nicanon\r?\necho \r?\n/;

test('the guest has the size of the window, and `poweroff` gives the terminal back', { skip }, async () => {
  const shown = await converse(`stty rows 33 cols 101; ${BULKHEAD} run debian; echo "status $?"; ${STATE}`, [
    [/# /, 'stty size\r'],
    [/33 101/, 'poweroff\r'],
  ]);
  assert.match(shown, /Ctrl-\] leaves\./);
  assert.match(shown, /status 0/);
  assert.match(shown, COOKED);
});

test('Ctrl-C goes to the guest, Ctrl-] leaves', { skip }, async () => {
  const shown = await converse(`${BULKHEAD} run debian; echo "status $?"; ${STATE}`, [
    [/# /, 'echo go""ing; sleep 1000\r'],
    [/going/, '\x03'],
    [/# /, 'echo still $((40 + 2))\r'],
    [/still 42/, '\x1d'],
  ]);
  assert.match(shown, /status 0/);
  assert.match(shown, COOKED);
});

test('a program that wants a terminal has one with --terminal', { skip }, async () => {
  const shown = await converse(`${BULKHEAD} run debian --terminal -- sh -c 'tty; exit 5'; echo "status $?"`, []);
  assert.match(shown, /\/dev\/ttyS0/);
  assert.match(shown, /status 5/);
});

for (const signal of ['TERM', 'HUP', 'INT', 'KILL']) {
  test(`SIG${signal} leaves the terminal as it was`, { skip }, async () => {
    // The leading sleep of the state gives the stand-by shell its moment after SIGKILL.
    // The signal is sent until the process has gone, as a person would; the state of the terminal is what is tested.
    const kill = `while kill -${signal} $(cat $pid) 2>/dev/null; do sleep 1; done`;
    // By a descriptor of its own: a POSIX shell gives what runs in the background the null device as standard input.
    const killer = `(until [ -s $pid ] && stty -a | grep -q -- -icanon; do sleep 0.1; done; ${kill}) <&3 &`;
    const shell = [
      'exec 3<&0',
      'pid=$(mktemp)',
      killer,
      `sh -c "echo \\$\\$ >$pid; exec ${BULKHEAD} run debian"`,
      'sleep 0.5',
      'rm $pid',
      STATE,
    ].join('\n');
    const shown = await converse(shell, []);
    assert.match(shown, /Ctrl-\] leaves\./);
    assert.match(shown, COOKED);
  });
}
