// Who may come in, and how, through nats.js, the official JavaScript client: keys, credentials, TLS and
// WebSocket. The broker is $BROKER; $PEERS is the directory whose node_modules hold the client. Node has
// to trust tests/certificates/ca.pem (NODE_EXTRA_CA_CERTS) and to know WebSocket.

import assert from "node:assert/strict";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

import { runAll, within } from "./broker.mjs";
import { credentials, operatorWorld, userOf } from "./tokens.mjs";

const require = createRequire(join(process.env.PEERS, "js", "package.json"));
const { connect, credsAuthenticator, jwtAuthenticator, nkeyAuthenticator, wsconnect } = {
  ...require("@nats-io/nats-core"),
  ...require("@nats-io/transport-node"),
};
const { createUser } = require("@nats-io/nkeys");

const WAIT_MS = 10_000;
const here = dirname(fileURLToPath(import.meta.url));
const file = (name) => join(here, "../../tests/certificates", name);
const tests = [];
const test = (name, config, run) => tests.push({ name, options: { config }, run });
const encode = (text) => new TextEncoder().encode(text);

const enter = (broker, options) => connect({ servers: broker.servers, reconnect: false, ...options });
const refused = (opening, why = /authorization/i) => assert.rejects(opening, why);

// Messages of several sizes come back as they were.
async function exchange(client) {
  const sizes = [0, 1, 100, 16_384, 100_000, 1_000_000];
  let [seen, finish] = [0];
  const done = new Promise((resolve) => (finish = resolve));
  const subscription = client.subscribe("all.*", {
    callback: (_, message) => {
      assert.equal(message.data.length, sizes[seen]);
      if (++seen === sizes.length) finish();
    },
  });
  for (const size of sizes) client.publish("all.sizes", new Uint8Array(size));
  await within(done, WAIT_MS, "the exchange");
  subscription.unsubscribe();
}

async function leave(client) {
  await exchange(client);
  await client.close();
}

const whoAmI = async (client) => (await client.request("$SYS.REQ.USER.INFO", "", { timeout: WAIT_MS })).json().data;

const key = createUser();
test("authorizes_nkeys", `authorization { users: [{ nkey: ${key.getPublicKey()} }] }`, async (broker) => {
  const client = await enter(broker, { authenticator: nkeyAuthenticator(key.getSeed()) });
  assert.equal((await whoAmI(client)).user, key.getPublicKey());
  await leave(client);
  await refused(enter(broker, { authenticator: nkeyAuthenticator(createUser().getSeed()) }));
  await refused(enter(broker));
});

const users = `authorization { users: [
  { user: plain, password: p, permissions { publish: "all.>", subscribe: ["all.>", "_INBOX.>"] } }
  { user: hashed, password: "$2a$04$hhiJfv3l5P8xwNJaYdVfJ.KRza2OkNjkeZr1hoUkdnRL/cOOh.r8S" }
] }`;
test("authorizes_users", users, async (broker) => {
  await leave(await enter(broker, { user: "plain", pass: "p" }));
  await leave(await enter(broker, { user: "hashed", pass: "secret" }));
  await refused(enter(broker, { user: "hashed", pass: "wrong" }));
  await refused(enter(broker, { user: "nobody", pass: "p" }));
});

const { account, config: operator } = operatorWorld();
test("authorizes_credentials", operator, async (broker) => {
  const user = userOf(account);
  const client = await enter(broker, { authenticator: credsAuthenticator(encode(credentials(user))) });
  assert.equal((await whoAmI(client)).account, account.getPublicKey());
  await leave(client);
  const bearer = userOf(account, { bearer_token: true });
  await leave(await enter(broker, { authenticator: jwtAuthenticator(bearer.jwt) }));
  await refused(enter(broker, { authenticator: jwtAuthenticator(user.jwt) }));
  const stranger = { ...user, seed: createUser().getSeed() };
  await refused(enter(broker, { authenticator: credsAuthenticator(encode(credentials(stranger))) }));
  const old = userOf(account, {}, { exp: 1 });
  await refused(enter(broker, { authenticator: credsAuthenticator(encode(credentials(old))) }));
  await refused(enter(broker));
});

const tls = (more = "") => `tls { cert_file: '${file("server.pem")}', key_file: '${file("server.key")}', ${more} }`;
const secured = { caFile: file("ca.pem") };
const certified = { ...secured, certFile: file("client.pem"), keyFile: file("client.key") };
const local = (broker, options) => connect({ servers: `localhost:${broker.port}`, reconnect: false, ...options });

test("speaks_tls", tls(), async (broker) => {
  await leave(await local(broker, { tls: secured }));
  await refused(local(broker, { tls: { caFile: file("stranger.pem") } }), /certificate|verify/i);
});

test("speaks_tls_first", tls("handshake_first: true"), async (broker) => {
  await leave(await local(broker, { tls: { ...secured, handshakeFirst: true } }));
});

const verified = `verify: true, ca_file: '${file("ca.pem")}'`;
test("shows_a_certificate", tls(verified), async (broker) => {
  await leave(await local(broker, { tls: certified }));
  await assert.rejects(local(broker, { tls: secured, timeout: 5000 }));
});

const mapped = `
${tls(`verify_and_map: true, ca_file: '${file("ca.pem")}'`)}
authorization { users: [{ user: "client@example.org" }] }`;
test("is_who_the_certificate_says", mapped, async (broker) => {
  const client = await local(broker, { tls: certified });
  assert.equal((await whoAmI(client)).user, "client@example.org");
  await leave(client);
});

// A port for WebSocket.
const door = (more, outside = "") => `
websocket { host: "127.0.0.1", port: -1, ${more} }
${outside}`;

const byWebSocket = (broker, options = {}, scheme = "ws") =>
  wsconnect({ servers: `${scheme}://localhost:${broker.websocketPort}`, reconnect: false, ...options });

test("speaks_websocket", door("no_tls: true, compression: true"), async (broker) => {
  await leave(await byWebSocket(broker));
});

test("speaks_websocket_over_tls", door(tls()), async (broker) => {
  await leave(await byWebSocket(broker, {}, "wss"));
});

test("authorizes_by_websocket", door("no_tls: true", users), async (broker) => {
  await leave(await byWebSocket(broker, { user: "plain", pass: "p" }));
  await leave(await byWebSocket(broker, { user: "hashed", pass: "secret" }));
  await refused(byWebSocket(broker, { user: "plain", pass: "wrong" }));
});

const apart = door("no_tls: true, authorization { token: t }", "authorization { user: u, password: p }");
test("authorizes_by_websocket_apart", apart, async (broker) => {
  await leave(await byWebSocket(broker, { token: "t" }));
  await refused(byWebSocket(broker, { user: "u", pass: "p" }));
  await leave(await enter(broker, { user: "u", pass: "p" }));
  await refused(enter(broker, { token: "t" }));
});

const single = door("no_tls: true, authorization { user: w, password: s }");
test("authorizes_by_websocket_alone", single, async (broker) => {
  await leave(await byWebSocket(broker, { user: "w", pass: "s" }));
  await refused(byWebSocket(broker));
  await leave(await enter(broker));
});

test("knows_who_is_nobody_by_websocket", door('no_tls: true, no_auth_user: "plain"', users), async (broker) => {
  const client = await byWebSocket(broker);
  await leave(client);
  await refused(enter(broker));
});

test("authorizes_credentials_by_websocket", door("no_tls: true", operator), async (broker) => {
  const user = userOf(account);
  await leave(await byWebSocket(broker, { authenticator: credsAuthenticator(encode(credentials(user))) }));
  await refused(byWebSocket(broker));
});

await runAll(tests);
