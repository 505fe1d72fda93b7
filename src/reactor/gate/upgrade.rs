//! The answer to the HTTP request that asks for WebSocket, and what is learned from the request.

use std::fmt::Write as _;
use std::net::IpAddr;

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use jiff::Timestamp;
use shard::Cookies;
use wire::upgrade::{Refusal, Request};

use crate::config::{CookieNames, Origin, WebSocket, host_and_port};

/// What RFC 6455 has every server add to the key.
const KEY_TAIL: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// What the port for WebSocket grants; each core has its own.
#[derive(Clone, Debug)]
pub(crate) struct Terms {
    compression: bool,
    same_origin: bool,
    origins: Vec<Origin>,
    cookies: CookieNames,
    headers: String,
    secure: bool,
}

/// What was granted.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Granted {
    pub(crate) answer: String,
    pub(crate) compresses: bool,
    pub(crate) is_masked: bool,
    pub(crate) agent: String,
    pub(crate) cookies: Cookies,
    /// The address that a proxy gave for the peer.
    pub(crate) forwarded_for: Option<String>,
}

impl Terms {
    pub(crate) fn new(options: &WebSocket) -> Self {
        let mut headers = String::new();
        for (name, value) in &options.headers {
            let _ = write!(headers, "{name}: {value}\r\n");
        }
        Self {
            compression: options.compression,
            same_origin: options.same_origin,
            origins: options.origins.clone(),
            cookies: options.cookies.clone(),
            headers,
            secure: options.tls.is_some(),
        }
    }

    /// Grants an upgrade, or says with what status and for what reason not.
    pub(crate) fn grant(&self, request: &Request<'_>) -> Result<Granted, (&'static str, String)> {
        let key = request.key().map_err(|Refusal(status, reason)| (status, reason.to_owned()))?;
        self.check_origin(request)
            .map_err(|reason| ("403 Forbidden", format!("origin not allowed: {reason}")))?;
        let compresses = self.compression && request.offers_compression();
        let is_masked = request.header("Nats-No-Masking") != Some("true");
        let mut answer = format!(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Accept: {}\r\n",
            accept(key)
        );
        if compresses {
            answer.push_str(
                "Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover; \
                 client_no_context_takeover\r\n",
            );
        }
        if !is_masked {
            answer.push_str("Nats-No-Masking: true\r\n");
        }
        answer.push_str(&self.headers);
        answer.push_str("\r\n");
        let forwarded_for = request.header("X-Forwarded-For");
        Ok(Granted {
            answer,
            compresses,
            is_masked,
            agent: request.header("User-Agent").unwrap_or_default().to_owned(),
            cookies: self.cookies(request),
            forwarded_for: forwarded_for
                .filter(|address| address.parse::<IpAddr>().is_ok())
                .map(str::to_owned),
        })
    }

    fn check_origin(&self, request: &Request<'_>) -> Result<(), String> {
        if !self.same_origin && self.origins.is_empty() {
            return Ok(());
        }
        // Who is no page has no origin, and could claim any.
        let Some(origin) = request.origin() else { return Ok(()) };
        let Ok(origin) = Origin::parse(origin) else {
            return Err(format!("parse {origin:?}: invalid URI for request"));
        };
        if self.same_origin {
            let (host, port) =
                host_and_port(self.secure, request.header("Host").unwrap_or_default());
            let scheme = if self.secure { "https" } else { "http" };
            if origin != (Origin { scheme: scheme.to_owned(), host, port }) {
                return Err("not same origin".to_owned());
            }
        }
        if self.origins.is_empty() || self.origins.contains(&origin) {
            return Ok(());
        }
        Err("not in the allowed list".to_owned())
    }

    fn cookies(&self, request: &Request<'_>) -> Cookies {
        let mut found = Cookies::default();
        for (name, value) in request.cookies() {
            let names = &self.cookies;
            let slot = match name {
                name if name == names.jwt => &mut found.jwt,
                name if name == names.user => &mut found.user,
                name if name == names.password => &mut found.password,
                name if name == names.token => &mut found.token,
                _ => continue,
            };
            value.clone_into(slot);
        }
        found
    }
}

/// The answer to a key: the hash of it and a constant, in base64.
fn accept(key: &str) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let hash = digest(&SHA1_FOR_LEGACY_USE_ONLY, &[key.as_bytes(), KEY_TAIL].concat());
    let mut text = String::new();
    for three in hash.as_ref().chunks(3) {
        let mut bits = 0_u32;
        for at in 0..3 {
            bits = bits << 8 | u32::from(three.get(at).copied().unwrap_or(0));
        }
        for at in 0..=three.len() {
            text.push(char::from(DIGITS[(bits >> (18 - 6 * at) & 63) as usize]));
        }
        text.extend(std::iter::repeat_n('=', 3 - three.len()));
    }
    text
}

/// The answer to a request that is not granted; the connection may ask again.
pub(crate) fn refusal(status: &str, request: &Request<'_>) -> String {
    let reason = status.split_once(' ').map_or(status, |(_, reason)| reason);
    let version = if request.is_1_0 { "1.0" } else { "1.1" };
    let date = Timestamp::now().strftime("%a, %d %b %Y %H:%M:%S GMT");
    format!(
        "HTTP/{version} {status}\r\nContent-Type: text/plain; charset=utf-8\r\n\
         Sec-Websocket-Version: 13\r\nX-Content-Type-Options: nosniff\r\nDate: {date}\r\n\
         Content-Length: {}\r\n\r\n{reason}\n",
        reason.len() + 1
    )
}

/// The answer to what is no request; the connection is closed after it.
pub(crate) fn rejection(status: &str) -> String {
    format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\n\r\n\
         {status}"
    )
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use wire::upgrade::{Parsed, read};

    use super::*;
    use crate::config::Port;

    fn terms(change: impl FnOnce(&mut WebSocket)) -> Terms {
        let mut options = WebSocket {
            host: String::new(),
            port: Port::Random,
            advertise: String::new(),
            tls: None,
            same_origin: false,
            origins: Vec::new(),
            compression: true,
            handshake_timeout: Duration::ZERO,
            auth_timeout: None,
            ping_interval: None,
            cookies: CookieNames { user: "who".to_owned(), ..CookieNames::default() },
            headers: vec![("X-A".to_owned(), "b".to_owned())],
        };
        change(&mut options);
        Terms::new(&options)
    }

    fn ask(terms: &Terms, more: &str) -> Result<Granted, (&'static str, String)> {
        let text = format!(
            "GET / HTTP/1.1\r\nHost: here:80\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n{more}\
             \r\n"
        );
        match read(text.as_bytes()) {
            Parsed::Request(request, _) => terms.grant(&request),
            other => panic!("{text}: {other:?}"),
        }
    }

    #[test]
    fn the_answer_is_the_references() {
        let granted = ask(&terms(|_| ()), "").expect("a good request");
        let answer = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: \
                      Upgrade\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nX-A: \
                      b\r\n\r\n";
        assert_eq!(granted.answer, answer);
        assert!(granted.is_masked && !granted.compresses);
        let more = "Sec-WebSocket-Extensions: permessage-deflate\r\nNats-No-Masking: true\r\n\
                    Cookie: who=me\r\nX-Forwarded-For: 1.2.3.4\r\n";
        let granted = ask(&terms(|_| ()), more).expect("a good request");
        assert!(!granted.is_masked && granted.compresses);
        assert_eq!(granted.cookies.user, "me");
        assert_eq!(granted.forwarded_for.as_deref(), Some("1.2.3.4"));
        let granted = ask(&terms(|_| ()), "X-Forwarded-For: nonsense\r\n").expect("good");
        assert_eq!(granted.forwarded_for, None);
    }

    #[test]
    fn pages_come_from_where_they_may() {
        let same = terms(|options| options.same_origin = true);
        let listed = terms(|options| {
            options.origins = vec![Origin::parse("https://there").expect("a good one")];
        });
        let refused =
            |reason: &str| Err(("403 Forbidden", format!("origin not allowed: {reason}")));
        let outcome = |terms: &Terms, origin: &str| {
            ask(terms, &format!("Origin: {origin}\r\n")).map(|granted| granted.is_masked)
        };
        assert!(ask(&same, "").is_ok() && ask(&listed, "").is_ok());
        assert_eq!(outcome(&same, "http://HERE"), Ok(true));
        assert_eq!(outcome(&same, "https://here"), refused("not same origin"));
        assert_eq!(outcome(&same, "http://here:81"), refused("not same origin"));
        assert_eq!(outcome(&listed, "https://there:443"), Ok(true));
        assert_eq!(outcome(&listed, "https://there:444"), refused("not in the allowed list"));
        assert!(outcome(&listed, "null").is_err());
    }
}
