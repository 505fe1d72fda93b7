//! Who a certificate names: subject, alternative names and public key, read from its DER.
//!
//! The signature is checked by the TLS library before anything here is believed; what cannot be
//! read is left out, since a certificate may carry names of kinds that nobody asks for.

use std::fmt::Write as _;

/// Who a peer's certificate names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PeerCertificate {
    /// DNS names, in the order of the certificate.
    pub dns_names: Vec<String>,
    /// E-mail addresses, in the order of the certificate.
    pub emails: Vec<String>,
    /// URIs, in the order of the certificate.
    pub uris: Vec<String>,
    /// The subject as RFC 2253 text, last part first.
    pub subject: String,
}

const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const OBJECT_IDENTIFIER: u8 = 0x06;
const OCTET_STRING: u8 = 0x04;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const BMP_STRING: u8 = 0x1e;
/// `[0]`, where the version stands.
const VERSION: u8 = 0xa0;
/// `[3]`, where the extensions stand.
const EXTENSIONS: u8 = 0xa3;
/// 2.5.29.17, subjectAltName.
const ALTERNATIVE_NAMES: &[u8] = &[0x55, 0x1d, 0x11];

/// Attribute types with a short name of their own; all below 2.5.4.
const NAMES: [(u8, &str); 9] = [
    (3, "CN"),
    (5, "SERIALNUMBER"),
    (6, "C"),
    (7, "L"),
    (8, "ST"),
    (9, "STREET"),
    (10, "O"),
    (11, "OU"),
    (17, "POSTALCODE"),
];
/// 0.9.2342.19200300.100.1.25, a part of a domain's name.
const DOMAIN_COMPONENT: &[u8] = &[0x09, 0x92, 0x26, 0x89, 0x93, 0xf2, 0x2c, 0x64, 0x01, 0x19];

impl PeerCertificate {
    /// Reads an X.509 certificate. `None` if it is none.
    pub fn read(der: &[u8]) -> Option<Self> {
        let fields = Fields::of(der)?;
        let mut certificate = Self { subject: subject_text(fields.subject), ..Self::default() };
        if let Some(names) = fields.alternative_names {
            certificate.take_names(names);
        }
        Some(certificate)
    }

    fn take_names(&mut self, mut names: &[u8]) {
        while let Some((tag, value, _)) = take(&mut names) {
            let list = match tag {
                0x81 => &mut self.emails,
                0x82 => &mut self.dns_names,
                0x86 => &mut self.uris,
                _ => continue,
            };
            list.push(String::from_utf8_lossy(value).into_owned());
        }
    }
}

/// The subject's public key with its algorithm, as it stands in a certificate: what a pin is the
/// hash of.
pub fn public_key(der: &[u8]) -> Option<&[u8]> {
    Fields::of(der).map(|fields| fields.public_key)
}

/// Subject of a certificate as RFC 2253 text.
pub fn subject(der: &[u8]) -> Option<String> {
    Fields::of(der).map(|fields| subject_text(fields.subject))
}

/// When a certificate ends, as RFC 3339 text in UTC.
pub fn not_after(der: &[u8]) -> Option<String> {
    let mut validity = Fields::of(der)?.validity;
    take(&mut validity)?;
    let (tag, text, _) = take(&mut validity)?;
    let text = std::str::from_utf8(text).ok()?.strip_suffix('Z')?;
    // Two digits of a year stand for 1950 to 2049.
    let (century, rest) = match tag {
        UTC_TIME if text.starts_with(['5', '6', '7', '8', '9']) => ("19", text),
        UTC_TIME => ("20", text),
        GENERALIZED_TIME => ("", text),
        _ => return None,
    };
    let digits = format!("{century}{rest}");
    if digits.len() != 14 || !digits.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    let part = |from: usize| &digits[from..from + 2];
    let (month, day, hour, minute, second) = (part(4), part(6), part(8), part(10), part(12));
    Some(format!("{}-{month}-{day}T{hour}:{minute}:{second}Z", &digits[..4]))
}

/// The parts of a certificate that are of use here.
struct Fields<'a> {
    validity: &'a [u8],
    subject: &'a [u8],
    public_key: &'a [u8],
    alternative_names: Option<&'a [u8]>,
}

impl<'a> Fields<'a> {
    fn of(mut der: &'a [u8]) -> Option<Self> {
        let mut certificate = expect(&mut der, SEQUENCE)?;
        let mut body = expect(&mut certificate, SEQUENCE)?;
        if body.first() == Some(&VERSION) {
            take(&mut body)?;
        }
        // Serial number, algorithm, issuer.
        for _ in 0..3 {
            take(&mut body)?;
        }
        let validity = expect(&mut body, SEQUENCE)?;
        let subject = expect(&mut body, SEQUENCE)?;
        let (tag, _, public_key) = take(&mut body)?;
        if tag != SEQUENCE {
            return None;
        }
        let mut alternative_names = None;
        while let Some((tag, value, _)) = take(&mut body) {
            if tag == EXTENSIONS {
                alternative_names = find_alternative_names(value);
            }
        }
        Some(Self { validity, subject, public_key, alternative_names })
    }
}

fn find_alternative_names(mut wrapped: &[u8]) -> Option<&[u8]> {
    let mut extensions = expect(&mut wrapped, SEQUENCE)?;
    while let Some((SEQUENCE, mut extension, _)) = take(&mut extensions) {
        if expect(&mut extension, OBJECT_IDENTIFIER)? != ALTERNATIVE_NAMES {
            continue;
        }
        while let Some((tag, mut value, _)) = take(&mut extension) {
            if tag == OCTET_STRING {
                return expect(&mut value, SEQUENCE);
            }
        }
    }
    None
}

/// The relative names of a subject, the last one first, as Go's library writes them.
fn subject_text(mut subject: &[u8]) -> String {
    let mut parts = Vec::new();
    while let Some((SET, mut set, _)) = take(&mut subject) {
        let mut part = String::new();
        while let Some((SEQUENCE, mut attribute, _)) = take(&mut set) {
            let Some(kind) = expect(&mut attribute, OBJECT_IDENTIFIER) else { break };
            let Some((tag, value, whole)) = take(&mut attribute) else { break };
            if !part.is_empty() {
                part.push('+');
            }
            put_attribute(&mut part, kind, tag, value, whole);
        }
        parts.push(part);
    }
    parts.reverse();
    parts.join(",")
}

fn put_attribute(out: &mut String, kind: &[u8], tag: u8, value: &[u8], whole: &[u8]) {
    let short = match kind {
        [0x55, 0x04, last] => NAMES.iter().find(|(number, _)| number == last).map(|(_, name)| name),
        DOMAIN_COMPONENT => Some(&"DC"),
        _ => None,
    };
    let Some(short) = short else {
        put_dotted(out, kind);
        out.push_str("=#");
        for byte in whole {
            write!(out, "{byte:02x}").expect("a string takes text");
        }
        return;
    };
    out.push_str(short);
    out.push('=');
    let text = if tag == BMP_STRING {
        let units = value.chunks_exact(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]]));
        char::decode_utf16(units).map(|unit| unit.unwrap_or('\u{fffd}')).collect()
    } else {
        String::from_utf8_lossy(value).into_owned()
    };
    let last = text.chars().count().saturating_sub(1);
    for (at, character) in text.chars().enumerate() {
        let escape = match character {
            ',' | '+' | '"' | '\\' | '<' | '>' | ';' => true,
            '#' => at == 0,
            ' ' => at == 0 || at == last,
            _ => false,
        };
        if escape {
            out.push('\\');
        }
        out.push(character);
    }
}

/// An object identifier in numbers and dots.
fn put_dotted(out: &mut String, encoded: &[u8]) {
    let mut number = 0_u64;
    let mut first = true;
    for byte in encoded {
        number = number.wrapping_shl(7) | u64::from(byte & 0x7f);
        if byte & 0x80 != 0 {
            continue;
        }
        if first {
            let top = (number / 40).min(2);
            write!(out, "{top}.{}", number - top * 40).expect("a string takes text");
            first = false;
        } else {
            write!(out, ".{number}").expect("a string takes text");
        }
        number = 0;
    }
}

/// The value at the front of `rest`, which must have this tag.
fn expect<'a>(rest: &mut &'a [u8], wanted: u8) -> Option<&'a [u8]> {
    let (tag, value, _) = take(rest)?;
    (tag == wanted).then_some(value)
}

/// Tag, value, and both together with the length, of what stands at the front of `rest`.
fn take<'a>(rest: &mut &'a [u8]) -> Option<(u8, &'a [u8], &'a [u8])> {
    let whole = *rest;
    let (&tag, after) = whole.split_first()?;
    let (&short, mut after) = after.split_first()?;
    let mut length = usize::from(short);
    if short & 0x80 != 0 {
        let bytes = usize::from(short & 0x7f);
        if bytes == 0 || bytes > 4 {
            return None;
        }
        let digits = after.get(..bytes)?;
        length = digits.iter().fold(0, |sum, digit| sum << 8 | usize::from(*digit));
        after = &after[bytes..];
    }
    let value = after.get(..length)?;
    *rest = &after[length..];
    Some((tag, value, &whole[..whole.len() - rest.len()]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn der(pem: &str) -> Vec<u8> {
        const DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        let mut out = Vec::new();
        let (mut bits, mut count) = (0_u32, 0);
        for line in pem.lines().filter(|line| !line.starts_with('-')) {
            for digit in line.bytes() {
                let Some(value) = DIGITS.iter().position(|known| *known == digit) else { break };
                bits = bits << 6 | value as u32;
                count += 6;
                if count >= 8 {
                    count -= 8;
                    out.push((bits >> count) as u8);
                }
            }
        }
        out
    }

    #[test]
    fn names_of_a_certificate() {
        let der = der(include_str!("../../../tests/certificates/client.pem"));
        let certificate = PeerCertificate::read(&der).expect("a certificate");
        assert_eq!(not_after(&der).as_deref(), Some("2126-10-27T22:27:26Z"));
        assert_eq!(certificate.subject, "CN=client,OU=nats.io,O=Synadia,ST=CA,C=US");
        assert_eq!(certificate.dns_names, ["client.example"]);
        assert_eq!(certificate.emails, ["client@example.org"]);
        assert_eq!(certificate.uris, ["spiffe://example/client"]);
        let key = public_key(&der).expect("a key");
        assert_eq!(key[..2], [SEQUENCE, 0x59], "a key on P-256 has 91 bytes");
        assert_eq!(key.len(), 91);
    }

    #[test]
    fn nothing_that_is_cut_short_is_read_beyond_its_end() {
        let der = der(include_str!("../../../tests/certificates/client.pem"));
        for cut in 0..der.len() {
            assert_eq!(PeerCertificate::read(&der[..cut]), None);
        }
    }

    #[test]
    fn special_characters_are_escaped() {
        let mut text = String::new();
        put_attribute(&mut text, &[0x55, 4, 10], 0x0c, b" a,b+c #\\ ", b"");
        assert_eq!(text, "O=\\ a\\,b\\+c #\\\\\\ ");
        text.clear();
        put_attribute(&mut text, &[0x2a, 0x03, 0x04], 0x0c, b"x", &[0x0c, 1, b'x']);
        assert_eq!(text, "1.2.3.4=#0c0178");
    }
}
