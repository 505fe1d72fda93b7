//! `/connz`: connections, open and closed.
//!
//! Cores are asked in two steps: for everyone's place and what they are to be sorted by, and then
//! only for the page that is shown.

use std::collections::{HashMap, HashSet};
use std::rc::Rc;

use accounts::Token;
use base::{AccountId, ConnectionId, Duration, Slot, Wall};
use serde::{Deserialize, Serialize};
use shard::{
    Answer, ConnectionFilter, ConnectionView, Question, ShownCertificate, Sighting, SlotSet,
    SortKey, SubscriptionFilter, SubscriptionView,
};

use super::super::json::{Stamp, is_default, uptime};
use super::super::query::Query;
use super::super::state::{Closed, Settled, State, now};
use super::subsz::Detail;
use crate::notation::duration_text;

/// As many are shown unless another limit is asked for.
pub(in super::super) const LIMIT_DEFAULT: usize = 1024;

/// What may be asked.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(in super::super) struct Options {
    pub(in super::super) sort: String,
    pub(in super::super) auth: bool,
    pub(in super::super) subscriptions: bool,
    pub(in super::super) subscriptions_detail: bool,
    pub(in super::super) offset: i64,
    pub(in super::super) limit: i64,
    pub(in super::super) cid: u64,
    pub(in super::super) mqtt_client: String,
    /// Zero for open ones, one for closed ones, two for both.
    pub(in super::super) state: u8,
    pub(in super::super) user: String,
    pub(in super::super) acc: String,
    pub(in super::super) filter_subject: String,
}

impl Options {
    pub(in super::super) fn read(query: &Query) -> Result<Self, String> {
        let auth = query.boolean("auth")?;
        let (subscriptions, subscriptions_detail) = query.subscriptions()?;
        Ok(Self {
            sort: query.text("sort").to_owned(),
            auth,
            subscriptions,
            subscriptions_detail,
            offset: query.integer("offset")?,
            limit: query.integer("limit")?,
            cid: query.unsigned("cid")?,
            mqtt_client: query.text("mqtt_client").to_owned(),
            state: match query.text("state").to_lowercase().as_str() {
                "" | "open" => 0,
                "closed" => 1,
                "any" | "all" => 2,
                _ => return Err(format!("Error decoding state for {}", query.text("state"))),
            },
            user: query.text("user").to_owned(),
            acc: query.text("acc").to_owned(),
            filter_subject: String::new(),
        })
    }

    fn wants_open(&self) -> bool {
        self.state != 1
    }

    fn wants_closed(&self) -> bool {
        self.state != 0
    }

    fn order(&self) -> Result<Order, String> {
        let order = Order::read(&self.sort)
            .ok_or_else(|| format!("invalid sorting option: {}", self.sort))?;
        if matches!(order, Order::Stop | Order::Reason) && self.state != 1 {
            return Err(format!("sort by {} only valid on closed connections", self.sort));
        }
        Ok(order)
    }

    /// The subject that subscriptions must have to do with, if one was named.
    fn subject(&self) -> Result<Option<&str>, String> {
        let subject = self.filter_subject.as_str();
        if subject.is_empty() || subject == ">" {
            return Ok(None);
        }
        if self.acc.is_empty() {
            return Err("filter by subject only valid with account filtering".to_owned());
        }
        Ok(Some(subject))
    }
}

/// What connections are sorted by.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Order {
    By(SortKey),
    Idle,
    Uptime,
    Stop,
    Reason,
}

impl Order {
    fn read(name: &str) -> Option<Self> {
        Some(match name {
            // Who came first has the lower number.
            "" | "cid" | "start" => Self::By(SortKey::Id),
            "subs" => Self::By(SortKey::Subscriptions),
            "pending" => Self::By(SortKey::Pending),
            "msgs_to" => Self::By(SortKey::OutMessages),
            "msgs_from" => Self::By(SortKey::InMessages),
            "bytes_to" => Self::By(SortKey::OutBytes),
            "bytes_from" => Self::By(SortKey::InBytes),
            "last" => Self::By(SortKey::Last),
            "idle" => Self::Idle,
            "uptime" => Self::Uptime,
            "stop" => Self::Stop,
            "reason" => Self::Reason,
            "rtt" => Self::By(SortKey::RoundTrip),
            _ => return None,
        })
    }

    /// What a core is asked for.
    const fn key(self) -> SortKey {
        match self {
            Self::By(key) => key,
            Self::Idle => SortKey::Last,
            Self::Uptime => SortKey::Opened,
            Self::Stop | Self::Reason => SortKey::Id,
        }
    }

    /// Do high values come first?
    fn descends(self) -> bool {
        // Whoever was idle longest was last active first, and is named first.
        !matches!(self, Self::By(SortKey::Id) | Self::Idle | Self::Reason)
    }

    /// The value of a closed connection, comparable with what cores say of open ones.
    fn of_closed(self, closed: &Closed) -> u64 {
        let view = &closed.view;
        match self {
            Self::By(SortKey::Subscriptions) => view.subscriptions as u64,
            Self::By(SortKey::Pending) => view.pending as u64,
            Self::By(SortKey::OutMessages) => view.statistics.out_messages,
            Self::By(SortKey::InMessages) => view.statistics.in_messages,
            Self::By(SortKey::OutBytes) => view.statistics.out_bytes,
            Self::By(SortKey::InBytes) => view.statistics.in_bytes,
            Self::By(SortKey::Last) | Self::Idle => view.last_activity.0,
            Self::By(SortKey::Opened) | Self::Uptime => view.opened.0,
            Self::By(SortKey::RoundTrip) => view.round_trip.as_nanos() as u64,
            Self::By(SortKey::Id) | Self::Reason => view.id.0,
            Self::Stop => closed.stop.0 as u64,
        }
    }
}

#[derive(Serialize)]
pub(in super::super) struct Connz {
    server_id: String,
    now: Stamp,
    num_connections: usize,
    total: usize,
    offset: usize,
    limit: usize,
    connections: Option<Vec<Connection>>,
}

/// One connection.
#[derive(Default, Serialize)]
pub(in super::super) struct Connection {
    cid: u64,
    kind: &'static str,
    r#type: &'static str,
    ip: String,
    port: u16,
    start: Option<Stamp>,
    last_activity: Option<Stamp>,
    #[serde(skip_serializing_if = "is_default")]
    stop: Option<Stamp>,
    #[serde(skip_serializing_if = "is_default")]
    reason: &'static str,
    rtt: String,
    uptime: String,
    idle: String,
    pending_bytes: usize,
    in_msgs: u64,
    out_msgs: u64,
    in_bytes: u64,
    out_bytes: u64,
    #[serde(skip_serializing_if = "is_default")]
    stalls: u64,
    subscriptions: usize,
    #[serde(skip_serializing_if = "is_default")]
    name: String,
    #[serde(skip_serializing_if = "is_default")]
    lang: String,
    #[serde(skip_serializing_if = "is_default")]
    version: String,
    #[serde(skip_serializing_if = "is_default")]
    tls_version: String,
    #[serde(skip_serializing_if = "is_default")]
    tls_cipher_suite: String,
    #[serde(skip_serializing_if = "is_default")]
    tls_peer_certs: Vec<PeerCertificate>,
    #[serde(skip_serializing_if = "is_default")]
    tls_first: bool,
    #[serde(skip_serializing_if = "is_default")]
    authorized_user: String,
    #[serde(skip_serializing_if = "is_default")]
    account: String,
    #[serde(skip_serializing_if = "is_default")]
    subscriptions_list: Vec<String>,
    #[serde(skip_serializing_if = "is_default")]
    subscriptions_list_detail: Vec<Detail>,
    #[serde(skip_serializing_if = "is_default")]
    jwt: String,
    #[serde(skip_serializing_if = "is_default")]
    issuer_key: String,
    #[serde(skip_serializing_if = "is_default")]
    name_tag: String,
    #[serde(skip_serializing_if = "is_default")]
    tags: Vec<String>,
}

/// A certificate that a client showed.
#[derive(PartialEq, Serialize)]
struct PeerCertificate {
    #[serde(skip_serializing_if = "is_default")]
    subject: String,
    spki_sha256: String,
    cert_sha256: String,
}

impl PeerCertificate {
    fn new(shown: &ShownCertificate) -> Self {
        Self {
            subject: shown.subject.clone(),
            spki_sha256: shown.key_digest.clone(),
            cert_sha256: shown.digest.clone(),
        }
    }
}

impl Connection {
    /// What is shown of a connection at a moment: now, or when it ended.
    fn new(state: &State, view: &ConnectionView, at: Wall) -> Self {
        let (opened, last) = (state.wall_of(view.opened), state.wall_of(view.last_activity));
        let since = |then: Wall| Duration::from_nanos((at.0 - then.0).max(0) as u64);
        let statistics = &view.statistics;
        let (secured, tls_first) = view.secured.clone().unwrap_or_default();
        Self {
            cid: view.id.0,
            kind: "Client",
            r#type: if view.websocket { "websocket" } else { "nats" },
            ip: view.peer.host.clone(),
            port: view.peer.port,
            start: Some(Stamp(opened)),
            last_activity: Some(Stamp(last)),
            rtt: duration_text(shown_round_trip(view.round_trip)),
            uptime: uptime(since(opened)),
            idle: uptime(since(last)),
            pending_bytes: view.pending,
            in_msgs: statistics.in_messages,
            out_msgs: statistics.out_messages,
            in_bytes: statistics.in_bytes,
            out_bytes: statistics.out_bytes,
            stalls: statistics.stalls,
            subscriptions: view.subscriptions,
            name: view.name.clone(),
            lang: view.lang.clone(),
            version: view.version.clone(),
            tls_version: secured.version.to_owned(),
            tls_cipher_suite: secured.cipher,
            tls_first,
            ..Self::default()
        }
    }

    fn closed(state: &State, closed: &Closed) -> Self {
        Self {
            stop: Some(Stamp(closed.stop)),
            reason: closed.reason.text(),
            ..Self::new(state, &closed.view, closed.stop)
        }
    }

    /// Says who it is. One that is gone has no account to show if that is the global one.
    fn identify(&mut self, view: &ConnectionView, settled: &Settled) {
        let account = settled.name(view.account);
        self.authorized_user.clone_from(&view.user);
        if view.account != AccountId::GLOBAL {
            account.clone_into(&mut self.account);
        }
        if self.stop.is_none() {
            account.clone_into(&mut self.name_tag);
            let shown = view.secured.iter().flat_map(|(secured, _)| &secured.shown);
            self.tls_peer_certs = shown.map(PeerCertificate::new).collect();
        } else {
            self.name_tag.clone_from(&self.account);
        }
        if let Some(token) = Some(&view.jwt).and_then(|jwt| Token::read(jwt)) {
            token.issuer().clone_into(&mut self.issuer_key);
            self.tags = token.nats().texts("tags");
            // Whoever had it could come in with one that needs no key.
            if !token.nats().flag("bearer_token") {
                self.jwt.clone_from(&view.jwt);
            }
        }
    }

    fn list(&mut self, listed: &[SubscriptionView], settled: &Settled, options: &Options) {
        let subscriptions = listed.iter();
        if options.subscriptions_detail && self.stop.is_some() {
            self.subscriptions_list_detail
                .extend(subscriptions.map(|view| Detail::new(view, settled)));
        } else if options.subscriptions_detail {
            self.subscriptions_list_detail.extend(subscriptions.map(Detail::of_connection));
        } else if options.subscriptions {
            let subjects = subscriptions.map(|view| String::from_utf8_lossy(&view.subject).into());
            self.subscriptions_list.extend(subjects);
        }
    }
}

/// Below a millisecond, nanoseconds are noise.
fn shown_round_trip(time: Duration) -> Duration {
    if time > Duration::from_micros(1) && time < Duration::from_millis(1) {
        Duration::from_micros(time.as_micros() as u64)
    } else {
        time
    }
}

/// Where a connection that is to be shown is found.
enum Place {
    Open(usize, Slot, ConnectionId),
    Closed(Rc<Closed>),
}

/// Looks at connections.
pub(in super::super) async fn connz(state: &State, options: &Options) -> Result<Connz, String> {
    let order = options.order()?;
    let subject = options.subject()?;
    let settled = state.settled();
    let account = settled.directory.find(&options.acc);
    let default = if options.cid > 0 { 1 } else { LIMIT_DEFAULT };
    let limit = usize::try_from(options.limit).ok().filter(|limit| *limit > 0);
    let mut view = Connz {
        server_id: String::new(),
        now: now(),
        num_connections: 0,
        total: 0,
        offset: usize::try_from(options.offset).unwrap_or(0),
        limit: if options.cid > 0 { 1 } else { limit.unwrap_or(default) },
        connections: None,
    };
    if !options.acc.is_empty() && account.is_none() {
        return Ok(view);
    }
    view.server_id.clone_from(&settled.config.server_id);
    let mut found: Vec<(u64, u64, Place)> = Vec::new();
    if options.wants_open() {
        find_open(state, options, (account, order, subject), &mut view, &mut found).await;
    }
    if options.wants_closed() && (options.cid == 0 || found.is_empty()) {
        find_closed(state, options, order, &mut view, &mut found);
    }
    sort(&mut found, order);
    let start = view.offset.min(found.len());
    let end = start.saturating_add(view.limit).min(found.len());
    let page: Vec<Place> = found.drain(start..end).map(|(_, _, place)| place).collect();
    let connections = describe(state, &settled, options, &page, view.now.0).await;
    view.num_connections = connections.len();
    view.connections = Some(connections);
    Ok(view)
}

async fn find_open(
    state: &State,
    options: &Options,
    (account, order, subject): (Option<AccountId>, Order, Option<&str>),
    view: &mut Connz,
    found: &mut Vec<(u64, u64, Place)>,
) {
    let census = state.census().await;
    let counted = census.accounts.iter();
    let counted = counted.filter(|census| account.is_none_or(|wanted| wanted == census.account));
    view.total += counted.map(|census| census.connections).sum::<usize>();
    if !options.mqtt_client.is_empty() {
        // Nobody here has such a name.
        return;
    }
    let interested = match subject {
        Some(subject) => Some(interested(state, account, subject).await),
        None => None,
    };
    let filter = ConnectionFilter {
        id: Some(ConnectionId(options.cid)).filter(|id| id.0 > 0),
        account,
        user: Some(options.user.clone()).filter(|user| !user.is_empty()),
    };
    let answers = state.cores.ask_all(|_| Question::Connections(filter.clone(), order.key())).await;
    for (core, answer) in answers {
        let Answer::Connections(sightings) = answer else { continue };
        let wanted = |sighting: &Sighting| {
            interested.as_ref().is_none_or(|interested| interested.contains(&sighting.id))
        };
        found.extend(
            sightings
                .into_iter()
                .filter(wanted)
                .map(|Sighting { slot, id, key }| (key, id.0, Place::Open(core, slot, id))),
        );
    }
}

/// The connections whose subscriptions have to do with a subject.
async fn interested(
    state: &State,
    account: Option<AccountId>,
    subject: &str,
) -> HashSet<ConnectionId> {
    let filter = SubscriptionFilter {
        account,
        meets: Some(subject.as_bytes().to_vec()),
        limit: usize::MAX,
        ..SubscriptionFilter::default()
    };
    let answers = state.cores.ask_all(|_| Question::Subscriptions(filter.clone())).await;
    let mut ids = HashSet::new();
    for (_, answer) in answers {
        if let Answer::Subscriptions(_, subscriptions) = answer {
            ids.extend(subscriptions.into_iter().map(|view| view.connection));
        }
    }
    ids
}

fn find_closed(
    state: &State,
    options: &Options,
    order: Order,
    view: &mut Connz,
    found: &mut Vec<(u64, u64, Place)>,
) {
    let settled = state.settled();
    for closed in state.closed.borrow().iter() {
        let gone = &closed.view;
        if !options.acc.is_empty() && settled.name(gone.account) != options.acc {
            continue;
        }
        view.total += 1;
        let shown = (options.cid == 0 || gone.id.0 == options.cid)
            && (options.user.is_empty() || gone.user == options.user)
            && options.mqtt_client.is_empty();
        if shown {
            found.push((order.of_closed(closed), gone.id.0, Place::Closed(closed.clone())));
        }
    }
}

/// Sorts, and keeps those apart that are alike by the order in which they came.
fn sort(found: &mut [(u64, u64, Place)], order: Order) {
    if order == Order::Reason {
        let reason = |place: &Place| match place {
            Place::Closed(closed) => closed.reason.text(),
            Place::Open(..) => "",
        };
        found.sort_by_key(|(_, id, place)| (reason(place), *id));
    } else if order.descends() {
        found.sort_by_key(|(key, id, _)| (std::cmp::Reverse(*key), *id));
    } else {
        found.sort_by_key(|(key, id, _)| (*key, *id));
    }
}

/// Describes a page; who left meanwhile is left out.
async fn describe(
    state: &State,
    settled: &Settled,
    options: &Options,
    page: &[Place],
    at: Wall,
) -> Vec<Connection> {
    let open = describe_open(state, options, page).await;
    let mut connections = Vec::with_capacity(page.len());
    for place in page {
        let (mut shown, view, listed) = match place {
            Place::Open(_, _, id) => {
                let Some((view, listed)) = open.get(id) else { continue };
                (Connection::new(state, view, at), view, listed)
            }
            Place::Closed(closed) => {
                (Connection::closed(state, closed), &closed.view, &closed.subscriptions)
            }
        };
        shown.list(listed, settled, options);
        if options.auth {
            shown.identify(view, settled);
        }
        connections.push(shown);
    }
    connections
}

/// The open ones of a page, with their subscriptions where these are asked for.
async fn describe_open(
    state: &State,
    options: &Options,
    page: &[Place],
) -> HashMap<ConnectionId, (ConnectionView, Vec<SubscriptionView>)> {
    let mut wanted: Vec<Vec<(Slot, ConnectionId)>> = vec![Vec::new(); state.cores.count()];
    for place in page {
        if let Place::Open(core, slot, id) = place {
            wanted[*core].push((*slot, *id));
        }
    }
    let mut open: HashMap<ConnectionId, (ConnectionView, Vec<SubscriptionView>)> = HashMap::new();
    for (core, wanted) in wanted.into_iter().enumerate().filter(|(_, wanted)| !wanted.is_empty()) {
        let slots: SlotSet = wanted.iter().map(|(slot, _)| *slot).collect();
        if let Some(Answer::Described(found)) =
            state.cores.ask(core, Question::Describe(wanted)).await
        {
            open.extend(found.into_iter().map(|view| (view.id, (view, Vec::new()))));
        }
        if options.subscriptions || options.subscriptions_detail {
            for view in subscriptions_of(state, core, slots).await {
                if let Some((_, listed)) = open.get_mut(&view.connection) {
                    listed.push(view);
                }
            }
        }
    }
    open
}

async fn subscriptions_of(state: &State, core: usize, slots: SlotSet) -> Vec<SubscriptionView> {
    let filter = SubscriptionFilter {
        connections: Some(slots),
        limit: usize::MAX,
        ..SubscriptionFilter::default()
    };
    match state.cores.ask(core, Question::Subscriptions(filter)).await {
        Some(Answer::Subscriptions(_, found)) => found,
        _ => Vec::new(),
    }
}
