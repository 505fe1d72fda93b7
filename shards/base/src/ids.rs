//! Identifiers: distinct things have distinct types.

use crate::limits::CORES_MAX;

/// A connection's public number (`client_id` in INFO, `cid` in logs): unique for the life of a
/// server, never reused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId(pub u64);

/// An account's place in the directory of accounts that is in force: the same on every core.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AccountId(pub u32);

impl AccountId {
    /// The global account, `$G`, which is always there.
    pub const GLOBAL: Self = Self(0);
    /// The system account, `$SYS` unless another is named, which is always there.
    pub const SYSTEM: Self = Self(1);

    /// This account's place in an array.
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// A subscription of the broker's own, as its owner numbers it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServiceId(pub u32);

/// A core of this server, counted from zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CoreId(pub u8);

impl CoreId {
    /// This core's place in an array of cores.
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// The place of a connection in its shard's table. Reused once the connection is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slot(pub u32);

impl Slot {
    /// This slot's place in an array.
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// A set of cores.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CoreSet(u64);

const _: () = assert!(CORES_MAX <= u64::BITS as usize);

impl CoreSet {
    /// No core.
    pub const EMPTY: Self = Self(0);

    /// Adds a core.
    pub const fn insert(&mut self, core: CoreId) {
        self.0 |= 1 << core.0;
    }

    /// Takes a core out.
    pub const fn remove(&mut self, core: CoreId) {
        self.0 &= !(1 << core.0);
    }

    /// Is the core in the set?
    pub const fn contains(self, core: CoreId) -> bool {
        self.0 & (1 << core.0) != 0
    }

    /// Is there no core in the set?
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The cores of either set.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// The cores of the set, in ascending order.
    pub fn iter(self) -> impl Iterator<Item = CoreId> {
        let mut rest = self.0;
        std::iter::from_fn(move || {
            if rest == 0 {
                return None;
            }
            let core = rest.trailing_zeros() as u8;
            rest &= rest - 1;
            Some(CoreId(core))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_core_set_lists_what_was_put_in() {
        let mut set = CoreSet::EMPTY;
        assert!(set.is_empty());
        set.insert(CoreId(0));
        set.insert(CoreId(63));
        set.insert(CoreId(7));
        set.remove(CoreId(7));
        assert!(set.contains(CoreId(63)));
        assert!(!set.contains(CoreId(7)));
        assert_eq!(set.iter().collect::<Vec<_>>(), [CoreId(0), CoreId(63)]);
    }
}
