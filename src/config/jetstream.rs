//! `jetstream` blocks, of the server and of accounts.

use super::auth::shown;
use super::schema::{Reader, Row, Rule, Shape, at, boolean, known, text};
use super::tree::{Node, Value};
use crate::notation::{parse_duration, quote};

use Shape::{Bool, Integer, Text, With};

static ROWS: &[Row] = &[
    known(&["strict"], With(check_strict)),
    known(&["store", "store_dir", "storedir"], With(check_store_dir)),
    known(&["sync", "sync_interval"], With(check_sync)),
    known(&["max_memory_store", "max_mem_store", "max_mem"], With(check_max_memory)),
    known(&["max_file_store", "max_file"], With(check_max_file)),
    known(&["domain"], Text),
    known(&["enable", "enabled"], Bool),
    known(&["key", "ek", "encryption_key"], Text),
    known(&["prev_key", "prev_ek", "prev_encryption_key"], Text),
    known(&["cipher"], With(check_cipher)),
    known(&["extension_hint"], Text),
    known(&["limits"], Shape::Block(LIMIT_ROWS, "Expected a map to define JetStreamLimits")),
    known(&["tpm"], Shape::Block(TPM_ROWS, "Expected a map to define JetStreamLimits")),
    known(&["unique_tag"], Text),
    known(&["max_outstanding_catchup", "max_buffered_size"], With(check_storage)),
    known(&["max_buffered_msgs", "request_queue_limit", "info_queue_limit"], With(check_size)),
    known(&["meta_compact"], With(check_absolute)),
    known(&["meta_compact_size"], With(check_absolute_storage)),
    known(&["meta_compact_sync"], Bool),
    known(&["max_concurrent_io"], With(check_concurrent_io)),
];

static LIMIT_ROWS: &[Row] = &[
    known(&["max_ack_pending", "max_ha_assets", "max_request_batch"], Integer),
    known(&["default_max_consumers"], Integer),
    known(&["duplicate_window"], With(check_bare_duration)),
    known(&["batch"], Shape::Block(BATCH_ROWS, "Expected a map to define batch limits")),
];

static BATCH_ROWS: &[Row] = &[
    known(&["max_inflight_per_stream", "max_inflight_total", "max_msgs"], Integer),
    known(&["timeout"], With(check_bare_duration)),
];

static TPM_ROWS: &[Row] = &[
    known(&["keys_file", "encryption_password", "srk_password"], Text),
    known(&["pcr"], Integer),
    known(&["cipher"], With(check_cipher)),
];

static ACCOUNT_ROWS: &[Row] = &[
    known(
        &[
            "max_memory",
            "max_mem",
            "mem",
            "memory",
            "max_store",
            "max_file",
            "max_disk",
            "store",
            "disk",
            "max_streams",
            "streams",
            "max_consumers",
            "consumers",
            "mem_max_stream_bytes",
            "memory_max_stream_bytes",
            "disk_max_stream_bytes",
            "store_max_stream_bytes",
            "max_ack_pending",
        ],
        With(check_size),
    ),
    known(&["max_bytes_required", "max_stream_bytes", "max_bytes"], With(check_bool_size)),
    known(&["cluster_traffic"], With(check_cluster_traffic)),
];

/// `jetstream` at the top level.
pub(super) fn check(reader: &mut Reader, _: &str, node: &Node) -> Result<(), String> {
    check_with(reader, node, ROWS)
}

/// `jetstream` of an account.
pub(super) fn check_account(reader: &mut Reader, _: &str, node: &Node) -> Result<(), String> {
    check_with(reader, node, ACCOUNT_ROWS)
}

fn check_with(reader: &mut Reader, node: &Node, rows: &'static [Row]) -> Result<(), String> {
    match &node.value {
        Value::Bool(_) => Ok(()),
        Value::String(_) => {
            let word = text(node)?;
            if ["enabled", "enable", "disabled", "disable"].contains(&word.to_lowercase().as_str())
            {
                return Ok(());
            }
            let reason = "Expected 'enabled' or 'disabled' for string value, got";
            Err(at(node, &format!("{reason} '{word}'")))
        }
        Value::Map(block) => {
            reader.read_block(rows, block);
            Ok(())
        }
        other => {
            let found = other.type_name();
            let reason = "Expected map, bool or string to define JetStream, got";
            Err(at(node, &format!("{reason} {found}")))
        }
    }
}

/// Whether a value of the top-level key turns `JetStream` on.
pub(super) fn is_wanted(value: &Value) -> bool {
    match value {
        Value::Bool(on) => *on,
        Value::String(word) => {
            !word.eq_ignore_ascii_case(b"disabled") && !word.eq_ignore_ascii_case(b"disable")
        }
        Value::Map(block) => !block.iter().any(|(key, node)| {
            matches!(key.to_lowercase().as_str(), "enable" | "enabled")
                && matches!(node.value, Value::Bool(false))
        }),
        _ => false,
    }
}

/// The directory may stand at the top or in the block, not in both.
pub(super) fn check_store_dir(reader: &mut Reader, _: &str, node: &Node) -> Result<(), String> {
    if reader.has_store_dir {
        return Err(at(node, "Duplicate 'store_dir' configuration"));
    }
    reader.has_store_dir = !text(node)?.is_empty();
    Ok(())
}

fn check_strict(_: &mut Reader, _: &str, node: &Node) -> Result<(), String> {
    boolean(node).map(drop).map_err(|_| {
        let shown = shown(&node.value);
        at(node, &format!("Expected 'true' or 'false' for bool value, got '{shown}'"))
    })
}

fn check_sync(reader: &mut Reader, key: &str, node: &Node) -> Result<(), String> {
    if matches!(&node.value, Value::String(word) if word.eq_ignore_ascii_case(b"always")) {
        return Ok(());
    }
    reader.duration(key, node).map(drop)
}

fn check_max_memory(_: &mut Reader, _: &str, node: &Node) -> Result<(), String> {
    storage(node, "max_mem_store").map(drop)
}

fn check_max_file(_: &mut Reader, _: &str, node: &Node) -> Result<(), String> {
    storage(node, "max_file_store").map(drop)
}

fn check_storage(_: &mut Reader, key: &str, node: &Node) -> Result<(), String> {
    storage(node, &key.to_lowercase()).map(drop)
}

/// A size as an integer or as `4G`, where the letters stand for powers of 1024.
fn storage(node: &Node, name: &str) -> Result<i64, String> {
    let problem = |reason: &str| at(node, &format!("{name} {reason}"));
    if let Value::Integer(bytes) = node.value {
        return Ok(bytes);
    }
    let size = text(node).map_err(|_| problem("must be int64 or string"))?;
    let Some(suffix) = size.chars().next_back() else {
        return Ok(0);
    };
    let number = &size[..size.len() - suffix.len_utf8()];
    let number: i64 = number.parse().map_err(|_| {
        problem(&format!("strconv.ParseInt: parsing {}: invalid syntax", quote(number)))
    })?;
    let shift = match suffix {
        'K' => 10,
        'M' => 20,
        'G' => 30,
        'T' => 40,
        _ => return Err(problem("sizes defined as strings must end in K, M, G, T")),
    };
    Ok(number.saturating_mul(1 << shift))
}

fn check_size(_: &mut Reader, key: &str, node: &Node) -> Result<(), String> {
    if matches!(node.value, Value::Integer(_)) {
        return Ok(());
    }
    let (key, shown) = (quote(key), shown(&node.value));
    Err(at(node, &format!("Expected a parseable size for {key}, got {shown}")))
}

fn check_bool_size(_: &mut Reader, key: &str, node: &Node) -> Result<(), String> {
    boolean(node).map(drop).map_err(|_| {
        let (key, shown) = (quote(key), shown(&node.value));
        at(node, &format!("Expected a parseable bool for {key}, got {shown}"))
    })
}

fn check_absolute(_: &mut Reader, key: &str, node: &Node) -> Result<(), String> {
    if matches!(node.value, Value::Integer(0..)) {
        return Ok(());
    }
    Err(not_absolute(key, node, ""))
}

fn check_absolute_storage(_: &mut Reader, key: &str, node: &Node) -> Result<(), String> {
    if storage(node, &key.to_lowercase())? < 0 {
        return Err(not_absolute(key, node, ""));
    }
    Ok(())
}

fn check_concurrent_io(_: &mut Reader, key: &str, node: &Node) -> Result<(), String> {
    if matches!(node.value, Value::Integer(4..=8192)) {
        return Ok(());
    }
    Err(not_absolute(key, node, " between 4 and 8192"))
}

fn not_absolute(key: &str, node: &Node, range: &str) -> String {
    let (key, shown) = (quote(key), shown(&node.value));
    at(node, &format!("Expected an absolute size for {key}{range}, got {shown}"))
}

fn check_cipher(_: &mut Reader, _: &str, node: &Node) -> Result<(), String> {
    let cipher = text(node)?;
    if ["chacha", "chachapoly", "aes"].contains(&cipher.to_lowercase().as_str()) {
        return Ok(());
    }
    Err(at(node, &format!("Unknown cipher type: {}", quote(&cipher))))
}

/// The reference reports these without their place.
fn check_bare_duration(_: &mut Reader, _: &str, node: &Node) -> Result<(), String> {
    parse_duration(&text(node)?).map(drop).map_err(|problem| problem.to_string())
}

fn check_cluster_traffic(_: &mut Reader, key: &str, node: &Node) -> Result<(), String> {
    let (key, shown) = (quote(key), shown(&node.value));
    match text(node) {
        Ok(word) if ["", "system", "owner"].contains(&word.as_str()) => Ok(()),
        Ok(_) => Err(at(
            node,
            &format!("Expected 'system' or 'owner' string value for {key}, got {shown}"),
        )),
        Err(_) => Err(at(
            node,
            &format!("Expected either 'system' or 'owner' string value for {key}, got {shown}"),
        )),
    }
}

/// `default_js_domain`.
pub(super) fn check_domains(_: &mut Reader, _: &str, node: &Node) -> Result<(), String> {
    let Value::Map(domains) = &node.value else {
        let found = node.value.type_name();
        return Err(at(node, &format!("error default_js_domain config: unsupported type {found}")));
    };
    domains.iter().try_for_each(|(_, node)| text(node).map(drop))
}

/// The rule of the top-level key.
pub(super) const RULE: Rule = Rule::Later(With(check), is_wanted);
