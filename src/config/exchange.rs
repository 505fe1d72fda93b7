//! `exports` and `imports` of accounts.

use accounts::{Directory, Export, ExportKind, Latency, ResponseType};
use base::{AccountId, Duration};

use super::schema::{Reader, array, at, boolean, integer, text};
use super::tree::{Map, Node, Value};
use crate::notation::{parse_duration, quote};

/// What an account offers and wants.
#[derive(Default)]
pub(super) struct Offers {
    exports: Vec<Export>,
    imports: Vec<Import>,
}

/// What an account wants of another.
#[derive(Default)]
struct Import {
    is_service: bool,
    account: String,
    subject: String,
    prefix: String,
    to: String,
    share: bool,
    allow_trace: bool,
}

impl Offers {
    /// What is wrong with a service import that another has the name of already.
    fn twin_of(&self, import: &Import) -> Option<String> {
        let name = |import: &Import| {
            let to = if import.to.is_empty() { &import.prefix } else { &import.to };
            if to.is_empty() { import.subject.clone() } else { to.clone() }
        };
        let same = |other: &&Import| {
            other.is_service && other.account == import.account && name(other) == name(import)
        };
        let twin = self.imports.iter().filter(|_| import.is_service).find(same)?;
        Some(format!(
            "Duplicate service import subject {}, previously used in import for account {}, \
             subject {}",
            quote(&name(import)),
            quote(&twin.account),
            quote(&twin.subject)
        ))
    }
}

/// Connects accounts by what they offer and want. Returns what is wrong with it.
pub(super) fn connect(directory: &mut Directory, all: Vec<(AccountId, Offers)>) -> Vec<String> {
    let mut complaints = Vec::new();
    let (mut exports, mut imports) = (Vec::new(), Vec::new());
    for (id, offers) in all {
        exports.extend(offers.exports.into_iter().map(|export| (id, export)));
        imports.extend(offers.imports.into_iter().map(|import| (id, import)));
    }
    // Streams before services, and both before who imports them, as in the reference.
    exports.sort_by_key(|(_, export)| export.is_service());
    imports.sort_by_key(|(_, import)| import.is_service);
    for (exporter, export) in exports {
        complaints.extend(add_export(directory, exporter, export));
    }
    for (importer, import) in imports {
        complaints.extend(add_import(directory, importer, &import));
    }
    complaints
}

fn add_export(directory: &mut Directory, exporter: AccountId, export: Export) -> Vec<String> {
    let kind = if export.is_service() { "service" } else { "stream" };
    let unknown = |name: &&String| directory.find(name).is_none();
    let mut complaints: Vec<String> = export
        .accounts
        .iter()
        .flatten()
        .filter(unknown)
        .map(|name| format!("{} account not defined for {kind} export", quote(name)))
        .collect();
    let subject = quote(&export.subject);
    let latency = match &export.kind {
        ExportKind::Service { latency: Some(latency), .. } => quote(&latency.subject),
        _ => String::new(),
    };
    if !latency.is_empty() && !directory.has_system {
        let what = "Error adding service latency sampling for";
        complaints.push(format!("{what} {subject}: system account not setup"));
    }
    if let Err(fault) = directory.add_export(exporter, export) {
        complaints.push(match fault {
            accounts::ExchangeFault::LatencySubject | accounts::ExchangeFault::LatencyResponses => {
                let what = "Error adding service latency sampling for";
                format!("{what} {subject} on subject {latency}: {fault}")
            }
            _ => format!("Error adding {kind} export {subject}: {fault}"),
        });
    }
    complaints
}

fn add_import(directory: &mut Directory, importer: AccountId, import: &Import) -> Option<String> {
    let kind = if import.is_service { "service" } else { "stream" };
    let Some(exporter) = directory.find(&import.account) else {
        return Some(format!("{} account not defined for {kind} import", quote(&import.account)));
    };
    let source = (exporter, import.subject.as_str());
    let added = if import.is_service {
        let to = if import.to.is_empty() { &import.prefix } else { &import.to };
        let added = directory.add_service_import(importer, source, to, false);
        added.map(|added| added.share = import.share)
    } else if import.prefix.is_empty() {
        let added = directory.add_stream_import(importer, source, &import.to, false);
        added.map(|added| added.allow_trace = import.allow_trace)
    } else {
        let added = directory.add_prefixed_stream_import(importer, source, &import.prefix, false);
        added.map(|added| added.allow_trace = import.allow_trace)
    };
    let fault = added.err()?;
    Some(format!("Error adding {kind} import {}: {fault}", quote(&import.subject)))
}

/// `exports` of an account. What is wrong is complained about and left out.
pub(super) fn read_exports(
    reader: &mut Reader,
    node: &Node,
    offers: &mut Offers,
) -> Result<(), String> {
    let exports = array(node).map_err(|_| {
        at(node, &format!("Exports should be an array, got {}", node.value.type_name()))
    })?;
    for node in exports {
        match read_export(reader, node) {
            Ok(export) => offers.exports.extend(export),
            Err(problem) => reader.errors.push(problem),
        }
    }
    Ok(())
}

fn read_export(reader: &mut Reader, node: &Node) -> Result<Option<Export>, String> {
    let Value::Map(export) = &node.value else {
        let found = node.value.type_name();
        return Err(at(
            node,
            &format!("Export Items should be a map with type entry, got {found}"),
        ));
    };
    let kind = kind_of(export);
    let mut offer = Draft::default();
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
                offer.subject = subject;
            }
            "response" | "response_type" => {
                offer.response = read_response_type(node)?;
                for_service_only("response")?;
            }
            "threshold" | "response_threshold" | "response_max_time" | "response_time" => {
                offer.threshold = read_threshold(node)?;
                for_service_only("response")?;
            }
            "accounts" => {
                for element in array(node)? {
                    offer.accounts.push(text(element)?);
                }
            }
            "latency" => {
                offer.latency = Some(read_latency(node)?);
                for_service_only("latency")?;
            }
            "account_token_position" => offer.position = integer(node)?,
            "allow_trace" => {
                offer.allow_trace = boolean(node)?;
                for_service_only("allow_trace")?;
            }
            _ => reader.unknown(key, node),
        }
    }
    Ok(kind.map(|kind| offer.finish(kind)))
}

/// What an export says, in whatever order.
#[derive(Default)]
struct Draft {
    subject: String,
    accounts: Vec<String>,
    position: i64,
    response: ResponseType,
    threshold: Duration,
    latency: Option<Latency>,
    allow_trace: bool,
}

impl Draft {
    fn finish(self, kind: &str) -> Export {
        let Self { response, threshold, latency, allow_trace, .. } = self;
        let kind = match kind {
            "stream" => ExportKind::Stream,
            _ => ExportKind::Service { response, threshold, latency, allow_trace },
        };
        Export {
            subject: self.subject,
            kind,
            // Nobody in particular is everybody.
            accounts: Some(self.accounts).filter(|names| !names.is_empty()),
            token_required: false,
            account_token_position: usize::try_from(self.position).unwrap_or(usize::MAX),
        }
    }
}

/// Which of the two an import or export is: the one named first.
fn kind_of(entry: &Map) -> Option<&'static str> {
    entry.iter().find_map(|(key, _)| match key.to_lowercase().as_str() {
        "stream" => Some("stream"),
        "service" => Some("service"),
        _ => None,
    })
}

fn read_response_type(node: &Node) -> Result<ResponseType, String> {
    let kind = text(node).map_err(|_| {
        let found = node.value.type_name();
        at(node, &format!("Expected response type to be string, got {found}"))
    })?;
    match kind.to_lowercase().as_str() {
        "single" | "singleton" => Ok(ResponseType::Singleton),
        "stream" => Ok(ResponseType::Stream),
        "chunk" | "chunked" => Ok(ResponseType::Chunked),
        _ => Err(at(node, &format!("Unknown response type: {}", quote(&kind)))),
    }
}

/// Less than nothing is over at once.
fn read_threshold(node: &Node) -> Result<Duration, String> {
    const REASON: &str = "Expected response threshold to be a parseable time duration, got";
    let written =
        text(node).map_err(|_| at(node, &format!("{REASON} {}", node.value.type_name())))?;
    let nanoseconds =
        parse_duration(&written).map_err(|_| at(node, &format!("{REASON} {}", quote(&written))))?;
    let nanoseconds = if nanoseconds == 0 { 0 } else { nanoseconds.max(1) };
    Ok(Duration::from_nanos(nanoseconds as u64))
}

fn read_latency(node: &Node) -> Result<Latency, String> {
    let mut latency = Latency { sampling: 100, subject: String::new() };
    let block = match &node.value {
        Value::String(_) => return Ok(Latency { subject: text(node)?, ..latency }),
        Value::Map(block) => block,
        other => {
            let found = other.type_name();
            let reason = "Expected latency entry to be a map/struct or string, got";
            return Err(at(node, &format!("{reason} {found}")));
        }
    };
    if let Some(sampling) = block.get("sampling") {
        latency.sampling = read_latency_sampling(sampling)?;
    }
    let Some(subject) = block.get("subject") else {
        return Err(at(node, "Latency subject required, but missing"));
    };
    latency.subject = text(subject)
        .map_err(|_| at(subject, "Expected latency subject to be a string, got string"))?;
    Ok(latency)
}

/// Of 100; zero for those whose headers ask for it.
fn read_latency_sampling(node: &Node) -> Result<u8, String> {
    let percent = match &node.value {
        Value::Integer(percent) => *percent,
        Value::String(_) => {
            let written = text(node)?;
            if written.trim().eq_ignore_ascii_case("headers") {
                return Ok(0);
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
    Ok(percent as u8)
}

/// `imports` of an account. What is wrong is complained about and left out.
pub(super) fn read_imports(
    reader: &mut Reader,
    node: &Node,
    offers: &mut Offers,
) -> Result<(), String> {
    let imports = array(node).map_err(|_| {
        at(node, &format!("Imports should be an array, got {}", node.value.type_name()))
    })?;
    for node in imports {
        match read_import(reader, node) {
            Ok(Some(import)) => {
                if let Some(problem) = offers.twin_of(&import) {
                    reader.errors.push(at(node, &problem));
                } else {
                    offers.imports.push(import);
                }
            }
            Ok(None) => {}
            Err(problem) => reader.errors.push(problem),
        }
    }
    Ok(())
}

fn read_import(reader: &mut Reader, node: &Node) -> Result<Option<Import>, String> {
    let Value::Map(import) = &node.value else {
        let found = node.value.type_name();
        return Err(at(
            node,
            &format!("Import Items should be a map with type entry, got {found}"),
        ));
    };
    let kind = kind_of(import);
    let has_prefix = import.iter().any(|(key, _)| key.eq_ignore_ascii_case("prefix"));
    let mut read = Import { is_service: kind == Some("service"), ..Import::default() };
    for (key, node) in import.iter() {
        match key.to_lowercase().as_str() {
            name @ ("stream" | "service") => {
                if let Some(other) = kind.filter(|kind| *kind != name) {
                    let reason = format!("Detected {name} but already saw a {other}");
                    return Err(at(node, &reason));
                }
                (read.account, read.subject) = read_import_source(reader, name, node)?;
            }
            "prefix" => read.prefix = text(node)?,
            "to" => {
                read.to = text(node)?;
                if kind == Some("stream") && has_prefix {
                    let reason = "Stream import can not have a 'prefix' and a 'to' property";
                    return Err(at(node, reason));
                }
            }
            "share" => read.share = boolean(node)?,
            "allow_trace" => {
                read.allow_trace = boolean(node)?;
                if kind == Some("service") {
                    return Err(at(node, "Detected allow_trace directive on a non-stream"));
                }
            }
            _ => reader.unknown(key, node),
        }
    }
    Ok(kind.map(|_| read))
}

/// The account and the subject there.
fn read_import_source(
    reader: &mut Reader,
    kind: &str,
    node: &Node,
) -> Result<(String, String), String> {
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
    Ok((account, subject))
}
