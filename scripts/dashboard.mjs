#!/usr/bin/env -S node --experimental-websocket --no-warnings
// Looks at the page of figures with a real browser: scripts/dashboard.mjs BROKER [DIRECTORY]
//
// Starts the broker with some load, opens its page in headless Chromium in light and dark, on a desk
// and on a phone, and says what is wrong: errors of the script, figures that do not come, a page that
// is wider than its window. With DIRECTORY, screenshots are left there. Without Chromium the check is
// skipped, with a word.

import { spawn, spawnSync } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer, connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";

const PATIENCE_MS = 30_000;
const VIEWS = [
  { name: "desk-light", width: 1280, height: 1100, scheme: "light" },
  { name: "desk-dark", width: 1280, height: 1100, scheme: "dark" },
  { name: "phone-light", width: 390, height: 844, scheme: "light", mobile: true },
  { name: "phone-dark", width: 390, height: 844, scheme: "dark", mobile: true },
];

const [broker, directory] = process.argv.slice(2);
if (!broker) {
  console.error("usage: scripts/dashboard.mjs BROKER [DIRECTORY]");
  process.exit(64);
}
const names = ["chromium", "chromium-browser", "google-chrome", "chrome"];
const browser = process.env.CHROMIUM || names.find(name => spawnSync("which", [name]).status === 0);
if (!browser) {
  console.log("skipped: no Chromium here (its path can be named in CHROMIUM)");
  process.exit(0);
}
if (typeof WebSocket === "undefined") {
  console.log("skipped: this node has no WebSocket");
  process.exit(0);
}

const scratch = mkdtempSync(join(tmpdir(), "dashboard-"));
const children = [];

async function freePort() {
  const server = createServer();
  await new Promise(done => server.listen(0, "127.0.0.1", done));
  const { port } = server.address();
  await new Promise(done => server.close(done));
  return port;
}

// Asks until the answer is as wanted.
async function until(what, ask) {
  const deadline = Date.now() + PATIENCE_MS;
  for (;;) {
    const answer = await ask().catch(() => undefined);
    if (answer) return answer;
    if (Date.now() > deadline) throw new Error(`${what} does not come`);
    await new Promise(done => setTimeout(done, 100));
  }
}

function start(command, args) {
  const child = spawn(command, args, { stdio: "ignore" });
  children.push(child);
  return child;
}

async function startBroker() {
  const [nats, http] = [await freePort(), await freePort()];
  const config = join(scratch, "broker.conf");
  writeFileSync(config, `server_name: dashboard\nlisten: "127.0.0.1:${nats}"\nhttp: "127.0.0.1:${http}"\njetstream { store_dir: "${join(scratch, "js")}" }\n`);
  start(broker, ["-c", config, "--cores", "2"]);
  const url = `http://127.0.0.1:${http}`;
  await until("the broker", async () => (await fetch(`${url}/healthz`)).ok);
  return { nats, url };
}

// Clients that publish to each other, and to a stream.
function startLoad(port) {
  const clients = [];
  for (let number = 0; number < 12; number += 1) {
    const socket = connect(port, "127.0.0.1");
    clients.push(socket);
    const hello = { verbose: false, headers: true, name: number % 3 ? `client-${number}` : "a client with a rather long name <b>of its own</b>" };
    socket.write(`CONNECT ${JSON.stringify(hello)}\r\nSUB load.> 1\r\n`);
    socket.on("data", data => { if (data.includes("PING\r\n")) socket.write("PONG\r\n"); });
    socket.on("error", () => {});
  }
  const ask = (subject, body) => clients[0].write(`PUB ${subject} answers ${Buffer.byteLength(body)}\r\n${body}\r\n`);
  ask("$JS.API.STREAM.CREATE.ORDERS", '{"name":"ORDERS","subjects":["orders.*"]}');
  ask("$JS.API.CONSUMER.DURABLE.CREATE.ORDERS.worker", '{"stream_name":"ORDERS","config":{"durable_name":"worker","ack_policy":"explicit"}}');
  const batch = "PUB load.one 16\r\n0123456789abcdef\r\n".repeat(200) + "PUB orders.new 16\r\n0123456789abcdef\r\n".repeat(5);
  const timer = setInterval(() => clients.forEach(socket => socket.write(batch)), 100);
  return () => { clearInterval(timer); clients.forEach(socket => socket.destroy()); };
}

// A page of the browser, spoken to in its own protocol.
class Page {
  static async open(port) {
    const target = await until("the browser", async () => (await fetch(`http://127.0.0.1:${port}/json/new?about:blank`, { method: "PUT" })).json());
    const page = new Page();
    page.socket = new WebSocket(target.webSocketDebuggerUrl);
    page.waiting = new Map();
    page.problems = [];
    page.number = 0;
    page.socket.onmessage = event => page.hear(JSON.parse(event.data));
    await new Promise((done, failed) => { page.socket.onopen = done; page.socket.onerror = failed; });
    for (const domain of ["Page", "Runtime", "Log"]) await page.say(`${domain}.enable`);
    return page;
  }
  hear(message) {
    if (message.id) {
      const [done, failed] = this.waiting.get(message.id);
      this.waiting.delete(message.id);
      message.error ? failed(new Error(message.error.message)) : done(message.result);
    } else if (message.method === "Runtime.exceptionThrown") {
      this.problems.push(message.params.exceptionDetails.exception?.description || message.params.exceptionDetails.text);
    } else if (message.method === "Log.entryAdded" && message.params.entry.level === "error") {
      this.problems.push(`${message.params.entry.text} ${message.params.entry.url || ""}`);
    }
  }
  say(method, params = {}) {
    const id = (this.number += 1);
    this.socket.send(JSON.stringify({ id, method, params }));
    return new Promise((done, failed) => this.waiting.set(id, [done, failed]));
  }
  async evaluate(expression) {
    const { result } = await this.say("Runtime.evaluate", { expression, returnByValue: true, awaitPromise: true });
    return result.value;
  }
}

const CHECK = `(() => {
  const rows = id => document.querySelectorAll("#" + id + " tr").length;
  const wide = [...document.querySelectorAll("main *")].filter(one => !one.closest("section") && one.getBoundingClientRect().right > innerWidth + 1);
  return {
    cores: rows("cores"), connections: rows("connections"), streams: rows("streams"), consumers: rows("consumers"),
    tiles: document.querySelectorAll(".tile").length, trouble: document.getElementById("trouble").textContent,
    moving: !/^0(\\s|\\/|$)/.test(document.querySelector(".tile b")?.textContent || "0"),
    overflow: document.documentElement.scrollWidth > innerWidth, wide: wide.map(one => one.tagName + " " + one.textContent.slice(0, 40)),
    injected: document.querySelectorAll("#connections b").length, ground: getComputedStyle(document.body).backgroundColor,
  };
})()`;

function judge(view, seen, problems) {
  const wrong = [];
  const want = (holds, text) => { if (!holds) wrong.push(text); };
  want(seen.cores === 2, `${seen.cores} cores instead of 2`);
  want(seen.connections > 0 && seen.connections <= 12, `${seen.connections} connections`);
  want(seen.streams === 1 && seen.consumers === 1, `${seen.streams} streams, ${seen.consumers} consumers`);
  want(seen.tiles === 9, `${seen.tiles} tiles`);
  want(seen.moving, "no message goes by");
  want(seen.trouble === "", `it says: ${seen.trouble}`);
  want(!seen.overflow, "the page is wider than its window");
  want(seen.wide.length === 0, `out of sight: ${seen.wide.join(", ")}`);
  want(seen.injected === 0, "a client's name became part of the page");
  const light = Number(/\d+/.exec(seen.ground)?.[0]) > 128;
  want(light === (view.scheme === "light"), `${seen.ground} is not ${view.scheme}`);
  want(problems.length === 0, `errors: ${problems.join("; ")}`);
  return wrong;
}

async function look(page, url, view) {
  page.problems = [];
  await page.say("Emulation.setDeviceMetricsOverride", { width: view.width, height: view.height, deviceScaleFactor: 1, mobile: Boolean(view.mobile) });
  await page.say("Emulation.setEmulatedMedia", { features: [{ name: "prefers-color-scheme", value: view.scheme }] });
  await page.say("Page.navigate", { url });
  // Rates need a second look.
  await until("a figure", () => page.evaluate(`document.querySelector(".tile b") && !/^0/.test(document.querySelector(".tile b").textContent)`));
  const seen = await page.evaluate(CHECK);
  if (directory) {
    const { data } = await page.say("Page.captureScreenshot", { format: "png", captureBeyondViewport: true });
    writeFileSync(join(directory, `${view.name}.png`), Buffer.from(data, "base64"));
  }
  return judge(view, seen, page.problems);
}

let failed = 0;
try {
  if (directory && !existsSync(directory)) mkdirSync(directory, { recursive: true });
  const { nats, url } = await startBroker();
  const stop = startLoad(nats);
  const port = await freePort();
  start(browser, ["--headless=new", "--no-sandbox", "--disable-gpu", `--remote-debugging-port=${port}`, `--user-data-dir=${join(scratch, "profile")}`, "about:blank"]);
  const page = await Page.open(port);
  for (const view of VIEWS) {
    const wrong = await look(page, url + "/", view);
    console.log(`${view.name}: ${wrong.length ? wrong.join("\n  ") : "as it should be"}`);
    failed += wrong.length;
  }
  page.socket.close();
  stop();
} catch (problem) {
  console.error(problem.message);
  failed += 1;
} finally {
  for (const child of children.reverse()) child.kill("SIGKILL");
  await new Promise(done => setTimeout(done, 200));
  rmSync(scratch, { recursive: true, force: true });
}
process.exit(failed ? 1 : 0);
