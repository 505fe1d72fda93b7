//! Single messages are looked at and removed.

use storage::{Entry, Fetched, LogId, Store};

use super::request::Request;
use super::verbs::Verb;
use super::{Call, Outcome};
use crate::error::{Fault, table};
use crate::json::{Decoder, Node, Writer};
use crate::stamp::Stamp;
use crate::stream::config::Storage;
use crate::stream::direct::{Found, find};
use crate::{JetStream, Outlet};

/// Which messages a request wants to see.
#[derive(Clone, Debug, Default)]
pub(crate) struct Look {
    pub(crate) sequence: u64,
    pub(crate) last_by: String,
    pub(crate) next_by: String,
    pub(crate) batch: i64,
    pub(crate) bytes: i64,
    pub(crate) start: Option<Stamp>,
    pub(crate) multi: Vec<String>,
    pub(crate) up_to: u64,
    pub(crate) up_to_time: Option<Stamp>,
    pub(crate) no_header: bool,
}

impl Look {
    pub(crate) fn take(&mut self, decoder: &mut Decoder, node: &Node<'_>) {
        decoder.object(node, "server.JSApiMsgGetRequest", |decoder, name, field| {
            match name {
                "seq" => decoder.integer(field, "uint64", &mut self.sequence),
                "last_by_subj" => decoder.text(field, &mut self.last_by),
                "next_by_subj" => decoder.text(field, &mut self.next_by),
                "batch" => decoder.integer(field, "int", &mut self.batch),
                "max_bytes" => decoder.integer(field, "int", &mut self.bytes),
                "start_time" => decoder.time(field, &mut self.start),
                "multi_last" => decoder.texts(field, &mut self.multi),
                "up_to_seq" => decoder.integer(field, "uint64", &mut self.up_to),
                "up_to_time" => decoder.time(field, &mut self.up_to_time),
                "no_hdr" => decoder.bool(field, &mut self.no_header),
                _ => return false,
            }
            true
        });
    }

    fn read(request: &Request<'_>, strict: bool) -> Result<Self, Fault> {
        let mut look = Self::default();
        request.decode("JSApiMsgGetRequest", strict, |decoder, node| look.take(decoder, node))?;
        Ok(look)
    }

    /// Does it ask for one message, and only in one way?
    fn is_for_one(&self) -> bool {
        let (sequence, time) = (self.sequence > 0, self.start.is_some());
        let (last, next) = (!self.last_by.is_empty(), !self.next_by.is_empty());
        let nothing = !sequence && !time && !last && !next;
        let several = self.batch > 0 || self.bytes > 0;
        let starts = [sequence, time, last].iter().filter(|given| **given).count();
        !(nothing || several || starts > 1 || last && next)
    }

    /// The sequence that it starts at.
    pub(crate) fn from(&self, store: &mut Store, log: LogId) -> Found {
        match self.start {
            Some(start) => find::at_time(store, log, start.wall()),
            None => Found::At(self.sequence),
        }
    }
}

impl JetStream {
    /// `STREAM.MSG.GET`.
    pub(super) fn message_get(
        &mut self,
        call: &Call<'_>,
        writer: &mut Writer<'_>,
    ) -> Result<Outcome, Fault> {
        if call.request.is_empty() {
            return Err(table::BAD_REQUEST);
        }
        let look = Look::read(call.request, self.ground.config.strict)?;
        if !look.is_for_one() {
            return Err(table::BAD_REQUEST);
        }
        let name = call.stream(Verb::MessageGet);
        let id = self.find_stream(call.account, name)?;
        let log = self.stream(id).core.log;
        let store = &mut self.ground.store;
        let from = match look.from(store, log) {
            Found::At(from) => from,
            Found::Reading(read) => return Ok(Outcome::Reading(read)),
        };
        let sequence = find::one(store, log, &look, from).ok_or(table::NO_MESSAGE_FOUND)?;
        match store.fetch(log, sequence) {
            Fetched::Here(entry) => put_message(writer, &entry, look.no_header),
            Fetched::Reading(read) => return Ok(Outcome::Reading(read)),
            Fetched::Missing | Fetched::Damaged => return Err(table::NO_MESSAGE_FOUND),
        }
        Ok(Outcome::Answered)
    }

    /// `STREAM.MSG.DELETE`.
    pub(super) fn message_delete(
        &mut self,
        call: &Call<'_>,
        writer: &mut Writer<'_>,
        out: &mut dyn Outlet,
    ) -> Result<Outcome, Fault> {
        if call.request.is_empty() {
            return Err(table::BAD_REQUEST);
        }
        let (mut sequence, mut no_erase) = (0_u64, false);
        let strict = self.ground.config.strict;
        call.request.decode("JSApiMsgDeleteRequest", strict, |decoder, node| {
            decoder.object(node, "server.JSApiMsgDeleteRequest", |decoder, name, field| {
                match name {
                    "seq" => decoder.integer(field, "uint64", &mut sequence),
                    "no_erase" => decoder.bool(field, &mut no_erase),
                    _ => return false,
                }
                true
            });
        })?;
        let id = self.find_stream(call.account, call.stream(Verb::MessageDelete))?;
        let config = &self.stream(id).core.config;
        if config.sealed {
            return Err(table::STREAM_SEALED);
        }
        if config.deny_delete {
            return Err(table::STREAM_MSG_DELETE_FAILED.because("message delete not permitted"));
        }
        if config.storage == Storage::File {
            let log = self.ground.store.log(self.stream(id).core.log);
            let failed = table::STREAM_MSG_DELETE_FAILED;
            if sequence > log.last() {
                return Err(failed.because("stream store EOF"));
            }
            if sequence < log.first() {
                return Err(failed.because("no message found"));
            }
        }
        let (stream, mut site) = self.at_stream(id, call.now, out);
        if !stream.remove(&mut site, sequence, !no_erase) {
            return Err(table::SEQUENCE_NOT_FOUND.with("{seq}", sequence));
        }
        stream.attend(&mut site);
        stream.count(&mut site);
        stream.list(&mut site);
        writer.flag("success", true);
        Ok(Outcome::Answered)
    }
}

fn put_message(writer: &mut Writer<'_>, entry: &Entry<'_>, no_header: bool) {
    let mut message = Writer::open(writer.field("message"));
    message.text("subject", &String::from_utf8_lossy(entry.subject));
    message.natural("seq", entry.sequence);
    if entry.header > 0 && !no_header {
        put_base64(message.field("hdrs"), entry.header_block());
    }
    if !entry.payload().is_empty() {
        put_base64(message.field("data"), entry.payload());
    }
    Stamp::from(entry.wall).put(message.field("time"));
    message.close();
}

/// Writes bytes as JSON text in base 64 (RFC 4648, section 4).
fn put_base64(out: &mut Vec<u8>, bytes: &[u8]) {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    out.push(b'"');
    for group in bytes.chunks(3) {
        let mut word = 0_u32;
        for place in 0..3 {
            word = word << 8 | u32::from(group.get(place).copied().unwrap_or(0));
        }
        for place in 0..4 {
            if place > group.len() {
                out.push(b'=');
            } else {
                out.push(DIGITS[(word >> (18 - 6 * place) & 63) as usize]);
            }
        }
    }
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_in_base_64() {
        for (bytes, expected) in
            [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg==")]
        {
            let mut out = Vec::new();
            put_base64(&mut out, bytes.as_bytes());
            assert_eq!(out, format!("\"{expected}\"").as_bytes());
        }
    }
}
