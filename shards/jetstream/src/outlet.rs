//! What JetStream needs of the shard around it.

use base::{AccountId, ids::ServiceId};

/// The shard around JetStream. Every call is synchronous; none may call back into JetStream.
pub trait Outlet {
    /// Hands a message to ordinary routing. True if anyone got it, here or on another core.
    fn publish(&mut self, account: AccountId, message: &wire::Message<'_>) -> bool;

    /// Hands a message to the subscribers of `route`, who see `message.subject`: what a consumer
    /// delivers keeps the subject it was stored under. True if anyone got it, here or on another
    /// core.
    fn deliver(&mut self, account: AccountId, route: &[u8], message: &wire::Message<'_>) -> bool;

    /// From now on, messages of the account on subjects that match go to
    /// [`JetStream::receive`](crate::JetStream::receive) under `service`. One service has one
    /// subscription; an empty queue is none.
    fn subscribe(&mut self, account: AccountId, pattern: &[u8], queue: &[u8], service: ServiceId);

    /// Ends the subscription of a service.
    fn unsubscribe(&mut self, service: ServiceId);

    /// Would a message be delivered to anyone now, on any core?
    fn is_wanted(&mut self, account: AccountId, subject: &[u8]) -> bool;

    /// Does anyone, on any core, subscribe to exactly this subject: in the queue group if one is
    /// named, and in none otherwise?
    fn is_subscribed(&mut self, account: AccountId, subject: &[u8], queue: &[u8]) -> bool;

    /// Rises when interest in anything changed.
    fn interest_version(&self) -> u64;
}

/// Who sent a request, as far as it is known.
#[derive(Clone, Copy, Debug, Default)]
pub struct ClientInfo<'a> {
    /// The JSON object that describes the client in advisories (spec 7.1); empty if unknown.
    pub json: &'a [u8],
    /// Is the sender a client of the system account?
    pub is_system: bool,
}
