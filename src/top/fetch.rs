//! Looking at an endpoint.

use std::io::{Read, Write};
use std::net::{TcpStream, ToSocketAddrs as _};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

/// How long a server may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// Longer answers are no server's of ours.
const BYTES_MAX: u64 = 64 * 1024 * 1024;

/// Where monitoring listens.
pub(super) struct Source {
    host: String,
    port: u16,
    base: String,
    tls: Option<Arc<ClientConfig>>,
}

impl Source {
    /// From a URL; without a scheme it is HTTP.
    pub(super) fn new(url: &str, authorities: Option<&Path>) -> Result<Self, String> {
        let (secure, rest) = match url.split_once("://") {
            Some(("http", rest)) => (false, rest),
            Some(("https", rest)) => (true, rest),
            Some((scheme, _)) => return Err(format!("{scheme} is neither http nor https")),
            None => (false, url),
        };
        let (address, base) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
        let (host, port) = match address.rsplit_once(':') {
            Some((host, port)) if !port.contains(']') => {
                (host, port.parse().map_err(|_| format!("{port} is no port"))?)
            }
            _ => (address, 8222),
        };
        let host = host.trim_matches(['[', ']']).to_owned();
        let tls = if secure { Some(trust(authorities)?) } else { None };
        Ok(Self { host, port, base: base.trim_end_matches('/').to_owned(), tls })
    }

    /// The body of what there is at a path.
    pub(super) fn get(&self, path: &str) -> Result<String, String> {
        let (host, port) = (&self.host, self.port);
        let fail = |problem: std::io::Error| format!("{host}:{port}: {problem}");
        let mut addresses = (host.as_str(), port).to_socket_addrs().map_err(fail)?;
        let address = addresses.next().ok_or_else(|| format!("{host} has no address"))?;
        let stream = TcpStream::connect_timeout(&address, PATIENCE).map_err(fail)?;
        stream.set_read_timeout(Some(PATIENCE)).map_err(fail)?;
        let request = format!("GET {}{path} HTTP/1.0\r\nHost: {host}:{port}\r\n\r\n", self.base);
        let answer = match &self.tls {
            None => exchange(stream, &request),
            Some(config) => {
                let name = ServerName::try_from(host.clone()).map_err(|e| e.to_string())?;
                let connection = ClientConnection::new(config.clone(), name);
                let connection = connection.map_err(|error| error.to_string())?;
                exchange(StreamOwned::new(connection, stream), &request)
            }
        };
        body(&answer.map_err(fail)?).map_err(|problem| format!("{path}: {problem}"))
    }
}

fn trust(authorities: Option<&Path>) -> Result<Arc<ClientConfig>, String> {
    let file = authorities.ok_or("name the authorities to trust with --ca")?;
    let mut store = RootCertStore::empty();
    let fail = |problem: String| format!("{}: {problem}", file.display());
    let found = CertificateDer::pem_file_iter(file).map_err(|error| fail(error.to_string()))?;
    for certificate in found {
        let certificate = certificate.map_err(|error| fail(error.to_string()))?;
        store.add(certificate).map_err(|error| fail(error.to_string()))?;
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(store)
        .with_no_client_auth();
    Ok(Arc::new(config))
}

fn exchange(mut stream: impl Read + Write, request: &str) -> std::io::Result<String> {
    stream.write_all(request.as_bytes())?;
    let mut bytes = Vec::new();
    match Read::by_ref(&mut stream).take(BYTES_MAX).read_to_end(&mut bytes) {
        // A peer that ends TLS without a word has sent what its length says.
        Err(error) if error.kind() != std::io::ErrorKind::UnexpectedEof => return Err(error),
        _ => {}
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn body(answer: &str) -> Result<String, String> {
    let (head, body) = answer.split_once("\r\n\r\n").ok_or("that is no HTTP")?;
    let status = head.split(' ').nth(1).unwrap_or_default();
    if status != "200" {
        return Err(format!("the server says {status}"));
    }
    Ok(body.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_taken_apart() {
        for (url, expected) in [
            ("http://127.0.0.1:8222", ("127.0.0.1", 8222, "")),
            ("here", ("here", 8222, "")),
            ("here:99/below/", ("here", 99, "/below")),
            ("http://[::1]:80/a", ("::1", 80, "/a")),
            ("http://[::1]", ("::1", 8222, "")),
        ] {
            let source = Source::new(url, None).expect("a good one");
            assert_eq!(
                (source.host.as_str(), source.port, source.base.as_str()),
                expected,
                "{url}"
            );
        }
        for bad in ["ftp://here", "here:port", "https://here"] {
            assert!(Source::new(bad, None).is_err(), "{bad}");
        }
    }

    #[test]
    fn only_an_answer_that_went_well_has_a_body() {
        assert_eq!(body("HTTP/1.0 200 OK\r\nA: b\r\n\r\nx\r\n\r\ny"), Ok("x\r\n\r\ny".to_owned()));
        assert!(body("HTTP/1.0 404 Not Found\r\n\r\nx").is_err());
        assert!(body("SSH-2.0").is_err());
    }
}
