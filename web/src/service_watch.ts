import {type Snapshot, type Terminal, serverEvents} from './protocol.ts';
import {ServiceState} from './service_state.ts';

interface Listener {
  changed(state: ServiceState): void;
  link(link: 'connecting' | 'connected' | 'lost'): void;
}

const reopenPause = 2_000;     // ms after a stream was refused until it is tried again
const terminalsPause = 5_000;  // ms between two looks at the terminals, while somebody looks at the page

/** Keeps the state of the whole service current, by its Server-Sent Events. Lives as long as the page. */
export class ServiceWatch {
  readonly #state = new ServiceState();
  readonly #listener: Listener;
  #looking: Promise<void> | null = null;

  constructor(listener: Listener) {
    this.#listener = listener;
    this.#listen();
    const look = () => {
      if (document.visibilityState === 'visible' && this.#state.sequence >= 0) void this.lookAtTerminals();
    };
    setInterval(look, terminalsPause);
    document.addEventListener('visibilitychange', look);
  }

  #listen(): void {
    // A browser reconnects by itself, and says what it has seen; a stream that was refused it gives up.
    const stream = new EventSource(`/api/events?after=${Math.max(0, this.#state.sequence)}`);
    stream.addEventListener('open', () => {
      this.#listener.link('connected');
      if (this.#state.sequence >= 0) void this.lookAtTerminals();  // opened meanwhile
    });
    stream.addEventListener('error', () => {
      this.#listener.link('lost');
      if (stream.readyState === EventSource.CLOSED) setTimeout(() => this.#listen(), reopenPause);
    });
    stream.addEventListener('reset', (event) => {
      this.#state.reset(JSON.parse(event.data) as Snapshot);
      this.#listener.changed(this.#state);
    });
    for (const name of [...serverEvents, 'terminalExit'] as const) {
      stream.addEventListener(name, (event) => {
        const payload = JSON.parse(event.data);
        if (!this.#state.event(name, payload)) return;
        this.#listener.changed(this.#state);
        if (payload.terminalId && name === 'previewServerStarted' && !this.#state.hasTerminal(payload.terminalId)) void this.lookAtTerminals();
      });
    }
  }

  /** Asks for the terminals: no event tells of one that is opened, nor of the job in front of it. */
  lookAtTerminals(): Promise<void> {
    this.#looking ??= (async () => {
      try {
        const asked = this.#state.sequence;
        const answer = await fetch('/api/terminals', {cache: 'no-store'});
        if (!answer.ok) return;
        const {terminals} = (await answer.json()) as {terminals: Terminal[]};
        // An exit that came meanwhile may be newer than the answer; the next look will be right.
        if (asked !== this.#state.sequence) return;
        this.#state.terminals(terminals);
        this.#listener.changed(this.#state);
      } catch {
        // the stream says whether there is a service
      } finally {
        this.#looking = null;
      }
    })();
    return this.#looking;
  }
}
