//! Names that the server makes up.

use base::Random;

const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
/// Characters of a name that is unique without being looked up.
const UNIQUE_BYTES: usize = 22;
/// Characters of the name of an ephemeral consumer.
const CONSUMER_BYTES: usize = 8;

/// Appends random letters and digits.
pub(crate) fn put_random(out: &mut Vec<u8>, random: &mut Random, characters: usize) {
    for _ in 0..characters {
        out.push(DIGITS[random.below(DIGITS.len() as u64) as usize]);
    }
}

fn name(random: &mut Random, characters: usize) -> String {
    let mut out = Vec::with_capacity(characters);
    put_random(&mut out, random, characters);
    String::from_utf8(out).expect("letters and digits are text")
}

/// A name that no other event or client has.
pub(crate) fn unique(random: &mut Random) -> String {
    name(random, UNIQUE_BYTES)
}

/// A name for an ephemeral consumer.
pub(crate) fn of_consumer(random: &mut Random) -> String {
    name(random, CONSUMER_BYTES)
}
