//! `authorization` blocks: who may connect and what they may say.

use std::collections::HashSet;

use accounts::{ConnectionKind, ConnectionKinds, Permissions, Secret};

use super::callout::{self, Callout};
use super::nkey::{self, Kind};
pub(super) use super::permissions::{check_permissions, is_subject, read_permissions};
use super::schema::{Reader, array, at, boolean, map, text};
use super::tree::{Map, Node, Value};
use crate::notation::{parse_duration, quote};

/// Names of users and their keys, which must be unique in a file.
pub(super) type Users = HashSet<String>;

/// One who may connect, as the file says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// The name, or the public key.
    pub name: String,
    /// Is it a key?
    pub has_key: bool,
    /// The password; empty for a key.
    pub secret: Secret,
    /// The account that the user belongs to; empty for the global one.
    pub account: String,
    /// What the user may do; everything if `None`.
    pub permissions: Option<Permissions>,
    /// How the user may come in.
    pub kinds: ConnectionKinds,
    /// Only through a trusted proxy?
    pub proxy_required: bool,
}

/// What an `authorization` block says.
#[derive(Default)]
pub(super) struct Credentials {
    pub(super) user: String,
    pub(super) password: String,
    pub(super) token: String,
    pub(super) timeout_s: Option<f64>,
    pub(super) proxy_required: bool,
    /// `users`, if there is such a list.
    pub(super) users: Option<Vec<User>>,
    pub(super) callout: Option<Callout>,
    /// For users without permissions of their own.
    pub(super) permissions: Option<Permissions>,
}

/// The block at the top level.
pub(super) fn set_authorization(reader: &mut Reader, _: &str, node: &Node) -> Result<(), String> {
    let mut block = read_credentials(reader, node)?;
    if let (Some(users), Some(permissions)) = (&mut block.users, &block.permissions) {
        give_default(users, permissions);
    }
    let settings = &mut reader.settings;
    settings.proxy_required = Some(block.proxy_required);
    settings.username = Some(block.user.clone());
    settings.password = Some(block.password.clone());
    settings.token = Some(block.token.clone());
    settings.auth_timeout_s = block.timeout_s;
    let has_user = !block.user.is_empty();
    let has_token = !block.token.is_empty();
    if (has_user || !block.password.is_empty()) && has_token {
        return Err(at(node, "Cannot have a user/pass and token"));
    }
    settings.callout = Some(block.callout.take());
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

/// Gives permissions to those who have none of their own.
pub(super) fn give_default(users: &mut [User], permissions: &Permissions) {
    for user in users.iter_mut().filter(|user| user.permissions.is_none()) {
        user.permissions = Some(permissions.clone());
    }
}

/// Adds users, whose names and keys share one space over all accounts.
pub(super) fn add_users(reader: &mut Reader, users: Vec<User>, node: &Node) -> Result<(), String> {
    reader.settings.users.get_or_insert_default();
    for user in users {
        let kind = if user.has_key { "nkey" } else { "user" };
        if !reader.users.insert(user.name.clone()) {
            return Err(at(node, &format!("Duplicate {kind} {} detected", quote(&user.name))));
        }
        reader.settings.users.get_or_insert_default().push(user);
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
                match read_permissions(reader, node) {
                    Ok(permissions) => block.permissions = Some(permissions),
                    Err(problem) => reader.errors.push(problem),
                }
            }
            "auth_callout" | "auth_hook" => match callout::read(reader, node) {
                Ok(callout) => block.callout = Some(callout),
                Err(problem) => reader.errors.push(problem),
            },
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

/// A list of users, of no account as yet.
pub(super) fn read_users(reader: &mut Reader, node: &Node) -> Result<Vec<User>, String> {
    let Value::Array(entries) = &node.value else {
        let shown = shown(&node.value);
        return Err(at(node, &format!("Expected users field to be an array, got {shown}")));
    };
    let mut users = Vec::new();
    for entry in entries {
        let Value::Map(user) = &entry.value else {
            let shown = shown(&entry.value);
            let reason = format!("Expected user entry to be a map/struct, got {shown}");
            reader.errors.push(at(entry, &reason));
            continue;
        };
        users.push(read_user(reader, entry, user)?);
    }
    Ok(users)
}

fn read_user(reader: &mut Reader, entry: &Node, user: &Map) -> Result<User, String> {
    let (mut nkey, mut name, mut password) = (String::new(), String::new(), String::new());
    let (mut permissions, mut kinds, mut proxy_required) = Default::default();
    // Complaints about the entry as a whole point at its last key.
    let mut last = entry;
    for (key, node) in user.iter() {
        last = node;
        match key.to_lowercase().as_str() {
            "nkey" => nkey = text(node)?,
            "user" | "username" => name = text(node)?,
            "pass" | "password" => password = text(node)?,
            "permission" | "permissions" | "authorization" => {
                match read_permissions(reader, node) {
                    Ok(read) => permissions = Some(read),
                    Err(problem) => reader.errors.push(problem),
                }
            }
            "allowed_connection_types" | "connection_types" | "clients" => {
                match read_connection_kinds(reader, node) {
                    Ok(read) => kinds = read,
                    Err(problem) => reader.errors.push(problem),
                }
            }
            "proxy_required" => proxy_required = boolean(node)?,
            _ => reader.unknown(key, node),
        }
    }
    if nkey.is_empty() && name.is_empty() {
        return Err(at(last, "User entry requires a user"));
    }
    let has_key = !nkey.is_empty();
    if has_key && !nkey::is_public(&nkey, Kind::User) {
        return Err(at(last, "Not a valid public nkey for a user"));
    }
    if has_key && !(name.is_empty() && password.is_empty()) {
        return Err(at(last, "Nkey users do not take usernames or passwords"));
    }
    Ok(User {
        name: if has_key { nkey } else { name },
        has_key,
        secret: Secret::new(password),
        account: String::new(),
        permissions,
        kinds,
        proxy_required,
    })
}

fn read_connection_kinds(reader: &mut Reader, node: &Node) -> Result<ConnectionKinds, String> {
    let names = string_list(reader, "allowed connection types", node)?;
    let unknown: Vec<String> = names
        .iter()
        .filter(|name| ConnectionKind::named(name).is_none())
        .map(|name| quote(&name.to_uppercase()))
        .collect();
    if unknown.is_empty() {
        return Ok(names.iter().filter_map(|name| ConnectionKind::named(name)).collect());
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

/// User, password and token of `authorization` in `websocket` and `mqtt`.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Single {
    pub(super) user: String,
    pub(super) password: String,
    pub(super) token: String,
}

/// `authorization` of `mqtt`.
pub(super) fn check_simple(reader: &mut Reader, _: &str, node: &Node) -> Result<(), String> {
    read_simple(reader, node).map(drop)
}

/// `authorization` of `websocket` and `mqtt`.
pub(super) fn read_simple(reader: &mut Reader, node: &Node) -> Result<Single, String> {
    let mut single = Single::default();
    for (key, node) in map(node)?.iter() {
        match key.to_lowercase().as_str() {
            "user" | "username" => single.user = text(node)?,
            "pass" | "password" => single.password = text(node)?,
            "token" => single.token = text(node)?,
            // Anything that is no number counts as one second.
            "timeout" => {}
            _ => reader.unknown(key, node),
        }
    }
    Ok(single)
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
