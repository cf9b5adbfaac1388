import './iframe.css';
import {LoadingScreen} from './loading_screen.ts';
import {type ServerEvent, addressOf, entranceOf, isHandedOver, workspaceOf} from './protocol.ts';
import {WorkspaceWatch} from './workspace_watch.ts';
import {type View, explanation, sentence} from './workspace_state.ts';

const stage = document.getElementById('stage')!;
const notice = document.getElementById('notice')!;
const restartDelay = 200;     // ms for which a restart goes unseen
const patience = 4_000;       // ms after which an app that is still loading is shown as far as it is

const workspace = workspaceOf(location.pathname);
if (!workspace) throw new Error('This address names no workspace.');
// A further server of the workspace has the same page with its port behind it.
const asked = Number(new URLSearchParams(location.search).get('port'));
const port = Number.isInteger(asked) && asked > 0 ? asked : null;
const screen = new LoadingScreen(document.getElementById('screen')!, `${workspace.project} / ${workspace.user}`);
document.title = `${workspace.project} / ${workspace.user} · Preview`;

/**
 * The app in its frame, and the generation it was loaded from. In `doubt` is one that was loaded while there was no connection:
 * what the frame shows may be the browser's own error, and nobody but the reader could tell.
 */
let app: {frame: HTMLIFrameElement; generation: number; loaded: boolean; shown: boolean; doubt: boolean} | null = null;

function load(view: View): void {
  const server = view.server!;
  app?.frame.remove();
  const frame = document.createElement('iframe');
  frame.title = `Preview of ${server.project}`;
  frame.allow = 'clipboard-read; clipboard-write; fullscreen; autoplay; camera; microphone; geolocation';
  frame.className = 'app';
  const mine = {frame, generation: server.generation, loaded: false, shown: false, doubt: false};
  app = mine;
  const reveal = () => {
    if (app !== mine || mine.shown || mine.doubt) return;
    mine.shown = true;
    frame.classList.add('shown');
    if (watch.view.phase === 'ready') screen.hide();
  };
  frame.addEventListener('load', () => {
    mine.loaded = true;
    reveal();
  });
  setTimeout(reveal, patience);
  screen.show(view);
  const enter = (address: string) => {
    if (app !== mine) return;
    frame.src = address;
    stage.append(frame);
  };
  if (isHandedOver()) void entranceOf(server).then(enter);
  else enter(addressOf(server));
}

function unload(): void {
  app?.frame.remove();
  app = null;
}

function say(text: string): void {
  if (notice.textContent !== text) notice.textContent = text;
}

function render(view: View): void {
  let banner = '';
  switch (view.phase) {
    case 'ready':
      if (app === null || app.doubt || app.generation !== view.server!.generation) load(view);
      else if (app.shown) screen.hide();
      break;
    case 'unreachable':
      // What was loaded is worth more than a screen that says less.
      if (app?.shown) {
        screen.hide();
        banner = `${sentence(view)}. ${explanation(view)}`;
      } else {
        screen.show(view);
      }
      break;
    case 'restarting':
      screen.show(view, restartDelay);
      break;
    case 'suspended':
      screen.show(view);
      break;
    default:
      unload();
      screen.show(view);
  }
  say(banner);
}

const eventNames: Partial<Record<ServerEvent, string>> = {
  previewServerStarted: 'started',
  previewServerPrimary: 'started',
  previewServerStopped: 'stopped',
  previewServerRecovered: 'recovered',
};
let told = '';

/** Tells whoever frames this page what the preview has become. Nothing is told twice. */
function tell(view: View, cause: ServerEvent | null): void {
  let event = cause ? eventNames[cause] : undefined;
  if (view.phase === 'restarting') event = 'restarting';
  else if (view.phase === 'suspended' || view.phase === 'unreachable') event = 'unreachable';
  else if (view.phase === 'ready') event = event === 'recovered' ? 'recovered' : 'started';
  else if (view.phase === 'stopped') event = 'stopped';
  else return;
  const generation = view.server?.generation ?? view.lastStop?.generation ?? null;
  const key = `${view.phase} ${generation}`;
  if (key === told || window.parent === window) return;
  told = key;
  window.parent.postMessage({
    source: 'previewd',
    event,
    project: workspace!.project,
    user: workspace!.user,
    generation,
    port: view.server?.port ?? view.lastStop?.port ?? null,
    url: view.server?.url ?? null,
    address: view.server ? new URL(addressOf(view.server), location.href).href : null,
    message: sentence(view),
    hint: view.hint || null,
    reason: view.phase === 'stopped' ? (view.lastStop?.reason ?? null) : view.phase,
  }, '*');
}

const watch = new WorkspaceWatch(workspace, {
  changed(view, cause) {
    render(view);
    tell(view, cause);
  },
  link(link) {
    if (link === 'lost' && app && !app.loaded) app.doubt = true;
  },
}, port);
screen.show(watch.view, 100);
