//! Accounts come, go and are limited anew while the server runs.

use std::collections::BTreeSet;

use base::{AccountId, Moment};
use wire::Message;

use crate::account::split_log_name;
use crate::api::SERVED;
use crate::config::AccountLimits;
use crate::error::table;
use crate::ground::{Ground, Site};
use crate::json::Writer;
use crate::services::Service;
use crate::{JetStream, Outlet, StreamId};

impl JetStream {
    /// May an account use JetStream?
    pub fn is_enabled(&self, account: AccountId) -> bool {
        self.account(account).is_some()
    }

    /// Limits an account anew. What it has beyond a limit stays.
    pub fn limit(&mut self, account: AccountId, limits: AccountLimits) {
        let state = self.accounts.get_mut(account.index()).and_then(Option::as_deref_mut);
        if let Some(state) = state {
            state.limits = limits;
        }
    }

    /// Takes JetStream from an account: nothing of it is served any more, and what it stored stays
    /// in the store, from where [`JetStream::enable`] brings it back.
    pub fn disable(&mut self, now: Moment, account: AccountId, out: &mut dyn Outlet) {
        self.now = now;
        let Some(state) = self.account(account) else { return };
        let streams: Vec<StreamId> = state.streams.values().copied().collect();
        self.abandon_restores(account, out);
        for id in streams {
            self.directs.retain(|(_, direct)| direct.stream != id);
            let stream = self.streams.remove(id.0).expect("the account has it");
            let state = self.accounts[account.index()].as_deref_mut();
            let account = state.expect("it was just looked at");
            stream.suspend(&mut Site { now, ground: &mut self.ground, account, out });
        }
        self.accounts[account.index()] = None;
    }

    /// Serves the API for an account, which without JetStream comes to an error.
    pub fn open_door(&mut self, account: AccountId, out: &mut dyn Outlet) {
        let place = account.index();
        if place >= self.doors.len() {
            self.doors.resize_with(place + 1, Vec::new);
        }
        if !self.doors[place].is_empty() {
            return;
        }
        let Ground { services, config, .. } = &mut self.ground;
        let mut serve = |pattern: &str, service: Service| {
            services.open(out, account, pattern.as_bytes(), b"", service)
        };
        if account == AccountId::SYSTEM {
            self.doors[place].push(serve("$JS.API.>", Service::Refusal));
            return;
        }
        let served = SERVED.iter().map(|pattern| format!("$JS.API.{pattern}"));
        self.doors[place].extend(served.map(|pattern| serve(&pattern, Service::Api)));
        if !config.domain.is_empty() {
            let pattern = format!("$JS.{}.API.>", config.domain);
            self.doors[place].push(serve(&pattern, Service::Domain));
        }
    }

    /// Does not listen to an account any more, which is gone.
    pub fn close_door(&mut self, account: AccountId, out: &mut dyn Outlet) {
        let door = self.doors.get_mut(account.index()).map(std::mem::take);
        for service in door.unwrap_or_default() {
            self.ground.services.close(out, service);
        }
    }

    /// Tells the system account that JetStream is not for it.
    pub(crate) fn refuse(
        &mut self,
        account: AccountId,
        message: &Message<'_>,
        out: &mut dyn Outlet,
    ) {
        if message.reply.is_empty() {
            return;
        }
        let mut text = Vec::new();
        let mut writer = Writer::open(&mut text);
        writer.text("type", "io.nats.jetstream.api.v1.system_response");
        table::NOT_ENABLED_FOR_ACCOUNT.put(writer.field("error"));
        writer.close();
        self.ground.parcel.clear().send(out, account, message.reply, &text);
    }

    /// Names of accounts whose streams are in the store and that JetStream is not enabled for.
    pub fn absent_accounts(&self) -> BTreeSet<String> {
        let enabled = |name: &str| self.accounts.iter().flatten().any(|one| one.name == name);
        let logs = self.ground.store.logs();
        let names = logs.filter_map(|(_, log)| Some(split_log_name(log.name())?.0.to_owned()));
        names.filter(|name| !enabled(name)).collect()
    }
}
