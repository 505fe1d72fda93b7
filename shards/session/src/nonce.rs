//! What INFO asks to be signed.

use base::ConnectionId;
use sha2::{Digest as _, Sha256};

/// Bytes of a nonce, before they are written as text.
const BYTES: usize = 11;

/// The nonce of a connection: 15 letters that nobody can foresee who does not know the key, and
/// that no other connection of this server gets.
pub fn nonce(key: &[u8; 32], id: ConnectionId) -> String {
    let mut hash = Sha256::new();
    hash.update(key);
    hash.update(id.0.to_le_bytes());
    let hash = hash.finalize();
    encode_url_base64(&hash[..BYTES])
}

/// Base64 with the alphabet for URLs, without padding.
pub fn encode_url_base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let bits = group.iter().fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte));
        let bits = bits << (8 * (3 - group.len()));
        for place in 0..=group.len() {
            text.push(char::from(LETTERS[(bits >> (18 - 6 * place)) as usize & 63]));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nonces_differ_and_have_fifteen_letters() {
        let key = [7; 32];
        let one = nonce(&key, ConnectionId(1));
        assert_eq!(one.len(), 15);
        assert_eq!(one, nonce(&key, ConnectionId(1)));
        assert_ne!(one, nonce(&key, ConnectionId(2)));
        assert_ne!(one, nonce(&[8; 32], ConnectionId(1)));
    }

    #[test]
    fn base64() {
        for (bytes, text) in
            [(&b""[..], ""), (b"f", "Zg"), (b"fo", "Zm8"), (b"foo", "Zm9v"), (b"\xff\xfe", "__4")]
        {
            assert_eq!(encode_url_base64(bytes), text);
            assert_eq!(crate::admission::decode_url_base64(text).as_deref(), Some(bytes));
        }
    }
}
