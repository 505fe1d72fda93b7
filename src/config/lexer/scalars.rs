//! Strings and numbers.

use super::{END, Kind, Lexer, State, is_size_suffix, shown};

impl Lexer<'_> {
    // Strings.

    pub(super) fn single_quoted(&mut self) -> State {
        match self.next() {
            '\'' => self.close_quote(Kind::String),
            END => self.end_or_stray(),
            _ => State::SingleQuoted,
        }
    }

    pub(super) fn double_quoted(&mut self) -> State {
        match self.next() {
            '\\' => self.escape(),
            '"' => self.close_quote(Kind::String),
            END => self.end_or_stray(),
            _ => State::DoubleQuoted,
        }
    }

    pub(super) fn bare_string(&mut self) -> State {
        match self.next() {
            '\\' => self.escape(),
            '\n' | '\r' | END | ';' | ',' | ']' | '}' | '\t' | ' ' => {
                self.back();
                let kind = self.bare_kind();
                self.emit(kind);
                self.pop()
            }
            '\'' => self.close_quote(Kind::String),
            _ => State::BareString,
        }
    }

    pub(super) fn bare_kind(&mut self) -> Kind {
        if self.pieces.is_some() {
            return Kind::String;
        }
        let text = self.input[self.start..self.pos].to_ascii_lowercase();
        if [&b"true"[..], b"false", b"on", b"off", b"yes", b"no"].contains(&text.as_slice()) {
            return Kind::Bool;
        }
        if text.first() == Some(&b'$') {
            self.start += 1;
            return Kind::Variable;
        }
        Kind::String
    }

    /// One escape, the backslash already read.
    pub(super) fn escape(&mut self) -> State {
        let before = self.input[self.start..self.pos - 1].to_vec();
        self.pieces.get_or_insert_default().extend(before);
        let c = self.next();
        let byte = match c {
            'x' => match self.hexadecimal() {
                Ok(byte) => byte,
                Err(problem) => return self.fail(problem),
            },
            't' => b'\t',
            'n' => b'\n',
            'r' => b'\r',
            '"' => b'"',
            '\\' => b'\\',
            _ => {
                return self.fail(format!(
                    "Invalid escape character '{}'. Only the following escape characters are \
                     allowed: \\xXX, \\t, \\n, \\r, \\\", \\\\.",
                    shown(c)
                ));
            }
        };
        self.pieces.get_or_insert_default().push(byte);
        self.start = self.pos;
        self.string_state
    }

    pub(super) fn hexadecimal(&mut self) -> Result<u8, String> {
        for _ in 0..2 {
            if matches!(self.next(), '\n' | '\r') {
                return Err(
                    "Expected two hexadecimal digits after '\\x', but hit end of line".to_owned()
                );
            }
        }
        let digits = &self.input[self.pos - 2..self.pos];
        std::str::from_utf8(digits)
            .ok()
            .filter(|text| text.bytes().all(|b| b.is_ascii_hexdigit()))
            .and_then(|text| u8::from_str_radix(text, 16).ok())
            .ok_or_else(|| {
                format!(
                    "Expected two hexadecimal digits after '\\x', but got '{}'",
                    String::from_utf8_lossy(digits)
                )
            })
    }

    /// `( … )`: everything up to a closing parenthesis alone on its line.
    pub(super) fn block(&mut self) -> State {
        match self.next() {
            ')' if self.input[self.pos - 2] == b'\n' => match self.input.get(self.pos) {
                Some(b'\n' | 0) => {
                    self.back();
                    self.emit(Kind::String);
                    self.next();
                    self.skip_to_popped()
                }
                // At the very end the reference takes the parenthesis into the string.
                None => {
                    self.emit(Kind::String);
                    self.skip_to_popped()
                }
                Some(_) => State::Block,
            },
            END => self.fail("Unexpected EOF processing block.".to_owned()),
            _ => State::Block,
        }
    }

    // Numbers, and the strings which look like numbers at first.

    pub(super) fn number_or_string(&mut self) -> State {
        let c = self.next();
        match c {
            '-' if self.pos - self.start == 5 => self.date_after_year(),
            '-' => self.fail("All ISO8601 dates must be in full Zulu form.".to_owned()),
            '0'..='9' => State::NumberOrString,
            '.' => self.after_point(),
            _ if is_size_suffix(c) => State::SizeSuffix,
            '\n' | '\r' | END | '}' | ';' | ',' | '\t' | ' ' => {
                self.back();
                self.emit(Kind::Integer);
                self.pop()
            }
            _ => {
                self.string_state = State::BareString;
                State::BareString
            }
        }
    }

    pub(super) fn size_suffix(&mut self) -> State {
        let c = self.next();
        if matches!(c, 'b' | 'B' | 'i' | 'I') {
            return State::SizeSuffix;
        }
        self.back();
        if matches!(c, '\n' | '\r' | END | '}' | ';' | ',' | '\t' | ' ' | '0'..='9') {
            self.emit(Kind::Integer);
            return self.pop();
        }
        self.string_state = State::BareString;
        State::BareString
    }

    pub(super) fn date_after_year(&mut self) -> State {
        for expected in "00-00T00:00:00Z".chars() {
            let c = self.next();
            if expected == '0' && !c.is_ascii_digit() {
                return self.fail(format!(
                    "Expected digit in ISO8601 datetime, but found '{}' instead.",
                    shown(c)
                ));
            }
            if expected != '0' && expected != c {
                return self.fail(format!(
                    "Expected '{expected}' in ISO8601 datetime, but found '{}' instead.",
                    shown(c)
                ));
            }
        }
        self.emit(Kind::DateTime);
        self.pop()
    }

    pub(super) fn negative_number(&mut self) -> State {
        let c = self.next();
        match c {
            '0'..='9' => State::NegativeNumber,
            '.' => self.after_point(),
            _ if is_size_suffix(c) => State::SizeSuffix,
            _ => {
                self.back();
                self.emit(Kind::Integer);
                self.pop()
            }
        }
    }

    pub(super) fn after_point(&mut self) -> State {
        let c = self.next();
        if c.is_ascii_digit() {
            return State::Float;
        }
        self.fail(format!(
            "Floats must have a digit after the '.', but got '{}' instead.",
            shown(c)
        ))
    }

    pub(super) fn float(&mut self) -> State {
        match self.next() {
            '0'..='9' => State::Float,
            // A second point: an address such as 127.0.0.1:4222.
            '.' => State::Address,
            _ => {
                self.back();
                self.emit(Kind::Float);
                self.pop()
            }
        }
    }

    pub(super) fn address(&mut self) -> State {
        if matches!(self.next(), '0'..='9' | '.' | ':' | '-') {
            return State::Address;
        }
        self.back();
        self.emit(Kind::String);
        self.pop()
    }

    pub(super) fn comment(&mut self) -> State {
        if matches!(self.peek(), '\n' | '\r' | END) {
            self.emit(Kind::Comment);
            return self.pop();
        }
        self.next();
        State::Comment
    }
}
