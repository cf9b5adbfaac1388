// A room of a project as most backends have it: socket.io. Servers come and go by the same two requests as in previewd, and the room
// is told with the same fields; nothing else is kept of them. Prints its port.
import {createServer} from 'node:http';
import {Server} from 'socket.io';

let generation = 0;
let sequence = 0;
let present;

const http = createServer(async (request, response) => {
  let text = '';
  for await (const part of request) text += part;
  const at = new Date().toISOString();
  ++sequence;
  if (request.method === 'POST') {
    const {project, user, port} = JSON.parse(text);
    ++generation;
    present = {serverKey: `${project}/${user}:${port}`, project, user, port, generation, type: 'unknown', title: null,
      status: 'running', terminalId: null, pid: null, command: null, address: '127.0.0.1', scheme: 'http', primary: true,
      basePath: 'stripped', path: `/preview/${project}/${user}/`, originUrl: `http://${project}--${user}.preview.localhost:4000/`,
      framework: null, startedAt: at, previousGeneration: null, sequence, at};
    io.to(`project-${project}`).emit('previewServerStarted', present);
    const body = JSON.stringify(present);
    response.writeHead(201, {'Content-Type': 'application/json', 'Content-Length': Buffer.byteLength(body)}).end(body);
  } else {
    const {serverKey, project, user, port} = present;
    io.to(`project-${project}`).emit('previewServerStopped', {terminalId: null, message: 'Dev server has stopped', serverKey, project,
      user, port, generation, reason: 'removed', exitCode: null, signal: null, sequence, at});
    response.writeHead(204).end();
  }
});
const io = new Server(http);
io.on('connection', (socket) => {
  socket.on('joinProject', ({projectId}, answer) => {
    socket.join(`project-${projectId}`);
    answer({ok: true, servers: [], terminals: [], sequence});
  });
});
http.listen(0, '127.0.0.1', () => console.log(http.address().port));
process.on('SIGTERM', () => process.exit(0));
