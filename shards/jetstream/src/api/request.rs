//! A request, and how its JSON is read.

use crate::ClientInfo;
use crate::error::{Fault, table};
use crate::json::{self, Decoder, Node};

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

    /// Reads the payload: any number of values one behind the other, of which later ones add to
    /// earlier ones, as the reference's decoder has it.
    ///
    /// # Errors
    /// 10025 with the reference's complaint.
    pub(crate) fn decode(
        &self,
        root: &'static str,
        strict: bool,
        mut take: impl FnMut(&mut Decoder, &Node<'_>),
    ) -> Result<(), Fault> {
        let invalid = |text: String| table::INVALID_JSON.because(text);
        if !strict {
            // The reference tries again with all of it as one value.
            let node = match json::read_whole(self.body) {
                Err(_) if self.body.trim_ascii().is_empty() => return Ok(()),
                read => read.map_err(invalid)?,
            };
            let mut decoder = Decoder::new(root, false);
            take(&mut decoder, &node);
            return decoder.finish().map_err(invalid);
        }
        let mut done = 0;
        loop {
            match json::read(&self.body[done..]) {
                Ok(None) => return Ok(()),
                Ok(Some((node, taken))) => {
                    let mut decoder = Decoder::new(root, true);
                    take(&mut decoder, &node);
                    decoder.finish().map_err(invalid)?;
                    done += taken;
                }
                Err(syntax) => {
                    let text = match syntax.offset {
                        Some(offset) => format!("{} at offset {}", syntax.text, done + offset),
                        None => syntax.text,
                    };
                    return Err(invalid(text));
                }
            }
        }
    }

    /// Is there nothing in the payload: no bytes, or an object without fields?
    pub(crate) fn is_empty(&self) -> bool {
        self.body.is_empty()
            || json::read_whole(self.body).is_ok_and(
                |node| matches!(node.value, json::Value::Object(fields) if fields.is_empty()),
            )
    }

    /// Is there something in the payload that may be an object?
    pub(crate) fn has_fields(&self) -> bool {
        matches!(self.body.trim_ascii_start().first(), Some(b'{' | b'['))
    }
}
