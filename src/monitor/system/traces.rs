//! Traces: cores tell of a message's way in parts; here they become one event.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use base::{AccountId, CoreId};
use serde::Serialize;
use shard::{Ingress, Stop, TracePart};

use super::super::json::{self, Stamp, is_default};
use super::super::state::{Settled, State};
use super::describe::ServerInfo;
use super::encoding::{Encoding, pack};
use super::speak;

/// Parts that wait for others. A trace is whole within the turns that its message takes; past this
/// number, or this time, something went wrong with it, and it is forgotten.
const PARTS_MAX: usize = 65_536;
const PATIENCE: Duration = Duration::from_secs(10);

/// Parts of traces that are not whole yet, by their numbers.
#[derive(Default)]
pub(in super::super) struct Traces {
    parts: RefCell<HashMap<u64, (Instant, TracePart)>>,
}

/// A core told of a part. A trace that is whole with it goes where it was asked for.
pub(in super::super) fn collect(state: &State, part: TracePart) {
    for trace in state.traces.add(part) {
        tell(state, &trace);
    }
}

impl Traces {
    /// The parts of each trace that became whole, the first of which says where it came in.
    fn add(&self, part: TracePart) -> Vec<Vec<TracePart>> {
        if part.ingress.is_some() && part.caused.is_empty() {
            return vec![vec![part]];
        }
        let mut parts = self.parts.borrow_mut();
        if parts.len() >= PARTS_MAX {
            parts.retain(|_, (since, _)| since.elapsed() < PATIENCE);
            if parts.len() >= PARTS_MAX {
                return Vec::new();
            }
        }
        parts.insert(part.number, (Instant::now(), part));
        let first = parts.values().filter(|(_, part)| part.ingress.is_some());
        let whole: Vec<Vec<u64>> =
            first.filter_map(|(_, first)| numbers_of(&parts, first.number)).collect();
        let mut take = |number: &u64| parts.remove(number).expect("a whole trace has it").1;
        whole.iter().map(|numbers| numbers.iter().map(&mut take).collect()).collect()
    }
}

/// The parts of a trace in their order, if all of them are there.
fn numbers_of(parts: &HashMap<u64, (Instant, TracePart)>, first: u64) -> Option<Vec<u64>> {
    let mut numbers = vec![first];
    let mut next = 0;
    while let Some(number) = numbers.get(next).copied() {
        numbers.extend(&parts.get(&number)?.1.caused);
        next += 1;
    }
    Some(numbers)
}

#[derive(Serialize)]
struct Trace<'a> {
    server: ServerInfo,
    request: Request,
    events: Vec<Event<'a>>,
}

#[derive(Serialize)]
struct Request {
    header: BTreeMap<String, Vec<String>>,
    msgsize: usize,
}

/// What became of a message on its way.
#[derive(Serialize)]
struct Event<'a> {
    r#type: &'static str,
    ts: Stamp,
    #[serde(flatten)]
    detail: Detail<'a>,
}

/// Kinds of connections by their numbers; here there are clients alone.
const CLIENT: u8 = 0;

#[derive(Serialize)]
#[serde(untagged)]
enum Detail<'a> {
    Ingress {
        kind: u8,
        cid: u64,
        #[serde(skip_serializing_if = "is_default")]
        name: String,
        acc: &'a str,
        subj: String,
        #[serde(skip_serializing_if = "is_default")]
        error: String,
    },
    Mapping {
        to: String,
    },
    StreamExport {
        acc: &'a str,
        to: String,
    },
    ServiceImport {
        acc: &'a str,
        from: String,
        to: String,
    },
    JetStream {
        stream: String,
        #[serde(skip_serializing_if = "is_default")]
        subject: String,
        #[serde(skip_serializing_if = "is_default")]
        nointerest: bool,
    },
    Egress {
        kind: u8,
        cid: u64,
        #[serde(skip_serializing_if = "is_default")]
        name: String,
        #[serde(skip_serializing_if = "is_default")]
        acc: &'a str,
        #[serde(skip_serializing_if = "is_default")]
        sub: String,
        #[serde(skip_serializing_if = "is_default")]
        queue: String,
        #[serde(skip_serializing_if = "is_default")]
        error: &'static str,
    },
}

fn tell(state: &State, parts: &[TracePart]) {
    let Some(ingress) = parts.first().and_then(|part| part.ingress.as_ref()) else { return };
    let settled = state.settled();
    let mut events = vec![ingress_event(ingress, &settled)];
    for (at, stop) in parts.iter().flat_map(|part| &part.stops) {
        events.push(event(Stamp(*at), stop, ingress.account, &settled));
    }
    let request = Request { header: header_map(&ingress.header), msgsize: ingress.size };
    let trace = Trace { server: ServerInfo::next(state), request, events };
    let message = pack(Encoding::asked(&ingress.header), json::compact(&trace));
    speak(state, CoreId(0), ingress.account, ingress.destination.clone(), message);
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn ingress_event<'a>(ingress: &Ingress, settled: &'a Settled) -> Event<'a> {
    let detail = Detail::Ingress {
        kind: CLIENT,
        cid: ingress.connection.0,
        name: ingress.name.clone(),
        acc: settled.name(ingress.account),
        subj: text(&ingress.subject),
        error: ingress.error.clone(),
    };
    Event { r#type: "in", ts: Stamp(ingress.at), detail }
}

fn event<'a>(ts: Stamp, stop: &Stop, origin: AccountId, settled: &'a Settled) -> Event<'a> {
    let (r#type, detail) = match stop {
        Stop::Mapped(to) => ("sm", Detail::Mapping { to: text(to) }),
        Stop::StreamExport { account, to } => {
            ("se", Detail::StreamExport { acc: settled.name(*account), to: text(to) })
        }
        Stop::ServiceImport { account, from, to } => {
            let acc = settled.name(*account);
            ("si", Detail::ServiceImport { acc, from: text(from), to: text(to) })
        }
        Stop::Stored { stream, subject, no_interest } => {
            let (stream, subject) = (stream.clone(), text(subject));
            ("js", Detail::JetStream { stream, subject, nointerest: *no_interest })
        }
        Stop::Delivered { connection, name, account, pattern, queue, error } => {
            let detail = Detail::Egress {
                kind: CLIENT,
                cid: connection.0,
                name: name.clone(),
                acc: if *account == origin { "" } else { settled.name(*account) },
                sub: text(pattern),
                queue: text(queue),
                error,
            };
            ("eg", detail)
        }
    };
    Event { r#type, ts, detail }
}

/// Names as they were written, with all their values.
fn header_map(block: &[u8]) -> BTreeMap<String, Vec<String>> {
    let mut map: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let block = text(block);
    for line in block.split("\r\n").skip(1) {
        let Some((name, value)) = line.split_once(':') else { continue };
        let value = value.trim();
        if !name.is_empty() && !value.is_empty() {
            map.entry(name.to_owned()).or_default().push(value.to_owned());
        }
    }
    map
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(number: u64, caused: &[u64]) -> TracePart {
        let ingress = (number == 1).then(Ingress::default);
        TracePart { number, ingress, caused: caused.to_vec(), ..TracePart::default() }
    }

    #[test]
    fn a_trace_is_told_once_it_is_whole_in_whatever_order_its_parts_come() {
        let all = [part(1, &[2, 3]), part(2, &[]), part(3, &[4]), part(4, &[])];
        for order in [[0, 1, 2, 3], [3, 2, 1, 0], [1, 3, 0, 2], [2, 0, 3, 1]] {
            let traces = Traces::default();
            let mut told = Vec::new();
            for place in order {
                assert!(told.is_empty());
                told = traces.add(all[place].clone());
            }
            let numbers: Vec<u64> = told[0].iter().map(|part| part.number).collect();
            assert_eq!(numbers, [1, 2, 3, 4], "{order:?}");
            assert!(traces.parts.borrow().is_empty());
        }
        assert_eq!(Traces::default().add(part(1, &[])).len(), 1);
    }

    #[test]
    fn headers_keep_their_names_and_all_values() {
        let map = header_map(b"NATS/1.0\r\nA: 1\r\na:  2 \r\nA:3\r\nempty:\r\n\r\n");
        let expected = [("A", vec!["1", "3"]), ("a", vec!["2"])];
        assert_eq!(serde_json::json!(map), serde_json::json!(BTreeMap::from(expected)));
    }
}
