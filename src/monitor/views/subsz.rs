//! `/subsz`: subscriptions.

use base::AccountId;
use serde::{Deserialize, Serialize};
use shard::{Answer, Question, SubscriptionFilter, SubscriptionView};
use subjects::grammar;

use super::super::json::{Stamp, is_default};
use super::super::query::Query;
use super::super::state::{Settled, State, now};
use super::IndexCount;

/// As many are listed unless another limit is asked for.
const LIMIT_DEFAULT: usize = 1024;

/// What may be asked.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(in super::super) struct Options {
    pub(in super::super) offset: i64,
    pub(in super::super) limit: i64,
    pub(in super::super) subscriptions: bool,
    pub(in super::super) account: String,
    pub(in super::super) test: String,
}

impl Options {
    pub(in super::super) fn read(query: &Query) -> Result<Self, String> {
        Ok(Self {
            subscriptions: query.boolean("subs")?,
            offset: query.integer("offset")?,
            limit: query.integer("limit")?,
            account: query.text("acc").to_owned(),
            test: query.text("test").to_owned(),
        })
    }
}

#[derive(Serialize)]
pub(in super::super) struct Subsz {
    server_id: String,
    now: Stamp,
    #[serde(flatten)]
    index: IndexCount,
    total: usize,
    offset: usize,
    limit: usize,
    #[serde(skip_serializing_if = "is_default")]
    subscriptions_list: Vec<Detail>,
}

/// One subscription.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(in super::super) struct Detail {
    #[serde(skip_serializing_if = "is_default")]
    account: String,
    #[serde(skip_serializing_if = "is_default")]
    account_tag: String,
    subject: String,
    #[serde(skip_serializing_if = "is_default")]
    qgroup: String,
    sid: String,
    msgs: u64,
    #[serde(skip_serializing_if = "is_default")]
    max: u64,
    cid: u64,
}

impl Detail {
    /// A subscription of a connection that is described already.
    pub(in super::super) fn of_connection(view: &SubscriptionView) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Self {
            account: String::new(),
            account_tag: String::new(),
            subject: text(&view.subject),
            qgroup: text(&view.queue),
            sid: text(&view.sid),
            msgs: view.delivered,
            max: view.max,
            cid: view.connection.0,
        }
    }

    pub(in super::super) fn new(view: &SubscriptionView, settled: &Settled) -> Self {
        let account = settled.name(view.account).to_owned();
        Self { account_tag: account.clone(), account, ..Self::of_connection(view) }
    }
}

/// Looks at subscriptions.
pub(in super::super) async fn subsz(state: &State, options: &Options) -> Result<Subsz, String> {
    let test = &options.test;
    if !test.is_empty() && !grammar::is_literal(test.as_bytes()) {
        return Err(format!("invalid test subject, must be valid publish subject: {test}"));
    }
    let settled = state.settled();
    let account = settled.directory.find(&options.account);
    let unknown = !options.account.is_empty() && account.is_none();
    let mut view = Subsz {
        server_id: settled.config.server_id.clone(),
        now: now(),
        index: IndexCount::default(),
        total: 0,
        offset: usize::try_from(options.offset).unwrap_or(0),
        limit: usize::try_from(options.limit).ok().filter(|n| *n > 0).unwrap_or(LIMIT_DEFAULT),
        subscriptions_list: Vec::new(),
    };
    if unknown {
        return Ok(view);
    }
    view.index = count(state, account).await;
    if options.subscriptions {
        list(state, &settled, options, account, &mut view).await;
    }
    Ok(view)
}

async fn count(state: &State, account: Option<AccountId>) -> IndexCount {
    let census = state.census().await;
    let counted =
        census.accounts.iter().filter(|census| account.is_none_or(|a| a == census.account));
    let turnovers = counted.map(|census| census.turnover);
    IndexCount::new(turnovers.fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1)))
}

/// Lists a window of the subscriptions of all cores, one behind the other.
async fn list(
    state: &State,
    settled: &Settled,
    options: &Options,
    account: Option<AccountId>,
    view: &mut Subsz,
) {
    for core in 0..state.cores.count() {
        let filter = SubscriptionFilter {
            account,
            test: Some(options.test.clone().into_bytes()).filter(|test| !test.is_empty()),
            offset: view.offset.saturating_sub(view.total),
            limit: view.limit - view.subscriptions_list.len(),
            ..SubscriptionFilter::default()
        };
        let question = Question::Subscriptions(filter);
        if let Some(Answer::Subscriptions(total, found)) = state.cores.ask(core, question).await {
            view.total += total;
            let details = found.iter().map(|found| Detail::new(found, settled));
            view.subscriptions_list.extend(details);
        }
    }
}
