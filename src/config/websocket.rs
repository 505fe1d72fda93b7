//! The block `websocket`: a port for browsers, and for whom only HTTP gets through.

use std::time::Duration;

use accounts::Secret;

use super::authorization::Listener;
use super::options::Port;
use super::schema::{Reader, Row, Rule, at, listen, row, text};
use super::settings::Settings;
use super::tls::{self, Tls};
use super::tree::{Node, Value};
use super::{auth, schema};
use crate::notation::{parse_duration, quote, split_host_port};

/// Time for the HTTP request where the block does not say.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(2);

/// The port for WebSocket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebSocket {
    /// Address to listen on.
    pub host: String,
    /// Port to listen on.
    pub port: Port,
    /// `host[:port]` that clients of other servers are told.
    pub advertise: String,
    /// TLS, without which bearer tokens travel in the clear.
    pub tls: Option<Tls>,
    /// Must a page come from the host that it asks?
    pub same_origin: bool,
    /// Where pages may come from; empty for anywhere.
    pub origins: Vec<Origin>,
    /// May messages be compressed?
    pub compression: bool,
    /// Time for the HTTP request.
    pub handshake_timeout: Duration,
    /// Time for CONNECT instead of that of all other clients.
    pub auth_timeout: Option<Duration>,
    /// Time between PINGs instead of that of all other clients.
    pub ping_interval: Option<Duration>,
    /// Cookies with credentials.
    pub cookies: CookieNames,
    /// Headers to add to the answer.
    pub headers: Vec<(String, String)>,
}

/// The names of cookies with credentials; empty for none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CookieNames {
    /// The user's JWT.
    pub jwt: String,
    /// The user's name.
    pub user: String,
    /// The user's password.
    pub password: String,
    /// The token.
    pub token: String,
}

/// Where a page comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// `http` or `https`.
    pub scheme: String,
    /// The host in lower case.
    pub host: String,
    /// The port, filled in by the scheme.
    pub port: String,
}

impl Origin {
    /// Reads `scheme://host[:port]`. The error is the reason.
    pub fn parse(url: &str) -> Result<Self, String> {
        let (scheme, rest) = url.split_once("://").unwrap_or_default();
        let scheme = scheme.to_lowercase();
        if scheme != "http" && scheme != "https" {
            return Err("allowed origins must be absolute URLs with http or https scheme".into());
        }
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        if authority.is_empty() {
            return Err("host is required".into());
        }
        let (host, port) = host_and_port(scheme == "https", authority);
        Ok(Self { scheme, host, port })
    }
}

impl std::fmt::Display for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { scheme, host, port } = self;
        match (scheme.as_str(), port.as_str()) {
            ("http", "80") | ("https", "443") => write!(f, "{scheme}://{host}"),
            _ => write!(f, "{scheme}://{host}:{port}"),
        }
    }
}

/// Host and port of an authority, with the usual port if it has none.
pub fn host_and_port(secure: bool, authority: &str) -> (String, String) {
    match split_host_port(authority) {
        Ok((host, port)) => (host.to_lowercase(), port.to_owned()),
        Err(_) => (authority.to_lowercase(), if secure { "443" } else { "80" }.to_owned()),
    }
}

/// What the block says, before anything is checked as a whole.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Block {
    host: String,
    port: i64,
    advertise: String,
    tls: Option<Tls>,
    no_tls: bool,
    same_origin: bool,
    origins: Vec<String>,
    compression: bool,
    handshake_timeout: Option<i64>,
    auth_timeout: Option<f64>,
    ping_interval: Option<i64>,
    cookies: CookieNames,
    headers: Vec<(String, String)>,
    single: auth::Single,
    no_auth_user: String,
}

impl Block {
    /// Who may come in here, if that is said apart. As everywhere, a token wins over a user.
    pub(super) fn listener(&self) -> Option<Listener> {
        let auth::Single { user, password, token } = &self.single;
        let says_something = !(user.is_empty() && token.is_empty() && self.no_auth_user.is_empty());
        let given = |text: &String| Some(text.clone()).filter(|text| !text.is_empty());
        (self.port != 0 && says_something).then(|| {
            let token = given(token).map(Secret::new);
            let user = given(user).filter(|_| token.is_none());
            Listener {
                token,
                user: user.map(|name| (name, Secret::new(password.clone()))),
                no_auth_user: self.no_auth_user.clone(),
            }
        })
    }

    pub(super) const fn tls(&self) -> Option<&Tls> {
        self.tls.as_ref()
    }

    /// The port, if there is to be one. The error is what the user reads.
    pub(super) fn resolve(self, has_operator: bool) -> Result<Option<WebSocket>, String> {
        let port = match self.port {
            0 => return Ok(None),
            -1 => Port::Random,
            number => Port::Fixed(u16::try_from(number).map_err(|_| {
                format!(
                    "Unable to listen for websocket connections: address {number}: invalid port"
                )
            })?),
        };
        if self.tls.is_none() && !self.no_tls {
            return Err("websocket requires TLS configuration".to_owned());
        }
        let origins = self.origins.iter().map(|url| {
            Origin::parse(url).map_err(|reason| {
                format!("unable to parse allowed origin {}: {reason}", quote(url))
            })
        });
        let origins = origins.collect::<Result<_, _>>()?;
        if !self.cookies.jwt.is_empty() && !has_operator {
            return Err(format!(
                "trusted operators or trusted keys configuration is required for JWT \
                 authentication via cookie {}",
                quote(&self.cookies.jwt)
            ));
        }
        for (name, _) in &self.headers {
            check_header(name)?;
        }
        let span = |nanoseconds: i64| Duration::from_nanos(nanoseconds.max(0) as u64);
        Ok(Some(WebSocket {
            host: if self.host.is_empty() { "0.0.0.0".to_owned() } else { self.host },
            port,
            advertise: self.advertise,
            tls: self.tls,
            same_origin: self.same_origin,
            origins,
            compression: self.compression,
            handshake_timeout: self.handshake_timeout.map_or(HANDSHAKE_TIMEOUT, span),
            auth_timeout: self
                .auth_timeout
                .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
                .filter(|timeout| !timeout.is_zero()),
            ping_interval: self.ping_interval.map(span).filter(|interval| !interval.is_zero()),
            cookies: self.cookies,
            headers: self.headers,
        }))
    }
}

fn check_header(name: &str) -> Result<(), String> {
    let lower = name.to_lowercase();
    let name = quote(name);
    if ["host", "content-length", "connection", "upgrade", "nats-no-masking"]
        .contains(&lower.as_str())
    {
        return Err(format!("websocket: invalid header {name} not allowed"));
    }
    if lower.starts_with("sec-websocket-") {
        let reason = "\"Sec-WebSocket-\" prefix not allowed";
        return Err(format!("websocket: invalid header {name}, {reason}"));
    }
    Ok(())
}

fn block(settings: &mut Settings) -> &mut Block {
    settings.websocket.get_or_insert_default()
}

static ROWS: &[Row] = &[
    row(&["listen"], Rule::With(set_listen)),
    row(&["port"], Rule::Integer(|s, v| block(s).port = v)),
    row(&["host", "net"], Rule::Text(|s, v| block(s).host = v)),
    row(&["advertise"], Rule::Text(|s, v| block(s).advertise = v)),
    row(&["no_tls"], Rule::Bool(|s, v| block(s).no_tls = v)),
    row(&["tls"], Rule::With(set_tls)),
    row(&["same_origin"], Rule::Bool(|s, v| block(s).same_origin = v)),
    row(
        &[
            "allowed_origins",
            "allowed_origin",
            "allow_origins",
            "allow_origin",
            "origins",
            "origin",
        ],
        Rule::With(set_origins),
    ),
    row(&["handshake_timeout"], Rule::With(set_handshake_timeout)),
    row(&["compress", "compression"], Rule::Bool(|s, v| block(s).compression = v)),
    row(&["authorization", "authentication"], Rule::With(set_authorization)),
    row(&["jwt_cookie"], Rule::Text(|s, v| block(s).cookies.jwt = v)),
    row(&["user_cookie"], Rule::Text(|s, v| block(s).cookies.user = v)),
    row(&["pass_cookie"], Rule::Text(|s, v| block(s).cookies.password = v)),
    row(&["token_cookie"], Rule::Text(|s, v| block(s).cookies.token = v)),
    row(&["no_auth_user"], Rule::Text(|s, v| block(s).no_auth_user = v)),
    row(&["headers"], Rule::With(set_headers)),
    row(&["ping_interval"], Rule::Duration(|s, v| block(s).ping_interval = Some(v))),
];

/// Reads the block.
pub(super) fn set(reader: &mut Reader, _: &str, node: &Node) -> Result<(), String> {
    let Value::Map(map) = &node.value else {
        let found = node.value.type_name();
        return Err(at(node, &format!("Expected websocket to be a map, got {found}")));
    };
    block(&mut reader.settings);
    reader.read_block(ROWS, map);
    Ok(())
}

fn set_listen(reader: &mut Reader, _: &str, node: &Node) -> Result<(), String> {
    let (host, port) = listen(node)?;
    let block = block(&mut reader.settings);
    block.host = host.unwrap_or_default();
    block.port = port;
    Ok(())
}

fn set_tls(reader: &mut Reader, _: &str, node: &Node) -> Result<(), String> {
    let tls = tls::read(reader, node)?;
    block(&mut reader.settings).tls = Some(tls);
    Ok(())
}

fn set_origins(reader: &mut Reader, _: &str, node: &Node) -> Result<(), String> {
    let origins = auth::string_list(reader, "allowed origins", node)?;
    block(&mut reader.settings).origins = origins;
    Ok(())
}

/// Unlike other durations this one takes seconds without a warning.
fn set_handshake_timeout(reader: &mut Reader, _: &str, node: &Node) -> Result<(), String> {
    let timeout = match &node.value {
        Value::Integer(seconds) => seconds.saturating_mul(1_000_000_000),
        Value::String(_) => {
            parse_duration(&text(node)?).map_err(|problem| at(node, &problem.to_string()))?
        }
        other => {
            let found = other.type_name();
            let reason = format!("error parsing handshake timeout: unsupported type {found}");
            return Err(at(node, &reason));
        }
    };
    block(&mut reader.settings).handshake_timeout = Some(timeout);
    Ok(())
}

fn set_authorization(reader: &mut Reader, _: &str, node: &Node) -> Result<(), String> {
    let single = auth::read_simple(reader, node)?;
    block(&mut reader.settings).single = single;
    for (key, node) in schema::map(node)?.iter() {
        match (key.to_lowercase().as_str(), &node.value) {
            ("timeout", Value::Integer(seconds)) => {
                block(&mut reader.settings).auth_timeout = Some(*seconds as f64);
            }
            ("timeout", Value::Float(seconds)) => {
                block(&mut reader.settings).auth_timeout = Some(*seconds);
            }
            _ => {}
        }
    }
    Ok(())
}

fn set_headers(reader: &mut Reader, _: &str, node: &Node) -> Result<(), String> {
    let Value::Map(headers) = &node.value else {
        let found = node.value.type_name();
        return Err(at(node, &format!("error parsing headers: unsupported type {found}")));
    };
    for (key, node) in headers.iter() {
        let Ok(value) = text(node) else {
            let found = node.value.type_name();
            let reason = format!("error parsing header key {key}: unsupported type {found}");
            reader.errors.push(at(node, &reason));
            continue;
        };
        block(&mut reader.settings).headers.push((key.to_owned(), value));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::parser::Nothing;
    use super::super::{Options, load, parse_bytes};
    use super::*;

    fn options(text: &str) -> Result<Options, String> {
        let file = parse_bytes("n.conf", text.as_bytes(), &mut Nothing);
        let file = file.map_err(|problem| problem.to_string())?;
        load(Settings::default(), Some(("n.conf", file)))
    }

    #[test]
    fn the_whole_block() {
        let text = "websocket { listen: '[::1]:8080', no_tls: true, same_origin: true, origins: \
                    ['http://A:1', 'https://b'], compression: true, handshake_timeout: 3, \
                    authorization { timeout: 4 }, user_cookie: u, headers { a: b }, \
                    ping_interval: '5s' }";
        let found = options(text).expect("good").websocket.expect("there is one");
        assert_eq!((found.host.as_str(), found.port), ("::1", Port::Fixed(8080)));
        assert!(found.same_origin && found.compression);
        let ports: Vec<&str> = found.origins.iter().map(|origin| origin.port.as_str()).collect();
        assert_eq!((found.origins[0].host.as_str(), ports), ("a", vec!["1", "443"]));
        assert_eq!(found.handshake_timeout, Duration::from_secs(3));
        assert_eq!(found.auth_timeout, Some(Duration::from_secs(4)));
        assert_eq!(found.ping_interval, Some(Duration::from_secs(5)));
        assert_eq!(found.cookies.user, "u");
        assert_eq!(found.headers, [("a".to_owned(), "b".to_owned())]);
        assert_eq!(options("websocket { no_tls: true }").expect("good").websocket, None);
    }

    #[test]
    fn what_does_not_fit_together_is_refused() {
        for (text, problem) in [
            ("port: 1", "websocket requires TLS configuration"),
            (
                "port: 1, no_tls: true, origins: ['ftp://a']",
                "unable to parse allowed origin \"ftp://a\": allowed origins must be absolute \
                 URLs with http or https scheme",
            ),
            (
                "port: 1, no_tls: true, headers { Upgrade: x }",
                "websocket: invalid header \"Upgrade\" not allowed",
            ),
            (
                "port: 1, no_tls: true, headers { Sec-WebSocket-Key: x }",
                "websocket: invalid header \"Sec-WebSocket-Key\", \"Sec-WebSocket-\" prefix not \
                 allowed",
            ),
            (
                "port: 1, no_tls: true, no_auth_user: x",
                "no_auth_user: \"x\" present, but users/nkeys are not defined",
            ),
            (
                "port: 1, no_tls: true, authorization { token: x } }\n\
                 authorization { users: [{ user: a, password: b }]",
                "websocket authentication token not compatible with presence of users/nkeys",
            ),
        ] {
            let found = options(&format!("websocket {{ {text} }}"));
            assert_eq!(found.map(drop), Err(problem.to_owned()));
        }
    }
}
