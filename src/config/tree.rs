//! The parsed tree: what a configuration file says, before anyone asks what it means.

use std::collections::HashMap;
use std::rc::Rc;

/// A value and where it came from.
#[derive(Debug, Clone)]
pub struct Node {
    /// What was written.
    pub value: Value,
    /// Line of the key, or of the value itself in an array; counted from one.
    pub line: u32,
    /// Column of the same, counted as the reference counts.
    pub column: i32,
    /// The file, as named on the command line or in an `include`.
    pub source: Rc<str>,
    /// Whether a `$variable` referred to it; such a key may be unknown to the schema.
    pub referenced: bool,
}

/// The kinds of value that the language has.
#[derive(Debug, Clone)]
pub enum Value {
    /// `true`, `no`, `ON`, …
    Bool(bool),
    /// `42`, `8MB`.
    Integer(i64),
    /// `1.5`.
    Float(f64),
    /// A date and time in Zulu form, kept as its text.
    DateTime(String),
    /// Any string; escapes can make it something else than UTF-8.
    String(Vec<u8>),
    /// `[ … ]`.
    Array(Vec<Node>),
    /// `{ … }`.
    Map(Map),
}

/// Keys and values in the order of the file; a repeated key keeps its first place and last value.
#[derive(Debug, Clone, Default)]
pub struct Map {
    entries: Vec<(Rc<str>, Node)>,
    index: HashMap<Rc<str>, usize>,
}

impl Node {
    /// `file:line:column`, as every message about this value starts.
    pub fn position(&self) -> String {
        format!("{}:{}:{}", self.source, self.line, self.column)
    }
}

impl Value {
    /// The name by which messages call the type; they are the reference's, so they are Go's.
    pub fn type_name(&self) -> &'static str {
        match self {
            Self::Bool(_) => "bool",
            Self::Integer(_) => "int64",
            Self::Float(_) => "float64",
            Self::DateTime(_) => "time.Time",
            Self::String(_) => "string",
            Self::Array(_) => "[]interface {}",
            Self::Map(_) => "map[string]interface {}",
        }
    }

    /// The number of nodes below this value.
    pub(super) fn size(&self) -> usize {
        match self {
            Self::Array(nodes) => nodes.iter().map(|node| 1 + node.value.size()).sum(),
            Self::Map(map) => map.iter().map(|(_, node)| 1 + node.value.size()).sum(),
            _ => 0,
        }
    }

    /// The number of brackets around the innermost value.
    pub(super) fn depth(&self) -> usize {
        let below = match self {
            Self::Array(nodes) => nodes.iter().map(|node| node.value.depth()).max(),
            Self::Map(map) => map.iter().map(|(_, node)| node.value.depth()).max(),
            _ => return 0,
        };
        1 + below.unwrap_or(0)
    }
}

impl Map {
    /// Sets `key`, replacing what it held before.
    pub(super) fn insert(&mut self, key: &str, node: Node) {
        if let Some(place) = self.index.get(key) {
            self.entries[*place].1 = node;
            return;
        }
        let key: Rc<str> = key.into();
        self.index.insert(Rc::clone(&key), self.entries.len());
        self.entries.push((key, node));
    }

    /// The value of `key`, matched exactly.
    pub fn get(&self, key: &str) -> Option<&Node> {
        self.index.get(key).map(|place| &self.entries[*place].1)
    }

    pub(super) fn get_mut(&mut self, key: &str) -> Option<&mut Node> {
        self.index.get(key).map(|place| &mut self.entries[*place].1)
    }

    /// Keys and values in file order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Node)> {
        self.entries.iter().map(|(key, node)| (key.as_ref(), node))
    }

    /// Keys and values, given away.
    pub(super) fn into_entries(self) -> impl Iterator<Item = (Rc<str>, Node)> {
        self.entries.into_iter()
    }

    /// How many keys there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is no key at all.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}
