//! Templates in the permissions of a role: `{{name()}}`, `{{tag(k)}}` and their like (spec 3.4).

use subjects::grammar;

use crate::model::Rule;

/// Subjects that one list may grow to.
const SUBJECTS_MAX: usize = 4096;

/// What templates may name.
#[derive(Debug)]
pub(crate) struct Values<'a> {
    pub(crate) name: &'a str,
    pub(crate) subject: &'a str,
    pub(crate) account_name: &'a str,
    pub(crate) account_subject: &'a str,
    pub(crate) tags: &'a [String],
    pub(crate) account_tags: &'a [String],
}

impl Values<'_> {
    /// Fills in the templates of a rule. What cannot be filled in is no permission; a prohibition
    /// that cannot be filled in voids all: `None`.
    pub(crate) fn fill_in(&self, rule: &mut Rule) -> Option<()> {
        let was_limited = rule.allow.is_some();
        if let Some(allow) = rule.allow.take() {
            let filled = self.fill_in_list(&allow, false)?;
            rule.allow = Some(filled).filter(|filled| !filled.is_empty());
        }
        rule.deny = self.fill_in_list(&rule.deny, true)?;
        if was_limited && rule.allow.is_none() {
            rule.deny.push(">".to_owned());
        }
        Some(())
    }

    fn fill_in_list(&self, list: &[String], strict: bool) -> Option<Vec<String>> {
        let mut filled = Vec::new();
        for subject in list {
            let variants = self.variants(subject)?;
            if strict && variants.is_empty() {
                return None;
            }
            for variant in variants {
                let valid = variant.split_whitespace().count() == 1
                    && grammar::is_pattern(variant.as_bytes());
                match (valid || variant == *subject, strict) {
                    (true, _) => filled.push(variant),
                    (false, true) => return None,
                    (false, false) => {}
                }
            }
            if filled.len() > SUBJECTS_MAX {
                return None;
            }
        }
        Some(filled)
    }

    /// The subject with every value of its first template, and so on; none if a tag has no value.
    fn variants(&self, subject: &str) -> Option<Vec<String>> {
        let Some((before, rest)) = subject.split_once("{{") else {
            return Some(vec![subject.to_owned()]);
        };
        let Some((operation, after)) = rest.split_once("}}") else {
            return Some(vec![subject.to_owned()]);
        };
        let ends = self.variants(after)?;
        let mut all = Vec::new();
        for value in self.values(operation.trim())? {
            all.extend(ends.iter().map(|end| format!("{before}{value}{end}")));
            if all.len() > SUBJECTS_MAX {
                return None;
            }
        }
        Some(all)
    }

    fn values(&self, operation: &str) -> Option<Vec<String>> {
        let lower = operation.to_lowercase();
        let one = |text: &str| Some(vec![text.to_owned()]);
        match lower.as_str() {
            "name()" => return one(self.name),
            "subject()" => return one(self.subject),
            "account-name()" => return one(self.account_name),
            "account-subject()" => return one(self.account_subject),
            _ => {}
        }
        let tag = |prefix: &str| Some(lower.strip_prefix(prefix)?.strip_suffix(')')?.to_owned());
        let (wanted, tags) = match (tag("tag("), tag("account-tag(")) {
            (Some(wanted), _) => (wanted, self.tags),
            (_, Some(wanted)) => (wanted, self.account_tags),
            _ => return None,
        };
        let prefix = format!("{wanted}:");
        let values = tags.iter().filter_map(|tag| tag.strip_prefix(&prefix).map(str::to_owned));
        Some(values.collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fill_in(allow: Option<&str>, deny: &[&str]) -> Option<Rule> {
        let tags = ["dept:a".to_owned(), "dept:b".to_owned(), "bad:x y".to_owned()];
        let values = Values {
            name: "n",
            subject: "U1",
            account_name: "acc",
            account_subject: "A1",
            tags: &tags,
            account_tags: &["zone:z".to_owned()],
        };
        let allow = allow.map(|subject| vec![subject.to_owned()]);
        let deny = deny.iter().map(|subject| (*subject).to_owned()).collect();
        let mut rule = Rule { allow, deny };
        values.fill_in(&mut rule)?;
        Some(rule)
    }

    #[test]
    fn templates() {
        for (template, expected) in [
            ("a.b", &["a.b"][..]),
            ("{{name()}}.{{Subject()}}.>", &["n.U1.>"]),
            ("{{account-name()}}.{{account-subject()}}", &["acc.A1"]),
            ("x.{{tag(dept)}}.{{account-tag(zone)}}", &["x.a.z", "x.b.z"]),
            ("{{tag(dept)}}.{{tag(dept)}}", &["a.a", "a.b", "b.a", "b.b"]),
        ] {
            let rule = fill_in(Some(template), &[]).expect(template);
            assert_eq!(rule.allow.expect("a list"), expected, "{template}");
        }
    }

    #[test]
    fn what_has_no_value() {
        let rule = fill_in(Some("{{tag(none)}}"), &[]).expect("nothing is allowed");
        assert_eq!((rule.allow, rule.deny), (None, vec![">".to_owned()]));
        assert_eq!(fill_in(Some("{{tag(bad)}}"), &[]).expect("it is left out").allow, None);
        assert_eq!(fill_in(None, &["{{tag(none)}}"]), None);
        assert_eq!(fill_in(None, &["{{tag(bad)}}"]), None);
        assert_eq!(fill_in(Some("{{frob()}}"), &[]), None);
    }
}
