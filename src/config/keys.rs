//! The keys of the top level, and those of their values that need more than a type.

use super::schema::Rule::{Bool, Duration, Integer, Known, Later, Text, With};
use super::schema::{Reader, Row, Shape, at, integer, listen, row, text};
use super::tree::{Node, Value};
use super::{
    accounts, auth, blocks, jetstream, mappings, native, operator, resolver, tls, websocket,
};
use crate::notation::{format_duration, parse_duration, quote};

// What makes a feature wanted.

fn always(_: &Value) -> bool {
    true
}

fn if_true(value: &Value) -> bool {
    matches!(value, Value::Bool(true))
}

fn if_not_zero(value: &Value) -> bool {
    !matches!(value, Value::Integer(0))
}

fn if_not_empty(value: &Value) -> bool {
    !matches!(value, Value::String(text) if text.is_empty())
}

/// The top level of a file.
pub(super) static TOP: &[Row] = &[
    row(&["listen"], With(set_listen)),
    row(&["host", "net"], Text(|s, v| s.host = Some(v))),
    row(&["port"], Integer(|s, v| s.port = Some(v))),
    row(&["server_name"], With(set_server_name)),
    row(&["client_advertise"], Text(|s, v| s.client_advertise = Some(v))),
    row(&["debug"], Bool(|s, v| s.debug = Some(v))),
    row(&["trace"], Bool(|s, v| s.trace = Some(v))),
    row(
        &["trace_verbose"],
        Bool(|s, v| {
            s.trace_verbose = Some(v);
            s.trace = Some(v);
        }),
    ),
    row(
        &["trace_headers"],
        Bool(|s, v| {
            s.trace_headers = Some(v);
            s.trace = Some(v);
        }),
    ),
    row(&["logtime"], Bool(|s, v| s.logtime = Some(v))),
    row(&["logtime_utc"], Bool(|s, v| s.logtime_utc = Some(v))),
    row(&["logfile", "log_file"], Text(|s, v| s.log_file = Some(v))),
    row(&["logfile_size_limit", "log_size_limit"], Integer(|s, v| s.log_size_limit = Some(v))),
    row(&["logfile_max_num", "log_max_num"], Integer(|s, v| s.log_max_num = Some(v))),
    row(&["max_traced_msg_len"], Integer(|s, v| s.max_traced_msg_len = Some(v))),
    row(&["pidfile", "pid_file"], Text(|s, v| s.pid_file = Some(v))),
    row(&["ports_file_dir"], Text(|s, v| s.ports_file_dir = Some(v))),
    row(&["max_connections", "max_conn"], Integer(|s, v| s.max_connections = Some(v))),
    row(&["max_subscriptions", "max_subs"], Integer(|s, v| s.max_subscriptions = Some(v))),
    row(&["max_sub_tokens", "max_subscription_tokens"], With(set_subscription_tokens)),
    row(&["max_control_line"], With(set_max_control_line)),
    row(&["max_payload"], With(set_max_payload)),
    row(&["max_pending"], Integer(|s, v| s.max_pending = Some(v))),
    row(&["write_deadline"], Duration(|s, v| s.write_deadline = Some(v))),
    row(&["write_timeout"], With(check_write_timeout)),
    row(&["ping_interval"], Duration(|s, v| s.ping_interval = Some(v))),
    row(&["ping_max"], Integer(|s, v| s.ping_max = Some(v))),
    row(&["lame_duck_duration"], With(set_lame_duck_duration)),
    row(&["lame_duck_grace_period"], With(set_lame_duck_grace_period)),
    row(&["no_header_support"], Bool(|s, v| s.no_header_support = Some(v))),
    row(&["no_fast_producer_stall"], Bool(|s, v| s.no_fast_producer_stall = Some(v))),
    row(&["authorization"], With(auth::set_authorization)),
    row(&["no_auth_user"], Text(|s, v| s.no_auth_user = Some(v))),
    row(&["proxies"], With(blocks::set_proxies)),
    row(&["connect_error_reports"], Integer(|s, v| s.connect_error_reports = Some(v))),
    row(&["reconnect_error_reports"], Integer(|s, v| s.reconnect_error_reports = Some(v))),
    row(&["server_tags"], With(set_tags)),
    row(&["server_metadata"], With(set_metadata)),
    row(&["accounts"], With(accounts::set)),
    row(&["mappings", "maps"], With(mappings::set)),
    row(&["system_account", "system"], With(set_system_account)),
    row(
        &["no_system_account", "no_system", "no_sys_acc"],
        Bool(|s, v| s.no_system_account = Some(v)),
    ),
    row(&["tls"], With(tls::set)),
    row(&["websocket", "ws"], With(websocket::set)),
    row(&["proxy_protocol"], Bool(|s, v| s.proxy_protocol = Some(v))),
    row(&["allow_non_tls"], Bool(|s, v| s.allow_non_tls = Some(v))),
    row(&["pinion"], With(native::set)),
    row(&["http"], With(set_http)),
    row(&["https"], With(set_https)),
    row(&["http_port", "monitor_port"], Integer(|s, v| s.http_port = Some(v))),
    row(&["https_port"], Integer(|s, v| s.https_port = Some(v))),
    row(&["http_base_path"], Text(|s, v| s.http_base_path = Some(v))),
    row(&["max_closed_clients"], Integer(|s, v| s.max_closed_clients = Some(v))),
    // Keys without an effect here. A subject index of our kind has no cache to turn off; profiles
    // of Go's scheduler, and flags of its JetStream, do not exist; the rest modifies features which
    // are refused when asked for.
    row(&["disable_sublist_cache", "no_sublist_cache"], Known(Shape::Bool)),
    row(&["prof_block_rate"], Known(Shape::Integer)),
    row(&["feature_flags"], Known(Shape::With(check_feature_flags))),
    row(&["default_sentinel"], Text(|s, v| s.sentinel = Some(v))),
    row(&["store_dir", "storedir"], With(jetstream::set_store_dir)),
    row(&["ocsp"], With(tls::set_ocsp)),
    row(&["ocsp_cache"], Known(Shape::With(tls::check_ocsp_cache))),
    // Features still to come.
    row(&["prof_port"], Later(Shape::Integer, if_not_zero)),
    row(&["syslog"], Later(Shape::Bool, if_true)),
    row(&["remote_syslog"], Later(Shape::Text, if_not_empty)),
    row(&["jetstream"], With(jetstream::set)),
    row(&["cluster"], Later(blocks::CLUSTER, always)),
    row(&["gateway"], Later(blocks::GATEWAY, always)),
    row(&["leaf", "leafnodes"], Later(blocks::LEAFNODES, always)),
    row(&["mqtt"], Later(blocks::MQTT, always)),
    row(
        &["operator", "operators", "roots", "root", "root_operators", "root_operator"],
        With(operator::set_operators),
    ),
    row(&["resolver", "account_resolver", "accounts_resolver"], With(resolver::set)),
    row(&["resolver_tls"], With(resolver::set_tls)),
    row(&["resolver_preload"], With(operator::set_preload)),
    row(&["resolver_pinned_accounts"], With(operator::set_pinned)),
    row(&["trusted", "trusted_keys"], With(operator::set_trusted_keys)),
    row(&["default_js_domain"], Later(Shape::With(jetstream::check_domains), always)),
];

fn set_listen(reader: &mut Reader, _: &str, node: &Node) -> Result<(), String> {
    let (host, port) = listen(node)?;
    reader.settings.host = Some(host.unwrap_or_default());
    reader.settings.port = Some(port);
    Ok(())
}

fn set_http(reader: &mut Reader, _: &str, node: &Node) -> Result<(), String> {
    let (host, port) = listen(node)?;
    reader.settings.http_host = Some(host.unwrap_or_default());
    reader.settings.http_port = Some(port);
    Ok(())
}

fn set_https(reader: &mut Reader, _: &str, node: &Node) -> Result<(), String> {
    let (host, port) = listen(node)?;
    reader.settings.http_host = Some(host.unwrap_or_default());
    reader.settings.https_port = Some(port);
    Ok(())
}

fn set_server_name(reader: &mut Reader, _: &str, node: &Node) -> Result<(), String> {
    let name = text(node)?;
    if name.contains(' ') {
        return Err(at(node, "server name cannot contain spaces"));
    }
    reader.settings.server_name = Some(name);
    Ok(())
}

fn set_subscription_tokens(reader: &mut Reader, key: &str, node: &Node) -> Result<(), String> {
    let tokens = integer(node)?;
    if tokens <= 0 {
        return Err(at(node, &format!("{key} value can not be negative")));
    }
    let tokens = u8::try_from(tokens).map_err(|_| at(node, &format!("{key} value is too big")))?;
    reader.settings.max_subscription_tokens = Some(tokens);
    Ok(())
}

fn set_max_control_line(reader: &mut Reader, key: &str, node: &Node) -> Result<(), String> {
    reader.settings.max_control_line = Some(below_2_gib(key, node)?);
    Ok(())
}

fn set_max_payload(reader: &mut Reader, key: &str, node: &Node) -> Result<(), String> {
    reader.settings.max_payload = Some(below_2_gib(key, node)?);
    Ok(())
}

fn below_2_gib(key: &str, node: &Node) -> Result<i64, String> {
    let value = integer(node)?;
    if value > i64::from(i32::MAX) {
        return Err(at(node, &format!("{key} value is too big")));
    }
    Ok(value)
}

/// The policies of the reference for a write that makes no progress. Clients are closed, which is
/// its default; to keep retrying them is not there yet.
fn check_write_timeout(reader: &mut Reader, key: &str, node: &Node) -> Result<(), String> {
    match text(node)?.as_str() {
        "default" | "close" => Ok(()),
        "retry" => {
            reader.settings.missing_features.push(format!("{key}: retry"));
            Ok(())
        }
        _ => Err(at(node, "write_timeout must be 'default', 'close' or 'retry'")),
    }
}

/// Unlike other durations these two are strings only.
fn duration_text(field: &str, node: &Node) -> Result<i64, String> {
    parse_duration(&text(node)?)
        .map_err(|problem| at(node, &format!("error parsing {field}: {problem}")))
}

fn set_lame_duck_duration(reader: &mut Reader, _: &str, node: &Node) -> Result<(), String> {
    const LEAST: i64 = 30 * 1_000_000_000;
    let nanoseconds = duration_text("lame_duck_duration", node)?;
    if nanoseconds < LEAST {
        let given = format_duration(nanoseconds);
        let reason = format!("invalid lame_duck_duration of {given}, minimum is 30 seconds");
        return Err(at(node, &reason));
    }
    reader.settings.lame_duck_duration = Some(nanoseconds);
    Ok(())
}

fn set_lame_duck_grace_period(reader: &mut Reader, _: &str, node: &Node) -> Result<(), String> {
    let nanoseconds = duration_text("lame_duck_grace_period", node)?;
    if nanoseconds < 0 {
        return Err(at(node, "invalid lame_duck_grace_period, needs to be positive"));
    }
    reader.settings.lame_duck_grace_period = Some(nanoseconds);
    Ok(())
}

fn set_tags(reader: &mut Reader, _: &str, node: &Node) -> Result<(), String> {
    let tags = match &node.value {
        Value::String(_) => vec![text(node)?],
        Value::Array(nodes) => {
            let text_of = |element: &Node| {
                text(element).map_err(|_| {
                    at(
                        node,
                        "error parsing tags: unsupported type *conf.token where string is expected",
                    )
                })
            };
            nodes.iter().map(text_of).collect::<Result<_, _>>()?
        }
        other => {
            let found = other.type_name();
            return Err(at(node, &format!("error parsing tags: unsupported type {found}")));
        }
    };
    let known = reader.settings.tags.get_or_insert_default();
    for tag in tags {
        let tag = tag.trim().to_lowercase();
        if !tag.is_empty() && !known.contains(&tag) {
            known.push(tag);
        }
    }
    Ok(())
}

fn set_metadata(reader: &mut Reader, _: &str, node: &Node) -> Result<(), String> {
    let Value::Map(map) = &node.value else {
        let found = node.value.type_name();
        return Err(at(node, &format!("error parsing metadata: unsupported type {found}")));
    };
    for (key, node) in map.iter() {
        let value = text(node)?;
        reader.settings.metadata.get_or_insert_default().insert(key.to_owned(), value);
    }
    Ok(())
}

fn check_feature_flags(_: &mut Reader, _: &str, node: &Node) -> Result<(), String> {
    let Value::Map(map) = &node.value else {
        let found = node.value.type_name();
        return Err(at(node, &format!("error parsing feature flags: unsupported type {found}")));
    };
    for (key, node) in map.iter() {
        let Value::Bool(_) = node.value else {
            let found = node.value.type_name();
            let key = quote(key);
            let reason = format!("error parsing feature flag {key}: expected bool, got {found}");
            return Err(at(node, &reason));
        };
    }
    Ok(())
}

fn set_system_account(reader: &mut Reader, _: &str, node: &Node) -> Result<(), String> {
    let name = text(node).map_err(|_| at(node, "system account name must be a string"))?;
    reader.settings.system_account = Some(name);
    Ok(())
}
