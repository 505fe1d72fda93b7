//! Which subject asks for what.

use std::cell::{Cell, RefCell};

use base::{AccountId, ServiceId};

use super::super::state::State;
use super::claims::inbox;
use crate::config::Resolver;

/// What may be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Service {
    /// An endpoint about the server.
    Server(Endpoint),
    /// An endpoint about the account that the subject names.
    Account(AccountEndpoint),
    /// `$SYS.REQ.ACCOUNT.PING.STATZ`: of all accounts.
    AllAccounts,
    /// `$SYS.REQ.USER.INFO`: about who asks.
    User,
    /// `$SYS.REQ.{SERVER,ACCOUNT}.PING.CONNZ` in an ordinary account: its own connections.
    OwnConnections,
    /// `$SYS.REQ.ACCOUNT.PING.STATZ` in an ordinary account: its own traffic.
    OwnTraffic,
    Reload,
    Kick,
    SendAway,
    /// `$SYS.DEBUG.SUBSCRIBERS`: how many there are.
    CountSubscribers,
    /// Requests about tokens of accounts.
    Claims(ClaimsEndpoint),
    /// An answer to a look for the token of an account.
    Found,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Endpoint {
    Id,
    Stats,
    Vars,
    Subscriptions,
    Connections,
    Routes,
    Gateways,
    Leafs,
    Accounts,
    JetStream,
    Health,
    Profile,
    Exported,
    Queues,
    Raft,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AccountEndpoint {
    Subscriptions,
    Connections,
    Leafs,
    JetStream,
    Info,
    Stats,
    Count,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ClaimsEndpoint {
    /// The token of whichever account.
    Update,
    /// The token of the account that the subject names.
    UpdateOf,
    /// The same in the oldest form of the subject.
    UpdateOfOld,
    LookUp,
    List,
    Delete,
    Pack,
}

/// Where tokens are served, by whether a directory has to hold all of them for that.
const CLAIMS_ENDPOINTS: [(&str, ClaimsEndpoint); 7] = [
    ("$SYS.REQ.ACCOUNT.*.CLAIMS.UPDATE", ClaimsEndpoint::UpdateOf),
    ("$SYS.ACCOUNT.*.CLAIMS.UPDATE", ClaimsEndpoint::UpdateOfOld),
    ("$SYS.REQ.CLAIMS.UPDATE", ClaimsEndpoint::Update),
    ("$SYS.REQ.CLAIMS.LIST", ClaimsEndpoint::List),
    ("$SYS.REQ.CLAIMS.DELETE", ClaimsEndpoint::Delete),
    ("$SYS.REQ.ACCOUNT.*.CLAIMS.LOOKUP", ClaimsEndpoint::LookUp),
    ("$SYS.REQ.CLAIMS.PACK", ClaimsEndpoint::Pack),
];

const ENDPOINTS: [(&str, Endpoint); 15] = [
    ("IDZ", Endpoint::Id),
    ("STATSZ", Endpoint::Stats),
    ("VARZ", Endpoint::Vars),
    ("SUBSZ", Endpoint::Subscriptions),
    ("CONNZ", Endpoint::Connections),
    ("ROUTEZ", Endpoint::Routes),
    ("GATEWAYZ", Endpoint::Gateways),
    ("LEAFZ", Endpoint::Leafs),
    ("ACCOUNTZ", Endpoint::Accounts),
    ("JSZ", Endpoint::JetStream),
    ("HEALTHZ", Endpoint::Health),
    ("PROFILEZ", Endpoint::Profile),
    ("EXPVARZ", Endpoint::Exported),
    ("IPQUEUESZ", Endpoint::Queues),
    ("RAFTZ", Endpoint::Raft),
];

const ACCOUNT_ENDPOINTS: [(&str, AccountEndpoint); 7] = [
    ("SUBSZ", AccountEndpoint::Subscriptions),
    ("CONNZ", AccountEndpoint::Connections),
    ("LEAFZ", AccountEndpoint::Leafs),
    ("JSZ", AccountEndpoint::JetStream),
    ("INFO", AccountEndpoint::Info),
    ("STATZ", AccountEndpoint::Stats),
    ("CONNS", AccountEndpoint::Count),
];

/// The subscriptions that requests come in by.
#[derive(Default)]
pub(in super::super) struct Services {
    /// What each stands for, by its number.
    all: RefCell<Vec<Service>>,
    /// So many accounts have theirs.
    accounts: Cell<usize>,
}

impl Services {
    /// Subscribes in the system account.
    pub(in super::super) fn open(&self, state: &State) {
        let id = state.settled().config.server_id.clone();
        let listen =
            |pattern: &str, service| self.listen(state, 0, AccountId::SYSTEM, pattern, service);
        for (name, endpoint) in ENDPOINTS {
            listen(&format!("$SYS.REQ.SERVER.{id}.{name}"), Service::Server(endpoint));
            listen(&format!("$SYS.REQ.SERVER.PING.{name}"), Service::Server(endpoint));
        }
        listen("$SYS.REQ.SERVER.PING", Service::Server(Endpoint::Stats));
        listen(&format!("$SYS.REQ.SERVER.{id}.RELOAD"), Service::Reload);
        listen(&format!("$SYS.REQ.SERVER.{id}.KICK"), Service::Kick);
        listen(&format!("$SYS.REQ.SERVER.{id}.LDM"), Service::SendAway);
        for (name, endpoint) in ACCOUNT_ENDPOINTS {
            listen(&format!("$SYS.REQ.ACCOUNT.*.{name}"), Service::Account(endpoint));
        }
        listen("$SYS.REQ.ACCOUNT.PING.STATZ", Service::AllAccounts);
        listen("$SYS.DEBUG.SUBSCRIBERS", Service::CountSubscribers);
        self.open_claims(state);
        self.open_accounts(state);
    }

    /// Subscribes for requests about tokens: what is kept in a directory can be asked about, and
    /// others can ask for it where the directory holds all.
    fn open_claims(&self, state: &State) {
        let settled = state.settled();
        let Some(vouching) = &settled.options.authorization.vouching else { return };
        let served = match &vouching.resolver {
            Resolver::Directory(directory) if directory.is_cache => 5,
            Resolver::Directory(_) => CLAIMS_ENDPOINTS.len(),
            _ => 2,
        };
        for (pattern, endpoint) in &CLAIMS_ENDPOINTS[..served] {
            self.listen(state, 0, AccountId::SYSTEM, pattern, Service::Claims(*endpoint));
        }
        self.listen(state, 0, AccountId::SYSTEM, &inbox(state), Service::Found);
    }

    /// Subscribes in those accounts that are new: for what each may ask about itself. False if
    /// there are none.
    pub(in super::super) fn open_accounts(&self, state: &State) -> bool {
        let count = state.settled().directory.accounts.len();
        let before = self.accounts.get();
        for number in self.accounts.get()..count {
            let account = AccountId(number as u32);
            for core in 0..state.cores.count() {
                self.listen(state, core, account, "$SYS.REQ.USER.INFO", Service::User);
            }
            if account == AccountId::SYSTEM {
                continue;
            }
            let listen = |pattern, service| self.listen(state, 0, account, pattern, service);
            listen("$SYS.REQ.SERVER.PING.CONNZ", Service::OwnConnections);
            listen("$SYS.REQ.ACCOUNT.PING.CONNZ", Service::OwnConnections);
            listen("$SYS.REQ.ACCOUNT.PING.STATZ", Service::OwnTraffic);
        }
        self.accounts.set(count.max(before));
        count > before
    }

    fn listen(
        &self,
        state: &State,
        core: usize,
        account: AccountId,
        pattern: &str,
        service: Service,
    ) {
        let mut all = self.all.borrow_mut();
        let id = ServiceId(all.len() as u32);
        all.push(service);
        state.cores.listen(core, account, pattern, id);
    }

    pub(super) fn get(&self, id: ServiceId) -> Service {
        self.all.borrow()[id.0 as usize]
    }
}
