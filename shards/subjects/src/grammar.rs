//! The grammar of subjects (spec 1.8): tokens separated by `.`; `*` stands for one token, `>` as
//! the last for one or more.

/// Tokens of a subject or pattern.
pub fn tokens(subject: &[u8]) -> impl Iterator<Item = &[u8]> {
    subject.split(|byte| *byte == b'.')
}

/// May this be subscribed to? No empty token, `>` only at the end.
pub fn is_pattern(subject: &[u8]) -> bool {
    let mut open_ended = false;
    for token in tokens(subject) {
        if token.is_empty() || open_ended {
            return false;
        }
        open_ended = token == b">";
    }
    true
}

/// Does a pattern contain a wildcard, as a whole token?
pub fn has_wildcard(pattern: &[u8]) -> bool {
    tokens(pattern).any(|token| token == b"*" || token == b">")
}

/// Is this a subject that a pedantic server lets a client publish to?
pub fn is_literal(subject: &[u8]) -> bool {
    tokens(subject).all(|token| !token.is_empty() && token != b"*" && token != b">")
}

/// Has the subject an empty token, and so matches no subscription at all?
pub fn has_empty_token(subject: &[u8]) -> bool {
    let mut previous = b'.';
    for &byte in subject {
        if byte == b'.' && previous == b'.' {
            return true;
        }
        previous = byte;
    }
    previous == b'.'
}

/// Does a pattern match a subject? The definition by which the index is tested.
pub fn matches(pattern: &[u8], subject: &[u8]) -> bool {
    if has_empty_token(subject) {
        return false;
    }
    let mut wanted = tokens(pattern);
    let mut present = tokens(subject);
    loop {
        match (wanted.next(), present.next()) {
            (None, None) | (Some(b">"), Some(_)) => return true,
            (Some(b"*"), Some(_)) => {}
            (Some(a), Some(b)) if a == b => {}
            _ => return false,
        }
    }
}

/// Does `other` match every subject that `pattern` matches?
pub fn is_subset(pattern: &[u8], other: &[u8]) -> bool {
    let mut one = tokens(pattern);
    let mut wanted = tokens(other);
    loop {
        let (token, wanted) = (one.next(), wanted.next());
        if wanted == Some(b">") {
            return token.is_some();
        }
        match (token, wanted) {
            (None, None) => return true,
            (Some(b"" | b">") | None, _) | (_, Some(b"") | None) => return false,
            (Some(_), Some(b"*")) => {}
            (Some(a), Some(b)) if a == b && a != b"*" => {}
            _ => return false,
        }
    }
}

/// Is there a subject that both patterns match?
pub fn collide(one: &[u8], other: &[u8]) -> bool {
    let mut one = tokens(one);
    let mut other = tokens(other);
    loop {
        match (one.next(), other.next()) {
            (None, None) | (Some(b">"), Some(_)) | (Some(_), Some(b">")) => return true,
            (Some(b"*"), Some(_)) | (Some(_), Some(b"*")) => {}
            (Some(a), Some(b)) if a == b => {}
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns() {
        for good in ["a", "*", ">", "a.*", "a.>", "foo.*a", "a>.b", "*.*.>", "a.b*"] {
            assert!(is_pattern(good.as_bytes()), "{good}");
        }
        for bad in ["", ".", "a.", ".a", "a..b", ">.a", "a.>.b"] {
            assert!(!is_pattern(bad.as_bytes()), "{bad}");
        }
    }

    #[test]
    fn literals_and_wildcards() {
        assert!(is_literal(b"foo.*a"));
        assert!(!is_literal(b"foo.*"));
        assert!(!is_literal(b"foo..b"));
        assert!(has_wildcard(b"a.*.b"));
        assert!(!has_wildcard(b"a.*b"));
    }

    #[test]
    fn empty_tokens() {
        for subject in ["", ".", "a.", ".a", "a..b"] {
            assert!(has_empty_token(subject.as_bytes()), "{subject}");
        }
        assert!(!has_empty_token(b"a.b"));
    }

    #[test]
    fn matching() {
        for (pattern, subject, expected) in [
            ("foo", "foo", true),
            ("foo", "foo.bar", false),
            ("foo.*", "foo.bar", true),
            ("foo.*", "foo", false),
            ("foo.>", "foo", false),
            ("foo.>", "foo.a.b", true),
            (">", "a", true),
            (">", "a..b", false),
            ("*.b", "a.b", true),
            ("foo.*", "foo.*", true),
            ("foo.*a", "foo.*a", true),
            ("foo.*a", "foo.ba", false),
        ] {
            let found = matches(pattern.as_bytes(), subject.as_bytes());
            assert_eq!(found, expected, "{pattern} {subject}");
        }
    }

    #[test]
    fn subsets() {
        for (pattern, other, expected) in [
            ("a", "a", true),
            ("a", "*", true),
            ("*", "a", false),
            ("a.b", "a.>", true),
            ("a.>", "a.>", true),
            ("a.>", "a.*", false),
            ("a.*", "a.>", true),
            ("a.*", "a.*", true),
            ("a.*", "a.b", false),
            ("a", "a.>", false),
            ("a.b", "a", false),
            (">", ">", true),
            ("a..b", "a.>", true),
            ("a..b", "a.*.b", false),
            ("*.b", "*.*", true),
        ] {
            let found = is_subset(pattern.as_bytes(), other.as_bytes());
            assert_eq!(found, expected, "{pattern} {other}");
        }
    }

    #[test]
    fn patterns_collide_where_a_subject_suits_both() {
        let rows = [
            ("a.b", "a.b", true),
            ("a.b", "a.c", false),
            ("a.*", "*.b", true),
            ("a.>", "a", false),
            ("a.>", "*.*.c", true),
            (">", "a.b.c", true),
            ("a.*", "a.b.c", false),
            ("a.*.c", "a.>", true),
        ];
        for (one, other, expected) in rows {
            assert_eq!(collide(one.as_bytes(), other.as_bytes()), expected, "{one} {other}");
            assert_eq!(collide(other.as_bytes(), one.as_bytes()), expected, "{other} {one}");
        }
    }
}
