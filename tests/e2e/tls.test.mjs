// The real program behind its own certificate: curl, WebSockets and Socket.IO by HTTPS, and another certificate by SIGHUP.
import assert from 'node:assert/strict';
import {spawn, spawnSync} from 'node:child_process';
import {once} from 'node:events';
import {copyFile, mkdtemp, readFile, rm, writeFile} from 'node:fs/promises';
import https from 'node:https';
import {tmpdir} from 'node:os';
import {dirname, join, resolve} from 'node:path';
import {createInterface} from 'node:readline';
import {after, before, test} from 'node:test';
import tls from 'node:tls';
import {fileURLToPath} from 'node:url';

import {io} from 'socket.io-client';
import WebSocket from 'ws';

import {within} from './support/service.mjs';

const root = resolve(dirname(fileURLToPath(import.meta.url)), '../..');
const program = process.env.PREVIEWD_BIN ?? join(root, 'build/dev/service/previewd');

let folder;
let service;
let port;
let ca;
const log = [];

/** A certificate that vouches for itself, and its key. */
function makeCertificate(name) {
  const made = spawnSync('openssl', ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '1',
    '-subj', `/CN=${name}`, '-addext', 'subjectAltName=DNS:localhost,DNS:*.preview.localhost,IP:127.0.0.1',
    '-out', join(folder, `${name}.pem`), '-keyout', join(folder, `${name}.key`)], {encoding: 'utf8'});
  assert.equal(made.status, 0, made.stderr);
}

const files = (certificate = 'tls', key = 'tls') =>
  ['--tls.certificate_file', join(folder, `${certificate}.pem`), '--tls.key_file', join(folder, `${key}.key`)];

function start(settings) {
  const environment = {...process.env, HOME: folder, XDG_CONFIG_HOME: folder, XDG_STATE_HOME: folder, SHELL: '/bin/bash'};
  for (const name of Object.keys(environment)) if (/^(?:NODE_|PREVIEWD_)/.test(name)) delete environment[name];
  return spawn(program, ['--listen', '127.0.0.1:0', '--store.path', '', '--log.format', 'json', ...settings], {env: environment, cwd: folder});
}

/** The certificate that a client who comes now is shown. */
async function shown() {
  const socket = tls.connect({port, host: '127.0.0.1', servername: 'localhost', rejectUnauthorized: false});
  await within(10_000, 'a handshake', once(socket, 'secureConnect'));
  const name = socket.getPeerCertificate().subject.CN;
  socket.destroy();
  return name;
}

function ask(path, {agent, method = 'GET', body, authority = ca} = {}) {
  return within(20_000, path, new Promise((done, failed) => {
    const request = https.request({port, host: '127.0.0.1', servername: 'localhost', ca: authority, agent: agent ?? false, method, path,
      headers: {host: `localhost:${port}`, ...(body ? {'content-type': 'application/json'} : {})}}, (answer) => {
      let text = '';
      answer.on('data', (part) => (text += part));
      answer.on('end', () => done({status: answer.statusCode, text, socket: request.socket}));
    });
    request.on('error', failed);
    request.end(body);
  }));
}

async function logged(event, from) {
  const deadline = Date.now() + 10_000;
  for (;;) {
    const line = log.slice(from).find((each) => each.event === event);
    if (line) return line;
    assert.ok(Date.now() < deadline, `no ${event} in the log`);
    await new Promise((done) => setTimeout(done, 20));
  }
}

before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'previewd-tls-'));
  for (const name of ['tls', 'next']) makeCertificate(name);
  ca = await readFile(join(folder, 'tls.pem'));
  service = start(files());
  createInterface({input: service.stderr}).on('line', (line) => log.push(JSON.parse(line)));
  const [line] = await within(20_000, 'the first line', once(createInterface({input: service.stdout}), 'line'));
  assert.match(line, /^previewd listening on https:\/\/127\.0\.0\.1:\d+$/);
  port = Number(line.slice(line.lastIndexOf(':') + 1));
});

after(async () => {
  if (service?.exitCode === null) {
    service.kill('SIGTERM');
    const [code] = await within(20_000, 'the end', once(service, 'exit'));
    assert.equal(code, 0);
  }
  await rm(folder, {recursive: true});
});

test('curl that knows the certificate is answered, and one that does not turns away', () => {
  const curl = (...more) => spawnSync('curl', ['-sS', '--max-time', '20', ...more, `https://localhost:${port}/healthz`], {encoding: 'utf8'});

  assert.equal(curl('--cacert', join(folder, 'tls.pem')).stdout.trim(), 'ok');
  assert.equal(curl('--cacert', join(folder, 'next.pem')).status, 60);
  const plain = spawnSync('curl', ['-sS', '--max-time', '20', `http://localhost:${port}/healthz`, '-w', '%{http_code}'], {encoding: 'utf8'});
  assert.match(plain.stdout, /HTTPS.*400$/s);
});

test('a terminal is used over wss, and knows its preview by https', async () => {
  const made = JSON.parse((await ask('/api/terminals', {method: 'POST', body: '{"project":"shop","user":"eve"}'})).text);
  const socket = new WebSocket(`wss://localhost:${port}/api/terminals/${made.id}/attach`, {ca, headers: {origin: `https://localhost:${port}`}});
  let seen = '';
  socket.on('message', (bytes) => (seen += bytes));
  await within(10_000, 'the upgrade', once(socket, 'open'));

  socket.send('echo "<$PREVIEWD_ORIGIN>"\r');
  const wanted = `<https://shop--eve.preview.localhost:${port}>`;
  await within(10_000, 'the origin', (async () => {
    while (!seen.includes(wanted)) await once(socket, 'message');
  })());
  const closed = once(socket, 'close');
  assert.equal((await ask(`/api/terminals/${made.id}`, {method: 'DELETE'})).status, 204);
  const [code] = await within(20_000, 'the close frame', closed);

  assert.equal(code, 4001);
});

test('Socket.IO connects by polling and goes on by wss', async () => {
  const socket = io(`https://localhost:${port}`, {ca, reconnection: false});
  try {
    const upgraded = new Promise((done) => socket.io.engine.on('upgrade', (transport) => done(transport.name)));
    assert.equal(await within(20_000, 'the upgrade', upgraded), 'websocket');
    const answer = await within(10_000, 'joinProject', socket.emitWithAck('joinProject', {projectId: 'shop'}));
    assert.equal(answer.ok, true);
  } finally {
    socket.close();
  }
});

test('SIGHUP shows another certificate to who comes, and a bad one to nobody', async () => {
  const agent = new https.Agent({keepAlive: true, maxSockets: 1});
  const first = await ask('/healthz', {agent});
  assert.equal(await shown(), 'tls');

  let before = log.length;
  await copyFile(join(folder, 'next.pem'), join(folder, 'tls.pem'));
  service.kill('SIGHUP');
  // The key is still the other one's.
  assert.match((await logged('reload_failed', before)).message, /is not the key of the certificate/);
  assert.equal(await shown(), 'tls');

  before = log.length;
  await copyFile(join(folder, 'next.key'), join(folder, 'tls.key'));
  service.kill('SIGHUP');
  await logged('reload', before);
  const deadline = Date.now() + 10_000;
  while (await shown() !== 'next') assert.ok(Date.now() < deadline, 'the old certificate is still shown');
  const again = await ask('/healthz', {agent});

  assert.equal(again.text, 'ok');
  assert.equal(again.socket, first.socket, 'the connection that was open lives on');
  assert.equal((await ask('/healthz', {authority: await readFile(join(folder, 'next.pem'))})).status, 200);
  agent.destroy();
});

test('files that cannot be used end the start with 2 and a sentence', async () => {
  makeCertificate('third');
  await writeFile(join(folder, 'empty.pem'), '');
  for (const [settings, sentence] of [
    [files('third', 'next'), /key file .*next\.key is not the key of the certificate/],
    [files('none', 'third'), /certificate file .*none\.pem cannot be read: No such file or directory/],
    [files('empty', 'third'), /empty\.pem has no certificate in PEM/],
    [files('third').slice(0, 2), /tls\.certificate_file: it needs its key/],
    [files('third').slice(2), /tls\.key_file: it needs its certificate/],
  ]) {
    const child = start(settings);
    let said = '';
    child.stderr.on('data', (part) => (said += part));
    const [code] = await within(20_000, 'the end', once(child, 'close'));

    assert.equal(code, 2, said);
    assert.match(said, sentence);
  }
});
