// What the pages know of a workspace, event by event: the very module they use, bundled for node.
import assert from 'node:assert/strict';
import {dirname, resolve} from 'node:path';
import {before, test} from 'node:test';
import {fileURLToPath} from 'node:url';

import {build} from 'vite';

const sources = resolve(dirname(fileURLToPath(import.meta.url)), '../../web/src');
let WorkspaceState;
let sentence;
let explanation;
let addressOf;

async function load(name) {
  const result = await build({
    root: sources, configFile: false, logLevel: 'silent',
    build: {write: false, minify: false, lib: {entry: resolve(sources, name), formats: ['es'], fileName: 'module'}},
  });
  const [{output: [{code}]}] = [result].flat();
  return import(`data:text/javascript;base64,${Buffer.from(code).toString('base64')}`);
}

before(async () => {
  ({WorkspaceState, sentence, explanation} = await load('workspace_state.ts'));
  ({addressOf} = await load('protocol.ts'));
});

const workspace = {project: 'shop', user: 'ann'};
const server = (generation, more = {}) => ({
  ...workspace, generation, port: 5000 + generation, type: 'vite', state: 'ready', primary: true, url: '/preview/shop/ann',
  iframeUrl: '/preview/shop/ann/iframe', originUrl: 'http://shop--ann.preview.localhost:4000/', basePath: 'stripped',
  previousGeneration: null, ...more,
});
const stop = (generation, sequence, more = {}) => ({
  ...workspace, generation, sequence, port: 5000 + generation, terminalId: 't', message: 'Dev server has stopped',
  reason: 'process_exited', exitCode: null, signal: null, at: '2026-01-01T00:00:00.000Z', ...more,
});

test('a server comes, restarts and goes', () => {
  const state = new WorkspaceState(workspace);
  assert.equal(state.view.phase, 'unknown');
  state.join([], 10);
  assert.equal(state.view.phase, 'waiting');
  assert.ok(state.event('previewServerStarted', {...server(1), sequence: 11}));
  assert.equal(state.view.phase, 'ready');
  state.event('previewServerUnreachable', {...workspace, generation: 1, reason: 'restarting', sequence: 12});
  assert.equal(state.view.phase, 'restarting');
  state.event('previewServerStarted', {...server(2, {previousGeneration: 1}), sequence: 13});
  assert.equal(state.view.phase, 'ready');
  assert.equal(state.view.server.generation, 2);
  assert.deepEqual(state.view.others, []);
  state.event('previewServerStopped', stop(2, 14, {signal: 'SIGINT'}));
  assert.equal(state.view.phase, 'stopped');
  assert.equal(sentence(state.view), 'Dev server has stopped');
  assert.match(explanation(state.view), /SIGINT/);
});

test('what is older than what is known changes nothing, nor does a stranger', () => {
  const state = new WorkspaceState(workspace);
  state.join([server(2)], 20);
  assert.equal(state.event('previewServerStopped', stop(2, 20)), false);
  assert.equal(state.event('previewServerStopped', {...stop(2, 21), user: 'bob'}), false);
  assert.equal(state.status({available: false, server: null, servers: [], lastStop: null, sequence: 19}), false);
  assert.equal(state.view.phase, 'ready');
  assert.ok(state.event('previewServerStopped', stop(1, 22)));
  assert.equal(state.view.phase, 'ready', 'an older generation has stopped, the newer one runs');
  state.join([], 3);
  assert.equal(state.view.server, null, 'a service that counts anew is believed');
});

test('a suspended server gives its hint, a recovered one runs', () => {
  const state = new WorkspaceState(workspace);
  state.join([server(1)], 1);
  state.event('previewServerUnreachable', {...workspace, generation: 1, reason: 'suspended', hint: 'Type fg.', sequence: 2});
  assert.equal(state.view.phase, 'suspended');
  assert.equal(explanation(state.view), 'Type fg.');
  state.event('previewServerRecovered', {...workspace, generation: 1, sequence: 3});
  assert.equal(state.view.phase, 'ready');
  assert.equal(state.view.hint, '');
  state.event('previewServerUnreachable', {...workspace, generation: 1, reason: 'timeout', sequence: 4});
  assert.equal(state.view.phase, 'unreachable');
});

test('one server is shown, the others are named', () => {
  const state = new WorkspaceState(workspace);
  state.join([server(1), server(2, {primary: false})], 1);
  state.event('previewServerPrimary', {...server(2), sequence: 2});
  assert.equal(state.view.server.generation, 2);
  assert.deepEqual(state.view.others.map((each) => each.generation), [1]);
});

test('with a port the view is of the server there, whichever is behind the address', () => {
  const state = new WorkspaceState(workspace, 5002);
  state.join([server(1), server(2, {primary: false})], 1);
  assert.equal(state.view.server.generation, 2);
  state.event('previewServerStopped', stop(1, 2));
  assert.equal(state.view.phase, 'ready');
  state.event('previewServerStopped', stop(2, 3));
  assert.equal(state.view.phase, 'stopped');
  assert.equal(state.view.lastStop.generation, 2);
});

test('the address is the origin where that leads to the service, else the path', () => {
  assert.equal(addressOf(server(1), 'localhost'), 'http://shop--ann.preview.localhost:4000/');
  assert.equal(addressOf(server(1), 'ide.localhost'), 'http://shop--ann.preview.localhost:4000/');
  assert.equal(addressOf(server(1), '127.0.0.1'), '/preview/shop/ann/');
  assert.equal(addressOf(server(1), '[::1]'), '/preview/shop/ann/');
  assert.equal(addressOf(server(1), 'ide.example.com'), '/preview/shop/ann/');
  assert.equal(addressOf(server(1, {originUrl: null}), 'localhost'), '/preview/shop/ann/');
  assert.equal(addressOf(server(1, {basePath: 'kept'}), 'localhost'), 'http://shop--ann.preview.localhost:4000/preview/shop/ann/');
  const real = (more = {}) => server(1, {originUrl: 'https://shop--ann.preview.example.com/', ...more});
  assert.equal(addressOf(real(), 'ide.example.com'), 'https://shop--ann.preview.example.com/');
  assert.equal(addressOf(real(), 'localhost'), 'https://shop--ann.preview.example.com/');
  assert.equal(addressOf(real({basePath: 'kept'}), 'ide.example.com'), 'https://shop--ann.preview.example.com/preview/shop/ann/');
  assert.equal(addressOf(real({originUrl: null}), 'ide.example.com'), '/preview/shop/ann/');
  for (const number of ['192.0.2.1', '[2001:db8::1]']) assert.equal(addressOf(real(), number), '/preview/shop/ann/');
});
