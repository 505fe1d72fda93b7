//! `/healthz`: may traffic be sent here?

use serde::{Deserialize, Serialize};

use super::super::json::is_default;
use super::super::query::Query;
use super::super::state::State;

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

impl Health {
    const fn good() -> Self {
        Self { status: "ok", status_code: 200, error: String::new(), errors: Vec::new() }
    }

    fn bad_request(options: &Options, missing: &str, checked: &str) -> Self {
        let error = format!("\"{missing}\" must not be empty when checking {checked} health");
        let mut health = Self { status: "error", status_code: 400, ..Self::good() };
        if options.details {
            let none = String::new;
            let problem = Problem {
                r#type: "BAD_REQUEST",
                account: none(),
                stream: none(),
                consumer: none(),
                error,
            };
            health.errors.push(problem);
        } else {
            health.error = error;
        }
        health
    }
}

/// Says whether all is well.
pub(in super::super) fn healthz(_state: &State, options: &Options) -> Health {
    if options.account.is_empty() && !options.stream.is_empty() {
        return Health::bad_request(options, "account", "stream");
    }
    if options.stream.is_empty() && !options.consumer.is_empty() {
        return Health::bad_request(options, "stream", "consumer");
    }
    Health::good()
}
