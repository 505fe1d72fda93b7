//! Messages end by their age.

use crate::world::World;

const SECOND: i64 = 1_000_000_000;

#[test]
fn max_age_takes_the_oldest_away_when_their_time_has_come() {
    let mut world = World::new();
    world.create("S", r#""max_age":10000000000,"duplicate_window":1000000000"#);
    for _ in 0..3 {
        world.ask("S", &[], "x");
        world.pass(SECOND);
    }
    world.pass(6 * SECOND);
    assert_eq!(world.state("S")["messages"], 3);
    let due = world.jetstream.next_due();
    assert!(due > world.now.time && due.0 < world.now.time.0 + 2 * SECOND.unsigned_abs());
    world.pass(SECOND + SECOND / 100);
    assert_eq!(world.state("S")["messages"], 2);
    world.pass(20 * SECOND);
    let state = world.state("S");
    assert_eq!((&state["messages"], &state["first_seq"]), (&0.into(), &4.into()));
}

#[test]
fn a_message_may_live_shorter_or_for_ever() {
    let mut world = World::new();
    world.create("S", r#""subjects":["s.*"],"max_age":10000000000,"allow_msg_ttl":true"#);
    for (subject, ttl) in [("s.a", "2"), ("s.b", "never"), ("s.c", "1h"), ("s.d", "3s")] {
        world.ask(subject, &[("Nats-TTL", ttl)], "x");
    }
    // In tenths of a second, one after the other.
    for (tenths, left) in [(10, 4), (15, 3), (10, 2), (70, 1), (36_000, 1)] {
        world.pass(tenths * SECOND / 10);
        assert_eq!(world.state("S")["messages"], left, "{tenths}");
    }
    assert_eq!(world.state("S")["subjects"]["s.b"], 1);
}

#[test]
fn a_marker_takes_the_place_of_the_last_of_a_subject_and_ends_too() {
    let mut world = World::new();
    world.create(
        "S",
        r#""subjects":["s.*"],"max_age":10000000000,"subject_delete_marker_ttl":5000000000"#,
    );
    world.ask("s.a", &[], "x");
    world.ask("s.a", &[], "y");
    world.pass(11 * SECOND);
    let message = world.api("STREAM.MSG.GET.S", r#"{"last_by_subj":"s.a"}"#);
    // NATS/1.0, Nats-Marker-Reason: MaxAge, Nats-TTL: 5s, Nats-Rollup: sub
    let expected = "TkFUUy8xLjANCk5hdHMtTWFya2VyLVJlYXNvbjogTWF4QWdlDQpOYXRzLVRUTDogNXMNCk5hdHMt\
        Um9sbHVwOiBzdWINCg0K";
    assert_eq!(message["message"]["hdrs"], expected);
    assert_eq!(message["message"]["seq"], 3);
    assert_eq!(world.state("S")["messages"], 1);
    world.pass(6 * SECOND);
    assert_eq!(world.state("S")["messages"], 0);
}

#[test]
fn a_stream_of_many_ends_over_turns() {
    let mut world = World::new();
    world.create("S", r#""max_age":1000000000,"storage":"memory","duplicate_window":100000000"#);
    for _ in 0..10_000 {
        world.ask("S", &[], "");
    }
    world.pass(2 * SECOND);
    assert_eq!(world.state("S")["messages"], 0);
}
