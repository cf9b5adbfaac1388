import {io, type Socket} from 'socket.io-client';

import {
  type Answer, type PreviewStatus, type ServerEvent, type Snapshot, type Workspace, serverEvents, statusUrl,
} from './protocol.ts';
import {type View, WorkspaceState} from './workspace_state.ts';

export type Link = 'connecting' | 'connected' | 'lost';

interface Listener {
  /** Something is known that was not; `cause` is the event that told it, null for a snapshot. */
  changed(view: View, cause: ServerEvent | null): void;
  link?(link: Link): void;
  /** The room has been joined, for the first time or again. */
  joined?(snapshot: Snapshot): void;
}

const answerTimeout = 10_000;  // ms, for an acknowledgement
const firstPoll = 1_500;       // ms without a connection until the status is asked for instead
const pollPause = 2_000;       // ms between two answers of the status
const refusedPause = 2_000;    // ms after the service has refused a connection until it is asked again

/**
 * Keeps a workspace's state current: by events as they happen, and while there is no connection for them by asking for the
 * status. Lives as long as the page.
 */
export class WorkspaceWatch {
  readonly socket: Socket;
  readonly #workspace: Workspace;
  readonly #state: WorkspaceState;
  readonly #listener: Listener;
  #poll: ReturnType<typeof setTimeout> | undefined;
  #polling: AbortController | null = null;
  #again: ReturnType<typeof setTimeout> | undefined;

  /** Watches a workspace, or with a `port` one server of it. */
  constructor(workspace: Workspace, listener: Listener, port: number | null = null) {
    this.#workspace = workspace;
    this.#state = new WorkspaceState(workspace, port);
    this.#listener = listener;
    this.socket = io({
      path: '/socket.io/',
      transports: ['websocket', 'polling'],
      tryAllTransports: true,
      timeout: 5_000,
      reconnectionDelay: 250,
      reconnectionDelayMax: 3_000,
    });
    this.socket.on('connect', () => void this.#join());
    this.socket.on('disconnect', () => {
      this.#listener.link?.('lost');
      this.#pollSoon(firstPoll);
    });
    this.socket.on('connect_error', () => {
      this.#pollSoon(0);
      this.#connectAgain();
    });
    for (const name of serverEvents) {
      this.socket.on(name, (payload) => {
        if (this.#state.event(name, payload)) this.#listener.changed(this.#state.view, name);
      });
    }
    // A page that slept may have missed more than its connection noticed.
    document.addEventListener('visibilitychange', () => {
      if (document.visibilityState === 'visible') void this.#askStatus();
    });
    this.#pollSoon(firstPoll);
  }

  get view(): View {
    return this.#state.view;
  }

  /**
   * Sends an event and calls `answered` with its acknowledgement, in its place among the events that come; silence for 10 s is
   * a failure like any other.
   */
  request<T>(name: string, payload: object, answered: (answer: Answer<T>) => void): void {
    this.socket.timeout(answerTimeout).emit(name, payload, (silence: Error | null, answer: Answer<T>) => answered(silence
      ? {ok: false, error: {code: 'no_answer', detail: 'previewd did not answer. Is it still running?'}}
      : answer));
  }

  /** The same as a promise, kept a little after the acknowledgement has come. */
  ask<T>(name: string, payload: object): Promise<Answer<T>> {
    return new Promise((answered) => this.request<T>(name, payload, answered));
  }

  async #join(): Promise<void> {
    const {project, user} = this.#workspace;
    const answer = await this.ask<Snapshot>('joinProject', {projectId: project, userId: user});
    if (!this.socket.connected) return;
    if (!answer.ok) {
      // Joined or not, a connection that cannot serve is none: begin again, unhurried.
      this.#listener.link?.('lost');
      setTimeout(() => this.socket.disconnect().connect(), pollPause);
      return;
    }
    this.#stopPolling();
    this.#state.join(answer.servers, answer.sequence);
    this.#listener.link?.('connected');
    // The snapshot does not say how the last server ended.
    if (this.#state.view.server) this.#listener.changed(this.#state.view, null);
    else await this.#askStatus();
    this.#listener.joined?.(answer);
  }

  /** Asks once. Whatever goes wrong is left to the next time. */
  async #askStatus(signal?: AbortSignal, wait = ''): Promise<boolean> {
    try {
      const answer = await fetch(statusUrl(this.#workspace) + wait, {cache: 'no-store', signal: signal ?? null});
      if (!answer.ok) return false;
      if (this.#state.status((await answer.json()) as PreviewStatus)) this.#listener.changed(this.#state.view, null);
      return true;
    } catch {
      return false;
    }
  }

  /** A connection that was refused socket.io-client gives up, but the right to it may come back: by a new link in another tab. */
  #connectAgain(): void {
    if (this.socket.active || this.#again !== undefined) return;
    this.#again = setTimeout(() => {
      this.#again = undefined;
      if (!this.socket.active) this.socket.connect();
    }, refusedPause);
  }

  #pollSoon(delay: number): void {
    if (this.#poll !== undefined || this.#polling || this.socket?.connected) return;
    this.#poll = setTimeout(async () => {
      this.#poll = undefined;
      if (this.socket.connected) return;
      const polling = new AbortController();
      this.#polling = polling;
      // Waiting is only worth it while there is nothing: what is there is answered at once.
      await this.#askStatus(polling.signal, this.#state.view.phase === 'ready' ? '' : '?wait=20s');
      if (this.#polling === polling) this.#polling = null;
      this.#pollSoon(pollPause);
    }, delay);
  }

  #stopPolling(): void {
    clearTimeout(this.#poll);
    this.#poll = undefined;
    this.#polling?.abort();
    this.#polling = null;
  }
}
