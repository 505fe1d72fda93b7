//! Connections and subscriptions that only exist, for the memory of each.

use std::time::{Duration, Instant};

use nix::sys::resource::{Resource, getrlimit, setrlimit};

use super::conn::{Conn, READ_MAX};
use super::failure::Failure;
use super::flow::{Delivery, Flow, Member};
use super::poll::Poller;
use super::report::{Memory, Report};
use super::throughput::{Setting, subscribe_many};

/// Descriptors besides the connections: standard streams, epoll, the server's books.
const SPARE_FILES: u64 = 64;

/// Opens idle connections and reports what the server keeps for each.
pub(crate) fn idle(
    connections: u64,
    hold: Duration,
    setting: &Setting<'_>,
) -> Result<Report, Failure> {
    allow_files(connections + SPARE_FILES)?;
    // The first connection pays for what is shared.
    let _first = setting.open()?;
    let before = rss(setting)?;
    let started = Instant::now();
    let mut conns = Vec::new();
    for _ in 0..connections {
        conns.push(setting.open()?);
    }
    let setup = started.elapsed();
    keep(&mut conns, hold)?;
    Ok(Report {
        mode: "idle",
        parameters: serde_json::json!({ "connections": connections }),
        setup_seconds: Some(setup.as_secs_f64()),
        memory: memory(connections, before, setting)?,
        ..Report::default()
    })
}

/// Makes literal subscriptions and reports what the server keeps for each.
pub(crate) fn subs(
    count: u64,
    connections: usize,
    hold: Duration,
    setting: &Setting<'_>,
) -> Result<Report, Failure> {
    let before = rss(setting)?;
    let mut members = Vec::new();
    for conn in subscribe_many(count, connections, setting)? {
        members.push(Member { conn, source: None, group: 0 });
    }
    let started = Instant::now();
    let mut flow = Flow::new(members, Delivery::Nobody, 0)?;
    flow.barrier(|_| true)?;
    let setup = started.elapsed();
    keep(flow.conns(), hold)?;
    Ok(Report {
        mode: "subs",
        parameters: serde_json::json!({ "count": count, "connections": connections }),
        setup_seconds: Some(setup.as_secs_f64()),
        memory: memory(count, before, setting)?,
        ..Report::default()
    })
}

/// Answers PINGs until the time is over: a connection the server gives up is not idle but gone.
fn keep(conns: &mut [Conn], hold: Duration) -> Result<(), Failure> {
    let mut poller = Poller::new(conns, |_| false)?;
    let mut buffer = vec![0; READ_MAX];
    let started = Instant::now();
    while started.elapsed() < hold {
        for ready in poller.ready()? {
            let conn = &mut conns[ready.index];
            conn.receive(&mut buffer, |_| {})?;
            conn.flush()?;
        }
    }
    Ok(())
}

fn rss(setting: &Setting<'_>) -> Result<Option<u64>, Failure> {
    setting.server.map(|server| server.rss_kib()).transpose()
}

fn memory(
    count: u64,
    before: Option<u64>,
    setting: &Setting<'_>,
) -> Result<Option<Memory>, Failure> {
    let after = rss(setting)?;
    Ok(before.zip(after).map(|(before, after)| Memory::new(count, before, after)))
}

fn allow_files(wanted: u64) -> Result<(), Failure> {
    let limit = Resource::RLIMIT_NOFILE;
    let (soft, hard) = getrlimit(limit).map_err(Failure::errno("getrlimit"))?;
    if soft >= wanted {
        return Ok(());
    }
    setrlimit(limit, wanted, hard.max(wanted)).map_err(Failure::errno("raising the file limit"))
}
