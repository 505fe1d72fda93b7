//! Which subscription of JetStream's belongs to what: a message finds its stream or consumer by a
//! number.

use base::{AccountId, Slab, ids::ServiceId};

use crate::{Outlet, consumer::Endpoint};

/// The place of a stream in [`JetStream`](crate::JetStream). Reused once the stream is gone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId(pub u32);

/// What a subscription is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Service {
    /// A place that nothing uses.
    #[default]
    Free,
    /// `$JS.API.>` of an account.
    Api,
    /// `$JS.API.>` of the system account, which is told that JetStream is not for it.
    Refusal,
    /// `$JS.<domain>.API.>` of an account.
    Domain,
    /// Subjects that a stream stores.
    Ingest(StreamId),
    /// `$JS.API.DIRECT.GET.<stream>`.
    DirectGet(StreamId),
    /// `$JS.API.DIRECT.GET.<stream>.>`.
    DirectLast(StreamId),
    /// What a mirror or source receives from another stream.
    Upstream(StreamId, u32, UpstreamEnd),
    /// Acknowledgements of a snapshot's chunks.
    Snapshot(u32),
    /// Chunks of a stream that is being restored.
    Restore(u32),
    /// A consumer's own: its requests, acknowledgements, flow control.
    Consumer(StreamId, u32, Endpoint),
}

/// What a subscription of a mirror or source is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UpstreamEnd {
    /// The answer to its request for a consumer.
    Answer,
    /// What the consumer delivers.
    Delivery,
}

/// All subscriptions of JetStream on this core.
#[derive(Debug, Default)]
pub struct Services {
    slab: Slab<Service>,
}

impl Services {
    /// Subscribes for a service.
    pub fn open(
        &mut self,
        out: &mut dyn Outlet,
        account: AccountId,
        pattern: &[u8],
        queue: &[u8],
        service: Service,
    ) -> ServiceId {
        let id = ServiceId(self.slab.insert(service));
        out.subscribe(account, pattern, queue, id);
        id
    }

    /// Ends a subscription.
    pub fn close(&mut self, out: &mut dyn Outlet, id: ServiceId) {
        assert_ne!(*self.slab.get(id.0), Service::Free, "a service is closed once");
        self.slab.remove(id.0);
        out.unsubscribe(id);
    }

    /// What a number stands for; [`Service::Free`] if it was closed while the message was on its
    /// way.
    #[inline]
    pub fn get(&self, id: ServiceId) -> Service {
        *self.slab.get(id.0)
    }
}
