//! The framing of S2 and Snappy streams: chunks with a type, a length and a checksum
//! (<https://github.com/google/snappy/blob/main/framing_format.txt>).
//!
//! What is written are Snappy chunks, which every S2 reader takes; what is read is both.

use minlz::crc::crc;

/// Bytes that are packed into one chunk at most, as Snappy has it.
const CHUNK_BYTES: usize = 64 * 1024;
/// Bytes of a packed chunk at most: S2 packs up to four megabytes, which may grow a little.
const PACKED_BYTES_MAX: usize = 5 * 1024 * 1024;
/// Bytes that a chunk may unpack to.
const UNPACKED_BYTES_MAX: usize = 4 * 1024 * 1024;

const IDENTIFIER: &[u8] = b"\xff\x06\x00\x00sNaPpY";

/// Packs a stream.
#[derive(Debug, Default)]
pub(crate) struct Packer {
    is_begun: bool,
    waiting: Vec<u8>,
}

impl Packer {
    /// Takes bytes, and appends chunks to `out` as they become full, or all that is there at the
    /// end.
    pub(crate) fn push(&mut self, bytes: &[u8], is_end: bool, out: &mut Vec<u8>) {
        if !self.is_begun {
            self.is_begun = true;
            out.extend_from_slice(IDENTIFIER);
        }
        self.waiting.extend_from_slice(bytes);
        let mut from = 0;
        while self.waiting.len() - from >= CHUNK_BYTES || (is_end && from < self.waiting.len()) {
            let end = self.waiting.len().min(from + CHUNK_BYTES);
            put_chunk(&self.waiting[from..end], out);
            from = end;
        }
        self.waiting.drain(..from);
    }
}

fn put_chunk(bytes: &[u8], out: &mut Vec<u8>) {
    let packed = minlz::encode_snappy(bytes);
    let (kind, body) = if packed.len() < bytes.len() { (0, &packed[..]) } else { (1, bytes) };
    let length = (body.len() as u32 + 4).to_le_bytes();
    out.push(kind);
    out.extend_from_slice(&length[..3]);
    out.extend_from_slice(&crc(bytes).to_le_bytes());
    out.extend_from_slice(body);
}

/// Unpacks a stream.
#[derive(Debug, Default)]
pub(crate) struct Unpacker {
    waiting: Vec<u8>,
}

impl Unpacker {
    /// Takes bytes, and appends what they unpack to.
    ///
    /// # Errors
    /// If they are no such stream, or damaged.
    pub(crate) fn push(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Result<(), &'static str> {
        self.waiting.extend_from_slice(bytes);
        let mut from = 0;
        while let Some(&[kind, a, b, c]) = self.waiting[from..].first_chunk::<4>() {
            let length = u32::from_le_bytes([a, b, c, 0]) as usize;
            if length > PACKED_BYTES_MAX {
                return Err("s2: chunk too large");
            }
            let Some(body) = self.waiting.get(from + 4..from + 4 + length) else { break };
            unpack(kind, body, out)?;
            from += 4 + length;
        }
        self.waiting.drain(..from);
        Ok(())
    }

    /// Did the stream end in the middle of a chunk?
    pub(crate) fn is_cut(&self) -> bool {
        !self.waiting.is_empty()
    }
}

fn unpack(kind: u8, body: &[u8], out: &mut Vec<u8>) -> Result<(), &'static str> {
    match kind {
        0 | 1 => {
            let (sum, rest) = body.split_first_chunk::<4>().ok_or("s2: corrupt input")?;
            let from = out.len();
            if kind == 1 {
                out.extend_from_slice(rest);
            } else {
                let (size, _) = minlz::decode_len(rest).map_err(|_| "s2: corrupt input")?;
                if size > UNPACKED_BYTES_MAX {
                    return Err("s2: decoded block is too large");
                }
                out.extend(minlz::decode(rest).map_err(|_| "s2: corrupt input")?);
            }
            if crc(&out[from..]) == u32::from_le_bytes(*sum) {
                Ok(())
            } else {
                Err("s2: invalid checksum")
            }
        }
        0xff if body == b"sNaPpY" || body == b"S2sTwO" => Ok(()),
        // Padding, and what may be passed over: an index, say.
        0x80..=0xfe => Ok(()),
        _ => Err("s2: unsupported input"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_packed_comes_back_however_it_is_cut() {
        let text: Vec<u8> = (0..200_000_u32).flat_map(|n| (n / 7).to_le_bytes()).collect();
        let (mut from, mut packed) = (Packer::default(), Vec::new());
        for part in text.chunks(1000) {
            from.push(part, false, &mut packed);
        }
        from.push(b"", true, &mut packed);
        assert!(packed.len() < text.len());
        for size in [1, 7, 4096, packed.len()] {
            let (mut to, mut unpacked) = (Unpacker::default(), Vec::new());
            for part in packed.chunks(size) {
                to.push(part, &mut unpacked).expect("it is sound");
            }
            assert!(!to.is_cut());
            assert!(unpacked == text, "cut at every {size}");
        }
        let mut bad = packed.clone();
        let middle = bad.len() / 2;
        bad[middle] ^= 1;
        let mut unpacked = Vec::new();
        assert!(Unpacker::default().push(&bad, &mut unpacked).is_err());
    }
}
