//! The key files of a store: read before it is opened, and written once it is.
//!
//! There are two copies, so that one damaged file does not take the whole store along. They are
//! replaced one behind the other: at any moment one of them is whole.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use aws_lc_rs::rand;
use storage::{Cipher, Draw, Encryption, LOCK_ROUNDS, LockFailure, Secrets, unlock};

use crate::config::{self, Keys};
use crate::log::Logger;

/// The copies, below the store's folder.
const COPIES: [&str; 2] = ["key.0", "key.1"];

/// What a store is opened with.
pub(crate) struct Keyring {
    pub(crate) encryption: Option<Encryption>,
    root: PathBuf,
    /// What both copies are to hold from now on, where they do not.
    file: Option<Vec<u8>>,
}

impl Keyring {
    /// Unlocks the store in a folder.
    ///
    /// # Errors
    /// One line that says what to change. Nothing was written.
    pub(crate) fn unlock(root: &Path, keys: Option<&Keys>, logger: &Logger) -> io::Result<Self> {
        let copies: Vec<Option<Vec<u8>>> =
            COPIES.iter().map(|name| read(&root.join(name))).collect::<io::Result<_>>()?;
        let root = root.to_owned();
        let Some(keys) = keys else {
            if copies.iter().any(Option::is_some) {
                return Err(refuse("the store is encrypted: jetstream { key } is needed"));
            }
            return Ok(Self { encryption: None, root, file: None });
        };
        let cipher = match keys.cipher {
            config::Cipher::ChaCha => Cipher::ChaCha,
            config::Cipher::Aes => Cipher::Aes,
        };
        let secrets = Secrets {
            current: keys.current.as_bytes(),
            previous: keys.previous.as_deref().map(str::as_bytes),
            cipher,
            rounds: LOCK_ROUNDS,
        };
        let draw = Draw { data_key: random()?, salt: random()?, nonce: random()? };
        let unlocked = unlock(&copies, &secrets, &draw).map_err(|failure| match failure {
            LockFailure::WrongKey => {
                refuse("the store is encrypted with another key than jetstream { key, prev_key }")
            }
            LockFailure::Damaged => refuse("the store is encrypted, and its key files are damaged"),
        })?;
        if unlocked.is_rotated {
            logger.info("JetStream's key was changed: the previous one is needed no longer");
        } else if unlocked.file.is_some() && !unlocked.is_new {
            logger.warn("One of JetStream's two key files was damaged or missing: it is put back");
        }
        let encryption = Encryption { data_key: unlocked.data_key, cipher, salt: random()? };
        Ok(Self { encryption: Some(encryption), root, file: unlocked.file })
    }

    /// The store was opened with it: from now on the key files say so.
    pub(crate) fn settle(self) -> io::Result<()> {
        let Some(file) = &self.file else { return Ok(()) };
        COPIES.iter().try_for_each(|name| replace(&self.root, name, file))
    }
}

fn refuse(reason: &str) -> io::Error {
    io::Error::other(format!("Can't start JetStream: {reason}"))
}

fn read(path: &Path) -> io::Result<Option<Vec<u8>>> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn replace(root: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
    let draft = root.join(format!("{name}.draft"));
    let mut file = File::create(&draft)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&draft, root.join(name))?;
    File::open(root)?.sync_all()
}

fn random<const N: usize>() -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    rand::fill(&mut bytes).map_err(|_| io::Error::other("the machine gives no random bytes"))?;
    Ok(bytes)
}
