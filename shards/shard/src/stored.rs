//! What is stored on a core, for those who watch the server.

use base::AccountId;
use jetstream::{Description, JetStream, Usage, Wanted};

use crate::shard::Shard;

/// Streams and consumers that are described per turn, at a few microseconds each.
const DESCRIBED_PER_TURN: usize = 16;

/// What a core stores.
#[derive(Clone, Debug, Default)]
pub struct StoredCensus {
    /// Bytes.
    pub usage: Usage,
    /// Requests to the API, and those that were answered with an error.
    pub api: (u64, u64),
    /// Bytes of memory and on disk that may be used.
    pub max: (i64, i64),
    /// Did writing fail, so that nothing is stored any more until a restart?
    pub is_fenced: bool,
    /// Is there no room on the disk?
    pub is_full: bool,
    /// What was found to be damaged, as it is shown.
    pub damage: Vec<String>,
    /// Accounts that may store messages.
    pub accounts: Vec<StoredAccount>,
}

/// What an account stores on a core.
#[derive(Clone, Debug, Default)]
pub struct StoredAccount {
    /// The account.
    pub account: AccountId,
    /// Bytes.
    pub usage: Usage,
    /// Bytes of memory and on disk that it may use, negative for no limit.
    pub max: (i64, i64),
    /// Streams.
    pub streams: usize,
    /// Consumers of all its streams.
    pub consumers: usize,
    /// Messages.
    pub messages: u64,
    /// Requests to the API, and those that were answered with an error.
    pub api: (u64, u64),
}

impl StoredCensus {
    /// Adds what another core counted.
    pub fn merge(&mut self, other: &Self) {
        let add = |ours: &mut Usage, theirs: &Usage| {
            ours.memory += theirs.memory;
            ours.file += theirs.file;
            ours.reserved_memory += theirs.reserved_memory;
            ours.reserved_file += theirs.reserved_file;
        };
        add(&mut self.usage, &other.usage);
        self.api = (self.api.0 + other.api.0, self.api.1 + other.api.1);
        self.is_fenced |= other.is_fenced;
        self.is_full |= other.is_full;
        self.damage.extend_from_slice(&other.damage);
        for theirs in &other.accounts {
            let ours = self.accounts.iter_mut().find(|ours| ours.account == theirs.account);
            let Some(ours) = ours else {
                self.accounts.push(theirs.clone());
                continue;
            };
            add(&mut ours.usage, &theirs.usage);
            ours.streams += theirs.streams;
            ours.consumers += theirs.consumers;
            ours.messages += theirs.messages;
            ours.api = (ours.api.0 + theirs.api.0, ours.api.1 + theirs.api.1);
        }
    }

    pub(crate) fn new(jetstream: &mut JetStream) -> Self {
        let store = jetstream.store();
        let (is_fenced, is_full) = (store.is_fenced(), store.is_full());
        let damage = store.known_damage().to_vec();
        let config = jetstream.config();
        let accounts = jetstream.census().map(|census| StoredAccount {
            account: census.account,
            usage: census.usage,
            max: (census.limits.max_memory, census.limits.max_store),
            streams: census.streams,
            consumers: census.consumers,
            messages: census.messages,
            api: (census.api_total, census.api_errors),
        });
        Self {
            usage: jetstream.usage(),
            api: jetstream.api_counts(),
            max: (config.memory_max, config.file_max),
            is_fenced,
            is_full,
            damage,
            accounts: accounts.collect(),
        }
    }
}

impl Shard {
    /// Adds a page of what is stored here, and says where the next begins if there is one.
    pub(crate) fn page_of_streams(
        &mut self,
        wanted: Wanted,
        found: &mut Vec<Description>,
        from: u32,
    ) -> Option<u32> {
        let mut jetstream = self.jetstream.take()?;
        let page = (from, DESCRIBED_PER_TURN);
        let next = jetstream.describe(self.moment(), wanted, page, found, self);
        self.jetstream = Some(jetstream);
        next
    }
}
