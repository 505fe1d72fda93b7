//! A consumer's state as the reference keeps it in `o.dat`: numbers of variable length.

/// What a consumer has delivered, and what of it is outstanding.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ConsumerState {
    /// The last sequences of the consumer and of the stream that everything was acknowledged up to.
    pub(crate) floor: (u64, u64),
    /// The last ones that were delivered.
    pub(crate) delivered: (u64, u64),
    /// The stream's and the consumer's sequence of what is outstanding, and when it was delivered,
    /// in seconds since 1970.
    pub(crate) pending: Vec<(u64, u64, i64)>,
    /// How often what was delivered more than once was redelivered.
    pub(crate) redelivered: Vec<(u64, u64)>,
}

const MAGIC: u8 = 22;
const VERSION: u8 = 2;
/// Entries of a state at most: each takes three bytes or more.
const ENTRIES_MAX: u64 = 16 * 1024 * 1024;

fn put(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

fn put_signed(out: &mut Vec<u8>, number: i64) {
    put(out, ((number << 1) ^ (number >> 63)) as u64);
}

/// Reads numbers of variable length.
pub(crate) struct Reader<'a>(pub(crate) &'a [u8]);

impl Reader<'_> {
    pub(crate) fn number(&mut self) -> Option<u64> {
        let mut number = 0_u64;
        for shift in (0..64).step_by(7) {
            let (byte, rest) = self.0.split_first()?;
            self.0 = rest;
            number |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(number);
            }
        }
        None
    }

    pub(crate) fn signed(&mut self) -> Option<i64> {
        let number = self.number()?;
        Some((number >> 1) as i64 ^ -((number & 1) as i64))
    }
}

impl ConsumerState {
    /// Appends the state. `seconds` is now, since 1970.
    pub(crate) fn put(&self, out: &mut Vec<u8>, seconds: i64) {
        out.extend_from_slice(&[MAGIC, VERSION]);
        let ((floor, stream_floor), (delivered, stream_delivered)) = (self.floor, self.delivered);
        for number in [floor, stream_floor, delivered, stream_delivered] {
            put(out, number);
        }
        put(out, self.pending.len() as u64);
        if !self.pending.is_empty() {
            put_signed(out, seconds);
        }
        for (sequence, number, since) in &self.pending {
            put(out, sequence - stream_floor);
            put(out, number - floor);
            put_signed(out, seconds - since);
        }
        put(out, self.redelivered.len() as u64);
        for (sequence, count) in &self.redelivered {
            put(out, sequence - stream_floor);
            put(out, *count);
        }
    }

    /// Reads a state; nothing if it is none.
    pub(crate) fn read(bytes: &[u8]) -> Option<Self> {
        let rest = bytes.strip_prefix(&[MAGIC, VERSION])?;
        let mut reader = Reader(rest);
        let floor = (reader.number()?, reader.number()?);
        let delivered = (reader.number()?, reader.number()?);
        let mut state = Self { floor, delivered, ..Self::default() };
        let count = reader.number().filter(|count| *count <= ENTRIES_MAX)?;
        let seconds = if count > 0 { reader.signed()? } else { 0 };
        for _ in 0..count {
            let sequence = reader.number()?.checked_add(floor.1)?;
            let number = reader.number()?.checked_add(floor.0)?;
            let since = seconds.checked_sub(reader.signed()?)?;
            state.pending.push((sequence, number, since));
        }
        let count = reader.number().filter(|count| *count <= ENTRIES_MAX)?;
        for _ in 0..count {
            let sequence = reader.number()?.checked_add(floor.1)?;
            state.redelivered.push((sequence, reader.number()?));
        }
        state.pending.sort_unstable();
        state.redelivered.sort_unstable();
        Some(state)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_comes_back() {
        let state = ConsumerState {
            floor: (3, 200),
            delivered: (9, 1_000_000),
            pending: vec![(300, 4, 1_700_000_000), (500_000, 9, 1_700_000_099)],
            redelivered: vec![(300, 2)],
        };
        let mut bytes = Vec::new();
        state.put(&mut bytes, 1_700_000_100);
        assert_eq!(ConsumerState::read(&bytes), Some(state));
        for cut in 0..bytes.len() {
            assert_eq!(ConsumerState::read(&bytes[..cut]), None);
        }
    }
}
