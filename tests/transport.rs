//! TLS as async-nats, the official Rust client, speaks it, on one and two cores.
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
    outlives_broken_handshakes,
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
