// What the official client never sends: our server's answers to exact requests and frames.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { WebSocket } from "ws";
import { next, startServer, within } from "./server.mjs";

/** A WebSocket whose messages wait until they are asked for. */
class Frames {
  constructor(url) {
    this.socket = new WebSocket(url);
    this.got = [];
    this.closed = new Promise((resolve) => this.socket.on("close", (code) => resolve(code)));
    this.socket.on("error", () => {});
    this.socket.on("message", (data, binary) => {
      const message = binary ? data : data.toString();
      if (this.waiting) this.waiting(message);
      else this.got.push(message);
      this.waiting = undefined;
    });
  }
  next() {
    if (this.got.length) return Promise.resolve(this.got.shift());
    return within(new Promise((resolve) => (this.waiting = resolve)), "a frame");
  }
  send(data) {
    this.socket.send(data);
  }
}

const get = (url) => within(fetch(url), url);
const post = (url, body) => within(fetch(url, { method: "POST", body }), url);

/** Begins a session by polling. */
const shakeHands = async (base) => {
  const text = await (await get(`${base}&transport=polling`)).text();
  assert.equal(text[0], "0");
  return JSON.parse(text.slice(1));
};

describe("Engine.IO", () => {
  let server, base, ws;
  before(async () => {
    // No test lasts until a ping.
    server = await startServer("eio", "--ping-interval", "25000", "--ping-timeout", "20000");
    base = `${server.url}/engine.io/?EIO=4`;
    ws = base.replace("http", "ws");
  });
  after(() => server.stop());

  const polling = (sid) => `${base}&transport=polling&sid=${sid}`;
  const handshake = () => shakeHands(base);

  test("the handshake has the five known keys and nothing else", async () => {
    const value = await handshake();
    assert.deepEqual(Object.keys(value).sort(), ["maxPayload", "pingInterval", "pingTimeout", "sid", "upgrades"]);
    assert.deepEqual(value.upgrades, ["websocket"]);
    assert.equal(value.pingInterval, 25_000);
    assert.equal(value.pingTimeout, 20_000);
    assert.equal(value.maxPayload, 1_000_000);
    const frames = new Frames(`${ws}&transport=websocket`);
    const open = JSON.parse((await frames.next()).slice(1));
    assert.deepEqual(open.upgrades, []);
    assert.notEqual(open.sid, value.sid);
    frames.socket.close();
  });

  for (const [query, code, options] of [
    ["EIO=4", 0],
    ["EIO=4&transport=abc", 0],
    ["EIO=4&transport=polling&sid=0-unknown", 1],
    ["EIO=4&transport=polling&sid=99-unknown", 1],
    ["EIO=4&transport=polling&sid=x", 1],
    ["EIO=4&transport=polling", 2, { method: "POST", body: "4x" }],
    ["EIO=4&transport=polling", 2, { method: "PUT", body: "4x" }],
    ["EIO=4&transport=websocket", 3],
    ["transport=polling", 5],
    ["EIO=3&transport=polling", 5],
    ["EIO=abc&transport=polling", 5],
  ]) {
    test(`?${query} ${options?.method ?? "GET"} is refused with code ${code}`, async () => {
      const answer = await within(fetch(`${server.url}/engine.io/?${query}`, options), query);
      assert.equal(answer.status, 400);
      const body = await answer.json();
      assert.equal(body.code, code);
      assert.equal(typeof body.message, "string");
    });
  }

  test("messages are echoed on polling, several in one payload, binary as base64", async () => {
    const { sid } = await handshake();
    const pushed = await post(polling(sid), "4one\x1e4zwei\x1ebAQIDBA==");
    assert.equal(await pushed.text(), "ok");
    assert.equal(await (await get(polling(sid))).text(), "4one\x1e4zwei\x1ebAQIDBA==");
  });

  test("a payload has at most 16 packets", async () => {
    const { sid } = await handshake();
    await post(polling(sid), Array.from({ length: 20 }, (_, n) => `4${n}`).join("\x1e"));
    assert.equal((await (await get(polling(sid))).text()).split("\x1e").length, 16);
    assert.equal((await (await get(polling(sid))).text()).split("\x1e").length, 4);
  });

  test("a bad payload after a message whose echo nobody has fetched closes the session", async () => {
    const { sid } = await handshake();
    await post(polling(sid), "4unfetched");
    assert.equal((await post(polling(sid), "abc")).status, 400);
    assert.equal((await get(polling(sid))).status, 400);
  });

  for (const bad of ["abc", "", "7", "4x\x1e", "b!!!", "0"]) {
    test(`the payload ${JSON.stringify(bad)} closes the session`, async () => {
      const { sid } = await handshake();
      assert.equal((await post(polling(sid), bad)).status, 400);
      assert.equal((await get(polling(sid))).status, 400);
    });
  }

  test("a payload that is too large is refused with a bare 413, and the session lives on", async () => {
    const { sid } = await handshake();
    const refused = await post(polling(sid), `4${"x".repeat(1_000_001)}`);
    assert.equal(refused.status, 413);
    assert.equal(await refused.text(), "");
    assert.equal(refused.headers.get("access-control-allow-origin"), "*");
    await post(polling(sid), "4alive");
    assert.equal(await (await get(polling(sid))).text(), "4alive");
  });

  test("a second GET closes the session", async () => {
    const { sid } = await handshake();
    const waiting = get(polling(sid));
    await new Promise((resolve) => setTimeout(resolve, 20));  // so that it is the first to arrive
    assert.equal((await get(polling(sid))).status, 400);
    const closed = await waiting;
    assert.equal(closed.status, 200);
    assert.equal(await closed.text(), "1");
    assert.equal((await get(polling(sid))).status, 400);
  });

  test("an aborted GET closes the session", async () => {
    const { sid } = await handshake();
    const abort = new AbortController();
    const waiting = fetch(polling(sid), { signal: abort.signal }).catch(() => {});
    await new Promise((resolve) => setTimeout(resolve, 20));  // so that it has arrived
    abort.abort();
    await waiting;
    for (let tries = 0; ; ++tries) {
      const answer = await post(polling(sid), "4still there");
      if (answer.status === 400) break;
      assert.ok(tries < 100, "the session lives on");
    }
  });

  test("the client's close ends the waiting GET with a noop", async () => {
    const { sid } = await handshake();
    const waiting = get(polling(sid));
    await new Promise((resolve) => setTimeout(resolve, 20));  // so that it has arrived
    assert.equal(await (await post(polling(sid), "1")).text(), "ok");
    const closed = await waiting;
    assert.equal(closed.status, 200);
    assert.equal(await closed.text(), "6");
    assert.equal((await get(polling(sid))).status, 400);
  });

  test("messages are echoed on WebSocket, text as text and binary as binary", async () => {
    const frames = new Frames(`${ws}&transport=websocket`);
    await frames.next();
    frames.send("4hällo");
    assert.equal(await frames.next(), "4hällo");
    frames.send(Buffer.from([1, 2, 3]));
    assert.deepEqual(await frames.next(), Buffer.from([1, 2, 3]));
    frames.socket.close();
  });

  test("base64 in a text frame is a binary message", async () => {
    const frames = new Frames(`${ws}&transport=websocket`);
    await frames.next();
    frames.send("bAQID");
    assert.deepEqual(await frames.next(), Buffer.from([1, 2, 3]));
    frames.socket.close();
  });

  test("a client that asks for base64 gets no binary frame", async () => {
    const frames = new Frames(`${ws}&transport=websocket&b64=1`);
    await frames.next();
    frames.send(Buffer.from([1, 2, 3]));
    frames.send("4text");
    assert.equal(await frames.next(), "bAQID");
    assert.equal(await frames.next(), "4text");
    frames.socket.close();
  });

  for (const bad of ["abc", "", "7", "0", "b!!!"]) {
    test(`the frame ${JSON.stringify(bad)} closes the WebSocket`, async () => {
      const frames = new Frames(`${ws}&transport=websocket`);
      await frames.next();
      frames.send(bad);
      await within(frames.closed, "the end");
    });
  }

  test("a message that is too large closes the WebSocket", async () => {
    const frames = new Frames(`${ws}&transport=websocket`);
    await frames.next();
    frames.send(`4${"x".repeat(1_000_001)}`);
    await within(frames.closed, "the end");
  });

  test("an upgrade takes over, and the session's other ways are shut", async () => {
    const { sid } = await handshake();
    const frames = new Frames(`${ws}&transport=websocket&sid=${sid}`);
    await next(frames.socket, "open");
    const waiting = get(polling(sid));
    frames.send("2probe");
    assert.equal(await frames.next(), "3probe");
    assert.equal(await (await waiting).text(), "6");
    await post(polling(sid), "4on the old way");
    assert.equal(await (await get(polling(sid))).text(), "4on the old way");
    frames.send("5");
    frames.send("4on the new way");
    assert.equal(await frames.next(), "4on the new way");
    assert.equal((await get(polling(sid))).status, 400);
    assert.equal((await post(polling(sid), "4x")).status, 400);
    const second = new Frames(`${ws}&transport=websocket&sid=${sid}`);
    await next(second.socket, "open");
    await within(second.closed, "the second one's end");
    assert.deepEqual(second.got, []);
    frames.send("4alive");
    assert.equal(await frames.next(), "4alive");
    frames.socket.close();
  });

  test("a second WebSocket during an upgrade is closed, and the first goes on", async () => {
    const { sid } = await handshake();
    const frames = new Frames(`${ws}&transport=websocket&sid=${sid}`);
    await next(frames.socket, "open");
    const second = new Frames(`${ws}&transport=websocket&sid=${sid}`);
    await next(second.socket, "open");
    second.send("2probe");
    await within(second.closed, "the second one's end");
    assert.deepEqual(second.got, []);
    frames.send("2probe");
    assert.equal(await frames.next(), "3probe");
    frames.send("5");
    frames.send("4upgraded");
    assert.equal(await frames.next(), "4upgraded");
    frames.socket.close();
  });

  test("a bad probe ends the upgrade, not the session", async () => {
    const { sid } = await handshake();
    const frames = new Frames(`${ws}&transport=websocket&sid=${sid}`);
    await next(frames.socket, "open");
    frames.send("4early");
    await within(frames.closed, "the end");
    await post(polling(sid), "4alive");
    assert.equal(await (await get(polling(sid))).text(), "4alive");
  });

  test("a WebSocket with an unknown session is refused", async () => {
    const frames = new Frames(`${ws}&transport=websocket&sid=0-unknown`);
    await within(frames.closed, "the end");
  });
});

describe("Engine.IO's pings", () => {
  let server, base;
  before(async () => {
    server = await startServer("eio", "--ping-interval", "300", "--ping-timeout", "2000");
    base = `${server.url}/engine.io/?EIO=4`;
  });
  after(() => server.stop());

  const polling = (sid) => `${base}&transport=polling&sid=${sid}`;

  test("pings come, and silence ends the session: polling", async () => {
    const { sid } = await shakeHands(base);
    assert.equal(await (await get(polling(sid))).text(), "2");
    await post(polling(sid), "3");
    assert.equal(await (await get(polling(sid))).text(), "2");
    assert.equal(await (await get(polling(sid))).text(), "1");
    assert.equal((await get(polling(sid))).status, 400);
  });

  test("who has not polled for as long as a pong may take finds no session", async () => {
    const { sid } = await shakeHands(base);
    await new Promise((resolve) => setTimeout(resolve, 3300));  // ping interval and timeout are 2300
    assert.equal((await get(polling(sid))).status, 400);
  });

  test("pings come, and silence ends the session: WebSocket", async () => {
    const frames = new Frames(`${base.replace("http", "ws")}&transport=websocket`);
    await frames.next();
    assert.equal(await frames.next(), "2");
    frames.send("3");
    assert.equal(await frames.next(), "2");
    await within(frames.closed, "the end");
  });
});

describe("Socket.IO", () => {
  const urlOf = (server) => `${server.url.replace("http", "ws")}/socket.io/?EIO=4&transport=websocket`;
  let server, url;
  before(async () => {
    server = await startServer("sio", "--ping-interval", "10000", "--connect-timeout", "20000");
    url = urlOf(server);
  });
  after(() => server.stop());

  const connected = async () => {
    const frames = new Frames(url);
    await frames.next();
    frames.send("40");
    assert.match(await frames.next(), /^40\{"sid":"[^"]+"\}$/);
    assert.equal(await frames.next(), '42["auth",{}]');
    return frames;
  };

  test("who waits for one message at a time misses none of the answers to CONNECT", async () => {
    for (let n = 0; n < 20; ++n) {
      const socket = new WebSocket(url);
      await next(socket, "message");
      socket.send("40");
      assert.match(String((await next(socket, "message"))[0]), /^40/);
      assert.equal(String((await next(socket, "message"))[0]), '42["auth",{}]');
      socket.close();
    }
  });

  test("packets have the exact form", async () => {
    const frames = await connected();
    frames.send('42["message",1,"2",{"3":[true]}]');
    assert.equal(await frames.next(), '42["message-back",1,"2",{"3":[true]}]');
    frames.send('42456["message-with-ack",1,"2",{"3":[false]}]');
    assert.equal(await frames.next(), '43456[1,"2",{"3":[false]}]');
    frames.send('452-["message",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]');
    frames.send(Buffer.from([1, 2, 3]));
    frames.send(Buffer.from([4, 5, 6]));
    assert.equal(await frames.next(), '452-["message-back",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]');
    assert.deepEqual(await frames.next(), Buffer.from([1, 2, 3]));
    assert.deepEqual(await frames.next(), Buffer.from([4, 5, 6]));
    frames.send('452-789["message-with-ack",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]');
    frames.send(Buffer.from([1]));
    frames.send(Buffer.from([2]));
    assert.equal(await frames.next(), '462-789[{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]');
    assert.deepEqual(await frames.next(), Buffer.from([1]));
    assert.deepEqual(await frames.next(), Buffer.from([2]));
    frames.send("40/custom,{\"token\":\"x\"}");
    assert.match(await frames.next(), /^40\/custom,\{"sid":"[^"]+"\}$/);
    assert.equal(await frames.next(), '42/custom,["auth",{"token":"x"}]');
    frames.send("41/custom,");
    frames.send('42["message","still"]');
    assert.equal(await frames.next(), '42["message-back","still"]');
    frames.send("40/random");
    assert.equal(await frames.next(), '44/random,{"message":"Invalid namespace"}');
    frames.socket.close();
  });

  for (const bad of [
    "4abc", "4", "42", "42{}", "42[]", "42abc[]", '42abc["message"]', '42["connect"]', "42[null]", '42["message"', "40[]", "40",
    '42/nowhere,["message"]', "43{}", '45["message"]', '45a-["message"]', '4599999-["message"]', "48", `42["message",${"[".repeat(100)}${"]".repeat(100)}]`,
  ]) {
    test(`the packet ${bad.slice(0, 40)} closes the connection`, async () => {
      const frames = await connected();
      frames.send(bad);
      await within(frames.closed, "the end");
    });
  }

  test("binary without its packet, and text in place of it, close the connection", async () => {
    const first = await connected();
    first.send(Buffer.from([1]));
    await within(first.closed, "the end");
    const second = await connected();
    second.send('451-["message",{"_placeholder":true,"num":0}]');
    second.send('42["message"]');
    await within(second.closed, "the end");
    const third = await connected();
    third.send('451-["message",{"_placeholder":true,"num":1}]');
    third.send(Buffer.from([1]));
    await within(third.closed, "the end");
  });

  test("who joins no namespace is put out", async () => {
    const impatient = await startServer("sio", "--ping-interval", "10000", "--connect-timeout", "300");
    try {
      const frames = new Frames(urlOf(impatient));
      await frames.next();
      await within(frames.closed, "the end");
    } finally {
      await impatient.stop();
    }
  });
});
