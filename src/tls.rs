//! TLS, from the files that a block names to what a handshake needs.
//!
//! Suites and curves go by Go's names and in its order of preference; what the library does not
//! have is left out with a warning (docs/decisions/tls.md).

use std::fmt::Debug;
use std::sync::Arc;

use rustls::crypto::aws_lc_rs::{self, cipher_suite as suite, kx_group as group};
use rustls::crypto::{CryptoProvider, SupportedKxGroup};
use rustls::pki_types::pem::{Error as PemError, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::{
    ClientHello, ParsedCertificate, ResolvesServerCert, ServerConfig, WebPkiClientVerifier,
};
use rustls::sign::CertifiedKey;
use rustls::{RootCertStore, SupportedCipherSuite, version};
use sha2::{Digest as _, Sha256};
use shard::{Door, certificate};

use crate::config::reload::{Change, Kind};
use crate::config::{Options, Pair, Tls};
use crate::log::{Level, Logger};
use crate::notation::error_text;
use crate::reactor::gate::Secrets;
use crate::staple::{Staple, Stapled};

/// Suites of TLS 1.3; which of them is used is nobody's to configure.
const SUITES_1_3: [SupportedCipherSuite; 3] = [
    suite::TLS13_AES_128_GCM_SHA256,
    suite::TLS13_AES_256_GCM_SHA384,
    suite::TLS13_CHACHA20_POLY1305_SHA256,
];

/// Suites of TLS 1.2.
const SUITES_1_2: [(&str, SupportedCipherSuite); 6] = [
    ("TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256", suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256),
    ("TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", suite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256),
    ("TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384", suite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384),
    ("TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384", suite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384),
    (
        "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
        suite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
    ),
    (
        "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
        suite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
    ),
];

/// Curves in the reference's order of preference.
const CURVES: [(&str, &dyn SupportedKxGroup); 5] = [
    ("X25519MLKEM768", group::X25519MLKEM768),
    ("SecP256r1MLKEM768", group::SECP256R1MLKEM768),
    ("X25519", group::X25519),
    ("CurveP256", group::SECP256R1),
    ("CurveP384", group::SECP384R1),
];

/// Where Linux distributions keep the authorities that they trust, as Go's library knows them.
const SYSTEM_AUTHORITIES: [&str; 6] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/pki/tls/cacert.pem",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// What handshakes of one listener are made by. A reload makes another; connections keep the one
/// that they came in by.
#[derive(Clone, Debug)]
pub(crate) struct Terms {
    /// For the library. Cores share it: its counter is touched once for each connection.
    pub(crate) config: Arc<ServerConfig>,
    /// When the certificate that is preferred ends.
    pub(crate) not_after: Option<String>,
    /// Hash of the files, by which a reload knows whether they changed.
    pub(crate) digest: [u8; 32],
    /// What was asked for and is not there.
    pub(crate) warnings: Vec<String>,
    /// The certificates, the preferred one first.
    keys: Vec<Arc<CertifiedKey>>,
}

impl Terms {
    /// The same with a staple to the first certificate. Without one that should be there the
    /// certificate is not shown at all.
    fn stapled(&self, staple: Option<&Staple>) -> Self {
        let mut keys = self.keys.clone();
        match (staple, keys.first_mut()) {
            (Some(staple), Some(first)) => {
                let mut key = CertifiedKey::clone(first);
                key.ocsp = Some(staple.bytes.clone());
                *first = Arc::new(key);
            }
            (None, Some(_)) => drop(keys.remove(0)),
            (_, None) => {}
        }
        let mut config = ServerConfig::clone(&self.config);
        config.cert_resolver = Arc::new(Choice { keys });
        Self { config: Arc::new(config), ..self.clone() }
    }
}

/// What handshakes of all listeners are made by.
#[derive(Clone, Debug, Default)]
pub(crate) struct Files {
    client: Option<Terms>,
    websocket: Option<Terms>,
    monitor: Option<Terms>,
}

impl Files {
    /// Reads the files that the options name. The error is one line for the user.
    pub(crate) fn read(options: &Options) -> Result<Self, String> {
        let websocket = options.websocket.as_ref().and_then(|door| door.tls.as_ref());
        Ok(Self {
            client: options.tls.as_ref().map(load).transpose()?,
            websocket: websocket.map(load).transpose()?,
            monitor: monitor_tls(options).as_ref().map(load).transpose()?,
        })
    }

    /// Staples the certificates that are to be stapled, and says which they are. The error is one
    /// line for the user.
    pub(crate) fn staple(
        &mut self,
        options: &Options,
        logger: &Logger,
    ) -> Result<Vec<(Stapled, Staple)>, String> {
        let websocket = options.websocket.as_ref().and_then(|door| door.tls.as_ref());
        let (ocsp, store) = &options.staples;
        let how = (ocsp.as_ref(), store.as_deref());
        let mut all = Vec::new();
        for (door, tls) in [(Door::Client, options.tls.as_ref()), (Door::WebSocket, websocket)] {
            let (Some(tls), Some(terms)) = (tls, self.terms(door)) else { continue };
            let Some(first) = terms.keys.first() else { continue };
            if let Some(text) = Stapled::complaint(tls, &first.cert, how.0) {
                logger.line(Level::Warn, text);
            }
            if let Some(one) = Stapled::choose(door, tls, &first.cert, how)? {
                let staple = one.begin()?;
                self.restaple(door, Some(&staple));
                all.push((one, staple));
            }
        }
        Ok(all)
    }

    /// Hands out another staple from now on, or none and no certificate either.
    pub(crate) fn restaple(&mut self, door: Door, staple: Option<&Staple>) {
        let terms = match door {
            Door::Client => &mut self.client,
            Door::WebSocket => &mut self.websocket,
        };
        if let Some(terms) = terms {
            *terms = terms.stapled(staple);
        }
    }

    fn terms(&self, door: Door) -> Option<&Terms> {
        match door {
            Door::Client => self.client.as_ref(),
            Door::WebSocket => self.websocket.as_ref(),
        }
    }

    /// When the certificates for clients and for WebSocket end.
    pub(crate) fn ends(&self) -> [Option<String>; 2] {
        [&self.client, &self.websocket].map(|terms| terms.as_ref()?.not_after.clone())
    }

    /// What handshakes of monitoring are made by, where that is over HTTPS.
    pub(crate) fn monitor(&self) -> Option<Arc<ServerConfig>> {
        self.monitor.as_ref().map(|terms| terms.config.clone())
    }

    pub(crate) fn secrets(&self) -> Secrets {
        let config = |terms: &Option<Terms>| terms.as_ref().map(|terms| terms.config.clone());
        Secrets { client: config(&self.client), websocket: config(&self.websocket) }
    }

    /// What a reload has to say if files changed.
    pub(crate) fn changes(&self, new: &Self) -> Vec<Change> {
        let digest = |files: &Self| files.client.as_ref().map(|terms| terms.digest);
        let mut changes = Vec::new();
        if digest(self) != digest(new) {
            let state = if new.client.is_some() { "enabled" } else { "disabled" };
            let line = Some(format!("Reloaded: tls = {state}"));
            changes.push(Change { kind: Kind::Value, line });
        }
        changes
    }

    /// Tells what was asked for and is not there.
    pub(crate) fn warn(&self, logger: &Logger) {
        for warning in self.client.iter().chain(&self.websocket).flat_map(|terms| &terms.warnings) {
            logger.line(Level::Warn, warning);
        }
    }
}

/// Monitoring shows the certificate that clients see, and asks nobody for one.
fn monitor_tls(options: &Options) -> Option<Tls> {
    let tls = options.tls.as_ref().filter(|_| options.monitor.https_port != 0)?;
    Some(Tls { verify: false, map: false, pinned: Vec::new(), ..tls.clone() })
}

/// Reads the files of a block. The error is one line for the user.
pub(crate) fn load(tls: &Tls) -> Result<Terms, String> {
    let fail = |problem: String| match tls.position.as_str() {
        "" => problem,
        position => format!("{position}: {problem}"),
    };
    let mut digest = Sha256::new();
    let mut warnings = Vec::new();
    let provider = Arc::new(provider(tls, &mut warnings).map_err(fail)?);
    let keys = load_pairs(&tls.pairs, &mut digest).map_err(fail)?;
    let versions: &[_] =
        if tls.only_1_3 { &[&version::TLS13] } else { &[&version::TLS13, &version::TLS12] };
    let builder = ServerConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(versions)
        .map_err(|error| fail(error.to_string()))?;
    let builder = if tls.verify {
        let authorities = Arc::new(authorities(tls, &mut digest).map_err(fail)?);
        let verifier = WebPkiClientVerifier::builder_with_provider(authorities, provider)
            .build()
            .map_err(|error| fail(error.to_string()))?;
        builder.with_client_cert_verifier(verifier)
    } else {
        if tls.authorities.is_some() {
            authorities(tls, &mut digest).map_err(fail)?;
        }
        builder.with_no_client_auth()
    };
    let preferred = keys.first().and_then(|key| key.cert.first());
    let not_after = preferred.and_then(|leaf| certificate::not_after(leaf));
    let mut config = builder.with_cert_resolver(Arc::new(Choice { keys: keys.clone() }));
    config.ignore_client_order = true;
    config.send_tls13_tickets = 1;
    config.ticketer = aws_lc_rs::Ticketer::new().map_err(|error| fail(error.to_string()))?;
    let (config, digest) = (Arc::new(config), digest.finalize().into());
    Ok(Terms { config, not_after, digest, warnings, keys })
}

fn provider(tls: &Tls, warnings: &mut Vec<String>) -> Result<CryptoProvider, String> {
    let mut suites = SUITES_1_3.to_vec();
    if tls.suites.is_empty() {
        suites.extend(SUITES_1_2.map(|(_, suite)| suite));
    }
    for name in &tls.suites {
        match SUITES_1_2.iter().find(|(known, _)| known == name) {
            Some((_, suite)) => suites.push(*suite),
            // TLS 1.3 has all of its own anyway.
            None if !name.contains("_WITH_") => {}
            None => warnings.push(format!("Cipher suite {name} is not supported and left out")),
        }
    }
    let mut groups = Vec::new();
    for name in &tls.curves {
        match CURVES.iter().find(|(known, _)| known == name) {
            Some((_, group)) => groups.push(*group),
            None => warnings.push(format!("Curve {name} is not supported and left out")),
        }
    }
    if tls.curves.is_empty() {
        groups.extend(CURVES.map(|(_, group)| group));
    }
    if groups.is_empty() {
        return Err(format!("not yet supported: curve_preferences {}", tls.curves.join(", ")));
    }
    Ok(CryptoProvider { cipher_suites: suites, kx_groups: groups, ..aws_lc_rs::default_provider() })
}

fn read(path: &str, digest: &mut Sha256) -> Result<Vec<u8>, String> {
    let bytes =
        std::fs::read(path).map_err(|error| format!("open {path}: {}", error_text(&error)))?;
    digest.update((bytes.len() as u64).to_le_bytes());
    digest.update(&bytes);
    Ok(bytes)
}

fn load_pairs(pairs: &[Pair], digest: &mut Sha256) -> Result<Vec<Arc<CertifiedKey>>, String> {
    let count = pairs.len();
    let mut keys = Vec::with_capacity(count);
    for (number, pair) in (1..).zip(pairs) {
        let key = load_pair(pair, digest).map_err(|problem| match count {
            1 => format!("error parsing X509 certificate/key pair: {problem}"),
            _ => format!("error parsing X509 certificate/key pair {number}/{count}: {problem}"),
        })?;
        keys.push(Arc::new(key));
    }
    Ok(keys)
}

fn load_pair(pair: &Pair, digest: &mut Sha256) -> Result<CertifiedKey, String> {
    let certificate_text = read(&pair.certificate, digest)?;
    let key_text = read(&pair.key, digest)?;
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(&certificate_text)
        .collect::<Result<_, _>>()
        .map_err(|error| format!("tls: {error}"))?;
    let Some(leaf) = chain.first() else {
        let reason = if PrivateKeyDer::from_pem_slice(&certificate_text).is_ok() {
            "failed to find certificate PEM data in certificate input, but did find a private \
             key; PEM inputs may have been switched"
        } else {
            "failed to find any PEM data in certificate input"
        };
        return Err(format!("tls: {reason}"));
    };
    let key = PrivateKeyDer::from_pem_slice(&key_text).map_err(|error| match error {
        PemError::NoItemsFound if CertificateDer::from_pem_slice(&key_text).is_ok() => {
            "tls: found a certificate rather than a key in the PEM for the private key".to_owned()
        }
        PemError::NoItemsFound => "tls: failed to find any PEM data in key input".to_owned(),
        error => format!("tls: {error}"),
    })?;
    let key = aws_lc_rs::sign::any_supported_type(&key)
        .map_err(|_| "tls: failed to parse private key".to_owned())?;
    let Some(public) = certificate::public_key(leaf) else {
        return Err("x509: malformed certificate".to_owned());
    };
    if key.public_key().is_some_and(|own| own.as_ref() != public) {
        return Err("tls: private key does not match public key".to_owned());
    }
    Ok(CertifiedKey::new(chain, key))
}

/// What this server itself goes to others with, by the files of a block or by what is usual. The
/// error is one line for the user.
pub(crate) fn load_client(tls: Option<&Tls>) -> Result<Arc<rustls::ClientConfig>, String> {
    let usual = Tls::default();
    let tls = tls.unwrap_or(&usual);
    let mut digest = Sha256::new();
    let roots = authorities(tls, &mut digest)?;
    let builder =
        rustls::ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?
            .with_root_certificates(roots);
    let Some(pair) = tls.pairs.first() else {
        return Ok(Arc::new(builder.with_no_client_auth()));
    };
    let chain = CertificateDer::pem_slice_iter(&read(&pair.certificate, &mut digest)?)
        .collect::<Result<_, _>>()
        .map_err(|error| format!("{}: {error}", pair.certificate))?;
    let key = PrivateKeyDer::from_pem_slice(&read(&pair.key, &mut digest)?)
        .map_err(|error| format!("{}: {error}", pair.key))?;
    let config = builder.with_client_auth_cert(chain, key).map_err(|error| error.to_string())?;
    Ok(Arc::new(config))
}

/// The authorities of clients' certificates; those of the system where no file is named.
fn authorities(tls: &Tls, digest: &mut Sha256) -> Result<RootCertStore, String> {
    let text = match &tls.authorities {
        Some(path) => read(path, digest)?,
        None => SYSTEM_AUTHORITIES
            .iter()
            .find_map(|path| std::fs::read(path).ok())
            .ok_or("no authorities to verify certificates of clients by: set 'ca_file'")?,
    };
    let mut store = RootCertStore::empty();
    // What is no certificate is passed over, as in the reference.
    let certificates = CertificateDer::pem_slice_iter(&text).filter_map(Result::ok);
    store.add_parsable_certificates(certificates);
    if store.is_empty() {
        return Err("failed to parse root ca certificate".to_owned());
    }
    Ok(store)
}

/// Chooses a certificate for a client: the first that bears the name it asked for and is of a kind
/// it knows; then one of a kind it knows; else the first.
#[derive(Debug)]
struct Choice {
    keys: Vec<Arc<CertifiedKey>>,
}

impl ResolvesServerCert for Choice {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let first = self.keys.first()?;
        if self.keys.len() == 1 {
            return Some(first.clone());
        }
        let known =
            |key: &&Arc<CertifiedKey>| key.key.choose_scheme(hello.signature_schemes()).is_some();
        let name = hello.server_name().and_then(|name| ServerName::try_from(name).ok());
        let named = |key: &&Arc<CertifiedKey>| {
            name.as_ref().is_none_or(|name| bears(key, name)) && known(key)
        };
        let chosen = self.keys.iter().find(named).or_else(|| self.keys.iter().find(known));
        Some(chosen.unwrap_or(first).clone())
    }
}

fn bears(key: &CertifiedKey, name: &ServerName<'_>) -> bool {
    key.end_entity_cert()
        .and_then(ParsedCertificate::try_from)
        .is_ok_and(|leaf| rustls::client::verify_server_name(&leaf, name).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/certificates");

    fn block(certificate: &str, key: &str) -> Tls {
        let path = |name: &str| format!("{FOLDER}/{name}");
        let pair = Pair { certificate: path(certificate), key: path(key) };
        Tls { position: "n.conf:1:6".to_owned(), pairs: vec![pair], ..Tls::default() }
    }

    #[test]
    fn good_files_load_and_their_content_tells_them_apart() {
        let server = load(&block("server.pem", "server.key")).expect("good files");
        let again = load(&block("server.pem", "server.key")).expect("good files");
        let renewed = load(&block("renewed.pem", "renewed.key")).expect("good files");
        assert_eq!(server.digest, again.digest);
        assert_ne!(server.digest, renewed.digest);
        load(&block("rsa.pem", "rsa.key")).expect("good files");
    }

    #[test]
    fn bad_files_are_named_in_the_words_of_the_reference() {
        let prefix = "n.conf:1:6: error parsing X509 certificate/key pair: ";
        let rows = [
            ("server.pem", "renewed.key", "tls: private key does not match public key"),
            (
                "server.key",
                "server.pem",
                "tls: failed to find certificate PEM data in certificate \
             input, but did find a private key; PEM inputs may have been switched",
            ),
            (
                "server.pem",
                "server.pem",
                "tls: found a certificate rather than a key in the PEM \
             for the private key",
            ),
            ("make", "server.key", "tls: failed to find any PEM data in certificate input"),
            ("server.pem", "make", "tls: failed to find any PEM data in key input"),
        ];
        for (certificate, key, problem) in rows {
            let found = load(&block(certificate, key)).expect_err(problem);
            assert_eq!(found, format!("{prefix}{problem}"));
        }
        let found = load(&block("nowhere", "server.key")).expect_err("no such file");
        assert_eq!(found, format!("{prefix}open {FOLDER}/nowhere: no such file or directory"));
        let tls = Tls {
            verify: true,
            authorities: Some(format!("{FOLDER}/make")),
            ..block("server.pem", "server.key")
        };
        let found = load(&tls).expect_err("no certificate");
        assert_eq!(found, "n.conf:1:6: failed to parse root ca certificate");
    }

    #[test]
    fn what_the_library_does_not_have_is_left_out_and_said() {
        let tls = Tls {
            suites: vec![
                "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA".to_owned(),
                "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384".to_owned(),
                "TLS_AES_128_GCM_SHA256".to_owned(),
            ],
            curves: vec!["CurveP521".to_owned(), "CurveP384".to_owned()],
            ..block("server.pem", "server.key")
        };
        let terms = load(&tls).expect("some are there");
        let left_out = [
            "Cipher suite TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA is not supported and left out",
            "Curve CurveP521 is not supported and left out",
        ];
        assert_eq!(terms.warnings, left_out);
        let provider = terms.config.crypto_provider();
        assert_eq!(provider.cipher_suites.len(), 4);
        assert_eq!(provider.kx_groups.len(), 1);
        let tls = Tls { curves: vec!["CurveP521".to_owned()], ..tls };
        assert!(load(&tls).is_err(), "without any curve there is no handshake");
    }
}
