// Full-screen programs after a lost connection: what xterm.js shows is what it showed before, although all output that drew it has
// long left the scrollback.
import assert from 'node:assert/strict';
import {writeFile} from 'node:fs/promises';
import {join} from 'node:path';
import {after, before, test} from 'node:test';

import {openBrowser, terminalOn} from './support/browser.mjs';
import {cleanUp, complaints, now, startService} from './support/service.mjs';

const limit = {timeout: 180_000};
const scrollback = 4096;
let service;
let browser;
let page;
let terminal;

before(async () => {
  service = await startService(['--terminal.scrollback', `${scrollback / 1024}KiB`]);
  await writeFile(join(service.home, '.bash_profile'), 'PS1="$ "\n');
  const text = Array.from({length: 300}, (_, row) => `line ${row} has ${'words '.repeat(row % 9)}and grüße 日本`).join('\n');
  await writeFile(join(service.home, 'text'), text);
  browser = await openBrowser({cuttable: true});
  ({page} = browser);
  terminal = terminalOn(page);
});

after(async () => {
  await cleanUp([() => browser?.close(), () => service?.stop()]);
});

const api = () => `http://127.0.0.1:${service.port}/api/terminals`;

async function only() {
  const answer = await fetch(`${api()}?project=lab&user=eve`);
  return (await answer.json()).terminals.find((each) => each.state === 'running');
}

async function open() {
  await page.goto(`${service.url}/terminal/lab/eve`);
  await page.locator('[role=tab][aria-selected=true][data-state=live]').waitFor();
}

/** Presses keys without the page, until the terminal has put out so much that nothing older is kept. */
async function press(keys) {
  const {id, sequence} = await only();
  const deadline = now() + 30_000;
  for (let put = sequence; put < sequence + 3 * scrollback; put = (await only()).sequence) {
    assert.ok(now() < deadline, `the program has put out only ${put - sequence} bytes`);
    assert.equal((await fetch(`${api()}/${id}/input`, {method: 'POST', body: keys})).status, 204);
  }
}

/** Every cell with its colours and attributes, the cursor, the title, and the modes a program has set. */
function screen() {
  return page.evaluate(() => {
    const shown = document.querySelector('[role=tabpanel]:not([hidden])').screen;
    const {active} = shown.buffer;
    const rows = Array.from({length: shown.rows}, (_, row) => {
      const line = active.getLine(active.baseY + row);
      return Array.from({length: shown.cols}, (_, column) => {
        const cell = line.getCell(column);
        return [cell.getChars().trim(), cell.getFgColorMode(), cell.getFgColor(), cell.getBgColorMode(), cell.getBgColor(),
          cell.isBold(), cell.isUnderline(), cell.isInverse(), cell.isItalic()].join();
      });
    });
    return {rows, type: active.type, cursor: [active.cursorX, active.cursorY], modes: {...shown.modes}};
  });
}

/** Waits until the screen shows `text` and no more output comes. */
async function settled(text) {
  await terminal.shows(text, 15_000);
  const deadline = now() + 15_000;
  for (let last = null; ;) {
    const {sequence} = await only();
    const is = JSON.stringify(await screen());
    if (last?.sequence === sequence && last.is === is) return JSON.parse(is);
    assert.ok(now() < deadline, 'the screen does not come to rest');
    last = {sequence, is};
    await page.waitForTimeout(300);  // two looks at the same thing say nothing
  }
}

const programs = {
  vim: {
    start: 'vim -u NONE -N -c "syntax on" -c "set number hlsearch mouse=a ttimeoutlen=0" ~/text', find: '/words\r', shows: /line 0 has/,
    there: '\x06\x06\x02\x02gg', leave: ':q!\r',
  },
  less: {start: 'less ~/text', find: '/words\r', shows: /line \d+ has/, there: 'ffbbg', leave: 'q'},
};

for (const [name, program] of Object.entries(programs)) {
  test(`${name} looks the same after a lost connection and in a new window`, limit, async () => {
    await open();
    await terminal.shows(/\$/, 10_000);
    await terminal.type(`clear; echo before-${name}`);
    await terminal.shows(`before-${name}\n`, 10_000);
    await terminal.type(program.start);
    await terminal.shows(program.shows, 10_000);
    await press(program.find + program.there);
    const wanted = await settled(program.shows);
    assert.equal(wanted.type, 'alternate');

    await browser.cut();
    await page.locator('[data-link=lost]').waitFor({timeout: 10_000});
    await press(program.there);
    browser.mend();
    await page.locator('[role=tab][aria-selected=true][data-state=live]').waitFor({timeout: 30_000});
    assert.deepEqual(await settled(program.shows), wanted);
    await browser.shot(`terminal-${name}-again`);

    await open();
    assert.deepEqual(await settled(program.shows), wanted);

    // Nothing that was replayed was answered, as if it had been asked now; and the shell is where it was.
    const {id} = await only();
    await fetch(`${api()}/${id}/input`, {method: 'POST', body: program.leave});
    await terminal.shows(`before-${name}\n`, 10_000);
    const left = await screen();
    assert.equal(left.type, 'normal');
    assert.equal(left.modes.mouseTrackingMode, 'none');
    await terminal.type(`echo "after-$((1+1))"`);
    await terminal.shows('after-2', 10_000);
  });
}

test('pages and log are free of errors', limit, () => {
  assert.deepEqual(browser.failures, []);
  assert.deepEqual(complaints(service.log), []);
});
