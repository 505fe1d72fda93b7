//! Consumers: the hooks that a stream calls. (The bodies are placeholders.)

use base::{Time, ids::ServiceId};
use wire::Message;

use crate::{
    ClientInfo, Outlet,
    api::Request,
    error::Fault,
    stream::{StreamConfig, View},
};

/// What a subscription of a consumer's is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// `$JS.API.CONSUMER.MSG.NEXT.<stream>.<consumer>`.
    Next,
    /// `$JS.ACK.<stream>.<consumer>.>`.
    Ack,
    /// `$JS.FC.<stream>.<consumer>.*`.
    Flow,
    /// `$JS.API.CONSUMER.RESET.<stream>.<consumer>`.
    Reset,
}

/// The consumers of one stream.
#[derive(Debug, Default)]
pub struct Consumers {}

impl Consumers {
    /// Consumers that there are.
    pub fn len(&self) -> usize {
        0
    }

    /// Are there none?
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Serves a request below `$JS.API.CONSUMER.` (all but MSG.NEXT and RESET, which are
    /// endpoints): appends the answer's JSON, `type` and all, to `answer`. The stream exists, the
    /// API level was checked, and the audit advisory is the caller's.
    ///
    /// # Errors
    /// What the answer's `error` is to be; the caller writes `type` (by the verb) and `error`.
    pub fn request(
        &mut self,
        view: &mut View<'_>,
        request: &Request<'_>,
        answer: &mut Vec<u8>,
        out: &mut dyn Outlet,
    ) -> Result<(), Fault> {
        let _ = (view, request, answer, out);
        Ok(())
    }

    /// A message came for a subscription of the consumer in `place`.
    pub fn receive(
        &mut self,
        view: &mut View<'_>,
        place: u32,
        endpoint: Endpoint,
        client: &ClientInfo<'_>,
        message: &Message<'_>,
        out: &mut dyn Outlet,
    ) {
        let _ = (view, place, endpoint, client, message, out);
    }

    /// [`Core::visible`](crate::stream::Core::visible) rose to its present value from
    /// `from - 1`: there may be something to deliver.
    pub fn stored(&mut self, view: &mut View<'_>, from: u64, out: &mut dyn Outlet) {
        let _ = (view, from, out);
    }

    /// One message was removed (deleted, expired, over a limit; not by a consumer's own
    /// acknowledgement). It is no longer in the log.
    pub fn removed(&mut self, view: &mut View<'_>, sequence: u64, subject: &[u8]) {
        let _ = (view, sequence, subject);
    }

    /// Many messages were removed: those up to `below`, exclusive, all or those that match
    /// `filter` (all if empty).
    pub fn purged(&mut self, view: &mut View<'_>, below: u64, filter: &[u8], out: &mut dyn Outlet) {
        let _ = (view, below, filter, out);
    }

    /// Does any consumer want this subject? Under interest retention a message that nobody wants
    /// is not kept.
    pub fn wants(&self, subject: &[u8]) -> bool {
        let _ = subject;
        false
    }

    /// Has any consumer that wants this message not yet acknowledged it?
    pub fn needs(&self, sequence: u64, subject: &[u8]) -> bool {
        let _ = (sequence, subject);
        false
    }

    /// Once a turn: timers that are due, interest that changed, reads from disk that completed
    /// (ask the store again), deliveries.
    pub fn progress(&mut self, view: &mut View<'_>, out: &mut dyn Outlet) {
        let _ = (view, out);
    }

    /// When [`Self::progress`] has something to do next, if nothing else happens.
    pub fn next_due(&self) -> Time {
        Time::NEVER
    }

    /// The stream's configuration changed; `view.core.config` is the new one.
    pub fn stream_updated(
        &mut self,
        view: &mut View<'_>,
        old: &StreamConfig,
        out: &mut dyn Outlet,
    ) {
        let _ = (view, old, out);
    }

    /// The stream goes: waiting requests are told, subscriptions end. Notes go with the log.
    pub fn stream_deleted(&mut self, view: &mut View<'_>, out: &mut dyn Outlet) {
        let _ = (view, out);
    }

    /// After a start: builds the consumers from their notes in the log.
    pub fn recover(&mut self, view: &mut View<'_>, out: &mut dyn Outlet) {
        let _ = (view, out);
    }

    /// The subscriptions of all consumers, which the shard is told again after interest was lost.
    pub fn services(&self) -> impl Iterator<Item = ServiceId> {
        std::iter::empty()
    }
}
