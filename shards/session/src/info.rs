//! The INFO line (spec 1.3).

use std::fmt::Write as _;

use base::AccountId;

use crate::nonce::nonce;
use crate::{Config, Connection, Stage};

/// The parts of INFO that are the same for all clients, ready as text.
#[derive(Clone, Debug)]
pub struct InfoLine {
    head: String,
    /// The same for WebSocket, whose address is another.
    websocket_head: String,
    tail: String,
    with_auth: bool,
    /// Where those who say nothing are somebody, they are not told to say something.
    greets_with_auth: bool,
}

/// Which INFO is wanted.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Variant {
    pub(crate) lame_duck: bool,
    pub(crate) answers_connect: bool,
    /// Is it the first of a connection?
    pub(crate) greets: bool,
}

/// What INFO says of TLS. To who began with TLS, it was required.
fn put_tls(line: &mut String, connection: &Connection, config: &Config, variant: Variant) {
    if connection.is_websocket() {
        let secure = config.websocket.as_ref().is_some_and(|door| door.tls);
        if secure {
            line.push_str(",\"tls_required\":true");
        }
        if config.tls.as_ref().is_some_and(|tls| tls.verify) {
            line.push_str(",\"tls_verify\":true");
        }
        if secure {
            line.push_str(",\"tls_available\":true");
        }
        return;
    }
    let Some(tls) = &config.tls else { return };
    let first = connection.entrance.as_ref().is_some_and(|entrance| entrance.tls_first);
    if !tls.optional || (first && variant.greets) {
        line.push_str(",\"tls_required\":true");
    }
    if tls.verify {
        line.push_str(",\"tls_verify\":true");
    }
    if tls.optional {
        line.push_str(",\"tls_available\":true");
    }
}

/// A string as JSON, with the escapes that Go's encoder adds.
fn json(text: &str) -> String {
    let quoted = serde_json::Value::from(text).to_string();
    quoted.replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026")
}

impl InfoLine {
    /// The line of a server.
    pub fn new(config: &Config) -> Self {
        let head = |host: &str, port: u16| {
            format!(
                "INFO {{\"server_id\":{},\"server_name\":{},\"version\":{},\"proto\":1,\
             \"go\":\"pinion{}\",\"host\":{},\"port\":{},\"headers\":{}",
                json(&config.server_id),
                json(&config.server_name),
                json(&config.version),
                config.product_version,
                json(host),
                port,
                config.headers,
            )
        };
        let domain = match config.domain.as_str() {
            "" => String::new(),
            domain => format!(",\"domain\":{}", json(domain)),
        };
        let tail = format!(
            "{domain},\"api_lvl\":5,\"xkey\":{},\"pinion\":{}}} \r\n",
            json(&config.xkey),
            json(&config.product_version),
        );
        let websocket = config.websocket.as_ref();
        Self {
            head: head(&config.host, config.port),
            websocket_head: websocket.map_or_else(String::new, |door| head(&door.host, door.port)),
            tail,
            with_auth: !config.auth.is_open(),
            greets_with_auth: config.auth.is_announced(),
        }
    }

    /// The first line that a connection gets.
    pub fn greeting(&self, connection: &Connection, config: &Config) -> String {
        self.line(connection, config, Variant { greets: true, ..Variant::default() })
    }

    /// The line that follows the first PONG and says what CONNECT led to.
    pub fn answer(&self, connection: &Connection, config: &Config) -> String {
        let variant = Variant { answers_connect: true, ..Variant::default() };
        self.line(connection, config, variant)
    }

    /// The line that tells clients to go elsewhere.
    pub fn lame_duck(&self, connection: &Connection, config: &Config) -> String {
        let variant = Variant { lame_duck: true, ..Variant::default() };
        self.line(connection, config, variant)
    }

    fn line(&self, connection: &Connection, config: &Config, variant: Variant) -> String {
        let mut line = String::with_capacity(self.head.len() + self.tail.len() + 160);
        let websocket = config.websocket.as_ref().filter(|_| connection.is_websocket());
        line.push_str(if websocket.is_some() { &self.websocket_head } else { &self.head });
        // Those who come by WebSocket are not told that they may say nothing.
        let greets = variant.greets && websocket.is_none();
        let with_auth = if greets { self.greets_with_auth } else { self.with_auth };
        if with_auth || websocket.is_some_and(|door| door.overrides_auth) {
            line.push_str(",\"auth_required\":true");
        }
        put_tls(&mut line, connection, config, variant);
        let jetstream = if config.jetstream { ",\"jetstream\":true" } else { "" };
        let (limit, id) = (connection.max_payload, connection.id.0);
        write!(line, ",\"max_payload\":{limit}{jetstream},\"client_id\":{id}")
            .expect("writing to a string succeeds");
        // Before its PROXY header has come, the peer is the proxy, which is nobody's business.
        if connection.stage == Stage::Open || !config.proxy_protocol {
            write!(line, ",\"client_ip\":{}", json(&connection.peer.host))
                .expect("writing to a string succeeds");
        }
        if variant.greets && config.auth.needs_nonce() {
            let nonce = nonce(&config.nonce_key.0, connection.id);
            write!(line, ",\"nonce\":\"{nonce}\"").expect("writing to a string succeeds");
        }
        if variant.lame_duck {
            line.push_str(",\"ldm\":true");
        }
        if variant.answers_connect {
            let name = &config.accounts.get(connection.account).name;
            write!(line, ",\"connect_info\":true,\"remote_account\":{}", json(name))
                .expect("writing to a string succeeds");
            if connection.account == AccountId::SYSTEM {
                line.push_str(",\"acc_is_sys\":true");
            }
        }
        line.push_str(&self.tail);
        line
    }
}
