//! Items to a tree: the grammatical half of the configuration language.
//!
//! The parser keeps its own stack of open maps and arrays, so nesting costs memory and not stack;
//! [`MAX_NESTING`] bounds what later walks over the tree may recurse. Variables are looked up in
//! the open maps from the innermost outwards, then in the environment. Files and the environment
//! are reached through [`Surroundings`] alone, which makes the parser a function of its input.

use std::path::{Component, Path, PathBuf};
use std::rc::Rc;

use super::lexer::{Item, Kind, Lexer};
use super::tree::{Map, Node, Value};

/// Open brackets at any point of a file. Real files have about six.
pub const MAX_NESTING: usize = 128;
/// Files including files. The reference has no limit and dies of a file that includes itself.
pub const MAX_INCLUDES: usize = 10;
/// Nodes that variables may copy, over all includes: a dozen lines of `[$a,$a]` double forever.
pub const MAX_COPIED_NODES: usize = 1 << 20;

/// What an include costs of that, so that files which include one twice each come to an end too.
const INCLUDE_COST: usize = 1024;

/// What a configuration may refer to outside of itself.
pub trait Surroundings {
    /// The contents of an included file, or the reason for their absence.
    fn read(&mut self, path: &Path) -> Result<Vec<u8>, String>;
    /// The value of an environment variable.
    fn variable(&mut self, name: &str) -> Option<String>;
}

/// No files and no environment, for tests of configurations that need neither.
#[cfg(test)]
pub(super) struct Nothing;

#[cfg(test)]
impl Surroundings for Nothing {
    fn read(&mut self, _: &Path) -> Result<Vec<u8>, String> {
        Err("no files".to_owned())
    }

    fn variable(&mut self, _: &str) -> Option<String> {
        None
    }
}

/// Parses `input`, which is called `name` in messages and whose includes are relative to it.
pub(super) fn parse(
    name: &str,
    input: &[u8],
    surroundings: &mut dyn Surroundings,
) -> Result<Map, String> {
    let mut budget = MAX_COPIED_NODES;
    let mut parser = Parser::new(name, input, surroundings, &mut budget, 0);
    parser.run()
}

struct Parser<'a> {
    lexer: Lexer<'a>,
    source: Rc<str>,
    surroundings: &'a mut dyn Surroundings,
    budget: &'a mut usize,
    includes: usize,
    /// Variables of the environment being expanded, to notice a circle.
    expanding: Vec<String>,
    contexts: Vec<Context>,
    keys: Vec<Key>,
}

enum Context {
    Map(Map),
    Array(Vec<Node>),
}

struct Key {
    name: String,
    line: u32,
    column: i32,
}

impl<'a> Parser<'a> {
    fn new(
        name: &str,
        input: &'a [u8],
        surroundings: &'a mut dyn Surroundings,
        budget: &'a mut usize,
        includes: usize,
    ) -> Self {
        Self {
            lexer: Lexer::new(input),
            source: name.into(),
            surroundings,
            budget,
            includes,
            expanding: Vec::new(),
            contexts: vec![Context::Map(Map::default())],
            keys: Vec::new(),
        }
    }

    fn run(&mut self) -> Result<Map, String> {
        let mut key_before_end = false;
        loop {
            let item = self.lexer.next_item();
            if item.kind == Kind::End {
                if key_before_end {
                    let Item { line, column, .. } = item;
                    return Err(format!("config is invalid ({}:{line}:{column})", self.source));
                }
                break;
            }
            // A lone `}` at the end closes a document that was opened like JSON.
            key_before_end = item.kind == Kind::Key && item.text != b"}";
            self.accept(&item)?;
        }
        match self.contexts.drain(..).next() {
            Some(Context::Map(map)) => Ok(map),
            _ => Err("config is invalid".to_owned()),
        }
    }

    fn accept(&mut self, item: &Item) -> Result<(), String> {
        match item.kind {
            Kind::Error => {
                let problem = String::from_utf8_lossy(&item.text);
                return Err(format!("Parse error on line {}: '{problem}'", item.line));
            }
            Kind::Key => {
                let name = text_of(item);
                self.keys.push(Key { name, line: item.line, column: item.column });
                return Ok(());
            }
            Kind::Comment | Kind::End => return Ok(()),
            Kind::MapStart => return self.open(Context::Map(Map::default()), item.line),
            Kind::ArrayStart => return self.open(Context::Array(Vec::new()), item.line),
            Kind::Include => return self.include(item),
            _ => {}
        }
        let value = self.value_of(item)?;
        let source = Rc::clone(&self.source);
        self.set(Node { value, line: item.line, column: item.column, source, referenced: false })
    }

    fn value_of(&mut self, item: &Item) -> Result<Value, String> {
        match item.kind {
            Kind::MapEnd | Kind::ArrayEnd => self.close(),
            Kind::Bool => {
                let text = text_of(item).to_ascii_lowercase();
                Ok(Value::Bool(matches!(text.as_str(), "true" | "yes" | "on")))
            }
            Kind::Integer => integer(&text_of(item)).map(Value::Integer),
            Kind::Float => float(&text_of(item)).map(Value::Float),
            Kind::DateTime => date_time(text_of(item)),
            Kind::Variable => self.variable(item),
            _ => Ok(Value::String(item.text.clone())),
        }
    }

    fn open(&mut self, context: Context, line: u32) -> Result<(), String> {
        if self.contexts.len() > MAX_NESTING {
            return Err(format!(
                "Parse error on line {line}: 'Nested deeper than {MAX_NESTING} levels.'"
            ));
        }
        self.contexts.push(context);
        Ok(())
    }

    fn close(&mut self) -> Result<Value, String> {
        if self.contexts.len() == 1 {
            return Err("config is invalid: unexpected end of a map or an array".to_owned());
        }
        match self.contexts.pop() {
            Some(Context::Map(map)) => Ok(Value::Map(map)),
            Some(Context::Array(nodes)) => Ok(Value::Array(nodes)),
            None => Err("config is invalid".to_owned()),
        }
    }

    /// Puts a finished value into the innermost map or array. In a map it takes the position of its
    /// key, which is where a reader of the message should look.
    fn set(&mut self, mut node: Node) -> Result<(), String> {
        match self.contexts.last_mut() {
            Some(Context::Array(nodes)) => nodes.push(node),
            Some(Context::Map(map)) => {
                let key = self.keys.pop().ok_or_else(|| "config is invalid".to_owned())?;
                node.line = key.line;
                node.column = key.column;
                map.insert(&key.name, node);
            }
            None => return Err("config is invalid".to_owned()),
        }
        Ok(())
    }

    fn variable(&mut self, item: &Item) -> Result<Value, String> {
        let name = text_of(item);
        // An unquoted bcrypt hash looks like a variable and is a password.
        if name.starts_with("2a$") {
            return Ok(Value::String(format!("${name}").into_bytes()));
        }
        let budget = &mut *self.budget;
        let outer = self.contexts.len();
        for context in self.contexts.iter_mut().rev() {
            let Context::Map(map) = context else { continue };
            let Some(node) = map.get_mut(&name) else {
                continue;
            };
            node.referenced = true;
            *budget = budget.checked_sub(node.value.size()).ok_or_else(|| {
                format!("variable reference for '{name}' on line {} is too large", item.line)
            })?;
            if outer + node.value.depth() > MAX_NESTING + 1 {
                return Err(format!(
                    "Parse error on line {}: 'Nested deeper than {MAX_NESTING} levels.'",
                    item.line
                ));
            }
            return Ok(node.value.clone());
        }
        match self.environment(&name) {
            Ok(Some(value)) => Ok(value),
            Ok(None) => Err(format!(
                "variable reference for '{name}' on line {} can not be found",
                item.line
            )),
            Err(problem) => Err(format!(
                "variable reference for '{name}' on line {} could not be parsed: {problem}",
                item.line
            )),
        }
    }

    /// The environment's text is parsed as if it stood in the file.
    fn environment(&mut self, name: &str) -> Result<Option<Value>, String> {
        if self.expanding.iter().any(|outer| outer == name) {
            return Err(format!("variable reference cycle for '{name}'"));
        }
        if self.expanding.len() >= MAX_INCLUDES {
            return Err(format!("more than {MAX_INCLUDES} variables refer to each other"));
        }
        let Some(text) = self.surroundings.variable(name) else {
            return Ok(None);
        };
        let assignment = format!("pk={text}");
        let mut parser = Parser::new(
            "",
            assignment.as_bytes(),
            &mut *self.surroundings,
            &mut *self.budget,
            self.includes + 1,
        );
        parser.expanding.clone_from(&self.expanding);
        parser.expanding.push(name.to_owned());
        let map = parser.run()?;
        Ok(map.get("pk").map(|node| node.value.clone()))
    }

    /// Reads another file into the map that is open now.
    fn include(&mut self, item: &Item) -> Result<(), String> {
        let name = text_of(item);
        let problem = |what: String| format!("error parsing include file '{name}', {what}");
        if self.includes >= MAX_INCLUDES {
            return Err(problem(format!("more than {MAX_INCLUDES} files include each other")));
        }
        *self.budget = self
            .budget
            .checked_sub(INCLUDE_COST)
            .ok_or_else(|| problem("too many includes".to_owned()))?;
        let path = beside(&self.source, &name);
        let input = self.surroundings.read(&path).map_err(&problem)?;
        let mut parser = Parser::new(
            &path.to_string_lossy(),
            &input,
            &mut *self.surroundings,
            &mut *self.budget,
            self.includes + 1,
        );
        let map = parser.run().map_err(&problem)?;
        let outer = self.contexts.len();
        for (name, node) in map.into_entries() {
            if outer + node.value.depth() > MAX_NESTING + 1 {
                return Err(problem(format!("nested deeper than {MAX_NESTING} levels")));
            }
            self.keys.push(Key { name: name.to_string(), line: node.line, column: node.column });
            self.set(node)?;
        }
        Ok(())
    }
}

/// `name` in the directory of the file `source`, without `.` and `..` where they cancel out. An
/// absolute name is taken as relative too: the reference joins without looking.
fn beside(source: &str, name: &str) -> PathBuf {
    let directory = Path::new(source).parent().unwrap_or(Path::new(""));
    let mut path = PathBuf::new();
    let parts = directory.components().chain(
        Path::new(name)
            .components()
            .filter(|part| !matches!(part, Component::RootDir | Component::Prefix(_))),
    );
    for part in parts {
        match part {
            Component::CurDir => {}
            Component::ParentDir => match path.components().next_back() {
                Some(Component::Normal(_)) => {
                    path.pop();
                }
                Some(Component::RootDir) => {}
                _ => path.push(".."),
            },
            _ => path.push(part),
        }
    }
    path
}

fn text_of(item: &Item) -> String {
    String::from_utf8_lossy(&item.text).into_owned()
}

fn integer(text: &str) -> Result<i64, String> {
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '-').unwrap_or(text.len());
    let (number, suffix) = text.split_at(digits);
    let out_of_range = || format!("integer '{text}' is out of the range");
    let number: i64 = number.parse().map_err(|error: std::num::ParseIntError| {
        use std::num::IntErrorKind::{NegOverflow, PosOverflow};
        match error.kind() {
            PosOverflow | NegOverflow => out_of_range(),
            _ => format!("expected integer, but got '{text}'"),
        }
    })?;
    let suffix = suffix.to_ascii_lowercase();
    let power = match suffix.bytes().next() {
        None => 0,
        Some(b'k') => 1,
        Some(b'm') => 2,
        Some(b'g') => 3,
        Some(b't') => 4,
        Some(b'p') => 5,
        _ => 6,
    };
    let unit: i64 = match suffix.get(1..) {
        None | Some("") => 1000,
        Some("b" | "i" | "ib") => 1024,
        // The reference drops such a setting without a word.
        Some(_) => return Err(format!("expected integer, but got '{text}'")),
    };
    // The reference wraps around here.
    number.checked_mul(unit.pow(power)).ok_or_else(out_of_range)
}

fn float(text: &str) -> Result<f64, String> {
    let number: f64 = text.parse().map_err(|_| format!("expected float, but got '{text}'"))?;
    if number.is_finite() { Ok(number) } else { Err(format!("float '{text}' is out of the range")) }
}

/// Checks that `YYYY-MM-DDTHH:MM:SSZ` exists in the calendar.
fn date_time(text: String) -> Result<Value, String> {
    let number = |range: std::ops::Range<usize>| -> u32 {
        text.get(range).and_then(|digits| digits.parse().ok()).unwrap_or(u32::MAX)
    };
    let (year, month, day) = (number(0..4), number(5..7), number(8..10));
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let days = match month {
        4 | 6 | 9 | 11 => 30,
        2 if leap => 29,
        2 => 28,
        1..=12 => 31,
        _ => 0,
    };
    let (hour, minute, second) = (number(11..13), number(14..16), number(17..19));
    let exists = (1..=days).contains(&day) && hour < 24 && minute < 60 && second < 60;
    if exists {
        Ok(Value::DateTime(text))
    } else {
        Err(format!("expected Zulu formatted DateTime, but got '{text}'"))
    }
}
