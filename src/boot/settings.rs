//! What the shards are configured with, from the server's options.

use std::hash::{BuildHasher as _, Hasher as _};

use accounts::{Directory, StorageLimits};
use shard::{Config, way_in};

use crate::auth::{self, Keys};
use crate::config::{Options, Port, WebSocket};

/// A seed that nobody can guess: the standard library keys its hasher from the system's randomness.
pub(super) fn random_seed() -> u64 {
    std::hash::RandomState::new().build_hasher().finish()
}

/// What the shards of a server with these options are configured with; its identity is new.
pub fn shard_config(options: &Options) -> Config {
    shard_config_after(options, &Directory::default(), &Keys::new())
}

/// The same for a server with keys, whose accounts were others before.
pub(super) fn shard_config_after(options: &Options, earlier: &Directory, keys: &Keys) -> Config {
    let vouched = options.authorization.vouching.is_some();
    let mut accounts = options.accounts.clone();
    if !vouched {
        // Where an operator vouches for accounts, the ledger keeps their places.
        accounts = accounts.after(earlier);
    }
    if options.jetstream.is_some() && !vouched && accounts.is_global_only() {
        // Where nobody else is named, everybody stores messages in the global account.
        accounts.accounts[0].jetstream = Some(StorageLimits::default());
    }
    let (server_id, xkey) = keys.public();
    let (host, port) = advertised(options);
    let port = port.unwrap_or(match options.port {
        Port::Fixed(port) => port,
        Port::Random => 0,
    });
    Config {
        server_name: options.server_name.clone().unwrap_or_else(|| server_id.clone()),
        server_id,
        tags: options.tags.clone(),
        xkey,
        host,
        port,
        auth: options.authorization.to_auth(&accounts),
        nonce_key: auth::nonce_key(),
        accounts,
        auth_timeout: options.auth_timeout,
        headers: !options.no_header_support,
        max_control_line: options.max_control_line,
        max_payload: options.max_payload,
        max_pending: options.max_pending,
        max_connections: match options.max_connections {
            0 => -1,
            limit => i64::try_from(limit).unwrap_or(i64::MAX),
        },
        max_subscriptions: options.max_subscriptions.map_or(0, Into::into),
        max_sub_tokens: options.max_subscription_tokens.map_or(0, |tokens| tokens.get().into()),
        write_deadline: options.write_deadline,
        ping_interval: options.ping_interval,
        ping_max: options.ping_max,
        no_fast_producer_stall: options.no_fast_producer_stall,
        debug: options.debug,
        trace: options.trace,
        max_traced_message: options.max_traced_msg_len.map_or(0, Into::into),
        trace_headers: options.trace_headers,
        lame_duck_duration: options.lame_duck_duration,
        jetstream: options.jetstream.is_some(),
        domain: options.jetstream.as_ref().map_or_else(String::new, |js| js.domain.clone()),
        lame_duck_grace: options.lame_duck_grace_period,
        proxy_protocol: options.proxy_protocol,
        websocket: options.websocket.as_ref().map(|door| websocket(options, door)),
        tls: options.tls.as_ref().map(|tls| way_in::Tls {
            optional: options.allow_non_tls,
            verify: tls.verify,
            map: tls.map,
            first: tls.first,
            timeout: tls.timeout,
            rate_limit: tls.rate_limit,
            pinned: tls.pinned.clone(),
        }),
        ..Config::default()
    }
}

fn websocket(options: &Options, door: &WebSocket) -> way_in::WebSocket {
    way_in::WebSocket {
        host: door.host.clone(),
        port: match door.port {
            Port::Fixed(port) => port,
            Port::Random => 0,
        },
        tls: door.tls.is_some(),
        map: door.tls.as_ref().is_some_and(|tls| tls.map),
        pinned: door.tls.as_ref().map_or_else(Vec::new, |tls| tls.pinned.clone()),
        handshake_timeout: door.handshake_timeout,
        auth_timeout: door.auth_timeout,
        ping_interval: door.ping_interval,
        overrides_auth: options.authorization.websocket.is_some(),
    }
}

/// The address that INFO names, with its port if that is not the one listened on.
pub(super) fn advertised(options: &Options) -> (String, Option<u16>) {
    let Some(advertise) = &options.client_advertise else {
        return (options.host.clone(), None);
    };
    match advertise.rsplit_once(':') {
        Some((host, digits)) if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
            let host = host.trim_start_matches('[').trim_end_matches(']');
            (host.to_owned(), digits.parse().ok())
        }
        _ => (advertise.clone(), None),
    }
}
