import './theme.css';
import './brand.css';
import './bar.css';
import './dashboard.css';
import {type Server, type ServerState, type Terminal, type Workspace, addressOf} from './protocol.ts';
import type {ServiceState, WorkspaceEntry} from './service_state.ts';
import {ServiceWatch} from './service_watch.ts';

const find = <E extends HTMLElement>(id: string) => document.getElementById(id) as E;

const stateTexts: Record<ServerState, string> = {
  starting: 'Starting', ready: 'Running', restarting: 'Restarting', suspended: 'Suspended', unreachable: 'Not answering',
};
const linkTexts = {connecting: 'Connecting', connected: 'Live', lost: 'Reconnecting'} as const;

let state: ServiceState | null = null;
const watch = new ServiceWatch({
  changed(now) {
    state = now;
    render();
  },
  link(link) {
    find('link').dataset['link'] = link;
    find('link').textContent = linkTexts[link];
  },
});

const filter = find<HTMLInputElement>('filter');
filter.addEventListener('input', render);

/** Brings the page to what is known. What stays keeps its elements, and with them the focus. */
function render(): void {
  if (!state) return;
  const all = state.workspaces;
  const wanted = filter.value.trim().toLowerCase();
  const shown = all.filter(({workspace}) => nameOf(workspace).toLowerCase().includes(wanted));
  reconcile(find('workspaces'), shown.map((entry) => ({
    key: nameOf(entry.workspace),
    make: () => workspaceCard(entry.workspace),
    show: (card) => showWorkspace(card, entry),
  })));
  const servers = all.reduce((sum, each) => sum + each.servers.length, 0);
  const terminals = all.reduce((sum, each) => sum + each.terminals.length, 0);
  find('totals').textContent = `${count(servers, 'server')} · ${count(terminals, 'terminal')}`;
  find('nothing').hidden = shown.length > 0;
  find('nothing').textContent = all.length === 0
    ? 'Nothing runs. A workspace appears here when it has a terminal or a server.' : 'No workspace has such a name.';
}

function workspaceCard(workspace: Workspace): HTMLElement {
  const card = element('section', 'workspace');
  const heading = element('h2');
  heading.id = `workspace-${encodeURIComponent(nameOf(workspace))}`;
  heading.textContent = nameOf(workspace);
  card.setAttribute('aria-labelledby', heading.id);
  const open = link(terminalPage(workspace), 'Open terminals');
  open.setAttribute('aria-label', `Open the terminals of ${nameOf(workspace)}`);
  const head = element('div', 'workspace-head');
  head.append(heading, open);
  const servers = element('ul', 'rows');
  servers.setAttribute('aria-label', 'Servers');
  const terminals = element('ul', 'rows');
  terminals.setAttribute('aria-label', 'Terminals');
  card.append(head, servers, terminals);
  return card;
}

function showWorkspace(card: HTMLElement, {servers, terminals}: WorkspaceEntry): void {
  const [serverList, terminalList] = card.querySelectorAll<HTMLElement>('.rows');
  serverList!.hidden = servers.length === 0;
  terminalList!.hidden = terminals.length === 0;
  reconcile(serverList!, servers.map((server) => ({
    key: String(server.generation), make: () => serverRow(server), show: (row) => showServer(row, server),
  })));
  reconcile(terminalList!, terminals.map((terminal) => ({
    key: terminal.id, make: () => terminalRow(terminal), show: (row) => showTerminal(row, terminal),
  })));
}

function serverRow(server: Server): HTMLElement {
  const row = element('li', 'row');
  const preview = link('', 'Open preview');
  preview.dataset['part'] = 'preview';
  preview.target = '_blank';
  preview.rel = 'noopener';
  row.append(part('state'), part('what'), part('detail'), element('span', 'spacer'), preview,
    button('Stop', `Stop the server on port ${server.port}`, () => void stop(server)));
  return row;
}

function showServer(row: HTMLElement, server: Server): void {
  row.dataset['state'] = server.state;
  write(row, 'state', stateTexts[server.state]);
  write(row, 'what', `${server.type} on port ${server.port}`);
  write(row, 'detail', [server.primary ? 'primary' : '', `since ${clock(server.startedAt)}`].filter(Boolean).join(' · '));
  const preview = row.querySelector<HTMLAnchorElement>('[data-part=preview]')!;
  preview.href = addressOf(server);
  preview.setAttribute('aria-label', `Open the preview of port ${server.port} in a new tab`);
}

function terminalRow(terminal: Terminal): HTMLElement {
  const row = element('li', 'row');
  row.dataset['state'] = 'terminal';
  const open = link(`${terminalPage(terminal)}#${encodeURIComponent(terminal.id)}`, 'Open terminal');
  row.append(part('state'), part('what'), part('detail'), element('span', 'spacer'), open,
    button('Close', 'Close this terminal', () => void close(terminal)));
  write(row, 'state', 'Terminal');
  return row;
}

function showTerminal(row: HTMLElement, terminal: Terminal): void {
  write(row, 'what', terminal.foreground || terminal.command);
  write(row, 'detail', [`${terminal.cols} × ${terminal.rows}`, terminal.cwd, `since ${clock(terminal.createdAt)}`,
    terminal.attached ? `${count(terminal.attached, 'viewer')}` : 'nobody looks'].filter(Boolean).join(' · '));
}

// What the buttons do

async function stop(server: Server): Promise<void> {
  const name = `${server.type} on port ${server.port}`;
  if (!(await confirmed(`Stop previewing ${name}?`,
    'Its address stops working at once. The process itself goes on: it is not shown again until it listens anew.', 'Stop server'))) return;
  await remove(`/api/servers/${server.generation}`, `${name} could not be stopped.`);
}

async function close(terminal: Terminal): Promise<void> {
  if (!(await confirmed('Close this terminal?', 'Everything that runs in it ends, a dev server too.', 'Close terminal'))) return;
  await remove(`/api/terminals/${encodeURIComponent(terminal.id)}`, 'The terminal could not be closed.');
  await watch.lookAtTerminals();
}

/** DELETE. That it was gone already is as good. */
async function remove(url: string, sentence: string): Promise<void> {
  let why = '';
  try {
    const answer = await fetch(url, {method: 'DELETE'});
    if (!answer.ok && answer.status !== 404 && answer.status !== 410) {
      why = ((await answer.json().catch(() => ({}))) as {detail?: string}).detail ?? `The service answered ${answer.status}.`;
    }
  } catch {
    why = 'previewd did not answer. Is it still running?';
  }
  find('failure').hidden = why === '';
  find('failure').textContent = why === '' ? '' : `${sentence} ${why}`;
}

function confirmed(title: string, text: string, verb: string): Promise<boolean> {
  const dialog = find<HTMLDialogElement>('confirm');
  find('confirm-title').textContent = title;
  find('confirm-text').textContent = text;
  find('confirm-do').textContent = verb;
  dialog.returnValue = '';
  dialog.showModal();
  return new Promise((answered) => {
    dialog.addEventListener('close', () => answered(dialog.returnValue === 'yes'), {once: true});
  });
}

// Pieces

interface Piece {
  key: string;
  make(): HTMLElement;
  show(made: HTMLElement): void;
}

/** Makes the children of a place these pieces in this order; a piece that was there keeps its element. */
function reconcile(place: HTMLElement, pieces: Piece[]): void {
  const there = new Map([...place.children].map((child) => [(child as HTMLElement).dataset['key'], child as HTMLElement]));
  const wanted = new Set(pieces.map((each) => each.key));
  for (const [key, child] of there) if (!wanted.has(key!)) child.remove();
  let at = place.firstElementChild;
  for (const piece of pieces) {
    const known = there.get(piece.key);
    const child = known ?? piece.make();
    child.dataset['key'] = piece.key;
    if (child === at) at = at.nextElementSibling;
    else place.insertBefore(child, at);
    piece.show(child);
  }
}

function write(row: HTMLElement, name: string, text: string): void {
  const place = row.querySelector(`[data-part=${name}]`)!;
  if (place.textContent !== text) place.textContent = text;
}

function part(name: string): HTMLElement {
  const made = element('span', name);
  made.dataset['part'] = name;
  return made;
}

function link(href: string, text: string): HTMLAnchorElement {
  const made = element('a');
  made.href = href;
  made.textContent = text;
  return made;
}

function button(text: string, name: string, used: () => void): HTMLButtonElement {
  const made = element('button');
  made.type = 'button';
  made.textContent = text;
  made.setAttribute('aria-label', name);
  made.addEventListener('click', used);
  return made;
}

function element<Name extends keyof HTMLElementTagNameMap>(name: Name, className = ''): HTMLElementTagNameMap[Name] {
  const made = document.createElement(name);
  if (className) made.className = className;
  return made;
}

function nameOf({project, user}: Workspace): string {
  return `${project} / ${user}`;
}

function terminalPage({project, user}: Workspace): string {
  return `/terminal/${encodeURIComponent(project)}/${encodeURIComponent(user)}`;
}

function count(number: number, what: string): string {
  return `${number} ${what}${number === 1 ? '' : 's'}`;
}

function clock(at: string): string {
  const time = new Date(at);
  const today = time.toDateString() === new Date().toDateString();
  return time.toLocaleString([], today ? {hour: '2-digit', minute: '2-digit'} : {dateStyle: 'short', timeStyle: 'short'});
}
