//! Base64 in the two forms that nonces, signatures and tokens come in.

/// Base64 with padding.
pub fn encode_padded(bytes: &[u8]) -> String {
    let mut text = encode(bytes, *b"+/");
    text.extend(std::iter::repeat_n('=', text.len().next_multiple_of(4) - text.len()));
    text
}

/// Base64 with the alphabet for URLs, without padding.
pub fn encode_url(bytes: &[u8]) -> String {
    encode(bytes, *b"-_")
}

fn encode(bytes: &[u8], last: [u8; 2]) -> String {
    const LETTERS: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let bits = group.iter().fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte));
        let bits = bits << (8 * (3 - group.len()));
        for place in 0..=group.len() {
            let value = (bits >> (18 - 6 * place)) as usize & 63;
            let letter = LETTERS.get(value).copied().unwrap_or_else(|| last[value - 62]);
            text.push(char::from(letter));
        }
    }
    text
}

/// Base64 with the alphabet for URLs, without padding. `None` if it is none.
pub fn decode_url(text: &str) -> Option<Vec<u8>> {
    decode(text.as_bytes(), [b'-', b'_'])
}

/// Base64 with padding. `None` if it is none.
pub fn decode_padded(text: &str) -> Option<Vec<u8>> {
    let bare = text.trim_end_matches('=');
    if !text.len().is_multiple_of(4) || text.len() - bare.len() > 2 {
        return None;
    }
    decode(bare.as_bytes(), [b'+', b'/'])
}

fn decode(text: &[u8], last: [u8; 2]) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3 + 2);
    let (mut bits, mut count) = (0_u32, 0);
    for letter in text {
        let value = match letter {
            b'A'..=b'Z' => letter - b'A',
            b'a'..=b'z' => letter - b'a' + 26,
            b'0'..=b'9' => letter - b'0' + 52,
            other if *other == last[0] => 62,
            other if *other == last[1] => 63,
            // Go's decoder passes over line ends.
            b'\r' | b'\n' => continue,
            _ => return None,
        };
        bits = bits << 6 | u32::from(value);
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count) as u8);
            bits &= (1 << count) - 1;
        }
    }
    // One letter too many says less than a byte.
    (count < 6).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_and_back() {
        for (bytes, text) in
            [(&b""[..], ""), (b"f", "Zg"), (b"fo", "Zm8"), (b"foo", "Zm9v"), (b"\xff\xfe", "__4")]
        {
            assert_eq!(encode_url(bytes), text);
            assert_eq!(decode_url(text).as_deref(), Some(bytes));
        }
        assert_eq!(decode_padded("//4=").as_deref(), Some(&b"\xff\xfe"[..]));
    }

    #[test]
    fn what_is_none() {
        for text in ["Z", "*", "Zg=="] {
            assert_eq!(decode_url(text), None, "{text}");
        }
        for text in ["Zg", "Zg=", "Z===", "__4="] {
            assert_eq!(decode_padded(text), None, "{text}");
        }
    }
}
