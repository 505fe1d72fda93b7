//! The client protocol: bytes to operations ([`parse`]) and messages to bytes ([`encode`]).
//!
//! Incremental at any byte boundary and without copies: an operation borrows from the input, and
//! input that ends within an operation is handed in again, longer. Spec section 1.

pub mod encode;
pub mod parse;
pub mod proxy;
pub mod upgrade;
pub mod websocket;

pub use encode::Message;
pub use parse::{Fault, Operation, PublishLine, Step, quick_publish, step};
