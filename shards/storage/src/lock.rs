//! The key file: the data key of a store, locked with the configured key (docs/STORAGE.md).
//!
//! The data key is drawn once and never changes, so that another configured key asks for this file
//! to be written anew and for nothing else. Two copies of it stand in the store.

use std::num::NonZeroU32;

use aws_lc_rs::aead::{self, Aad, LessSafeKey, Nonce};
use aws_lc_rs::pbkdf2;
use xxhash_rust::xxh3::xxh3_64;

use crate::bytes::{Put, Take};
use crate::vault::{Cipher, KEY_BYTES, NONCE_BYTES, SALT_BYTES, TAG_BYTES};

/// `pky` and the version of the format.
const MAGIC: u32 = u32::from_le_bytes(*b"pky\x01");
/// Bytes of the file in front of the locked key.
const HEAD_BYTES: usize = 12 + SALT_BYTES + NONCE_BYTES;
/// Bytes of the file.
const FILE_BYTES: usize = HEAD_BYTES + KEY_BYTES + TAG_BYTES + 8;
/// Rounds of PBKDF2 with HMAC-SHA-256, as OWASP's cheat sheet for stored passwords asks for: a key
/// in a configuration may be a word that somebody chose. A quarter of a second, once at start.
pub const LOCK_ROUNDS: u32 = 600_000;
/// A file that asks for more is not one of ours.
const LOCK_ROUNDS_MAX: u32 = 100_000_000;

/// What the configuration says.
#[derive(Clone, Copy)]
pub struct Secrets<'a> {
    /// The key.
    pub current: &'a [u8],
    /// The key before, with which a store may still be locked.
    pub previous: Option<&'a [u8]>,
    /// How keys are locked from now on.
    pub cipher: Cipher,
    /// Rounds of the derivation from now on: [`LOCK_ROUNDS`].
    pub rounds: u32,
}

impl std::fmt::Debug for Secrets<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Secrets").field("cipher", &self.cipher).finish_non_exhaustive()
    }
}

/// Random bytes for a key file.
#[derive(Clone, Copy)]
pub struct Draw {
    /// The data key, where there is none yet.
    pub data_key: [u8; KEY_BYTES],
    /// What the configured key is derived with.
    pub salt: [u8; SALT_BYTES],
    /// What the data key is locked with.
    pub nonce: [u8; NONCE_BYTES],
}

/// A data key.
pub struct Unlocked {
    /// The key.
    pub data_key: [u8; KEY_BYTES],
    /// The key file as it is to stand in both copies from now on, where it does not.
    pub file: Option<Vec<u8>>,
    /// Was it locked with the previous key?
    pub is_rotated: bool,
    /// Was there no key file?
    pub is_new: bool,
}

impl std::fmt::Debug for Unlocked {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut shown = formatter.debug_struct("Unlocked");
        shown.field("is_rotated", &self.is_rotated).field("is_new", &self.is_new);
        shown.finish_non_exhaustive()
    }
}

/// Why a store cannot be unlocked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LockFailure {
    /// Neither the key nor the previous one opens it.
    WrongKey,
    /// There are key files, and none is whole.
    Damaged,
}

/// The data key of a store whose key files hold `copies`, as far as there are any.
///
/// # Errors
/// See [`LockFailure`]. Nothing may be written to the store then.
pub fn unlock(
    copies: &[Option<Vec<u8>>],
    secrets: &Secrets<'_>,
    draw: &Draw,
) -> Result<Unlocked, LockFailure> {
    let there = || copies.iter().flatten();
    if there().next().is_none() {
        let file = lock(&draw.data_key, secrets, draw);
        let data_key = draw.data_key;
        return Ok(Unlocked { data_key, file: Some(file), is_rotated: false, is_new: true });
    }
    let mut failure = LockFailure::Damaged;
    for (place, copy) in there().enumerate() {
        // Copies are the same but in the middle of being written anew.
        if there().take(place).any(|before| before == copy) {
            continue;
        }
        let Some(locked) = Locked::read(copy) else { continue };
        failure = LockFailure::WrongKey;
        if let Some(data_key) = locked.open(secrets.current) {
            let is_everywhere = copies.iter().all(|other| other.as_ref() == Some(copy));
            let file = (!is_everywhere).then(|| copy.clone());
            return Ok(Unlocked { data_key, file, is_rotated: false, is_new: false });
        }
        if let Some(data_key) = secrets.previous.and_then(|previous| locked.open(previous)) {
            let file = Some(lock(&data_key, secrets, draw));
            return Ok(Unlocked { data_key, file, is_rotated: true, is_new: false });
        }
    }
    Err(failure)
}

/// A key file as it was read.
struct Locked<'a> {
    cipher: Cipher,
    rounds: u32,
    salt: &'a [u8],
    nonce: [u8; NONCE_BYTES],
    head: &'a [u8],
    key: &'a [u8],
}

impl<'a> Locked<'a> {
    fn read(file: &'a [u8]) -> Option<Self> {
        let (head, locked) = file.get(..FILE_BYTES)?.split_at(HEAD_BYTES);
        let (key, sum) = locked.split_at(KEY_BYTES + TAG_BYTES);
        let mut from = Take(head);
        let magic = from.u32()?;
        let cipher = Cipher::of_byte(from.u8()?)?;
        from.bytes(3)?;
        let rounds = from.u32()?;
        let salt = from.bytes(SALT_BYTES)?;
        let nonce = *from.bytes(NONCE_BYTES)?.first_chunk()?;
        let is_whole = Take(sum).u64()? == xxh3_64(&file[..FILE_BYTES - 8]);
        let is_ours = magic == MAGIC && (1..=LOCK_ROUNDS_MAX).contains(&rounds);
        (is_whole && is_ours).then_some(Self { cipher, rounds, salt, nonce, head, key })
    }

    fn open(&self, secret: &[u8]) -> Option<[u8; KEY_BYTES]> {
        let key = derive(secret, self.salt, self.rounds, self.cipher);
        let mut bytes = self.key.to_vec();
        let nonce = Nonce::assume_unique_for_key(self.nonce);
        let opened = key.open_in_place(nonce, Aad::from(self.head), &mut bytes).ok()?;
        opened.first_chunk().copied()
    }
}

/// A key file.
fn lock(data_key: &[u8; KEY_BYTES], secrets: &Secrets<'_>, draw: &Draw) -> Vec<u8> {
    let mut file = Vec::with_capacity(FILE_BYTES);
    file.put_u32(MAGIC);
    file.put_u8(secrets.cipher.to_byte());
    file.extend_from_slice(&[0; 3]);
    file.put_u32(secrets.rounds);
    file.extend_from_slice(&draw.salt);
    file.extend_from_slice(&draw.nonce);
    assert_eq!(file.len(), HEAD_BYTES);
    let key = derive(secrets.current, &draw.salt, secrets.rounds, secrets.cipher);
    let mut locked = *data_key;
    let nonce = Nonce::assume_unique_for_key(draw.nonce);
    let tag = key.seal_in_place_separate_tag(nonce, Aad::from(&file), &mut locked);
    file.extend_from_slice(&locked);
    file.extend_from_slice(tag.expect("a key is short").as_ref());
    file.put_u64(xxh3_64(&file));
    assert_eq!(file.len(), FILE_BYTES);
    file
}

fn derive(secret: &[u8], salt: &[u8], rounds: u32, cipher: Cipher) -> LessSafeKey {
    let mut key = [0; KEY_BYTES];
    let rounds = NonZeroU32::new(rounds).expect("a key is derived in at least one round");
    pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, rounds, salt, secret, &mut key);
    let key = aead::UnboundKey::new(cipher.algorithm(), &key).expect("both ciphers take 32 bytes");
    LessSafeKey::new(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DRAW: Draw =
        Draw { data_key: [7; KEY_BYTES], salt: [8; SALT_BYTES], nonce: [9; NONCE_BYTES] };

    fn secrets<'a>(current: &'a str, previous: Option<&'a str>) -> Secrets<'a> {
        let previous = previous.map(str::as_bytes);
        Secrets { current: current.as_bytes(), previous, cipher: Cipher::Aes, rounds: 2000 }
    }

    fn fresh(current: &str) -> Vec<u8> {
        let unlocked = unlock(&[None, None], &secrets(current, None), &DRAW);
        unlocked.ok().and_then(|unlocked| unlocked.file).expect("a new key is locked")
    }

    #[test]
    fn the_configured_or_the_previous_key_opens_and_no_other() {
        let file = fresh("a key that is long enough");
        let copies = [Some(file.clone()), Some(file.clone())];
        let draw = Draw { data_key: [1; KEY_BYTES], salt: [2; SALT_BYTES], ..DRAW };
        let table = [
            (secrets("a key that is long enough", None), Ok((false, false))),
            (secrets("another key, as long", Some("a key that is long enough")), Ok((true, true))),
            (secrets("another key, as long", None), Err(LockFailure::WrongKey)),
            (secrets("another key, as long", Some("a third one")), Err(LockFailure::WrongKey)),
        ];
        for (secrets, expected) in table {
            let unlocked = unlock(&copies, &secrets, &draw);
            let seen = unlocked.map(|unlocked| {
                assert_eq!(unlocked.data_key, DRAW.data_key);
                if let Some(file) = &unlocked.file {
                    let copies = [Some(file.clone()), Some(file.clone())];
                    let again = unlock(&copies, &secrets, &draw);
                    let again = again.expect("it opens with the new key");
                    assert_eq!(again.data_key, DRAW.data_key);
                    assert_eq!(again.file, None);
                }
                (unlocked.is_rotated, unlocked.file.is_some())
            });
            assert_eq!(seen, expected);
        }
    }

    #[test]
    fn one_whole_copy_is_enough_whatever_became_of_the_other() {
        let file = fresh("a key that is long enough");
        let secrets = secrets("a key that is long enough", None);
        let cut = |count: usize| Some(file[..count].to_vec());
        let mut flipped: Vec<Option<Vec<u8>>> = Vec::new();
        for byte in 0..file.len() {
            let mut copy = file.clone();
            copy[byte] ^= 1;
            flipped.push(Some(copy));
        }
        for other in [None, cut(0), cut(50)].into_iter().chain(flipped) {
            assert!(matches!(
                unlock(&[other.clone(), other.clone()], &secrets, &DRAW),
                Err(LockFailure::Damaged) | Ok(Unlocked { is_new: true, .. })
            ));
            for copies in [[other.clone(), Some(file.clone())], [Some(file.clone()), other]] {
                let unlocked = unlock(&copies, &secrets, &DRAW).expect("one copy is whole");
                assert_eq!(unlocked.data_key, DRAW.data_key);
                assert_eq!(unlocked.file.as_ref(), Some(&file));
            }
        }
    }
}
