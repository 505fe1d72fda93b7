//! Messages cross from one account to another: streams to their importers, requests to the services
//! of others, responses back (spec 3.3). `docs/decisions/imports.md` tells how this spans cores.
//!
//! What a message meets beside plain subscriptions is noted while it is delivered, and dealt with
//! here once that is done: [`Scratch::apart`] has special subscriptions, [`Scratch::bound`] the
//! services that are imported under its subject.
//!
//! [`Scratch::apart`]: crate::publish::Scratch
//! [`Scratch::bound`]: crate::publish::Scratch

use accounts::{Account, ExportKind, ResponseType, ServiceImport};
use base::limits::{IMPORT_CHAIN_MAX, RESPONSE_THRESHOLD_DEFAULT};
use base::text::Decimal;
use base::{AccountId, Duration, Slot};
use subjects::SubId;
use wire::Message;

use crate::latency::{ClientInfo, INFO_HEADER, Outcome, Sampled};
use crate::publish::Origin;
use crate::responses::{self, ExportId, PREFIX, Prefix, Response};
use crate::services::SERVICES;
use crate::shadows::Special;
use crate::shard::Shard;

/// One account after the other that a request passes through, and who asked.
#[derive(Debug, Default)]
pub(crate) struct Chain {
    exports: Vec<Option<ExportId>>,
    asker: Option<ClientInfo>,
    share: bool,
}

/// A sender on another core, as it introduced itself ahead of a response that is measured.
#[derive(Clone, Debug, Default)]
pub(crate) struct Introduced {
    pub(crate) info: String,
    pub(crate) round_trip: Duration,
}

impl Shard {
    /// Delivers a message to what it met beside plain subscriptions. True if anyone gets it.
    #[cold]
    pub(crate) fn deliver_apart(
        &mut self,
        account: AccountId,
        message: &Message<'_>,
        origin: Option<Origin>,
    ) -> bool {
        let mut delivered = false;
        let apart = std::mem::take(&mut self.scratch.apart);
        let bound = std::mem::take(&mut self.scratch.bound);
        for id in &apart {
            delivered |= match self.shadows.kind(*id) {
                Special::Shadow { importer, import } => {
                    self.deliver_shadow(*id, (importer, import), message, origin)
                }
                Special::Responses => self.respond(account, message, origin),
            };
        }
        for import in &bound {
            delivered |= self.request(account, *import, message, origin);
        }
        // The lists go back with their memory, unless a message on the way left others.
        self.scratch.apart = apart;
        self.scratch.apart.clear();
        self.scratch.bound = bound;
        self.scratch.bound.clear();
        delivered
    }

    /// Delivers a message of an imported stream to one of its importers.
    fn deliver_shadow(
        &mut self,
        id: SubId,
        (importer, import): (AccountId, u32),
        message: &Message<'_>,
        origin: Option<Origin>,
    ) -> bool {
        // What was imported as a service goes no further as a stream.
        if self.scratch.imported {
            return false;
        }
        let subscription = self.spaces.subscriptions.get(id);
        let (slot, sid) = (subscription.connection(), subscription.sid);
        let connection = self.wires.get(slot);
        if !connection.is_open()
            || !Origin::reaches(origin, slot)
            || self.wires.must_drop(connection)
        {
            return false;
        }
        let queue =
            if connection.guarded { self.spaces.describe(id).1.to_vec() } else { Vec::new() };
        let mut subject = std::mem::take(&mut self.scratch.arriving);
        let shared = &self.config.accounts.get(importer).stream_imports[import as usize];
        if self.scratch.target.is_empty() {
            shared.arrive(message.subject, &mut self.random, &mut subject);
        } else {
            // What keeps a subject of its own keeps it on the way, too.
            subject.clear();
            subject.extend_from_slice(message.subject);
        }
        let arriving = Message { subject: &subject, ..*message };
        if !self.wires.get(slot).admits(&subject, &queue) {
            self.scratch.arriving = subject;
            return false;
        }
        if self.scratch.traced.is_some() && !self.trace_shadow(id, (importer, import), &subject) {
            self.scratch.arriving = subject;
            return true;
        }
        self.spaces.subscriptions.get_mut(id).count_plain(1);
        let delivered = self.wires.deliver(slot, &arriving, sid, &self.spaces.subscriptions.sids);
        self.scratch.arriving = subject;
        delivered
    }

    /// A request goes to a service of another account. True if anyone there gets it.
    fn request(
        &mut self,
        importer: AccountId,
        import: u32,
        message: &Message<'_>,
        origin: Option<Origin>,
    ) -> bool {
        let directory = &self.config.accounts;
        let service = &directory.get(importer).service_imports[import as usize];
        let (exporter, own_share) = (service.account, service.share);
        let export = directory.get(exporter).service_export(&service.subject);
        let export = export.map(|(place, _)| (exporter, place as u32));
        let exports = &self.scratch.chain.exports;
        if exports.contains(&export) || exports.len() >= IMPORT_CHAIN_MAX {
            return false;
        }
        let mut subject = Vec::new();
        service.depart(message.subject, &mut self.random, &mut subject);
        let place = export.map(|(_, place)| place);
        let (aside, goes_on) = self.trace_request(exporter, place, (message.subject, &subject));
        if !goes_on {
            self.resume_trace(aside);
            return true;
        }
        let requestor = origin.map(|origin| origin.slot);
        let is_first = self.scratch.chain.exports.is_empty();
        let share = if is_first { own_share } else { self.scratch.chain.share };
        let asker = self.asker(requestor, (importer, exporter), share, own_share);
        let sampled = self.sample(export, message, requestor, (importer, own_share));
        let waits = self.await_response(
            (exporter, export),
            (importer, message.reply),
            (own_share, requestor),
            sampled,
        );
        let mut request = Vec::new();
        let header = put_request(message, &asker.json(), &mut request);
        let reply: &[u8] = match waits {
            Some(id) => &self.responses.get(id).here.1.clone(),
            None if message.reply.starts_with(b"$JS.ACK.") => message.reply,
            None => b"",
        };
        let sizes_bytes = header.1;
        let request =
            Message { subject: &subject, reply, header: header.0, tail: &request, sizes_bytes };
        let before = self.scratch.chain.asker.replace(asker);
        let delivered = self.pass_on((exporter, export, share), &request, origin);
        self.scratch.chain.asker = before;
        self.resume_trace(aside);
        if let Some(id) = waits.filter(|_| !delivered) {
            let response = self.responses.remove(id);
            self.report_end(&response, &Outcome::Nobody);
        }
        delivered
    }

    /// Publishes in the exporter's account what came from another.
    fn pass_on(
        &mut self,
        (account, export, share): (AccountId, Option<ExportId>, bool),
        message: &Message<'_>,
        origin: Option<Origin>,
    ) -> bool {
        let mut mapped = Vec::new();
        let changed = self.map_subject(account, message.subject, &mut mapped);
        let subject = if changed { &mapped[..] } else { message.subject };
        let message = Message { subject, ..*message };
        let share = std::mem::replace(&mut self.scratch.chain.share, share);
        self.scratch.chain.exports.push(export);
        let imported = std::mem::replace(&mut self.scratch.imported, true);
        let target = std::mem::take(&mut self.scratch.target);
        let route = self.spaces.at(account).route(subject);
        let speaks = subject.first() == Some(&b'$') && self.scratch.chain.exports.len() == 1;
        let speaker = origin.map(|origin| origin.slot).filter(|_| speaks);
        let delivered = match speaker {
            Some(slot) => self.deliver_spoken(account, route, &message, origin, slot),
            None => self.deliver(account, route, &message, origin),
        };
        self.scratch.target = target;
        self.scratch.imported = imported;
        self.scratch.chain.exports.pop();
        self.scratch.chain.share = share;
        delivered
    }

    /// Who asks, as the service is told.
    fn asker(
        &self,
        requestor: Option<Slot>,
        (importer, exporter): (AccountId, AccountId),
        share: bool,
        own_share: bool,
    ) -> ClientInfo {
        // Only along a chain has it been told before.
        let chain = &self.scratch.chain;
        let known = chain.asker.as_ref().filter(|_| !chain.exports.is_empty());
        let to_system = exporter == AccountId::SYSTEM;
        let (info, opens) = if let Some(known) = known {
            let name = &self.config.accounts.get(importer).name;
            (known.by_way_of(name), own_share || to_system)
        } else {
            let slot = requestor.unwrap_or(SERVICES);
            (self.client_info(slot, importer, share), to_system)
        };
        if opens && !share { self.with_server(info) } else { info }
    }

    /// Waits for the response to a request, if it has a reply subject to send it to.
    fn await_response(
        &mut self,
        (exporter, export): (AccountId, Option<ExportId>),
        (importer, reply): (AccountId, &[u8]),
        (share, requestor): (bool, Option<Slot>),
        sampled: Option<Box<Sampled>>,
    ) -> Option<u32> {
        if reply.is_empty() {
            if let Some(sampled) = sampled {
                self.report_no_reply(exporter, &sampled);
            }
            return None;
        }
        if reply.starts_with(b"$JS.ACK.") {
            return None;
        }
        if self.latency_of(export).is_some() {
            self.probe(requestor);
        }
        let (kind, threshold) = self.terms_of(export);
        let response = Response {
            there: (importer, reply.into()),
            export,
            kind,
            threshold,
            share,
            sampled: sampled.filter(|_| kind == ResponseType::Singleton),
            ..Response::default()
        };
        Some(self.wait(exporter, response))
    }

    /// Puts a request among those that wait, under a reply subject of the account given.
    fn wait(&mut self, account: AccountId, response: Response) -> u32 {
        if self.responses.is_full()
            && let Some(oldest) = self.responses.first()
        {
            self.give_up(oldest);
        }
        let prefix = self.prefix(account);
        let id = &self.config.server_id;
        let measured = response.sampled.is_some() && id.len() >= 8;
        let server = measured.then(|| id[id.len() - 8..].to_owned());
        let name = loop {
            let name = responses::new_name(&prefix, server.as_deref(), &mut self.random);
            if self.responses.find(account, &name).is_none() {
                break name;
            }
        };
        self.responses.add(Response { here: (account, name), since: self.now, ..response })
    }

    /// The prefix of the reply subjects that this core uses in an account.
    fn prefix(&mut self, account: AccountId) -> Prefix {
        let prefixes = &mut self.response_prefixes;
        if prefixes.len() <= account.index() {
            prefixes.resize(account.index() + 1, None);
        }
        if let Some(prefix) = prefixes[account.index()] {
            return prefix;
        }
        let prefix = responses::new_prefix(self.core, &mut self.random);
        self.response_prefixes[account.index()] = Some(prefix);
        self.listen_to_responses(account, &prefix);
        prefix
    }

    fn terms_of(&self, export: Option<ExportId>) -> (ResponseType, Duration) {
        let terms = export.and_then(|(account, place)| {
            match self.config.accounts.get(account).exports.get(place as usize)?.kind {
                ExportKind::Service { response, threshold, .. } => Some((response, threshold)),
                ExportKind::Stream => None,
            }
        });
        let (kind, threshold) = terms.unwrap_or_default();
        let default = RESPONSE_THRESHOLD_DEFAULT;
        (kind, if threshold.is_zero() { default } else { threshold })
    }

    /// A response goes back to the account that asked. True if anyone there gets it.
    fn respond(
        &mut self,
        account: AccountId,
        message: &Message<'_>,
        origin: Option<Origin>,
    ) -> bool {
        let Some(id) = self.responses.find(account, message.subject) else { return false };
        let response = self.responses.get(id);
        let (export, share, kind) = (response.export, response.share, response.kind);
        let (importer, subject) = response.there.clone();
        let exports = &self.scratch.chain.exports;
        if exports.contains(&export) || exports.len() >= IMPORT_CHAIN_MAX {
            return false;
        }
        self.report_answer(id, origin);
        let waits = self.await_answer(id, message.reply);
        let reply: &[u8] = match waits {
            Some(id) => &self.responses.get(id).here.1.clone(),
            None if message.reply.starts_with(b"$JS.ACK.") => message.reply,
            None => b"",
        };
        let answer = Message { subject: &subject, reply, ..*message };
        let delivered = self.pass_on((importer, export, share), &answer, origin);
        if let Some(id) = waits.filter(|_| !delivered) {
            self.responses.remove(id);
        }
        // It may be gone: nobody who hears the response is kept from leaving.
        if self.responses.find(account, message.subject) != Some(id) {
            return delivered;
        }
        let ends = kind == ResponseType::Singleton || message.size() == 0;
        if !delivered || ends {
            self.responses.remove(id);
        } else {
            self.responses.renew(id, self.now);
        }
        delivered
    }

    /// Waits for what a response may itself be answered with.
    fn await_answer(&mut self, id: u32, reply: &[u8]) -> Option<u32> {
        if reply.is_empty() || reply.starts_with(b"$JS.ACK.") {
            return None;
        }
        let Response { export, share, kind, threshold, ref here, ref there, .. } =
            *self.responses.get(id);
        let (account, importer) = (here.0, there.0);
        let response = Response {
            there: (account, reply.into()),
            export,
            kind,
            threshold,
            share,
            ..Response::default()
        };
        Some(self.wait(importer, response))
    }

    /// Publishes how long a response took, if that is wanted.
    fn report_answer(&mut self, id: u32, origin: Option<Origin>) {
        let response = self.responses.get_mut(id);
        let (account, since) = (response.here.0, response.since);
        let Some(mut sampled) = response.sampled.take() else { return };
        sampled.delivered = true;
        let introduced = std::mem::take(&mut self.scratch.introduced);
        let local = origin.filter(|origin| origin.slot != SERVICES);
        let local = local.map(|origin| self.client_info(origin.slot, account, true));
        let responder = match &local {
            Some(info) => Some((info.json(), info.round_trip)),
            None if introduced.info.is_empty() => None,
            None => Some((introduced.info, introduced.round_trip)),
        };
        let responder = responder.as_ref().map(|(info, trip)| (info.as_str(), *trip));
        self.report(account, &sampled, since, &Outcome::Answered(responder));
        // A response that waits on is not measured again, but is not one that failed either.
        self.responses.get_mut(id).sampled = Some(sampled);
    }

    /// Requests across accounts that wait for a response on this core.
    pub fn requests_waiting(&self) -> usize {
        self.responses.len()
    }

    /// Ends the wait for responses that did not come in time.
    pub(crate) fn expire_responses(&mut self) {
        while self.responses.next_due() <= self.now
            && let Some(id) = self.responses.first()
        {
            self.give_up(id);
        }
    }

    fn give_up(&mut self, id: u32) {
        let response = self.responses.remove(id);
        self.report_end(&response, &Outcome::Late);
    }

    /// Binds the services that accounts import to the subjects they are asked under.
    pub(crate) fn bind_imports(&mut self) {
        for account in 0..self.config.accounts.accounts.len() as u32 {
            self.rebind(AccountId(account), &[]);
        }
    }

    /// Binds what an account imports now, in place of what it imported before.
    fn rebind(&mut self, account: AccountId, before: &[ServiceImport]) {
        let index = self.spaces.at(account);
        for (place, import) in (0..).zip(before) {
            index.unbind(import.to.as_bytes(), place);
        }
        for (place, import) in (0..).zip(&self.config.accounts.get(account).service_imports) {
            let bound = index.bind(import.to.as_bytes(), place);
            bound.expect("an import has a pattern");
        }
    }

    /// Accounts are others than before, as given: what they import is bound anew, and what they
    /// store is limited anew. Nothing changes for who shares what it shared before.
    pub(crate) fn change_accounts(&mut self, before: &[(AccountId, &Account)]) {
        let mut recast = Vec::new();
        for (id, old) in before {
            // An account that was not there before has neither members nor subscriptions.
            let is_new = old.name.is_empty();
            let account = self.config.accounts.get(*id);
            let limited = |account: &Account| account.limits.connections.is_some();
            let newly_limited = limited(account) && !limited(old) && !is_new;
            let services_changed = old.service_imports != account.service_imports;
            if old.stream_imports != account.stream_imports && !is_new {
                recast.push(*id);
            }
            if newly_limited {
                self.count_members(*id);
            }
            if services_changed {
                self.rebind(*id, &old.service_imports);
            }
            self.change_storage(*id);
        }
        if !recast.is_empty() {
            self.recast_shadows(|account| recast.contains(&account));
        }
    }

    /// A subscription has gone: responses that nobody is left to hear are waited for no longer.
    pub(crate) fn forget_responses(&mut self, account: AccountId, pattern: &[u8]) {
        if self.responses.len() == 0 || pattern.starts_with(PREFIX) {
            return;
        }
        if !subjects::grammar::has_wildcard(pattern) {
            self.forget_response(account, pattern);
        } else if self.responses.len() <= SOUGHT_MAX {
            for target in self.responses.targets(account, pattern) {
                self.forget_response(account, &target);
            }
        }
    }

    fn forget_response(&mut self, account: AccountId, target: &[u8]) {
        if self.responses.find_target(account, target).is_none() || self.is_wanted(account, target)
        {
            return;
        }
        while let Some(id) = self.responses.find_target(account, target) {
            let response = self.responses.remove(id);
            self.report_end(&response, &Outcome::Unwanted);
        }
    }
}

/// Requests that wait up to which all are looked at when a subscription with wildcards goes, which
/// takes some 50 us; with more of them each waits until its time is over.
const SOUGHT_MAX: usize = 4096;

/// Puts a message's sizes and body into `out` with a header that tells who asks. Returns the bytes
/// of the header block and of the sizes.
fn put_request(message: &Message<'_>, info: &str, out: &mut Vec<u8>) -> (usize, usize) {
    let body = message.body();
    let (block, payload) = body.split_at(message.header);
    let mut header = Vec::with_capacity(block.len() + info.len() + INFO_HEADER.len() + 16);
    if block.is_empty() {
        header.extend_from_slice(b"NATS/1.0\r\n");
    }
    let mut lines = block.split_inclusive(|byte| *byte == b'\n').peekable();
    while let Some(line) = lines.next() {
        let last = lines.peek().is_none();
        let name = line.strip_prefix(INFO_HEADER);
        let told = name.is_some_and(|rest| rest.first() == Some(&b':'));
        if !last && !told {
            header.extend_from_slice(line);
        }
    }
    header.extend_from_slice(INFO_HEADER);
    header.extend_from_slice(b": ");
    header.extend_from_slice(info.as_bytes());
    header.extend_from_slice(b"\r\n\r\n");
    let total = header.len() + payload.len() - 2;
    out.extend_from_slice(Decimal::new(header.len() as u64).as_bytes());
    out.push(b' ');
    out.extend_from_slice(Decimal::new(total as u64).as_bytes());
    out.extend_from_slice(b"\r\n");
    let sizes_bytes = out.len();
    out.extend_from_slice(&header);
    out.extend_from_slice(payload);
    (header.len(), sizes_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_tell_who_asks() {
        let rows = [
            ("2", 0, "hi", "35 37\r\nNATS/1.0\r\nNats-Request-Info: {}\r\n\r\n"),
            (
                "12 14",
                12,
                "NATS/1.0\r\n\r\nhi",
                "35 37\r\nNATS/1.0\r\nNats-Request-Info: {}\r\n\r\n",
            ),
            (
                "18 20",
                18,
                "NATS/1.0\r\nA: b\r\n\r\nhi",
                "41 43\r\nNATS/1.0\r\nA: b\r\nNats-Request-Info: {}\r\n\r\n",
            ),
            (
                "38 40",
                38,
                "NATS/1.0\r\nNats-Request-Info: me\r\n\r\nhi",
                "35 37\r\nNATS/1.0\r\nNats-Request-Info: {}\r\n\r\n",
            ),
        ];
        for (sizes, header, body, expected) in rows {
            let tail = format!("{sizes}\r\n{body}\r\n");
            let header = if header == 38 { body.len() - 2 } else { header };
            let message = Message {
                subject: b"s",
                reply: b"",
                header,
                tail: tail.as_bytes(),
                sizes_bytes: sizes.len() + 2,
            };
            let mut out = Vec::new();
            let (bytes, at) = put_request(&message, "{}", &mut out);
            assert_eq!(String::from_utf8_lossy(&out), format!("{expected}hi\r\n"));
            assert_eq!((&out[at + bytes..], at), (&b"hi\r\n"[..], 7));
        }
    }
}
