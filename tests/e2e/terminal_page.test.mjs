// The terminal page by itself: what a person does with a terminal that has nothing to do with previews.
import assert from 'node:assert/strict';
import {after, before, test} from 'node:test';

import {openBrowser, terminalOn} from './support/browser.mjs';
import {cleanUp, complaints, startService} from './support/service.mjs';

const limit = {timeout: 180_000};
let service;
let browser;
let terminal;

before(async () => {
  service = await startService();
  browser = await openBrowser({cuttable: true});
  terminal = terminalOn(browser.page);
});

after(async () => {
  await cleanUp([() => browser?.close(), () => service?.stop()]);
});

async function open() {
  await browser.page.goto(`${service.url}/terminal/lab/eve`);
  await browser.page.locator('[data-link=connected]').waitFor();
  await browser.page.locator('#close-terminal:not([disabled])').waitFor();
  await terminal.shows(/\S/, 10_000);
}

async function runningTerminals() {
  const answer = await fetch(`http://127.0.0.1:${service.port}/api/terminals?project=lab&user=eve`);
  return (await answer.json()).terminals.filter((each) => each.state === 'running');
}

test('the start page leads to a terminal, and says which names it takes', limit, async () => {
  const {page} = browser;
  await page.goto(`${service.url}/`);
  await page.getByLabel('Project').fill('no/slash');
  await page.getByLabel('User').fill('eve');
  await page.getByRole('button', {name: 'Open terminal'}).click();
  await page.getByRole('alert').getByText('cannot be the name of a project').waitFor();
  await page.getByLabel('Project').fill('lab');
  await page.getByRole('button', {name: 'Open terminal'}).click();
  await page.waitForURL(`${service.url}/terminal/lab/eve`);
  await page.locator('[data-link=connected]').waitFor();
  await browser.shot('terminal-new');
});

test('what is typed reaches the shell, characters of any script too, and the size is the window\'s', limit, async () => {
  await open();
  await terminal.type('echo "grüße-日本-$((40+2))"');
  await terminal.shows('grüße-日本-42', 10_000);
  await terminal.type('echo size-$(stty size | tr " " x)-');
  const before = await terminal.shows(/size-(\d+)x(\d+)-/, 10_000);
  const rowsBefore = await browser.page.locator('.xterm-rows > div').count();
  await browser.page.setViewportSize({width: 900, height: 500});
  await browser.page.waitForFunction((count) => document.querySelectorAll('.xterm-rows > div').length < count, rowsBefore);
  await terminal.type('clear; echo now-$(stty size | tr " " x)-');
  const later = await terminal.shows(/now-(\d+)x(\d+)-/, 10_000);
  assert.ok(Number(later[1]) < Number(before[1]) && Number(later[2]) < Number(before[2]), `${before[0]} then ${later[0]}`);
  await browser.page.setViewportSize({width: 1280, height: 760});
  const outside = await browser.page.evaluate(() => {
    const pane = document.querySelector('#terminals').getBoundingClientRect();
    const screen = document.querySelector('.xterm-screen').getBoundingClientRect();
    return {right: screen.right - pane.right, bottom: screen.bottom - pane.bottom};
  });
  assert.ok(outside.right <= 0 && outside.bottom <= 0, `the screen is cut off: ${JSON.stringify(outside)}`);
});

test('a page that is loaded again attaches to the running terminal and shows what was on it', limit, async () => {
  await open();
  await terminal.type('clear; echo kept-$((50+5))');
  await terminal.shows('kept-55', 10_000);
  const [one] = await runningTerminals();
  await open();
  await terminal.shows('kept-55', 10_000);
  assert.deepEqual((await runningTerminals()).map((each) => each.id), [one.id]);
});

test('a lost connection is told, and made good without losing or doubling a byte', limit, async () => {
  await open();
  const {page} = browser;
  await terminal.type('clear; for i in $(seq 1 20); do echo "line $i of 20"; sleep 0.2; done; echo all-$((90+9))');
  await terminal.shows('line 3 of 20', 10_000);
  await browser.cut();
  await page.locator('[data-link=lost]').waitFor({timeout: 10_000});
  await page.waitForTimeout(1_000);  // output that is made meanwhile
  browser.mend();
  await page.locator('[data-link=connected]').waitFor({timeout: 30_000});
  await terminal.shows('all-99', 20_000);
  const lines = (await terminal.text()).split('\n').filter((line) => line.startsWith('line '));
  assert.deepEqual(lines.map((line) => line.trim()), Array.from({length: 20}, (_, index) => `line ${index + 1} of 20`));
});

test('output that is no UTF-8 loses nothing of what is around it', limit, async () => {
  await open();
  // The pauses give each text an event of its own.
  await terminal.type(String.raw`clear; sleep 0.5; printf 'a\351\351\351b-end\n'; sleep 0.5; printf 'caf\351\n'`);
  await terminal.shows('caf\ufffd', 10_000);
  assert.match(await terminal.text(), /^a\ufffd{3}b-end\s*$/m);
});

test('megabytes of output stay usable: Ctrl+C ends them at once', limit, async () => {
  await open();
  await terminal.type('clear; yes "a line of output that goes on and on and on"');
  await terminal.shows('on and on', 10_000);
  await browser.page.waitForTimeout(1_000);  // in which it floods
  await terminal.press('Control+C');
  await terminal.type('clear; echo calm-$((30+3))');
  await terminal.shows('calm-33', 10_000);
});

test('pages and log are free of errors', limit, () => {
  assert.deepEqual(browser.failures, []);
  assert.deepEqual(complaints(service.log), []);
});
