import type {Terminal as Screen} from '@xterm/xterm';

import type {Terminal, Workspace} from './protocol.ts';
import type {WorkspaceWatch} from './workspace_watch.ts';

interface Listener {
  /** The terminal has ended, or could not be had; `text` says how. */
  ended(text: string): void;
  attached(terminal: string): void;
}

const ackStep = 16 * 1024;      // bytes shown after which the service is told; it pauses 100 000 ahead
const inputStep = 64 * 1024;    // characters of input sent in one event; an event may have 1 000 000 bytes

/** One terminal of the service, shown in one xterm.js screen. Survives a lost connection and goes on where it was. */
export class TerminalSession {
  readonly #watch: WorkspaceWatch;
  readonly #workspace: Workspace;
  readonly #screen: Screen;
  readonly #listener: Listener;
  #id: string | null = null;
  #received = 0;      // sequence after the last byte that came
  #acknowledged = 0;
  #attaching = false;
  #bytes = new TextEncoder();

  constructor(watch: WorkspaceWatch, workspace: Workspace, screen: Screen, listener: Listener) {
    this.#watch = watch;
    this.#workspace = workspace;
    this.#screen = screen;
    this.#listener = listener;
    screen.onData((text) => this.#input(text));
    screen.onBinary((text) => this.#send(Uint8Array.from(text, (character) => character.charCodeAt(0))));
    screen.onResize(({cols, rows}) => this.#resize(cols, rows));
    const {socket} = watch;
    socket.on('terminalData', (event) => this.#data(event));
    socket.on('terminalExit', (event) => {
      if (event.terminalId === this.#id) this.#end(exitText(event));
    });
  }

  get id(): string | null {
    return this.#id;
  }

  /** After the room was joined: goes on with the own terminal, else takes the newest running one, else opens one. */
  async begin(terminals: Terminal[]): Promise<void> {
    const running = terminals.filter(
      (each) => each.state === 'running' && each.project === this.#workspace.project && each.user === this.#workspace.user);
    if (this.#id !== null) {
      if (running.some((each) => each.id === this.#id)) await this.#attach(this.#id, this.#received);
      else this.#end('The terminal has ended while the connection was lost.');
      return;
    }
    const newest = running.reduce<Terminal | null>(
      (best, each) => (best === null || each.createdAt > best.createdAt ? each : best), null);
    if (newest) await this.#attach(newest.id, 0);
    else await this.open();
  }

  /** Opens a new terminal on the screen. */
  async open(): Promise<void> {
    if (this.#attaching) return;
    this.#attaching = true;
    const {cols, rows} = this.#screen;
    this.#screen.reset();
    this.#received = this.#acknowledged = 0;
    const early: DataEvent[] = [];
    this.#early = early;
    const answer = await this.#watch.ask<{terminalId: string}>('createTerminal', {
      projectId: this.#workspace.project, userId: this.#workspace.user, cols, rows,
    });
    this.#early = null;
    this.#attaching = false;
    if (!answer.ok) {
      this.#listener.ended(`No terminal could be opened. ${answer.error.detail}`);
      return;
    }
    this.#id = answer.terminalId;
    this.#listener.attached(answer.terminalId);
    for (const event of early) this.#data(event);
    this.#resize(this.#screen.cols, this.#screen.rows);
  }

  /** Ends the terminal and all that runs in it. */
  async close(): Promise<void> {
    if (this.#id === null) return;
    const answer = await this.#watch.ask('closeTerminal', {terminalId: this.#id});
    if (answer.ok || answer.error.code === 'terminal_not_found') this.#end('The terminal was closed.');
    else this.#screen.write(`\r\n\x1b[2m${answer.error.detail}\x1b[0m\r\n`);
  }

  // Output that comes before the answer that says which terminal it is of.
  #early: DataEvent[] | null = null;

  async #attach(id: string, after: number): Promise<void> {
    this.#id = id;
    if (after === 0) this.#screen.reset();
    const answer = await this.#watch.ask<{sequence: number; lost: number}>('attachTerminal', {terminalId: id, after});
    if (this.#id !== id) return;
    if (!answer.ok) {
      if (this.#watch.socket.connected) this.#end(answer.error.detail);
      return;  // without a connection: tried again when there is one
    }
    if (after > 0 && answer.lost > 0) this.#screen.write(`\r\n\x1b[2m[${answer.lost} bytes of output are missing]\x1b[0m\r\n`);
    this.#listener.attached(id);
    this.#resize(this.#screen.cols, this.#screen.rows);
  }

  #data(event: DataEvent): void {
    if (event.terminalId !== this.#id) {
      if (this.#early && this.#early.length < 1024) this.#early.push(event);
      return;
    }
    if (event.sequence <= this.#received) return;
    let data: string | Uint8Array = typeof event.data === 'string' ? event.data : new Uint8Array(event.data);
    // A replay may begin before what is here already.
    const bytes = typeof data === 'string' ? this.#bytes.encode(data) : data;
    const known = this.#received - (event.sequence - bytes.length);
    if (this.#received > 0 && known > 0) data = bytes.subarray(known);
    this.#received = event.sequence;
    const id = this.#id;
    this.#screen.write(data, () => {
      if (id !== this.#id || event.sequence - this.#acknowledged < ackStep) return;
      this.#acknowledged = event.sequence;
      this.#watch.socket.emit('terminalAck', {terminalId: id, sequence: event.sequence});
    });
  }

  #input(text: string): void {
    for (let from = 0; from < text.length;) {
      let to = Math.min(from + inputStep, text.length);
      const last = text.charCodeAt(to - 1);
      if (to < text.length && last >= 0xd800 && last < 0xdc00) --to;  // not between the halves of a character
      this.#send(text.slice(from, to));
      from = to;
    }
  }

  #send(data: string | Uint8Array): void {
    // Keys that were pressed into nothing must not arrive minutes later.
    if (this.#id === null || !this.#watch.socket.connected) return;
    this.#watch.socket.emit('terminalInput', {terminalId: this.#id, data});
  }

  #resize(cols: number, rows: number): void {
    if (this.#id === null || !this.#watch.socket.connected) return;
    this.#watch.socket.emit('resizeTerminal', {terminalId: this.#id, cols, rows});
  }

  #end(text: string): void {
    if (this.#id === null) return;
    this.#id = null;
    this.#listener.ended(text);
  }
}

interface DataEvent {
  terminalId: string;
  sequence: number;
  data: string | ArrayBuffer;
}

function exitText({exitCode, signal}: {exitCode: number | null; signal: string | null}): string {
  if (signal) return `The shell was ended by ${signal}.`;
  if (exitCode === null || exitCode === undefined) return 'The terminal has ended.';
  return exitCode === 0 ? 'The shell has exited.' : `The shell has exited with code ${exitCode}.`;
}
