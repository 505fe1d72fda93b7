// Core NATS through nats.js, the official JavaScript client, against the broker in $BROKER.
// $PEERS is the directory whose node_modules hold the client.

import assert from "node:assert/strict";
import { createRequire } from "node:module";
import { join } from "node:path";

import { runAll, within } from "./broker.mjs";

const require = createRequire(join(process.env.PEERS, "js", "package.json"));
const { connect, headers } = require("@nats-io/transport-node");

const WAIT_MS = 10_000;
const tests = [];
const test = (name, options, run) => tests.push({ name, options, run });

const open = (broker, options = {}) => connect({ servers: broker.servers, ...options });
const text = (messages) => messages.map((message) => message.string());

// The first messages of a subscription.
async function take(subscription, count) {
  const messages = [];
  const reading = (async () => {
    for await (const message of subscription) {
      messages.push(message);
      if (messages.length === count) return messages;
    }
    throw new Error(`the subscription ended after ${messages.length} messages`);
  })();
  return within(reading, WAIT_MS, `taking ${count} messages`);
}

// The first status event of that type.
async function status(client, type) {
  const watching = (async () => {
    for await (const event of client.status()) if (event.type === type) return event;
    throw new Error("the client closed");
  })();
  return within(watching, WAIT_MS, `waiting for ${type}`);
}

test("connects_and_flushes", {}, async (broker) => {
  const client = await open(broker, { name: "core" });
  assert.equal(client.info.max_payload, 1 << 20);
  assert.equal(client.info.headers, true);
  await client.flush();
  assert.ok((await client.rtt()) >= 0);
  await client.close();
  assert.ok(client.isClosed());
});

test("publishes_and_subscribes", {}, async (broker) => {
  const [publisher, subscriber] = [await open(broker), await open(broker)];
  const subscription = subscriber.subscribe("foo.bar");
  await subscriber.flush();
  for (let number = 0; number < 1000; number++) publisher.publish("foo.bar", String(number));
  const messages = await take(subscription, 1000);
  assert.deepEqual(text(messages), Array.from({ length: 1000 }, (_, number) => String(number)));
  await publisher.close();
  await subscriber.close();
});

test("matches_wildcards", {}, async (broker) => {
  const client = await open(broker);
  const star = client.subscribe("a.*.c");
  const tail = client.subscribe("a.>");
  for (const subject of ["a.b.c", "a.b", "a", "a.x.c", "b.b.c", "a.b.c.d"]) client.publish(subject);
  await client.flush();
  assert.equal(star.getReceived(), 2);
  assert.equal(tail.getReceived(), 4);
  assert.deepEqual((await take(star, 2)).map((message) => message.subject), ["a.b.c", "a.x.c"]);
  await client.close();
});

test("shares_within_queue_groups", {}, async (broker) => {
  const publisher = await open(broker);
  const counts = { red: [0, 0, 0, 0], blue: [0, 0, 0, 0] };
  const total = (numbers) => numbers.reduce((sum, number) => sum + number, 0);
  const members = [];
  let finish;
  const done = new Promise((resolve) => (finish = resolve));
  for (let index = 0; index < 4; index++) {
    const member = await open(broker);
    for (const [queue, numbers] of Object.entries(counts)) {
      const callback = () => {
        numbers[index] += 1;
        if (total(counts.red) >= 1000 && total(counts.blue) >= 1000) finish();
      };
      member.subscribe("work", { queue, callback });
    }
    await member.flush();
    members.push(member);
  }
  for (let number = 0; number < 1000; number++) publisher.publish("work", "x");
  await within(done, WAIT_MS, "sharing the work");
  for (const member of members) await member.flush();
  for (const numbers of Object.values(counts)) {
    assert.equal(total(numbers), 1000);
    assert.ok(Math.min(...numbers) > 0, `${numbers}`);
  }
  for (const client of [publisher, ...members]) await client.close();
});

test("requests_and_replies", {}, async (broker) => {
  const [asker, responder] = [await open(broker), await open(broker)];
  responder.subscribe("service", { callback: (_, message) => message.respond(`re: ${message.string()}`) });
  await responder.flush();
  for (let number = 0; number < 200; number++) {
    const reply = await asker.request("service", String(number), { timeout: WAIT_MS });
    assert.equal(reply.string(), `re: ${number}`);
  }
  const numbers = Array.from({ length: 200 }, (_, number) => number);
  const replies = await Promise.all(numbers.map((n) => asker.request("service", String(n), { timeout: WAIT_MS })));
  assert.deepEqual(text(replies), numbers.map((number) => `re: ${number}`));
  const old = await asker.request("service", "x", { timeout: WAIT_MS, noMux: true, reply: "an.inbox" });
  assert.equal(old.string(), "re: x");
  await asker.close();
  await responder.close();
});

test("tells_that_nobody_responds", {}, async (broker) => {
  const client = await open(broker);
  await assert.rejects(client.request("nobody", "", { timeout: WAIT_MS }), /no responders/i);
  await client.close();
});

test("times_out_when_a_responder_is_silent", {}, async (broker) => {
  const client = await open(broker);
  client.subscribe("silent", { callback: () => {} });
  await assert.rejects(client.request("silent", "", { timeout: 200 }), /timeout/i);
  await client.close();
});

test("carries_headers", {}, async (broker) => {
  const client = await open(broker);
  const subscription = client.subscribe("foo");
  const sent = headers();
  sent.append("Key", "one");
  sent.append("Key", "two");
  sent.append("other-key", "with spaces and: colon");
  client.publish("foo", "payload", { headers: sent, reply: "bar" });
  client.publish("foo", "", { headers: sent });
  const messages = await take(subscription, 2);
  assert.deepEqual(text(messages), ["payload", ""]);
  assert.equal(messages[0].reply, "bar");
  for (const message of messages) {
    assert.deepEqual(message.headers.values("Key"), ["one", "two"]);
    assert.equal(message.headers.get("other-key"), "with spaces and: colon");
  }
  await client.close();
});

test("drains", {}, async (broker) => {
  const [publisher, subscriber] = [await open(broker), await open(broker)];
  const subscription = subscriber.subscribe("foo");
  await subscriber.flush();
  for (let number = 0; number < 500; number++) publisher.publish("foo", String(number));
  await publisher.flush();
  await subscriber.flush();
  const reading = (async () => {
    let seen = 0;
    for await (const _ of subscription) {
      await new Promise(setImmediate);
      seen += 1;
    }
    return seen;
  })();
  await subscriber.drain();
  assert.equal(await within(reading, WAIT_MS, "draining"), 500);
  assert.ok(subscriber.isClosed());
  await publisher.close();
});

test("handles_slowly_what_came_fast", {}, async (broker) => {
  const [publisher, subscriber] = [await open(broker), await open(broker)];
  const subscription = subscriber.subscribe("foo");
  await subscriber.flush();
  for (let number = 0; number < 5000; number++) publisher.publish("foo", String(number));
  await publisher.flush();
  const seen = [];
  const reading = (async () => {
    for await (const message of subscription) {
      await new Promise(setImmediate);
      if (seen.push(Number(message.string())) === 5000) return;
    }
  })();
  await within(reading, WAIT_MS, "handling slowly");
  assert.deepEqual(seen, Array.from({ length: 5000 }, (_, number) => number));
  await publisher.close();
  await subscriber.close();
});

test("reconnects_to_a_restarted_broker", {}, async (broker) => {
  const client = await open(broker, { reconnectTimeWait: 50, reconnectJitter: 0, maxReconnectAttempts: -1 });
  const subscription = client.subscribe("foo");
  await client.flush();
  const gone = status(client, "disconnect");
  const back = status(client, "reconnect");
  await broker.stop();
  await gone;
  await broker.start();
  await back;
  client.publish("foo", "again");
  assert.deepEqual(text(await take(subscription, 1)), ["again"]);
  await client.close();
});

test("authorizes_user_and_password", { config: "authorization { user: u, password: p }" }, async (broker) => {
  const client = await open(broker, { user: "u", pass: "p" });
  await client.flush();
  await client.close();
  for (const wrong of [{ user: "u", pass: "wrong" }, { user: "wrong", pass: "p" }, {}]) {
    await assert.rejects(open(broker, { ...wrong, reconnect: false }), /authorization/i);
  }
});

test("authorizes_token", { config: "authorization { token: t0ken }" }, async (broker) => {
  const client = await open(broker, { token: "t0ken" });
  await client.flush();
  await client.close();
  for (const wrong of [{ token: "wrong" }, {}]) {
    await assert.rejects(open(broker, { ...wrong, reconnect: false }), /authorization/i);
  }
});

test("refuses_large_payloads", { config: "max_payload: 1000" }, async (broker) => {
  const client = await open(broker);
  assert.equal(client.info.max_payload, 1000);
  assert.throws(() => client.publish("foo", "x".repeat(1001)), /max.?payload/i);
  const subscription = client.subscribe("foo");
  client.publish("foo", "x".repeat(1000));
  assert.equal((await take(subscription, 1))[0].data.length, 1000);
  await client.close();
});

test("keeps_a_thousand_subscriptions", {}, async (broker) => {
  const [publisher, subscriber] = [await open(broker), await open(broker)];
  const seen = new Set();
  let finish;
  const done = new Promise((resolve) => (finish = resolve));
  for (let number = 0; number < 1000; number++) {
    const callback = (_, message) => {
      assert.equal(message.string(), message.subject);
      seen.add(message.subject);
      if (seen.size === 1000) finish();
    };
    subscriber.subscribe(`subject.${number}`, { callback });
  }
  await subscriber.flush();
  for (let number = 0; number < 1000; number++) publisher.publish(`subject.${number}`, `subject.${number}`);
  await within(done, WAIT_MS, "hearing a thousand subjects");
  await publisher.close();
  await subscriber.close();
});

test("does_not_hear_itself_without_echo", {}, async (broker) => {
  const [deaf, other] = [await open(broker, { noEcho: true }), await open(broker)];
  const subscription = deaf.subscribe("foo");
  deaf.publish("foo", "mine");
  await deaf.flush();
  other.publish("foo", "yours");
  assert.deepEqual(text(await take(subscription, 1)), ["yours"]);
  await deaf.close();
  await other.close();
});

test("unsubscribes_after_a_number", {}, async (broker) => {
  const [publisher, subscriber] = [await open(broker), await open(broker)];
  const limited = subscriber.subscribe("foo", { max: 3 });
  const control = subscriber.subscribe("foo");
  await subscriber.flush();
  for (let number = 0; number < 10; number++) publisher.publish("foo", String(number));
  assert.equal((await take(control, 10)).length, 10);
  assert.deepEqual(text(await take(limited, 3)), ["0", "1", "2"]);
  assert.ok(limited.isClosed());
  await publisher.close();
  await subscriber.close();
});

test("hears_of_a_lame_duck", {}, async (broker) => {
  const client = await open(broker);
  await client.flush();
  const lame = status(client, "ldm");
  broker.signal("SIGUSR2");
  await lame;
  await client.flush();
  await client.close();
});

await runAll(tests);
