//! `accounts`, and the keys about where accounts come from.

use std::collections::HashSet;

use accounts::{Account, Directory, Limits, Permissions};
use base::AccountId;

use super::auth::{self, is_subject, shown, string_list};
use super::exchange::{self, Offers};
use super::jetstream;
use super::mappings;
use super::nkey::{self, Kind};
use super::schema::{Reader, at, integer, text};
use super::tree::{Map, Node, Value};
use crate::notation::quote;

/// The account that is always there.
const GLOBAL: &str = "$G";

/// The system account, unless another is named.
const SYSTEM: &str = "$SYS";

/// `accounts`: a list of names, or a map of blocks.
pub(super) fn set(reader: &mut Reader, _: &str, node: &Node) -> Result<(), String> {
    match &node.value {
        Value::Array(names) => set_names(reader, names),
        Value::Map(accounts) => {
            set_map(reader, accounts, node);
            Ok(())
        }
        _ => Ok(()),
    }
}

/// The accounts that the file has named so far.
fn directory(reader: &mut Reader) -> &mut Directory {
    reader.settings.accounts.get_or_insert_default()
}

/// Where an account stands: `$SYS` has a place of its own.
fn place(reader: &mut Reader, account: Account) -> AccountId {
    reader.settings.has_named_system |= account.name == SYSTEM;
    let directory = directory(reader);
    if account.name == SYSTEM {
        directory.accounts[AccountId::SYSTEM.index()] = account;
        return AccountId::SYSTEM;
    }
    directory.accounts.push(account);
    AccountId(directory.accounts.len() as u32 - 1)
}

fn set_names(reader: &mut Reader, names: &[Node]) -> Result<(), String> {
    let mut seen = HashSet::new();
    for node in names {
        let name = text(node)?;
        if name == GLOBAL {
            reader.errors.push(at(node, &format!("{} is a Reserved Account", quote(&name))));
        } else if !seen.insert(name.clone()) {
            reader.errors.push(at(node, &format!("Duplicate Account Entry: {name}")));
        } else {
            place(reader, Account::new(&name));
        }
    }
    Ok(())
}

fn set_map(reader: &mut Reader, accounts: &Map, whole: &Node) {
    let mut all = Vec::new();
    for (name, node) in accounts.iter() {
        if node.referenced {
            continue;
        }
        let Value::Map(block) = &node.value else {
            reader.errors.push(at(node, "Expected map entries for accounts"));
            continue;
        };
        if name == GLOBAL {
            reader.errors.push(at(node, &format!("{} is a Reserved Account", quote(name))));
            continue;
        }
        let (account, offers) = read_account(reader, name, block);
        let id = place(reader, account);
        all.push((id, offers));
    }
    // What accounts share is looked at once all of them are there and sound.
    if reader.errors.is_empty() {
        let has_system = !reader.settings.no_system_account.unwrap_or(false);
        let directory = directory(reader);
        directory.has_system = has_system;
        let complaints = exchange::connect(directory, all);
        reader.errors.extend(complaints.iter().map(|complaint| at(whole, complaint)));
    }
}

/// Reads the block of one account.
fn read_account(reader: &mut Reader, name: &str, block: &Map) -> (Account, Offers) {
    let mut account = Account::new(name);
    let mut offers = Offers::default();
    let mut users = None;
    for (key, node) in block.iter() {
        let read = match key.to_lowercase().as_str() {
            "nkey" => read_nkey(node).map(|key| account.nkey = Some(key)),
            "imports" => exchange::read_imports(reader, node, &mut offers),
            "exports" => exchange::read_exports(reader, node, &mut offers),
            "jetstream" => {
                jetstream::read_account(reader, node).map(|limits| account.jetstream = limits)
            }
            "users" => auth::read_users(reader, node).map(|read| users = Some((read, node))),
            "default_permissions" => auth::read_permissions(reader, node)
                .map(|read| account.default_permissions = Some(read)),
            "mappings" | "maps" => mappings::read(reader, node).map(|read| account.mappings = read),
            "limits" => read_limits(reader, node).map(|limits| account.limits = limits),
            "msg_trace" | "trace_dest" => {
                read_trace(reader, key, node).map(|trace| account.trace = trace)
            }
            _ => {
                reader.unknown(key, node);
                Ok(())
            }
        };
        if let Err(problem) = read {
            reader.errors.push(problem);
        }
    }
    if let Some((users, node)) = users
        && let Err(problem) =
            add_users(reader, (name, account.default_permissions.as_ref()), users, node)
    {
        reader.errors.push(problem);
    }
    (account, offers)
}

fn read_nkey(node: &Node) -> Result<String, String> {
    let key = text(node).unwrap_or_default();
    if nkey::is_public(&key, Kind::Account) {
        return Ok(key);
    }
    let shown = quote(&shown(&node.value));
    Err(at(node, &format!("Not a valid public nkey for an account: {shown}")))
}

fn add_users(
    reader: &mut Reader,
    (account, default): (&str, Option<&Permissions>),
    mut users: Vec<auth::User>,
    node: &Node,
) -> Result<(), String> {
    let has = |value: &Option<String>| value.as_ref().is_some_and(|value| !value.is_empty());
    if !users.is_empty() && has(&reader.settings.username) {
        return Err(at(node, "Can not have a single user/pass and accounts"));
    }
    if !users.is_empty() && has(&reader.settings.token) {
        return Err(at(node, "Can not have a token and accounts"));
    }
    for user in &mut users {
        account.clone_into(&mut user.account);
    }
    if let Some(permissions) = default {
        auth::give_default(&mut users, permissions);
    }
    auth::add_users(reader, users, node)
}

/// Negative limits are none.
fn read_limits(reader: &mut Reader, node: &Node) -> Result<Limits, String> {
    let Value::Map(block) = &node.value else {
        let shown = shown(&node.value);
        return Err(at(node, &format!("Expected account limits to be a map/struct, got {shown}")));
    };
    let mut limits = Limits::default();
    for (key, node) in block.iter() {
        let limit = match key.to_lowercase().as_str() {
            "max_connections" | "max_conn" => &mut limits.connections,
            "max_subscriptions" | "max_subs" => &mut limits.subscriptions,
            "max_payload" | "max_pay" => &mut limits.payload,
            "max_leafnodes" | "max_leafs" => &mut limits.leaf_nodes,
            _ if node.referenced => continue,
            _ => {
                let reason = format!("Unknown field {} parsing account limits", quote(key));
                reader.errors.push(at(node, &reason));
                continue;
            }
        };
        *limit = u64::try_from(integer(node)?).ok();
    }
    Ok(limits)
}

/// Where traces go, and how many of 100 are taken.
fn read_trace(reader: &mut Reader, key: &str, node: &Node) -> Result<Option<(String, u8)>, String> {
    let block = match &node.value {
        Value::String(_) => return Ok(Some((read_trace_destination(key, node)?, 100))),
        Value::Map(block) => block,
        other => {
            let (key, found) = (quote(key), other.type_name());
            let reason = "to be a string or a map/struct, got";
            return Err(at(
                node,
                &format!("Expected account message trace {key} {reason} {found}"),
            ));
        }
    };
    let (mut destination, mut sampling) = (None, None);
    for (name, node) in block.iter() {
        match name.to_lowercase().as_str() {
            "dest" => destination = Some(read_trace_destination(name, node)?),
            "sampling" => sampling = Some(read_trace_sampling(name, node)?),
            _ if node.referenced => {}
            _ => {
                let (name, key) = (quote(name), quote(key));
                let reason = "parsing account message trace map/struct";
                return Err(at(node, &format!("Unknown field {name} {reason} {key}")));
            }
        }
    }
    if sampling.is_some() && destination.is_none() {
        let reason = "Trace destination sampling ignored since no destination was set";
        reader.warnings.push(at(node, reason));
    }
    Ok(destination.map(|subject| (subject, sampling.unwrap_or(100))))
}

fn read_trace_destination(key: &str, node: &Node) -> Result<String, String> {
    let subject = text(node).map_err(|_| {
        let (key, found) = (quote(key), node.value.type_name());
        at(node, &format!("Field {key} should be a string, got {found}"))
    })?;
    let is_literal = !subject.split('.').any(|token| token == "*" || token == ">");
    if is_literal && is_subject(&subject) {
        return Ok(subject);
    }
    Err(at(node, &format!("Trace destination {} is not valid", quote(&subject))))
}

fn read_trace_sampling(key: &str, node: &Node) -> Result<u8, String> {
    let percent = match &node.value {
        Value::Integer(percent) => *percent,
        Value::String(_) => {
            let written = text(node)?;
            written.strip_suffix('%').unwrap_or(&written).parse().map_err(|_| {
                let reason = "Invalid trace destination sampling value";
                at(node, &format!("{reason} {}", quote(&written)))
            })?
        }
        other => {
            let (key, found) = (quote(key), other.type_name());
            let reason = "should be an integer or a percentage, got";
            return Err(at(
                node,
                &format!("Trace destination sampling field {key} {reason} {found}"),
            ));
        }
    };
    if !(1..=100).contains(&percent) {
        let reason =
            format!("Ttrace destination sampling value {percent} is invalid, needs to be [1..100]");
        return Err(at(node, &reason));
    }
    Ok(percent as u8)
}

/// `operator`: files or tokens, which are only read once operators are there.
pub(super) fn check_operators(_: &mut Reader, _: &str, node: &Node) -> Result<(), String> {
    let unsupported = |reason: &str| at(node, &format!("error parsing operators: {reason}"));
    match &node.value {
        Value::String(_) => Ok(()),
        Value::Array(files) if files.iter().all(|file| text(file).is_ok()) => Ok(()),
        Value::Array(_) => {
            Err(unsupported("unsupported type *conf.token where string is expected"))
        }
        other => Err(unsupported(&format!("unsupported type {}", other.type_name()))),
    }
}

/// `resolver_preload`.
pub(super) fn check_preload(reader: &mut Reader, _: &str, node: &Node) -> Result<(), String> {
    let Value::Map(tokens) = &node.value else {
        return Err(at(node, "preload should be a map of account_public_key:account_jwt"));
    };
    for (_, node) in tokens.iter() {
        if text(node).is_err() {
            reader.errors.push(at(node, "preload map value should be a string JWT"));
        }
    }
    Ok(())
}

/// `trusted_keys`.
pub(super) fn check_trusted_keys(reader: &mut Reader, _: &str, node: &Node) -> Result<(), String> {
    for key in string_list(reader, "trusted", node)? {
        if !nkey::is_public(&key, Kind::Operator) {
            let reason = "required to be a valid public operator nkey";
            reader.errors.push(at(node, &format!("trust key {} {reason}", quote(&key))));
        }
    }
    Ok(())
}
