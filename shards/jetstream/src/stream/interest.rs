//! What consumers are done with goes, if the stream's retention says so (spec 6.7).

use super::config::Retention;
use super::{Stream, Wanted};
use crate::ground::Site;

impl Stream {
    /// Does what consumers want done, until nothing is left.
    pub(crate) fn attend(&mut self, site: &mut Site<'_>) {
        if site.ground.wanted.is_empty() {
            return;
        }
        let mut wanted = std::mem::take(&mut site.ground.wanted);
        let mut done = 0;
        while done < wanted.len() {
            match wanted[done] {
                Wanted::Done(sequence) => self.let_go(site, sequence),
                Wanted::DoneUpTo(sequence) => self.let_go_up_to(site, sequence),
                Wanted::InterestChanged if self.core.config.retention == Retention::Interest => {
                    self.let_go_up_to(site, u64::MAX);
                }
                Wanted::InterestChanged => {}
            }
            wanted.append(&mut site.ground.wanted);
            done += 1;
        }
        wanted.clear();
        site.ground.wanted = wanted;
        self.count(site);
    }

    /// Removes a message that no consumer needs any more.
    fn let_go(&mut self, site: &mut Site<'_>, sequence: u64) {
        let retention = self.core.config.retention;
        if retention == Retention::Limits {
            return;
        }
        let log = site.ground.store.log(self.core.log);
        let Some(key) = log.key_of(sequence) else { return };
        let subject = log.keys().text(key);
        // A work queue keeps what has no consumer yet.
        let is_wanted = retention == Retention::Interest || self.consumers.wants(subject);
        if is_wanted && !self.consumers.needs(sequence, subject) {
            site.ground.store.remove(self.core.log, sequence, false);
        }
    }

    fn let_go_up_to(&mut self, site: &mut Site<'_>, last: u64) {
        if self.core.config.retention == Retention::Limits {
            return;
        }
        let mut from = 0;
        loop {
            let log = site.ground.store.log(self.core.log);
            match log.next(from, &storage::KeySet::ALL).filter(|sequence| *sequence <= last) {
                Some(sequence) => {
                    self.let_go(site, sequence);
                    from = sequence + 1;
                }
                None => return,
            }
        }
    }
}
