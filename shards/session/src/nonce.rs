//! What INFO asks to be signed.

use base::{ConnectionId, base64};
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
    base64::encode_url(&hash[..BYTES])
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
}
