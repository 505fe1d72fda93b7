//! Bytes to items: the lexical half of the configuration language.
//!
//! A machine of named states with an explicit stack, one state per place in the grammar. Nothing
//! here recurses, so no input can exhaust the stack. The states keep the reference's habits (where a
//! comment may stand, which characters end a bare word) because configuration files rely on them.

/// What an item is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Error,
    End,
    Key,
    String,
    Bool,
    Integer,
    Float,
    DateTime,
    ArrayStart,
    ArrayEnd,
    MapStart,
    MapEnd,
    Comment,
    Variable,
    Include,
}

/// One lexical item and where it stands.
#[derive(Debug, Clone)]
pub(super) struct Item {
    pub(super) kind: Kind,
    /// The text as bytes: escapes such as `\xff` need not be UTF-8.
    pub(super) text: Vec<u8>,
    pub(super) line: u32,
    /// Offset in the line; negative when escapes made the text longer than its source.
    pub(super) column: i32,
}

/// End of input; a NUL byte ends the input as well, as in the reference.
const END: char = '\0';

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Top,
    TopValueEnd,
    BlockStart,
    BlockValueEnd,
    BlockEnd,
    KeyStart,
    Key,
    QuotedKey(char),
    KeyEnd,
    IncludeStart,
    Include,
    IncludeString,
    IncludeQuoted(char),
    Value,
    ArrayValue,
    ArrayValueEnd,
    MapKeyStart,
    MapKey,
    MapQuotedKey(char),
    MapKeyEnd,
    MapValue,
    MapValueEnd,
    SingleQuoted,
    DoubleQuoted,
    BareString,
    Block,
    NumberOrString,
    SizeSuffix,
    NegativeNumber,
    Float,
    Address,
    Comment,
    Stopped,
}

/// The machine: call [`Lexer::next_item`] until it returns an error or the end.
pub(super) struct Lexer<'a> {
    input: &'a [u8],
    /// Where the item being read starts.
    start: usize,
    pos: usize,
    /// Bytes of the last character read, so that one step back is possible.
    width: usize,
    line: u32,
    /// The newline before the current line, and before the current item.
    line_start: usize,
    item_line_start: usize,
    state: State,
    /// Where to go on after a value or a comment.
    stack: Vec<State>,
    /// Pieces of a string that had escapes in it.
    pieces: Option<Vec<u8>>,
    /// The kind of string an escape returns to.
    string_state: State,
    pending: Option<Item>,
}

impl<'a> Lexer<'a> {
    pub(super) fn new(input: &'a [u8]) -> Self {
        Self {
            input,
            start: 0,
            pos: 0,
            width: 0,
            line: 1,
            line_start: 0,
            item_line_start: 0,
            state: State::Top,
            stack: Vec::new(),
            pieces: None,
            string_state: State::BareString,
            pending: None,
        }
    }

    /// The next item; after [`Kind::Error`] or [`Kind::End`] there is only the end.
    pub(super) fn next_item(&mut self) -> Item {
        loop {
            if let Some(item) = self.pending.take() {
                return item;
            }
            let state = self.state;
            self.state = self.step(state);
        }
    }

    fn step(&mut self, state: State) -> State {
        match state {
            State::Top => self.top(),
            State::TopValueEnd => self.top_value_end(),
            State::BlockStart => self.block_start(),
            State::BlockValueEnd => self.block_value_end(),
            State::BlockEnd => self.block_end(),
            State::KeyStart => self.key_start(),
            State::Key => self.key(),
            State::QuotedKey(quote) => self.quoted_key(quote),
            State::KeyEnd => self.key_end(),
            State::IncludeStart => self.include_start(),
            State::Include => self.include(),
            State::IncludeString => self.include_string(),
            State::IncludeQuoted(quote) => self.include_quoted(quote),
            State::Value => self.value(),
            State::ArrayValue => self.array_value(),
            State::ArrayValueEnd => self.array_value_end(),
            State::MapKeyStart => self.map_key_start(),
            State::MapKey => self.map_key(),
            State::MapQuotedKey(quote) => self.map_quoted_key(quote),
            State::MapKeyEnd => self.map_key_end(),
            State::MapValue => self.map_value(),
            State::MapValueEnd => self.map_value_end(),
            State::SingleQuoted => self.single_quoted(),
            State::DoubleQuoted => self.double_quoted(),
            State::BareString => self.bare_string(),
            State::Block => self.block(),
            State::NumberOrString => self.number_or_string(),
            State::SizeSuffix => self.size_suffix(),
            State::NegativeNumber => self.negative_number(),
            State::Float => self.float(),
            State::Address => self.address(),
            State::Comment => self.comment(),
            State::Stopped => self.stop(),
        }
    }

    // The top level, bare or within one pair of braces as JSON has it.

    fn top(&mut self) -> State {
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

    fn top_value_end(&mut self) -> State {
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

    fn block_start(&mut self) -> State {
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

    fn block_value_end(&mut self) -> State {
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

    fn block_end(&mut self) -> State {
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

    fn key_start(&mut self) -> State {
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

    fn quoted_key(&mut self, quote: char) -> State {
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

    fn key(&mut self) -> State {
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

    fn key_or_include(&mut self, after_key: State, after_include: Option<State>) -> State {
        if self.input[self.start..self.pos].eq_ignore_ascii_case(b"include") {
            self.ignore();
            self.stack.extend(after_include);
            return State::IncludeStart;
        }
        self.emit(Kind::Key);
        after_key
    }

    fn key_end(&mut self) -> State {
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

    fn include_start(&mut self) -> State {
        if is_blank(self.next()) {
            return self.skip(State::IncludeStart);
        }
        self.back();
        State::Include
    }

    fn include(&mut self) -> State {
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

    fn include_string(&mut self) -> State {
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

    fn include_quoted(&mut self, quote: char) -> State {
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

    // Values.

    fn value(&mut self) -> State {
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

    fn first_digit(&mut self, number: State) -> State {
        let c = self.next();
        match c {
            '0'..='9' => number,
            '.' => self.fail("Floats must start with a digit, not '.'.".to_owned()),
            _ => self.fail(format!("Expected a digit but got '{}'.", shown(c))),
        }
    }

    fn array_value(&mut self) -> State {
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

    fn array_value_end(&mut self) -> State {
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

    fn map_key_start(&mut self) -> State {
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

    fn map_quoted_key(&mut self, quote: char) -> State {
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

    fn map_key(&mut self) -> State {
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

    fn map_key_end(&mut self) -> State {
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

    fn map_value(&mut self) -> State {
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

    fn map_value_end(&mut self) -> State {
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

    // Strings.

    fn single_quoted(&mut self) -> State {
        match self.next() {
            '\'' => self.close_quote(Kind::String),
            END => self.end_or_stray(),
            _ => State::SingleQuoted,
        }
    }

    fn double_quoted(&mut self) -> State {
        match self.next() {
            '\\' => self.escape(),
            '"' => self.close_quote(Kind::String),
            END => self.end_or_stray(),
            _ => State::DoubleQuoted,
        }
    }

    fn bare_string(&mut self) -> State {
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

    fn bare_kind(&mut self) -> Kind {
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
    fn escape(&mut self) -> State {
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

    fn hexadecimal(&mut self) -> Result<u8, String> {
        for _ in 0..2 {
            if matches!(self.next(), '\n' | '\r') {
                return Err(
                    "Expected two hexadecimal digits after '\\x', but hit end of line".to_owned(),
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
    fn block(&mut self) -> State {
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

    fn number_or_string(&mut self) -> State {
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

    fn size_suffix(&mut self) -> State {
        let c = self.next();
        if matches!(c, 'b' | 'B' | 'i' | 'I') {
            return State::SizeSuffix;
        }
        self.back();
        if matches!(
            c,
            '\n' | '\r' | END | '}' | ';' | ',' | '\t' | ' ' | '0'..='9'
        ) {
            self.emit(Kind::Integer);
            return self.pop();
        }
        self.string_state = State::BareString;
        State::BareString
    }

    fn date_after_year(&mut self) -> State {
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

    fn negative_number(&mut self) -> State {
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

    fn after_point(&mut self) -> State {
        let c = self.next();
        if c.is_ascii_digit() {
            return State::Float;
        }
        self.fail(format!(
            "Floats must have a digit after the '.', but got '{}' instead.",
            shown(c)
        ))
    }

    fn float(&mut self) -> State {
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

    fn address(&mut self) -> State {
        if matches!(self.next(), '0'..='9' | '.' | ':' | '-') {
            return State::Address;
        }
        self.back();
        self.emit(Kind::String);
        self.pop()
    }

    fn comment(&mut self) -> State {
        if matches!(self.peek(), '\n' | '\r' | END) {
            self.emit(Kind::Comment);
            return self.pop();
        }
        self.next();
        State::Comment
    }

    // Moves shared by the states.

    fn next(&mut self) -> char {
        let Some(first) = self.input.get(self.pos) else {
            self.width = 0;
            return END;
        };
        if *first == b'\n' {
            self.line += 1;
            self.line_start = self.pos;
        }
        let (c, width) = decode(&self.input[self.pos..]);
        self.width = width;
        self.pos += width;
        c
    }

    /// Takes back the last [`Self::next`]; once only.
    fn back(&mut self) {
        self.pos -= self.width;
        if self.width > 0 && self.input.get(self.pos) == Some(&b'\n') {
            self.line -= 1;
        }
        self.width = 0;
    }

    fn peek(&mut self) -> char {
        let c = self.next();
        self.back();
        c
    }

    fn ignore(&mut self) {
        self.start = self.pos;
        self.item_line_start = self.line_start;
    }

    fn skip(&mut self, state: State) -> State {
        self.ignore();
        state
    }

    fn consume(&mut self, state: State) -> State {
        self.next();
        self.skip(state)
    }

    fn skip_to_popped(&mut self) -> State {
        self.ignore();
        self.pop()
    }

    fn pop(&mut self) -> State {
        self.stack.pop().unwrap_or(State::Stopped)
    }

    /// Whether the slash just read is the first of two; steps back when it is not.
    fn second_slash(&mut self) -> bool {
        let second = self.next() == '/';
        if !second {
            self.back();
        }
        second
    }

    fn comment_then(&mut self, state: State) -> State {
        self.stack.push(state);
        self.skip(State::Comment)
    }

    fn open(&mut self, kind: Kind, state: State) -> State {
        self.ignore();
        self.emit(kind);
        state
    }

    fn close(&mut self, kind: Kind) -> State {
        self.ignore();
        self.emit(kind);
        self.pop()
    }

    fn close_quote(&mut self, kind: Kind) -> State {
        self.back();
        self.emit(kind);
        self.next();
        self.ignore();
        self.pop()
    }

    fn end_or_stray(&mut self) -> State {
        if self.pos > self.start {
            return self.fail("Unexpected EOF.".to_owned());
        }
        self.emit(Kind::End);
        State::Stopped
    }

    fn emit(&mut self, kind: Kind) {
        let mut text = self.pieces.take().unwrap_or_default();
        text.extend_from_slice(&self.input[self.start..self.pos]);
        let column = self.pos as i64 - self.item_line_start as i64 - text.len() as i64;
        self.put(kind, text, column as i32);
        self.start = self.pos;
        self.item_line_start = self.line_start;
    }

    fn fail(&mut self, problem: String) -> State {
        let column = self.pos as i64 - self.line_start as i64;
        self.put(Kind::Error, problem.into_bytes(), column as i32);
        State::Stopped
    }

    fn stop(&mut self) -> State {
        self.put(Kind::End, Vec::new(), 0);
        State::Stopped
    }

    fn put(&mut self, kind: Kind, text: Vec<u8>, column: i32) {
        assert!(self.pending.is_none(), "a state emits at most one item");
        self.pending = Some(Item {
            kind,
            text,
            line: self.line,
            column,
        });
    }
}

/// The first character and its length; a byte which is not UTF-8 counts as one character.
fn decode(bytes: &[u8]) -> (char, usize) {
    if bytes[0].is_ascii() {
        return (char::from(bytes[0]), 1);
    }
    let window = &bytes[..bytes.len().min(4)];
    let valid = window
        .utf8_chunks()
        .next()
        .map_or("", |chunk| chunk.valid());
    valid
        .chars()
        .next()
        .map_or((char::REPLACEMENT_CHARACTER, 1), |c| (c, c.len_utf8()))
}

fn shown(c: char) -> String {
    if c == '\n' {
        "\\n".to_owned()
    } else {
        c.to_string()
    }
}

fn is_blank(c: char) -> bool {
    matches!(c, '\t' | ' ')
}

fn is_size_suffix(c: char) -> bool {
    matches!(c.to_ascii_lowercase(), 'k' | 'm' | 'g' | 't' | 'p' | 'e')
}
