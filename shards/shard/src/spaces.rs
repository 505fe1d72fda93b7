//! The subjects of every account, as one core knows them.

use base::{AccountId, CoreId};
use subjects::{Change, Index, InvalidSubject, Lists, SubId, Subscriptions};

/// One index for each account, made when something first happens in it: an account that nobody uses
/// costs a pointer.
#[derive(Debug)]
pub(crate) struct Spaces {
    indexes: Vec<Option<Box<Index>>>,
    /// The subscriptions of this core, in all accounts.
    pub(crate) subscriptions: Subscriptions,
    /// Counts what comes and goes, over all accounts.
    changes: u64,
    seed: u64,
}

impl Spaces {
    pub(crate) fn new(seed: u64) -> Self {
        Self { indexes: Vec::new(), subscriptions: Subscriptions::new(seed), changes: 0, seed }
    }

    /// Counts what comes and goes, over all accounts.
    pub(crate) const fn changes(&self) -> u64 {
        self.changes
    }

    /// The index of an account.
    #[inline]
    pub(crate) fn at(&mut self, account: AccountId) -> &mut Index {
        if !matches!(self.indexes.get(account.index()), Some(Some(_))) {
            self.open(account);
        }
        self.indexes[account.index()].as_mut().expect("it is made when it is asked for")
    }

    #[cold]
    fn open(&mut self, account: AccountId) {
        if self.indexes.len() <= account.index() {
            self.indexes.resize_with(account.index() + 1, || None);
        }
        self.indexes[account.index()] = Some(Box::new(Index::new(self.seed, account)));
    }

    /// The lists of an account, and the subscriptions to count deliveries on while walking them.
    #[inline]
    pub(crate) fn split(&mut self, account: AccountId) -> (&Lists, &mut Subscriptions) {
        let index = self.indexes[account.index()].as_deref();
        (index.expect("a route was asked for before").lists(), &mut self.subscriptions)
    }

    /// Adds a subscription in an account.
    pub(crate) fn subscribe(
        &mut self,
        account: AccountId,
        connection: base::Slot,
        sid: &[u8],
        pattern: &[u8],
        queue: &[u8],
    ) -> Result<(SubId, Change), InvalidSubject> {
        self.at(account);
        self.changes += 1;
        let index = self.indexes[account.index()].as_mut().expect("it was just made");
        index.subscribe(&mut self.subscriptions, connection, sid, pattern, queue)
    }

    /// Ends a subscription, wherever it is. Returns its account and what other cores must learn.
    pub(crate) fn unsubscribe(&mut self, id: SubId) -> (AccountId, Change) {
        self.changes += 1;
        let account = self.subscriptions.get(id).account();
        let index = self.indexes[account.index()].as_mut();
        let index = index.expect("a subscription's account has an index");
        (account, index.unsubscribe(&mut self.subscriptions, id))
    }

    /// Where messages on several subjects go; see [`Index::route_all`].
    #[inline]
    pub(crate) fn route_all<const N: usize>(
        &mut self,
        account: AccountId,
        subjects: &[&[u8]; N],
        routes: &mut [subjects::Route; N],
        count: usize,
    ) -> bool {
        self.at(account);
        let index = self.indexes[account.index()].as_mut().expect("it was just made");
        index.route_all(&self.subscriptions, subjects, routes, count)
    }

    /// Takes in what another core says about a literal subject.
    pub(crate) fn remote_literal(
        &mut self,
        account: AccountId,
        core: CoreId,
        hash: u64,
        wanted: bool,
    ) {
        self.changes += 1;
        self.at(account).remote_literal(core, hash, wanted);
    }

    /// Takes in what another core says about a pattern.
    pub(crate) fn remote_pattern(
        &mut self,
        account: AccountId,
        core: CoreId,
        pattern: &[u8],
        queue: &[u8],
        weight: u32,
    ) {
        self.changes += 1;
        self.at(account).remote_pattern(core, pattern, queue, weight);
    }

    /// What a subscription listens to: the pattern, and the queue group or nothing.
    pub(crate) fn describe(&self, id: SubId) -> (&[u8], &[u8]) {
        let account = self.subscriptions.get(id).account();
        let index = self.indexes[account.index()].as_deref();
        index.expect("a subscription's account has an index").describe(id, &self.subscriptions)
    }

    /// Subscriptions that came and went so far, by account.
    pub(crate) fn turnovers(&self) -> impl Iterator<Item = (AccountId, (u64, u64))> {
        let indexes = (0..).zip(&self.indexes);
        indexes.filter_map(|(number, index)| Some((AccountId(number), index.as_ref()?.turnover())))
    }

    /// Interest of other cores that is known here: literal hashes and patterns.
    pub(crate) fn remote_interest(&self) -> (usize, usize) {
        let known = self.indexes.iter().flatten().map(|index| index.remote_interest());
        known.fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1))
    }
}
