// Terminals as most backends have them: node-pty, each on a WebSocket of ws. `/?command=...` runs a command in a new terminal; every
// frame from the client is input, binary frames to it are output. Prints its port.
import {spawn} from '@lydell/node-pty';
import {WebSocketServer} from 'ws';

const server = new WebSocketServer({host: '127.0.0.1', port: 0}, () => console.log(server.address().port));
server.on('connection', (socket, request) => {
  const command = new URL(request.url, 'http://localhost').searchParams.get('command');
  const terminal = spawn('/bin/sh', ['-c', command], {name: 'xterm-256color', cols: 80, rows: 24, encoding: null});
  terminal.onData((bytes) => socket.send(bytes));
  terminal.onExit(() => socket.close());
  socket.on('message', (bytes) => terminal.write(bytes.toString()));
  socket.on('close', () => terminal.kill('SIGKILL'));
});
process.on('SIGTERM', () => process.exit(0));
