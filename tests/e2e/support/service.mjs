// A real service for one test: started on a free port with a home of its own, and ended with all that it started.
import {spawn} from 'node:child_process';
import {once} from 'node:events';
import {mkdir, mkdtemp, readFile, readdir, rm} from 'node:fs/promises';
import {homedir, tmpdir} from 'node:os';
import {dirname, join, resolve} from 'node:path';
import {createInterface} from 'node:readline';
import {fileURLToPath} from 'node:url';

import {io} from 'socket.io-client';

const root = resolve(dirname(fileURLToPath(import.meta.url)), '../../..');
const program = process.env.PREVIEWD_BIN ?? join(root, 'build/dev/service/previewd');

/** Where screenshots and logs are kept. */
export const artifacts = process.env.PREVIEWD_ARTIFACTS ?? join(root, 'build/artifacts');

/** Milliseconds since 1970 with their fraction: comparable between processes of this machine. */
export const now = () => performance.timeOrigin + performance.now();

/** Rejects when `what` has not happened within `ms`. */
export async function within(ms, what, promise) {
  let timer;
  const deadline = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`${what}: not within ${ms} ms`)), ms);
  });
  try {
    return await Promise.race([promise, deadline]);
  } finally {
    clearTimeout(timer);
  }
}

/** Does all of `steps` in order, whatever fails among them; fails with `error`, else with the first failure. */
export async function cleanUp(steps, error) {
  const failures = error === undefined ? [] : [error];
  for (const step of steps) {
    try {
      await step();
    } catch (failure) {
      failures.push(failure);
    }
  }
  for (const later of failures.slice(1)) console.log(`  and then: ${later.message}`);
  if (failures.length > 0) throw failures[0];
}

/** The processes whose home is `home`: what was started by a service that is gone. */
async function survivors(home) {
  const found = [];
  for (const pid of (await readdir('/proc')).filter((name) => /^\d+$/.test(name) && Number(name) !== process.pid)) {
    try {
      const environment = await readFile(`/proc/${pid}/environ`, 'latin1');
      if (!environment.split('\0').includes(`HOME=${home}`)) continue;
      const command = (await readFile(`/proc/${pid}/cmdline`, 'latin1')).replaceAll('\0', ' ').trim();
      if (command !== '') found.push({pid: Number(pid), command});  // a zombie has none
    } catch {
      // gone meanwhile, or not ours to look at
    }
  }
  return found;
}

/** What the service holds, name by name: `GET /debug/state` without what an allocator likes to keep. */
export async function stateOf(port) {
  const answer = await fetch(`http://127.0.0.1:${port}/debug/state`, {headers: {connection: 'close'}});
  if (!answer.ok) throw new Error(`debug/state: ${answer.status} ${await answer.text()}`);
  const found = {};
  const flatten = (prefix, value) => {
    for (const [name, each] of Object.entries(value)) {
      if (typeof each === 'object') flatten(`${prefix}${name}.`, each);
      else found[prefix + name] = each;
    }
  };
  const {residentBytes, ...state} = await answer.json();
  flatten('', state);
  return found;
}

/** The state once it no longer changes from one look to the next, and the store has been told of everything. */
async function settledState(port) {
  let state = await stateOf(port);
  for (let same = 0; same < 3;) {
    await new Promise((done) => setTimeout(done, 50));
    const next = await stateOf(port);
    const quiet = next['underWay.stores'] === 0 && Object.keys(next).every((name) => next[name] === state[name]);
    same = quiet ? same + 1 : 0;
    state = next;
  }
  return state;
}

/** Closes all terminals, and fails if the service does not come to hold again what it held at its start. */
async function checkNothingIsLeft(port, start) {
  const base = `http://127.0.0.1:${port}/api/terminals`;
  const {terminals} = await (await fetch(base)).json();
  for (const {id} of terminals) await fetch(`${base}/${id}`, {method: 'DELETE'});
  // A client that went without a word is noticed when it does not answer a ping.
  const deadline = now() + 60_000;
  for (;;) {
    const state = await stateOf(port);
    const different = Object.keys(start).filter((name) => state[name] !== start[name]);
    if (different.length === 0) return;
    if (now() > deadline) {
      throw new Error(`Left in previewd: ${different.map((name) => `${name} ${start[name]} -> ${state[name]}`).join(', ')}`);
    }
    await new Promise((done) => setTimeout(done, 200));
  }
}

/** Starts the service. `stop()` ends it, and fails if it does not end in order or holds what it did not hold at its start. */
export async function startService(settings = []) {
  const home = await mkdtemp(join(tmpdir(), 'previewd-e2e-'));
  const work = join(home, 'work');
  await mkdir(work);
  const environment = {
    ...process.env,
    HOME: home,
    XDG_STATE_HOME: join(home, 'state'),
    XDG_CONFIG_HOME: join(home, 'config'),
    SHELL: '/bin/bash',
    // The packages may come from what this machine has already; which ones are taken is the registry's word.
    npm_config_cache: process.env.npm_config_cache ?? join(homedir(), '.npm'),
    npm_config_update_notifier: 'false',
    npm_config_fund: 'false',
    npm_config_audit: 'false',
    BROWSER: 'none',
  };
  for (const name of Object.keys(environment)) {
    // What belongs to the test's own runner is no business of the programs in the terminal.
    if (/^(?:NODE_|PREVIEWD_|npm_(?:lifecycle|package)_|CI$|INIT_CWD$)/.test(name)) delete environment[name];
  }
  const child = spawn(program, ['--listen', '127.0.0.1:0', '--log.format', 'json', ...settings], {
    cwd: work, env: environment, stdio: ['ignore', 'pipe', 'pipe'],
  });
  const log = [];
  createInterface({input: child.stderr}).on('line', (line) => log.push(line));
  const exited = once(child, 'exit');
  const lines = createInterface({input: child.stdout});
  const started = new Promise((done, failed) => {
    lines.on('line', (line) => {
      const match = /^previewd listening on http:\/\/127\.0\.0\.1:(\d+)/.exec(line);
      if (match) done(Number(match[1]));
    });
    child.on('error', failed);
    child.on('exit', (code, signal) => failed(new Error(`previewd ended (${code ?? signal}) at start:\n${log.join('\n')}`)));
  });
  let port;
  let start;
  try {
    port = await within(20_000, 'previewd listening', started);
    start = await within(20_000, 'its state', settledState(port));
  } catch (error) {
    child.kill('SIGKILL');
    await rm(home, {recursive: true, force: true});
    throw error;
  }

  return {
    port, home, work, log, pid: child.pid,
    url: `http://localhost:${port}`,
    async stop() {
      try {
        if (child.exitCode !== null || child.signalCode !== null) {
          throw new Error(`previewd was gone already (${child.exitCode ?? child.signalCode}):\n${log.slice(-20).join('\n')}`);
        }
        let leak;
        await checkNothingIsLeft(port, start).catch((error) => (leak = error));
        child.kill('SIGTERM');
        const [code, signal] = await within(15_000, 'the end of previewd', exited);
        if (code !== 0) throw new Error(`previewd ended with ${code ?? signal}:\n${log.slice(-20).join('\n')}`);
        const left = await survivors(home);
        if (leak) throw leak;
        if (left.length > 0) throw new Error(`Left behind by previewd: ${left.map((each) => each.command).join(', ')}`);
      } finally {
        child.kill('SIGKILL');
        for (const {pid} of await survivors(home)) process.kill(pid, 'SIGKILL');
        await rm(home, {recursive: true, force: true, maxRetries: 5});
      }
    },
  };
}

/** The answer of preview-status. */
export async function previewStatus(service, {project, user}, query = '') {
  const answer = await fetch(`http://127.0.0.1:${service.port}/api/preview-status/${project}/${user}${query}`);
  if (!answer.ok) throw new Error(`preview-status: ${answer.status} ${await answer.text()}`);
  return answer.json();
}

/** A front end of its own: joins a workspace's project and remembers its events, each with the time at which it came. */
export async function watchEvents(service, {project, user}) {
  const socket = io(`http://127.0.0.1:${service.port}`, {path: '/socket.io/', transports: ['websocket']});
  const events = [];
  const waiting = new Set();
  socket.onAny((name, payload) => {
    const event = {name, payload, at: now()};
    events.push(event);
    for (const each of waiting) each(event);
  });
  await within(10_000, 'a Socket.IO connection', new Promise((done) => socket.once('connect', done)));
  const ask = async (name, payload) => {
    const answer = await socket.timeout(10_000).emitWithAck(name, payload);
    if (!answer.ok) throw new Error(`${name}: ${answer.error?.code} ${answer.error?.detail}`);
    return answer;
  };
  await ask('joinProject', {projectId: project, userId: user});
  return {
    socket, events, ask,
    /** The first event of that name from index `from` of `events` on, come already or still to come. */
    event(name, ms, from = 0) {
      const matches = (event) => event.name === name && event.payload?.user === user;
      const there = events.slice(from).find(matches);
      if (there) return Promise.resolve(there);
      let listener;
      const coming = new Promise((done) => {
        listener = (event) => matches(event) && done(event);
        waiting.add(listener);
      });
      return within(ms, name, coming).finally(() => waiting.delete(listener));
    },
    close: () => socket.disconnect(),
  };
}

/** Resolves with the time at which a process that lives now will have died. */
export async function watchDeath(pid) {
  const script = `import os, select, sys, time
fd = os.pidfd_open(${pid})
print("watching", flush=True)
poll = select.poll()
poll.register(fd, select.POLLIN)
poll.poll()
print(time.time_ns() / 1e6, flush=True)`;
  const child = spawn('python3', ['-c', script], {stdio: ['ignore', 'pipe', 'inherit']});
  const lines = createInterface({input: child.stdout})[Symbol.asyncIterator]();
  const {value} = await within(5_000, `a pidfd of ${pid}`, lines.next());
  if (value !== 'watching') throw new Error(`There is no process ${pid}`);
  return {
    died: lines.next().then(({value: at}) => Number(at)),
    cancel: () => child.kill('SIGKILL'),
  };
}

/** Problems and repetitions in a log: lines above warning, and sentences that come more than `often` times. */
export function complaints(log, often = 3) {
  const found = [];
  const counts = new Map();
  for (const line of log) {
    let entry;
    try {
      entry = JSON.parse(line);
    } catch {
      found.push(`not JSON: ${line}`);
      continue;
    }
    const level = String(entry.level ?? '');
    if (/^(?:err|crit|fatal)/.test(level)) found.push(line);
    if (level !== 'info' && level !== 'debug') {
      const key = `${level} ${entry.event}`;
      counts.set(key, (counts.get(key) ?? 0) + 1);
    }
  }
  for (const [key, count] of counts) if (count > often) found.push(`${count} times: ${key}`);
  return found;
}
