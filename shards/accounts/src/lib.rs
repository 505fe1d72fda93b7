//! Accounts: who may come in, what they may do, and what accounts share with each other.
//!
//! The [`Directory`] is an immutable snapshot, one copy per core. It is built from the
//! configuration or from JWTs, and replaced whole by a reload.

mod answers;
mod model;
mod replies;
mod rights;
mod secret;
mod users;

pub use model::{
    Account, Directory, Export, ExportKind, Grant, Latency, Limits, Mapping, MappingTarget,
    Permissions, ResponsePermission, ResponseType, Rule, ServiceImport, StreamImport,
};
pub use rights::{Answer, Rights, Rules};
pub use secret::{Check, Outcome, Password, Proof, Secret, Signature};
pub use users::{Auth, ConnectionKind, ConnectionKinds, Simple, User};
