// Auth callout: a service written with nats.js decides who may come in, at the broker in $BROKER.
// $PEERS is the directory whose node_modules hold the client.

import assert from "node:assert/strict";
import { createRequire } from "node:module";
import { join } from "node:path";

import { runAll, within } from "./broker.mjs";
import { now, read, sign } from "./tokens.mjs";

const require = createRequire(join(process.env.PEERS, "js", "package.json"));
const { connect, tokenAuthenticator } = require("@nats-io/transport-node");
const { createAccount, createCurve, createUser } = require("@nats-io/nkeys");

const WAIT_MS = 10_000;
const issuer = createAccount();
const curve = createCurve();
const tests = [];
const test = (name, config, run) => tests.push({ name, options: { config }, run });
function userToken(request, { account = "APP", name, nats = {}, by = issuer, ...rest }) {
  const user = { subs: -1, data: -1, payload: -1, type: "user", version: 2, ...nats };
  return sign({ aud: account, sub: request.nats.user_nkey, name, nats: user, ...rest }, by);
}

function response(request, nats, { by = issuer, ...rest } = {}) {
  const claims = { aud: request.nats.server_id.id, sub: request.nats.user_nkey, ...rest };
  return sign({ ...claims, nats: { type: "authorization_response", version: 2, ...nats } }, by);
}

// Answers questions by `decide(request)`, which returns the token of an answer, or nothing to stay
// silent. What was asked is in `requests`.
async function serve(broker, decide, { user = "auth", pass = "pw", sealed = false } = {}) {
  const client = await connect({ servers: broker.servers, user, pass });
  const requests = [];
  client.subscribe("$SYS.REQ.USER.AUTH", {
    callback: (_, message) => {
      const server = message.headers?.get("Nats-Server-Xkey");
      assert.equal(Boolean(server), Boolean(sealed));
      const token = sealed ? curve.open(message.data, server) : message.data;
      const request = read(Buffer.from(token).toString());
      requests.push(request);
      const answer = decide(request);
      if (answer === undefined) return;
      message.respond(sealed === true ? curve.seal(Buffer.from(answer), server) : answer);
    },
  });
  await client.flush();
  return { client, requests };
}

const allow = (options = {}) => (request) =>
  response(request, { jwt: userToken(request, { name: request.nats.connect_opts.user, ...options }) });

const enter = (broker, options) => connect({ servers: broker.servers, reconnect: false, ...options });
const refused = (broker, options) => assert.rejects(enter(broker, options), /authorization/i);

// What the broker says of a connection.
async function whoAmI(client) {
  return (await client.request("$SYS.REQ.USER.INFO", "", { timeout: WAIT_MS })).json().data;
}

async function hears(from, to, subject) {
  const heard = new Promise((resolve) => to.subscribe(subject, { max: 1, callback: (_, m) => resolve(m.string()) }));
  await to.flush();
  from.publish(subject, "hello");
  return within(heard, WAIT_MS, `hearing ${subject}`);
}

const config = ({ more = "", timeout = 2, accounts = "" } = {}) => `
server_name: callout
server_tags: [one, "two:2"]
accounts {
  AUTH { users: [{user: auth, password: pw}] }
  APP { users: [{user: known, password: secret}, {user: other, password: secret}] }
  ${accounts}
}
authorization {
  timeout: ${timeout}
  auth_callout { issuer: ${issuer.getPublicKey()}, account: AUTH, auth_users: [auth] ${more} }
}`;

test("lets_in_whom_the_service_names", config(), async (broker) => {
  const service = await serve(broker, allow());
  const [one, two] = [await enter(broker, { user: "me", pass: "x" }), await enter(broker, { user: "you" })];
  assert.equal(await hears(one, two, "foo"), "hello");
  const info = await whoAmI(one);
  assert.deepEqual([info.user, info.account], ["me", "APP"]);
  // Who decides is in another account, and was not asked about.
  assert.equal(service.requests.length, 2);
  for (const client of [one, two, service.client]) await client.close();
});

test("asks_about_those_in_the_file_as_well", config(), async (broker) => {
  const service = await serve(broker, allow({ name: "renamed" }));
  const client = await enter(broker, { user: "known", pass: "secret" });
  assert.equal((await whoAmI(client)).user, "renamed");
  assert.equal(service.requests.length, 1);
  await client.close();
  await service.client.close();
});

test("tells_the_service_who_asks", config(), async (broker) => {
  const service = await serve(broker, allow());
  const client = await enter(broker, { user: "me", pass: "x", name: "mine" });
  await client.close();
  const other = await enter(broker, { authenticator: tokenAuthenticator("t") });
  await other.close();
  const [first, second] = service.requests;
  const { client_info: info, connect_opts: said, server_id: server, ...rest } = first.nats;
  assert.deepEqual([first.aud, first.sub], ["nats-authorization-request", issuer.getPublicKey()]);
  assert.deepEqual([first.iss, first.exp - first.iat <= 2, first.jti.length], [server.id, true, 52]);
  assert.deepEqual([rest.type, rest.version], ["authorization_request", 2]);
  assert.match(rest.user_nkey, /^U[A-Z2-7]{55}$/);
  assert.deepEqual(Object.keys(server).sort(), ["host", "id", "name", "tags", "version"]);
  assert.deepEqual([server.name, server.host, server.tags], ["callout", "127.0.0.1", ["one", "two:2"]]);
  assert.deepEqual(Object.keys(info).sort(), ["host", "id", "kind", "name", "type", "user"]);
  const { id, ...known } = info;
  assert.deepEqual(known, { host: "127.0.0.1", user: "me", name: "mine", kind: "Client", type: "nats" });
  assert.ok(id > 0);
  const { lang, version, ...options } = said;
  assert.deepEqual(options, { user: "me", pass: "x", name: "mine", protocol: 1 });
  assert.ok(lang && version);
  assert.equal(second.nats.client_info.user, "[REDACTED]");
  assert.equal(second.nats.connect_opts.auth_token, "t");
  await service.client.close();
});

test("keeps_out_whom_the_service_refuses", config(), async (broker) => {
  const service = await serve(broker, (request) => response(request, { error: "no" }));
  await refused(broker, { user: "me", pass: "x" });
  await refused(broker, { user: "known", pass: "secret" });
  await refused(broker, {});
  assert.equal(service.requests.length, 3);
  // Those who decide get no second opinion about themselves.
  await refused(broker, { user: "auth", pass: "wrong" });
  assert.equal(service.requests.length, 3);
  await service.client.close();
});

test("keeps_out_whom_nobody_decides_about", config({ timeout: 0.3 }), async (broker) => {
  await refused(broker, { user: "me", pass: "x" });
  const service = await serve(broker, () => undefined);
  await refused(broker, { user: "me", pass: "x" });
  assert.equal(service.requests.length, 1);
  await service.client.close();
});

test("believes_no_answer_that_is_not_for_it", config(), async (broker) => {
  const stranger = createAccount();
  const somebody = createUser().getPublicKey();
  const own = (request, options) => userToken(request, { name: "n", ...options });
  const wrong = [
    () => "",
    () => "eyJ",
    () => "nonsense",
    (r) => userToken(r, { name: "n" }),
    (r) => response(r, { jwt: own(r) }, { by: stranger }),
    (r) => response(r, { jwt: own(r, { by: stranger }) }),
    (r) => response(r, { jwt: own(r) }, { sub: somebody }),
    (r) => response(r, { jwt: own(r, { sub: somebody }) }),
    (r) => response(r, { jwt: own(r) }, { aud: somebody }),
    (r) => response(r, { jwt: own(r), error: "both" }),
    (r) => response(r, {}),
    (r) => response(r, { jwt: own(r, { account: "NOWHERE" }) }),
    (r) => response(r, { jwt: own(r, { account: "" }) }),
    (r) => response(r, { jwt: own(r, { nats: { issuer_account: issuer.getPublicKey() } }) }),
    (r) => response(r, { jwt: own(r, { exp: now() - 10 }) }),
    (r) => response(r, { jwt: own(r) }).slice(0, -8) + "AAAAAAAA",
  ];
  let next = 0;
  const service = await serve(broker, (request) => wrong[next](request));
  for (; next < wrong.length; next++) await refused(broker, { user: "me", pass: "x" });
  assert.equal(service.requests.length, wrong.length);
  await service.client.close();
});

test("seals_what_it_asks", config({ more: `, xkey: ${curve.getPublicKey()}` }), async (broker) => {
  const service = await serve(broker, allow(), { sealed: true });
  const client = await enter(broker, { user: "me", pass: "x" });
  assert.equal((await whoAmI(client)).account, "APP");
  await client.close();
  assert.ok(service.requests[0].nats.server_id.xkey.startsWith("X"));
  await service.client.close();
  const open = await serve(broker, allow(), { sealed: "questions only" });
  await (await enter(broker, { user: "me", pass: "x" })).close();
  await open.client.close();
});

test("holds_to_permissions_and_expiry", config(), async (broker) => {
  const nats = { pub: { allow: ["a.>"] }, sub: { allow: ["_INBOX.>", "b"] } };
  const service = await serve(broker, (request) => allow({ nats, exp: now() + 3 })(request));
  const client = await enter(broker, { user: "me", pass: "x" });
  const failed = new Promise((resolve) => {
    (async () => {
      for await (const status of client.status()) if (status.type === "error") return resolve(status.error);
    })();
  });
  client.publish("b", "x");
  assert.match(String(await within(failed, WAIT_MS, "the violation")), /permission/i);
  const ended = await within(client.closed(), WAIT_MS, "the end of the token's time");
  assert.match(String(ended), /expired/i);
  await service.client.close();
});

test("keeps_questions_to_itself", config(), async (broker) => {
  const service = await serve(broker, allow({ account: "AUTH" }));
  for (const options of [{ user: "auth", pass: "pw" }, { user: "me", pass: "x" }]) {
    const client = await enter(broker, options);
    const failed = new Promise((resolve) => {
      (async () => {
        for await (const status of client.status()) if (status.type === "error") return resolve(status.error);
      })();
    });
    client.publish("$SYS.REQ.USER.AUTH", "x");
    assert.match(String(await within(failed, WAIT_MS, "the violation")), /permission/i);
    await client.close();
  }
  await service.client.close();
});

const limited = config({ more: ", allowed_accounts: [APP]", accounts: "OWN { users: [{user: own, password: s}] }" });
test("asks_only_about_some_accounts", limited, async (broker) => {
  const service = await serve(broker, allow());
  const own = await enter(broker, { user: "own", pass: "s" });
  assert.equal((await whoAmI(own)).account, "OWN");
  assert.equal(service.requests.length, 0);
  const known = await enter(broker, { user: "known", pass: "secret" });
  assert.equal(service.requests.length, 1);
  // With the wrong password it is anybody.
  const anybody = await enter(broker, { user: "own", pass: "wrong" });
  assert.equal((await whoAmI(anybody)).account, "APP");
  assert.equal(service.requests.length, 2);
  for (const client of [own, known, anybody, service.client]) await client.close();
});

const single = `authorization {
  timeout: 20
  user: auth, password: pw
  auth_callout { issuer: ${issuer.getPublicKey()}, auth_users: [auth] }
}`;
test("decides_from_the_global_account", single, async (broker) => {
  const service = await serve(broker, allow({ account: "$G" }));
  const clients = await Promise.all(
    Array.from({ length: 10 }, (_, number) => enter(broker, { user: `u${number}`, pass: "x" })),
  );
  assert.equal(await hears(clients[0], clients[9], "foo"), "hello");
  assert.equal(service.requests.length, 10);
  assert.equal(new Set(service.requests.map((request) => request.nats.user_nkey)).size, 10);
  for (const client of [...clients, service.client]) await client.close();
});

await runAll(tests);
