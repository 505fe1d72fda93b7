//! `tls` blocks and the blocks about certificate revocation. What is checked here is all that does
//! not need the certificates themselves; those are read by [`crate::tls`].

use std::time::Duration;

use shard::way_in::First;

use super::schema::{Reader, array, at, map, text};
use super::tree::{Map, Node, Value};
use crate::notation::{parse_duration, quote};

/// Time for a handshake where the block does not say.
const TIMEOUT: Duration = Duration::from_secs(2);
/// How long the handshake is waited for before INFO, where that is left to the broker.
const FIRST_WAIT: Duration = Duration::from_millis(50);

/// The `tls` block of a listener for clients.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tls {
    /// `file:line:column` of the block, with which complaints about its files begin; empty when it
    /// came from the command line.
    pub position: String,
    /// Certificates with their keys, the preferred one first.
    pub pairs: Vec<Pair>,
    /// The file of the authorities that sign the certificates of clients.
    pub authorities: Option<String>,
    /// Must clients show a certificate?
    pub verify: bool,
    /// Does the certificate say who the user is?
    pub map: bool,
    /// Whether the handshake comes before INFO.
    pub first: First,
    /// Time for the handshake.
    pub timeout: Duration,
    /// Handshakes a second; zero for no limit.
    pub rate_limit: i64,
    /// The public keys that clients may have, as lower-case hexadecimal SHA-256; empty for any.
    pub pinned: Vec<String>,
    /// Suites of TLS 1.2 by their registered names; empty for all that are sound.
    pub suites: Vec<String>,
    /// Curves by Go's names, the preferred one first; empty for the usual.
    pub curves: Vec<String>,
    /// Is TLS 1.2 turned away?
    pub only_1_3: bool,
}

/// A certificate with its key.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pair {
    /// The file of the certificate and those between it and its authority.
    pub certificate: String,
    /// The file of the private key.
    pub key: String,
}

impl Default for Tls {
    fn default() -> Self {
        Self {
            position: String::new(),
            pairs: Vec::new(),
            authorities: None,
            verify: false,
            map: false,
            first: First::Never,
            timeout: TIMEOUT,
            rate_limit: 0,
            pinned: Vec::new(),
            suites: Vec::new(),
            curves: Vec::new(),
            only_1_3: false,
        }
    }
}

/// Suites that TLS 1.2 and 1.3 still count as sound.
const SUITES: [&str; 13] = [
    "TLS_AES_128_GCM_SHA256",
    "TLS_AES_256_GCM_SHA384",
    "TLS_CHACHA20_POLY1305_SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA",
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA",
    "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
    "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
    "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
    "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
    "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
];

/// Suites that must be allowed by name.
const INSECURE_SUITES: [&str; 12] = [
    "TLS_RSA_WITH_RC4_128_SHA",
    "TLS_RSA_WITH_3DES_EDE_CBC_SHA",
    "TLS_RSA_WITH_AES_128_CBC_SHA",
    "TLS_RSA_WITH_AES_256_CBC_SHA",
    "TLS_RSA_WITH_AES_128_CBC_SHA256",
    "TLS_RSA_WITH_AES_128_GCM_SHA256",
    "TLS_RSA_WITH_AES_256_GCM_SHA384",
    "TLS_ECDHE_ECDSA_WITH_RC4_128_SHA",
    "TLS_ECDHE_RSA_WITH_RC4_128_SHA",
    "TLS_ECDHE_RSA_WITH_3DES_EDE_CBC_SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA256",
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA256",
];

const CURVES: [&str; 7] = [
    "X25519",
    "CurveP256",
    "CurveP384",
    "CurveP521",
    "X25519MLKEM768",
    "SecP256r1MLKEM768",
    "SecP384r1MLKEM1024",
];

/// The `tls` block of the listener for clients.
pub(super) fn set(reader: &mut Reader, _: &str, node: &Node) -> Result<(), String> {
    reader.settings.tls = Some(read(reader, node)?);
    Ok(())
}

/// Reads the `tls` block of a listener for clients.
pub(super) fn read(reader: &mut Reader, node: &Node) -> Result<Tls, String> {
    check(node, true)?;
    let mut tls = Tls { position: node.position(), ..Tls::default() };
    let mut single = Pair::default();
    for (key, node) in map(node)?.iter() {
        tls.take(&key.to_lowercase(), node, &mut single)?;
        if key.eq_ignore_ascii_case("ocsp_peer") && !matches!(node.value, Value::Bool(false)) {
            reader.settings.missing_features.push("tls ocsp_peer".to_owned());
        }
    }
    match (single.certificate.is_empty(), single.key.is_empty()) {
        (false, true) => return Err(at(node, "missing 'key_file' in TLS configuration")),
        (true, false) => return Err(at(node, "missing 'cert_file' in TLS configuration")),
        (false, false) => tls.pairs = vec![single],
        (true, true) => {}
    }
    Ok(tls)
}

impl Tls {
    /// Takes what a checked key says.
    fn take(&mut self, key: &str, node: &Node, single: &mut Pair) -> Result<(), String> {
        let yes = matches!(node.value, Value::Bool(true));
        match key {
            "cert_file" => single.certificate = text(node)?,
            "key_file" => single.key = text(node)?,
            "ca_file" => self.authorities = Some(text(node)?).filter(|file| !file.is_empty()),
            "verify" => self.verify |= yes,
            "verify_and_map" => {
                self.verify |= yes;
                self.map = yes;
            }
            "cipher_suites" => self.suites = texts(node)?,
            "curve_preferences" => self.curves = texts(node)?,
            "timeout" => self.timeout = seconds(node).unwrap_or(TIMEOUT),
            "connection_rate_limit" => {
                if let Value::Integer(limit) = node.value {
                    self.rate_limit = limit;
                }
            }
            "pinned_certs" => {
                self.pinned = texts(node)?.iter().map(|key| key.to_lowercase()).collect();
            }
            "min_version" => self.only_1_3 = text(node)? == "1.3",
            "handshake_first" | "first" | "immediate" => self.first = first(node)?,
            "certs" | "certificates" => self.pairs = pairs(node)?,
            _ => {}
        }
        Ok(())
    }
}

fn texts(node: &Node) -> Result<Vec<String>, String> {
    array(node)?.iter().map(text).collect()
}

fn seconds(node: &Node) -> Option<Duration> {
    let seconds = match &node.value {
        Value::Integer(seconds) => *seconds as f64,
        Value::Float(seconds) => *seconds,
        _ => parse_duration(&text(node).ok()?).ok()? as f64 / 1e9,
    };
    Duration::try_from_secs_f64(seconds).ok().filter(|timeout| !timeout.is_zero())
}

fn first(node: &Node) -> Result<First, String> {
    if let Value::Bool(first) = node.value {
        return Ok(if first { First::Always } else { First::Never });
    }
    let word = text(node)?.to_lowercase();
    Ok(match word.as_str() {
        "true" | "on" => First::Always,
        "false" | "off" => First::Never,
        "auto" | "auto_fallback" => First::Fallback(FIRST_WAIT),
        _ => match parse_duration(&word).map(u64::try_from) {
            Ok(Ok(wait)) if wait > 0 => First::Fallback(Duration::from_nanos(wait)),
            _ => First::Always,
        },
    })
}

fn pairs(node: &Node) -> Result<Vec<Pair>, String> {
    let pair = |node: &Node| {
        let mut pair = Pair::default();
        for (key, node) in map(node)?.iter() {
            match key {
                "cert_file" => pair.certificate = text(node)?,
                _ => pair.key = text(node)?,
            }
        }
        Ok(pair)
    };
    array(node)?.iter().map(pair).collect()
}

/// A `tls` block of a listener for clients that is still to come.
pub(super) fn check_client(_: &mut Reader, _: &str, node: &Node) -> Result<(), String> {
    check(node, true)
}

/// A `tls` block between servers, where both sides show certificates.
pub(super) fn check_peer(_: &mut Reader, _: &str, node: &Node) -> Result<(), String> {
    check(node, false)
}

fn check(node: &Node, for_clients: bool) -> Result<(), String> {
    let block = map(node)?;
    let mut last = node;
    for (key, node) in block.iter() {
        last = node;
        check_key(key, node, for_clients)?;
    }
    let get = |name: &str| block.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
    let has_pairs = get("certs")
        .or(get("certificates"))
        .is_some_and(|(_, pairs)| matches!(&pairs.value, Value::Array(pairs) if !pairs.is_empty()));
    if has_pairs && get("cert_file").is_some() {
        return Err(at(last, &problem("cannot combine 'cert_file' option with 'certs' option")));
    }
    let allowed = get("allow_insecure_cipher_suites")
        .is_some_and(|(_, node)| matches!(node.value, Value::Bool(true)));
    if let Some((_, suites)) = get("cipher_suites").filter(|_| !allowed) {
        let named: Vec<String> = array(suites)?.iter().filter_map(|node| text(node).ok()).collect();
        let insecure: Vec<&str> = named
            .iter()
            .map(String::as_str)
            .filter(|name| INSECURE_SUITES.contains(name))
            .collect();
        if !insecure.is_empty() {
            let reason = "insecure cipher suites configured without \
                          'allow_insecure_cipher_suites' option set:";
            return Err(at(node, &format!("{reason} {}", insecure.join(", "))));
        }
    }
    Ok(())
}

fn check_key(key: &str, node: &Node, for_clients: bool) -> Result<(), String> {
    let lower = key.to_lowercase();
    match lower.as_str() {
        "cert_file" | "key_file" | "ca_file" => typed::<true>(&lower, node),
        "insecure" | "verify" | "verify_and_map" | "allow_insecure_cipher_suites" => {
            typed::<false>(&lower, node)
        }
        "verify_cert_and_check_known_urls" => {
            typed::<false>(&lower, node)?;
            if for_clients && matches!(node.value, Value::Bool(true)) {
                let reason = "verify_cert_and_check_known_urls not supported in this context";
                return Err(at(node, reason));
            }
            Ok(())
        }
        "cipher_suites" => check_names(&lower, node, "unrecognized cipher", |name| {
            SUITES.contains(&name) || INSECURE_SUITES.contains(&name)
        }),
        "curve_preferences" => check_names(&lower, node, "unrecognized curve preference", |name| {
            CURVES.contains(&name)
        }),
        "timeout" => check_timeout(node),
        "connection_rate_limit" => match node.value {
            Value::Integer(_) => Ok(()),
            _ => Err(at(node, &problem("'connection_rate_limit' wrong type"))),
        },
        "pinned_certs" => check_pinned(node),
        "min_version" => check_version(node),
        "handshake_first" | "first" | "immediate" => check_handshake(key, node),
        "certs" | "certificates" => check_pairs(node),
        "ocsp_peer" => check_ocsp_peer(node),
        "cert_store" => Err(at(node, "cert store type not implemented")),
        "cert_match_by" | "cert_match" => match &node.value {
            Value::String(name) if !name.is_empty() => Ok(()),
            _ => Err(at(node, &format!("expected '{lower}' to be a valid non-empty string"))),
        },
        "cert_match_skip_invalid" => match node.value {
            Value::Bool(_) => Ok(()),
            _ => Err(at(node, "expected 'cert_match_skip_invalid' to be a boolean")),
        },
        "ca_certs_match" => Ok(()),
        _ => Err(at(node, &problem(&format!("unknown field {}", quote(key))))),
    }
}

fn problem(reason: &str) -> String {
    format!("error parsing tls config, {reason}")
}

/// A file name or a boolean.
fn typed<const FILE: bool>(key: &str, node: &Node) -> Result<(), String> {
    match (&node.value, FILE) {
        (Value::String(_), true) | (Value::Bool(_), false) => Ok(()),
        (_, true) => Err(at(node, &problem(&format!("expected '{key}' to be filename")))),
        (_, false) => Err(at(node, &problem(&format!("expected '{key}' to be a boolean")))),
    }
}

fn check_names(
    key: &str,
    node: &Node,
    complaint: &str,
    is_known: fn(&str) -> bool,
) -> Result<(), String> {
    let names = array(node)?;
    if names.is_empty() {
        return Err(at(node, &problem(&format!("'{key}' cannot be empty"))));
    }
    for node in names {
        let name = text(node)?;
        if !is_known(&name) {
            return Err(at(node, &format!("{complaint} {name}")));
        }
    }
    Ok(())
}

fn check_timeout(node: &Node) -> Result<(), String> {
    match &node.value {
        Value::Integer(_) | Value::Float(_) => Ok(()),
        Value::String(_) => parse_duration(&text(node)?)
            .map(drop)
            .map_err(|error| at(node, &problem(&format!("'timeout' {error}")))),
        _ => Err(at(node, &problem("'timeout' wrong type"))),
    }
}

fn check_pinned(node: &Node) -> Result<(), String> {
    const FORM: &str = "hex-encoded sha256 of DER encoded SubjectPublicKeyInfo";
    let keys = array(node).map_err(|_| {
        at(node, &problem(&format!("expected 'pinned_certs' to be a list of {FORM}")))
    })?;
    for node in keys {
        let key = text(node)?.to_lowercase();
        if key.len() != 64 || !key.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            let reason = format!("'pinned_certs' key {key} does not look like {FORM}");
            return Err(at(node, &problem(&reason)));
        }
    }
    Ok(())
}

fn check_version(node: &Node) -> Result<(), String> {
    let version = text(node).map_err(|_| {
        let shown = super::auth::shown(&node.value);
        at(node, &format!("error parsing tls config: 'min_version' wrong type: {shown}"))
    })?;
    let reason = match version.as_str() {
        "1.2" | "1.3" => return Ok(()),
        "1.0" | "1.1" => format!("unsupported TLS version: TLS {version}"),
        _ => format!("unknown version: {version}"),
    };
    Err(at(node, &format!("error parsing tls config: {reason}")))
}

fn check_handshake(key: &str, node: &Node) -> Result<(), String> {
    let key = quote(key);
    match &node.value {
        Value::Bool(_) => Ok(()),
        Value::String(_) => {
            let value = text(node)?;
            let words = ["true", "on", "false", "off", "auto", "auto_fallback"];
            if words.contains(&value.to_lowercase().as_str()) || parse_duration(&value).is_ok() {
                return Ok(());
            }
            Err(at(node, &format!("field {key}'s value {} is invalid", quote(&value))))
        }
        other => {
            let found = other.type_name();
            Err(at(node, &format!("field {key} should be a boolean or a string, got {found}")))
        }
    }
}

fn check_pairs(node: &Node) -> Result<(), String> {
    const PREFIX: &str = "error parsing certificates config:";
    let unsupported =
        |node: &Node| at(node, &format!("{PREFIX} unsupported type {}", node.value.type_name()));
    for node in array(node).map_err(|_| unsupported(node))? {
        let Value::Map(pair) = &node.value else {
            return Err(unsupported(node));
        };
        let mut files = 0;
        let mut last = node;
        for (key, node) in pair.iter() {
            last = node;
            let file = text(node).map_err(|_| unsupported(node))?;
            if !matches!(key, "cert_file" | "key_file") {
                let reason =
                    format!("error parsing tls certs config, unknown field {}", quote(key));
                return Err(at(node, &reason));
            }
            files += usize::from(!file.is_empty());
        }
        if files < 2 {
            let reason = format!("{PREFIX} both 'cert_file' and 'cert_key' options are required");
            return Err(at(last, &reason));
        }
    }
    Ok(())
}

fn check_ocsp_peer(node: &Node) -> Result<(), String> {
    let block = match &node.value {
        Value::Bool(_) => return Ok(()),
        Value::Map(block) => block,
        other => {
            let found = other.type_name();
            let reason = format!("error parsing ocsp peer config: unsupported type {found}");
            return Err(at(node, &reason));
        }
    };
    for (key, node) in block.iter() {
        let fits = match key.to_lowercase().as_str() {
            "verify" | "warn_only" | "unknown_is_good" | "allow_when_ca_unreachable" => {
                matches!(node.value, Value::Bool(_))
            }
            "allowed_clockskew" | "ca_timeout" | "cache_ttl_when_next_update_unset" => {
                check_seconds(node, "error parsing tls peer config, conversion error:")?;
                true
            }
            _ => false,
        };
        if !fits {
            let key = quote(key);
            let reason = format!("error parsing tls peer config, unknown field [{key}]");
            return Err(at(node, &reason));
        }
    }
    Ok(())
}

fn check_seconds(node: &Node, prefix: &str) -> Result<(), String> {
    match &node.value {
        Value::Integer(_) | Value::Float(_) => Ok(()),
        Value::String(_) => parse_duration(&text(node)?)
            .map(drop)
            .map_err(|error| at(node, &format!("{prefix} {error}"))),
        _ => Err(at(node, &format!("{prefix} unexpected type"))),
    }
}

/// `ocsp`: what to staple to certificates. By default only those that demand it are stapled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ocsp {
    /// `auto`, `always`, `must` or `never`.
    pub mode: String,
    /// Whom to ask instead of those that certificates name.
    pub urls: Vec<String>,
}

/// Reads `ocsp`.
pub(super) fn set_ocsp(reader: &mut Reader, _: &str, node: &Node) -> Result<(), String> {
    let mut ocsp = Ocsp { mode: "auto".to_owned(), urls: Vec::new() };
    let block: &Map = match &node.value {
        Value::Bool(on) => {
            let mode = if *on { "auto" } else { "never" }.to_owned();
            reader.settings.ocsp = Some(Ocsp { mode, ..ocsp });
            return Ok(());
        }
        Value::Map(block) => block,
        other => {
            let found = other.type_name();
            return Err(at(node, &format!("error parsing ocsp config: unsupported type {found}")));
        }
    };
    for (key, node) in block.iter() {
        match key {
            "mode" => {
                let mode = text(node)?.to_lowercase();
                if ["always", "must", "never", "auto"].contains(&mode.as_str()) {
                    ocsp.mode = mode;
                } else {
                    let reason = "error parsing ocsp config: unsupported ocsp mode string";
                    reader.errors.push(at(node, reason));
                }
            }
            "urls" => ocsp.urls = array(node)?.iter().map(text).collect::<Result<_, _>>()?,
            "url" => ocsp.urls = vec![text(node)?],
            _ => {
                return Err(at(node, "error parsing ocsp config: unsupported field string"));
            }
        }
    }
    reader.settings.ocsp = Some(ocsp);
    Ok(())
}

/// `ocsp_cache`, the same.
pub(super) fn check_ocsp_cache(_: &mut Reader, _: &str, node: &Node) -> Result<(), String> {
    const PREFIX: &str = "error parsing OCSP peer cache config,";
    let Value::Map(block) = &node.value else {
        return Ok(());
    };
    for (key, node) in block.iter() {
        let fits = match key.to_lowercase().as_str() {
            "type" => match text(node) {
                Ok(kind) if !["none", "local"].contains(&kind.to_lowercase().as_str()) => {
                    return Err(at(node, &format!("{PREFIX} unknown type [{kind}]")));
                }
                kind => kind.is_ok(),
            },
            "local_store" => text(node).is_ok(),
            "preserve_revoked" => matches!(node.value, Value::Bool(_)),
            "save_interval" => {
                check_seconds(node, &format!("{PREFIX} conversion error:"))?;
                true
            }
            _ => false,
        };
        if !fits {
            return Err(at(node, &format!("{PREFIX} unknown field [{}]", quote(key))));
        }
    }
    Ok(())
}
