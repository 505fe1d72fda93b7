//! A consumer's configuration in requests and answers.

use std::collections::BTreeMap;

use super::config::{AckPolicy, ConsumerConfig, DeliverPolicy, PriorityPolicy, ReplayPolicy};
use crate::json::{Decoder, Node, Value, Writer, go_quoted, put_integer, put_list};

/// The level of the API that is served: `_nats.level` of what is answered.
pub(crate) const API_LEVEL: u32 = 5;
/// The key of the level that a consumer requires.
pub(crate) const REQUIRED_LEVEL: &str = "_nats.req.level";
/// The key of the server's level, in answers alone.
pub(crate) const SERVER_LEVEL: &str = "_nats.level";
/// The key of the server's version, in answers alone.
pub(crate) const SERVER_VERSION: &str = "_nats.ver";

const DELIVER_POLICIES: &[(&str, DeliverPolicy)] = &[
    ("all", DeliverPolicy::All),
    ("last", DeliverPolicy::Last),
    ("new", DeliverPolicy::New),
    ("by_start_sequence", DeliverPolicy::StartSequence),
    ("by_start_time", DeliverPolicy::StartTime),
    ("last_per_subject", DeliverPolicy::LastPerSubject),
    ("undefined", DeliverPolicy::All),
];

const ACK_POLICIES: &[(&str, AckPolicy)] = &[
    ("none", AckPolicy::None),
    ("all", AckPolicy::All),
    ("explicit", AckPolicy::Explicit),
    ("flow_control", AckPolicy::FlowControl),
];

const REPLAY_POLICIES: &[(&str, ReplayPolicy)] =
    &[("instant", ReplayPolicy::AtOnce), ("original", ReplayPolicy::Original)];

const PRIORITY_POLICIES: &[(&str, PriorityPolicy)] = &[
    ("none", PriorityPolicy::None),
    ("overflow", PriorityPolicy::Overflow),
    ("pinned_client", PriorityPolicy::PinnedClient),
    ("prioritized", PriorityPolicy::Prioritized),
];

/// Reads a word of a fixed set; `complain` gets the whole value as it was written.
pub(crate) fn read_word<T: Copy>(
    decoder: &mut Decoder,
    node: &Node<'_>,
    words: &[(&str, T)],
    into: &mut T,
    complain: impl Fn(&str) -> String,
) {
    if let Value::Text(text) = &node.value
        && let Some((_, value)) = words.iter().find(|(word, _)| word == text)
    {
        *into = *value;
        return;
    }
    decoder.complain(complain(&String::from_utf8_lossy(node.raw)));
}

fn unknown_word(raw: &str) -> String {
    format!("can not unmarshal {}", go_quoted(raw.as_bytes()))
}

fn word_of<T: PartialEq>(words: &[(&'static str, T)], value: &T) -> &'static str {
    let found = words.iter().find(|(_, other)| other == value);
    found.expect("every policy has a word").0
}

impl ConsumerConfig {
    /// Reads what stands in a request into a configuration.
    pub(crate) fn read(&mut self, decoder: &mut Decoder, node: &Node<'_>) {
        decoder.object(node, "server.ConsumerConfig", |decoder, name, field| {
            self.read_policy(decoder, name, field)
                || self.read_push(decoder, name, field)
                || self.read_pull(decoder, name, field)
                || self.read_rest(decoder, name, field)
        });
    }

    fn read_policy(&mut self, decoder: &mut Decoder, name: &str, node: &Node<'_>) -> bool {
        match name {
            "deliver_policy" => {
                read_word(decoder, node, DELIVER_POLICIES, &mut self.deliver_policy, unknown_word);
            }
            "ack_policy" => {
                read_word(decoder, node, ACK_POLICIES, &mut self.ack_policy, unknown_word);
            }
            "replay_policy" => {
                read_word(decoder, node, REPLAY_POLICIES, &mut self.replay_policy, unknown_word);
            }
            "priority_policy" => {
                let complain = |raw: &str| format!("unknown priority policy: {raw}");
                read_word(decoder, node, PRIORITY_POLICIES, &mut self.priority_policy, complain);
            }
            "opt_start_seq" => decoder.integer(node, "uint64", &mut self.start_sequence),
            "opt_start_time" => decoder.time(node, &mut self.start_time),
            "pause_until" => decoder.time(node, &mut self.pause_until),
            "ack_wait" => decoder.duration(node, &mut self.ack_wait),
            "max_deliver" => decoder.integer(node, "int", &mut self.max_deliver),
            "backoff" => {
                let item = |decoder: &mut Decoder, item: &Node<'_>, into: &mut i64| {
                    decoder.duration(item, into);
                };
                decoder.list(node, "[]time.Duration", &mut self.backoff, item);
            }
            _ => return false,
        }
        true
    }

    fn read_push(&mut self, decoder: &mut Decoder, name: &str, node: &Node<'_>) -> bool {
        match name {
            "rate_limit_bps" => decoder.integer(node, "uint64", &mut self.rate_limit),
            "flow_control" => decoder.bool(node, &mut self.flow_control),
            "deliver_subject" => decoder.text(node, &mut self.deliver_subject),
            "deliver_group" => decoder.text(node, &mut self.deliver_group),
            "idle_heartbeat" => decoder.duration(node, &mut self.heartbeat),
            _ => return false,
        }
        true
    }

    fn read_pull(&mut self, decoder: &mut Decoder, name: &str, node: &Node<'_>) -> bool {
        match name {
            "max_waiting" => decoder.integer(node, "int", &mut self.max_waiting),
            "max_batch" => decoder.integer(node, "int", &mut self.max_batch),
            "max_expires" => decoder.duration(node, &mut self.max_expires),
            "max_bytes" => decoder.integer(node, "int", &mut self.max_bytes),
            "priority_groups" => decoder.texts(node, &mut self.priority_groups),
            "priority_timeout" => decoder.duration(node, &mut self.pin_timeout),
            _ => return false,
        }
        true
    }

    fn read_rest(&mut self, decoder: &mut Decoder, name: &str, node: &Node<'_>) -> bool {
        match name {
            "durable_name" => decoder.text(node, &mut self.durable),
            "name" => decoder.text(node, &mut self.name),
            "description" => decoder.text(node, &mut self.description),
            "filter_subject" => decoder.text(node, &mut self.filter),
            "filter_subjects" => decoder.texts(node, &mut self.filters),
            "sample_freq" => decoder.text(node, &mut self.sample_frequency),
            "max_ack_pending" => decoder.integer(node, "int", &mut self.max_ack_pending),
            "headers_only" => decoder.bool(node, &mut self.headers_only),
            "inactive_threshold" => decoder.duration(node, &mut self.inactive_threshold),
            "num_replicas" => decoder.integer(node, "int", &mut self.replicas),
            "mem_storage" => decoder.bool(node, &mut self.memory_storage),
            "direct" => decoder.bool(node, &mut self.direct),
            "sourcing" => decoder.bool(node, &mut self.sourcing),
            "metadata" => {
                decoder.map(node, self.metadata.get_or_insert_default());
            }
            _ => return false,
        }
        true
    }

    /// Appends the configuration; with what the server says about itself if its version is given.
    pub(crate) fn put(&self, out: &mut Vec<u8>, version: Option<&str>) {
        let mut fields = Writer::open(out);
        fields.text_unless_empty("durable_name", &self.durable);
        fields.text_unless_empty("name", &self.name);
        fields.text_unless_empty("description", &self.description);
        fields.text("deliver_policy", word_of(DELIVER_POLICIES, &self.deliver_policy));
        fields.natural_unless_zero("opt_start_seq", self.start_sequence);
        if let Some(time) = self.start_time {
            time.put(fields.field("opt_start_time"));
        }
        fields.text("ack_policy", word_of(ACK_POLICIES, &self.ack_policy));
        fields.integer_unless_zero("ack_wait", self.ack_wait);
        fields.integer_unless_zero("max_deliver", self.max_deliver);
        if !self.backoff.is_empty() {
            put_list(fields.field("backoff"), &self.backoff, |out, value| put_integer(out, *value));
        }
        fields.text_unless_empty("filter_subject", &self.filter);
        fields.texts_unless_empty("filter_subjects", &self.filters);
        fields.text("replay_policy", word_of(REPLAY_POLICIES, &self.replay_policy));
        fields.natural_unless_zero("rate_limit_bps", self.rate_limit);
        fields.text_unless_empty("sample_freq", &self.sample_frequency);
        fields.integer_unless_zero("max_waiting", self.max_waiting);
        fields.integer_unless_zero("max_ack_pending", self.max_ack_pending);
        fields.flag_if_set("flow_control", self.flow_control);
        fields.flag_if_set("headers_only", self.headers_only);
        fields.integer_unless_zero("max_batch", self.max_batch);
        fields.integer_unless_zero("max_expires", self.max_expires);
        fields.integer_unless_zero("max_bytes", self.max_bytes);
        fields.text_unless_empty("deliver_subject", &self.deliver_subject);
        fields.text_unless_empty("deliver_group", &self.deliver_group);
        fields.integer_unless_zero("idle_heartbeat", self.heartbeat);
        fields.integer_unless_zero("inactive_threshold", self.inactive_threshold);
        fields.integer("num_replicas", self.replicas);
        fields.flag_if_set("mem_storage", self.memory_storage);
        fields.flag_if_set("direct", self.direct);
        fields.flag_if_set("sourcing", self.sourcing);
        self.put_metadata(&mut fields, version);
        if let Some(time) = self.pause_until {
            time.put(fields.field("pause_until"));
        }
        fields.texts_unless_empty("priority_groups", &self.priority_groups);
        if self.priority_policy != PriorityPolicy::None {
            fields.text("priority_policy", word_of(PRIORITY_POLICIES, &self.priority_policy));
        }
        fields.integer_unless_zero("priority_timeout", self.pin_timeout);
        fields.close();
    }

    fn put_metadata(&self, fields: &mut Writer<'_>, version: Option<&str>) {
        let stored = self.metadata.iter().flatten();
        let mut all: BTreeMap<&str, &str> =
            stored.map(|(key, value)| (key.as_str(), value.as_str())).collect();
        let level = API_LEVEL.to_string();
        if let Some(version) = version {
            all.insert(SERVER_VERSION, version);
            all.insert(SERVER_LEVEL, &level);
        }
        if all.is_empty() {
            return;
        }
        let mut entries = Writer::open(fields.field("metadata"));
        for (key, value) in all {
            let mut name = Vec::new();
            crate::json::put_text(&mut name, key);
            let inside = String::from_utf8_lossy(&name[1..name.len() - 1]).into_owned();
            entries.text(&inside, value);
        }
        entries.close();
    }

    /// Notes which level of the API the configuration needs; what only answers carry goes.
    pub(crate) fn stamp_level(&mut self) {
        let needs_one = self.pause_until.is_some_and(|until| !until.is_zero())
            || self.priority_policy != PriorityPolicy::None
            || self.pin_timeout != 0
            || !self.priority_groups.is_empty();
        let level =
            if self.ack_policy == AckPolicy::FlowControl { 4 } else { u32::from(needs_one) };
        let metadata = self.metadata.get_or_insert_default();
        metadata.remove(SERVER_VERSION);
        metadata.remove(SERVER_LEVEL);
        metadata.insert(REQUIRED_LEVEL.into(), level.to_string());
    }

    /// Takes over the level of another configuration, so that the two can be compared.
    pub(crate) fn copy_level(&mut self, other: &Self) {
        let level = other.metadata.as_ref().and_then(|metadata| metadata.get(REQUIRED_LEVEL));
        let metadata = self.metadata.get_or_insert_default();
        metadata.remove(SERVER_VERSION);
        metadata.remove(SERVER_LEVEL);
        match level {
            Some(level) => metadata.insert(REQUIRED_LEVEL.into(), level.clone()),
            None => metadata.remove(REQUIRED_LEVEL),
        };
        if metadata.is_empty() {
            self.metadata = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::read_whole;

    fn decode(text: &str) -> Result<ConsumerConfig, String> {
        let mut decoder = Decoder::new("ConsumerConfig", true);
        let node = read_whole(text.as_bytes())?;
        let mut config = ConsumerConfig::default();
        config.read(&mut decoder, &node);
        decoder.finish().map(|()| config)
    }

    #[test]
    fn a_configuration_reads_back_as_it_is_written() {
        let text = concat!(
            r#"{"durable_name":"d","name":"d","description":"x","deliver_policy":"by_start_time","#,
            r#""opt_start_seq":3,"opt_start_time":"2024-01-02T03:04:05Z","ack_policy":"explicit","#,
            r#""ack_wait":30000000000,"max_deliver":-1,"backoff":[1,2],"filter_subject":"a","#,
            r#""filter_subjects":["b"],"replay_policy":"original","rate_limit_bps":8,"#,
            r#""sample_freq":"10%","max_waiting":512,"max_ack_pending":1000,"flow_control":true,"#,
            r#""headers_only":true,"max_batch":1,"max_expires":2,"max_bytes":3,"#,
            r#""deliver_subject":"in","deliver_group":"g","idle_heartbeat":4,"#,
            r#""inactive_threshold":5,"num_replicas":0,"mem_storage":true,"direct":true,"#,
            r#""sourcing":true,"metadata":{"a":"b"},"pause_until":"2024-01-02T03:04:05Z","#,
            r#""priority_groups":["A"],"priority_policy":"pinned_client","priority_timeout":6}"#,
        );
        let config = decode(text).expect("every field is known");
        let mut out = Vec::new();
        config.put(&mut out, None);
        assert_eq!(String::from_utf8_lossy(&out), text);
        out.clear();
        ConsumerConfig::default().put(&mut out, Some("9.9"));
        assert_eq!(
            String::from_utf8_lossy(&out),
            concat!(
                r#"{"deliver_policy":"all","ack_policy":"none","replay_policy":"instant","#,
                r#""num_replicas":0,"metadata":{"_nats.level":"5","_nats.ver":"9.9"}}"#
            )
        );
    }

    #[test]
    fn complaints_are_those_of_the_reference() {
        for (text, expected) in [
            (r#"{"ack_policy":"zz"}"#, r#"can not unmarshal "\"zz\"""#),
            (r#"{"deliver_policy":3}"#, r#"can not unmarshal "3""#),
            (r#"{"priority_policy":"x"}"#, r#"unknown priority policy: "x""#),
            (r#"{"x":1}"#, r#"json: unknown field "x""#),
            (
                r#"{"max_deliver":"a"}"#,
                concat!(
                    "json: cannot unmarshal string into Go struct field ",
                    "ConsumerConfig.max_deliver of type int"
                ),
            ),
        ] {
            assert_eq!(decode(text).expect_err(text), expected);
        }
    }
}
