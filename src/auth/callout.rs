//! Questions about who may come in: signed with the server's key, and sealed if that is asked for.

use std::fmt::Write as _;

use nkeys::{KeyPair, XKey};
use sha2::{Digest as _, Sha512_256};
use shard::{Composed, Inquiry};

/// The header that names the key under which a sealed answer is expected.
const XKEY_HEADER: &str = "Nats-Server-Xkey";

/// The server's private keys, new at every start.
#[derive(Clone)]
pub(crate) struct Keys {
    server: String,
    curve: String,
}

impl Keys {
    pub(crate) fn new() -> Self {
        let seed = "a fresh key has a seed";
        Self {
            server: KeyPair::new_server().seed().expect(seed),
            curve: XKey::new().seed().expect(seed),
        }
    }

    fn server(&self) -> KeyPair {
        KeyPair::from_seed(&self.server).expect("it was made from a key")
    }

    fn curve(&self) -> XKey {
        XKey::from_seed(&self.curve).expect("it was made from a key")
    }

    /// The public keys: `N…`, `X…`.
    pub(crate) fn public(&self) -> (String, String) {
        (self.server().public_key(), self.curve().public_key())
    }
}

/// Writes questions and opens answers.
pub(super) struct Scribe {
    server: KeyPair,
    curve: XKey,
}

impl Scribe {
    pub(super) fn new(keys: &Keys) -> Self {
        Self { server: keys.server(), curve: keys.curve() }
    }

    /// The token that asks, for a user whose key is made for it. `None` if it cannot be sealed for
    /// the key that is configured.
    pub(super) fn compose(&self, inquiry: &Inquiry) -> Option<Composed> {
        let user_key = KeyPair::new_user().public_key();
        let id = base32(&Sha512_256::digest(inquiry.claims(&user_key, "")));
        let header = base::base64::encode_url(br#"{"typ":"JWT","alg":"ed25519-nkey"}"#);
        let claims = base::base64::encode_url(inquiry.claims(&user_key, &id).as_bytes());
        let mut token = format!("{header}.{claims}");
        let signature = self.server.sign(token.as_bytes()).ok()?;
        token.push('.');
        token.push_str(&base::base64::encode_url(&signature));
        let xkey = &inquiry.referral.xkey;
        if xkey.is_empty() {
            return Some(Composed { user_key, header: Vec::new(), payload: token.into_bytes() });
        }
        let recipient = XKey::from_public_key(xkey).ok()?;
        let payload = self.curve.seal(token.as_bytes(), &recipient).ok()?;
        let own = self.curve.public_key();
        let header = format!("NATS/1.0\r\n{XKEY_HEADER}: {own}\r\n\r\n").into_bytes();
        Some(Composed { user_key, header, payload })
    }

    /// What was sealed for this server by the owner of a curve key.
    pub(super) fn unseal(&self, sealed: &[u8], by: &str) -> Option<Vec<u8>> {
        self.curve.open(sealed, &XKey::from_public_key(by).ok()?).ok()
    }
}

/// Base32 without padding, as identifiers of tokens are written.
fn base32(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    let mut text = String::with_capacity(bytes.len() * 8 / 5 + 1);
    for group in bytes.chunks(5) {
        let mut bits = 0_u64;
        for place in 0..5 {
            bits = bits << 8 | u64::from(group.get(place).copied().unwrap_or(0));
        }
        for place in 0..(group.len() * 8).div_ceil(5) {
            let value = (bits >> (35 - 5 * place)) as usize & 31;
            let _ = write!(text, "{}", char::from(LETTERS[value]));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use shard::Referral;

    use super::*;

    #[test]
    fn identifiers_are_written_in_base_32() {
        for (bytes, text) in [
            (&b""[..], ""),
            (b"f", "MY"),
            (b"fo", "MZXQ"),
            (b"foo", "MZXW6"),
            (b"foob", "MZXW6YQ"),
            (b"fooba", "MZXW6YTB"),
            (b"foobar", "MZXW6YTBOI"),
        ] {
            assert_eq!(base32(bytes), text);
        }
    }

    #[test]
    fn what_is_sealed_can_be_read_by_the_service_and_answered_under_a_seal() {
        let keys = Keys::new();
        let scribe = Scribe::new(&keys);
        let service = XKey::new();
        let (server_id, curve) = keys.public();
        let mut inquiry = Inquiry {
            referral: Referral { xkey: service.public_key(), ..Referral::default() },
            server_id: server_id.clone(),
            ..Inquiry::default()
        };
        let sealed = scribe.compose(&inquiry).expect("the key is one");
        let server = XKey::from_public_key(&curve).expect("its own key");
        let token = service.open(&sealed.payload, &server).expect("it was sealed for this key");
        assert!(token.starts_with(b"eyJ"));
        assert!(String::from_utf8_lossy(&sealed.header).contains(&curve));
        let answer = service.seal(b"yes", &server).expect("the server's key is one");
        assert_eq!(scribe.unseal(&answer, &service.public_key()).as_deref(), Some(&b"yes"[..]));
        assert_eq!(scribe.unseal(&answer, &curve), None);
        assert_eq!(scribe.unseal(b"", &service.public_key()), None);
        assert_eq!(scribe.unseal(b"yes", &service.public_key()), None);

        inquiry.referral.xkey.clear();
        let plain = scribe.compose(&inquiry).expect("nothing is to be sealed");
        assert!(plain.header.is_empty());
        let text = String::from_utf8(plain.payload).expect("a token is text");
        let (signed, signature) = text.rsplit_once('.').expect("a token has three parts");
        let signature = base::base64::decode_url(signature).expect("it is written in base 64");
        let key = KeyPair::from_public_key(&server_id).expect("its own key");
        key.verify(signed.as_bytes(), &signature).expect("the server has signed");
        inquiry.referral.xkey = "X".into();
        assert_eq!(scribe.compose(&inquiry), None);
    }
}
