// The dashboard: everything that the service has, as it comes and goes.
import assert from 'node:assert/strict';
import {once} from 'node:events';
import {mkdtemp, rm, symlink} from 'node:fs/promises';
import net from 'node:net';
import {tmpdir} from 'node:os';
import {dirname, join, resolve} from 'node:path';
import {after, afterEach, before, test} from 'node:test';
import {fileURLToPath} from 'node:url';

import {build} from 'vite';

import {openBrowser} from './support/browser.mjs';
import {cleanUp, complaints, startService} from './support/service.mjs';

const here = dirname(fileURLToPath(import.meta.url));
const limit = {timeout: 120_000};
let service;
let browser;
let page;
let ServiceState;

before(async () => {
  const sources = resolve(here, '../../web/src');
  const result = await build({
    root: sources, configFile: false, logLevel: 'silent',
    build: {write: false, minify: false, lib: {entry: resolve(sources, 'service_state.ts'), formats: ['es'], fileName: 'module'}},
  });
  const [{output: [{code}]}] = [result].flat();
  ({ServiceState} = await import(`data:text/javascript;base64,${Buffer.from(code).toString('base64')}`));
  service = await startService();
  browser = await openBrowser();
  ({page} = browser);
});

after(async () => {
  await cleanUp([() => browser?.close(), () => service?.stop()]);
});

// A test that failed leaves nothing to the next one.
afterEach(async () => {
  await page.goto('about:blank');
  const {terminals} = await (await fetch(`${api()}/terminals`)).json();
  for (const {id} of terminals) await fetch(`${api()}/terminals/${id}`, {method: 'DELETE'});
});

const api = () => `http://127.0.0.1:${service.port}/api`;
const card = (name) => page.getByRole('region', {name, exact: true});
const rows = (name, what) => card(name).getByRole('list', {name: what}).getByRole('listitem');

async function openTerminal(project, user, command) {
  const answer = await fetch(`${api()}/terminals`, {
    method: 'POST', headers: {'content-type': 'application/json'}, body: JSON.stringify({project, user, ...(command ? {command} : {})}),
  });
  assert.equal(answer.status, 201);
  return answer.json();
}

const startApp = (project, user, text) => openTerminal(project, user, [process.execPath, join(here, 'support/app.mjs'), text]);

async function openDashboard() {
  await page.goto(`${service.url}/dashboard`);
  await page.locator('[data-link=connected]').waitFor();
}

const server = (generation, more = {}) => ({
  project: 'shop', user: 'ann', generation, port: 5000 + generation, state: 'ready', primary: true, previousGeneration: null, ...more,
});
const terminal = (id, more = {}) => ({project: 'shop', user: 'ann', id, state: 'running', createdAt: '2026-01-01T00:00:00.000Z', ...more});

test('the state follows the events behind a snapshot, and nothing older changes it', () => {
  const state = new ServiceState();
  assert.equal(state.sequence, -1);
  state.reset({
    servers: [server(1), server(2, {project: 'blog', port: 80})],
    terminals: [terminal('t1'), terminal('t2', {user: 'bob'}), terminal('t3', {state: 'exited'})], sequence: 10,
  });
  const names = () => state.workspaces.map(({workspace}) => `${workspace.project}/${workspace.user}`);
  assert.deepEqual(names(), ['blog/ann', 'shop/ann', 'shop/bob']);
  assert.ok(!state.hasTerminal('t3'));
  assert.equal(state.event('previewServerStopped', {...server(1), sequence: 10}), false);
  assert.equal(state.event('previewServerUnreachable', {...server(1), reason: 'restarting', sequence: 11}), true);
  assert.equal(state.workspaces[1].servers[0].state, 'restarting');
  state.event('previewServerStarted', {...server(3, {previousGeneration: 1, port: 5001}), sequence: 12});
  assert.deepEqual(state.workspaces[1].servers.map((each) => each.generation), [3]);
  state.event('previewServerStarted', {...server(4, {port: 4000, primary: false}), sequence: 13});
  assert.deepEqual(state.workspaces[1].servers.map((each) => each.generation), [3, 4], 'the primary first');
  state.event('previewServerPrimary', {...server(4, {port: 4000}), sequence: 14});
  assert.deepEqual(state.workspaces[1].servers.map(({generation, primary}) => [generation, primary]), [[4, true], [3, false]]);
  assert.equal(state.workspaces[0].servers[0].primary, true, 'another workspace has its own');
  state.event('previewServerUnreachable', {...server(4), reason: 'timeout', sequence: 15});
  assert.equal(state.workspaces[1].servers[0].state, 'unreachable');
  state.event('previewServerRecovered', {...server(4), sequence: 16});
  assert.equal(state.workspaces[1].servers[0].state, 'ready');
  state.event('terminalExit', {project: 'shop', user: 'bob', terminalId: 't2', sequence: 17});
  assert.deepEqual(names(), ['blog/ann', 'shop/ann']);
  state.event('previewServerStopped', {...server(2), sequence: 18});
  assert.deepEqual(names(), ['shop/ann']);
  state.reset({servers: [], terminals: [], sequence: 3});
  assert.deepEqual(names(), [], 'a service that counts anew is believed');
});

test('servers and terminals of all workspaces appear and go without a reload', limit, async () => {
  await openDashboard();
  await page.getByText('Nothing runs.').waitFor();
  await page.evaluate(() => (window.loaded = 'once'));
  const shop = await startApp('shop', 'ann', 'shop app');
  await rows('shop / ann', 'Servers').getByText('Running').waitFor({timeout: 30_000});
  await rows('shop / ann', 'Terminals').first().waitFor({timeout: 15_000});
  await openTerminal('blog', 'bob');
  await rows('blog / bob', 'Terminals').first().waitFor({timeout: 15_000});
  await page.getByText('1 server · 2 terminals').waitFor();

  const filter = page.getByLabel('Show only workspaces');
  await filter.fill('blog');
  await card('shop / ann').waitFor({state: 'detached'});
  await filter.fill('nobody');
  await page.getByText('No workspace has such a name.').waitFor();
  await filter.fill('');
  await card('shop / ann').waitFor();

  await fetch(`${api()}/terminals/${shop.id}`, {method: 'DELETE'});
  await card('shop / ann').waitFor({state: 'detached', timeout: 15_000});
  await page.getByText('0 servers · 1 terminal').waitFor();
  assert.equal(await page.evaluate(() => window.loaded), 'once');
});

test('what programs are called is shown as text', limit, async () => {
  const folder = await mkdtemp(join(tmpdir(), 'previewd-names-'));
  try {
    const program = join(folder, '<img src=x>');
    await symlink('/bin/sleep', program);
    await openTerminal('shop', 'ann', [program, '1000']);
    await openDashboard();
    await rows('shop / ann', 'Terminals').getByText('<img src=x>').waitFor({timeout: 15_000});
    assert.equal(await page.locator('img[src=x]').count(), 0);
  } finally {
    await rm(folder, {recursive: true});
  }
});

test('its buttons open a preview and a terminal, stop a server, and close a terminal', limit, async () => {
  const {id} = await startApp('shop', 'ann', 'the shop');
  await openDashboard();
  const serverRow = rows('shop / ann', 'Servers').first();
  await serverRow.getByText('Running').waitFor({timeout: 30_000});
  await browser.shot('dashboard');

  const [preview] = await Promise.all([browser.context.waitForEvent('page'), serverRow.getByRole('link', {name: 'Open the preview'}).click()]);
  await preview.getByRole('heading', {name: 'the shop'}).waitFor({timeout: 20_000});
  assert.match(preview.url(), /^http:\/\/shop--ann\.preview\.localhost:/);
  await preview.close();

  const link = rows('shop / ann', 'Terminals').first().getByRole('link', {name: 'Open terminal'});
  assert.equal(await link.getAttribute('href'), `/terminal/shop/ann#${id}`);

  await serverRow.getByRole('button', {name: 'Stop the server'}).click();
  await page.getByRole('button', {name: 'Keep it'}).click();
  assert.equal(await serverRow.count(), 1);
  await serverRow.getByRole('button', {name: 'Stop the server'}).click();
  await page.getByRole('button', {name: 'Stop server'}).click();
  await serverRow.waitFor({state: 'detached', timeout: 15_000});
  assert.deepEqual((await (await fetch(`${api()}/servers`)).json()).servers, []);

  await rows('shop / ann', 'Terminals').first().getByRole('button', {name: 'Close this terminal'}).click();
  await page.getByRole('button', {name: 'Close terminal'}).click();
  await page.getByText('Nothing runs.').waitFor({timeout: 15_000});
  const left = await (await fetch(`${api()}/terminals`)).json();
  assert.deepEqual(left.terminals.filter((each) => each.state === 'running'), []);
});

/** Stands between the browser and the service, and can be cut, which a page's own machine cannot. */
async function openWire() {
  const pairs = new Set();
  let cut = false;
  const wire = net.createServer((near) => {
    if (cut) return near.destroy();
    const far = net.connect(service.port, '127.0.0.1');
    const end = () => {
      near.destroy();
      far.destroy();
      pairs.delete(end);
    };
    pairs.add(end);
    near.on('error', end).on('close', end).pipe(far);
    far.on('error', end).on('close', end).pipe(near);
  });
  wire.listen(0, '127.0.0.1');
  await once(wire, 'listening');
  return {
    url: `http://localhost:${wire.address().port}`,
    cut() {
      cut = true;
      for (const end of [...pairs]) end();
    },
    mend: () => (cut = false),
    close: () => new Promise((done) => {
      for (const end of [...pairs]) end();
      wire.close(done);
    }),
  };
}

test('a lost stream is told, and what was missed is made good', limit, async () => {
  const wire = await openWire();
  try {
    const {id} = await startApp('shop', 'ann', 'before');
    await page.goto(`${wire.url}/dashboard`);
    await rows('shop / ann', 'Servers').getByText('Running').waitFor({timeout: 30_000});
    await page.evaluate(() => (window.loaded = 'once'));
    wire.cut();
    await page.locator('[data-link=lost]').waitFor({timeout: 15_000});
    await fetch(`${api()}/terminals/${id}`, {method: 'DELETE'});
    await openTerminal('blog', 'bob');
    wire.mend();
    await page.locator('[data-link=connected]').waitFor({timeout: 20_000});
    await card('shop / ann').waitFor({state: 'detached', timeout: 15_000});
    await card('blog / bob').waitFor({timeout: 15_000});
    assert.equal(await page.evaluate(() => window.loaded), 'once');
    await page.goto('about:blank');
  } finally {
    await wire.close();
  }
});

test('the page lets in no code but its own, and names of workspaces are text', limit, async () => {
  const answer = await page.goto(`${service.url}/dashboard`);
  const policy = answer.headers()['content-security-policy'];
  for (const rule of ["default-src 'none'", "script-src 'self'", "connect-src 'self'", "frame-ancestors 'self'"]) {
    assert.ok(policy.includes(rule), `${rule} is in ${policy}`);
  }
  await openTerminal('shop', 'ann', ['/bin/sh', '-c', 'exec sleep 1000 # <img src=x onerror=alert(1)>']);
  await rows('shop / ann', 'Terminals').first().waitFor({timeout: 15_000});
  assert.equal(await page.locator('main img').count(), 0);
});

test('pages and log are free of errors', limit, () => {
  assert.deepEqual(browser.failures, []);
  assert.deepEqual(complaints(service.log), []);
});
