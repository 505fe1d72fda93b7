//! `authorization` blocks: who may connect and what they may say.

use std::collections::HashSet;

use super::nkey::{self, Kind};
use super::schema::{Reader, array, at, boolean, integer, map, text};
use super::tree::{Map, Node, Value};
use crate::notation::{parse_duration, quote};

/// Names of users and their keys, which must be unique in a file.
pub(super) type Users = HashSet<String>;

/// What an `authorization` block says.
#[derive(Default)]
pub(super) struct Credentials {
    pub(super) user: String,
    pub(super) password: String,
    pub(super) token: String,
    pub(super) timeout_s: Option<f64>,
    pub(super) proxy_required: bool,
    /// Names under `users`, if there is such a list.
    pub(super) users: Option<Vec<String>>,
    pub(super) has_callout: bool,
    pub(super) has_permissions: bool,
}

/// The block at the top level, which alone has an effect so far.
pub(super) fn set_authorization(reader: &mut Reader, _: &str, node: &Node) -> Result<(), String> {
    let block = read_credentials(reader, node)?;
    let settings = &mut reader.settings;
    settings.username = Some(block.user.clone());
    settings.password = Some(block.password.clone());
    settings.token = Some(block.token.clone());
    settings.auth_timeout_s = block.timeout_s;
    let has_user = !block.user.is_empty();
    let has_token = !block.token.is_empty();
    if (has_user || !block.password.is_empty()) && has_token {
        return Err(at(node, "Cannot have a user/pass and token"));
    }
    for (wanted, feature) in [
        (block.has_callout, "authorization.auth_callout"),
        (block.proxy_required, "authorization.proxy_required"),
        (block.users.as_ref().is_some_and(|users| !users.is_empty()), "authorization.users"),
    ] {
        if wanted {
            settings.missing_features.push(feature.to_owned());
        }
    }
    if block.users.is_none() && reader.users.is_empty() {
        return Ok(());
    }
    if has_user {
        return Err(at(node, "Can not have a single user/pass and a users array"));
    }
    if has_token {
        return Err(at(node, "Can not have a token and a users array"));
    }
    add_users(reader, block.users.unwrap_or_default(), node)
}

/// Adds names to the one space that all of them share.
pub(super) fn add_users(
    reader: &mut Reader,
    names: Vec<String>,
    node: &Node,
) -> Result<(), String> {
    for name in names {
        let is_nkey = nkey::is_public(&name, Kind::User);
        let kind = if is_nkey { "nkey" } else { "user" };
        if reader.users.contains(&name) {
            return Err(at(node, &format!("Duplicate {kind} {} detected", quote(&name))));
        }
        reader.users.insert(name);
    }
    Ok(())
}

/// Reads an `authorization` block of any listener that shares this form.
pub(super) fn read_credentials(reader: &mut Reader, node: &Node) -> Result<Credentials, String> {
    let mut block = Credentials::default();
    for (key, node) in map(node)?.iter() {
        match key.to_lowercase().as_str() {
            "user" | "username" => block.user = text(node)?,
            "pass" | "password" => block.password = text(node)?,
            "token" => block.token = text(node)?,
            "timeout" => block.timeout_s = Some(timeout(reader, "authorization", key, node)?),
            "users" => match read_users(reader, node) {
                Ok(users) => block.users = Some(users),
                Err(problem) => reader.errors.push(problem),
            },
            "default_permission" | "default_permissions" | "permissions" => {
                block.has_permissions = true;
                if let Err(problem) = check_permissions(reader, key, node) {
                    reader.errors.push(problem);
                }
            }
            "auth_callout" | "auth_hook" => {
                block.has_callout = true;
                if let Err(problem) = check_callout(reader, node) {
                    reader.errors.push(problem);
                }
            }
            "proxy_required" => block.proxy_required = boolean(node)?,
            _ => reader.unknown(key, node),
        }
    }
    Ok(block)
}

/// Seconds as a number, or a duration; more than a minute is probably a slip.
fn timeout(reader: &mut Reader, owner: &str, key: &str, node: &Node) -> Result<f64, String> {
    let (seconds, shown) = match &node.value {
        Value::Integer(seconds) => (*seconds as f64, seconds.to_string()),
        Value::Float(seconds) => (*seconds, seconds.to_string()),
        Value::String(bytes) => {
            let written = String::from_utf8_lossy(bytes).into_owned();
            let nanoseconds = parse_duration(&written).map_err(|problem| {
                at(node, &format!("error parsing {owner} config, 'timeout' {problem}"))
            })?;
            (nanoseconds as f64 / 1e9, written)
        }
        _ => {
            return Err(at(node, &format!("error parsing {owner} config, 'timeout' wrong type")));
        }
    };
    if seconds > 60.0 {
        let reason = format!(
            "timeout of {shown} ({seconds:.6} seconds) is high, consider keeping it under 60 \
             seconds. possibly caused by unquoted duration; use '1m' instead of 1m, for example"
        );
        reader.warn(key, node, &reason);
    }
    Ok(seconds)
}

/// A list of users; returns their names or keys.
pub(super) fn read_users(reader: &mut Reader, node: &Node) -> Result<Vec<String>, String> {
    let Value::Array(entries) = &node.value else {
        let shown = shown(&node.value);
        return Err(at(node, &format!("Expected users field to be an array, got {shown}")));
    };
    let mut names = Vec::new();
    for entry in entries {
        let Value::Map(user) = &entry.value else {
            let shown = shown(&entry.value);
            let reason = format!("Expected user entry to be a map/struct, got {shown}");
            reader.errors.push(at(entry, &reason));
            continue;
        };
        names.push(read_user(reader, entry, user)?);
    }
    Ok(names)
}

fn read_user(reader: &mut Reader, entry: &Node, user: &Map) -> Result<String, String> {
    let (mut nkey, mut name, mut password) = (String::new(), String::new(), String::new());
    // Complaints about the entry as a whole point at its last key.
    let mut last = entry;
    for (key, node) in user.iter() {
        last = node;
        match key.to_lowercase().as_str() {
            "nkey" => nkey = text(node)?,
            "user" | "username" => name = text(node)?,
            "pass" | "password" => password = text(node)?,
            "permission" | "permissions" | "authorization" => {
                if let Err(problem) = check_permissions(reader, key, node) {
                    reader.errors.push(problem);
                }
            }
            "allowed_connection_types" | "connection_types" | "clients" => {
                if let Err(problem) = check_connection_types(reader, node) {
                    reader.errors.push(problem);
                }
            }
            "proxy_required" => drop(boolean(node)?),
            _ => reader.unknown(key, node),
        }
    }
    if nkey.is_empty() && name.is_empty() {
        return Err(at(last, "User entry requires a user"));
    }
    if nkey.is_empty() {
        return Ok(name);
    }
    if !nkey::is_public(&nkey, Kind::User) {
        return Err(at(last, "Not a valid public nkey for a user"));
    }
    if !name.is_empty() || !password.is_empty() {
        return Err(at(last, "Nkey users do not take usernames or passwords"));
    }
    Ok(nkey)
}

fn check_connection_types(reader: &mut Reader, node: &Node) -> Result<(), String> {
    const TYPES: [&str; 7] =
        ["STANDARD", "WEBSOCKET", "LEAFNODE", "LEAFNODE_WS", "MQTT", "MQTT_WS", "IN_PROCESS"];
    let unknown: Vec<String> = string_list(reader, "allowed connection types", node)?
        .iter()
        .map(|name| name.to_uppercase())
        .filter(|name| !TYPES.contains(&name.as_str()))
        .map(|name| quote(&name))
        .collect();
    if unknown.is_empty() {
        return Ok(());
    }
    Err(at(node, &format!("invalid connection types [{}]", unknown.join(" "))))
}

/// One string or several; elements that are none are complained about and left out.
pub(super) fn string_list(
    reader: &mut Reader,
    field: &str,
    node: &Node,
) -> Result<Vec<String>, String> {
    let nodes = match &node.value {
        Value::String(_) => std::slice::from_ref(node),
        Value::Array(nodes) => nodes,
        other => {
            let found = other.type_name();
            return Err(at(node, &format!("error parsing {field}: unsupported type {found}")));
        }
    };
    let mut strings = Vec::new();
    for element in nodes {
        if let Ok(string) = text(element) {
            strings.push(string);
        } else {
            let found = element.value.type_name();
            let reason = format!("error parsing {field}: unsupported type in array {found}");
            reader.errors.push(at(element, &reason));
        }
    }
    Ok(strings)
}

fn check_callout(reader: &mut Reader, node: &Node) -> Result<(), String> {
    let Value::Map(block) = &node.value else {
        let shown = shown(&node.value);
        let reason = format!("Expected authorization callout to be a map/struct, got {shown}");
        return Err(at(node, &reason));
    };
    let (mut has_issuer, mut has_users) = (false, false);
    let mut last = node;
    for (key, node) in block.iter() {
        last = node;
        match key.to_lowercase().as_str() {
            "issuer" => {
                let issuer = text(node)?;
                has_issuer = !issuer.is_empty();
                if !nkey::is_public(&issuer, Kind::Account) {
                    let reason = "Expected callout user to be a valid public account nkey, got";
                    return Err(at(node, &format!("{reason} {}", quote(&issuer))));
                }
            }
            "account" | "acc" => drop(text(node)?),
            "auth_users" | "users" => {
                has_users = !text_array("auth_users", node)?.is_empty();
            }
            "allowed_accounts" => drop(text_array("allowed accounts", node)?),
            "xkey" | "key" => {
                let key = text(node)?;
                if !nkey::is_public(&key, Kind::Curve) {
                    let reason = "Expected callout xkey to be a valid public xkey, got";
                    return Err(at(node, &format!("{reason} {}", quote(&key))));
                }
            }
            _ if node.referenced => {}
            _ => {
                let reason = format!("Unknown field {} parsing authorization callout", quote(key));
                reader.errors.push(at(node, &reason));
            }
        }
    }
    if !has_issuer {
        return Err(at(last, "Authorization callouts require an issuer to be specified"));
    }
    if !has_users {
        return Err(at(last, "Authorization callouts require authorized users to be specified"));
    }
    Ok(())
}

fn text_array(field: &str, node: &Node) -> Result<Vec<String>, String> {
    match &node.value {
        Value::Array(nodes) => nodes.iter().map(text).collect(),
        _ => Err(at(node, &format!("Expected {field} field to be an array, got *conf.token"))),
    }
}

/// `permissions` of a user, of an account, or of a cluster's routes.
pub(super) fn check_permissions(reader: &mut Reader, _: &str, node: &Node) -> Result<(), String> {
    let Value::Map(block) = &node.value else {
        let shown = shown(&node.value);
        return Err(at(node, &format!("Expected permissions to be a map/struct, got {shown}")));
    };
    for (key, node) in block.iter() {
        let checked = match key.to_lowercase().as_str() {
            "pub" | "publish" | "import" => check_subject_permission(reader, node, false),
            "sub" | "subscribe" | "export" => check_subject_permission(reader, node, true),
            "publish_allow_responses" | "allow_responses" => check_responses(reader, node),
            _ if node.referenced => Ok(()),
            _ => Err(at(node, &format!("Unknown field {} parsing permissions", quote(key)))),
        };
        if let Err(problem) = checked {
            reader.errors.push(problem);
        }
    }
    Ok(())
}

fn check_subject_permission(
    reader: &mut Reader,
    node: &Node,
    allow_queue: bool,
) -> Result<(), String> {
    let Value::Map(block) = &node.value else {
        // In this form the reference forgets where it was.
        return check_subjects(node, allow_queue, false);
    };
    for (key, node) in block.iter() {
        let checked = match key.to_lowercase().as_str() {
            "allow" | "deny" => check_subjects(node, allow_queue, true),
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
        if let Err(problem) = checked {
            reader.errors.push(problem);
        }
    }
    Ok(())
}

/// A subject or a list of them, where `allow_queue` also takes `subject queue`.
pub(super) fn check_subjects(
    node: &Node,
    allow_queue: bool,
    with_position: bool,
) -> Result<(), String> {
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
    Ok(())
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

fn check_responses(reader: &mut Reader, node: &Node) -> Result<(), String> {
    let block = match &node.value {
        Value::Bool(_) => return Ok(()),
        Value::Map(block) => block,
        _ => {
            let reason = "error parsing response permissions, expected a boolean or a map";
            return Err(at(node, reason));
        }
    };
    for (key, node) in block.iter() {
        match key.to_lowercase().as_str() {
            "max" | "max_msgs" | "max_messages" | "max_responses" => drop(integer(node)?),
            "expires" | "expiration" | "ttl" => {
                let expires = text(node)
                    .map_err(|_| at(node, "error parsing expires, not a duration string"))?;
                parse_duration(&expires)
                    .map_err(|problem| at(node, &format!("error parsing expires: {problem}")))?;
            }
            _ if node.referenced => {}
            _ => {
                let reason = format!("Unknown field {} parsing permissions", quote(key));
                reader.errors.push(at(node, &reason));
            }
        }
    }
    Ok(())
}

/// `authorization` of `websocket` and `mqtt`.
pub(super) fn check_simple(reader: &mut Reader, _: &str, node: &Node) -> Result<(), String> {
    for (key, node) in map(node)?.iter() {
        match key.to_lowercase().as_str() {
            "user" | "username" | "pass" | "password" | "token" => drop(text(node)?),
            // Anything that is no number counts as one second.
            "timeout" => {}
            _ => reader.unknown(key, node),
        }
    }
    Ok(())
}

/// `authorization` of `leafnodes`.
pub(super) fn check_leaf(reader: &mut Reader, _: &str, node: &Node) -> Result<(), String> {
    for (key, node) in map(node)?.iter() {
        match key.to_lowercase().as_str() {
            "user" | "username" | "pass" | "password" | "account" => drop(text(node)?),
            "proxy_required" => drop(boolean(node)?),
            "nkey" => {
                if !nkey::is_public(&text(node)?, Kind::User) {
                    let reason = "Not a valid public nkey for leafnode authorization";
                    reader.errors.push(at(node, reason));
                }
            }
            "timeout" => drop(timeout(reader, "leafnode authorization", key, node)?),
            "users" => check_leaf_users(reader, node)?,
            _ => reader.unknown(key, node),
        }
    }
    Ok(())
}

fn check_leaf_users(reader: &mut Reader, node: &Node) -> Result<(), String> {
    let entries = array(node).map_err(|_| {
        let shown = shown(&node.value);
        at(node, &format!("Expected users field to be an array, got {shown}"))
    })?;
    for entry in entries {
        let Value::Map(user) = &entry.value else {
            let shown = shown(&entry.value);
            let reason = format!("Expected user entry to be a map/struct, got {shown}");
            reader.errors.push(at(entry, &reason));
            continue;
        };
        for (key, node) in user.iter() {
            match key.to_lowercase().as_str() {
                "user" | "username" | "pass" | "password" | "account" => drop(text(node)?),
                "proxy_required" => drop(boolean(node)?),
                _ => reader.unknown(key, node),
            }
        }
    }
    Ok(())
}

/// A scalar as messages show it.
pub(super) fn shown(value: &Value) -> String {
    match value {
        Value::Bool(value) => value.to_string(),
        Value::Integer(value) => value.to_string(),
        Value::Float(value) => value.to_string(),
        Value::DateTime(text) => text.clone(),
        Value::String(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        Value::Array(_) => "an array".to_owned(),
        Value::Map(_) => "a map".to_owned(),
    }
}
