//! Accounts: who may come in, what they may do, and what accounts share with each other.
//!
//! The [`Directory`] is an immutable snapshot, one copy per core. It is built from the
//! configuration or from JWTs, and replaced whole by a reload. Exports and imports enter it by
//! `add_…`, which check what the reference checks; what is in it is ready for use.

mod answers;
pub mod callout;
mod exchange;
mod imports;
mod ledger;
mod mapping;
mod model;
mod operator;
mod replies;
mod rights;
mod secret;
mod statement;
mod template;
mod token;
mod users;
mod validity;

pub use callout::{Callout, CalloutFault, Inquiry, Referral};
pub use exchange::ExchangeFault;
pub use imports::{ServiceImport, StreamImport};
pub use ledger::{Amended, Amendment, Ledger, NotVouched};
pub use mapping::{Mapping, MappingFault, MappingTarget};
pub use model::{
    Account, Directory, Export, ExportKind, Grant, Latency, Limits, Permissions,
    ResponsePermission, ResponseType, Rule, StorageLimits,
};
pub use operator::{Admitted, Bearer, Operator, TokenFault, Trusted};
pub use rights::{Answer, Rights, Rules};
pub use secret::{Check, Outcome, Password, Proof, Secret, Signature};
pub use statement::{Statement, StatementFault};
pub use token::{Claims, Token};
pub use users::{Auth, ConnectionKind, ConnectionKinds, Simple, User};
