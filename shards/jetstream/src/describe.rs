//! What those who watch the server are shown of streams and consumers, a page at a time.

use base::{AccountId, Moment, ServiceId};

use crate::api::info::put_detail;
use crate::services::Service;
use crate::stream::config::Retention;
use crate::{JetStream, Outlet, StreamId};

/// One of what is shown. Consumers follow their stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Description {
    /// A stream of an account, as JSON.
    Stream(AccountId, Vec<u8>),
    /// A consumer of the stream before, as JSON.
    Consumer(Vec<u8>),
}

/// Which streams are shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Only those of this account.
    pub account: Option<AccountId>,
    /// Their consumers as well?
    pub consumers: bool,
}

impl JetStream {
    /// The stream that stores what comes in by a service, if one does, and whether nobody wants a
    /// message on this subject there.
    pub fn storing(&self, service: ServiceId, subject: &[u8]) -> Option<(&str, bool)> {
        let Service::Ingest(id) = self.ground.services.get(service) else { return None };
        let stream = self.stream(id);
        let config = &stream.core.config;
        let nobody = config.retention == Retention::Interest && !stream.consumers.wants(subject);
        Some((&config.name, nobody))
    }

    /// Shows at most so many, from a place on that an earlier call returned, or the first. Returns
    /// where the next page begins, unless this was the last. What comes and goes meanwhile may be
    /// missed or shown twice.
    pub fn describe(
        &mut self,
        now: Moment,
        wanted: Wanted,
        (from, most): (u32, usize),
        found: &mut Vec<Description>,
        out: &mut dyn Outlet,
    ) -> Option<u32> {
        let end = found.len() + most;
        let mut place = 0;
        for (account, id) in self.stream_places(wanted.account) {
            let consumers =
                if wanted.consumers { self.stream(id).consumers.len() as u32 } else { 0 };
            let next = place + 1 + consumers;
            if from <= place {
                if found.len() >= end {
                    return Some(place);
                }
                found.push(Description::Stream(account, self.describe_stream(now, id)));
            }
            for nth in from.saturating_sub(place + 1).min(consumers)..consumers {
                if found.len() >= end {
                    return Some(place + 1 + nth);
                }
                let consumer = self.describe_consumer(now, id, nth as usize, out);
                found.extend(consumer.map(Description::Consumer));
            }
            place = next;
        }
        None
    }

    fn stream_places(&self, only: Option<AccountId>) -> Vec<(AccountId, StreamId)> {
        let accounts = self.accounts.iter().flatten();
        let accounts = accounts.filter(|account| only.is_none_or(|only| only == account.id));
        accounts.flat_map(|it| it.streams.values().map(|id| (it.id, *id))).collect()
    }

    fn describe_stream(&self, now: Moment, id: StreamId) -> Vec<u8> {
        let mut json = Vec::new();
        put_detail(&mut json, self.stream(id), &self.ground, now);
        json
    }

    fn describe_consumer(
        &mut self,
        now: Moment,
        id: StreamId,
        nth: usize,
        out: &mut dyn Outlet,
    ) -> Option<Vec<u8>> {
        let (stream, site) = self.at_stream(id, now, out);
        let mut view = site.ground.view(now, &stream.core, site.account);
        stream.consumers.describe(&mut view, nth, site.out)
    }
}
