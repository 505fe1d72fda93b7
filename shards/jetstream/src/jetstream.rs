//! What one core has of JetStream.

use base::{AccountId, Moment, Time, ids::ServiceId};
use storage::Store;
use wire::Message;

use crate::{AccountLimits, ClientInfo, Config, Outlet, Services};

/// What one core has of JetStream: streams with their consumers over one store.
#[derive(Debug)]
pub struct JetStream {
    config: Config,
    store: Store,
    services: Services,
}

impl JetStream {
    /// JetStream without any account, over a store that has recovered what is on disk.
    pub fn new(config: Config, store: Store) -> Self {
        Self { config, store, services: Services::default() }
    }

    /// The store, for the reactor to carry out what it asks for.
    pub fn store(&mut self) -> &mut Store {
        &mut self.store
    }

    /// Lets an account use JetStream: its API is served from now on, and its streams that were
    /// found on disk come back.
    pub fn enable(
        &mut self,
        account: AccountId,
        name: &str,
        limits: AccountLimits,
        out: &mut dyn Outlet,
    ) {
        let _ = (account, name, limits, out, &self.config, &self.services);
    }

    /// A message came for a subscription of JetStream's.
    pub fn receive(
        &mut self,
        now: Moment,
        service: ServiceId,
        account: AccountId,
        client: &ClientInfo<'_>,
        message: &Message<'_>,
        out: &mut dyn Outlet,
    ) {
        let _ = (now, service, account, client, message, out);
    }

    /// Once a turn: what became durable is acknowledged and delivered, timers that are due.
    pub fn progress(&mut self, now: Moment, out: &mut dyn Outlet) {
        let _ = (now, out);
    }

    /// When [`Self::progress`] has something to do next, if nothing else happens.
    pub fn next_due(&self) -> Time {
        Time::NEVER
    }
}
