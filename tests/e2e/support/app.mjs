// A dev server of few lines for tests that need none of Vite: `node app.mjs TEXT [PORT]`, on a free port or that one, which it prints.
import http from 'node:http';

const text = process.argv[2] ?? 'app';
const server = http.createServer((request, answer) => {
  if (request.url.endsWith('/style.css')) {
    answer.writeHead(200, {'content-type': 'text/css'}).end('h1 { color: rgb(0, 128, 0) }');
    return;
  }
  answer.writeHead(200, {'content-type': 'text/html; charset=utf-8'});
  answer.end(`<!doctype html><title>${text}</title><link rel="stylesheet" href="style.css"><h1>${text}</h1>`);
});
server.listen(Number(process.argv[3] ?? 0), '127.0.0.1', () => console.log(`Local: http://localhost:${server.address().port}/`));
