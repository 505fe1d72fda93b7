//! `/varz`: the server at large.

use std::collections::BTreeMap;

use serde::Serialize;
use shard::Census;

use super::super::json::{Stamp, is_default, uptime};
use super::super::state::{Settled, State, now};
use super::ByKind;
use super::jsz::{self, JetStreamVarz};

/// Switches of the reference that files may name, as it has them without a word.
pub(in super::super) const FEATURE_FLAGS: [(&str, bool); 4] = [
    ("js_ack_fc_v2", false),
    ("js_api_reply_v2", false),
    ("js_raft_delete_range", true),
    ("js_snapshot_sources", false),
];

#[derive(Serialize)]
pub(in super::super) struct Varz {
    server_id: String,
    server_name: String,
    version: String,
    proto: u8,
    go: String,
    host: String,
    port: u16,
    #[serde(skip_serializing_if = "is_default")]
    auth_required: bool,
    #[serde(skip_serializing_if = "is_default")]
    tls_required: bool,
    #[serde(skip_serializing_if = "is_default")]
    tls_verify: bool,
    max_connections: i64,
    #[serde(skip_serializing_if = "is_default")]
    max_subscriptions: usize,
    ping_interval: u64,
    ping_max: u32,
    http_host: String,
    http_port: i64,
    http_base_path: String,
    https_port: i64,
    auth_timeout: f64,
    max_control_line: usize,
    max_payload: usize,
    max_pending: usize,
    cluster: Unused,
    gateway: Unused,
    leaf: Unused,
    mqtt: Unused,
    websocket: WebSocket,
    jetstream: JetStreamVarz,
    tls_timeout: f64,
    write_deadline: u64,
    #[serde(flatten)]
    live: Live,
    config_load_time: Stamp,
    config_digest: String,
    #[serde(skip_serializing_if = "is_default")]
    tags: Vec<String>,
    #[serde(skip_serializing_if = "is_default")]
    metadata: BTreeMap<String, String>,
    feature_flags: BTreeMap<&'static str, bool>,
    system_account: String,
    slow_consumer_stats: ByKind,
    stale_connection_stats: ByKind,
    disk_io_wait_stats: DiskWaits,
    #[serde(skip_serializing_if = "is_default")]
    tls_cert_not_after: Option<String>,
}

/// What changes while the server runs.
#[derive(Serialize)]
pub(in super::super) struct Live {
    start: Stamp,
    now: Stamp,
    uptime: String,
    mem: u64,
    cores: usize,
    gomaxprocs: usize,
    cpu: f64,
    connections: usize,
    total_connections: u64,
    routes: u64,
    remotes: u64,
    leafnodes: u64,
    in_msgs: u64,
    in_bytes: u64,
    in_client_msgs: u64,
    in_client_bytes: u64,
    out_msgs: u64,
    out_bytes: u64,
    out_client_msgs: u64,
    out_client_bytes: u64,
    slow_consumers: u64,
    stale_connections: u64,
    stalled_clients: u64,
    subscriptions: usize,
    http_req_stats: BTreeMap<&'static str, u64>,
}

/// Of what this server does not have.
#[derive(Serialize)]
struct Unused {}

#[derive(Default, Serialize)]
struct WebSocket {
    #[serde(skip_serializing_if = "is_default")]
    host: String,
    #[serde(skip_serializing_if = "is_default")]
    port: u16,
    #[serde(skip_serializing_if = "is_default")]
    advertise: String,
    #[serde(skip_serializing_if = "is_default")]
    jwt_cookie: String,
    #[serde(skip_serializing_if = "is_default")]
    handshake_timeout: u64,
    #[serde(skip_serializing_if = "is_default")]
    auth_timeout: f64,
    #[serde(skip_serializing_if = "is_default")]
    no_tls: bool,
    #[serde(skip_serializing_if = "is_default")]
    tls_map: bool,
    #[serde(skip_serializing_if = "is_default")]
    tls_pinned_certs: Vec<String>,
    #[serde(skip_serializing_if = "is_default")]
    same_origin: bool,
    #[serde(skip_serializing_if = "is_default")]
    allowed_origins: Vec<String>,
    #[serde(skip_serializing_if = "is_default")]
    compression: bool,
    #[serde(skip_serializing_if = "is_default")]
    tls_cert_not_after: Option<String>,
}

/// Waits of the reference's own throttle of disk operations, which does not exist here.
#[derive(Default, Serialize)]
struct DiskWaits {
    waiters: u64,
    waits: u64,
    wait_time: u64,
    max_wait_time: u64,
}

/// The CPUs that this process may use.
pub(in super::super) fn cpus() -> usize {
    std::thread::available_parallelism().map_or(1, Into::into)
}

/// Looks at the server.
pub(in super::super) async fn varz(state: &State) -> Varz {
    let census = state.census().await;
    let settled = state.settled();
    let Settled { options, config, directory, loaded, .. } = &*settled;
    Varz {
        server_id: config.server_id.clone(),
        server_name: config.server_name.clone(),
        version: config.version.clone(),
        proto: 1,
        go: format!("pinion{}", config.product_version),
        host: options.host.clone(),
        port: config.port,
        auth_required: !config.auth.is_open(),
        tls_required: config.tls.as_ref().is_some_and(|tls| !tls.optional),
        tls_verify: config.tls.as_ref().is_some_and(|tls| tls.verify),
        max_connections: options.max_connections as i64,
        max_subscriptions: config.max_subscriptions,
        ping_interval: config.ping_interval.as_nanos() as u64,
        ping_max: config.ping_max,
        http_host: options.monitor.host.clone(),
        http_port: options.monitor.http_port,
        http_base_path: options.monitor.base_path.clone(),
        https_port: options.monitor.https_port,
        auth_timeout: config.auth_timeout.as_secs_f64(),
        max_control_line: config.max_control_line,
        max_payload: config.max_payload,
        max_pending: config.max_pending,
        cluster: Unused {},
        gateway: Unused {},
        leaf: Unused {},
        mqtt: Unused {},
        websocket: websocket(&settled),
        jetstream: jsz::varz(state, true).await,
        tls_timeout: config.tls.as_ref().map_or(2.0, |tls| tls.timeout.as_secs_f64()),
        write_deadline: config.write_deadline.as_nanos() as u64,
        live: live(state, &census),
        config_load_time: Stamp(*loaded),
        config_digest: options.config_digest.clone().unwrap_or_default(),
        tags: options.tags.clone(),
        metadata: options.metadata.clone(),
        feature_flags: FEATURE_FLAGS.into_iter().collect(),
        system_account: directory.get(base::AccountId::SYSTEM).name.clone(),
        slow_consumer_stats: ByKind::clients(census.slow_consumers),
        stale_connection_stats: ByKind::clients(census.stale_connections),
        disk_io_wait_stats: DiskWaits::default(),
        tls_cert_not_after: settled.certificates_end[0].clone(),
    }
}

fn websocket(settled: &Settled) -> WebSocket {
    let (door, options) = (&settled.config.websocket, &settled.options.websocket);
    let (Some(door), Some(options)) = (door, options) else { return WebSocket::default() };
    let tls = options.tls.as_ref();
    WebSocket {
        host: door.host.clone(),
        port: door.port,
        advertise: options.advertise.clone(),
        jwt_cookie: options.cookies.jwt.clone(),
        handshake_timeout: door.handshake_timeout.as_nanos() as u64,
        auth_timeout: door.auth_timeout.unwrap_or_default().as_secs_f64(),
        no_tls: !door.tls,
        tls_map: tls.is_some_and(|tls| tls.map),
        tls_pinned_certs: tls.map_or_else(Vec::new, |tls| tls.pinned.clone()),
        same_origin: options.same_origin,
        allowed_origins: options.origins.iter().map(ToString::to_string).collect(),
        compression: options.compression,
        tls_cert_not_after: settled.certificates_end[1].clone(),
    }
}

fn live(state: &State, census: &Census) -> Live {
    let (cpu, mem) = state.usage.now();
    let statistics = &census.statistics;
    Live {
        start: Stamp(state.started.1),
        now: now(),
        uptime: uptime(state.started.0.elapsed()),
        mem,
        cores: cpus(),
        gomaxprocs: state.cores.count(),
        cpu,
        connections: census.connections(),
        total_connections: census.accepted,
        routes: 0,
        remotes: 0,
        leafnodes: 0,
        in_msgs: statistics.in_messages,
        in_bytes: statistics.in_bytes,
        in_client_msgs: statistics.in_messages,
        in_client_bytes: statistics.in_bytes,
        out_msgs: statistics.out_messages,
        out_bytes: statistics.out_bytes,
        out_client_msgs: statistics.out_messages,
        out_client_bytes: statistics.out_bytes,
        slow_consumers: census.slow_consumers,
        stale_connections: census.stale_connections,
        stalled_clients: statistics.stalls,
        subscriptions: census.subscriptions,
        http_req_stats: state.visits.borrow().clone(),
    }
}
