//! `jetstream` blocks, of the server and of accounts.

use std::time::Duration;

use accounts::StorageLimits;

use super::auth::shown;
use super::schema::{Reader, Row, Rule, Shape, at, boolean, integer, known, row, text};
use super::store::{Block, Cipher, Sync};
use super::tree::{Node, Value};
use crate::notation::{parse_duration, quote};

use Rule::With as Set;
use Shape::{Bool, Integer, Text, With};

static ROWS: &[Row] = &[
    row(&["strict"], Set(set_strict)),
    row(&["store", "store_dir", "storedir"], Set(set_store_dir)),
    row(&["sync", "sync_interval"], Set(set_sync)),
    row(&["max_memory_store", "max_mem_store", "max_mem"], Set(set_max_memory)),
    row(&["max_file_store", "max_file"], Set(set_max_file)),
    row(&["domain"], Set(|r, _, n| set_text(r, n, |block| &mut block.domain))),
    known(&["enable", "enabled"], Bool),
    row(&["key", "ek", "encryption_key"], Set(|r, _, n| set_text(r, n, |block| &mut block.key))),
    row(
        &["prev_key", "prev_ek", "prev_encryption_key"],
        Set(|r, _, n| set_text(r, n, |block| &mut block.previous_key)),
    ),
    row(&["cipher"], Set(set_cipher)),
    known(&["extension_hint"], Text),
    known(&["limits"], Shape::Block(LIMIT_ROWS, "Expected a map to define JetStreamLimits")),
    known(&["tpm"], Shape::Block(TPM_ROWS, "Expected a map to define JetStreamLimits")),
    row(&["unique_tag"], Set(|r, _, n| set_text(r, n, |block| &mut block.unique_tag))),
    known(&["max_outstanding_catchup", "max_buffered_size"], With(check_storage)),
    known(&["max_buffered_msgs", "request_queue_limit", "info_queue_limit"], With(check_size)),
    known(&["meta_compact"], With(check_absolute)),
    known(&["meta_compact_size"], With(check_absolute_storage)),
    known(&["meta_compact_sync"], Bool),
    known(&["max_concurrent_io"], With(check_concurrent_io)),
];

static LIMIT_ROWS: &[Row] = &[
    row(&["max_ack_pending"], Set(|r, _, n| set_integer(r, n, |block| &mut block.max_ack_pending))),
    known(&["max_ha_assets"], Integer),
    row(
        &["max_request_batch"],
        Set(|r, _, n| set_integer(r, n, |block| &mut block.max_request_batch)),
    ),
    row(
        &["default_max_consumers"],
        Set(|r, _, n| set_integer(r, n, |block| &mut block.default_max_consumers)),
    ),
    row(
        &["duplicate_window"],
        Set(|r, _, n| set_bare_duration(r, n, |block| &mut block.duplicate_window)),
    ),
    known(&["batch"], Shape::Block(BATCH_ROWS, "Expected a map to define batch limits")),
];

static BATCH_ROWS: &[Row] = &[
    row(
        &["max_inflight_per_stream"],
        Set(|r, _, n| set_integer(r, n, |block| &mut block.batch_per_stream)),
    ),
    row(&["max_inflight_total"], Set(|r, _, n| set_integer(r, n, |block| &mut block.batch_total))),
    row(&["max_msgs"], Set(|r, _, n| set_integer(r, n, |block| &mut block.batch_messages))),
    row(&["timeout"], Set(|r, _, n| set_bare_duration(r, n, |block| &mut block.batch_timeout))),
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
pub(super) fn set(reader: &mut Reader, _: &str, node: &Node) -> Result<(), String> {
    reader.settings.jetstream = Some(is_wanted(&node.value));
    check_with(reader, node, ROWS)
}

fn block(reader: &mut Reader) -> &mut Block {
    reader.settings.jetstream_block.get_or_insert_default()
}

fn set_text(
    reader: &mut Reader,
    node: &Node,
    field: fn(&mut Block) -> &mut Option<String>,
) -> Result<(), String> {
    *field(block(reader)) = Some(text(node)?);
    Ok(())
}

fn set_integer(
    reader: &mut Reader,
    node: &Node,
    field: fn(&mut Block) -> &mut Option<i64>,
) -> Result<(), String> {
    *field(block(reader)) = Some(integer(node)?);
    Ok(())
}

/// `jetstream` of an account: how much it may store, if it may.
pub(super) fn read_account(
    reader: &mut Reader,
    node: &Node,
) -> Result<Option<StorageLimits>, String> {
    check_with(reader, node, ACCOUNT_ROWS)?;
    let mut limits = StorageLimits::default();
    let Value::Map(block) = &node.value else {
        return Ok(is_wanted(&node.value).then_some(limits));
    };
    for (key, node) in block.iter() {
        let limit = match key.to_lowercase().as_str() {
            "max_memory" | "max_mem" | "mem" | "memory" => &mut limits.memory,
            "max_store" | "max_file" | "max_disk" | "store" | "disk" => &mut limits.file,
            "max_streams" | "streams" => &mut limits.streams,
            "max_consumers" | "consumers" => &mut limits.consumers,
            "mem_max_stream_bytes" | "memory_max_stream_bytes" => &mut limits.memory_stream,
            "disk_max_stream_bytes" | "store_max_stream_bytes" => &mut limits.file_stream,
            "max_ack_pending" => &mut limits.ack_pending,
            "max_bytes_required" | "max_stream_bytes" | "max_bytes" => {
                limits.max_bytes_required = matches!(node.value, Value::Bool(true));
                continue;
            }
            _ => continue,
        };
        if let Value::Integer(value) = node.value {
            *limit = value;
        }
    }
    Ok(Some(limits))
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
fn is_wanted(value: &Value) -> bool {
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
pub(super) fn set_store_dir(reader: &mut Reader, _: &str, node: &Node) -> Result<(), String> {
    if reader.has_store_dir {
        return Err(at(node, "Duplicate 'store_dir' configuration"));
    }
    let directory = text(node)?;
    reader.has_store_dir = !directory.is_empty();
    reader.settings.store_dir = Some(directory);
    Ok(())
}

fn set_strict(reader: &mut Reader, _: &str, node: &Node) -> Result<(), String> {
    let strict = boolean(node).map_err(|_| {
        let shown = shown(&node.value);
        at(node, &format!("Expected 'true' or 'false' for bool value, got '{shown}'"))
    })?;
    block(reader).strict = Some(strict);
    Ok(())
}

/// Without a word, or with an interval of zero, data is durable before it is acknowledged.
fn set_sync(reader: &mut Reader, key: &str, node: &Node) -> Result<(), String> {
    let always = matches!(&node.value, Value::String(word) if word.eq_ignore_ascii_case(b"always"));
    let interval = if always { None } else { reader.duration(key, node)? };
    let interval = interval.and_then(|nanos| u64::try_from(nanos).ok()).filter(|nanos| *nanos > 0);
    block(reader).sync =
        Some(interval.map_or(Sync::Always, |nanos| Sync::Every(Duration::from_nanos(nanos))));
    Ok(())
}

fn set_max_memory(reader: &mut Reader, _: &str, node: &Node) -> Result<(), String> {
    block(reader).max_memory = Some(storage(node, "max_mem_store")?);
    Ok(())
}

fn set_max_file(reader: &mut Reader, _: &str, node: &Node) -> Result<(), String> {
    block(reader).max_file = Some(storage(node, "max_file_store")?);
    Ok(())
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

fn set_cipher(reader: &mut Reader, key: &str, node: &Node) -> Result<(), String> {
    check_cipher(reader, key, node)?;
    let aes = text(node)?.eq_ignore_ascii_case("aes");
    block(reader).cipher = Some(if aes { Cipher::Aes } else { Cipher::ChaCha });
    Ok(())
}

/// The reference reports these without their place.
fn set_bare_duration(
    reader: &mut Reader,
    node: &Node,
    field: fn(&mut Block) -> &mut Option<Duration>,
) -> Result<(), String> {
    let nanoseconds = parse_duration(&text(node)?).map_err(|problem| problem.to_string())?;
    *field(block(reader)) = u64::try_from(nanoseconds).ok().map(Duration::from_nanos);
    Ok(())
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
