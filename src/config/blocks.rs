//! Keys below the top level.

use super::schema::{Reader, Shape};
use super::tree::{Node, Value};

/// User names seen so far.
pub(super) type Users = std::collections::HashSet<String>;

fn any(_: &mut Reader, _: &str, _: &Node) -> Result<(), String> {
    Ok(())
}

pub(super) const CLUSTER: Shape = Shape::With(any);
pub(super) const GATEWAY: Shape = Shape::With(any);
pub(super) const LEAFNODES: Shape = Shape::With(any);
pub(super) const WEBSOCKET: Shape = Shape::With(any);
pub(super) const MQTT: Shape = Shape::With(any);
pub(super) fn check_accounts(_: &mut Reader, _: &str, _: &Node) -> Result<(), String> {
    Ok(())
}
pub(super) fn check_store_dir(_: &mut Reader, _: &str, _: &Node) -> Result<(), String> {
    Ok(())
}
pub(super) fn check_ocsp(_: &mut Reader, _: &str, _: &Node) -> Result<(), String> {
    Ok(())
}
pub(super) fn check_ocsp_cache(_: &mut Reader, _: &str, _: &Node) -> Result<(), String> {
    Ok(())
}
pub(super) fn check_proxies(_: &mut Reader, _: &str, _: &Node) -> Result<(), String> {
    Ok(())
}
pub(super) fn check_tls(_: &mut Reader, _: &str, _: &Node) -> Result<(), String> {
    Ok(())
}
pub(super) fn check_jetstream(_: &mut Reader, _: &str, _: &Node) -> Result<(), String> {
    Ok(())
}
pub(super) fn check_mappings(_: &mut Reader, _: &str, _: &Node) -> Result<(), String> {
    Ok(())
}
pub(super) fn check_operators(_: &mut Reader, _: &str, _: &Node) -> Result<(), String> {
    Ok(())
}
pub(super) fn check_resolver(_: &mut Reader, _: &str, _: &Node) -> Result<(), String> {
    Ok(())
}
pub(super) fn check_preload(_: &mut Reader, _: &str, _: &Node) -> Result<(), String> {
    Ok(())
}
pub(super) fn check_pinned_accounts(_: &mut Reader, _: &str, _: &Node) -> Result<(), String> {
    Ok(())
}
pub(super) fn check_trusted_keys(_: &mut Reader, _: &str, _: &Node) -> Result<(), String> {
    Ok(())
}
pub(super) fn check_js_domains(_: &mut Reader, _: &str, _: &Node) -> Result<(), String> {
    Ok(())
}
pub(super) fn set_authorization(_: &mut Reader, _: &str, _: &Node) -> Result<(), String> {
    Ok(())
}

pub(super) fn jetstream_wanted(value: &Value) -> bool {
    !matches!(value, Value::Bool(false))
}
