//! Operators: whose tokens say which accounts and users there are (spec 3.4).
//!
//! Tokens are read and their signatures checked here, when the file is, so that what comes out is
//! true as far as the file goes. Users' tokens come with their connections.

use accounts::{
    Account, Claims, Directory, Export, ExportKind, Latency, Limits, Operator, Outcome, Proof,
    ResponseType, Token,
};
use base::{AccountId, Duration};

use super::accounts as accounts_block;
use super::auth::string_list;
use super::schema::{Reader, text};
use super::settings::Settings;
use super::tree::{Node, Value};
use crate::auth::Prover;
use crate::notation::{error_text, quote};

/// What all tokens begin with.
const TOKEN: &str = "eyJ";

/// `operator`: tokens, or files that hold one.
pub(super) fn set_operators(reader: &mut Reader, key: &str, node: &Node) -> Result<(), String> {
    accounts_block::check_operators(reader, key, node)?;
    let named = match &node.value {
        Value::Array(nodes) => nodes.iter().map(text).collect::<Result<_, _>>()?,
        _ => vec![text(node)?],
    };
    reader.settings.operators = Some(named);
    Ok(())
}

/// `trusted_keys`.
pub(super) fn set_trusted_keys(reader: &mut Reader, key: &str, node: &Node) -> Result<(), String> {
    accounts_block::check_trusted_keys(reader, key, node)?;
    reader.settings.trusted_keys = Some(string_list(reader, "trusted", node)?);
    Ok(())
}

/// `resolver`: the one that holds what the file says is there.
pub(super) fn set_resolver(reader: &mut Reader, key: &str, node: &Node) -> Result<(), String> {
    accounts_block::check_resolver(reader, key, node)?;
    let kind = match &node.value {
        Value::Map(block) => block.get("type").map(text).transpose()?.unwrap_or_default(),
        _ => text(node)?,
    };
    reader.settings.has_resolver = Some(true);
    if !kind.to_uppercase().starts_with("MEM") {
        reader.settings.missing_features.push("resolver: URL, FULL and CACHE".to_owned());
    }
    Ok(())
}

/// `resolver_preload`.
pub(super) fn set_preload(reader: &mut Reader, key: &str, node: &Node) -> Result<(), String> {
    accounts_block::check_preload(reader, key, node)?;
    let Value::Map(tokens) = &node.value else { return Ok(()) };
    let read = |(key, node): (&str, &Node)| Some((key.to_owned(), text(node).ok()?));
    reader.settings.preload = Some(tokens.iter().filter_map(read).collect());
    Ok(())
}

/// `resolver_pinned_accounts`.
pub(super) fn set_pinned(reader: &mut Reader, _: &str, node: &Node) -> Result<(), String> {
    let keys = string_list(reader, "resolver_pinned_accounts", node)?;
    reader.settings.pinned_accounts = Some(keys);
    Ok(())
}

/// The operator of the settings and the accounts that it vouches for, if there is one. The system
/// account is the one that the file names, or else the operator.
pub(super) fn resolve(settings: &Settings) -> Result<Option<(Operator, Directory)>, String> {
    let named = settings.operators.clone().unwrap_or_default();
    let keys = settings.trusted_keys.clone().unwrap_or_default();
    if named.is_empty() && keys.is_empty() {
        return Ok(None);
    }
    check_conflicts(settings, &named, &keys)?;
    let mut operator = Operator { keys: keys.into_iter().collect(), ..Operator::default() };
    let mut prover = Prover::default();
    let mut system = settings.system_account.clone().unwrap_or_default();
    for name in &named {
        let token = read_operator(name, &mut prover)?;
        let its = operator.add_operator(&token);
        if system.is_empty() {
            system = its;
        } else if !its.is_empty() && its != system {
            return Err("system_account in config and operator JWT must be identical".to_owned());
        }
    }
    let mut directory = Directory::default();
    if !system.is_empty() {
        directory.accounts[AccountId::SYSTEM.index()].name.clone_from(&system);
    }
    let mut tokens = Vec::new();
    for (key, text) in settings.preload.iter().flatten() {
        tokens.push(add_account(&mut operator, &mut directory, (key, text), &mut prover)?);
    }
    share(&mut directory, &tokens)?;
    operator.pinned = settings.pinned_accounts.iter().flatten().cloned().collect();
    if !operator.pinned.is_empty() {
        operator.pinned.insert(system);
    }
    Ok(Some((operator, directory)))
}

fn check_conflicts(settings: &Settings, named: &[String], keys: &[String]) -> Result<(), String> {
    let has_users = settings.users.as_ref().is_some_and(|users| !users.is_empty());
    let conflicts = [
        (settings.has_resolver.is_none(), "operators require an account resolver to be configured"),
        (has_users, "operators do not allow users to be configured directly"),
        (
            !named.is_empty() && !keys.is_empty(),
            "conflicting options for 'TrustedKeys' and 'TrustedOperators'",
        ),
        (
            settings.no_auth_user.as_ref().is_some_and(|name| !name.is_empty()),
            "no_auth_user not compatible with Trusted Operator",
        ),
    ];
    match conflicts.iter().find(|(conflict, _)| *conflict) {
        Some((_, reason)) => Err((*reason).to_owned()),
        None => Ok(()),
    }
}

/// A token that stands in the file itself or in one of its own, there maybe between two lines that
/// say what it is.
fn read_operator(name: &str, prover: &mut Prover) -> Result<Token, String> {
    let contents = match std::fs::read_to_string(name) {
        Ok(contents) => contents,
        Err(_) if name.starts_with(TOKEN) => name.to_owned(),
        Err(error) => return Err(format!("open {name}: {}", error_text(&error))),
    };
    let line = contents.lines().map(str::trim).find(|line| line.starts_with(TOKEN));
    line.and_then(Token::read)
        .filter(|token| token.kind() == "operator" && is_proven(token, prover))
        .ok_or_else(|| format!("error parsing operator JWT {}", quote(name)))
}

fn is_proven(token: &Token, prover: &mut Prover) -> bool {
    let proof = Proof { signatures: vec![token.signature.clone()], ..Proof::default() };
    prover.look_at(&proof) == Outcome::Right(None)
}

fn add_account(
    operator: &mut Operator,
    directory: &mut Directory,
    (key, text): (&str, &str),
    prover: &mut Prover,
) -> Result<(AccountId, Token), String> {
    let wrong = |reason: &str| format!("preloaded account {}: {reason}", quote(key));
    let token = Token::read(text).filter(|token| is_proven(token, prover));
    let token = token.ok_or_else(|| wrong("its JWT cannot be verified"))?;
    if token.subject() != key {
        return Err(wrong("its JWT is about another"));
    }
    let id = match directory.find(key) {
        Some(id) => id,
        None => {
            directory.accounts.push(Account::new(key));
            AccountId(directory.accounts.len() as u32 - 1)
        }
    };
    let nats = token.nats();
    if nats.part("mappings").is_some() {
        return Err(format!("not yet supported: mappings of account {key}"));
    }
    let limits = nats.part("limits");
    let limit = |name: &str| u64::try_from(limits.integer(name).unwrap_or(-1)).ok();
    directory.accounts[id.index()] = Account {
        name: key.to_owned(),
        nkey: Some(key.to_owned()),
        limits: Limits {
            connections: limit("conn"),
            subscriptions: limit("subs"),
            payload: limit("payload"),
            leaf_nodes: limit("leaf"),
        },
        ..Account::default()
    };
    // One that nobody vouches for is there, but none of its users comes in.
    operator.add_account(text, &token, id);
    Ok((id, token))
}

/// What accounts offer each other, and what of it they take.
fn share(directory: &mut Directory, tokens: &[(AccountId, Token)]) -> Result<(), String> {
    for (id, token) in tokens {
        for claims in token.nats().items("exports") {
            let export = export_of(claims);
            let subject = quote(&export.subject);
            directory.add_export(*id, export).map_err(|fault| {
                format!("export {subject} of account {}: {fault}", token.subject())
            })?;
        }
    }
    for (id, token) in tokens {
        for claims in token.nats().items("imports") {
            import(directory, *id, claims)
                .map_err(|reason| format!("import of account {}: {reason}", token.subject()))?;
        }
    }
    Ok(())
}

fn export_of(claims: Claims<'_>) -> Export {
    let nanoseconds = claims.integer("response_threshold").unwrap_or(0);
    let latency = claims.part("service_latency");
    let sampling = latency.integer("sampling").unwrap_or(0);
    let latency = latency.is_some().then(|| Latency {
        sampling: u8::try_from(sampling).unwrap_or(0),
        subject: latency.text("results").to_owned(),
    });
    let kind = if claims.text("type") == "service" {
        ExportKind::Service {
            response: match claims.text("response_type") {
                "Stream" => ResponseType::Stream,
                "Chunked" => ResponseType::Chunked,
                _ => ResponseType::Singleton,
            },
            threshold: Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(0)),
            latency,
            allow_trace: claims.flag("allow_trace"),
        }
    } else {
        ExportKind::Stream
    };
    let position = claims.integer("account_token_position").unwrap_or(0);
    Export {
        subject: claims.text("subject").to_owned(),
        kind,
        accounts: None,
        token_required: claims.flag("token_req"),
        account_token_position: usize::try_from(position).unwrap_or(0),
    }
}

fn import(
    directory: &mut Directory,
    importer: AccountId,
    claims: Claims<'_>,
) -> Result<(), String> {
    let (subject, local) = (claims.text("subject"), claims.text("local_subject"));
    if !claims.text("to").is_empty() || !claims.text("token").is_empty() {
        return Err(format!("not yet supported: `to` or an activation token for {subject}"));
    }
    let exporter = directory.find(claims.text("account"));
    let exporter = exporter.ok_or_else(|| format!("unknown account for {subject}"))?;
    let source = (exporter, subject);
    let trace = claims.flag("allow_trace");
    if claims.text("type") == "service" {
        let added = directory.add_service_import(importer, source, local, false);
        added.map_err(|fault| fault.to_string())?.share = claims.flag("share");
    } else {
        let added = directory.add_stream_import(importer, source, local, false);
        added.map_err(|fault| fault.to_string())?.allow_trace = trace;
    }
    Ok(())
}
