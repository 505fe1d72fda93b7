//! Where the tokens of accounts come from (spec 3.4).

use std::path::PathBuf;
use std::time::Duration;

use super::schema::{Reader, at, boolean, integer, text};
use super::tls::{self, Tls};
use super::tree::{Map, Node, Value};
use super::url::is_url;
use crate::notation::{parse_duration, quote};

/// How long an account is looked for.
pub const FETCH_TIMEOUT: Duration = Duration::from_millis(1900);

/// Tokens in a directory of the kind `cache` that sets no limit.
const CACHED_MAX: usize = 1000;

/// Where the tokens of accounts come from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Resolver {
    /// The file itself.
    #[default]
    Memory,
    /// An HTTP server that has them below this URL, which ends in a slash.
    Url {
        /// The URL.
        url: String,
        /// How it is spoken to, if that is more than usual.
        tls: Option<Box<Tls>>,
    },
    /// A directory of this server's own.
    Directory(Box<TokenDirectory>),
}

/// A directory of tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenDirectory {
    /// Where it is.
    pub path: PathBuf,
    /// Does it hold but some of the tokens, those that were asked for?
    pub is_cache: bool,
    /// What becomes of a token that is deleted.
    pub deletion: Deletion,
    /// Tokens that it takes.
    pub limit: Option<usize>,
    /// How long a token stays that is not asked for.
    pub ttl: Option<Duration>,
    /// How long an account is looked for elsewhere.
    pub timeout: Duration,
}

/// What becomes of a token that is deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deletion {
    /// Nothing: it stays.
    Refused,
    /// Its file gets another name.
    Renamed,
    /// Its file goes.
    Hard,
}

const FORM: &str = "error parsing account resolver, should be MEM or  URL(\"url\") or a map \
                    containing dir and type state=[FULL|CACHE])";

/// `resolver`.
pub(super) fn set(reader: &mut Reader, _: &str, node: &Node) -> Result<(), String> {
    let resolver = match &node.value {
        Value::String(_) => read_word(node)?,
        Value::Map(block) => match read_block(reader, node, block)? {
            Some(resolver) => resolver,
            None => return Ok(()),
        },
        other => {
            let found = other.type_name();
            let reason = format!("error parsing operator resolver, wrong type {found}");
            return Err(at(node, &reason));
        }
    };
    reader.settings.resolver = Some(resolver);
    Ok(())
}

/// `resolver_tls`.
pub(super) fn set_tls(reader: &mut Reader, _: &str, node: &Node) -> Result<(), String> {
    let tls = tls::read(reader, node)?;
    reader.settings.resolver_tls = Some(tls);
    Ok(())
}

/// `MEMORY`, or `URL(...)`, somewhere within the word.
fn read_word(node: &Node) -> Result<Resolver, String> {
    let word = text(node)?;
    let upper = word.to_ascii_uppercase();
    if upper.contains("MEM") {
        return Ok(Resolver::Memory);
    }
    let Some(place) = upper.find("URL") else { return Err(at(node, FORM)) };
    let rest = &word[place + 3..];
    let inner = rest.strip_prefix('(').and_then(|rest| rest.split_once(')'));
    let url = inner.map_or("", |(inner, _)| inner.trim().trim_matches('"'));
    if !is_url(url) || url.is_empty() {
        return Err(at(node, &format!("error parsing account resolver url [{}]", quote(url))));
    }
    Ok(Resolver::Url { url: with_slash(url), tls: None })
}

/// A URL to which a name can be added.
pub(super) fn with_slash(url: &str) -> String {
    let slash = if url.ends_with('/') { "" } else { "/" };
    format!("{url}{slash}")
}

/// The block of a directory. Nothing if what is wrong with it was said.
fn read_block(reader: &mut Reader, node: &Node, block: &Map) -> Result<Option<Resolver>, String> {
    let span = |key: &str| -> Result<i64, String> {
        let Some(field) = block.get(key) else { return Ok(0) };
        parse_duration(&text(field)?).map_err(|problem| at(node, &problem.to_string()))
    };
    let flag = |key: &str| block.get(key).map(boolean).transpose();
    // The reference looks for the keys it knows and leaves others alone.
    let path = block.get("dir").map(text).transpose()?.unwrap_or_default();
    let kind = block.get("type").map(text).transpose()?.unwrap_or_default().to_uppercase();
    let (deletes, hard) = (flag("allow_delete")?, flag("hard_delete")?);
    let limit = block.get("limit").map(integer).transpose()?.unwrap_or(0);
    let (ttl, interval, timeout) = (span("ttl")?, span("interval")?, span("timeout")?);
    let is_cache = match kind.as_str() {
        "MEM" | "MEMORY" => return Ok(Some(Resolver::Memory)),
        "CACHE" => true,
        "FULL" => false,
        _ => return Err(at(node, FORM)),
    };
    let deletes = deletes.unwrap_or(false);
    let wrong = [
        (path.is_empty(), "dir has no value and needs to point to a directory"),
        (!is_usable(&path), "dir needs to point to an accessible directory"),
        (is_cache && interval != 0, "CACHE does not accept sync"),
        (is_cache && deletes, "CACHE does not accept allow_delete"),
        (is_cache && hard.is_some(), "CACHE does not accept hard_delete"),
        (!is_cache && ttl != 0, "FULL does not accept ttl"),
        (!is_cache && hard.is_some() && !deletes, "hard_delete has no effect without delete"),
    ];
    let mut complaints = wrong.iter().filter(|(wrong, _)| *wrong).peekable();
    if complaints.peek().is_some() {
        reader.errors.extend(complaints.map(|(_, reason)| at(node, reason)));
        return Ok(None);
    }
    let positive = |span: i64| u64::try_from(span).ok().filter(|span| *span > 0);
    let deletion = match (is_cache || hard == Some(true), is_cache || deletes) {
        (_, false) => Deletion::Refused,
        (true, true) => Deletion::Hard,
        (false, true) => Deletion::Renamed,
    };
    let limit = usize::try_from(limit).ok().filter(|limit| *limit > 0);
    Ok(Some(Resolver::Directory(Box::new(TokenDirectory {
        path: path.into(),
        is_cache,
        deletion,
        limit: limit.or(is_cache.then_some(CACHED_MAX)),
        ttl: positive(ttl).map(Duration::from_nanos),
        timeout: positive(timeout).map_or(FETCH_TIMEOUT, Duration::from_nanos),
    }))))
}

/// May a directory be made here, or is there one that its owner may write to?
fn is_usable(path: &str) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    const OWNER_WRITES: u32 = 0o200;
    std::fs::metadata(path)
        .map_or(true, |it| it.is_dir() && it.permissions().mode() & OWNER_WRITES != 0)
}

#[cfg(test)]
mod tests {
    use super::super::parse_bytes;
    use super::super::parser::Nothing;
    use super::*;

    fn read(text: &str) -> Result<Resolver, String> {
        match parse_bytes("n.conf", text.as_bytes(), &mut Nothing) {
            Ok(file) => Ok(file.settings.resolver.expect("it is set")),
            Err(problem) => Err(problem.to_string()),
        }
    }

    #[test]
    fn resolvers() {
        assert_eq!(read("resolver: MEMORY"), Ok(Resolver::Memory));
        assert_eq!(read("resolver: { type: mem }"), Ok(Resolver::Memory));
        let url = |url: &str| Ok(Resolver::Url { url: url.to_owned(), tls: None });
        assert_eq!(read("resolver: URL(http://h:1/a)"), url("http://h:1/a/"));
        assert_eq!(read("resolver: url(\"http://h/\")"), url("http://h/"));
        assert!(read("resolver: URL(:1)").is_err());
        assert!(read("resolver: nothing").is_err());
        let full = read("resolver: { type: full, dir: /nowhere/jwt, allow_delete: true }");
        let expected = TokenDirectory {
            path: "/nowhere/jwt".into(),
            is_cache: false,
            deletion: Deletion::Renamed,
            limit: None,
            ttl: None,
            timeout: FETCH_TIMEOUT,
        };
        assert_eq!(full, Ok(Resolver::Directory(Box::new(expected.clone()))));
        let cache = read("resolver: { type: CACHE, dir: /nowhere/jwt, ttl: \"1m\" }");
        let expected = TokenDirectory {
            is_cache: true,
            deletion: Deletion::Hard,
            limit: Some(CACHED_MAX),
            ttl: Some(Duration::from_mins(1)),
            ..expected
        };
        assert_eq!(cache, Ok(Resolver::Directory(Box::new(expected))));
        for (block, reason) in [
            ("type: full", "dir has no value"),
            ("type: full, dir: /dev/null", "dir needs to point to"),
            ("type: full, dir: x, ttl: \"1s\"", "FULL does not accept ttl"),
            ("type: full, dir: x, hard_delete: true", "hard_delete has no effect"),
            ("type: cache, dir: x, allow_delete: true", "CACHE does not accept allow_delete"),
            ("type: cache, dir: x, interval: \"1s\"", "CACHE does not accept sync"),
            ("dir: x", "error parsing account resolver"),
        ] {
            let problem = read(&format!("resolver: {{ {block} }}")).expect_err(block);
            assert!(problem.contains(reason), "{block}: {problem}");
        }
    }
}
