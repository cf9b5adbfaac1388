import {type ExitEvent, type ReachEvent, type Server, type ServerEvent, type Snapshot, type StopRecord, type Terminal, type Workspace} from './protocol.ts';

/** What there is of one workspace: servers by port, terminals by age. */
export interface WorkspaceEntry {
  workspace: Workspace;
  servers: Server[];
  terminals: Terminal[];
}

/**
 * All servers and terminals of the service as told by a snapshot and the events behind it. Pure: no timers, no network.
 */
export class ServiceState {
  readonly #servers = new Map<number, Server>();
  readonly #terminals = new Map<string, Terminal>();
  #sequence = -1;

  /** The sequence of the last thing that was told; -1 before anything was. */
  get sequence(): number {
    return this.#sequence;
  }

  /** Takes everything as it is. */
  reset({servers, terminals, sequence}: Snapshot): void {
    this.#servers.clear();
    for (const server of servers) this.#servers.set(server.generation, {...server});
    this.terminals(terminals);
    this.#sequence = sequence;
  }

  /** Takes all terminals as they are: no event tells of one that is opened, nor of what runs in it. */
  terminals(terminals: Terminal[]): void {
    this.#terminals.clear();
    for (const terminal of terminals) if (terminal.state === 'running') this.#terminals.set(terminal.id, {...terminal});
  }

  hasTerminal(id: string): boolean {
    return this.#terminals.has(id);
  }

  /** Takes an event. Returns whether it was news. */
  event(name: ServerEvent | 'terminalExit', payload: Server | StopRecord | ReachEvent | ExitEvent): boolean {
    const {sequence} = payload as {sequence: number};
    if (sequence <= this.#sequence) return false;
    this.#sequence = sequence;
    if (name === 'terminalExit') {
      this.#terminals.delete((payload as ExitEvent).terminalId);
      return true;
    }
    const {generation} = payload as {generation: number};
    const known = this.#servers.get(generation);
    switch (name) {
      case 'previewServerStarted':
      case 'previewServerPrimary':
      case 'previewServerAccess': {
        const server = payload as Server;
        if (server.previousGeneration) this.#servers.delete(server.previousGeneration);
        if (server.primary) {
          for (const other of this.#servers.values()) if (sameWorkspace(other, server)) other.primary = false;
        }
        this.#servers.set(generation, {...server});
        break;
      }
      case 'previewServerStopped':
        this.#servers.delete(generation);
        break;
      case 'previewServerUnreachable': {
        const {reason} = payload as ReachEvent;
        if (known) known.state = reason === 'restarting' || reason === 'suspended' ? reason : 'unreachable';
        break;
      }
      case 'previewServerRecovered':
        if (known) known.state = 'ready';
        break;
    }
    return true;
  }

  /** The workspaces that have something, by name. */
  get workspaces(): WorkspaceEntry[] {
    const found = new Map<string, WorkspaceEntry>();
    const entry = ({project, user}: Workspace) => {
      const key = `${project}/${user}`;
      const known = found.get(key) ?? {workspace: {project, user}, servers: [], terminals: []};
      found.set(key, known);
      return known;
    };
    for (const server of this.#servers.values()) entry(server).servers.push(server);
    for (const terminal of this.#terminals.values()) entry(terminal).terminals.push(terminal);
    for (const {servers, terminals} of found.values()) {
      servers.sort((a, b) => Number(b.primary) - Number(a.primary) || a.port - b.port);
      terminals.sort((a, b) => a.createdAt.localeCompare(b.createdAt));
    }
    return [...found].sort(([a], [b]) => a.localeCompare(b)).map(([, each]) => each);
  }
}

function sameWorkspace(a: Workspace, b: Workspace): boolean {
  return a.project === b.project && a.user === b.user;
}
