// The official client, newest and first of its major version, against our server on one and on two I/O threads.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { io as newest } from "socket.io-client";
import { io as first } from "socket.io-client-first";
import { next, startServer, within } from "./server.mjs";

const transports = {
  "polling only": ["polling"],
  "WebSocket only": ["websocket"],
  "polling, then upgrade": ["polling", "websocket"],
};

for (const [version, io] of Object.entries({ newest, "4.0.0": first })) {
  for (const [name, list] of Object.entries(transports)) {
    for (const threads of ["1", "2"]) {
      describe(`client ${version}, ${name}, ${threads} thread(s)`, () => {
        let server;
        const open = [];
        const connect = (space = "/", options = {}) => {
          const socket = io(server.url + space, { transports: list, forceNew: true, reconnectionDelay: 10, ...options });
          open.push(socket);
          return socket;
        };
        const connected = async (...args) => {
          const socket = connect(...args);
          await next(socket, "connect");
          return socket;
        };
        const ask = (socket, ...args) => within(new Promise((resolve) => socket.emit(...args, (...got) => resolve(got))), args[0]);

        before(async () => {
          server = await startServer("sio", "--threads", threads, "--ping-interval", "5000", "--ping-timeout", "5000");
        });
        after(async () => {
          for (const socket of open) socket.close();
          await server.stop();
        });

        test("the auth payload arrives, and events come back", async () => {
          const socket = connect("/", { auth: { token: "abc" } });
          const auth = await next(socket, "auth");
          assert.deepEqual(auth, [{ token: "abc" }]);
          if (list.length === 2) {
            const engine = socket.io.engine;
            if (engine.transport.name !== "websocket") await next(engine, "upgrade");
            assert.equal(engine.transport.name, "websocket");
          }
          const back = next(socket, "message-back");
          socket.emit("message", 1, "zwei", { three: [null, true, "Ж"] });
          assert.deepEqual(await back, [1, "zwei", { three: [null, true, "Ж"] }]);
        });

        test("many messages keep their order, through the upgrade too", async () => {
          const socket = connect();
          const got = [];
          const done = new Promise((resolve) => {
            socket.on("message-back", (n) => {
              got.push(n);
              if (got.length === 200) resolve();
            });
          });
          for (let n = 0; n < 200; ++n) socket.emit("message", n);
          await within(done, "200 messages");
          assert.deepEqual(got, Array.from({ length: 200 }, (_, n) => n));
        });

        test("acknowledgements work both ways", async () => {
          const socket = await connected();
          assert.deepEqual(await ask(socket, "message-with-ack", 1, { a: 2 }), [1, { a: 2 }]);
          socket.on("question", (a, b, answer) => answer(a + b, "done"));
          assert.deepEqual(await ask(socket, "ask-me", 20, 22), [42, "done"]);
        });

        test("binary travels both ways, in events and acknowledgements", async () => {
          const socket = await connected();
          const bytes = Buffer.from([0, 1, 254, 255, 10, 13, 30]);
          const back = next(socket, "message-back");
          socket.emit("message", { deep: [bytes] }, bytes);
          const [first, second] = await back;
          assert.deepEqual(Buffer.from(first.deep[0]), bytes);
          assert.deepEqual(Buffer.from(second), bytes);
          const [acked] = await ask(socket, "message-with-ack", Buffer.alloc(70_000, 7));
          assert.equal(Buffer.compare(Buffer.from(acked), Buffer.alloc(70_000, 7)), 0);
        });

        test("a room reaches its members and nobody else", async () => {
          // The rooms of one server are those of one thread: both clients have to be on the same.
          if (threads !== "1") return;
          const member = await connected();
          const stranger = await connected();
          await ask(member, "join", "r1");
          await ask(stranger, "join", "r2");
          const heard = [];
          stranger.on("said", (text) => heard.push(text));
          const said = next(member, "said");
          await ask(stranger, "say", "r1", "hello");
          assert.deepEqual(await said, ["hello"]);
          await ask(member, "leave", "r1");
          member.on("said", () => assert.fail("not a member any more"));
          await ask(stranger, "say", "r1", "again");
          assert.deepEqual(await ask(member, "message-with-ack", 1), [1]);
          assert.deepEqual(heard, []);
        });

        test("namespaces are apart: leaving one leaves the other alive", async () => {
          const main = await connected();
          const custom = main.io.socket("/custom", { auth: { who: "me" } });
          const auth = next(custom, "auth");
          assert.deepEqual(await auth, [{ who: "me" }]);
          custom.disconnect();
          assert.deepEqual(await ask(main, "message-with-ack", "still here"), ["still here"]);
        });

        test("an unknown namespace is refused with the known words", async () => {
          const socket = connect("/random");
          const [error] = await next(socket, "connect_error");
          assert.equal(error.message, "Invalid namespace");
        });

        test("the server can put a client out, and end its session", async () => {
          const put_out = await connected();
          const left = next(put_out, "disconnect");
          put_out.emit("leave-me");
          assert.equal((await left)[0], "io server disconnect");
          const ended = await connected();
          const closed = next(ended, "disconnect");
          const again = next(ended, "connect");
          ended.emit("close-me");
          assert.equal((await closed)[0], "transport close");
          await again;
          assert.deepEqual(await ask(ended, "message-with-ack", 2), [2]);
        });

        test("a client that loses its transport comes back", async () => {
          const socket = await connected();
          const before = socket.id;
          const lost = next(socket, "disconnect");
          const again = next(socket, "connect");
          socket.io.engine.close();
          await lost;
          await again;
          assert.notEqual(socket.id, before);
          assert.deepEqual(await ask(socket, "message-with-ack", "back"), ["back"]);
        });
      });
    }
  }
}

describe("heartbeats", () => {
  let server;
  before(async () => {
    server = await startServer("sio", "--ping-interval", "50", "--ping-timeout", "5000");
  });
  after(() => server.stop());

  for (const [name, list] of Object.entries(transports)) {
    test(`a client that answers pings stays: ${name}`, async () => {
      const socket = newest(server.url, { transports: list, forceNew: true, reconnection: false });
      await next(socket, "connect");
      let pings = 0;
      const some = new Promise((resolve) => {
        socket.io.on("ping", () => {
          if (++pings === 5) resolve();
        });
      });
      await within(some, "five pings");
      assert.equal(socket.connected, true);
      socket.close();
    });
  }
});
