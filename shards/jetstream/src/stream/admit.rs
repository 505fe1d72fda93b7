//! Whether a message may be stored (spec 6.5, 6.7), in the order of the reference's checks.

use base::limits::STORED_HEADER_BYTES_MAX;
use storage::{KeySet, LogId, Store};

use super::Stream;
use super::config::{Discard, Storage};
use super::options::{Ttl, sequence_of, ttl_of};
use super::publication::{Publication, Refusal, not_stored};
use crate::error::table;
use crate::ground::{Site, kind_of};

/// What a message that may be stored asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Admission {
    pub(crate) ttl: Ttl,
    pub(crate) rollup: Rollup,
}

/// Which earlier messages a message replaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rollup {
    None,
    Subject,
    All,
}

impl Stream {
    /// Judges a message.
    pub(crate) fn admit(
        &self,
        site: &Site<'_>,
        publication: &Publication<'_>,
    ) -> Result<Admission, Refusal> {
        let config = &self.core.config;
        if config.sealed {
            return Err(table::STREAM_SEALED.into());
        }
        self.check_size(publication)?;
        if !publication.options.batch.is_empty() && !config.allow_atomic {
            return Err(table::ATOMIC_PUBLISH_DISABLED.into());
        }
        let mut admission = Admission { ttl: Ttl::Unset, rollup: Rollup::None };
        if publication.header > 0 {
            self.check_expectations(site, publication)?;
            admission.rollup = self.check_history(publication)?;
            admission.ttl = ttl_of(publication.options.ttl).unwrap_or(Ttl::Unset);
        }
        Ok(admission)
    }

    /// Is it small enough, in this stream and for its header?
    pub(super) fn check_size(&self, publication: &Publication<'_>) -> Result<(), Refusal> {
        let config = &self.core.config;
        if usize::try_from(config.max_msg_size).is_ok_and(|most| publication.size() > most) {
            return Err(table::STREAM_MESSAGE_EXCEEDS_MAXIMUM.into());
        }
        if publication.header > STORED_HEADER_BYTES_MAX {
            return Err(table::STREAM_HEADER_EXCEEDS_MAXIMUM.into());
        }
        Ok(())
    }

    fn check_expectations(
        &self,
        site: &Site<'_>,
        publication: &Publication<'_>,
    ) -> Result<(), Refusal> {
        let options = &publication.options;
        let config = &self.core.config;
        let wanted = options.expected_stream;
        if !wanted.is_empty() && wanted != config.name.as_bytes() {
            return Err(table::STREAM_NOT_MATCH.into());
        }
        let has_ttl = !matches!(ttl_of(options.ttl), None | Some(Ttl::Unset));
        if has_ttl && !config.allow_msg_ttl && !publication.is_trusted {
            return Err(table::MESSAGE_TTL_DISABLED.into());
        }
        let log = site.ground.store.log(self.core.log);
        if !options.expected_subject_last.is_empty() {
            let subject = match options.expected_subject {
                b"" => publication.subject,
                other => other,
            };
            let last = last_of(&site.ground.store, self.core.log, subject);
            if last != sequence_of(options.expected_subject_last) {
                return Err(table::STREAM_WRONG_LAST_SEQUENCE.with("{seq}", last).into());
            }
        } else if !options.expected_subject.is_empty() {
            return Err(table::STREAM_EXPECTED_LAST_SEQ_PER_SUBJECT_INVALID.into());
        }
        if !options.expected_last.is_empty() && sequence_of(options.expected_last) != log.last() {
            return Err(table::STREAM_WRONG_LAST_SEQUENCE.with("{seq}", log.last()).into());
        }
        let schedules = [options.schedule, options.schedule_next, options.scheduler];
        if !publication.is_trusted && schedules.iter().any(|value| !value.is_empty()) {
            self.check_schedule(site, publication)?;
        }
        if !options.source.is_empty() && !publication.is_trusted {
            return Err(table::MESSAGE_SOURCE_HDR_NOT_ALLOWED.into());
        }
        Ok(())
    }

    pub(super) fn check_history(&self, publication: &Publication<'_>) -> Result<Rollup, Refusal> {
        let options = &publication.options;
        let config = &self.core.config;
        if !options.message_id.is_empty()
            && config.mirror.is_none()
            && let Some(sequence) = self.dedupe.find(options.message_id)
        {
            return Err(Refusal::Duplicate(sequence));
        }
        if !options.expected_id.is_empty() && options.expected_id != self.last_id {
            let last = String::from_utf8_lossy(&self.last_id);
            return Err(table::STREAM_WRONG_LAST_MSG_ID.with("{id}", last).into());
        }
        if options.rollup.is_empty() {
            return Ok(Rollup::None);
        }
        let may = config.allow_rollup && !config.deny_purge;
        if !may && !publication.is_trusted {
            return Err(table::STREAM_ROLLUP_FAILED.because("rollup not permitted").into());
        }
        let rollup = if options.rollup.eq_ignore_ascii_case(b"sub") {
            Rollup::Subject
        } else if options.rollup.eq_ignore_ascii_case(b"all") {
            Rollup::All
        } else {
            let value = crate::json::go_quoted(&options.rollup.to_ascii_lowercase());
            let cause = format!("rollup value invalid: {value}");
            return Err(table::STREAM_ROLLUP_FAILED.because(cause).into());
        };
        Ok(if may { rollup } else { Rollup::None })
    }

    /// Is there room: of the server, of the account, and, where new messages give way, in the
    /// stream? `bytes` is what the message counts for.
    pub(crate) fn check_room(
        &self,
        site: &Site<'_>,
        publication: &Publication<'_>,
        bytes: u64,
    ) -> Result<(), Refusal> {
        self.check_budget(site, bytes)?;
        if ttl_of(publication.options.ttl).is_none() {
            return Err(table::MESSAGE_TTL_INVALID.into());
        }
        if self.core.config.discard == Discard::New {
            self.check_discard_new(&site.ground.store, publication, bytes)?;
        }
        Ok(())
    }

    /// Is there room for so many bytes in the server and in the account?
    pub(super) fn check_budget(&self, site: &Site<'_>, bytes: u64) -> Result<(), Refusal> {
        let storage = self.core.config.storage;
        let (server, account) = match storage {
            Storage::Memory => (site.ground.config.memory_max, site.account.limits.max_memory),
            Storage::File => (site.ground.config.file_max, site.account.limits.max_store),
        };
        if !is_within(site.ground.totals.usage.used(storage), server) {
            return Err(table::INSUFFICIENT_RESOURCES.into());
        }
        if !is_within(site.account.usage.used(storage) + bytes, account) {
            return Err(table::ACCOUNT_RESOURCES_EXCEEDED.into());
        }
        Ok(())
    }

    fn check_discard_new(
        &self,
        store: &Store,
        publication: &Publication<'_>,
        bytes: u64,
    ) -> Result<(), Refusal> {
        let config = &self.core.config;
        let log = store.log(self.core.log);
        let key = log.keys().find(publication.subject);
        let count = key.map_or(0, |key| log.keys().count(key));
        // A subject that is at its own limit makes room by itself.
        let replaces = limit(config.max_msgs_per_subject).is_some_and(|most| count >= most);
        if replaces && config.discard_new_per_subject && publication.options.rollup.is_empty() {
            return Err(not_stored("maximum messages per subject exceeded"));
        }
        if limit(config.max_msgs).is_some_and(|most| log.messages() >= most) && !replaces {
            return Err(not_stored("maximum messages exceeded"));
        }
        if limit(config.max_bytes).is_some_and(|most| log.bytes() + bytes > most) {
            let first = key.filter(|_| replaces).and_then(|key| log.key_state(key));
            let room = first.and_then(|state| log.size_of(state.first)).unwrap_or(0);
            if room < bytes {
                return Err(not_stored("maximum bytes exceeded"));
            }
        }
        Ok(())
    }
}

/// A limit, if there is one.
pub(crate) fn limit(value: i64) -> Option<u64> {
    u64::try_from(value).ok().filter(|value| *value > 0)
}

fn is_within(used: u64, limit: i64) -> bool {
    u64::try_from(limit).is_err() || used <= limit.unsigned_abs()
}

/// The last sequence of a subject, or of any that match a pattern; zero without one.
pub(crate) fn last_of(store: &Store, log: LogId, subject: &[u8]) -> u64 {
    let log = store.log(log);
    if !subjects::grammar::has_wildcard(subject) {
        let key = log.keys().find(subject);
        return key.and_then(|key| log.key_state(key)).map_or(0, |state| state.last);
    }
    let set = keys_of(log, subject);
    log.previous(u64::MAX, &set).unwrap_or(0)
}

/// The keys of a log that match a pattern.
pub(crate) fn keys_of(log: &storage::Log, pattern: &[u8]) -> KeySet {
    if pattern.is_empty() || pattern == b">" {
        return KeySet::ALL;
    }
    if !subjects::grammar::has_wildcard(pattern) {
        let key = log.keys().find(pattern);
        return key.map_or_else(
            || {
                let mut set = KeySet::new();
                set.follow(log.keys(), |_| false);
                set
            },
            |key| KeySet::one(log.keys(), key),
        );
    }
    let mut set = KeySet::new();
    set.follow(log.keys(), |subject| subjects::grammar::matches(pattern, subject));
    set
}

/// What a message counts for.
pub(crate) fn bytes_of(storage: Storage, publication: &Publication<'_>) -> u64 {
    storage::counted_bytes(
        kind_of(storage),
        &storage::Entry {
            sequence: 0,
            wall: base::Wall(0),
            subject: publication.subject,
            header: publication.header,
            tail: publication.tail,
            sizes_bytes: publication.sizes_bytes,
        },
    )
}
