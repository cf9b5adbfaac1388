import type {Terminal as Screen} from '@xterm/xterm';

import type {Failure, Terminal, Workspace} from './protocol.ts';
import {refuseToAnswer} from './terminal_queries.ts';
import type {WorkspaceWatch} from './workspace_watch.ts';

/** Where a terminal on a page is in its life; it only goes back from `live` to `reconnecting`. */
export type SessionState = 'connecting' | 'live' | 'reconnecting' | 'ended';

interface Listener {
  /** The state has changed; `text` says in one sentence how it ended. */
  changed(state: SessionState, text: string): void;
}

const ackStep = 16 * 1024;      // bytes shown after which the service is told; it pauses 100 000 ahead
const inputStep = 64 * 1024;    // characters of input sent in one event; an event may have 1 000 000 bytes
const roomPause = 500;          // ms between two attempts to open a terminal while the one it replaces ends
const roomAttempts = 10;

/**
 * One terminal of the service, shown in one xterm.js screen. Survives a lost connection and goes on where it was: by the
 * sequence of the last byte that came, so that nothing comes twice and nothing is left out.
 */
export class TerminalSession {
  readonly #watch: WorkspaceWatch;
  readonly #workspace: Workspace;
  readonly #screen: Screen;
  readonly #listener: Listener;
  readonly #encoder = new TextEncoder();
  readonly #stop = new AbortController();
  #id: string | null = null;
  #state: SessionState = 'connecting';
  #received = 0;      // sequence after the last byte that came
  #position = 0;      // sequence at which the next event begins; less than #received when it repeats what has come
  #parsed = 0;        // after the last byte that the screen has taken in
  #acknowledged = 0;
  #replayUntil = 0;   // up to here the screen only repeats what was; questions in it have been answered long ago
  #missing = false;   // what the screen misses could not be had: the next output paints it anew
  #exit: string | null = null;  // how it ended, told before the last of its output has come

  constructor(watch: WorkspaceWatch, workspace: Workspace, screen: Screen, listener: Listener) {
    this.#watch = watch;
    this.#workspace = workspace;
    this.#screen = screen;
    this.#listener = listener;
    screen.onData((text) => this.#input(text));
    screen.onBinary((text) => this.#send(Uint8Array.from(text, (character) => character.charCodeAt(0))));
    screen.onResize(({cols, rows}) => this.#resize(cols, rows));
    refuseToAnswer(screen, () => this.#parsed < this.#replayUntil);
    const {socket} = watch;
    const data = (event: DataEvent) => event.terminalId === this.#id && this.#data(event);
    const exit = (event: Exit & {terminalId: string}) => event.terminalId === this.#id && this.#end(exitText(event));
    socket.on('terminalData', data);
    socket.on('terminalExit', exit);
    this.#stop.signal.addEventListener('abort', () => {
      socket.off('terminalData', data);
      socket.off('terminalExit', exit);
    });
  }

  get id(): string | null {
    return this.#id;
  }

  get state(): SessionState {
    return this.#state;
  }

  /** Opens a new terminal. `patient`: one is just ending, so that a limit may only be reached for a moment. */
  open(cwd = '', patient = false): void {
    const {cols, rows} = this.#screen;
    const {project, user} = this.#workspace;
    let attempts = patient ? roomAttempts : 1;
    const attempt = () => {
      if (this.#stop.signal.aborted) return;
      const payload = {projectId: project, userId: user, cols, rows, ...(cwd ? {cwd} : {})};
      this.#watch.request<{terminalId: string}>('createTerminal', payload, (answer) => {
        if (answer.ok) {
          this.#id = answer.terminalId;
          // Its tab was closed before it was there.
          if (this.#stop.signal.aborted) return void this.#watch.socket.emit('closeTerminal', {terminalId: this.#id});
          this.#become('live');
          this.#resize(this.#screen.cols, this.#screen.rows);
        } else if (answer.error.code === 'limit_reached' && --attempts > 0) {
          setTimeout(attempt, roomPause);
        } else {
          this.#become('ended', `No terminal could be opened. ${answer.error.detail}`);
        }
      });
    };
    attempt();
  }

  /** Shows a terminal that there is already, from the beginning of what is kept of it. */
  attach(id: string): void {
    this.#id = id;
    this.#attach();
  }

  /** The connection is there again, and these are the terminals of the project. */
  joined(terminals: Terminal[]): void {
    if (this.#state === 'ended' || this.#id === null) return;
    const there = terminals.find((each) => each.id === this.#id);
    if (!there || there.state === 'closing') return this.#become('ended', 'The terminal has ended while the connection was lost.');
    if (there.state === 'exited') this.#exit = exitText(there);
    this.#attach();
  }

  /** The connection is lost. */
  lost(): void {
    if (this.#state === 'live') this.#become('reconnecting');
  }

  /** Ends the terminal and all that runs in it; answers with why it could not. */
  async close(): Promise<Failure | null> {
    if (this.#id === null || this.#state === 'ended') return null;
    const answer = await this.#watch.ask('closeTerminal', {terminalId: this.#id});
    return answer.ok || answer.error.code === 'terminal_not_found' ? null : answer;
  }

  /** Has no more to do with the terminal, which lives on. */
  dispose(): void {
    if (this.#id !== null && this.#state !== 'ended' && this.#watch.socket.connected) {
      this.#watch.socket.emit('detachTerminal', {terminalId: this.#id});
    }
    this.#stop.abort();
  }

  #attach(): void {
    const after = this.#received;
    // Answered at once when the answer comes: output may be right behind it.
    this.#watch.request<AttachAnswer>('attachTerminal', {terminalId: this.#id, after}, (answer) => {
      if (this.#stop.signal.aborted || this.#state === 'ended') return;
      if (!answer.ok) {
        // Without a connection: tried again when there is one.
        if (!this.#watch.socket.connected) return;
        if (answer.error.code === 'no_answer') this.#watch.socket.disconnect().connect();
        else this.#become('ended', this.#exit ?? answer.error.detail);
        return;
      }
      this.#replayUntil = answer.sequence;
      this.#missing = answer.lost > 0 && after > 0;
      this.#position = answer.from ?? after + answer.lost;
      if (this.#missing) this.#received = this.#position;
      this.#become('live');
      this.#resize(this.#screen.cols, this.#screen.rows);
      if (this.#exit !== null && this.#received >= answer.sequence) this.#end(this.#exit);
    });
  }

  #data(event: DataEvent): void {
    const position = this.#position;
    this.#position = event.sequence;
    let bytes = typeof event.data === 'string' ? this.#encoder.encode(event.data) : new Uint8Array(event.data);
    if (this.#missing || (event.lost ?? 0) > 0) {
      // What is on the screen has no continuation: what comes now begins it anew.
      this.#screen.reset();
      if (!event.replay) this.#screen.write('\x1b[2m[Earlier output is no longer kept.]\x1b[0m\r\n');
    } else if (!event.replay) {
      if (event.sequence <= this.#received) return;
      // Not counted back from its end: what is no UTF-8 has come as more bytes than it was.
      bytes = bytes.subarray(Math.max(0, this.#received - position));
    }
    this.#missing = false;
    this.#received = event.sequence;
    const live = Math.max(0, event.sequence - this.#replayUntil);
    if (!event.replay && live > 0 && live < bytes.length) {
      this.#write(bytes.subarray(0, bytes.length - live), event.sequence - live);
      bytes = bytes.subarray(bytes.length - live);
    }
    this.#write(bytes, event.sequence);
    if (this.#exit !== null && this.#received >= this.#replayUntil) this.#end(this.#exit);
  }

  #write(bytes: Uint8Array, sequence: number): void {
    this.#screen.write(bytes, () => {
      this.#parsed = sequence;
      if (this.#state === 'ended' || sequence - this.#acknowledged < ackStep || !this.#watch.socket.connected) return;
      this.#acknowledged = sequence;
      this.#watch.socket.emit('terminalAck', {terminalId: this.#id, sequence});
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
    if (this.#state !== 'live' || !this.#watch.socket.connected) return;
    this.#watch.socket.emit('terminalInput', {terminalId: this.#id, data});
  }

  #resize(cols: number, rows: number): void {
    if (this.#state !== 'live' || !this.#watch.socket.connected) return;
    this.#watch.socket.emit('resizeTerminal', {terminalId: this.#id, cols, rows});
  }

  #end(text: string): void {
    this.#become('ended', text);
  }

  #become(state: SessionState, text = ''): void {
    if (this.#state === 'ended' || this.#stop.signal.aborted || (this.#state === state && text === '')) return;
    this.#state = state;
    this.#screen.options.disableStdin = state !== 'live';
    this.#listener.changed(state, text);
  }
}

interface DataEvent {
  terminalId: string;
  sequence: number;
  data: string | ArrayBuffer;
  lost?: number;     // bytes before these that could not be had
  replay?: boolean;  // paints what the screen would show, instead of what was put out
}

interface AttachAnswer {
  sequence: number;  // output up to here has been before
  from?: number;     // output follows from here on
  lost: number;
}

interface Exit {
  exitCode: number | null;
  signal: string | null;
}

function exitText({exitCode, signal}: Exit): string {
  if (signal) return `The shell was ended by ${signal}.`;
  if (exitCode === null || exitCode === undefined) return 'The terminal has ended.';
  return exitCode === 0 ? 'The shell has exited.' : `The shell has exited with code ${exitCode}.`;
}
