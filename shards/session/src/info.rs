//! The INFO line (spec 1.3).

use std::fmt::Write as _;

use crate::{Auth, Config, Connection};

/// The parts of INFO that are the same for all clients, ready as text.
#[derive(Clone, Debug)]
pub struct InfoLine {
    head: String,
    tail: String,
    with_auth: bool,
}

/// Which INFO is wanted.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Variant {
    pub(crate) lame_duck: bool,
    pub(crate) answers_connect: bool,
}

/// A string as JSON, with the escapes that Go's encoder adds.
fn json(text: &str) -> String {
    let quoted = serde_json::Value::from(text).to_string();
    quoted.replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026")
}

impl InfoLine {
    /// The line of a server.
    pub fn new(config: &Config) -> Self {
        let head = format!(
            "INFO {{\"server_id\":{},\"server_name\":{},\"version\":{},\"proto\":1,\
             \"go\":\"pinion{}\",\"host\":{},\"port\":{},\"headers\":{}",
            json(&config.server_id),
            json(&config.server_name),
            json(&config.version),
            config.product_version,
            json(&config.host),
            config.port,
            config.headers,
        );
        let domain = match config.domain.as_str() {
            "" => String::new(),
            domain => format!(",\"domain\":{}", json(domain)),
        };
        let tail = format!(
            "{domain},\"api_lvl\":5,\"xkey\":{},\"pinion\":{}}} \r\n",
            json(&config.xkey),
            json(&config.product_version),
        );
        Self { head, tail, with_auth: config.auth != Auth::Open }
    }

    /// The first line that a connection gets.
    pub fn greeting(&self, connection: &Connection, config: &Config) -> String {
        self.line(connection, config, Variant::default())
    }

    /// The line that follows the first PONG and says what CONNECT led to.
    pub fn answer(&self, connection: &Connection, config: &Config) -> String {
        let variant = Variant { answers_connect: true, lame_duck: false };
        self.line(connection, config, variant)
    }

    /// The line that tells clients to go elsewhere.
    pub fn lame_duck(&self, connection: &Connection, config: &Config) -> String {
        let variant = Variant { lame_duck: true, answers_connect: false };
        self.line(connection, config, variant)
    }

    fn line(&self, connection: &Connection, config: &Config, variant: Variant) -> String {
        let mut line = String::with_capacity(self.head.len() + self.tail.len() + 160);
        line.push_str(&self.head);
        if self.with_auth {
            line.push_str(",\"auth_required\":true");
        }
        let peer = json(&connection.peer.host);
        write!(
            line,
            ",\"max_payload\":{}{},\"client_id\":{},\"client_ip\":{peer}",
            config.max_payload,
            if config.jetstream { ",\"jetstream\":true" } else { "" },
            connection.id.0
        )
        .expect("writing to a string succeeds");
        if variant.lame_duck {
            line.push_str(",\"ldm\":true");
        }
        if variant.answers_connect {
            line.push_str(",\"connect_info\":true,\"remote_account\":\"$G\"");
        }
        line.push_str(&self.tail);
        line
    }
}
