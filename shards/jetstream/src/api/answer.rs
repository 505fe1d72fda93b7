//! Answers on their way: they wait until what they tell of is durable, and every one of them is an
//! event for those who audit.

use std::collections::VecDeque;

use base::AccountId;
use base::limits::API_WAITING_MAX;
use storage::{Position, ReadId};

use super::{Call, Request};
use crate::advisory;
use crate::{ClientInfo, JetStream, Outlet};

/// An answer with the request that it is for.
#[derive(Debug)]
pub(crate) struct Answer {
    account: AccountId,
    reply: Box<[u8]>,
    subject: Box<[u8]>,
    request: Box<[u8]>,
    client: Box<[u8]>,
    text: Vec<u8>,
    is_counted: bool,
    is_error: bool,
}

impl Answer {
    pub(crate) fn new(call: &Call<'_>, text: Vec<u8>, is_counted: bool, is_error: bool) -> Self {
        Self {
            account: call.account,
            reply: call.request.reply.into(),
            subject: call.request.subject.into(),
            request: call.request.body.into(),
            client: call.request.client.json.into(),
            text,
            is_counted,
            is_error,
        }
    }
}

/// A request that waits for a message to be read.
#[derive(Debug)]
pub(crate) struct Waiting {
    read: ReadId,
    pub(crate) account: AccountId,
    subject: Box<[u8]>,
    reply: Box<[u8]>,
    header: Box<[u8]>,
    body: Box<[u8]>,
    client: Box<[u8]>,
    is_system: bool,
}

impl Waiting {
    pub(crate) fn request(&self) -> Request<'_> {
        Request {
            subject: &self.subject,
            reply: &self.reply,
            header: &self.header,
            body: &self.body,
            client: ClientInfo { json: &self.client, is_system: self.is_system },
        }
    }
}

/// Answers and requests that wait for the disk.
#[derive(Debug, Default)]
pub(crate) struct Answers {
    held: VecDeque<(Position, Answer)>,
    waiting: Vec<Waiting>,
}

impl Answers {
    /// Takes an answer that may be sent once the position is durable.
    pub(crate) fn push(&mut self, answer: Answer, position: Option<Position>) {
        self.held.push_back((position.unwrap_or(Position::START), answer));
    }

    /// Takes an answer to what was no request to the API.
    pub(crate) fn push_plain(
        &mut self,
        account: AccountId,
        reply: &[u8],
        text: Vec<u8>,
        position: Position,
    ) {
        let answer = Answer {
            account,
            reply: reply.into(),
            subject: Box::default(),
            request: Box::default(),
            client: Box::default(),
            text,
            is_counted: false,
            is_error: false,
        };
        self.held.push_back((position, answer));
    }

    /// Takes a request that has to wait for a read.
    pub(crate) fn wait(&mut self, read: ReadId, call: &Call<'_>) {
        if self.waiting.len() >= API_WAITING_MAX {
            // As when the reference's queue is full: the request is as good as lost.
            return;
        }
        let request = call.request;
        self.waiting.push(Waiting {
            read,
            account: call.account,
            subject: request.subject.into(),
            reply: request.reply.into(),
            header: request.header.into(),
            body: request.body.into(),
            client: request.client.json.into(),
            is_system: request.client.is_system,
        });
    }

    /// Takes out the requests whose read has come to an end.
    pub(crate) fn take_ready(&mut self, finished: &[ReadId]) -> Vec<Waiting> {
        self.waiting.extract_if(.., |waiting| finished.contains(&waiting.read)).collect()
    }

    /// Is an answer held back that may go?
    pub(crate) fn is_due(&self, durable: storage::Durable) -> bool {
        self.held.iter().any(|(position, _)| durable.covers(*position))
    }
}

impl JetStream {
    /// Sends the answers that may go.
    pub(crate) fn send_answers(&mut self, out: &mut dyn Outlet) {
        let durable = self.ground.store.durable();
        let mut place = 0;
        while let Some((position, _)) = self.answers.held.get(place) {
            if durable.covers(*position) {
                let (_, answer) = self.answers.held.remove(place).expect("it is there");
                self.send_answer(&answer, out);
            } else {
                place += 1;
            }
        }
    }

    fn send_answer(&mut self, answer: &Answer, out: &mut dyn Outlet) {
        if !answer.is_counted {
            let parcel = self.ground.parcel.clear().body(&answer.text);
            parcel.send(out, answer.account, &answer.reply, b"");
            return;
        }
        let totals = &mut self.ground.totals;
        totals.api_total += 1;
        totals.api_errors += u64::from(answer.is_error);
        if let Some(Some(account)) = self.accounts.get_mut(answer.account.index()) {
            account.api_total += 1;
            account.api_errors += u64::from(answer.is_error);
        }
        if !answer.reply.is_empty() {
            let parcel = self.ground.parcel.clear().body(&answer.text);
            parcel.send(out, answer.account, &answer.reply, b"");
        }
        self.audit(answer, out);
    }

    /// Tells those who listen what was asked and answered (spec 6.15).
    fn audit(&mut self, answer: &Answer, out: &mut dyn Outlet) {
        const SUBJECT: &[u8] = b"$JS.EVENT.ADVISORY.API";
        let now = self.now;
        let server = self.ground.config.server_name.clone();
        let domain = self.ground.config.domain.clone();
        let to = (answer.account, SUBJECT);
        advisory::publish(&mut self.ground, out, now, to, "api_audit", |writer| {
            writer.text("server", &server);
            let client: &[u8] = if answer.client.is_empty() { b"{}" } else { &answer.client };
            writer.field("client").extend_from_slice(client);
            writer.text("subject", &String::from_utf8_lossy(&answer.subject));
            writer.text_unless_empty("request", &String::from_utf8_lossy(&answer.request));
            writer.text("response", &String::from_utf8_lossy(&answer.text));
            writer.text_unless_empty("domain", &domain);
        });
    }
}
