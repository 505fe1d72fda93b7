//! Streams, consumers, buckets and objects through async-nats, the official Rust client, on one and
//! two cores: streams live on one of them, clients anywhere.
//!
//! `PINION_BROKER` replaces the pinion under test.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_nats::HeaderMap;
use async_nats::jetstream::consumer::{AckPolicy, PullConsumer, pull};
use async_nats::jetstream::stream::{DiscardPolicy, RetentionPolicy, Stream};
use async_nats::jetstream::{self, Context, kv, object_store, stream};
use futures_util::{StreamExt, TryStreamExt};
use tokio::io::AsyncReadExt;
use tokio::time::timeout;

use process::{Broker, Launch, Process};

#[path = "support/process.rs"]
mod process;

/// A scenario that takes longer is stuck.
const PATIENCE: Duration = Duration::from_mins(1);
/// One message or answer that takes longer is lost.
const WAIT: Duration = Duration::from_secs(10);

type Outcome = Result<(), Box<dyn Error>>;

/// Makes each scenario a test on one and two cores.
macro_rules! scenarios {
    ($($name:ident),* $(,)?) => {
        mod one_core { $(#[test] fn $name() { super::run(1, super::$name); })* }
        mod two_cores { $(#[test] fn $name() { super::run(2, super::$name); })* }
    };
}

scenarios! {
    makes_changes_and_removes_streams,
    publishes_and_is_acknowledged,
    loses_nothing_that_is_not_acknowledged,
    gets_messages_directly,
    consumes_a_work_queue,
    consumes_in_order,
    keeps_a_bucket,
    watches_a_bucket,
    keeps_objects,
    comes_back_with_what_it_had,
}

fn run<F: Future<Output = Outcome>>(cores: u32, scenario: fn(Process, Context) -> F) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("a runtime needs little");
    let outcome = runtime.block_on(async {
        timeout(PATIENCE, async {
            let directory = Directory::new()?;
            let broker = start(cores, &directory)?;
            let context = open(&broker).await?;
            scenario(broker, context).await
        })
        .await
    });
    outcome.expect("the scenario is stuck").expect("the scenario fails");
}

/// Where a broker keeps what it stores; removed in the end.
struct Directory(PathBuf);

impl Directory {
    fn new() -> std::io::Result<Self> {
        static SERIAL: AtomicU64 = AtomicU64::new(0);
        let serial = SERIAL.fetch_add(1, Ordering::Relaxed);
        let name = format!("streams-{}-{serial}", std::process::id());
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        std::fs::create_dir_all(&path)?;
        Ok(Self(path))
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _kept_for_a_look = std::fs::remove_dir_all(&self.0);
    }
}

fn start(cores: u32, directory: &Directory) -> Result<Process, Box<dyn Error>> {
    let flags = vec![String::from("-js"), String::from("-sd"), directory.0.display().to_string()];
    let broker = Broker::under_test(cores);
    Ok(Process::start(&Launch { broker, port: None, config: String::new(), flags })?)
}

async fn open(broker: &Process) -> Result<Context, Box<dyn Error>> {
    Ok(jetstream::new(async_nats::connect(broker.address().to_string()).await?))
}

/// Another connection, which may be another core's.
async fn another(broker: &Process) -> Result<Context, Box<dyn Error>> {
    open(broker).await
}

async fn make(context: &Context, config: stream::Config) -> Result<Stream, Box<dyn Error>> {
    Ok(context.create_stream(config).await?)
}

fn config(name: &str, subjects: &[&str]) -> stream::Config {
    let subjects = subjects.iter().map(|subject| (*subject).into()).collect();
    stream::Config { name: name.into(), subjects, ..stream::Config::default() }
}

async fn makes_changes_and_removes_streams(broker: Process, context: Context) -> Outcome {
    let mut made = make(&context, config("S", &["s.*"])).await?;
    assert_eq!(made.info().await?.config.subjects, ["s.*"]);
    let overlapping = context.create_stream(config("T", &["s.x"])).await;
    assert!(overlapping.is_err_and(|error| error.to_string().contains("overlap")));
    let other = another(&broker).await?;
    other.update_stream(config("S", &["s.*", "t"])).await?;
    other.publish("t", "hello".into()).await?.await?;
    assert_eq!(made.info().await?.state.messages, 1);
    let names: Vec<String> = other.stream_names().try_collect().await?;
    assert_eq!(names, ["S"]);
    made.purge().await?;
    assert_eq!(made.info().await?.state.messages, 0);
    assert!(other.delete_stream("S").await?.success);
    assert!(context.get_stream("S").await.is_err());
    let nobody = context.publish("t", "hello".into()).await?.await;
    assert!(nobody.is_err(), "nobody stores it any more");
    Ok(())
}

async fn publishes_and_is_acknowledged(broker: Process, context: Context) -> Outcome {
    make(&context, stream::Config { max_messages: 3, ..config("S", &["s.*"]) }).await?;
    let other = another(&broker).await?;
    let mut headers = HeaderMap::new();
    headers.insert("Nats-Msg-Id", "one");
    for (context, duplicate) in [(&context, false), (&other, true)] {
        let ack = context.publish_with_headers("s.a", headers.clone(), "x".into()).await?.await?;
        assert_eq!((ack.sequence, ack.duplicate, ack.stream.as_str()), (1, duplicate, "S"));
    }
    let mut headers = HeaderMap::new();
    headers.insert("Nats-Expected-Last-Sequence", "7");
    let refused = context.publish_with_headers("s.a", headers, "x".into()).await?.await;
    assert!(refused.is_err_and(|error| error.to_string().contains("last sequence")));
    for number in 2..=5 {
        assert_eq!(other.publish("s.b", "x".into()).await?.await?.sequence, number);
    }
    let state = context.get_stream("S").await?.info().await?.state.clone();
    assert_eq!((state.messages, state.first_sequence, state.last_sequence), (3, 3, 5));
    Ok(())
}

/// Publishes without a reply, as fast as they can be written, into a stream on another core too.
async fn loses_nothing_that_is_not_acknowledged(broker: Process, context: Context) -> Outcome {
    const COUNT: u64 = 50_000;
    make(&context, config("S", &["s"])).await?;
    let clients = [another(&broker).await?, another(&broker).await?];
    for number in 0..COUNT {
        let client = clients[number as usize % 2].client();
        client.publish("s", number.to_string().into()).await?;
    }
    for client in &clients {
        // What the same connection has said before is stored before.
        client.publish("s", "end".into()).await?.await?;
    }
    let state = context.get_stream("S").await?.info().await?.state.clone();
    assert_eq!(state.messages, COUNT + 2);
    Ok(())
}

async fn gets_messages_directly(broker: Process, context: Context) -> Outcome {
    let made =
        make(&context, stream::Config { allow_direct: true, ..config("S", &["s.*"]) }).await?;
    for number in 0..5 {
        let subject = format!("s.{}", number % 2);
        another(&broker).await?.publish(subject, number.to_string().into()).await?.await?;
    }
    assert_eq!(made.direct_get(2).await?.payload, "1");
    assert_eq!(made.direct_get_last_for_subject("s.0").await?.payload, "4");
    assert_eq!(made.direct_get_next_for_subject("s.1", Some(3)).await?.sequence, 4);
    assert_eq!(made.get_raw_message(3).await?.payload, "2");
    assert_eq!(made.get_last_raw_message_by_subject("s.1").await?.sequence, 4);
    assert!(made.delete_message(3).await?);
    assert!(made.direct_get(3).await.is_err());
    Ok(())
}

async fn consumes_a_work_queue(broker: Process, context: Context) -> Outcome {
    let queue = stream::Config { retention: RetentionPolicy::WorkQueue, ..config("S", &["s"]) };
    let mut made = make(&context, queue).await?;
    let durable = pull::Config {
        durable_name: Some("worker".into()),
        ack_policy: AckPolicy::Explicit,
        ..pull::Config::default()
    };
    let consumer: PullConsumer = made.create_consumer(durable).await?;
    let publisher = another(&broker).await?;
    for number in 0..100 {
        publisher.publish("s", number.to_string().into()).await?.await?;
    }
    let mut messages = consumer.batch().max_messages(100).messages().await?;
    for number in 0..100 {
        let message = timeout(WAIT, messages.next()).await?.ok_or("the batch ends")?;
        let message = message.map_err(|error| error.to_string())?;
        assert_eq!(message.payload, number.to_string());
        message.double_ack().await.map_err(|error| error.to_string())?;
    }
    assert_eq!(made.info().await?.state.messages, 0);
    Ok(())
}

async fn consumes_in_order(broker: Process, context: Context) -> Outcome {
    let made = make(&context, config("S", &["s.>"])).await?;
    let publisher = another(&broker).await?;
    for number in 0..1000 {
        publisher.client().publish(format!("s.{}", number % 7), number.to_string().into()).await?;
    }
    publisher.publish("s.end", "1000".into()).await?.await?;
    let ordered = made.create_consumer(pull::OrderedConfig::default()).await?;
    let mut messages = ordered.messages().await?;
    for number in 0..=1000 {
        let message = timeout(WAIT, messages.next()).await?.ok_or("the messages end")??;
        assert_eq!(message.payload, number.to_string());
    }
    Ok(())
}

async fn keeps_a_bucket(broker: Process, context: Context) -> Outcome {
    let config = kv::Config { bucket: "B".into(), history: 5, ..kv::Config::default() };
    let bucket = context.create_key_value(config).await?;
    let other = another(&broker).await?.get_key_value("B").await?;
    let first = bucket.put("a", "1".into()).await?;
    assert_eq!(other.get("a").await?.ok_or("it is there")?, "1");
    assert!(other.update("a", "2".into(), first + 7).await.is_err());
    other.update("a", "2".into(), first).await?;
    assert!(bucket.create("a", "3".into()).await.is_err());
    bucket.delete("a").await?;
    assert_eq!(other.get("a").await?, None);
    bucket.create("a", "4".into()).await?;
    let mut keys: Vec<String> = other.keys().await?.try_collect().await?;
    keys.sort();
    assert_eq!(keys, ["a"]);
    let history: Vec<_> = bucket.history("a").await?.try_collect().await?;
    let values: Vec<_> = history.iter().map(|entry| entry.value.clone()).collect();
    assert_eq!(values, ["1", "2", "", "4"]);
    bucket.purge("a").await?;
    assert_eq!(other.get("a").await?, None);
    Ok(())
}

async fn watches_a_bucket(broker: Process, context: Context) -> Outcome {
    let config = kv::Config { bucket: "B".into(), ..kv::Config::default() };
    let bucket = context.create_key_value(config).await?;
    bucket.put("before", "0".into()).await?;
    let mut watch = bucket.watch_all().await?;
    let other = another(&broker).await?.get_key_value("B").await?;
    for number in 0..20 {
        other.put(format!("k{number}"), number.to_string().into()).await?;
    }
    for number in 0..20 {
        let entry = timeout(WAIT, watch.next()).await?.ok_or("the watch ends")??;
        assert_eq!((entry.key, entry.value), (format!("k{number}"), number.to_string().into()));
    }
    Ok(())
}

async fn keeps_objects(broker: Process, context: Context) -> Outcome {
    let config = object_store::Config { bucket: "O".into(), ..object_store::Config::default() };
    let store = context.create_object_store(config).await?;
    let written: Vec<u8> = (0..500_000_u32).map(|number| (number % 251) as u8).collect();
    store.put("large", &mut &written[..]).await?;
    store.put("small", &mut &b"hello"[..]).await?;
    let other = another(&broker).await?.get_object_store("O").await?;
    let mut read = Vec::new();
    other.get("large").await?.read_to_end(&mut read).await?;
    assert!(read == written, "what was put in comes out");
    other.delete("large").await?;
    assert!(store.get("large").await.is_err());
    let names: Vec<_> = store.list().await?.map_ok(|info| info.name).try_collect().await?;
    assert_eq!(names, ["small"]);
    Ok(())
}

async fn comes_back_with_what_it_had(broker: Process, _: Context) -> Outcome {
    drop(broker);
    let directory = Directory::new()?;
    let full = stream::Config { discard: DiscardPolicy::New, ..config("S", &["s.*"]) };
    let first = start(1, &directory)?;
    let context = open(&first).await?;
    make(&context, full.clone()).await?;
    for number in 0..100 {
        context.publish(format!("s.{number}"), "x".into()).await?.await?;
    }
    let before = context.get_stream("S").await?.info().await?.clone();
    // Killed, not asked to stop.
    assert!(first.signal("KILL"));
    drop(first);
    for cores in [1, 2] {
        let next = start(cores, &directory)?;
        let context = open(&next).await?;
        let after = context.get_stream("S").await?.info().await?.clone();
        assert_eq!((&before.config, before.created), (&after.config, after.created));
        assert_eq!(before.state.messages, after.state.messages);
        assert_eq!(before.state.last_sequence, after.state.last_sequence);
    }
    Ok(())
}
