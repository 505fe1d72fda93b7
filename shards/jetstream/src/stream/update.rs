//! A stream's configuration changes (spec 6.2).

use super::check::{Surroundings, check, check_discard_per_subject, invalid};
use super::config::{Discard, Retention, StreamConfig};
use super::purge::Scope;
use super::{Stream, life};
use crate::error::{Fault, table};
use crate::ground::Site;

/// Checks a configuration as one that replaces another.
///
/// # Errors
/// As the reference's.
pub(crate) fn check_update(
    config: &mut StreamConfig,
    old: &StreamConfig,
    around: &Surroundings<'_>,
) -> Result<(), Fault> {
    check(config, around)?;
    if config.name != old.name {
        return Err(invalid("stream configuration name must match original"));
    }
    if config.replicas > 1 {
        return Err(table::STREAM_REPLICAS_NOT_SUPPORTED);
    }
    if config.storage != old.storage {
        return Err(invalid("stream configuration update can not change storage type"));
    }
    let queues = [config.retention, old.retention].contains(&Retention::WorkQueue);
    if config.retention != old.retention && queues {
        let text = "stream configuration update can not change retention policy to/from workqueue";
        return Err(invalid(text));
    }
    for (lost, text) in [
        (old.sealed && !config.sealed, "unseal a sealed stream"),
        (old.deny_delete && !config.deny_delete, "cancel deny message deletes"),
        (old.deny_purge && !config.deny_purge, "cancel deny purge"),
    ] {
        if lost {
            return Err(invalid(format!("stream configuration update can not {text}")));
        }
    }
    if config.mirror.is_some() && config.mirror != old.mirror {
        return Err(table::STREAM_MIRROR_NOT_UPDATABLE);
    }
    check_discard_per_subject(config)?;
    check_features(config, old)?;
    if config.sealed {
        config.max_age = 0;
        config.discard = Discard::New;
        (config.deny_delete, config.deny_purge) = (true, true);
        config.allow_rollup = false;
    }
    Ok(())
}

fn check_features(config: &StreamConfig, old: &StreamConfig) -> Result<(), Fault> {
    if old.allow_msg_ttl && !config.allow_msg_ttl {
        return Err(invalid("message TTL status can not be disabled"));
    }
    if config.allow_msg_counter != old.allow_msg_counter {
        return Err(invalid("stream configuration update can not change message counter setting"));
    }
    if old.allow_msg_schedules && !config.allow_msg_schedules {
        return Err(invalid("message schedules can not be disabled"));
    }
    if old.persist != config.persist {
        return Err(invalid("stream configuration update can not change persist mode"));
    }
    Ok(())
}

impl Stream {
    /// Puts a configuration that was checked in force.
    pub(crate) fn apply(&mut self, site: &mut Site<'_>, config: StreamConfig) {
        let old = std::mem::replace(&mut self.core.config, config);
        let config = &self.core.config;
        for usage in [&mut site.account.usage, &mut site.ground.totals.usage] {
            usage.replace_claim(config.storage, old.max_bytes, config.max_bytes);
        }
        let (log, created) = (self.core.log, self.core.created);
        life::put_notes(&mut site.ground.store, log, config, created);
        if config.compression != old.compression {
            site.ground.store.set_options(log, life::log_options(config));
        }
        let is_narrower = config.max_msgs_per_subject > 0
            && (old.max_msgs_per_subject <= 0
                || config.max_msgs_per_subject < old.max_msgs_per_subject);
        self.prepare(&site.ground.config.domain);
        self.close_unwanted(site);
        self.open(site);
        if is_narrower {
            self.trim_all_subjects(site);
        }
        self.enforce(site);
        self.expiry.look_again();
        self.change_retention(site, &old);
        let mut view = site.ground.view(site.now, &self.core, site.account);
        self.consumers.stream_updated(&mut view, &old, site.out);
        self.attend(site);
        self.count(site);
        self.list(site);
    }

    fn trim_all_subjects(&mut self, site: &mut Site<'_>) {
        let most = self.core.config.max_msgs_per_subject.unsigned_abs();
        let log = site.ground.store.log(self.core.log);
        let keys = log.keys().iter().map(|(key, _)| key);
        let over: Vec<_> = keys.filter(|key| log.keys().count(*key) > most).collect();
        for key in over {
            self.trim_subject(site, key, most);
        }
    }

    /// What nobody wants goes when a stream turns to interest retention.
    fn change_retention(&mut self, site: &mut Site<'_>, old: &StreamConfig) {
        let is_turn = self.core.config.retention == Retention::Interest
            && old.retention != Retention::Interest;
        if is_turn && self.consumers.is_empty() {
            self.purge(site, &Scope::default());
        } else if is_turn {
            site.ground.wanted.push(super::Wanted::InterestChanged);
        }
    }
}
