//! Everything one core owns, as one value: the [`Shard`].
//!
//! # Entry points
//! The reactor (or the simulator, or a test) hands in what happened and, once a turn, asks what is
//! to be done: [`Shard::begin_turn`], [`Shard::accept_frames`], [`Shard::accepted`],
//! [`Shard::receive`], [`Shard::sent`], [`Shard::end_turn`] with its [`Effects`]. No call blocks,
//! reads a clock or returns a future.
//!
//! # The flush barrier
//! A client that sent SUB and got the PONG to a later PING relies on receiving what anyone
//! publishes from then on, on any core. The shard keeps this by order alone: a PONG is written only
//! when every frame of its core has been moved to the lanes, and the owner of a shard hands in what
//! its lanes hold before what its sockets hold. Whoever hears of the PONG and then publishes so
//! finds the interest in place. `docs/decisions/flush-barrier.md` has the argument.

mod admit;
mod amend;
mod batch;
mod callout;
mod census;
mod effects;
mod entrance;
mod frame;
mod imports;
mod inspect;
mod itinerary;
mod jetstream;
mod lame_duck;
mod latency;
mod membership;
mod outbox;
mod placement;
mod publish;
mod receive;
mod relay;
mod responses;
mod rights;
mod services;
mod shadows;
mod shard;
mod spaces;
mod stored;
mod subscribe;
mod timers;
mod trace;
mod train;
mod wires;

pub use accounts::{
    Amendment, Auth, Inquiry, Outcome, Password, Proof, Referral, Secret, Signature,
};
pub use admit::Claim;
pub use callout::{Composed, Dispatch, Errand};
pub use census::{AccountCensus, Census};
pub use effects::{Effects, Level, LogLine, Socket};
pub use inspect::{
    Answer, ConnectionFilter, ConnectionView, Happening, Question, Sighting, SlotSet, SortKey,
    SubscriptionFilter, SubscriptionView, Ticket,
};
pub use itinerary::{Ingress, Stop, TracePart};
pub use services::{Owner, Request};
pub use session::{
    Config, Cookies, Door, NonceKey, Peer, Reason, Secured, ShownCertificate, Stage, Statistics,
};
pub use session::{certificate, entrance as way_in};
pub use shard::Shard;
pub use stored::{StoredAccount, StoredCensus};
