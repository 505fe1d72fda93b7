//! A start over what another process has left.

use jetstream::{AccountLimits, Config, JetStream};
use storage::{Store, StoreOptions};

use crate::world::World;

const SECOND: i64 = 1_000_000_000;

/// Another process over the same store.
fn again(mut world: World) -> World {
    let store = std::mem::replace(world.jetstream.store(), Store::new(StoreOptions::default()));
    let now = world.now;
    let mut next = World::over(store, &AccountLimits::default());
    // The world's clock goes on; a process's own starts anew.
    next.now.wall = now.wall;
    next
}

#[test]
fn what_was_there_is_there_again() {
    let mut world = World::new();
    world.create("S", r#""subjects":["s.*"],"metadata":{"a":"b"},"allow_direct":true"#);
    world.create("T", r#""storage":"memory""#);
    world.ask("s.a", &[("Nats-Msg-Id", "one")], "x");
    world.ask("s.b", &[], "y");
    world.ask("s.b", &[("Nats-Msg-Id", "two")], "z");
    let before = world.api("STREAM.INFO.S", "");
    let mut world = again(world);
    let after = world.api("STREAM.INFO.S", "");
    for field in ["config", "created", "state"] {
        assert_eq!(before[field], after[field]);
    }
    assert_eq!(world.ask_json("s.c", &[("Nats-Msg-Id", "one")], "")["duplicate"], true);
    assert_eq!(world.ask_json("s.c", &[("Nats-Expected-Last-Msg-Id", "two")], "")["seq"], 4);
    assert_eq!(world.ask("$JS.API.DIRECT.GET.S", &[], r#"{"seq":1}"#)[0].payload, "x");
}

#[test]
fn times_to_live_are_known_again() {
    let mut world = World::new();
    world.create("S", r#""subjects":["s.*"],"allow_msg_ttl":true,"max_age":100000000000"#);
    for ttl in ["5", "never", "50"] {
        world.ask("s.a", &[("Nats-TTL", ttl)], "x");
    }
    world.ask("s.a", &[], "x");
    let mut world = again(world);
    for (seconds, left) in [(4, 4), (2, 3), (50, 2), (60, 1)] {
        world.pass(seconds * SECOND);
        assert_eq!(world.state("S")["messages"], left);
    }
}

#[test]
fn logs_of_other_accounts_and_without_notes_are_left_alone() {
    let mut store = Store::new(StoreOptions::default());
    for name in ["OTHER/S", "$G/S", "stray"] {
        let kind = storage::Kind::File;
        store.create(name.as_bytes(), kind, storage::LogOptions::default()).expect("a new name");
    }
    let jetstream = JetStream::new(Config::default(), store);
    assert_eq!(jetstream.census().count(), 0);
    let mut world = World::new();
    assert_eq!(world.api("STREAM.NAMES", "")["total"], 0);
}
