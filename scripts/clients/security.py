"""Who may come in, and how, through nats-py, the official Python client: keys, credentials, TLS and WebSocket.

The broker is $BROKER.
"""

import base64
import hashlib
import json
import os
import ssl
import tempfile
import time

import nats
import nkeys

from suite import main, refuses, refuses_to_connect, test

WAIT_S = 10
CERTIFICATES = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../tests/certificates")


def file(name):
    return os.path.join(CERTIFICATES, name)


def pair(kind):
    """A fresh key of a kind, and its seed."""
    seed = nkeys.encode_seed(os.urandom(32), kind)
    return nkeys.from_seed(bytearray(seed)), seed


def sign(claims, by):
    """Signs claims as NATS does."""

    def encode(part):
        return base64.urlsafe_b64encode(part).rstrip(b"=")

    body = {**claims, "iss": by.public_key.decode(), "iat": int(time.time()), "jti": ""}
    body["jti"] = base64.b32encode(hashlib.sha256(json.dumps(body).encode()).digest()).decode().rstrip("=")
    header = encode(json.dumps({"typ": "JWT", "alg": "ed25519-nkey"}).encode())
    text = header + b"." + encode(json.dumps(body).encode())
    return (text + b"." + encode(by.sign(text))).decode()


def operator_world():
    """An account for users, and the configuration of its operator."""
    (operator, _), (system, _), (account, _) = (
        pair(kind) for kind in (nkeys.PREFIX_BYTE_OPERATOR, nkeys.PREFIX_BYTE_ACCOUNT, nkeys.PREFIX_BYTE_ACCOUNT)
    )
    unlimited = {"subs": -1, "conn": -1, "leaf": -1, "imports": -1, "exports": -1, "data": -1, "payload": -1}

    def describe(key, name):
        nats_part = {"limits": {**unlimited, "wildcards": True}, "type": "account", "version": 2}
        return sign({"sub": key.public_key.decode(), "name": name, "nats": nats_part}, operator)

    root = {"sub": operator.public_key.decode(), "name": "O", "nats": {"type": "operator", "version": 2}}
    names = [key.public_key.decode() for key in (system, account)]
    config = f"""
        operator: {sign(root, operator)}
        system_account: {names[0]}
        resolver: MEMORY
        resolver_preload {{
          {names[0]}: {describe(system, "SYS")}
          {names[1]}: {describe(account, "A")}
        }}"""
    return account, config


def credentials(account, **more):
    """The path of a new user's credentials."""
    user, seed = pair(nkeys.PREFIX_BYTE_USER)
    nats_part = {"subs": -1, "data": -1, "payload": -1, "type": "user", "version": 2}
    jwt = sign({"sub": user.public_key.decode(), "name": "user", "nats": nats_part, **more}, account)
    parts = (("NATS USER JWT", jwt), ("USER NKEY SEED", seed.decode()))
    with tempfile.NamedTemporaryFile("w", suffix=".creds", delete=False) as out:
        for name, text in parts:
            out.write(f"-----BEGIN {name}-----\n{text}\n------END {name}------\n\n")
    return out.name


async def leave(client):
    """Messages of several sizes come back as they were."""
    subscription = await client.subscribe("all.*")
    sizes = [0, 1, 100, 16_384, 100_000, 1_000_000]
    for size in sizes:
        await client.publish("all.sizes", b"x" * size)
    assert [len((await subscription.next_msg(timeout=WAIT_S)).data) for _ in sizes] == sizes
    await client.close()


async def who_am_i(client):
    reply = await client.request("$SYS.REQ.USER.INFO", b"", timeout=WAIT_S)
    return json.loads(reply.data)["data"]


async def enter(broker, **options):
    return await nats.connect(broker.url, allow_reconnect=False, **options)


KEY, SEED = pair(nkeys.PREFIX_BYTE_USER)


@test(config=f"authorization {{ users: [{{ nkey: {KEY.public_key.decode()} }}] }}")
async def authorizes_nkeys(broker):
    client = await enter(broker, nkeys_seed_str=SEED.decode())
    assert (await who_am_i(client))["user"] == KEY.public_key.decode()
    await leave(client)
    _, other = pair(nkeys.PREFIX_BYTE_USER)
    await refuses_to_connect(broker, nkeys_seed_str=other.decode())
    await refuses_to_connect(broker)


HASH = "$2a$04$hhiJfv3l5P8xwNJaYdVfJ.KRza2OkNjkeZr1hoUkdnRL/cOOh.r8S"
USERS = f"authorization {{ users: [{{ user: plain, password: p }}, {{ user: hashed, password: '{HASH}' }}] }}"


@test(config=USERS)
async def authorizes_users(broker):
    await leave(await enter(broker, user="plain", password="p"))
    await leave(await enter(broker, user="hashed", password="secret"))
    await refuses_to_connect(broker, user="hashed", password="wrong")


ACCOUNT, OPERATOR = operator_world()


@test(config=OPERATOR)
async def authorizes_credentials(broker):
    client = await enter(broker, user_credentials=credentials(ACCOUNT))
    assert (await who_am_i(client))["account"] == ACCOUNT.public_key.decode()
    await leave(client)
    await refuses_to_connect(broker, user_credentials=credentials(ACCOUNT, exp=1))
    stranger, _ = pair(nkeys.PREFIX_BYTE_ACCOUNT)
    await refuses_to_connect(broker, user_credentials=credentials(stranger))
    await refuses_to_connect(broker)


def secured(*own):
    context = ssl.create_default_context(cafile=file("ca.pem"))
    if own:
        context.load_cert_chain(*own)
    return context


def tls(more=""):
    return f"tls {{ cert_file: '{file('server.pem')}', key_file: '{file('server.key')}', {more} }}"


VERIFIED = f"ca_file: '{file('ca.pem')}'"


async def enter_secured(broker, context, **options):
    url = f"tls://localhost:{broker.port}"
    return await nats.connect(url, tls=context, allow_reconnect=False, **options)


@test(config=tls())
async def speaks_tls(broker):
    await leave(await enter_secured(broker, secured()))
    strange = ssl.create_default_context(cafile=file("stranger.pem"))
    await refuses(enter_secured(broker, strange), ssl.SSLError, nats.errors.Error)


@test(config=tls("handshake_first: true"))
async def speaks_tls_first(broker):
    await leave(await enter_secured(broker, secured(), tls_handshake_first=True))


@test(config=tls(f"verify: true, {VERIFIED}"))
async def shows_a_certificate(broker):
    await leave(await enter_secured(broker, secured(file("client.pem"), file("client.key"))))
    await refuses(enter_secured(broker, secured()), OSError, nats.errors.Error)


@test(config=f"{tls(f'verify_and_map: true, {VERIFIED}')}\nauthorization {{ users: [{{ user: client@example.org }}] }}")
async def is_who_the_certificate_says(broker):
    client = await enter_secured(broker, secured(file("client.pem"), file("client.key")))
    assert (await who_am_i(client))["user"] == "client@example.org"
    await leave(client)


async def by_websocket(broker, **options):
    url = f"ws://127.0.0.1:{broker.websocket_port}"
    return await nats.connect(url, allow_reconnect=False, **options)


def door(more, outside=""):
    return f'websocket {{ host: "127.0.0.1", port: -1, {more} }}\n{outside}'


@test(config=door("no_tls: true, compression: true"))
async def speaks_websocket(broker):
    await leave(await by_websocket(broker))


@test(config=door(tls()))
async def speaks_websocket_over_tls(broker):
    url = f"wss://localhost:{broker.websocket_port}"
    await leave(await nats.connect(url, tls=secured(), allow_reconnect=False))


@test(config=door("no_tls: true, authorization { token: t }", "authorization { user: u, password: p }"))
async def authorizes_by_websocket_apart(broker):
    await leave(await by_websocket(broker, token="t"))
    await leave(await enter(broker, user="u", password="p"))
    await refuses_to_connect(broker, token="t")


if __name__ == "__main__":
    main()
