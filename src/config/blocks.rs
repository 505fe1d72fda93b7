//! Blocks of listeners still to come: other servers and MQTT.

use super::auth;
use super::nkey;
use super::schema::{Reader, Row, Shape, array, at, integer, known, map, text};
use super::tls;
use super::tree::{Node, Value};
use super::url;
use crate::notation::{parse_duration, quote};

/// `cluster`.
pub(super) const CLUSTER: Shape = Shape::Block(CLUSTER_ROWS, "Expected map to define cluster");
/// `gateway`.
pub(super) const GATEWAY: Shape = Shape::Block(GATEWAY_ROWS, "Expected gateway to be a map");
/// `leafnodes`.
pub(super) const LEAFNODES: Shape =
    Shape::Block(LEAFNODE_ROWS, "Expected map to define a leafnode");
/// `mqtt`.
pub(super) const MQTT: Shape = Shape::Block(MQTT_ROWS, "Expected mqtt to be a map");

use Shape::{Bool, Duration, Ignored, Integer, Listen, Text, TextList, With};

static CLUSTER_ROWS: &[Row] = &[
    known(&["name"], With(check_cluster_name)),
    known(&["listen"], Listen),
    known(&["port"], Integer),
    known(&["host", "net"], Text),
    known(&["authorization"], With(check_cluster_authorization)),
    known(&["routes"], With(check_routes)),
    known(&["tls"], With(tls::check_peer)),
    known(&["cluster_advertise", "advertise"], Text),
    known(&["no_advertise"], Bool),
    known(&["connect_retries"], Integer),
    known(&["connect_backoff"], Bool),
    known(&["permissions"], With(check_cluster_permissions)),
    known(&["pool_size"], Integer),
    known(&["accounts"], TextList("accounts")),
    known(&["compression"], With(check_compression)),
    known(&["ping_interval"], With(check_cluster_ping)),
    known(&["ping_max"], Integer),
    known(&["write_deadline"], Duration),
    known(&["write_timeout"], With(check_write_timeout)),
];

static GATEWAY_ROWS: &[Row] = &[
    known(&["name"], With(check_gateway_name)),
    known(&["listen"], Listen),
    known(&["port"], Integer),
    known(&["host", "net"], Text),
    known(&["authorization"], With(check_gateway_authorization)),
    known(&["tls"], With(tls::check_peer)),
    known(&["advertise"], Text),
    known(&["connect_retries"], Integer),
    known(&["connect_backoff"], Bool),
    known(&["gateways"], With(check_gateways)),
    known(&["reject_unknown", "reject_unknown_cluster"], Bool),
    known(&["write_deadline"], Duration),
    known(&["write_timeout"], With(check_write_timeout)),
];

static REMOTE_GATEWAY_ROWS: &[Row] = &[
    known(&["name"], Text),
    known(&["tls"], With(tls::check_peer)),
    known(&["url"], With(check_gateway_url)),
    known(&["urls"], With(check_gateway_urls)),
];

static LEAFNODE_ROWS: &[Row] = &[
    known(&["listen"], Listen),
    known(&["port"], Integer),
    known(&["host", "net"], Text),
    known(&["authorization"], With(auth::check_leaf)),
    known(&["remotes"], With(check_remotes)),
    known(&["reconnect", "reconnect_delay", "reconnect_interval"], With(check_reconnect)),
    known(&["dial_timeout"], Duration),
    known(&["tls"], With(tls::check_client)),
    known(&["leafnode_advertise", "advertise"], Text),
    known(&["no_advertise"], Bool),
    known(&["min_version", "minimum_version"], Text),
    known(&["compression"], With(check_compression)),
    known(&["isolate_leafnode_interest", "isolate"], Bool),
    known(&["write_deadline"], Duration),
    known(&["write_timeout"], With(check_write_timeout)),
];

static REMOTE_LEAFNODE_ROWS: &[Row] = &[
    known(&["no_randomize", "dont_randomize"], Bool),
    known(&["url", "urls"], With(check_leafnode_urls)),
    known(&["account", "local"], Text),
    known(&["creds", "credentials"], Text),
    known(&["nkey", "seed"], With(check_leafnode_seed)),
    known(&["tls"], With(tls::check_client)),
    known(&["hub"], Bool),
    known(&["deny_imports", "deny_import", "deny_exports", "deny_export"], With(check_subjects)),
    known(&["ws_compress", "ws_compression", "websocket_compress", "websocket_compression"], Bool),
    known(&["ws_no_masking", "websocket_no_masking"], Bool),
    known(&["jetstream_cluster_migrate", "js_cluster_migrate"], With(check_migrate)),
    known(&["isolate_leafnode_interest", "isolate"], Bool),
    known(&["request_isolation"], Bool),
    known(&["compression"], With(check_compression)),
    known(&["first_info_timeout", "dial_timeout"], Duration),
    known(&["disabled"], Bool),
    known(&["proxy"], Shape::Block(PROXY_ROWS, "Expected proxy to be a map")),
    known(&["ignore_discovered_servers"], Bool),
];

static PROXY_ROWS: &[Row] = &[
    known(&["url", "username", "password"], Text),
    known(&["timeout"], With(check_proxy_timeout)),
];

static MQTT_ROWS: &[Row] = &[
    known(&["listen"], Listen),
    known(&["port"], Integer),
    known(&["host", "net"], Text),
    known(&["tls"], With(tls::check_client)),
    known(&["authorization", "authentication"], With(auth::check_simple)),
    known(&["no_auth_user"], Text),
    known(&["ack_wait", "ackwait"], Duration),
    known(&["js_api_timeout", "api_timeout"], Duration),
    known(&["max_ack_pending", "max_pending", "max_inflight"], With(check_ack_pending)),
    known(&["js_domain"], Text),
    known(&["stream_replicas"], Integer),
    known(
        &["consumer_replicas"],
        Ignored("consumer replicas setting ignored in this server version"),
    ),
    known(&["consumer_memory_storage"], Bool),
    known(&["consumer_inactive_threshold", "consumer_auto_cleanup"], Duration),
    known(&["reject_qos2_publish", "downgrade_qos2_subscribe"], Bool),
];

fn check_cluster_name(_: &mut Reader, _: &str, node: &Node) -> Result<(), String> {
    check_name(node, "cluster")
}

fn check_gateway_name(_: &mut Reader, _: &str, node: &Node) -> Result<(), String> {
    check_name(node, "gateway")
}

fn check_name(node: &Node, owner: &str) -> Result<(), String> {
    if text(node)?.contains(' ') {
        return Err(at(node, &format!("{owner} name cannot contain spaces")));
    }
    Ok(())
}

fn check_cluster_authorization(reader: &mut Reader, key: &str, node: &Node) -> Result<(), String> {
    if check_server_authorization(reader, node, "Cluster")? {
        let reason = "setting \"permissions\" within cluster authorization block is deprecated";
        reader.warn(key, node, reason);
    }
    Ok(())
}

fn check_gateway_authorization(reader: &mut Reader, _: &str, node: &Node) -> Result<(), String> {
    check_server_authorization(reader, node, "Gateway").map(drop)
}

/// Servers know one user. Returns whether there are permissions.
fn check_server_authorization(
    reader: &mut Reader,
    node: &Node,
    owner: &str,
) -> Result<bool, String> {
    let block = auth::read_credentials(reader, node)?;
    let problem = if block.users.is_some() {
        "does not allow multiple users"
    } else if !block.token.is_empty() {
        "does not support tokens"
    } else if block.callout.is_some() {
        "does not support callouts"
    } else {
        return Ok(block.permissions.is_some());
    };
    Err(at(node, &format!("{owner} authorization {problem}")))
}

fn check_cluster_permissions(reader: &mut Reader, key: &str, node: &Node) -> Result<(), String> {
    auth::check_permissions(reader, key, node)?;
    let Value::Map(block) = &node.value else {
        return Ok(());
    };
    let dynamic = ["publish_allow_responses", "allow_responses"];
    let has_dynamic = block.iter().any(|(key, node)| {
        dynamic.contains(&key.to_lowercase().as_str()) && !matches!(node.value, Value::Bool(false))
    });
    if has_dynamic {
        return Err(at(node, "Cluster permissions do not support dynamic responses"));
    }
    Ok(())
}

fn check_routes(reader: &mut Reader, _: &str, node: &Node) -> Result<(), String> {
    url::check_list(reader, array(node)?, "route")
}

fn check_gateway_url(_: &mut Reader, _: &str, node: &Node) -> Result<(), String> {
    url::check(node, "gateway")
}

fn check_gateway_urls(reader: &mut Reader, _: &str, node: &Node) -> Result<(), String> {
    url::check_list(reader, array(node)?, "gateway")
}

fn check_leafnode_urls(reader: &mut Reader, _: &str, node: &Node) -> Result<(), String> {
    match &node.value {
        Value::Array(urls) => url::check_list(reader, urls, "leafnode"),
        Value::String(_) => url::check(node, "leafnode"),
        other => {
            let shown = auth::shown(other);
            let reason = "Expected remote leafnode url to be an array or string, got";
            Err(at(node, &format!("{reason} {shown}")))
        }
    }
}

/// Modes are checked where connections are made, so any word will do here.
fn check_compression(_: &mut Reader, key: &str, node: &Node) -> Result<(), String> {
    let block = match &node.value {
        Value::String(_) | Value::Bool(_) => return Ok(()),
        Value::Map(block) => block,
        other => {
            let (key, found) = (quote(key), other.type_name());
            let reason = format!("field {key} should be a boolean or a structure, got {found}");
            return Err(at(node, &reason));
        }
    };
    for (key, node) in block.iter() {
        match key.to_lowercase().as_str() {
            "mode" => drop(text(node)?),
            "rtt_thresholds" | "thresholds" | "rtts" | "rtt" => {
                for element in array(node)? {
                    parse_duration(&text(element)?)
                        .map_err(|problem| at(node, &problem.to_string()))?;
                }
            }
            _ if node.referenced => {}
            _ => return Err(at(node, &format!("unknown field {}", quote(key)))),
        }
    }
    Ok(())
}

fn check_cluster_ping(reader: &mut Reader, key: &str, node: &Node) -> Result<(), String> {
    const LONGEST: i64 = 30 * 1_000_000_000;
    if reader.duration(&key.to_lowercase(), node)?.is_some_and(|interval| interval > LONGEST) {
        let reason = "Cluster 'ping_interval' will reset to 30s which is the max for routes";
        reader.warnings.push(at(node, reason));
    }
    Ok(())
}

fn check_write_timeout(_: &mut Reader, _: &str, node: &Node) -> Result<(), String> {
    if ["default", "close", "retry"].contains(&text(node)?.as_str()) {
        return Ok(());
    }
    Err(at(node, "write_timeout must be 'default', 'close' or 'retry'"))
}

fn check_gateways(reader: &mut Reader, _: &str, node: &Node) -> Result<(), String> {
    check_entries(reader, node, "gateways field", "gateway entry", REMOTE_GATEWAY_ROWS)
}

fn check_remotes(reader: &mut Reader, _: &str, node: &Node) -> Result<(), String> {
    check_entries(reader, node, "remotes field", "remote leafnode entry", REMOTE_LEAFNODE_ROWS)
}

fn check_entries(
    reader: &mut Reader,
    node: &Node,
    list: &str,
    entry: &str,
    rows: &'static [Row],
) -> Result<(), String> {
    let entries = array(node).map_err(|_| {
        let found = node.value.type_name();
        at(node, &format!("Expected {list} to be an array, got {found}"))
    })?;
    for node in entries {
        match &node.value {
            Value::Map(block) => reader.read_block(rows, block),
            other => {
                let shown = auth::shown(other);
                let reason = format!("Expected {entry} to be a map/struct, got {shown}");
                reader.errors.push(at(node, &reason));
            }
        }
    }
    Ok(())
}

fn check_reconnect(reader: &mut Reader, _: &str, node: &Node) -> Result<(), String> {
    reader.duration("reconnect", node).map(drop)
}

fn check_proxy_timeout(reader: &mut Reader, _: &str, node: &Node) -> Result<(), String> {
    reader.duration("proxy timeout", node).map(drop)
}

fn check_leafnode_seed(_: &mut Reader, _: &str, node: &Node) -> Result<(), String> {
    let seed = text(node)?;
    if nkey::is_user_seed(&seed) {
        return Ok(());
    }
    let seed = quote(&seed);
    Err(at(node, &format!("Remote leafnode nkey is not a valid seed: {seed}")))
}

fn check_subjects(_: &mut Reader, _: &str, node: &Node) -> Result<(), String> {
    super::permissions::read_subjects(node, false, true).map(drop)
}

fn check_migrate(reader: &mut Reader, _: &str, node: &Node) -> Result<(), String> {
    match &node.value {
        Value::Bool(_) => Ok(()),
        Value::Map(block) => match block.get("leader_migrate_delay") {
            Some(delay) => reader.duration("leader_migrate_delay", delay).map(drop),
            None => Ok(()),
        },
        other => {
            let found = other.type_name();
            let reason = "Expected boolean or map for jetstream_cluster_migrate, got";
            Err(at(node, &format!("{reason} {found}")))
        }
    }
}

fn check_ack_pending(_: &mut Reader, _: &str, node: &Node) -> Result<(), String> {
    let pending = integer(node)?;
    if u16::try_from(pending).is_err() {
        return Err(at(node, &format!("invalid value {pending}, should in [0..65535] range")));
    }
    Ok(())
}

/// `proxies`.
pub(super) fn set_proxies(reader: &mut Reader, _: &str, node: &Node) -> Result<(), String> {
    static ROWS: &[Row] = &[known(&["trusted"], With(check_trusted_proxies))];
    let Value::Map(block) = &node.value else {
        let found = node.value.type_name();
        return Err(at(node, &format!("expected proxies to be a map/struct, got {found}")));
    };
    reader.read_block(ROWS, block);
    Ok(())
}

fn check_trusted_proxies(reader: &mut Reader, _: &str, node: &Node) -> Result<(), String> {
    let entries = array(node).map_err(|_| {
        let found = node.value.type_name();
        at(node, &format!("expected proxies' trusted field to be an array, got {found}"))
    })?;
    for node in entries {
        let Ok(proxy) = map(node) else {
            let found = node.value.type_name();
            let reason = format!("expected proxies' trusted entry to be a map/struct, got {found}");
            reader.errors.push(at(node, &reason));
            continue;
        };
        reader.read_block(PROXY_KEY_ROWS, proxy);
    }
    Ok(())
}

static PROXY_KEY_ROWS: &[Row] = &[known(&["key", "public_key"], With(set_proxy_key))];

fn set_proxy_key(reader: &mut Reader, _: &str, node: &Node) -> Result<(), String> {
    let key = text(node)?;
    if nkey::is_any_public(&key) {
        reader.settings.proxies.get_or_insert_default().push(key);
        return Ok(());
    }
    Err(at(node, &format!("invalid proxy key {}", quote(&key))))
}
