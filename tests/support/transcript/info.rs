//! INFO lines: their framing, and what their fields must be.

use serde_json::{Map, Value};

/// What an INFO must say: a field by name, with a value or with a matcher in angle brackets.
pub(crate) type Fields = Map<String, Value>;

/// Takes a whole INFO line from the start of `buffer`; `None` when more bytes are needed.
pub(crate) fn take_info(buffer: &[u8]) -> Result<Option<(Fields, usize)>, String> {
    let Some(end) = buffer.iter().position(|byte| *byte == b'\n') else {
        return Ok(None);
    };
    let line = std::str::from_utf8(&buffer[..=end]).map_err(|e| format!("INFO: {e}"))?;
    let json = line.strip_prefix("INFO ").ok_or_else(|| format!("no INFO but {line:?}"))?;
    let json = json.strip_suffix(" \r\n").ok_or("INFO must end in one space and CRLF")?;
    let fields: Fields =
        serde_json::from_str(json).map_err(|e| format!("INFO is not an object: {e}"))?;
    Ok(Some((fields, end + 1)))
}

/// Compares an INFO with what is expected of it.
pub(crate) fn check_info(info: &Fields, expected: &Fields) -> Result<(), String> {
    for (name, want) in expected {
        if name == "<others>" {
            check_others(info, expected)?;
        } else {
            check_field(name, info.get(name), want)?;
        }
    }
    Ok(())
}

fn check_others(info: &Fields, expected: &Fields) -> Result<(), String> {
    match info.keys().find(|name| !expected.contains_key(*name)) {
        Some(name) => Err(format!("INFO has a field {name:?} that is not expected")),
        None => Ok(()),
    }
}

fn check_field(name: &str, have: Option<&Value>, want: &Value) -> Result<(), String> {
    let matcher = want.as_str().and_then(|text| text.strip_prefix('<')?.strip_suffix('>'));
    let fits = match (matcher, have) {
        (Some("absent"), have) => have.is_none(),
        (Some("int"), Some(have)) => have.is_u64(),
        (Some("string"), Some(have)) => have.as_str().is_some_and(|text| !text.is_empty()),
        (Some("bool"), Some(have)) => have.is_boolean(),
        (Some(rule), Some(Value::String(have))) => fits_rule(rule, have),
        (Some(_), _) => false,
        (None, have) => have == Some(want),
    };
    if fits { Ok(()) } else { Err(format!("INFO field {name:?} is {have:?}, expected {want}")) }
}

/// `<starts N>`, `<length 56>`, both joined by ` and `.
fn fits_rule(rule: &str, have: &str) -> bool {
    rule.split(" and ").all(|rule| match rule.split_once(' ') {
        Some(("starts", prefix)) => have.starts_with(prefix),
        Some(("length", length)) => length.parse() == Ok(have.len()),
        _ => false,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{Fields, check_info, take_info};

    fn fields(value: Value) -> Fields {
        let Value::Object(fields) = value else { unreachable!("tests write objects") };
        fields
    }

    #[test]
    fn framing_is_exact() {
        assert!(take_info(b"INFO {}").is_ok_and(|info| info.is_none()));
        assert!(take_info(b"INFO {} \r\nPONG").is_ok_and(|info| info.is_some_and(|i| i.1 == 10)));
        assert!(take_info(b"INFO {}\r\n").is_err());
        assert!(take_info(b"info {} \r\n").is_err());
        assert!(take_info(b"INFO [] \r\n").is_err());
    }

    #[test]
    fn fields_match_by_value_type_and_absence() {
        let info = fields(json!({"proto": 1, "id": "NAB", "headers": true}));
        let check = |want| check_info(&info, &fields(want));
        assert!(check(json!({"proto": 1, "id": "<starts N and length 3>"})).is_ok());
        assert!(check(json!({"proto": "<int>", "nonce": "<absent>"})).is_ok());
        assert!(check(json!({"proto": 2})).is_err());
        assert!(check(json!({"id": "<length 4>"})).is_err());
        assert!(check(json!({"id": "<absent>"})).is_err());
        assert!(check(json!({"nonce": "<string>"})).is_err());
        assert!(check(json!({"proto": 1, "<others>": "<absent>"})).is_err());
    }
}
