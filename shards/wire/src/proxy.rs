//! The header by which a proxy says who it speaks for: the PROXY protocol, versions 1 and 2
//! (spec 3.6).

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The start of version 1, which is text.
const TEXT_START: &[u8] = b"PROXY ";
/// The start of version 2, which is binary.
const BINARY_START: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
/// Bytes by which the two, and everything else, are told apart.
const TELLING_BYTES: usize = 6;
/// Longest line of version 1 with its end.
const LINE_BYTES_MAX: usize = 107;
/// Bytes of version 2 ahead of the addresses.
const FIXED_BYTES: usize = 16;

/// What the start of a connection says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Header {
    /// There is more to come.
    Incomplete,
    /// It is no such header: what is there belongs to what follows.
    Absent,
    /// The proxy speaks for itself, in so many bytes.
    Own(usize),
    /// The proxy speaks for this address and port, in so many bytes.
    For(IpAddr, u16, usize),
    /// It is a wrong one; the text is the log's.
    Wrong(String),
}

/// Reads the header at the start of `input`.
pub fn read(input: &[u8]) -> Header {
    if input.len() < TELLING_BYTES {
        return Header::Incomplete;
    }
    if input.starts_with(TEXT_START) {
        return read_text(&input[TEXT_START.len()..]);
    }
    if input.starts_with(&BINARY_START[..TELLING_BYTES]) {
        return read_binary(input);
    }
    Header::Absent
}

/// What is awaited of a header that is not complete, as the log calls it.
pub fn awaited(input: &[u8]) -> &'static str {
    match input.len() {
        0..TELLING_BYTES => "protocol version",
        _ if input.starts_with(TEXT_START) => "v1 line",
        length if length < BINARY_START.len() => "v2 signature",
        length if length < FIXED_BYTES => "v2 header",
        _ => "v2 address data",
    }
}

fn wrong(detail: &str) -> Header {
    Header::Wrong(format!("invalid PROXY protocol header: {detail}"))
}

fn read_text(rest: &[u8]) -> Header {
    let longest = LINE_BYTES_MAX - TEXT_START.len();
    let seen = &rest[..rest.len().min(longest)];
    let Some(end) = seen.windows(2).position(|pair| pair == b"\r\n") else {
        return if seen.len() == longest { wrong("v1 line too long") } else { Header::Incomplete };
    };
    let bytes = TEXT_START.len() + end + 2;
    let Ok(line) = std::str::from_utf8(&seen[..end]) else { return wrong("invalid v1 format") };
    let parts: Vec<&str> = line.split_whitespace().collect();
    let (kind, source, target, source_port, target_port) = match parts[..] {
        ["UNKNOWN", ..] => return Header::Own(bytes),
        [kind, source, target, source_port, target_port] => {
            (kind, source, target, source_port, target_port)
        }
        _ => return wrong("invalid v1 format"),
    };
    let (Ok(address), Ok(_)) = (source.parse::<IpAddr>(), target.parse::<IpAddr>()) else {
        return wrong("invalid address");
    };
    let port = match parse_port(source_port) {
        Ok(port) => port,
        Err(problem) => return Header::Wrong(format!("invalid source port: {problem}")),
    };
    if let Err(problem) = parse_port(target_port) {
        return Header::Wrong(format!("invalid dest port: {problem}"));
    }
    let (source_is_v6, target_is_v6) = (source.contains(':'), target.contains(':'));
    match kind {
        "TCP4" if source_is_v6 || target_is_v6 => wrong("TCP4 with IPv6 address"),
        "TCP6" if !source_is_v6 || !target_is_v6 => wrong("TCP6 with IPv4 address"),
        "TCP4" | "TCP6" => Header::For(address.to_canonical(), port, bytes),
        other => wrong(&format!("invalid protocol {other}")),
    }
}

/// A port in decimal digits. The error is in the words of the reference's library.
fn parse_port(text: &str) -> Result<u16, String> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| digits).ok_or_else(|| {
        let problem = if digits { "value out of range" } else { "invalid syntax" };
        format!("strconv.ParseUint: parsing {text:?}: {problem}")
    })
}

fn read_binary(input: &[u8]) -> Header {
    if input.len() < BINARY_START.len() {
        return Header::Incomplete;
    }
    if !input.starts_with(BINARY_START) {
        return wrong("invalid signature");
    }
    let [version_command, family_protocol, high, low] = match input.get(BINARY_START.len()..) {
        Some([a, b, c, d, ..]) => [*a, *b, *c, *d],
        _ => return Header::Incomplete,
    };
    let (version, command) = (version_command & 0xf0, version_command & 0x0f);
    let (family, protocol) = (family_protocol & 0xf0, family_protocol & 0x0f);
    let length = usize::from(u16::from_be_bytes([high, low]));
    if version != 0x20 {
        return wrong(&format!("invalid version 0x{version:02x}"));
    }
    if command > 1 {
        return Header::Wrong(format!("unknown PROXY protocol command: 0x{command:02x}"));
    }
    let unsupported = "unsupported PROXY protocol feature:";
    let (least, name) = match (command, protocol, family) {
        (0, ..) | (_, 1, 0) => (0, ""),
        (_, 1, 0x10) => (12, "IPv4"),
        (_, 1, 0x20) => (36, "IPv6"),
        (_, 1, _) => {
            let text = format!("{unsupported} unsupported address family 0x{family:02x}");
            return Header::Wrong(text);
        }
        _ => return Header::Wrong(format!("{unsupported} only STREAM protocol supported")),
    };
    if length < least {
        return Header::Wrong(format!("{name} address data too short: {length} bytes"));
    }
    let bytes = FIXED_BYTES + length;
    let Some(data) = input.get(FIXED_BYTES..bytes) else { return Header::Incomplete };
    let port = |at: usize| u16::from_be_bytes([data[at], data[at + 1]]);
    match least {
        0 => Header::Own(bytes),
        12 => {
            let address: [u8; 4] = data[..4].try_into().expect("four bytes are four");
            Header::For(Ipv4Addr::from(address).into(), port(8), bytes)
        }
        _ => {
            let address: [u8; 16] = data[..16].try_into().expect("sixteen bytes are sixteen");
            Header::For(IpAddr::from(Ipv6Addr::from(address)).to_canonical(), port(32), bytes)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn binary(command: u8, family: u8, data: &[u8]) -> Vec<u8> {
        let mut header = BINARY_START.to_vec();
        header.extend([command, family]);
        header.extend((data.len() as u16).to_be_bytes());
        header.extend(data);
        header
    }

    /// Reads as expected, and so does every cut of a good one.
    fn check(input: &[u8], expected: &Header) {
        assert_eq!(read(input), *expected, "{:?}", String::from_utf8_lossy(input));
        let (Header::Own(whole) | Header::For(_, _, whole)) = *expected else { return };
        assert_eq!(whole, input.len());
        for cut in 0..whole {
            assert_eq!(read(&input[..cut]), Header::Incomplete);
        }
        let more = [input, b"PING\r\n"].concat();
        assert_eq!(read(&more), *expected);
    }

    const FOUR: [u8; 12] = [1, 2, 3, 4, 9, 9, 9, 9, 0x10, 0, 0, 80];

    #[test]
    fn good_headers_of_both_versions() {
        let mut six = [0; 36];
        six[15] = 1;
        six[32..34].copy_from_slice(&[1, 2]);
        let with_more = [&FOUR[..], b"vendor data"].concat();
        let on_behalf =
            |text: &str, port, bytes| Header::For(text.parse().expect("an address"), port, bytes);
        let text = b"PROXY TCP4 1.2.3.4 5.6.7.8 1000 4222\r\n";
        check(text, &on_behalf("1.2.3.4", 1000, 38));
        check(b"PROXY TCP6 ::1 ::2 1 2\r\n", &on_behalf("::1", 1, 24));
        check(b"PROXY TCP6 ::ffff:1.2.3.4 ::2 1 2\r\n", &on_behalf("1.2.3.4", 1, 35));
        check(b"PROXY UNKNOWN\r\n", &Header::Own(15));
        check(b"PROXY UNKNOWN whatever else\r\n", &Header::Own(29));
        check(&binary(0x21, 0x11, &FOUR), &on_behalf("1.2.3.4", 4096, 28));
        check(&binary(0x21, 0x11, &with_more), &on_behalf("1.2.3.4", 4096, 39));
        check(&binary(0x21, 0x21, &six), &on_behalf("::1", 258, 52));
        check(&binary(0x20, 0, b"xyz"), &Header::Own(19));
        check(&binary(0x21, 0x01, b""), &Header::Own(16));
        check(b"CONNECT {}\r\n", &Header::Absent);
    }

    #[test]
    fn wrong_headers_in_the_words_of_the_reference() {
        let number = "strconv.ParseUint: parsing";
        let invalid = "invalid PROXY protocol header:";
        let unsupported = "unsupported PROXY protocol feature:";
        let text = |rest: &str| format!("PROXY {rest}\r\n").into_bytes();
        let rows = [
            (
                text("TCP4 1.2.3.4 5.6.7.8 99999 1"),
                format!("invalid source port: {number} \"99999\": value out of range"),
            ),
            (
                text("TCP4 1.2.3.4 5.6.7.8 1 +1"),
                format!("invalid dest port: {number} \"+1\": invalid syntax"),
            ),
            (text("TCP4 ::1 5.6.7.8 1 1"), format!("{invalid} TCP4 with IPv6 address")),
            (text("TCP6 ::1 5.6.7.8 1 1"), format!("{invalid} TCP6 with IPv4 address")),
            (text("UDP4 1.1.1.1 5.6.7.8 1 1"), format!("{invalid} invalid protocol UDP4")),
            (text("TCP4 x y 1 1"), format!("{invalid} invalid address")),
            (text("TCP4"), format!("{invalid} invalid v1 format")),
            (text(""), format!("{invalid} invalid v1 format")),
            (text(&"x".repeat(101)), format!("{invalid} v1 line too long")),
            (b"\r\n\r\n\0\r\nQUIX\n".to_vec(), format!("{invalid} invalid signature")),
            (binary(0x31, 0x11, &FOUR), format!("{invalid} invalid version 0x30")),
            (binary(0x22, 0x11, &FOUR), "unknown PROXY protocol command: 0x02".to_owned()),
            (binary(0x21, 0x12, &FOUR), format!("{unsupported} only STREAM protocol supported")),
            (binary(0x21, 0x31, &FOUR), format!("{unsupported} unsupported address family 0x30")),
            (binary(0x21, 0x11, &FOUR[..11]), "IPv4 address data too short: 11 bytes".to_owned()),
        ];
        for (input, problem) in rows {
            check(&input, &Header::Wrong(problem));
        }
    }

    #[test]
    fn the_log_knows_what_was_awaited() {
        let whole = binary(0x21, 0x11, &[0; 12]);
        for (bytes, name) in [
            (0, "protocol version"),
            (5, "protocol version"),
            (6, "v2 signature"),
            (12, "v2 header"),
            (16, "v2 address data"),
        ] {
            assert_eq!(awaited(&whole[..bytes]), name);
        }
        assert_eq!(awaited(b"PROXY T"), "v1 line");
    }
}
