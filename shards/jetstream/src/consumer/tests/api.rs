use super::*;
use crate::stream::config::ConsumerLimits;

fn world() -> World {
    let mut world = World::new(|_| {});
    world.create("");
    world
}

fn number(result: Result<String, (u16, String)>) -> u16 {
    result.map_or_else(|(number, _)| number, |_| 0)
}

#[test]
fn a_description_has_the_fields_of_the_reference() {
    let mut world = World::new(|_| {});
    let body = r#"{"stream_name":"S","config":{"durable_name":"C","ack_policy":"explicit"}}"#;
    let answer = world.api("CREATE.S.C", body).expect("it is valid");
    assert_eq!(
        answer,
        concat!(
            r#"{"type":"io.nats.jetstream.api.v1.consumer_create_response","stream_name":"S","#,
            r#""name":"C","created":"2023-11-14T22:13:20Z","config":{"durable_name":"C","#,
            r#""name":"C","deliver_policy":"all","ack_policy":"explicit","#,
            r#""ack_wait":30000000000,"max_deliver":-1,"replay_policy":"instant","#,
            r#""max_waiting":512,"max_ack_pending":1000,"num_replicas":0,"metadata":"#,
            r#"{"_nats.level":"5","_nats.req.level":"0","_nats.ver":"2.15.1"}},"#,
            r#""delivered":{"consumer_seq":0,"stream_seq":0},"#,
            r#""ack_floor":{"consumer_seq":0,"stream_seq":0},"num_ack_pending":0,"#,
            r#""num_redelivered":0,"num_waiting":0,"num_pending":0,"#,
            r#""ts":"2023-11-14T22:13:20Z"}"#
        )
    );
}

#[test]
fn subject_and_request_have_to_agree() {
    for (subject, config, expected) in [
        ("CREATE.S.C", r#""durable_name":"C""#, 0),
        ("CREATE.S.C", r#""durable_name":"D""#, 10017),
        ("CREATE.S", r#""durable_name":"C""#, 10020),
        ("CREATE.S", "", 0),
        ("CREATE.S.C", r#""name":"ignored""#, 0),
        ("DURABLE.CREATE.S.C", r#""durable_name":"C""#, 0),
        ("DURABLE.CREATE.S.C", "", 10018),
        ("DURABLE.CREATE.S.C", r#""durable_name":"D""#, 10017),
        ("DURABLE.CREATE.S", r#""durable_name":"C""#, 10016),
        ("CREATE.S.C.in.a", r#""filter_subject":"in.a""#, 0),
        ("CREATE.S.C.in.b", r#""filter_subject":"in.a""#, 10131),
        ("CREATE.S.C.in.b", r#""filter_subjects":["in.a"]"#, 10137),
        ("CREATE.T.C", "", 10056),
        ("CREATE.S.C/D", "", 10127),
        ("CREATE.S.C", r#""num_replicas":3"#, 10074),
        ("CREATE.S.C", r#""nonsense":3"#, 10025),
    ] {
        let body = format!(r#"{{"stream_name":"S","config":{{{config}}}}}"#);
        let result = World::new(|_| {}).api(subject, &body);
        assert_eq!(number(result), expected, "{subject} {config}");
    }
}

#[test]
fn actions_say_whether_it_may_exist() {
    let body = |action: &str, config: &str| {
        format!(
            r#"{{"stream_name":"S","action":"{action}","config":{{"durable_name":"C"{config}}}}}"#
        )
    };
    let mut world = World::new(|_| {});
    assert_eq!(number(world.api("CREATE.S.C", &body("update", ""))), 10149);
    assert_eq!(number(world.api("CREATE.S.C", &body("create", ""))), 0);
    assert_eq!(number(world.api("CREATE.S.C", &body("create", ""))), 0);
    assert_eq!(number(world.api("CREATE.S.C", &body("create", r#","description":"x""#))), 10148);
    assert_eq!(number(world.api("CREATE.S.C", &body("update", r#","description":"x""#))), 0);
    assert_eq!(number(world.api("CREATE.S.C", &body("", r#","ack_policy":"all""#))), 10012);
    let result = world.api("CREATE.S.C", &body("x", ""));
    assert_eq!(
        result.expect_err("it is none"),
        (10025, "invalid JSON: unknown consumer action: \"x\"".into())
    );
}

#[test]
fn lists_have_pages() {
    let mut world = world();
    for name in ["B", "A"] {
        let body = r#"{"stream_name":"S","config":{}}"#;
        world.api(&format!("CREATE.S.{name}"), body).expect("it is valid");
    }
    assert_eq!(
        world.api("NAMES.S", r#"{"offset":1}"#).expect("there are some"),
        concat!(
            r#"{"type":"io.nats.jetstream.api.v1.consumer_names_response","total":3,"#,
            r#""offset":1,"limit":1024,"consumers":["B","C"]}"#
        )
    );
    let list = world.api("LIST.S", "").expect("there are some");
    assert!(list.contains(r#""total":3,"offset":0,"limit":256,"consumers":[{"stream_name":"S""#));
    assert!(!list.contains("_nats.ver"));
}

#[test]
fn requests_that_cannot_be_served_say_why() {
    let mut world = world();
    for (subject, body, expected) in [
        ("INFO.S.C", "", 0),
        ("INFO.S.C", "{ }", 0),
        ("INFO.S.C", "x", 10038),
        ("INFO.S.D", "", 10014),
        ("DELETE.S.D", "", 10014),
        ("PAUSE.S.D", "", 10014),
        ("UNPIN.S.C", r#"{"group":"A"}"#, 10160),
        ("UNPIN.S.C", "{}", 10025),
        ("UNPIN.S.C", r#"{"group":"A B"}"#, 10162),
        ("LEADER.STEPDOWN.S.C", "", 10010),
        ("NAMES.S", r#"{"offset":"x"}"#, 10025),
    ] {
        assert_eq!(number(world.api(subject, body)), expected, "{subject} {body}");
    }
}

#[test]
fn a_work_queue_has_one_consumer_for_each_message() {
    let mut world = World::new(|config| config.retention = Retention::WorkQueue);
    let mut create = |name: &str, config: &str| {
        let body = format!(r#"{{"stream_name":"S","config":{{"durable_name":"{name}"{config}}}}}"#);
        number(world.api(&format!("CREATE.S.{name}"), &body))
    };
    let explicit = r#","ack_policy":"explicit""#;
    assert_eq!(create("A", r#","ack_policy":"all""#), 10098);
    assert_eq!(create("A", &format!(r#"{explicit},"deliver_policy":"new""#)), 10101);
    assert_eq!(create("A", &format!(r#"{explicit},"filter_subject":"in.a""#)), 0);
    assert_eq!(create("B", explicit), 10099);
    assert_eq!(create("B", &format!(r#"{explicit},"filter_subject":"in.*""#)), 10100);
    assert_eq!(create("B", &format!(r#"{explicit},"filter_subject":"in.b""#)), 0);
}

#[test]
fn limits_of_a_stream_hold_for_its_consumers() {
    let mut world = World::new(|_| {});
    world.create(r#""ack_policy":"explicit","max_ack_pending":20"#);
    let limits = |max_ack_pending| ConsumerLimits { max_ack_pending, ..ConsumerLimits::default() };
    let check = |new, old| world.consumers.check_limits(&limits(new), &limits(old));
    assert_eq!(check(20, 0), Ok(()));
    assert_eq!(check(10, 10), Ok(()));
    let fault = check(10, 0).expect_err("the consumer has more");
    assert_eq!(fault.text, "change to limits violates consumers: C");
}

#[test]
fn a_stream_has_room_for_so_many() {
    let mut world = World::new(|config| config.max_consumers = 1);
    world.create("");
    let body = r#"{"stream_name":"S","config":{}}"#;
    assert_eq!(number(world.api("CREATE.S.D", body)), 10026);
}
