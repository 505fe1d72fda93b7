// A page in a real browser talks to the broker in $BROKER by WebSocket, with nats-core, the official client
// for browsers. $PEERS is the directory whose node_modules hold it, $CHROMIUM the browser (/usr/bin/chromium).

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { createServer } from "node:http";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { runAll, within } from "./broker.mjs";
import { operatorWorld, userOf } from "./tokens.mjs";

const CHROMIUM = process.env.CHROMIUM ?? "/usr/bin/chromium";
if (!existsSync(CHROMIUM)) {
  console.log(`skipped: there is no browser at ${CHROMIUM}`);
  process.exit(0);
}
const PAGE_PATIENCE_MS = 50_000;
const tests = [];
const test = (name, config, run) => tests.push({ name, options: { config }, run });

// The client and all it requires as one script, which leaves `nats` behind.
function bundle() {
  const start = createRequire(join(process.env.PEERS, "js", "package.json")).resolve("@nats-io/nats-core");
  const modules = new Map();
  const add = (path) => {
    if (modules.has(path)) return;
    const [text, require] = [readFileSync(path, "utf8"), createRequire(path)];
    const names = {};
    modules.set(path, { text, names });
    for (const [, name] of text.matchAll(/require\(["']([^"']+)["']\)/g)) {
      // What Node alone has is asked for only where there is no browser.
      if (require.resolve.paths(name) === null) continue;
      names[name] = require.resolve(name);
      add(names[name]);
    }
  };
  add(start);
  const bodies = [...modules].map(([path, { text, names }]) => {
    const body = path.endsWith(".json") ? `module.exports = ${text}` : text;
    return `${JSON.stringify(path)}: [${JSON.stringify(names)}, function (module, exports, require) {${body}\n}]`;
  });
  return `const modules = {${bodies.join(",\n")}};
    const made = {};
    function load(path) {
      if (made[path]) return made[path].exports;
      const module = (made[path] = { exports: {} });
      const [names, run] = modules[path];
      run.call(module.exports, module, module.exports, (name) => (names[name] ? load(names[name]) : {}));
      return module.exports;
    }
    globalThis.nats = load(${JSON.stringify(start)});`;
}

// Runs `script` in a page, as the body of an async function of `nats` and `broker`, and returns what that
// returns. The page comes from a server of its own, which sets cookies.
async function inPage(broker, script, { cookies = [] } = {}) {
  let finish;
  const result = new Promise((resolve) => (finish = resolve));
  const page = `<!doctype html><script src="/nats.js"></script><script>
    (async () => {
      const broker = "ws://127.0.0.1:${broker.websocketPort}";
      const run = async () => { ${script} };
      const answer = await run().then((value) => ({ value }), (error) => ({ error: String(error?.stack ?? error) }));
      await fetch("/result", { method: "POST", body: JSON.stringify(answer) });
    })();</script>`;
  const site = createServer(async (request, response) => {
    if (request.url === "/result") {
      let body = "";
      for await (const part of request) body += part;
      finish(JSON.parse(body));
      return response.end();
    }
    const isScript = request.url === "/nats.js";
    response.setHeader("Content-Type", isScript ? "text/javascript" : "text/html");
    response.setHeader("Set-Cookie", cookies);
    response.end(isScript ? bundle() : page);
  });
  site.listen(0, "127.0.0.1");
  await once(site, "listening");
  const profile = mkdtempSync(join(tmpdir(), "browser-"));
  const flags = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"];
  const address = `http://127.0.0.1:${site.address().port}/`;
  const browser = spawn(CHROMIUM, [...flags, `--user-data-dir=${profile}`, address], {
    stdio: "ignore",
    // A group of its own: what the browser starts ends with it, and writes no more to the profile.
    detached: true,
  });
  const gone = once(browser, "exit");
  try {
    const ended = gone.then(() => Promise.reject(new Error("the browser ended")));
    const { value, error } = await within(Promise.race([result, ended]), PAGE_PATIENCE_MS, "the page");
    assert.equal(error, undefined);
    return value;
  } finally {
    process.kill(-browser.pid, "SIGKILL");
    await gone;
    site.closeAllConnections();
    site.close();
    rmSync(profile, { recursive: true, force: true, maxRetries: 30, retryDelay: 20 });
  }
}

const door = (more, outside = "") => `websocket { host: "127.0.0.1", port: -1, no_tls: true, ${more} }\n${outside}`;

const TALK = `
  const [one, two] = await Promise.all([1, 2].map(() => nats.wsconnect({ servers: broker, reconnect: false })));
  const sizes = [0, 1, 100, 5000, 100_000, 1_000_000];
  const heard = (async () => {
    const sizes = [];
    for await (const message of two.subscribe("sizes", { max: 6 })) sizes.push(message.data.length);
    return sizes;
  })();
  two.subscribe("service", { callback: (_, message) => message.respond("re: " + message.string(), { headers: message.headers }) });
  await two.flush();
  for (const size of sizes) one.publish("sizes", new Uint8Array(size).fill(120));
  const sent = nats.headers();
  sent.set("Key", "value");
  const reply = await one.request("service", "question", { timeout: 5000, headers: sent });
  const all = await heard;
  const answer = [all, reply.string(), reply.headers?.get("Key")];
  await Promise.all([one.close(), two.close()]);
  return answer;`;

for (const compression of [false, true]) {
  test(`talks_to_a_page${compression ? "_compressed" : ""}`, door(`compression: ${compression}`), async (broker) => {
    const [sizes, reply, header] = await inPage(broker, TALK);
    assert.deepEqual(sizes, [0, 1, 100, 5000, 100_000, 1_000_000]);
    assert.deepEqual([reply, header], ["re: question", "value"]);
  });
}

const WHO = `
  const client = await nats.wsconnect({ servers: broker, reconnect: false });
  const info = (await client.request("$SYS.REQ.USER.INFO", "", { timeout: 5000 })).json().data;
  await client.close();
  return [info.user, info.account];`;

const named = door(
  "user_cookie: who, pass_cookie: secret, same_origin: false",
  "authorization { users: [{ user: page, password: hush }] }",
);
test("knows_a_page_by_its_cookies", named, async (broker) => {
  const who = await inPage(broker, WHO, { cookies: ["who=page", "secret=hush"] });
  assert.deepEqual(who, ["page", "$G"]);
  await assert.rejects(inPage(broker, WHO, { cookies: ["who=page", "secret=wrong"] }), /Authorization/i);
});

const { account, config } = operatorWorld();
test("knows_a_page_by_its_token", door("jwt_cookie: jwt", config), async (broker) => {
  const { jwt, key } = userOf(account, { bearer_token: true });
  assert.deepEqual(await inPage(broker, WHO, { cookies: [`jwt=${jwt}`] }), [key, account.getPublicKey()]);
});

const PROBE = `
  return new Promise((resolve) => {
    const socket = new WebSocket(broker);
    socket.onopen = () => resolve("open");
    socket.onerror = () => resolve("refused");
  });`;

test("keeps_out_pages_from_elsewhere", door('allowed_origins: ["https://example.org"]'), async (broker) => {
  assert.equal(await inPage(broker, PROBE), "refused");
});

test("keeps_out_pages_of_another_origin", door("same_origin: true"), async (broker) => {
  assert.equal(await inPage(broker, PROBE), "refused");
});

await runAll(tests);
