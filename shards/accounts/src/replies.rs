//! Requests that a connection received and may answer although their reply subject is not one that
//! it may publish to (spec 3.2, `allow_responses`).

use std::collections::{HashMap, VecDeque};

use base::limits::REPLIES_MAX;
use base::{Duration, Time};

use crate::model::ResponsePermission;

/// The requests that may be answered, oldest first.
#[derive(Debug, Default)]
pub(crate) struct Replies {
    by_subject: HashMap<Box<[u8]>, Reply>,
    /// Subjects in the order in which they were allowed, with the moment: one that is not the
    /// moment of the subject's entry is out of date.
    order: VecDeque<(Time, Box<[u8]>)>,
}

#[derive(Debug)]
struct Reply {
    since: Time,
    sent: i64,
}

impl Replies {
    /// Allows answers to a request. If there are too many open requests, the oldest is forgotten.
    pub(crate) fn allow(&mut self, subject: &[u8], rule: &ResponsePermission, now: Time) {
        self.expire(rule.expires, now);
        self.by_subject.insert(subject.into(), Reply { since: now, sent: 0 });
        self.order.push_back((now, subject.into()));
    }

    /// Takes one of the answers that a request may have. False if there is none left.
    pub(crate) fn claim(&mut self, subject: &[u8], rule: &ResponsePermission, now: Time) -> bool {
        let Some(reply) = self.by_subject.get_mut(subject) else { return false };
        reply.sent += 1;
        let spent = rule.max > 0 && reply.sent >= rule.max;
        let late = !rule.expires.is_zero() && now.since(reply.since) > rule.expires;
        if spent || late {
            self.by_subject.remove(subject);
        }
        !late
    }

    fn expire(&mut self, expires: Duration, now: Time) {
        while let Some((since, subject)) = self.order.front() {
            let current = self.by_subject.get(subject).is_some_and(|reply| reply.since == *since);
            let late = !expires.is_zero() && now.since(*since) > expires;
            if current && !late && self.by_subject.len() < REPLIES_MAX {
                break;
            }
            if current {
                self.by_subject.remove(subject);
            }
            self.order.pop_front();
        }
        if self.order.len() > 2 * self.by_subject.len() + 64 {
            let by_subject = &self.by_subject;
            self.order.retain(|(since, subject)| {
                by_subject.get(subject).is_some_and(|reply| reply.since == *since)
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(count: u64) -> Time {
        Time(0).after(Duration::from_secs(count))
    }

    #[test]
    fn answers_are_counted_and_timed() {
        let rule = ResponsePermission { max: 2, expires: Duration::from_secs(10) };
        let mut replies = Replies::default();
        assert!(!replies.claim(b"a", &rule, seconds(0)));
        replies.allow(b"a", &rule, seconds(0));
        replies.allow(b"b", &rule, seconds(0));
        assert!(replies.claim(b"a", &rule, seconds(1)));
        assert!(replies.claim(b"a", &rule, seconds(10)));
        assert!(!replies.claim(b"a", &rule, seconds(10)));
        assert!(!replies.claim(b"b", &rule, seconds(11)));
    }

    #[test]
    fn no_limit_is_none() {
        let rule = ResponsePermission { max: -1, expires: Duration::ZERO };
        let mut replies = Replies::default();
        replies.allow(b"a", &rule, seconds(0));
        for second in 0..100_000 {
            assert!(replies.claim(b"a", &rule, seconds(second)));
        }
    }

    #[test]
    fn what_is_not_answered_does_not_pile_up() {
        let rule = ResponsePermission { max: 1, expires: Duration::from_secs(10) };
        let mut replies = Replies::default();
        for second in 0..1000 {
            replies.allow(format!("{second}").as_bytes(), &rule, seconds(second));
            assert!(replies.order.len() <= 12);
        }
        let rule = ResponsePermission { max: 1, expires: Duration::ZERO };
        for number in 0..REPLIES_MAX + 10 {
            replies.allow(format!("n{number}").as_bytes(), &rule, seconds(2000));
        }
        assert_eq!(replies.by_subject.len(), REPLIES_MAX);
        assert!(!replies.claim(b"n0", &rule, seconds(2000)));
        // Answered requests leave nothing behind either.
        for number in 0..3 * REPLIES_MAX {
            let subject = format!("m{number}");
            replies.allow(subject.as_bytes(), &rule, seconds(3000));
            assert!(replies.claim(subject.as_bytes(), &rule, seconds(3000)));
        }
        assert!(replies.order.len() <= 2 * REPLIES_MAX + 66);
    }
}
