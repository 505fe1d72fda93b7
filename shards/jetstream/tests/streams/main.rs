//! Streams from outside: requests, publishes and what is answered, with time as an input.

mod backup;
mod expiry;
mod oracle;
mod recovery;
mod requests;
mod world;
