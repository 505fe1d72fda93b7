//! What accounts are, as configured (spec 2.4, 2.5, 3.2, 3.3, 4).

use base::{AccountId, Duration, Wall};

use crate::{Mapping, ServiceImport, StreamImport};

/// All accounts of the server. The place of an account in the list is its [`AccountId`].
#[derive(Clone, Debug, PartialEq)]
pub struct Directory {
    /// The accounts; the first is `$G`, the second the system account. An account that a reload
    /// took away keeps its place, so that no other is ever known by its number.
    pub accounts: Vec<Account>,
    /// Is there a system account? Without one its place is held by an account that nobody is in.
    pub has_system: bool,
    /// The cluster that this server belongs to; empty for none. Mappings may ask for it.
    pub cluster: String,
}

impl Default for Directory {
    fn default() -> Self {
        let accounts = vec![Account::new("$G"), Account::new("$SYS")];
        Self { accounts, has_system: true, cluster: String::new() }
    }
}

impl Directory {
    /// An account of the directory.
    pub fn get(&self, id: AccountId) -> &Account {
        &self.accounts[id.index()]
    }

    /// The account of a name.
    pub fn find(&self, name: &str) -> Option<AccountId> {
        let is_it = |account: &Account| account.name == name && !account.removed;
        Some(AccountId(self.accounts.iter().position(is_it)? as u32))
    }

    /// The accounts that exist, with their numbers.
    pub fn present(&self) -> impl Iterator<Item = (AccountId, &Account)> {
        let numbered = (0..).map(AccountId).zip(&self.accounts);
        numbered.filter(|(_, account)| !account.removed)
    }

    /// Is there none but `$G` and the system account? Then `$G` is what everybody uses.
    pub fn is_global_only(&self) -> bool {
        self.present().all(|(id, _)| id == AccountId::GLOBAL || id == AccountId::SYSTEM)
    }

    /// Makes the account of a name the system account. The one that was it so far is gone, unless
    /// it was asked for. `None` if there is no such account.
    pub fn name_system(&mut self, name: &str, keep: bool) -> Option<()> {
        let (chosen, system) = (self.find(name)?, AccountId::SYSTEM);
        if chosen == AccountId::GLOBAL {
            return None;
        }
        let mut places: Vec<AccountId> = (0..self.accounts.len() as u32).map(AccountId).collect();
        places.swap(chosen.index(), system.index());
        self.accounts.swap(chosen.index(), system.index());
        if chosen != system {
            self.accounts[chosen.index()].removed = !keep;
        }
        for account in &mut self.accounts {
            account.renumber(&places);
        }
        Some(())
    }

    /// The same accounts in places that agree with those of an earlier directory: who was there
    /// keeps the place, who is new gets one that nobody had, and the place of who is gone stays
    /// empty.
    #[must_use]
    pub fn after(mut self, earlier: &Self) -> Self {
        let mut accounts: Vec<Account> = Vec::with_capacity(earlier.accounts.len());
        let mut places = vec![AccountId::GLOBAL; self.accounts.len()];
        let mut fresh = std::mem::take(&mut self.accounts);
        let fixed = AccountId::SYSTEM.index();
        for (place, old) in earlier.accounts.iter().enumerate() {
            let same = |new: &Account| new.name == old.name && !new.removed && !old.removed;
            let found = fresh.iter().enumerate().position(|(at, new)| {
                if place <= fixed || at <= fixed { place == at } else { same(new) }
            });
            match found {
                Some(at) => {
                    places[at] = AccountId(place as u32);
                    let taken = Account { removed: true, ..Account::default() };
                    accounts.push(std::mem::replace(&mut fresh[at], taken));
                }
                None => accounts.push(Account { removed: true, ..Account::new(&old.name) }),
            }
        }
        for (at, account) in fresh.into_iter().enumerate().filter(|(_, new)| !new.removed) {
            places[at] = AccountId(accounts.len() as u32);
            accounts.push(account);
        }
        for account in &mut accounts {
            account.renumber(&places);
        }
        Self { accounts, ..self }
    }
}

/// One account.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Account {
    /// Its name: as configured, or its public nkey in operator mode.
    pub name: String,
    /// Its public nkey as configured, if it has one beside its name.
    pub nkey: Option<String>,
    /// What it may use.
    pub limits: Limits,
    /// For users without permissions of their own.
    pub default_permissions: Option<Permissions>,
    /// What it offers to others.
    pub exports: Vec<Export>,
    /// Streams of others that it listens to.
    pub stream_imports: Vec<StreamImport>,
    /// Services of others that it asks.
    pub service_imports: Vec<ServiceImport>,
    /// Subjects that its clients' publishes are moved to; the first that matches counts.
    pub mappings: Vec<Mapping>,
    /// Where traces go that come in with a `traceparent` header, and how many of 100 are taken.
    pub trace: Option<(String, u8)>,
    /// How much it may store; nothing if it has no `JetStream`.
    pub jetstream: Option<StorageLimits>,
    /// Did a reload take it away?
    pub removed: bool,
}

impl Account {
    /// An account that shares nothing and may do everything.
    pub fn new(name: &str) -> Self {
        Self { name: name.into(), ..Self::default() }
    }

    /// Moves what it imports to the numbers that accounts have now.
    fn renumber(&mut self, places: &[AccountId]) {
        for import in &mut self.stream_imports {
            import.account = places[import.account.index()];
        }
        for import in &mut self.service_imports {
            import.account = places[import.account.index()];
        }
    }
}

/// How much an account may store (spec 2.5); -1 for no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StorageLimits {
    /// Bytes in memory.
    pub memory: i64,
    /// Bytes on disk.
    pub file: i64,
    /// Streams.
    pub streams: i64,
    /// Consumers.
    pub consumers: i64,
    /// Bytes of a stream in memory.
    pub memory_stream: i64,
    /// Bytes of a stream on disk.
    pub file_stream: i64,
    /// Messages of a consumer that wait for their acknowledgement.
    pub ack_pending: i64,
    /// Must a stream say how large it may be?
    pub max_bytes_required: bool,
}

impl Default for StorageLimits {
    fn default() -> Self {
        Self {
            memory: -1,
            file: -1,
            streams: -1,
            consumers: -1,
            memory_stream: -1,
            file_stream: -1,
            ack_pending: -1,
            max_bytes_required: false,
        }
    }
}

/// What an account may use; `None` for no limit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Connections of all its users.
    pub connections: Option<u64>,
    /// Subscriptions of each of its connections.
    pub subscriptions: Option<u64>,
    /// Bytes of a message.
    pub payload: Option<u64>,
    /// Leaf nodes.
    pub leaf_nodes: Option<u64>,
}

/// What a user may publish and subscribe to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Permissions {
    /// Subjects that may be published to.
    pub publish: Rule,
    /// Subjects, with queue groups behind a blank, that may be subscribed to.
    pub subscribe: Rule,
    /// May replies be sent to requests that were received?
    pub responses: Option<ResponsePermission>,
}

/// Subjects that are allowed and denied.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rule {
    /// Only these; all if `None`.
    pub allow: Option<Vec<String>>,
    /// But none of these.
    pub deny: Vec<String>,
}

/// Replies that may be sent to a request although its reply subject is not allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResponsePermission {
    /// So many; no limit if negative.
    pub max: i64,
    /// Within this time; no limit if zero.
    pub expires: Duration,
}

/// What authentication grants to a connection.
#[derive(Clone, Debug, Default)]
pub struct Grant {
    /// The account that it belongs to.
    pub account: AccountId,
    /// What it may do; everything if `None`.
    pub permissions: Option<Permissions>,
    /// The user as shown in events and monitoring.
    pub user: String,
    /// Its public nkey, if it has one.
    pub nkey: String,
    /// Subscriptions that it may have; the account's and the server's limit hold beside it.
    pub subscriptions: Option<u64>,
    /// Bytes of a message that it may publish.
    pub payload: Option<u64>,
    /// When the connection is cut off with `User Authentication Expired`.
    pub expires: Option<Wall>,
    /// Is it the account's time that is over then?
    pub expires_with_account: bool,
    /// The user's JWT and its issuer key, for monitoring and events.
    pub jwt: Option<Box<(String, String)>>,
    /// Tags of the user.
    pub tags: Vec<String>,
    /// Did somebody else decide that the connection may come in?
    pub vouched: bool,
}

/// Streams or services that an account offers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Export {
    /// The subject, wildcards included.
    pub subject: String,
    /// Streams or services?
    pub kind: ExportKind,
    /// Names of the accounts that may import it; all if `None`.
    pub accounts: Option<Vec<String>>,
    /// Must an importer have an activation token?
    pub token_required: bool,
    /// The place of the importing account's name in the subject, counted from one; zero for none.
    pub account_token_position: usize,
}

/// What is exported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ExportKind {
    /// Messages flow to the importer.
    Stream,
    /// Requests flow from the importer, and replies back.
    Service {
        /// How many replies.
        response: ResponseType,
        /// How long replies are waited for; the default if zero.
        threshold: Duration,
        /// Is the time to the reply measured?
        latency: Option<Latency>,
        /// May the request be traced into the exporter's account?
        allow_trace: bool,
    },
}

/// Replies to one request to a service.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ResponseType {
    /// One.
    #[default]
    Singleton,
    /// Any number, ended by an empty one.
    Stream,
    /// One, in several parts.
    Chunked,
}

/// How service latency is sampled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Latency {
    /// Of 100 requests; zero to sample those whose headers ask for it.
    pub sampling: u8,
    /// Where results go.
    pub subject: String,
}
