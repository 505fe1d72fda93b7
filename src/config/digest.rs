//! The digest of a configuration: SHA-256 over the parsed tree as JSON.
//!
//! Monitoring compares it between servers and with `-t`, so the JSON has to be the reference's byte
//! for byte: keys sorted, `<`, `>`, `&` and two line separators escaped, the
//! replacement character for bytes that are not UTF-8, one newline at the end.

use std::fmt::Write as _;

use sha2::{Digest as _, Sha256};

use super::tree::{Map, Value};

/// `sha256:` and 64 hexadecimal digits.
pub(super) fn of(map: &Map) -> String {
    let mut json = Vec::new();
    write_map(map, &mut json);
    json.push(b'\n');
    let mut text = String::from("sha256:");
    for byte in Sha256::digest(&json) {
        let _ = write!(text, "{byte:02x}");
    }
    text
}

fn write_map(map: &Map, json: &mut Vec<u8>) {
    let mut entries: Vec<_> = map.iter().collect();
    entries.sort_unstable_by_key(|(key, _)| *key);
    json.push(b'{');
    for (place, (key, node)) in entries.into_iter().enumerate() {
        if place > 0 {
            json.push(b',');
        }
        write_string(key.as_bytes(), json);
        json.push(b':');
        write_value(&node.value, json);
    }
    json.push(b'}');
}

/// Recurses as deep as the parser let brackets nest.
fn write_value(value: &Value, json: &mut Vec<u8>) {
    match value {
        Value::Bool(value) => json.extend(value.to_string().bytes()),
        Value::Integer(value) => json.extend(value.to_string().bytes()),
        Value::Float(value) => json.extend(float_text(*value).bytes()),
        Value::DateTime(text) => write_string(text.as_bytes(), json),
        Value::String(text) => write_string(text, json),
        Value::Array(nodes) => {
            json.push(b'[');
            for (place, node) in nodes.iter().enumerate() {
                if place > 0 {
                    json.push(b',');
                }
                write_value(&node.value, json);
            }
            json.push(b']');
        }
        Value::Map(map) => write_map(map, json),
    }
}

/// The shortest decimal that reads back; an exponent only for very large and very small numbers.
fn float_text(value: f64) -> String {
    let magnitude = value.abs();
    if magnitude != 0.0 && !(1e-6..1e21).contains(&magnitude) {
        let text = format!("{value:e}");
        // The reference writes `1e+21` and `1e-9`.
        return match text.split_once('e') {
            Some((digits, power)) if !power.starts_with('-') => format!("{digits}e+{power}"),
            _ => text,
        };
    }
    value.to_string()
}

fn write_string(bytes: &[u8], json: &mut Vec<u8>) {
    json.push(b'"');
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            write_character(c, json);
        }
        for _ in chunk.invalid() {
            json.extend("\u{fffd}".bytes());
        }
    }
    json.push(b'"');
}

fn write_character(c: char, json: &mut Vec<u8>) {
    match c {
        '"' => json.extend(b"\\\""),
        '\\' => json.extend(b"\\\\"),
        '\x08' => json.extend(b"\\b"),
        '\x0c' => json.extend(b"\\f"),
        '\n' => json.extend(b"\\n"),
        '\r' => json.extend(b"\\r"),
        '\t' => json.extend(b"\\t"),
        '\0'..' ' | '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => {
            json.extend(format!("\\u{:04x}", c as u32).bytes());
        }
        c => json.extend(c.encode_utf8(&mut [0; 4]).bytes()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_are_escaped_for_html() {
        let mut json = Vec::new();
        write_string(b"a<b>&\"\\\x01\xff\n", &mut json);
        let expected = "\"a\\u003cb\\u003e\\u0026\\\"\\\\\\u0001\u{fffd}\\n\"";
        assert_eq!(String::from_utf8_lossy(&json), expected);
    }

    #[test]
    fn floats_print_shortest() {
        assert_eq!(float_text(1.0), "1");
        assert_eq!(float_text(22.25), "22.25");
        assert_eq!(float_text(1e21), "1e+21");
        assert_eq!(float_text(0.000_000_1), "1e-7");
    }
}
