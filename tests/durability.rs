//! Rounds of load that the broker ends, killed, stopped or as a lame duck: every acknowledged
//! message is there afterwards, none twice.
//!
//! `PINION_ROUNDS` says how many; `scripts/durability` runs a hundred.

use std::collections::{HashSet, VecDeque};
use std::env;
use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use async_nats::jetstream::{self, context::PublishAckFuture, stream};
use async_nats::{ConnectOptions, Event, HeaderMap};
use futures_util::{FutureExt as _, future};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::time::timeout;

use process::{Broker, Launch, Process};

#[path = "support/process.rs"]
mod process;

/// A round that takes longer is stuck.
const PATIENCE: Duration = Duration::from_mins(2);
/// Messages on their way at a time.
const WINDOW: usize = 64;
/// A lame duck that begins to close its clients at once.
const CONFIG: &str = "lame_duck_duration: \"30s\"\nlame_duck_grace_period: \"1ms\"\n";
/// How rounds end, in turn: without a chance to say goodbye, at once, and with clients sent away.
const ENDINGS: [&str; 3] = ["KILL", "TERM", "USR2"];

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

/// A connection, and what it tells of itself.
struct Open {
    context: jetstream::Context,
    stream: stream::Stream,
    events: UnboundedReceiver<Event>,
}

async fn open(process: &Process) -> Result<Open, Box<dyn Error>> {
    let (sender, events) = unbounded_channel();
    let options = ConnectOptions::new().event_callback(move |event| {
        let _round_is_over = sender.send(event);
        future::ready(())
    });
    let context = jetstream::new(options.connect(process.address().to_string()).await?);
    let subjects = vec![String::from("d.>")];
    let config = stream::Config { name: String::from("D"), subjects, ..Default::default() };
    let stream = context.get_or_create_stream(config).await?;
    Ok(Open { context, stream, events })
}

/// Returns once the broker has let go of the client.
async fn gone(events: &mut UnboundedReceiver<Event>) {
    while events.recv().await.is_some_and(|event| event != Event::Disconnected) {}
}

/// Publishes until so many were acknowledged, tells the broker to end, and goes on until it does.
/// What was not acknowledged until then stays in doubt.
async fn load(
    process: &Process,
    Open { context, events, .. }: &mut Open,
    ledger: &mut Ledger,
    (count, ending): (usize, &str),
) -> Result<(), Box<dyn Error>> {
    let mut window: VecDeque<(u64, PublishAckFuture)> = VecDeque::new();
    for number in std::mem::take(&mut ledger.doubtful) {
        window.push_back((number, publish(context, number).await?));
    }
    let until = ledger.acknowledged.len() + count;
    let mut told = false;
    loop {
        while window.len() < WINDOW {
            window.push_back((ledger.next, publish(context, ledger.next).await?));
            ledger.next += 1;
        }
        if ledger.acknowledged.len() >= until && !told {
            told = process.signal(ending);
            assert!(told, "the broker is there");
        }
        let (number, acknowledgement) = window.pop_front().expect("the window is full");
        tokio::select! {
            biased;
            acknowledged = acknowledgement.into_future() => match acknowledged {
                Ok(acknowledged) => ledger.acknowledged.push((number, acknowledged.sequence)),
                Err(error) => {
                    assert!(told, "{error}");
                    ledger.doubtful.push(number);
                }
            },
            () = gone(events) => {
                assert!(told, "the broker ends when it is told to");
                ledger.doubtful.push(number);
                break;
            }
        }
    }
    for (number, acknowledgement) in window {
        match acknowledgement.into_future().now_or_never() {
            Some(Ok(came)) => ledger.acknowledged.push((number, came.sequence)),
            _ => ledger.doubtful.push(number),
        }
    }
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
    for (round, ending) in (0..count).zip(ENDINGS.into_iter().cycle()) {
        let process = Process::start(launch)?;
        let mut open = open(&process).await?;
        from = check(&mut open.stream, &ledger, &mut seen, from).await?;
        let messages = 200 + (round * 7919 % 1200) as usize;
        load(&process, &mut open, &mut ledger, (messages, ending)).await?;
        if ending != "KILL" {
            process.wait_for_log("Server Exiting..", PATIENCE)?;
        }
    }
    let process = Process::start(launch)?;
    let mut open = open(&process).await?;
    for number in std::mem::take(&mut ledger.doubtful) {
        let acknowledged = publish(&open.context, number).await?.await?;
        ledger.acknowledged.push((number, acknowledged.sequence));
    }
    check(&mut open.stream, &ledger, &mut seen, from).await?;
    Ok(())
}

#[test]
fn what_was_acknowledged_survives_the_end_of_the_broker() {
    let count = env::var("PINION_ROUNDS").ok().and_then(|count| count.parse().ok()).unwrap_or(3);
    let folder: PathBuf = Path::new(env!("CARGO_TARGET_TMPDIR")).join("durability");
    // Left by an earlier run, or not there.
    let _ = fs::remove_dir_all(&folder);
    let flags = vec!["-js".into(), "-sd".into(), folder.display().to_string()];
    let config = CONFIG.to_owned();
    let launch = Launch { broker: Broker::under_test(2), port: None, config, flags };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("a runtime needs little");
    let patience = PATIENCE * (1 + count as u32 / 4);
    let outcome = runtime.block_on(async { timeout(patience, rounds(&launch, count)).await });
    outcome.expect("a round is stuck").expect("the rounds are run");
    fs::remove_dir_all(&folder).expect("the store is there");
}
