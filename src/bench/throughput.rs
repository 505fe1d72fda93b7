//! The modes that go as fast as the server does: who publishes, who hears it, what must arrive.

use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Instant;

use super::args::{Common, Mode};
use super::block::{Block, Source};
use super::conn::{Conn, Login};
use super::failure::Failure;
use super::flow::{Amount, Delivery, Flow, Member};
use super::report::{Ledger, Memory, Report};
use super::scan::{Check, Expect};
use super::usage::Server;

/// Digits of a subject's number and of its sid: both start with 1, so that all have one length.
const DIGITS: usize = 8;
const FIRST: u64 = 10u64.pow(DIGITS as u32 - 1);
const MANY_PREFIX: &str = "bench.s.";

/// Everything a mode needs besides its own parameters.
#[derive(Debug)]
pub(crate) struct Setting<'a> {
    pub(crate) address: SocketAddr,
    pub(crate) login: Login,
    pub(crate) server: Option<Server>,
    pub(crate) common: &'a Common,
}

impl Setting<'_> {
    pub(crate) fn open(&self) -> Result<Conn, Failure> {
        Conn::open(self.address, &self.login)
    }

    pub(crate) fn size(&self) -> usize {
        self.common.size as usize
    }

    fn amount(&self) -> Amount {
        match self.common.messages {
            Some(messages) => Amount::Messages(messages),
            None => Amount::Time(self.common.duration),
        }
    }

    fn publisher(&self, block: &Rc<Block>, group: usize) -> Result<Member, Failure> {
        Ok(Member { conn: self.open()?, source: Some(Source::new(Rc::clone(block))), group })
    }

    /// A subscriber of one subject; `modulus` is given when it hears a single publisher in order.
    fn subscriber(
        &self,
        subject: &str,
        queue: &str,
        modulus: Option<u64>,
        group: usize,
    ) -> Result<Member, Failure> {
        let mut conn = self.open()?;
        let size = self.size();
        let prefix = format!("MSG {subject} 1 {size}\r\n").into_bytes();
        let check = modulus.map_or(Check::Shape, |modulus| Check::Order { modulus });
        let line_len = prefix.len();
        conn.scanner.expect(Expect { prefix, tail: Vec::new(), line_len, size, check });
        conn.queue().extend_from_slice(format!("SUB {subject} {queue}1\r\n").as_bytes());
        Ok(Member { conn, source: None, group })
    }
}

/// Runs one throughput mode.
pub(crate) fn run(mode: &Mode, setting: &Setting<'_>) -> Result<Report, Failure> {
    let mut report = Report::default();
    let (members, delivery) = match mode {
        Mode::Pub { connections } => {
            report.mode = "pub";
            report.parameters = serde_json::json!({ "connections": connections });
            publish_only(*connections, setting)?
        }
        Mode::Pair => {
            report.mode = "pair";
            report.parameters = serde_json::json!({});
            pairs(1, 1, setting)?
        }
        Mode::Fanout { subscribers } => {
            report.mode = "fanout";
            report.parameters = serde_json::json!({ "subscribers": subscribers });
            pairs(1, *subscribers, setting)?
        }
        Mode::Pairs { count } => {
            report.mode = "pairs";
            report.parameters = serde_json::json!({ "count": count });
            pairs(*count, 1, setting)?
        }
        Mode::Queue { members, publishers } => {
            report.mode = "queue";
            report.parameters = serde_json::json!({ "members": members, "publishers": publishers });
            queue(*members, *publishers, setting)?
        }
        Mode::Subjects { count, connections } => {
            report.mode = "subjects";
            report.parameters = serde_json::json!({ "count": count, "connections": connections });
            return subjects(*count, *connections, setting, report);
        }
        _ => unreachable!("dispatched by the caller"),
    };
    let mut flow = Flow::new(members, delivery, setting.common.window * 1024)?;
    flow.barrier(|_| true)?;
    measure(&mut flow, setting, &mut report)?;
    Ok(report)
}

/// Warms up, then measures one section with the server's books beside it.
fn measure(flow: &mut Flow, setting: &Setting<'_>, report: &mut Report) -> Result<(), Failure> {
    if !setting.common.warmup.is_zero() {
        flow.section(Amount::Time(setting.common.warmup))?;
    }
    let ledger = Ledger::open(setting.server)?;
    let section = flow.section(setting.amount())?;
    report.count(&section, setting.size());
    ledger.close(report)
}

type Cast = (Vec<Member>, Delivery);

fn publish_only(connections: usize, setting: &Setting<'_>) -> Result<Cast, Failure> {
    let block = Rc::new(Block::ordered("bench.0", setting.size()));
    let members = (0..connections).map(|_| setting.publisher(&block, 0)).collect::<Result<_, _>>();
    Ok((members?, Delivery::Nobody))
}

fn pairs(count: usize, subscribers: usize, setting: &Setting<'_>) -> Result<Cast, Failure> {
    let mut members = Vec::new();
    for group in 0..count {
        let subject = format!("bench.{group}");
        let block = Rc::new(Block::ordered(&subject, setting.size()));
        members.push(setting.publisher(&block, group)?);
        for _ in 0..subscribers {
            members.push(setting.subscriber(&subject, "", Some(block.frames()), group)?);
        }
    }
    Ok((members, Delivery::Each))
}

fn queue(members: usize, publishers: usize, setting: &Setting<'_>) -> Result<Cast, Failure> {
    let block = Rc::new(Block::ordered("bench.0", setting.size()));
    let mut cast = Vec::new();
    for _ in 0..publishers {
        cast.push(setting.publisher(&block, 0)?);
    }
    for _ in 0..members {
        cast.push(setting.subscriber("bench.0", "workers ", None, 0)?);
    }
    Ok((cast, Delivery::Shared))
}

fn subjects(
    count: u64,
    connections: usize,
    setting: &Setting<'_>,
    mut report: Report,
) -> Result<Report, Failure> {
    let before = setting.server.map(|server| server.rss_kib()).transpose()?;
    let mut members = Vec::new();
    for conn in subscribe_many(count, connections, setting)? {
        members.push(Member { conn, source: None, group: 0 });
    }
    let random = Block::random(count, setting.size(), setting.common.seed, subject);
    members.push(setting.publisher(&Rc::new(random), 0)?);
    let started = Instant::now();
    let mut flow = Flow::new(members, Delivery::Shared, setting.common.window * 1024)?;
    flow.barrier(|_| true)?;
    report.setup_seconds = Some(started.elapsed().as_secs_f64());
    if let (Some(server), Some(before)) = (setting.server, before) {
        report.memory = Some(Memory::new(count, before, server.rss_kib()?));
    }
    measure(&mut flow, setting, &mut report)?;
    Ok(report)
}

/// Connections with literal subscriptions queued, dealt out in turn.
pub(crate) fn subscribe_many(
    count: u64,
    connections: usize,
    setting: &Setting<'_>,
) -> Result<Vec<Conn>, Failure> {
    if count == 0 || count >= 9 * FIRST || connections == 0 {
        return Err(Failure::Usage(format!("from 1 to {} subscriptions", 9 * FIRST - 1)));
    }
    let mut conns = Vec::new();
    for _ in 0..connections {
        let mut conn = setting.open()?;
        conn.scanner.expect(expect_many(setting.size()));
        conns.push(conn);
    }
    for index in 0..count {
        let queue = conns[(index % connections as u64) as usize].queue();
        let line = format!("SUB {} {}\r\n", subject(index), FIRST + index);
        queue.extend_from_slice(line.as_bytes());
    }
    Ok(conns)
}

fn subject(index: u64) -> String {
    format!("{MANY_PREFIX}{}", FIRST + index)
}

fn expect_many(size: usize) -> Expect {
    let prefix = format!("MSG {MANY_PREFIX}").into_bytes();
    let tail = format!(" {size}\r\n").into_bytes();
    let subject_at = prefix.len();
    let sid_at = subject_at + DIGITS + 1;
    let line_len = sid_at + DIGITS + tail.len();
    let check = Check::Twin { subject_at, sid_at, len: DIGITS };
    Expect { prefix, tail, line_len, size, check }
}
