//! Events: what the server tells of itself and its connections.

use std::collections::{BTreeSet, HashMap};
use std::rc::Rc;
use std::time::Duration;

use base::{AccountId, CoreId};
use serde::Serialize;
use shard::{AccountCensus, Answer, ConnectionView, Happening, Question, Reason};
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::time::{MissedTickBehavior, interval, sleep};

use super::super::json::{self, Stamp, is_default};
use super::super::state::State;
use super::super::views::accounts::Stat;
use super::super::views::jsz::{self, JetStreamVarz};
use super::super::views::varz::cpus;
use super::super::views::{ByKind, MessageCount};
use super::describe::{ClientInfo, ServerInfo, Typed};
use super::publish;

/// Statistics are sent after this time, then after twice as long, until the longest is reached.
const STATISTICS_FIRST: Duration = Duration::from_secs(1);
const STATISTICS_LONGEST: Duration = Duration::from_secs(10);
/// Accounts with connections are told of at least as often.
const CONNECTIONS_INTERVAL: Duration = Duration::from_secs(30);
/// Happenings that nobody was told of yet.
const UNTOLD_MAX: usize = 65_536;
/// Happenings that are told of together.
const BATCH_MAX: usize = 256;

const CONNECT: &str = "io.nats.server.advisory.v1.client_connect";
const DISCONNECT: &str = "io.nats.server.advisory.v1.client_disconnect";
const CONNECTIONS: &str = "io.nats.server.advisory.v1.account_connections";

/// What is still to be told.
pub(in super::super) struct Teller(Receiver<Happening>);

impl Teller {
    /// Both ends.
    pub(in super::super) fn new() -> (Sender<Happening>, Self) {
        let (sender, receiver) = channel(UNTOLD_MAX);
        (sender, Self(receiver))
    }
}

/// Tells of happenings, of statistics and of accounts until the thread ends.
pub(in super::super) async fn tell(state: Rc<State>, mut teller: Teller) {
    let mut pause = STATISTICS_FIRST;
    let statistics = sleep(pause);
    tokio::pin!(statistics);
    let mut connections = interval(CONNECTIONS_INTERVAL);
    connections.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut batch = Vec::new();
    loop {
        tokio::select! {
            count = teller.0.recv_many(&mut batch, BATCH_MAX) => {
                if count == 0 {
                    return;
                }
                tell_batch(&state, &mut batch).await;
            }
            () = &mut statistics => {
                tell_statistics(&state).await;
                pause = (pause * 2).min(STATISTICS_LONGEST);
                statistics.set(sleep(pause));
            }
            _ = connections.tick() => tell_connections(&state, None).await,
        }
    }
}

/// Does anyone listen to these subjects of the system account?
async fn are_wanted(state: &State, subjects: Vec<String>) -> Vec<bool> {
    let count = subjects.len();
    let subjects = subjects.into_iter().map(String::into_bytes).collect();
    match state.cores.ask(0, Question::Wanted(AccountId::SYSTEM, subjects)).await {
        Some(Answer::Wanted(wanted)) => wanted,
        _ => vec![false; count],
    }
}

async fn tell_batch(state: &State, batch: &mut Vec<Happening>) {
    let changed = batch.iter().filter_map(|happening| match happening {
        Happening::Connected(view) | Happening::Ended(view, ..) => Some(view.account),
        Happening::Refused(..) => None,
    });
    // In the global account nobody is counted.
    let changed: BTreeSet<AccountId> =
        changed.filter(|account| *account != AccountId::GLOBAL).collect();
    if !changed.is_empty() {
        tell_connections(state, Some(&changed)).await;
    }
    let subjects: Vec<String> =
        batch.iter().map(|happening| subject_of(state, happening)).collect();
    let wanted = are_wanted(state, subjects.clone()).await;
    for ((happening, subject), wanted) in batch.drain(..).zip(subjects).zip(wanted) {
        if wanted {
            publish(state, subject, event(state, &happening));
        }
    }
}

fn subject_of(state: &State, happening: &Happening) -> String {
    let settled = state.settled();
    let of_account = |view: &ConnectionView, what: &str| {
        format!("$SYS.ACCOUNT.{}.{what}", settled.name(view.account))
    };
    match happening {
        Happening::Connected(view) => of_account(view, "CONNECT"),
        Happening::Ended(view, ..) => of_account(view, "DISCONNECT"),
        Happening::Refused(..) => {
            format!("$SYS.SERVER.{}.CLIENT.AUTH.ERR", settled.config.server_id)
        }
    }
}

#[derive(Serialize)]
struct Connected {
    #[serde(flatten)]
    typed: Typed,
    server: ServerInfo,
    client: ClientInfo,
}

#[derive(Serialize)]
struct Ended {
    #[serde(flatten)]
    typed: Typed,
    server: ServerInfo,
    client: ClientInfo,
    /// As the client sees it: what it sent.
    sent: MessageCount,
    received: MessageCount,
    reason: &'static str,
}

fn event(state: &State, happening: &Happening) -> Vec<u8> {
    match happening {
        Happening::Connected(view) => json::compact(&Connected {
            typed: Typed::new(CONNECT),
            server: ServerInfo::next(state),
            client: ClientInfo::new(state, view),
        }),
        Happening::Refused(view, reason) | Happening::Ended(view, reason, _) => {
            ended(state, view, *reason)
        }
    }
}

fn ended(state: &State, view: &ConnectionView, reason: Reason) -> Vec<u8> {
    json::compact(&Ended {
        typed: Typed::new(DISCONNECT),
        server: ServerInfo::next(state),
        client: ClientInfo::ended(state, view),
        sent: MessageCount::received(&view.statistics),
        received: MessageCount::sent(&view.statistics),
        reason: reason.text(),
    })
}

#[derive(Serialize)]
struct Connections {
    #[serde(flatten)]
    typed: Typed,
    server: ServerInfo,
    #[serde(flatten)]
    stat: Stat,
}

/// The connections of an account, as an event.
pub(super) fn connections(state: &State, census: &AccountCensus) -> Vec<u8> {
    json::compact(&Connections {
        typed: Typed::new(CONNECTIONS),
        server: ServerInfo::next(state),
        stat: Stat::new(census, &state.settled()),
    })
}

/// Tells of these accounts, or of all that have connections.
async fn tell_connections(state: &State, accounts: Option<&BTreeSet<AccountId>>) {
    let settled = state.settled();
    let named = |account: AccountId| {
        let name = settled.name(account);
        [format!("$SYS.SERVER.ACCOUNT.{name}.CONNS"), format!("$SYS.ACCOUNT.{name}.SERVER.CONNS")]
    };
    let all = || (1..settled.directory.accounts.len() as u32).map(AccountId).collect();
    let accounts: Vec<AccountId> =
        accounts.map_or_else(all, |accounts| accounts.iter().copied().collect());
    let subjects: Vec<String> = accounts.iter().flat_map(|account| named(*account)).collect();
    let wanted = are_wanted(state, subjects.clone()).await;
    let wanted: HashMap<&String, bool> = subjects.iter().zip(wanted).collect();
    if !wanted.values().any(|wanted| *wanted) {
        return;
    }
    let census = state.census().await;
    for account in accounts {
        let none = AccountCensus { account, ..AccountCensus::default() };
        let counted = census.accounts.get(account.index()).unwrap_or(&none);
        for subject in named(account).into_iter().filter(|subject| wanted[subject]) {
            publish(state, subject, connections(state, counted));
        }
    }
}

/// Where statistics go that nobody asked for.
pub(super) fn statistics_subject(state: &State) -> String {
    format!("$SYS.SERVER.{}.STATSZ", state.settled().config.server_id)
}

async fn tell_statistics(state: &State) {
    let subject = statistics_subject(state);
    if are_wanted(state, vec![subject.clone()]).await == [true] {
        let message = statistics(state).await;
        publish(state, subject, message);
    }
}

#[derive(Serialize)]
struct StatisticsMessage {
    server: ServerInfo,
    statsz: Statistics,
}

#[derive(Serialize)]
struct Statistics {
    start: Stamp,
    mem: u64,
    cores: usize,
    cpu: f64,
    connections: usize,
    total_connections: u64,
    active_accounts: usize,
    subscriptions: usize,
    sent: MessageCount,
    sent_to_clients: MessageCount,
    received: MessageCount,
    received_from_clients: MessageCount,
    slow_consumers: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    slow_consumer_stats: Option<ByKind>,
    #[serde(skip_serializing_if = "is_default")]
    stale_connections: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    stale_connection_stats: Option<ByKind>,
    #[serde(skip_serializing_if = "is_default")]
    stalled_clients: u64,
    active_servers: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    jetstream: Option<JetStreamVarz>,
    gomaxprocs: usize,
}

/// The server's statistics, as a message.
pub(super) async fn statistics(state: &State) -> Vec<u8> {
    let census = state.census().await;
    let jetstream = match state.settled().options.jetstream {
        Some(_) => Some(jsz::varz(state, false).await),
        None => None,
    };
    let (cpu, mem) = state.usage.now();
    let counts = &census.statistics;
    let some = |count: u64| (count > 0).then(|| ByKind::clients(count));
    json::compact(&StatisticsMessage {
        server: ServerInfo::next(state),
        statsz: Statistics {
            start: Stamp(state.started.1),
            mem,
            cores: cpus(),
            cpu,
            connections: census.connections(),
            total_connections: census.accepted,
            active_accounts: census.accounts.iter().filter(|one| one.connections > 0).count(),
            subscriptions: census.subscriptions,
            sent: MessageCount::sent(counts),
            sent_to_clients: MessageCount::sent(counts),
            received: MessageCount::received(counts),
            received_from_clients: MessageCount::received(counts),
            slow_consumers: census.slow_consumers,
            slow_consumer_stats: some(census.slow_consumers),
            stale_connections: census.stale_connections,
            stale_connection_stats: some(census.stale_connections),
            stalled_clients: counts.stalls,
            active_servers: 1,
            jetstream,
            gomaxprocs: state.cores.count(),
        },
    })
}

/// Tells that the server will go.
pub(in super::super) fn say_lame_duck(state: &State) {
    say_of_itself(state, "LAMEDUCK");
}

/// Tells that the server goes now, and returns once that is on its way on every core.
pub(in super::super) async fn say_goodbye(state: &State) {
    say_of_itself(state, "SHUTDOWN");
    state.cores.pass_on().await;
}

fn say_of_itself(state: &State, what: &str) {
    let subject = format!("$SYS.SERVER.{}.{what}", state.settled().config.server_id);
    let core = CoreId(0);
    let message = json::compact(&ServerInfo::next(state));
    super::speak(state, core, AccountId::SYSTEM, subject.into_bytes(), (Vec::new(), message));
}
