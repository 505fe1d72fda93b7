//! What a consumer's configuration has to be like: defaults, validity, and what may be changed.

use subjects::grammar;

use super::config::{AckPolicy, ConsumerConfig, DeliverPolicy, PriorityPolicy};
use crate::{
    config::{AccountLimits, Config},
    error::{Fault, table},
    stream::{
        StreamConfig,
        config::{Retention, Storage},
    },
};

const SECOND: i64 = 1_000_000_000;
const ACK_WAIT_DEFAULT: i64 = 30 * SECOND;
/// How long an ephemeral consumer stays without a client, unless it says so.
pub(crate) const INACTIVE_DEFAULT: i64 = 5 * SECOND;
const MAX_WAITING_DEFAULT: i64 = 512;
const MAX_ACK_PENDING_DEFAULT: i64 = 1000;
const PIN_TIMEOUT_DEFAULT: i64 = 120 * SECOND;
/// The heartbeat of a consumer that is acknowledged by flow control.
const SOURCE_HEARTBEAT: i64 = SECOND;
const DESCRIPTION_BYTES_MAX: usize = 4096;
/// Longest name of a stream or consumer in bytes.
pub(crate) const NAME_BYTES_MAX: usize = 255;
const METADATA_BYTES_MAX: usize = 128 * 1024;
const GROUP_BYTES_MAX: usize = 16;

/// What a configuration is judged by.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Surroundings<'a> {
    pub(crate) server: &'a Config,
    pub(crate) limits: &'a AccountLimits,
    pub(crate) stream: &'a StreamConfig,
}

/// Is this fit to be the name of a consumer?
pub(crate) fn is_name(name: &str) -> bool {
    !name.is_empty() && !name.contains([' ', '\t', '\r', '\n', '\u{c}', '.', '*', '>', '\\', '/'])
}

/// Is this fit to be the name of a priority group?
pub(crate) fn is_group(name: &str) -> bool {
    (1..=GROUP_BYTES_MAX).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/_=-".contains(&byte))
}

fn is_subject(subject: &str) -> bool {
    let is_fine =
        |token: &str| token.len() < 2 || !token.contains(['\t', '\n', '\u{c}', '\r', ' ']);
    grammar::is_pattern(subject.as_bytes()) && subject.split('.').all(is_fine)
}

/// Does every subject that `narrow` matches match `wide` too?
pub(crate) fn is_subset(narrow: &[u8], wide: &[u8]) -> bool {
    let mut narrow = grammar::tokens(narrow);
    let mut wide = grammar::tokens(wide);
    loop {
        match (narrow.next(), wide.next()) {
            (None, None) | (Some(_), Some(b">")) => return true,
            (Some(b">"), Some(_)) => return false,
            (Some(_), Some(b"*")) => {}
            (Some(a), Some(b)) if a == b => {}
            _ => return false,
        }
    }
}

impl ConsumerConfig {
    /// Fills in what was left out. A pedantic request must not leave out or get wrong what would be
    /// corrected.
    pub(crate) fn fill_in(
        &mut self,
        around: Surroundings<'_>,
        is_pedantic: bool,
    ) -> Result<(), Fault> {
        let pedantic = |what: &str| {
            if is_pedantic { Err(table::PEDANTIC.because(what)) } else { Ok(()) }
        };
        if self.max_deliver < -1 {
            pedantic("max_deliver must be set to -1")?;
        }
        if self.max_deliver == 0 || self.max_deliver < -1 {
            self.max_deliver = -1;
        }
        let at_least = |value: &mut i64, least: i64, complaint: &str| {
            if *value < least {
                pedantic(complaint)?;
                *value = least;
            }
            Ok(())
        };
        at_least(&mut self.max_waiting, 0, "max_waiting must not be negative")?;
        at_least(&mut self.max_ack_pending, -1, "max_ack_pending must be set to -1")?;
        at_least(&mut self.max_batch, 0, "max_batch must not be negative")?;
        at_least(&mut self.max_expires, 0, "max_expires must not be negative")?;
        at_least(&mut self.max_bytes, 0, "max_bytes must not be negative")?;
        at_least(&mut self.heartbeat, 0, "idle_heartbeat must not be negative")?;
        at_least(&mut self.inactive_threshold, 0, "inactive_threshold must not be negative")?;
        at_least(&mut self.pin_timeout, 0, "priority_timeout must not be negative")?;
        if !self.is_push() && self.max_waiting == 0 {
            self.max_waiting = MAX_WAITING_DEFAULT;
        }
        if self.ack_wait == 0 && matches!(self.ack_policy, AckPolicy::Explicit | AckPolicy::All) {
            self.ack_wait = ACK_WAIT_DEFAULT;
        }
        if let Some(&first) = self.backoff.first() {
            if self.ack_wait != first {
                pedantic("first backoff value has to equal batch AckWait")?;
            }
            self.ack_wait = first;
        }
        self.fill_in_limits(around, &pedantic)?;
        if self.priority_policy == PriorityPolicy::PinnedClient && self.pin_timeout == 0 {
            self.pin_timeout = PIN_TIMEOUT_DEFAULT;
        }
        if self.ack_policy == AckPolicy::FlowControl && !is_pedantic {
            self.flow_control = true;
            self.heartbeat = SOURCE_HEARTBEAT;
        }
        Ok(())
    }

    fn fill_in_limits(
        &mut self,
        around: Surroundings<'_>,
        pedantic: &dyn Fn(&str) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        let of_stream = &around.stream.consumer_limits;
        if self.max_ack_pending == 0 {
            if of_stream.max_ack_pending > 0 {
                pedantic("max_ack_pending must be set if it's configured in stream limits")?;
            }
            self.max_ack_pending = of_stream.max_ack_pending;
        }
        if self.inactive_threshold == 0 {
            if of_stream.inactive_threshold > 0 {
                pedantic("inactive_threshold must be set if it's configured in stream limits")?;
            }
            self.inactive_threshold = of_stream.inactive_threshold;
        }
        let server = &around.server.limits;
        if self.max_ack_pending == 0 && self.ack_policy != AckPolicy::None {
            let limits = [server.max_ack_pending, around.limits.max_ack_pending];
            let limits = limits.into_iter().filter(|&limit| limit > 0);
            self.max_ack_pending = limits.fold(MAX_ACK_PENDING_DEFAULT, i64::min);
        }
        if !self.is_push() && self.max_batch == 0 && server.max_request_batch > 0 {
            pedantic("max_request_batch must be set if it's JetStream limits are set")?;
            self.max_batch = server.max_request_batch;
        }
        Ok(())
    }

    /// Is the configuration valid for a consumer of this stream? In the order in which the
    /// reference looks.
    pub(crate) fn check(&self, around: Surroundings<'_>) -> Result<(), Fault> {
        let invalid = |text: &str| table::STREAM_INVALID_CONFIG.because(text);
        if !self.name.is_empty() && !is_name(&self.name) {
            return Err(invalid("consumer name can not contain '.', '*', '>', '\\', '/'"));
        }
        if !self.durable.is_empty() && !is_name(&self.durable) {
            return Err(invalid("consumer durable name can not contain '.', '*', '>', '\\', '/'"));
        }
        self.check_replicas(around.stream)?;
        if self.backoff.iter().any(|&wait| wait < 0) {
            return Err(table::CONSUMER_BACK_OFF_NEGATIVE);
        }
        if self.ack_wait < 0 {
            return Err(table::CONSUMER_ACK_WAIT_NEGATIVE);
        }
        if self.ack_policy == AckPolicy::FlowControl {
            self.check_ack_by_flow()?;
        }
        self.check_backoff()?;
        if self.description.len() > DESCRIPTION_BYTES_MAX {
            return Err(table::CONSUMER_DESCRIPTION_TOO_LONG.with("{max}", DESCRIPTION_BYTES_MAX));
        }
        if self.is_push() {
            self.check_push(around.stream)?;
        } else {
            self.check_pull(around)?;
        }
        self.check_limits(around)?;
        if self.direct && !self.is_push() {
            return Err(table::CONSUMER_DIRECT_REQUIRES_PUSH);
        }
        if self.direct && self.is_durable() {
            return Err(table::CONSUMER_DIRECT_REQUIRES_EPHEMERAL);
        }
        self.check_filters()?;
        self.check_start()?;
        self.sampling()?;
        if self.flow_control && self.heartbeat == 0 {
            return Err(table::CONSUMER_WITH_FLOW_CONTROL_NEEDS_HEARTBEATS);
        }
        if self.is_durable() && !self.name.is_empty() && self.name != self.durable {
            return Err(table::CONSUMER_CREATE_DURABLE_AND_NAME_MISMATCH);
        }
        let metadata = self.metadata.iter().flatten();
        let bytes: usize = metadata.map(|(key, value)| key.len() + value.len()).sum();
        if bytes > METADATA_BYTES_MAX {
            let limit = format!("{}KB", METADATA_BYTES_MAX / 1024);
            return Err(table::CONSUMER_METADATA_LENGTH.with("{limit}", limit));
        }
        self.check_priority()?;
        if around.stream.placement.as_ref().is_some_and(|place| !place.preferred.is_empty()) {
            return Err(invalid("preferred server not permitted in placement"));
        }
        Ok(())
    }

    fn check_replicas(&self, stream: &StreamConfig) -> Result<(), Fault> {
        if self.replicas > 0 && self.replicas > stream.replicas {
            return Err(table::CONSUMER_REPLICAS_EXCEEDS_STREAM);
        }
        if self.replicas < 0 {
            return Err(table::REPLICAS_COUNT_CANNOT_BE_NEGATIVE);
        }
        let must_match = stream.retention != Retention::Limits;
        if must_match && self.replicas != 0 && self.replicas != stream.replicas {
            return Err(table::CONSUMER_REPLICAS_SHOULD_MATCH_STREAM);
        }
        Ok(())
    }

    fn check_ack_by_flow(&self) -> Result<(), Fault> {
        if !self.is_push() {
            return Err(table::CONSUMER_ACK_FC_REQUIRES_PUSH);
        }
        if !self.flow_control {
            return Err(table::CONSUMER_ACK_FC_REQUIRES_FC);
        }
        if self.heartbeat != SOURCE_HEARTBEAT {
            let text = "flow control ack policy heartbeat needs to be 1s";
            return Err(table::STREAM_INVALID_CONFIG.because(text));
        }
        if self.max_ack_pending <= 0 {
            return Err(table::CONSUMER_ACK_FC_REQUIRES_MAX_ACK_PENDING);
        }
        if self.ack_wait != 0 || !self.backoff.is_empty() {
            return Err(table::CONSUMER_ACK_FC_REQUIRES_NO_ACK_WAIT);
        }
        if self.max_deliver > 0 {
            return Err(table::CONSUMER_ACK_FC_REQUIRES_NO_MAX_DELIVER);
        }
        Ok(())
    }

    fn check_backoff(&self) -> Result<(), Fault> {
        let is_limited = self.max_deliver != -1;
        if is_limited && self.backoff.len() as i64 > self.max_deliver {
            return Err(table::CONSUMER_MAX_DELIVER_BACKOFF);
        }
        Ok(())
    }

    fn check_push(&self, stream: &StreamConfig) -> Result<(), Fault> {
        let subject = self.deliver_subject.as_bytes();
        if grammar::has_wildcard(subject) {
            return Err(table::CONSUMER_DELIVER_TO_WILDCARDS);
        }
        if !is_subject(&self.deliver_subject) {
            return Err(table::CONSUMER_INVALID_DELIVER_SUBJECT);
        }
        if stream.subjects.iter().any(|pattern| is_subset(subject, pattern.as_bytes())) {
            return Err(table::CONSUMER_DELIVER_CYCLE);
        }
        if self.max_waiting != 0 {
            return Err(table::CONSUMER_PUSH_MAX_WAITING);
        }
        if self.max_ack_pending > 0 && self.ack_policy == AckPolicy::None {
            return Err(table::CONSUMER_MAX_PENDING_ACK_POLICY_REQUIRED);
        }
        if (1..SECOND / 10).contains(&self.heartbeat) {
            return Err(table::CONSUMER_SMALL_HEARTBEAT);
        }
        Ok(())
    }

    fn check_pull(&self, around: Surroundings<'_>) -> Result<(), Fault> {
        let is_queue = around.stream.retention == Retention::WorkQueue;
        if self.ack_policy == AckPolicy::None && is_queue {
            return Err(table::CONSUMER_PULL_REQUIRES_ACK);
        }
        if self.rate_limit > 0 {
            return Err(table::CONSUMER_PULL_WITH_RATE_LIMIT);
        }
        if self.heartbeat > 0 {
            return Err(table::CONSUMER_HB_REQUIRES_PUSH);
        }
        if self.flow_control {
            return Err(table::CONSUMER_FC_REQUIRES_PUSH);
        }
        if (1..SECOND / 1000).contains(&self.max_expires) {
            return Err(table::CONSUMER_MAX_REQUEST_EXPIRES_TOO_SMALL);
        }
        let limit = around.server.limits.max_request_batch;
        if limit > 0 && self.max_batch > limit {
            return Err(table::CONSUMER_MAX_REQUEST_BATCH_EXCEEDED.with("{limit}", limit));
        }
        Ok(())
    }

    fn check_limits(&self, around: Surroundings<'_>) -> Result<(), Fault> {
        let of_stream = &around.stream.consumer_limits;
        for limit in [
            around.server.limits.max_ack_pending,
            around.limits.max_ack_pending,
            of_stream.max_ack_pending,
        ] {
            if limit > 0 && self.max_ack_pending > limit {
                return Err(table::CONSUMER_MAX_PENDING_ACK_EXCESS.with("{limit}", limit));
            }
        }
        let limit = of_stream.inactive_threshold;
        if limit > 0 && self.inactive_threshold > limit {
            let limit = go_duration(limit);
            return Err(table::CONSUMER_INACTIVE_THRESHOLD_EXCESS.with("{limit}", limit));
        }
        Ok(())
    }

    fn check_filters(&self) -> Result<(), Fault> {
        let bad_subject = || table::STREAM_INVALID_CONFIG.because("invalid subject");
        if !self.filter.is_empty() && !self.filters.is_empty() {
            return Err(table::CONSUMER_DUPLICATE_FILTER_SUBJECTS);
        }
        if !self.filter.is_empty() && !is_subject(&self.filter) {
            return Err(bad_subject());
        }
        if self.filters.iter().any(String::is_empty) {
            return Err(table::CONSUMER_EMPTY_FILTER);
        }
        for (place, filter) in self.filters.iter().enumerate() {
            if !is_subject(filter) {
                return Err(bad_subject());
            }
            let overlaps = |(other_place, other): (usize, &String)| {
                other_place != place && is_subset(filter.as_bytes(), other.as_bytes())
            };
            if self.filters.iter().enumerate().any(overlaps) {
                return Err(table::CONSUMER_OVERLAPPING_SUBJECT_FILTERS);
            }
        }
        Ok(())
    }

    fn check_start(&self) -> Result<(), Fault> {
        let invalid = |text: String| Err(table::CONSUMER_INVALID_POLICY.because(text));
        let set = |policy: &str, start: &str| {
            invalid(format!(
                "consumer delivery policy is deliver {policy}, but optional start {start} \
                 is also set"
            ))
        };
        let unset = |policy: &str, what: &str| {
            invalid(format!(
                "consumer delivery policy is deliver {policy}, but optional {what} is not set"
            ))
        };
        let (sequence, time) = (self.start_sequence > 0, self.start_time.is_some());
        let policy = match self.deliver_policy {
            DeliverPolicy::All => "all",
            DeliverPolicy::Last => "last",
            DeliverPolicy::LastPerSubject => "last per subject",
            DeliverPolicy::New => "new",
            DeliverPolicy::StartSequence if !sequence => {
                return unset("by start sequence", "start sequence");
            }
            DeliverPolicy::StartSequence if time => return set("by start sequence", "time"),
            DeliverPolicy::StartTime if !time => return unset("by start time", "start time"),
            DeliverPolicy::StartTime if sequence => return set("by start time", "start sequence"),
            DeliverPolicy::StartSequence | DeliverPolicy::StartTime => return Ok(()),
        };
        if sequence {
            return set(policy, "sequence");
        }
        if time {
            return set(policy, "time");
        }
        let is_filtered = self.all_filters().next().is_some();
        if self.deliver_policy == DeliverPolicy::LastPerSubject && !is_filtered {
            return unset(policy, "filter subject");
        }
        Ok(())
    }

    /// Of how many in a hundred acknowledgements there is a metric.
    pub(crate) fn sampling(&self) -> Result<u64, Fault> {
        let text = &self.sample_frequency;
        if text.is_empty() {
            return Ok(0);
        }
        let digits = text.strip_suffix('%').unwrap_or(text);
        match digits.parse::<i64>() {
            Ok(value) if value >= 0 => Ok(value as u64),
            Ok(_) => Err(table::CONSUMER_INVALID_SAMPLING.because("<nil>")),
            Err(_) => {
                let quoted = crate::json::go_quoted(digits.as_bytes());
                let cause = format!("strconv.Atoi: parsing {quoted}: invalid syntax");
                Err(table::CONSUMER_INVALID_SAMPLING.because(cause))
            }
        }
    }

    fn check_priority(&self) -> Result<(), Fault> {
        if self.priority_policy == PriorityPolicy::None {
            if !self.priority_groups.is_empty() {
                return Err(table::CONSUMER_PRIORITY_GROUP_WITH_POLICY_NONE);
            }
            if self.pin_timeout > 0 {
                return Err(table::CONSUMER_PINNED_TTL_WITHOUT_PRIORITY_POLICY_NONE);
            }
            return Ok(());
        }
        if self.is_push() {
            return Err(table::CONSUMER_PUSH_WITH_PRIORITY_GROUP);
        }
        if self.priority_groups.is_empty() {
            return Err(table::CONSUMER_PRIORITY_POLICY_WITHOUT_GROUP);
        }
        for group in &self.priority_groups {
            if group.is_empty() {
                return Err(table::CONSUMER_EMPTY_GROUP_NAME);
            }
            if !is_group(group) {
                return Err(table::CONSUMER_INVALID_GROUP_NAME);
            }
        }
        Ok(())
    }

    /// May the configuration become `new`? `is_bound` says whether anyone listens to where the
    /// consumer delivers to now.
    pub(crate) fn check_update(&self, new: &Self, is_bound: bool) -> Result<(), Fault> {
        if self == new {
            return Ok(());
        }
        let fixed = [
            (self.deliver_policy != new.deliver_policy, "deliver policy"),
            (self.memory_storage != new.memory_storage, "storage type"),
            (self.direct != new.direct, "direct"),
            (self.sourcing != new.sourcing, "sourcing"),
            (self.start_sequence != new.start_sequence, "start sequence"),
            (self.start_time != new.start_time, "start time"),
            (self.ack_policy != new.ack_policy, "ack policy"),
            (self.replay_policy != new.replay_policy, "replay policy"),
            (self.heartbeat != new.heartbeat, "heart beats"),
            (self.flow_control != new.flow_control, "flow control"),
        ];
        let refused = |text: &str| Err(table::CONSUMER_CREATE.because(text));
        if let Some((_, what)) = fixed.iter().find(|(is_changed, _)| *is_changed) {
            return refused(&format!("{what} can not be updated"));
        }
        if self.deliver_subject != new.deliver_subject {
            if !self.is_push() {
                return refused("can not update pull consumer to push based");
            }
            if !new.is_push() {
                return refused("can not update push consumer to pull based");
            }
            if is_bound {
                return Err(table::CONSUMER_NAME_EXIST);
            }
        }
        if self.max_waiting != new.max_waiting {
            return refused("max waiting can not be updated");
        }
        new.check_backoff()
    }

    /// Does the consumer's state survive the server?
    pub(crate) fn is_kept(&self, stream: &StreamConfig) -> bool {
        !self.direct && !self.memory_storage && stream.storage == Storage::File
    }
}

/// A duration as Go prints it: `1h2m3.5s`, `1.5ms`.
pub(crate) fn go_duration(nanos: i64) -> String {
    let magnitude = nanos.unsigned_abs();
    let sign = if nanos < 0 { "-" } else { "" };
    let decimal = |unit: u64, name: &str| {
        let (whole, rest) = (magnitude / unit, magnitude % unit);
        let digits = format!("{rest:0width$}", width = unit.ilog10() as usize);
        let digits = digits.trim_end_matches('0');
        let point = if digits.is_empty() || unit == 1 { "" } else { "." };
        let digits = if unit == 1 { "" } else { digits };
        format!("{sign}{whole}{point}{digits}{name}")
    };
    match magnitude {
        0 => "0s".into(),
        1..1_000 => decimal(1, "ns"),
        1_000..1_000_000 => decimal(1_000, "µs"),
        1_000_000..1_000_000_000 => decimal(1_000_000, "ms"),
        _ => {
            let seconds = magnitude / 1_000_000_000;
            let rest = magnitude % 1_000_000_000 + seconds % 60 * 1_000_000_000;
            let minutes = seconds / 60;
            let fraction = format!("{:09}", rest % 1_000_000_000);
            let fraction = fraction.trim_end_matches('0');
            let point = if fraction.is_empty() { "" } else { "." };
            let tail = format!("{}{point}{fraction}s", rest / 1_000_000_000);
            match (minutes / 60, minutes % 60) {
                (0, 0) => format!("{sign}{tail}"),
                (0, minutes) => format!("{sign}{minutes}m{tail}"),
                (hours, minutes) => format!("{sign}{hours}h{minutes}m{tail}"),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_as_go_writes_them() {
        for (nanos, expected) in [
            (0, "0s"),
            (1, "1ns"),
            (1_500, "1.5µs"),
            (2_000_000, "2ms"),
            (1_000_000_000, "1s"),
            (90_500_000_000, "1m30.5s"),
            (3_600_000_000_000, "1h0m0s"),
            (-5_000_000_000, "-5s"),
        ] {
            assert_eq!(go_duration(nanos), expected);
        }
    }

    #[test]
    fn subsets() {
        for (narrow, wide, expected) in [
            ("a.b", "a.*", true),
            ("a.*", "a.b", false),
            ("a.>", "a.*", false),
            ("a.*", "a.>", true),
            ("a.>", "a.>", true),
            ("a", "a.>", false),
            ("a.b.c", "a.*.>", true),
        ] {
            assert_eq!(is_subset(narrow.as_bytes(), wide.as_bytes()), expected, "{narrow} {wide}");
        }
    }

    fn checked(change: impl FnOnce(&mut ConsumerConfig, &mut StreamConfig)) -> u16 {
        let (server, limits) = (Config::default(), AccountLimits::default());
        let mut stream = StreamConfig {
            subjects: vec!["orders.>".into()],
            replicas: 1,
            ..StreamConfig::default()
        };
        let mut config = ConsumerConfig {
            ack_policy: AckPolicy::Explicit,
            name: "c".into(),
            ..ConsumerConfig::default()
        };
        change(&mut config, &mut stream);
        let around = Surroundings { server: &server, limits: &limits, stream: &stream };
        let result = config.fill_in(around, false).and_then(|()| config.check(around));
        result.err().map_or(0, |fault| fault.number)
    }

    type Change = fn(&mut ConsumerConfig, &mut StreamConfig);

    #[test]
    fn rules_of_names_acknowledgement_and_mode() {
        let table: &[(Change, u16)] = &[
            (|_, _| {}, 0),
            (|config, _| config.name = "a.b".into(), 10052),
            (|config, _| config.replicas = 3, 10126),
            (|config, _| config.replicas = -1, 10133),
            (|config, _| config.backoff = vec![-1], 10184),
            (|config, _| config.ack_wait = -1, 10183),
            (|config, _| config.ack_policy = AckPolicy::FlowControl, 10218),
            (|config, _| (config.backoff, config.max_deliver) = (vec![1, 2], 1), 10116),
            (|config, _| config.description = "x".repeat(4097), 10107),
            (|config, _| config.deliver_subject = "in.*".into(), 10079),
            (|config, _| config.deliver_subject = "in..x".into(), 10112),
            (|config, _| config.deliver_subject = "orders.x".into(), 10081),
            (|config, _| (config.deliver_subject, config.max_waiting) = ("in".into(), 1), 10080),
            (
                |config, _| {
                    config.deliver_subject = "in".into();
                    config.ack_policy = AckPolicy::None;
                    config.max_ack_pending = 1;
                },
                10082,
            ),
            (|config, _| (config.deliver_subject, config.heartbeat) = ("in".into(), 1), 10083),
            (
                |config, stream| {
                    stream.retention = Retention::WorkQueue;
                    config.ack_policy = AckPolicy::None;
                },
                10084,
            ),
        ];
        look_up(table);
    }

    fn look_up(table: &[(Change, u16)]) {
        for (place, (change, number)) in table.iter().enumerate() {
            assert_eq!(checked(change), *number, "row {place}");
        }
    }

    #[test]
    fn rules_of_limits_filters_start_and_groups() {
        let table: &[(Change, u16)] = &[
            (|config, _| config.rate_limit = 1, 10086),
            (|config, _| config.heartbeat = SECOND, 10088),
            (|config, _| config.flow_control = true, 10089),
            (|config, _| config.max_expires = 1, 10115),
            (
                |config, stream| {
                    stream.consumer_limits.max_ack_pending = 5;
                    config.max_ack_pending = 6;
                },
                10121,
            ),
            (
                |config, stream| {
                    stream.consumer_limits.inactive_threshold = 5;
                    config.inactive_threshold = 6;
                },
                10153,
            ),
            (|config, _| config.direct = true, 10090),
            (|config, _| (config.filter, config.filters) = ("a".into(), vec!["b".into()]), 10136),
            (|config, _| config.filter = "a..b".into(), 10052),
            (|config, _| config.filters = vec![String::new()], 10139),
            (|config, _| config.filters = vec!["a.*".into(), "a.b".into()], 10138),
            (|config, _| config.start_sequence = 1, 10094),
            (|config, _| config.deliver_policy = DeliverPolicy::StartSequence, 10094),
            (|config, _| config.deliver_policy = DeliverPolicy::LastPerSubject, 10094),
            (|config, _| config.sample_frequency = "x".into(), 10095),
            (
                |config, _| (config.deliver_subject, config.flow_control) = ("in".into(), true),
                10108,
            ),
            (|config, _| config.durable = "d".into(), 10132),
            (|config, _| config.priority_groups = vec!["A".into()], 10196),
            (|config, _| config.pin_timeout = 1, 10197),
            (|config, _| config.priority_policy = PriorityPolicy::Overflow, 10159),
            (
                |config, _| {
                    config.priority_policy = PriorityPolicy::Overflow;
                    config.priority_groups = vec!["a b".into()];
                },
                10162,
            ),
            (
                |config, _| {
                    config.metadata = Some([("k".into(), "v".repeat(128 * 1024))].into());
                },
                10135,
            ),
        ];
        look_up(table);
    }

    #[test]
    fn what_may_not_change_is_said_in_words() {
        let old = ConsumerConfig::default();
        let text = |change: fn(&mut ConsumerConfig)| {
            let mut new = old.clone();
            change(&mut new);
            old.check_update(&new, true).map_err(|fault| fault.text.into_owned())
        };
        assert_eq!(text(|_| {}), Ok(()));
        assert_eq!(text(|new| new.description = "x".into()), Ok(()));
        let refused = |text: &str| Err(String::from(text));
        assert_eq!(
            text(|new| new.ack_policy = AckPolicy::All),
            refused("ack policy can not be updated")
        );
        assert_eq!(text(|new| new.heartbeat = 1), refused("heart beats can not be updated"));
        assert_eq!(
            text(|new| new.deliver_subject = "x".into()),
            refused("can not update pull consumer to push based")
        );
        assert_eq!(text(|new| new.max_waiting = 1), refused("max waiting can not be updated"));
    }
}
