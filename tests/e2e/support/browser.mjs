// Debian's Chromium, and what the tests see through it.
import {mkdir} from 'node:fs/promises';
import {join} from 'node:path';

import {chromium} from 'playwright-core';

import {artifacts, now} from './service.mjs';

const programs = process.env.PREVIEWD_CHROMIUM ?? '/usr/bin/chromium';

/** Starts a browser with one page. Its Socket.IO can be cut when it is `cuttable`, at the price of a page that is not quite as sold. */
export async function openBrowser({cuttable = false} = {}) {
  await mkdir(artifacts, {recursive: true});
  const browser = await chromium.launch({
    executablePath: programs,
    headless: true,
    args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
      '--disable-component-update', '--disable-sync'],
  });
  const context = await browser.newContext({viewport: {width: 1280, height: 760}});
  const page = await context.newPage();
  const failures = [];
  page.on('pageerror', (error) => failures.push(error.message));
  // WebSockets of all frames, in the order in which they were opened.
  const sockets = [];
  page.on('websocket', (socket) => {
    const entry = {url: socket.url(), closedAt: null};
    sockets.push(entry);
    socket.on('close', () => (entry.closedAt = now()));
  });
  // Socket.IO of the pages, which a test may cut: pulling the plug does not reach connections to one's own machine.
  let cut = false;
  const live = new Set();
  const polls = new Set();
  if (cuttable) {
    await context.routeWebSocket(/\/socket\.io\//, (socket) => {
      if (cut) return socket.close();
      socket.connectToServer();
      live.add(socket);
    });
    await context.route(/\/socket\.io\//, async (route) => {
      if (cut) return route.abort();
      polls.add(route);
      try {
        const response = await route.fetch();
        if (polls.delete(route)) await route.fulfill({response});
      } catch {
        if (polls.delete(route)) await route.abort().catch(() => {});  // the page, or the service, has gone meanwhile
      }
    });
  }
  return {
    browser, context, page, failures, sockets,
    /** Ends every Socket.IO connection, and lets no new one come up until `mend`. */
    async cut() {
      cut = true;
      const ending = [...live, ...polls];
      live.clear();
      polls.clear();
      await Promise.all(ending.map((each) => (each.close?.() ?? each.abort()).catch(() => {})));
    },
    mend: () => (cut = false),
    shot: (name) => page.screenshot({path: join(artifacts, `${name}.png`)}),
    close: () => browser.close(),
  };
}

/** The terminal that is shown on a terminal page, used as a person does: by keys and eyes. */
export function terminalOn(page) {
  const shown = '[role=tabpanel]:not([hidden])';
  const keys = page.locator(`${shown} .xterm-helper-textarea`);
  const text = () => page.evaluate((panel) => document.querySelector(`${panel} .xterm-rows`)?.innerText.replaceAll('\u00a0', ' ') ?? '', shown);
  return {
    text,
    async type(line) {
      await keys.focus();
      await page.keyboard.type(`${line}\n`);
    },
    async press(combination) {
      await keys.focus();
      await page.keyboard.press(combination);
    },
    /** Waits until the screen shows `wanted`, a text or an expression, and returns the match. */
    async shows(wanted, ms) {
      const pattern = wanted instanceof RegExp ? wanted : new RegExp(wanted.replace(/[.*+?^${}()|[\]\\]/g, '\\$&'));
      const deadline = now() + ms;
      for (;;) {
        const there = await text();
        const match = pattern.exec(there);
        if (match) return match;
        if (now() > deadline) throw new Error(`The terminal did not show ${pattern} within ${ms} ms, but:\n${there}`);
        await page.waitForTimeout(100);
      }
    },
    /** All that xterm.js holds: every line from the first of its scrollback on, the cursor, and which of its screens it is. */
    buffer: () => page.evaluate((panel) => {
      const {active} = document.querySelector(panel).screen.buffer;
      const lines = Array.from({length: active.length}, (_, row) => active.getLine(row).translateToString(true));
      while (lines.length > 0 && lines.at(-1) === '') lines.pop();
      return {lines, type: active.type, cursor: [active.cursorX, active.baseY + active.cursorY]};
    }, shown),
  };
}

/** The frame that holds the app: what the page at `/preview/.../iframe` frames; undefined when there is none. */
export function findApp(page, address) {
  return page.frames().find((each) => each.url().startsWith(address) && !each.url().endsWith('/iframe'));
}

/** The same, waited for. */
export async function appFrame(page, address, ms) {
  const deadline = now() + ms;
  for (;;) {
    const frame = findApp(page, address);
    if (frame) return frame;
    if (now() > deadline) throw new Error(`No frame of ${address}; there are:\n${page.frames().map((each) => each.url()).join('\n')}`);
    await page.waitForTimeout(50);
  }
}

/** The frame with the loading screen. */
export function previewFrame(page) {
  return page.frameLocator('iframe#preview');
}
