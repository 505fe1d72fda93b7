//! Frames: how the records of a part stand in a segment where they are compressed or encrypted.
//!
//! Records stand one behind the other and are cut into stretches of [`FRAME_BYTES`]; each is
//! compressed, sealed, and written with a head that says all there is to know to read it back, so
//! that a frame is of use even where the index of its segment is not (docs/STORAGE.md).

use xxhash_rust::xxh3::xxh3_64;

use crate::bytes::{Put, Take};
use crate::entry::u64_at;
use crate::vault::{Cipher, NONCE_BYTES, Purpose, SALT_BYTES, Seal, Sealer, TAG_BYTES, Vault};

/// Bytes of records in one frame: enough for a compressor to find what repeats, and little enough
/// that looking at one message costs a few dozen microseconds.
pub(crate) const FRAME_BYTES: usize = 32 * 1024;
/// Bytes in front of what a frame stores.
pub(crate) const HEAD_BYTES: usize = 72;
/// `pfr` and the version of the format.
pub(crate) const MAGIC: [u8; 4] = *b"pfr\x01";
/// Where in a frame that stands.
pub(crate) const MAGIC_OFFSET: usize = 8;
/// Flag: what is stored was compressed by S2.
const COMPRESSED: u8 = 1;

/// Where the frames of a part end, relative to where the first begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Frames(Box<[u32]>);

impl Frames {
    /// Of the bytes of each. Nothing if there are none, or too many bytes.
    pub(crate) fn of(lengths: &[u32]) -> Option<Self> {
        let mut end = 0_u32;
        let ends: Option<Box<[u32]>> = lengths
            .iter()
            .map(|length| {
                end = end.checked_add(*length)?;
                Some(end)
            })
            .collect();
        ends.filter(|ends| !ends.is_empty()).map(Self)
    }

    /// Frames.
    pub(crate) fn count(&self) -> usize {
        self.0.len()
    }

    /// Where a frame begins; for one more than the last, where that ends.
    pub(crate) fn start(&self, frame: usize) -> u32 {
        frame.checked_sub(1).map_or(0, |before| self.0[before])
    }

    /// Bytes of each.
    pub(crate) fn lengths(&self) -> impl Iterator<Item = u32> {
        (0..self.count()).map(|frame| self.start(frame + 1) - self.start(frame))
    }

    /// Bytes of all.
    pub(crate) fn bytes(&self) -> u32 {
        self.start(self.count())
    }
}

/// Where frames belong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Home {
    pub(crate) store: u64,
    /// The segment's number, and the log's.
    pub(crate) segment: u64,
    pub(crate) log: u64,
}

/// The nonce of what stands at an offset of a segment.
pub(crate) fn nonce(segment: u64, offset: u64) -> [u8; NONCE_BYTES] {
    let offset = u32::try_from(offset).expect("a segment is below four gigabytes");
    let mut nonce = [0; NONCE_BYTES];
    nonce[..8].copy_from_slice(&segment.to_le_bytes());
    nonce[8..].copy_from_slice(&offset.to_le_bytes());
    nonce
}

/// Appends the frame of one stretch of records, which is to stand at `offset` of its segment.
/// `place` is where the stretch begins among the records of its part.
pub(crate) fn put(
    out: &mut Vec<u8>,
    home: Home,
    (place, stretch): (u32, &[u8]),
    compressed: bool,
    (offset, sealer): (u64, Option<&Sealer>),
) {
    assert!(stretch.len() <= FRAME_BYTES);
    let start = out.len();
    let packed = compressed.then(|| minlz::encode(stretch));
    let packed = packed.filter(|packed| packed.len() < stretch.len());
    let flags = if packed.is_some() { COMPRESSED } else { 0 };
    let body = packed.as_deref().unwrap_or(stretch);
    let sealed_bytes = body.len() + if sealer.is_some() { TAG_BYTES } else { 0 };
    out.put_u64(0);
    out.extend_from_slice(&MAGIC);
    out.put_u32(sealed_bytes as u32);
    out.put_u32(stretch.len() as u32);
    out.put_u32(place);
    for word in [home.store, home.segment, home.log] {
        out.put_u64(word);
    }
    out.put_u8(flags);
    out.put_u8(sealer.map_or(0, |sealer| sealer.seal.cipher.to_byte()));
    out.extend_from_slice(&[0; 6]);
    out.extend_from_slice(&sealer.map_or([0; SALT_BYTES], |sealer| sealer.seal.salt));
    assert_eq!(out.len() - start, HEAD_BYTES);
    out.extend_from_slice(body);
    if let Some(sealer) = sealer {
        let (head, body) = out[start..].split_at_mut(HEAD_BYTES);
        let tag = sealer.seal(nonce(home.segment, offset), &head[8..], body);
        out.extend_from_slice(&tag);
    }
    let sum = xxh3_64(&out[start + 8..]);
    out[start..start + 8].copy_from_slice(&sum.to_le_bytes());
}

/// A frame that was found.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Frame<'a> {
    pub(crate) home: Home,
    /// Where its records begin among those of its part, and their bytes.
    pub(crate) place: u32,
    pub(crate) records: usize,
    flags: u8,
    seal: Option<Seal>,
    about: &'a [u8],
    body: &'a [u8],
}

/// The frame at the start of `bytes`, if one stands there, as it was written.
pub(crate) fn read(bytes: &[u8]) -> Option<Frame<'_>> {
    let head = bytes.get(..HEAD_BYTES)?;
    if head[8..12] != MAGIC {
        return None;
    }
    let mut from = Take(&head[12..]);
    let (stored, records, place) = (from.u32()? as usize, from.u32()? as usize, from.u32()?);
    let home = Home { store: from.u64()?, segment: from.u64()?, log: from.u64()? };
    let (flags, cipher) = (from.u8()?, from.u8()?);
    from.bytes(6)?;
    let salt = *from.bytes(SALT_BYTES)?.first_chunk()?;
    let seal = match cipher {
        0 => None,
        byte => Some(Seal { cipher: Cipher::of_byte(byte)?, salt }),
    };
    let whole = bytes.get(..HEAD_BYTES.checked_add(stored)?)?;
    let is_sound = records <= FRAME_BYTES && xxh3_64(&whole[8..]) == u64_at(whole, 0);
    let (about, body) = (&whole[8..HEAD_BYTES], &whole[HEAD_BYTES..]);
    is_sound.then_some(Frame { home, place, records, flags, seal, about, body })
}

impl Frame<'_> {
    /// Bytes of the frame.
    pub(crate) fn bytes(&self) -> usize {
        HEAD_BYTES + self.body.len()
    }

    /// Puts the records into `out`, which has as many bytes. False if they cannot be had: there is
    /// no key, or another.
    pub(crate) fn unpack(&self, offset: u64, vault: &mut Vault, out: &mut [u8]) -> bool {
        assert_eq!(out.len(), self.records);
        let mut opened = Vec::new();
        let body = match self.seal {
            None => self.body,
            Some(seal) => {
                opened.extend_from_slice(self.body);
                let nonce = nonce(self.home.segment, offset);
                if !vault.open((Purpose::Segment, seal), nonce, self.about, &mut opened) {
                    return false;
                }
                &opened[..opened.len() - TAG_BYTES]
            }
        };
        if self.flags & COMPRESSED == 0 {
            return body.len() == out.len() && {
                out.copy_from_slice(body);
                true
            };
        }
        minlz::decode_len(body).is_ok_and(|(bytes, _)| bytes == out.len())
            && minlz::decode_into(out, body).is_ok_and(|bytes| bytes == out.len())
    }
}

/// Unpacks frames of one part that stand one behind the other in `stored`, from `offset` of the
/// segment on, into `out`. What cannot be read is left as zeros, which no record is.
pub(crate) fn unpack(
    stored: &[u8],
    (home, offset): (Home, u64),
    lengths: &[u32],
    vault: &mut Vault,
    out: &mut [u8],
) {
    let mut at = 0_usize;
    for (number, length) in lengths.iter().enumerate() {
        let end = at + *length as usize;
        let room = number * FRAME_BYTES..((number + 1) * FRAME_BYTES).min(out.len());
        if let Some(bytes) = stored.get(at..end)
            && let Some(frame) = read(bytes)
            && frame.home == home
            && let Some(out) = out.get_mut(room).and_then(|room| room.get_mut(..frame.records))
            && !frame.unpack(offset + at as u64, vault, out)
        {
            out.fill(0);
        }
        at = end;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vault::{Encryption, KEY_BYTES};

    const HOME: Home = Home { store: 1, segment: 2, log: 3 };

    #[test]
    fn frames_read_back_and_notice_each_flipped_bit() {
        let text: Vec<u8> = (0..3000_u32).flat_map(|n| (n % 100).to_le_bytes()).collect();
        for (compressed, cipher) in
            [(true, None), (false, Some(Cipher::Aes)), (true, Some(Cipher::ChaCha))]
        {
            let encryption = cipher.map(|cipher| Encryption {
                data_key: [4; KEY_BYTES],
                cipher,
                salt: [5; SALT_BYTES],
            });
            let sealer = encryption.as_ref().map(|it| Sealer::new(it, Purpose::Segment));
            let mut bytes = Vec::new();
            put(&mut bytes, HOME, (77, &text), compressed, (4096, sealer.as_ref()));
            assert_eq!(bytes.len() < text.len() / 2, compressed);
            let mut vault = Vault::new(encryption.as_ref());
            let frame = read(&bytes).expect("it reads back");
            assert_eq!((frame.home, frame.place), (HOME, 77));
            assert_eq!((frame.records, frame.bytes()), (text.len(), bytes.len()));
            let mut out = vec![0; text.len()];
            assert!(frame.unpack(4096, &mut vault, &mut out));
            assert_eq!(out, text);
            if cipher.is_some() {
                assert!(!frame.unpack(0, &mut vault, &mut out), "elsewhere");
                assert!(!frame.unpack(4096, &mut Vault::new(None), &mut out), "no key");
            }
            for bit in (0..bytes.len() * 8).step_by(3) {
                let mut flipped = bytes.clone();
                flipped[bit / 8] ^= 1 << (bit % 8);
                assert!(read(&flipped).is_none(), "bit {bit}");
            }
        }
    }

    #[test]
    fn what_does_not_compress_is_stored_as_it_is() {
        let mut random = base::Random::new(5);
        let noise: Vec<u8> = (0..FRAME_BYTES).map(|_| random.below(256) as u8).collect();
        let mut bytes = Vec::new();
        put(&mut bytes, HOME, (0, &noise), true, (0, None));
        assert_eq!(bytes.len(), HEAD_BYTES + noise.len());
        let mut out = vec![0; noise.len()];
        unpack(&bytes, (HOME, 0), &[bytes.len() as u32], &mut Vault::default(), &mut out);
        assert_eq!(out, noise);
    }
}
