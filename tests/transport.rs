//! TLS and WebSocket as async-nats, the official Rust client, speaks them, and the PROXY protocol,
//! on one and two cores.
//!
//! `PINION_BROKER` replaces the pinion under test.

use std::error::Error;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use async_nats::{Client, ConnectOptions};
use futures_util::StreamExt as _;
use rustls::pki_types::{CertificateDer, pem::PemObject as _};
use tokio::time::timeout;

use process::{Broker, Launch, Process};

#[path = "support/process.rs"]
mod process;

/// A scenario that takes longer is stuck.
const PATIENCE: Duration = Duration::from_mins(1);
/// One message, line or answer that takes longer is lost.
const WAIT: Duration = Duration::from_secs(10);

type Outcome = Result<(), Box<dyn Error>>;

/// Makes each scenario a test on one and two cores.
macro_rules! scenarios {
    ($($name:ident),* $(,)?) => {
        mod one_core { $(#[test] fn $name() { super::run(super::$name(1)); })* }
        mod two_cores { $(#[test] fn $name() { super::run(super::$name(2)); })* }
    };
}

scenarios! {
    speaks_tls,
    speaks_tls_1_2_with_rsa,
    wants_a_certificate,
    shakes_hands_first,
    shakes_hands_first_or_not,
    takes_both_kinds,
    takes_files_from_the_command_line,
    renews_its_certificate,
    pins_certificates,
    unpins_certificates,
    staples_what_its_authority_says,
    outlives_broken_handshakes,
    speaks_websocket,
    speaks_websocket_over_tls,
    keeps_to_the_rules_of_websocket,
    inflates_what_was_compressed,
    refuses_what_is_no_upgrade,
    believes_a_proxy,
    survives_a_storm,
}

fn run(scenario: impl Future<Output = Outcome>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("a runtime needs little");
    let outcome = runtime.block_on(async { timeout(PATIENCE, scenario).await });
    let outcome = outcome.expect("the scenario is stuck");
    outcome.expect("the scenario fails");
}

fn certificate(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/certificates").join(name)
}

/// A `tls` block with a certificate of ours, and more.
fn tls(name: &str, more: &str) -> String {
    let file = |end: &str| certificate(&format!("{name}.{end}")).display().to_string();
    let (pem, key) = (file("pem"), file("key"));
    format!("debug: true\ntls {{ cert_file: '{pem}', key_file: '{key}', {more} }}\n")
}

fn authority() -> String {
    format!("ca_file: '{}'", certificate("ca.pem").display())
}

fn start(cores: u32, config: &str, flags: &[&str]) -> Result<Process, String> {
    let flags = flags.iter().map(|flag| (*flag).to_owned()).collect();
    let broker = Broker::under_test(cores);
    Process::start(&Launch { broker, port: None, config: config.to_owned(), flags })
}

fn options() -> ConnectOptions {
    ConnectOptions::new().add_root_certificates(certificate("ca.pem")).require_tls(true)
}

fn as_client(name: &str) -> ConnectOptions {
    let file = |end: &str| certificate(&format!("{name}.{end}"));
    options().add_client_certificate(file("pem"), file("key"))
}

async fn open(broker: &Process, options: ConnectOptions) -> Result<Client, Box<dyn Error>> {
    let address = format!("tls://localhost:{}", broker.address().port());
    Ok(timeout(WAIT, options.connect(address)).await??)
}

/// Messages of all sizes come through as they were, in order.
async fn exchange(client: &Client) -> Outcome {
    let mut subscription = client.subscribe("all.*").await?;
    let sizes = [0, 1, 100, 4000, 16_383, 16_384, 16_385, 100_000, 1_000_000];
    for round in 0_u8..3 {
        for size in sizes {
            client.publish("all.sizes", vec![round; size].into()).await?;
        }
    }
    for round in 0_u8..3 {
        for size in sizes {
            let message = timeout(WAIT, subscription.next()).await?.ok_or("it ends")?;
            assert_eq!(message.payload.len(), size);
            assert!(message.payload.iter().all(|byte| *byte == round));
        }
    }
    Ok(())
}

async fn speaks_tls(cores: u32) -> Outcome {
    let broker = start(cores, &tls("server", ""), &[])?;
    let client = open(&broker, options()).await?;
    assert!(client.server_info().tls_required);
    exchange(&client).await?;
    broker.wait_for_log("TLS version 1.3, cipher suite TLS_AES_128_GCM_SHA256", WAIT)?;
    let second = open(&broker, options()).await?;
    exchange(&second).await
}

async fn speaks_tls_1_2_with_rsa(cores: u32) -> Outcome {
    let broker = start(cores, &tls("rsa", ""), &[])?;
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(certificate("ca.pem"))?)?;
    let provider = std::sync::Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS12])?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let client = open(&broker, ConnectOptions::new().tls_client_config(config)).await?;
    exchange(&client).await?;
    let suite = "TLS version 1.2, cipher suite TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256";
    broker.wait_for_log(suite, WAIT)?;
    Ok(())
}

async fn wants_a_certificate(cores: u32) -> Outcome {
    let more = format!("verify: true, {}", authority());
    let broker = start(cores, &tls("server", &more), &[])?;
    assert!(open(&broker, options()).await.is_err());
    broker.wait_for_log("tls: client didn't provide a certificate", WAIT)?;
    assert!(open(&broker, as_client("foreign")).await.is_err());
    broker.wait_for_log("x509: certificate signed by unknown authority", WAIT)?;
    exchange(&open(&broker, as_client("client")).await?).await
}

async fn shakes_hands_first(cores: u32) -> Outcome {
    let broker = start(cores, &tls("server", "handshake_first: true"), &[])?;
    exchange(&open(&broker, options().tls_first()).await?).await
}

async fn shakes_hands_first_or_not(cores: u32) -> Outcome {
    let broker = start(cores, &tls("server", "handshake_first: auto"), &[])?;
    exchange(&open(&broker, options().tls_first()).await?).await?;
    exchange(&open(&broker, options()).await?).await
}

async fn takes_both_kinds(cores: u32) -> Outcome {
    let config = format!("allow_non_tls: true\n{}", tls("server", ""));
    let broker = start(cores, &config, &[])?;
    exchange(&open(&broker, options()).await?).await?;
    let plain = ConnectOptions::new().connect(broker.address().to_string()).await?;
    assert!(!plain.server_info().tls_required);
    exchange(&plain).await
}

async fn takes_files_from_the_command_line(cores: u32) -> Outcome {
    let [pem, key, ca] = ["server.pem", "server.key", "ca.pem"].map(certificate);
    let [pem, key, ca] = [&pem, &key, &ca].map(|path| path.to_str().expect("a plain path"));
    let flags = ["--tlscert", pem, "--tlskey", key, "--tlscacert", ca, "--tlsverify"];
    let broker = start(cores, "", &flags)?;
    assert!(open(&broker, options()).await.is_err());
    exchange(&open(&broker, as_client("client")).await?).await
}

async fn renews_its_certificate(cores: u32) -> Outcome {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("renewal-{cores}"));
    std::fs::create_dir_all(&folder)?;
    let install = |name: &str| -> std::io::Result<()> {
        for end in ["pem", "key"] {
            let from = certificate(&format!("{name}.{end}"));
            std::fs::copy(from, folder.join(format!("own.{end}")))?;
        }
        Ok(())
    };
    install("server")?;
    let folder_text = folder.display();
    let config =
        format!("tls {{ cert_file: '{folder_text}/own.pem', key_file: '{folder_text}/own.key' }}");
    let broker = start(cores, &config, &[])?;
    let before = open(&broker, options()).await?;
    exchange(&before).await?;

    install("renewed")?;
    assert!(broker.signal("HUP"));
    broker.wait_for_log("Reloaded: tls = enabled", WAIT)?;
    broker.wait_for_log("Reloaded server configuration", WAIT)?;
    exchange(&before).await?;
    exchange(&open(&broker, options()).await?).await?;

    std::fs::write(folder.join("own.pem"), "no certificate")?;
    assert!(broker.signal("HUP"));
    broker.wait_for_log("Failed to reload server configuration", WAIT)?;
    exchange(&before).await?;
    exchange(&open(&broker, options()).await?).await
}

async fn pins_certificates(cores: u32) -> Outcome {
    let pin = "0".repeat(64);
    let more = format!("verify: true, {}, pinned_certs: ['{pin}']", authority());
    let broker = start(cores, &tls("server", &more), &[])?;
    assert!(open(&broker, as_client("client")).await.is_err());
    broker.wait_for_log("Failed pinned cert test for key id: ", WAIT)?;
    broker.wait_for_log("TLS handshake error: certificate not pinned", WAIT)?;
    Ok(())
}

/// Who is pinned no more after a reload is cut off, and kept out.
async fn unpins_certificates(cores: u32) -> Outcome {
    let pin = sha256_of_key("client")?;
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("pins-{cores}"));
    std::fs::create_dir_all(&folder)?;
    let pins = folder.join("pins.conf");
    let write = |pin: &str| std::fs::write(&pins, format!("pinned_certs: ['{pin}']\n"));
    write(&pin)?;
    // Beside the folder in which the broker's own file is.
    let more = format!("verify: true, {}\n include '../pins-{cores}/pins.conf'\n", authority());
    let broker = start(cores, &tls("server", &more), &[])?;
    let client = open(&broker, as_client("client")).await?;
    exchange(&client).await?;
    write(&"0".repeat(64))?;
    assert!(broker.signal("HUP"));
    broker.wait_for_log("Reloaded: 1 pinned_certs", WAIT)?;
    broker.wait_for_log(&format!("Failed pinned cert test for key id: {pin}"), WAIT)?;
    broker.wait_for_log("Reloaded server configuration", WAIT)?;
    assert!(open(&broker, as_client("client")).await.is_err());
    Ok(())
}

/// What a certificate's key is pinned by.
fn sha256_of_key(name: &str) -> Result<String, Box<dyn Error>> {
    use sha2::Digest as _;
    let der = CertificateDer::from_pem_file(certificate(&format!("{name}.pem")))?;
    let key = shard::certificate::public_key(&der).ok_or("it is a certificate")?;
    let hash = sha2::Sha256::digest(key);
    Ok(hash.iter().fold(String::new(), |text, byte| format!("{text}{byte:02x}")))
}

/// Answers all that ask over HTTP with a file, and says where.
fn responder(name: &str) -> Result<String, Box<dyn Error>> {
    let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
    let url = format!("http://{}", listener.local_addr()?);
    let answer = std::fs::read(certificate(name))?;
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let mut request = [0; 4096];
            let _asked = stream.read(&mut request);
            let _heard = stream.write_all(b"HTTP/1.0 200 OK\r\n\r\n");
            let _heard = stream.write_all(&answer);
        }
    });
    Ok(url)
}

/// Takes any certificate, and keeps the staple that came with it.
#[derive(Debug)]
struct Curious {
    provider: std::sync::Arc<rustls::crypto::CryptoProvider>,
    staple: std::sync::Mutex<Vec<u8>>,
}

impl rustls::client::danger::ServerCertVerifier for Curious {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &rustls::pki_types::ServerName<'_>,
        staple: &[u8],
        _: rustls::pki_types::UnixTime,
    ) -> Result<rustls::client::danger::ServerCertVerified, rustls::Error> {
        self.staple.lock().expect("nobody panics").extend(staple);
        Ok(rustls::client::danger::ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        Ok(rustls::client::danger::HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        Ok(rustls::client::danger::HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

async fn staples_what_its_authority_says(cores: u32) -> Outcome {
    let notary = certificate("notary.pem");
    let block = tls("stapled", &format!("ca_file: '{}'", notary.display()));
    let config = |mode: &str, url: &str| format!("{block}ocsp {{ mode: {mode}, url: '{url}' }}\n");
    let good = responder("staple-good.der")?;
    let broker = start(cores, &config("must", &good), &[])?;
    let provider = std::sync::Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let staple = std::sync::Mutex::default();
    let curious = std::sync::Arc::new(Curious { provider: provider.clone(), staple });
    let trusting = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(curious.clone())
        .with_no_client_auth();
    let client = open(&broker, ConnectOptions::new().tls_client_config(trusting)).await?;
    exchange(&client).await?;
    let expected = std::fs::read(certificate("staple-good.der"))?;
    assert_eq!(*curious.staple.lock().expect("nobody panics"), expected);

    let revoked = responder("staple-revoked.der")?;
    let problem = start(cores, &config("must", &revoked), &[]).err().unwrap_or_default();
    assert!(problem.contains("found existing OCSP status for certificate at"), "{problem}");
    let problem = start(cores, &config("must", "http://127.0.0.1:1"), &[]).err();
    let problem = problem.unwrap_or_default();
    assert!(problem.contains("bad OCSP status update for certificate at"), "{problem}");
    // Where clients are to decide for themselves, they are told.
    start(cores, &config("auto", &revoked), &[])?;
    start(cores, &config("never", "http://127.0.0.1:1"), &[])?;
    Ok(())
}

/// What is no TLS, half of it, or a reset in the middle harms nobody else.
async fn outlives_broken_handshakes(cores: u32) -> Outcome {
    let broker = start(cores, &tls("server", ""), &[])?;
    let mut info = [0; 16];
    let mut stranger = TcpStream::connect(broker.address())?;
    stranger.read_exact(&mut info)?;
    stranger.write_all(b"CONNECT {}\r\nPING\r\n")?;
    broker.wait_for_log("tls: first record does not look like a TLS handshake", WAIT)?;

    let hello = [0x16, 3, 1, 0x40, 0, 1, 0, 0x3f, 0xfc, 3, 3];
    let mut half = TcpStream::connect(broker.address())?;
    half.write_all(&hello)?;
    drop(half);
    broker.wait_for_log("TLS handshake error: ", WAIT)?;

    // TLS 1.1, with nothing newer.
    let mut old = vec![0x16, 3, 1, 0, 47, 1, 0, 0, 43, 3, 2];
    old.extend([0; 32]);
    old.extend([0, 0, 2, 0, 47, 1, 0, 0, 0]);
    old[4] = (old.len() - 5) as u8;
    old[8] = (old.len() - 9) as u8;
    let mut stranger = TcpStream::connect(broker.address())?;
    stranger.write_all(&old)?;
    broker.wait_for_log("TLS handshake error: tls: ", WAIT)?;

    // A record that is longer than there may be.
    let mut stranger = TcpStream::connect(broker.address())?;
    stranger.write_all(&[0x16, 3, 1, 0xff, 0xff])?;
    stranger.write_all(&vec![0; 70_000])?;
    broker.wait_for_log("TLS handshake error: tls: ", WAIT)?;
    exchange(&open(&broker, options()).await?).await
}

/// A configuration with a port for WebSocket, and where the port will be told.
fn websocket(name: &str, cores: u32, more: &str) -> Result<(String, PathBuf), Box<dyn Error>> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("ports-{name}-{cores}"));
    let _none_yet = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder)?;
    let config = format!(
        "debug: true\nports_file_dir: '{}'\nwebsocket {{ host: '127.0.0.1', port: -1, {more} }}\n",
        folder.display()
    );
    Ok((config, folder))
}

/// The port for WebSocket, as the ports file tells it.
fn websocket_port(folder: &Path) -> Result<u16, Box<dyn Error>> {
    let file = std::fs::read_dir(folder)?.flatten().next().ok_or("no ports file")?;
    let json: serde_json::Value = serde_json::from_slice(&std::fs::read(file.path())?)?;
    let url = json["websocket"][0].as_str().ok_or("no port for WebSocket")?;
    Ok(url.rsplit(':').next().unwrap_or_default().parse()?)
}

async fn speaks_websocket(cores: u32) -> Outcome {
    let (config, folder) = websocket("plain", cores, "no_tls: true, compression: true")?;
    let broker = start(cores, &config, &[])?;
    let address = format!("ws://127.0.0.1:{}", websocket_port(&folder)?);
    let client = timeout(WAIT, ConnectOptions::new().connect(address)).await??;
    exchange(&client).await?;
    let plain = ConnectOptions::new().connect(broker.address().to_string()).await?;
    let mut subscription = client.subscribe("across").await?;
    client.flush().await?;
    exchange(&client).await?;
    plain.publish("across", "doors".into()).await?;
    let message = timeout(WAIT, subscription.next()).await?.ok_or("it ends")?;
    assert_eq!(message.payload, "doors");
    Ok(())
}

async fn speaks_websocket_over_tls(cores: u32) -> Outcome {
    let [pem, key] =
        ["server.pem", "server.key"].map(|name| certificate(name).display().to_string());
    let more = format!("tls {{ cert_file: '{pem}', key_file: '{key}' }}");
    let (config, folder) = websocket("tls", cores, &more)?;
    let _broker = start(cores, &config, &[])?;
    let address = format!("wss://localhost:{}", websocket_port(&folder)?);
    exchange(&timeout(WAIT, options().connect(address)).await??).await
}

const UPGRADE: &str = "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n";

/// A connection to the port for WebSocket that got its INFO.
fn upgraded(port: u16, more: &str) -> Result<TcpStream, Box<dyn Error>> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(WAIT))?;
    stream.write_all(format!("{UPGRADE}{more}\r\n").as_bytes())?;
    read_until(&mut stream, b"\r\n\r\n")?;
    let mut head = [0; 4];
    stream.read_exact(&mut head)?;
    let mut info = vec![0; usize::from(u16::from_be_bytes([head[2], head[3]]))];
    stream.read_exact(&mut info)?;
    Ok(stream)
}

fn read_until(stream: &mut TcpStream, end: &[u8]) -> Result<Vec<u8>, Box<dyn Error>> {
    let mut found = Vec::new();
    while !found.ends_with(end) {
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        found.extend(byte);
    }
    Ok(found)
}

/// A frame with a mask of zeros.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![first, 0x80 | payload.len() as u8, 0, 0, 0, 0];
    frame.extend_from_slice(payload);
    frame
}

async fn keeps_to_the_rules_of_websocket(cores: u32) -> Outcome {
    let (config, folder) = websocket("rules", cores, "no_tls: true")?;
    let broker = start(cores, &config, &[])?;
    let port = websocket_port(&folder)?;
    for (input, output) in [
        (frame(0x82, b"PING\r\n"), &b"\x82\x06PONG\r\n"[..]),
        (
            [frame(0x02, b"PI"), frame(0x00, b""), frame(0x80, b"NG\r\n")].concat(),
            b"\x82\x06PONG\r\n",
        ),
        (frame(0x89, b"hi"), b"\x8a\x02hi"),
        (frame(0x88, b""), b"\x88\x00"),
        (frame(0x88, b"\x03\xe8bye"), b"\x88\x05\x03\xe8bye"),
        (b"\x82\x06PING\r\n".to_vec(), b"\x88\x12\x03\xeamask bit missing"),
        (frame(0x83, b""), b"\x88\x12\x03\xeaunknown opcode 3"),
    ] {
        let mut stream = upgraded(port, "")?;
        for byte in input {
            stream.write_all(&[byte])?;
        }
        let mut found = vec![0; output.len()];
        stream.read_exact(&mut found)?;
        assert_eq!(found, output);
    }
    broker.wait_for_log("read error: mask bit missing", WAIT)?;
    let mut stream = upgraded(port, "Nats-No-Masking: true\r\n")?;
    stream.write_all(b"\x82\x06PING\r\n")?;
    read_until(&mut stream, b"\x82\x06PONG\r\n")?;
    Ok(())
}

async fn inflates_what_was_compressed(cores: u32) -> Outcome {
    let (config, folder) = websocket("deflate", cores, "no_tls: true, compression: true")?;
    let broker = start(cores, &config, &[])?;
    let port = websocket_port(&folder)?;
    let mut stream = upgraded(port, "Sec-WebSocket-Extensions: permessage-deflate\r\n")?;
    // A stored block and a sync flush without its tail, in two fragments.
    stream.write_all(&frame(0x42, b"\x00\x06\x00\xf9\xffPI"))?;
    stream.write_all(&frame(0x80, b"NG\r\n\x00"))?;
    read_until(&mut stream, b"\x82\x06PONG\r\n")?;
    stream.write_all(&frame(0xc2, b"\xff\xff\xff\xff"))?;
    broker.wait_for_log("read error: flate: corrupt input", WAIT)?;
    Ok(())
}

async fn refuses_what_is_no_upgrade(cores: u32) -> Outcome {
    let more = "no_tls: true, allowed_origins: ['http://there']";
    let (config, folder) = websocket("refusal", cores, more)?;
    let broker = start(cores, &config, &[])?;
    let port = websocket_port(&folder)?;
    let ask = |text: String| -> Result<String, Box<dyn Error>> {
        let mut stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_read_timeout(Some(WAIT))?;
        stream.write_all(text.as_bytes())?;
        Ok(String::from_utf8(read_until(&mut stream, b"\r\n")?)?)
    };
    assert_eq!(ask("GARBAGE\r\n\r\n".into())?, "HTTP/1.1 400 Bad Request\r\n");
    let plain = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    assert_eq!(ask(plain.into())?, "HTTP/1.1 400 Bad Request\r\n");
    broker.wait_for_log("websocket handshake error: invalid value for header 'Upgrade'", WAIT)?;
    let elsewhere = format!("{UPGRADE}Origin: http://elsewhere\r\n\r\n");
    assert_eq!(ask(elsewhere)?, "HTTP/1.1 403 Forbidden\r\n");
    let there = format!("{UPGRADE}Origin: http://there\r\n\r\n");
    assert_eq!(ask(there)?, "HTTP/1.1 101 Switching Protocols\r\n");
    Ok(())
}

async fn believes_a_proxy(cores: u32) -> Outcome {
    let broker = start(cores, "debug: true\nproxy_protocol: true", &[])?;
    let text = b"PROXY TCP4 1.2.3.4 5.6.7.8 1000 4222\r\n";
    let mut binary = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c".to_vec();
    binary.extend([1, 2, 3, 5, 9, 9, 9, 9, 0x03, 0xe8, 0, 80]);
    for (header, address) in [(&text[..], "1.2.3.4:1000 - cid:"), (&binary, "1.2.3.5:1000 - cid:")]
    {
        let mut stream = TcpStream::connect(broker.address())?;
        stream.set_read_timeout(Some(WAIT))?;
        for byte in header {
            stream.write_all(&[*byte])?;
        }
        stream.write_all(b"CONNECT {\"verbose\":false}\r\nPING\r\n")?;
        read_until(&mut stream, b"PONG\r\n")?;
        drop(stream);
        broker.wait_for_log(address, WAIT)?;
    }
    let mut stream = TcpStream::connect(broker.address())?;
    stream.write_all(b"PROXY TCP4 nonsense\r\n")?;
    broker.wait_for_log("Error reading PROXY protocol header from 127.0.0.1:", WAIT)?;
    let direct = ConnectOptions::new().connect(broker.address().to_string()).await?;
    exchange(&direct).await
}

/// Hundreds that come at once all get in, and one that was there before is heard meanwhile.
async fn survives_a_storm(cores: u32) -> Outcome {
    const COMERS: usize = 200;
    let broker = start(cores, &tls("rsa", ""), &[])?;
    let resident = open(&broker, options()).await?;
    let address = format!("tls://localhost:{}", broker.address().port());
    let comers: Vec<_> = (0..COMERS)
        .map(|_| tokio::spawn(options().connection_timeout(PATIENCE).connect(address.clone())))
        .collect();
    exchange(&resident).await?;
    let mut inside = Vec::new();
    for comer in comers {
        inside.push(comer.await??);
    }
    assert_eq!(inside.len(), COMERS);
    let mut subscription = resident.subscribe("all").await?;
    exchange(&resident).await?;
    for client in &inside {
        client.publish("all", "".into()).await?;
    }
    for _ in 0..COMERS {
        timeout(WAIT, subscription.next()).await?.ok_or("it ends")?;
    }
    Ok(())
}
