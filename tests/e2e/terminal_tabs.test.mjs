// The terminal page as a place to work in: several terminals, found again after a reload and a lost connection, by keys alone.
import assert from 'node:assert/strict';
import {writeFile} from 'node:fs/promises';
import {join} from 'node:path';
import {after, afterEach, before, test} from 'node:test';

import {openBrowser, terminalOn} from './support/browser.mjs';
import {cleanUp, complaints, startService, watchEvents, within} from './support/service.mjs';

const limit = {timeout: 150_000};
const workspace = {project: 'lab', user: 'eve'};
let service;
let browser;
let page;
let terminal;
let console_;  // what the page complained of

before(async () => {
  service = await startService();
  await writeFile(join(service.home, '.bash_profile'), 'PS1="$ "\n');  // which gives the terminal no title of its own
  browser = await openBrowser({cuttable: true});
  ({page} = browser);
  console_ = [];
  page.on('console', (message) => {
    if (['error', 'warning'].includes(message.type())) console_.push(message.text());
  });
  await browser.context.grantPermissions(['clipboard-read', 'clipboard-write'], {origin: service.url});
  terminal = terminalOn(page);
});

after(async () => {
  await cleanUp([() => browser?.close(), () => service?.stop()]);
});

// A test that failed leaves nothing to the next one.
afterEach(async () => {
  browser.mend();
  await page.goto('about:blank');
  for (const {id} of await terminals()) await fetch(`${api()}/terminals/${id}`, {method: 'DELETE'});
});

const api = () => `http://127.0.0.1:${service.port}/api`;
const tabs = () => page.getByRole('tab');
const selected = () => page.getByRole('tab', {selected: true});

async function terminals() {
  const answer = await fetch(`${api()}/terminals?project=lab&user=eve`);
  return (await answer.json()).terminals.filter((each) => each.state === 'running');
}

async function open() {
  await page.goto(`${service.url}/terminal/lab/eve`);
  await ready();
}

async function ready() {
  await page.locator('[data-link=connected]').waitFor();
  await page.locator('[role=tab][aria-selected=true][data-state=live]').waitFor();
  await terminal.shows(/\$/, 10_000);
}

async function openAnother() {
  const count = await tabs().count();
  await page.locator('#new-terminal').click();
  await page.waitForFunction((before) => document.querySelectorAll('[role=tab]').length > before, count);
  await ready();
}

/** The focused element: its id, or its role. */
const focused = () => page.evaluate(() => {
  const {activeElement} = document;
  return activeElement.classList.contains('xterm-helper-textarea') ? 'terminal' : activeElement.id || activeElement.getAttribute('role');
});

/** Cuts the connection, lets `meanwhile` happen, and waits until it is there again. */
async function interrupted(meanwhile) {
  await browser.cut();
  await page.locator('[data-link=lost]').waitFor({timeout: 20_000});
  await page.locator('[role=tab][aria-selected=true][data-state=reconnecting]').waitFor();
  await meanwhile();
  browser.mend();
  await page.locator('[data-link=connected]').waitFor({timeout: 30_000});
}

test('terminals are opened, switched and closed as tabs, and found again by a reload', limit, async () => {
  await open();
  await terminal.type('echo first-$((10+1))');
  await terminal.shows('first-11', 10_000);
  await openAnother();
  await terminal.type('echo second-$((20+2))');
  await terminal.shows('second-22', 10_000);
  await openAnother();
  assert.deepEqual(await tabs().allInnerTexts(), ['Terminal 1', 'Terminal 2', 'Terminal 3']);
  assert.equal((await terminals()).length, 3);

  await tabs().nth(1).click();
  await terminal.shows('second-22', 15_000);
  assert.equal(await focused(), 'terminal');

  await page.reload();
  await ready();
  assert.equal(await tabs().count(), 3);
  assert.equal((await terminals()).length, 3, 'a reload opens nothing');
  await terminal.shows('second-22', 10_000);
  await tabs().first().click();
  await terminal.shows('first-11', 10_000);

  await page.locator('#close-terminal').click();
  await page.getByRole('button', {name: 'Keep it'}).click();
  assert.equal(await tabs().count(), 3);
  await page.locator('#close-terminal').click();
  await page.getByRole('button', {name: 'Close terminal'}).click();
  await page.waitForFunction(() => document.querySelectorAll('[role=tab]').length === 2);
  await terminal.shows('second-22', 10_000);
  await tabs().nth(1).locator('.tab-close').click();
  await page.getByRole('button', {name: 'Close terminal'}).click();
  await tabs().nth(1).waitFor({state: 'detached'});
  assert.equal((await terminals()).length, 1);
  await page.locator('#close-terminal').click();
  await page.getByRole('button', {name: 'Close terminal'}).click();
  await page.getByText('No terminal is open.').waitFor();
  assert.equal(await focused(), 'first-terminal');
  await page.keyboard.press('Enter');
  await ready();
  assert.equal((await terminals()).length, 1);
});

test('a terminal that is opened elsewhere has a tab when its server starts, and an address of its own', limit, async () => {
  await open();
  const front = await watchEvents(service, workspace);
  try {
    const {terminalId} = await front.ask('createTerminal', {projectId: 'lab', userId: 'eve', command: ['python3', '-u', '-m', 'http.server', '0']});
    await front.event('previewServerStarted', 20_000);
    await tabs().nth(1).waitFor({timeout: 10_000});
    assert.equal(await selected().innerText(), 'Terminal 1');
    await page.goto('about:blank');
    await page.goto(`${service.url}/terminal/lab/eve#${terminalId}`);
    await terminal.shows('Serving HTTP', 10_000);
  } finally {
    front.close();
  }
});

test('keys alone do it all: out of the terminal, from tab to tab, and back', limit, async () => {
  await open();
  await openAnother();
  await terminal.press('Control+Shift+ArrowUp');
  assert.equal(await focused(), await selected().getAttribute('id'));
  const outline = await selected().evaluate((tab) => getComputedStyle(tab).outlineStyle);
  assert.notEqual(outline, 'none', 'the focus is to be seen');

  await page.keyboard.press('ArrowRight');
  assert.equal(await selected().innerText(), 'Terminal 1');
  assert.equal(await focused(), await selected().getAttribute('id'));
  await page.keyboard.press('End');
  assert.equal(await selected().innerText(), 'Terminal 2');
  await page.keyboard.press('Home');
  await page.keyboard.press('ArrowLeft');
  assert.equal(await selected().innerText(), 'Terminal 2');
  assert.equal(await tabs().first().getAttribute('tabindex'), '-1');
  assert.equal(await selected().getAttribute('tabindex'), '0');
  const panel = page.locator(`#${await selected().getAttribute('aria-controls')}`);
  assert.equal(await panel.getAttribute('role'), 'tabpanel');
  assert.equal(await panel.getAttribute('aria-labelledby'), await selected().getAttribute('id'));

  const way = [];
  for (let i = 0; i < 5; ++i) {
    await page.keyboard.press('Tab');
    way.push(await focused());
  }
  assert.deepEqual(way, ['new-terminal', 'search-toggle', 'restart-terminal', 'close-terminal', 'terminal']);
  await terminal.press('Control+Shift+ArrowLeft');
  assert.equal(await selected().innerText(), 'Terminal 1');
  assert.equal(await focused(), 'terminal');

  await terminal.press('Control+Shift+ArrowUp');
  await page.keyboard.press('Delete');
  await page.getByRole('dialog').waitFor();
  await page.keyboard.press('Tab');
  await page.keyboard.press('Enter');
  await page.waitForFunction(() => document.querySelectorAll('[role=tab]').length === 1);
  assert.equal(await focused(), 'terminal');
});

test('after a lost connection the whole buffer is what it would have been, of each terminal', limit, async () => {
  await open();
  const run = (name) => terminal.type(`clear; for i in $(seq 1 120); do echo "${name} $i"; sleep 0.02; done; echo ${name}-$((90+9))`);
  await run('one');
  await openAnother();
  await run('two');
  await terminal.shows('two 5\n', 10_000);
  await interrupted(() => page.waitForTimeout(500));  // output that is made meanwhile
  await terminal.shows('two-99', 20_000);
  const expected = (name) => [...Array.from({length: 120}, (_, index) => `${name} ${index + 1}`), `${name}-99`];
  const output = async () => (await terminal.buffer()).lines.filter((line) => /^(one|two)[ -]\d/.test(line));
  assert.deepEqual(await output(), expected('two'));
  await tabs().first().click();
  await terminal.shows('one-99', 10_000);
  assert.deepEqual(await output(), expected('one'));
  const before = await terminal.buffer();
  await interrupted(() => {});
  await page.locator('[role=tab][aria-selected=true][data-state=live]').waitFor();
  await terminal.type('true');
  await page.waitForFunction((count) => document.querySelector('[role=tabpanel]:not([hidden])').screen.buffer.active.length >= count, before.lines.length + 1);
  const later = await terminal.buffer();
  assert.deepEqual(later.lines.slice(0, before.lines.length - 1), before.lines.slice(0, -1));
});

test('a full-screen program is on the screen again after a reload and a lost connection', limit, async () => {
  await open();
  await terminal.type('seq 1 500 > numbers; LESS= less -N numbers');
  await terminal.shows(/\b20\b/, 10_000);
  await terminal.press('PageDown');
  await page.keyboard.type('50g');
  const whole = /^\s*50 50\n[^]*\n:\s*$/;  // the prompt comes last
  await terminal.shows(whole, 15_000);
  const before = await terminal.buffer();
  assert.equal(before.type, 'alternate');
  await interrupted(() => {});
  await page.locator('[role=tab][aria-selected=true][data-state=live]').waitFor();
  assert.deepEqual(await terminal.buffer(), before);
  await page.reload();
  await page.locator('[role=tab][aria-selected=true][data-state=live]').waitFor();
  await terminal.shows(whole, 10_000);
  assert.deepEqual(await terminal.buffer(), before);
  await terminal.press('q');
});

test('what programs once asked the terminal is not answered again by a page that comes later', limit, async () => {
  await open();
  await terminal.type(String.raw`IFS= read -rs -d c -p $'\e[c' answer; echo "answered-${'$'}{#answer}-$((1+1))"`);
  await terminal.shows(/answered-[1-9]\d*-2/, 10_000);
  await page.reload();
  await ready();
  await terminal.shows(/answered-[1-9]\d*-2/, 10_000);
  await terminal.type('echo clean-$((2+2))');
  await terminal.shows('clean-4', 10_000);
  assert.doesNotMatch(await terminal.text(), /\d+;\d+c/);
});

test('an end is told with its exit code, and restart begins anew in the same folder', limit, async () => {
  await open();
  await page.evaluate(() => (window.loaded = 'once'));
  await terminal.type('exit 3');
  await page.getByText('The shell has exited with code 3.').waitFor({timeout: 10_000});
  assert.equal(await selected().getAttribute('data-state'), 'ended');
  assert.match(await selected().textContent(), /ended/);
  assert.equal(await page.evaluate(() => document.activeElement.textContent), 'Restart');
  await browser.shot('terminal-ended');
  await page.keyboard.press('Enter');
  await ready();
  assert.equal(await tabs().count(), 1);

  await terminal.type('sleep 1000');
  await page.locator('#restart-terminal').click();
  const [before] = await terminals();
  await page.getByRole('button', {name: 'Restart terminal'}).click();
  await page.waitForFunction(() => document.querySelector('[role=tab]').id !== 'tab-2');
  await ready();
  await terminal.type('echo again-$((3+3))');
  await terminal.shows('again-6', 10_000);
  assert.equal(await tabs().count(), 1);
  assert.ok(!(await terminals()).some((each) => each.id === before.id));

  const [{id}] = await terminals();
  await fetch(`${api()}/terminals/${id}`, {method: 'DELETE'});
  await page.locator('[role=tab][data-state=ended]').waitFor({timeout: 10_000});
  assert.equal(await page.evaluate(() => window.loaded), 'once');
});

test('a title from the terminal is shown as text, whatever it holds', limit, async () => {
  await open();
  await terminal.type(String.raw`printf '\e]0;<img src=x onerror=alert(1)>\u202e\x01 two\a'`);
  await page.waitForFunction(() => document.querySelector('.tab-label').textContent.startsWith('<img'));
  assert.equal(await page.locator('.tab-label').textContent(), '<img src=x onerror=alert(1)> two');
  assert.equal(await page.locator('.tabs img').count(), 0);
  await terminal.type(String.raw`printf '\e]2;build\a'`);
  await page.waitForFunction(() => document.querySelector('.tab-label').textContent === 'build');
  await terminal.type(String.raw`printf '\e]2;\a'`);
  await page.waitForFunction(() => document.querySelector('.tab-label').textContent === 'Terminal 1');
});

test('Ctrl+Shift+C copies what is selected, Ctrl+Shift+V types the clipboard', limit, async () => {
  await open();
  await terminal.type('clear; echo "copied-$((40+2))"');
  await terminal.shows('copied-42', 10_000);
  const row = page.locator('.xterm-rows > div', {hasText: /^copied-42/}).first();
  const box = await row.boundingBox();
  await page.mouse.dblclick(box.x + 20, box.y + box.height / 2);
  await page.keyboard.press('Control+Shift+C');
  await page.waitForFunction(async () => (await navigator.clipboard.readText()).startsWith('copied'));
  const copied = await page.evaluate(() => navigator.clipboard.readText());
  assert.equal(copied, 'copied-42');
  await page.evaluate(() => navigator.clipboard.writeText('echo pasted-$((50+5))'));
  await terminal.press('Control+Shift+V');
  await page.keyboard.press('Enter');
  await terminal.shows('pasted-55', 10_000);
});

test('Ctrl+Shift+F searches what has been put out, by keys and with a count', limit, async () => {
  await open();
  await terminal.type('clear; for i in $(seq 1 200); do echo "entry-$i"; done; echo Needle needle; echo done-$((7*7))');
  await terminal.shows('done-49', 10_000);
  await terminal.press('Control+Shift+F');
  const bar = page.getByRole('search');
  await bar.waitFor();
  assert.equal(await page.locator('#search-toggle').getAttribute('aria-expanded'), 'true');
  await page.keyboard.type('entry-19');
  await bar.getByText('11 of 11').waitFor();
  await page.keyboard.press('Enter');
  await bar.getByText('10 of 11').waitFor();
  await page.keyboard.press('Shift+Enter');
  await bar.getByText('11 of 11').waitFor();
  await browser.shot('terminal-search');
  await page.keyboard.press('Control+A');
  await page.keyboard.type('entry-42');
  await bar.getByText('1 of 1').waitFor();
  await terminal.shows(/entry-42\n/, 15_000);
  await page.keyboard.press('Control+A');
  await page.keyboard.type('Needle');
  await bar.getByText('2 of 2').waitFor();
  await bar.getByLabel('Match case').check();
  await bar.getByText('1 of 1').waitFor();
  await page.keyboard.press('Escape');
  await bar.waitFor({state: 'hidden'});
  assert.equal(await focused(), 'terminal');
});

test('addresses in the output are links that open in a tab of their own', limit, async () => {
  await open();
  const address = `${service.url}/healthz`;
  await terminal.type(`clear; echo "see ${address} there"`);
  await terminal.shows(new RegExp(`^see ${address}`, 'm'), 10_000);
  const row = page.locator('.xterm-rows > div', {hasText: /^see http/}).first();
  const box = await row.boundingBox();
  await page.mouse.move(box.x + 100, box.y + box.height / 2);
  await page.waitForFunction(() => document.querySelector('.xterm-cursor-pointer'));
  const [opened] = await within(10_000, 'the link', Promise.all([
    browser.context.waitForEvent('page'), page.mouse.click(box.x + 100, box.y + box.height / 2),
  ]));
  await opened.waitForURL(address);
  assert.equal(await opened.evaluate(() => window.opener), null);
  await opened.close();
});

test('light or dark is as the system has it, also when that changes', limit, async () => {
  await open();
  const ground = () => page.evaluate(() => getComputedStyle(document.querySelector('.xterm .xterm-scrollable-element')).backgroundColor);
  await page.emulateMedia({colorScheme: 'dark'});
  await page.waitForFunction(() => document.querySelector('[role=tabpanel]:not([hidden])').screen.options.theme.background === '#14161b');
  const dark = await ground();
  await page.emulateMedia({colorScheme: 'light'});
  await page.waitForFunction(() => document.querySelector('[role=tabpanel]:not([hidden])').screen.options.theme.background === '#fbfbfd');
  assert.notEqual(await ground(), dark);
});

test('the page lets in no code but its own', limit, async () => {
  const answer = await page.goto(`${service.url}/terminal/lab/eve`);
  const policy = answer.headers()['content-security-policy'];
  for (const rule of ["default-src 'none'", "script-src 'self'", "connect-src 'self'", "base-uri 'none'", "frame-ancestors 'self'"]) {
    assert.ok(policy.includes(rule), `${rule} is in ${policy}`);
  }
  await ready();
  const violations = await page.evaluate(async () => {
    const seen = [];
    document.addEventListener('securitypolicyviolation', (event) => seen.push(event.effectiveDirective));
    const ways = [
      () => document.body.insertAdjacentHTML('beforeend', '<img src="/nothing-here" onerror="window.injected = true">'),
      () => document.body.appendChild(document.createElement('img')).setAttribute('onerror', 'window.injected = true'),
      () => (document.body.appendChild(document.createElement('script')).textContent = 'window.injected = true'),
    ];
    const refused = ways.filter((way) => {
      try {
        way();
        return false;
      } catch {
        return true;
      }
    });
    await new Promise((done) => setTimeout(done, 300));
    return {seen, refused: refused.length, ways: ways.length, injected: window.injected ?? false};
  });
  assert.equal(violations.injected, false);
  assert.equal(violations.refused, violations.ways);
  assert.ok(violations.seen.includes('require-trusted-types-for'), `${violations.seen}`);
  console_.length = 0;  // which complained of what was done here
});

test('pages and log are free of errors', limit, () => {
  assert.deepEqual(browser.failures, []);
  assert.deepEqual(console_.filter((text) => /Content Security|Trusted/i.test(text)), []);
  assert.deepEqual(complaints(service.log), []);
});
