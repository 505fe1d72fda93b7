//! One block of the journal: what stands in front of its payload, and how a block that is not what
//! it should be is told (docs/STORAGE.md).

use xxhash_rust::xxh3::xxh3_64;

use crate::buffer::BLOCK_BYTES;
use crate::entry::{u32_at, u64_at};
use crate::vault::{Cipher, NONCE_BYTES, Purpose, SALT_BYTES, Seal, Sealer, TAG_BYTES, Vault};

/// `pjb` and the version of the format.
const MAGIC: u32 = u32::from_le_bytes(*b"pjb\x02");
/// Bytes in front of the payload.
pub(crate) const HEAD_BYTES: usize = 96;
/// Bytes of payload, in a block that is not encrypted.
pub(crate) const PAYLOAD_BYTES: usize = BLOCK_BYTES - HEAD_BYTES;
/// Bytes behind the payload of one that is: the salt and the tag.
const SEAL_BYTES: usize = SALT_BYTES + TAG_BYTES;
/// Bytes of payload in one that is.
pub(crate) const SEALED_PAYLOAD_BYTES: usize = PAYLOAD_BYTES - SEAL_BYTES;
/// No store counts as far as this.
const COUNT_MAX: u64 = 1 << 56;
/// No store is opened as often: block and epoch together are a nonce.
const EPOCH_MAX: u64 = 1 << 40;
/// No record begins in the block.
const NOWHERE: u16 = u16::MAX;

/// A block's head. The two lengths stand in the block as it is filled; all else is put in when it
/// is about to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    /// The store that it belongs to.
    pub(crate) store: u64,
    /// The file it was written to, and which of its blocks it is: found elsewhere it was
    /// misdirected.
    pub(crate) slot: u32,
    pub(crate) index: u32,
    /// Its number since the store began: one found with another is from an earlier use of the file.
    pub(crate) number: u64,
    /// How often the store had been opened.
    pub(crate) epoch: u64,
    /// The first block of the epoch: whatever an earlier one wrote from there on is void.
    pub(crate) epoch_base: u64,
    /// The oldest block that is still needed.
    pub(crate) oldest: u64,
    /// Blocks with lower numbers were durable when this one was made.
    pub(crate) durable: u64,
    /// What the next log and the next segment are numbered with.
    pub(crate) next_log: u64,
    pub(crate) next_segment: u64,
    /// Bytes of payload in use.
    pub(crate) used: u16,
    /// Where in the payload the first record begins.
    pub(crate) first: Option<u16>,
    /// How the payload is encrypted, if it is.
    pub(crate) seal: Option<Seal>,
}

impl Head {
    fn nonce(&self) -> [u8; NONCE_BYTES] {
        let mut nonce = [0; NONCE_BYTES];
        nonce[..7].copy_from_slice(&self.number.to_le_bytes()[..7]);
        nonce[7..].copy_from_slice(&self.epoch.to_le_bytes()[..5]);
        nonce
    }
}

/// Begins a block without payload.
pub(crate) fn begin(block: &mut [u8]) {
    block[20..22].copy_from_slice(&0_u16.to_le_bytes());
    block[22..24].copy_from_slice(&NOWHERE.to_le_bytes());
}

/// Appends as much of `bytes` as there is room for in a payload of `room` bytes, and says how much
/// that was.
#[inline]
pub(crate) fn fill(block: &mut [u8], bytes: &[u8], begins_record: bool, room: usize) -> usize {
    let used = usize::from(u16::from_le_bytes([block[20], block[21]]));
    let count = bytes.len().min(room - used);
    if begins_record && count > 0 && u16::from_le_bytes([block[22], block[23]]) == NOWHERE {
        block[22..24].copy_from_slice(&(used as u16).to_le_bytes());
    }
    block[HEAD_BYTES + used..HEAD_BYTES + used + count].copy_from_slice(&bytes[..count]);
    block[20..22].copy_from_slice(&((used + count) as u16).to_le_bytes());
    count
}

/// Finishes a block that [`fill`] has filled. One that is to be encrypted is once only, under its
/// number and epoch.
pub(crate) fn finish(block: &mut [u8], head: &Head, sealer: Option<&Sealer>) {
    assert!(head.number < COUNT_MAX);
    assert!(head.epoch < EPOCH_MAX);
    let used = usize::from(u16::from_le_bytes([block[20], block[21]]));
    block[HEAD_BYTES + used..].fill(0);
    block[8..12].copy_from_slice(&MAGIC.to_le_bytes());
    block[12..16].copy_from_slice(&head.slot.to_le_bytes());
    block[16..20].copy_from_slice(&head.index.to_le_bytes());
    let words = [
        head.number,
        head.epoch,
        head.epoch_base,
        head.oldest,
        head.durable,
        head.next_log,
        head.next_segment,
        head.store,
    ];
    for (place, word) in (24..).step_by(8).zip(words) {
        block[place..place + 8].copy_from_slice(&word.to_le_bytes());
    }
    block[88..96].fill(0);
    if let Some(sealer) = sealer {
        assert!(used <= SEALED_PAYLOAD_BYTES);
        block[88] = sealer.seal.cipher.to_byte();
        let (about, rest) = block.split_at_mut(HEAD_BYTES);
        let (payload, seal) = rest.split_at_mut(SEALED_PAYLOAD_BYTES);
        let tag = sealer.seal(head.nonce(), &about[8..], payload);
        seal[..SALT_BYTES].copy_from_slice(&sealer.seal.salt);
        seal[SALT_BYTES..].copy_from_slice(&tag);
    }
    let sum = xxh3_64(&block[8..]);
    block[..8].copy_from_slice(&sum.to_le_bytes());
}

/// A block's head, if the block is whole. Where it is sealed, its payload is still to be opened.
pub(crate) fn read(block: &[u8]) -> Option<Head> {
    assert_eq!(block.len(), BLOCK_BYTES);
    if u32_at(block, 8) != MAGIC || xxh3_64(&block[8..]) != u64_at(block, 0) {
        return None;
    }
    let used = u16::from_le_bytes([block[20], block[21]]);
    let first = u16::from_le_bytes([block[22], block[23]]);
    let seal = match block[88] {
        0 => None,
        byte => {
            let salt = *block[BLOCK_BYTES - SEAL_BYTES..].first_chunk()?;
            Some(Seal { cipher: Cipher::of_byte(byte)?, salt })
        }
    };
    let head = Head {
        slot: u32_at(block, 12),
        index: u32_at(block, 16),
        number: u64_at(block, 24),
        epoch: u64_at(block, 32),
        epoch_base: u64_at(block, 40),
        oldest: u64_at(block, 48),
        durable: u64_at(block, 56),
        next_log: u64_at(block, 64),
        next_segment: u64_at(block, 72),
        store: u64_at(block, 80),
        used,
        first: (first != NOWHERE).then_some(first),
        seal,
    };
    let room = if seal.is_some() { SEALED_PAYLOAD_BYTES } else { PAYLOAD_BYTES };
    let is_sound = usize::from(used) <= room
        && head.first.is_none_or(|first| first < used)
        && head.oldest <= head.number
        && head.epoch_base <= head.number
        && head.durable <= head.number
        && head.epoch < EPOCH_MAX
        && [head.number, head.next_log, head.next_segment].iter().all(|n| *n < COUNT_MAX);
    is_sound.then_some(head)
}

/// Decrypts the payload of a block in place, if it is sealed. False if that cannot be done: there
/// is no key, or another.
pub(crate) fn open(block: &mut [u8], head: &Head, vault: &mut Vault) -> bool {
    let Some(seal) = head.seal else { return true };
    let (about, rest) = block.split_at_mut(HEAD_BYTES);
    let (payload, seal_bytes) = rest.split_at_mut(SEALED_PAYLOAD_BYTES);
    let mut sealed = Vec::with_capacity(SEALED_PAYLOAD_BYTES + TAG_BYTES);
    sealed.extend_from_slice(payload);
    sealed.extend_from_slice(&seal_bytes[SALT_BYTES..]);
    if !vault.open((Purpose::Journal, seal), head.nonce(), &about[8..], &mut sealed) {
        return false;
    }
    payload.copy_from_slice(&sealed[..SEALED_PAYLOAD_BYTES]);
    true
}

/// The payload of a block that was found whole, and was opened since.
pub(crate) fn payload<'a>(block: &'a [u8], head: &Head) -> &'a [u8] {
    &block[HEAD_BYTES..HEAD_BYTES + usize::from(head.used)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vault::{Encryption, KEY_BYTES};

    const HEAD: Head = Head {
        store: 5,
        slot: 3,
        index: 9,
        number: 1009,
        epoch: 4,
        epoch_base: 1000,
        oldest: 17,
        durable: 1008,
        next_log: 6,
        next_segment: 8,
        used: 8,
        first: Some(3),
        seal: None,
    };

    fn filled(sealer: Option<&Sealer>) -> Vec<u8> {
        let mut block = vec![0xff; BLOCK_BYTES];
        begin(&mut block);
        assert_eq!(fill(&mut block, b"end", false, SEALED_PAYLOAD_BYTES), 3);
        assert_eq!(fill(&mut block, b"begin", true, SEALED_PAYLOAD_BYTES), 5);
        finish(&mut block, &HEAD, sealer);
        block
    }

    #[test]
    fn a_block_reads_back_and_notices_each_flipped_bit() {
        let block = filled(None);
        assert_eq!(read(&block), Some(HEAD));
        assert_eq!(payload(&block, &HEAD), b"endbegin");
        for bit in (0..BLOCK_BYTES * 8).step_by(7) {
            let mut flipped = block.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(read(&flipped), None, "bit {bit}");
        }
    }

    #[test]
    fn a_sealed_block_opens_with_its_key_alone_and_only_as_it_is() {
        for cipher in [Cipher::ChaCha, Cipher::Aes] {
            let (data_key, salt) = ([1; KEY_BYTES], [2; SALT_BYTES]);
            let encryption = Encryption { data_key, cipher, salt };
            let block = filled(Some(&Sealer::new(&encryption, Purpose::Journal)));
            let head = read(&block).expect("it is whole");
            assert_eq!(head, Head { seal: Some(Seal { cipher, salt }), ..HEAD });
            assert_ne!(payload(&block, &head), b"endbegin");
            let mut opened = block.clone();
            assert!(open(&mut opened, &head, &mut Vault::new(Some(&encryption))));
            assert_eq!(payload(&opened, &head), b"endbegin");
            let other = Encryption { data_key: [9; KEY_BYTES], ..encryption.clone() };
            for vault in [&mut Vault::new(Some(&other)), &mut Vault::default()] {
                assert!(!open(&mut block.clone(), &head, vault));
            }
            // Whoever puts the checksum right does not get past the tag.
            for byte in [16, 20, 24, 56, 100, BLOCK_BYTES - 1] {
                let mut forged = block.clone();
                forged[byte] ^= 1;
                let sum = xxh3_64(&forged[8..]);
                forged[..8].copy_from_slice(&sum.to_le_bytes());
                let head = read(&forged).unwrap_or(head);
                assert!(!open(&mut forged, &head, &mut Vault::new(Some(&encryption))), "{byte}");
            }
        }
    }

    #[test]
    fn a_full_block_takes_no_more() {
        let mut block = vec![0; BLOCK_BYTES];
        begin(&mut block);
        assert_eq!(fill(&mut block, &[1; BLOCK_BYTES], true, PAYLOAD_BYTES), PAYLOAD_BYTES);
        assert_eq!(fill(&mut block, b"x", true, PAYLOAD_BYTES), 0);
    }
}
