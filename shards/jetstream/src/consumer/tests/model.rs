//! A consumer against a simple model, with everything at random: nothing is lost, nothing that was
//! acknowledged comes again, the ack floor only rises, and no more is out than may be.

use std::collections::{BTreeMap, BTreeSet};

use super::*;

struct Model {
    acknowledged: BTreeSet<u64>,
    /// What was delivered and is not acknowledged, with its latest reply subject.
    out: BTreeMap<u64, Sent>,
    floor: u64,
}

fn run(seed: u64, fields: &str, most: usize) {
    let mut random = Random::new(seed);
    let mut world = World::new(|_| {});
    world.listen("x");
    world.create(&format!(r#""ack_policy":"explicit","ack_wait":1000000000{fields}"#));
    let mut model = Model { acknowledged: BTreeSet::new(), out: BTreeMap::new(), floor: 0 };
    let mut published = 0;
    for _ in 0..400 {
        match random.below(8) {
            0 | 1 => {
                for _ in 0..random.below(5) {
                    published = world.publish("in.a", "");
                }
            }
            2 | 3 => world.ask("x", &random.below(6).to_string()),
            4 => world.pass(random.below(1500)),
            5 if random.below(8) == 0 => {
                let is_orderly = random.below(2) == 0;
                if is_orderly {
                    world.with(|consumers, view, shard| consumers.flush(view, shard));
                }
                world.restart();
                // Deliveries that were not yet written down before a crash are made again.
                let delivered = sequence_of(&world.info("delivered"));
                assert!(!is_orderly || model.out.keys().all(|sequence| *sequence <= delivered));
                model.out.retain(|sequence, _| *sequence <= delivered);
            }
            _ => {
                let out: Vec<Sent> = model.out.values().cloned().collect();
                if let Some(sent) = out.get(random.below(out.len() as u64 + 1) as usize) {
                    let said = ["", "-NAK", "+WPI", "-NAK 500ms", "+TERM"];
                    let said = said[random.below(said.len() as u64) as usize];
                    world.ack(sent, said);
                    if matches!(said, "" | "+TERM") {
                        world.pass(5);
                        model.acknowledged.insert(sent.sequence());
                        model.out.remove(&sent.sequence());
                    }
                }
            }
        }
        check(&mut world, &mut model, most);
    }
    finish(&mut world, &mut model, published);
}

fn check(world: &mut World, model: &mut Model, most: usize) {
    for sent in world.taken() {
        if sent.status().is_empty() && sent.route == "x" && !sent.reply.is_empty() {
            let sequence = sent.sequence();
            assert!(!model.acknowledged.contains(&sequence), "{sequence} was acknowledged");
            model.out.insert(sequence, sent);
        }
    }
    assert!(model.out.len() <= most, "{} are out", model.out.len());
    let floor = sequence_of(&world.info("ack_floor"));
    assert!(floor >= model.floor, "the floor sank from {} to {floor}", model.floor);
    let lowest = model.out.keys().next().copied().unwrap_or(u64::MAX);
    assert!(floor < lowest, "{lowest} is out and the floor at {floor}");
    model.floor = floor;
    assert_eq!(world.info("num_ack_pending"), model.out.len().to_string());
}

/// The sequence of the stream in a pair of sequences.
fn sequence_of(pair: &str) -> u64 {
    let rest = pair.split("\"stream_seq\":").nth(1).expect("a pair has a sequence");
    let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().expect("a sequence is a number")
}

/// Asks and acknowledges until everything is.
fn finish(world: &mut World, model: &mut Model, published: u64) {
    for _ in 0..2000 {
        if model.acknowledged.len() as u64 == published {
            break;
        }
        world.ask("x", "10");
        check(world, model, usize::MAX);
        for sent in std::mem::take(&mut model.out).into_values() {
            world.ack(&sent, "");
            model.acknowledged.insert(sent.sequence());
        }
        world.pass(700);
    }
    let expected: BTreeSet<u64> = (1..=published).collect();
    assert_eq!(model.acknowledged, expected);
    assert_eq!(world.info("num_pending"), "0");
}

#[test]
fn nothing_is_lost_and_nothing_comes_again() {
    for seed in 0..12 {
        run(seed, r#","max_ack_pending":7"#, 7);
        run(seed, r#","max_ack_pending":-1,"backoff":[500000000,2000000000]"#, usize::MAX);
    }
}
