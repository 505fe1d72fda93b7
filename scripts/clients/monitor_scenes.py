"""What monitor_compare.py does with each broker, and what it looks at."""

import os
import socket
import ssl
import time

CERTIFICATES = os.path.abspath(os.path.join(os.path.dirname(__file__), "../../tests/certificates"))

ACCOUNTS = """
server_tags: ["one", "region:two"]
server_metadata { rack: "r1" }
jetstream { store_dir: "DIRECTORY/js", max_mem: 64M, max_file: 1G }
accounts {
  A {
    jetstream: enabled
    users: [
      { user: anna, password: p }
      { user: limited, password: p, permissions: { publish: ["x.>", "$SYS.REQ.USER.INFO"], subscribe: { allow: [">"], deny: ["no.>"] } } }
      { user: worker, password: p, permissions: { publish: { allow: [] }, subscribe: "work.>", allow_responses: { max: 3, expires: "2s" } } }
    ]
    exports: [ { stream: "news.>" }, { service: "help", accounts: [B] } ]
  }
  B {
    users: [ { user: ben, password: p } ]
    imports: [ { stream: { account: A, subject: "news.>" }, to: "from.>" }, { service: { account: A, subject: "help" }, to: "help.me" } ]
  }
  EMPTY {}
  SYS { users: [ { user: root, password: p } ] }
}
system_account: SYS
"""

SORTS = "cid start subs pending msgs_to msgs_from bytes_to bytes_from last idle uptime rtt".split()

CONNZ = (
    ["/connz", "/connz?auth=1", "/connz?subs=1", "/connz?subs=detail", "/connz?auth=true&subs=detail"]
    + [f"/connz?sort={name}" for name in SORTS if name not in ("rtt", "last", "idle", "uptime", "pending")]
    + ["/connz?sort=stop", "/connz?sort=reason", "/connz?sort=nothing", "/connz?sort=CID"]
    + ["/connz?limit=1", "/connz?limit=2&offset=1", "/connz?offset=100", "/connz?limit=-1&offset=-5", "/connz?limit=0"]
    + ["/connz?limit=9223372036854775807&offset=1", "/connz?limit=9223372036854775808", "/connz?offset=1e3"]
    + ["/connz?acc=A", "/connz?acc=A&auth=1", "/connz?acc=nobody", "/connz?user=ben&auth=1", "/connz?user=ben", "/connz?acc=A&user=ben&auth=1"]
    + ["/connz?cid=999", "/connz?cid=x", "/connz?cid=-1", "/connz?state=odd", "/connz?state=OPEN", "/connz?mqtt_client=x"]
    + ["/connz?subs=maybe", "/connz?auth=maybe", "/connz?subs=1&subs=detail", "/connz?filter_subject=work", "/connz?acc=A&filter_subject=work"]
)  # fmt: skip

CLOSED = [
    "/connz?state=closed",
    "/connz?state=closed&sort=stop",
    "/connz?state=closed&sort=reason&auth=1",
    "/connz?state=closed&subs=1",
    "/connz?state=closed&subs=detail&auth=1",
    "/connz?state=any&sort=cid&auth=1",
    "/connz?state=all&limit=1",
    "/connz?state=closed&acc=A",
    "/connz?state=closed&user=ben&auth=1",
    "/connz?state=closed&limit=1&offset=1",
]

ELSE = [
    "/varz", "/subsz", "/subsz?subs=1&acc=A", "/subsz?acc=A", "/subsz?acc=nobody", "/subsz?subs=1&acc=A&test=work.one",
    "/subsz?subs=1&acc=A&test=work.one&limit=1", "/subsz?subs=1&acc=A&test=work.one&limit=1&offset=1", "/subsz?test=a.*", "/subsz?test=a..b", "/subsz?subs=x",
    "/subscriptionsz?acc=B&subs=1", "/routez", "/routez?subs=1", "/routez?subs=detail", "/routez?subs=x", "/gatewayz",
    "/gatewayz?accs=1", "/gatewayz?accs=x", "/gatewayz?gw_name=x", "/gatewayz?acc_name=A", "/leafz", "/leafz?subs=1", "/leafz?subs=x",
    "/accountz", "/accountz?acc=A", "/accountz?acc=B", "/accountz?acc=SYS", "/accountz?acc=$G", "/accountz?acc=nobody",
    "/accstatz", "/accstatz?unused=1", "/accstatz?unused=x", "/accstatz?acc=A", "/raftz", "/raftz?acc=A", "/raftz?group=x",
    "/ipqueuesz?all=x", "/healthz", "/healthz?js-enabled=1", "/healthz?js-enabled-only=1", "/healthz?js-server-only=1",
    "/healthz?js-meta-only=1", "/healthz?account=A", "/healthz?account=nobody", "/healthz?account=A&stream=S", "/healthz?account=A&stream=X",
    "/healthz?account=A&stream=S&consumer=C", "/healthz?account=A&stream=S&consumer=X", "/healthz?stream=S", "/healthz?consumer=C",
    "/healthz?account=A&consumer=C", "/healthz?account=A&stream=X&details=1", "/healthz?account=nobody&details=true", "/healthz?details=x",
    "/healthz?js-enabled-only=x", "/nothing", "/varz/", "/VARZ", "/varz?x=%zz",
]  # fmt: skip

JSZ = [
    "/jsz", "/jsz?accounts=1", "/jsz?streams=1", "/jsz?consumers=1", "/jsz?config=1", "/jsz?streams=1&config=1", "/jsz?consumers=1&config=1",
    "/jsz?acc=A", "/jsz?acc=A&streams=1", "/jsz?acc=A&consumers=1&config=1", "/jsz?acc=nobody", "/jsz?acc=nobody&streams=1", "/jsz?acc=B",
    "/jsz?raft=1&consumers=1&config=1", "/jsz?leader-only=1", "/jsz?stream-leader-only=1&streams=1", "/jsz?direct-consumers=1&streams=1",
    "/jsz?accounts=1&limit=1", "/jsz?accounts=1&offset=1", "/jsz?accounts=1&offset=-1&limit=-1", "/jsz?limit=x", "/jsz?accounts=x",
    "/jsz?leader-only=x",
]  # fmt: skip


def populate(broker):
    """Clients of three accounts, some traffic, a stream and a consumer."""
    broker.connect("root", user="root", password="p")
    anna = broker.connect("anna", user="anna", password="p", lang="raw", version="1.2")
    ben = broker.connect("ben", user="ben", password="p")
    limited = broker.connect("limited", user="limited", password="p")
    anna.send(b"SUB work.> q 1\r\nSUB news.local 2\r\nSUB help 3\r\nUNSUB 2 10\r\n")
    ben.send(b"SUB from.> 1\r\n")
    limited.send(b"SUB lim.a 1\r\nSUB lim.b 2\r\n")
    broker.flush()
    # No two are alike, so that every order is one.
    messages = (("anna", "work.one", 7), ("ben", "alone", 3), ("anna", "news.x", 2), ("limited", "x.y", 1), ("anna", "lim.a", 1))
    for name, subject, count in messages:
        for _ in range(count):
            broker.clients[name].publish(subject, "payload")
        broker.clients[name].flush()
    broker.flush()


def store(broker):
    anna = broker.clients["anna"]
    create = '{"name":"S","subjects":["s.*"],"description":"d","metadata":{"k":"v"}}'
    anna.request("$JS.API.STREAM.CREATE.S", create)
    for number in range(5):
        anna.request(f"s.{number}", "stored")
    consumer = '{"stream_name":"S","config":{"durable_name":"C","ack_policy":"explicit","description":"cd"}}'
    anna.request("$JS.API.CONSUMER.DURABLE.CREATE.S.C", consumer)
    anna.request("$JS.API.STREAM.CREATE.M", '{"name":"M","mirror":{"name":"S"},"storage":"memory"}')
    # A mirror catches up in its own time.
    while broker.look("/jsz")["messages"] != 10:
        time.sleep(0.05)


def endpoints(broker):
    populate(broker)
    for path in CONNZ + ELSE:
        broker.get(path)


def stored(broker):
    populate(broker)
    store(broker)
    for path in JSZ:
        broker.get(path)
    for path in ELSE:
        if path.startswith(("/healthz", "/varz", "/accstatz", "/accountz")):
            broker.get(path)


def closed(broker):
    """Connections that ended, each for another reason."""
    populate(broker)
    broker.clients.pop("ben").socket.close()
    time.sleep(0.2)
    broker.clients["limited"].send(b"NONSENSE\r\n")
    broker.farewell("limited")
    broker.connect("wrong", user="anna", password="wrong")
    broker.farewell("wrong")
    big = broker.connect("big", user="anna", password="p")
    big.send(b"PUB x 99999999\r\n")
    broker.farewell("big")
    time.sleep(0.5)
    for path in CLOSED:
        broker.get(path)


def plain(broker):
    """A server without any configuration of accounts or streams."""
    one = broker.connect("one", lang="raw")
    one.send(b"SUB a 1\r\nSUB b.* q 2\r\n")
    broker.flush()
    one.publish("a", "x")
    broker.flush()
    paths = ["/connz", "/connz?auth=1&subs=detail", "/jsz", "/jsz?accounts=1", "/varz", "/accstatz", "/accountz", "/accountz?acc=$G"]
    for path in paths + ["/accountz?acc=$SYS", "/healthz", "/healthz?js-enabled-only=1", "/healthz?account=$G", "/subsz?acc=$G&subs=1"]:
        broker.get(path)
    for subject in ("$SYS.REQ.USER.INFO", "$SYS.REQ.SERVER.PING.CONNZ", "$SYS.REQ.ACCOUNT.PING.CONNZ", "$SYS.REQ.ACCOUNT.PING.STATZ"):
        broker.request("one", subject)


SERVER_REQUESTS = "IDZ STATSZ VARZ SUBSZ CONNZ ROUTEZ GATEWAYZ LEAFZ ACCOUNTZ JSZ HEALTHZ RAFTZ".split()

BODIES = [
    ("CONNZ", '{"auth":true,"subscriptions_detail":true}'),
    ("CONNZ", '{"limit":1,"offset":1,"sort":"msgs_from"}'),
    ("CONNZ", '{"sort":"bogus"}'),
    ("CONNZ", '{"state":1}'),
    ("CONNZ", '{"state":"closed"}'),
    ("CONNZ", '{"acc":"A","filter_subject":"work.one"}'),
    ("CONNZ", '{"filter_subject":"work.one"}'),
    ("CONNZ", '{"limit":"x"}'),
    ("CONNZ", "{"),
    ("CONNZ", "[]"),
    ("CONNZ", "7"),
    ("CONNZ", '{"Limit":1,"unknown":true}'),
    ("VARZ", '{"server_name":"sam"}'),
    ("VARZ", '{"server_name":"sam","exact_match":true}'),
    ("VARZ", '{"server_name":"other"}'),
    ("VARZ", '{"tags":["one"]}'),
    ("VARZ", '{"tags":["three"]}'),
    ("VARZ", '{"cluster":"c"}'),
    ("VARZ", '{"domain":"d"}'),
    ("SUBSZ", '{"subscriptions":true,"account":"A","test":"work.one"}'),
    ("SUBSZ", '{"test":"a.*"}'),
    ("ACCOUNTZ", '{"account":"A"}'),
    ("ACCOUNTZ", '{"account":"nobody"}'),
    ("HEALTHZ", '{"js-enabled":true}'),
    ("HEALTHZ", '{"account":"A","stream":"X"}'),
    ("HEALTHZ", '{"account":"A","stream":"X","details":true}'),
    ("JSZ", '{"accounts":true,"streams":true,"consumer":true,"config":true}'),
    ("JSZ", '{"account":"A","streams":true}'),
    ("JSZ", '{"account":"nobody"}'),
    ("PROFILEZ", "{}"),
    ("LEAFZ", '{"subscriptions":true}'),
    ("GATEWAYZ", '{"accounts":true}'),
    ("ROUTEZ", '{"subscriptions":true}'),
    ("NOTHINGZ", ""),
]


def requests(broker):
    populate(broker)
    store(broker)
    for name in SERVER_REQUESTS:
        broker.request("root", f"$SYS.REQ.SERVER.PING.{name}")
        broker.request("root", f"$SYS.REQ.SERVER.SERVER_ID.{name}")
    broker.request("root", "$SYS.REQ.SERVER.PING")
    for name, body in BODIES:
        broker.request("root", f"$SYS.REQ.SERVER.SERVER_ID.{name}", body)
    for encoding in ("identity", "br"):
        broker.request("root", "$SYS.REQ.SERVER.PING.ROUTEZ", "", [("Accept-Encoding", encoding)])
    for name in "SUBSZ CONNZ LEAFZ JSZ INFO STATZ CONNS".split():
        for account in ("A", "SYS", "EMPTY", "nobody"):
            broker.request("root", f"$SYS.REQ.ACCOUNT.{account}.{name}")
    broker.request("root", "$SYS.REQ.ACCOUNT.A.JSZ", '{"streams":true,"consumer":true}')
    broker.request("root", "$SYS.REQ.ACCOUNT.A.CONNZ", '{"auth":true}')
    broker.request("root", "$SYS.REQ.ACCOUNT.A.STATZ", '{"include_unused":true}')
    broker.request("root", "$SYS.REQ.ACCOUNT.PING.STATZ", '{"accounts":["A","B"]}')
    broker.request("root", "$SYS.REQ.ACCOUNT.PING.STATZ", '{"include_unused":true}')
    broker.request("root", "$SYS.REQ.ACCOUNT.PING.STATZ", '{"accounts":["EMPTY"]}')
    broker.request("root", "$SYS.DEBUG.SUBSCRIBERS", "$SYS.>")
    for name in ("KICK", "LDM"):
        for body in ('{"cid":99999}', "", "{", '{"cid":"x"}'):
            broker.request("root", f"$SYS.REQ.SERVER.SERVER_ID.{name}", body)


def own(broker):
    """What accounts may ask about themselves, and what they may not."""
    populate(broker)
    broker.connect("worker", user="worker", password="p").flush()
    for client in ("anna", "ben", "root", "limited", "worker"):
        broker.request(client, "$SYS.REQ.USER.INFO")
    for client in ("anna", "ben", "root"):
        for subject in ("SERVER.PING.CONNZ", "ACCOUNT.PING.CONNZ", "ACCOUNT.PING.STATZ", "ACCOUNT.PING.INFO"):
            broker.request(client, f"$SYS.REQ.{subject}")
    for subject in ("SERVER.PING", "SERVER.PING.VARZ", "SERVER.SERVER_ID.VARZ", "SERVER.SERVER_ID.KICK", "ACCOUNT.A.INFO", "ACCOUNT.B.CONNZ"):
        broker.request("anna", f"$SYS.REQ.{subject}")
    broker.request("anna", "$SYS.REQ.SERVER.PING.CONNZ", '{"acc":"B","auth":true}')
    broker.request("anna", "$SYS.REQ.ACCOUNT.PING.STATZ", '{"accounts":["B"]}')


def events(broker):
    """What is told of clients that come, are refused, and go."""
    root = broker.connect("root", user="root", password="p")
    root.send(b"SUB $SYS.ACCOUNT.> 1\r\nSUB $SYS.SERVER.*.CLIENT.> 2\r\nSUB $SYS.SERVER.ACCOUNT.> 3\r\n")
    root.flush()
    root.drain()
    anna = broker.connect("anna", user="anna", password="p", lang="raw", version="9")
    anna.flush()
    anna.publish("x", "12345")
    anna.flush()
    broker.events("root")
    broker.clients.pop("anna").socket.close()
    broker.events("root")
    broker.connect("wrong", user="anna", password="wrong")
    broker.farewell("wrong")
    broker.events("root")
    ben = broker.connect("ben", user="ben", password="p")
    ben.flush()
    broker.events("root")
    ben.send(b"NONSENSE\r\n")
    broker.farewell("ben")
    broker.events("root")


def kicked(broker):
    """Clients that are told to go, and that are made to."""
    root = broker.connect("root", user="root", password="p")
    anna = broker.connect("anna", user="anna", password="p", protocol=1)
    root.send(b"SUB $SYS.ACCOUNT.A.DISCONNECT 1\r\n")
    broker.flush()
    target = f'{{"cid":{anna.info["client_id"]}}}'
    broker.request("root", "$SYS.REQ.SERVER.SERVER_ID.LDM", target, shown="LDM")
    anna.socket.settimeout(5)
    while not (line := anna.line()).startswith(b"INFO "):
        pass
    broker.note("told", line.split(b" ", 1)[1])
    broker.request("root", "$SYS.REQ.SERVER.SERVER_ID.KICK", target, shown="KICK")
    broker.farewell("anna")
    broker.events("root")
    broker.get("/connz?state=closed&auth=1")


def statistics(broker):
    root = broker.connect("root", user="root", password="p")
    root.send(b"SUB $SYS.SERVER.*.STATSZ 1\r\nSUB $SYS.SERVER.*.LAMEDUCK 1\r\nSUB $SYS.SERVER.*.SHUTDOWN 1\r\n")
    root.flush()
    event = root.event(time.monotonic() + 15)
    broker.note("statistics", event[4])
    broker.process.terminate()
    while (event := root.event(time.monotonic() + 10)) and b"SHUTDOWN" not in event[1]:
        pass
    broker.note("goodbye", event[4] if event else b"")


WEBSOCKET = """
websocket {
  listen: "127.0.0.1:-1", same_origin: true, allowed_origins: ["https://there.example", "https://other.example:99"], compression: true
  handshake_timeout: 3, advertise: "outside:443"
  tls { cert_file: "CERTIFICATES/server.pem", key_file: "CERTIFICATES/server.key" }
}
"""


def websocket(broker):
    """What is shown of the port for browsers."""
    broker.connect("one")
    broker.flush()
    broker.get("/varz")


SECURE = """
https: "127.0.0.1:HTTP_PORT"
http_base_path: "/below"
tls { cert_file: "CERTIFICATES/server.pem", key_file: "CERTIFICATES/server.key", ca_file: "CERTIFICATES/ca.pem", verify: true }
"""


def secured(broker):
    """Monitoring over TLS, and clients that show certificates."""
    context = ssl.create_default_context(cafile=f"{CERTIFICATES}/ca.pem")
    context.check_hostname = False
    context.load_cert_chain(f"{CERTIFICATES}/client.pem", f"{CERTIFICATES}/client.key")
    plain = socket.create_connection(("127.0.0.1", broker.ports[0]))
    info = plain.recv(4096)
    assert info.startswith(b"INFO ")
    wrapped = context.wrap_socket(plain, server_hostname="localhost")
    wrapped.sendall(b'CONNECT {"verbose":false,"name":"tls"}\r\nPING\r\n')
    while b"PONG" not in wrapped.recv(4096):
        pass
    for path in ("/connz", "/connz?auth=1", "/varz", "/healthz", "/nothing"):
        broker.get("/below" + path, "https", context)
    broker.get("/varz", "https", context)
    wrapped.close()
    time.sleep(0.3)
    broker.get("/below/connz?state=closed&auth=1", "https", context)


TRACED = """
jetstream { store_dir: "DIRECTORY/js" }
accounts {
  A {
    jetstream: enabled
    users: [ { user: a, password: p }, { user: limited, password: p, permissions: { publish: ["ok.>", "t.ok"], subscribe: ">" } } ]
    mappings: { "map.in": "map.out" }
    exports: [ { stream: "news.>" }, { service: "help" }, { service: "open", allow_trace: true } ]
    msg_trace: { dest: "acc.dest", sampling: 100 }
  }
  B {
    users: [ { user: b, password: p } ]
    imports: [
      { stream: { account: A, subject: "news.>" }, to: "from.>", allow_trace: true }
      { service: { account: A, subject: "help" } }
      { service: { account: A, subject: "open" }, to: "op" }
    ]
  }
  C { users: [ { user: c, password: p } ], imports: [ { stream: { account: A, subject: "news.>" } } ] }
}
"""

PARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7"


def traces(broker):
    """Messages that are traced: what is told of each, and to whom they come."""
    a = broker.connect("a", user="a", password="p")
    silent = broker.connect("silent", user="a", password="p", echo=False)
    b = broker.connect("b", user="b", password="p")
    c = broker.connect("c", user="c", password="p")
    broker.connect("limited", user="limited", password="p")
    a.send(b"SUB foo 1\r\nSUB f* q 2\r\nSUB map.out 3\r\nSUB help 4\r\nSUB open 5\r\nSUB t.> 6\r\nSUB acc.dest 7\r\n")
    a.send(b"SUB x.* 8\r\nUNSUB 8 1\r\n")
    silent.send(b"SUB foo 1\r\nSUB echo 2\r\n")
    b.send(b"SUB from.> 1\r\nSUB t.> 2\r\nSUB r 3\r\n")
    c.send(b"SUB news.> 1\r\nSUB t.> 2\r\n")
    broker.flush()
    a.request("$JS.API.STREAM.CREATE.S", '{"name":"S","subjects":["s.*"]}')
    to, only = ("Nats-Trace-Dest", "t.here"), ("Nats-Trace-Only", "true")
    for name, subject, header, reply in (
        ("a", "foo", [to, ("X", "y")], b""),
        ("a", "foo", [to, only], b""),
        ("silent", "echo", [to], b""),
        ("a", "nobody", [to], b"x.r"),
        ("a", "map.in", [to], b""),
        ("a", "s.one", [to], b""),
        ("a", "s.one", [to, only], b""),
        ("a", "news.x", [to], b""),
        ("a", "news.x", [to, only], b""),
        ("b", "help", [to], b"r"),
        ("b", "op", [to, only], b"r"),
        ("limited", "no.x", [("Nats-Trace-Dest", "t.ok")], b""),
        ("limited", "ok.x", [("Nats-Trace-Dest", "t.no")], b""),
        ("a", "foo", [("Nats-Trace-Dest", "t.*")], b""),
        ("a", "foo", [("TraceParent", PARENT + "-01")], b""),
        ("a", "foo", [("traceparent", PARENT + "-00")], b""),
        ("a", "x.1", [to], b""),
        ("a", "x.1", [to], b""),
    ):
        broker.clients[name].publish(subject, "hello", header, reply)
        for listener in broker.clients:
            broker.traced(f"{name} {subject} {header}", listener)


# How long an answer of the server is depends on the moment, and so does what counts its bytes.
REPLIES = ("bytes", "out_bytes", "in_bytes", "pending_bytes")

SCENES = {
    "endpoints": (endpoints, ACCOUNTS, ()),
    "stored": (stored, ACCOUNTS, REPLIES),
    "closed": (closed, ACCOUNTS, ()),
    "plain": (plain, "", REPLIES),
    "requests": (requests, ACCOUNTS, REPLIES),
    "own": (own, ACCOUNTS, REPLIES),
    "events": (events, ACCOUNTS, ()),
    "kicked": (kicked, ACCOUNTS, ()),
    "statistics": (statistics, ACCOUNTS, ()),
    "websocket": (websocket, WEBSOCKET, ()),
    "secured": (secured, SECURE, ()),
    "traces": (traces, TRACED, ()),
}
