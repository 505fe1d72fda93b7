//! `/accountz` and `/accstatz`: accounts, and what goes through them.

use accounts::{Account, ExportKind, ResponseType};
use base::AccountId;
use serde::{Deserialize, Serialize};
use shard::AccountCensus;

use super::super::json::{Stamp, is_default};
use super::super::query::Query;
use super::super::state::{Settled, State, now};
use super::{IndexCount, MessageCount};

/// What `/accountz` may be asked.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(in super::super) struct Options {
    pub(in super::super) account: String,
}

impl Options {
    pub(in super::super) fn read(query: &Query) -> Self {
        Self { account: query.text("acc").to_owned() }
    }
}

#[derive(Serialize)]
pub(in super::super) struct Accountz {
    server_id: String,
    now: Stamp,
    system_account: String,
    #[serde(skip_serializing_if = "is_default")]
    accounts: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    account_detail: Option<Detail>,
}

/// One account.
#[derive(Serialize)]
pub(in super::super) struct Detail {
    account_name: String,
    update_time: Stamp,
    #[serde(skip_serializing_if = "is_default")]
    is_system: bool,
    expired: bool,
    complete: bool,
    jetstream_enabled: bool,
    leafnode_connections: u64,
    client_connections: usize,
    subscriptions: u64,
    #[serde(skip_serializing_if = "is_default")]
    exports: Vec<Export>,
    #[serde(skip_serializing_if = "is_default")]
    imports: Vec<Import>,
    name_tag: String,
    sublist_stats: IndexCount,
}

#[derive(PartialEq, Serialize)]
struct Export {
    subject: String,
    r#type: &'static str,
    #[serde(skip_serializing_if = "is_default")]
    token_req: bool,
    #[serde(skip_serializing_if = "is_default")]
    response_type: &'static str,
    #[serde(skip_serializing_if = "is_default")]
    approved_accounts: Vec<String>,
}

#[derive(PartialEq, Serialize)]
struct Import {
    subject: String,
    account: String,
    #[serde(skip_serializing_if = "is_default")]
    to: String,
    local_subject: String,
    r#type: &'static str,
    invalid: bool,
    share: bool,
    tracking: bool,
}

/// Looks at the accounts, or at one of them.
pub(in super::super) async fn accountz(
    state: &State,
    options: &Options,
) -> Result<Accountz, String> {
    let settled = state.settled();
    let directory = &settled.directory;
    let mut view = Accountz {
        server_id: settled.config.server_id.clone(),
        now: now(),
        system_account: settled.name(AccountId::SYSTEM).to_owned(),
        accounts: Vec::new(),
        account_detail: None,
    };
    if options.account.is_empty() {
        view.accounts = directory.present().map(|(_, account)| account.name.clone()).collect();
        return Ok(view);
    }
    view.account_detail = Some(detail(state, &options.account).await?);
    Ok(view)
}

/// Describes the account of a name.
pub(in super::super) async fn detail(state: &State, name: &str) -> Result<Detail, String> {
    let settled = state.settled();
    let id =
        settled.directory.find(name).ok_or_else(|| format!("Account {name} does not exist"))?;
    let account = settled.directory.get(id);
    let counts = counts(state, id).await;
    Ok(Detail {
        account_name: name.to_owned(),
        update_time: Stamp(settled.loaded),
        is_system: id == AccountId::SYSTEM,
        expired: false,
        complete: true,
        jetstream_enabled: account.jetstream.is_some(),
        leafnode_connections: 0,
        client_connections: counts.connections,
        subscriptions: counts.subscriptions(),
        exports: account.exports.iter().map(Export::new).collect(),
        imports: imports(account, &settled),
        name_tag: name.to_owned(),
        sublist_stats: IndexCount::new(counts.turnover),
    })
}

/// What is counted of an account, on all cores together.
pub(in super::super) async fn counts(state: &State, id: AccountId) -> AccountCensus {
    let census = state.census().await;
    let none = AccountCensus { account: id, ..AccountCensus::default() };
    census.accounts.into_iter().nth(id.index()).unwrap_or(none)
}

impl Export {
    fn new(export: &accounts::Export) -> Self {
        let (r#type, response_type) = match export.kind {
            ExportKind::Stream => ("stream", ""),
            ExportKind::Service { response, .. } => match response {
                ResponseType::Singleton => ("service", "Singleton"),
                ResponseType::Stream => ("service", "Streamed"),
                ResponseType::Chunked => ("service", "Chunked"),
            },
        };
        Self {
            subject: export.subject.clone(),
            r#type,
            token_req: export.token_required,
            response_type,
            approved_accounts: export.accounts.clone().unwrap_or_default(),
        }
    }
}

fn imports(account: &Account, settled: &Settled) -> Vec<Import> {
    let streams = account.stream_imports.iter().map(|import| Import {
        subject: import.subject.clone(),
        account: settled.name(import.account).to_owned(),
        to: String::new(),
        local_subject: import.to.clone(),
        r#type: "stream",
        invalid: false,
        share: false,
        tracking: false,
    });
    let services = account.service_imports.iter().map(|import| Import {
        subject: import.subject.clone(),
        account: settled.name(import.account).to_owned(),
        to: import.to.clone(),
        local_subject: import.to.clone(),
        r#type: "service",
        invalid: false,
        share: import.share,
        tracking: false,
    });
    streams.chain(services).collect()
}

/// What `/accstatz` may be asked.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(in super::super) struct StatOptions {
    pub(in super::super) accounts: Vec<String>,
    pub(in super::super) include_unused: bool,
}

impl StatOptions {
    pub(in super::super) fn read(query: &Query) -> Result<Self, String> {
        Ok(Self { accounts: Vec::new(), include_unused: query.boolean("unused")? })
    }
}

#[derive(Serialize)]
pub(in super::super) struct AccountStatz {
    server_id: String,
    now: Stamp,
    #[serde(rename = "account_statz")]
    accounts: Vec<Stat>,
}

impl AccountStatz {
    pub(in super::super) fn is_empty(&self) -> bool {
        self.accounts.is_empty()
    }
}

/// What goes through an account.
#[derive(Clone, Serialize)]
pub(in super::super) struct Stat {
    acc: String,
    name: String,
    conns: usize,
    leafnodes: u64,
    total_conns: usize,
    num_subscriptions: u64,
    sent: Traffic,
    received: Traffic,
    slow_consumers: u64,
}

/// Messages in all, and those of other servers among them.
#[derive(Clone, Serialize)]
struct Traffic {
    #[serde(flatten)]
    all: MessageCount,
    gateways: MessageCount,
    routes: MessageCount,
    leafs: MessageCount,
}

impl Traffic {
    fn of_clients(all: MessageCount) -> Self {
        let none = MessageCount::default();
        Self { all, gateways: none, routes: none, leafs: none }
    }
}

impl Stat {
    pub(in super::super) fn new(census: &AccountCensus, settled: &Settled) -> Self {
        let name = settled.name(census.account).to_owned();
        Self {
            acc: name.clone(),
            name,
            conns: census.connections,
            leafnodes: 0,
            total_conns: census.connections,
            num_subscriptions: census.subscriptions(),
            sent: Traffic::of_clients(MessageCount::sent(&census.statistics)),
            received: Traffic::of_clients(MessageCount::received(&census.statistics)),
            slow_consumers: census.slow_consumers,
        }
    }
}

/// Looks at what goes through accounts.
pub(in super::super) async fn statz(state: &State, options: &StatOptions) -> AccountStatz {
    let census = state.census().await;
    let settled = state.settled();
    let mut accounts = Vec::new();
    for (id, account) in settled.directory.present() {
        let none = AccountCensus { account: id, ..AccountCensus::default() };
        let counts = census.accounts.get(id.index()).unwrap_or(&none);
        let named = options.accounts.is_empty() || options.accounts.contains(&account.name);
        if named && (options.include_unused || counts.connections > 0) {
            accounts.push(Stat::new(counts, &settled));
        }
    }
    AccountStatz { server_id: settled.config.server_id.clone(), now: now(), accounts }
}
