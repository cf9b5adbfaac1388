// What the service says and takes (docs/events.md, docs/terminals.md): only what the pages use of it.

/** One project of one user. */
export interface Workspace {
  project: string;
  user: string;
}

export type ServerState = 'starting' | 'ready' | 'restarting' | 'suspended' | 'unreachable';

/** A dev server. Named by its generation, which grows with every start. */
export interface Server extends Workspace {
  generation: number;
  port: number;
  type: string;
  state: ServerState;
  primary: boolean;
  terminalId: string | null;  // where it was started
  url: string;        // path address, without its final slash
  iframeUrl: string;
  originUrl: string | null;  // an origin of its own
  basePath: 'stripped' | 'kept';
  access: 'private' | 'project' | 'public';
  previousGeneration: number | null;
  startedAt: string;
}

/** How a server came to its end. */
export interface StopRecord extends Workspace {
  generation: number;
  port: number;
  terminalId: string | null;
  message: string;
  reason: string;
  exitCode: number | null;
  signal: string | null;
  sequence: number;
  at: string;
}

/** The payload of `previewServerUnreachable` and `previewServerRecovered`. */
export interface ReachEvent extends Workspace {
  generation: number;
  port: number;
  reason?: 'restarting' | 'suspended' | 'timeout';
  hint?: string;
  sequence: number;
}

/** A terminal, running or exited. */
export interface Terminal extends Workspace {
  id: string;
  state: 'running' | 'exited' | 'closing';
  exitCode: number | null;
  signal: string | null;
  command: string;
  cwd: string;
  foreground?: string | null;  // the name of the job in front
  cols: number;
  rows: number;
  attached: number;
  createdAt: string;
}

/** The payload of `terminalExit`. */
export interface ExitEvent extends Workspace {
  terminalId: string;
  exitCode: number | null;
  signal: string | null;
  sequence: number;
}

/** What `GET /api/preview-status/{project}/{user}` answers. */
export interface PreviewStatus {
  available: boolean;
  server: Server | null;
  servers?: Server[];
  lastStop?: StopRecord | null;
  sequence: number;
}

export interface Failure {
  ok: false;
  error: {code: string; detail: string};
}
export type Answer<T> = ({ok: true} & T) | Failure;

export interface Snapshot {
  servers: Server[];
  terminals: Terminal[];
  sequence: number;
}

/** The names of the events that change what is known of a workspace's servers. */
export const serverEvents = [
  'previewServerStarted',
  'previewServerStopped',
  'previewServerUnreachable',
  'previewServerRecovered',
  'previewServerPrimary',
  'previewServerAccess',
] as const;
export type ServerEvent = (typeof serverEvents)[number];

/** What a project and a user may be called. */
export function validName(name: string): boolean {
  return /^[A-Za-z0-9._~@+-]{1,64}$/.test(name) && name !== '.' && name !== '..';
}

/** The workspace in a path like `/terminal/shop/ann` or `/preview/shop/ann/iframe`. */
export function workspaceOf(pathname: string): Workspace | null {
  const [, , project, user] = pathname.split('/');
  try {
    const workspace = {project: decodeURIComponent(project ?? ''), user: decodeURIComponent(user ?? '')};
    return validName(workspace.project) && validName(workspace.user) ? workspace : null;
  } catch {
    return null;  // a stray % in the address
  }
}

export function statusUrl({project, user}: Workspace): string {
  return `/api/preview-status/${encodeURIComponent(project)}/${encodeURIComponent(user)}`;
}

function isLocal(host: string): boolean {
  return host === 'localhost' || host.endsWith('.localhost');
}

/**
 * Where a browser that reached this page by `host` finds a server: at an origin of its own, which the service may have nothing
 * beside. But who came by a number may be where no name leads to it, and names below `localhost` lead to the browser's own machine.
 */
export function addressOf(server: Server, host = location.hostname): string {
  const path = `${server.url}/`;
  const isNumber = host.startsWith('[') || /^[0-9.]+$/.test(host);
  if (!server.originUrl || isNumber) return path;
  const origin = new URL(server.basePath === 'kept' ? path : '/', server.originUrl);
  return isLocal(origin.hostname) && !isLocal(host) ? path : origin.href;
}

/** Whether this browser was let in by a link, so that it needs one for each preview's origin too (docs/security.md). */
export function isHandedOver(cookies = document.cookie): boolean {
  return cookies.split('; ').includes('previewd_handed=1');
}

/** An address that lets this browser in to a server, once; its plain address where that cannot be had. */
export async function entranceOf(server: Server): Promise<string> {
  const {project, user, port, primary} = server;
  const wanted = primary ? {project, user} : {project, user, port};
  const answer = await fetch('/api/hand-overs', {method: 'POST', body: JSON.stringify(wanted)}).catch(() => null);
  const link = answer?.ok ? await answer.json().catch(() => null) as {url?: string} | null : null;
  return link?.url ?? addressOf(server);
}
