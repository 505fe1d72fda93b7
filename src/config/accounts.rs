//! `accounts`, and the keys about where accounts come from. All of it is still to come; here it is
//! checked for form, and names for being defined.

use std::collections::HashSet;

use super::auth::{self, is_subject, shown, string_list};
use super::jetstream;
use super::nkey::{self, Kind};
use super::schema::{Reader, Row, Shape, array, at, boolean, integer, known, map, text};
use super::tree::{Map, Node, Value};
use crate::notation::{parse_duration, quote};

/// The account that is always there.
const GLOBAL: &str = "$G";

static ROWS: &[Row] = &[
    known(&["nkey"], Shape::With(check_nkey)),
    known(&["imports"], Shape::With(check_imports)),
    known(&["exports"], Shape::With(check_exports)),
    known(&["jetstream"], Shape::With(jetstream::check_account)),
    known(&["users"], Shape::With(check_users)),
    known(&["default_permissions"], Shape::With(auth::check_permissions)),
    known(&["mappings", "maps"], Shape::With(check_mappings)),
    known(&["limits"], Shape::With(check_limits)),
    known(&["msg_trace", "trace_dest"], Shape::With(check_trace)),
];

/// `accounts`: a list of names, or a map of blocks.
pub(super) fn check(reader: &mut Reader, _: &str, node: &Node) -> Result<(), String> {
    match &node.value {
        Value::Array(names) => check_names(reader, names),
        Value::Map(accounts) => {
            reader.mentioned_accounts.clear();
            check_map(reader, accounts);
            if reader.errors.is_empty() {
                check_mentioned(reader, accounts, node);
            }
            Ok(())
        }
        _ => Ok(()),
    }
}

fn check_names(reader: &mut Reader, names: &[Node]) -> Result<(), String> {
    let mut seen = HashSet::new();
    for node in names {
        let name = text(node)?;
        if name == GLOBAL {
            reader.errors.push(at(node, &format!("{} is a Reserved Account", quote(&name))));
        } else if !seen.insert(name.clone()) {
            reader.errors.push(at(node, &format!("Duplicate Account Entry: {name}")));
        }
    }
    Ok(())
}

fn check_map(reader: &mut Reader, accounts: &Map) {
    for (name, node) in accounts.iter() {
        if node.referenced {
            continue;
        }
        let Value::Map(account) = &node.value else {
            reader.errors.push(at(node, "Expected map entries for accounts"));
            continue;
        };
        if name == GLOBAL {
            reader.errors.push(at(node, &format!("{} is a Reserved Account", quote(name))));
            continue;
        }
        reader.read_block(ROWS, account);
    }
}

/// Accounts that imports and exports speak of have to be there.
fn check_mentioned(reader: &mut Reader, accounts: &Map, node: &Node) {
    for (name, purpose) in std::mem::take(&mut reader.mentioned_accounts) {
        if accounts.get(&name).is_none_or(|account| account.referenced) {
            let reason = format!("{} account not defined for {purpose}", quote(&name));
            reader.errors.push(at(node, &reason));
        }
    }
}

fn check_nkey(_: &mut Reader, _: &str, node: &Node) -> Result<(), String> {
    let key = text(node).unwrap_or_default();
    if nkey::is_public(&key, Kind::Account) {
        return Ok(());
    }
    let shown = quote(&shown(&node.value));
    Err(at(node, &format!("Not a valid public nkey for an account: {shown}")))
}

fn check_users(reader: &mut Reader, _: &str, node: &Node) -> Result<(), String> {
    let users = auth::read_users(reader, node)?;
    let has = |value: &Option<String>| value.as_ref().is_some_and(|value| !value.is_empty());
    if !users.is_empty() && has(&reader.settings.username) {
        return Err(at(node, "Can not have a single user/pass and accounts"));
    }
    if !users.is_empty() && has(&reader.settings.token) {
        return Err(at(node, "Can not have a token and accounts"));
    }
    auth::add_users(reader, users, node)
}

fn check_limits(reader: &mut Reader, _: &str, node: &Node) -> Result<(), String> {
    const NAMES: [&str; 8] = [
        "max_connections",
        "max_conn",
        "max_subscriptions",
        "max_subs",
        "max_payload",
        "max_pay",
        "max_leafnodes",
        "max_leafs",
    ];
    let Value::Map(limits) = &node.value else {
        let shown = shown(&node.value);
        return Err(at(node, &format!("Expected account limits to be a map/struct, got {shown}")));
    };
    for (key, node) in limits.iter() {
        if NAMES.contains(&key.to_lowercase().as_str()) {
            integer(node)?;
        } else if !node.referenced {
            let reason = format!("Unknown field {} parsing account limits", quote(key));
            reader.errors.push(at(node, &reason));
        }
    }
    Ok(())
}

fn check_trace(reader: &mut Reader, key: &str, node: &Node) -> Result<(), String> {
    let block = match &node.value {
        Value::String(_) => return check_trace_destination(key, node),
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
    let (mut has_destination, mut has_sampling) = (false, false);
    for (name, node) in block.iter() {
        match name.to_lowercase().as_str() {
            "dest" => {
                check_trace_destination(name, node)?;
                has_destination = true;
            }
            "sampling" => {
                check_trace_sampling(name, node)?;
                has_sampling = true;
            }
            _ if node.referenced => {}
            _ => {
                let (name, key) = (quote(name), quote(key));
                let reason = "parsing account message trace map/struct";
                return Err(at(node, &format!("Unknown field {name} {reason} {key}")));
            }
        }
    }
    if has_sampling && !has_destination {
        let reason = "Trace destination sampling ignored since no destination was set";
        reader.warnings.push(at(node, reason));
    }
    Ok(())
}

fn check_trace_destination(key: &str, node: &Node) -> Result<(), String> {
    let subject = text(node).map_err(|_| {
        let (key, found) = (quote(key), node.value.type_name());
        at(node, &format!("Field {key} should be a string, got {found}"))
    })?;
    let is_literal = !subject.split('.').any(|token| token == "*" || token == ">");
    if is_literal && is_subject(&subject) {
        return Ok(());
    }
    Err(at(node, &format!("Trace destination {} is not valid", quote(&subject))))
}

fn check_trace_sampling(key: &str, node: &Node) -> Result<(), String> {
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
    Ok(())
}

/// `mappings`: a subject to a destination, to a weighted one, or to a list of those.
pub(super) fn check_mappings(reader: &mut Reader, _: &str, node: &Node) -> Result<(), String> {
    for (subject, destination) in map(node)?.iter() {
        if !is_subject(subject) {
            let reason = format!("Subject {} is not a valid subject", quote(subject));
            reader.errors.push(at(node, &reason));
            continue;
        }
        let weighted: &[Node] = match &destination.value {
            Value::String(_) => continue,
            Value::Array(destinations) => destinations,
            _ => std::slice::from_ref(destination),
        };
        for destination in weighted {
            if let Err(problem) = check_destination(destination) {
                reader.errors.push(problem);
            }
        }
    }
    Ok(())
}

fn check_destination(node: &Node) -> Result<(), String> {
    let Value::Map(destination) = &node.value else {
        return Err(at(node, "Expected an entry for the mapping destination"));
    };
    let mut subject = String::new();
    let mut has_weight = false;
    for (key, node) in destination.iter() {
        match key.to_lowercase().as_str() {
            "dest" | "destination" => subject = text(node)?,
            "cluster" => drop(text(node)?),
            "weight" => {
                check_weight(node)?;
                has_weight = true;
            }
            _ => {
                let reason = format!("Unknown field {} for mapping destination", quote(key));
                return Err(at(node, &reason));
            }
        }
    }
    if !has_weight {
        let subject = quote(&subject);
        return Err(at(node, &format!("Missing weight for mapping destination {subject}")));
    }
    Ok(())
}

fn check_weight(node: &Node) -> Result<(), String> {
    let weight = match &node.value {
        Value::Integer(weight) => *weight,
        Value::String(_) => {
            let written = text(node)?;
            let number = written.strip_suffix('%').unwrap_or(&written);
            number.parse().map_err(|_| {
                at(node, &format!("Invalid weight {} for mapping destination", quote(number)))
            })?
        }
        other => {
            let shown = shown(other);
            return Err(at(node, &format!("Unknown entry type for weight of {shown}\n")));
        }
    };
    if !(0..=100).contains(&weight) {
        return Err(at(node, &format!("Invalid weight {weight} for mapping destination")));
    }
    Ok(())
}

fn check_exports(reader: &mut Reader, _: &str, node: &Node) -> Result<(), String> {
    let exports = array(node).map_err(|_| {
        at(node, &format!("Exports should be an array, got {}", node.value.type_name()))
    })?;
    for node in exports {
        if let Err(problem) = check_export(reader, node) {
            reader.errors.push(problem);
        }
    }
    Ok(())
}

fn check_export(reader: &mut Reader, node: &Node) -> Result<(), String> {
    let Value::Map(export) = &node.value else {
        let found = node.value.type_name();
        return Err(at(
            node,
            &format!("Export Items should be a map with type entry, got {found}"),
        ));
    };
    let kind = kind_of(export);
    for (key, node) in export.iter() {
        let for_service_only = |what: &str| {
            if kind == Some("stream") {
                return Err(at(node, &format!("Detected {what} directive on non-service")));
            }
            Ok(())
        };
        match key.to_lowercase().as_str() {
            name @ ("stream" | "service") => {
                let subject = text(node).map_err(|_| {
                    let found = node.value.type_name();
                    at(node, &format!("Expected {name} name to be string, got {found}"))
                })?;
                if let Some(other) = kind.filter(|kind| *kind != name) {
                    let subject = quote(&subject);
                    let reason = format!("Detected {name} {subject} but already saw a {other}");
                    return Err(at(node, &reason));
                }
            }
            "response" | "response_type" => {
                check_response_type(node)?;
                for_service_only("response")?;
            }
            "threshold" | "response_threshold" | "response_max_time" | "response_time" => {
                check_threshold(node)?;
                for_service_only("response")?;
            }
            "accounts" => {
                let purpose = format!("{} export", kind.unwrap_or("stream"));
                for element in array(node)? {
                    let account = text(element)?;
                    reader.mentioned_accounts.push((account, purpose.clone()));
                }
            }
            "latency" => {
                check_latency(node)?;
                for_service_only("latency")?;
            }
            "account_token_position" => drop(integer(node)?),
            "allow_trace" => {
                boolean(node)?;
                for_service_only("allow_trace")?;
            }
            _ => reader.unknown(key, node),
        }
    }
    Ok(())
}

/// Which of the two an import or export is: the one named first.
fn kind_of(entry: &Map) -> Option<&'static str> {
    entry.iter().find_map(|(key, _)| match key.to_lowercase().as_str() {
        "stream" => Some("stream"),
        "service" => Some("service"),
        _ => None,
    })
}

fn check_response_type(node: &Node) -> Result<(), String> {
    let kind = text(node).map_err(|_| {
        let found = node.value.type_name();
        at(node, &format!("Expected response type to be string, got {found}"))
    })?;
    let kinds = ["single", "singleton", "stream", "chunk", "chunked"];
    if kinds.contains(&kind.to_lowercase().as_str()) {
        return Ok(());
    }
    Err(at(node, &format!("Unknown response type: {}", quote(&kind))))
}

fn check_threshold(node: &Node) -> Result<(), String> {
    const REASON: &str = "Expected response threshold to be a parseable time duration, got";
    let written =
        text(node).map_err(|_| at(node, &format!("{REASON} {}", node.value.type_name())))?;
    parse_duration(&written)
        .map(drop)
        .map_err(|_| at(node, &format!("{REASON} {}", quote(&written))))
}

fn check_latency(node: &Node) -> Result<(), String> {
    let block = match &node.value {
        Value::String(_) => return Ok(()),
        Value::Map(block) => block,
        other => {
            let found = other.type_name();
            let reason = "Expected latency entry to be a map/struct or string, got";
            return Err(at(node, &format!("{reason} {found}")));
        }
    };
    if let Some(sampling) = block.get("sampling") {
        check_latency_sampling(sampling)?;
    }
    let Some(subject) = block.get("subject") else {
        return Err(at(node, "Latency subject required, but missing"));
    };
    text(subject)
        .map(drop)
        .map_err(|_| at(subject, "Expected latency subject to be a string, got string"))
}

fn check_latency_sampling(node: &Node) -> Result<(), String> {
    let percent = match &node.value {
        Value::Integer(percent) => *percent,
        Value::String(_) => {
            let written = text(node)?;
            if written.trim().eq_ignore_ascii_case("headers") {
                return Ok(());
            }
            let number = written.strip_suffix('%').unwrap_or(&written);
            number.parse().map_err(|_| {
                let number = quote(number);
                let reason = "Failed to parse latency sample: strconv.Atoi: parsing";
                at(node, &format!("{reason} {number}: invalid syntax"))
            })?
        }
        other => {
            let found = other.type_name();
            let reason = "Expected latency sample to be a string or map/struct, got";
            return Err(at(node, &format!("{reason} {found}")));
        }
    };
    if !(1..=100).contains(&percent) {
        return Err(at(node, "bad sampling percentage, should be 1-100"));
    }
    Ok(())
}

fn check_imports(reader: &mut Reader, _: &str, node: &Node) -> Result<(), String> {
    let imports = array(node).map_err(|_| {
        at(node, &format!("Imports should be an array, got {}", node.value.type_name()))
    })?;
    for node in imports {
        if let Err(problem) = check_import(reader, node) {
            reader.errors.push(problem);
        }
    }
    Ok(())
}

fn check_import(reader: &mut Reader, node: &Node) -> Result<(), String> {
    let Value::Map(import) = &node.value else {
        let found = node.value.type_name();
        return Err(at(
            node,
            &format!("Import Items should be a map with type entry, got {found}"),
        ));
    };
    let kind = kind_of(import);
    let has_prefix = import.iter().any(|(key, _)| key.eq_ignore_ascii_case("prefix"));
    for (key, node) in import.iter() {
        match key.to_lowercase().as_str() {
            name @ ("stream" | "service") => {
                if let Some(other) = kind.filter(|kind| *kind != name) {
                    let reason = format!("Detected {name} but already saw a {other}");
                    return Err(at(node, &reason));
                }
                check_import_source(reader, name, node)?;
            }
            "prefix" => drop(text(node)?),
            "to" => {
                text(node)?;
                if kind == Some("stream") && has_prefix {
                    let reason = "Stream import can not have a 'prefix' and a 'to' property";
                    return Err(at(node, reason));
                }
            }
            "share" => drop(boolean(node)?),
            "allow_trace" => {
                boolean(node)?;
                if kind == Some("service") {
                    return Err(at(node, "Detected allow_trace directive on a non-stream"));
                }
            }
            _ => reader.unknown(key, node),
        }
    }
    Ok(())
}

fn check_import_source(reader: &mut Reader, kind: &str, node: &Node) -> Result<(), String> {
    let Value::Map(source) = &node.value else {
        let kind = if kind == "stream" { "Stream" } else { "Service" };
        let found = node.value.type_name();
        return Err(at(node, &format!("{kind} entry should be an account map, got {found}")));
    };
    let (mut account, mut subject) = (String::new(), String::new());
    for (key, node) in source.iter() {
        match key.to_lowercase().as_str() {
            "account" => account = text(node)?,
            "subject" => subject = text(node)?,
            _ => reader.unknown(key, node),
        }
    }
    if account.is_empty() || subject.is_empty() {
        return Err(at(node, "Expect an account name and a subject"));
    }
    reader.mentioned_accounts.push((account, format!("{kind} import")));
    Ok(())
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

/// `resolver`.
pub(super) fn check_resolver(reader: &mut Reader, _: &str, node: &Node) -> Result<(), String> {
    const FORM: &str = "error parsing account resolver, should be MEM or  URL(\"url\") or a map \
                        containing dir and type state=[FULL|CACHE])";
    let block = match &node.value {
        Value::String(_) => {
            let word = text(node)?.to_uppercase();
            let known = ["MEM", "URL"].iter().any(|kind| word.contains(kind));
            return if known { Ok(()) } else { Err(at(node, FORM)) };
        }
        Value::Map(block) => block,
        other => {
            let found = other.type_name();
            let reason = format!("error parsing operator resolver, wrong type {found}");
            return Err(at(node, &reason));
        }
    };
    for (key, field) in block.iter() {
        match key {
            "dir" | "type" => drop(text(field)?),
            "allow_delete" | "hard_delete" => drop(boolean(field)?),
            "limit" => drop(integer(field)?),
            "ttl" | "interval" | "timeout" => {
                parse_duration(&text(field)?).map_err(|problem| at(node, &problem.to_string()))?;
            }
            // The reference looks for the keys it knows and leaves others alone.
            _ => {}
        }
    }
    let kind = block.get("type").map(text).transpose()?.unwrap_or_default().to_uppercase();
    let has = |key: &str| block.get(key).is_some();
    let mut complain = |reason: &str| reader.errors.push(at(node, reason));
    match kind.as_str() {
        "MEM" | "MEMORY" => return Ok(()),
        "CACHE" | "FULL" => {}
        _ => return Err(at(node, FORM)),
    }
    if !has("dir") {
        complain("dir has no value and needs to point to a directory");
    }
    if kind == "CACHE" {
        for (key, what) in [("interval", "sync"), ("hard_delete", "hard_delete")] {
            if has(key) {
                complain(&format!("CACHE does not accept {what}"));
            }
        }
    }
    if kind == "FULL" && has("ttl") {
        complain("FULL does not accept ttl");
    }
    Ok(())
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
