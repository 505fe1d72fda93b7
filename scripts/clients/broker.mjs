// A broker as a process, for the JavaScript suites: started on a free port, waited for, ended by its pid.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";

const START_PATIENCE_MS = 20_000;

// Rejects when the promise takes longer than it may.
export function within(promise, patienceMs, what) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`${what} took longer than ${patienceMs} ms`)), patienceMs);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

export class Broker {
  constructor({ config = "", flags = [] } = {}) {
    this.config = config;
    this.flags = flags;
    this.port = -1;
    this.directory = mkdtempSync(join(tmpdir(), "broker-"));
  }

  get servers() {
    return `127.0.0.1:${this.port}`;
  }

  // Starts on a free port, or again on the port it had before.
  async start() {
    const args = ["-a", "127.0.0.1", "-p", String(this.port)];
    if (process.env.CORES) args.push("--cores", process.env.CORES);
    if (this.config) {
      const path = join(this.directory, "broker.conf");
      writeFileSync(path, this.config);
      args.push("-c", path);
    }
    this.child = spawn(process.env.BROKER, [...args, ...this.flags], { stdio: ["ignore", "ignore", "pipe"] });
    this.exit = once(this.child, "exit");
    await within(this.ready(), START_PATIENCE_MS, "starting the broker");
  }

  ready() {
    const seen = [];
    return new Promise((resolve, reject) => {
      this.child.on("error", reject);
      // The lines are read to the end, so that the broker never blocks on its log.
      createInterface({ input: this.child.stderr }).on("line", (line) => {
        seen.push(line);
        const listening = line.match(/Listening for client connections on .*:(\d+)/);
        if (listening) this.port = Number(listening[1]);
        const websocket = line.match(/Listening for websocket clients on .*:(\d+)/);
        if (websocket) this.websocketPort = Number(websocket[1]);
        if (line.includes("Server is ready")) resolve();
      }).on("close", () => reject(new Error(`the broker ended while starting:\n${seen.join("\n")}`)));
    });
  }

  signal(name) {
    this.child.kill(name);
  }

  // Ends the broker as power loss would, and returns once it is gone.
  async stop() {
    if (this.child.exitCode === null && this.child.signalCode === null) {
      this.child.kill("SIGKILL");
      await this.exit;
    }
  }

  async remove() {
    await this.stop();
    rmSync(this.directory, { recursive: true, force: true });
  }
}

const TEST_PATIENCE_MS = 60_000;

async function runOne({ options, run }) {
  const broker = new Broker(options);
  try {
    await broker.start();
    await within(run(broker), TEST_PATIENCE_MS, "the test");
  } finally {
    await broker.remove();
  }
}

// Runs tests, each against a broker of its own with the options it names, and ends the process.
export async function runAll(tests) {
  let failed = 0;
  for (const one of tests) {
    try {
      await runOne(one);
      console.log(`ok    node    ${one.name}`);
    } catch (error) {
      failed += 1;
      console.log(`FAIL  node    ${one.name}\n${error.stack}`);
    }
  }
  console.log(`${tests.length - failed} of ${tests.length} passed`);
  process.exit(failed ? 1 : 0);
}
