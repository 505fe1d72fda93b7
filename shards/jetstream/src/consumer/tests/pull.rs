use super::*;

fn pulling(fields: &str) -> World {
    let mut world = World::new(|_| {});
    world.listen("in1");
    world.listen("in2");
    world.create(&format!(r#""ack_policy":"explicit"{fields}"#));
    world
}

#[test]
fn requests_are_served_in_turns() {
    let mut world = pulling("");
    for _ in 0..5 {
        world.publish("in.a", "");
    }
    world.send("$JS.API.CONSUMER.MSG.NEXT.S.C", "in1", "2");
    world.send("$JS.API.CONSUMER.MSG.NEXT.S.C", "in2", r#"{"batch":2}"#);
    world.settle();
    let routes: Vec<String> = world.taken().into_iter().map(|sent| sent.route).collect();
    assert_eq!(routes, ["in1", "in2", "in1", "in2"]);
    assert_eq!(world.info("num_waiting"), "0");
    world.ask("in1", "2");
    assert_eq!(world.sequences(), [5]);
    assert_eq!(world.info("num_waiting"), "1");
    world.publish("in.b", "");
    world.settle();
    assert_eq!(world.sequences(), [6]);
}

#[test]
fn each_end_of_a_request_has_its_status() {
    let mut world = pulling(r#","max_batch":10,"max_expires":1000000000,"max_bytes":1000"#);
    for (request, expected) in [
        (r#"{"no_wait":true,"batch":1}"#, "404 No Messages"),
        (r#"{"batch":11}"#, "409 Exceeded MaxRequestBatch of 10"),
        (r#"{"batch":1,"expires":2000000000}"#, "409 Exceeded MaxRequestExpires of 1s"),
        (r#"{"batch":1,"max_bytes":1001}"#, "409 Exceeded MaxRequestMaxBytes of 1000"),
        (
            r#"{"batch":1,"expires":1000,"idle_heartbeat":1000}"#,
            "400 Bad Request - heartbeat value too large",
        ),
        (r#"{"batch":1,"min_pending":1}"#, "400 Bad Request - Not a Overflow Priority consumer"),
        (r#"{"batch":1,"id":"x"}"#, "400 Bad Request - Not a Pinned Client Priority consumer"),
        (r#"{"batch":1,"priority":10}"#, "400 Bad Request - Priority must be between 0 and 9"),
    ] {
        world.ask("in1", request);
        assert_eq!(world.statuses(), [expected], "{request}");
    }
    world.ask("in1", r#"{"batch":3,"expires":500000000,"max_bytes":900}"#);
    world.publish("in.a", "");
    world.settle();
    let bytes =
        900 - world.taken().iter().map(|sent| sent.subject.len() + sent.reply.len()).sum::<usize>();
    world.pass(500);
    let sent = world.taken().remove(0);
    assert_eq!(
        sent.header,
        format!(
            "NATS/1.0 408 Request Timeout\r\nNats-Pending-Messages: 2\r\n\
             Nats-Pending-Bytes: {bytes}\r\n\r\n"
        )
    );
    world.publish("in.a", &"x".repeat(500));
    world.ask("in1", r#"{"batch":3,"max_bytes":400}"#);
    assert_eq!(world.statuses(), ["409 Message Size Exceeds MaxBytes"]);
    world.ask("in1", r#"{"batch":1,"max_bytes":900}"#);
    let taken = world.taken();
    assert_eq!((taken[0].sequence(), taken[1].status()), (2, "409 Batch Completed"));
    world.ask("in1", r#"{"batch":1}"#);
    world.api("DELETE.S.C", "").expect("it exists");
    assert_eq!(world.statuses(), ["409 Consumer Deleted"]);
}

#[test]
fn only_so_many_requests_may_wait() {
    let mut world = pulling(r#","max_waiting":1"#);
    world.ask("in1", "1");
    world.ask("in2", "1");
    assert_eq!(world.statuses(), ["409 Exceeded MaxWaiting"]);
    world.ask("in2", r#"{"batch":1,"expires":10000000000,"idle_heartbeat":1000000000}"#);
    assert_eq!(world.taken(), []);
    world.deafen("in1");
    world.ask("in2", "1");
    assert_eq!(world.taken(), []);
    assert_eq!(world.info("num_waiting"), "1");
}

#[test]
fn one_shots_end_with_what_there_is() {
    let mut world = pulling("");
    world.publish("in.a", "");
    world.ask("in1", r#"{"batch":5,"no_wait":true}"#);
    let taken = world.taken();
    assert_eq!((taken[0].sequence(), taken[1].status()), (1, "404 No Messages"));
    world.ask("in1", r#"{"batch":5,"no_wait":true,"expires":1000000000}"#);
    assert_eq!(world.taken(), []);
    world.publish("in.a", "");
    world.settle();
    let taken = world.taken();
    assert_eq!((taken[0].sequence(), taken[1].status()), (2, "404 No Messages"));
}

#[test]
fn a_waiting_client_hears_that_the_consumer_is_alive() {
    let mut world = pulling("");
    world.ask("in1", r#"{"batch":1,"expires":1000000000,"idle_heartbeat":400000000}"#);
    world.pass(400);
    world.pass(400);
    world.pass(200);
    assert_eq!(
        world.statuses(),
        ["100 Idle Heartbeat", "100 Idle Heartbeat", "408 Request Timeout"]
    );
}

#[test]
fn an_acknowledgement_may_ask_for_the_next() {
    let mut world = pulling("");
    world.publish("in.a", "");
    world.publish("in.a", "");
    world.ask("in1", "");
    let sent = world.taken().remove(0);
    world.send(&sent.reply, "in2", "+NXT {\"batch\":1}");
    world.settle();
    let taken = world.taken();
    assert_eq!((taken[0].route.as_str(), taken[0].sequence()), ("in2", 2));
    assert_eq!(world.info("num_ack_pending"), "1");
}

#[test]
fn a_request_without_a_listener_is_passed_over() {
    let mut world = pulling("");
    world.ask("nobody", "1");
    world.ask("in1", "1");
    world.publish("in.a", "");
    world.settle();
    let taken = world.taken();
    assert_eq!((taken.len(), taken[0].route.as_str(), taken[0].token(4)), (1, "in1", 1));
    assert_eq!(world.info("num_ack_pending"), "1");
}

#[test]
fn one_client_is_pinned_until_it_is_silent() {
    let mut world = pulling(concat!(
        r#","priority_policy":"pinned_client","priority_groups":["A"],"#,
        r#""priority_timeout":1000000000"#
    ));
    world.listen("$JS.EVENT.>");
    world.ask("in1", "1");
    world.ask("in1", r#"{"batch":1,"group":"B"}"#);
    world.ask("in1", r#"{"batch":1}"#);
    assert_eq!(
        world.statuses(),
        ["400 Bad Request - Invalid Priority Group", "400 Bad Request - Priority Group missing"]
    );
    world.deafen("in1");
    world.info("num_waiting");
    world.listen("in1");
    for _ in 0..3 {
        world.publish("in.a", "");
    }
    world.ask("in1", r#"{"batch":1,"group":"A"}"#);
    world.ask("in2", r#"{"batch":10,"group":"A"}"#);
    let taken = world.taken();
    assert_eq!(taken.len(), 2);
    let id = taken[0].header.split("Nats-Pin-Id: ").nth(1).expect("it is pinned");
    let id = id.trim().to_owned();
    assert_eq!(taken[1].route, "$JS.EVENT.ADVISORY.CONSUMER.PINNED.S.C");
    assert!(taken[1].payload.contains(&format!(r#""group":"A","pinned_id":"{id}""#)));
    world.ask("in1", r#"{"batch":1,"group":"A","id":"other"}"#);
    assert_eq!(world.statuses(), ["423 Nats-Pin-Id mismatch"]);
    world.ask("in1", &format!(r#"{{"batch":1,"group":"A","id":"{id}"}}"#));
    assert_eq!(world.sequences(), [2]);
    world.pass(1000);
    let taken = world.taken();
    assert_eq!(taken[0].route, "$JS.EVENT.ADVISORY.CONSUMER.UNPINNED.S.C");
    assert_eq!((taken[1].route.as_str(), taken[1].sequence()), ("in2", 3));
}

#[test]
fn overflow_serves_those_whose_condition_holds() {
    let mut world = pulling(r#","priority_policy":"overflow","priority_groups":["A"]"#);
    world.ask("in1", r#"{"batch":10,"group":"A","min_pending":3}"#);
    world.publish("in.a", "");
    world.publish("in.a", "");
    world.settle();
    assert_eq!(world.taken(), []);
    world.publish("in.a", "");
    world.settle();
    assert_eq!(world.sequences(), [1]);
}

#[test]
fn an_idle_pull_consumer_goes() {
    let mut world = pulling(r#","inactive_threshold":1000000000"#);
    world.ask("in1", r#"{"batch":1,"expires":3000000000}"#);
    world.pass(2900);
    assert_eq!(world.consumers.len(), 1);
    world.pass(100);
    world.pass(900);
    assert_eq!(world.consumers.len(), 1);
    world.pass(1100);
    assert_eq!(world.consumers.len(), 0);
}
