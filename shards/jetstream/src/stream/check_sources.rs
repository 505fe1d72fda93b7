//! What the configuration of a mirror or of sources may be (spec 6.9).

use std::collections::VecDeque;

use subjects::grammar::{collide, is_subset};
use subjects::transform::check_mapping;

use super::check::{Surroundings, invalid, is_asset_name, is_publishable, is_subject, pedantry};
use super::config::{External, Source, SourceConsumer, StreamConfig, Transform};
use crate::error::{Fault, table};

/// What the parts about other streams say about prefixes and subjects there.
#[derive(Default)]
struct Elsewhere {
    subjects: Vec<String>,
    deliver_prefixes: Vec<String>,
    api_prefixes: Vec<String>,
}

impl Elsewhere {
    fn add(&mut self, external: &External) {
        if !external.deliver.is_empty() {
            self.deliver_prefixes.push(external.deliver.clone());
        }
        if !external.api.is_empty() {
            self.api_prefixes.push(external.api.clone());
        }
    }
}

pub(super) fn check(config: &mut StreamConfig, around: &Surroundings<'_>) -> Result<(), Fault> {
    let mut elsewhere = Elsewhere::default();
    if config.mirror.is_some() {
        check_mirror(config, around, &mut elsewhere)?;
    }
    check_all_sources(config, around, &mut elsewhere)?;
    check_prefixes(&elsewhere)?;
    if has_cycle(config, around) { Err(invalid("detected cycle")) } else { Ok(()) }
}

fn check_mirror(
    config: &mut StreamConfig,
    around: &Surroundings<'_>,
    elsewhere: &mut Elsewhere,
) -> Result<(), Fault> {
    for (wrong, fault) in [
        (config.first_seq > 0, table::MIRROR_WITH_FIRST_SEQ),
        (!config.subjects.is_empty(), table::MIRROR_WITH_SUBJECTS),
        (!config.sources.is_empty(), table::MIRROR_WITH_SOURCES),
        (config.allow_msg_counter, table::MIRROR_WITH_COUNTERS),
        (config.allow_atomic, table::MIRROR_WITH_ATOMIC_PUBLISH),
        (config.allow_batched, table::MIRROR_WITH_BATCH_PUBLISH),
        (config.allow_msg_schedules, table::MIRROR_WITH_MSG_SCHEDULES),
    ] {
        if wrong {
            return Err(fault);
        }
    }
    let mirror = config.mirror.as_ref().expect("the caller looked");
    if let Some(consumer) = &mirror.consumer
        && !is_consumer_sound(consumer, mirror)
    {
        return Err(table::MIRROR_DURABLE_CONSUMER_CFG_INVALID);
    }
    if !mirror.filter.is_empty() && !mirror.transforms.is_empty() {
        return Err(table::MIRROR_MULTIPLE_FILTERS_NOT_ALLOWED);
    }
    if config.subject_delete_marker_ttl > 0 {
        return Err(invalid("subject delete markers forbidden on mirrors"));
    }
    check_mirror_transforms(&mirror.transforms)?;
    if let Some(external) = &mirror.external {
        elsewhere.add(external);
        return Ok(());
    }
    if !is_asset_name(&mirror.name) {
        return Err(table::MIRROR_INVALID_STREAM_NAME);
    }
    let Some(origin) = (around.find)(&mirror.name) else { return Ok(()) };
    elsewhere.subjects.extend(origin.subjects.iter().cloned());
    if is_too_small(config, origin) {
        return Err(table::MIRROR_MAX_MESSAGE_SIZE_TOO_BIG);
    }
    if around.pedantic && config.mirror_direct != origin.allow_direct {
        return Err(pedantry("origin stream has direct get set, mirror has it disabled"));
    }
    config.mirror_direct = origin.allow_direct;
    Ok(())
}

fn is_too_small(config: &StreamConfig, origin: &StreamConfig) -> bool {
    config.max_msg_size > 0 && origin.max_msg_size > 0 && config.max_msg_size < origin.max_msg_size
}

/// May a mirror or source use this consumer?
fn is_consumer_sound(consumer: &SourceConsumer, source: &Source) -> bool {
    is_asset_name(&consumer.name)
        && is_publishable(&consumer.deliver_subject)
        && source.start_sequence == 0
        && source.start_time.is_none()
        && source.filter.is_empty()
}

fn check_mirror_transforms(transforms: &[Transform]) -> Result<(), Fault> {
    for (place, transform) in transforms.iter().enumerate() {
        if !transform.source.is_empty() && !is_subject(&transform.source) {
            let cause = format!("invalid subject {}", transform.source);
            return Err(table::MIRROR_INVALID_SUBJECT_FILTER.because(cause));
        }
        check_mapping(&transform.source, &transform.destination)
            .map_err(|fault| table::MIRROR_INVALID_TRANSFORM_DESTINATION.because(fault))?;
        let overlaps =
            |other: &Transform| collide(transform.source.as_bytes(), other.source.as_bytes());
        let mut others = transforms.iter().enumerate().filter(|(other, _)| *other != place);
        if others.any(|(_, other)| overlaps(other)) {
            return Err(table::MIRROR_OVERLAPPING_SUBJECT_FILTERS);
        }
    }
    Ok(())
}

fn check_all_sources(
    config: &StreamConfig,
    around: &Surroundings<'_>,
    elsewhere: &mut Elsewhere,
) -> Result<(), Fault> {
    if !config.sources.is_empty() && config.allow_msg_schedules {
        return Err(table::SOURCE_WITH_MSG_SCHEDULES);
    }
    for (place, source) in config.sources.iter().enumerate() {
        if !is_asset_name(&source.name) {
            return Err(table::SOURCE_INVALID_STREAM_NAME);
        }
        if config.sources[..place].iter().any(|other| is_same_flow(other, source)) {
            return Err(table::SOURCE_DUPLICATE_DETECTED);
        }
        check_source(source)?;
        if source.consumer.is_some()
            && config.sources[..place].iter().any(|other| is_same_consumer(other, source))
        {
            return Err(table::SOURCE_DURABLE_CONSUMER_DUPLICATE_DETECTED);
        }
        if let Some(external) = &source.external {
            elsewhere.add(external);
        } else if let Some(origin) = (around.find)(&source.name) {
            elsewhere.subjects.extend(origin.subjects.iter().cloned());
            if is_too_small(config, origin) {
                return Err(table::SOURCE_MAX_MESSAGE_SIZE_TOO_BIG);
            }
        }
    }
    Ok(())
}

fn check_source(source: &Source) -> Result<(), Fault> {
    if !source.filter.is_empty() && !source.transforms.is_empty() {
        return Err(table::SOURCE_MULTIPLE_FILTERS_NOT_ALLOWED);
    }
    for transform in &source.transforms {
        if !transform.source.is_empty() && !is_subject(&transform.source) {
            let cause = format!("invalid subject {}", transform.source);
            return Err(table::SOURCE_INVALID_SUBJECT_FILTER.because(cause));
        }
        check_mapping(&transform.source, &transform.destination)
            .map_err(|fault| table::SOURCE_INVALID_TRANSFORM_DESTINATION.because(fault))?;
    }
    for (place, transform) in source.transforms.iter().enumerate() {
        let mut others = source.transforms.iter().enumerate().filter(|(other, _)| *other != place);
        let covers =
            |other: &Transform| is_subset(transform.source.as_bytes(), other.source.as_bytes());
        if others.any(|(_, other)| covers(other)) {
            return Err(table::SOURCE_OVERLAPPING_SUBJECT_FILTERS);
        }
    }
    if let Some(consumer) = &source.consumer
        && !is_consumer_sound(consumer, source)
    {
        return Err(table::SOURCE_DURABLE_CONSUMER_CFG_INVALID);
    }
    Ok(())
}

fn api_of(source: &Source) -> Option<&str> {
    source.external.as_ref().map(|external| external.api.as_str())
}

/// Do two sources take the same messages from the same stream?
fn is_same_flow(one: &Source, other: &Source) -> bool {
    let all = |subject: &str| if subject.is_empty() { String::from(">") } else { subject.into() };
    let subjects = |source: &Source| -> Vec<(String, String)> {
        if source.transforms.is_empty() {
            return vec![(all(&source.filter), String::from(">"))];
        }
        let transforms = source.transforms.iter();
        transforms.map(|each| (all(&each.source), all(&each.destination))).collect()
    };
    one.name == other.name && api_of(one) == api_of(other) && subjects(one) == subjects(other)
}

fn is_same_consumer(one: &Source, other: &Source) -> bool {
    let name = |source: &Source| source.consumer.as_ref().map(|consumer| consumer.name.clone());
    one.name == other.name && api_of(one) == api_of(other) && name(one) == name(other)
}

/// Filters of a mirror or source are looked at only when a stream is made.
pub(crate) fn check_filters(config: &StreamConfig) -> Result<(), Fault> {
    let refuse = |text: String| Err(table::STREAM_CREATE.because(text));
    let is_bad = |source: &Source| !source.filter.is_empty() && !is_subject(&source.filter);
    if let Some(mirror) = config.mirror.as_ref().filter(|mirror| is_bad(mirror)) {
        return refuse(format!(
            "subject filter '{}' for the mirror invalid subject",
            mirror.filter
        ));
    }
    match config.sources.iter().find(|source| is_bad(source)) {
        Some(source) => {
            refuse(format!("subject filter '{}' for the source: invalid subject", source.filter))
        }
        None => Ok(()),
    }
}

fn check_prefixes(elsewhere: &Elsewhere) -> Result<(), Fault> {
    for prefix in &elsewhere.deliver_prefixes {
        if !is_publishable(prefix) {
            return Err(table::STREAM_INVALID_EXTERNAL_DELIVERY_SUBJ.with("{prefix}", prefix));
        }
        for subject in &elsewhere.subjects {
            if collide(subject.as_bytes(), format!("{prefix}.{subject}").as_bytes()) {
                let fault = table::STREAM_EXTERNAL_DEL_PREFIX_OVERLAPS;
                return Err(fault.with("{prefix}", prefix).with("{subject}", subject));
            }
        }
    }
    for prefix in &elsewhere.api_prefixes {
        if !is_publishable(prefix) {
            let quoted = crate::json::go_quoted(prefix.as_bytes());
            return Err(invalid(format!(
                "stream external api prefix {quoted} must be a valid subject without wildcards"
            )));
        }
        if collide(prefix.as_bytes(), b"$JS.API") {
            let fault = table::STREAM_EXTERNAL_API_OVERLAP;
            return Err(fault.with("{prefix}", prefix).with("{subject}", "$JS.API"));
        }
    }
    Ok(())
}

/// Would a message come back to where it was stored first?
fn has_cycle(config: &StreamConfig, around: &Surroundings<'_>) -> bool {
    let mut visited: Vec<&str> = Vec::new();
    let mut open: VecDeque<&StreamConfig> = VecDeque::from([config]);
    while let Some(config) = open.pop_front() {
        visited.push(&config.name);
        let near = config.sources.iter().filter(|source| source.external.is_none());
        for source in near {
            let overlaps = source.filter.is_empty()
                || config
                    .subjects
                    .iter()
                    .any(|subject| collide(subject.as_bytes(), source.filter.as_bytes()));
            if !visited.contains(&source.name.as_str()) {
                open.extend((around.find)(&source.name));
            } else if overlaps {
                return true;
            }
        }
        if let Some(mirror) = config.mirror.as_ref().filter(|mirror| mirror.external.is_none()) {
            if visited.contains(&mirror.name.as_str()) {
                return true;
            }
            open.extend((around.find)(&mirror.name));
        }
    }
    false
}
