//! HTTP as far as responders need it: one request, one answer, and the end.

use std::io::{Read as _, Write as _};
use std::net::{TcpStream, ToSocketAddrs as _};
use std::time::{Duration, Instant};

/// Time for a request and its answer.
const PATIENCE: Duration = Duration::from_secs(30);
/// Longest answer: responses have a few kilobytes.
const ANSWER_BYTES_MAX: u64 = 1 << 20;

/// Posts a request, and asks again by GET where that is refused, as responders are asked by the
/// reference. The error is the reason.
pub(super) fn ask(url: &str, request: &[u8]) -> Result<Vec<u8>, String> {
    let url = url.trim_end_matches('/');
    post(url, request).or_else(|first| {
        let path = base::base64::encode_padded(request);
        get(&format!("{url}/{path}")).map_err(|second| format!("{first}\n{second}"))
    })
}

fn post(url: &str, request: &[u8]) -> Result<Vec<u8>, String> {
    let (host, path) = split(url)?;
    let length = request.len();
    let mut head = format!(
        "POST {path} HTTP/1.0\r\nHost: {host}\r\nContent-Type: application/ocsp-request\r\n\
         Accept: application/ocsp-response\r\nContent-Length: {length}\r\n\r\n"
    )
    .into_bytes();
    head.extend_from_slice(request);
    exchange(host, &head).map_err(|problem| match problem {
        Problem::Status(status) => {
            format!("non-ok http status on POST request (reqlen={length}): {status}")
        }
        Problem::World(reason) => format!("Post \"{url}\": {reason}"),
    })
}

fn get(url: &str) -> Result<Vec<u8>, String> {
    let (host, path) = split(url)?;
    let head = format!("GET {path} HTTP/1.0\r\nHost: {host}\r\n\r\n");
    exchange(host, head.as_bytes()).map_err(|problem| match problem {
        Problem::Status(status) => format!("non-ok http status on GET request: {status}"),
        Problem::World(reason) => format!("Get \"{url}\": {reason}"),
    })
}

/// Host with port, and path.
fn split(url: &str) -> Result<(&str, &str), String> {
    let rest = url.strip_prefix("http://");
    let rest = rest.ok_or_else(|| format!("{url:?} is no address of the kind http://"))?;
    let at = rest.find('/').unwrap_or(rest.len());
    let path = if at == rest.len() { "/" } else { &rest[at..] };
    Ok((&rest[..at], path))
}

enum Problem {
    Status(u16),
    World(String),
}

fn exchange(host: &str, request: &[u8]) -> Result<Vec<u8>, Problem> {
    let answer = talk(host, request).map_err(|error| Problem::World(error.to_string()))?;
    let end = memchr::memmem::find(&answer, b"\r\n\r\n");
    let end = end.ok_or_else(|| Problem::World("malformed HTTP response".to_owned()))?;
    let head = String::from_utf8_lossy(&answer[..end]);
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    match status {
        Some(200..300) => Ok(answer[end + 4..].to_vec()),
        Some(status) => Err(Problem::Status(status)),
        None => Err(Problem::World("malformed HTTP response".to_owned())),
    }
}

fn talk(host: &str, request: &[u8]) -> std::io::Result<Vec<u8>> {
    let until = Instant::now() + PATIENCE;
    let named = if host.rsplit(']').next().is_some_and(|end| end.contains(':')) {
        host.to_owned()
    } else {
        format!("{host}:80")
    };
    let address = named.to_socket_addrs()?.next();
    let address = address.ok_or_else(|| std::io::Error::other("no such host"))?;
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.write_all(request)?;
    let mut answer = Vec::new();
    let mut piece = [0; 4096];
    loop {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() || answer.len() as u64 > ANSWER_BYTES_MAX {
            return Err(std::io::Error::other("the answer takes too long"));
        }
        stream.set_read_timeout(Some(left))?;
        match stream.read(&mut piece)? {
            0 => return Ok(answer),
            count => answer.extend_from_slice(&piece[..count]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        assert_eq!(split("http://a"), Ok(("a", "/")));
        assert_eq!(split("http://a:8/b/c"), Ok(("a:8", "/b/c")));
        assert!(split("https://a").is_err());
        assert!(split("a").is_err());
    }
}
