//! The HTTP request by which a connection becomes a WebSocket (RFC 6455, section 4).

/// Bytes of a request. Cookies may carry whole user JWTs.
pub const REQUEST_BYTES_MAX: usize = 64 * 1024;
/// Headers of a request.
const HEADERS_MAX: usize = 256;

/// What stands at the front of the input.
#[derive(Debug, PartialEq, Eq)]
pub enum Parsed<'a> {
    /// There is more to come.
    Incomplete,
    /// A request, and how many bytes it takes.
    Request(Request<'a>, usize),
    /// It is none: the status to answer before closing.
    Wrong(&'static str),
}

/// A request. Names of headers are compared without regard to case.
#[derive(Debug, PartialEq, Eq)]
pub struct Request<'a> {
    /// The method, as written.
    pub method: &'a str,
    /// The path, with what may follow it.
    pub target: &'a str,
    /// Does it speak HTTP/1.0?
    pub is_1_0: bool,
    headers: Vec<(&'a str, &'a str)>,
}

/// Why an upgrade is not granted: the status to answer, and what the log says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal(pub &'static str, pub &'static str);

const BAD_REQUEST: &str = "400 Bad Request";

/// Reads the request at the front of `input`.
pub fn read(input: &[u8]) -> Parsed<'_> {
    let Some(end) = memchr::memmem::find(input, b"\r\n\r\n") else {
        if input.len() > REQUEST_BYTES_MAX {
            return Parsed::Wrong("431 Request Header Fields Too Large");
        }
        // What cannot be a request is not waited for: its first line tells.
        let line = input.iter().position(|byte| *byte == b'\n');
        return match line.map(|end| first_line(&input[..end])) {
            Some(None) => Parsed::Wrong(BAD_REQUEST),
            _ => Parsed::Incomplete,
        };
    };
    if end > REQUEST_BYTES_MAX {
        return Parsed::Wrong("431 Request Header Fields Too Large");
    }
    // With the carriage return of the last line, as all others have one.
    match read_whole(&input[..=end]) {
        Ok(request) => Parsed::Request(request, end + 4),
        Err(status) => Parsed::Wrong(status),
    }
}

fn first_line(line: &[u8]) -> Option<(&str, &str, bool)> {
    let line = std::str::from_utf8(line.strip_suffix(b"\r").unwrap_or(line)).ok()?;
    let (method, rest) = line.split_once(' ')?;
    let (target, version) = rest.rsplit_once(' ')?;
    let is_1_0 = match version {
        "HTTP/1.1" => false,
        "HTTP/1.0" => true,
        _ => return None,
    };
    let is_good = !method.is_empty()
        && method.bytes().all(is_token)
        && !target.is_empty()
        && target.bytes().all(|byte| byte.is_ascii_graphic());
    is_good.then_some((method, target, is_1_0))
}

/// May this byte stand in a method or in the name of a header?
const fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'!' | b'#'
                | b'$'
                | b'%'
                | b'&'
                | b'\''
                | b'*'
                | b'+'
                | b'-'
                | b'.'
                | b'^'
                | b'_'
                | b'`'
                | b'|'
                | b'~'
        )
}

fn read_whole(text: &[u8]) -> Result<Request<'_>, &'static str> {
    let mut lines = text.split(|byte| *byte == b'\n');
    let first = lines.next().and_then(first_line);
    let (method, target, is_1_0) = first.ok_or(BAD_REQUEST)?;
    let mut headers = Vec::new();
    for line in lines {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let line = std::str::from_utf8(line).map_err(|_| BAD_REQUEST)?;
        let (name, value) = line.split_once(':').ok_or(BAD_REQUEST)?;
        let value = value.trim_matches([' ', '\t']);
        let is_clean = !name.is_empty()
            && name.bytes().all(is_token)
            && !value.bytes().any(|byte| byte == 0x7f || (byte < b' ' && byte != b'\t'));
        if !is_clean || headers.len() == HEADERS_MAX {
            return Err(BAD_REQUEST);
        }
        headers.push((name, value));
    }
    let request = Request { method, target, is_1_0, headers };
    match request.all("Host").count() {
        0 if !is_1_0 => Err("400 Bad Request: missing required Host header"),
        0 | 1 => Ok(request),
        _ => Err("400 Bad Request: too many Host headers"),
    }
}

impl<'a> Request<'a> {
    /// The first value of a header.
    pub fn header(&self, name: &str) -> Option<&'a str> {
        self.all(name).next()
    }

    fn all(&self, name: &str) -> impl Iterator<Item = &'a str> {
        let found = self.headers.iter().filter(move |(known, _)| known.eq_ignore_ascii_case(name));
        found.map(|(_, value)| *value)
    }

    /// Does a list in a header have this word?
    fn lists(&self, name: &str, word: &str) -> bool {
        let mut words = self.all(name).flat_map(|value| value.split(','));
        words.any(|found| found.trim_matches([' ', '\t']).eq_ignore_ascii_case(word))
    }

    /// The path without query.
    pub fn path(&self) -> &'a str {
        self.target.split('?').next().unwrap_or_default()
    }

    /// Does more follow that belongs to it?
    pub fn has_body(&self) -> bool {
        self.header("Transfer-Encoding").is_some()
            || self.header("Content-Length").is_some_and(|length| length != "0")
    }

    /// The key to answer with, if this asks for WebSocket as it should.
    pub fn key(&self) -> Result<&'a str, Refusal> {
        let bad = |problem| Err(Refusal(BAD_REQUEST, problem));
        if self.path().ends_with("/mqtt") {
            return Err(Refusal("404 Not Found", "mqtt websocket endpoint not enabled"));
        }
        if self.method != "GET" {
            return Err(Refusal("405 Method Not Allowed", "request method must be GET"));
        }
        if self.header("Host").is_none_or(str::is_empty) {
            return bad("'Host' missing in request");
        }
        if !self.lists("Upgrade", "websocket") {
            return bad("invalid value for header 'Upgrade'");
        }
        if !self.lists("Connection", "Upgrade") {
            return bad("invalid value for header 'Connection'");
        }
        let key = self.header("Sec-WebSocket-Key").unwrap_or_default();
        if key.is_empty() {
            return bad("key missing");
        }
        // Sixteen bytes in base64.
        let (digits, end) = key.split_at_checked(22).unwrap_or_default();
        let is_digit = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'+' || byte == b'/';
        if end != "==" || !digits.bytes().all(is_digit) {
            return bad("invalid websocket key");
        }
        if !self.lists("Sec-WebSocket-Version", "13") {
            return bad("invalid version");
        }
        Ok(key)
    }

    /// Does it offer to compress messages?
    pub fn offers_compression(&self) -> bool {
        let words = self.all("Sec-WebSocket-Extensions").flat_map(|value| value.split([',', ';']));
        let mut words = words.map(|word| word.trim_matches([' ', '\t']));
        words.any(|word| word.eq_ignore_ascii_case("permessage-deflate"))
    }

    /// Where the page comes from that asks, if it says.
    pub fn origin(&self) -> Option<&'a str> {
        let origin = self.header("Origin").filter(|origin| !origin.is_empty());
        origin.or_else(|| self.header("Sec-WebSocket-Origin").filter(|origin| !origin.is_empty()))
    }

    /// The cookies, by name.
    pub fn cookies(&self) -> impl Iterator<Item = (&'a str, &'a str)> {
        let cookies = self.all("Cookie").flat_map(|value| value.split(';'));
        cookies.filter_map(|cookie| {
            let (name, value) = cookie.trim_matches([' ', '\t']).split_once('=')?;
            let bare = value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
            Some((name, bare.unwrap_or(value)))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "GET /a?b HTTP/1.1\r\nHost: h:1\r\nupgrade: WebSocket\r\n\
        Connection: keep-alive, Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
        Sec-WebSocket-Version: 13\r\n\r\n";

    fn request(text: &str) -> Request<'_> {
        match read(text.as_bytes()) {
            Parsed::Request(request, bytes) => {
                assert_eq!(bytes, text.len());
                request
            }
            other => panic!("{text}: {other:?}"),
        }
    }

    #[test]
    fn a_good_request_has_a_key() {
        let good = request(GOOD);
        assert_eq!(good.key(), Ok("dGhlIHNhbXBsZSBub25jZQ=="));
        assert_eq!((good.path(), good.target), ("/a", "/a?b"));
        assert!(!good.offers_compression() && good.origin().is_none() && !good.has_body());
        for cut in 0..GOOD.len() {
            assert_eq!(read(&GOOD.as_bytes()[..cut]), Parsed::Incomplete);
        }
    }

    #[test]
    fn others_are_refused_in_the_words_of_the_reference() {
        for (from, to, status, problem) in [
            ("GET", "POST", "405 Method Not Allowed", "request method must be GET"),
            ("/a?b", "/x/mqtt?b", "404 Not Found", "mqtt websocket endpoint not enabled"),
            ("h:1", "", BAD_REQUEST, "'Host' missing in request"),
            ("WebSocket", "h2c", BAD_REQUEST, "invalid value for header 'Upgrade'"),
            ("keep-alive, Upgrade", "close", BAD_REQUEST, "invalid value for header 'Connection'"),
            ("dGhlIHNhbXBsZSBub25jZQ==", "", BAD_REQUEST, "key missing"),
            ("dGhlIHNhbXBsZSBub25jZQ==", "dGhl", BAD_REQUEST, "invalid websocket key"),
            ("13", "12", BAD_REQUEST, "invalid version"),
        ] {
            let text = GOOD.replacen(from, to, 1);
            assert_eq!(request(&text).key(), Err(Refusal(status, problem)), "{to}");
        }
    }

    #[test]
    fn what_is_no_request_is_closed() {
        for (text, status) in [
            ("GARBAGE\r\n", BAD_REQUEST),
            ("\x16\x03\x01aaaa\r\n", BAD_REQUEST),
            ("GET / HTTP/2.0\r\n\r\n", BAD_REQUEST),
            ("GET / HTTP/1.1\r\nHost: a\r\nno colon\r\n\r\n", BAD_REQUEST),
            ("GET / HTTP/1.1\r\nHost: a\r\nna me: x\r\n\r\n", BAD_REQUEST),
            ("GET / HTTP/1.1\r\n folded: x\r\nHost: a\r\n\r\n", BAD_REQUEST),
            ("GET / HTTP/1.1\r\n\r\n", "400 Bad Request: missing required Host header"),
            (
                "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
                "400 Bad Request: too many Host headers",
            ),
        ] {
            assert_eq!(read(text.as_bytes()), Parsed::Wrong(status), "{text}");
        }
        let mut endless = b"GET / HTTP/1.1\r\nHost: ".to_vec();
        endless.resize(REQUEST_BYTES_MAX + 1, b'a');
        let status = "431 Request Header Fields Too Large";
        assert_eq!(read(&endless), Parsed::Wrong(status));
    }

    #[test]
    fn what_else_a_request_says() {
        let text = GOOD.replacen(
            "\r\n\r\n",
            "\r\nSec-WebSocket-Extensions: foo, permessage-deflate; client_max_window_bits\r\n\
             Cookie: a=b; jwt=\"x.y=\"\r\nOrigin: http://o\r\nCookie: c=d\r\n\
             Content-Length: 3\r\n\r\n",
            1,
        );
        let request = request(&text);
        assert!(request.offers_compression() && request.has_body());
        assert_eq!(request.origin(), Some("http://o"));
        let cookies: Vec<(&str, &str)> = request.cookies().collect();
        assert_eq!(cookies, [("a", "b"), ("jwt", "x.y="), ("c", "d")]);
    }
}
