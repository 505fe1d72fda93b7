//! Consumers in snapshots of their stream.

use base::{Time, Wall};
use storage::{LogId, Store};

use super::{
    Consumers,
    config::{AckPolicy, ConsumerConfig},
    cursor::{Consumer, Pair},
    ledger::Entry,
    notes::PREFIX,
    state::{Place, State},
};
use crate::backup::state::ConsumerState;
use crate::json::{self, Decoder, Value};
use crate::stamp::Stamp;

const SECOND: i64 = 1_000_000_000;

/// A consumer as a snapshot holds it.
#[derive(Debug)]
pub(crate) struct Copy {
    pub(crate) name: String,
    pub(crate) created: Wall,
    /// Its configuration, in JSON.
    pub(crate) config: Vec<u8>,
    pub(crate) state: ConsumerState,
}

impl Consumers {
    /// Every consumer that outlives its clients.
    pub(crate) fn copies(&self, now: Wall) -> Vec<Copy> {
        let kept = self.all().filter(|consumer| !consumer.config.direct);
        kept.map(|consumer| copy_of(consumer, now)).collect()
    }
}

fn copy_of(consumer: &Consumer, now: Wall) -> Copy {
    let mut config = Vec::new();
    consumer.config.put(&mut config, None);
    let place = consumer.place();
    let pair = |pair: Pair| (pair.number, pair.sequence);
    let entries = || consumer.ledger.iter();
    // The floor that the format counts from is never above what is outstanding.
    let floor = pair(place.floor);
    let lowest = entries().map(|entry| entry.sequence).min().unwrap_or(u64::MAX);
    let first = entries().map(|entry| entry.number).min().unwrap_or(u64::MAX);
    let floor = (floor.0.min(first.saturating_sub(1)), floor.1.min(lowest.saturating_sub(1)));
    let pending = entries().map(|entry| (entry.sequence, entry.number, now.0 / SECOND));
    let redelivered = entries().filter(|entry| entry.deliveries > 1);
    let redelivered = redelivered.map(|entry| (entry.sequence, u64::from(entry.deliveries - 1)));
    Copy {
        name: consumer.name.clone(),
        created: consumer.created,
        config,
        state: ConsumerState {
            floor,
            delivered: pair(place.delivered),
            pending: pending.collect(),
            redelivered: redelivered.collect(),
        },
    }
}

/// Writes the notes of a consumer that was in a snapshot, to be recovered with its stream.
///
/// # Errors
/// If its configuration makes no sense.
pub(crate) fn put_notes(
    store: &mut Store,
    log: LogId,
    (name, text): (&str, &[u8]),
    state: &ConsumerState,
    now: Wall,
) -> Result<(), String> {
    let (config, created) = read_config(text)?;
    let key = [PREFIX, name.as_bytes()].concat();
    let mut value = created.unwrap_or(now).0.to_le_bytes().to_vec();
    config.put(&mut value, None);
    store.put_note(log, &key, &value);
    let pair = |(number, sequence): (u64, u64)| Pair { number, sequence };
    let count = |sequence: u64| {
        let found = state.redelivered.iter().find(|(of, _)| *of == sequence);
        found.map_or(1, |(_, count)| u32::try_from(count + 1).unwrap_or(u32::MAX))
    };
    let is_explicit = config.ack_policy != AckPolicy::None;
    let pending = state.pending.iter().filter(|_| is_explicit);
    let entries = pending.map(|(sequence, number, _)| Entry {
        sequence: *sequence,
        number: *number,
        since: Time(0),
        deliveries: count(*sequence),
    });
    let whole = State {
        generation: 1,
        wall: now,
        place: Place {
            next: state.delivered.1 + 1,
            delivered: pair(state.delivered),
            floor: pair(state.floor),
            until: 0,
        },
        entries: entries.collect(),
        given_up: Vec::new(),
    };
    let mut value = Vec::new();
    whole.put(&mut value);
    store.put_note(log, &[&key[..], b"/s"].concat(), &value);
    Ok(())
}

fn read_config(text: &[u8]) -> Result<(ConsumerConfig, Option<Wall>), String> {
    let node = json::read_whole(text)?;
    let mut config = ConsumerConfig::default();
    let mut decoder = Decoder::new("ConsumerConfig", false);
    config.read(&mut decoder, &node);
    decoder.finish()?;
    let created = match &node.value {
        Value::Object(fields) => fields.iter().find_map(|(name, node)| match &node.value {
            Value::Text(text) if name == "Created" => Stamp::parse(text).ok(),
            _ => None,
        }),
        _ => None,
    };
    Ok((config, created.filter(|stamp| !stamp.is_zero()).map(Stamp::wall)))
}
