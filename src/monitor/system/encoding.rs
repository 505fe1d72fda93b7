//! Messages that are packed because someone asked for it.

use std::io::Write as _;

/// The header block and the payload of a message that may be packed.
pub(super) fn pack(encoding: Option<Encoding>, message: Vec<u8>) -> (Vec<u8>, Vec<u8>) {
    let Some(encoding) = encoding else { return (Vec::new(), message) };
    let header = format!("NATS/1.0\r\nContent-Encoding: {}\r\n\r\n", encoding.name());
    (header.into_bytes(), encoding.encode(message))
}

/// How an answer is packed.
#[derive(Clone, Copy)]
pub(super) enum Encoding {
    Snappy,
    Gzip,
    /// In a way that was not asked for: not at all.
    Identity,
}

impl Encoding {
    /// What the header of a request asks for.
    pub(super) fn asked(header: &[u8]) -> Option<Self> {
        let header = String::from_utf8_lossy(header).to_lowercase();
        let value = header.lines().find_map(|line| line.strip_prefix("accept-encoding:"))?;
        Some(if value.contains("snappy") || value.contains("s2") {
            Self::Snappy
        } else if value.contains("gzip") {
            Self::Gzip
        } else {
            Self::Identity
        })
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Snappy => "snappy",
            Self::Gzip => "gzip",
            Self::Identity => "identity",
        }
    }

    fn encode(self, message: Vec<u8>) -> Vec<u8> {
        const REASON: &str = "memory takes what is written to it";
        match self {
            Self::Identity => message,
            Self::Snappy => {
                let mut encoder = snap::write::FrameEncoder::new(Vec::new());
                encoder.write_all(&message).expect(REASON);
                encoder.into_inner().expect(REASON)
            }
            Self::Gzip => {
                let level = flate2::Compression::default();
                let mut encoder = flate2::write::GzEncoder::new(Vec::new(), level);
                encoder.write_all(&message).expect(REASON);
                encoder.finish().expect(REASON)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encodings_are_asked_for_in_any_case() {
        let asked = |text: &str| Encoding::asked(text.as_bytes()).map(Encoding::name);
        assert_eq!(asked("NATS/1.0\r\nAccept-Encoding: Snappy\r\n\r\n"), Some("snappy"));
        assert_eq!(asked("NATS/1.0\r\naccept-encoding: gzip, br\r\n\r\n"), Some("gzip"));
        assert_eq!(asked("NATS/1.0\r\nAccept-Encoding: br\r\n\r\n"), Some("identity"));
        assert_eq!(asked(""), None);
    }
}
