//! The reference's newer form of a snapshot: entries one behind the other, each with a name, a
//! time, a sequence, the bytes of a header block and of a payload, all numbers of variable length.
//! The first is the stream's state, then come consumers, then messages, whose names are their
//! subjects, and an empty entry at the end.

use super::state::{ConsumerState, Reader};
use crate::json::{self, Node, Value};

/// What such a snapshot begins with.
pub(crate) const MAGIC: &[u8] = b"NATSARC1";
/// Bytes of a name, and of a header block with its payload, at most.
const NAME_BYTES_MAX: u64 = 1 << 20;
const BODY_BYTES_MAX: u64 = 1 << 30;

/// An entry.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Entry<'a> {
    pub(crate) name: &'a [u8],
    pub(crate) wall: i64,
    pub(crate) sequence: u64,
    pub(crate) header: &'a [u8],
    pub(crate) payload: &'a [u8],
}

/// The entry at the start of `bytes`, and how many it takes; nothing if it is not all there yet.
///
/// # Errors
/// If it is none.
pub(crate) fn read(bytes: &[u8]) -> Result<Option<(Entry<'_>, usize)>, &'static str> {
    let mut reader = Reader(bytes);
    let mut number = || reader.number();
    let Some(name) = number() else { return Ok(None) };
    let Some(wall) = reader.signed() else { return Ok(None) };
    let mut number = || reader.number();
    let (Some(sequence), Some(header), Some(payload)) = (number(), number(), number()) else {
        return if bytes.len() > 64 { Err("archive: invalid archive stream") } else { Ok(None) };
    };
    let is_sound = name <= NAME_BYTES_MAX && header.saturating_add(payload) <= BODY_BYTES_MAX;
    if !is_sound {
        return Err("archive: invalid archive stream");
    }
    let body = reader.0;
    let (name_end, header_end) = (name as usize, (name + header) as usize);
    let end = (name + header + payload) as usize;
    let Some(whole) = body.get(..end) else { return Ok(None) };
    let entry = Entry {
        name: &whole[..name_end],
        wall,
        sequence,
        header: &whole[name_end..header_end],
        payload: &whole[header_end..],
    };
    Ok(Some((entry, bytes.len() - body.len() + end)))
}

impl Entry<'_> {
    /// Does it end the snapshot?
    pub(crate) fn is_end(&self) -> bool {
        self.name.is_empty() && self.sequence == 0 && self.payload.is_empty()
    }
}

fn field<'n, 'a>(node: &'n Node<'a>, name: &str) -> Option<&'n Node<'a>> {
    let Value::Object(fields) = &node.value else { return None };
    fields.iter().find(|(field, _)| field == name).map(|(_, node)| node)
}

fn number(node: Option<&Node<'_>>) -> u64 {
    match node.map(|node| &node.value) {
        Some(Value::Number(text)) => text.parse().unwrap_or(0),
        _ => 0,
    }
}

/// A consumer's configuration, in JSON, and its state.
///
/// # Errors
/// If there is no such thing in the entry.
pub(crate) fn read_consumer(payload: &[u8]) -> Result<(Vec<u8>, ConsumerState), String> {
    let node = json::read_whole(payload)?;
    let config = field(&node, "config").ok_or("missing config")?;
    let state = field(&node, "state").ok_or("missing state")?;
    let pair = |name: &str| {
        let pair = field(state, name);
        let of = |name: &str| number(pair.and_then(|pair| field(pair, name)));
        (of("consumer_seq"), of("stream_seq"))
    };
    let rows = |name: &str| match field(state, name).map(|node| &node.value) {
        Some(Value::Object(rows)) => &rows[..],
        _ => &[],
    };
    let sequence = |text: &str| text.parse::<u64>().map_err(|_| "invalid sequence".to_owned());
    let mut read = ConsumerState {
        floor: pair("ack_floor"),
        delivered: pair("delivered"),
        ..ConsumerState::default()
    };
    for (name, row) in rows("pending") {
        let since = number(field(row, "Timestamp")) as i64 / 1_000_000_000;
        read.pending.push((sequence(name)?, number(field(row, "Sequence")), since));
    }
    for (name, count) in rows("redelivered") {
        read.redelivered.push((sequence(name)?, number(Some(count))));
    }
    read.pending.sort_unstable();
    read.redelivered.sort_unstable();
    Ok((config.raw.to_vec(), read))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_read_once_they_are_whole() {
        let bytes = b"\x03\x02\x07\x02\x04abchhpayl rest";
        let expected =
            Entry { name: b"abc", wall: 1, sequence: 7, header: b"hh", payload: b"payl" };
        let whole = bytes.len() - b" rest".len();
        assert_eq!(read(bytes), Ok(Some((expected, whole))));
        for cut in 0..whole {
            assert_eq!(read(&bytes[..cut]), Ok(None));
        }
        let (end, _) = read(&[0; 5]).expect("it is sound").expect("it is whole");
        assert!(end.is_end());
        assert!(read(b"\xff\xff\xff\x7f\x00\x00\x00\x00").is_err());
    }

    #[test]
    fn consumers_have_a_configuration_and_a_state() {
        let text = br#"{"config":{"name":"C"},"state":{"delivered":{"consumer_seq":5,
            "stream_seq":9},"ack_floor":{"consumer_seq":2,"stream_seq":3},
            "pending":{"8":{"Sequence":4,"Timestamp":2000000000}},"redelivered":{"8":2}}}"#;
        let (config, state) = read_consumer(text).expect("it is sound");
        assert_eq!(config, br#"{"name":"C"}"#);
        let expected = ConsumerState {
            floor: (2, 3),
            delivered: (5, 9),
            pending: vec![(8, 4, 2)],
            redelivered: vec![(8, 2)],
        };
        assert_eq!(state, expected);
        assert!(read_consumer(b"{}").is_err());
    }
}
