//! Encryption at rest: what a store writes is sealed by an AEAD, under keys that are derived from
//! one data key (docs/STORAGE.md).
//!
//! No nonce is ever used twice under a key: each opening of the store has a salt of its own, from
//! which its keys are derived, and within one opening every block of the journal and every byte of
//! every segment is numbered once. So even a store that was put back from a copy and goes on
//! differently gives nothing away.

use std::collections::HashMap;

use ahash::RandomState;
use aws_lc_rs::aead::{AES_256_GCM, Aad, Algorithm, CHACHA20_POLY1305, LessSafeKey, Nonce};
use aws_lc_rs::{aead, hkdf};

/// Bytes of a key, whichever the cipher.
pub const KEY_BYTES: usize = 32;
/// Bytes that an opening's keys are derived with.
pub const SALT_BYTES: usize = 16;
/// Bytes that vouch for what was sealed.
pub(crate) const TAG_BYTES: usize = 16;
/// Bytes that tell one thing sealed under a key from all others.
pub(crate) const NONCE_BYTES: usize = 12;

/// How what is written is encrypted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Cipher {
    /// ChaCha20-Poly1305 (RFC 8439).
    #[default]
    ChaCha,
    /// AES-256-GCM (NIST SP 800-38D).
    Aes,
}

impl Cipher {
    pub(crate) fn algorithm(self) -> &'static Algorithm {
        match self {
            Self::ChaCha => &CHACHA20_POLY1305,
            Self::Aes => &AES_256_GCM,
        }
    }

    /// As it stands in files, where zero stands for none.
    pub(crate) fn to_byte(self) -> u8 {
        match self {
            Self::ChaCha => 1,
            Self::Aes => 2,
        }
    }

    pub(crate) fn of_byte(byte: u8) -> Option<Self> {
        match byte {
            1 => Some(Self::ChaCha),
            2 => Some(Self::Aes),
            _ => None,
        }
    }
}

/// With what a store is encrypted, for one opening.
#[derive(Clone)]
pub struct Encryption {
    /// The data key, as [`crate::unlock`] gives it.
    pub data_key: [u8; KEY_BYTES],
    /// How what is written from now on is encrypted.
    pub cipher: Cipher,
    /// Drawn anew, at random, each time the store is opened.
    pub salt: [u8; SALT_BYTES],
}

impl std::fmt::Debug for Encryption {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Encryption").field("cipher", &self.cipher).finish_non_exhaustive()
    }
}

/// What a key is for: no two kinds of files share one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Purpose {
    Journal,
    Segment,
}

/// How something was sealed: by which cipher, and the salt of the opening that did it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Seal {
    pub(crate) cipher: Cipher,
    pub(crate) salt: [u8; SALT_BYTES],
}

/// Seals what this opening writes.
#[derive(Debug)]
pub(crate) struct Sealer {
    pub(crate) seal: Seal,
    key: LessSafeKey,
}

impl Sealer {
    pub(crate) fn new(encryption: &Encryption, purpose: Purpose) -> Self {
        let seal = Seal { cipher: encryption.cipher, salt: encryption.salt };
        Self { seal, key: derive(&encryption.data_key, purpose, seal) }
    }

    /// Encrypts in place. The tag covers `about` as well, which is not encrypted.
    pub(crate) fn seal(
        &self,
        nonce: [u8; NONCE_BYTES],
        about: &[u8],
        bytes: &mut [u8],
    ) -> [u8; TAG_BYTES] {
        let nonce = Nonce::assume_unique_for_key(nonce);
        let tag = self.key.seal_in_place_separate_tag(nonce, Aad::from(about), bytes);
        let tag = tag.expect("what is sealed is far below the cipher's limit");
        *tag.as_ref().first_chunk().expect("a tag has 16 bytes")
    }
}

/// Opens what this or an earlier opening has sealed.
#[derive(Debug)]
pub(crate) struct Vault {
    data_key: Option<[u8; KEY_BYTES]>,
    keys: HashMap<(Purpose, Seal), LessSafeKey, RandomState>,
}

impl Default for Vault {
    fn default() -> Self {
        Self::new(None)
    }
}

impl Vault {
    pub(crate) fn new(encryption: Option<&Encryption>) -> Self {
        let data_key = encryption.map(|encryption| encryption.data_key);
        let hasher = RandomState::with_seeds(11, 12, 13, 14);
        Self { data_key, keys: HashMap::with_hasher(hasher) }
    }

    /// Decrypts in place what [`Sealer::seal`] has made, with the tag behind it. False if there is
    /// no key, or another; the bytes are of no use then.
    pub(crate) fn open(
        &mut self,
        (purpose, seal): (Purpose, Seal),
        nonce: [u8; NONCE_BYTES],
        about: &[u8],
        bytes: &mut [u8],
    ) -> bool {
        let Some(data_key) = &self.data_key else { return false };
        let key =
            self.keys.entry((purpose, seal)).or_insert_with(|| derive(data_key, purpose, seal));
        let nonce = Nonce::assume_unique_for_key(nonce);
        key.open_in_place(nonce, Aad::from(about), bytes).is_ok()
    }
}

/// The key of one opening and purpose, by HKDF with SHA-256 (RFC 5869).
fn derive(data_key: &[u8; KEY_BYTES], purpose: Purpose, seal: Seal) -> LessSafeKey {
    let about: &[u8] = match purpose {
        Purpose::Journal => b"pinion journal",
        Purpose::Segment => b"pinion segment",
    };
    let derived = hkdf::Salt::new(hkdf::HKDF_SHA256, &seal.salt).extract(data_key);
    let about = [about, &[seal.cipher.to_byte()]];
    let algorithm = seal.cipher.algorithm();
    let key = derived.expand(&about, algorithm).expect("a key is shorter than HKDF can give");
    LessSafeKey::new(aead::UnboundKey::from(key))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encryption(cipher: Cipher, key: u8, salt: u8) -> Encryption {
        Encryption { data_key: [key; KEY_BYTES], cipher, salt: [salt; SALT_BYTES] }
    }

    #[test]
    fn only_the_same_key_salt_purpose_nonce_and_surroundings_open() {
        for cipher in [Cipher::ChaCha, Cipher::Aes] {
            let sealer = Sealer::new(&encryption(cipher, 1, 2), Purpose::Journal);
            let mut bytes = b"what nobody is to read".to_vec();
            let tag = sealer.seal([3; NONCE_BYTES], b"about", &mut bytes);
            bytes.extend_from_slice(&tag);
            assert!(!bytes.windows(6).any(|window| window == b"nobody"));
            let open = |key: u8, salt: u8, purpose, nonce: u8, about: &[u8]| {
                let encryption = encryption(cipher, key, salt);
                let seal = Seal { cipher, salt: encryption.salt };
                let mut vault = Vault::new(Some(&encryption));
                let mut bytes = bytes.clone();
                let opens = vault.open((purpose, seal), [nonce; NONCE_BYTES], about, &mut bytes);
                opens && bytes.starts_with(b"what nobody is to read")
            };
            assert!(open(1, 2, Purpose::Journal, 3, b"about"));
            assert!(!open(9, 2, Purpose::Journal, 3, b"about"));
            assert!(!open(1, 9, Purpose::Journal, 3, b"about"));
            assert!(!open(1, 2, Purpose::Segment, 3, b"about"));
            assert!(!open(1, 2, Purpose::Journal, 9, b"about"));
            assert!(!open(1, 2, Purpose::Journal, 3, b"aloof"));
        }
    }

    #[test]
    fn a_key_is_never_shown() {
        let shown = format!("{:?}", encryption(Cipher::Aes, 171, 2));
        assert!(shown.contains("Aes") && !shown.contains("171"), "{shown}");
    }
}
