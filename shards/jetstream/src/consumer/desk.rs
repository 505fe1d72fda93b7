//! What a consumer works with for the length of a call.

use base::{AccountId, Time};

use crate::{Outlet, parcel::Parcel, stream::View};

/// The stream's side of a call, and the way out.
pub(crate) struct Desk<'v, 'a> {
    pub(crate) view: &'v mut View<'a>,
    pub(crate) out: &'v mut dyn Outlet,
}

impl Desk<'_, '_> {
    pub(crate) fn now(&self) -> Time {
        self.view.now.time
    }

    /// The names of the stream and of the domain, which every event carries.
    pub(crate) fn stream_and_domain(&self) -> (String, String) {
        (self.view.core.config.name.clone(), self.view.server.domain.clone())
    }

    /// Sends a message that has only a status.
    pub(crate) fn send_status(&mut self, subject: &[u8], status: &str) {
        let account = self.view.core.account;
        send_status(self.view.parcel, self.out, account, subject, status);
    }

    /// Sends the end of a request: a status, and what of it was left.
    pub(crate) fn send_end(&mut self, reply: &[u8], status: &str, messages: i64, bytes: i64) {
        let account = self.view.core.account;
        send_end(self.view.parcel, self.out, account, reply, status, (messages, bytes));
    }
}

/// As [`Desk::send_status`], while the store is borrowed.
pub(crate) fn send_status(
    parcel: &mut Parcel,
    out: &mut dyn Outlet,
    account: AccountId,
    subject: &[u8],
    status: &str,
) {
    parcel.status(status).send(out, account, subject, b"");
}

/// As [`Desk::send_end`], while the store is borrowed.
pub(crate) fn send_end(
    parcel: &mut Parcel,
    out: &mut dyn Outlet,
    account: AccountId,
    reply: &[u8],
    status: &str,
    (messages, bytes): (i64, i64),
) {
    parcel.status(status);
    parcel.line("Nats-Pending-Messages", messages.to_string().as_bytes());
    parcel.line("Nats-Pending-Bytes", bytes.to_string().as_bytes());
    parcel.send(out, account, reply, b"");
}
