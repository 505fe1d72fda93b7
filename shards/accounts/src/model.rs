//! What accounts are, as configured (spec 2.4, 2.5, 3.2, 3.3, 4).

use base::{AccountId, Duration, Wall};

/// All accounts of the server. The place of an account in the list is its [`AccountId`].
#[derive(Clone, Debug)]
pub struct Directory {
    /// The accounts; the first is `$G`, the second the system account.
    pub accounts: Vec<Account>,
}

impl Default for Directory {
    fn default() -> Self {
        let named = |name: &str| Account { name: name.into(), ..Account::default() };
        Self { accounts: vec![named("$G"), named("$SYS")] }
    }
}

impl Directory {
    /// An account of the directory.
    pub fn get(&self, id: AccountId) -> &Account {
        &self.accounts[id.index()]
    }

    /// The account of a name.
    pub fn find(&self, name: &str) -> Option<AccountId> {
        let place = self.accounts.iter().position(|account| account.name == name)?;
        Some(AccountId(place as u32))
    }
}

/// One account.
#[derive(Clone, Debug, Default)]
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
    /// Subjects that its clients' publishes are moved to.
    pub mappings: Vec<Mapping>,
    /// Where traces go that come in with a `traceparent` header, and how many of 100 are taken.
    pub trace: Option<(String, u8)>,
    /// Is `JetStream` enabled for it?
    pub jetstream: bool,
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
    /// The user's JWT and its issuer key, for monitoring and events.
    pub jwt: Option<Box<(String, String)>>,
    /// Tags of the user.
    pub tags: Vec<String>,
}

/// Streams or services that an account offers.
#[derive(Clone, Debug)]
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
#[derive(Clone, Debug)]
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

/// A stream of another account.
#[derive(Clone, Debug)]
pub struct StreamImport {
    /// The exporting account.
    pub account: AccountId,
    /// The subject there.
    pub subject: String,
    /// The subject here: with a prefix, or a transform's destination.
    pub to: String,
    /// May traces pass on to the importer?
    pub allow_trace: bool,
}

/// A service of another account.
#[derive(Clone, Debug)]
pub struct ServiceImport {
    /// The exporting account.
    pub account: AccountId,
    /// The subject there.
    pub subject: String,
    /// The subject here that requests are sent to.
    pub to: String,
    /// Are requests marked with who asks?
    pub share: bool,
}

/// Publishes to one subject that go to others instead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mapping {
    /// The subject, with wildcards.
    pub source: String,
    /// Where they go, with weights.
    pub targets: Vec<MappingTarget>,
}

/// One destination of a mapping.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MappingTarget {
    /// The subject, with transform functions.
    pub destination: String,
    /// Of 100.
    pub weight: u8,
    /// Only on servers of this cluster; anywhere if empty.
    pub cluster: String,
}
