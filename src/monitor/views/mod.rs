//! What each endpoint shows, with the field names, order and omissions of the reference
//! (spec 8). The same values answer HTTP and requests in the system account.

pub(super) mod accounts;
pub(super) mod connz;
pub(super) mod health;
pub(super) mod jsz;
pub(super) mod others;
pub(super) mod subsz;
pub(super) mod varz;

use serde::Serialize;
use shard::Statistics;

/// Messages and their bytes.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(super) struct MessageCount {
    pub(super) msgs: u64,
    pub(super) bytes: u64,
}

impl MessageCount {
    /// What was sent to clients.
    pub(super) const fn sent(statistics: &Statistics) -> Self {
        Self { msgs: statistics.out_messages, bytes: statistics.out_bytes }
    }

    /// What came from clients.
    pub(super) const fn received(statistics: &Statistics) -> Self {
        Self { msgs: statistics.in_messages, bytes: statistics.in_bytes }
    }
}

/// How many connections of each kind met with something.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(super) struct ByKind {
    clients: u64,
    routes: u64,
    gateways: u64,
    leafs: u64,
}

impl ByKind {
    pub(super) const fn clients(clients: u64) -> Self {
        Self { clients, routes: 0, gateways: 0, leafs: 0 }
    }
}

/// What the index of subjects counts. Matches are not counted here, for that would cost every
/// message something; the fields are there because tools read them.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(super) struct IndexCount {
    num_subscriptions: u64,
    num_cache: u64,
    num_inserts: u64,
    num_removes: u64,
    num_matches: u64,
    cache_hit_rate: f64,
    max_fanout: u64,
    avg_fanout: f64,
}

impl IndexCount {
    /// From subscriptions that came and that went.
    pub(super) fn new((num_inserts, num_removes): (u64, u64)) -> Self {
        let num_subscriptions = num_inserts - num_removes;
        Self { num_subscriptions, num_inserts, num_removes, ..Self::default() }
    }
}
