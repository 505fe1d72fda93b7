//! What a connection may publish and subscribe to: permissions in a form that answers quickly
//! (spec 3.2).

use std::collections::HashSet;
use std::rc::Rc;

use base::Time;
use subjects::grammar;

use crate::answers::Answers;
use crate::model::{Permissions, ResponsePermission, Rule};
use crate::replies::Replies;

/// Subjects, of which those without a wildcard are found at once.
#[derive(Debug, Default)]
struct Patterns {
    literals: HashSet<Box<[u8]>>,
    wild: Vec<Box<[u8]>>,
}

impl Patterns {
    fn insert(&mut self, pattern: &str) {
        let pattern = pattern.as_bytes();
        if grammar::has_wildcard(pattern) {
            self.wild.push(pattern.into());
        } else {
            self.literals.insert(pattern.into());
        }
    }

    fn matches(&self, subject: &[u8]) -> bool {
        self.literals.contains(subject)
            || self.wild.iter().any(|pattern| grammar::matches(pattern, subject))
    }
}

/// Subjects for plain subscriptions and those for certain queue groups.
#[derive(Debug, Default)]
struct Groups {
    plain: Patterns,
    queues: Vec<Group>,
}

/// A queue group on a subject, each maybe with wildcards.
#[derive(Debug)]
struct Group {
    subject: Box<[u8]>,
    name: Box<[u8]>,
}

/// What a subject and a queue group come to in [`Groups`].
struct Found {
    plain: bool,
    /// Whether the group is named; `None` if no group is for that subject.
    queue: Option<bool>,
}

impl Groups {
    fn of<'a>(entries: impl IntoIterator<Item = &'a String>) -> Self {
        let mut groups = Self::default();
        for entry in entries {
            let mut words = entry.split_whitespace();
            match (words.next(), words.next()) {
                (Some(subject), None) => groups.plain.insert(subject),
                (Some(subject), Some(name)) => {
                    let (subject, name) = (subject.as_bytes().into(), name.as_bytes().into());
                    groups.queues.push(Group { subject, name });
                }
                (None, _) => {}
            }
        }
        groups
    }

    fn find(&self, subject: &[u8], queue: &[u8]) -> Found {
        let mut named = None;
        if !queue.is_empty() {
            for Group { subject: pattern, name } in &self.queues {
                if !grammar::matches(pattern, subject) {
                    continue;
                }
                // `*` and `>` may be names of groups as well as patterns.
                let same = **name == *queue
                    || (grammar::has_wildcard(name) && grammar::matches(name, queue));
                named = Some(named.unwrap_or(false) || same);
            }
        }
        Found { plain: self.plain.matches(subject), queue: named }
    }

    fn subjects(&self) -> impl Iterator<Item = &[u8]> {
        let plain = self.plain.literals.iter().chain(&self.plain.wild);
        plain.chain(self.queues.iter().map(|group| &group.subject)).map(|subject| &**subject)
    }
}

/// The permissions of a user, ready to be asked. All connections of one core that have the same
/// permissions share them.
#[derive(Debug)]
pub struct Rules {
    source: Permissions,
    publish_allow: Option<Patterns>,
    publish_deny: Patterns,
    subscribe_allow: Option<Groups>,
    subscribe_deny: Groups,
    responses: Option<ResponsePermission>,
}

impl Rules {
    /// The rules of some permissions.
    pub fn new(source: Permissions) -> Self {
        let patterns = |entries: &[String]| {
            let mut patterns = Patterns::default();
            for entry in entries {
                patterns.insert(entry);
            }
            patterns
        };
        let Permissions { publish, subscribe, responses } = &source;
        let Rule { allow, deny } = publish;
        let mut publish_allow = allow.as_ref().map(|allow| patterns(allow));
        if responses.is_some() {
            // Who may answer is not thereby allowed everything else.
            publish_allow.get_or_insert_default();
        }
        // For subscriptions, unlike publishes, an empty list is none (observed).
        let subscribe_allow = subscribe.allow.as_ref().filter(|allow| !allow.is_empty());
        Self {
            publish_allow,
            publish_deny: patterns(deny),
            subscribe_allow: subscribe_allow.map(Groups::of),
            subscribe_deny: Groups::of(&subscribe.deny),
            responses: *responses,
            source,
        }
    }

    /// The permissions that these are the rules of.
    pub const fn source(&self) -> &Permissions {
        &self.source
    }

    fn may_publish(&self, subject: &[u8]) -> bool {
        self.publish_allow.as_ref().is_none_or(|allow| allow.matches(subject))
            && !self.publish_deny.matches(subject)
    }

    fn may_subscribe(&self, subject: &[u8], queue: &[u8]) -> bool {
        let allowed = self.subscribe_allow.as_ref().is_none_or(|allow| {
            let found = allow.find(subject, queue);
            found.queue.unwrap_or(found.plain)
        });
        allowed && !self.denies(subject, queue)
    }

    fn denies(&self, subject: &[u8], queue: &[u8]) -> bool {
        let found = self.subscribe_deny.find(subject, queue);
        found.plain || found.queue == Some(true)
    }

    fn limits_publishes(&self) -> bool {
        self.publish_allow.is_some()
            || !self.publish_deny.literals.is_empty()
            || !self.publish_deny.wild.is_empty()
    }
}

/// May a connection publish to a subject?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// As long as its rights stay the same.
    Always,
    /// This time, as the reply to a request.
    Once,
    /// No.
    Never,
}

/// What one connection may do.
#[derive(Debug)]
pub struct Rights {
    rules: Rc<Rules>,
    /// Publishes that were decided before.
    answers: Answers,
    /// Requests that may be answered.
    replies: Replies,
    /// May a subscription of this connection match what is denied?
    filters: bool,
}

impl Rights {
    /// The rights of a connection under these rules.
    pub fn new(rules: Rc<Rules>) -> Self {
        Self { rules, answers: Answers::default(), replies: Replies::default(), filters: false }
    }

    /// The rules.
    pub const fn rules(&self) -> &Rc<Rules> {
        &self.rules
    }

    /// Puts other rules in force. Replies stay allowed as long as the rule for them is the same;
    /// subscriptions have to be asked for anew.
    pub fn replace(&mut self, rules: Rc<Rules>) {
        if rules.responses != self.rules.responses {
            self.replies = Replies::default();
        }
        *self = Self { replies: std::mem::take(&mut self.replies), ..Self::new(rules) };
    }

    /// May the connection publish to a subject? Asking counts as a reply where only that allows it.
    #[inline]
    pub fn publish(&mut self, subject: &[u8], now: Time) -> Answer {
        if self.publishes_always(subject) {
            return Answer::Always;
        }
        match &self.rules.responses {
            Some(rule) if self.replies.claim(subject, rule, now) => Answer::Once,
            _ => Answer::Never,
        }
    }

    /// May the connection publish to a subject, whatever it does otherwise? Asking counts for
    /// nothing.
    #[inline]
    pub fn publishes_always(&mut self, subject: &[u8]) -> bool {
        if !self.rules.limits_publishes() {
            return true;
        }
        self.answers.find(subject).unwrap_or_else(|| {
            let allowed = self.rules.may_publish(subject);
            self.answers.note(subject, allowed);
            allowed
        })
    }

    /// May the connection subscribe? From then on what is delivered is looked at, if it could be
    /// something denied.
    pub fn subscribe(&mut self, subject: &[u8], queue: &[u8]) -> bool {
        if !self.rules.may_subscribe(subject, queue) {
            return false;
        }
        if !self.filters && (!queue.is_empty() || grammar::has_wildcard(subject)) {
            let mut denied = self.rules.subscribe_deny.subjects();
            self.filters = denied.any(|denied| grammar::collide(denied, subject));
        }
        true
    }

    /// Has anything to be done when messages are delivered?
    pub fn guards(&self) -> bool {
        self.filters || self.rules.responses.is_some()
    }

    /// May a message be delivered, to a member of a queue group or a plain subscription?
    pub fn admits(&self, subject: &[u8], queue: &[u8]) -> bool {
        !self.filters || !self.rules.denies(subject, queue)
    }

    /// A request was delivered: its reply may be sent.
    pub fn note_request(&mut self, reply: &[u8], now: Time) {
        let Some(rule) = self.rules.responses else { return };
        if !reply.is_empty() && self.publish(reply, now) == Answer::Never {
            self.replies.allow(reply, &rule, now);
        }
    }
}

#[cfg(test)]
mod tests {
    use base::Duration;

    use super::*;

    fn list(entries: &[&str]) -> Vec<String> {
        entries.iter().map(|entry| (*entry).to_owned()).collect()
    }

    fn subscribe(allow: Option<&[&str]>, deny: &[&str]) -> Rights {
        let subscribe = Rule { allow: allow.map(list), deny: list(deny) };
        Rights::new(Rc::new(Rules::new(Permissions { subscribe, ..Permissions::default() })))
    }

    fn publish(allow: Option<&[&str]>, deny: &[&str], max: Option<i64>) -> Rights {
        let publish = Rule { allow: allow.map(list), deny: list(deny) };
        let expires = Duration::from_mins(1);
        let responses = max.map(|max| ResponsePermission { max, expires });
        let permissions = Permissions { publish, responses, ..Permissions::default() };
        Rights::new(Rc::new(Rules::new(permissions)))
    }

    #[test]
    fn publishes() {
        for (allow, deny, subject, expected) in [
            (None, &["a"][..], "a", false),
            (None, &["a"], "b", true),
            (None, &["a.>"], "a", true),
            (Some(&["a.*", "b"][..]), &[], "a.x", true),
            (Some(&["a.*", "b"]), &[], "a.x.y", false),
            (Some(&["a.>"]), &["a.x"], "a.x", false),
            (Some(&["a.>"]), &["a.x"], "a.y", true),
            (Some(&[]), &[], "a", false),
            (Some(&[">"]), &[], "a..b", false),
            (None, &[">"], "a..b", true),
        ] {
            let mut rights = publish(allow, deny, None);
            for _ in 0..2 {
                let answer = rights.publish(subject.as_bytes(), Time(0)) == Answer::Always;
                assert_eq!(answer, expected, "{allow:?} {deny:?} {subject}");
            }
        }
    }

    #[test]
    fn subscriptions() {
        for (allow, deny, subject, queue, expected) in [
            (None, &["a"][..], "a", "", false),
            (None, &["a"], "a", "q", false),
            (None, &["a"], "*", "", true),
            (None, &["a.*"], "a.>", "", false),
            (Some(&["a.*"][..]), &[], "a.>", "", true),
            (Some(&["a.>"]), &[], "a.*", "q", true),
            (Some(&[]), &[], "a", "", true),
            (Some(&["a q"]), &[], "a", "q", true),
            (Some(&["a q"]), &[], "a", "", false),
            (Some(&["a q"]), &[], "a", "r", false),
            (Some(&["a", "a q"]), &[], "a", "", true),
            (Some(&["a", "a q"]), &[], "a", "r", false),
            (Some(&["a v1.*"]), &[], "a", "v1.x", true),
            (Some(&["a v1.*"]), &[], "a", "v2.x", false),
            (Some(&["a *"]), &[], "a", "*", true),
            (Some(&["b q"]), &[], "a", "q", false),
            (None, &["a q"], "a", "q", false),
            (None, &["a q"], "a", "r", true),
            (None, &["a q"], "a", "", true),
        ] {
            let mut rights = subscribe(allow, deny);
            let answer = rights.subscribe(subject.as_bytes(), queue.as_bytes());
            assert_eq!(answer, expected, "{allow:?} {deny:?} {subject} {queue}");
        }
    }

    #[test]
    fn deliveries_are_looked_at_once_they_could_be_denied() {
        let mut rights = subscribe(None, &["a.x", "b q"]);
        assert!(rights.subscribe(b"a.y", b""));
        assert!(rights.subscribe(b"c.*", b""));
        assert!(!rights.guards());
        assert!(rights.subscribe(b"a.*", b""));
        assert!(rights.guards());
        assert!(!rights.admits(b"a.x", b""));
        assert!(rights.admits(b"a.y", b""));
        assert!(rights.admits(b"b", b""));
        assert!(!rights.admits(b"b", b"q"));
    }

    #[test]
    fn replies_to_requests() {
        let mut rights = publish(None, &[], Some(1));
        assert!(rights.guards());
        assert_eq!(rights.publish(b"in.1", Time(0)), Answer::Never);
        rights.note_request(b"in.1", Time(0));
        rights.note_request(b"", Time(0));
        assert_eq!(rights.publish(b"in.1", Time(0)), Answer::Once);
        assert_eq!(rights.publish(b"in.1", Time(0)), Answer::Never);
        let rules = Rc::clone(rights.rules());
        rights.note_request(b"in.2", Time(0));
        rights.replace(rules);
        assert_eq!(rights.publish(b"in.2", Time(0)), Answer::Once);
        let mut rights = publish(Some(&["in.>"]), &[], Some(1));
        rights.note_request(b"in.1", Time(0));
        for _ in 0..3 {
            assert_eq!(rights.publish(b"in.1", Time(0)), Answer::Always);
        }
    }
}
