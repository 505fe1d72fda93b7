//! Tokens by HTTP: a GET below a URL, as a server of accounts answers it (spec 3.4).

use std::sync::Arc;

use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::header::{AUTHORIZATION, HOST, LOCATION};
use hyper::{Request, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::config::{FETCH_TIMEOUT, Tls};
use crate::notation::error_text;

/// Bytes of an answer that are read.
const ANSWER_MAX: usize = 1024 * 1024;
/// Other places that an answer may send to, one after the other.
const REDIRECTS_MAX: usize = 10;

/// Where tokens are fetched from.
pub(super) struct Library {
    url: String,
    tls: Option<Arc<ClientConfig>>,
}

impl Library {
    /// Reads the files that the way there needs. The error is one line for the user.
    pub(super) fn new(url: &str, tls: Option<&Tls>) -> Result<Self, String> {
        let secure = tls.is_some() || !url.starts_with("http://");
        let tls = secure.then(|| crate::tls::load_client(tls)).transpose()?;
        Ok(Self { url: url.to_owned(), tls })
    }

    /// Fetches what stands under a name. The error is a line for the log.
    pub(super) async fn fetch(&self, name: &str) -> Result<String, String> {
        let url = format!("{}{name}", self.url);
        let fetched = tokio::time::timeout(FETCH_TIMEOUT, self.follow(&url)).await;
        let fetched = fetched.unwrap_or_else(|_| Err(timed_out(&url)));
        fetched
            .map_err(|problem| format!("could not fetch <\"{}\">: {problem}", without_user(&url)))
    }

    async fn follow(&self, url: &str) -> Result<String, String> {
        let mut uri: Uri = url.parse().map_err(|_| "parse: invalid URL".to_owned())?;
        for _ in 0..=REDIRECTS_MAX {
            match self.get(&uri).await? {
                Answer::Text(text) => return Ok(text),
                Answer::Elsewhere(place) => uri = moved(&uri, &place)?,
            }
        }
        Err(format!("stopped after {REDIRECTS_MAX} redirects"))
    }

    async fn get(&self, uri: &Uri) -> Result<Answer, String> {
        let secure = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            other => {
                return Err(format!("unsupported protocol scheme {:?}", other.unwrap_or_default()));
            }
        };
        let host = uri.host().ok_or("no Host in request URL")?;
        let port = uri.port_u16().unwrap_or(if secure { 443 } else { 80 });
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let stream = TcpStream::connect((bare, port)).await;
        let stream =
            stream.map_err(|error| format!("dial tcp {host}:{port}: {}", error_text(&error)))?;
        let Some(tls) = self.tls.as_ref().filter(|_| secure) else {
            return if secure { Err("TLS is not set up".into()) } else { ask(stream, uri).await };
        };
        let name = ServerName::try_from(bare.to_owned()).map_err(|error| error.to_string())?;
        let connector = TlsConnector::from(tls.clone());
        let stream = connector.connect(name, stream).await.map_err(|error| error.to_string())?;
        ask(stream, uri).await
    }
}

enum Answer {
    Text(String),
    Elsewhere(String),
}

async fn ask<S>(stream: S, uri: &Uri) -> Result<Answer, String>
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let problem = |error: hyper::Error| error.to_string();
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(problem)?;
    tokio::task::spawn_local(connection);
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let authority = uri.authority().map_or("", |authority| authority.as_str());
    let (user, host) = authority.rsplit_once('@').map_or(("", authority), |parts| parts);
    let mut request = Request::get(path).header(HOST, host);
    if !user.is_empty() {
        request = request.header(AUTHORIZATION, credentials(user));
    }
    let request = request.body(Empty::<Bytes>::new()).map_err(|error| error.to_string())?;
    let response = sender.send_request(request).await.map_err(problem)?;
    let status = response.status();
    let place = response.headers().get(LOCATION).and_then(|place| place.to_str().ok());
    if let Some(place) = place.filter(|_| status.is_redirection()) {
        return Ok(Answer::Elsewhere(place.to_owned()));
    }
    if status != StatusCode::OK {
        return Err(status.to_string());
    }
    let body = Limited::new(response.into_body(), ANSWER_MAX).collect().await;
    let body = body.map_err(|error| error.to_string())?.to_bytes();
    Ok(Answer::Text(String::from_utf8_lossy(&body).into_owned()))
}

/// Where an answer sends to, which may be but a path.
fn moved(from: &Uri, place: &str) -> Result<Uri, String> {
    let place: Uri = place.parse().map_err(|_| "parse: invalid URL in Location".to_owned())?;
    if place.scheme().is_some() {
        return Ok(place);
    }
    let mut parts = from.clone().into_parts();
    parts.path_and_query = place.path_and_query().cloned();
    Uri::from_parts(parts).map_err(|error| error.to_string())
}

fn timed_out(url: &str) -> String {
    format!("Get \"{}\": no answer within {FETCH_TIMEOUT:?}", without_user(url))
}

/// A URL without the password that may stand in it.
fn without_user(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    match authority.rsplit_once('@') {
        Some((_, host)) => format!("{scheme}://xxxxx@{host}{path}"),
        None => url.to_owned(),
    }
}

/// What proves a user to an HTTP server.
fn credentials(user: &str) -> String {
    let mut text = base::base64::encode_url(user.as_bytes()).replace('-', "+").replace('_', "/");
    while !text.len().is_multiple_of(4) {
        text.push('=');
    }
    format!("Basic {text}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redirects_may_be_but_a_path() {
        let from: Uri = "http://a:1/jwt/x".parse().expect("a URL");
        for (place, expected) in [("/other", "http://a:1/other"), ("https://b/y", "https://b/y")] {
            assert_eq!(moved(&from, place).expect("a place").to_string(), expected);
        }
    }

    #[test]
    fn passwords_are_sent_and_not_shown() {
        assert_eq!(credentials("u:p"), "Basic dTpw");
        assert_eq!(credentials("u:pw"), "Basic dTpwdw==");
        for (url, expected) in [
            ("http://u:p@h/x", "http://xxxxx@h/x"),
            ("http://h/x", "http://h/x"),
            ("http://h/x@y", "http://h/x@y"),
        ] {
            assert_eq!(without_user(url), expected);
        }
    }
}
