//! Core NATS through async-nats, the official Rust client, on one, two and eight cores.
//!
//! `PINION_BROKER` replaces the pinion under test.

use std::error::Error;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use async_nats::{Client, ConnectOptions, Event, HeaderMap, Message, Subscriber};
use base::base64::{decode_url, encode_url};
use futures_util::{StreamExt, future};
use nkeys::KeyPair;
use serde_json::{Value, json};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::time::timeout;

use process::{Broker, Launch, Process};

#[path = "support/process.rs"]
mod process;

/// A scenario that takes longer is stuck.
const PATIENCE: Duration = Duration::from_mins(1);
/// One message, event or answer that takes longer is lost.
const WAIT: Duration = Duration::from_secs(10);

type Outcome = Result<(), Box<dyn Error>>;

/// Makes each scenario a test on one, two and eight cores.
macro_rules! scenarios {
    ($($name:ident),* $(,)?) => {
        mod one_core { $(#[test] fn $name() { super::run(super::$name(1)); })* }
        mod two_cores { $(#[test] fn $name() { super::run(super::$name(2)); })* }
        mod eight_cores { $(#[test] fn $name() { super::run(super::$name(8)); })* }
    };
}

scenarios! {
    connects,
    publishes_and_subscribes,
    matches_wildcards,
    shares_within_queue_groups,
    requests_and_replies,
    tells_that_nobody_responds,
    times_out_when_a_responder_is_silent,
    carries_headers,
    drains_a_subscription,
    drains_a_client,
    handles_slowly_what_came_fast,
    reconnects_to_a_restarted_broker,
    authorizes_user_and_password,
    authorizes_token,
    authorizes_nkeys,
    authorizes_credentials,
    asks_somebody_else,
    refuses_large_payloads,
    keeps_a_thousand_subscriptions,
    does_not_hear_itself_without_echo,
    unsubscribes_after_a_number,
    hears_of_a_lame_duck,
    stays_while_a_lame_duck_is_told_to_stop,
    moves_to_another_broker,
}

fn run(scenario: impl Future<Output = Outcome>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("a runtime needs little");
    let outcome = runtime.block_on(async { timeout(PATIENCE, scenario).await });
    let outcome = outcome.expect("the scenario is stuck");
    outcome.expect("the scenario fails");
}

fn launch(cores: u32, config: &str) -> Launch {
    let broker = Broker::under_test(cores);
    Launch { broker, port: None, config: config.to_owned(), flags: Vec::new() }
}

fn start(cores: u32, config: &str) -> Result<Process, String> {
    Process::start(&launch(cores, config))
}

async fn open(broker: &Process) -> Result<Client, Box<dyn Error>> {
    open_with(ConnectOptions::new(), broker).await
}

async fn open_with(options: ConnectOptions, broker: &Process) -> Result<Client, Box<dyn Error>> {
    Ok(options.connect(broker.address().to_string()).await?)
}

/// Returns once the broker has answered a question that follows all that the client has said.
async fn settle(client: &Client) -> Outcome {
    let answer = client.request("nobody.is.home", "".into()).await;
    let error = answer.expect_err("nobody is there");
    assert_eq!(error.kind(), async_nats::RequestErrorKind::NoResponders);
    Ok(())
}

/// Returns once the subscriber hears the publisher, on a subject of their own. This client has no
/// PING to ask for, so the publisher repeats itself until it is heard; from then on all earlier
/// subscriptions hold, and all earlier messages have arrived.
async fn meet(publisher: &Client, subscriber: &Client) -> Outcome {
    const REPEAT: Duration = Duration::from_millis(20);
    let subject = publisher.new_inbox();
    let mut subscription = subscriber.subscribe(subject.clone()).await?;
    let heard = async {
        loop {
            publisher.publish(subject.clone(), "".into()).await?;
            if let Ok(next) = timeout(REPEAT, subscription.next()).await {
                next.ok_or("the subscription ends")?;
                return Ok(());
            }
        }
    };
    timeout(WAIT, heard).await?
}

async fn take(subscriber: &mut Subscriber, count: usize) -> Result<Vec<Message>, Box<dyn Error>> {
    let mut messages = Vec::with_capacity(count);
    while messages.len() < count {
        let next = timeout(WAIT, subscriber.next()).await?;
        messages.push(next.ok_or("the subscription ends")?);
    }
    Ok(messages)
}

fn payloads(messages: &[Message]) -> Vec<String> {
    messages.iter().map(|message| String::from_utf8_lossy(&message.payload).into_owned()).collect()
}

fn numbers(range: std::ops::Range<usize>) -> Vec<String> {
    range.map(|number| number.to_string()).collect()
}

async fn publish_numbers(client: &Client, subject: &'static str, count: usize) -> Outcome {
    for number in numbers(0..count) {
        client.publish(subject, number.into()).await?;
    }
    Ok(())
}

async fn connects(cores: u32) -> Outcome {
    let broker = start(cores, "server_name: north")?;
    let client = open_with(ConnectOptions::new().name("core"), &broker).await?;
    let info = client.server_info();
    assert_eq!(info.server_name, "north");
    assert_eq!(info.max_payload, 1 << 20);
    assert!(info.headers);
    assert_eq!(info.proto, 1);
    settle(&client).await
}

async fn publishes_and_subscribes(cores: u32) -> Outcome {
    let broker = start(cores, "")?;
    let (publisher, subscriber) = (open(&broker).await?, open(&broker).await?);
    let mut subscription = subscriber.subscribe("foo.bar").await?;
    meet(&publisher, &subscriber).await?;
    publish_numbers(&publisher, "foo.bar", 1000).await?;
    assert_eq!(payloads(&take(&mut subscription, 1000).await?), numbers(0..1000));
    Ok(())
}

async fn matches_wildcards(cores: u32) -> Outcome {
    let broker = start(cores, "")?;
    let client = open(&broker).await?;
    let mut star = client.subscribe("a.*.c").await?;
    let mut tail = client.subscribe("a.>").await?;
    for subject in ["a.b.c", "a.b", "a", "a.x.c", "b.b.c", "a.b.c.d"] {
        client.publish(subject, "".into()).await?;
    }
    settle(&client).await?;
    let subjects = |messages: Vec<Message>| -> Vec<String> {
        messages.iter().map(|message| message.subject.to_string()).collect()
    };
    assert_eq!(subjects(take(&mut star, 2).await?), ["a.b.c", "a.x.c"]);
    assert_eq!(subjects(take(&mut tail, 4).await?), ["a.b.c", "a.b", "a.x.c", "a.b.c.d"]);
    Ok(())
}

async fn shares_within_queue_groups(cores: u32) -> Outcome {
    const MEMBERS: usize = 4;
    const MESSAGES: usize = 1000;
    let broker = start(cores, "")?;
    let publisher = open(&broker).await?;
    let (sender, mut receiver) = unbounded_channel();
    let mut members = Vec::new();
    for member in 0..MEMBERS {
        let client = open(&broker).await?;
        for group in 0..2_usize {
            let subscription = client.queue_subscribe("work", format!("group{group}")).await?;
            let sender = sender.clone();
            tokio::spawn(subscription.for_each(move |_message| {
                let _ended = sender.send((group, member));
                future::ready(())
            }));
        }
        meet(&publisher, &client).await?;
        members.push(client);
    }
    publish_numbers(&publisher, "work", MESSAGES).await?;
    let mut counts = [[0_usize; MEMBERS]; 2];
    for _ in 0..2 * MESSAGES {
        let next = timeout(WAIT, receiver.recv()).await?;
        let (group, member) = next.ok_or("the members are gone")?;
        counts[group][member] += 1;
    }
    settle(&publisher).await?;
    for member in &members {
        settle(member).await?;
    }
    assert!(receiver.try_recv().is_err(), "a message came twice");
    for counts in counts {
        assert_eq!(counts.iter().sum::<usize>(), MESSAGES);
        assert!(counts.iter().all(|count| *count > 0), "{counts:?}");
    }
    Ok(())
}

/// Answers every request on `service` until the client goes.
async fn respond(client: &Client) -> Outcome {
    let mut requests = client.subscribe("service").await?;
    let client = client.clone();
    tokio::spawn(async move {
        while let Some(request) = requests.next().await {
            let Some(reply) = request.reply else { continue };
            let answer = [b"re: ", request.payload.as_ref()].concat();
            let _asker_sees = client.publish(reply, answer.into()).await;
        }
    });
    Ok(())
}

async fn requests_and_replies(cores: u32) -> Outcome {
    let broker = start(cores, "")?;
    let (asker, responder) = (open(&broker).await?, open(&broker).await?);
    respond(&responder).await?;
    meet(&asker, &responder).await?;
    for number in numbers(0..200) {
        let reply = asker.request("service", number.clone().into()).await?;
        assert_eq!(payloads(&[reply]), [format!("re: {number}")]);
    }
    let questions =
        numbers(0..200).into_iter().map(|number| asker.request("service", number.into()));
    let replies: Result<Vec<Message>, _> = future::join_all(questions).await.into_iter().collect();
    let expected: Vec<String> = numbers(0..200).iter().map(|n| format!("re: {n}")).collect();
    assert_eq!(payloads(&replies?), expected);
    Ok(())
}

async fn tells_that_nobody_responds(cores: u32) -> Outcome {
    let broker = start(cores, "")?;
    let client = open(&broker).await?;
    let error = client.request("nobody", "".into()).await.expect_err("nobody is there");
    assert_eq!(error.kind(), async_nats::RequestErrorKind::NoResponders);
    Ok(())
}

async fn times_out_when_a_responder_is_silent(cores: u32) -> Outcome {
    let broker = start(cores, "")?;
    let options = ConnectOptions::new().request_timeout(Some(Duration::from_millis(200)));
    let client = open_with(options, &broker).await?;
    let _silent = client.subscribe("silent").await?;
    let error = client.request("silent", "".into()).await.expect_err("nobody answers");
    assert_eq!(error.kind(), async_nats::RequestErrorKind::TimedOut);
    Ok(())
}

async fn carries_headers(cores: u32) -> Outcome {
    let broker = start(cores, "")?;
    let (publisher, subscriber) = (open(&broker).await?, open(&broker).await?);
    let mut subscription = subscriber.subscribe("foo").await?;
    meet(&publisher, &subscriber).await?;
    let mut headers = HeaderMap::new();
    headers.append("Key", "one");
    headers.append("Key", "two");
    headers.insert("other-key", "with spaces and: colon");
    publisher.publish_with_headers("foo", headers.clone(), "payload".into()).await?;
    publisher.publish_with_headers("foo", headers.clone(), "".into()).await?;
    let messages = take(&mut subscription, 2).await?;
    assert_eq!(payloads(&messages), ["payload", ""]);
    for message in messages {
        assert_eq!(message.headers.as_ref(), Some(&headers));
    }
    Ok(())
}

async fn drains_a_subscription(cores: u32) -> Outcome {
    let broker = start(cores, "")?;
    let client = open(&broker).await?;
    let mut subscription = client.subscribe("foo").await?;
    publish_numbers(&client, "foo", 500).await?;
    // This client does not wait for the answer to what it drains with.
    settle(&client).await?;
    subscription.drain().await?;
    assert_eq!(payloads(&take(&mut subscription, 500).await?), numbers(0..500));
    assert!(timeout(WAIT, subscription.next()).await?.is_none());
    Ok(())
}

async fn drains_a_client(cores: u32) -> Outcome {
    let broker = start(cores, "")?;
    let (publisher, subscriber) = (open(&broker).await?, open(&broker).await?);
    let mut subscription = subscriber.subscribe("foo").await?;
    meet(&publisher, &subscriber).await?;
    publish_numbers(&publisher, "foo", 500).await?;
    meet(&publisher, &subscriber).await?;
    subscriber.drain().await?;
    assert_eq!(payloads(&take(&mut subscription, 500).await?), numbers(0..500));
    assert!(timeout(WAIT, subscription.next()).await?.is_none());
    Ok(())
}

async fn handles_slowly_what_came_fast(cores: u32) -> Outcome {
    let broker = start(cores, "")?;
    let (publisher, subscriber) = (open(&broker).await?, open(&broker).await?);
    let mut subscription = subscriber.subscribe("foo").await?;
    meet(&publisher, &subscriber).await?;
    publish_numbers(&publisher, "foo", 5000).await?;
    settle(&publisher).await?;
    for number in numbers(0..5000) {
        assert_eq!(payloads(&take(&mut subscription, 1).await?), [number]);
        tokio::task::yield_now().await;
    }
    Ok(())
}

/// A client whose events arrive in a channel; it tries the brokers in order.
async fn open_with_events(
    brokers: &[&Process],
) -> Result<(Client, UnboundedReceiver<Event>), Box<dyn Error>> {
    let (sender, receiver) = unbounded_channel();
    let options = ConnectOptions::new()
        .retain_servers_order()
        .reconnect_delay_callback(|_attempt| Duration::from_millis(50))
        .event_callback(move |event| {
            let _test_has_ended = sender.send(event);
            future::ready(())
        });
    let addresses: Vec<String> =
        brokers.iter().map(|broker| broker.address().to_string()).collect();
    Ok((options.connect(addresses).await?, receiver))
}

async fn wait_for(events: &mut UnboundedReceiver<Event>, wanted: &Event) -> Outcome {
    while timeout(WAIT, events.recv()).await?.ok_or("the client is gone")? != *wanted {}
    Ok(())
}

async fn reconnects_to_a_restarted_broker(cores: u32) -> Outcome {
    let broker = start(cores, "")?;
    let port = broker.address().port();
    let (client, mut events) = open_with_events(&[&broker]).await?;
    let mut subscription = client.subscribe("foo").await?;
    settle(&client).await?;
    wait_for(&mut events, &Event::Connected).await?;
    drop(broker);
    wait_for(&mut events, &Event::Disconnected).await?;
    let _again = Process::start(&Launch { port: Some(port), ..launch(cores, "") })?;
    wait_for(&mut events, &Event::Connected).await?;
    client.publish("foo", "again".into()).await?;
    assert_eq!(payloads(&take(&mut subscription, 1).await?), ["again"]);
    Ok(())
}

async fn is_refused(options: ConnectOptions, broker: &Process) -> Outcome {
    let refused = options.connect(broker.address().to_string()).await;
    let error = refused.expect_err("the credentials are wrong");
    assert_eq!(error.kind(), async_nats::ConnectErrorKind::AuthorizationViolation);
    Ok(())
}

async fn authorizes_user_and_password(cores: u32) -> Outcome {
    let broker = start(cores, "authorization { user: u, password: p }")?;
    let with = |user: &str, password: &str| {
        ConnectOptions::with_user_and_password(user.to_owned(), password.to_owned())
    };
    settle(&open_with(with("u", "p"), &broker).await?).await?;
    is_refused(with("u", "wrong"), &broker).await?;
    is_refused(with("wrong", "p"), &broker).await?;
    is_refused(ConnectOptions::new(), &broker).await
}

async fn authorizes_token(cores: u32) -> Outcome {
    let broker = start(cores, "authorization { token: t0ken }")?;
    let with = |token: &str| ConnectOptions::with_token(token.to_owned());
    settle(&open_with(with("t0ken"), &broker).await?).await?;
    is_refused(with("wrong"), &broker).await?;
    is_refused(ConnectOptions::new(), &broker).await
}

async fn authorizes_nkeys(cores: u32) -> Outcome {
    let key = KeyPair::new_user();
    let public = key.public_key();
    let broker = start(cores, &format!("authorization {{ users: [{{ nkey: {public} }}] }}"))?;
    settle(&open_with(ConnectOptions::with_nkey(key.seed()?), &broker).await?).await?;
    is_refused(ConnectOptions::with_nkey(KeyPair::new_user().seed()?), &broker).await?;
    is_refused(ConnectOptions::new(), &broker).await
}

/// Signs claims as NATS does.
fn sign(mut claims: Value, by: &KeyPair) -> Result<String, Box<dyn Error>> {
    claims["iss"] = by.public_key().into();
    claims["jti"] = "A".into();
    let header = encode_url(br#"{"typ":"JWT","alg":"ed25519-nkey"}"#);
    let text = format!("{header}.{}", encode_url(claims.to_string().as_bytes()));
    let signature = encode_url(&by.sign(text.as_bytes())?);
    Ok(format!("{text}.{signature}"))
}

/// The token of a user.
fn user_token(key: &str, audience: &str, by: &KeyPair) -> Result<String, Box<dyn Error>> {
    let nats = json!({ "type": "user", "version": 2, "subs": -1, "data": -1, "payload": -1 });
    sign(json!({ "sub": key, "aud": audience, "name": "user", "nats": nats }), by)
}

async fn authorizes_credentials(cores: u32) -> Outcome {
    let operator = KeyPair::new_operator();
    let [system, account, stranger] = [0; 3].map(|_| KeyPair::new_account());
    let limits = json!({ "subs": -1, "conn": -1, "leaf": -1, "imports": -1, "exports": -1,
        "data": -1, "payload": -1, "wildcards": true });
    let describe = |key: &KeyPair| {
        let nats = json!({ "type": "account", "version": 2, "limits": limits });
        sign(json!({ "sub": key.public_key(), "name": "A", "nats": nats }), &operator)
    };
    let root =
        json!({ "sub": operator.public_key(), "nats": { "type": "operator", "version": 2 } });
    let config = format!(
        "operator: {}\nsystem_account: {system}\nresolver: MEMORY\nresolver_preload {{\n\
         {system}: {}\n{account}: {}\n}}",
        sign(root, &operator)?,
        describe(&system)?,
        describe(&account)?,
        system = system.public_key(),
        account = account.public_key(),
    );
    let broker = start(cores, &config)?;
    let credentials = |by: &KeyPair| -> Result<ConnectOptions, Box<dyn Error>> {
        let user = KeyPair::new_user();
        let token = user_token(&user.public_key(), "", by)?;
        let text = format!(
            "-----BEGIN NATS USER JWT-----\n{token}\n------END NATS USER JWT------\n\n\
             -----BEGIN USER NKEY SEED-----\n{}\n------END USER NKEY SEED------\n",
            user.seed()?
        );
        Ok(ConnectOptions::with_credentials(&text)?)
    };
    settle(&open_with(credentials(&account)?, &broker).await?).await?;
    is_refused(credentials(&stranger)?, &broker).await?;
    is_refused(ConnectOptions::new(), &broker).await
}

/// Users come in as a service says that was written with the same client.
async fn asks_somebody_else(cores: u32) -> Outcome {
    let issuer = KeyPair::new_account();
    let config = format!(
        "authorization {{ users: [{{ user: auth, password: pw }}], timeout: 10\n\
         auth_callout {{ issuer: {}, auth_users: [auth] }} }}",
        issuer.public_key()
    );
    let broker = start(cores, &config)?;
    let with = |user: &str, password: &str| {
        ConnectOptions::with_user_and_password(user.to_owned(), password.to_owned())
    };
    let service = open_with(with("auth", "pw"), &broker).await?;
    let mut questions = service.subscribe("$SYS.REQ.USER.AUTH").await?;
    settle(&service).await?;
    let answers = service.clone();
    let serving = tokio::spawn(async move {
        while let Some(question) = questions.next().await {
            let answer = decide(&question.payload, &issuer).expect("a question is a token");
            let reply = question.reply.expect("a question is answered");
            answers.publish(reply, answer.into()).await.expect("the service is connected");
        }
    });
    let client = open_with(with("me", "right"), &broker).await?;
    let mut heard = client.subscribe("foo").await?;
    client.publish("foo", "hello".into()).await?;
    assert_eq!(take(&mut heard, 1).await?[0].payload, "hello");
    is_refused(with("me", "wrong"), &broker).await?;
    is_refused(ConnectOptions::new(), &broker).await?;
    serving.abort();
    Ok(())
}

/// The answer to a question: who knows the password comes in.
fn decide(question: &[u8], issuer: &KeyPair) -> Result<String, Box<dyn Error>> {
    let text = str::from_utf8(question)?;
    let body = text.split('.').nth(1).ok_or("a token has three parts")?;
    let claims: Value = serde_json::from_slice(&decode_url(body).ok_or("it is base 64")?)?;
    let key = claims["nats"]["user_nkey"].as_str().ok_or("a key is named")?;
    let mut nats = json!({ "type": "authorization_response", "version": 2 });
    if claims["nats"]["connect_opts"]["pass"] == "right" {
        nats["jwt"] = user_token(key, "$G", issuer)?.into();
    } else {
        nats["error"] = "wrong password".into();
    }
    sign(json!({ "sub": key, "aud": claims["iss"], "nats": nats }), issuer)
}

async fn refuses_large_payloads(cores: u32) -> Outcome {
    let broker = start(cores, "max_payload: 1000")?;
    let client = open(&broker).await?;
    assert_eq!(client.server_info().max_payload, 1000);
    let error = client.publish("foo", vec![b'x'; 1001].into()).await.expect_err("it is too large");
    assert_eq!(error.kind(), async_nats::PublishErrorKind::MaxPayloadExceeded);
    let mut subscription = client.subscribe("foo").await?;
    client.publish("foo", vec![b'x'; 1000].into()).await?;
    assert_eq!(take(&mut subscription, 1).await?[0].payload.len(), 1000);
    Ok(())
}

async fn keeps_a_thousand_subscriptions(cores: u32) -> Outcome {
    let broker = start(cores, "")?;
    let (publisher, subscriber) = (open(&broker).await?, open(&broker).await?);
    let mut subscriptions = Vec::new();
    for number in numbers(0..1000) {
        subscriptions.push(subscriber.subscribe(format!("subject.{number}")).await?);
    }
    meet(&publisher, &subscriber).await?;
    for number in numbers(0..1000) {
        publisher.publish(format!("subject.{number}"), number.into()).await?;
    }
    for (number, subscription) in subscriptions.iter_mut().enumerate() {
        assert_eq!(payloads(&take(subscription, 1).await?), [number.to_string()]);
    }
    Ok(())
}

async fn does_not_hear_itself_without_echo(cores: u32) -> Outcome {
    let broker = start(cores, "")?;
    let deaf = open_with(ConnectOptions::new().no_echo(), &broker).await?;
    let other = open(&broker).await?;
    let mut subscription = deaf.subscribe("foo").await?;
    deaf.publish("foo", "mine".into()).await?;
    settle(&deaf).await?;
    meet(&other, &deaf).await?;
    other.publish("foo", "yours".into()).await?;
    assert_eq!(payloads(&take(&mut subscription, 1).await?), ["yours"]);
    Ok(())
}

async fn unsubscribes_after_a_number(cores: u32) -> Outcome {
    let broker = start(cores, "")?;
    let (publisher, subscriber) = (open(&broker).await?, open(&broker).await?);
    let mut limited = subscriber.subscribe("foo").await?;
    limited.unsubscribe_after(3).await?;
    let mut control = subscriber.subscribe("foo").await?;
    meet(&publisher, &subscriber).await?;
    publish_numbers(&publisher, "foo", 10).await?;
    assert_eq!(payloads(&take(&mut control, 10).await?), numbers(0..10));
    assert_eq!(payloads(&take(&mut limited, 3).await?), numbers(0..3));
    assert!(timeout(WAIT, limited.next()).await?.is_none());
    Ok(())
}

async fn hears_of_a_lame_duck(cores: u32) -> Outcome {
    let broker = start(cores, "")?;
    let (client, mut events) = open_with_events(&[&broker]).await?;
    settle(&client).await?;
    assert!(broker.signal("USR2"));
    wait_for(&mut events, &Event::LameDuckMode).await?;
    settle(&client).await
}

async fn moves_to_another_broker(cores: u32) -> Outcome {
    let going = "lame_duck_duration: \"30s\"\nlame_duck_grace_period: \"1ms\"\n";
    let (old, new) = (start(cores, going)?, start(cores, "")?);
    let (publisher, mut told) = open_with_events(&[&old, &new]).await?;
    let (subscriber, mut heard) = open_with_events(&[&old, &new]).await?;
    let mut subscription = subscriber.subscribe("foo").await?;
    meet(&publisher, &subscriber).await?;
    publish_numbers(&publisher, "foo", 500).await?;
    settle(&publisher).await?;
    assert!(old.signal("USR2"));
    for events in [&mut told, &mut heard] {
        for event in [Event::Connected, Event::Disconnected, Event::Connected] {
            wait_for(events, &event).await?;
        }
    }
    for client in [&publisher, &subscriber] {
        assert_eq!(client.server_info().port, new.address().port());
    }
    meet(&publisher, &subscriber).await?;
    publish_numbers(&publisher, "foo", 500).await?;
    // What was published before is there as well, once.
    let expected = [numbers(0..500), numbers(0..500)].concat();
    assert_eq!(payloads(&take(&mut subscription, 1000).await?), expected);
    old.wait_for_log("Server Exiting..", WAIT)?;
    Ok(())
}

/// Supervisors send `TERM` right behind `USR2`.
async fn stays_while_a_lame_duck_is_told_to_stop(cores: u32) -> Outcome {
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("lame-duck-{cores}.pid"));
    let flags = vec!["-P".to_owned(), file.display().to_string()];
    let broker = Process::start(&Launch { flags, ..launch(cores, "") })?;
    let (client, mut events) = open_with_events(&[&broker]).await?;
    settle(&client).await?;
    let number = fs::read_to_string(&file)?;
    let both = format!("kill -USR2 {number}; kill -TERM {number}");
    assert!(Command::new("sh").args(["-c", &both]).status()?.success());
    wait_for(&mut events, &Event::LameDuckMode).await?;
    broker.wait_for_log("Trapped \"terminated\" signal", WAIT)?;
    settle(&client).await
}
