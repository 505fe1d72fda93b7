//! Small pieces of text written without allocating and without a call per piece.

/// Decimal digits of a number in a buffer of its own.
#[derive(Clone, Copy, Debug)]
pub struct Decimal {
    digits: [u8; 20],
    start: u8,
}

impl Decimal {
    /// The digits of `value`.
    pub fn new(mut value: u64) -> Self {
        let mut digits = [0_u8; 20];
        let mut start = digits.len();
        loop {
            start -= 1;
            digits[start] = b'0' + (value % 10) as u8;
            value /= 10;
            if value == 0 {
                break;
            }
        }
        Self { digits, start: start as u8 }
    }

    /// The digits as text.
    pub fn as_bytes(&self) -> &[u8] {
        &self.digits[usize::from(self.start)..]
    }
}

/// Writes pieces into a span that has room for them.
///
/// The pieces of a MSG line are a few bytes each; a call to `memcpy` for each would cost more than
/// the bytes. Pieces of up to 16 bytes are moved as two overlapping words.
#[derive(Debug)]
pub struct Cursor<'a> {
    span: &'a mut [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    /// Writes from the start of `span`.
    pub fn new(span: &'a mut [u8]) -> Self {
        Self { span, at: 0 }
    }

    /// Appends one byte.
    #[inline]
    pub fn byte(&mut self, byte: u8) {
        self.span[self.at] = byte;
        self.at += 1;
    }

    /// Appends a piece.
    #[inline]
    pub fn put(&mut self, piece: &[u8]) {
        let length = piece.len();
        let target = &mut self.span[self.at..self.at + length];
        self.at += length;
        match length {
            0 => {}
            1 => target[0] = piece[0],
            2..=3 => {
                move_word::<2>(target, piece, 0);
                move_word::<2>(target, piece, length - 2);
            }
            4..=7 => {
                move_word::<4>(target, piece, 0);
                move_word::<4>(target, piece, length - 4);
            }
            8..=16 => {
                move_word::<8>(target, piece, 0);
                move_word::<8>(target, piece, length - 8);
            }
            17..=32 => {
                move_word::<16>(target, piece, 0);
                move_word::<16>(target, piece, length - 16);
            }
            _ => target.copy_from_slice(piece),
        }
    }

    /// Bytes written so far.
    #[inline]
    pub const fn at(&self) -> usize {
        self.at
    }
}

#[inline]
fn move_word<const N: usize>(target: &mut [u8], piece: &[u8], at: usize) {
    let word: [u8; N] = piece[at..at + N].try_into().expect("a range of N bytes has N bytes");
    target[at..at + N].copy_from_slice(&word);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_those_of_the_standard_library() {
        for value in [0, 7, 10, 99, 12_345, u64::MAX] {
            assert_eq!(Decimal::new(value).as_bytes(), value.to_string().as_bytes());
        }
    }

    #[test]
    fn pieces_of_every_length_arrive_whole() {
        let source: Vec<u8> = (0..=80).collect();
        for length in 0..=80 {
            let mut span = vec![0xff; length + 1];
            let mut cursor = Cursor::new(&mut span);
            cursor.put(&source[..length]);
            cursor.byte(b'!');
            assert_eq!(cursor.at(), length + 1);
            assert_eq!(span[..length], source[..length]);
            assert_eq!(span[length], b'!');
        }
    }
}
