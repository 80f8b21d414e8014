// The page: boots the guest that its server describes, in a Web Worker, with the guest's serial console on the screen
// and on the keyboard. `data-state` of the body and the status line say how far it is.

import { UserError } from '../../src/base/errors.ts';
import type { MachineConfig } from '../../src/machine/config.ts';
import { type StartThread, VirtualMachine } from '../../src/vm/virtual-machine.ts';
import { ConsoleScreen } from './console-screen.ts';
import type { GuestDescription } from './guest-description.ts';
import { bytesOfKey } from './key-bytes.ts';
import type { EngineReport, FromWorker, ToWorker } from './worker-messages.ts';

/** The line editor of busybox' shell asks for the cursor's position when it waits for a line. */
const CURSOR_POSITION_REQUEST = '\x1b[6n';

const element = (id: string): HTMLElement => document.getElementById(id)!;
const [guestLine, statusLine, consoleElement] = [element('guest'), element('status'), element('console')];

const report = Promise.withResolvers<EngineReport>();

const startWebWorker: StartThread = (channel, events) => {
  const worker = new Worker(new URL('guest-worker.ts', import.meta.url), { type: 'module' });
  worker.addEventListener('message', ({ data }: MessageEvent<FromWorker>) => {
    if (data.kind === 'engine-report') report.resolve(data);
    else events.onMessage(data);
  });
  worker.addEventListener('error', ({ message, filename, lineno }) => {
    events.onCrash(new Error(message ? `${message} (${filename}:${lineno})` : 'it could not be loaded'));
  });
  return {
    post: (message) => worker.postMessage({ channel, message } satisfies ToWorker),
    terminate: () => worker.terminate(),
  };
};

function showState(state: string, text: string): void {
  document.body.dataset.state = state;
  statusLine.textContent = text;
}

/** Draws at most once a frame, however much the guest says. */
class ConsoleView {
  private readonly screen = new ConsoleScreen();
  private readonly cursor = document.createElement('span');
  private scheduled = false;

  constructor() {
    this.cursor.id = 'cursor';
  }

  write(bytes: Uint8Array): void {
    this.screen.write(bytes);
    if (this.scheduled) return;
    this.scheduled = true;
    requestAnimationFrame(() => {
      this.scheduled = false;
      this.draw();
    });
  }

  draw(): void {
    const { before, under, after } = this.screen.parts;
    this.cursor.textContent = under;
    consoleElement.replaceChildren(before, this.cursor, after);
    consoleElement.scrollTop = consoleElement.scrollHeight;
  }
}

async function bytesAt(path: string): Promise<Uint8Array<ArrayBuffer>> {
  const response = await fetch(path);
  if (!response.ok) throw new Error(`${path}: ${response.status} ${response.statusText}`);
  return new Uint8Array(await response.arrayBuffer());
}

async function fetchConfig(guest: GuestDescription): Promise<MachineConfig> {
  const [kernel, ...initrds] = await Promise.all([
    bytesAt('/guest/kernel'),
    ...Array.from({ length: guest.initrdCount }, (_, index) => bytesAt(`/guest/initrd/${index}`)),
  ]);
  return {
    memoryBytes: guest.memoryBytes,
    kernel: kernel!,
    kernelName: guest.kernelName,
    initrds: initrds.map((bytes) => ({ bytes })),
    commandLine: guest.commandLine,
    serialPorts: 1,
    reboot: true,
  };
}

/** The keyboard, and what is pasted. */
function attachInput(machine: VirtualMachine): void {
  document.addEventListener('keydown', (event) => {
    const bytes = bytesOfKey(event);
    if (bytes === undefined) return;
    event.preventDefault();
    void machine.send(0, bytes);
  });
  document.addEventListener('paste', (event) => {
    event.preventDefault();
    const text = event.clipboardData?.getData('text/plain') ?? '';
    void machine.send(0, new TextEncoder().encode(text.replaceAll('\n', '\r')));
  });
}

async function boot(): Promise<void> {
  const startedAtMs = performance.now();
  const seconds = (): string => `${((performance.now() - startedAtMs) / 1000).toFixed(1)} s`;
  const view = new ConsoleView();
  let isBooting = true;
  const latin1 = new TextDecoder('latin1');
  let tail = '';
  const read = (bytes: Uint8Array): undefined => {
    view.write(bytes);
    if (!isBooting) return;
    tail += latin1.decode(bytes);
    if (tail.includes(CURSOR_POSITION_REQUEST)) {
      isBooting = false;
      showState('running', `running, booted in ${seconds()}`);
    }
    tail = tail.slice(-CURSOR_POSITION_REQUEST.length);
  };
  // First, so that the worker loads its code while the guest's files come.
  const machine = new VirtualMachine([read], startWebWorker);
  const guest: GuestDescription = await (await fetch('/guest/description')).json();
  guestLine.textContent = `Bulkhead: ${guest.label}, software engine, ${guest.memoryBytes / 1024 ** 2} MiB`;
  machine.start(await fetchConfig(guest));
  await machine.started;
  showState('booting', 'booting');
  attachInput(machine);
  const exit = await machine.ended;
  const { translatedRegions } = await report.promise;
  view.draw();
  document.body.dataset.exit = exit.kind;
  document.body.dataset.translatedRegions = String(translatedRegions);
  showState('ended', `${exit.kind} after ${seconds()}, ${translatedRegions} regions translated`);
}

boot().catch((error: unknown) => {
  const text = error instanceof Error ? error.message : String(error);
  const hint = error instanceof UserError && error.hint !== undefined ? ` (${error.hint})` : '';
  showState('failed', `${text}${hint}`);
});
