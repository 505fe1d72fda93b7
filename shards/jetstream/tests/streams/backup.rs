//! Snapshots wait for who is to have them.

use crate::world::{Said, World};

const SECOND: i64 = 1_000_000_000;
const DELIVER: &str = "_INBOX.client.snapshot";

/// Asks for a snapshot of a stream of one message, for a client whose pattern of answers covers
/// the subject that the snapshot is to come on.
fn ask() -> World {
    let mut world = World::new();
    world.create("S", "");
    world.ask("S", &[], "x");
    world.router.by_pattern.push(DELIVER);
    let answer = world.api("STREAM.SNAPSHOT.S", &format!(r#"{{"deliver_subject":"{DELIVER}"}}"#));
    assert_eq!(answer["state"]["messages"], 1, "{answer}");
    world
}

fn delivered(world: &mut World) -> Vec<Said> {
    world.router.said.extract_if(.., |said| said.subject == DELIVER).collect()
}

#[test]
fn a_snapshot_waits_until_its_subject_is_subscribed_to() {
    let mut world = ask();
    assert!(delivered(&mut world).is_empty(), "nobody subscribes to it yet");
    world.pass(SECOND);
    assert!(delivered(&mut world).is_empty());
    world.router.by_pattern.clear();
    world.settle();
    let chunks = delivered(&mut world);
    assert_eq!(chunks.len(), 2, "the data, and its end");
    assert!(!chunks[0].payload.is_empty());
    assert_eq!((&*chunks[1].header, &*chunks[1].payload), ("", ""));
}

#[test]
fn a_listener_by_pattern_gets_it_once_time_is_over() {
    let mut world = ask();
    world.pass(2 * SECOND);
    assert_eq!(delivered(&mut world).len(), 2);
}
