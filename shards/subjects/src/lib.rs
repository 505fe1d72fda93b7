//! Subjects: their grammar ([`grammar`]) and who wants them ([`Index`]).
//!
//! One [`Index`] holds what one core knows of one subject space: its own subscriptions in full and
//! every other core as interest (design section 3). Literal subscriptions live in one hash table,
//! found by one probe; patterns and queue groups in a trie whose answer is remembered per subject.

mod buckets;
mod compact;
pub mod grammar;
mod index;
mod literals;
mod subscription;
pub mod transform;
mod trie;

pub use index::{Change, Index, InvalidSubject, Lists, Route};
pub use subscription::{Sid, Sids, SubId, Subscription, Subscriptions};
pub use transform::{Transform, TransformFault};
pub use trie::{Leaf, QueueGroup};
