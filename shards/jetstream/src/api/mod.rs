//! The API: requests on `$JS.API.…`, answered in JSON.

use crate::ClientInfo;

/// A request on its way through the API.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// The subject, `$JS.API.` and all, without a domain.
    pub subject: &'a [u8],
    /// Where the answer goes; may be empty.
    pub reply: &'a [u8],
    /// The header block; empty without one.
    pub header: &'a [u8],
    /// The payload.
    pub body: &'a [u8],
    /// Who asks.
    pub client: ClientInfo<'a>,
}

impl<'a> Request<'a> {
    /// A token of the subject, counted from one as in `$JS.API.STREAM.INFO.<5>`; empty if there is
    /// none.
    pub fn token(&self, place: usize) -> &'a [u8] {
        self.subject.split(|&byte| byte == b'.').nth(place - 1).unwrap_or_default()
    }

    /// The subject from a token on, dots included.
    pub fn rest(&self, place: usize) -> &'a [u8] {
        let mut rest = self.subject;
        for _ in 1..place {
            match memchr::memchr(b'.', rest) {
                Some(at) => rest = &rest[at + 1..],
                None => return &[],
            }
        }
        rest
    }
}
