//! Header lines that consumers look at.

use super::config_json::API_LEVEL;

/// The value of a header line; nothing without one.
pub(crate) fn value_of<'h>(block: &'h [u8], name: &str) -> Option<&'h [u8]> {
    let mut lines = block.split(|byte| *byte == b'\n').skip(1);
    lines.find_map(|line| {
        let value = line.strip_prefix(name.as_bytes())?.strip_prefix(b":")?;
        Some(value.trim_ascii())
    })
}

/// The value of a header line as a number.
pub(crate) fn number_in(block: &[u8], name: &str) -> Option<u64> {
    std::str::from_utf8(value_of(block, name)?).ok()?.parse().ok()
}

/// Does a request need more than this server has?
pub(crate) fn needs_higher_level(block: &[u8]) -> bool {
    let Some(wanted) = value_of(block, "Nats-Required-Api-Level") else { return false };
    let level = std::str::from_utf8(wanted).ok().and_then(|wanted| wanted.parse::<i64>().ok());
    !wanted.is_empty() && level.is_none_or(|level| level > i64::from(API_LEVEL))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_found_by_their_whole_name() {
        let block = b"NATS/1.0\r\nNats-Last-Streams: 3\r\nNats-Last-Stream: 42\r\n\r\n";
        assert_eq!(number_in(block, "Nats-Last-Stream"), Some(42));
        assert_eq!(number_in(block, "Nats-Last"), None);
        for (level, expected) in [("1", false), ("5", false), ("6", true), ("x", true)] {
            let block = format!("NATS/1.0\r\nNats-Required-Api-Level: {level}\r\n\r\n");
            assert_eq!(needs_higher_level(block.as_bytes()), expected, "{level}");
        }
    }
}
