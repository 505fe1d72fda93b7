//! WebSocket of one connection: frames in both directions, and their compression.
//!
//! Compression never carries a context from one message to the next, as in the reference, so one
//! compressor and one decompressor serve all connections of a core.

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};
use shard::Reason;
use wire::websocket::{self, Decoder, Head, PLAIN_HEAD_BYTES_MAX};

use super::sealed::Sealed;

/// Payload of a frame to a browser, which take small frames better.
const BROWSER_FRAME_BYTES: usize = 4096;
/// Up to so many bytes are not worth compressing.
const COMPRESS_ABOVE: usize = 64;
/// What a sync flush ends with; it is left out on the wire.
const SYNC_TAIL: [u8; 4] = [0, 0, 0xff, 0xff];
/// Bytes that are inflated at a time.
const INFLATE_BYTES: usize = 32 * 1024;

/// The reading half.
pub(crate) struct Reader {
    pub(super) decoder: Decoder,
    /// What came of a compressed message.
    pub(super) message: Vec<u8>,
}

/// The writing half.
#[derive(Default)]
pub(crate) struct Writer {
    compresses: bool,
    /// Is it a browser?
    is_browser: bool,
    /// Does it want compressed messages in one piece?
    wants_whole: bool,
    /// Control frames that go ahead of what comes next.
    control: Vec<u8>,
    /// The payload of the last frame, if it is known already.
    farewell: Option<Vec<u8>>,
}

/// Compression for all connections of a core, made when it is first needed.
#[derive(Default)]
pub(crate) struct Press {
    compress: Option<Compress>,
    decompress: Option<Decompress>,
    /// What was compressed.
    packed: Vec<u8>,
    /// What was inflated.
    room: Vec<u8>,
}

impl Reader {
    pub(super) const fn new(is_masked: bool, compresses: bool) -> Self {
        Self { decoder: Decoder::new(is_masked, compresses), message: Vec::new() }
    }
}

impl Writer {
    /// For a client that names itself so.
    pub(super) fn new(compresses: bool, agent: &str) -> Self {
        let is_browser = agent.starts_with("Mozilla/");
        // Safari names a version as well, which Chrome on the same system does not.
        let wants_whole = agent.contains("Version/") && agent.contains("Safari/");
        Self { compresses, is_browser, wants_whole, control: Vec::new(), farewell: None }
    }

    /// Answers a PING.
    pub(super) fn pong(&mut self, payload: &[u8]) {
        put_frame(&mut self.control, websocket::PONG, payload);
    }

    pub(super) const fn has_control(&self) -> bool {
        !self.control.is_empty()
    }

    /// What the last frame is to carry.
    pub(super) fn prepare_farewell(&mut self, payload: Vec<u8>) {
        self.farewell.get_or_insert(payload);
    }

    /// The last frame, which tells why it is the last.
    pub(super) fn last(&mut self, reason: Reason, out: &mut Sealed) {
        let payload = self.farewell.take();
        let payload =
            payload.unwrap_or_else(|| websocket::farewell(status_of(reason), reason.text()));
        let mut frame = std::mem::take(&mut self.control);
        put_frame(&mut frame, websocket::CLOSE, &payload);
        out.extend(&frame);
    }

    /// Puts bytes of the protocol into frames, behind control frames that wait.
    pub(super) fn frame(&mut self, bytes: &[u8], press: &mut Press, out: &mut Sealed) {
        if !self.control.is_empty() {
            out.extend(&self.control);
            self.control.clear();
        }
        if bytes.is_empty() {
            return;
        }
        let limit = if self.is_browser { BROWSER_FRAME_BYTES } else { usize::MAX };
        if !self.compresses || bytes.len() <= COMPRESS_ABOVE {
            for piece in bytes.chunks(limit) {
                put_data(out, websocket::BINARY, true, false, piece);
            }
            return;
        }
        let packed = press.pack(bytes);
        let limit = if self.wants_whole { usize::MAX } else { limit };
        let count = packed.len().div_ceil(limit);
        for (number, piece) in (1..).zip(packed.chunks(limit)) {
            let first = number == 1;
            let opcode = if first { websocket::BINARY } else { 0 };
            put_data(out, opcode, number == count, first, piece);
        }
    }
}

fn put_data(out: &mut Sealed, opcode: u8, is_final: bool, is_compressed: bool, payload: &[u8]) {
    let head = Head { opcode, is_final, is_compressed, length: payload.len() };
    let room = out.room(PLAIN_HEAD_BYTES_MAX + payload.len());
    let bytes = head.write(room);
    room[bytes..bytes + payload.len()].copy_from_slice(payload);
    out.fill(bytes + payload.len());
}

fn put_frame(out: &mut Vec<u8>, opcode: u8, payload: &[u8]) {
    let mut head = [0; PLAIN_HEAD_BYTES_MAX];
    let length = payload.len();
    let bytes = Head { opcode, is_final: true, is_compressed: false, length }.write(&mut head);
    out.extend_from_slice(&head[..bytes]);
    out.extend_from_slice(payload);
}

/// The status of a goodbye for this reason.
const fn status_of(reason: Reason) -> u16 {
    match reason {
        Reason::ClientClosed => websocket::NORMAL,
        Reason::AuthenticationTimeout
        | Reason::AuthenticationFailure
        | Reason::SlowConsumerPendingBytes
        | Reason::SlowConsumerWriteDeadline
        | Reason::MaxConnectionsExceeded
        | Reason::MaxControlLineExceeded => 1008,
        Reason::TlsHandshakeError => 1015,
        Reason::ParseError | Reason::ProtocolViolation | Reason::BadClientProtocolVersion => {
            websocket::PROTOCOL_ERROR
        }
        Reason::MaxPayloadExceeded => 1009,
        Reason::WriteError
        | Reason::ReadError
        | Reason::StaleConnection
        | Reason::ServerShutdown => 1001,
        _ => 1011,
    }
}

impl Press {
    /// Compresses a message.
    fn pack(&mut self, bytes: &[u8]) -> &[u8] {
        let compress =
            self.compress.get_or_insert_with(|| Compress::new(Compression::fast(), false));
        compress.reset();
        self.packed.clear();
        loop {
            let taken = compress.total_in() as usize;
            self.packed.reserve((bytes.len() - taken) / 2 + 1024);
            let status =
                compress.compress_vec(&bytes[taken..], &mut self.packed, FlushCompress::Sync);
            status.expect("a compressor takes anything");
            let has_room = self.packed.len() < self.packed.capacity();
            if compress.total_in() as usize == bytes.len() && has_room {
                break;
            }
        }
        self.packed.strip_suffix(&SYNC_TAIL).unwrap_or(&self.packed)
    }

    /// Inflates a message, piece by piece, up to a limit. The error is the log's.
    pub(super) fn inflate(
        &mut self,
        message: &[u8],
        limit: usize,
        mut on: impl FnMut(&[u8]),
    ) -> Result<(), Misfit> {
        let decompress = self.decompress.get_or_insert_with(|| Decompress::new(false));
        decompress.reset(false);
        self.room.resize(INFLATE_BYTES, 0);
        let mut left = limit;
        for part in [message, &SYNC_TAIL] {
            let mut at = 0;
            loop {
                let (read, wrote) = (decompress.total_in(), decompress.total_out());
                let status =
                    decompress.decompress(&part[at..], &mut self.room, FlushDecompress::Sync);
                let status = status.map_err(|_| Misfit::Corrupt(decompress.total_in()))?;
                at += (decompress.total_in() - read) as usize;
                let count = (decompress.total_out() - wrote) as usize;
                if count > left {
                    on(&self.room[..left]);
                    return Err(Misfit::TooLarge);
                }
                left -= count;
                if count > 0 {
                    on(&self.room[..count]);
                }
                let is_full = count == self.room.len();
                if status == Status::StreamEnd || (at == part.len() && !is_full) {
                    break;
                }
                if count == 0 && decompress.total_in() == read {
                    return Err(Misfit::Corrupt(decompress.total_in()));
                }
            }
        }
        Ok(())
    }
}

/// Why a compressed message is of no use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Misfit {
    /// It is larger than it may be.
    TooLarge,
    /// It is no compressed message, from this byte on.
    Corrupt(u64),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inflate(press: &mut Press, message: &[u8], limit: usize) -> (Vec<u8>, Result<(), Misfit>) {
        let mut found = Vec::new();
        let outcome = press.inflate(message, limit, |bytes| found.extend_from_slice(bytes));
        (found, outcome)
    }

    #[test]
    fn what_is_packed_inflates_to_the_same() {
        let mut press = Press::default();
        for length in [0_usize, 1, 65, 1000, 32_768, 32_769, 500_000] {
            let bytes: Vec<u8> = (0..length).map(|at| (at * at / 7) as u8).collect();
            let packed = press.pack(&bytes).to_vec();
            let (found, outcome) = inflate(&mut press, &packed, length);
            assert_eq!(outcome, Ok(()));
            assert!(found == bytes, "{length}");
        }
    }

    #[test]
    fn a_bomb_stops_at_the_limit_and_rubbish_at_once() {
        let mut press = Press::default();
        let packed = press.pack(&vec![0; 10_000_000]).to_vec();
        assert!(packed.len() < 100_000);
        let (found, outcome) = inflate(&mut press, &packed, 50_000);
        assert_eq!((found.len(), outcome), (50_000, Err(Misfit::TooLarge)));
        let (_, outcome) = inflate(&mut press, &[0xff; 20], 1000);
        assert!(matches!(outcome, Err(Misfit::Corrupt(_))));
        let (found, outcome) = inflate(&mut press, b"\xf2\x48\xcd\xc9\xc9\x07\x00", 1000);
        assert_eq!((found.as_slice(), outcome), (&b"Hello"[..], Ok(())), "as RFC 7692 has it");
    }

    #[test]
    fn frames_are_as_the_client_likes_them() {
        let mut press = Press::default();
        let mut frames = |writer: &mut Writer, bytes: &[u8]| {
            let mut out = Sealed::default();
            writer.frame(bytes, &mut press, &mut out);
            out.unsent().to_vec()
        };
        let mut plain = Writer::new(false, "");
        plain.pong(b"hi");
        assert_eq!(frames(&mut plain, b"PONG\r\n"), b"\x8a\x02hi\x82\x06PONG\r\n");
        assert_eq!(frames(&mut plain, &[b'x'; 5000])[..4], [0x82, 126, 0x13, 0x88]);
        let mut browser = Writer::new(false, "Mozilla/5.0");
        let found = frames(&mut browser, &[b'x'; 5000]);
        assert_eq!(found[..4], [0x82, 126, 0x10, 0]);
        assert_eq!(found[4100..4104], [0x82, 126, 0x03, 0x88]);
        let mut random = base::Random::new(1);
        let noise: Vec<u8> = (0..9000).map(|_| random.next_u64() as u8).collect();
        let mut packing = Writer::new(true, "Mozilla/5.0");
        assert_eq!(frames(&mut packing, &[b'x'; 64])[0], 0x82, "not worth it");
        let found = frames(&mut packing, &noise);
        assert_eq!(found[0], 0x42, "it goes on");
        let mut safari = Writer::new(true, "Mozilla/5.0 Version/17 Safari/605");
        assert_eq!(frames(&mut safari, &noise)[0], 0xc2, "one frame");
    }
}
