//! The arguments of a request: what stands behind the question mark, and how it can be wrong.

use crate::notation::{parse_bool, quote};

/// A query taken apart. What cannot be read is left out, as in the reference.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Query(Vec<(String, String)>);

impl Query {
    /// Takes a query apart.
    pub fn parse(query: &str) -> Self {
        let mut pairs = Vec::new();
        for part in query.split('&').filter(|part| !part.is_empty() && !part.contains(';')) {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            if let (Some(name), Some(value)) = (unescape(name), unescape(value)) {
                pairs.push((name, value));
            }
        }
        Self(pairs)
    }

    /// The first value of that name, or nothing.
    pub fn text(&self, name: &str) -> &str {
        let found = self.0.iter().find(|(found, _)| found == name);
        found.map_or("", |(_, value)| value.as_str())
    }

    /// A boolean, false if absent.
    ///
    /// # Errors
    /// If it is not one: the text of the answer.
    pub fn boolean(&self, name: &str) -> Result<bool, String> {
        match self.text(name) {
            "" => Ok(false),
            text => parse_bool(text).ok_or_else(|| {
                let text = quote(text);
                format!(
                    "Error decoding boolean for '{name}': strconv.ParseBool: parsing {text}: \
                     invalid syntax"
                )
            }),
        }
    }

    /// An integer, zero if absent.
    ///
    /// # Errors
    /// If it is not one: the text of the answer.
    pub fn integer(&self, name: &str) -> Result<i64, String> {
        let text = self.text(name);
        if text.is_empty() {
            return Ok(0);
        }
        let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
        text.parse().map_err(|_| {
            let problem = number_problem("Atoi", text, unsigned);
            format!("Error decoding int for '{name}': {problem}")
        })
    }

    /// A number that is not negative, zero if absent.
    ///
    /// # Errors
    /// If it is not one: the text of the answer.
    pub fn unsigned(&self, name: &str) -> Result<u64, String> {
        let text = self.text(name);
        if text.is_empty() {
            return Ok(0);
        }
        let number = if text.starts_with('+') { None } else { text.parse().ok() };
        number.ok_or_else(|| {
            let problem = number_problem("ParseUint", text, text);
            format!("Error decoding uint64 for '{name}': {problem}")
        })
    }

    /// Are subscriptions to be listed, and if so in detail?
    ///
    /// # Errors
    /// If it is neither a boolean nor `detail`: the text of the answer.
    pub fn subscriptions(&self) -> Result<(bool, bool), String> {
        if self.text("subs").to_lowercase() == "detail" {
            return Ok((false, true));
        }
        Ok((self.boolean("subs")?, false))
    }
}

fn number_problem(function: &str, text: &str, digits: &str) -> String {
    let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    let problem = if is_number { "value out of range" } else { "invalid syntax" };
    format!("strconv.{function}: parsing {}: {problem}", quote(text))
}

/// Undoes percent signs and plus signs; nothing if a percent sign stands before no two digits.
fn unescape(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let mut digit = || (rest.next()? as char).to_digit(16);
                (digit()? * 16 + digit()?) as u8
            }
            other => other,
        });
    }
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_are_taken_apart() {
        let query = Query::parse("a=1&b=x%20y+z&&c&a=2&bad=%zz&odd=1;2&%61b=%e2%82%ac&cut=%4");
        for (name, value) in
            [("a", "1"), ("b", "x y z"), ("c", ""), ("bad", ""), ("odd", ""), ("ab", "€")]
        {
            assert_eq!(query.text(name), value, "{name}");
        }
        assert_eq!(Query::parse(""), Query::default());
    }

    #[test]
    fn what_is_wrong_is_said_in_the_words_of_the_reference() {
        let query =
            Query::parse("i=x&u=-1&b=7&l=99999999999999999999&p=%2b5&n=-5&q=%22&subs=Detail");
        let rows = [
            (
                query.integer("i").map(drop),
                "int for 'i': strconv.Atoi: parsing \"x\": invalid syntax",
            ),
            (
                query.unsigned("u").map(drop),
                "uint64 for 'u': strconv.ParseUint: parsing \"-1\": invalid syntax",
            ),
            (
                query.boolean("b").map(drop),
                "boolean for 'b': strconv.ParseBool: parsing \"7\": invalid syntax",
            ),
            (
                query.integer("l").map(drop),
                "int for 'l': strconv.Atoi: parsing \"99999999999999999999\": value out of range",
            ),
            (
                query.unsigned("p").map(drop),
                "uint64 for 'p': strconv.ParseUint: parsing \"+5\": invalid syntax",
            ),
            (
                query.integer("q").map(drop),
                "int for 'q': strconv.Atoi: parsing \"\\\"\": invalid syntax",
            ),
        ];
        for (answer, expected) in rows {
            assert_eq!(answer, Err(format!("Error decoding {expected}")));
        }
        assert_eq!((query.integer("p"), query.integer("n")), (Ok(5), Ok(-5)));
        assert_eq!((query.integer("none"), query.unsigned("none")), (Ok(0), Ok(0)));
        assert_eq!(query.subscriptions(), Ok((false, true)));
    }
}
