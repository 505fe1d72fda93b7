"""Core NATS through nats-py, the official Python client, against the broker in $BROKER."""

import asyncio
import signal

import nats
from nats.errors import MaxPayloadError, NoRespondersError, TimeoutError as NatsTimeout

from suite import main, refuses, refuses_to_connect, test

WAIT_S = 10


async def until(event):
    await asyncio.wait_for(event.wait(), WAIT_S)


async def settle(client):
    """Returns once the broker has seen everything the client has said.

    This client writes the PING of its flush straight to the socket while earlier commands may still
    wait in its own buffer; by the PONG of the first flush they have left it.
    """
    await client.flush()
    await client.flush()


async def take(subscription, count):
    return [await subscription.next_msg(timeout=WAIT_S) for _ in range(count)]


@test()
async def connects_and_flushes(broker):
    client = await nats.connect(broker.url, name="core")
    assert client.is_connected
    assert client.max_payload == 1 << 20
    await client.flush()
    assert await client.rtt() > 0
    await client.close()
    assert client.is_closed


@test()
async def publishes_and_subscribes(broker):
    publisher, subscriber = await nats.connect(broker.url), await nats.connect(broker.url)
    subscription = await subscriber.subscribe("foo.bar")
    await settle(subscriber)
    for number in range(1000):
        await publisher.publish("foo.bar", str(number).encode())
    messages = await take(subscription, 1000)
    assert [int(message.data) for message in messages] == list(range(1000))
    await publisher.close()
    await subscriber.close()


@test()
async def matches_wildcards(broker):
    client = await nats.connect(broker.url)
    star = await client.subscribe("a.*.c")
    tail = await client.subscribe("a.>")
    for subject in ("a.b.c", "a.b", "a", "a.x.c", "b.b.c", "a.b.c.d"):
        await client.publish(subject)
    await settle(client)
    assert [message.subject for message in await take(star, 2)] == ["a.b.c", "a.x.c"]
    assert [message.subject for message in await take(tail, 4)] == ["a.b.c", "a.b", "a.x.c", "a.b.c.d"]
    assert star.pending_msgs == 0 and tail.pending_msgs == 0
    await client.close()


@test()
async def shares_within_queue_groups(broker):
    publisher = await nats.connect(broker.url)
    members = [await nats.connect(broker.url) for _ in range(4)]
    counts = {"red": [0] * 4, "blue": [0] * 4}
    done = asyncio.Event()
    for index, member in enumerate(members):
        for group, numbers in counts.items():

            async def count(_message, numbers=numbers, index=index):
                numbers[index] += 1
                if sum(counts["red"]) >= 1000 and sum(counts["blue"]) >= 1000:
                    done.set()

            await member.subscribe("work", queue=group, cb=count)
        await settle(member)
    for _ in range(1000):
        await publisher.publish("work", b"x")
    await settle(publisher)
    await until(done)
    for member in members:
        await settle(member)
        await member.close()
    for numbers in counts.values():
        assert sum(numbers) == 1000, counts
        assert min(numbers) > 0, counts
    await publisher.close()


@test()
async def requests_and_replies(broker):
    asker, responder = await nats.connect(broker.url), await nats.connect(broker.url)

    async def answer(message):
        await message.respond(b"re: " + message.data)

    await responder.subscribe("service", cb=answer)
    await settle(responder)
    for number in range(200):
        reply = await asker.request("service", str(number).encode(), timeout=WAIT_S)
        assert reply.data == b"re: " + str(number).encode()
    replies = await asyncio.gather(*(asker.request("service", b"%d" % n, timeout=WAIT_S) for n in range(200)))
    assert [reply.data for reply in replies] == [b"re: %d" % n for n in range(200)]
    await asker.close()
    await responder.close()


@test()
async def tells_that_nobody_responds(broker):
    client = await nats.connect(broker.url)
    await refuses(client.request("nobody", b"", timeout=WAIT_S), NoRespondersError)
    await client.close()


@test()
async def times_out_when_a_responder_is_silent(broker):
    client = await nats.connect(broker.url)
    await client.subscribe("silent")
    await refuses(client.request("silent", b"", timeout=0.2), NatsTimeout)
    await client.close()


@test()
async def carries_headers(broker):
    client = await nats.connect(broker.url)
    subscription = await client.subscribe("foo")
    headers = {"Key": "value", "Other-Key": "with spaces and: colon"}
    await client.publish("foo", b"payload", headers=headers)
    message = await subscription.next_msg(timeout=WAIT_S)
    assert message.headers == headers and message.data == b"payload"
    await client.publish("foo", b"", headers={"Only": "header"})
    message = await subscription.next_msg(timeout=WAIT_S)
    assert message.headers == {"Only": "header"} and message.data == b""
    await client.close()


@test()
async def drains(broker):
    publisher, subscriber = await nats.connect(broker.url), await nats.connect(broker.url)
    seen = []

    async def slowly(message):
        await asyncio.sleep(0.001)
        seen.append(message.data)

    await subscriber.subscribe("foo", cb=slowly)
    await settle(subscriber)
    for number in range(500):
        await publisher.publish("foo", b"%d" % number)
    await settle(publisher)
    # Behind the last message on each way, so that all of them have reached the client.
    await settle(subscriber)
    await subscriber.drain()
    assert seen == [b"%d" % number for number in range(500)], len(seen)
    assert subscriber.is_closed
    await publisher.close()


@test()
async def handles_slowly_what_came_fast(broker):
    publisher, subscriber = await nats.connect(broker.url), await nats.connect(broker.url)
    seen, done = [], asyncio.Event()

    async def slowly(message):
        await asyncio.sleep(0)
        seen.append(int(message.data))
        if len(seen) == 5000:
            done.set()

    await subscriber.subscribe("foo", cb=slowly)
    await settle(subscriber)
    for number in range(5000):
        await publisher.publish("foo", b"%d" % number)
    await settle(publisher)
    await until(done)
    assert seen == list(range(5000))
    await publisher.close()
    await subscriber.close()


@test()
async def reconnects_to_a_restarted_broker(broker):
    gone, back = asyncio.Event(), asyncio.Event()

    async def on_gone():
        gone.set()

    async def on_back():
        back.set()

    async def on_error(_error):
        pass

    client = await nats.connect(
        broker.url,
        disconnected_cb=on_gone,
        reconnected_cb=on_back,
        error_cb=on_error,
        reconnect_time_wait=0.05,
        max_reconnect_attempts=-1,
    )
    subscription = await client.subscribe("foo")
    await settle(client)
    await broker.stop()
    await until(gone)
    await broker.start()
    await until(back)
    await client.publish("foo", b"again")
    assert (await subscription.next_msg(timeout=WAIT_S)).data == b"again"
    await client.close()


@test(config="authorization { user: u, password: p }")
async def authorizes_user_and_password(broker):
    client = await nats.connect(broker.url, user="u", password="p")
    await settle(client)
    await client.close()
    for user, password in (("u", "wrong"), ("wrong", "p")):
        await refuses_to_connect(broker, user=user, password=password)
    await refuses_to_connect(broker)


@test(config="authorization { token: t0ken }")
async def authorizes_token(broker):
    client = await nats.connect(broker.url, token="t0ken")
    await settle(client)
    await client.close()
    await refuses_to_connect(broker, token="wrong")
    await refuses_to_connect(broker)


@test(config="max_payload: 1000")
async def refuses_large_payloads(broker):
    client = await nats.connect(broker.url)
    assert client.max_payload == 1000
    await refuses(client.publish("foo", b"x" * 1001), MaxPayloadError)
    subscription = await client.subscribe("foo")
    await client.publish("foo", b"x" * 1000)
    assert len((await subscription.next_msg(timeout=WAIT_S)).data) == 1000
    await client.close()


@test()
async def keeps_a_thousand_subscriptions(broker):
    publisher, subscriber = await nats.connect(broker.url), await nats.connect(broker.url)
    seen, done = set(), asyncio.Event()

    async def note(message):
        assert message.data == message.subject.encode()
        seen.add(message.subject)
        if len(seen) == 1000:
            done.set()

    for number in range(1000):
        await subscriber.subscribe(f"subject.{number}", cb=note)
    await settle(subscriber)
    for number in range(1000):
        await publisher.publish(f"subject.{number}", f"subject.{number}".encode())
    await settle(publisher)
    await until(done)
    await publisher.close()
    await subscriber.close()


@test()
async def does_not_hear_itself_without_echo(broker):
    deaf, other = await nats.connect(broker.url, no_echo=True), await nats.connect(broker.url)
    subscription = await deaf.subscribe("foo")
    await deaf.publish("foo", b"mine")
    await settle(deaf)
    await other.publish("foo", b"yours")
    assert (await subscription.next_msg(timeout=WAIT_S)).data == b"yours"
    await deaf.close()
    await other.close()


@test()
async def unsubscribes_after_a_number(broker):
    publisher, subscriber = await nats.connect(broker.url), await nats.connect(broker.url)
    limited = await subscriber.subscribe("foo")
    await limited.unsubscribe(limit=3)
    control = await subscriber.subscribe("foo")
    await settle(subscriber)
    for number in range(10):
        await publisher.publish("foo", b"%d" % number)
    assert [message.data for message in await take(control, 10)] == [b"%d" % n for n in range(10)]
    assert [message.data for message in await take(limited, 3)] == [b"0", b"1", b"2"]
    assert limited.pending_msgs == 0
    await publisher.close()
    await subscriber.close()


@test()
async def hears_of_a_lame_duck(broker):
    lame = asyncio.Event()

    async def on_lame():
        lame.set()

    client = await nats.connect(broker.url, lame_duck_mode_cb=on_lame)
    await settle(client)
    broker.send_signal(signal.SIGUSR2)
    await until(lame)
    await settle(client)
    await client.close()


if __name__ == "__main__":
    main()
