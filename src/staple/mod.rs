//! Staples: what an authority says of this server's own certificates, fetched ahead of handshakes
//! and handed out with them (OCSP stapling, spec 3.6).
//!
//! They are fetched where nobody waits: by the thread that starts the server, and then by one of
//! their own, which sleeps until half of a staple's time is over. Only the first certificate of a
//! listener is stapled, as in the reference.

mod der;
mod fetch;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use sha2::{Digest as _, Sha256};
use shard::Door;

use crate::config::{Ocsp, Tls};
use crate::log::Logger;
use crate::monitor::wall;
use crate::reactor::Report;
use der::{Certificate, Status, Verdict, read_response};

/// When a staple without an end is fetched again.
const USUAL_WAIT: Duration = Duration::from_hours(24);
/// When fetching is tried again once a staple has ended.
const LEAST_WAIT: Duration = Duration::from_mins(2);

/// A certificate that is stapled, and how.
#[derive(Clone, Debug)]
pub(crate) struct Stapled {
    door: Door,
    /// Its file.
    file: String,
    leaf: Vec<u8>,
    issuer: Vec<u8>,
    responders: Vec<String>,
    /// Where staples are kept over a restart.
    store: Option<PathBuf>,
    /// Does the server end when the certificate is revoked?
    ends: bool,
}

/// A staple, and until when it holds; seconds since 1970.
#[derive(Clone, Debug)]
pub(crate) struct Staple {
    pub(crate) bytes: Vec<u8>,
    status: Status,
    until_s: Option<i64>,
}

/// What came of a staple's renewal.
#[derive(Debug)]
pub(crate) enum Renewal {
    /// The new one; none if the old one has ended and there is no other.
    Staple(Door, Option<Staple>),
    /// The certificate is no good any more, and the server is to end.
    Revoked,
}

impl Stapled {
    /// Is the certificate of a listener to be stapled? An error is a line for the user.
    pub(crate) fn choose(
        door: Door,
        tls: &Tls,
        chain: &[CertificateDer<'_>],
        (ocsp, store): (Option<&Ocsp>, Option<&Path>),
    ) -> Result<Option<Self>, String> {
        let file = tls.pairs.first().map_or("", |pair| pair.certificate.as_str());
        let leaf = chain.first().and_then(|leaf| Certificate::read(leaf));
        let leaf = leaf.ok_or("error parsing certificate")?;
        let demands = leaf.demands_staple();
        let mode = ocsp.map(|ocsp| ocsp.mode.as_str());
        if mode == Some("never") || (mode != Some("always") && !demands) {
            return Ok(None);
        }
        let issuer = issuer_of(&leaf, tls, chain)?;
        let named = ocsp.map(|ocsp| ocsp.urls.clone()).filter(|urls| !urls.is_empty());
        Ok(Some(Self {
            door,
            file: file.to_owned(),
            leaf: chain[0].to_vec(),
            issuer,
            responders: named.unwrap_or_else(|| leaf.responders()),
            store: store.map(|store| store.join("ocsp")),
            ends: matches!(mode, Some("always" | "must")),
        }))
    }

    /// What the log says of a certificate that demands a staple and gets none.
    pub(crate) fn complaint(
        tls: &Tls,
        chain: &[CertificateDer<'_>],
        ocsp: Option<&Ocsp>,
    ) -> Option<String> {
        let leaf = chain.first().and_then(|leaf| Certificate::read(leaf))?;
        let file = &tls.pairs.first()?.certificate;
        let missing = leaf.demands_staple() && ocsp.is_some_and(|ocsp| ocsp.mode == "never");
        missing.then(|| format!("Certificate at '{file}' has MustStaple but OCSP is disabled"))
    }

    /// The staple to begin with: the one that was kept, or else a new one. The error is one line
    /// for the user.
    pub(crate) fn begin(&self) -> Result<Staple, String> {
        let staple = self.kept().map_or_else(|| self.fetch(), Ok);
        let file = &self.file;
        let staple = staple.map_err(|problem| {
            format!("bad OCSP status update for certificate at '{file}': {problem}")
        })?;
        if self.ends && staple.status != Status::Good {
            let status = staple.status.text();
            return Err(format!(
                "found existing OCSP status for certificate at '{file}': {status}"
            ));
        }
        Ok(staple)
    }

    fn kept(&self) -> Option<Staple> {
        let bytes = std::fs::read(self.store.as_ref()?.join(self.name())).ok()?;
        self.weigh(bytes).ok()
    }

    /// The name of the kept staple: the hash of the certificate.
    fn name(&self) -> String {
        Sha256::digest(&self.leaf).iter().fold(String::new(), |mut name, byte| {
            write!(name, "{byte:02x}").expect("a string takes text");
            name
        })
    }

    fn fetch(&self) -> Result<Staple, String> {
        let (leaf, issuer) = self.certificates();
        if self.responders.is_empty() {
            return Err("no available ocsp servers".to_owned());
        }
        let request = der::request(&leaf, &issuer);
        let mut problem = String::new();
        for responder in &self.responders {
            match fetch::ask(responder, &request) {
                Ok(bytes) => {
                    let staple = self.weigh(bytes);
                    let staple = staple.map_err(|e| format!("failed to get remote status: {e}"))?;
                    self.keep(&staple.bytes).map_err(|e| {
                        format!("failed to write ocsp status: {}", crate::notation::error_text(&e))
                    })?;
                    return Ok(staple);
                }
                Err(reason) => problem = reason,
            }
        }
        Err(format!("exhausted ocsp servers: {problem}"))
    }

    fn certificates(&self) -> (Certificate<'_>, Certificate<'_>) {
        let read = |der| Certificate::read(der).expect("it was read when it was chosen");
        (read(&self.leaf), read(&self.issuer))
    }

    /// Is a response right, and does it hold now?
    fn weigh(&self, bytes: Vec<u8>) -> Result<Staple, String> {
        let (leaf, issuer) = self.certificates();
        let Verdict { status, from_s, until_s } = read_response(&bytes, &leaf, &issuer)?;
        let now_s = now_s();
        if let Some(until_s) = until_s.filter(|until_s| *until_s < now_s) {
            let time = time_text(until_s);
            return Err(format!("invalid ocsp NextUpdate, is past time: {time}"));
        }
        if from_s > now_s {
            let time = time_text(from_s);
            return Err(format!("invalid ocsp ThisUpdate, is future time: {time}"));
        }
        Ok(Staple { bytes, status, until_s })
    }

    /// Keeps a staple in a file that is whole or not there.
    fn keep(&self, bytes: &[u8]) -> std::io::Result<()> {
        let Some(store) = &self.store else { return Ok(()) };
        std::fs::create_dir_all(store)?;
        let name = self.name();
        let fresh = store.join(format!("tmp-cert-status-{name}"));
        std::fs::write(&fresh, bytes)?;
        std::fs::rename(fresh, store.join(name))
    }
}

/// The certificate that has signed another: the next of its chain, or one of the authorities.
fn issuer_of(
    leaf: &Certificate<'_>,
    tls: &Tls,
    chain: &[CertificateDer<'_>],
) -> Result<Vec<u8>, String> {
    const NONE: &str = "no issuers found";
    let fits = |der: &[u8]| {
        let issuer = Certificate::read(der);
        issuer.is_some_and(|issuer| leaf.is_issued_by(&issuer) && issuer.is_authority())
    };
    if let Some(next) = chain.get(1) {
        return if fits(next) { Ok(next.to_vec()) } else { Err(NONE.to_owned()) };
    }
    let Some(path) = &tls.authorities else { return Err(NONE.to_owned()) };
    let text = std::fs::read(path).map_err(|error| format!("failed to parse ca_file: {error}"))?;
    let mut all = CertificateDer::pem_slice_iter(&text).filter_map(Result::ok);
    all.find(|der| fits(der)).map(|der| der.to_vec()).ok_or_else(|| NONE.to_owned())
}

/// Keeps staples fresh, and tells of each, until the other end of `stop` is gone.
pub(crate) fn watch(
    stapled: Vec<(Stapled, Staple)>,
    reports: mpsc::Sender<Report>,
    logger: Logger,
    stop: mpsc::Receiver<()>,
) -> Result<(), String> {
    if stapled.is_empty() {
        return Ok(());
    }
    let work = move || {
        let mut due: Vec<_> = stapled
            .into_iter()
            .map(|(one, staple)| {
                let wait = note(&one, &staple, "Found", &logger);
                (std::time::Instant::now() + wait, one, staple)
            })
            .collect();
        loop {
            due.sort_by_key(|(at, ..)| *at);
            let wait = due[0].0.saturating_duration_since(std::time::Instant::now());
            if stop.recv_timeout(wait) != Err(RecvTimeoutError::Timeout) {
                return;
            }
            let (at, one, staple) = &mut due[0];
            let (wait, renewal) = renew(one, staple, &logger);
            *at = std::time::Instant::now() + wait;
            if renewal.is_some_and(|renewal| reports.send(Report::Renewed(renewal)).is_err()) {
                return;
            }
        }
    };
    let thread = std::thread::Builder::new().name("staples".into()).spawn(work);
    thread.map(drop).map_err(|error| format!("cannot start a thread for staples: {error}"))
}

/// Fetches a staple anew. Returns when to do so again, and what there is to tell.
fn renew(one: &Stapled, staple: &mut Staple, logger: &Logger) -> (Duration, Option<Renewal>) {
    let file = &one.file;
    match one.fetch() {
        Err(problem) => {
            let wait = wait(staple.until_s);
            logger.error(format_args!(
                "Bad OCSP status update for certificate '{file}': {problem}, trying again in \
                 {wait:?}"
            ));
            let ended = staple.until_s.is_some_and(|until_s| until_s < now_s());
            (wait, ended.then_some(Renewal::Staple(one.door, None)))
        }
        Ok(fresh) if fresh.status == Status::Good || !one.ends => {
            let wait = note(one, &fresh, "Received", logger);
            *staple = fresh.clone();
            (wait, Some(Renewal::Staple(one.door, Some(fresh))))
        }
        Ok(fresh) => {
            note(one, &fresh, "Received", logger);
            (USUAL_WAIT, Some(Renewal::Revoked))
        }
    }
}

/// Tells of a staple. Returns when the next is to be fetched.
fn note(one: &Stapled, staple: &Staple, what: &str, logger: &Logger) -> Duration {
    let wait = wait(staple.until_s);
    let kind = match one.door {
        Door::Client => "Client",
        Door::WebSocket => "Websocket",
    };
    let (file, status) = (&one.file, staple.status.text());
    if staple.status == Status::Good {
        let next = staple.until_s.map_or_else(String::new, time_text);
        logger.info(format_args!(
            "{what} OCSP status for {kind} certificate at '{file}': good, next update {next}, \
             checking again in {wait:?}"
        ));
    } else {
        logger.error(format_args!("{what} OCSP status for {kind} certificate '{file}': {status}"));
    }
    wait
}

/// Half of the time that a staple still holds.
fn wait(until_s: Option<i64>) -> Duration {
    let Some(until_s) = until_s else { return USUAL_WAIT };
    match u64::try_from(until_s - now_s()) {
        Ok(left_s) if left_s > 0 => Duration::from_millis(left_s * 500),
        _ => LEAST_WAIT,
    }
}

fn now_s() -> i64 {
    wall().0.div_euclid(1_000_000_000)
}

fn time_text(seconds: i64) -> String {
    jiff::Timestamp::from_second(seconds).map_or_else(|_| String::new(), |time| time.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/certificates");

    fn bytes(name: &str) -> Vec<u8> {
        std::fs::read(format!("{FOLDER}/{name}")).expect("the file is there")
    }

    fn certificate(name: &str) -> Vec<u8> {
        CertificateDer::from_pem_slice(&bytes(name)).expect("it is a certificate").to_vec()
    }

    #[test]
    fn responses_are_believed_if_the_issuer_has_signed_them() {
        let (leaf, notary) = (certificate("stapled.pem"), certificate("notary.pem"));
        let (other, stranger) = (certificate("server.pem"), certificate("ca.pem"));
        let read = |der: &'static Vec<u8>| Certificate::read(der).expect("it is a certificate");
        let [leaf, notary, other, stranger] =
            [leaf, notary, other, stranger].map(|der| read(Box::leak(Box::new(der))));
        assert!(leaf.demands_staple());
        assert!(!other.demands_staple());
        assert!(leaf.is_issued_by(&notary) && notary.is_authority());
        assert!(!leaf.is_issued_by(&stranger) && !leaf.is_authority());
        let status = |name: &str, leaf: &Certificate<'_>, issuer: &Certificate<'_>| {
            read_response(&bytes(name), leaf, issuer).map(|verdict| verdict.status)
        };
        assert_eq!(status("staple-good.der", &leaf, &notary), Ok(Status::Good));
        assert_eq!(status("staple-revoked.der", &leaf, &notary), Ok(Status::Revoked));
        assert!(status("staple-good.der", &leaf, &stranger).is_err());
        assert!(status("staple-good.der", &other, &notary).is_err());
        let good = bytes("staple-good.der");
        for cut in 0..good.len() {
            assert!(read_response(&good[..cut], &leaf, &notary).is_err());
            let mut bent = good.clone();
            bent[cut] ^= 1;
            // Some bits are outside of what is signed, but none of them says how it is.
            if let Ok(verdict) = read_response(&bent, &leaf, &notary) {
                assert_eq!(verdict.status, Status::Good);
            }
        }
    }

    #[test]
    fn only_what_is_asked_for_is_stapled() {
        let chain = [CertificateDer::from(certificate("stapled.pem"))];
        let plain = [CertificateDer::from(certificate("server.pem"))];
        let authorities = Some(format!("{FOLDER}/notary.pem"));
        let tls = Tls { authorities, ..Tls::default() };
        let ocsp = |mode: &str| Ocsp { mode: mode.to_owned(), urls: vec!["http://a".to_owned()] };
        for (mode, stapled, ends) in [
            (None, true, false),
            (Some("auto"), true, false),
            (Some("must"), true, true),
            (Some("always"), true, true),
            (Some("never"), false, false),
        ] {
            let ocsp = mode.map(ocsp);
            let choose = |chain| Stapled::choose(Door::Client, &tls, chain, (ocsp.as_ref(), None));
            let found = choose(&chain).expect("the issuer is known");
            assert_eq!(found.map(|one| one.ends), stapled.then_some(ends), "{mode:?}");
            let found = choose(&plain).map(|one| one.is_some());
            let expected = match mode {
                Some("always") => Err("no issuers found".to_owned()),
                _ => Ok(false),
            };
            assert_eq!(found, expected, "{mode:?}");
        }
    }
}
