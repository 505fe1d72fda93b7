//! `/metrics`: everything as Prometheus' text, under the names of `prometheus-nats-exporter`, so
//! that dashboards and alerts made for it keep working without it, and under names of our own what
//! only this server has.

use std::collections::BTreeMap;
use std::fmt::{Display, Write as _};

use base::AccountId;
use serde::Serialize;
use serde_json::Value;
use shard::{AccountCensus, Answer, ConnectionFilter, Question, SortKey, Statistics};

use super::query::Query;
use super::state::State;
use super::views::{accounts, connz, health, jsz, others, subsz, varz};
use crate::reactor::meter::Histogram;

/// Values of streams and consumers that are shown; a server with more is looked at by `/jsz`.
const DETAILS_MAX: usize = 20_000;

/// Texts that the exporter shows as a label.
const LABELS: [&str; 6] = ["server_id", "server_name", "version", "domain", "leader", "name"];
/// Texts that are moments.
const MOMENTS: [&str; 2] = ["start", "config_load_time"];

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

    /// Every number that an endpoint shows, and some of its texts, as the exporter does.
    fn put_endpoint(&mut self, name: &str, id: &str, view: &impl Serialize) {
        let view = serde_json::to_value(view).expect("what is shown has texts as keys");
        self.put_fields(&format!("gnatsd_{name}"), id, &view);
    }

    fn put_fields(&mut self, prefix: &str, id: &str, fields: &Value) {
        let help = "as the endpoint of that name shows it";
        for (field, value) in fields.as_object().into_iter().flatten() {
            // Paths are names in one place.
            let name = format!("{prefix}_{}", field.trim_matches('/').replace('/', "_"));
            match value {
                Value::Number(number) => self.put((&name, Kind::Gauge, help), id, number),
                Value::Object(_) => self.put_fields(&name, id, value),
                Value::String(text) if LABELS.contains(&field.as_str()) => {
                    let labels = format!("{id},{}", label("value", text));
                    self.put((&name, Kind::Gauge, help), &labels, 1);
                }
                Value::String(text) if MOMENTS.contains(&field.as_str()) => {
                    self.put((&name, Kind::Gauge, help), id, epoch_ms(text));
                }
                _ => {}
            }
        }
    }

    fn put_histogram(
        &mut self,
        (name, help): (&str, &'static str),
        labels: &str,
        histogram: &Histogram,
        scale: f64,
    ) {
        let family = (name, Kind::Histogram, help);
        for (bound, count) in histogram.buckets() {
            let bound = (bound as f64 / scale).to_string();
            let labels = format!("{labels},{}", label("le", &bound));
            self.put_line(family, "_bucket", &labels, count);
        }
        let last = format!("{labels},{}", label("le", "+Inf"));
        self.put_line(family, "_bucket", &last, histogram.count);
        self.put_line(family, "_sum", labels, histogram.sum as f64 / scale);
        self.put_line(family, "_count", labels, histogram.count);
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

/// A moment in milliseconds since 1970, as the exporter has it.
fn epoch_ms(text: &str) -> i64 {
    text.parse::<jiff::Timestamp>().map_or(0, jiff::Timestamp::as_millisecond)
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
    all.put(("gnatsd_leafz_conn_nodes_total", Kind::Gauge, "leaf nodes"), &id, 0);
    let health = health::Options::read(&Query::default()).unwrap_or_default();
    let is_bad = health::healthz(state, &health).await.complaint().is_some();
    let help = "zero if all is well";
    all.put(("gnatsd_healthz_status", Kind::Gauge, help), &id, u8::from(is_bad));
    let value = label("value", if is_bad { "unavailable" } else { "ok" });
    let help = "one if all is well";
    let family = ("gnatsd_healthz_status_value", Kind::Gauge, help);
    all.put(family, &format!("{id},{value}"), u8::from(!is_bad));
    put_connections(&mut all, state, &id).await;
    put_accounts(&mut all, state, &id).await;
    put_account_details(&mut all, state, &id).await;
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

/// What accounts are.
async fn put_account_details(all: &mut Exposition, state: &State, id: &str) {
    let census = state.census().await;
    let settled = state.settled();
    for (account, described) in settled.directory.present() {
        let counted = census.accounts.get(account.index());
        let connections = counted.map_or(0, |counted| counted.connections);
        let subscriptions = counted.map_or(0, AccountCensus::subscriptions);
        let names = ["account_id", "account_name"].map(|key| label(key, &described.name));
        let labels = format!("{id},{}", names.join(","));
        for (name, value) in [
            ("client_connections", connections as u64),
            ("leafnode_connections", 0),
            ("subscriptions", subscriptions),
            ("is_system", u64::from(account == AccountId::SYSTEM)),
            ("expired", 0),
            ("complete", 1),
            ("jetstream_enabled", u64::from(described.jetstream.is_some())),
        ] {
            let name = format!("gnatsd_accountz_{name}");
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
        for (name, value) in [
            ("max_memory", &account["reserved_memory"]),
            ("max_storage", &account["reserved_storage"]),
            ("storage_used", &account["storage"]),
            ("memory_used", &account["memory"]),
        ] {
            let name = format!("jetstream_account_{name}");
            all.put((&name, Kind::Gauge, "of an account"), &labels, value);
        }
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
    let labels = format!("{labels},{}", label("stream_raft_group", ""));
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
    for source in stream["sources"].as_array().into_iter().flatten() {
        put_origin(all, &labels, "source", source);
    }
    if stream["mirror"].is_object() {
        put_origin(all, &labels, "mirror", &stream["mirror"]);
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
        for (name, moment) in [
            ("last_delivery_seconds", &consumer["delivered"]["last_active"]),
            ("last_ack_seconds", &consumer["ack_floor"]["last_active"]),
        ] {
            let Some(moment) = moment.as_str() else { continue };
            let now = epoch_ms(consumer["ts"].as_str().unwrap_or_default());
            let since = (now - epoch_ms(moment)) as f64 / 1e3;
            let name = format!("jetstream_consumer_{name}");
            all.put((&name, Kind::Gauge, "of a consumer"), &labels, since);
        }
    }
}

/// What a stream is copied from.
fn put_origin(all: &mut Exposition, labels: &str, kind: &str, origin: &Value) {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let labels = format!(
        "{labels},{},{},{}",
        label(&format!("{kind}_name"), &text(&origin["name"])),
        label(&format!("{kind}_api"), &text(&origin["external"]["api"])),
        label(&format!("{kind}_deliver"), &text(&origin["external"]["deliver"])),
    );
    for (name, value) in [("lag", &origin["lag"]), ("active_duration_ns", &origin["active"])] {
        let name = format!("jetstream_stream_{kind}_{name}");
        let value = value.as_i64().unwrap_or_default();
        all.put((&name, Kind::Gauge, "of what a stream is copied from"), &labels, value);
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
                seconds(meter.turns.sum),
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
        let family = ("pinion_core_turn_seconds", "length of a turn");
        all.put_histogram(family, &labels, &meter.turns, 1e9);
        if let Some(journal) = &meter.journal {
            let family = ("pinion_core_journal_commit_seconds", "time until a write is durable");
            all.put_histogram(family, &labels, &journal.times, 1e9);
            let family = ("pinion_core_journal_batch_bytes", "size of a write to the journal");
            all.put_histogram(family, &labels, &journal.sizes, 1.0);
        }
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
