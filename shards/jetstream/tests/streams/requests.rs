//! What is answered, in tables.

use jetstream::AccountLimits;
use storage::{Store, StoreOptions};

use crate::world::World;

/// Headers, payload, and the sequence and error of the answer.
type Row<'a> = (&'a [(&'a str, &'a str)], &'a str, u64, u64);

#[test]
fn publishes_are_acknowledged_or_refused() {
    let mut world = World::new();
    world.create("S", r#""subjects":["s.*"],"max_msg_size":100"#);
    let large = "x".repeat(101);
    let last = "Nats-Expected-Last-Subject-Sequence";
    let rows: &[Row] = &[
        (&[], "one", 1, 0),
        (&[("Nats-Msg-Id", "a")], "two", 2, 0),
        (&[("Nats-Msg-Id", "a")], "two", 2, 0),
        (&[("Nats-Expected-Last-Msg-Id", "a")], "three", 3, 0),
        (&[("Nats-Expected-Last-Msg-Id", "a")], "", 0, 10070),
        (&[("Nats-Expected-Stream", "T")], "", 0, 10060),
        (&[("Nats-Expected-Last-Sequence", "2")], "", 0, 10071),
        (&[("Nats-Expected-Last-Sequence", "3")], "four", 4, 0),
        (&[(last, "4")], "five", 5, 0),
        (&[(last, "4")], "", 0, 10071),
        (&[("Nats-Rollup", "sub")], "", 0, 10111),
        (&[("Nats-TTL", "1")], "", 0, 10166),
        (&[("Nats-Incr", "1")], "", 0, 10168),
        (&[("Nats-Stream-Source", "x")], "", 0, 10227),
        (&[], &large, 0, 10054),
    ];
    for (header, payload, sequence, error) in rows {
        let answer = world.ask_json("s.a", header, payload);
        let found = (answer["seq"].as_u64(), answer["error"]["err_code"].as_u64().unwrap_or(0));
        assert_eq!(found, (Some(*sequence), *error), "{header:?} {payload}");
        assert_eq!(answer["stream"], "S");
    }
    assert_eq!(world.state("S")["messages"], 5);
}

#[test]
fn a_duplicate_is_answered_as_the_reference_writes_it() {
    let mut world = World::new();
    world.create("S", "");
    for expected in [r#"{"stream":"S","seq":1}"#, r#"{"stream":"S","seq":1,"duplicate": true}"#] {
        let answers = world.ask("S", &[("Nats-Msg-Id", "x")], "");
        assert_eq!(answers[0].payload, expected);
    }
    world.pass(120_002_000_000);
    let answers = world.ask("S", &[("Nats-Msg-Id", "x")], "");
    assert_eq!(answers[0].payload, r#"{"stream":"S","seq":2}"#);
}

#[test]
fn what_an_account_may_use_is_bounded() {
    let limits = AccountLimits {
        max_memory: 100,
        max_store: 1000,
        max_streams: 2,
        ..AccountLimits::default()
    };
    let mut world = World::over(Store::new(StoreOptions::default()), &limits);
    let claim = |name: &str, rest: &str| format!("{{\"name\":\"{name}\",{rest}}}");
    for (verb, body, expected) in [
        ("STREAM.CREATE.A", claim("A", r#""max_bytes":600"#), 0),
        ("STREAM.CREATE.B", claim("B", r#""max_bytes":600"#), 10047),
        ("STREAM.CREATE.B", claim("B", r#""max_bytes":101,"storage":"memory""#), 10028),
        ("STREAM.CREATE.B", claim("B", r#""storage":"memory""#), 0),
        ("STREAM.CREATE.C", claim("C", r#""max_msgs":1"#), 10027),
        ("STREAM.UPDATE.A", claim("A", r#""max_bytes":1001"#), 10047),
        ("STREAM.UPDATE.A", claim("A", r#""max_bytes":1000"#), 0),
        ("STREAM.UPDATE.A", claim("A", r#""max_msgs":1"#), 0),
    ] {
        assert_eq!(world.api_error(verb, &body), expected, "{verb} {body}");
    }
    // 50 + 1 + 16 bytes are counted for the first.
    let payload = "x".repeat(50);
    assert_eq!(world.ask_json("B", &[], &payload)["seq"], 1);
    assert_eq!(world.ask_json("B", &[], &payload)["error"]["err_code"], 10002);
    let info = world.api("INFO", "");
    assert_eq!((&info["memory"], &info["storage"]), (&67.into(), &0.into()));
    assert_eq!(world.api_error("STREAM.DELETE.B", ""), 0);
    let info = world.api("INFO", "");
    assert_eq!((&info["memory"], &info["streams"]), (&0.into(), &1.into()));
    let census: Vec<_> = world.jetstream.census().collect();
    assert_eq!((census.len(), census[0].streams, census[0].usage.memory), (1, 1, 0));
    assert_eq!(census[0].api_total, 11);
}

#[test]
fn a_deleted_stream_is_gone_with_its_subscriptions() {
    let mut world = World::new();
    world.create("S", r#""subjects":["a.>"],"allow_direct":true"#);
    assert_eq!(world.ask("$JS.API.DIRECT.GET.S", &[], r#"{"seq":1}"#).len(), 1);
    assert_eq!(world.api_error("STREAM.DELETE.S", ""), 0);
    for subject in ["a.b", "$JS.API.DIRECT.GET.S", "$JS.API.DIRECT.GET.S.x"] {
        assert_eq!(world.ask(subject, &[], "{}"), []);
    }
    world.create("S", r#""subjects":["b"]"#);
    assert_eq!(world.ask_json("b", &[], "")["seq"], 1);
}

#[test]
fn subjects_come_and_go_with_an_update() {
    let mut world = World::new();
    world.create("S", r#""subjects":["a","b"]"#);
    assert_eq!(world.api_error("STREAM.UPDATE.S", r#"{"name":"S","subjects":["b","c"]}"#), 0);
    assert_eq!(world.ask("a", &[], ""), []);
    assert_eq!(world.ask_json("b", &[], "")["seq"], 1);
    assert_eq!(world.ask_json("c", &[], "")["seq"], 2);
}

#[test]
fn a_large_direct_get_goes_on_over_turns() {
    let mut world = World::new();
    world.create("S", r#""allow_direct":true,"storage":"memory""#);
    for _ in 0..3000 {
        world.ask("S", &[], "x");
    }
    let answers = world.ask("$JS.API.DIRECT.GET.S", &[], r#"{"seq":1,"batch":2500}"#);
    assert_eq!(answers.len(), 2501);
    let end = &answers[2500].header;
    assert!(end.starts_with("NATS/1.0 204 EOB\r\nNats-Num-Pending: 500\r\n"), "{end}");
}

#[test]
fn events_are_published_only_if_someone_listens() {
    let mut world = World::new();
    world.create("S", "");
    assert_eq!(world.router.said, []);
    world.router.listened.push("$JS.EVENT.ADVISORY.>");
    world.create("T", "");
    let subjects: Vec<_> = world.router.said.iter().map(|said| said.subject.as_str()).collect();
    assert_eq!(subjects, ["$JS.EVENT.ADVISORY.STREAM.CREATED.T", "$JS.EVENT.ADVISORY.API"]);
    let event = world.router.said[0].json();
    assert_eq!(event["type"], "io.nats.jetstream.advisory.v1.stream_action");
    assert_eq!(event["action"], "create");
}
