//! `/metrics`: everything as Prometheus' text, under the names of `prometheus-nats-exporter`, so
//! that dashboards and alerts made for it keep working without it, and under names of our own what
//! only this server has.

use std::collections::BTreeMap;
use std::fmt::{Display, Write as _};

use serde::Serialize;
use serde_json::Value;
use shard::{Answer, ConnectionFilter, Question, SortKey, Statistics};

use super::query::Query;
use super::state::State;
use super::views::{accounts, connz, health, jsz, others, subsz, varz};

/// Values of streams and consumers that are shown; a server with more is looked at by `/jsz`.
const DETAILS_MAX: usize = 20_000;

/// What Prometheus is told of a family of values.
#[derive(Clone, Copy)]
enum Kind {
    Gauge,
    Counter,
    Histogram,
}

/// All families, by name.
#[derive(Default)]
struct Exposition {
    families: BTreeMap<String, (Kind, &'static str, String)>,
}

impl Exposition {
    fn put(
        &mut self,
        (name, kind, help): (&str, Kind, &'static str),
        labels: &str,
        value: impl Display,
    ) {
        self.put_line((name, kind, help), "", labels, value);
    }

    fn put_line(
        &mut self,
        (name, kind, help): (&str, Kind, &'static str),
        suffix: &str,
        labels: &str,
        value: impl Display,
    ) {
        let family = self.families.entry(name.to_owned());
        let (_, _, lines) = family.or_insert_with(|| (kind, help, String::new()));
        let _ = writeln!(lines, "{name}{suffix}{{{labels}}} {value}");
    }

    /// Every number at the top of what an endpoint shows, as the exporter does.
    fn put_endpoint(&mut self, name: &str, id: &str, view: &impl Serialize) {
        let view = serde_json::to_value(view).expect("what is shown has texts as keys");
        for (field, value) in view.as_object().into_iter().flatten() {
            let name = format!("gnatsd_{name}_{field}");
            let help = "as the endpoint of that name shows it";
            match value {
                Value::Number(number) => self.put((&name, Kind::Gauge, help), id, number),
                Value::String(text)
                    if ["server_id", "server_name", "version"].contains(&field.as_str()) =>
                {
                    let labels = format!("{id},{}", label("value", text));
                    self.put((&name, Kind::Gauge, help), &labels, 1);
                }
                _ => {}
            }
        }
    }

    fn into_text(self) -> Vec<u8> {
        let mut text = String::new();
        for (name, (kind, help, lines)) in self.families {
            let kind = match kind {
                Kind::Gauge => "gauge",
                Kind::Counter => "counter",
                Kind::Histogram => "histogram",
            };
            let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
            text.push_str(&lines);
        }
        text.into_bytes()
    }
}

/// One label with its value, escaped.
fn label(name: &str, value: &str) -> String {
    let value = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
    format!("{name}=\"{value}\"")
}

/// Shows everything.
pub(super) async fn metrics(state: &State) -> Vec<u8> {
    let mut all = Exposition::default();
    let id = label("server_id", &state.settled().config.server_id);
    all.put_endpoint("varz", &id, &varz::varz(state).await);
    if let Ok(view) = subsz::subsz(state, &subsz::Options::default()).await {
        all.put_endpoint("subsz", &id, &view);
    }
    all.put_endpoint("routez", &id, &others::routez(state));
    all.put_endpoint("leafz", &id, &others::leafz(state));
    let health = health::Options::read(&Query::default()).unwrap_or_default();
    let is_bad = health::healthz(state, &health).await.complaint().is_some();
    let help = "zero if all is well";
    all.put(("gnatsd_healthz_status", Kind::Gauge, help), &id, u8::from(is_bad));
    put_connections(&mut all, state, &id).await;
    put_accounts(&mut all, state, &id).await;
    put_stored(&mut all, state, &id).await;
    put_cores(&mut all, state, &id).await;
    all.into_text()
}

/// Sums over open connections. The exporter sums a page of `/connz`; these are of all.
async fn put_connections(all: &mut Exposition, state: &State, id: &str) {
    let mut pending = (0_u64, 0_u64);
    let question = |_| Question::Connections(ConnectionFilter::default(), SortKey::Pending);
    for (_, answer) in state.cores.ask_all(question).await {
        let Answer::Connections(found) = answer else { continue };
        pending.0 += found.len() as u64;
        pending.1 += found.iter().map(|sighting| sighting.key).sum::<u64>();
    }
    let census = state.census().await;
    let statistics: &Statistics = &census.statistics;
    let help = "over all connections";
    for (name, kind, value) in [
        ("num_connections", Kind::Gauge, pending.0),
        ("total", Kind::Gauge, pending.0),
        ("offset", Kind::Gauge, 0),
        ("limit", Kind::Gauge, connz::LIMIT_DEFAULT as u64),
        ("pending_bytes", Kind::Gauge, pending.1),
        ("subscriptions", Kind::Gauge, census.subscriptions as u64),
        ("in_msgs", Kind::Counter, statistics.in_messages),
        ("in_bytes", Kind::Counter, statistics.in_bytes),
        ("out_msgs", Kind::Counter, statistics.out_messages),
        ("out_bytes", Kind::Counter, statistics.out_bytes),
    ] {
        all.put((&format!("gnatsd_connz_{name}"), kind, help), id, value);
    }
}

async fn put_accounts(all: &mut Exposition, state: &State, id: &str) {
    let options = accounts::StatOptions { include_unused: true, ..Default::default() };
    let view = serde_json::to_value(accounts::statz(state, &options).await);
    let view = view.expect("what is shown has texts as keys");
    for account in view["account_statz"].as_array().into_iter().flatten() {
        let name = account["acc"].as_str().unwrap_or_default();
        let labels = ["account", "account_id", "account_name"].map(|key| label(key, name));
        let labels = format!("{id},{}", labels.join(","));
        for (name, value) in [
            ("current_connections", &account["conns"]),
            ("total_connections", &account["total_conns"]),
            ("subscriptions", &account["num_subscriptions"]),
            ("leaf_nodes", &account["leafnodes"]),
            ("sent_messages", &account["sent"]["msgs"]),
            ("sent_bytes", &account["sent"]["bytes"]),
            ("received_messages", &account["received"]["msgs"]),
            ("received_bytes", &account["received"]["bytes"]),
            ("slow_consumers", &account["slow_consumers"]),
        ] {
            let name = format!("gnatsd_accstatz_{name}");
            all.put((&name, Kind::Gauge, "of an account"), &labels, value);
        }
    }
}

async fn put_stored(all: &mut Exposition, state: &State, id: &str) {
    let options =
        jsz::Options { accounts: true, consumer: true, config: true, ..Default::default() };
    let view = serde_json::to_value(jsz::jsz(state, &options).await);
    let view = view.expect("what is shown has texts as keys");
    let settled = state.settled();
    let own = &settled.config.server_name;
    let server = [
        label("server_name", own),
        label("cluster", ""),
        label("domain", view["config"]["domain"].as_str().unwrap_or_default()),
        label("meta_leader", ""),
        label("is_meta_leader", "true"),
    ];
    let server = format!("{id},{}", server.join(","));
    let disabled = u8::from(view["disabled"] == true);
    let help = "of JetStream";
    all.put(("jetstream_server_jetstream_disabled", Kind::Gauge, help), &server, disabled);
    for (name, value) in [
        ("total_streams", &view["streams"]),
        ("total_consumers", &view["consumers"]),
        ("total_messages", &view["messages"]),
        ("total_message_bytes", &view["bytes"]),
        ("max_memory", &view["config"]["max_memory"]),
        ("max_storage", &view["config"]["max_storage"]),
    ] {
        all.put((&format!("jetstream_server_{name}"), Kind::Gauge, help), &server, value);
    }
    let mut left = DETAILS_MAX;
    for account in view["account_details"].as_array().into_iter().flatten() {
        let name = account["name"].as_str().unwrap_or_default();
        let labels = ["account", "account_name", "account_id"].map(|key| label(key, name));
        let labels = format!("{server},{}", labels.join(","));
        for stream in account["stream_detail"].as_array().into_iter().flatten() {
            put_stream(all, &labels, own, stream, &mut left);
        }
    }
}

fn put_stream(all: &mut Exposition, labels: &str, own: &str, stream: &Value, left: &mut usize) {
    if *left == 0 {
        return;
    }
    *left -= 1;
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let labels = format!(
        "{labels},{},{},{}",
        label("stream_name", &text(&stream["name"])),
        label("stream_leader", own),
        label("is_stream_leader", "true"),
    );
    let config = &stream["config"];
    for (name, value) in [
        ("total_messages", &stream["state"]["messages"]),
        ("total_bytes", &stream["state"]["bytes"]),
        ("first_seq", &stream["state"]["first_seq"]),
        ("last_seq", &stream["state"]["last_seq"]),
        ("consumer_count", &stream["state"]["consumer_count"]),
        ("subject_count", &stream["state"]["num_subjects"]),
        ("limit_bytes", &config["max_bytes"]),
        ("limit_messages", &config["max_msgs"]),
    ] {
        let value = value.as_i64().unwrap_or_default();
        all.put((&format!("jetstream_stream_{name}"), Kind::Gauge, "of a stream"), &labels, value);
    }
    for consumer in stream["consumer_detail"].as_array().into_iter().flatten() {
        if *left == 0 {
            return;
        }
        *left -= 1;
        let labels = format!(
            "{labels},{},{},{},{}",
            label("consumer_name", &text(&consumer["name"])),
            label("consumer_leader", own),
            label("is_consumer_leader", "true"),
            label("consumer_desc", &text(&consumer["config"]["description"])),
        );
        for (name, value) in [
            ("delivered_consumer_seq", &consumer["delivered"]["consumer_seq"]),
            ("delivered_stream_seq", &consumer["delivered"]["stream_seq"]),
            ("num_ack_pending", &consumer["num_ack_pending"]),
            ("num_redelivered", &consumer["num_redelivered"]),
            ("num_waiting", &consumer["num_waiting"]),
            ("num_pending", &consumer["num_pending"]),
            ("ack_floor_stream_seq", &consumer["ack_floor"]["stream_seq"]),
            ("ack_floor_consumer_seq", &consumer["ack_floor"]["consumer_seq"]),
        ] {
            let name = format!("jetstream_consumer_{name}");
            all.put((&name, Kind::Gauge, "of a consumer"), &labels, value);
        }
    }
}

/// What only this server has: its cores.
async fn put_cores(all: &mut Exposition, state: &State, id: &str) {
    for (core, answer) in state.cores.ask_all(|_| Question::Census).await {
        let Answer::Census(census) = answer else { continue };
        let Some(meter) = state.cores.measure(core).await else { continue };
        let labels = format!("{id},{}", label("core", &core.to_string()));
        let statistics = &census.statistics;
        let seconds = |nanoseconds: u64| nanoseconds as f64 / 1e9;
        for (name, kind, help, value) in [
            ("connections", Kind::Gauge, "connections of a core", census.connections() as f64),
            ("subscriptions", Kind::Gauge, "subscriptions of a core", census.subscriptions as f64),
            ("lane_bytes", Kind::Gauge, "bytes that wait for a lane", census.lane_bytes as f64),
            (
                "in_msgs_total",
                Kind::Counter,
                "messages from clients",
                statistics.in_messages as f64,
            ),
            (
                "out_msgs_total",
                Kind::Counter,
                "messages to clients",
                statistics.out_messages as f64,
            ),
            (
                "busy_seconds_total",
                Kind::Counter,
                "time that turns took; the rest was slept or spun away",
                seconds(meter.busy_ns),
            ),
            (
                "turn_longest_seconds",
                Kind::Gauge,
                "the longest turn since the start",
                seconds(meter.longest_ns),
            ),
            ("ring_enters_total", Kind::Counter, "calls into the ring", meter.enters as f64),
            ("writes_total", Kind::Counter, "calls to write to a socket", meter.writes as f64),
        ] {
            all.put((&format!("pinion_core_{name}"), kind, help), &labels, value);
        }
        let family = ("pinion_core_turn_seconds", Kind::Histogram, "length of a turn");
        for (bound, count) in meter.lengths() {
            let labels = format!("{labels},{}", label("le", &bound.as_secs_f64().to_string()));
            all.put_line(family, "_bucket", &labels, count);
        }
        let last = format!("{labels},{}", label("le", "+Inf"));
        all.put_line(family, "_bucket", &last, meter.turns);
        all.put_line(family, "_sum", &labels, seconds(meter.busy_ns));
        all.put_line(family, "_count", &labels, meter.turns);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_stand_together_and_labels_are_escaped() {
        let mut all = Exposition::default();
        let family = ("b_total", Kind::Counter, "of b");
        all.put(family, &label("name", "a\"b\\c\nd"), 1);
        all.put(("a", Kind::Gauge, "of a"), "", 2.5);
        all.put(family, &label("name", "e"), 3);
        let expected = "# HELP a of a\n# TYPE a gauge\na{} 2.5\n# HELP b_total of b\n\
            # TYPE b_total counter\nb_total{name=\"a\\\"b\\\\c\\nd\"} 1\nb_total{name=\"e\"} 3\n";
        assert_eq!(String::from_utf8(all.into_text()).as_deref(), Ok(expected));
    }
}
