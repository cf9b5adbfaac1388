import '@xterm/xterm/css/xterm.css';
import './theme.css';
import './brand.css';
import './bar.css';
import './terminal.css';

import {type Server, addressOf, workspaceOf} from './protocol.ts';
import {split} from './split.ts';
import {TerminalSearch} from './terminal_search.ts';
import {TerminalTabs} from './terminal_tabs.ts';
import {WorkspaceWatch} from './workspace_watch.ts';
import {type View, explanation, sentence} from './workspace_state.ts';

const find = <E extends HTMLElement>(id: string) => document.getElementById(id) as E;

const workspace = workspaceOf(location.pathname);
if (!workspace) throw new Error('This address names no workspace.');
const name = `${workspace.project} / ${workspace.user}`;
find('workspace').textContent = name;
document.title = `${name} · previewd`;

// The terminals

const search = new TerminalSearch(find<HTMLFormElement>('search'), find<HTMLButtonElement>('search-toggle'));

/** A server's own idea of its address is of use only on its machine: of a known one, the preview's address. */
function reachable(uri: string): string {
  try {
    const {hostname, port, pathname, search: query, hash} = new URL(uri);
    if (!['localhost', '127.0.0.1', '[::1]', '0.0.0.0', '[::]'].includes(hostname)) return uri;
    const {server, others} = watch.view;
    const match = [server, ...others].find((each) => each !== null && each.port === Number(port));
    return match ? new URL(`.${pathname}${query}${hash}`, new URL(addressOf(match), location.href)).href : uri;
  } catch {
    return uri;
  }
}

const linkTexts = {connecting: 'Connecting', connected: 'Live', lost: 'Reconnecting'} as const;
const watch = new WorkspaceWatch(workspace, {
  changed: render,
  link(link) {
    const pill = find('link');
    pill.dataset['link'] = link;
    pill.textContent = linkTexts[link];
    if (link === 'lost') tabs.lost();
  },
  joined: ({terminals}) => tabs.joined(terminals),
});
const tabs = new TerminalTabs(watch, workspace, {
  pane: find('terminal-pane'),
  list: find('tabs'),
  panels: find('terminals'),
  empty: find('no-terminal'),
  openers: [find('new-terminal'), find('first-terminal')],
  restart: find<HTMLButtonElement>('restart-terminal'),
  close: find<HTMLButtonElement>('close-terminal'),
  dialog: find<HTMLDialogElement>('confirm'),
}, {
  follow: (uri) => void window.open(reachable(uri), '_blank', 'noopener'),
  selected: (tab) => search.target(tab),
  find: () => search.open(),
});
watch.socket.on('previewServerStarted', (server: Server) => void tabs.started(server));

// The preview

const preview = find<HTMLIFrameElement>('preview');
preview.src = `/preview/${encodeURIComponent(workspace.project)}/${encodeURIComponent(workspace.user)}/iframe`;
find('reload').addEventListener('click', () => preview.contentWindow?.location.reload());

const phaseTexts: Record<View['phase'], string> = {
  unknown: 'Looking', waiting: 'Waiting', starting: 'Starting', ready: 'Running', restarting: 'Restarting',
  suspended: 'Suspended', unreachable: 'Not answering', stopped: 'Stopped',
};

function render(view: View): void {
  find('phase').dataset['phase'] = view.phase;
  const text = phaseTexts[view.phase];
  if (find('phase-text').textContent !== text) find('phase-text').textContent = text;
  find('phase').title = [sentence(view), explanation(view)].filter(Boolean).join('. ');

  const address = find<HTMLAnchorElement>('address');
  address.hidden = view.server === null;
  if (view.server) showAddress(address, view.server, (url) => url.host + url.pathname.replace(/\/$/, ''));
  find<HTMLButtonElement>('reload').disabled = view.server === null;

  const others = find('others');
  others.hidden = view.others.length === 0;
  others.replaceChildren(...view.others.map((server) => {
    const link = document.createElement('a');
    link.target = '_blank';
    link.rel = 'noopener';
    showAddress(link, server, () => `:${server.port}`);
    return link;
  }));
}

function showAddress(link: HTMLAnchorElement, server: Server, words: (url: URL) => string): void {
  const url = new URL(addressOf(server), location.href);
  link.href = url.href;
  link.textContent = words(url);
  link.title = `${server.type} on port ${server.port}, opens in a new tab`;
}

// Large and small screens

split(find('split'), find('divider'), () => tabs.refit());
for (const what of ['terminal', 'preview'] as const) {
  find(`show-${what}`).addEventListener('click', () => {
    document.body.dataset['show'] = what;
    for (const each of ['terminal', 'preview']) find(`show-${each}`).setAttribute('aria-pressed', String(each === what));
    if (what === 'terminal') tabs.current?.focus();
  });
}
