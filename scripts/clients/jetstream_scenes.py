"""What `jetstream_compare.py` asks: each scene on brokers of its own."""

import json

SCENES = []
API = "$JS.API."


def scene(config=""):
    def register(function):
        SCENES.append((function.__name__, function, config))
        return function

    return register


def create(s, name, **config):
    s.request(f"{API}STREAM.CREATE.{name}", json.dumps({"name": name, **config}))


def update(s, name, **config):
    s.request(f"{API}STREAM.UPDATE.{name}", json.dumps({"name": name, **config}))


def info(s, name, **fields):
    s.request(f"{API}STREAM.INFO.{name}", json.dumps(fields) if fields else "")


def get(s, name, **fields):
    s.request(f"{API}STREAM.MSG.GET.{name}", json.dumps(fields))


@scene()
def api(s):
    s.request(API + "INFO")
    s.request(API + "INFO", "{}")
    s.request(API + "INFO", "x")
    for subject in ["FOO", "STREAM.FOO.S", "STREAM.INFO", "CONSUMER.FOO.S", "INFO.x", "STREAM"]:
        s.request(API + subject, answers=0)
    for subject in [
        "CONSUMER.MSG.NEXT.S.c",
        "DIRECT.GET.S",
        "DIRECT.GET.S.x",
        "CONSUMER.RESET.S.c",
    ]:
        s.request(API + subject, answers=1)
    for subject in [
        "STREAM.INFO.S",
        "STREAM.DELETE.S",
        "STREAM.PURGE.S",
        "STREAM.NAMES",
        "STREAM.LIST",
        "CONSUMER.NAMES.S",
        "CONSUMER.LIST.S",
        "CONSUMER.INFO.S.c",
        "CONSUMER.DELETE.S.c",
    ]:
        s.request(API + subject)
    s.request(API + "STREAM.UPDATE.S", '{"name":"S"}')
    s.request(API + "STREAM.MSG.GET.S", '{"seq":1}')
    s.request(API + "STREAM.MSG.DELETE.S", '{"seq":1}')
    s.request(API + "INFO")


@scene()
def clustered(s):
    create(s, "S")
    for subject in [
        "STREAM.LEADER.STEPDOWN.S",
        "STREAM.PEER.REMOVE.S",
        "STREAM.PEER.EVACUATE.S",
        "STREAM.CANCEL_MOVE.S",
        "STREAM.LEADER.STEPDOWN.X",
        "CONSUMER.LEADER.STEPDOWN.S.c",
        "CONSUMER.PEER.REMOVE.S.c",
        "CONSUMER.PEER.EVACUATE.S.c",
    ]:
        s.request(API + subject)
        s.request(API + subject, '{"peer":"x"}')
    for subject in [
        "META.LEADER.STEPDOWN",
        "META.RESCUE",
        "SERVER.REMOVE",
        "SERVER.EVACUATE",
        "ACCOUNT.PURGE.X",
        "ACCOUNT.STREAM.MOVE.X.S",
        "ACCOUNT.STREAM.CANCEL_MOVE.X.S",
    ]:
        s.request(API + subject, answers=0)


@scene()
def levels(s):
    for level in ["1", "5", "6", "x", "-1", "+3", "", "99999999999999999999"]:
        s.request(API + "INFO", header=[("Nats-Required-Api-Level", level)])
        s.request(API + "STREAM.NAMES", header=[("Nats-Required-Api-Level", level)])
    create(s, "S", allow_direct=True)
    s.request(API + "DIRECT.GET.S", '{"seq":1}', [("Nats-Required-Api-Level", "6")])


@scene()
def json_errors(s):
    for body in [
        "",
        " ",
        "{",
        "[]",
        "null",
        "1",
        '"x"',
        "{}",
        '{"name":"S"',
        '{"name":}',
        '{"name":"S",}',
        '{"name":1}',
        '{"name":null}',
        '{"foo":1,"name":"S"}',
        '{"name":"S","max_msgs":"1"}',
        '{"name":"S","max_msgs":1.5}',
        '{"name":"S","max_msgs":99999999999999999999}',
        '{"name":"S","max_msg_size":99999999999}',
        '{"name":"S","subjects":"a"}',
        '{"name":"S","subjects":[1]}',
        '{"name":"S","retention":"zz"}',
        '{"name":"S","retention":1}',
        '{"name":"S","discard":"OLD"}',
        '{"name":"S","storage":"File"}',
        '{"name":"S","compression":"zip"}',
        '{"name":"S","compression":1}',
        '{"name":"S","persist_mode":"x"}',
        '{"name":"S","mirror":1}',
        '{"name":"S","mirror":{"foo":1}}',
        '{"name":"S","sources":[{"name":1}]}',
        '{"name":"S","sources":{}}',
        '{"name":"S","placement":{"tags":"x"}}',
        '{"name":"S","metadata":{"a":1}}',
        '{"name":"S","consumer_limits":{"max_ack_pending":"x"}}',
        '{"name":"S"} x',
        '{"name":"S","max_age":"1s"}',
        '{"name":"S","sources":[{"name":"X","opt_start_time":"zz"}]}',
        '{"name":"S","sealed":"x"}',
        '{"NAME":"S","Subjects":["x"]}',
        '{"name":"S\\u00e9"}',
    ]:
        s.request(API + "STREAM.CREATE.S", body)
    for subject, body in [
        ("STREAM.INFO.S", '{"foo":1}'),
        ("STREAM.INFO.S", "x"),
        ("STREAM.INFO.S", "["),
        ("STREAM.INFO.S", '{"offset":"x"}'),
        ("STREAM.NAMES", '{"foo":1}'),
        ("STREAM.NAMES", "[]"),
        ("STREAM.NAMES", '{"offset":-1}'),
        ("STREAM.LIST", '{"offset":"x"}'),
        ("STREAM.LIST", '{"foo":"x"}'),
        ("STREAM.DELETE.S", "x"),
        ("STREAM.DELETE.S", " { } "),
        ("STREAM.PURGE.S", "{x"),
        ("STREAM.PURGE.S", '{"foo":1}'),
        ("STREAM.PURGE.S", '{"seq":1,"keep":2}'),
        ("STREAM.MSG.GET.S", ""),
        ("STREAM.MSG.GET.S", "{}"),
        ("STREAM.MSG.GET.S", '{"foo":1}'),
        ("STREAM.MSG.GET.S", '{"seq":-1}'),
        ("STREAM.MSG.GET.S", '{"start_time":"x"}'),
        ("STREAM.MSG.DELETE.S", ""),
        ("STREAM.MSG.DELETE.S", '{"foo":1}'),
        ("STREAM.MSG.DELETE.S", '{"seq":"1"}'),
    ]:
        s.request(API + subject, body)


@scene("jetstream { store_dir: DIRECTORY, strict: false }\n")
def lenient(s):
    s.request(API + "STREAM.CREATE.S", '{"name":"S","foo":1}')
    s.request(API + "STREAM.CREATE.T", '{"name":"T","max_msgs":"x"}')
    s.request(API + "STREAM.CREATE.T", '{"name":"T"} x')
    s.request(API + "STREAM.INFO.S", '{"foo":1}')


@scene()
def configurations(s):
    number = 0
    for config in [
        {},
        {"subjects": []},
        {"subjects": ["a.>", "b.*", "c"]},
        {"description": "hi <there>"},
        {"description": "x" * 5000},
        {"max_msgs": 0, "max_bytes": 0, "max_age": 0, "max_msgs_per_subject": 0},
        {"max_msgs": -5, "max_bytes": -5, "max_msg_size": -5, "max_consumers": -5},
        {"max_msgs": -5, "pedantic": True},
        {"max_bytes": -5, "pedantic": True},
        {"max_age": -1},
        {"max_age": 1000},
        {"max_age": 1_000_000_000},
        {"max_age": 1_000_000_000, "pedantic": True},
        {"max_age": 1_000_000_000, "duplicate_window": 2_000_000_000},
        {"duplicate_window": -1},
        {"duplicate_window": 1},
        {"duplicate_window": 100_000_000},
        {"num_replicas": 0},
        {"num_replicas": 3},
        {"num_replicas": 6},
        {"num_replicas": -1},
        {"retention": "interest", "discard": "new", "storage": "memory"},
        {"retention": "workqueue", "compression": "s2"},
        {"discard_new_per_subject": True},
        {"discard_new_per_subject": True, "discard": "new"},
        {"discard_new_per_subject": True, "discard": "new", "max_msgs_per_subject": 1},
        {"deny_purge": True, "allow_rollup_hdrs": True},
        {"deny_purge": True, "deny_delete": True},
        {"sealed": True},
        {"mirror_direct": True},
        {"allow_direct": True, "allow_rollup_hdrs": True},
        {"allow_msg_ttl": True},
        {"subject_delete_marker_ttl": 1},
        {"subject_delete_marker_ttl": -1},
        {"subject_delete_marker_ttl": 1_000_000_000},
        {"subject_delete_marker_ttl": 1_000_000_000, "pedantic": True},
        {"subject_delete_marker_ttl": 1_000_000_000, "allow_msg_ttl": True, "pedantic": True},
        {"allow_msg_counter": True},
        {"allow_msg_counter": True, "discard": "new"},
        {"allow_msg_counter": True, "allow_msg_ttl": True},
        {"allow_msg_counter": True, "retention": "interest"},
        {"allow_msg_counter": True, "allow_msg_schedules": True},
        {"allow_atomic": True},
        {"allow_batched": True},
        {"allow_msg_schedules": True},
        {"allow_msg_schedules": True, "discard": "new"},
        {"allow_msg_schedules": True, "pedantic": True},
        {"persist_mode": "async"},
        {"persist_mode": "async", "storage": "memory"},
        {"persist_mode": "async", "allow_atomic": True},
        {"persist_mode": "default"},
        {"first_seq": 10},
        {"placement": {}},
        {"placement": {"cluster": "x"}},
        {"placement": {"tags": ["a"]}},
        {"placement": {"preferred": "x"}},
        {"metadata": {"b": "1", "a": "2"}},
        {"metadata": {"_nats.ver": "x", "_nats.level": "9", "_nats.req.level": "7"}},
        {"metadata": {"a": "x" * 140_000}},
        {"consumer_limits": {"inactive_threshold": 5, "max_ack_pending": 3}},
        {"no_ack": True, "subjects": [">"]},
        {"subjects": [">"]},
        {"subjects": ["$JS.>"]},
        {"subjects": ["$JS.API.x"]},
        {"subjects": ["$JS.EVENT.>"]},
        {"subjects": ["$SYS.>"]},
        {"subjects": ["$SYS.ACCOUNT.x"]},
        {"subjects": ["*.>"]},
        {"subjects": ["a", "a"]},
        {"subjects": ["a", "*"]},
        {"subjects": ["a..b"]},
        {"subjects": ["a b"]},
        {"subjects": [""]},
        {"subjects": ["a.>.b"]},
        {"subject_transform": {"src": "q.*", "dest": "r.{{wildcard(1)}}"}, "subjects": ["q.*"]},
        {"subject_transform": {"src": "q..x", "dest": "r"}},
        {"subject_transform": {"src": "q.*", "dest": "r.{{wildcard(2)}}"}},
        {"subject_transform": {"src": "q.*", "dest": "r.{{foo(2)}}"}},
        {"republish": {"src": ">", "dest": "zz.>"}},
        {"republish": {"dest": "zz.>"}},
        {"republish": {"dest": "zz.>"}, "pedantic": True},
        {"republish": {"src": "a.*", "dest": "zz.$1"}, "subjects": ["a.*"]},
        {"republish": {"src": ">", "dest": "a.>"}, "subjects": ["a.*"]},
        {"republish": {"src": "a.*", "dest": "b.*.c"}, "subjects": ["a.*"]},
        {"republish": {"src": ">", "dest": "zz.>", "headers_only": True}},
    ]:
        number += 1
        name = f"S{number}"
        s.request(f"{API}STREAM.CREATE.{name}", json.dumps({"name": name, **config}))
        s.request(f"{API}STREAM.DELETE.{name}")
    for name in ["a.b", "a*", "a b", "a/b", "x" * 256, ""]:
        s.request(f"{API}STREAM.CREATE.S", json.dumps({"name": name}))
    s.request(f"{API}STREAM.CREATE.{'x' * 256}", json.dumps({"name": "x" * 256}))
    s.request(f"{API}STREAM.CREATE.a\\b", json.dumps({"name": "a\\b"}))


@scene()
def mirrors_and_sources(s):
    create(s, "O", subjects=["o.*"], max_msg_size=100, allow_direct=True)
    number = 0
    for config in [
        {"mirror": {"name": "O"}, "subjects": ["x"]},
        {"mirror": {"name": "O"}, "sources": [{"name": "O"}]},
        {"mirror": {"name": "O"}, "first_seq": 5},
        {"mirror": {"name": "a.b"}},
        {"mirror": {"name": ""}},
        {"mirror": {"name": "O"}, "max_msg_size": 5},
        {"mirror": {"name": "O"}, "allow_msg_counter": True},
        {"mirror": {"name": "O"}, "allow_atomic": True},
        {"mirror": {"name": "O"}, "allow_batched": True},
        {"mirror": {"name": "O"}, "allow_msg_schedules": True},
        {"mirror": {"name": "O"}, "subject_delete_marker_ttl": 1_000_000_000},
        {"mirror": {"name": "O", "consumer": {"name": "x"}}},
        {
            "mirror": {
                "name": "O",
                "filter_subject": "x",
                "subject_transforms": [{"src": "a", "dest": "b"}],
            }
        },
        {"mirror": {"name": "O", "subject_transforms": [{"src": "a..", "dest": "b"}]}},
        {
            "mirror": {
                "name": "O",
                "subject_transforms": [{"src": "a", "dest": "b"}, {"src": "*", "dest": "c"}],
            }
        },
        {"mirror": {"name": "O", "subject_transforms": [{"src": "a", "dest": "b.{{x(1)}}"}]}},
        {"mirror": {"name": "O", "external": {"api": "$JS.API", "deliver": ""}}},
        {"mirror": {"name": "O", "external": {"api": "$JS.*.API", "deliver": ""}}},
        {"mirror": {"name": "O", "external": {"api": "$JS.x.API", "deliver": "x.*"}}},
        {"sources": [{"name": "a.b"}]},
        {"sources": [{"name": "O"}, {"name": "O"}]},
        {"sources": [{"name": "O"}], "allow_msg_schedules": True},
        {"sources": [{"name": "O"}], "max_msg_size": 5},
        {
            "sources": [
                {
                    "name": "O",
                    "filter_subject": "x",
                    "subject_transforms": [{"src": "a", "dest": "b"}],
                }
            ]
        },
        {"sources": [{"name": "O", "consumer": {"name": "x", "deliver_subject": "*"}}]},
        {"sources": [{"name": "O", "filter_subject": "a..b"}]},
        {"mirror": {"name": "O", "filter_subject": "a..b"}},
    ]:
        number += 1
        create(s, f"M{number}", **config)
    create(s, "A", subjects=["a"], sources=[{"name": "B"}])
    create(s, "B", subjects=["b"], sources=[{"name": "A"}])
    create(s, "C", sources=[{"name": "C"}])


@scene()
def creates_and_updates(s):
    create(s, "S", subjects=["s.*"], max_msgs=10)
    create(s, "S", subjects=["s.*"], max_msgs=10)
    create(s, "S", subjects=["s.*"], max_msgs=11)
    create(s, "T", subjects=["s.x"])
    create(s, "T", subjects=["t"])
    s.request(API + "STREAM.CREATE.U", '{"name":"V"}')
    for config in [
        {},
        {"subjects": ["s.*", "t"]},
        {"subjects": ["s.*", "u.*"], "max_msgs": 5, "description": "new"},
        {"subjects": ["s.*"], "storage": "memory"},
        {"subjects": ["s.*"], "retention": "workqueue"},
        {"subjects": ["s.*"], "num_replicas": 3},
        {"subjects": ["s.*"], "mirror": {"name": "T"}},
        {"subjects": ["s.*"], "persist_mode": "async"},
        {"subjects": ["s.*"], "allow_msg_counter": True},
        {"subjects": ["s.*"], "allow_msg_ttl": True},
        {"subjects": ["s.*"]},
        {"subjects": ["s.*"], "allow_msg_ttl": True, "deny_delete": True, "deny_purge": True},
        {"subjects": ["s.*"], "allow_msg_ttl": True, "deny_delete": True},
        {"subjects": ["s.*"], "allow_msg_ttl": True, "deny_purge": True},
        {
            "subjects": ["s.*"],
            "allow_msg_ttl": True,
            "deny_delete": True,
            "deny_purge": True,
            "sealed": True,
            "max_age": 10_000_000_000,
        },
        {"subjects": ["s.*"], "allow_msg_ttl": True, "deny_delete": True, "deny_purge": True},
    ]:
        update(s, "S", **config)
    info(s, "S")
    s.request(API + "STREAM.UPDATE.S", '{"name":"T"}')
    update(s, "X")
    s.request("s.x", "sealed")
    s.request(API + "STREAM.PURGE.S")
    s.request(API + "STREAM.MSG.DELETE.S", '{"seq":1}')
    s.request(API + "STREAM.DELETE.S")
    s.request(API + "STREAM.NAMES")
    s.request(API + "STREAM.NAMES", '{"subject":"t"}')
    s.request(API + "STREAM.NAMES", '{"subject":"zz"}')
    s.request(API + "STREAM.LIST")
    s.request(API + "STREAM.LIST", '{"offset":5}')
    s.request(API + "INFO")


@scene()
def publishes(s):
    create(s, "S", subjects=["s.*"], max_msg_size=100)
    s.request("s.a", "one")
    s.request("s.b", "two", [("A", "b")])
    s.publish("s.c", "three")
    s.request("s.a", "x" * 101)
    s.request("s.a", "x", [("A", "x" * 200)])
    s.request("s.a", "x", [("Nats-Expected-Stream", "S")])
    s.request("s.a", "x", [("Nats-Expected-Stream", "T")])
    s.request("s.a", "x", [("Nats-Expected-Last-Sequence", "4")])
    s.request("s.a", "x", [("Nats-Expected-Last-Sequence", "4")])
    s.request("s.a", "x", [("Nats-Expected-Last-Sequence", "x")])
    s.request("s.a", "x", [("Nats-Expected-Last-Sequence", "")])
    s.request("s.a", "x", [("Nats-Expected-Last-Subject-Sequence", "0")])
    s.request("s.a", "x", [("Nats-Expected-Last-Subject-Sequence", "6")])
    s.request("s.new", "x", [("Nats-Expected-Last-Subject-Sequence", "0")])
    last, subject = "Nats-Expected-Last-Subject-Sequence", "Nats-Expected-Last-Subject-Sequence-Subject"
    s.request("s.a", "x", [(last, "2"), (subject, "s.b")])
    s.request("s.a", "x", [(last, "1"), (subject, "s.*")])
    s.request("s.a", "x", [(subject, "s.b")])
    s.request("s.a", "x", [("Nats-Msg-Id", "one")])
    s.request("s.a", "x", [("Nats-Msg-Id", "one")])
    s.request("s.a", "x", [("Nats-Expected-Last-Msg-Id", "one")])
    s.request("s.a", "x", [("Nats-Expected-Last-Msg-Id", "one")])
    s.request("s.a", "x", [("Nats-Rollup", "sub")])
    s.request("s.a", "x", [("Nats-TTL", "5s")])
    s.request("s.a", "x", [("Nats-TTL", "x")])
    s.request("s.a", "x", [("Nats-Incr", "1")])
    s.request("s.a", "x", [("Nats-Incr", "x")])
    s.request("s.a", "x", [("Nats-Batch-Id", "x"), ("Nats-Batch-Sequence", "1")])
    s.request("s.a", "x", [("Nats-Schedule", "@every 1s")])
    s.request("s.a", "x", [("Nats-Schedule", "x")])
    s.request("s.a", "x", [("Nats-Scheduler", "x")])
    s.request("s.a", "x", [("Nats-Schedule-Next", "purge")])
    s.request("s.a", "x", [("Nats-Stream-Source", "x")])
    s.request("s.a", "x", b"NATS/1.0 100 Status\r\nA: b\r\n\r\n")
    get(s, "S", last_by_subj="s.a")
    info(s, "S")
    info(s, "S", subjects_filter=">", deleted_details=True)


@scene()
def no_ack(s):
    create(s, "S", subjects=["s"], no_ack=True)
    s.request("s", "x", answers=0)
    info(s, "S")


@scene("""jetstream { store_dir: DIRECTORY, domain: hub }
""")
def domain(s):
    s.request(API + "INFO")
    s.request("$JS.hub.API.INFO")
    s.request("$JS.other.API.INFO")
    s.request("$JS.hub.API.STREAM.CREATE.S", '{"name":"S","subjects":["s"],"allow_direct":true}')
    s.request("s", "x")
    s.request("s", "x", [("Nats-Msg-Id", "a")])
    s.request("s", "x", [("Nats-Msg-Id", "a")])
    s.request("s", "x", [("Nats-Expected-Stream", "T")])
    info(s, "S")
    s.request("$JS.hub.API.STREAM.INFO.S")
    s.request("$JS.hub.API.DIRECT.GET.S", '{"seq":1}')
    s.request("$JS.hub.API.CONSUMER.MSG.NEXT.S.c")
    s.request("$JS.hub.API.STREAM.MSG.GET.S", '{"seq":1}')
    s.request("$JS.hub.API.STREAM.LIST")
    update(s, "S", subjects=["s", "t"], allow_direct=True)


@scene()
def messages(s):
    create(s, "S", subjects=["s.*"])
    for number in range(6):
        s.request(f"s.{number % 3}", f"m{number}", [("A", str(number))] if number % 2 else None)
    s.request("s.e", "")
    for fields in [
        {"seq": 1},
        {"seq": 2},
        {"seq": 2, "no_hdr": True},
        {"seq": 7},
        {"seq": 99},
        {"seq": 0},
        {"last_by_subj": "s.1"},
        {"last_by_subj": "s.x"},
        {"last_by_subj": "s.*"},
        {"last_by_subj": ">"},
        {"next_by_subj": "s.1", "seq": 3},
        {"next_by_subj": "s.1"},
        {"next_by_subj": "s.*", "seq": 3},
        {"next_by_subj": "s.x", "seq": 3},
        {"seq": 1, "last_by_subj": "s.1"},
        {"next_by_subj": "s.1", "last_by_subj": "s.1"},
        {"batch": 2, "seq": 1},
        {"max_bytes": 2, "seq": 1},
        {"start_time": "2000-01-01T00:00:00Z"},
        {"start_time": "2200-01-01T00:00:00Z"},
        {"start_time": "2000-01-01T00:00:00Z", "seq": 1},
        {"start_time": "2000-01-01T00:00:00Z", "next_by_subj": "s.2"},
        {"multi_last": ["s.*"]},
    ]:
        get(s, "S", **fields)
    for fields in [
        {"seq": 2},
        {"seq": 2},
        {"seq": 99},
        {"seq": 0},
        {"seq": 4, "no_erase": True},
    ]:
        s.request(API + "STREAM.MSG.DELETE.S", json.dumps(fields))
    info(s, "S", deleted_details=True, subjects_filter="s.*")
    info(s, "S", subjects_filter="s.1")
    info(s, "S", subjects_filter="s.*", offset=2)
    info(s, "S", subjects_filter="nothing")
    s.request(API + "STREAM.MSG.DELETE.S", '{"seq":1}')
    s.request(API + "STREAM.MSG.DELETE.S", '{"seq":7}')
    info(s, "S", deleted_details=True)
    s.request("s.0", "next")


@scene()
def purges(s):
    create(s, "S", subjects=["s.*"])
    for number in range(12):
        s.publish(f"s.{number % 3}", f"m{number}")
    s.request("s.x", "x")
    for fields in [
        {"filter": "s.0", "keep": 2},
        {"seq": 4},
        {"filter": "s.1", "seq": 9},
        {"keep": 3},
        {"filter": "nothing"},
        {"seq": 1},
        {"filter": "s.*", "seq": 1},
        {"filter": "s.x"},
        {"seq": 5, "keep": 1},
        {},
        {},
        {"seq": 50},
    ]:
        s.request(API + "STREAM.PURGE.S", json.dumps(fields))
        info(s, "S", deleted_details=True, subjects_filter=">")
    s.request("s.0", "after")
    create(s, "D", subjects=["d"], deny_purge=True, deny_delete=True)
    s.request("d", "x")
    s.request(API + "STREAM.PURGE.D")
    s.request(API + "STREAM.MSG.DELETE.D", '{"seq":1}')


@scene()
def limits(s):
    create(s, "S", subjects=["s.*"], max_msgs=3, storage="memory")
    create(s, "P", subjects=["p.*"], max_msgs_per_subject=2)
    create(s, "B", subjects=["b.*"], max_bytes=200)
    create(s, "N", subjects=["n.*"], max_msgs=3, discard="new")
    create(s, "NB", subjects=["nb.*"], max_bytes=100, discard="new", storage="memory")
    create(s, "NP", subjects=["np.*"], max_msgs_per_subject=1, discard="new")
    create(
        s,
        "NPN",
        subjects=["npn.*"],
        max_msgs_per_subject=1,
        discard="new",
        discard_new_per_subject=True,
    )
    for prefix, name in [
        ("s", "S"),
        ("p", "P"),
        ("b", "B"),
        ("n", "N"),
        ("nb", "NB"),
        ("np", "NP"),
        ("npn", "NPN"),
    ]:
        for number in range(6):
            s.request(f"{prefix}.{number % 2}", f"message {number}")
        info(s, name, deleted_details=True, subjects_filter=">")
    s.request("b.0", "x" * 300)
    info(s, "B")
    create(s, "F", subjects=["f"], first_seq=100)
    info(s, "F")
    s.request("f", "x")
    info(s, "F")
    update(s, "S", subjects=["s.*"], max_msgs=1, storage="memory")
    info(s, "S")
    update(s, "P", subjects=["p.*"], max_msgs_per_subject=1)
    info(s, "P")


@scene()
def interest(s):
    create(s, "S", subjects=["s.*"], retention="interest")
    s.request("s.a", "x")
    s.request("s.a", "x", [("Nats-Msg-Id", "a")])
    s.request("s.a", "x", [("Nats-Msg-Id", "a")])
    info(s, "S")
    s.request("s.a", "x", [("Nats-Expected-Last-Sequence", "2")])
    info(s, "S")


@scene()
def rollups(s):
    create(s, "S", subjects=["s.*"], allow_rollup_hdrs=True)
    for number in range(6):
        s.publish(f"s.{number % 2}", f"m{number}")
    s.request("s.0", "roll", [("Nats-Rollup", "sub")])
    info(s, "S", deleted_details=True)
    s.request("s.1", "roll", [("Nats-Rollup", "x")])
    s.request("s.1", "roll", [("Nats-Rollup", "ALL")])
    s.request("s.1", "roll", [("Nats-Rollup", "all")])
    info(s, "S", deleted_details=True)


@scene()
def lives(s):
    create(s, "S", subjects=["s.*"], allow_msg_ttl=True, subject_delete_marker_ttl=5_000_000_000)
    for value in ["1", "0", "500ms", "never", "NEVER", "2h", "x", "-1", "1.5s", " 3", "", "1h30m", "99999999999"]:
        s.request("s.a", "x", [("Nats-TTL", value)])
        get(s, "S", last_by_subj="s.a")
    create(s, "T", subjects=["t.*"], allow_msg_ttl=True)
    s.request("t.a", "x", [("Nats-TTL", "1")])
    s.request("t.b", "x", [("Nats-TTL", "never")])
    create(s, "A", subjects=["a.*"], max_age=1_000_000_000, allow_msg_ttl=True, duplicate_window=500_000_000)
    s.request("a.a", "x")
    s.request("a.b", "x", [("Nats-TTL", "never")])
    create(s, "M", subjects=["m.*"], max_age=1_000_000_000, subject_delete_marker_ttl=60_000_000_000)
    s.subscribe("m.>")
    s.request("m.a", "x")
    s.messages(1)
    s.wait(2.5)
    info(s, "T", deleted_details=True)
    info(s, "A", deleted_details=True)
    info(s, "M", deleted_details=True)
    get(s, "M", last_by_subj="m.a")
    s.quiet()


@scene()
def transforms(s):
    create(s, "S", subjects=["s.*"], subject_transform={"src": "s.*", "dest": "t.$1"})
    s.request("s.a", "x")
    get(s, "S", seq=1)
    create(s, "R", subjects=["r.*"], republish={"src": "r.*", "dest": "out.$1"})
    create(s, "H", subjects=["h.*"], republish={"src": ">", "dest": "heads.>", "headers_only": True})
    s.subscribe("out.>")
    s.subscribe("heads.>")
    for prefix in ["r", "h"]:
        s.request(f"{prefix}.a", "x")
        s.request(f"{prefix}.a", "y", [("A", "b")])
        s.request(f"{prefix}.b", "")
        s.messages(3)
    s.quiet()
    create(
        s,
        "I",
        subjects=["i.*"],
        subject_transform={"src": "i.*", "dest": "j.$1"},
        republish={"src": ">", "dest": ">"},
    )
    info(s, "I")
    info(s, "R")


@scene()
def direct(s):
    create(s, "S", subjects=["s.>"], allow_direct=True)
    for number in range(9):
        header = [("A", str(number))] if number % 2 else None
        s.request(f"s.{number % 3}", f"m{number}", header)
    subject = API + "DIRECT.GET.S"
    for body, answers in [
        ("", 1),
        ("x", 1),
        ("{}", 1),
        ('{"seq":1}', 1),
        ('{"seq":2}', 1),
        ('{"seq":2,"no_hdr":true}', 1),
        ('{"seq":99}', 1),
        ('{"foo":1,"seq":1}', 1),
        ('{"last_by_subj":"s.1"}', 1),
        ('{"last_by_subj":"s.x"}', 1),
        ('{"last_by_subj":"s.*"}', 1),
        ('{"next_by_subj":"s.2","seq":4}', 1),
        ('{"next_by_subj":"s.2"}', 1),
        ('{"seq":1,"last_by_subj":"s.1"}', 1),
        ('{"last_by_subj":"s.1","batch":2}', 1),
        ('{"seq":1,"batch":3}', 4),
        ('{"seq":7,"batch":10}', 4),
        ('{"seq":1,"batch":1}', 2),
        ('{"seq":99,"batch":10}', 1),
        ('{"batch":3}', 1),
        ('{"next_by_subj":"s.1","batch":2}', 3),
        ('{"next_by_subj":"s.1","seq":3,"batch":5}', 3),
        ('{"next_by_subj":"s.x","batch":5}', 1),
        ('{"next_by_subj":"s.>","batch":20,"max_bytes":8}', 3),
        ('{"next_by_subj":"s.>","batch":3,"no_hdr":true}', 4),
        ('{"start_time":"2000-01-01T00:00:00Z","batch":2}', 3),
        ('{"start_time":"2200-01-01T00:00:00Z","batch":2}', 1),
        ('{"start_time":"2000-01-01T00:00:00Z"}', 1),
        ('{"multi_last":["s.*"]}', 4),
        ('{"multi_last":["s.1","s.2"],"batch":1}', 2),
        ('{"multi_last":["s.*"],"up_to_seq":4}', 4),
        ('{"multi_last":["s.*"],"seq":9}', 2),
        ('{"multi_last":["s.*"],"up_to_time":"2000-01-01T00:00:00Z"}', 1),
        ('{"multi_last":["s.*"],"up_to_time":"2200-01-01T00:00:00Z"}', 4),
        ('{"multi_last":["s.x"]}', 1),
        ('{"multi_last":["s.*"],"up_to_seq":4,"up_to_time":"2200-01-01T00:00:00Z"}', 1),
        ('{"multi_last":["s.*"],"max_bytes":3}', 2),
    ]:
        s.request(subject, body, answers=answers)
    s.request(subject + ".s.1")
    s.request(subject + ".s.x")
    s.request(subject + ".s.1", '{"seq":1}')
    s.request(subject + ".s.1", '{"no_hdr":true}')
    s.request(subject + ".s.1", "x")
    for number in range(1100):
        s.publish(f"s.many.{number}", "x")
    s.request("s.last", "x")
    s.request(subject, '{"multi_last":["s.many.*"]}')
    s.request("s.1", "x", [("Nats-Rollup", "x")])
    update(s, "S", subjects=["s.>"])
    s.request(subject, '{"seq":1}')


@scene()
def advisories(s):
    s.subscribe("$JS.EVENT.>")
    create(s, "S", subjects=["s"])
    s.messages(1)
    update(s, "S", subjects=["s", "t"])
    s.messages(1)
    s.request(API + "STREAM.DELETE.S")
    s.messages(1)
    s.quiet()


@scene("""accounts {
  A { jetstream { max_mem: 1000, max_file: 1000, max_streams: 2, max_consumers: 3 }, users: [{user: a, password: a}] }
  B { users: [{user: b, password: b}] }
}
no_auth_user: a
jetstream { store_dir: DIRECTORY, max_file: 5000, max_mem: 5000 }
""")
def account_limits(s):
    s.request(API + "INFO")
    create(s, "A", subjects=["a"], max_bytes=600)
    create(s, "B", subjects=["b"], max_bytes=600)
    create(s, "B", subjects=["b"], max_bytes=600, storage="memory")
    create(s, "C", subjects=["c"])
    create(s, "C", subjects=["c"], max_consumers=5)
    s.request(API + "STREAM.DELETE.B")
    create(s, "C", subjects=["c"])
    for number in range(20):
        s.request("c", "x" * 50)
    s.request(API + "INFO")
    update(s, "A", subjects=["a"], max_bytes=1100)
    update(s, "A", subjects=["a"], max_bytes=900)
