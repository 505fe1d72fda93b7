//! Accounts: who may come in, what they may do, and what accounts share with each other.
//!
//! The [`Directory`] is an immutable snapshot, one copy per core. It is built from the
//! configuration or from JWTs, and replaced whole by a reload.

mod model;

pub use model::{
    Account, Directory, Export, ExportKind, Grant, Latency, Limits, Mapping, MappingTarget,
    Permissions, ResponsePermission, ResponseType, Rule, ServiceImport, StreamImport,
};
