//! Monitoring from outside: shapes, paging and faults of the HTTP endpoints, on one and two cores.
//!
//! Texts and field names are the reference's.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use serde_json::Value;

use process::{Broker, Launch, Process};

#[path = "support/process.rs"]
mod process;

/// An answer or an event that takes longer is lost.
const PATIENCE: Duration = Duration::from_secs(20);

/// A broker and where it can be looked at.
struct Watched {
    process: Process,
    http: SocketAddr,
}

fn start(cores: u32, config: &str) -> Watched {
    // The directory is this test's alone.
    let name = std::thread::current().name().unwrap_or_default().replace("::", "-");
    let ports = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("ports-{name}"));
    let _from_an_earlier_run = fs::remove_dir_all(&ports);
    fs::create_dir_all(&ports).expect("a directory can be made");
    let http = if config.contains("https:") { "" } else { "http: \"127.0.0.1:-1\"\n" };
    let config = format!("{http}ports_file_dir: {:?}\n{config}", ports.display());
    let broker = Broker::under_test(cores);
    let launch = Launch { broker, port: None, config, flags: Vec::new() };
    let process = Process::start(&launch).expect("the broker starts");
    let file = fs::read_dir(&ports).expect("the directory is there").flatten().next();
    let file = fs::read_to_string(file.expect("a ports file").path()).expect("it can be read");
    let file: Value = serde_json::from_str(&file).expect("the ports file is JSON");
    let url = file["monitoring"][0].as_str().expect("monitoring is on").to_owned();
    let (_, address) = url.split_once("://").expect("a URL");
    let http = address.parse().expect("an address");
    Watched { process, http }
}

/// The status and the body of a page.
fn get(address: SocketAddr, path: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).expect("the monitor listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a socket has a timeout");
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).expect("the monitor reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("the monitor answers");
    let (head, body) = answer.split_once("\r\n\r\n").expect("an answer has a head");
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok());
    (status.expect("an answer has a status"), body.to_owned())
}

fn json(address: SocketAddr, path: &str) -> Value {
    let (status, body) = get(address, path);
    assert_eq!(status, 200, "{path}: {body}");
    serde_json::from_str(&body).expect("an endpoint shows JSON")
}

/// Asks again until the answer is as wanted.
fn eventually(address: SocketAddr, path: &str, wanted: impl Fn(&Value) -> bool) -> Value {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let value = json(address, path);
        if wanted(&value) {
            return value;
        }
        assert!(Instant::now() < deadline, "{path} stays {value:#}");
    }
}

/// A client that has said something, and knows that it was heard.
fn client(address: SocketAddr, lines: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).expect("the broker listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a socket has a timeout");
    stream.write_all(format!("{lines}PING\r\n").as_bytes()).expect("the broker reads");
    let mut heard = Vec::new();
    while !heard.windows(6).any(|window| window == b"PONG\r\n") {
        let mut some = [0; 4096];
        let count = stream.read(&mut some).expect("the broker answers");
        assert_ne!(count, 0, "the broker closed: {}", String::from_utf8_lossy(&heard));
        heard.extend_from_slice(&some[..count]);
    }
    stream
}

fn keys(value: &Value) -> Vec<&str> {
    value.as_object().expect("an object").keys().map(String::as_str).collect()
}

const HELLO: &str =
    "CONNECT {\"verbose\":false,\"name\":\"one\",\"lang\":\"raw\",\"version\":\"1\"}\r\n";

fn shows_connections(cores: u32) {
    let broker = start(cores, "");
    let (nats, http) = (broker.process.address(), broker.http);
    let first = client(nats, &format!("{HELLO}SUB a.* 1\r\nSUB b q 2\r\nPUB a.x 3\r\nabc\r\n"));
    let _second = client(nats, "CONNECT {\"verbose\":false,\"name\":\"two\"}\r\n");
    let connz = json(http, "/connz?subs=1");
    let expected =
        ["server_id", "now", "num_connections", "total", "offset", "limit", "connections"];
    assert_eq!(keys(&connz), expected);
    assert_eq!((&connz["total"], &connz["num_connections"]), (&2.into(), &2.into()));
    let one = &connz["connections"][0];
    assert_eq!(
        (&one["cid"], &one["name"], &one["kind"]),
        (&1.into(), &"one".into(), &"Client".into())
    );
    for (field, value) in
        [("in_msgs", 1), ("in_bytes", 3), ("out_msgs", 1), ("out_bytes", 3), ("subscriptions", 2)]
    {
        assert_eq!(one[field], value, "{field}");
    }
    let mut subjects = one["subscriptions_list"].as_array().expect("a list").clone();
    subjects.sort_by_key(|subject| subject.as_str().map(str::to_owned));
    assert_eq!(subjects, ["a.*", "b"]);
    let paged = json(http, "/connz?offset=1&limit=1&sort=cid&subs=detail");
    assert_eq!(paged["connections"][0]["cid"], 2);
    let busiest = json(http, "/connz?sort=msgs_from&limit=1");
    assert_eq!(busiest["connections"][0]["cid"], 1);
    assert_eq!(json(http, "/connz?acc=nobody")["connections"], Value::Null);
    drop(first);
    let closed = eventually(http, "/connz?state=closed&sort=stop", |connz| connz["total"] == 1);
    let gone = &closed["connections"][0];
    assert_eq!((&gone["cid"], &gone["reason"]), (&1.into(), &"Client Closed".into()));
    assert_eq!(json(http, "/connz?state=any")["total"], 2);
    let varz = json(http, "/varz");
    for (field, value) in [("connections", 1), ("total_connections", 2), ("in_msgs", 1)] {
        assert_eq!(varz[field], value, "{field}");
    }
    assert_eq!(varz["gomaxprocs"], cores);
    assert!(varz["mem"].as_u64().is_some_and(|bytes| bytes > 1 << 20));
}

#[test]
fn shows_connections_of_one_core() {
    shows_connections(1);
}

#[test]
fn shows_connections_of_two_cores() {
    shows_connections(2);
}

#[test]
fn shows_subscriptions_in_windows() {
    let broker = start(2, "");
    let (nats, http) = (broker.process.address(), broker.http);
    let lines = (0..3000)
        .fold(String::new(), |lines, number| lines + &format!("SUB s.{number} {number}\r\n"));
    let _one = client(nats, &format!("{HELLO}{lines}"));
    let _two = client(nats, &format!("{HELLO}{lines}SUB s.* q star\r\n"));
    let own = |path: &str| json(http, &format!("{path}&acc=$G&test=s.7"));
    let all = own("/subsz?subs=1");
    assert_eq!(all["total"], 3, "{all:#}");
    let mut seen = 0;
    for offset in 0..4 {
        let window = own(&format!("/subsz?subs=1&limit=1&offset={offset}"));
        let listed = window["subscriptions_list"].as_array().map_or(0, Vec::len);
        assert_eq!(listed, usize::from(offset < 3));
        seen += listed;
    }
    assert_eq!(seen, 3);
    assert!(json(http, "/subsz")["num_subscriptions"].as_u64().is_some_and(|count| count >= 6001));
    let huge = json(http, "/subscriptionsz?subs=1&limit=9223372036854775807");
    assert!(huge["subscriptions_list"].as_array().is_some_and(|list| list.len() >= 6001));
}

#[test]
fn says_what_is_wrong_with_a_request() {
    let broker = start(1, "");
    let http = broker.http;
    for (path, status, text) in [
        ("/connz?sort=bogus", 400, "invalid sorting option: bogus"),
        ("/connz?sort=stop", 400, "sort by stop only valid on closed connections"),
        (
            "/connz?limit=x",
            400,
            "Error decoding int for 'limit': strconv.Atoi: parsing \"x\": invalid syntax",
        ),
        ("/connz?state=q", 400, "Error decoding state for q"),
        ("/subsz?test=a.*", 400, "invalid test subject, must be valid publish subject: a.*"),
        ("/accountz?acc=x", 400, "Account x does not exist"),
        ("/raftz", 404, "No Raft nodes registered"),
        ("/nothing", 404, "404 page not found\n"),
        (
            "/healthz?stream=x",
            400,
            "{\"status\":\"error\",\"error\":\"\\\"account\\\" must not be empty when checking \
             stream health\"}",
        ),
        ("/healthz", 200, "{\"status\":\"ok\"}"),
    ] {
        assert_eq!(get(http, path), (status, text.to_owned()), "{path}");
    }
}

#[test]
fn idle_and_odd_visitors_keep_nobody_out() {
    let broker = start(1, "http_base_path: mon");
    let http = broker.http;
    let idle: Vec<TcpStream> = (0..300).filter_map(|_| TcpStream::connect(http).ok()).collect();
    for odd in ["\r\n\r\n", "GET", "\0\u{1}\u{2}\r\n\r\n", "GET /mon/varz HTTP/9.9\r\n\r\n"] {
        let mut stream = TcpStream::connect(http).expect("the monitor listens");
        stream.write_all(odd.as_bytes()).expect("the monitor reads");
    }
    assert_eq!(json(http, "/mon/varz")["http_base_path"], "mon");
    assert_eq!(get(http, "/varz").0, 404);
    assert_eq!(get(http, "/mon").0, 200);
    drop(idle);
}

#[test]
fn a_server_that_is_looked_at_stops_when_it_is_told_to() {
    let broker = start(2, "");
    let _idle = TcpStream::connect(broker.http).expect("the monitor listens");
    assert_eq!(json(broker.http, "/varz")["connections"], 0);
    assert!(broker.process.signal("TERM"));
    broker.process.wait_for_log("Server Exiting..", PATIENCE).expect("the broker stops");
}

/// Sends a request and returns the answer's body.
fn request(stream: &mut TcpStream, sid: usize, subject: &str, body: &str) -> String {
    let length = body.len();
    let text = format!("SUB in.{sid} {sid}\r\nPUB {subject} in.{sid} {length}\r\n{body}\r\n");
    stream.write_all(text.as_bytes()).expect("the broker reads");
    let mut heard = String::new();
    loop {
        // The broker may ask now and then whether anyone is there.
        while let Some(rest) = heard.strip_prefix("PING\r\n") {
            heard = rest.to_owned();
        }
        if let Some((head, rest)) = heard.split_once("\r\n") {
            let size = head.rsplit(' ').next().and_then(|size| size.parse::<usize>().ok());
            let size = size.unwrap_or_else(|| panic!("no message: {heard}"));
            if rest.len() >= size + 2 {
                return rest[..size].to_owned();
            }
        }
        let mut some = [0; 8192];
        let count = stream.read(&mut some).expect("the broker answers");
        assert_ne!(count, 0, "the broker closed: {heard}");
        heard.push_str(&String::from_utf8_lossy(&some[..count]));
    }
}

fn answers_about_oneself(cores: u32) {
    let broker = start(cores, "server_name: here");
    let nats = broker.process.address();
    let hello = HELLO.replace('{', "{\"headers\":true,\"no_responders\":true,");
    // One for each core.
    let mut clients: Vec<TcpStream> = (0..cores).map(|_| client(nats, &hello)).collect();
    for stream in &mut clients {
        let about: Value = serde_json::from_str(&request(stream, 1, "$SYS.REQ.USER.INFO", ""))
            .expect("an answer is JSON");
        assert_eq!(about["data"]["account"], "$G");
        assert_eq!(about["server"]["name"], "here");
        let connections = request(stream, 2, "$SYS.REQ.SERVER.PING.CONNZ", "{\"limit\":1}");
        let connections: Value = serde_json::from_str(&connections).expect("an answer is JSON");
        assert_eq!(connections["data"]["total"], cores);
        assert_eq!(connections["data"]["num_connections"], 1);
        let traffic = request(stream, 3, "$SYS.REQ.ACCOUNT.PING.STATZ", "");
        let traffic: Value = serde_json::from_str(&traffic).expect("an answer is JSON");
        assert_eq!(traffic["data"]["account_statz"][0]["conns"], cores);
        // Nobody there to ask for more.
        let denied =
            ["$SYS.REQ.SERVER.PING", "$SYS.REQ.SERVER.PING.VARZ", "$SYS.REQ.ACCOUNT.$G.INFO"];
        for (sid, subject) in (4..).zip(denied) {
            let answer = request(stream, sid, subject, "");
            assert!(answer.starts_with("NATS/1.0 503"), "{subject}: {answer}");
        }
    }
}

#[test]
fn metrics_have_the_names_that_dashboards_know() {
    let broker = start(2, "");
    let _one = client(broker.process.address(), &format!("{HELLO}PUB a 3\r\nabc\r\n"));
    let (status, text) = get(broker.http, "/metrics");
    assert_eq!(status, 200);
    for (name, value) in [
        ("gnatsd_varz_connections{", " 1"),
        ("gnatsd_varz_in_msgs{", " 1"),
        ("gnatsd_connz_in_bytes{", " 3"),
        ("gnatsd_healthz_status{", " 0"),
        ("jetstream_server_jetstream_disabled{", " 1"),
        ("pinion_core_turn_seconds_bucket{", ""),
    ] {
        let line = text.lines().find(|line| line.starts_with(name));
        assert!(line.is_some_and(|line| line.ends_with(value)), "{name}: {line:?}");
    }
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let (_, value) = line.rsplit_once(' ').expect("a sample has a value");
        assert!(value.parse::<f64>().is_ok(), "{line}");
    }
}

#[test]
fn shows_what_is_stored() {
    let store = Path::new(env!("CARGO_TARGET_TMPDIR")).join("monitor-stored");
    let _from_an_earlier_run = fs::remove_dir_all(&store);
    let broker = start(2, &format!("jetstream {{ store_dir: {:?} }}", store.display()));
    let mut stream = client(broker.process.address(), HELLO);
    request(&mut stream, 1, "$JS.API.STREAM.CREATE.S", r#"{"name":"S","subjects":["s.*"]}"#);
    request(&mut stream, 2, "s.one", "hello");
    let consumer = r#"{"stream_name":"S","config":{"durable_name":"C","ack_policy":"explicit"}}"#;
    request(&mut stream, 3, "$JS.API.CONSUMER.DURABLE.CREATE.S.C", consumer);
    let jsz = json(broker.http, "/jsz?consumers=1&config=1");
    for (field, value) in [("streams", 1), ("consumers", 1), ("messages", 1), ("total", 1)] {
        assert_eq!(jsz[field], value, "{field}: {jsz:#}");
    }
    let detail = &jsz["account_details"][0]["stream_detail"][0];
    assert_eq!((&detail["name"], &detail["state"]["messages"]), (&"S".into(), &1.into()));
    assert_eq!(detail["config"]["subjects"][0], "s.*");
    assert_eq!(detail["consumer_detail"][0]["num_pending"], 1);
    assert_eq!(
        json(broker.http, "/jsz?streams=1")["account_details"][0]["stream_detail"][0]["config"],
        Value::Null
    );
    assert_eq!(json(broker.http, "/varz")["jetstream"]["stats"]["accounts"], 1);
    assert_eq!(get(broker.http, "/healthz?account=$G&stream=S&consumer=C").0, 200);
    assert_eq!(get(broker.http, "/healthz?account=$G&stream=S&consumer=X").0, 404);
}

#[test]
fn answers_about_oneself_on_one_core() {
    answers_about_oneself(1);
}

#[test]
fn answers_about_oneself_on_two_cores() {
    answers_about_oneself(2);
}

/// What comes to a client that traces a message go to, as the kinds of its stops.
fn trace(listener: &mut TcpStream, publisher: &mut TcpStream, subject: &str, only: bool) -> Value {
    let only = if only { "Nats-Trace-Only: 1\r\n" } else { "" };
    let header = format!("NATS/1.0\r\nNats-Trace-Dest: traces\r\n{only}\r\n");
    let (inner, whole) = (header.len(), header.len() + 2);
    let text = format!("HPUB {subject} {inner} {whole}\r\n{header}hi\r\n");
    publisher.write_all(text.as_bytes()).expect("the broker reads");
    let mut heard = String::new();
    loop {
        if let Some(at) = heard.find("MSG traces ")
            && let Some(body) = heard[at..].split("\r\n").nth(1).filter(|body| body.ends_with('}'))
        {
            return serde_json::from_str(body).expect("a trace is JSON");
        }
        let mut some = [0; 8192];
        let count = listener.read(&mut some).expect("the broker answers");
        assert_ne!(count, 0, "the broker closed: {heard}");
        heard.push_str(&String::from_utf8_lossy(&some[..count]));
    }
}

fn traces_messages(cores: u32) {
    let store = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("monitor-traced-{cores}"));
    let _from_an_earlier_run = fs::remove_dir_all(&store);
    let broker = start(cores, &format!("jetstream {{ store_dir: {:?} }}", store.display()));
    let nats = broker.process.address();
    let hello = HELLO.replace('{', "{\"headers\":true,");
    let mut listener = client(nats, &format!("{hello}SUB traces 1\r\n"));
    let others: Vec<TcpStream> =
        (0..3).map(|_| client(nats, &format!("{hello}SUB a.* 1\r\nSUB a.> q 2\r\n"))).collect();
    let mut publisher = client(nats, &hello);
    request(&mut publisher, 1, "$JS.API.STREAM.CREATE.S", r#"{"name":"S","subjects":["s"]}"#);
    for only in [false, true] {
        let told = trace(&mut listener, &mut publisher, "a.b", only);
        let kinds = |told: &Value, wanted: &str| {
            let events = told["events"].as_array().expect("a list");
            events.iter().filter(|event| event["type"] == wanted).count()
        };
        assert_eq!(told["request"]["header"]["Nats-Trace-Dest"][0], "traces");
        assert_eq!((kinds(&told, "in"), kinds(&told, "eg")), (1, 4), "{told:#}");
        let queued = told["events"].as_array().into_iter().flatten();
        assert_eq!(queued.filter(|event| event["queue"] == "q").count(), 1);
        let told = trace(&mut listener, &mut publisher, "s", only);
        assert_eq!((kinds(&told, "in"), kinds(&told, "js")), (1, 1), "{told:#}");
        let told = trace(&mut listener, &mut publisher, "nobody", only);
        assert_eq!(told["events"].as_array().map(Vec::len), Some(1), "{told:#}");
    }
    // Only those that were not only traced came to anyone.
    eventually(broker.http, "/jsz", |jsz| jsz["messages"] == 1);
    for mut other in others {
        other.write_all(b"PING\r\n").expect("the broker reads");
        let mut heard = String::new();
        while !heard.contains("PONG") {
            let mut some = [0; 8192];
            let count = other.read(&mut some).expect("the broker answers");
            heard.push_str(&String::from_utf8_lossy(&some[..count]));
        }
        assert_eq!(heard.matches("HMSG a.b 1 ").count(), 1, "{heard}");
    }
}

#[test]
fn traces_messages_on_one_core() {
    traces_messages(1);
}

#[test]
fn traces_messages_on_two_cores() {
    traces_messages(2);
}

/// The certificate that is shown to a visitor, and the head of the answer.
fn visit_secured(address: SocketAddr, path: &str) -> (CertificateDer<'static>, String) {
    let mut trusted = RootCertStore::empty();
    let authority = CertificateDer::from_pem_file("tests/certificates/ca.pem");
    trusted.add(authority.expect("a certificate")).expect("it can be trusted");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions that the provider has")
        .with_root_certificates(trusted)
        .with_no_client_auth();
    let name = ServerName::try_from("localhost").expect("a name");
    let connection = ClientConnection::new(Arc::new(config), name).expect("a good configuration");
    let stream = TcpStream::connect(address).expect("the monitor listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a socket has a timeout");
    let mut stream = StreamOwned::new(connection, stream);
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n");
    stream.write_all(request.as_bytes()).expect("the monitor reads");
    let mut head = [0; 512];
    let count = stream.read(&mut head).expect("the monitor answers");
    let shown = stream.conn.peer_certificates().expect("a handshake shows one");
    (shown[0].clone().into_owned(), String::from_utf8_lossy(&head[..count]).into_owned())
}

#[test]
fn shows_itself_over_https_with_the_certificate_in_force() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("monitor-https");
    fs::create_dir_all(&folder).expect("a directory can be made");
    let put = |name: &str| {
        for kind in ["pem", "key"] {
            let from = format!("tests/certificates/{name}.{kind}");
            fs::copy(from, folder.join(format!("own.{kind}"))).expect("it can be copied");
        }
    };
    put("server");
    let (certificate, key) = (folder.join("own.pem"), folder.join("own.key"));
    let tls = format!("tls {{ cert_file: {certificate:?}, key_file: {key:?}, verify: false }}");
    let broker = start(1, &format!("https: \"127.0.0.1:-1\"\n{tls}"));
    let expected = |name: &str| {
        CertificateDer::from_pem_file(format!("tests/certificates/{name}.pem")).expect("it is one")
    };
    let (shown, head) = visit_secured(broker.http, "/varz");
    assert_eq!(shown, expected("server"));
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    // Somebody who speaks no TLS, and somebody who says nothing, keep nobody out.
    let mut plain = TcpStream::connect(broker.http).expect("the monitor listens");
    plain.write_all(b"GET /varz HTTP/1.1\r\n\r\n").expect("the monitor reads");
    let _idle = TcpStream::connect(broker.http).expect("the monitor listens");
    put("renewed");
    assert!(broker.process.signal("HUP"));
    broker.process.wait_for_log("Reloaded: tls = enabled", PATIENCE).expect("it is reloaded");
    let deadline = Instant::now() + PATIENCE;
    while visit_secured(broker.http, "/healthz").0 != expected("renewed") {
        assert!(Instant::now() < deadline, "the old certificate stays");
    }
}

#[test]
fn top_prints_a_picture() {
    let broker = start(2, "http_base_path: below");
    let _one = client(broker.process.address(), HELLO);
    let url = format!("http://{}/below", broker.http);
    let top = std::process::Command::new(env!("CARGO_BIN_EXE_pinion"))
        .args(["top", "--once", "--interval", "0.1", &url])
        .output()
        .expect("it runs");
    let text = String::from_utf8_lossy(&top.stdout);
    assert!(top.status.success(), "{}", String::from_utf8_lossy(&top.stderr));
    for part in
        ["connections 1 ", "Core ", "\n0    ", "\n1    ", "Connections by bytes_to", "1 one"]
    {
        assert!(text.contains(part), "{part:?} is not in\n{text}");
    }
    let nobody = std::process::Command::new(env!("CARGO_BIN_EXE_pinion"))
        .args(["top", "--once", "http://127.0.0.1:1"])
        .output()
        .expect("it runs");
    assert_eq!(nobody.status.code(), Some(1));
}
