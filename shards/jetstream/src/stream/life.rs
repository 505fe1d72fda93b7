//! How a stream comes into being, comes back after a start, and goes.

use base::Wall;
use storage::{LogId, LogOptions, Store};
use subjects::Transform;

use super::codec;
use super::config::{Compression, StreamConfig};
use super::dedupe::Dedupe;
use super::expiry::Expiry;
use super::held;
use super::{Core, Stream, StreamServices};
use crate::StreamId;
use crate::consumer::Consumers;
use crate::ground::Site;
use crate::json::{self, Decoder};
use crate::services::Service;

/// The note of a log that holds its stream's configuration.
const CONFIG: &[u8] = b"s/config";
/// The note that says when the stream was made: nanoseconds since 1970, as text.
const CREATED: &[u8] = b"s/created";

/// How a stream's log is to be kept.
pub(crate) fn log_options(config: &StreamConfig) -> LogOptions {
    LogOptions { compressed: config.compression == Compression::S2 }
}

/// Writes a stream's notes.
pub(crate) fn put_notes(store: &mut Store, log: LogId, config: &StreamConfig, created: Wall) {
    let mut text = Vec::new();
    codec::put_config(&mut text, config, &[]);
    store.put_note(log, CONFIG, &text);
    store.put_note(log, CREATED, created.0.to_string().as_bytes());
}

/// Reads a stream's notes. Nothing if they are not there or make no sense.
pub(crate) fn read_notes(store: &Store, log: LogId) -> Option<(StreamConfig, Wall)> {
    let node = json::read_whole(store.note(log, CONFIG)?).ok()?;
    let mut config = StreamConfig::default();
    let mut decoder = Decoder::new("StreamConfig", false);
    codec::read_config(&mut decoder, &node, &mut config);
    decoder.finish().ok()?;
    let created = std::str::from_utf8(store.note(log, CREATED)?).ok()?.parse().ok()?;
    Some((config, Wall(created)))
}

impl Stream {
    /// A stream over a log that exists. It takes nothing in before it is opened.
    pub(crate) fn new(
        site: &mut Site<'_>,
        id: StreamId,
        config: StreamConfig,
        created: Wall,
        log: LogId,
    ) -> Self {
        let visible = site.ground.store.log(log).last();
        let claim = config.max_bytes;
        site.account.usage.replace_claim(config.storage, 0, claim);
        site.ground.totals.usage.replace_claim(config.storage, 0, claim);
        let core = Core { id, account: site.account.id, config, created, log, visible };
        let mut stream = Self {
            core,
            consumers: Consumers::default(),
            services: StreamServices::default(),
            ack_head: Vec::new(),
            ack_suffix: Vec::new(),
            held: held::Held::default(),
            is_held_by_read: false,
            batches: super::batch::Batches::default(),
            schedules: super::schedule::Schedules::default(),
            transform: None,
            republish: None,
            dedupe: Dedupe::new(site.ground.random.next_u64()),
            last_id: Vec::new(),
            expiry: Expiry::default(),
            upstreams: Vec::new(),
            upstream_count: 0,
            recall: None,
            counted_bytes: 0,
            counted_consumers: 0,
            due: base::Time::NEVER,
            scheduled: base::Time::NEVER,
            is_listed: false,
            untold: 0,
        };
        stream.prepare(&site.ground.config.domain);
        stream.count(site);
        stream
    }

    /// Derives from the configuration what the way of a message needs.
    pub(crate) fn prepare(&mut self, domain: &str) {
        let config = &self.core.config;
        let transform = |source: &str, destination: &str| {
            let source = if source.is_empty() { ">" } else { source };
            Transform::new(source, destination).ok()
        };
        self.transform =
            config.subject_transform.as_ref().and_then(|it| transform(&it.source, &it.destination));
        self.republish =
            config.republish.as_ref().and_then(|it| transform(&it.source, &it.destination));
        let mut head = Vec::new();
        let mut writer = json::Writer::open(&mut head);
        writer.text("stream", &config.name);
        writer.text_unless_empty("domain", domain);
        writer.field("seq");
        self.ack_head = head;
    }

    /// Subscribes for what the stream serves.
    pub(crate) fn open(&mut self, site: &mut Site<'_>) {
        self.open_ingest(site);
        self.open_direct(site);
        self.settle_upstreams(site);
    }

    /// Subscribes to the stream's subjects that it is not subscribed to yet.
    pub(crate) fn open_ingest(&mut self, site: &mut Site<'_>) {
        for subject in &self.core.config.subjects {
            if self.services.ingest.iter().any(|(known, _)| known == subject) {
                continue;
            }
            let service = Service::Ingest(self.core.id);
            let (account, pattern) = (self.core.account, subject.as_bytes());
            let id = site.ground.services.open(site.out, account, pattern, b"", service);
            self.services.ingest.push((subject.clone(), id));
        }
    }

    /// Subscribes for direct gets, of the stream itself and of the one that it mirrors.
    pub(crate) fn open_direct(&mut self, site: &mut Site<'_>) {
        let config = &self.core.config;
        if config.allow_direct && self.services.direct.is_empty() {
            self.services.direct = self.subscribe_direct(site, &config.name);
        }
        if let Some(mirror) = config.mirror.as_ref().filter(|_| config.mirror_direct)
            && self.services.mirror_direct.is_empty()
        {
            self.services.mirror_direct = self.subscribe_direct(site, &mirror.name);
        }
    }

    fn subscribe_direct(&self, site: &mut Site<'_>, name: &str) -> Vec<base::ServiceId> {
        let rows = [
            (format!("$JS.API.DIRECT.GET.{name}"), Service::DirectGet(self.core.id)),
            (format!("$JS.API.DIRECT.GET.{name}.>"), Service::DirectLast(self.core.id)),
        ];
        let account = self.core.account;
        let services = &mut site.ground.services;
        rows.map(|(subject, service)| {
            services.open(site.out, account, subject.as_bytes(), b"_sys_", service)
        })
        .into()
    }

    /// Ends subscriptions that the configuration no longer asks for.
    pub(crate) fn close_unwanted(&mut self, site: &mut Site<'_>) {
        let config = &self.core.config;
        let services = &mut site.ground.services;
        self.services.ingest.retain(|(subject, id)| {
            let is_wanted = config.subjects.contains(subject);
            if !is_wanted {
                services.close(site.out, *id);
            }
            is_wanted
        });
        if !config.allow_direct {
            self.services.direct.drain(..).for_each(|id| services.close(site.out, id));
        }
        if !config.mirror_direct || config.mirror.is_none() {
            self.services.mirror_direct.drain(..).for_each(|id| services.close(site.out, id));
        }
    }

    /// Builds the stream's memory of what came in before the start, and its consumers.
    pub(crate) fn recover(&mut self, site: &mut Site<'_>) {
        self.recover_batches(site);
        self.settle_upstreams(site);
        if site.ground.store.log(self.core.log).messages() > 0 {
            self.begin_recall(site);
        }
        self.list(site);
        let mut view = site.ground.view(site.now, &self.core, site.account);
        self.consumers.recover(&mut view, site.out);
        self.attend(site);
        self.count(site);
    }

    /// The stream goes, with everything it holds.
    pub(crate) fn end_all(mut self, site: &mut Site<'_>) {
        let mut view = site.ground.view(site.now, &self.core, site.account);
        self.consumers.stream_deleted(&mut view, site.out);
        site.ground.wanted.clear();
        let log = self.core.log;
        self.leave(site);
        site.ground.store.destroy(log);
    }

    /// The stream goes, and what it holds stays in the store, from where it can come back.
    pub(crate) fn suspend(mut self, site: &mut Site<'_>) {
        let mut view = site.ground.view(site.now, &self.core, site.account);
        self.consumers.suspend(&mut view, site.out);
        site.ground.wanted.clear();
        self.leave(site);
    }

    fn leave(mut self, site: &mut Site<'_>) {
        self.end_upstreams(site);
        self.end_batches(site);
        let services = &mut site.ground.services;
        let ingest = self.services.ingest.iter().map(|(_, id)| *id);
        let direct = self.services.direct.iter().chain(&self.services.mirror_direct).copied();
        ingest.chain(direct).for_each(|id| services.close(site.out, id));
        site.ground.acks.forget(self.core.id);
        let config = &self.core.config;
        for usage in [&mut site.account.usage, &mut site.ground.totals.usage] {
            usage.replace(config.storage, self.counted_bytes, 0);
            usage.replace_claim(config.storage, config.max_bytes, 0);
        }
        site.account.consumers -= self.counted_consumers;
        site.account.streams.remove(&config.name);
    }
}
