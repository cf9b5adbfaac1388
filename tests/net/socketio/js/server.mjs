// Starts the program under test and ends it. Its path comes in SOCKETIO_CONFORMANCE.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";

const deadline = 20_000;

/** Starts the server with a profile and further arguments; `stop()` ends it and checks that it ended well. */
export async function startServer(profile, ...more) {
  const program = process.env.SOCKETIO_CONFORMANCE;
  if (!program) throw new Error("SOCKETIO_CONFORMANCE does not name the program");
  const child = spawn(program, ["--profile", profile, "--port", "0", ...more], { stdio: ["ignore", "pipe", "inherit"] });
  const exited = once(child, "exit");
  const [line] = await once(createInterface({ input: child.stdout }), "line");
  const port = Number(/:(\d+)$/.exec(line)?.[1]);
  return {
    port,
    url: `http://127.0.0.1:${port}`,
    async stop() {
      child.kill("SIGTERM");
      const [code, signal] = await exited;
      if (code !== 0) throw new Error(`the server ended with ${code ?? signal}`);
    },
  };
}

/** The promise, or an error that says what was awaited. */
export function within(promise, what) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`nothing came: ${what}`)), deadline);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

/** All arguments of the next `event`. */
export function next(emitter, event) {
  return within(new Promise((resolve) => emitter.once(event, (...args) => resolve(args))), event);
}
