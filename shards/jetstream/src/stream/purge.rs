//! Many messages go at once.

use super::Stream;
use super::admit::keys_of;
use crate::ground::Site;

/// What a purge takes away.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Scope<'a> {
    /// Only subjects that match; all if empty.
    pub(crate) filter: &'a [u8],
    /// Only what is in front of this sequence; everything if zero.
    pub(crate) below: u64,
    /// How many of them stay: the newest.
    pub(crate) keep: u64,
}

impl Stream {
    /// Takes messages away and tells consumers. Returns how many they were.
    pub(crate) fn purge(&mut self, site: &mut Site<'_>, scope: &Scope<'_>) -> u64 {
        // Up to the first, exclusive: nothing.
        if scope.below == 1 {
            return 0;
        }
        let log = site.ground.store.log(self.core.log);
        let before = log.messages();
        let everything = scope.filter.is_empty() || scope.filter == b">";
        let below = if scope.below == 0 { log.last() + 1 } else { scope.below };
        if everything && scope.keep == 0 {
            site.ground.store.truncate_before(self.core.log, below);
        } else {
            self.purge_some(site, scope, below);
        }
        let log = site.ground.store.log(self.core.log);
        let (purged, below) = (before - log.messages(), below.min(log.last() + 1));
        if log.messages() == 0 {
            // What was to become visible is gone.
            self.core.visible = log.last();
        }
        if !self.consumers.is_empty() {
            let mut view = site.ground.view(site.now, &self.core, site.account);
            let filter = if everything { b"" } else { scope.filter };
            self.consumers.purged(&mut view, below, filter, site.out);
            self.list(site);
        }
        self.count(site);
        purged
    }

    fn purge_some(&mut self, site: &mut Site<'_>, scope: &Scope<'_>, below: u64) {
        let log_id = self.core.log;
        let store = &mut site.ground.store;
        let set = keys_of(store.log(log_id), scope.filter);
        let mut rest = match scope.keep {
            0 => u64::MAX,
            keep => store.log(log_id).count(0, &set).saturating_sub(keep),
        };
        let mut from = 0;
        while rest > 0
            && let Some(sequence) = store.log(log_id).next(from, &set)
            && sequence < below
        {
            store.remove(log_id, sequence, false);
            // A subject whose last message went may have given its number to nobody yet: no message
            // comes in meanwhile.
            from = sequence + 1;
            rest -= 1;
        }
    }
}
