//! Bytes to items: the lexical half of the configuration language.
//!
//! A machine of named states with an explicit stack, one state per place in the grammar. Nothing
//! here recurses, so no input can exhaust the stack. The states keep the reference's habits (where
//! a comment may stand, which characters end a bare word) because configuration files rely on them.

mod keys;
mod scalars;
mod values;

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
        self.pending = Some(Item { kind, text, line: self.line, column });
    }
}

/// The first character and its length; a byte which is not UTF-8 counts as one character.
fn decode(bytes: &[u8]) -> (char, usize) {
    if bytes[0].is_ascii() {
        return (char::from(bytes[0]), 1);
    }
    let window = &bytes[..bytes.len().min(4)];
    let valid = window.utf8_chunks().next().map_or("", |chunk| chunk.valid());
    valid.chars().next().map_or((char::REPLACEMENT_CHARACTER, 1), |c| (c, c.len_utf8()))
}

fn shown(c: char) -> String {
    if c == '\n' { "\\n".to_owned() } else { c.to_string() }
}

fn is_blank(c: char) -> bool {
    matches!(c, '\t' | ' ')
}

fn is_size_suffix(c: char) -> bool {
    matches!(c.to_ascii_lowercase(), 'k' | 'm' | 'g' | 't' | 'p' | 'e')
}
