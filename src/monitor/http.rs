//! HTTP: which path shows what, and connections that cannot do harm.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::net::TcpListener;
use std::os::fd::AsFd as _;
use std::rc::Rc;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{ACCEPT, ACCESS_CONTROL_ALLOW_ORIGIN, CONTENT_TYPE, HeaderName, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use nix::sys::socket::{setsockopt, sockopt};
use serde::Serialize;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::{AbortHandle, spawn_local};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use super::json;
use super::metrics;
use super::query::Query;
use super::state::State;
use super::views::{accounts, connz, health, jsz, others, subsz, varz};

/// Connections at a time. Past these the one that came first gives way, so that those who hold
/// theirs open keep nobody out.
const CONNECTIONS_MAX: usize = 128;
/// Time for the head of a request, from the end of the one before: longer than scrapers pause.
const HEAD_PATIENCE: Duration = Duration::from_mins(2);
/// Time for a TLS handshake.
const HANDSHAKE_PATIENCE: Duration = Duration::from_secs(5);
/// Bytes of a request's head.
const HEAD_BYTES_MAX: usize = 64 * 1024;
/// Time, in milliseconds, in which a peer must take some of what it asked for.
const STALL_MS: u32 = 30_000;
/// Pause after an accept that failed, for want of descriptors say.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// What is shown.
pub(super) struct Page {
    status: StatusCode,
    kind: Kind,
    body: Vec<u8>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Json,
    Html,
    Text,
    /// Prometheus' text format.
    Metrics,
    /// For who asked for what is not there.
    Missing,
}

impl Page {
    fn json(value: &impl Serialize) -> Self {
        Self { status: StatusCode::OK, kind: Kind::Json, body: json::indented(value) }
    }

    fn html(body: String) -> Self {
        Self { status: StatusCode::OK, kind: Kind::Html, body: body.into_bytes() }
    }

    fn text(status: StatusCode, text: impl Into<String>) -> Self {
        Self { status, kind: Kind::Text, body: text.into().into_bytes() }
    }

    fn missing() -> Self {
        let body = b"404 page not found\n".to_vec();
        Self { status: StatusCode::NOT_FOUND, kind: Kind::Missing, body }
    }

    /// A value, or the text of what is wrong with the request.
    fn checked(value: Result<impl Serialize, String>) -> Self {
        match value {
            Ok(value) => Self::json(&value),
            Err(problem) => Self::text(StatusCode::BAD_REQUEST, problem),
        }
    }

    fn into_response(self) -> Response<Full<Bytes>> {
        let mut response = Response::new(Full::new(self.body.into()));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        let kind = match self.kind {
            Kind::Json => "application/json",
            Kind::Html => "text/html; charset=utf-8",
            Kind::Metrics => "text/plain; version=0.0.4; charset=utf-8",
            Kind::Text | Kind::Missing => "text/plain; charset=utf-8",
        };
        if self.kind == Kind::Json {
            headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
        }
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
        if self.kind == Kind::Missing {
            let name = HeaderName::from_static("x-content-type-options");
            headers.insert(name, HeaderValue::from_static("nosniff"));
        }
        response
    }
}

/// Shows what there is at a path below the configured one.
async fn show(state: &State, path: &str, query: &Query, in_browser: bool) -> Page {
    let visit = |path: &'static str| {
        *state.visits.borrow_mut().entry(path).or_default() += 1;
    };
    match path {
        "/" => {
            visit("/");
            Page::html(if in_browser { dashboard(state) } else { index(state) })
        }
        "/varz" => {
            visit("/varz");
            Page::json(&varz::varz(state).await)
        }
        "/connz" => match connz::Options::read(query) {
            Ok(options) => {
                visit("/connz");
                Page::checked(connz::connz(state, &options).await)
            }
            Err(problem) => Page::text(StatusCode::BAD_REQUEST, problem),
        },
        "/subsz" | "/subscriptionsz" => {
            visit("/subsz");
            match subsz::Options::read(query) {
                Ok(options) => Page::checked(subsz::subsz(state, &options).await),
                Err(problem) => Page::text(StatusCode::BAD_REQUEST, problem),
            }
        }
        "/accountz" => {
            visit("/accountz");
            Page::checked(accounts::accountz(state, &accounts::Options::read(query)).await)
        }
        "/accstatz" => {
            visit("/accstatz");
            match accounts::StatOptions::read(query) {
                Ok(options) => Page::json(&accounts::statz(state, &options).await),
                Err(problem) => Page::text(StatusCode::BAD_REQUEST, problem),
            }
        }
        "/healthz" => {
            visit("/healthz");
            show_health(state, query).await
        }
        "/jsz" => {
            visit("/jsz");
            match jsz::Options::read(query) {
                Ok(options) => Page::json(&jsz::jsz(state, &options).await),
                Err(problem) => Page::text(StatusCode::BAD_REQUEST, problem),
            }
        }
        "/metrics" => {
            visit("/metrics");
            Page {
                status: StatusCode::OK,
                kind: Kind::Metrics,
                body: metrics::metrics(state).await,
            }
        }
        other => show_other(state, other, query, visit),
    }
}

/// Endpoints about what this server does not have.
fn show_other(state: &State, path: &str, query: &Query, visit: impl Fn(&'static str)) -> Page {
    match path {
        "/routez" => match query.subscriptions() {
            Ok(_) => {
                visit("/routez");
                Page::json(&others::routez(state))
            }
            Err(problem) => Page::text(StatusCode::BAD_REQUEST, problem),
        },
        "/gatewayz" => {
            visit("/gatewayz");
            let checked = query.subscriptions().and_then(|_| query.boolean("accs"));
            Page::checked(checked.map(|_| others::gatewayz(state)))
        }
        "/leafz" => {
            visit("/leafz");
            Page::checked(query.boolean("subs").map(|_| others::leafz(state)))
        }
        "/ipqueuesz" => Page::checked(query.boolean("all").map(|_| others::ipqueuesz())),
        "/raftz" => Page::text(StatusCode::NOT_FOUND, "No Raft nodes registered"),
        "/stacksz" => Page { kind: Kind::Json, ..Page::text(StatusCode::OK, others::stacksz()) },
        "/debug/vars" => Page::json(&others::expvarz(state)),
        _ => Page::missing(),
    }
}

async fn show_health(state: &State, query: &Query) -> Page {
    let mut health = match health::Options::read(query) {
        Ok(options) => health::healthz(state, &options).await,
        Err(problem) => return Page::text(StatusCode::BAD_REQUEST, problem),
    };
    if let Some(complaint) = health.complaint() {
        state.logger.warn(format_args!("Healthcheck failed: {complaint}"));
    }
    let status = StatusCode::from_u16(health.status_code).unwrap_or(StatusCode::OK);
    health.status_code = 0;
    Page { status, kind: Kind::Json, body: json::compact(&health) }
}

/// The page for people: one file, which asks for nothing but the endpoints of this server.
const DASHBOARD: &str = include_str!("dashboard.html");

/// What the page has in the place of links to the endpoints.
const LINKS_HERE: &str = "<!--links-->";

fn dashboard(state: &State) -> String {
    DASHBOARD.replace(LINKS_HERE, &links(state, ""))
}

/// A page of links, for whoever reads no script.
fn index(state: &State) -> String {
    let links = links(state, "<br>");
    let version = &state.settled().config.product_version;
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <title>pinion</title>\n</head>\n<body>\n<h1>pinion {version}</h1>\n{links}</body>\n\
         </html>\n"
    )
}

fn links(state: &State, end: &str) -> String {
    let base = base_path(&state.settled().options.monitor.base_path);
    LINKS.iter().fold(String::new(), |links, (path, name)| {
        links + &format!("<a href=\"{base}{path}\">{name}</a>{end}\n")
    })
}

const LINKS: [(&str, &str); 13] = [
    ("/varz", "General"),
    ("/jsz", "JetStream"),
    ("/connz", "Connections"),
    ("/accountz", "Accounts"),
    ("/accstatz", "Account Stats"),
    ("/subsz", "Subscriptions"),
    ("/routez", "Routes"),
    ("/leafz", "LeafNodes"),
    ("/gatewayz", "Gateways"),
    ("/raftz", "Raft Groups"),
    ("/healthz", "Health Probe"),
    ("/debug/vars", "Expvar"),
    ("/metrics", "Metrics"),
];

/// What stands before each path: nothing, or `/some/where`.
fn base_path(configured: &str) -> String {
    let parts = configured.split('/').filter(|part| !part.is_empty() && *part != ".");
    parts.fold(String::new(), |path, part| path + "/" + part)
}

/// A path without what stands before each.
fn below<'a>(base: &str, path: &'a str) -> Option<&'a str> {
    match path.strip_prefix(base)? {
        "" => Some("/"),
        "/" if !base.is_empty() => None,
        rest => rest.starts_with('/').then_some(rest),
    }
}

async fn answer(state: &State, request: Request<Incoming>) -> Response<Full<Bytes>> {
    let base = base_path(&state.settled().options.monitor.base_path);
    let page = match below(&base, request.uri().path()) {
        Some(path) => {
            let query = Query::parse(request.uri().query().unwrap_or_default());
            let accepted = request.headers().get(ACCEPT).and_then(|value| value.to_str().ok());
            let in_browser = accepted.is_some_and(|kinds| kinds.contains("text/html"));
            show(state, path, &query, in_browser).await
        }
        None => Page::missing(),
    };
    page.into_response()
}

/// Accepts connections and serves them until the thread ends.
pub(super) async fn serve(listener: TcpListener, state: Rc<State>) {
    let listener = tokio::net::TcpListener::from_std(listener);
    let listener = listener.expect("a listening socket can be watched");
    let mut open: VecDeque<AbortHandle> = VecDeque::new();
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(ACCEPT_RETRY).await;
            continue;
        };
        open.retain(|connection| !connection.is_finished());
        if open.len() >= CONNECTIONS_MAX
            && let Some(first) = open.pop_front()
        {
            first.abort();
        }
        let connection = spawn_local(greet(stream, state.clone()));
        open.push_back(connection.abort_handle());
    }
}

/// Shakes hands where that is asked for, with the certificate that is now in force, and serves.
async fn greet(stream: TcpStream, state: Rc<State>) {
    // A kernel that cannot do this lets a stalled peer hold its place until others need it.
    let _ = setsockopt(&stream.as_fd(), sockopt::TcpUserTimeout, &STALL_MS);
    let secrets = state.settled().https.clone();
    let Some(secrets) = secrets else { return serve_connection(stream, state).await };
    let handshake = TlsAcceptor::from(secrets).accept(stream);
    if let Ok(Ok(stream)) = timeout(HANDSHAKE_PATIENCE, handshake).await {
        serve_connection(stream, state).await;
    }
}

async fn serve_connection(stream: impl AsyncRead + AsyncWrite + Unpin, state: Rc<State>) {
    let service = service_fn(move |request| {
        let state = state.clone();
        async move { Ok::<_, Infallible>(answer(&state, request).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_PATIENCE)
        .title_case_headers(true)
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), service);
    // Whatever goes wrong concerns the peer alone.
    let _ = connection.await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_asks_nobody_else() {
        assert_eq!(DASHBOARD.matches(LINKS_HERE).count(), 1);
        for outside in ["http://", "https://", "//cdn", "src=", "@import"] {
            assert!(!DASHBOARD.contains(outside), "{outside}");
        }
    }

    #[test]
    fn paths_are_looked_up_below_the_configured_one() {
        for (configured, base) in
            [("", ""), ("/", ""), ("mon", "/mon"), ("/a//b/", "/a/b"), ("./x", "/x")]
        {
            assert_eq!(base_path(configured), base);
        }
        for (base, path, expected) in [
            ("", "/", Some("/")),
            ("", "/varz", Some("/varz")),
            ("/mon", "/mon", Some("/")),
            ("/mon", "/mon/", None),
            ("/mon", "/mon/varz", Some("/varz")),
            ("/mon", "/varz", None),
            ("/mon", "/monk/varz", None),
        ] {
            assert_eq!(below(base, path), expected, "{base} {path}");
        }
    }
}
