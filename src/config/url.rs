//! URLs of other servers: enough to tell a slip from an address.

use std::collections::HashSet;

use super::schema::{Reader, at, text};
use super::tree::Node;
use crate::notation::quote;

/// Checks the URL in `node`; `kind` is what it leads to.
pub(super) fn check(node: &Node, kind: &str) -> Result<(), String> {
    let url = text(node)?;
    let url = url.trim();
    if is_url(url) {
        return Ok(());
    }
    Err(at(node, &format!("error parsing {kind} url [{}]", quote(url))))
}

/// Checks a list; an entry that is there twice is only warned about.
pub(super) fn check_list(reader: &mut Reader, nodes: &[Node], kind: &str) -> Result<(), String> {
    let mut seen = HashSet::new();
    for node in nodes {
        let url = text(node)?;
        if !seen.insert(url.clone()) {
            reader.warn(&url, node, &format!("Duplicate {kind} entry detected"));
            continue;
        }
        if let Err(problem) = check(node, kind) {
            reader.errors.push(problem);
        }
    }
    Ok(())
}

/// Whether `text` reads as a URL, or as a reference within one, by the rules of RFC 3986 that
/// addresses of servers can break.
pub(super) fn is_url(text: &str) -> bool {
    if text.bytes().any(|byte| byte < b' ' || byte == 0x7f) {
        return false;
    }
    let scheme_end = text.find(|c: char| !(c.is_ascii_alphanumeric() || "+-.".contains(c)));
    let rest = match scheme_end {
        Some(0) if text.starts_with(':') => return false,
        Some(end) if end > 0 && text[end..].starts_with(':') => {
            if !text.starts_with(|c: char| c.is_ascii_alphabetic()) {
                return false;
            }
            &text[end + 1..]
        }
        _ => {
            let first = text.split('/').next().unwrap_or_default();
            return !first.contains(':') || text.starts_with('/');
        }
    };
    let Some(after) = rest.strip_prefix("//") else {
        return true;
    };
    let authority = after.split(['/', '?', '#']).next().unwrap_or_default();
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let name_end = host.rfind(']').map_or(0, |end| end + 1);
    if host.starts_with('[') != (name_end > 0) || host.contains([' ', '"', '<', '>', '\\', '^']) {
        return false;
    }
    match host[name_end..].split_once(':') {
        Some((_, port)) => port.bytes().all(|byte| byte.is_ascii_digit()),
        None => name_end == 0 || host.len() == name_end,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_are_told_from_addresses() {
        for good in ["nats://a:4222", "nats://u:p@[::1]:1", "tls://h", "localhost:4222", "/x", "h"]
        {
            assert!(is_url(good), "{good}");
        }
        for bad in [":4222", "127.0.0.1:4222", "nats://a:b", "nats://[::1", "nats://a b", "a\nb"] {
            assert!(!is_url(bad), "{bad}");
        }
    }
}
