//! Endpoints about what this server does not have, answered with nothing instead of an error: a
//! single server has no routes, gateways or leaf nodes, no Raft groups and no runtime of Go's.

use std::fmt::Write as _;

use serde::Serialize;

use super::super::json::Stamp;
use super::super::state::{State, now};

/// An object without fields.
#[derive(Serialize)]
pub(in super::super) struct Nothing {}

#[derive(Serialize)]
pub(in super::super) struct Routez {
    server_id: String,
    server_name: String,
    now: Stamp,
    num_routes: u64,
    routes: [(); 0],
}

pub(in super::super) fn routez(state: &State) -> Routez {
    let settled = state.settled();
    Routez {
        server_id: settled.config.server_id.clone(),
        server_name: settled.config.server_name.clone(),
        now: now(),
        num_routes: 0,
        routes: [],
    }
}

#[derive(Serialize)]
pub(in super::super) struct Gatewayz {
    server_id: String,
    now: Stamp,
    outbound_gateways: Nothing,
    inbound_gateways: Nothing,
}

pub(in super::super) fn gatewayz(state: &State) -> Gatewayz {
    Gatewayz {
        server_id: state.settled().config.server_id.clone(),
        now: now(),
        outbound_gateways: Nothing {},
        inbound_gateways: Nothing {},
    }
}

#[derive(Serialize)]
pub(in super::super) struct Leafz {
    server_id: String,
    now: Stamp,
    leafnodes: u64,
    leafs: [(); 0],
}

pub(in super::super) fn leafz(state: &State) -> Leafz {
    let server_id = state.settled().config.server_id.clone();
    Leafz { server_id, now: now(), leafnodes: 0, leafs: [] }
}

/// Queues inside the reference. Here there are lanes, which `/metrics` shows.
pub(in super::super) fn ipqueuesz() -> Nothing {
    Nothing {}
}

#[derive(Serialize)]
pub(in super::super) struct Expvarz {
    cmdline: Vec<String>,
    memstats: MemoryStatistics,
}

/// Of the reference's allocator only what has a meaning here.
#[derive(Serialize)]
struct MemoryStatistics {
    #[serde(rename = "Sys")]
    sys: u64,
}

pub(in super::super) fn expvarz(state: &State) -> Expvarz {
    let cmdline = std::env::args_os().map(|word| word.to_string_lossy().into_owned()).collect();
    Expvarz { cmdline, memstats: MemoryStatistics { sys: state.usage.now().1 } }
}

/// The threads of this process by name and state, in place of Go's stacks.
pub(in super::super) fn stacksz() -> String {
    let mut text = String::new();
    let Ok(threads) = std::fs::read_dir("/proc/self/task") else { return text };
    for thread in threads.flatten() {
        let number = thread.file_name();
        let read = |file: &str| std::fs::read_to_string(thread.path().join(file));
        let name = read("comm").unwrap_or_default();
        let status = read("status").unwrap_or_default();
        let state = status.lines().find_map(|line| line.strip_prefix("State:\t"));
        let (number, name) = (number.to_string_lossy(), name.trim_end());
        let _ = writeln!(text, "thread {number} {name} [{}]", state.unwrap_or("gone"));
    }
    text
}
