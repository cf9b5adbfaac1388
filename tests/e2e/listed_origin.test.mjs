// A front end of another origin that auth.origins lists: it uses the API, the events and Socket.IO from its own pages.
import assert from 'node:assert/strict';
import {readFile} from 'node:fs/promises';
import {createServer} from 'node:http';
import {once} from 'node:events';
import {after, before, test} from 'node:test';

import {openBrowser} from './support/browser.mjs';
import {cleanUp, startService} from './support/service.mjs';

const library = new URL('node_modules/socket.io-client/dist/socket.io.min.js', import.meta.url);

let pages;
let service;
let browser;

before(async () => {
  const script = await readFile(library);
  pages = createServer((request, response) => {
    const isPage = request.url === '/';
    response.writeHead(200, {'content-type': isPage ? 'text/html' : 'text/javascript'});
    response.end(isPage ? '<!doctype html><title>front end</title><script src="/socket.io.js"></script>' : script);
  });
  pages.listen(0, '127.0.0.1');
  await once(pages, 'listening');
  service = await startService(['--auth.origins', origin()]);
  browser = await openBrowser();
});

after(() => cleanUp([() => browser?.close(), () => service?.stop(), () => pages?.close()]));

function origin() {
  return `http://127.0.0.1:${pages.address().port}`;
}

test('a page of a listed origin uses the API, the events and Socket.IO', {timeout: 180_000}, async () => {
  const {page} = browser;
  await page.goto(`${origin()}/`);

  const seen = await page.evaluate(async (base) => {
    const events = new EventSource(`${base}/api/events`);
    const exit = new Promise((done) => events.addEventListener('terminalExit', (event) => done(JSON.parse(event.data))));
    await new Promise((done, failed) => {
      events.onopen = done;
      events.onerror = () => failed(new Error('no events'));
    });
    const opened = await fetch(`${base}/api/terminals`, {
      method: 'POST',
      headers: {'content-type': 'application/json'},
      body: JSON.stringify({project: 'shop', user: 'ann', command: ['/bin/cat']}),
    });
    const terminal = await opened.json();
    const location = opened.headers.get('location');
    const missing = await fetch(`${base}/api/terminals/none`);
    const socket = globalThis.io(base, {transports: ['polling']});
    const joined = await socket.timeout(10_000).emitWithAck('joinProject', {projectId: 'shop'});
    socket.close();
    const closed = await fetch(`${base}/api/terminals/${terminal.id}`, {method: 'DELETE'});
    const told = await exit;
    events.close();
    return {opened: opened.status, id: terminal.id, location, missing: (await missing.json()).code, told,
      joined, closed: closed.status};
  }, `http://127.0.0.1:${service.port}`);

  assert.equal(seen.opened, 201);
  assert.equal(seen.location, `/api/terminals/${seen.id}`);
  assert.equal(seen.missing, 'terminal_not_found');
  assert.equal(seen.told.terminalId, seen.id);
  assert.equal(seen.joined.ok, true);
  assert.equal(seen.joined.terminals.length, 1);
  assert.equal(seen.closed, 204);
  assert.deepEqual(browser.failures, []);
});

test('a page of an origin that is not listed gets nothing', {timeout: 180_000}, async () => {
  const other = createServer((request, response) => response.writeHead(200, {'content-type': 'text/html'}).end('<!doctype html>'));
  other.listen(0, '127.0.0.1');
  await once(other, 'listening');
  try {
    await browser.page.goto(`http://127.0.0.1:${other.address().port}/`);
    const error = await browser.page.evaluate(
      (base) => fetch(`${base}/api/terminals`).then(() => null, (failure) => failure.message), `http://127.0.0.1:${service.port}`);
    assert.equal(error, 'Failed to fetch');
  } finally {
    other.close();
  }
});
