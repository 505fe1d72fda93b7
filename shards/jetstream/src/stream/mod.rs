//! Streams.

pub mod config;

pub use config::StreamConfig;

use base::{AccountId, Moment, Random, Wall};
use storage::{LogId, Store};

use crate::{
    Config, Services, StreamId, config::AccountLimits, consumer::Consumers, parcel::Parcel,
};

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
