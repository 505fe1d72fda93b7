//! Which subjects a consumer wants.

use std::collections::HashMap;

use ahash::RandomState;
use storage::{KeySet, Log};
use subjects::grammar;

/// The filters of a consumer, and which keys of its stream's log they match.
#[derive(Debug)]
pub(crate) struct Filter {
    tree: Option<Box<Node>>,
    /// The filters, if none has a wildcard.
    names: Option<Vec<Box<[u8]>>>,
    set: KeySet,
}

/// Filters by their tokens, so that a subject is compared with all of them at once.
#[derive(Debug, Default)]
struct Node {
    literals: HashMap<Box<[u8]>, Node, RandomState>,
    any: Option<Box<Node>>,
    /// Does a filter end here?
    is_end: bool,
    /// Does a filter go on with `>`?
    is_open: bool,
}

impl Node {
    fn insert(&mut self, pattern: &[u8]) {
        let mut node = self;
        for token in grammar::tokens(pattern) {
            node = match token {
                b">" => {
                    node.is_open = true;
                    return;
                }
                b"*" => node.any.get_or_insert_default(),
                literal => node.literals.entry(literal.into()).or_default(),
            };
        }
        node.is_end = true;
    }

    fn matches(&self, subject: &[u8]) -> bool {
        if self.is_open {
            return true;
        }
        let (token, rest) = match memchr::memchr(b'.', subject) {
            Some(at) => (&subject[..at], Some(&subject[at + 1..])),
            None => (subject, None),
        };
        let goes_on = |node: &Self| match rest {
            Some(rest) => node.matches(rest),
            None => node.is_end,
        };
        self.literals.get(token).is_some_and(goes_on) || self.any.as_deref().is_some_and(goes_on)
    }
}

impl Filter {
    /// A filter of these patterns; of everything if there are none.
    pub(crate) fn new<'p>(patterns: impl Iterator<Item = &'p str>) -> Self {
        let mut tree: Option<Box<Node>> = None;
        let mut names = Some(Vec::new());
        for pattern in patterns.map(str::as_bytes) {
            tree.get_or_insert_default().insert(pattern);
            if grammar::has_wildcard(pattern) {
                names = None;
            }
            if let Some(names) = &mut names {
                names.push(pattern.into());
            }
        }
        let is_all = tree.as_deref().is_none_or(|root| root.is_open);
        let tree = tree.filter(|_| !is_all);
        Self { tree, names, set: if is_all { KeySet::ALL } else { KeySet::new() } }
    }

    /// Does it match everything?
    pub(crate) fn is_all(&self) -> bool {
        self.tree.is_none()
    }

    /// Does it match a subject?
    pub(crate) fn matches(&self, subject: &[u8]) -> bool {
        match &self.tree {
            None => true,
            Some(tree) => tree.matches(subject),
        }
    }

    /// The keys that it matches, brought up to date with the log.
    #[inline]
    pub(crate) fn keys(&mut self, log: &Log) -> &KeySet {
        let Self { tree, names, set } = self;
        match (tree, names) {
            (None, _) => {}
            (Some(tree), Some(names)) => {
                set.follow_names(log.keys(), names, |key| tree.matches(key));
            }
            (Some(tree), None) => set.follow(log.keys(), |key| tree.matches(key)),
        }
        set
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tree_of_filters_matches_as_each_of_them_does() {
        let filters = ["a.b", "a.*.c", "x.>", "*.z", "q"];
        let filter = Filter::new(filters.into_iter());
        assert!(!filter.is_all());
        for subject in ["a.b", "a.b.c", "a.c", "x", "x.y", "x.y.z", "b.z", "q", "q.r", "z", "a"] {
            let subject = subject.as_bytes();
            let expected =
                filters.iter().any(|filter| grammar::matches(filter.as_bytes(), subject));
            assert_eq!(filter.matches(subject), expected, "{}", String::from_utf8_lossy(subject));
        }
        assert!(Filter::new(std::iter::empty()).is_all());
        assert!(Filter::new([">"].into_iter()).is_all());
    }
}
