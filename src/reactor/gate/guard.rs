//! TLS of one connection, between bytes and bytes.

use std::sync::Arc;

use rustls::server::{ServerConfig, UnbufferedServerConnection};
use rustls::unbuffered::{ConnectionState, EncodeError, EncryptError};
use rustls::{
    AlertDescription, CertificateError, Error, InvalidMessage, PeerIncompatible, ProtocolVersion,
};
use sha2::{Digest as _, Sha256};
use shard::certificate::{self, PeerCertificate};
use shard::{Secured, ShownCertificate};

use super::sealed::Sealed;

/// Bytes of the header of a record: kind, version, length.
const HEADER_BYTES: usize = 5;
/// Plaintext of one record.
const RECORD_BYTES: usize = 16 * 1024;
/// What a record is longer than its plaintext at most: header, nonce and tag.
const OVERHEAD_BYTES: usize = 64;
/// Bytes of a client's handshake that are kept until it is its turn: a chain of certificates and
/// more.
const HANDSHAKE_BYTES_MAX: usize = 128 * 1024;

/// TLS of one connection.
pub(crate) struct Guard {
    connection: UnbufferedServerConnection,
    /// Input whose record, or handshake, is not whole yet.
    carry: Vec<u8>,
    /// The newest version that the client offered in the way that TLS 1.2 offers it.
    offered: u16,
    /// Has a whole record come?
    begun: bool,
    /// Has it failed? The library may not be asked for anything then.
    broken: bool,
}

/// What input came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Opened {
    /// More may come.
    On,
    /// The peer has said that nothing more comes.
    Ended,
}

/// Why it cannot go on.
#[derive(Debug)]
pub(crate) struct Breach {
    /// In the words of the reference's library.
    pub(crate) text: String,
    /// Was it never meant as TLS?
    pub(crate) by_stranger: bool,
}

impl Guard {
    pub(crate) fn new(config: Arc<ServerConfig>) -> Result<Self, Breach> {
        let connection = UnbufferedServerConnection::new(config);
        let connection = connection.map_err(|error| breach(&error, 0, false))?;
        Ok(Self { connection, carry: Vec::new(), offered: 0, begun: false, broken: false })
    }

    pub(crate) fn is_handshaking(&self) -> bool {
        self.connection.is_handshaking()
    }

    /// Keeps bytes of a handshake until it is its turn.
    pub(crate) fn keep(&mut self, bytes: &[u8]) -> Result<(), Breach> {
        self.carry.extend_from_slice(bytes);
        if self.carry.len() > HANDSHAKE_BYTES_MAX {
            let text = "tls: handshake messages are too large".to_owned();
            return Err(Breach { text, by_stranger: false });
        }
        if self.offered == 0
            && let [0x16, 3, _, _, _, 1, _, _, _, major, minor, ..] = self.carry[..]
        {
            self.offered = u16::from_be_bytes([major, minor]);
        }
        Ok(())
    }

    /// Is there enough for a step of the handshake? What is no record is enough for an error.
    pub(crate) fn may_step(&self) -> bool {
        self.missing() == 0 || self.carry.first().is_some_and(|kind| !(0x14..=0x17).contains(kind))
    }

    /// Goes on with the handshake, by what was kept. Plaintext that follows it goes to `plain`.
    pub(crate) fn step(
        &mut self,
        plain: &mut Vec<u8>,
        replies: &mut Sealed,
    ) -> Result<Opened, Breach> {
        if self.broken {
            return Ok(Opened::Ended);
        }
        let mut carry = std::mem::take(&mut self.carry);
        let outcome = self.work(&mut carry, plain, replies);
        let (used, opened) = outcome?;
        carry.drain(..used);
        if !carry.is_empty() {
            self.carry = carry;
        }
        Ok(opened)
    }

    /// Opens the records in `bytes`. What is not whole yet is kept.
    pub(crate) fn open(
        &mut self,
        mut bytes: &mut [u8],
        plain: &mut Vec<u8>,
        replies: &mut Sealed,
    ) -> Result<Opened, Breach> {
        if self.broken {
            return Ok(Opened::Ended);
        }
        while !self.carry.is_empty() && !bytes.is_empty() {
            let missing = match self.missing() {
                // Parts of one handshake message stand in several records.
                0 => bytes.len(),
                missing => missing.min(bytes.len()),
            };
            let (first, rest) = bytes.split_at_mut(missing);
            self.carry.extend_from_slice(first);
            bytes = rest;
            if self.missing() == 0 {
                let opened = self.step(plain, replies)?;
                if opened == Opened::Ended {
                    return Ok(opened);
                }
            }
        }
        if bytes.is_empty() {
            return Ok(Opened::On);
        }
        let (used, opened) = self.work(bytes, plain, replies)?;
        if used < bytes.len() {
            self.carry.extend_from_slice(&bytes[used..]);
        }
        Ok(opened)
    }

    /// Bytes that the first record of the carry lacks, or its header.
    fn missing(&self) -> usize {
        let carry = &self.carry;
        if carry.len() < HEADER_BYTES {
            return HEADER_BYTES - carry.len();
        }
        let whole = HEADER_BYTES + usize::from(u16::from_be_bytes([carry[3], carry[4]]));
        whole.saturating_sub(carry.len())
    }

    /// Lets the library have whole records. Returns how many bytes it is done with.
    fn work(
        &mut self,
        bytes: &mut [u8],
        plain: &mut Vec<u8>,
        replies: &mut Sealed,
    ) -> Result<(usize, Opened), Breach> {
        let mut used = 0;
        let mut opened = Opened::On;
        loop {
            let status = self.connection.process_tls_records(&mut bytes[used..]);
            let discard = status.discard;
            match status.state {
                Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                    while let Some(record) = traffic.next_record() {
                        match record {
                            Ok(record) => plain.extend_from_slice(record.payload),
                            Err(error) => return Err(breach(&error, self.offered, true)),
                        }
                    }
                }
                Ok(ConnectionState::EncodeTlsData(mut data)) => encode(&mut data, replies),
                Ok(ConnectionState::TransmitTlsData(data)) => data.done(),
                Ok(ConnectionState::PeerClosed) => opened = Opened::Ended,
                Ok(ConnectionState::BlockedHandshake | ConnectionState::WriteTraffic(_)) => {
                    used += discard;
                    self.begun |= used > 0;
                    return Ok((used, opened));
                }
                Ok(_) => return Ok((used + discard, Opened::Ended)),
                Err(error) => {
                    used += discard;
                    self.alert(replies);
                    return Err(breach(&error, self.offered, self.begun || used > 0));
                }
            }
            used += discard;
        }
    }

    /// Writes the one alert by which the library answers an error.
    fn alert(&mut self, replies: &mut Sealed) {
        self.broken = true;
        let status = self.connection.process_tls_records(&mut []);
        if let Ok(ConnectionState::EncodeTlsData(mut data)) = status.state {
            encode(&mut data, replies);
        }
    }

    /// Seals plaintext, behind whatever the library has to say.
    pub(crate) fn seal(&mut self, plain: &[u8], out: &mut Sealed) -> Result<(), Breach> {
        if self.broken {
            return Err(exhausted());
        }
        loop {
            let status = self.connection.process_tls_records(&mut self.carry);
            match status.state {
                Ok(ConnectionState::EncodeTlsData(mut data)) => encode(&mut data, out),
                Ok(ConnectionState::TransmitTlsData(data)) => data.done(),
                Ok(ConnectionState::PeerClosed) => {}
                Ok(ConnectionState::WriteTraffic(mut traffic)) => {
                    let records = plain.len().div_ceil(RECORD_BYTES);
                    let mut needed = plain.len() + records * OVERHEAD_BYTES;
                    loop {
                        match traffic.encrypt(plain, out.room(needed)) {
                            Ok(bytes) => {
                                out.fill(bytes);
                                return Ok(());
                            }
                            Err(EncryptError::InsufficientSize(size)) => {
                                needed = size.required_size;
                            }
                            Err(EncryptError::EncryptExhausted) => return Err(exhausted()),
                        }
                    }
                }
                _ => return Err(exhausted()),
            }
        }
    }

    /// Says that nothing more comes.
    pub(crate) fn farewell(&mut self, out: &mut Sealed) {
        while !self.broken {
            match self.connection.process_tls_records(&mut self.carry).state {
                Ok(ConnectionState::EncodeTlsData(mut data)) => encode(&mut data, out),
                Ok(ConnectionState::TransmitTlsData(data)) => data.done(),
                Ok(ConnectionState::PeerClosed) => {}
                Ok(ConnectionState::WriteTraffic(mut traffic)) => {
                    if let Ok(bytes) = traffic.queue_close_notify(out.room(OVERHEAD_BYTES)) {
                        out.fill(bytes);
                    }
                    return;
                }
                _ => return,
            }
        }
    }

    /// What the handshake came to.
    pub(crate) fn secured(&self) -> Secured {
        let version = match self.connection.protocol_version() {
            Some(ProtocolVersion::TLSv1_3) => "1.3",
            _ => "1.2",
        };
        let suite = self.connection.negotiated_cipher_suite();
        let cipher = suite.map(|suite| format!("{:?}", suite.suite()).replace("TLS13_", "TLS_"));
        let chain = self.connection.peer_certificates().unwrap_or_default();
        let certificate = chain.first().and_then(|leaf| PeerCertificate::read(leaf));
        let shown: Vec<ShownCertificate> = chain.iter().map(|shown| describe(shown)).collect();
        let key = shown.first().map(|leaf| leaf.key_digest.clone()).filter(|key| !key.is_empty());
        let key = key.map(String::into_boxed_str);
        let chain = chain.iter().map(|one| one.to_vec()).collect();
        Secured { version, cipher: cipher.unwrap_or_default(), certificate, shown, key, chain }
    }
}

fn describe(certificate: &[u8]) -> ShownCertificate {
    ShownCertificate {
        subject: PeerCertificate::read(certificate).map_or_else(String::new, |read| read.subject),
        key_digest: certificate::public_key(certificate).map_or_else(String::new, digest),
        digest: digest(certificate),
    }
}

/// SHA-256 in hexadecimal.
fn digest(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    Sha256::digest(bytes).iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn encode<Data>(data: &mut rustls::unbuffered::EncodeTlsData<'_, Data>, out: &mut Sealed) {
    let mut needed = RECORD_BYTES + OVERHEAD_BYTES;
    loop {
        match data.encode(out.room(needed)) {
            Ok(bytes) => return out.fill(bytes),
            Err(EncodeError::InsufficientSize(size)) => needed = size.required_size,
            Err(EncodeError::AlreadyEncoded) => return,
        }
    }
}

fn exhausted() -> Breach {
    Breach { text: "tls: keys are used up".to_owned(), by_stranger: false }
}

/// An error in the words of Go's library, which are those of the reference's log. `begun` says
/// whether a whole record came before.
fn breach(error: &Error, offered: u16, begun: bool) -> Breach {
    let stranger = matches!(
        error,
        Error::InvalidMessage(
            InvalidMessage::InvalidContentType
                | InvalidMessage::UnknownProtocolVersion
                | InvalidMessage::MessageTooLarge
        )
    ) && !begun;
    let text = match error {
        _ if stranger => "tls: first record does not look like a TLS handshake".to_owned(),
        Error::AlertReceived(alert) => format!("remote error: tls: {}", alert_text(*alert)),
        Error::NoCertificatesPresented => "tls: client didn't provide a certificate".to_owned(),
        Error::DecryptError => "local error: tls: bad record MAC".to_owned(),
        Error::PeerSentOversizedRecord => "local error: tls: record overflow".to_owned(),
        Error::InvalidCertificate(problem) => {
            format!("tls: failed to verify certificate: {}", certificate_text(problem))
        }
        Error::PeerIncompatible(problem) => incompatible_text(problem, offered),
        Error::General(text) if text.contains("no server certificate") => {
            "tls: no certificates configured".to_owned()
        }
        other => format!("tls: {other}"),
    };
    Breach { text, by_stranger: stranger }
}

fn incompatible_text(problem: &PeerIncompatible, offered: u16) -> String {
    use PeerIncompatible as Problem;

    match problem {
        Problem::SignatureAlgorithmsExtensionRequired if offered >= 0x303 => {
            "tls: client didn't offer signature algorithms".to_owned()
        }
        Problem::SignatureAlgorithmsExtensionRequired
        | Problem::Tls12NotOffered
        | Problem::Tls12NotOfferedOrEnabled
        | Problem::ServerTlsVersionIsDisabledByOurConfig
        | Problem::SupportedVersionsExtensionRequired
        | Problem::ServerDoesNotSupportTls12Or13 => {
            let versions: Vec<&str> = [(0x303, "303"), (0x302, "302"), (0x301, "301")]
                .iter()
                .filter(|(version, _)| *version <= offered)
                .map(|(_, text)| *text)
                .collect();
            let versions = versions.join(" ");
            format!("tls: client offered only unsupported versions: [{versions}]")
        }
        Problem::NoCipherSuitesInCommon => {
            "tls: no cipher suite supported by both client and server".to_owned()
        }
        Problem::NoKxGroupsInCommon | Problem::NamedGroupsExtensionRequired => {
            "tls: no key exchanges supported by both client and server".to_owned()
        }
        Problem::NoSignatureSchemesInCommon => {
            "tls: peer doesn't support any of the certificate's signature algorithms".to_owned()
        }
        other => format!("tls: {other:?}"),
    }
}

fn certificate_text(problem: &CertificateError) -> String {
    use CertificateError as Problem;

    let text = match problem {
        Problem::Expired
        | Problem::ExpiredContext { .. }
        | Problem::NotValidYet
        | Problem::NotValidYetContext { .. } => "certificate has expired or is not yet valid",
        Problem::UnknownIssuer | Problem::BadSignature => "certificate signed by unknown authority",
        Problem::InvalidPurpose | Problem::InvalidPurposeContext { .. } => {
            "certificate specifies an incompatible key usage"
        }
        Problem::UnhandledCriticalExtension => "unhandled critical extension",
        other => return format!("x509: {other:?}"),
    };
    format!("x509: {text}")
}

fn alert_text(alert: AlertDescription) -> String {
    use AlertDescription as Alert;

    let text = match alert {
        Alert::CloseNotify => "close notify",
        Alert::UnexpectedMessage => "unexpected message",
        Alert::BadRecordMac => "bad record MAC",
        Alert::RecordOverflow => "record overflow",
        Alert::HandshakeFailure => "handshake failure",
        Alert::BadCertificate => "bad certificate",
        Alert::UnsupportedCertificate => "unsupported certificate",
        Alert::CertificateRevoked => "revoked certificate",
        Alert::CertificateExpired => "expired certificate",
        Alert::CertificateUnknown => "unknown certificate",
        Alert::IllegalParameter => "illegal parameter",
        Alert::UnknownCA => "unknown certificate authority",
        Alert::AccessDenied => "access denied",
        Alert::DecodeError => "error decoding message",
        Alert::DecryptError => "error decrypting message",
        Alert::ProtocolVersion => "protocol version not supported",
        Alert::InsufficientSecurity => "insufficient security level",
        Alert::InternalError => "internal error",
        Alert::InappropriateFallback => "inappropriate fallback",
        Alert::UserCanceled => "user canceled",
        Alert::NoRenegotiation => "no renegotiation",
        Alert::MissingExtension => "missing extension",
        Alert::UnsupportedExtension => "unsupported extension",
        Alert::UnrecognisedName => "unrecognized name",
        Alert::CertificateRequired => "certificate required",
        Alert::NoApplicationProtocol => "no application protocol",
        other => return format!("alert({})", u8::from(other)),
    };
    text.to_owned()
}

#[cfg(test)]
mod tests {
    use rustls::ClientConfig;
    use rustls::client::ClientConnection;
    use rustls::pki_types::pem::PemObject as _;
    use rustls::pki_types::{CertificateDer, ServerName};

    use super::*;
    use crate::config::{Pair, Tls};

    const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/certificates");

    fn guard() -> Guard {
        let file = |name: &str| format!("{FOLDER}/{name}");
        let pair = Pair { certificate: file("server.pem"), key: file("server.key") };
        let terms = crate::tls::load(&Tls { pairs: vec![pair], ..Tls::default() });
        Guard::new(terms.expect("good files").config).expect("a good configuration")
    }

    fn client() -> ClientConnection {
        let mut roots = rustls::RootCertStore::empty();
        let authority = CertificateDer::from_pem_file(format!("{FOLDER}/ca.pem"));
        roots.add(authority.expect("a certificate")).expect("an authority");
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("there are versions")
            .with_root_certificates(roots)
            .with_no_client_auth();
        let name = ServerName::try_from("localhost").expect("a name");
        ClientConnection::new(Arc::new(config), name).expect("a good configuration")
    }

    /// What the client has to send.
    fn output(client: &mut ClientConnection) -> Vec<u8> {
        let mut bytes = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut bytes).expect("memory takes everything");
        }
        bytes
    }

    fn input(client: &mut ClientConnection, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            client.read_tls(&mut bytes).expect("memory gives everything");
            client.process_new_packets().expect("the server keeps to the rules");
        }
    }

    /// Shakes hands, with the client's bytes cut into pieces of this size.
    fn handshake(piece: usize) -> (Guard, ClientConnection) {
        let (mut guard, mut client) = (guard(), client());
        let (mut plain, mut replies) = (Vec::new(), Sealed::default());
        while guard.is_handshaking() || client.is_handshaking() {
            for bytes in output(&mut client).chunks(piece) {
                guard.keep(bytes).expect("a handshake is short");
                if guard.may_step() {
                    guard.step(&mut plain, &mut replies).expect("a good handshake");
                }
            }
            input(&mut client, replies.unsent());
            replies.advance(replies.unsent().len());
        }
        assert!(plain.is_empty());
        (guard, client)
    }

    #[test]
    fn records_that_are_cut_anywhere_open_to_the_same_bytes() {
        for piece in [1, 2, 3, 5, 7, 100, 1000, 16_400, 100_000] {
            let (mut guard, mut client) = handshake(piece);
            let (mut plain, mut replies) = (Vec::new(), Sealed::default());
            let mut sent = Vec::new();
            for size in [1_usize, 10, 16_384, 40_000, 3] {
                use std::io::Write as _;
                let bytes: Vec<u8> = (0..size).map(|at| at as u8).collect();
                client.writer().write_all(&bytes).expect("memory takes everything");
                sent.extend_from_slice(&bytes);
            }
            for bytes in output(&mut client).chunks_mut(piece) {
                let opened = guard.open(bytes, &mut plain, &mut replies);
                assert_eq!(opened.expect("good records"), Opened::On);
            }
            assert!(plain == sent, "pieces of {piece}");
            client.send_close_notify();
            let mut bytes = output(&mut client);
            let opened = guard.open(&mut bytes, &mut plain, &mut replies);
            assert_eq!(opened.expect("a good end"), Opened::Ended);
        }
    }

    #[test]
    fn what_is_sealed_reaches_the_client() {
        let (mut guard, mut client) = handshake(1000);
        let bytes: Vec<u8> = (0..100_000_usize).map(|at| (at * 7) as u8).collect();
        let mut out = Sealed::default();
        guard.seal(&bytes, &mut out).expect("a good connection");
        let mut read = Vec::new();
        for mut piece in out.unsent().chunks(9000) {
            use std::io::Read as _;
            while !piece.is_empty() {
                client.read_tls(&mut piece).expect("memory gives everything");
                client.process_new_packets().expect("good records");
                let mut some = [0; 4096];
                while let Ok(count) = client.reader().read(&mut some) {
                    read.extend_from_slice(&some[..count]);
                }
            }
        }
        assert!(read == bytes);
    }

    #[test]
    fn a_forged_record_ends_it_and_is_answered_once() {
        let (mut guard, mut client) = handshake(1000);
        let (mut plain, mut replies) = (Vec::new(), Sealed::default());
        let mut forged = vec![0x17, 3, 3, 0, 32];
        forged.extend([7; 32]);
        let breach = guard.open(&mut forged, &mut plain, &mut replies).expect_err("a forgery");
        assert_eq!(breach.text, "local error: tls: bad record MAC");
        let mut alert = replies.unsent();
        client.read_tls(&mut alert).expect("memory gives everything");
        assert!(client.process_new_packets().is_err(), "the client is told");
        replies.advance(replies.unsent().len());
        guard.farewell(&mut replies);
        assert!(replies.is_empty());
        assert!(guard.seal(b"more", &mut replies).is_err());
    }

    #[test]
    fn strangers_and_old_clients_are_told_apart() {
        let mut old = vec![0x16, 3, 1, 0, 45, 1, 0, 0, 41, 3, 2];
        old.extend([0; 32]);
        old.extend([0, 0, 2, 0, 47, 1, 0]);
        let versions = "tls: client offered only unsupported versions: [302 301]";
        let first = "tls: first record does not look like a TLS handshake";
        for (bytes, text, by_stranger) in [
            (&b"CONNECT {}\r\nPING\r\n"[..], first, true),
            (b"GET / HTTP/1.1\r\n", first, true),
            (&old, versions, false),
        ] {
            let mut guard = guard();
            guard.keep(bytes).expect("it is short");
            assert!(guard.may_step(), "{text}");
            let (mut plain, mut replies) = (Vec::new(), Sealed::default());
            let breach = guard.step(&mut plain, &mut replies).expect_err("no handshake");
            assert_eq!((breach.text.as_str(), breach.by_stranger), (text, by_stranger));
            assert!(plain.is_empty() && !replies.is_empty(), "an alert is due");
        }
        let mut guard = guard();
        let endless = vec![0x16; HANDSHAKE_BYTES_MAX + 1];
        assert!(guard.keep(&endless).is_err());
    }
}
