import '@xterm/xterm/css/xterm.css';
import './theme.css';
import './brand.css';
import './terminal.css';
import {FitAddon} from '@xterm/addon-fit';
import {WebLinksAddon} from '@xterm/addon-web-links';
import {Terminal as Screen} from '@xterm/xterm';

import {type Server, addressOf, workspaceOf} from './protocol.ts';
import {split} from './split.ts';
import {TerminalSession} from './terminal_session.ts';
import {palette} from './terminal_palette.ts';
import {WorkspaceWatch} from './workspace_watch.ts';
import {type View, explanation, sentence} from './workspace_state.ts';

const find = <E extends HTMLElement>(id: string) => document.getElementById(id) as E;

const workspace = workspaceOf(location.pathname);
if (!workspace) throw new Error('This address names no workspace.');
const name = `${workspace.project} / ${workspace.user}`;
find('workspace').textContent = name;
document.title = `${name} · previewd`;

// The terminal

const dark = matchMedia('(prefers-color-scheme: dark)');
const screen = new Screen({
  allowProposedApi: false,
  cursorBlink: !matchMedia('(prefers-reduced-motion: reduce)').matches,
  fontFamily: 'ui-monospace, "SF Mono", "Cascadia Mono", "DejaVu Sans Mono", Menlo, Consolas, monospace',
  fontSize: 13,
  lineHeight: 1.15,
  minimumContrastRatio: 4.5,
  scrollback: 10_000,
  theme: palette(dark.matches),
});
dark.addEventListener('change', () => (screen.options.theme = palette(dark.matches)));
const fit = new FitAddon();
screen.loadAddon(fit);
screen.loadAddon(new WebLinksAddon((event, uri) => {
  event.preventDefault();
  window.open(reachable(uri), '_blank', 'noopener');
}));
screen.open(find('terminal'));
screen.textarea?.setAttribute('aria-label', `Terminal of ${name}`);

/** A server's own idea of its address is of use only on its machine: of a known one, the preview's address. */
function reachable(uri: string): string {
  try {
    const {hostname, port, pathname, search, hash} = new URL(uri);
    if (!['localhost', '127.0.0.1', '[::1]', '0.0.0.0', '[::]'].includes(hostname)) return uri;
    const {server, others} = watch.view;
    const match = [server, ...others].find((each) => each !== null && each.port === Number(port));
    return match ? new URL(`.${pathname}${search}${hash}`, new URL(addressOf(match), location.href)).href : uri;
  } catch {
    return uri;
  }
}

screen.attachCustomKeyEventHandler((key) => {
  if (key.type !== 'keydown' || !key.ctrlKey || !key.shiftKey || key.altKey || key.metaKey) return true;
  if (key.key === 'ArrowUp') {
    // Tab belongs to the shell, so this is the way out for who has no mouse.
    key.preventDefault();
    find('close-terminal').focus();
    return false;
  }
  if (key.code === 'KeyC' && screen.hasSelection()) {
    key.preventDefault();
    void navigator.clipboard?.writeText(screen.getSelection());
    return false;
  }
  return key.code !== 'KeyV';  // the browser pastes
});

const ended = find('terminal-ended');
const closeButton = find<HTMLButtonElement>('close-terminal');
const newButton = find<HTMLButtonElement>('new-terminal');

function refit(): void {
  if (find('terminal').clientWidth > 0) fit.fit();
}
new ResizeObserver(() => requestAnimationFrame(refit)).observe(find('terminal'));
refit();

// The workspace

const linkTexts = {connecting: 'Connecting', connected: 'Connected', lost: 'Reconnecting'} as const;
const watch = new WorkspaceWatch(workspace, {
  changed: render,
  link(link) {
    const pill = find('link');
    pill.dataset['link'] = link;
    pill.textContent = linkTexts[link];
    screen.options.disableStdin = link !== 'connected';
  },
  joined: ({terminals}) => {
    if (ended.hidden) void session.begin(terminals);
  },
});
const session = new TerminalSession(watch, workspace, screen, {
  attached() {
    ended.hidden = true;
    closeButton.disabled = false;
    screen.focus();
  },
  ended(text) {
    find('terminal-ended-text').textContent = text;
    ended.hidden = false;
    closeButton.disabled = true;
    if (document.activeElement === document.body || find('terminal').contains(document.activeElement)) newButton.focus();
  },
});
newButton.addEventListener('click', () => void session.open());

const dialog = find<HTMLDialogElement>('confirm-close');
closeButton.addEventListener('click', () => {
  dialog.returnValue = '';
  dialog.showModal();
});
dialog.addEventListener('close', () => {
  if (dialog.returnValue === 'close') void session.close();
  else screen.focus();
});

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

split(find('split'), find('divider'), refit);
for (const what of ['terminal', 'preview'] as const) {
  find(`show-${what}`).addEventListener('click', () => {
    document.body.dataset['show'] = what;
    for (const each of ['terminal', 'preview']) find(`show-${each}`).setAttribute('aria-pressed', String(each === what));
    if (what === 'terminal') screen.focus();
  });
}
