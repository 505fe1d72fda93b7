//! What an account imports: subjects of another account, under its own names.

use base::{AccountId, Random};
use subjects::{Transform, grammar, transform};

use crate::ExchangeFault;

/// A stream of another account: its messages reach the subscriptions here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamImport {
    /// The exporting account.
    pub account: AccountId,
    /// The subject there.
    pub subject: String,
    /// The subject here, as a pattern.
    pub to: String,
    /// May traces pass on to the importer?
    pub allow_trace: bool,
    /// From there to here, and back; without it subjects either stay the same or become `to`.
    transform: Option<(Transform, Transform)>,
}

impl StreamImport {
    /// An import of `subject` as `to`, which may name its wildcards (`$1`); the same subject if
    /// that is empty.
    ///
    /// # Errors
    /// If `to` cannot be made from `subject`.
    pub fn new(account: AccountId, subject: &str, to: &str) -> Result<Self, ExchangeFault> {
        let to = if to.is_empty() { subject } else { to };
        let mut import = Self {
            account,
            subject: subject.into(),
            to: to.into(),
            allow_trace: false,
            transform: None,
        };
        if grammar::has_wildcard(subject.as_bytes()) && to != subject {
            let fault = |fault| ExchangeFault::StreamTransform(subject.into(), to.into(), fault);
            let there = Transform::strict(subject, &transform::tokenized(to)).map_err(fault)?;
            let back = there.reversed().ok_or(ExchangeFault::InvalidSubject)?;
            import.to = transform::untokenized(to).0;
            import.transform = Some((there, back));
        }
        Ok(import)
    }

    /// Are subjects the same here and there?
    fn keeps_subjects(&self) -> bool {
        self.subject == self.to && grammar::has_wildcard(self.subject.as_bytes())
    }

    /// What a subscription to `pattern` here has to listen to there; `None` if it cannot match
    /// anything that is imported.
    pub fn shadow_of(&self, pattern: &[u8], random: &mut Random) -> Option<Vec<u8>> {
        let to = self.to.as_bytes();
        if pattern == to {
            return Some(self.subject.clone().into_bytes());
        }
        if grammar::is_subset(pattern, to) {
            return Some(self.narrowed(pattern, random));
        }
        if !grammar::has_wildcard(pattern) {
            return None;
        }
        if grammar::is_subset(to, pattern) {
            return Some(self.subject.clone().into_bytes());
        }
        let overlap = overlap(pattern, to);
        grammar::is_subset(&overlap, to).then(|| self.narrowed(&overlap, random))
    }

    /// The subject there of one here that is narrower than all that is imported.
    fn narrowed(&self, pattern: &[u8], random: &mut Random) -> Vec<u8> {
        match &self.transform {
            Some((_, back)) => back.applied(pattern, random),
            None if self.keeps_subjects() => pattern.to_vec(),
            None => self.subject.clone().into_bytes(),
        }
    }

    /// Puts into `out` what a message on `subject` there is called here.
    pub fn arrive(&self, subject: &[u8], random: &mut Random, out: &mut Vec<u8>) {
        out.clear();
        match &self.transform {
            Some((there, _)) => there.apply(subject, random, out),
            None if self.keeps_subjects() => out.extend_from_slice(subject),
            None => out.extend_from_slice(self.to.as_bytes()),
        }
    }
}

/// What a pattern and another that neither contains have in common, if the first is taken as the
/// frame: its wildcards become the other's tokens.
fn overlap(pattern: &[u8], other: &[u8]) -> Vec<u8> {
    let theirs: Vec<&[u8]> = grammar::tokens(other).collect();
    let mut ours: Vec<&[u8]> = grammar::tokens(pattern).collect();
    for (token, their) in ours.iter_mut().zip(&theirs) {
        if *token == b"*" && *their != b">" {
            *token = their;
        }
    }
    let last = ours.len() - 1;
    if ours[last] == b">" && theirs.len() >= ours.len() {
        ours[last] = theirs[last];
        ours.extend(&theirs[last + 1..]);
    }
    ours.join(&b'.')
}

/// A service of another account: what is published here is published there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceImport {
    /// The exporting account.
    pub account: AccountId,
    /// The subject there, as a pattern.
    pub subject: String,
    /// The subject here that requests are sent to, as a pattern.
    pub to: String,
    /// Are requests marked with all that is known of who asks?
    pub share: bool,
    /// From here to there; without it subjects either stay the same or become `subject`.
    transform: Option<Transform>,
}

impl ServiceImport {
    /// An import of `subject` as `to`, which may name its wildcards (`$1`); the same subject if
    /// that is empty.
    ///
    /// # Errors
    /// If `subject` cannot be made from `to`.
    pub fn new(account: AccountId, subject: &str, to: &str) -> Result<Self, ExchangeFault> {
        let to = if to.is_empty() { subject } else { to };
        let mut import =
            Self { account, subject: subject.into(), to: to.into(), share: false, transform: None };
        if grammar::has_wildcard(subject.as_bytes()) && to != subject {
            import.subject = transform::untokenized(subject).0;
            let tokenized = transform::tokenized(to);
            let fault = |fault| {
                let there = import.subject.clone();
                ExchangeFault::ServiceTransform(to.into(), there, fault)
            };
            let back = Transform::strict(&import.subject, &tokenized).map_err(fault)?;
            import.to = transform::untokenized(to).0;
            import.transform = Some(back.reversed().ok_or(ExchangeFault::InvalidSubject)?);
        }
        Ok(import)
    }

    /// Puts into `out` what a request on `subject` here is called there.
    pub fn depart(&self, subject: &[u8], random: &mut Random, out: &mut Vec<u8>) {
        out.clear();
        match &self.transform {
            Some(transform) => transform.apply(subject, random, out),
            None if self.subject == self.to => out.extend_from_slice(subject),
            None => out.extend_from_slice(self.subject.as_bytes()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(bytes: &[u8]) -> String {
        String::from_utf8_lossy(bytes).into_owned()
    }

    #[test]
    fn subscriptions_cast_their_shadows() {
        let rows = [
            ("foo", "", "foo", Some("foo")),
            ("foo", "", "*", Some("foo")),
            ("foo", "", "bar", None),
            ("foo", "bar", "bar", Some("foo")),
            ("foo", "bar", "foo", None),
            ("foo", "bar", ">", Some("foo")),
            ("foo.>", "", "foo.bar", Some("foo.bar")),
            ("foo.>", "", "foo.*.x", Some("foo.*.x")),
            ("foo.>", "", ">", Some("foo.>")),
            ("foo.>", "", "*.bar", Some("foo.bar")),
            ("foo.*", "", "*.>", Some("foo.*")),
            ("foo.*", "pre.foo.*", "pre.foo.x", Some("foo.x")),
            ("foo.*", "pre.foo.*", "pre.>", Some("foo.*")),
            ("foo.*", "pre.foo.*", "foo.x", None),
            ("foo.*.*", "my.$2.$1", "my.a.b", Some("foo.b.a")),
            ("foo.*.*", "my.$2.$1", "my.a.*", Some("foo.*.a")),
            ("foo.*.*", "my.$2.$1", "*.a.>", Some("foo.*.a")),
            ("foo.*.*", "my.$2.$1", "*.a.b.>", None),
        ];
        let mut random = Random::new(1);
        for (subject, to, pattern, expected) in rows {
            let import = StreamImport::new(AccountId(2), subject, to).expect("a good import");
            let shadow = import.shadow_of(pattern.as_bytes(), &mut random);
            let shadow = shadow.map(|shadow| text(&shadow));
            assert_eq!(shadow.as_deref(), expected, "{subject} as {to:?}, {pattern}");
        }
    }

    #[test]
    fn messages_arrive_under_the_name_they_have_here() {
        let rows = [
            ("foo", "", "foo", "foo"),
            ("foo", "bar", "foo", "bar"),
            ("foo.>", "", "foo.a.b", "foo.a.b"),
            ("foo.>", "pre.foo.>", "foo.a.b", "pre.foo.a.b"),
            ("foo.*.*", "my.$2.$1", "foo.a.b", "my.b.a"),
            ("foo.*", "my.{{wildcard(1)}}", "foo.a", "my.a"),
        ];
        let (mut random, mut out) = (Random::new(1), b"before".to_vec());
        for (subject, to, there, here) in rows {
            let import = StreamImport::new(AccountId(2), subject, to).expect("a good import");
            import.arrive(there.as_bytes(), &mut random, &mut out);
            assert_eq!(text(&out), here, "{subject} as {to:?}");
        }
        let fault = StreamImport::new(AccountId(2), "foo.*", "bar").expect_err("a wildcard unused");
        let expected = "failed to create mapping transform for stream import subject from \
                        \"foo.*\" to \"bar\": invalid mapping destination: not using all of the \
                        token wildcard(s) in bar";
        assert_eq!(fault.to_string(), expected);
    }

    #[test]
    fn requests_depart_under_the_name_they_have_there() {
        let rows = [
            ("req", "", "req", "req", "req"),
            ("req", "my.req", "my.req", "my.req", "req"),
            ("req.*", "", "req.*", "req.a", "req.a"),
            ("req.*", "my.*.req", "my.*.req", "my.a.req", "req.a"),
            ("req.*.*", "my.$2.$1", "my.*.*", "my.a.b", "req.b.a"),
            ("req", "my.>", "my.>", "my.a", "req"),
            ("req.>", "my.>", "my.>", "my.a.b", "req.a.b"),
        ];
        let (mut random, mut out) = (Random::new(1), Vec::new());
        for (subject, to, pattern, here, there) in rows {
            let import = ServiceImport::new(AccountId(2), subject, to).expect("a good import");
            assert_eq!(import.to, pattern);
            import.depart(here.as_bytes(), &mut random, &mut out);
            assert_eq!(text(&out), there, "{subject} as {to:?}");
        }
    }
}
