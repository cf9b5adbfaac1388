#!/usr/bin/env node
// Runs real dev servers in previewd's terminals and looks at what comes of each: how soon it is found, page, assets, HMR socket, a
// restart of itself, at its own origin and at its path address, and how soon each way to end it is known.
//
//   node run.mjs [--fast] [--install] [--write] [NAME...]
//
// --fast: only those marked so. --install: only the packages. --write: puts the rows into both tables of docs/frameworks.md. Packages go to
// PREVIEWD_FRAMEWORKS_CACHE (~/.cache/previewd/frameworks) and stay there. Fails when a server is not all right at its own origin, and with
// --fast also when a program is missing: `scripts/prepare test` installs what these need. Others are skipped without theirs.
// PREVIEWD_FRAMEWORKS_SHOW=1 prints the terminal and the log of what fails.
import {spawn, spawnSync} from 'node:child_process';
import {randomInt} from 'node:crypto';
import {once} from 'node:events';
import {appendFile, cp, mkdir, mkdtemp, readFile, rm, truncate, writeFile} from 'node:fs/promises';
import {existsSync, rmSync} from 'node:fs';
import http from 'node:http';
import https from 'node:https';
import net from 'node:net';
import {homedir, tmpdir} from 'node:os';
import {dirname, join, resolve} from 'node:path';
import {createInterface} from 'node:readline';
import {setTimeout as pause} from 'node:timers/promises';
import {fileURLToPath} from 'node:url';

import {now, within} from '../e2e/support/service.mjs';
import {servers} from './servers.mjs';

const here = dirname(fileURLToPath(import.meta.url));
const root = resolve(here, '../..');
const program = process.env.PREVIEWD_BIN ?? join(root, 'build/dev/service/previewd');
const cache = process.env.PREVIEWD_FRAMEWORKS_CACHE ?? join(homedir(), '.cache/previewd/frameworks');
const workspace = {project: 'p', user: 'u'};
const pathAddress = '/preview/p/u';

function check(holds, sentence) {
  if (!holds) throw new Error(sentence);
}

/** Waits until `look` gives something true. */
async function until(ms, what, look, every = 50) {
  const deadline = now() + ms;
  let last;
  for (;;) {
    try {
      const found = await look();
      if (found) return found;
    } catch (error) {
      last = error;
    }
    if (now() > deadline) throw new Error(`${what}: not within ${ms} ms${last ? ` (${last.message})` : ''}`);
    await pause(every);
  }
}

/** One request on a connection of its own. Rejects when no whole answer comes. */
function ask({host = '127.0.0.1', port, path, headers = {}, method = 'GET', body, ms = 60_000, by = http}) {
  return new Promise((done, failed) => {
    const request = by.request({host, port, path, method, headers, agent: false, rejectUnauthorized: false}, (answer) => {
      const parts = [];
      answer.on('data', (part) => parts.push(part));
      answer.on('error', failed);
      answer.on('end', () => done({status: answer.statusCode, headers: answer.headers, body: Buffer.concat(parts).toString()}));
    });
    request.setTimeout(ms, () => request.destroy(new Error(`no answer to ${path} in ${ms} ms`)));
    request.on('error', failed);
    request.end(body);
  });
}

/**
 * A port that nobody listens on, on either family, and that the kernel gives to nobody meanwhile: above those of ip(7),
 * ip_local_port_range; not below, where a server may be the preview for its port alone.
 */
async function freePort() {
  for (let tries = 0; tries < 100; ++tries) {
    const port = randomInt(61_000, 65_000);
    const server = net.createServer();
    server.listen({port, host: '::', ipv6Only: false});
    try {
      await once(server, 'listening');
    } catch (error) {
      if (error.code !== 'EADDRINUSE') throw error;
      continue;
    }
    await new Promise((done) => server.close(done));
    return port;
  }
  throw new Error('no port is free');
}

/** The listening sockets of a port, as the kernel has them (proc(5), net/tcp). */
async function listening(port) {
  const wanted = `:${port.toString(16).toUpperCase().padStart(4, '0')}`;
  for (const [file, address] of [['/proc/net/tcp', '127.0.0.1'], ['/proc/net/tcp6', '::1']]) {
    for (const line of (await readFile(file, 'latin1')).split('\n')) {
      const fields = line.trim().split(/\s+/);
      if (fields[3] === '0A' && fields[1].endsWith(wanted)) return address;
    }
  }
  return null;
}

/** The first answer that a client gets which asks the server itself, as soon as it listens. */
async function watchPort(port, by, stopped) {
  let listens = null;
  while (!stopped.aborted) {
    const address = await listening(port);
    if (address) {
      listens ??= now();
      try {
        const answer = await ask({host: address, port, by, path: '/', headers: {host: `localhost:${port}`, accept: 'text/html'}});
        if (answer.status < 500) return {listens, answers: now()};
      } catch {
        // a port check, or not ready yet
      }
    }
    await pause(5);
  }
  return null;
}

/** A WebSocket, as far as it is needed here: the upgrade, and that something comes (RFC 6455, section 4.1). */
function openSocket(port, path, {host, origin, protocol, cookie}) {
  return new Promise((done, failed) => {
    const headers = {host, origin, connection: 'Upgrade', upgrade: 'websocket', 'sec-websocket-version': '13',
      'sec-websocket-key': Buffer.from('previewd frames!').toString('base64')};
    if (protocol) headers['sec-websocket-protocol'] = protocol;
    if (cookie) headers.cookie = cookie;
    const request = http.request({host: '127.0.0.1', port, path, headers, agent: false});
    request.setTimeout(15_000, () => request.destroy(new Error(`no answer to the upgrade at ${path}`)));
    request.on('error', failed);
    request.on('response', (answer) => {
      answer.resume();
      failed(new Error(`the upgrade at ${path} was answered ${answer.statusCode}`));
    });
    request.on('upgrade', (_, socket, head) => {
      let bytes = head.length;
      let said = head.toString('latin1');
      const closed = new Promise((gone) => socket.on('close', () => gone(now())));
      socket.on('error', () => {});
      socket.on('data', (part) => {
        bytes += part.length;
        said = (said + part.toString('latin1')).slice(-4000);
      });
      done({count: () => bytes, said: () => said, closed, open: () => !socket.destroyed, 
        // A close frame (RFC 6455, section 5.5.1): some servers wait for ever for one that goes without.
        end: () => socket.end(Buffer.from([0x88, 0x80, 0, 0, 0, 0])),
        // A masked text frame of fewer than 126 bytes (RFC 6455, section 5.2).
        say: (text) => socket.write(Buffer.concat([Buffer.from([0x81, 0x80 | text.length, 0, 0, 0, 0]), Buffer.from(text)]))});
    });
    request.end();
  });
}

/** previewd, with what it says on its event stream. */
async function startService(settings) {
  const home = await mkdtemp(join(tmpdir(), 'previewd-frameworks-'));
  const environment = {...process.env, HOME: home, XDG_STATE_HOME: home, XDG_CONFIG_HOME: home, SHELL: '/bin/bash',
    npm_config_update_notifier: 'false', ASTRO_TELEMETRY_DISABLED: '1', NEXT_TELEMETRY_DISABLED: '1', NUXT_TELEMETRY_DISABLED: '1'};
  for (const name of Object.keys(environment)) if (/^(?:NODE_|PREVIEWD_|npm_(?:lifecycle|package)_|CI$|INIT_CWD$)/.test(name)) delete environment[name];
  const child = spawn(program, ['--listen', '127.0.0.1:0', ...settings], {env: environment, cwd: home, stdio: ['ignore', 'pipe', 'pipe']});
  const log = [];
  createInterface({input: child.stderr}).on('line', (line) => log.push(line));
  const exited = once(child, 'exit');
  const port = await within(20_000, 'previewd listening', new Promise((done, failed) => {
    createInterface({input: child.stdout}).on('line', (line) => {
      const match = /^previewd listening on http:\/\/127\.0\.0\.1:(\d+)/.exec(line);
      if (match) done(Number(match[1]));
    });
    child.on('error', failed);
    child.on('exit', () => failed(new Error(`previewd ended at its start: ${log.join('\n')}`)));
  }));

  const events = [];
  const stream = http.get({host: '127.0.0.1', port, path: '/api/events?project=p&user=u', agent: false});
  const answer = await within(10_000, 'the event stream', once(stream, 'response').then(([first]) => first));
  let name = '';
  const lines = createInterface({input: answer});
  lines.on('error', () => {});  // the end of the stream, by our own hand
  lines.on('line', (line) => {
    if (line.startsWith('event: ')) name = line.slice(7);
    if (line.startsWith('data: ')) events.push({name, at: now(), data: JSON.parse(line.slice(6))});
  });
  answer.on('error', () => {});
  const api = async (method, path, body) => {
    const text = body === undefined ? undefined : typeof body === 'string' ? body : JSON.stringify(body);
    const headers = text === undefined ? {} : {'content-type': 'application/json', 'content-length': Buffer.byteLength(text)};
    const result = await ask({port, path, method, headers, body: text});
    check(result.status < 300, `${method} ${path}: ${result.status} ${result.body}`);
    return result.body === '' ? null : result.headers['content-type']?.includes('json') ? JSON.parse(result.body) : result.body;
  };
  return {
    port, home, log, events, api,
    event: (wanted, ms, from, matches = () => true) => until(ms, wanted,
      () => events.slice(from).find((each) => each.name === wanted && matches(each.data)), 2),
    async stop() {
      stream.destroy();
      child.kill('SIGTERM');
      await within(20_000, 'the end of previewd', exited).finally(() => child.kill('SIGKILL'));
      await rm(home, {recursive: true, force: true, maxRetries: 5});
    },
  };
}

/** The folders in the cache are one run's at a time. */
async function lockCache() {
  await mkdir(cache, {recursive: true});
  const lock = join(cache, '.lock');
  for (;;) {
    try {
      await writeFile(lock, String(process.pid), {flag: 'wx'});
      process.on('exit', () => rmSync(lock, {force: true}));
      for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => process.exit(1));
      return;
    } catch (error) {
      if (error.code !== 'EEXIST') throw error;
    }
    const holder = Number(await readFile(lock, 'utf8').catch(() => ''));
    if (holder > 0 && !existsSync(`/proc/${holder}`)) await rm(lock, {force: true});
    else await pause(500);
  }
}

/** The project's folder in the cache, as it is in the tree, with its packages. */
async function prepare(project) {
  const folder = join(cache, project);
  await mkdir(folder, {recursive: true});
  const wanted = existsSync(join(here, 'projects', project, 'package.json'))
    ? await readFile(join(here, 'projects', project, 'package.json'), 'utf8') : null;
  await cp(join(here, 'projects', project), folder, {recursive: true});
  const stamp = join(folder, '.installed');
  if (wanted !== null && !(existsSync(stamp) && await readFile(stamp, 'utf8') === wanted)) {
    console.log(`  npm install in ${project}`);
    const {status, stderr} = spawnSync('npm', ['install', '--no-audit', '--no-fund', '--loglevel=error'], {cwd: folder, encoding: 'utf8'});
    check(status === 0, `npm install in ${project}: ${stderr}`);
    await writeFile(stamp, wanted);
  }
  return folder;
}

async function versionOf(server, folder) {
  if (!server.package) return '';
  return JSON.parse(await readFile(join(folder, 'node_modules', server.package, 'package.json'), 'utf8')).version;
}

async function change(folder, [file, from, to]) {
  const text = await readFile(join(folder, file), 'utf8');
  check(text.includes(from), `${file} has no "${from}"`);
  await writeFile(join(folder, file), text.replace(from, to));
}

/** Where its HMR socket is, token and all, asked for as a page asks. */
async function hmrPath(server, get) {
  if (!server.hmr.token) return server.hmr.path;
  const [path, pattern] = server.hmr.token;
  const token = pattern.exec((await get(path)).body)?.[1];
  check(token, `${path} names no token`);
  return `${server.hmr.path}?token=${token}`;
}

/** The page, one of its assets, a form and its HMR socket, by whatever way `get`, `post` and `socket` go. */
async function visit(server, {get, post, socket, folder}) {
  const result = {};
  const page = await get(server.base ? `${pathAddress}/` : '/', {accept: 'text/html'});
  check(page.status === 200, `the page: ${page.status}`);
  const text = server.text === undefined ? /hello (?:<!-- -->)?preview/ : server.text;
  check(text === null ? /<script/i.test(page.body) : page.body.match(text), `the page is another: ${page.body.slice(0, 200)}`);
  result.page = 'yes';
  if (server.asset) {
    const path = server.asset instanceof RegExp ? server.asset.exec(page.body)?.[0] : server.asset;
    check(path, 'the page names no asset');
    const asset = await get(path, {accept: '*/*'});
    check(asset.status === 200 && asset.body.length > 0, `the asset ${path}: ${asset.status}`);
    result.assets = 'yes';
  }
  if (server.form) {
    const [path, wanted] = server.form;
    const answer = await post(path);
    check(answer.status === 200 && answer.body.includes(wanted), `the form at ${path}: ${answer.status} ${answer.body.slice(0, 200)}`);
  }
  if (server.hmr) {
    const client = await socket(await hmrPath(server, get), server.hmr.protocol);
    try {
      for (const text of server.hmr.says ?? []) client.say(text);
      if (server.hmr.client) {
        client.say('hello');
        await until(10_000, 'an echo', () => client.said().includes('hello'));
      } else {
        // It says what it likes at the beginning; what counts is that an edit gets through.
        let before = -1;
        await until(20_000, 'quiet on the HMR socket', async () => {
          const count = client.count();
          const quiet = count === before;
          before = count;
          return quiet;
        }, 400);
        check(client.open(), `the HMR socket was closed: ${JSON.stringify(client.said().slice(-200))}`);
        check(!client.said().includes('Invalid Host'), 'the HMR socket refused the host');
        await change(folder, server.edit);
        await until(60_000, 'news of an edit by HMR', () => client.count() > before);
        await change(folder, [server.edit[0], server.edit[2], server.edit[1]]);
        if (text !== null) await until(20_000, 'the old page', async () => (await get('/', {accept: 'text/html'})).body.match(text), 100);
      }
    } finally {
      client.end();
    }
    result.hmr = 'yes';
  }
  return result;
}

/** Touches a file that restarts the server, and asks all the while. */
async function restart(server, {service, get, socket, folder, port}) {
  const seen = service.events.length;
  const file = join(folder, server.restart);
  const current = async () => {
    const {servers: list} = await service.api('GET', '/api/servers?project=p&user=u');
    return list.find((each) => each.port === port) ?? {generation: 0};
  };
  /** The generation that comes after `before`, once it is ready; null: the socket stayed. */
  const successor = (before, ms) => until(ms, 'a new generation', async () => {
    const now_there = await current();
    return now_there.generation > before && now_there.state === 'ready' && now_there.generation;
  }).catch(() => null);

  const text = await readFile(file, 'utf8');
  const {generation} = await current();
  const answers = {all: 0, put_off: 0, other: new Map(), longest: 0};
  let over = false;
  const asking = (async () => {
    while (!over) {
      const begun = now();
      let status;
      try {
        const answer = await get('/', {accept: 'text/html', 'sec-fetch-mode': 'no-cors'});
        status = answer.status === 503 && answer.headers['retry-after'] ? 'put off' : answer.status;
      } catch (error) {
        status = error.message;
      }
      ++answers.all;
      answers.longest = Math.max(answers.longest, now() - begun);
      if (status === 'put off') ++answers.put_off;
      else if (status !== 200) answers.other.set(status, (answers.other.get(status) ?? 0) + 1);
      await pause(20);
    }
  })();
  await pause(200);
  // Neither way is it empty for a moment, in which a server would read it.
  await appendFile(file, /\.(?:py|rb)$/.test(file) ? '\n# touched\n' : '\n// touched\n');
  const next = await successor(generation, server.sameSocket ? 3_000 : 60_000);
  await pause(300);
  over = true;
  await asking;
  // Its old content is one more restart.
  await truncate(file, Buffer.byteLength(text));
  if (next) await successor(next, 60_000);
  await pause(500);
  check(next || server.sameSocket, 'no restart was seen');
  const stops = service.events.slice(seen).filter((each) => each.name === 'previewServerStopped');
  check(stops.length === 0, `a restart was told as a stop (${stops[0]?.data.reason})`);
  check(answers.other.size === 0, `requests failed: ${[...answers.other].map(([what, count]) => `${count} x ${what}`).join(', ')}`);
  await until(20_000, 'an answer after the restart', async () => (await get('/', {accept: 'text/html'})).status === 200, 200);
  if (server.hmr) {
    await until(20_000, 'HMR after the restart', async () => {
      const client = await socket(await hmrPath(server, get), server.hmr.protocol);
      client.end();
      return true;
    }, 200);
  }
  check(answers.put_off === 0, `${answers.put_off} of ${answers.all} requests were put off`);
  return `${Math.round(answers.longest)} ms${next ? '' : ', same socket'}`;
}

/** A terminal at its prompt. */
async function openShell(service, folder) {
  const {id} = await service.api('POST', '/api/terminals', {...workspace, cwd: folder, cols: 100, rows: 30});
  const output = () => service.api('GET', `/api/terminals/${id}/output?after=0`);
  await until(10_000, 'a prompt', async () => /[$#] $/.test(await output()));
  return {
    id, output,
    type: (text) => service.api('POST', `/api/terminals/${id}/input`, text),
    /** The shell has it again. */
    prompt: () => until(30_000, 'the prompt', async () => (await service.api('GET', `/api/terminals/${id}`)).foreground === 'bash'),
    async close() {
      const {status} = await ask({port: service.port, path: `/api/terminals/${id}`, method: 'DELETE'});
      check([204, 404].includes(status), `the terminal's close: ${status}`);
    },
    ended: () => until(15_000, 'the end of the terminal', async () =>
      (await ask({port: service.port, path: `/api/terminals/${id}`})).status === 404),
  };
}

/** When nobody listens at the port any more. */
async function whenGone(port, stopped) {
  while (!stopped.aborted && await listening(port)) await pause(1);
  return now();
}

/** Every end but Ctrl+C, each of a server that was started for it, and how soon it was told. */
async function endings(server, {service, folder, command, port, stopped}) {
  const told = (from, names, ms = 20_000) => until(ms, names.join(' or '),
    () => service.events.slice(from).find((each) => names.includes(each.name) && each.data.port === port), 2);
  const start = async (shell) => {
    const from = service.events.length;
    await shell.type(`${command}\r`);
    await told(from, ['previewServerStarted'], 150_000);
    return until(60_000, 'ready', async () => (await service.api('GET', '/api/servers?project=p&user=u')).servers
      .find((each) => each.port === port && each.state === 'ready'));
  };
  const milliseconds = (from, to) => `${Math.max(0, Math.round(to - from))} ms`;
  const result = {};
  let shell = await openShell(service, folder);
  try {
    // The process that has its socket dies.
    const {pid} = await start(shell);
    let from = service.events.length;
    process.kill(pid, 'SIGKILL');
    const gone = whenGone(port, stopped);
    const stays = await Promise.race([gone.then(() => false), pause(1_000).then(() => true)]);
    if (stays) {
      result.killed = 'others have its socket';
    } else {
      const event = await told(from, ['previewServerStopped', 'previewServerStarted'], 90_000);
      if (event.name === 'previewServerStarted') result.killed = 'restarted';
      else if (event.data.reason === 'listener_closed') result.killed = 'held, then told';
      else result.killed = milliseconds(await gone, event.at);
      check(['process_exited', 'listener_closed', undefined].includes(event.data.reason), `killed: told as ${event.data.reason}`);
    }
    await shell.close();
    await until(15_000, 'the end of what was left', async () => !await listening(port));

    // Ctrl+Z, fg, and the end of its shell while it runs in the background.
    shell = await openShell(service, folder);
    await start(shell);
    const suspend = async () => {
      const before = service.events.length;
      const pressed = now();
      await shell.type('\u001a');
      let event = await told(before, ['previewServerUnreachable'], 3_000).catch(() => null);
      // When the shell has the terminal again, the key has worked, and only its news is late.
      const read = event === null && (await service.api('GET', `/api/terminals/${shell.id}`)).foreground !== 'bash';
      if (read) await service.api('POST', `/api/terminals/${shell.id}/signal`, {signal: 'SIGSTOP'});
      event ??= await told(before, ['previewServerUnreachable']);
      check(event.data.reason === 'suspended', `Ctrl+Z: ${event.data.reason}`);
      await shell.prompt();
      return read ? 'it reads the key' : milliseconds(pressed, event.at);
    };
    result.suspended = await suspend();
    from = service.events.length;
    let begun = now();
    await shell.type('fg\r');
    result.resumed = milliseconds(begun, (await told(from, ['previewServerRecovered'])).at);
    await suspend();
    from = service.events.length;
    await shell.type('bg\r');
    begun = now();
    // bash may say that there are stopped jobs: one that reads the terminal is stopped by these keys.
    await shell.type('exit\rexit\r');
    const exited = await told(from, ['previewServerStopped']);
    // A shell that exits hangs up its jobs: they may be the first to go.
    check(['terminal_exited', 'process_exited'].includes(exited.data.reason), `exit: told as ${exited.data.reason}`);
    result.exited = milliseconds(begun, exited.at);
    await until(15_000, 'the end of its socket', async () => !await listening(port));

    // Its terminal is closed.
    shell = await openShell(service, folder);
    await start(shell);
    from = service.events.length;
    begun = now();
    await shell.close();
    const closed = await told(from, ['previewServerStopped']);
    check(closed.data.reason === 'terminal_closed', `close: told as ${closed.data.reason}`);
    result.closed = milliseconds(begun, closed.at);
    await until(15_000, 'the end of its socket', async () => !await listening(port));
  } catch (error) {
    if (process.env.PREVIEWD_FRAMEWORKS_SHOW) console.log(await shell.output().catch(() => ''));
    throw error;
  } finally {
    await shell.close();
  }
  return result;
}

/** The whole life of one server. Never rejects: what went wrong is in the row. */
async function run(service, server) {
  const row = {name: server.name, version: '', type: '', problems: []};
  const attempt = async (what, part) => {
    try {
      return await part();
    } catch (error) {
      row.problems.push(`${what}: ${error.message}`);
      return null;
    }
  };
  const folder = await prepare(server.project);
  row.version = await versionOf(server, folder);
  const port = await freePort();
  const seen = service.events.length;
  const command = server.command.replaceAll(/(?<![A-Z_])PORT(?!=)/g, port);
  const stopped = new AbortController();
  let shell;
  try {
    shell = await openShell(service, folder);
    const watching = watchPort(port, server.https ? https : http, stopped.signal);
    const begun = now();
    await shell.type(`${command}\r`);
    const started = await service.event('previewServerStarted', 150_000, seen, (data) => data.port === port);
    const available = until(60_000, 'available', async () =>
      (await service.api('GET', '/api/preview-status/p/u?wait=20s')).available && now());
    const direct = await within(150_000, 'an answer of the server itself', watching);
    const availableAt = await available;
    row.started = Math.round(direct.listens - begun);
    row.found = Math.max(0, Math.round(availableAt - direct.answers));
    const status = await service.api('GET', '/api/preview-status/p/u');
    check(status.server.port === port, `port ${status.server.port} is the preview, and not ${port}`);
    row.type = status.server.type;
    if (row.type !== server.type) row.problems.push(`type: ${row.type} instead of ${server.type}`);

    const origin = new URL(status.server.originUrl);
    const originGet = async (path, headers = {}) => {
      const answer = await ask({port: service.port, path, headers: {host: origin.host, ...headers}});
      if (answer.status >= 300 && answer.status < 400 && answer.headers.location) {
        const next = new URL(answer.headers.location, new URL(path, origin));
        check(next.host === origin.host, `a redirect leads away, to ${next}`);
        return ask({port: service.port, path: next.pathname + next.search, headers: {host: origin.host, ...headers}});
      }
      return answer;
    };
    const form = {accept: 'text/html', 'content-type': 'application/x-www-form-urlencoded'};
    const originPost = (path) => ask({port: service.port, path, method: 'POST', body: 'a=b',
      headers: {...form, host: origin.host, origin: origin.origin}});
    const originSocket = (path, protocol) => openSocket(service.port, path, {host: origin.host, origin: origin.origin, protocol});
    const atOrigin = await attempt('origin', () => visit(server, {get: originGet, post: originPost, socket: originSocket, folder}));
    Object.assign(row, atOrigin ?? {page: 'no'});

    // At a path address: the page below it, everything else by its Referer, sockets by the cookie.
    const own = `localhost:${service.port}`;
    let cookie = '';
    const pathGet = async (path, headers = {}) => {
      const base = {host: own, referer: `http://${own}${pathAddress}/`};
      let target = path === '/' ? `${pathAddress}/` : path;
      for (let hop = 0; hop < 5; ++hop) {
        const navigation = target.startsWith(`${pathAddress}/`) && (headers.accept ?? '').includes('text/html');
        const answer = await ask({port: service.port, path: target,
          headers: {...base, ...(navigation ? {'sec-fetch-mode': 'navigate', 'sec-fetch-dest': 'document'} : {}), ...headers}});
        for (const each of answer.headers['set-cookie'] ?? []) if (/previewd/i.test(each)) cookie = each.split(';')[0];
        if (!(answer.status >= 300 && answer.status < 400 && answer.headers.location)) return answer;
        const next = new URL(answer.headers.location, `http://${own}${target}`);
        check(next.host === own, `a redirect leads away, to ${next}`);
        target = next.pathname + next.search;
      }
      throw new Error(`${path} redirects for ever`);
    };
    const pathPost = (path) => ask({port: service.port, path: `${pathAddress}${path}`, method: 'POST', body: 'a=b',
      headers: {...form, host: own, origin: `http://${own}`}});
    const pathSocket = (path, protocol) => openSocket(service.port, path, {host: own, origin: `http://${own}`, protocol, cookie});
    const asked = row.problems.length;
    const atPath = await attempt('path', () => visit(server, {get: pathGet, post: pathPost, socket: pathSocket, folder}));
    row.path = atPath ? (status.server.basePath === 'kept' ? 'yes, kept' : 'yes') : 'no';
    if (server.originOnly) row.pathProblems = row.problems.splice(asked);
    if (server.base && status.server.basePath !== 'kept') row.problems.push('base: its base path was not noticed');

    if (server.restart) row.restart = await attempt('restart', () => restart(server, {service, get: originGet, socket: originSocket, folder, port}));

    const tunnel = server.hmr ? await attempt('tunnel', async () => originSocket(await hmrPath(server, originGet), server.hmr.protocol)) : null;
    const before = service.events.length;
    const watchEnd = whenGone(port, stopped.signal);
    const pressed = now();
    await shell.type('\u0003');
    const end = await attempt('stop', () => service.event('previewServerStopped', 20_000, before, (data) => data.port === port));
    if (end) {
      const gone = await watchEnd;
      row.ended = Math.round(gone - pressed);
      row.stop = Math.max(0, Math.round(end.at - gone));
      if (end.data.reason !== 'process_exited') row.problems.push(`stop: for the reason ${end.data.reason}`);
      if (tunnel) await attempt('tunnel', () => within(20_000, 'the end of a tunnel', tunnel.closed));
      const after = await ask({port: service.port, path: '/', headers: {host: origin.host}});
      if (after.status !== 503) row.problems.push(`stop: then ${after.status}`);
    }
    tunnel?.end();
    row.endings = await attempt('ends', () => endings(server, {service, folder, command, port, stopped: stopped.signal}));
    void started;
  } catch (error) {
    row.problems.push(error.message);
  } finally {
    stopped.abort();
    if (row.problems.length > 0 && process.env.PREVIEWD_FRAMEWORKS_SHOW)
      console.log(await shell?.output().catch(() => ''));
    await attempt('close', async () => {
      await shell?.close();
      await shell?.ended();
    });
    await cp(join(here, 'projects', server.project), folder, {recursive: true});
  }
  return row;
}

const head = ['| server | version | type | starts in | found after | page | assets | HMR | restart of itself | ends in | stop told after | path address |',
  '| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |'];

function lineOf(row) {
  const ms = (value) => (value === undefined ? '–' : `${value} ms`);
  return `| ${[row.name, row.version || '–', row.type, ms(row.started), ms(row.found), row.page ?? 'no', row.assets ?? '–', row.hmr ?? '–',
    row.restart ?? '–', ms(row.ended), ms(row.stop), row.path ?? 'no'].join(' | ')} |`;
}

const endsHead = ['| server | killed | Ctrl+Z | fg | `exit` | terminal closed |', '| --- | --- | --- | --- | --- | --- |'];

function endsLineOf({name, endings}) {
  const of = endings ?? {};
  return `| ${[name, of.killed, of.suspended, of.resumed, of.exited, of.closed].map((each) => each ?? '–').join(' | ')} |`;
}

/** The page with the lines of one table replaced; those of servers that were not run stay. */
function withTable(text, mark, tableHead, fresh) {
  const [before, after] = [text.indexOf(`<!-- ${mark} -->`), text.indexOf(`<!-- end of ${mark} -->`)];
  check(before >= 0 && after > before, `docs/frameworks.md has no place for the ${mark}`);
  const nameOf = (line) => line.split('|')[1].trim();
  const lines = new Map(text.slice(before, after).split('\n').filter((line) => line.startsWith('| ')).slice(2).map((line) => [nameOf(line), line]));
  for (const line of fresh) lines.set(nameOf(line), line);
  const ordered = servers.map((each) => lines.get(each.name)).filter(Boolean);
  return `${text.slice(0, before)}<!-- ${mark} -->\n${[...tableHead, ...ordered].join('\n')}\n${text.slice(after)}`;
}

async function writePage(rows) {
  const page = join(root, 'docs/frameworks.md');
  const text = withTable(await readFile(page, 'utf8'), 'rows', head, rows.map(lineOf));
  await writeFile(page, withTable(text, 'ends', endsHead, rows.map(endsLineOf)));
}

async function main() {
  const flags = new Set(process.argv.slice(2).filter((each) => each.startsWith('--')));
  const names = process.argv.slice(2).filter((each) => !each.startsWith('--'));
  const chosen = servers.filter((each) => (names.length === 0 || names.includes(each.name)) && (!flags.has('--fast') || each.fast));
  check(chosen.length > 0, 'no server has such a name');
  await lockCache();
  if (flags.has('--install')) {
    for (const server of chosen) await prepare(server.project);
    return;
  }
  const rows = [];
  let failed = false;
  for (const server of chosen) {
    if (server.needs && !existsSync(server.needs)) {
      console.log(`${flags.has('--fast') ? 'NOT OK  ' : 'skipped '} ${server.name}: there is no ${server.needs}`);
      failed ||= flags.has('--fast');
      continue;
    }
    const begun = now();
    // A test must not fail because a machine is busy; what is measured is measured as it is sold.
    const service = await startService(flags.has('--fast') ? ['--proxy.hold', '30s'] : []);
    let row;
    try {
      row = await run(service, server);
    } finally {
      await service.stop().catch((error) => row?.problems.push(error.message));
    }
    if (row.problems.length > 0 && process.env.PREVIEWD_FRAMEWORKS_SHOW) console.log(service.log.join('\n'), JSON.stringify(service.events));
    rows.push(row);
    failed ||= row.problems.length > 0;
    console.log(`${row.problems.length === 0 ? 'ok      ' : 'NOT OK  '} ${server.name} (${((now() - begun) / 1000).toFixed(1)} s): found ${row.found} ms, `
      + `HMR ${row.hmr ?? '–'}, restart ${row.restart ?? '–'}, stop ${row.stop} ms, path ${row.path}`);
    for (const problem of [...row.problems, ...(row.pathProblems ?? []).map((each) => `(${each})`)]) console.log(`           ${problem}`);
  }
  if (flags.has('--write')) await writePage(rows);
  else console.log([...head, ...rows.map(lineOf), '', ...endsHead, ...rows.filter((each) => each.endings).map(endsLineOf)].join('\n'));
  process.exitCode = failed ? 1 : 0;
}

await main();
