//! Whether a text is a public key in the NATS form: base 32 over a kind, 32 bytes and a checksum.

/// What a key belongs to; the value is the first byte, which also gives the first letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Account = 0,
    Operator = 14 << 3,
    User = 20 << 3,
    Curve = 23 << 3,
}

/// Bytes of a decoded key: the kind, the key, the checksum.
const DECODED: usize = 1 + 32 + 2;

/// Whether `text` is a public key of this kind.
pub(super) fn is_public(text: &str, kind: Kind) -> bool {
    public_kind(text) == Some(kind as u8)
}

/// Whether `text` is a public key of any kind.
pub(super) fn is_any_public(text: &str) -> bool {
    const SERVER: u8 = 13 << 3;
    const CLUSTER: u8 = 2 << 3;
    let kinds = [Kind::Account as u8, Kind::Operator as u8, Kind::User as u8, Kind::Curve as u8];
    public_kind(text).is_some_and(|kind| kinds.contains(&kind) || kind == SERVER || kind == CLUSTER)
}

/// Whether `text` is the seed of a user: `SU…`.
pub(super) fn is_user_seed(text: &str) -> bool {
    text.starts_with("SU") && decode(text).is_some_and(|bytes| bytes.len() == DECODED + 1)
}

fn public_kind(text: &str) -> Option<u8> {
    let bytes = decode(text)?;
    if bytes.len() == DECODED { bytes.first().copied() } else { None }
}

/// The bytes, if their checksum is right.
fn decode(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(DECODED + 1);
    let (mut bits, mut count) = (0u32, 0);
    for letter in text.bytes() {
        let value = match letter {
            b'A'..=b'Z' => letter - b'A',
            b'2'..=b'7' => letter - b'2' + 26,
            _ => return None,
        };
        bits = bits << 5 | u32::from(value);
        count += 5;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count) as u8);
            bits &= (1 << count) - 1;
        }
    }
    let (body, checksum) = bytes.split_last_chunk::<2>()?;
    (crc16(body) == u16::from_le_bytes(*checksum)).then_some(bytes)
}

/// CRC-16 as in XMODEM.
fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc, byte| {
        (0..8).fold(crc ^ u16::from(*byte) << 8, |crc, _| {
            if crc & 0x8000 == 0 { crc << 1 } else { crc << 1 ^ 0x1021 }
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_told_apart() {
        let user = "UCARKS2E3KVB7YORL2DG34XLT7PUCOL2SVM7YXV6ETHLW6Z46UUJ2VZ3";
        assert!(is_public(user, Kind::User));
        assert!(is_any_public(user));
        assert!(!is_public(user, Kind::Account));
        assert!(!is_public("UCARKS2E3KVB7YORL2DG34XLT7PUCOL2SVM7YXV6ETHLW6Z46UUJ2VZ4", Kind::User));
        assert!(!is_public("U", Kind::User));
        assert!(!is_user_seed(user));
    }
}
