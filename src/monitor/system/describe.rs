//! How the server and its clients are described in what goes through the system account.

use std::collections::BTreeMap;

use serde::Serialize;
use shard::ConnectionView;

use super::super::json::{Stamp, is_default};
use super::super::state::{Settled, State, now};
use super::super::views::varz::FEATURE_FLAGS;

/// With JetStream: it is on, snapshots of streams may be binary, and traffic of Raft groups may go
/// through accounts.
const JETSTREAM_FLAGS: u64 = 1 | 2 | 4;

/// Who sends a message.
#[derive(Clone, Serialize)]
pub(super) struct ServerInfo {
    name: String,
    host: String,
    id: String,
    #[serde(skip_serializing_if = "is_default")]
    domain: String,
    ver: String,
    #[serde(skip_serializing_if = "is_default")]
    tags: Vec<String>,
    #[serde(skip_serializing_if = "is_default")]
    metadata: BTreeMap<String, String>,
    feature_flags: BTreeMap<&'static str, bool>,
    jetstream: bool,
    flags: u64,
    seq: u64,
    time: Stamp,
}

impl ServerInfo {
    /// For the next message.
    pub(super) fn next(state: &State) -> Self {
        let settled = state.settled();
        let Settled { options, config, .. } = &*settled;
        state.messages.set(state.messages.get() + 1);
        Self {
            name: config.server_name.clone(),
            host: options.host.clone(),
            id: config.server_id.clone(),
            domain: config.domain.clone(),
            ver: config.version.clone(),
            tags: options.tags.clone(),
            metadata: options.metadata.clone(),
            feature_flags: FEATURE_FLAGS.into_iter().collect(),
            jetstream: config.jetstream,
            flags: if config.jetstream { JETSTREAM_FLAGS } else { 0 },
            seq: state.messages.get(),
            time: now(),
        }
    }
}

/// What stands at the top of every event.
#[derive(Clone, Serialize)]
pub(super) struct Typed {
    r#type: &'static str,
    id: String,
    timestamp: Stamp,
}

impl Typed {
    pub(super) fn new(r#type: &'static str) -> Self {
        Self { r#type, id: nuid::next().to_string(), timestamp: now() }
    }
}

/// A client.
#[derive(Clone, Serialize)]
pub(super) struct ClientInfo {
    start: Stamp,
    host: String,
    id: u64,
    acc: String,
    #[serde(skip_serializing_if = "is_default")]
    user: String,
    #[serde(skip_serializing_if = "is_default")]
    name: String,
    #[serde(skip_serializing_if = "is_default")]
    lang: String,
    #[serde(skip_serializing_if = "is_default")]
    ver: String,
    #[serde(skip_serializing_if = "is_default")]
    rtt: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    stop: Option<Stamp>,
    name_tag: String,
    kind: &'static str,
    client_type: &'static str,
}

impl ClientInfo {
    pub(super) fn new(state: &State, view: &ConnectionView) -> Self {
        let account = state.settled().name(view.account).to_owned();
        Self {
            start: Stamp(state.wall_of(view.opened)),
            host: view.peer.host.clone(),
            id: view.id.0,
            acc: account.clone(),
            user: view.user.clone(),
            name: view.name.clone(),
            lang: view.lang.clone(),
            ver: view.version.clone(),
            rtt: 0,
            stop: None,
            name_tag: account,
            kind: "Client",
            client_type: if view.websocket { "websocket" } else { "nats" },
        }
    }

    /// The same at its end.
    pub(super) fn ended(state: &State, view: &ConnectionView) -> Self {
        let rtt = view.round_trip.as_nanos() as u64;
        Self { rtt, stop: Some(now()), ..Self::new(state, view) }
    }
}
