//! `/jsz`: stored messages.

use base::AccountId;
use jetstream::{Description, Wanted};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use shard::{Answer, Question, StoredAccount, StoredCensus};

use super::super::json::{Stamp, is_default};
use super::super::query::Query;
use super::super::state::{Settled, State, now};
use crate::config::{JetStream, Sync};
use crate::notation::quote;

/// Of the interface to JetStream.
const API_LEVEL: u8 = 5;
/// As many accounts are shown unless another limit is asked for.
const LIMIT_DEFAULT: i64 = 1024;

/// What may be asked.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(in super::super) struct Options {
    pub(in super::super) account: String,
    pub(in super::super) accounts: bool,
    pub(in super::super) streams: bool,
    pub(in super::super) consumer: bool,
    pub(in super::super) direct_consumer: bool,
    pub(in super::super) config: bool,
    pub(in super::super) offset: i64,
    pub(in super::super) limit: i64,
    pub(in super::super) raft: bool,
    pub(in super::super) leader_only: bool,
}

impl Options {
    pub(in super::super) fn read(query: &Query) -> Result<Self, String> {
        let options = Self {
            account: query.text("acc").to_owned(),
            accounts: query.boolean("accounts")?,
            streams: query.boolean("streams")?,
            consumer: query.boolean("consumers")?,
            direct_consumer: query.boolean("direct-consumers")?,
            config: query.boolean("config")?,
            offset: query.integer("offset")?,
            limit: query.integer("limit")?,
            raft: query.boolean("raft")?,
            leader_only: query.boolean("leader-only")?,
        };
        query.boolean("stream-leader-only")?;
        Ok(options)
    }

    const fn wants_streams(&self) -> bool {
        self.streams || self.consumer
    }
}

/// What `/varz` and statistics show of JetStream; nothing without it.
#[derive(Clone, Default, Serialize)]
pub(in super::super) struct JetStreamVarz {
    #[serde(skip_serializing_if = "Option::is_none")]
    config: Option<Config>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stats: Option<Stats>,
    #[serde(skip_serializing_if = "Option::is_none")]
    limits: Option<Limits>,
}

/// JetStream's configuration.
#[derive(Clone, Default, Serialize)]
struct Config {
    max_memory: i64,
    max_storage: i64,
    #[serde(skip_serializing_if = "is_default")]
    store_dir: String,
    #[serde(skip_serializing_if = "is_default")]
    sync_interval: u64,
    #[serde(skip_serializing_if = "is_default")]
    sync_always: bool,
    #[serde(skip_serializing_if = "is_default")]
    domain: String,
    compress_ok: bool,
    #[serde(skip_serializing_if = "is_default")]
    unique_tag: String,
    #[serde(skip_serializing_if = "is_default")]
    strict: bool,
}

/// Limits on what requests may ask for.
#[derive(Clone, Default, Serialize)]
struct Limits {
    #[serde(rename = "max_request_batch", skip_serializing_if = "is_default")]
    request_batch: i64,
    #[serde(rename = "max_ack_pending", skip_serializing_if = "is_default")]
    ack_pending: i64,
    #[serde(rename = "max_duplicate_window", skip_serializing_if = "is_default")]
    duplicate_window: u64,
    #[serde(rename = "default_max_consumers", skip_serializing_if = "is_default")]
    consumers: i64,
}

/// What is used.
#[derive(Clone, Default, Serialize)]
struct Stats {
    memory: u64,
    storage: u64,
    reserved_memory: u64,
    reserved_storage: u64,
    accounts: usize,
    ha_assets: usize,
    api: ApiCount,
}

/// Requests to JetStream's interface.
#[derive(Clone, Copy, Default, Serialize)]
struct ApiCount {
    level: u8,
    total: u64,
    errors: u64,
}

impl Config {
    fn new(options: &JetStream, (max_memory, max_storage): (i64, i64)) -> Self {
        Self {
            max_memory,
            max_storage,
            store_dir: options.directory.display().to_string(),
            sync_interval: match options.sync {
                Sync::Always => 0,
                Sync::Every(interval) => interval.as_nanos() as u64,
            },
            sync_always: options.sync == Sync::Always,
            domain: options.domain.clone(),
            compress_ok: true,
            unique_tag: options.unique_tag.clone(),
            strict: options.strict,
        }
    }
}

impl Limits {
    fn new(options: &JetStream) -> Self {
        let limits = &options.limits;
        Self {
            request_batch: limits.max_request_batch,
            ack_pending: limits.max_ack_pending,
            duplicate_window: limits.duplicate_window.as_nanos() as u64,
            consumers: limits.default_max_consumers,
        }
    }
}

impl Stats {
    fn new(census: &StoredCensus) -> Self {
        let (total, errors) = census.api;
        Self {
            memory: census.usage.memory,
            storage: census.usage.file,
            reserved_memory: census.usage.reserved_memory,
            reserved_storage: census.usage.reserved_file,
            accounts: census.accounts.len(),
            ha_assets: 0,
            api: ApiCount { level: API_LEVEL, total, errors },
        }
    }

    /// Of one account; its limits stand for what is reserved, as in the reference.
    fn of_account(account: &StoredAccount) -> Self {
        let (total, errors) = account.api;
        Self {
            memory: account.usage.memory,
            storage: account.usage.file,
            reserved_memory: account.max.0 as u64,
            reserved_storage: account.max.1 as u64,
            api: ApiCount { level: 0, total, errors },
            ..Self::default()
        }
    }
}

/// What all cores store together; nothing without JetStream.
pub(in super::super) async fn census(state: &State) -> Option<StoredCensus> {
    let mut sum: Option<StoredCensus> = None;
    for (_, answer) in state.cores.ask_all(|_| Question::Stored).await {
        if let Answer::Stored(Some(census)) = answer {
            match &mut sum {
                None => sum = Some(*census),
                Some(sum) => sum.merge(&census),
            }
        }
    }
    sum
}

/// What `/varz` shows, with the directory only where files are looked after.
pub(in super::super) async fn varz(state: &State, with_directory: bool) -> JetStreamVarz {
    let settled = state.settled();
    let Some(options) = &settled.options.jetstream else { return JetStreamVarz::default() };
    let Some(census) = census(state).await else { return JetStreamVarz::default() };
    let mut config = Config::new(options, census.max);
    if !with_directory {
        config.store_dir.clear();
    }
    JetStreamVarz {
        config: Some(config),
        stats: Some(Stats::new(&census)),
        limits: Some(Limits::new(options)),
    }
}

#[derive(Serialize)]
pub(in super::super) struct Jsz {
    #[serde(flatten)]
    stats: Stats,
    server_id: String,
    now: Stamp,
    #[serde(skip_serializing_if = "is_default")]
    disabled: bool,
    config: Value,
    #[serde(skip_serializing_if = "Option::is_none")]
    limits: Option<Limits>,
    streams: usize,
    #[serde(skip_serializing_if = "is_default")]
    streams_leader: usize,
    consumers: usize,
    #[serde(skip_serializing_if = "is_default")]
    consumers_leader: usize,
    messages: u64,
    bytes: u64,
    #[serde(skip_serializing_if = "is_default")]
    account_details: Vec<AccountDetail>,
    total: usize,
}

/// What an account stores.
#[derive(Clone, Serialize)]
pub(in super::super) struct AccountDetail {
    name: String,
    id: String,
    #[serde(flatten)]
    stats: Stats,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    stream_detail: Vec<Value>,
}

impl PartialEq for AccountDetail {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id
    }
}

/// Looks at what is stored.
pub(in super::super) async fn jsz(state: &State, options: &Options) -> Jsz {
    let settled = state.settled();
    let census = match &settled.options.jetstream {
        Some(configured) => census(state).await.map(|census| (configured, census)),
        None => None,
    };
    let Some((configured, census)) = census else { return disabled(&settled) };
    let sum = |count: fn(&StoredAccount) -> usize| census.accounts.iter().map(count).sum::<usize>();
    let (streams, consumers) = (sum(|account| account.streams), sum(|account| account.consumers));
    let config = Config::new(configured, census.max);
    Jsz {
        stats: Stats::new(&census),
        server_id: settled.config.server_id.clone(),
        now: now(),
        disabled: false,
        config: serde_json::to_value(config).expect("a configuration is an object"),
        limits: Some(Limits::new(configured)),
        streams,
        // A single server leads all that it has.
        streams_leader: if options.raft { streams } else { 0 },
        consumers,
        consumers_leader: if options.raft { consumers } else { 0 },
        messages: census.accounts.iter().map(|account| account.messages).sum(),
        bytes: census.usage.memory + census.usage.file,
        account_details: details(state, &settled, options, &census).await,
        total: census.accounts.len(),
    }
}

fn disabled(settled: &Settled) -> Jsz {
    Jsz {
        stats: Stats::default(),
        server_id: settled.config.server_id.clone(),
        now: now(),
        disabled: true,
        config: serde_json::json!({ "max_memory": 0, "max_storage": 0 }),
        limits: None,
        streams: 0,
        streams_leader: 0,
        consumers: 0,
        consumers_leader: 0,
        messages: 0,
        bytes: 0,
        account_details: Vec::new(),
        total: 0,
    }
}

async fn details(
    state: &State,
    settled: &Settled,
    options: &Options,
    census: &StoredCensus,
) -> Vec<AccountDetail> {
    let mut shown: Vec<&StoredAccount> = census.accounts.iter().collect();
    let named = shown.iter().position(|account| settled.name(account.account) == options.account);
    if let Some(named) = named {
        shown = vec![shown[named]];
    } else if options.accounts || (options.wants_streams() && options.account.is_empty()) {
        let limit = if options.limit == 0 { LIMIT_DEFAULT } else { options.limit };
        if let Ok(limit) = usize::try_from(limit) {
            shown.sort_by_key(|account| settled.name(account.account));
            let offset = usize::try_from(options.offset).unwrap_or(0);
            shown = shown.into_iter().skip(offset).take(limit).collect();
        }
    } else {
        return Vec::new();
    }
    let mut details = Vec::with_capacity(shown.len());
    for account in shown {
        details.push(detail(state, settled, options, account).await);
    }
    details
}

async fn detail(
    state: &State,
    settled: &Settled,
    options: &Options,
    account: &StoredAccount,
) -> AccountDetail {
    let name = settled.name(account.account).to_owned();
    let stream_detail = if options.wants_streams() {
        streams(state, account.account, options).await
    } else {
        Vec::new()
    };
    AccountDetail { id: name.clone(), name, stats: Stats::of_account(account), stream_detail }
}

/// Consumers of a stream, and those of them that serve a copy elsewhere.
type Listed = [Vec<Value>; 2];

/// The streams of an account with their consumers, as they are shown.
async fn streams(state: &State, account: AccountId, options: &Options) -> Vec<Value> {
    let wanted = Wanted { account: Some(account), consumers: options.consumer };
    let mut streams: Vec<(Map<String, Value>, Listed)> = Vec::new();
    for (_, answer) in state.cores.ask_all(|_| Question::Streams(wanted)).await {
        let Answer::Streams(found) = answer else { continue };
        for description in found {
            match description {
                Description::Stream(_, json) => {
                    streams.push((shown(fields(&json), options), Default::default()));
                }
                Description::Consumer(json) => {
                    let consumer = fields(&json);
                    let direct = consumer["config"]["direct"] == true;
                    if let Some((_, consumers)) = streams.last_mut() {
                        let consumer = Value::Object(shown(consumer, options));
                        consumers[usize::from(direct)].push(consumer);
                    }
                }
            }
        }
    }
    let direct = options.direct_consumer;
    streams.into_iter().map(|(stream, consumers)| assemble(stream, consumers, direct)).collect()
}

/// What a core wrote.
fn fields(json: &[u8]) -> Map<String, Value> {
    serde_json::from_slice(json).expect("the core writes objects")
}

/// The configuration only if it was asked for.
fn shown(mut fields: Map<String, Value>, options: &Options) -> Map<String, Value> {
    if !options.config {
        fields.shift_remove("config");
    }
    fields
}

/// Consumers stand between a stream's state and what it is copied from. Those that serve a copy
/// elsewhere stand apart.
fn assemble(
    mut stream: Map<String, Value>,
    [consumers, direct]: Listed,
    with_direct: bool,
) -> Value {
    let origins = ["mirror", "sources"].map(|name| (name, stream.shift_remove(name)));
    let direct = if with_direct { direct } else { Vec::new() };
    for (name, listed) in [("consumer_detail", consumers), ("direct_consumer_detail", direct)] {
        if !listed.is_empty() {
            stream.insert(name.to_owned(), listed.into());
        }
    }
    for (name, origin) in origins {
        if let Some(origin) = origin {
            stream.insert(name.to_owned(), origin);
        }
    }
    Value::Object(stream)
}

/// Looks at what an account stores.
///
/// # Errors
/// If it stores nothing: why.
pub(in super::super) async fn account(
    state: &State,
    name: &str,
    options: &Options,
) -> Result<AccountDetail, String> {
    let settled = state.settled();
    let not_enabled = || "jetstream not enabled".to_owned();
    settled.options.jetstream.as_ref().ok_or_else(not_enabled)?;
    let id = settled.directory.find(name);
    let id = id.ok_or_else(|| format!("account {} not found", quote(name)))?;
    let census = census(state).await.ok_or_else(not_enabled)?;
    let found = census.accounts.iter().find(|account| account.account == id);
    let found = found.ok_or_else(|| format!("account {} not jetstream enabled", quote(name)))?;
    Ok(detail(state, &settled, options, found).await)
}

/// The names of a stream's consumers, if there is such a stream.
pub(in super::super) async fn consumers_of(
    state: &State,
    account: AccountId,
    stream: &str,
) -> Option<Vec<String>> {
    let options = Options { consumer: true, ..Options::default() };
    let streams = streams(state, account, &options).await;
    let found = streams.into_iter().find(|found| found["name"] == stream)?;
    let consumers = found["consumer_detail"].as_array().map_or(&[][..], Vec::as_slice);
    let names = consumers.iter().filter_map(|consumer| consumer["name"].as_str());
    Some(names.map(str::to_owned).collect())
}
