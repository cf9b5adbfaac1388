// Served with 503 in place of a preview that is down, on the preview's own address. Asks until there is something, then loads
// that address anew.
import {LoadingScreen} from './loading_screen.ts';
import type {PreviewStatus} from './protocol.ts';
import {WorkspaceState} from './workspace_state.ts';

const {project = '', user = '', port = '', status = ''} = document.documentElement.dataset;
const workspace = {project, user};
const further = Number(port) || null;  // the port of a further server, at whose address the status is of that one
const state = new WorkspaceState(workspace, further);
const screen = new LoadingScreen(document.getElementById('screen')!, `${project} / ${user}`);
const retryPause = 1_000;  // ms after an answer that brought nothing, or none

/** How long to wait with the next reload: one that leads here again and again may not become a storm. */
function reloadPause(): number {
  const key = 'previewd.reloads';
  try {
    const recent = (JSON.parse(sessionStorage.getItem(key) ?? '[]') as number[]).filter((at) => Date.now() - at < 20_000);
    sessionStorage.setItem(key, JSON.stringify([...recent, Date.now()].slice(-10)));
    return Math.min(250 * 2 ** recent.length - 250, 8_000);
  } catch {
    return retryPause;  // storage may be forbidden in a frame
  }
}

/** A GET of this very address, whatever method brought us here. */
function loadAnew(): void {
  if (location.hash) location.reload();
  else location.replace(location.href);
}

async function watch(): Promise<void> {
  for (let first = true; ; first = false) {
    const asked = Date.now();
    try {
      // Only for the primary does the service wait.
      const answer = await fetch(status + (first || further ? '' : '?wait=20s'), {cache: 'no-store'});
      if (answer.ok) {
        const news = (await answer.json()) as PreviewStatus;
        if (news.available) {
          await new Promise((done) => setTimeout(done, reloadPause()));
          loadAnew();
          return;
        }
        state.status(news);
        screen.show(state.view);
        document.title = `${project}: waiting for its dev server`;
      }
    } catch {
      // previewd itself may be restarting: ask again
    }
    if (!first && Date.now() - asked < retryPause) await new Promise((done) => setTimeout(done, retryPause));
  }
}

screen.show(state.view, 100);
void watch();
