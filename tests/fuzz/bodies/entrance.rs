//! What comes before the protocol, by the first byte of the input: a PROXY header, an HTTP request,
//! or WebSocket frames. None of it panics, takes more than there is, or reads otherwise when cut.

use wire::proxy::{self, Header};
use wire::upgrade::{self, Parsed};
use wire::websocket::{CONTROL_BYTES_MAX, Decoder, Part};

/// Runs one input.
pub(crate) fn run(data: &[u8]) {
    let Some((choice, data)) = data.split_first() else { return };
    match choice % 3 {
        0 => header(data),
        1 => request(data),
        _ => frames(data, choice & 4 != 0),
    }
}

fn header(data: &[u8]) {
    let whole = proxy::read(data);
    let _ = proxy::awaited(data);
    if let Header::Own(bytes) | Header::For(_, _, bytes) = whole {
        assert!(bytes <= data.len());
        for cut in 0..bytes {
            assert_eq!(proxy::read(&data[..cut]), Header::Incomplete);
        }
        assert_eq!(proxy::read(&data[..bytes]), whole);
    }
}

fn request(data: &[u8]) {
    let whole = upgrade::read(data);
    if let Parsed::Request(request, bytes) = &whole {
        assert!(*bytes <= data.len());
        if let Ok(key) = request.key() {
            assert_eq!(key.len(), 24);
        }
        let cookies: usize = request.cookies().map(|(name, value)| name.len() + value.len()).sum();
        assert!(cookies <= data.len());
        let _ = (request.offers_compression(), request.origin(), request.has_body());
        assert_eq!(upgrade::read(&data[..bytes - 1]), Parsed::Incomplete);
        assert_eq!(upgrade::read(&data[..*bytes]), whole);
    }
}

/// What frames come to: the payload, and whatever else there was in between.
fn read(data: &[u8], piece: usize, compresses: bool) -> (Vec<u8>, Option<String>) {
    let mut decoder = Decoder::new(true, compresses);
    let mut found = Vec::new();
    for part in data.to_vec().chunks_mut(piece) {
        let mut at = 0;
        loop {
            let (part, used) = decoder.step(&mut part[at..]);
            at += used;
            match part {
                Part::Incomplete => break,
                Part::Data { bytes, last, .. } => {
                    found.extend_from_slice(bytes);
                    if last {
                        found.push(b'|');
                    }
                }
                Part::Ping(payload) => {
                    assert!(payload.len() <= CONTROL_BYTES_MAX);
                    found.extend_from_slice(payload);
                }
                Part::Pong => found.push(b'^'),
                Part::Close(payload) => {
                    assert!(payload.len() <= CONTROL_BYTES_MAX);
                    return (found, Some("closed".to_owned()));
                }
                Part::Wrong(problem) => return (found, Some(problem)),
            }
        }
    }
    (found, None)
}

fn frames(data: &[u8], compresses: bool) {
    let whole = read(data, data.len().max(1), compresses);
    assert!(whole.0.len() <= data.len(), "frames only shrink");
    for piece in [1, 2, 7] {
        assert!(read(data, piece, compresses) == whole);
    }
}
