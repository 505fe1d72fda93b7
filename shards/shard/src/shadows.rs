//! Subscriptions in the accounts that streams are imported from.
//!
//! A subscription in an account with imported streams casts a shadow in each account whose stream
//! it meets: a subscription there, of the same connection under the same name, which other cores
//! learn of like of any other. So a message needs no way of its own to the importer, and nobody
//! else pays for it; the shadow alone is marked as special.

use accounts::StreamImport;
use ahash::RandomState;
use base::{AccountId, Slot};
use hashbrown::HashMap;
use smallvec::SmallVec;
use subjects::SubId;

use crate::services::SERVICES;
use crate::shard::Shard;

/// What a special subscription stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Special {
    /// A subscription in an account, by way of one of the streams that it imports.
    Shadow { importer: AccountId, import: u32 },
    /// All requests of this core across accounts that wait for a response.
    Responses,
}

/// The special subscriptions of a core.
#[derive(Debug)]
pub(crate) struct Shadows {
    kinds: HashMap<SubId, Special, RandomState>,
    /// The shadows that a subscription casts.
    cast: HashMap<SubId, SmallVec<[SubId; 2]>, RandomState>,
}

impl Shadows {
    pub(crate) fn new(seed: u64) -> Self {
        let hasher = RandomState::with_seeds(seed, !seed, seed.rotate_left(7), 0x1405_7b7e);
        Self { kinds: HashMap::with_hasher(hasher.clone()), cast: HashMap::with_hasher(hasher) }
    }

    /// What a special subscription stands for.
    pub(crate) fn kind(&self, id: SubId) -> Special {
        *self.kinds.get(&id).expect("a special subscription stands for something")
    }

    /// How many there are that stand for subscriptions.
    pub(crate) fn count(&self) -> usize {
        self.cast.values().map(SmallVec::len).sum()
    }
}

impl Shard {
    /// Casts the shadows of a subscription that has just been made.
    pub(crate) fn cast_shadows(
        &mut self,
        slot: Slot,
        importer: AccountId,
        id: SubId,
        (pattern, queue, sid): (&[u8], &[u8], &[u8]),
    ) {
        let count = self.imports_of(importer).len();
        for import in 0..count {
            let shared = &self.imports_of(importer)[import];
            let exporter = shared.account;
            let shared: &StreamImport = &self.config.accounts.get(importer).stream_imports[import];
            let Some(there) = shared.shadow_of(pattern, &mut self.random) else { continue };
            let made = self.spaces.subscribe(exporter, slot, sid, &there, queue);
            let Ok((shadow, change)) = made else { continue };
            self.spaces.subscriptions.get_mut(shadow).set_special(true);
            let import = import as u32;
            self.shadows.kinds.insert(shadow, Special::Shadow { importer, import });
            self.shadows.cast.entry(id).or_default().push(shadow);
            self.announce(exporter, &change);
        }
    }

    fn imports_of(&self, account: AccountId) -> &[StreamImport] {
        let account = self.config.accounts.accounts.get(account.index());
        account.map_or(&[], |account| &account.stream_imports)
    }

    /// Takes back the shadows of a subscription.
    pub(crate) fn take_shadows(&mut self, id: SubId) {
        if self.shadows.cast.is_empty() {
            return;
        }
        for shadow in self.shadows.cast.remove(&id).unwrap_or_default() {
            self.shadows.kinds.remove(&shadow);
            let (exporter, change) = self.spaces.unsubscribe(shadow);
            self.announce(exporter, &change);
        }
    }

    /// Listens to all responses under a prefix in an account.
    pub(crate) fn listen_to_responses(&mut self, account: AccountId, prefix: &[u8]) {
        let pattern = [prefix, b".>"].concat();
        let made = self.spaces.subscribe(account, SERVICES, b"R", &pattern, b"");
        let (id, change) = made.expect("a prefix and a wildcard are a pattern");
        self.spaces.subscriptions.get_mut(id).set_special(true);
        self.shadows.kinds.insert(id, Special::Responses);
        self.announce(account, &change);
    }

    /// Casts the shadows of all subscriptions in some accounts anew, since what these import is
    /// something else now.
    pub(crate) fn recast_shadows(&mut self, changed: impl Fn(AccountId) -> bool) {
        let owners = self.shadows.cast.keys().copied();
        let of_changed = |id: &SubId| changed(self.spaces.subscriptions.get(*id).account());
        let stale: Vec<SubId> = owners.filter(of_changed).collect();
        for id in stale {
            self.take_shadows(id);
        }
        let mut fresh: Vec<(Slot, SubId)> = Vec::new();
        for (slot, connection) in self.wires.connections.places() {
            let own = connection.subscriptions.iter().map(|id| SubId(*id));
            fresh.extend(own.map(|id| (Slot(slot), id)));
        }
        for (slot, id) in fresh {
            let subscription = self.spaces.subscriptions.get(id);
            let (account, sid) = (subscription.account(), subscription.sid);
            if !changed(account) || self.imports_of(account).is_empty() {
                continue;
            }
            let sid = self.spaces.subscriptions.sids.with(sid, <[u8]>::to_vec);
            let (pattern, queue) = self.spaces.describe(id);
            let (pattern, queue) = (pattern.to_vec(), queue.to_vec());
            self.cast_shadows(slot, account, id, (&pattern, &queue, &sid));
        }
    }
}
