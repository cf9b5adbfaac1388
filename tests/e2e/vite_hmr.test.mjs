// The product's main promise, with a real browser, a real shell and a real Vite.
import assert from 'node:assert/strict';
import {once} from 'node:events';
import {readFile, writeFile} from 'node:fs/promises';
import http from 'node:http';
import net from 'node:net';
import {join} from 'node:path';
import {test} from 'node:test';

import {WebSocket} from 'ws';

import {appFrame, openBrowser, previewFrame, terminalOn} from './support/browser.mjs';
import {cleanUp, complaints, now, previewStatus, startService, watchDeath, watchEvents, within} from './support/service.mjs';

const workspace = {project: 'shop', user: 'ann'};

/** GET of an address of the preview's own origin. */
function get(origin, path, fields = {}) {
  const {host, port} = new URL(origin);
  return new Promise((done, failed) => {
    const request = http.get({host: '127.0.0.1', port, path, headers: {host, ...fields}, agent: false}, async (answer) => {
      let body = '';
      for await (const chunk of answer.setEncoding('utf8')) body += chunk;
      done({status: answer.statusCode, headers: answer.headers, body});
    });
    request.on('error', failed);
  });
}

/** An HMR client of its own: opens as Vite's client does, and tells when it was closed. */
async function openHmr(origin) {
  const client = await get(origin, '/@vite/client');
  assert.equal(client.status, 200);
  const token = /wsToken = "([^"]+)"/.exec(client.body)?.[1];
  assert.ok(token, 'Vite\'s client names a token');
  const {host, port} = new URL(origin);
  const socket = new WebSocket(`ws://127.0.0.1:${port}/?token=${token}`, 'vite-hmr', {
    headers: {host}, origin: new URL(origin).origin,
  });
  // However it ends: an abrupt end is an error to this library before it is a close.
  const closed = new Promise((done) => {
    socket.on('error', () => {});
    socket.once('close', () => done(now()));
  });
  await within(15_000, 'an HMR connection', new Promise((done) => socket.once('open', done)));
  return {closed, end: () => socket.terminate()};
}

/** Counts who connects to a port that nobody should know any more. */
async function listenOn(port) {
  let connections = 0;
  const server = net.createServer((socket) => {
    ++connections;
    socket.destroy();
  });
  server.listen({port, host: '::', ipv6Only: false});
  await once(server, 'listening');
  return {count: () => connections, close: () => new Promise((done) => server.close(done))};
}

/** One part of the story. What goes wrong in it ends the story. */
async function step(name, part) {
  const begun = now();
  await part();
  console.log(`  ${name} (${((now() - begun) / 1_000).toFixed(1)} s)`);
}

test('a Vite started in the browser terminal appears, updates without reload, and is gone the moment it dies', {timeout: 400_000}, async () => {
  const service = await startService();
  const cleanup = [() => service.stop()];
  let shot;
  try {
    const front = await watchEvents(service, workspace);
    cleanup.unshift(() => front.close());
    const {page, failures, sockets, close, ...browser} = await openBrowser();
    cleanup.unshift(close);
    shot = browser.shot;
    const terminal = terminalOn(page);
    const screen = previewFrame(page).getByRole('status').first();

    await page.goto(`${service.url}/terminal/shop/ann`);
    await page.locator('[data-link=connected]').waitFor();
    await page.locator('[role=tab][aria-selected=true][data-state=live]').waitFor();
    await terminal.shows(/[$#]/, 15_000);
    await screen.getByText('Waiting for a dev server').waitFor();
    await shot('vite-1-waiting');

    await step('npm creates and installs the app', async () => {
      await terminal.type(`cd ${service.work} && clear`);
      await terminal.type('npm create --yes vite@latest app -- --template react --no-interactive; echo created-$((40+$?))');
      await terminal.shows('created-40', 120_000);
      await terminal.type('cd app && npm install; echo installed-$((40+$?))');
      await terminal.shows('installed-40', 180_000);
    });

    let before;
    let app;
    await step('npm run dev: the preview appears beside the terminal', async () => {
      await terminal.type('clear; npm run dev');
      await front.event('previewServerStarted', 60_000);
      before = (await previewStatus(service, workspace)).server;
      assert.equal(before.type, 'vite');
      app = await appFrame(page, before.originUrl, 10_000);
      await app.getByText('Get started').waitFor({timeout: 30_000});
      await page.locator('[data-phase=ready]').waitFor();
      await previewFrame(page).locator('.screen').waitFor({state: 'hidden', timeout: 15_000});
      await shot('vite-2-running');
    });

    await step('an edit arrives by HMR, without a reload', async () => {
      await app.evaluate(() => (window.previewdMarker = 'kept'));
      const file = join(service.work, 'app/src/App.jsx');
      const source = await readFile(file, 'utf8');
      assert.ok(source.includes('Get started'));
      await writeFile(file, source.replace('Get started', 'Edited by hand'));
      await app.getByText('Edited by hand').waitFor({timeout: 20_000});
      assert.equal(await app.evaluate(() => window.previewdMarker), 'kept');
      await shot('vite-3-edited');
    });

    await step('Ctrl+C: told and cut at once, loading screen, shell alive, nobody asks the old port', async () => {
      const hmr = await openHmr(before.originUrl);
      cleanup.unshift(() => hmr.end());
      const death = await watchDeath(before.pid);
      cleanup.unshift(() => death.cancel());
      const seen = front.events.length;
      await terminal.press('Control+C');
      const died = await within(10_000, 'the death of the dev server', death.died);
      const stopped = await front.event('previewServerStopped', 15_000, seen);
      const closed = await within(15_000, 'the end of the HMR connection', hmr.closed);
      await screen.getByText('Dev server has stopped').waitFor({timeout: 15_000});
      const screenAt = now();

      assert.equal(stopped.payload.generation, before.generation);
      assert.equal(stopped.payload.message, 'Dev server has stopped');
      const toEvent = stopped.at - died;
      const toClose = closed - died;
      console.log(`  from the death of the process: previewServerStopped ${toEvent.toFixed(1)} ms, `
        + `HMR connection closed ${toClose.toFixed(1)} ms, loading screen seen ${(screenAt - died).toFixed(1)} ms`);
      assert.ok(toEvent < 10_000, `previewServerStopped came ${toEvent} ms after the death`);
      assert.ok(toClose < 10_000, `the HMR connection ended ${toClose} ms after the death`);
      await shot('vite-4-stopped');

      const trap = await listenOn(before.port);
      try {
        const answer = await get(before.originUrl, '/', {accept: 'text/html', 'sec-fetch-mode': 'navigate'});
        assert.equal(answer.status, 503);
        assert.equal(answer.headers['retry-after'], '1');
        assert.match(answer.body, /data-project="shop"/);
        const problem = await get(before.originUrl, '/src/App.jsx');
        assert.equal(problem.status, 503);
        assert.equal(JSON.parse(problem.body).code, 'preview_unavailable');
        await page.waitForTimeout(1_200);  // time in which something could come: the absence is what is looked for
        assert.equal(trap.count(), 0, 'somebody connected to the old port');
      } finally {
        await trap.close();
      }
      const status = await previewStatus(service, workspace);
      assert.equal(status.available, false);
      assert.equal(status.lastStop.generation, before.generation);
      assert.equal(front.events.filter((event) => event.name === 'previewServerStopped').length, 1);
      const hers = sockets.filter((socket) => socket.url.includes('.preview.localhost'));
      assert.ok(hers.length > 0, 'the app in the browser had an HMR connection');
      assert.deepEqual(hers.filter((socket) => socket.closedAt === null), [], 'a WebSocket of the app is still open in the browser');

      await terminal.type('echo alive-$((6*7))');
      await terminal.shows('alive-42', 15_000);
    });

    await step('on another port it is back by itself under the same address', async () => {
      const seen = front.events.length;
      await terminal.type('clear; npm run dev -- --port 5999');
      const started = await front.event('previewServerStarted', 60_000, seen);
      assert.ok(started.payload.generation > before.generation);
      assert.notEqual(started.payload.port, before.port);
      assert.equal(started.payload.originUrl, before.originUrl);
      app = await appFrame(page, before.originUrl, 10_000);
      await app.getByText('Edited by hand').waitFor({timeout: 30_000});
      await page.locator('[data-phase=ready]').waitFor();
      await shot('vite-5-back');
      await terminal.press('Control+C');
      await front.event('previewServerStopped', 10_000, seen);
    });

    assert.deepEqual(failures, [], 'an error in a page');
    assert.deepEqual(complaints(service.log), [], 'the log complains');
  } catch (error) {
    console.log(service.log.slice(-60).join('\n'));
    await shot?.('vite-failed').catch(() => {});
    await cleanUp(cleanup, error);
  }
  await cleanUp(cleanup);
});
