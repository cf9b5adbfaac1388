// Clients of Socket.IO whose connection breaks while servers come and go, on a service with two I/O threads: connection state
// recovery, and what clients do that know nothing of it.
import assert from 'node:assert/strict';
import {execFile} from 'node:child_process';
import {createServer} from 'node:http';
import {after, before, test} from 'node:test';
import {promisify} from 'node:util';

import {io} from 'socket.io-client';
import {io as first} from 'socket.io-client-first';

import {startService, within} from './support/service.mjs';

let service;
let server;
before(async () => {
  server = createServer((_, answer) => answer.end('hello'));
  await new Promise((done) => server.listen(0, '127.0.0.1', done));
  service = await startService(['--io.threads', '2']);
});
after(async () => {
  server.close();
  await service.stop();
});

const call = async (method, path, body) => {
  const answer = await fetch(`http://127.0.0.1:${service.port}${path}`, {
    method, headers: {'content-type': 'application/json', connection: 'close'}, body: body && JSON.stringify(body),
  });
  const text = await answer.text();
  if (!answer.ok) throw new Error(`${method} ${path}: ${answer.status} ${text}`);
  return text === '' ? null : JSON.parse(text);
};

/** A server comes, and goes: two events. */
async function comeAndGo(project) {
  const {generation} = await call('POST', '/api/servers', {project, user: 'ann', port: server.address().port});
  await call('DELETE', `/api/servers/${generation}`);
}

const happens = (emitter, event) => within(20_000, event, new Promise((done) => emitter.once(event, done)));

/** Waits until a list is as long as that. */
async function until(list, length, what) {
  const deadline = Date.now() + 20_000;
  while (list.length < length) {
    if (Date.now() > deadline) throw new Error(`${what}: ${list.length} of ${length} within 20 s`);
    await new Promise((done) => setTimeout(done, 5));
  }
}

for (const transport of ['polling', 'websocket']) {
  test(`who comes back by ${transport} gets what it missed, once and in order, and nothing of others`, async () => {
    const project = `missed-${transport}`;
    const socket = io(`http://127.0.0.1:${service.port}`, {transports: [transport], reconnection: false, forceNew: true});
    try {
      const heard = [];
      socket.onAny((name, payload) => heard.push([name, payload.sequence, payload.project]));
      await happens(socket, 'connect');
      assert.equal(socket.recovered, false);
      assert.equal((await socket.timeout(10_000).emitWithAck('joinProject', {projectId: project})).ok, true);
      await comeAndGo(project);
      await until(heard, 2, 'the first events');
      const {id} = socket;

      for (let round = 1; round <= 12; ++round) {
        const gone = happens(socket, 'disconnect');
        socket.io.engine.close();
        await gone;
        await comeAndGo(project);
        await comeAndGo(`other-${transport}`);
        const back = happens(socket, 'connect');
        socket.connect();
        await back;
        assert.equal(socket.recovered, true, `round ${round}`);
        assert.equal(socket.id, id);
        await comeAndGo(project);
        await until(heard, 2 + 4 * round, `the events of round ${round}`);
      }

      assert.equal(heard.length, 2 + 4 * 12);
      assert.deepEqual(heard.map(([name]) => name), Array.from({length: heard.length},
        (_, i) => (i % 2 === 0 ? 'previewServerStarted' : 'previewServerStopped')));
      assert.ok(heard.every(([, , of]) => of === project));
      const sequences = heard.map(([, sequence]) => sequence);
      assert.deepEqual(sequences, [...new Set(sequences)].sort((a, b) => a - b));
    } finally {
      socket.close();
    }
  });
}

test('a client that knows nothing of recovery catches up by the sequence', async () => {
  const project = 'old';
  const socket = first(`http://127.0.0.1:${service.port}`, {transports: ['websocket'], reconnection: false, forceNew: true});
  try {
    const heard = [];
    socket.onAny((name, payload) => heard.push([name, payload.sequence]));
    const ask = (name, payload) => within(10_000, name, new Promise((done) => socket.emit(name, payload, done)));
    await happens(socket, 'connect');
    await ask('joinProject', {projectId: project});
    await comeAndGo(project);
    await until(heard, 2, 'the first events');
    const gone = happens(socket, 'disconnect');
    socket.io.engine.close();
    await gone;
    await comeAndGo(project);
    const back = happens(socket, 'connect');
    socket.connect();
    await back;
    assert.equal((await ask('joinProject', {projectId: project, after: heard.at(-1)[1]})).ok, true);
    await until(heard, 4, 'what was missed');
    await comeAndGo(project);
    await until(heard, 6, 'what came later');
    const sequences = heard.map(([, sequence]) => sequence);
    assert.deepEqual(sequences, [...new Set(sequences)].sort((a, b) => a - b));
  } finally {
    socket.close();
  }
});

test("Python's client is told of servers by both transports, and runs a terminal", async () => {
  const script = new URL('support/client.py', import.meta.url).pathname;
  for (const transport of ['polling', 'websocket']) {
    const {stdout} = await promisify(execFile)('/usr/bin/python3', [script, service.port, transport, server.address().port].map(String), {timeout: 60_000});
    assert.deepEqual(JSON.parse(stdout), {
      transport, snapshot: true, events: ['previewServerStarted', 'previewServerStopped'], output: true, code: 7,
    });
  }
});
