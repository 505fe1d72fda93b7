//! What those are told who decide whether somebody may come in (spec 3.5).

use serde_json::{Map, Value, json};

use crate::{Config, Connection, Secured};

/// What is known about this server and a connection that has sent CONNECT. `nonce` is what INFO
/// asked to be signed, `sealed` whether they can answer under a seal.
pub fn facts(
    connection: &Connection,
    config: &Config,
    nonce: &str,
    sealed: bool,
) -> Map<String, Value> {
    let mut facts = Map::new();
    facts.insert("server_id".into(), server(config, sealed));
    facts.insert("client_info".into(), client(connection, nonce));
    let identity = connection.identity.as_ref().expect("CONNECT came before");
    facts.insert("connect_opts".into(), identity.options(connection.options.protocol));
    let entrance = connection.entrance.as_ref();
    if let Some(secured) = entrance.and_then(|entrance| entrance.secured.as_ref()) {
        facts.insert("client_tls".into(), tls(secured));
    }
    facts
}

fn server(config: &Config, sealed: bool) -> Value {
    let mut server = json!({
        "name": config.server_name,
        "host": config.host,
        "id": config.server_id,
        "version": config.version,
    });
    if !config.tags.is_empty() {
        server["tags"] = config.tags.clone().into();
    }
    if sealed {
        server["xkey"] = config.xkey.as_str().into();
    }
    server
}

fn client(connection: &Connection, nonce: &str) -> Value {
    let identity = connection.identity.as_ref().expect("CONNECT came before");
    let kind = if connection.is_websocket() { "websocket" } else { "nats" };
    let grant = connection.grant.as_ref();
    let jwt = grant.filter(|grant| grant.jwt.is_some()).map_or("", |grant| grant.user.as_str());
    let user = [identity.raw_user(), jwt].into_iter().find(|user| !user.is_empty());
    let mut client = Map::new();
    client.insert("host".into(), connection.peer.host.as_str().into());
    client.insert("id".into(), connection.id.0.into());
    for (name, text) in [("user", user.unwrap_or("")), ("name", &identity.name)] {
        if !text.is_empty() {
            client.insert(name.into(), text.into());
        }
    }
    client.insert("kind".into(), "Client".into());
    client.insert("type".into(), kind.into());
    if identity.has_signature() {
        client.insert("nonce".into(), nonce.into());
    }
    client.into()
}

fn tls(secured: &Secured) -> Value {
    let mut tls = json!({ "version": secured.version, "cipher": secured.cipher });
    if !secured.chain.is_empty() {
        // Certificates are asked for only to be verified.
        let chain: Vec<Value> = secured.chain.iter().map(|der| pem(der).into()).collect();
        tls["verified_chains"] = json!([chain]);
    }
    tls
}

/// A certificate in its text form: 64 letters a line.
fn pem(der: &[u8]) -> String {
    let letters = base::base64::encode_padded(der);
    let mut text = String::from("-----BEGIN CERTIFICATE-----\n");
    for line in letters.as_bytes().chunks(64) {
        text.extend(line.iter().map(|letter| char::from(*letter)));
        text.push('\n');
    }
    text.push_str("-----END CERTIFICATE-----\n");
    text
}
