//! Keys and includes, and what may stand between entries of the top level.

use super::{END, Kind, Lexer, State, is_blank, shown};

impl Lexer<'_> {
    // The top level, bare or within one pair of braces as JSON has it.

    pub(super) fn top(&mut self) -> State {
        let c = self.next();
        match c {
            _ if c.is_whitespace() => self.skip(State::Top),
            '{' => {
                self.stack.push(State::Top);
                self.skip(State::BlockStart)
            }
            '#' => self.comment_then(State::Top),
            '/' if self.second_slash() => self.comment_then(State::Top),
            '/' | END => self.end_or_stray(),
            _ => {
                self.back();
                self.stack.push(State::TopValueEnd);
                State::KeyStart
            }
        }
    }

    pub(super) fn top_value_end(&mut self) -> State {
        let c = self.next();
        match c {
            '#' => self.comment_then(State::Top),
            '/' if self.second_slash() => self.comment_then(State::Top),
            '/' | '\t' | ' ' => State::TopValueEnd,
            '\n' | '\r' | END | ';' | ',' | '}' => self.skip(State::Top),
            _ => self.fail(format!(
                "Expected a top-level value to end with a new line, comment or EOF, \
                 but got '{}' instead.",
                shown(c)
            )),
        }
    }

    pub(super) fn block_start(&mut self) -> State {
        let c = self.next();
        match c {
            _ if c.is_whitespace() => self.skip(State::BlockStart),
            '{' => {
                self.stack.push(State::BlockEnd);
                self.skip(State::BlockStart)
            }
            '}' => {
                self.ignore();
                self.pop()
            }
            '#' => self.comment_then(State::BlockStart),
            '/' if self.second_slash() => self.comment_then(State::BlockStart),
            '/' | END => self.end_or_stray(),
            _ => {
                self.back();
                self.stack.push(State::BlockValueEnd);
                State::KeyStart
            }
        }
    }

    pub(super) fn block_value_end(&mut self) -> State {
        let c = self.next();
        match c {
            '#' => self.comment_then(State::BlockValueEnd),
            '/' if self.second_slash() => self.comment_then(State::BlockValueEnd),
            '/' | '\t' | ' ' => State::BlockValueEnd,
            '\n' | '\r' | ';' | ',' => self.skip(State::BlockStart),
            '}' => {
                self.back();
                State::BlockEnd
            }
            _ => self.fail(format!(
                "Expected a block-level value to end with a new line, comment or EOF, \
                 but got '{}' instead.",
                shown(c)
            )),
        }
    }

    pub(super) fn block_end(&mut self) -> State {
        let c = self.next();
        match c {
            '#' => self.comment_then(State::BlockStart),
            '/' if self.second_slash() => self.comment_then(State::BlockStart),
            '/' | '\n' | '\r' | '\t' | ' ' => State::BlockEnd,
            ';' | ',' => self.skip(State::BlockStart),
            '}' => {
                self.ignore();
                self.pop()
            }
            _ => self.fail(format!(
                "Expected a block-level to end with a '}}', but got '{}' instead.",
                shown(c)
            )),
        }
    }

    // Keys and includes of the top level.

    pub(super) fn key_start(&mut self) -> State {
        let c = self.peek();
        match c {
            '=' | ':' => self.fail(format!("Unexpected key separator '{c}'")),
            _ if c.is_whitespace() => self.consume(State::KeyStart),
            '"' | '\'' => self.consume(State::QuotedKey(c)),
            _ => {
                self.ignore();
                self.next();
                State::Key
            }
        }
    }

    pub(super) fn quoted_key(&mut self, quote: char) -> State {
        let c = self.peek();
        if c == quote {
            self.emit(Kind::Key);
            return self.consume(State::KeyEnd);
        }
        if c == END {
            return self.end_or_stray();
        }
        self.next();
        State::QuotedKey(quote)
    }

    pub(super) fn key(&mut self) -> State {
        let c = self.peek();
        if c.is_whitespace() {
            // A word before a space may be a keyword instead of a key.
            return self.key_or_include(State::KeyEnd, None);
        }
        if matches!(c, '=' | ':' | END) {
            self.emit(Kind::Key);
            return State::KeyEnd;
        }
        self.next();
        State::Key
    }

    pub(super) fn key_or_include(
        &mut self,
        after_key: State,
        after_include: Option<State>,
    ) -> State {
        if self.input[self.start..self.pos].eq_ignore_ascii_case(b"include") {
            self.ignore();
            self.stack.extend(after_include);
            return State::IncludeStart;
        }
        self.emit(Kind::Key);
        after_key
    }

    pub(super) fn key_end(&mut self) -> State {
        let c = self.next();
        match c {
            _ if c.is_whitespace() => self.skip(State::KeyEnd),
            '=' | ':' => self.skip(State::Value),
            END => {
                self.emit(Kind::End);
                State::Stopped
            }
            _ => {
                self.back();
                State::Value
            }
        }
    }

    pub(super) fn include_start(&mut self) -> State {
        if is_blank(self.next()) {
            return self.skip(State::IncludeStart);
        }
        self.back();
        State::Include
    }

    pub(super) fn include(&mut self) -> State {
        let c = self.next();
        let found = match c {
            '\'' | '"' => {
                self.ignore();
                return State::IncludeQuoted(c);
            }
            '[' => "start of an array",
            '{' => "start of a map",
            '(' => "start of a block",
            '0'..='9' | '-' => "start of a number",
            '\\' => "escape sequence",
            '\n' | '\r' => {
                return self.fail("Expected include value but found new line".to_owned());
            }
            _ => {
                self.back();
                return State::IncludeString;
            }
        };
        self.fail(format!("Expected include value but found {found}"))
    }

    pub(super) fn include_string(&mut self) -> State {
        match self.next() {
            '\n' | '\r' | END | ';' | '}' | '\t' | ' ' => {
                self.back();
                self.emit(Kind::Include);
                self.pop()
            }
            '\'' => self.close_quote(Kind::Include),
            _ => State::IncludeString,
        }
    }

    pub(super) fn include_quoted(&mut self, quote: char) -> State {
        let c = self.next();
        if c == quote {
            return self.close_quote(Kind::Include);
        }
        if c == END {
            let double = if quote == '"' { "double " } else { "" };
            return self.fail(format!("Unexpected EOF in {double}quoted include"));
        }
        State::IncludeQuoted(quote)
    }
}
