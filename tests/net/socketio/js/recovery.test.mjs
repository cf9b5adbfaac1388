// Connection state recovery with the official client: who comes back in time has its name, its rooms and what it missed.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { io } from "socket.io-client";
import { next, startServer, within } from "./server.mjs";

const ask = (socket, ...args) => within(new Promise((resolve) => socket.emit(...args, (...got) => resolve(got))), args[0]);

for (const transport of ["polling", "websocket"]) {
  for (const threads of ["1", "2"]) {
    describe(`${transport}, ${threads} thread(s)`, () => {
      let server;
      const open = [];
      const connected = async (options = {}) => {
        const socket = io(server.url, { transports: [transport], forceNew: true, reconnection: false, ...options });
        open.push(socket);
        await next(socket, "connect");
        return socket;
      };
      /** Breaks the connection, as a network does. Returns its session. */
      const lose = async (socket) => {
        const session = socket.io.engine.id;
        const lost = next(socket, "disconnect");
        socket.io.engine.close();
        await lost;
        return session;
      };
      /** Waits until the session's thread has seen the end: whoever comes back to the other one sooner begins anew. */
      const ended = async (session) => {
        const url = `${server.url}/socket.io/?EIO=4&transport=polling&sid=${session}`;
        const late = Date.now() + 20_000;
        // A noop. The first refusal may come just before the client is put among those who may come back.
        for (let refusals = 0; refusals < 2;) {
          const answer = await within(fetch(url, { method: "POST", body: "6" }), url);
          const text = await answer.text();
          if (answer.status === 400 && JSON.parse(text).code === 1) ++refusals;
          assert.ok(Date.now() < late, "the session lives on");
        }
      };
      /** Connects again: with a new session, which with two threads may be on the other one. */
      const comeBack = async (socket) => {
        const back = next(socket, "connect");
        socket.connect();
        await back;
      };
      /** Has got an event, so that it can say since when it was away. */
      const heard = async (socket) => {
        const back = next(socket, "message-back");
        socket.emit("message", "x");
        await back;
      };

      before(async () => {
        server = await startServer("sio", "--threads", threads, "--recovery", "60000", "--ping-interval", "5000", "--ping-timeout", "5000");
      });
      after(async () => {
        for (const socket of open) socket.close();
        await server.stop();
      });

      test("what was missed comes once and in order, and the rooms are those of before", async () => {
        const other = await connected();
        for (let round = 0; round < 4; ++round) {
          const room = `room ${round}`;
          const socket = await connected();
          assert.equal(socket.recovered, false);
          const id = socket.id;
          await ask(socket, "join", room);
          await heard(socket);
          const got = [];
          const four = new Promise((resolve) => socket.on("said", (what) => got.push(what) === 4 && resolve()));
          const session = await lose(socket);
          for (const n of [1, 2, 3]) await ask(other, "say", room, n);
          await ask(other, "say", "another room", 0);
          await ended(session);

          await comeBack(socket);
          await ask(other, "say", room, 4);

          await within(four, "four events");
          assert.deepEqual(got, [1, 2, 3, 4]);
          assert.equal(socket.recovered, true);
          assert.equal(socket.id, id);
        }
      });

      test("who left by itself, or brings what nobody knows, begins anew", async () => {
        const socket = await connected();
        await heard(socket);
        const id = socket.id;
        socket.disconnect();
        await comeBack(socket);
        assert.equal(socket.recovered, false);
        assert.notEqual(socket.id, id);

        for (const auth of [{ pid: "unknown", offset: "1" }, { pid: 1, offset: {} }, { pid: "", offset: "" }]) {
          const stranger = await connected({ auth });
          assert.equal(stranger.recovered, false);
        }
      });

      test("a client can be recovered once, and not with an offset that never was", async () => {
        const socket = await connected();
        await heard(socket);
        const id = socket.id;
        const auth = { pid: socket._pid, offset: socket._lastOffset };
        await ended(await lose(socket));
        const wrong = await connected({ auth: { ...auth, offset: "123456789" } });
        assert.notEqual(wrong.id, id);
        const second = await connected({ auth });
        assert.notEqual(second.id, id);
      });
    });
  }
}
