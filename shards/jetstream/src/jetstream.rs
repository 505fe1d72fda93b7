//! What one core has of JetStream.

use base::{AccountId, Moment, ServiceId, Slab, Time};
use storage::{Durable, ReadId, Store};
use wire::Message;

use crate::account::{Account, split_log_name};
use crate::api::{Answers, Call, Request};
use crate::backup::{Restore, Snapshot};
use crate::config::AccountLimits;
use crate::error::{Fault, table};
use crate::ground::{Ground, Site, Usage, kind_of};
use crate::services::Service;
use crate::stream::check::{Surroundings, check};
use crate::stream::codec::Wish;
use crate::stream::config::{Storage, StreamConfig};
use crate::stream::direct::{Advance, Direct};
use crate::stream::update::check_update;
use crate::stream::{Stream, life};
use crate::{ClientInfo, Config, Outlet, StreamId, advisory};

/// What one core has of JetStream: streams with their consumers over one store.
#[derive(Debug)]
pub struct JetStream {
    pub(crate) ground: Ground,
    /// By the number of the account.
    pub(crate) accounts: Vec<Option<Box<Account>>>,
    /// The subscriptions of the API by the number of the account, which may be one that is only
    /// told that JetStream is not for it.
    pub(crate) doors: Vec<Vec<ServiceId>>,
    pub(crate) streams: Slab<Option<Box<Stream>>>,
    /// Snapshots that are being sent, and streams that are being restored.
    pub(crate) snapshots: Slab<Option<Box<Snapshot>>>,
    pub(crate) restores: Slab<Option<Box<Restore>>>,
    pub(crate) answers: Answers,
    /// Direct gets that are being served, with the read that each waits for.
    pub(crate) directs: Vec<(Option<ReadId>, Direct)>,
    finished: Vec<ReadId>,
    /// What was durable when streams last heard of it.
    durable: Durable,
    interest: u64,
    /// Was there no room on the disk in the turn before?
    is_full: bool,
    pub(crate) now: Moment,
}

/// What an account has, for those who watch the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Census<'a> {
    /// The account.
    pub account: AccountId,
    /// Its name.
    pub name: &'a str,
    /// What it may use.
    pub limits: &'a AccountLimits,
    /// What it uses.
    pub usage: Usage,
    /// Streams.
    pub streams: usize,
    /// Consumers of all of them.
    pub consumers: usize,
    /// Messages in all of them.
    pub messages: u64,
    /// Requests to the API since the start.
    pub api_total: u64,
    /// Those of them that were answered with an error.
    pub api_errors: u64,
}

impl JetStream {
    /// JetStream without any account, over a store that has recovered what is on disk.
    pub fn new(config: Config, store: Store) -> Self {
        Self {
            ground: Ground::new(config, store),
            accounts: Vec::new(),
            doors: Vec::new(),
            streams: Slab::default(),
            snapshots: Slab::default(),
            restores: Slab::default(),
            answers: Answers::default(),
            directs: Vec::new(),
            finished: Vec::new(),
            durable: Durable::default(),
            interest: 0,
            is_full: false,
            now: Moment::default(),
        }
    }

    /// The store, for the reactor to carry out what it asks for.
    pub fn store(&mut self) -> &mut Store {
        &mut self.ground.store
    }

    /// The server's configuration.
    pub fn config(&self) -> &Config {
        &self.ground.config
    }

    /// What the whole core uses.
    pub fn usage(&self) -> Usage {
        self.ground.totals.usage
    }

    /// Requests to the API since the start, and those that were answered with an error.
    pub fn api_counts(&self) -> (u64, u64) {
        (self.ground.totals.api_total, self.ground.totals.api_errors)
    }

    /// What each account has.
    pub fn census(&self) -> impl Iterator<Item = Census<'_>> {
        self.accounts.iter().flatten().map(|account| {
            let streams = account.streams.values().map(|id| self.stream(*id).core.log);
            Census {
                account: account.id,
                name: &account.name,
                limits: &account.limits,
                usage: account.usage,
                streams: account.streams.len(),
                consumers: account.consumers,
                messages: streams.map(|log| self.ground.store.log(log).messages()).sum(),
                api_total: account.api_total,
                api_errors: account.api_errors,
            }
        })
    }

    /// An account's streams, in order of name.
    pub fn streams(&self, account: AccountId) -> impl Iterator<Item = &Stream> {
        let account = self.account(account);
        account.into_iter().flat_map(|it| it.streams.values()).map(|id| self.stream(*id))
    }

    /// Lets an account use JetStream: its API is served from now on, and its streams that were
    /// found on disk come back.
    pub fn enable(
        &mut self,
        now: Moment,
        account: AccountId,
        name: &str,
        limits: AccountLimits,
        out: &mut dyn Outlet,
    ) {
        let place = account.index();
        if place >= self.accounts.len() {
            self.accounts.resize_with(place + 1, || None);
        }
        self.open_door(account, out);
        self.accounts[place] = Some(Box::new(Account::new(account, name, limits)));
        self.recover(now, account, out);
    }

    /// Brings back the streams of an account that the store has found.
    fn recover(&mut self, now: Moment, account: AccountId, out: &mut dyn Outlet) {
        let name = self.account(account).expect("it was made just now").name.clone();
        let logs = self.ground.store.logs();
        let found: Vec<_> = logs
            .filter(|(_, log)| split_log_name(log.name()).is_some_and(|(of, _)| of == name))
            .map(|(id, _)| id)
            .collect();
        for log in found {
            let Some((config, created)) = life::read_notes(&self.ground.store, log) else {
                continue;
            };
            let id = self.add_stream(now, account, config, (created, log), out);
            let (stream, mut site) = self.at_stream(id, now, out);
            stream.recover(&mut site);
            stream.open(&mut site);
        }
    }

    /// An account's name; empty for one without JetStream.
    pub fn account_name(&self, id: AccountId) -> &str {
        self.account(id).map_or("", |account| &account.name)
    }

    pub(crate) fn account(&self, id: AccountId) -> Option<&Account> {
        self.accounts.get(id.index())?.as_deref()
    }

    pub(crate) fn stream(&self, id: StreamId) -> &Stream {
        self.streams.get(id.0).as_deref().expect("the stream exists")
    }

    /// The stream of a name.
    pub(crate) fn find_stream(&self, account: AccountId, name: &str) -> Result<StreamId, Fault> {
        let account = self.account(account).ok_or(table::NOT_ENABLED_FOR_ACCOUNT)?;
        account.streams.get(name).copied().ok_or(table::STREAM_NOT_FOUND)
    }

    /// A stream and its surroundings, to work on.
    pub(crate) fn at_stream<'a>(
        &'a mut self,
        id: StreamId,
        now: Moment,
        out: &'a mut dyn Outlet,
    ) -> (&'a mut Stream, Site<'a>) {
        let stream = self.streams.get_mut(id.0).as_deref_mut().expect("the stream exists");
        let account = self.accounts[stream.core.account.index()].as_deref_mut();
        let account = account.expect("a stream's account exists");
        (stream, Site { now, ground: &mut self.ground, account, out })
    }

    pub(crate) fn add_stream(
        &mut self,
        now: Moment,
        account: AccountId,
        config: StreamConfig,
        (created, log): (base::Wall, storage::LogId),
        out: &mut dyn Outlet,
    ) -> StreamId {
        let id = StreamId(self.streams.insert(None));
        let name = config.name.clone();
        let state = self.accounts[account.index()].as_deref_mut().expect("the caller looked");
        let mut site = Site { now, ground: &mut self.ground, account: state, out };
        let stream = Stream::new(&mut site, id, config, created, log);
        site.account.streams.insert(name, id);
        *self.streams.get_mut(id.0) = Some(Box::new(stream));
        id
    }

    /// Fills in and checks a configuration.
    pub(crate) fn check_config(&self, account: AccountId, wish: &mut Wish) -> Result<(), Fault> {
        self.with_surroundings(account, wish.pedantic, |around| check(&mut wish.config, around))
    }

    fn with_surroundings<R>(
        &self,
        account: AccountId,
        pedantic: bool,
        judge: impl FnOnce(&Surroundings<'_>) -> R,
    ) -> R {
        let state = self.account(account).expect("the caller looked");
        let find = |name: &str| state.streams.get(name).map(|id| &self.stream(*id).core.config);
        judge(&Surroundings {
            server: &self.ground.config,
            limits: &state.limits,
            find: &find,
            pedantic,
        })
    }

    /// Makes a stream, or finds the very same one.
    pub(crate) fn create_stream(
        &mut self,
        call: &Call<'_>,
        mut wish: Wish,
        out: &mut dyn Outlet,
    ) -> Result<StreamId, Fault> {
        let account = call.account;
        let state = self.account(account).expect("the caller looked");
        let others =
            state.streams.len() as i64 - i64::from(state.streams.contains_key(&wish.config.name));
        if state.limits.max_streams > 0 && others >= state.limits.max_streams {
            return Err(table::MAXIMUM_STREAMS_LIMIT);
        }
        self.check_claim(account, &wish.config, wish.config.max_bytes)?;
        self.check_config(account, &mut wish)?;
        let mut config = wish.config;
        if config.replicas > 1 {
            return Err(table::STREAM_REPLICAS_NOT_SUPPORTED);
        }
        if let Ok(id) = self.find_stream(account, &config.name) {
            let old = &self.stream(id).core.config;
            keep_level(&mut config, old);
            return if config == *old { Ok(id) } else { Err(table::STREAM_NAME_EXIST) };
        }
        self.check_claim(account, &config, config.max_bytes)?;
        crate::stream::check_sources::check_filters(&config)?;
        if self.overlaps(account, &config, None) {
            return Err(table::STREAM_SUBJECT_OVERLAP);
        }
        let fault = || table::STREAM_CREATE.because("error creating store for stream");
        let log = self.new_log(account, &config).ok_or_else(fault)?;
        let store = &mut self.ground.store;
        if config.first_seq > 0 {
            store.reset_to(log, config.first_seq, config.first_seq - 1);
        }
        life::put_notes(store, log, &config, call.now.wall);
        let stream_name = config.name.clone();
        let id = self.add_stream(call.now, account, config, (call.now.wall, log), out);
        let (stream, mut site) = self.at_stream(id, call.now, out);
        stream.open(&mut site);
        let about = (account, stream_name.as_str());
        advisory::publish_action(&mut self.ground, out, call.now, about, "create");
        Ok(id)
    }

    /// An empty log for a stream. What a restore left that was cut off is in the way.
    pub(crate) fn new_log(
        &mut self,
        account: AccountId,
        config: &StreamConfig,
    ) -> Option<storage::LogId> {
        let name = self.account(account).expect("the caller looked").log_name(&config.name);
        let is_restoring = self.is_restoring(account, &config.name);
        let store = &mut self.ground.store;
        if let Some(stray) = store.find(&name)
            && !is_restoring
            && life::read_notes(store, stray).is_none()
        {
            store.destroy(stray);
        }
        store.create(&name, kind_of(config.storage), life::log_options(config)).ok()
    }

    /// May the account have one more stream, and one like this?
    pub(crate) fn check_new_stream(
        &self,
        account: AccountId,
        config: &StreamConfig,
    ) -> Result<(), Fault> {
        let state = self.account(account).expect("the caller looked");
        if state.limits.max_streams > 0 && state.streams.len() as i64 >= state.limits.max_streams {
            return Err(table::MAXIMUM_STREAMS_LIMIT);
        }
        if config.replicas > 1 {
            return Err(table::STREAM_REPLICAS_NOT_SUPPORTED);
        }
        self.check_claim(account, config, config.max_bytes)?;
        if self.overlaps(account, config, None) {
            return Err(table::STREAM_SUBJECT_OVERLAP);
        }
        Ok(())
    }

    /// Changes a stream's configuration, which was checked on its own.
    pub(crate) fn update_stream(
        &mut self,
        call: &Call<'_>,
        id: StreamId,
        wish: Wish,
        out: &mut dyn Outlet,
    ) -> Result<(), Fault> {
        let mut config = wish.config;
        let old = &self.stream(id).core.config;
        self.with_surroundings(call.account, wish.pedantic, |around| {
            check_update(&mut config, old, around)
        })?;
        self.stream(id).consumers.check_limits(&config.consumer_limits, &old.consumer_limits)?;
        let more = config.max_bytes.max(0) - old.max_bytes.max(0);
        self.check_claim(call.account, &config, more.max(0))?;
        if self.overlaps(call.account, &config, Some(id)) {
            return Err(table::STREAM_SUBJECT_OVERLAP);
        }
        let name = config.name.clone();
        let (stream, mut site) = self.at_stream(id, call.now, out);
        stream.apply(&mut site, config);
        let about = (call.account, name.as_str());
        advisory::publish_action(&mut self.ground, out, call.now, about, "modify");
        Ok(())
    }

    /// Removes a stream with all it holds.
    pub(crate) fn delete_stream(&mut self, now: Moment, id: StreamId, out: &mut dyn Outlet) {
        self.directs.retain(|(_, direct)| direct.stream != id);
        let stream = self.streams.remove(id.0).expect("the stream exists");
        let account = self.accounts[stream.core.account.index()].as_deref_mut();
        let account = account.expect("a stream's account exists");
        stream.end_all(&mut Site { now, ground: &mut self.ground, account, out });
    }

    /// Does another stream of the account store any of these subjects?
    fn overlaps(&self, account: AccountId, config: &StreamConfig, own: Option<StreamId>) -> bool {
        let collides = |one: &str, others: &[String]| {
            others.iter().any(|other| subjects::grammar::collide(one.as_bytes(), other.as_bytes()))
        };
        self.streams(account).filter(|stream| Some(stream.core.id) != own).any(|stream| {
            let others = &stream.core.config.subjects;
            config.subjects.iter().any(|subject| collides(subject, others))
        })
    }

    /// May a stream lay claim to so many bytes more?
    fn check_claim(
        &self,
        account: AccountId,
        config: &StreamConfig,
        bytes: i64,
    ) -> Result<(), Fault> {
        let account = self.account(account).expect("the caller looked");
        let limits = &account.limits;
        if config.max_consumers > 0
            && limits.max_consumers > 0
            && config.max_consumers > limits.max_consumers
        {
            return Err(table::MAXIMUM_CONSUMERS_LIMIT);
        }
        // What sets no bound is counted as a byte.
        let bytes = if bytes < 0 { 1 } else { bytes.unsigned_abs() };
        let (own, server, fault) = match config.storage {
            Storage::Memory => {
                let fault = table::MEMORY_RESOURCES_EXCEEDED;
                (limits.max_memory, self.ground.config.memory_max, fault)
            }
            Storage::File => {
                let fault = table::STORAGE_RESOURCES_EXCEEDED;
                (limits.max_store, self.ground.config.file_max, fault)
            }
        };
        let fits = |reserved: u64, limit: i64| {
            u64::try_from(limit).is_err() || reserved.saturating_add(bytes) <= limit.unsigned_abs()
        };
        let mine = account.usage.reserved(config.storage);
        let all = self.ground.totals.usage.reserved(config.storage);
        if fits(mine, own) && fits(all, server) { Ok(()) } else { Err(fault) }
    }

    /// A message came for a subscription of JetStream's.
    pub fn receive(
        &mut self,
        now: Moment,
        service: ServiceId,
        account: AccountId,
        client: &ClientInfo<'_>,
        message: &Message<'_>,
        out: &mut dyn Outlet,
    ) {
        self.now = now;
        match self.ground.services.get(service) {
            Service::Ingest(id) => {
                let (stream, mut site) = self.at_stream(id, now, out);
                stream.ingest(&mut site, message);
            }
            Service::Consumer(id, place, endpoint) => {
                let (stream, mut site) = self.at_stream(id, now, out);
                let mut view = site.ground.view(now, &stream.core, site.account);
                stream.consumers.receive(&mut view, place, endpoint, client, message, site.out);
                stream.attend(&mut site);
                stream.list(&mut site);
            }
            Service::Api => self.receive_request(account, client, message.subject, message, out),
            Service::Domain => self.receive_mapped(account, client, message, out),
            Service::DirectGet(id) => self.receive_direct(id, message, false, out),
            Service::DirectLast(id) => self.receive_direct(id, message, true, out),
            Service::Upstream(id, place, end) => {
                let (stream, mut site) = self.at_stream(id, now, out);
                stream.receive_upstream(&mut site, place, end, message);
            }
            Service::Snapshot(place) => self.snapshot_taken(place),
            Service::Restore(place) => self.receive_chunk(place, message, out),
            Service::Refusal => self.refuse(account, message, out),
            Service::Free => {}
        }
    }

    fn receive_request(
        &mut self,
        account: AccountId,
        client: &ClientInfo<'_>,
        subject: &[u8],
        message: &Message<'_>,
        out: &mut dyn Outlet,
    ) {
        let all = message.body();
        let (header, body) = all[..all.len() - 2].split_at(message.header);
        let request = Request { subject, reply: message.reply, header, body, client: *client };
        self.serve_api(self.now, account, &request, out);
    }

    /// A message under the domain's prefix stands for the same without (spec 6.13).
    fn receive_mapped(
        &mut self,
        account: AccountId,
        client: &ClientInfo<'_>,
        message: &Message<'_>,
        out: &mut dyn Outlet,
    ) {
        let prefix = "$JS.".len() + self.ground.config.domain.len() + ".API.".len();
        let rest = &message.subject[prefix..];
        if rest.starts_with(b"$KV.") || rest.starts_with(b"$OBJ.") {
            out.publish(account, &Message { subject: rest, ..*message });
            return;
        }
        let subject = [b"$JS.API.", rest].concat();
        if crate::api::is_served(&subject) {
            self.receive_request(account, client, &subject, message, out);
        } else {
            let mapped = Message { subject: &subject, ..*message };
            if !out.publish(account, &mapped) && !message.reply.is_empty() {
                let parcel = self.ground.parcel.status("503").line("Nats-Subject", &subject);
                parcel.send(out, account, message.reply, b"");
            }
        }
    }

    fn receive_direct(
        &mut self,
        id: StreamId,
        message: &Message<'_>,
        by_subject: bool,
        out: &mut dyn Outlet,
    ) {
        let now = self.now;
        let (stream, mut site) = self.at_stream(id, now, out);
        let Some(mut direct) = stream.take_direct(&mut site, message, by_subject) else { return };
        match direct.advance(&stream.core, &mut site) {
            Advance::Done => {}
            Advance::More => self.directs.push((None, direct)),
            Advance::Reading(read) => self.directs.push((Some(read), direct)),
        }
    }

    /// Once a turn: what became durable is acknowledged and delivered, timers that are due.
    pub fn progress(&mut self, now: Moment, out: &mut dyn Outlet) {
        self.now = now;
        let is_full = self.ground.store.is_full();
        if is_full && !std::mem::replace(&mut self.is_full, is_full) {
            advisory::publish_out_of_space(&mut self.ground, out, now);
        }
        self.is_full = is_full;
        self.settle(out);
        self.send_answers(out);
        self.go_on_reading(out);
        self.go_on_with_snapshots(!self.finished.is_empty(), out);
        self.expire_restores(out);
        self.list_due(out);
        let mut listed = std::mem::take(&mut self.ground.listed);
        for id in listed.drain(..) {
            if self.streams.get(id.0).is_some() {
                let (stream, mut site) = self.at_stream(id, now, out);
                stream.progress(&mut site);
            }
        }
        // Streams may have been listed again meanwhile: they come next.
        listed.append(&mut self.ground.listed);
        self.ground.listed = listed;
    }

    /// Acknowledges what has become durable.
    fn settle(&mut self, out: &mut dyn Outlet) {
        let durable = self.ground.store.durable();
        let mut reply = Vec::new();
        let mut suffix = Vec::new();
        while let Some((ack, to, rest)) = self.ground.acks.front(durable) {
            reply.clear();
            reply.extend_from_slice(to);
            suffix.clear();
            suffix.extend_from_slice(rest);
            self.ground.acks.pop();
            let (stream, mut site) = self.at_stream(ack.stream, self.now, out);
            stream.settle(&mut site, ack.sequence, &reply, &suffix);
        }
    }

    /// Goes on with what waited for the disk.
    fn go_on_reading(&mut self, out: &mut dyn Outlet) {
        self.finished.clear();
        self.ground.store.take_finished_reads(&mut self.finished);
        if !self.finished.is_empty() {
            let finished = std::mem::take(&mut self.finished);
            for waiting in self.answers.take_ready(&finished) {
                self.serve_api(self.now, waiting.account, &waiting.request(), out);
            }
            for id in std::mem::take(&mut self.ground.readers) {
                self.list_stream(id, out);
            }
            self.finished = finished;
        }
        let durable = self.ground.store.durable();
        if durable != self.durable || !self.finished.is_empty() {
            self.durable = durable;
            for id in std::mem::take(&mut self.ground.awaiting) {
                self.list_stream(id, out);
            }
        }
        for (read, mut direct) in std::mem::take(&mut self.directs) {
            if read.is_some_and(|read| !self.finished.contains(&read)) {
                self.directs.push((read, direct));
                continue;
            }
            let now = self.now;
            let (stream, mut site) = self.at_stream(direct.stream, now, out);
            match direct.advance(&stream.core, &mut site) {
                Advance::Done => {}
                Advance::More => self.directs.push((None, direct)),
                Advance::Reading(read) => self.directs.push((Some(read), direct)),
            }
        }
    }

    /// Lists the streams whose time has come, and all with consumers if interest has changed.
    fn list_due(&mut self, out: &mut dyn Outlet) {
        let now = self.now.time;
        while let Some(std::cmp::Reverse((due, id))) = self.ground.dues.peek().copied()
            && due <= now
        {
            self.ground.dues.pop();
            let stream = self.streams.get_mut(id.0).as_deref_mut();
            let Some(stream) = stream.filter(|stream| stream.scheduled == due) else { continue };
            stream.scheduled = Time::NEVER;
            if stream.due > now {
                stream.schedule(&mut self.ground);
            } else {
                self.list_stream(id, out);
            }
        }
        let version = out.interest_version();
        if version != self.interest {
            self.interest = version;
            self.list_all_with_consumers(out);
        }
    }

    fn list_stream(&mut self, id: StreamId, out: &mut dyn Outlet) {
        if self.streams.get(id.0).is_some() {
            let now = self.now;
            let (stream, mut site) = self.at_stream(id, now, out);
            stream.list(&mut site);
        }
    }

    fn list_all_with_consumers(&mut self, out: &mut dyn Outlet) {
        let places = self.streams.places();
        let with_consumers = places.filter_map(|(place, stream)| {
            let stream = stream.as_deref()?;
            (!stream.consumers.is_empty()).then_some(StreamId(place))
        });
        let all: Vec<StreamId> = with_consumers.collect();
        for id in all {
            self.list_stream(id, out);
        }
    }

    /// Writes down what consumers have not yet, for an orderly end.
    pub fn flush(&mut self, now: Moment, out: &mut dyn Outlet) {
        let places = self.streams.places();
        let used = places.filter(|(_, stream)| stream.is_some()).map(|(id, _)| StreamId(id));
        for id in used.collect::<Vec<_>>() {
            let (stream, site) = self.at_stream(id, now, out);
            let mut view = site.ground.view(now, &stream.core, site.account);
            stream.consumers.flush(&mut view, site.out);
        }
    }

    /// When [`Self::progress`] has something to do next, if nothing else happens.
    pub fn next_due(&self) -> Time {
        let durable = self.ground.store.durable();
        let is_due_now = !self.ground.listed.is_empty()
            || self.ground.acks.front(durable).is_some()
            || self.answers.is_due(durable)
            || (durable != self.durable && !self.ground.awaiting.is_empty())
            || self.directs.iter().any(|(read, _)| read.is_none());
        if is_due_now {
            return Time(0);
        }
        let streams = self.ground.dues.peek();
        let streams = streams.map_or(Time::NEVER, |std::cmp::Reverse((due, _))| *due);
        streams.min(self.snapshots_due()).min(self.restores_due())
    }
}

/// Takes over what an existing stream needs of a server: that does not make two configurations
/// different.
fn keep_level(config: &mut StreamConfig, old: &StreamConfig) {
    const LEVEL: &str = "_nats.req.level";
    let level = old.metadata.as_ref().and_then(|metadata| metadata.get(LEVEL)).cloned();
    let metadata = config.metadata.get_or_insert_default();
    match level {
        Some(level) => {
            metadata.insert(LEVEL.into(), level);
        }
        None => {
            metadata.remove(LEVEL);
        }
    }
    if metadata.is_empty() {
        config.metadata = None;
    }
}
