//! `/jsz`: stored messages.

use serde::Serialize;

use super::super::json::{Stamp, is_default};
use super::super::state::{State, now};
use crate::config::{JetStream, Options as Configured, Sync};
use crate::notation::quote;

/// What `/varz` shows of JetStream; nothing without it.
#[derive(Default, Serialize)]
pub(in super::super) struct JetStreamVarz {
    #[serde(skip_serializing_if = "Option::is_none")]
    config: Option<Config>,
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
}

impl Config {
    fn new(options: &JetStream) -> Self {
        Self {
            max_memory: options.max_memory.unwrap_or_default(),
            max_storage: options.max_file.unwrap_or_default(),
            store_dir: options.directory.display().to_string(),
            sync_interval: match options.sync {
                Sync::Always => 0,
                Sync::Every(interval) => interval.as_nanos() as u64,
            },
            sync_always: options.sync == Sync::Always,
            domain: options.domain.clone(),
            unique_tag: options.unique_tag.clone(),
            strict: options.strict,
        }
    }
}

impl JetStreamVarz {
    pub(in super::super) fn new(options: &Configured) -> Self {
        options.jetstream.as_ref().map_or_else(Self::default, |jetstream| Self {
            config: Some(Config::new(jetstream)),
            limits: Some(Limits {
                request_batch: jetstream.limits.max_request_batch,
                ack_pending: jetstream.limits.max_ack_pending,
                duplicate_window: jetstream.limits.duplicate_window.as_nanos() as u64,
            }),
        })
    }
}

/// Requests to JetStream's interface.
#[derive(Clone, Copy, Default, Serialize)]
struct ApiCount {
    level: u8,
    total: u64,
    errors: u64,
}

#[derive(Serialize)]
pub(in super::super) struct Jsz {
    memory: u64,
    storage: u64,
    reserved_memory: u64,
    reserved_storage: u64,
    accounts: usize,
    ha_assets: usize,
    api: ApiCount,
    server_id: String,
    now: Stamp,
    #[serde(skip_serializing_if = "is_default")]
    disabled: bool,
    config: Config,
    streams: usize,
    consumers: usize,
    messages: u64,
    bytes: u64,
    total: usize,
}

/// Looks at what is stored.
pub(in super::super) fn jsz(state: &State) -> Jsz {
    let settled = state.settled();
    let configured = settled.options.jetstream.as_ref();
    Jsz {
        memory: 0,
        storage: 0,
        reserved_memory: 0,
        reserved_storage: 0,
        accounts: 0,
        ha_assets: 0,
        api: ApiCount::default(),
        server_id: settled.config.server_id.clone(),
        now: now(),
        disabled: configured.is_none(),
        config: configured.map(Config::new).unwrap_or_default(),
        streams: 0,
        consumers: 0,
        messages: 0,
        bytes: 0,
        total: 0,
    }
}

/// Looks at what an account stores.
///
/// # Errors
/// If it stores nothing: why.
pub(in super::super) fn account(state: &State, name: &str) -> Result<Jsz, String> {
    let settled = state.settled();
    if settled.options.jetstream.is_none() {
        return Err("jetstream not enabled".to_owned());
    }
    let account = settled.directory.find(name);
    let account = account.ok_or_else(|| format!("account {} not found", quote(name)))?;
    if settled.directory.get(account).jetstream.is_none() {
        return Err(format!("account {} not jetstream enabled", quote(name)));
    }
    Ok(jsz(state))
}
