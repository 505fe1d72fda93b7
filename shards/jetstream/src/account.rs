//! An account, as far as streams are concerned.

use std::collections::BTreeMap;

use base::AccountId;

use crate::StreamId;
use crate::config::AccountLimits;
use crate::ground::Usage;

/// What one account has on this core.
#[derive(Debug)]
pub(crate) struct Account {
    pub(crate) id: AccountId,
    pub(crate) name: String,
    pub(crate) limits: AccountLimits,
    /// Its streams, by name.
    pub(crate) streams: BTreeMap<String, StreamId>,
    /// Consumers of all its streams.
    pub(crate) consumers: usize,
    pub(crate) usage: Usage,
    pub(crate) api_total: u64,
    pub(crate) api_errors: u64,
}

impl Account {
    pub(crate) fn new(id: AccountId, name: &str, limits: AccountLimits) -> Self {
        Self {
            id,
            name: name.into(),
            limits,
            streams: BTreeMap::new(),
            consumers: 0,
            usage: Usage::default(),
            api_total: 0,
            api_errors: 0,
        }
    }

    /// The name of a stream's log: no stream's name has a slash.
    pub(crate) fn log_name(&self, stream: &str) -> Vec<u8> {
        format!("{}/{stream}", self.name).into_bytes()
    }
}

/// The account and the stream that a log is named after.
pub(crate) fn split_log_name(name: &[u8]) -> Option<(&str, &str)> {
    std::str::from_utf8(name).ok()?.rsplit_once('/')
}
