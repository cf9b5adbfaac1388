// Node's http-proxy before one upstream, as well as it can be set up: kept upstream connections, WebSockets on.
//   node proxy.mjs UPSTREAM_PORT
import http from "node:http";
import httpProxy from "http-proxy";

const agent = new http.Agent({ keepAlive: true, maxSockets: 1024 });
const proxy = httpProxy.createProxyServer({
  target: { host: "127.0.0.1", port: Number(process.argv[2]) },
  agent,
});
proxy.on("error", (error, request, answer) => {
  if (answer && "writeHead" in answer && !answer.headersSent) answer.writeHead(502).end();
  else answer?.destroy?.();
});
// An upgrade must not wait for a kept connection.
const upgrades = httpProxy.createProxyServer({
  target: { host: "127.0.0.1", port: Number(process.argv[2]) },
  ws: true,
});
upgrades.on("error", (error, request, socket) => socket?.destroy?.());

const server = http.createServer((request, answer) => proxy.web(request, answer));
server.on("upgrade", (request, socket, head) => upgrades.ws(request, socket, head));
server.listen(0, "127.0.0.1", () => console.log(server.address().port));
process.on("SIGTERM", () => process.exit(0));
