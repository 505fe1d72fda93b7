//! `permissions` of users, of accounts, and of routes.

use accounts::{Permissions, ResponsePermission, Rule};
use base::Duration;

use super::auth::shown;
use super::schema::{Reader, at, integer, text};
use super::tree::{Node, Value};
use crate::notation::{parse_duration, quote};

/// Replies that a request may have, and for how long, where the file does not say.
const RESPONSES: ResponsePermission =
    ResponsePermission { max: 1, expires: Duration::from_mins(2) };

/// `permissions` of which the form alone is of interest.
pub(super) fn check_permissions(reader: &mut Reader, _: &str, node: &Node) -> Result<(), String> {
    read_permissions(reader, node).map(drop)
}

/// `permissions`. What is wrong in parts of it is complained about and left out.
pub(super) fn read_permissions(reader: &mut Reader, node: &Node) -> Result<Permissions, String> {
    let Value::Map(block) = &node.value else {
        let shown = shown(&node.value);
        return Err(at(node, &format!("Expected permissions to be a map/struct, got {shown}")));
    };
    let mut permissions = Permissions::default();
    for (key, node) in block.iter() {
        let read = match key.to_lowercase().as_str() {
            "pub" | "publish" | "import" => {
                read_rule(reader, node, false).map(|rule| permissions.publish = rule)
            }
            "sub" | "subscribe" | "export" => {
                read_rule(reader, node, true).map(|rule| permissions.subscribe = rule)
            }
            "publish_allow_responses" | "allow_responses" => {
                read_responses(reader, node).map(|read| permissions.responses = read)
            }
            _ if node.referenced => Ok(()),
            _ => Err(at(node, &format!("Unknown field {} parsing permissions", quote(key)))),
        };
        if let Err(problem) = read {
            reader.errors.push(problem);
        }
    }
    Ok(permissions)
}

fn read_rule(reader: &mut Reader, node: &Node, allow_queue: bool) -> Result<Rule, String> {
    // An empty list is as good as none.
    let listed = |subjects: Vec<String>| Some(subjects).filter(|subjects| !subjects.is_empty());
    let Value::Map(block) = &node.value else {
        // In this form the reference forgets where it was.
        let allow = listed(read_subjects(node, allow_queue, false)?);
        return Ok(Rule { allow, deny: Vec::new() });
    };
    let mut rule = Rule::default();
    for (key, node) in block.iter() {
        let read = match key.to_lowercase().as_str() {
            "allow" => read_subjects(node, allow_queue, true).map(|read| rule.allow = listed(read)),
            "deny" => read_subjects(node, allow_queue, true).map(|read| rule.deny = read),
            _ if node.referenced => Ok(()),
            _ => Err(at(
                node,
                &format!(
                    "Unknown field name {} parsing subject permissions, only 'allow' or 'deny' \
                     are permitted",
                    quote(key)
                ),
            )),
        };
        if let Err(problem) = read {
            reader.errors.push(problem);
        }
    }
    Ok(rule)
}

/// A subject or a list of them, where `allow_queue` also takes `subject queue`.
pub(super) fn read_subjects(
    node: &Node,
    allow_queue: bool,
    with_position: bool,
) -> Result<Vec<String>, String> {
    let problem = |reason: String| {
        if with_position { at(node, &reason) } else { reason }
    };
    let subjects = match &node.value {
        Value::String(_) => vec![text(node)?],
        Value::Array(nodes) => nodes
            .iter()
            .map(|element| {
                text(element).map_err(|_| {
                    at(element, "Subject in permissions array cannot be cast to string")
                })
            })
            .collect::<Result<_, _>>()?,
        other => {
            return Err(problem(format!(
                "Expected subject permissions to be a subject, or array of subjects, got {}",
                other.type_name()
            )));
        }
    };
    for subject in &subjects {
        check_subject(subject, allow_queue).map_err(problem)?;
    }
    Ok(subjects)
}

fn check_subject(subject: &str, allow_queue: bool) -> Result<(), String> {
    let invalid = |subject: &str| format!("subject {} is not a valid subject", quote(subject));
    if is_subject(subject) {
        return Ok(());
    }
    let parts: Vec<&str> = subject.split_whitespace().collect();
    match parts.as_slice() {
        [subject, queue] if allow_queue => {
            if !is_subject(subject) {
                return Err(invalid(subject));
            }
            if !is_subject(queue) {
                return Err(format!("queue {} is not a valid queue", quote(queue)));
            }
            Ok(())
        }
        _ => Err(invalid(subject)),
    }
}

/// Whether a text is a subject, wildcards allowed.
pub(super) fn is_subject(subject: &str) -> bool {
    let blank = |c: char| matches!(c, ' ' | '\t' | '\n' | '\r' | '\x0c');
    let mut tokens = subject.split('.').peekable();
    while let Some(token) = tokens.next() {
        if token.is_empty() || token.contains(blank) || (token == ">" && tokens.peek().is_some()) {
            return false;
        }
    }
    true
}

/// Zero stands for the default, less for no limit.
fn read_responses(reader: &mut Reader, node: &Node) -> Result<Option<ResponsePermission>, String> {
    let block = match &node.value {
        Value::Bool(wanted) => return Ok(wanted.then_some(RESPONSES)),
        Value::Map(block) => block,
        _ => {
            let reason = "error parsing response permissions, expected a boolean or a map";
            return Err(at(node, reason));
        }
    };
    let mut responses = RESPONSES;
    for (key, node) in block.iter() {
        match key.to_lowercase().as_str() {
            "max" | "max_msgs" | "max_messages" | "max_responses" => match integer(node)? {
                0 => {}
                max => responses.max = max,
            },
            "expires" | "expiration" | "ttl" => {
                let expires = text(node)
                    .map_err(|_| at(node, "error parsing expires, not a duration string"))?;
                let nanoseconds = parse_duration(&expires)
                    .map_err(|problem| at(node, &format!("error parsing expires: {problem}")))?;
                if nanoseconds != 0 {
                    let nanoseconds = u64::try_from(nanoseconds).unwrap_or(0);
                    responses.expires = Duration::from_nanos(nanoseconds);
                }
            }
            _ if node.referenced => {}
            _ => {
                let reason = format!("Unknown field {} parsing permissions", quote(key));
                reader.errors.push(at(node, &reason));
            }
        }
    }
    Ok(Some(responses))
}
