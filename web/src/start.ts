import './theme.css';
import './brand.css';
import './start.css';
import {type Server, type Terminal, type Workspace, validName} from './protocol.ts';

const form = document.getElementById('open') as HTMLFormElement;
const error = document.getElementById('open-error')!;
const inputs = ['project', 'user'].map((name) => document.getElementById(name) as HTMLInputElement);

function terminalPage({project, user}: Workspace): string {
  return `/terminal/${encodeURIComponent(project)}/${encodeURIComponent(user)}`;
}

form.addEventListener('submit', (event) => {
  event.preventDefault();
  for (const input of inputs) input.removeAttribute('aria-invalid');
  const wrong = inputs.find((input) => !validName(input.value.trim()));
  if (wrong) {
    const name = wrong.name === 'project' ? 'project' : 'user';
    error.textContent = wrong.value.trim() === ''
      ? `Please name a ${name}.`
      : `“${wrong.value.trim()}” cannot be the name of a ${name}.`;
    wrong.setAttribute('aria-invalid', 'true');
    wrong.focus();
    return;
  }
  error.textContent = '';
  const [project = '', user = ''] = inputs.map((input) => input.value.trim());
  location.assign(terminalPage({project, user}));
});

async function list<T>(url: string, field: string): Promise<T[]> {
  const answer = await fetch(url, {cache: 'no-store'});
  return answer.ok ? (((await answer.json()) as Record<string, T[]>)[field] ?? []) : [];
}

/** Lists the workspaces that have a terminal or a server. Without an answer the page is complete all the same. */
async function showRunning(): Promise<void> {
  const [servers, terminals] = await Promise.all([
    list<Server>('/api/servers', 'servers').catch(() => []),
    list<Terminal>('/api/terminals', 'terminals').catch(() => []),
  ]);
  const found = new Map<string, {workspace: Workspace; ports: number[]; terminals: number}>();
  const entry = ({project, user}: Workspace) => {
    const key = `${project}/${user}`;
    const known = found.get(key) ?? {workspace: {project, user}, ports: [], terminals: 0};
    found.set(key, known);
    return known;
  };
  for (const server of servers) entry(server).ports.push(server.port);
  for (const terminal of terminals) if (terminal.state === 'running') ++entry(terminal).terminals;

  const rows = [...found.values()].map(({workspace, ports, terminals: count}) => {
    const row = document.createElement('li');
    const link = document.createElement('a');
    link.href = terminalPage(workspace);
    link.textContent = `${workspace.project} / ${workspace.user}`;
    const detail = document.createElement('span');
    detail.textContent = [
      count === 1 ? '1 terminal' : `${count} terminals`,
      ports.length ? `port ${ports.sort((a, b) => a - b).join(', ')}` : '',
    ].filter(Boolean).join(' · ');
    row.append(link, detail);
    return row;
  });
  document.getElementById('workspaces')!.replaceChildren(...rows);
  document.getElementById('running')!.hidden = rows.length === 0;
}

void showRunning();
document.addEventListener('visibilitychange', () => {
  if (document.visibilityState === 'visible') void showRunning();
});
inputs[0]!.focus();
