use super::*;

fn started(fields: &str) -> Vec<u64> {
    let mut world = World::new(|_| {});
    world.listen("out");
    for subject in ["in.a", "in.b", "in.a", "in.c", "in.b"] {
        world.now.wall.0 += 1_000_000_000;
        world.publish(subject, "");
    }
    world.create(&format!(r#""deliver_subject":"out"{fields}"#));
    world.publish("in.a", "");
    world.publish("in.c", "");
    world.settle();
    world.sequences()
}

#[test]
fn consumers_begin_where_they_are_told() {
    for (fields, expected) in [
        ("", &[1, 2, 3, 4, 5, 6, 7][..]),
        (r#","deliver_policy":"last""#, &[5, 6, 7]),
        (r#","deliver_policy":"new""#, &[6, 7]),
        (r#","deliver_policy":"by_start_sequence","opt_start_seq":3"#, &[3, 4, 5, 6, 7]),
        (
            r#","deliver_policy":"by_start_time","opt_start_time":"2023-11-14T22:13:24Z""#,
            &[4, 5, 6, 7],
        ),
        (r#","deliver_policy":"last_per_subject","filter_subject":"in.>""#, &[3, 4, 5, 6, 7]),
        (r#","filter_subject":"in.b""#, &[2, 5]),
        (r#","filter_subjects":["in.b","in.c"]"#, &[2, 4, 5, 7]),
        (r#","deliver_policy":"last","filter_subject":"in.a""#, &[3, 6]),
        (
            r#","deliver_policy":"last_per_subject","filter_subjects":["in.a","in.c"]"#,
            &[3, 4, 6, 7],
        ),
        (r#","filter_subject":"in.none""#, &[]),
    ] {
        assert_eq!(started(fields), expected, "{fields}");
    }
}

#[test]
fn what_is_pending_is_counted_exactly() {
    let mut world = World::new(|_| {});
    for subject in ["in.a", "in.b", "in.a", "in.a"] {
        world.publish(subject, "");
    }
    world.create(r#""ack_policy":"explicit","filter_subject":"in.a""#);
    assert_eq!(world.info("num_pending"), "3");
    world.publish("in.a", "");
    world.publish("in.b", "");
    assert_eq!(world.info("num_pending"), "4");
    world.remove(3);
    world.remove(2);
    assert_eq!(world.info("num_pending"), "3");
    world.listen("x");
    world.ask("x", "2");
    let sent = world.taken();
    assert_eq!(sent.iter().map(|sent| sent.token(8)).collect::<Vec<_>>(), [2, 1]);
    assert_eq!(world.info("num_pending"), "1");
}

#[test]
fn one_acknowledgement_stands_for_all_in_front() {
    let mut world = World::new(|_| {});
    world.listen("out");
    world.create(r#""deliver_subject":"out","ack_policy":"all""#);
    for _ in 0..5 {
        world.publish("in.a", "");
    }
    world.settle();
    let sent = world.taken();
    world.ack(&sent[2], "");
    assert_eq!(world.info("num_ack_pending"), "2");
    assert!(world.info("ack_floor").starts_with(r#"{"consumer_seq":3,"stream_seq":3"#));
    world.pass(30_000);
    assert_eq!(world.sequences(), [4, 5]);
}

#[test]
fn an_acknowledgement_counts_behind_one_for_a_message_that_was_delivered_again() {
    let mut world = World::new(|_| {});
    world.listen("out");
    world.create(r#""deliver_subject":"out","ack_policy":"all""#);
    for _ in 0..3 {
        world.publish("in.a", "");
    }
    world.settle();
    let first = world.taken();
    world.ack(&first[0], "-NAK");
    let again = world.taken();
    assert_eq!((again[0].sequence(), again[0].token(6)), (1, 4));
    world.ack(&again[0], "");
    // Its number is lower than that of the one before, its place is not.
    world.ack(&first[2], "");
    assert_eq!(world.info("num_ack_pending"), "0");
    assert!(world.info("ack_floor").starts_with(r#"{"consumer_seq":4,"stream_seq":3"#));
}

#[test]
fn the_original_pace_is_kept() {
    let mut world = World::new(|_| {});
    world.listen("out");
    for pause in [0, 100, 0, 250] {
        world.pass(pause);
        world.publish("in.a", "");
    }
    world.create(r#""deliver_subject":"out","replay_policy":"original""#);
    assert_eq!(world.sequences(), [1]);
    world.pass(99);
    assert!(world.sequences().is_empty());
    world.pass(1);
    assert_eq!(world.sequences(), [2, 3]);
    world.pass(250);
    assert_eq!(world.sequences(), [4]);
    world.publish("in.a", "");
    world.pass(0);
    assert_eq!(world.sequences(), [5]);
}

#[test]
fn a_paused_consumer_waits() {
    let mut world = World::new(|_| {});
    world.listen("out");
    world.create(r#""deliver_subject":"out""#);
    let answer = world.api("PAUSE.S.C", r#"{"pause_until":"2023-11-14T22:13:30Z"}"#);
    let answer = answer.expect("it can be paused");
    assert!(answer.contains(r#""paused":true,"pause_until":"2023-11-14T22:13:30Z""#), "{answer}");
    assert!(answer.ends_with(r#""pause_remaining":10000000000}"#), "{answer}");
    world.publish("in.a", "");
    world.settle();
    assert!(world.sequences().is_empty());
    assert_eq!(world.info("paused"), "true");
    world.pass(10_000);
    assert_eq!(world.sequences(), [1]);
    assert_eq!(world.info("paused"), "");
}

#[test]
fn messages_go_when_nobody_needs_them() {
    let mut world = World::interest();
    world.listen("x");
    world.create(r#""ack_policy":"explicit","filter_subject":"in.a""#);
    assert!(world.consumers.wants(b"in.a"));
    assert!(!world.consumers.wants(b"in.b"));
    let (a, b) = (world.publish("in.a", ""), world.publish("in.b", ""));
    assert!(world.consumers.needs(a, b"in.a"));
    assert!(!world.consumers.needs(b, b"in.b"));
    world.ask("x", "1");
    let sent = world.taken().remove(0);
    assert!(world.consumers.needs(a, b"in.a"));
    world.ack(&sent, "");
    assert!(!world.consumers.needs(a, b"in.a"));
    assert_eq!(world.store.log(world.core.log).messages(), 1);
}

#[test]
fn state_survives_a_restart() {
    let mut world = World::new(|_| {});
    world.listen("x");
    world.create(r#""ack_policy":"explicit","max_ack_pending":-1,"ack_wait":60000000000"#);
    for _ in 0..400 {
        world.publish("in.a", "");
    }
    world.ask("x", "300");
    let sent = world.taken();
    world.pass(100);
    for (place, sent) in sent.iter().enumerate() {
        if place % 3 == 0 || place < 5 {
            world.send(&sent.reply, "", "");
            if place % 7 == 0 {
                world.settle();
                world.pass(5);
            }
        }
    }
    world.pass(5);
    let before = ["delivered", "ack_floor", "num_ack_pending", "num_pending"];
    let strip = |text: String| text.split(",\"last").next().unwrap_or_default().to_owned();
    let expected: Vec<String> = before.map(|field| strip(world.info(field))).into();
    assert_eq!(expected[2], "197");
    world.restart();
    let found: Vec<String> = before.map(|field| strip(world.info(field))).into();
    assert_eq!(
        found.iter().map(|text| text.trim_end_matches('}')).collect::<Vec<_>>(),
        expected.iter().map(|text| text.trim_end_matches('}')).collect::<Vec<_>>()
    );
    world.pass(61_000);
    world.ask("x", "200");
    let again: Vec<(u64, u64)> =
        world.taken().iter().map(|sent| (sent.sequence(), sent.token(4))).collect();
    assert_eq!(again.len(), 200);
    assert_eq!(again[0], (6, 2));
    assert_eq!(again[197], (301, 1));
    world.api("DELETE.S.C", "").expect("it exists");
    assert_eq!(world.store.notes(world.core.log).count(), 0);
}

#[test]
fn a_reset_begins_again() {
    let mut world = World::new(|_| {});
    world.listen("x");
    world.create(r#""ack_policy":"explicit""#);
    for _ in 0..5 {
        world.publish("in.a", "");
    }
    world.ask("x", "5");
    let sent = world.taken();
    world.ack(&sent[0], "");
    world.ack(&sent[1], "");
    world.send("$JS.API.CONSUMER.RESET.S.C", "x", "");
    let answer = world.taken().remove(0).payload;
    assert!(answer.ends_with(r#""reset_seq":3}"#), "{answer}");
    assert_eq!(world.info("num_pending"), "3");
    world.send("$JS.API.CONSUMER.RESET.S.C", "x", r#"{"seq":1}"#);
    world.taken();
    world.ask("x", "5");
    assert_eq!(world.sequences(), [1, 2, 3, 4, 5]);
}

#[test]
fn a_purge_moves_consumers_on() {
    let mut world = World::new(|_| {});
    world.listen("x");
    world.create(r#""ack_policy":"explicit""#);
    for _ in 0..5 {
        world.publish("in.a", "");
    }
    world.ask("x", "2");
    world.store.truncate_before(world.core.log, 6);
    world.with(|consumers, view, shard| consumers.purged(view, 6, b"", shard));
    assert_eq!(world.info("num_pending"), "0");
    assert_eq!(world.info("num_ack_pending"), "0");
    assert!(world.info("delivered").starts_with(r#"{"consumer_seq":2,"stream_seq":5"#));
    assert!(world.info("ack_floor").starts_with(r#"{"consumer_seq":2,"stream_seq":5"#));
    world.taken();
    world.publish("in.a", "");
    world.ask("x", "1");
    assert_eq!(world.sequences(), [6]);
}
