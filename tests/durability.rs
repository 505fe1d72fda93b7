//! Rounds of `kill -9` under load: every acknowledged message is there afterwards, none twice.
//!
//! `PINION_ROUNDS` says how many; `scripts/durability` runs a hundred.

use std::collections::{HashSet, VecDeque};
use std::env;
use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use async_nats::HeaderMap;
use async_nats::jetstream::{self, context::PublishAckFuture, stream};
use tokio::time::timeout;

use process::{Broker, Launch, Process};

#[path = "support/process.rs"]
mod process;

/// A round that takes longer is stuck.
const PATIENCE: Duration = Duration::from_mins(2);
/// Messages on their way at a time.
const WINDOW: usize = 64;

/// What was published so far.
#[derive(Default)]
struct Ledger {
    next: u64,
    /// Numbers of messages that were acknowledged, with their sequences.
    acknowledged: Vec<(u64, u64)>,
    /// Those of which it is not known whether they were stored.
    doubtful: Vec<u64>,
}

fn id(number: u64) -> String {
    format!("message {number}")
}

async fn publish(
    context: &jetstream::Context,
    number: u64,
) -> Result<PublishAckFuture, Box<dyn Error>> {
    let mut headers = HeaderMap::new();
    headers.insert("Nats-Msg-Id", id(number).as_str());
    let subject = format!("d.{}", number % 17);
    let payload = format!("payload {number} {}", "x".repeat((number % 400) as usize));
    Ok(context.publish_with_headers(subject, headers, payload.into()).await?)
}

async fn open(process: &Process) -> Result<(jetstream::Context, stream::Stream), Box<dyn Error>> {
    let client = async_nats::connect(process.address().to_string()).await?;
    let context = jetstream::new(client);
    let subjects = vec![String::from("d.>")];
    let config = stream::Config { name: String::from("D"), subjects, ..Default::default() };
    let stream = context.get_or_create_stream(config).await?;
    Ok((context, stream))
}

/// Publishes until so many were acknowledged, and leaves the rest of the window in doubt.
async fn load(
    context: &jetstream::Context,
    ledger: &mut Ledger,
    count: usize,
) -> Result<(), Box<dyn Error>> {
    let mut window: VecDeque<(u64, PublishAckFuture)> = VecDeque::new();
    for number in std::mem::take(&mut ledger.doubtful) {
        window.push_back((number, publish(context, number).await?));
    }
    let until = ledger.acknowledged.len() + count;
    while ledger.acknowledged.len() < until {
        while window.len() < WINDOW {
            window.push_back((ledger.next, publish(context, ledger.next).await?));
            ledger.next += 1;
        }
        let (number, acknowledgement) = window.pop_front().expect("the window is full");
        ledger.acknowledged.push((number, acknowledgement.await?.sequence));
    }
    ledger.doubtful = window.into_iter().map(|(number, _)| number).collect();
    Ok(())
}

/// Looks at what is there, from a sequence on.
async fn check(
    stream: &mut stream::Stream,
    ledger: &Ledger,
    seen: &mut HashSet<String>,
    from: u64,
) -> Result<u64, Box<dyn Error>> {
    let last = stream.info().await?.state.last_sequence;
    let mut ids = Vec::new();
    for sequence in from + 1..=last {
        let message = stream.get_raw_message(sequence).await?;
        let id = message.headers.get("Nats-Msg-Id").expect("each has one").to_string();
        assert!(seen.insert(id.clone()), "{id} is there twice");
        ids.push(id);
    }
    for (number, sequence) in ledger.acknowledged.iter().filter(|(_, sequence)| *sequence > from) {
        let place = (sequence - from - 1) as usize;
        assert_eq!(ids.get(place), Some(&id(*number)), "acknowledged under {sequence}");
    }
    Ok(last)
}

async fn rounds(launch: &Launch, count: u64) -> Result<(), Box<dyn Error>> {
    let mut ledger = Ledger::default();
    let mut seen = HashSet::new();
    let mut from = 0;
    for round in 0..count {
        let process = Process::start(launch)?;
        let (context, mut stream) = open(&process).await?;
        from = check(&mut stream, &ledger, &mut seen, from).await?;
        load(&context, &mut ledger, 200 + (round * 7919 % 1200) as usize).await?;
        // Without a chance to say goodbye.
        assert!(process.signal("KILL"));
        drop(process);
    }
    let process = Process::start(launch)?;
    let (context, mut stream) = open(&process).await?;
    load(&context, &mut ledger, 1).await?;
    check(&mut stream, &ledger, &mut seen, from).await?;
    Ok(())
}

#[test]
fn what_was_acknowledged_survives_kill() {
    let count = env::var("PINION_ROUNDS").ok().and_then(|count| count.parse().ok()).unwrap_or(3);
    let folder: PathBuf = Path::new(env!("CARGO_TARGET_TMPDIR")).join("durability");
    // Left by an earlier run, or not there.
    let _ = fs::remove_dir_all(&folder);
    let flags = vec!["-js".into(), "-sd".into(), folder.display().to_string()];
    let config = String::new();
    let launch = Launch { broker: Broker::under_test(2), port: None, config, flags };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("a runtime needs little");
    let patience = PATIENCE * (1 + count as u32 / 4);
    let outcome = runtime.block_on(async { timeout(patience, rounds(&launch, count)).await });
    outcome.expect("a round is stuck").expect("the rounds are run");
    fs::remove_dir_all(&folder).expect("the store is there");
}
