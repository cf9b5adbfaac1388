import type {PreviewStatus, ReachEvent, Server, ServerEvent, StopRecord, Workspace} from './protocol.ts';

/**
 * What there is to show of a workspace: `unknown` until the service has been heard, `waiting` when nothing was ever started,
 * `stopped` when the last server has gone; else the state of the server behind the workspace's address.
 */
export type Phase = 'unknown' | 'waiting' | 'starting' | 'ready' | 'restarting' | 'suspended' | 'unreachable' | 'stopped';

export interface View {
  phase: Phase;
  server: Server | null;         // behind the workspace's address, or on the port that was asked for
  others: Server[];              // further ones, by port
  lastStop: StopRecord | null;
  hint: string;                  // to the user, of a suspended server; empty: none
}

/**
 * A workspace's servers as told by snapshots and events, in whatever order they come: what is older than what is known changes
 * nothing. Pure: no timers, no network.
 */
export class WorkspaceState {
  readonly #workspace: Workspace;
  readonly #port: number | null;
  readonly #servers = new Map<number, Server>();
  #lastStop: StopRecord | null = null;
  #hint = '';
  #sequence = -1;
  #known = false;

  /** With a `port`, the view is of the server there instead of the one behind the workspace's address. */
  constructor(workspace: Workspace, port: number | null = null) {
    this.#workspace = workspace;
    this.#port = port;
  }

  /** Takes all servers of the project as they are; the truth from here on, also when the service has begun to count anew. */
  join(servers: Server[], sequence: number): void {
    this.#replace(servers, sequence);
  }

  /** Takes an answer of preview-status. Returns whether it was news. */
  status(status: PreviewStatus): boolean {
    if (status.lastStop) this.#stopped(status.lastStop);
    if (status.sequence < this.#sequence) return false;
    this.#replace(status.servers ?? (status.server ? [status.server] : []), status.sequence);
    return true;
  }

  /** Takes an event. Returns whether it was news of this workspace. */
  event(name: ServerEvent, payload: Server | StopRecord | ReachEvent): boolean {
    const sequence = (payload as {sequence?: number}).sequence ?? this.#sequence;
    if (payload.project !== this.#workspace.project || payload.user !== this.#workspace.user) return false;
    if (sequence <= this.#sequence) return false;
    this.#sequence = sequence;
    const server = this.#servers.get(payload.generation);
    switch (name) {
      case 'previewServerStarted':
      case 'previewServerPrimary':
      case 'previewServerAccess': {
        const started = payload as Server;
        if (started.previousGeneration) this.#servers.delete(started.previousGeneration);
        if (started.primary) for (const other of this.#servers.values()) other.primary = false;
        this.#servers.set(started.generation, {...started});
        break;
      }
      case 'previewServerStopped':
        this.#servers.delete(payload.generation);
        this.#stopped(payload as StopRecord);
        break;
      case 'previewServerUnreachable': {
        const {reason, hint} = payload as ReachEvent;
        if (server) server.state = reason === 'restarting' || reason === 'suspended' ? reason : 'unreachable';
        this.#hint = hint ?? '';
        break;
      }
      case 'previewServerRecovered':
        if (server) server.state = 'ready';
        break;
    }
    this.#known = true;
    return true;
  }

  get view(): View {
    const servers = [...this.#servers.values()].sort((a, b) => a.port - b.port);
    const server = servers.find((each) => (this.#port === null ? each.primary : each.port === this.#port)) ?? null;
    const phase = !this.#known ? 'unknown' : server ? server.state : this.#lastStop ? 'stopped' : 'waiting';
    return {
      phase,
      server,
      others: servers.filter((each) => each !== server),
      lastStop: this.#lastStop,
      hint: phase === 'suspended' ? this.#hint : '',
    };
  }

  #stopped(record: StopRecord): void {
    if (this.#port !== null && record.port !== this.#port) return;
    if (record.sequence >= (this.#lastStop?.sequence ?? -1)) this.#lastStop = record;
  }

  #replace(servers: Server[], sequence: number): void {
    this.#servers.clear();
    for (const server of servers) {
      if (server.project === this.#workspace.project && server.user === this.#workspace.user) {
        this.#servers.set(server.generation, {...server});
      }
    }
    this.#sequence = sequence;
    this.#known = true;
  }
}

/** One sentence for people: what is going on, or why it ended. */
export function sentence(view: View): string {
  switch (view.phase) {
    case 'unknown':
      return 'Looking for a dev server';
    case 'waiting':
      return 'Waiting for a dev server';
    case 'starting':
      return 'The dev server is starting';
    case 'ready':
      return 'Running';
    case 'restarting':
      return 'The dev server is restarting';
    case 'suspended':
      return 'The dev server is suspended';
    case 'unreachable':
      return 'The dev server does not answer';
    case 'stopped':
      return view.lastStop?.message || 'Dev server has stopped';
  }
}

/** The sentence after that: what to do, or what is known of the end. */
export function explanation(view: View): string {
  switch (view.phase) {
    case 'waiting':
      return 'Start one in the terminal, for example with npm run dev. It appears here by itself.';
    case 'starting':
    case 'restarting':
      return 'It appears here as soon as it answers.';
    case 'suspended':
      return view.hint || 'Type fg in its terminal to let it go on.';
    case 'unreachable':
      return 'It still listens, and may only be busy.';
    case 'stopped':
      return [cause(view.lastStop), 'Start it again and it appears here by itself.'].filter(Boolean).join(' ');
    default:
      return '';
  }
}

function cause(stop: StopRecord | null): string {
  if (!stop) return '';
  if (stop.signal) return `Ended by ${stop.signal}.`;
  if (stop.exitCode !== null && stop.exitCode !== undefined) return `Exit code ${stop.exitCode}.`;
  switch (stop.reason) {
    case 'terminal_exited':
      return 'Its terminal has ended.';
    case 'listener_closed':
      return `Nothing listens on port ${stop.port} any more.`;
    case 'refused':
      return `Port ${stop.port} refuses connections.`;
    case 'probe_failed':
      return 'It did not pass its health check.';
    case 'removed':
      return 'It was removed from the preview.';
    case 'restore_failed':
      return 'It did not outlive a restart of previewd.';
    case 'shutdown':
      return 'previewd is shutting down.';
    default:
      return '';
  }
}
