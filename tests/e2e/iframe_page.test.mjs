// The page that frames a preview, as a front end on another origin uses it, and the loading page on a preview's own address.
import assert from 'node:assert/strict';
import {once} from 'node:events';
import http from 'node:http';
import {dirname, join} from 'node:path';
import {after, afterEach, before, test} from 'node:test';
import {fileURLToPath} from 'node:url';

import {appFrame, findApp, openBrowser} from './support/browser.mjs';
import {cleanUp, complaints, previewStatus, startService, watchEvents} from './support/service.mjs';

const workspace = {project: 'shop', user: 'bob'};
const appProgram = join(dirname(fileURLToPath(import.meta.url)), 'support/app.mjs');
const limit = {timeout: 180_000};

let service;
let front;
let browser;
let frontEnd;  // the address of a page that frames the preview, on an origin that is not previewd's

before(async () => {
  service = await startService();
  front = await watchEvents(service, workspace);
  browser = await openBrowser({cuttable: true});
  frontEnd = http.createServer((request, answer) => {
    const src = new URL(request.url, 'http://x').searchParams.get('src') ?? 'about:blank';
    answer.writeHead(200, {'content-type': 'text/html; charset=utf-8'});
    answer.end(`<!doctype html><title>Front end</title><script>
      window.heard = [];
      addEventListener('message', (event) => heard.push(event.data));
    </script><iframe id="preview" style="width:100%;height:90vh" src="${src.replaceAll('"', '&quot;')}"></iframe>`);
  });
  frontEnd.listen(0, '127.0.0.1');
  await once(frontEnd, 'listening');
});

after(async () => {
  frontEnd?.closeAllConnections();
  frontEnd?.close();
  await cleanUp([() => browser?.close(), () => front?.close(), () => service?.stop()]);
});

const started = new Set();  // terminals of apps that run

// A test that failed leaves nothing to the next one.
afterEach(async () => {
  browser.mend();
  for (const terminalId of started) {
    await front.ask('closeTerminal', {terminalId});
    started.delete(terminalId);
  }
});

/** Starts the little app in a terminal of its own, on a free port unless one is named. */
async function startApp(text, port = 0) {
  const from = front.events.length;
  const {terminalId} = await front.ask('createTerminal', {
    projectId: workspace.project, userId: workspace.user, command: [process.execPath, appProgram, text, String(port)],
  });
  const {payload} = await front.event('previewServerStarted', 20_000, from);
  assert.equal(payload.terminalId, terminalId);
  started.add(terminalId);
  return {
    server: payload,
    async stop() {
      started.delete(terminalId);
      const seen = front.events.length;
      await front.ask('closeTerminal', {terminalId});
      return (await front.event('previewServerStopped', 10_000, seen)).payload;
    },
  };
}

/** Opens the iframe page inside the front end's page. */
async function openFramed(host) {
  const {page} = browser;
  await page.goto('about:blank');
  const src = `http://${host}:${service.port}/preview/${workspace.project}/${workspace.user}/iframe`;
  await page.goto(`http://127.0.0.1:${frontEnd.address().port}/?src=${encodeURIComponent(src)}`);
  const status = page.frameLocator('#preview').getByRole('status').first();
  const heard = (event, count = 1) => page.waitForFunction(
    ([wanted, times]) => window.heard.filter((each) => each.event === wanted).length >= times, [event, count], {timeout: 15_000});
  return {page, status, heard};
}

for (const {host, kind} of [{host: 'localhost', kind: 'origin'}, {host: '127.0.0.1', kind: 'path'}]) {
  test(`reached by ${host} the iframe page frames the ${kind} address, and tells its parent`, limit, async () => {
    const {page, status, heard} = await openFramed(host);
    await status.getByText(/Waiting for a dev server|Dev server has stopped|Terminal closed/).waitFor();

    const first = await startApp('first app');
    const address = kind === 'origin'
      ? first.server.originUrl
      : `http://127.0.0.1:${service.port}/preview/${workspace.project}/${workspace.user}/`;
    await (await appFrame(page, address, 10_000)).getByText('first app').waitFor({timeout: 10_000});
    await heard('started');
    await page.frameLocator('#preview').locator('.screen').waitFor({state: 'hidden', timeout: 15_000});

    const record = await first.stop();
    assert.equal(record.message, 'Terminal closed, dev server stopped');
    await status.getByText('Terminal closed, dev server stopped').waitFor({timeout: 15_000});
    await heard('stopped');
    assert.equal(findApp(page, address), undefined, 'the frame of a stopped app is still there');

    const second = await startApp('second app');
    await (await appFrame(page, address, 10_000)).getByText('second app').waitFor({timeout: 10_000});
    await heard('started', 2);
    const told = await page.evaluate(() => window.heard.filter((each) => each.source === 'previewd'));
    const ours = told.filter((each) => [first.server.generation, second.server.generation].includes(each.generation));
    assert.deepEqual(ours.map(({event, generation}) => [event, generation]), [
      ['started', first.server.generation],
      ['stopped', first.server.generation],
      ['started', second.server.generation],
    ]);
    await browser.shot(`iframe-${kind}`);
    await second.stop();
  });
}

test('a navigation to a preview that is down gets the loading page, which becomes the app by itself', limit, async () => {
  const {page} = browser;
  const {originUrl} = (await startApp('gone').then(async (app) => {
    await app.stop();
    return app;
  })).server;
  for (const address of [originUrl, `http://127.0.0.1:${service.port}/preview/${workspace.project}/${workspace.user}/`]) {
    const answer = await page.goto(address);
    assert.equal(answer.status(), 503);
    assert.equal(answer.headers()['retry-after'], '1');
    assert.equal(answer.headers()['cache-control'], 'no-store');
    await page.getByRole('status').getByText('Terminal closed, dev server stopped').waitFor({timeout: 15_000});
    await browser.shot('loading-page');

    const app = await startApp('here again');
    await page.getByRole('heading', {name: 'here again'}).waitFor({timeout: 15_000});
    assert.equal(page.url(), address);
    // What the app links to arrives too.
    await page.waitForFunction(() => getComputedStyle(document.querySelector('h1')).color === 'rgb(0, 128, 0)');
    await app.stop();
  }
});

test('at a further server\'s address the loading page waits for that one, whatever the primary does', limit, async () => {
  const {page} = browser;
  const primary = await startApp('primary');
  // Chosen, so that it stays primary whatever comes and while it is suspended.
  const chosen = await fetch(`http://127.0.0.1:${service.port}/api/servers/${primary.server.generation}`, {
    method: 'PATCH', body: JSON.stringify({primary: true}),
  });
  assert.equal(chosen.status, 200);
  let further = await startApp('further');
  const {port, originUrl, url} = further.server;
  assert.match(originUrl, new RegExp(`//${port}--`));
  const pathAddress = `http://127.0.0.1:${service.port}${url}/`;
  for (const {address, primaryIs} of [
    {address: originUrl, primaryIs: 'ready'}, {address: pathAddress, primaryIs: 'ready'}, {address: originUrl, primaryIs: 'suspended'},
  ]) {
    if (primaryIs === 'suspended') {
      const seen = front.events.length;
      process.kill(primary.server.pid, 'SIGSTOP');
      await front.event('previewServerUnreachable', 20_000, seen);
    }
    await further.stop();
    assert.equal((await page.goto(address)).status(), 503);
    await page.getByRole('status').getByText('Terminal closed, dev server stopped').waitFor({timeout: 15_000});
    await page.evaluate(() => (window.kept = true));
    await page.waitForTimeout(1_500);  // in which it asks again
    assert.equal(await page.evaluate(() => window.kept), true, 'it was loaded anew for nothing');

    further = await startApp('here again', port);
    await page.getByRole('heading', {name: 'here again'}).waitFor({timeout: 15_000});
    assert.equal(page.url(), address);
  }
  await further.stop();
  await primary.stop();
});

test('without Socket.IO the iframe page learns from the status, and goes on with both', limit, async () => {
  const {page, status} = await openFramed('localhost');
  await status.getByText('Terminal closed, dev server stopped').waitFor();
  await browser.cut();
  const app = await startApp('by status');
  await (await appFrame(page, app.server.originUrl, 15_000)).getByText('by status').waitFor({timeout: 10_000});
  await app.stop();
  await status.getByText('Terminal closed, dev server stopped').waitFor({timeout: 10_000});
  browser.mend();
  const again = await startApp('by event');
  await (await appFrame(page, again.server.originUrl, 15_000)).getByText('by event').waitFor({timeout: 10_000});
  await again.stop();
});

test('pages and log are free of errors, and nothing is left', limit, async () => {
  assert.deepEqual(browser.failures, []);
  assert.deepEqual(complaints(service.log), []);
  const status = await previewStatus(service, workspace);
  assert.equal(status.available, false);
  assert.deepEqual(status.servers, []);
});
