//! Certificates and OCSP in DER, as far as a staple needs them (RFC 5280, RFC 6960).

use ::aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY as SHA1, digest};
use rustls::crypto::aws_lc_rs;

const SEQUENCE: u8 = 0x30;
const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
const OCTET_STRING: u8 = 0x04;
const OBJECT_IDENTIFIER: u8 = 0x06;
const ENUMERATED: u8 = 0x0a;
const TIME: u8 = 0x18;
/// `[0]`, explicit.
const FIRST: u8 = 0xa0;
/// `[3]`, explicit.
const FOURTH: u8 = 0xa3;
/// `[6]`, an URI among names.
const URI: u8 = 0x86;

/// 1.3.6.1.5.5.7.1.24, what a certificate demands of TLS.
const TLS_FEATURES: &[u8] = &[0x2b, 6, 1, 5, 5, 7, 1, 0x18];
/// The number of stapling among those.
const STATUS_REQUEST: u8 = 5;
/// 1.3.6.1.5.5.7.1.1, where to ask about a certificate.
const AUTHORITY_ACCESS: &[u8] = &[0x2b, 6, 1, 5, 5, 7, 1, 1];
/// 1.3.6.1.5.5.7.48.1, by OCSP.
const BY_OCSP: &[u8] = &[0x2b, 6, 1, 5, 5, 7, 0x30, 1];
/// 1.3.6.1.5.5.7.48.1.1, the one kind of response.
const BASIC_RESPONSE: &[u8] = &[0x2b, 6, 1, 5, 5, 7, 0x30, 1, 1];
/// 2.5.29.19, whether a certificate is an authority's.
const BASIC_CONSTRAINTS: &[u8] = &[0x55, 0x1d, 0x13];
/// SHA-1 as an algorithm, which names an issuer in a request; nothing depends on it.
const SHA1_ALGORITHM: &[u8] = &[0x30, 9, 6, 5, 0x2b, 0x0e, 3, 2, 0x1a, 5, 0];

/// Takes a value off the front: its tag, what is in it, and the whole of it.
fn take<'a>(rest: &mut &'a [u8]) -> Option<(u8, &'a [u8], &'a [u8])> {
    let all = *rest;
    let (&tag, after) = all.split_first()?;
    let (&first, mut after) = after.split_first()?;
    let mut length = usize::from(first);
    if first & 0x80 != 0 {
        let (digits, remaining) = after.split_at_checked(usize::from(first & 0x7f))?;
        if digits.is_empty() || digits.len() > 4 {
            return None;
        }
        length = digits.iter().fold(0, |sum, digit| sum << 8 | usize::from(*digit));
        after = remaining;
    }
    let (content, remaining) = after.split_at_checked(length)?;
    *rest = remaining;
    Some((tag, content, &all[..all.len() - remaining.len()]))
}

/// The same for a value that must have a tag; what is in it.
fn expect<'a>(rest: &mut &'a [u8], tag: u8) -> Option<&'a [u8]> {
    take(rest).filter(|(found, ..)| *found == tag).map(|(_, content, _)| content)
}

/// The same for a value that may be missing.
fn optional<'a>(rest: &mut &'a [u8], tag: u8) -> Option<&'a [u8]> {
    if rest.first() == Some(&tag) { expect(rest, tag) } else { None }
}

/// The bits of a bit string that is whole bytes.
fn bits<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    expect(rest, BIT_STRING)?.strip_prefix(&[0])
}

fn put(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let length: usize = parts.iter().map(|part| part.len()).sum();
    let mut out = vec![tag];
    match length {
        0..0x80 => out.push(length as u8),
        0x80..0x100 => out.extend([0x81, length as u8]),
        _ => {
            assert!(length < 0x1_0000, "a request is short");
            out.extend([0x82, (length >> 8) as u8, length as u8]);
        }
    }
    out.extend(parts.concat());
    out
}

/// Something signed: what, how, and the signature.
struct Signed<'a> {
    text: &'a [u8],
    algorithm: &'a [u8],
    signature: &'a [u8],
}

impl<'a> Signed<'a> {
    fn take(rest: &mut &'a [u8]) -> Option<Self> {
        let (_, _, text) = take(rest)?;
        Some(Self { text, algorithm: expect(rest, SEQUENCE)?, signature: bits(rest)? })
    }

    /// Has the key of a certificate signed it?
    fn is_by(&self, signer: &Certificate<'_>) -> bool {
        let known = aws_lc_rs::default_provider().signature_verification_algorithms.all;
        known.iter().any(|algorithm| {
            algorithm.signature_alg_id().as_ref() == self.algorithm
                && algorithm.public_key_alg_id().as_ref() == signer.key_algorithm
                && algorithm.verify_signature(signer.key, self.text, self.signature).is_ok()
        })
    }
}

/// A certificate.
pub(super) struct Certificate<'a> {
    signed: Signed<'a>,
    serial: &'a [u8],
    subject: &'a [u8],
    key_algorithm: &'a [u8],
    key: &'a [u8],
    extensions: &'a [u8],
}

impl<'a> Certificate<'a> {
    /// Reads one. `None` if it is none.
    pub(super) fn read(mut der: &'a [u8]) -> Option<Self> {
        let mut outer = expect(&mut der, SEQUENCE)?;
        let signed = Signed::take(&mut outer)?;
        let mut text = signed.text;
        let mut body = expect(&mut text, SEQUENCE)?;
        let _version = optional(&mut body, FIRST);
        let (tag, _, serial) = take(&mut body)?;
        if tag != INTEGER {
            return None;
        }
        for _algorithm_issuer_validity in 0..3 {
            expect(&mut body, SEQUENCE)?;
        }
        let (_, _, subject) = take(&mut body)?;
        let mut public_key = expect(&mut body, SEQUENCE)?;
        let key_algorithm = expect(&mut public_key, SEQUENCE)?;
        let key = bits(&mut public_key)?;
        let mut extensions: &[u8] = &[];
        while let Some((tag, mut content, _)) = take(&mut body) {
            if tag == FOURTH {
                extensions = expect(&mut content, SEQUENCE)?;
            }
        }
        Some(Self { signed, serial, subject, key_algorithm, key, extensions })
    }

    fn extension(&self, wanted: &[u8]) -> Option<&'a [u8]> {
        let mut all = self.extensions;
        while let Some(mut extension) = expect(&mut all, SEQUENCE) {
            let name = expect(&mut extension, OBJECT_IDENTIFIER)?;
            while let Some((tag, content, _)) = take(&mut extension) {
                if tag == OCTET_STRING && name == wanted {
                    return Some(content);
                }
            }
        }
        None
    }

    /// Does it demand a staple?
    pub(super) fn demands_staple(&self) -> bool {
        let Some(mut content) = self.extension(TLS_FEATURES) else { return false };
        let mut features = expect(&mut content, SEQUENCE).unwrap_or_default();
        std::iter::from_fn(|| expect(&mut features, INTEGER)).any(|one| one == [STATUS_REQUEST])
    }

    /// Where to ask about it.
    pub(super) fn responders(&self) -> Vec<String> {
        let Some(mut content) = self.extension(AUTHORITY_ACCESS) else { return Vec::new() };
        let mut all = expect(&mut content, SEQUENCE).unwrap_or_default();
        let mut found = Vec::new();
        while let Some(mut one) = expect(&mut all, SEQUENCE) {
            let by = expect(&mut one, OBJECT_IDENTIFIER);
            if let (Some(BY_OCSP), Some(url)) = (by, expect(&mut one, URI)) {
                found.push(String::from_utf8_lossy(url).into_owned());
            }
        }
        found
    }

    pub(super) fn is_authority(&self) -> bool {
        let Some(mut content) = self.extension(BASIC_CONSTRAINTS) else { return false };
        expect(&mut content, SEQUENCE).is_some_and(|content| content.starts_with(&[1, 1, 0xff]))
    }

    /// Has the other signed this one?
    pub(super) fn is_issued_by(&self, other: &Certificate<'_>) -> bool {
        self.signed.is_by(other)
    }
}

/// Asks how a certificate of an issuer is.
pub(super) fn request(leaf: &Certificate<'_>, issuer: &Certificate<'_>) -> Vec<u8> {
    let hash = |bytes: &[u8]| put(OCTET_STRING, &[digest(&SHA1, bytes).as_ref()]);
    let (name, key) = (hash(issuer.subject), hash(issuer.key));
    let id = put(SEQUENCE, &[SHA1_ALGORITHM, &name, &key, leaf.serial]);
    [(); 4].iter().fold(id, |inner, ()| put(SEQUENCE, &[&inner]))
}

/// How a certificate is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Status {
    Good,
    Revoked,
    Unknown,
}

impl Status {
    pub(super) const fn text(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Revoked => "revoked",
            Self::Unknown => "unknown",
        }
    }
}

/// What a responder says of a certificate, and for which time; seconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Verdict {
    pub(super) status: Status,
    pub(super) from_s: i64,
    pub(super) until_s: Option<i64>,
}

/// Reads a response about a certificate of an issuer, who must have signed it, or somebody whose
/// certificate the issuer has signed and that comes along. The error is the reason.
pub(super) fn read_response(
    response: &[u8],
    leaf: &Certificate<'_>,
    issuer: &Certificate<'_>,
) -> Result<Verdict, String> {
    let basic = basic_response(response)?;
    read_basic(basic, leaf, issuer).ok_or_else(|| "ocsp: bad response".to_owned())?
}

fn basic_response(mut response: &[u8]) -> Result<&[u8], String> {
    let malformed = || "ocsp: malformed response".to_owned();
    let mut outer = expect(&mut response, SEQUENCE).ok_or_else(malformed)?;
    match expect(&mut outer, ENUMERATED).ok_or_else(malformed)? {
        [0] => {}
        [1] => return Err("ocsp: error from server: malformed".to_owned()),
        [2] => return Err("ocsp: error from server: internal error".to_owned()),
        [3] => return Err("ocsp: error from server: try later".to_owned()),
        [5] => return Err("ocsp: error from server: signature required".to_owned()),
        [6] => return Err("ocsp: error from server: unauthorized".to_owned()),
        _ => return Err("ocsp: error from server: unknown OCSP status".to_owned()),
    }
    let mut bytes = expect(&mut outer, FIRST).ok_or_else(malformed)?;
    let mut bytes = expect(&mut bytes, SEQUENCE).ok_or_else(malformed)?;
    if expect(&mut bytes, OBJECT_IDENTIFIER) != Some(BASIC_RESPONSE) {
        return Err("ocsp: bad OCSP response type".to_owned());
    }
    expect(&mut bytes, OCTET_STRING).ok_or_else(malformed)
}

fn read_basic(
    mut basic: &[u8],
    leaf: &Certificate<'_>,
    issuer: &Certificate<'_>,
) -> Option<Result<Verdict, String>> {
    let mut outer = expect(&mut basic, SEQUENCE)?;
    let signed = Signed::take(&mut outer)?;
    let delegate = optional(&mut outer, FIRST).and_then(|mut all| {
        let mut all = expect(&mut all, SEQUENCE)?;
        take(&mut all).and_then(|(_, _, whole)| Certificate::read(whole))
    });
    let right = match &delegate {
        Some(delegate) => signed.is_by(delegate) && delegate.is_issued_by(issuer),
        None => signed.is_by(issuer),
    };
    if !right {
        return Some(Err("bad OCSP signature".to_owned()));
    }
    let mut text = signed.text;
    let mut body = expect(&mut text, SEQUENCE)?;
    let _version = optional(&mut body, FIRST);
    let _responder = take(&mut body)?;
    let _produced = expect(&mut body, TIME)?;
    let mut all = expect(&mut body, SEQUENCE)?;
    while let Some(one) = expect(&mut all, SEQUENCE) {
        if let Some(verdict) = read_single(one, leaf) {
            return Some(Ok(verdict));
        }
    }
    Some(Err("no response matching the supplied certificate".to_owned()))
}

/// What is said of one certificate, if it is this one.
fn read_single(mut single: &[u8], leaf: &Certificate<'_>) -> Option<Verdict> {
    let mut id = expect(&mut single, SEQUENCE)?;
    let _algorithm = expect(&mut id, SEQUENCE)?;
    let _issuer = (expect(&mut id, OCTET_STRING)?, expect(&mut id, OCTET_STRING)?);
    if id != leaf.serial {
        return None;
    }
    let status = match take(&mut single)?.0 & 0x1f {
        0 => Status::Good,
        1 => Status::Revoked,
        _ => Status::Unknown,
    };
    let from_s = seconds(expect(&mut single, TIME)?)?;
    let until_s = optional(&mut single, FIRST).and_then(|mut next| expect(&mut next, TIME));
    Some(Verdict { status, from_s, until_s: until_s.and_then(seconds) })
}

/// `20260102030405Z` as seconds since 1970.
fn seconds(text: &[u8]) -> Option<i64> {
    let text = str::from_utf8(text).ok()?.strip_suffix('Z')?;
    if text.len() != "20260102030405".len() {
        return None;
    }
    let time = jiff::civil::DateTime::strptime("%Y%m%d%H%M%S", text).ok()?;
    Some(time.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp().as_second())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times() {
        assert_eq!(seconds(b"19700101000001Z"), Some(1));
        assert_eq!(seconds(b"20260102030405Z"), Some(1_767_323_045));
        for wrong in [&b""[..], b"Z", b"20260102030405", b"2026010203040Z", b"20261302030405Z"] {
            assert_eq!(seconds(wrong), None);
        }
    }

    #[test]
    fn values_are_taken_whole_or_not_at_all() {
        let mut rest: &[u8] = &[0x30, 2, 5, 0, 2, 0x81, 1, 7];
        assert_eq!(take(&mut rest), Some((0x30, &[5, 0][..], &[0x30, 2, 5, 0][..])));
        assert_eq!(take(&mut rest), Some((2, &[7][..], &[2, 0x81, 1, 7][..])));
        assert_eq!(take(&mut rest), None);
        for broken in [&[0x30][..], &[0x30, 1], &[0x30, 0x80], &[0x30, 0x85, 0, 0, 0, 0, 0]] {
            let mut rest = broken;
            assert_eq!(take(&mut rest), None);
        }
    }

    #[test]
    fn long_values_are_written_with_their_length() {
        for length in [0, 1, 127, 128, 255, 256, 5000] {
            let content = vec![9; length];
            let written = put(OCTET_STRING, &[&content]);
            let mut rest = &written[..];
            assert_eq!(expect(&mut rest, OCTET_STRING), Some(&content[..]));
            assert!(rest.is_empty());
        }
    }
}
