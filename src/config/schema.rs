//! From the tree to [`Settings`]: which keys exist, what they take, and what they set.
//!
//! Every key is declared once, as a row of `keys` or of a table in `blocks`. Rows that set
//! something name the field; rows of features still to come only say what a valid value looks like,
//! so that a file checks the same today as on the day the feature arrives.

use super::auth::{Users, string_list};
use super::keys::TOP;
use super::settings::Settings;
use super::tree::{Map, Node, Value};
use crate::notation::{parse_duration, quote, split_host_port};

/// A key, with its other spellings, and what may stand behind it.
pub(super) struct Row {
    pub(super) names: &'static [&'static str],
    pub(super) rule: Rule,
}

/// What may stand behind a key, and what becomes of it.
pub(super) enum Rule {
    /// A boolean, set in the settings.
    Bool(fn(&mut Settings, bool)),
    /// An integer, set in the settings.
    Integer(fn(&mut Settings, i64)),
    /// A string, set in the settings.
    Text(fn(&mut Settings, String)),
    /// A duration, set in nanoseconds; an integer means seconds and is warned about.
    Duration(fn(&mut Settings, i64)),
    /// Anything else: checked and set by a function.
    With(Check),
    /// A value with no effect here, checked for its type.
    Known(Shape),
    /// A feature still to come: checked, and refused at start if the function says it is wanted.
    Later(Shape, fn(&Value) -> bool),
}

/// A check of a value; the error is the whole line.
pub(super) type Check = fn(&mut Reader, &str, &Node) -> Result<(), String>;

/// The form of a value that nothing uses yet.
#[derive(Clone, Copy)]
pub(super) enum Shape {
    Bool,
    Integer,
    Text,
    /// A duration or, with a warning, a number of seconds.
    Duration,
    /// A port or `host:port`.
    Listen,
    /// A map with these keys; what it is called in the complaint about anything else.
    Block(&'static [Row], &'static str),
    /// A string or an array of them; what the complaint calls it.
    TextList(&'static str),
    /// Anything, with a warning that it has no effect.
    Ignored(&'static str),
    With(Check),
}

/// Shorthand for the tables.
pub(super) const fn row(names: &'static [&'static str], rule: Rule) -> Row {
    Row { names, rule }
}

/// A key whose value is only checked.
pub(super) const fn known(names: &'static [&'static str], shape: Shape) -> Row {
    Row { names, rule: Rule::Known(shape) }
}

/// Collects what a file says and what is wrong with it. Problems come in file order; the reference
/// gives them in any order.
#[derive(Default)]
pub(super) struct Reader {
    pub(super) settings: Settings,
    pub(super) errors: Vec<String>,
    pub(super) warnings: Vec<String>,
    /// `users` below `accounts` and `authorization` share one space of names.
    pub(super) users: Users,
    /// Whether `store_dir` was seen, at the top or inside `jetstream`.
    pub(super) has_store_dir: bool,
}

impl Reader {
    /// Reads the top level of a file.
    pub(super) fn read(&mut self, map: &Map) {
        self.read_block(TOP, map);
    }

    /// Reads one map by its table.
    pub(super) fn read_block(&mut self, rows: &[Row], map: &Map) {
        for (key, node) in map.iter() {
            let lower = key.to_lowercase();
            match rows.iter().find(|row| row.names.contains(&lower.as_str())) {
                Some(row) => {
                    if let Err(problem) = self.apply(&row.rule, key, node) {
                        self.errors.push(problem);
                    }
                }
                None => self.unknown(key, node),
            }
        }
    }

    /// Complains about a key that no table knows, unless it serves as a variable.
    pub(super) fn unknown(&mut self, key: &str, node: &Node) {
        if !node.referenced {
            self.errors.push(at(node, &format!("unknown field {}", quote(key))));
        }
    }

    fn apply(&mut self, rule: &Rule, key: &str, node: &Node) -> Result<(), String> {
        match rule {
            Rule::Bool(set) => set(&mut self.settings, boolean(node)?),
            Rule::Integer(set) => set(&mut self.settings, integer(node)?),
            Rule::Text(set) => set(&mut self.settings, text(node)?),
            Rule::Duration(set) => {
                if let Some(nanoseconds) = self.duration(&key.to_lowercase(), node)? {
                    set(&mut self.settings, nanoseconds);
                }
            }
            Rule::With(check) => check(self, key, node)?,
            Rule::Known(shape) => self.check(*shape, key, node)?,
            Rule::Later(shape, wanted) => {
                if wanted(&node.value) {
                    self.settings.missing_features.push(key.to_owned());
                }
                self.check(*shape, key, node)?;
            }
        }
        Ok(())
    }

    pub(super) fn check(&mut self, shape: Shape, key: &str, node: &Node) -> Result<(), String> {
        match shape {
            Shape::Bool => boolean(node).map(drop),
            Shape::Integer => integer(node).map(drop),
            Shape::Text => text(node).map(drop),
            Shape::Duration => self.duration(&key.to_lowercase(), node).map(drop),
            Shape::Listen => listen(node).map(drop),
            Shape::Block(rows, name) => match &node.value {
                Value::Map(map) => {
                    self.read_block(rows, map);
                    Ok(())
                }
                other => Err(at(node, &format!("{name}, got {}", other.type_name()))),
            },
            Shape::TextList(field) => string_list(self, field, node).map(drop),
            Shape::Ignored(reason) => {
                self.warn(key, node, reason);
                Ok(())
            }
            Shape::With(check) => check(self, key, node),
        }
    }

    /// A duration in nanoseconds.
    pub(super) fn duration(&mut self, field: &str, node: &Node) -> Result<Option<i64>, String> {
        if let Value::String(bytes) = &node.value {
            return match parse_duration(&String::from_utf8_lossy(bytes)) {
                Ok(nanoseconds) => Ok(Some(nanoseconds)),
                Err(problem) => Err(at(node, &format!("error parsing {field}: {problem}"))),
            };
        }
        let reason = format!("{field} should be converted to a duration");
        self.warn(field, node, &reason);
        let seconds = integer(node)?;
        Ok(Some(seconds.saturating_mul(1_000_000_000)))
    }

    pub(super) fn warn(&mut self, field: &str, node: &Node, reason: &str) {
        self.warnings.push(at(node, &format!("invalid use of field {}: {reason}", quote(field))));
    }
}

/// A line about `node`.
pub(super) fn at(node: &Node, reason: &str) -> String {
    format!("{}: {reason}", node.position())
}

/// The complaint about a value of the wrong type, in the words of the reference's runtime.
fn mismatch(node: &Node, wanted: &str) -> String {
    let found = node.value.type_name();
    at(node, &format!("interface conversion: interface {{}} is {found}, not {wanted}"))
}

pub(super) fn boolean(node: &Node) -> Result<bool, String> {
    match node.value {
        Value::Bool(value) => Ok(value),
        _ => Err(mismatch(node, "bool")),
    }
}

pub(super) fn integer(node: &Node) -> Result<i64, String> {
    match node.value {
        Value::Integer(value) => Ok(value),
        _ => Err(mismatch(node, "int64")),
    }
}

/// Bytes which are not UTF-8 cannot match anything a client says, so nothing is lost with them.
pub(super) fn text(node: &Node) -> Result<String, String> {
    match &node.value {
        Value::String(bytes) => Ok(String::from_utf8_lossy(bytes).into_owned()),
        _ => Err(mismatch(node, "string")),
    }
}

pub(super) fn array(node: &Node) -> Result<&[Node], String> {
    match &node.value {
        Value::Array(nodes) => Ok(nodes),
        _ => Err(mismatch(node, "[]interface {}")),
    }
}

pub(super) fn map(node: &Node) -> Result<&Map, String> {
    match &node.value {
        Value::Map(map) => Ok(map),
        _ => Err(mismatch(node, "map[string]interface {}")),
    }
}

/// A port, or `host:port` with the port last.
pub(super) fn listen(node: &Node) -> Result<(Option<String>, i64), String> {
    match &node.value {
        Value::Integer(port) => Ok((None, *port)),
        Value::String(bytes) => {
            let address = String::from_utf8_lossy(bytes);
            let (host, port) = split_host_port(&address).map_err(|_| {
                at(node, &format!("could not parse address string {}", quote(&address)))
            })?;
            let number = port
                .parse()
                .map_err(|_| at(node, &format!("could not parse port {}", quote(port))))?;
            Ok((Some(host.to_owned()), number))
        }
        other => Err(at(node, &format!("expected port or host:port, got {}", other.type_name()))),
    }
}
