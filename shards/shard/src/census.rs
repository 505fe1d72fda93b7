//! How many of everything there are on a core.

use base::AccountId;
use session::{Connection, Reason, Statistics};

use crate::shard::Shard;

/// How many of everything there are on a core.
#[derive(Clone, Debug, Default)]
pub struct Census {
    /// Counts by account.
    pub accounts: Vec<AccountCensus>,
    /// Counts over all connections there ever were.
    pub statistics: Statistics,
    /// Connections that were too slow.
    pub slow_consumers: u64,
    /// Connections that did not answer.
    pub stale_connections: u64,
    /// Subscriptions, those of the server's own services included.
    pub subscriptions: usize,
    /// Connections accepted so far; only the core that accepts knows of any.
    pub accepted: u64,
    /// Bytes that wait for the lanes.
    pub lane_bytes: usize,
}

/// One account on a core.
#[derive(Clone, Debug, Default)]
pub struct AccountCensus {
    /// The account.
    pub account: AccountId,
    /// Its connections.
    pub connections: usize,
    /// Its subscriptions that came, and that went, those of the server's own services included.
    pub turnover: (u64, u64),
    /// Counts over all connections that it ever had.
    pub statistics: Statistics,
    /// Connections of it that were too slow.
    pub slow_consumers: u64,
}

/// What is left of connections that are gone.
#[derive(Debug, Default)]
pub(crate) struct Past {
    /// Counts over all of them.
    pub(crate) statistics: Statistics,
    /// The same by account, and how many were too slow.
    accounts: Vec<(Statistics, u64)>,
}

impl AccountCensus {
    /// Its subscriptions, those of the server's own services included.
    pub const fn subscriptions(&self) -> u64 {
        self.turnover.0 - self.turnover.1
    }
}

impl Past {
    pub(crate) fn add(&mut self, connection: &Connection) {
        self.statistics.add(&connection.statistics);
        let place = connection.account.index();
        if self.accounts.len() <= place {
            self.accounts.resize(place + 1, (Statistics::default(), 0));
        }
        let (statistics, slow_consumers) = &mut self.accounts[place];
        statistics.add(&connection.statistics);
        let slow = connection.closing.is_some_and(Reason::is_slow_consumer);
        *slow_consumers += u64::from(slow);
    }
}

impl Census {
    /// Adds what another core counted.
    pub fn merge(&mut self, other: &Self) {
        self.statistics.add(&other.statistics);
        self.slow_consumers += other.slow_consumers;
        self.stale_connections += other.stale_connections;
        self.subscriptions += other.subscriptions;
        self.accepted += other.accepted;
        self.lane_bytes += other.lane_bytes;
        for theirs in &other.accounts {
            let ours = self.account(theirs.account);
            ours.connections += theirs.connections;
            ours.turnover.0 += theirs.turnover.0;
            ours.turnover.1 += theirs.turnover.1;
            ours.statistics.add(&theirs.statistics);
            ours.slow_consumers += theirs.slow_consumers;
        }
    }

    /// Connections that are there.
    pub fn connections(&self) -> usize {
        self.accounts.iter().map(|account| account.connections).sum()
    }

    /// An account's place, by its number.
    fn account(&mut self, account: AccountId) -> &mut AccountCensus {
        while self.accounts.len() <= account.index() {
            let account = AccountId(self.accounts.len() as u32);
            self.accounts.push(AccountCensus { account, ..AccountCensus::default() });
        }
        &mut self.accounts[account.index()]
    }

    /// Adds a connection, and its counts.
    pub(crate) fn add(&mut self, connection: &Connection) {
        self.count(connection);
        if !connection.close_asked && connection.is_open() {
            self.account(connection.account).connections += 1;
        }
    }

    /// Adds a connection's counts.
    pub(crate) fn count(&mut self, connection: &Connection) {
        self.statistics.add(&connection.statistics);
        self.account(connection.account).statistics.add(&connection.statistics);
    }
}

impl Shard {
    /// What is known without looking at every connection.
    pub(crate) fn begin_census(&self) -> Census {
        let mut census = Census {
            statistics: self.past.statistics,
            slow_consumers: self.slow_consumers,
            stale_connections: self.stale_connections,
            subscriptions: self.spaces.subscriptions.len(),
            accepted: self.placement.accepted(),
            lane_bytes: self.outboxes.bytes_waiting(),
            ..Census::default()
        };
        for (number, (statistics, slow_consumers)) in (0..).zip(&self.past.accounts) {
            let account = census.account(AccountId(number));
            account.statistics = *statistics;
            account.slow_consumers = *slow_consumers;
        }
        for (account, turnover) in self.spaces.turnovers() {
            census.account(account).turnover = turnover;
        }
        census
    }
}
