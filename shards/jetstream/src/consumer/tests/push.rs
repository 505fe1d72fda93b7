use super::*;

fn pushing(fields: &str) -> World {
    let mut world = World::new(|_| {});
    world.listen("out");
    world.create(&format!(r#""deliver_subject":"out","ack_policy":"explicit"{fields}"#));
    world
}

#[test]
fn messages_are_delivered_under_their_subject_and_acknowledged() {
    let mut world = pushing("");
    world.publish("in.a", "one");
    world.publish("in.b", "two");
    world.settle();
    let sent = world.taken();
    let wall = world.now.wall.0;
    assert_eq!(
        sent[0],
        Sent {
            route: "out".into(),
            subject: "in.a".into(),
            reply: format!("$JS.ACK.S.C.1.1.1.{wall}.1"),
            header: String::new(),
            payload: "one".into(),
        }
    );
    assert_eq!(sent[1].reply, format!("$JS.ACK.S.C.1.2.2.{wall}.0"));
    assert_eq!(world.info("num_ack_pending"), "2");
    world.ack(&sent[1], "");
    assert!(world.info("ack_floor").starts_with(r#"{"consumer_seq":0,"stream_seq":0"#));
    world.ack(&sent[0], "+ACK");
    assert!(world.info("ack_floor").starts_with(r#"{"consumer_seq":2,"stream_seq":2"#));
    assert_eq!(world.info("num_ack_pending"), "0");
    assert_eq!(world.info("push_bound"), "true");
}

#[test]
fn what_is_not_acknowledged_comes_again() {
    let mut world = pushing(r#","ack_wait":1000000000,"max_deliver":3"#);
    world.listen("$JS.EVENT.>");
    world.publish("in.a", "one");
    world.settle();
    assert_eq!(world.taken().len(), 1);
    world.pass(999);
    assert_eq!(world.taken(), []);
    world.pass(1);
    let sent = world.taken();
    assert_eq!((sent.len(), sent[0].token(4), sent[0].token(6)), (1, 2, 2));
    assert_eq!(world.info("num_redelivered"), "1");
    world.pass(1000);
    assert_eq!(world.taken()[0].token(4), 3);
    world.pass(1000);
    let sent = world.taken();
    assert_eq!(sent[0].route, "$JS.EVENT.ADVISORY.CONSUMER.MAX_DELIVERIES.S.C");
    assert!(sent[0].payload.contains(r#""stream_seq":1,"deliveries":3"#), "{}", sent[0].payload);
    assert_eq!(sent.len(), 1);
    assert_eq!(world.info("num_ack_pending"), "0");
    assert!(world.info("ack_floor").starts_with(r#"{"consumer_seq":0,"stream_seq":0"#));
    // A late acknowledgement is taken all the same.
    world.publish("in.a", "two");
    world.settle();
    let sent = world.taken().remove(0);
    world.ack(&sent, "");
    assert!(world.info("ack_floor").starts_with(r#"{"consumer_seq":4,"stream_seq":2"#));
    assert_eq!(world.info("num_redelivered"), "1");
    world.send("$JS.ACK.S.C.3.1.3.1.0", "", "");
    assert_eq!(world.info("num_redelivered"), "0");
}

#[test]
fn every_word_of_a_client_is_understood() {
    let mut world = pushing(r#","ack_wait":1000000000"#);
    world.listen("$JS.EVENT.>");
    world.publish("in.a", "one");
    world.settle();
    let sent = world.taken().remove(0);
    world.ack(&sent, "-NAK");
    let taken = world.taken();
    assert_eq!(taken[0].route, "$JS.EVENT.ADVISORY.CONSUMER.MSG_NAKED.S.C");
    assert_eq!(taken[1].token(4), 2);
    world.ack(&sent, r#"-NAK {"delay": 300000000}"#);
    world.taken();
    world.pass(299);
    assert_eq!(world.taken(), []);
    world.pass(1);
    assert_eq!(world.sequences(), [1]);
    world.pass(900);
    world.ack(&sent, "+WPI");
    world.pass(900);
    assert_eq!(world.taken(), []);
    world.ack(&sent, "+TERM no reason");
    let taken = world.taken();
    assert!(taken[0].payload.contains(r#""reason":"no reason""#));
    world.pass(5000);
    assert_eq!(world.taken(), []);
}

#[test]
fn a_client_that_asks_is_answered_once_it_is_durable() {
    let mut world = pushing("");
    world.listen("answer.*");
    world.publish("in.a", "one");
    world.settle();
    let sent = world.taken().remove(0);
    world.send(&sent.reply, "answer.1", "");
    assert_eq!(world.taken(), []);
    world.settle();
    assert!(!world.consumers.waits_for_disk());
    let taken = world.taken();
    assert_eq!((taken[0].route.as_str(), taken[0].payload.as_str()), ("answer.1", ""));
    // What cannot have been delivered is not answered.
    world.send("$JS.ACK.S.C.1.9.9.1.0", "answer.2", "");
    world.settle();
    assert_eq!(world.taken(), []);
    world.send(&sent.reply, "answer.3", "what?");
    world.settle();
    assert_eq!(world.taken().len(), 1);
}

#[test]
fn as_much_is_out_as_may_be() {
    let mut world = pushing(r#","max_ack_pending":2"#);
    for _ in 0..4 {
        world.publish("in.a", "");
    }
    world.settle();
    let sent = world.taken();
    assert_eq!(sent.len(), 2);
    assert_eq!(world.info("num_pending"), "2");
    world.ack(&sent[1], "");
    assert_eq!(world.sequences(), [3]);
}

#[test]
fn nothing_is_delivered_without_a_listener() {
    let mut world = pushing("");
    world.deafen("out");
    world.publish("in.a", "");
    world.settle();
    assert_eq!(world.taken(), []);
    // Those who listen to everything are not whom the consumer is for.
    world.listen(">");
    world.settle();
    assert_eq!(world.taken(), []);
    world.deafen(">");
    world.listen("out");
    world.settle();
    assert_eq!(world.sequences(), [1]);
}

#[test]
fn a_group_is_delivered_to_its_members() {
    let mut world = pushing(r#","deliver_group":"g""#);
    world.publish("in.a", "");
    world.settle();
    assert_eq!(world.taken(), []);
    world.listen("out g");
    world.settle();
    assert_eq!(world.sequences(), [1]);
}

#[test]
fn an_ephemeral_consumer_goes_with_its_client() {
    let mut world = World::new(|_| {});
    world.listen("out");
    world.listen("$JS.EVENT.>");
    let body = r#"{"stream_name":"S","config":{"deliver_subject":"out"}}"#;
    let answer = world.api("CREATE.S", body).expect("it is valid");
    assert!(answer.contains(r#""inactive_threshold":5000000000"#), "{answer}");
    world.settle();
    assert_eq!(world.consumers.len(), 1);
    world.taken();
    world.deafen("out");
    world.settle();
    world.pass(4999);
    assert_eq!(world.consumers.len(), 1);
    world.pass(1100);
    assert_eq!(world.consumers.len(), 0);
    assert!(world.taken()[0].route.starts_with("$JS.EVENT.ADVISORY.CONSUMER.DELETED.S."));
    assert_eq!(world.shard.services, []);
}

#[test]
fn a_quiet_consumer_shows_that_it_is_alive() {
    let mut world = pushing(r#","idle_heartbeat":1000000000"#);
    world.publish("in.a", "");
    world.settle();
    world.taken();
    world.pass(1000);
    let taken = world.taken();
    assert_eq!(
        taken[0].header,
        "NATS/1.0 100 Idle Heartbeat\r\nNats-Last-Consumer: 1\r\nNats-Last-Stream: 1\r\n\r\n"
    );
    world.pass(999);
    assert_eq!(world.taken(), []);
}

#[test]
fn flow_control_stops_a_consumer_until_it_is_answered() {
    let fields = r#","flow_control":true,"idle_heartbeat":1000000000,"max_ack_pending":-1"#;
    let mut world = pushing(fields);
    let payload = "x".repeat(256 * 1024);
    for _ in 0..20 {
        world.publish("in.a", &payload);
    }
    world.settle();
    let sent = world.taken();
    let asked = sent.iter().find(|sent| sent.status() == "100 FlowControl Request");
    let asked = asked.expect("the client is asked").clone();
    assert!(asked.reply.starts_with("$JS.FC.S.C."), "{}", asked.reply);
    assert_eq!(sent.len(), 9);
    world.pass(1000);
    let beat = world.taken().remove(0);
    assert!(beat.header.contains(&format!("Nats-Consumer-Stalled: {}", asked.reply)));
    world.send(&asked.reply, "", "");
    world.settle();
    assert!(world.taken().len() > 4);
}

#[test]
fn a_rate_limit_spreads_messages_out() {
    // 1000 bytes a second, bursts of as much as the largest message of the stream.
    let mut world = World::new(|config| config.max_msg_size = 200);
    world.listen("out");
    world.create(r#""deliver_subject":"out","ack_policy":"none","rate_limit_bps":8000"#);
    for _ in 0..10 {
        world.publish("in.a", &"x".repeat(100));
    }
    world.settle();
    assert_eq!(world.taken().len(), 1);
    let mut passed = 0;
    while world.info("num_pending") != "0" {
        world.pass(10);
        passed += 10;
    }
    assert!((1000..1600).contains(&passed), "{passed} ms");
}

#[test]
fn headers_only_tells_the_size() {
    let mut world = pushing(r#","headers_only":true"#);
    world.publish("in.a", "hello");
    world.settle();
    let sent = world.taken().remove(0);
    assert_eq!(sent.header, "NATS/1.0\r\nNats-Msg-Size: 5\r\n\r\n");
    assert_eq!(sent.payload, "");
}

#[test]
fn messages_that_leave_the_stream_are_not_pending_any_more() {
    let mut world = pushing(r#","max_ack_pending":2"#);
    world.listen("$JS.EVENT.>");
    for _ in 0..4 {
        world.publish("in.a", "");
    }
    world.settle();
    world.taken();
    world.remove(1);
    world.remove(4);
    world.settle();
    let taken = world.taken();
    assert!(taken[0].payload.contains("Unacknowledged message was deleted"));
    assert_eq!(taken[1].sequence(), 3);
    assert_eq!(world.info("num_pending"), "0");
    assert_eq!(world.info("num_ack_pending"), "2");
    assert!(world.info("ack_floor").starts_with(r#"{"consumer_seq":1,"stream_seq":1"#));
}
