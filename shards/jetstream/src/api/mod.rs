//! The API: requests on `$JS.API.…`, answered in JSON (spec 6.1).

mod account;
mod answer;
mod backup;
pub(crate) mod info;
mod messages;
mod request;
mod streams;
mod verbs;

pub use request::Request;

use base::{AccountId, Moment};

use crate::consumer::check_request;
use crate::error::{Fault, table};
use crate::json::Writer;
use crate::stream::options::{Options, number_of};
use crate::{JetStream, Outlet};
use verbs::Verb;

pub(crate) use answer::Answers;
pub(crate) use messages::Look;

/// The level of the API that is served (spec 6.1).
pub(crate) const API_LEVEL: u64 = 5;

/// The patterns that a server subscribes to for an account's requests, after `$JS.API.`. No two
/// match the same subject. They leave out what consumers and direct gets serve themselves, which
/// has no responders without them; all else is at least heard, known or not.
pub(crate) const SERVED: &[&str] = &[
    "*",
    "INFO.>",
    "STREAM.>",
    "CONSUMER.*",
    "CONSUMER.*.*",
    "CONSUMER.CREATE.*.>",
    "CONSUMER.DURABLE.*.>",
    "CONSUMER.NAMES.*.*",
    "CONSUMER.LIST.*.*",
    "CONSUMER.INFO.*.*",
    "CONSUMER.DELETE.*.*",
    "CONSUMER.PAUSE.*.*",
    "CONSUMER.UNPIN.*.*",
    "CONSUMER.LEADER.*.>",
    "CONSUMER.PEER.*.>",
    "META.>",
    "SERVER.>",
    "ACCOUNT.>",
];

/// What became of a request.
pub(crate) enum Outcome {
    /// The answer's fields after the `type`.
    Answered,
    /// The answer is complete, `type` and all.
    Complete,
    /// A message has to be read first: the request is served again then.
    Reading(storage::ReadId),
}

/// A request, and who made it when.
#[derive(Clone, Copy)]
pub(crate) struct Call<'a> {
    pub(crate) request: &'a Request<'a>,
    pub(crate) account: AccountId,
    pub(crate) now: Moment,
}

impl Call<'_> {
    /// The stream that the request names.
    pub(crate) fn stream(&self, verb: Verb) -> &str {
        // Here, the name of the request has a word more.
        let place = match self.request.token(4) {
            b"DURABLE" => verb.stream_token() + 1,
            _ => verb.stream_token(),
        };
        std::str::from_utf8(self.request.token(place)).unwrap_or_default()
    }
}

impl JetStream {
    /// Serves a request to the API.
    pub(crate) fn serve_api(
        &mut self,
        now: Moment,
        account: AccountId,
        request: &Request<'_>,
        out: &mut dyn Outlet,
    ) {
        let Some(verb) = Verb::of(request.subject) else { return };
        let call = Call { request, account, now };
        let ordered = self.ground.store.ordered();
        let mut answer = Vec::new();
        let mut writer = Writer::open(&mut answer);
        writer.text("type", &verb.kind());
        let (is_error, outcome) = match self.serve(verb, &call, &mut writer, out) {
            Ok(outcome) => (false, outcome),
            Err(fault) => {
                writer = restart(verb, &mut answer);
                fault.put(writer.field("error"));
                verb.put_rest_of_error(&mut writer);
                (true, Outcome::Answered)
            }
        };
        match outcome {
            Outcome::Reading(read) => return self.answers.wait(read, &call),
            Outcome::Complete => {}
            Outcome::Answered => writer.close(),
        }
        let is_counted = is_error || verb != Verb::MessageGet;
        let position = self.ground.store.ordered();
        // A purge that finds nothing says that nothing is there: what took it away before may not
        // be durable yet.
        let is_read = position == ordered && verb != Verb::StreamPurge;
        let position = if is_read { None } else { Some(position.0) };
        self.answers.push(answer::Answer::new(&call, answer, is_counted, is_error), position);
        self.send_answers(out);
    }

    fn serve(
        &mut self,
        verb: Verb,
        call: &Call<'_>,
        writer: &mut Writer<'_>,
        out: &mut dyn Outlet,
    ) -> Result<Outcome, Fault> {
        if !is_level_served(Options::read(call.request.header).api_level) {
            return Err(table::REQUIRED_API_LEVEL);
        }
        if matches!(verb, Verb::Clustered(_)) {
            return Err(table::CLUSTER_REQUIRED);
        }
        if self.account(call.account).is_none() {
            return Err(table::NOT_ENABLED_FOR_ACCOUNT);
        }
        match verb {
            Verb::Info => self.account_info(call, writer),
            Verb::StreamCreate => return self.stream_create(call, writer, out),
            Verb::StreamUpdate => return self.stream_update(call, writer, out),
            Verb::StreamNames => return self.stream_names(call, writer),
            Verb::StreamList => return self.stream_list(call, writer),
            Verb::StreamInfo => return self.stream_info(call, writer),
            Verb::StreamDelete => return self.stream_delete(call, writer, out),
            Verb::StreamPurge => return self.stream_purge(call, writer, out),
            Verb::StreamSnapshot => return self.stream_snapshot(call, writer, out),
            Verb::StreamRestore => return self.stream_restore(call, writer, out),
            Verb::MessageGet => return self.message_get(call, writer),
            Verb::MessageDelete => return self.message_delete(call, writer, out),
            Verb::Clustered(_) => unreachable!("it was refused"),
            Verb::Consumer(_) => return self.consumer_request(verb, call, writer, out),
        }
        Ok(Outcome::Answered)
    }

    /// A request about consumers goes to the stream's.
    fn consumer_request(
        &mut self,
        verb: Verb,
        call: &Call<'_>,
        writer: &mut Writer<'_>,
        out: &mut dyn Outlet,
    ) -> Result<Outcome, Fault> {
        let id = match self.find_stream(call.account, call.stream(verb)) {
            Ok(id) => id,
            Err(fault) => {
                check_request(&self.ground.config, call.request)?;
                return Err(fault);
            }
        };
        let (stream, mut site) = self.at_stream(id, call.now, out);
        let answer = writer.whole();
        answer.clear();
        let mut view = site.ground.view(site.now, &stream.core, site.account);
        let asked = stream.consumers.request(&mut view, call.request, answer, site.out);
        stream.attend(&mut site);
        stream.count(&mut site);
        stream.list(&mut site);
        asked.map(|()| Outcome::Complete)
    }
}

/// Starts an answer over.
fn restart(verb: Verb, answer: &mut Vec<u8>) -> Writer<'_> {
    answer.clear();
    let mut writer = Writer::open(answer);
    writer.text("type", &verb.kind());
    writer
}

/// Is a request with this subject served by the API itself?
pub(crate) fn is_served(subject: &[u8]) -> bool {
    Verb::of(subject).is_some()
}

/// Is the level that a request needs one that is served here?
pub(crate) fn is_level_served(wanted: &[u8]) -> bool {
    let digits = wanted.strip_prefix(b"+").unwrap_or(wanted);
    let negative = wanted.strip_prefix(b"-").is_some_and(|digits| number_of(digits).is_some());
    wanted.is_empty() || negative || number_of(digits).is_some_and(|level| level <= API_LEVEL)
}
