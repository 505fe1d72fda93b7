//! What a stream's configuration may be: defaults are filled in, everything else is refused in the
//! reference's words (spec 6.2).

use base::limits::{
    DELETE_MARKER_TTL_MIN, DESCRIPTION_BYTES_MAX, DUPLICATE_WINDOW_DEFAULT, METADATA_BYTES_MAX,
    NAME_BYTES_MAX, REPLICAS_MAX, STREAM_SPAN_MIN,
};
use subjects::Transform as Mapping;
use subjects::grammar::{collide, is_literal, is_pattern, is_subset};
use subjects::transform::check_mapping;

use super::check_sources;
use super::config::{Discard, Persist, Placement, Retention, Storage, StreamConfig};
use crate::error::{Fault, table};
use crate::{AccountLimits, Config};

/// What a configuration is judged by.
pub(crate) struct Surroundings<'a> {
    pub(crate) server: &'a Config,
    pub(crate) limits: &'a AccountLimits,
    /// The account's streams.
    pub(crate) find: &'a dyn Fn(&str) -> Option<&'a StreamConfig>,
    /// Is what would be corrected refused?
    pub(crate) pedantic: bool,
}

/// `stream configuration invalid` and the like: an error whose text is its cause.
pub(crate) fn invalid(cause: impl std::fmt::Display) -> Fault {
    table::STREAM_INVALID_CONFIG.because(cause)
}

pub(crate) fn pedantry(cause: &str) -> Fault {
    table::PEDANTIC.because(cause)
}

/// May a stream or consumer have this name?
pub(crate) fn is_asset_name(name: &str) -> bool {
    !name.is_empty() && !name.contains([' ', '\t', '\r', '\n', '\x0c', '.', '*', '>', '\\', '/'])
}

/// Fills in what was left out and refuses what cannot be.
///
/// # Errors
/// As the reference's.
pub(crate) fn check(config: &mut StreamConfig, around: &Surroundings<'_>) -> Result<(), Fault> {
    check_texts(config)?;
    check_numbers(config, around)?;
    check_spans(config, around)?;
    check_features(config)?;
    check_markers(config, around)?;
    check_persist(config)?;
    check_sources::check(config, around)?;
    check_subjects(config)?;
    check_bytes(config, around)?;
    check_transform(config)?;
    check_republish(config, around)?;
    if config.placement.as_ref().is_some_and(|placement| *placement == Placement::default()) {
        config.placement = None;
    }
    if config.placement.as_ref().is_some_and(|placement| !placement.preferred.is_empty()) {
        return Err(invalid("preferred server not permitted in placement"));
    }
    Ok(())
}

fn check_texts(config: &StreamConfig) -> Result<(), Fault> {
    if !is_asset_name(&config.name) {
        return Err(invalid(
            "stream name is required and can not contain '.', '*', '>', '\\', '/'",
        ));
    }
    if config.name.len() > NAME_BYTES_MAX {
        let text = format!("stream name is too long, maximum allowed is {NAME_BYTES_MAX}");
        return Err(invalid(text));
    }
    if config.description.len() > DESCRIPTION_BYTES_MAX {
        let most = DESCRIPTION_BYTES_MAX;
        return Err(invalid(format!("stream description is too long, maximum allowed is {most}")));
    }
    let metadata = config.metadata.iter().flatten();
    if metadata.map(|(name, value)| name.len() + value.len()).sum::<usize>() > METADATA_BYTES_MAX {
        let most = METADATA_BYTES_MAX;
        return Err(invalid(format!("stream metadata exceeds maximum size of {most} bytes")));
    }
    Ok(())
}

fn check_numbers(config: &mut StreamConfig, around: &Surroundings<'_>) -> Result<(), Fault> {
    if config.replicas == 0 {
        config.replicas = 1;
    }
    if config.replicas > REPLICAS_MAX {
        return Err(invalid(format!("maximum replicas is {REPLICAS_MAX}")));
    }
    if config.replicas < 0 {
        return Err(table::REPLICAS_COUNT_CANNOT_BE_NEGATIVE);
    }
    let mut size = i64::from(config.max_msg_size);
    for (name, value) in [
        ("max_msgs", &mut config.max_msgs),
        ("max_msgs_per_subject", &mut config.max_msgs_per_subject),
        ("max_bytes", &mut config.max_bytes),
        ("max_msg_size", &mut size),
        ("max_consumers", &mut config.max_consumers),
    ] {
        if *value < -1 && around.pedantic {
            return Err(pedantry(&format!("{name} must be set to -1")));
        }
        if *value <= 0 {
            *value = -1;
        }
    }
    config.max_msg_size = i32::try_from(size).expect("it was one before");
    Ok(())
}

fn check_spans(config: &mut StreamConfig, around: &Surroundings<'_>) -> Result<(), Fault> {
    if config.max_age < 0 {
        return Err(invalid("max age can not be negative"));
    }
    if config.max_age != 0 && config.max_age < STREAM_SPAN_MIN {
        return Err(invalid("max age needs to be >= 100ms"));
    }
    let most = i64::try_from(around.server.limits.duplicates.as_nanos()).unwrap_or(i64::MAX);
    if config.duplicate_window == 0 && config.mirror.is_none() && config.sources.is_empty() {
        default_window(config, around, most)?;
    }
    if config.duplicate_window < 0 {
        return Err(invalid("duplicates window can not be negative"));
    }
    if config.max_age != 0 && config.duplicate_window > config.max_age {
        return Err(invalid("duplicates window can not be larger then max age"));
    }
    if most > 0 && config.duplicate_window > most {
        let most = crate::span::text(most);
        let text = format!("duplicates window can not be larger then server limit of {most}");
        return Err(invalid(text));
    }
    if config.duplicate_window > 0 && config.duplicate_window < STREAM_SPAN_MIN {
        return Err(invalid("duplicates window needs to be >= 100ms"));
    }
    Ok(())
}

fn default_window(
    config: &mut StreamConfig,
    around: &Surroundings<'_>,
    most: i64,
) -> Result<(), Fault> {
    let mut window = DUPLICATE_WINDOW_DEFAULT;
    if most > 0 && window > most {
        if around.pedantic {
            return Err(pedantry("duplicate window limits are higher than current limits"));
        }
        window = most;
    }
    if config.max_age != 0 && config.max_age < window {
        if around.pedantic {
            return Err(pedantry("duplicate window cannot be bigger than max age"));
        }
        window = config.max_age;
    }
    config.duplicate_window = window;
    Ok(())
}

fn check_features(config: &StreamConfig) -> Result<(), Fault> {
    if config.deny_purge && config.allow_rollup {
        return Err(invalid("roll-ups require the purge permission"));
    }
    if config.allow_msg_counter {
        for (wrong, text) in [
            (config.discard == Discard::New, "counter stream cannot use discard new"),
            (config.allow_msg_ttl, "counter stream cannot use message TTLs"),
            (config.allow_msg_schedules, "counter stream cannot use message schedules"),
            (config.retention != Retention::Limits, "counter stream can only use limits retention"),
        ] {
            if wrong {
                return Err(invalid(text));
            }
        }
    }
    check_discard_per_subject(config)
}

/// `discard_new_per_subject` needs two others.
pub(crate) fn check_discard_per_subject(config: &StreamConfig) -> Result<(), Fault> {
    if !config.discard_new_per_subject {
        return Ok(());
    }
    if config.discard != Discard::New {
        return Err(invalid("discard new per subject requires discard new policy to be set"));
    }
    if config.max_msgs_per_subject <= 0 {
        return Err(invalid("discard new per subject requires max msgs per subject > 0"));
    }
    Ok(())
}

fn check_markers(config: &mut StreamConfig, around: &Surroundings<'_>) -> Result<(), Fault> {
    if config.subject_delete_marker_ttl < 0 {
        return Err(invalid("subject delete marker TTL must not be negative"));
    }
    if config.subject_delete_marker_ttl > 0 {
        if config.subject_delete_marker_ttl < DELETE_MARKER_TTL_MIN {
            return Err(invalid("subject delete marker TTL must be at least 1 second"));
        }
        if !config.allow_msg_ttl && around.pedantic {
            let text = "subject delete marker cannot be set if message TTLs are disabled";
            return Err(invalid(text));
        }
        config.allow_msg_ttl = true;
        if !config.allow_rollup && around.pedantic {
            return Err(invalid("subject delete marker cannot be set if roll-ups are disabled"));
        }
        allow_rollup(config);
    }
    if config.allow_msg_schedules {
        if config.discard == Discard::New {
            return Err(invalid("message scheduling cannot use discard new"));
        }
        if !config.allow_rollup && around.pedantic {
            return Err(invalid("message scheduling cannot be set if roll-ups are disabled"));
        }
        allow_rollup(config);
    }
    Ok(())
}

fn allow_rollup(config: &mut StreamConfig) {
    if !config.allow_rollup {
        config.allow_rollup = true;
        config.deny_purge = false;
    }
}

fn check_persist(config: &StreamConfig) -> Result<(), Fault> {
    if config.persist != Persist::Async {
        return Ok(());
    }
    if config.storage != Storage::File {
        return Err(invalid("async persist mode is only supported on file storage"));
    }
    if config.replicas > 1 {
        return Err(invalid("async persist mode is not supported on replicated streams"));
    }
    if config.allow_atomic {
        return Err(invalid("async persist mode is not supported with atomic batch publish"));
    }
    Ok(())
}

fn check_subjects(config: &mut StreamConfig) -> Result<(), Fault> {
    if config.subjects.is_empty() {
        if config.mirror.is_none() && config.sources.is_empty() {
            config.subjects.push(config.name.clone());
        }
        return Ok(());
    }
    for (place, subject) in config.subjects.iter().enumerate() {
        if !is_subject(subject) {
            return Err(invalid("invalid subject"));
        }
        if config.subjects[..place].contains(subject) {
            return Err(invalid("duplicate subjects detected"));
        }
        check_reach(config, subject)?;
        let mut later = config.subjects[place + 1..].iter();
        // The same subject twice is told apart from two that overlap when its turn comes.
        if let Some(other) = later.find(|other| collide(other.as_bytes(), subject.as_bytes())) {
            let (one, two) = (quote(subject), quote(other));
            return Err(invalid(format!("subject {one} overlaps with {two}")));
        }
    }
    Ok(())
}

fn quote(text: &str) -> String {
    crate::json::go_quoted(text.as_bytes())
}

/// Subjects that the server itself uses are stored only where nobody is acknowledged.
fn check_reach(config: &StreamConfig, subject: &str) -> Result<(), Fault> {
    if subject == ">" {
        if !config.no_ack {
            return Err(invalid("capturing all subjects requires no-ack to be true"));
        }
        if config.replicas != 1 {
            return Err(invalid("capturing all subjects requires replicas of 1"));
        }
    }
    if config.no_ack {
        return Ok(());
    }
    let subject = subject.as_bytes();
    let of_api = [&b"$JS.>"[..], b"$JSC.>", b"$NRG.>"];
    if of_api.iter().any(|space| collide(subject, space)) && !is_subset(subject, b"$JS.EVENT.>") {
        let text = "subjects that overlap with jetstream api require no-ack to be true";
        return Err(invalid(text));
    }
    if collide(subject, b"$SYS.>") && !is_subset(subject, b"$SYS.ACCOUNT.>") {
        let text = "subjects that overlap with system api require no-ack to be true";
        return Err(invalid(text));
    }
    Ok(())
}

fn check_bytes(config: &StreamConfig, around: &Surroundings<'_>) -> Result<(), Fault> {
    let most = match config.storage {
        Storage::Memory => around.limits.memory_max_stream_bytes,
        Storage::File => around.limits.store_max_stream_bytes,
    };
    if around.limits.max_bytes_required && config.max_bytes <= 0 {
        return Err(table::STREAM_MAX_BYTES_REQUIRED);
    }
    if most > 0 && config.max_bytes > most {
        return Err(table::STREAM_MAX_STREAM_BYTES_EXCEEDED);
    }
    Ok(())
}

fn check_transform(config: &StreamConfig) -> Result<(), Fault> {
    let Some(transform) = &config.subject_transform else { return Ok(()) };
    if !transform.source.is_empty() && !is_subject(&transform.source) {
        let cause = format!("invalid subject {}", transform.source);
        return Err(table::STREAM_TRANSFORM_INVALID_SOURCE.because(cause));
    }
    check_mapping(&transform.source, &transform.destination)
        .map_err(|fault| table::STREAM_TRANSFORM_INVALID_DESTINATION.because(fault))
}

fn check_republish(config: &mut StreamConfig, around: &Surroundings<'_>) -> Result<(), Fault> {
    let Some(republish) = &mut config.republish else { return Ok(()) };
    if republish.source.is_empty() {
        if around.pedantic {
            return Err(pedantry("republish source can not be empty"));
        }
        republish.source = ">".into();
    }
    // All that is transformed may be republished under the name it was given.
    if let (Some(transform), [subject]) = (&config.subject_transform, &config.subjects[..])
        && republish.source == ">"
        && republish.destination == ">"
        && transform.source == *subject
    {
        if around.pedantic {
            return Err(pedantry("implicit republish based on subject transform"));
        }
        republish.source.clone_from(&transform.destination);
        republish.destination.clone_from(&transform.destination);
    }
    let destination = republish.destination.as_bytes();
    if config.subjects.iter().any(|subject| collide(destination, subject.as_bytes())) {
        return Err(invalid("stream configuration for republish destination forms a cycle"));
    }
    if Mapping::new(&republish.source, &republish.destination).is_err() {
        let (from, to) = (&republish.source, &republish.destination);
        return Err(invalid(format!(
            "stream configuration for republish with transform from '{from}' to '{to}' not valid"
        )));
    }
    Ok(())
}

/// May this stand in a configuration as a subject, wildcards included?
pub(crate) fn is_subject(subject: &str) -> bool {
    is_pattern(subject.as_bytes()) && !subject.contains(['\t', '\n', '\x0c', '\r', ' '])
}

/// Is this a subject without wildcards?
pub(crate) fn is_publishable(subject: &str) -> bool {
    is_subject(subject) && is_literal(subject.as_bytes())
}
