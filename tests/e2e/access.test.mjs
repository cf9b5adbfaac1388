// A browser that is let in by a link (auth.mode = token): the terminal page, and the preview beside it.
import assert from 'node:assert/strict';
import {createHmac} from 'node:crypto';
import {mkdtemp, rm, writeFile} from 'node:fs/promises';
import {tmpdir} from 'node:os';
import {dirname, join} from 'node:path';
import {after, before, test} from 'node:test';
import {fileURLToPath} from 'node:url';

import {appFrame, openBrowser} from './support/browser.mjs';
import {cleanUp, previewStatus, startService} from './support/service.mjs';

const workspace = {project: 'shop', user: 'eve'};
const appProgram = join(dirname(fileURLToPath(import.meta.url)), 'support/app.mjs');
const secret = 'the secret of the tests, which has enough bytes';

function tokenFor(claims) {
  const part = (value) => Buffer.from(JSON.stringify(value)).toString('base64url');
  const text = `${part({alg: 'HS256'})}.${part({exp: Math.floor(Date.now() / 1000) + 600, ...claims})}`;
  return `${text}.${createHmac('sha256', secret).update(text).digest('base64url')}`;
}

// Whatever the tests themselves ask, they ask as the operator.
const plainFetch = globalThis.fetch;
const operator = tokenFor({project: '*', user: '*', role: 'edit'});
globalThis.fetch = (url, init = {}) => plainFetch(url, {...init, headers: {authorization: `Bearer ${operator}`, ...init.headers}});

let folder;
let service;
let browser;

before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'previewd-keys-'));
  await writeFile(join(folder, 'main.key'), secret, {mode: 0o600});
  service = await startService(['--auth.mode', 'token', '--auth.secret_file', join(folder, 'main.key')]);
  browser = await openBrowser({cuttable: true});
});

after(() => cleanUp([() => browser?.close(), () => service?.stop(), () => rm(folder, {recursive: true}),
  () => (globalThis.fetch = plainFetch)]));

/** A link for the workspace's user. */
async function linkTo(page) {
  const answer = await fetch(`http://localhost:${service.port}/api/hand-overs`, {
    method: 'POST', body: JSON.stringify({...workspace, page}),
    headers: {authorization: `Bearer ${tokenFor({...workspace, role: 'edit'})}`},
  });
  assert.equal(answer.status, 201);
  return (await answer.json()).url;
}

test('a link lets a browser in to the terminal page and the preview beside it, once', {timeout: 180_000}, async () => {
  const opened = await fetch(`http://127.0.0.1:${service.port}/api/terminals`, {
    method: 'POST', body: JSON.stringify({...workspace, command: [process.execPath, appProgram, 'behind a door']}),
  });
  assert.equal(opened.status, 201);
  const {server} = await previewStatus(service, workspace, '?wait=20s');
  const terminalPage = `http://localhost:${service.port}/terminal/shop/eve`;
  const {page} = browser;
  assert.equal((await page.goto(terminalPage)).status(), 401);

  const link = await linkTo('terminal');
  const arrived = await page.goto(link);

  assert.equal(arrived.status(), 200);
  assert.equal(page.url(), terminalPage);
  const frame = await appFrame(page, server.originUrl, 20_000);
  assert.equal(await frame.locator('h1').textContent(), 'behind a door');
  assert.deepEqual(browser.failures, []);
  assert.equal((await page.goto(link)).status(), 401);

  const terminal = (await opened.json()).id;
  await fetch(`http://127.0.0.1:${service.port}/api/terminals/${terminal}`, {method: 'DELETE'});
});

test('a link lets a browser in to a preview alone', {timeout: 180_000}, async () => {
  const opened = await fetch(`http://127.0.0.1:${service.port}/api/terminals`, {
    method: 'POST', body: JSON.stringify({...workspace, command: [process.execPath, appProgram, 'behind another']}),
  });
  assert.equal(opened.status, 201);
  const {server} = await previewStatus(service, workspace, '?wait=20s');
  const context = await browser.browser.newContext();
  const page = await context.newPage();
  assert.equal((await page.goto(server.originUrl)).status(), 401);

  await page.goto(await linkTo('preview'));

  assert.equal(await page.locator('h1').textContent(), 'behind another');
  assert.equal(page.url(), server.originUrl);
  assert.equal((await page.goto(`http://localhost:${service.port}/terminal/shop/eve`)).status(), 401);
  await context.close();

  const terminal = (await opened.json()).id;
  await fetch(`http://127.0.0.1:${service.port}/api/terminals/${terminal}`, {method: 'DELETE'});
});

test('a page whose session has ended connects again when there is a new one', {timeout: 180_000}, async () => {
  const {context, page} = browser;
  await page.goto(await linkTo('terminal'));
  await page.locator('[data-link=connected]').waitFor();
  await context.clearCookies();
  await browser.cut();
  browser.mend();
  await page.locator('[data-link=lost]').waitFor();
  await page.waitForTimeout(2_000);  // in which it is refused
  assert.equal(await page.locator('#link').getAttribute('data-link'), 'lost');

  const tab = await context.newPage();
  await tab.goto(await linkTo('terminal'));

  await page.locator('[data-link=connected]').waitFor({timeout: 10_000});
  await tab.close();
});
