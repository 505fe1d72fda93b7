//! Values: maps, arrays, and the beginnings of everything else.

use super::{END, Kind, Lexer, State, shown};

impl Lexer<'_> {
    // Values.

    pub(super) fn value(&mut self) -> State {
        let c = self.next();
        match c {
            '\t' | ' ' => self.skip(State::Value),
            '[' => self.open(Kind::ArrayStart, State::ArrayValue),
            '{' => self.open(Kind::MapStart, State::MapKeyStart),
            '\'' => self.skip(State::SingleQuoted),
            '"' => {
                self.string_state = State::DoubleQuoted;
                self.skip(State::DoubleQuoted)
            }
            '-' => self.first_digit(State::NegativeNumber),
            '(' => self.skip(State::Block),
            '0'..='9' => State::NumberOrString,
            '.' => self.fail("Floats must start with a digit".to_owned()),
            '\n' | '\r' => self.fail("Expected value but found new line".to_owned()),
            _ => {
                self.back();
                self.string_state = State::BareString;
                State::BareString
            }
        }
    }

    pub(super) fn first_digit(&mut self, number: State) -> State {
        let c = self.next();
        match c {
            '0'..='9' => number,
            '.' => self.fail("Floats must start with a digit, not '.'.".to_owned()),
            _ => self.fail(format!("Expected a digit but got '{}'.", shown(c))),
        }
    }

    pub(super) fn array_value(&mut self) -> State {
        let c = self.next();
        match c {
            _ if c.is_whitespace() => self.skip(State::ArrayValue),
            '#' => self.comment_then(State::ArrayValue),
            '/' if self.second_slash() => self.comment_then(State::ArrayValue),
            '/' | ',' => self.fail("Unexpected array value terminator ','.".to_owned()),
            ']' => self.close(Kind::ArrayEnd),
            _ => {
                self.back();
                self.stack.push(State::ArrayValueEnd);
                State::Value
            }
        }
    }

    pub(super) fn array_value_end(&mut self) -> State {
        let c = self.next();
        match c {
            '\t' | ' ' => self.skip(State::ArrayValueEnd),
            '#' => self.comment_then(State::ArrayValueEnd),
            '/' if self.second_slash() => self.comment_then(State::ArrayValueEnd),
            '/' | ',' | '\n' | '\r' => self.skip(State::ArrayValue),
            ']' => self.close(Kind::ArrayEnd),
            _ => self.fail(format!(
                "Expected an array value terminator \",\" or an array terminator \"]\", \
                 but got '{}' instead.",
                shown(c)
            )),
        }
    }

    pub(super) fn map_key_start(&mut self) -> State {
        let c = self.peek();
        match c {
            '=' | ':' => return self.fail(format!("Unexpected key separator '{c}'.")),
            ']' => return self.fail("Unexpected array end ']' processing map.".to_owned()),
            _ if c.is_whitespace() => return self.consume(State::MapKeyStart),
            '}' => {
                self.next();
                return self.close(Kind::MapEnd);
            }
            '#' => {
                self.next();
                return self.comment_then(State::MapKeyStart);
            }
            '/' => {
                self.next();
                if self.second_slash() {
                    return self.comment_then(State::MapKeyStart);
                }
            }
            '\'' | '"' => return self.consume(State::MapQuotedKey(c)),
            END => return self.fail("Unexpected EOF processing map.".to_owned()),
            _ => {}
        }
        self.ignore();
        self.next();
        State::MapKey
    }

    pub(super) fn map_quoted_key(&mut self, quote: char) -> State {
        let c = self.peek();
        if c == END {
            let double = if quote == '"' { "double " } else { "" };
            return self.fail(format!("Unexpected EOF processing {double}quoted map key."));
        }
        if c == quote {
            self.emit(Kind::Key);
            return self.consume(State::MapKeyEnd);
        }
        self.next();
        State::MapQuotedKey(quote)
    }

    pub(super) fn map_key(&mut self) -> State {
        let c = self.peek();
        match c {
            END => self.fail("Unexpected EOF processing map key.".to_owned()),
            _ if c.is_whitespace() => {
                self.key_or_include(State::MapKeyEnd, Some(State::MapValueEnd))
            }
            '=' | ':' => {
                self.emit(Kind::Key);
                State::MapKeyEnd
            }
            _ => {
                self.next();
                State::MapKey
            }
        }
    }

    pub(super) fn map_key_end(&mut self) -> State {
        let c = self.next();
        match c {
            _ if c.is_whitespace() => self.skip(State::MapKeyEnd),
            '=' | ':' => self.skip(State::MapValue),
            _ => {
                self.back();
                State::MapValue
            }
        }
    }

    pub(super) fn map_value(&mut self) -> State {
        let c = self.next();
        match c {
            _ if c.is_whitespace() => self.skip(State::MapValue),
            ',' => self.fail("Unexpected map value terminator \",\".".to_owned()),
            '}' => self.close(Kind::MapEnd),
            _ => {
                self.back();
                self.stack.push(State::MapValueEnd);
                State::Value
            }
        }
    }

    pub(super) fn map_value_end(&mut self) -> State {
        let c = self.next();
        match c {
            '\t' | ' ' => self.skip(State::MapValueEnd),
            '#' => self.comment_then(State::MapValueEnd),
            '/' if self.second_slash() => self.comment_then(State::MapValueEnd),
            '/' | ';' | ',' | '\n' | '\r' => self.skip(State::MapKeyStart),
            '}' => self.close(Kind::MapEnd),
            _ => self.fail(format!(
                "Expected a map value terminator \",\" or a map terminator \"}}\", \
                 but got '{}' instead.",
                shown(c)
            )),
        }
    }
}
