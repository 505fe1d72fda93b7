//! `/healthz`: may traffic be sent here?

use serde::{Deserialize, Serialize};
use shard::StoredCensus;

use super::super::json::is_default;
use super::super::query::Query;
use super::super::state::State;
use super::jsz;
use crate::notation::quote;

/// What may be asked.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub(in super::super) struct Options {
    pub(in super::super) js_enabled: bool,
    pub(in super::super) js_enabled_only: bool,
    pub(in super::super) js_server_only: bool,
    pub(in super::super) js_meta_only: bool,
    pub(in super::super) account: String,
    pub(in super::super) stream: String,
    pub(in super::super) consumer: String,
    pub(in super::super) details: bool,
}

impl Options {
    pub(in super::super) fn read(query: &Query) -> Result<Self, String> {
        Ok(Self {
            js_enabled: query.boolean("js-enabled")?,
            js_enabled_only: query.boolean("js-enabled-only")?,
            js_server_only: query.boolean("js-server-only")?,
            js_meta_only: query.boolean("js-meta-only")?,
            details: query.boolean("details")?,
            account: query.text("account").to_owned(),
            stream: query.text("stream").to_owned(),
            consumer: query.text("consumer").to_owned(),
        })
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(in super::super) struct Health {
    status: &'static str,
    /// Left out over HTTP, where it is the answer's own.
    #[serde(skip_serializing_if = "is_default")]
    pub(in super::super) status_code: u16,
    #[serde(skip_serializing_if = "is_default")]
    error: String,
    #[serde(skip_serializing_if = "is_default")]
    errors: Vec<Problem>,
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Problem {
    r#type: &'static str,
    #[serde(skip_serializing_if = "is_default")]
    account: String,
    #[serde(skip_serializing_if = "is_default")]
    stream: String,
    #[serde(skip_serializing_if = "is_default")]
    consumer: String,
    error: String,
}

impl Problem {
    fn new(r#type: &'static str, options: &Options, error: String) -> Self {
        let named = |name: &String, types: &[&str]| {
            if types.contains(&r#type) { name.clone() } else { String::new() }
        };
        Self {
            r#type,
            account: named(&options.account, &["ACCOUNT", "STREAM", "CONSUMER"]),
            stream: named(&options.stream, &["STREAM", "CONSUMER"]),
            consumer: named(&options.consumer, &["CONSUMER"]),
            error,
        }
    }
}

impl Health {
    const fn good() -> Self {
        Self { status: "ok", status_code: 200, error: String::new(), errors: Vec::new() }
    }

    fn bad(options: &Options, status_code: u16, r#type: &'static str, error: String) -> Self {
        if options.details {
            let errors = vec![Problem::new(r#type, options, error)];
            return Self { status: "error", status_code, errors, ..Self::good() };
        }
        let status = if status_code == 400 { "error" } else { "unavailable" };
        Self { status, status_code, error, ..Self::good() }
    }

    /// What the log says of it, if it is bad.
    pub(in super::super) fn complaint(&self) -> Option<String> {
        if self.status == "ok" {
            return None;
        }
        if !self.error.is_empty() {
            return Some(quote(&self.error));
        }
        (!self.errors.is_empty()).then(|| format!("{} errors", self.errors.len()))
    }
}

/// Says whether all is well.
pub(in super::super) async fn healthz(state: &State, options: &Options) -> Health {
    let missing = |field: &str, checked: &str| {
        let error = format!("\"{field}\" must not be empty when checking {checked} health");
        Health::bad(options, 400, "BAD_REQUEST", error)
    };
    if options.account.is_empty() && !options.stream.is_empty() {
        return missing("account", "stream");
    }
    if options.stream.is_empty() && !options.consumer.is_empty() {
        return missing("stream", "consumer");
    }
    if options.js_server_only || state.settled().options.jetstream.is_none() {
        return Health::good();
    }
    let Some(census) = jsz::census(state).await else {
        let error = "jetstream not enabled".to_owned();
        return Health::bad(options, 503, "JETSTREAM", error);
    };
    if options.js_enabled || options.js_enabled_only {
        return Health::good();
    }
    if census.is_fenced {
        let error = "JetStream write error: nothing is stored until a restart".to_owned();
        return Health::bad(options, 503, "JETSTREAM", error);
    }
    if !options.account.is_empty() {
        return named(state, options, &census).await;
    }
    // What is left is served, so that a restart would not help: still healthy.
    let error = match (census.is_full, census.damage.is_empty()) {
        (true, _) => "JetStream storage is full: nothing is stored until there is room".to_owned(),
        (false, false) => format!("JetStream storage is damaged: {}", census.damage.join("; ")),
        (false, true) => String::new(),
    };
    Health { error, ..Health::good() }
}

/// Is what was named there?
async fn named(state: &State, options: &Options, census: &StoredCensus) -> Health {
    let Options { account, stream, consumer, .. } = options;
    let settled = state.settled();
    let id = settled.directory.find(account);
    // The reference looks for a directory, which an account has once it has a stream.
    let has_streams = |id| census.accounts.iter().any(|it| it.account == id && it.streams > 0);
    let Some(id) = id.filter(|id| has_streams(*id)) else {
        let error = format!("JetStream account {} not found", quote(account));
        return Health::bad(options, 404, "ACCOUNT", error);
    };
    if stream.is_empty() {
        return Health::good();
    }
    let Some(consumers) = jsz::consumers_of(state, id, stream).await else {
        let (stream, account) = (quote(stream), quote(account));
        let error = format!("JetStream stream {stream} not found on account {account}");
        return Health::bad(options, 404, "STREAM", error);
    };
    if !consumer.is_empty() && !consumers.contains(consumer) {
        let (consumer, stream, account) = (quote(consumer), quote(stream), quote(account));
        let error = format!(
            "JetStream consumer {consumer} not found for stream {stream} on account {account}"
        );
        return Health::bad(options, 404, "CONSUMER", error);
    }
    Health::good()
}
