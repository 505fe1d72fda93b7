//! A directory of tokens, laid out as the reference lays it out: `<account>.jwt` each, and
//! `<account>.jwt.deleted` for one that was deleted and is kept.

use std::collections::HashMap;
use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use accounts::Token;
use nkeys::KeyPair;
use sha2::{Digest as _, Sha256};

use crate::config::{Deletion, TokenDirectory};
use crate::notation::{error_text, quote};

const EXTENSION: &str = ".jwt";
const DIRECTORY_MODE: u32 = 0o700;
const FILE_MODE: u32 = 0o600;
/// How often what has run out is looked for, at least.
const SWEEP_MAX: Duration = Duration::from_mins(1);

/// The tokens of a directory.
#[derive(Debug)]
pub(super) struct Store {
    terms: TokenDirectory,
    index: HashMap<String, Entry>,
    /// All hashes, one upon the other: two directories with the same have the same tokens.
    digest: [u8; 32],
    uses: u64,
}

#[derive(Debug)]
struct Entry {
    hash: [u8; 32],
    /// When it was last used, counted.
    used: u64,
    ends: End,
}

#[derive(Clone, Copy, Debug)]
enum End {
    Never,
    /// By the token's own word, in seconds since 1970.
    At(i64),
    /// Because nobody asks for it.
    Idle(Instant),
}

impl Store {
    /// Opens a directory, which is made if it is not there.
    pub(super) fn open(terms: TokenDirectory) -> Result<Self, String> {
        let path = terms.path.display().to_string();
        fs::DirBuilder::new()
            .recursive(true)
            .mode(DIRECTORY_MODE)
            .create(&terms.path)
            .map_err(|error| format!("mkdir {path}: {}", error_text(&error)))?;
        let mut store = Self { terms, index: HashMap::new(), digest: [0; 32], uses: 0 };
        store.reload();
        Ok(store)
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.terms.path
    }

    /// Does it hold but some of the tokens?
    pub(super) const fn is_cache(&self) -> bool {
        self.terms.is_cache
    }

    /// How long an account may be looked for elsewhere.
    pub(super) const fn timeout(&self) -> Duration {
        self.terms.timeout
    }

    /// May tokens be deleted?
    pub(super) fn deletes(&self) -> bool {
        self.terms.deletion != Deletion::Refused
    }

    /// What tells whether another directory has the same tokens.
    pub(super) const fn digest(&self) -> [u8; 32] {
        self.digest
    }

    /// How often [`Store::sweep`] is to be called.
    pub(super) fn sweep_interval(&self) -> Duration {
        self.terms.ttl.map_or(SWEEP_MAX, |ttl| (ttl / 2).min(SWEEP_MAX))
    }

    /// Reads the directory again. Returns the accounts whose tokens are others than before, and in
    /// a cache all: what was not there may have been forgotten meanwhile.
    pub(super) fn reload(&mut self) -> Vec<String> {
        let before = std::mem::take(&mut self.index);
        self.digest = [0; 32];
        let mut changed = Vec::new();
        for key in self.files() {
            let Ok(text) = fs::read_to_string(self.file(&key)) else { continue };
            self.track(&key, &text);
            let hash = self.index[&key].hash;
            let known = before.get(&key).map(|entry| entry.hash);
            if known.map_or(self.terms.is_cache, |known| known != hash) {
                changed.push(key);
            }
        }
        changed
    }

    /// The accounts that have a file, in order.
    fn files(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.terms.path).into_iter().flatten().flatten();
        let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
        let mut keys: Vec<String> =
            names.filter_map(|name| Some(name.strip_suffix(EXTENSION)?.to_owned())).collect();
        keys.sort_unstable();
        keys
    }

    fn file(&self, key: &str) -> PathBuf {
        self.terms.path.join(format!("{key}{EXTENSION}"))
    }

    /// The token of an account; `None` if there is none. The error is a line for the log.
    pub(super) fn load(&mut self, key: &str) -> Result<Option<String>, String> {
        check_key(key)?;
        let path = self.file(key);
        match fs::read_to_string(&path) {
            Ok(text) => {
                self.touch(key);
                Ok(Some(text))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(format!("open {}: {}", path.display(), error_text(&error))),
        }
    }

    /// Keeps the token of an account. False if it is there already. The error is in the words of
    /// the reference.
    pub(super) fn save(&mut self, key: &str, text: &str) -> Result<bool, String> {
        check_key(key)?;
        if text.is_empty() {
            return Err("invalid JWT".to_owned());
        }
        let known = self.index.get(key).map(|entry| entry.hash);
        if known == Some(hash_of(text)) {
            self.touch(key);
            return Ok(false);
        }
        if known.is_none() && self.terms.limit.is_some_and(|most| self.index.len() >= most) {
            self.make_room()?;
        }
        self.write(key, text)?;
        self.track(key, text);
        Ok(true)
    }

    /// The same, unless what is there is newer.
    pub(super) fn save_if_newer(&mut self, key: &str, text: &str) -> Result<bool, String> {
        let fresh = Token::read(text).ok_or("invalid JWT")?;
        let old = self.load(key)?.and_then(|text| Token::read(&text));
        if let Some(old) = old {
            if old.id() == fresh.id() || old.issued_s() > fresh.issued_s() {
                return Ok(false);
            }
            if fresh.subject() != key {
                return Err("jwt subject nkey and provided nkey do not match".to_owned());
            }
        }
        self.save(key, text)
    }

    /// Deletes the token of an account. False if there is none.
    pub(super) fn delete(&mut self, key: &str) -> Result<bool, String> {
        check_key(key)?;
        let path = self.file(key);
        let done = match self.terms.deletion {
            Deletion::Refused => return Err("store is not set up to for delete".to_owned()),
            Deletion::Renamed => {
                fs::rename(&path, self.terms.path.join(format!("{key}{EXTENSION}.deleted")))
            }
            Deletion::Hard => fs::remove_file(&path),
        };
        match done {
            Ok(()) => {
                self.untrack(key);
                Ok(true)
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(format!("remove {}: {}", path.display(), error_text(&error))),
        }
    }

    /// All accounts with their tokens, in order, but for those whose time is over.
    pub(super) fn all(&self, now_s: i64) -> Vec<(String, String)> {
        let held = self.files().into_iter().filter(|key| self.index.contains_key(key));
        let read = held.filter_map(|key| {
            let text = fs::read_to_string(self.file(&key)).ok()?;
            Some((key, text))
        });
        let in_time = |text: &str| {
            Token::read(text)
                .is_none_or(|token| token.expires_s() == 0 || token.expires_s() >= now_s)
        };
        read.filter(|(_, text)| !text.is_empty() && in_time(text)).collect()
    }

    /// Removes what has run out.
    pub(super) fn sweep(&mut self, now: Instant, now_s: i64) {
        let is_over = |entry: &Entry| match entry.ends {
            End::Never => false,
            End::At(end) => end <= now_s,
            End::Idle(end) => end <= now,
        };
        let over = self.index.iter().filter(|(_, entry)| is_over(entry));
        for key in over.map(|(key, _)| key.clone()).collect::<Vec<_>>() {
            if fs::remove_file(self.file(&key)).is_ok() {
                self.untrack(&key);
            }
        }
    }

    /// Makes room for one more, where that is allowed, by what was used longest ago.
    fn make_room(&mut self) -> Result<(), String> {
        if !self.terms.is_cache {
            return Err("jwt store is full".to_owned());
        }
        let oldest = self.index.iter().min_by_key(|(_, entry)| entry.used);
        if let Some(key) = oldest.map(|(key, _)| key.clone()) {
            let path = self.file(&key);
            fs::remove_file(&path)
                .map_err(|error| format!("remove {}: {}", path.display(), error_text(&error)))?;
            self.untrack(&key);
        }
        Ok(())
    }

    /// Writes a file whole or not at all.
    fn write(&self, key: &str, text: &str) -> Result<(), String> {
        let (path, fresh) = (self.file(key), self.terms.path.join(format!("{key}.new")));
        let write = || {
            let mut file = fs::OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(true)
                .mode(FILE_MODE)
                .open(&fresh)?;
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            fs::rename(&fresh, &path)
        };
        write()
            .map_err(|error: io::Error| format!("open {}: {}", path.display(), error_text(&error)))
    }

    fn touch(&mut self, key: &str) {
        self.uses += 1;
        let (uses, ttl) = (self.uses, self.terms.ttl);
        if let Some(entry) = self.index.get_mut(key) {
            entry.used = uses;
            if let Some(ttl) = ttl {
                entry.ends = End::Idle(Instant::now() + ttl);
            }
        }
    }

    fn track(&mut self, key: &str, text: &str) {
        self.untrack(key);
        let expires = || Token::read(text).map_or(0, |token| token.expires_s());
        let ends = match self.terms.ttl {
            Some(ttl) => End::Idle(Instant::now() + ttl),
            None => match expires() {
                0 => End::Never,
                end => End::At(end),
            },
        };
        self.uses += 1;
        let entry = Entry { hash: hash_of(text), used: self.uses, ends };
        self.mix(&entry.hash);
        self.index.insert(key.to_owned(), entry);
    }

    fn untrack(&mut self, key: &str) {
        if let Some(entry) = self.index.remove(key) {
            self.mix(&entry.hash);
        }
    }

    fn mix(&mut self, hash: &[u8; 32]) {
        for (byte, other) in self.digest.iter_mut().zip(hash) {
            *byte ^= other;
        }
    }
}

fn hash_of(text: &str) -> [u8; 32] {
    Sha256::digest(text).into()
}

/// Only what is a key becomes the name of a file.
fn check_key(key: &str) -> Result<(), String> {
    if KeyPair::from_public_key(key).is_ok() {
        Ok(())
    } else {
        Err(format!("invalid public key{}", shown(key)))
    }
}

/// Keys are not secret, but what was sent in place of one may be anything.
fn shown(key: &str) -> String {
    if key.is_empty() { String::new() } else { format!(" {}", quote(key)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("pinion-{name}-{}", std::process::id()));
            let _ = fs::remove_dir_all(&path);
            Self(path)
        }

        fn terms(&self) -> TokenDirectory {
            TokenDirectory {
                path: self.0.clone(),
                is_cache: false,
                deletion: Deletion::Renamed,
                limit: Some(2),
                ttl: None,
                timeout: Duration::from_secs(1),
            }
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn keys<const N: usize>() -> [String; N] {
        std::array::from_fn(|_| KeyPair::new_account().public_key())
    }

    #[test]
    fn tokens_come_and_go() {
        let folder = Folder::new("tokens");
        let mut store = Store::open(folder.terms()).expect("it can be made");
        let [a, b, c] = keys();
        assert_eq!(store.load(&a), Ok(None));
        assert_eq!(store.save(&a, "one"), Ok(true));
        assert_eq!(store.save(&a, "one"), Ok(false));
        let digest = store.digest();
        assert_eq!(store.save(&a, "two"), Ok(true));
        assert_eq!(store.save(&a, "one"), Ok(true));
        assert_eq!(store.digest(), digest);
        assert_eq!(store.save(&b, "three"), Ok(true));
        assert_eq!(store.save(&c, "four"), Err("jwt store is full".to_owned()));
        assert!(store.save("../x", "four").is_err());
        assert_eq!(store.load(&a), Ok(Some("one".to_owned())));
        assert_eq!(store.all(0).len(), 2);
        assert_eq!(store.delete(&b), Ok(true));
        assert_eq!(store.delete(&b), Ok(false));
        assert_eq!(store.digest(), digest);
        assert!(folder.0.join(format!("{b}.jwt.deleted")).exists());
        let again = Store::open(folder.terms()).expect("it is there");
        assert_eq!(again.digest(), digest);
    }

    #[test]
    fn what_others_write_is_seen() {
        let folder = Folder::new("reload");
        let mut store = Store::open(folder.terms()).expect("it can be made");
        let [a, b] = keys();
        store.save(&a, "one").expect("room");
        fs::write(folder.0.join(format!("{a}.jwt")), "other").expect("a file");
        fs::write(folder.0.join(format!("{b}.jwt")), "new").expect("a file");
        fs::write(folder.0.join("notes.txt"), "x").expect("a file");
        assert_eq!(store.reload(), [a]);
        assert_eq!(store.all(0).len(), 2);
    }

    #[test]
    fn a_cache_forgets() {
        let folder = Folder::new("cache");
        let ttl = Some(Duration::from_mins(1));
        let terms =
            TokenDirectory { is_cache: true, deletion: Deletion::Hard, ttl, ..folder.terms() };
        let mut store = Store::open(terms).expect("it can be made");
        let [a, b, c] = keys();
        for key in [&a, &b] {
            store.save(key, "one").expect("room");
        }
        store.load(&a).expect("it is there");
        store.save(&c, "one").expect("room is made");
        assert_eq!(store.load(&b), Ok(None));
        assert!(store.load(&a).expect("it is there").is_some());
        store.sweep(Instant::now() + Duration::from_secs(30), 0);
        assert_eq!(store.all(0).len(), 2);
        store.sweep(Instant::now() + Duration::from_secs(90), 0);
        assert_eq!(store.all(0).len(), 0);
        assert_eq!(store.digest(), [0; 32]);
    }
}
