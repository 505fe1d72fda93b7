//! Streams: what they are, and what may be done to them.
//!
//! A message takes this way: [`Stream::ingest`] reads its header once ([`options`]), judges it
//! ([`admit`]), appends it to the log and applies what follows from it ([`ingest`]); its
//! acknowledgement waits in [`acks`] until the log says that it is durable. Only then do consumers
//! see it.

pub(crate) mod acks;
mod admit;
pub(crate) mod batch;
pub(crate) mod check;
pub(crate) mod check_sources;
pub(crate) mod codec;
pub mod config;
mod counter;
mod cron;
mod dedupe;
pub(crate) mod direct;
mod expiry;
mod held;
mod inflow;
mod ingest;
mod interest;
pub(crate) mod life;
pub(crate) mod options;
pub(crate) mod publication;
pub(crate) mod purge;
mod recall;
mod schedule;
pub(crate) mod update;
mod upstream;

pub use config::StreamConfig;

use base::{AccountId, Moment, Random, ServiceId, Time, Wall};
use storage::{LogId, Store};
use subjects::Transform;

use crate::{
    Config, Services, StreamId, config::AccountLimits, consumer::Consumers, parcel::Parcel,
};
use dedupe::Dedupe;
use expiry::Expiry;
use held::Held;
use recall::Recall;
use upstream::Upstream;

/// What a stream is, apart from its consumers.
#[derive(Debug)]
pub struct Core {
    /// Its place.
    pub id: StreamId,
    /// Whose it is.
    pub account: AccountId,
    /// Its configuration.
    pub config: StreamConfig,
    /// When it was made.
    pub created: Wall,
    /// Its messages.
    pub log: LogId,
    /// The last message that may be seen: durable, if that was asked for. Consumers deliver
    /// nothing beyond.
    pub visible: u64,
}

/// A stream with its consumers.
#[derive(Debug)]
pub struct Stream {
    /// The stream itself.
    pub core: Core,
    /// Its consumers. They are called with a [`View`] of the stream and never call it; what they
    /// want done stands in [`View::wanted`] afterwards.
    pub consumers: Consumers,
    /// Its subscriptions.
    pub(crate) services: StreamServices,
    /// `{"stream":"…","seq":`, with the domain if there is one.
    ack_head: Vec<u8>,
    transform: Option<Transform>,
    republish: Option<Transform>,
    dedupe: Dedupe,
    /// What follows the sequence in the acknowledgement of the message at hand; empty for nothing.
    ack_suffix: Vec<u8>,
    /// Messages that wait, in order, since the first of them needs a read from disk.
    held: Held,
    is_held_by_read: bool,
    batches: batch::Batches,
    schedules: schedule::Schedules,
    /// The `Nats-Msg-Id` of the last message; empty without one.
    last_id: Vec<u8>,
    expiry: Expiry,
    /// Streams that messages are taken from.
    upstreams: Vec<Upstream>,
    /// Upstreams that there have been.
    upstream_count: u32,
    /// What is still to be learned from stored headers after a start.
    recall: Option<Recall>,
    /// Bytes that the account was told this stream holds.
    counted_bytes: u64,
    /// Consumers that the account was told this stream has.
    counted_consumers: usize,
    /// When the stream is due next; what the list of due streams says if it is not out of date.
    pub(crate) due: Time,
    /// The time of its entry in the list of due streams that counts; others are out of date.
    pub(crate) scheduled: Time,
    /// Is it on the list of streams that something happened to?
    pub(crate) is_listed: bool,
    /// The first sequence that consumers have not been told of.
    untold: u64,
}

/// The subscriptions of a stream.
#[derive(Debug, Default)]
pub(crate) struct StreamServices {
    /// For each of its subjects.
    pub(crate) ingest: Vec<(String, ServiceId)>,
    /// For direct gets, by sequence and by subject.
    pub(crate) direct: Vec<ServiceId>,
    /// For direct gets of the stream it mirrors.
    pub(crate) mirror_direct: Vec<ServiceId>,
}

/// What a stream must do for its consumers after a call of theirs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// A consumer is done with a message (acknowledged, terminated, or it needs no
    /// acknowledgement): under work-queue retention it goes, under interest retention it goes if
    /// no consumer [`Consumers::needs`] it.
    Done(u64),
    /// A consumer is done with every message it wants up to and including this one.
    DoneUpTo(u64),
    /// Consumers came, went or changed: under interest retention messages may have become
    /// unwanted.
    InterestChanged,
}

/// A stream and its surroundings, as its consumers see them for the length of a call.
#[derive(Debug)]
pub struct View<'a> {
    /// What time it is.
    pub now: Moment,
    /// The server's configuration.
    pub server: &'a Config,
    /// The account's name.
    pub account_name: &'a str,
    /// What the account may use.
    pub limits: &'a AccountLimits,
    /// Consumers of the account in all its streams.
    pub account_consumers: usize,
    /// The stream.
    pub core: &'a Core,
    /// Where its messages are; consumers keep their notes under keys that begin with `c/`.
    pub store: &'a mut Store,
    /// Subscriptions.
    pub services: &'a mut Services,
    /// Names.
    pub random: &'a mut Random,
    /// A buffer to build messages in.
    pub parcel: &'a mut Parcel,
    /// What the stream is to do after the call.
    pub wanted: &'a mut Vec<Wanted>,
}
