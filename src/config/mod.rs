//! Configuration: the language of the file, its keys, and the typed result.
//!
//! `lexer` turns bytes into items, `parser` items into a `tree`, `schema` the tree into `settings`,
//! and `settings` resolve to [`Options`]. The command line enters as settings too, laid over the
//! file's at start and at every reload.

use std::fmt;
use std::fs;
use std::path::Path;

use crate::notation::error_text;

mod accounts;
mod auth;
mod authorization;
mod blocks;
mod callout;
mod digest;
mod exchange;
mod jetstream;
mod keys;
mod lexer;
mod mappings;
mod native;
mod nkey;
mod operator;
mod options;
mod parser;
mod permissions;
pub mod reload;
mod resolver;
mod schema;
mod settings;
mod store;
mod tls;
mod tree;
mod url;
mod websocket;

pub use auth::User;
pub use authorization::Authorization;
pub(crate) use native::parse_profile;
pub use operator::Vouching;
pub(crate) use operator::now_s;
pub use options::{LogTime, Options, Port, Profile};
pub use parser::{MAX_COPIED_NODES, MAX_INCLUDES, MAX_NESTING, Surroundings};
pub use resolver::{Deletion, FETCH_TIMEOUT, Resolver, TokenDirectory};
pub use settings::Settings;
pub use store::{Cipher, JetStream, Keys, Sync};
pub use tls::{Ocsp, Pair, Tls};
pub use tree::{Map, Node, Value};
pub use websocket::{CookieNames, Origin, WebSocket, host_and_port};

/// A file that was read: what it says, and what it should not say.
#[derive(Debug, Clone)]
pub struct File {
    /// `sha256:…` of the parsed tree.
    pub digest: String,
    /// Complaints that do not keep the broker from starting.
    pub warnings: Vec<String>,
    settings: Settings,
}

/// Why a file cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Problem {
    /// It cannot be read, or is not in the language.
    Syntax(String),
    /// It is in the language, and wrong: complaints in file order.
    Schema {
        /// What alone would not have kept the broker from starting.
        warnings: Vec<String>,
        /// What does.
        errors: Vec<String>,
    },
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Syntax(reason) => f.write_str(reason),
            Self::Schema { warnings, errors } => {
                warnings.iter().chain(errors).try_for_each(|line| writeln!(f, "{line}"))
            }
        }
    }
}

/// Reads and checks the file at `path`.
pub fn read_file(path: &str) -> Result<File, Problem> {
    let input = Machine.read(Path::new(path)).map_err(Problem::Syntax)?;
    parse_bytes(path, &input, &mut Machine)
}

/// Checks `input`, called `name` in messages, without touching anything but `surroundings`.
pub fn parse_bytes(
    name: &str,
    input: &[u8],
    surroundings: &mut dyn Surroundings,
) -> Result<File, Problem> {
    let map = parser::parse(name, input, surroundings).map_err(Problem::Syntax)?;
    let mut reader = schema::Reader::default();
    if map.is_empty() {
        reader.warnings.push(format!("{name}: config has no values or is empty"));
    }
    reader.read(&map);
    let schema::Reader { settings, errors, warnings, .. } = reader;
    if errors.is_empty() {
        Ok(File { digest: digest::of(&map), warnings, settings })
    } else {
        Err(Problem::Schema { warnings, errors })
    }
}

/// The options that a command line and a file amount to. The error is one line for the user.
pub fn load(command_line: Settings, file: Option<(&str, File)>) -> Result<Options, String> {
    let (path, digest, below) = match file {
        Some((path, file)) => (Some(path.to_owned()), Some(file.digest), file.settings),
        None => (None, None, Settings::default()),
    };
    let mut options = command_line.clone().over(below).resolve()?;
    options.config_file = path;
    options.config_digest = digest;
    options.command_line = command_line;
    Ok(options)
}

/// The file system and the environment of this process.
struct Machine;

impl Surroundings for Machine {
    fn read(&mut self, path: &Path) -> Result<Vec<u8>, String> {
        fs::read(path).map_err(|error| {
            // A directory opens and then does not read.
            let verb =
                if error.kind() == std::io::ErrorKind::IsADirectory { "read" } else { "open" };
            format!("{verb} {}: {}", path.display(), error_text(&error))
        })
    }

    fn variable(&mut self, name: &str) -> Option<String> {
        std::env::var_os(name).map(|value| value.to_string_lossy().into_owned())
    }
}

impl File {
    /// Whether the files that the file names can be used. The error is one line for the user.
    pub fn check_named_files(&self) -> Result<(), String> {
        let websocket = self.settings.websocket.iter().filter_map(websocket::Block::tls);
        self.settings
            .tls
            .iter()
            .chain(websocket)
            .try_for_each(|tls| crate::tls::load(tls).map(drop))
    }

    /// Whether the file asks for a cluster.
    pub fn has_cluster(&self) -> bool {
        self.settings.missing_features.iter().any(|feature| feature == "cluster")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/config/files");

    /// Includes anything as a file that includes itself twice.
    struct Echo;

    impl Surroundings for Echo {
        fn read(&mut self, _: &Path) -> Result<Vec<u8>, String> {
            Ok(b"include a\ninclude b\nx: [ $X , $X ]\n".to_vec())
        }

        fn variable(&mut self, name: &str) -> Option<String> {
            Some(format!("[ ${name}y , ${name}y ]"))
        }
    }

    #[test]
    fn no_beginning_and_no_wrong_byte_makes_the_parser_panic() {
        for entry in fs::read_dir(FILES).expect("the files are there").flatten() {
            let Ok(good) = fs::read(entry.path()) else {
                continue;
            };
            for cut in 0..good.len() {
                let _ = parse_bytes("n", &good[..cut], &mut Echo);
                for byte in *b"\0{}[]()\"'\n\\$-.0:\xff" {
                    let mut bad = good.clone();
                    bad[cut] = byte;
                    let _ = parse_bytes("n", &bad, &mut Echo);
                }
            }
        }
    }

    #[test]
    fn endless_includes_and_variables_end() {
        let includes = parse_bytes("n", b"include a\n", &mut Echo);
        assert!(matches!(includes, Err(Problem::Syntax(_))));
        let variables = parse_bytes("n", b"x: $X\n", &mut Echo);
        assert!(matches!(variables, Err(Problem::Syntax(_))));
    }
}
