//! Everything that can be typed behind the program's name, as one tree: what completions and the
//! manual page are made from.

use clap::{Arg, Command};

use super::flags::{Flag, SECTIONS};
use crate::{bench, doctor, top};

/// Words that ask for something other than a server.
pub(super) const COMMANDS: [(&str, &str); 7] = [
    ("bench", "Put a server under load and measure it"),
    ("top", "Watch a server through its monitoring port"),
    ("doctor", "Show how this host stands to what the broker wants"),
    ("completions", "Print completions for a shell: bash, zsh or fish"),
    ("man", "Print the manual page"),
    ("help", "Show the help"),
    ("version", "Show the version"),
];

/// The shells that completions can be had for.
pub(super) const SHELLS: [&str; 3] = ["bash", "zsh", "fish"];

/// A command, and what may follow it.
#[derive(Debug)]
pub(super) struct Word {
    pub(super) name: String,
    pub(super) text: String,
    pub(super) switches: Vec<Switch>,
    pub(super) words: Vec<Word>,
}

/// A flag of any command.
#[derive(Debug)]
pub(super) struct Switch {
    /// With their dashes.
    pub(super) spellings: Vec<String>,
    pub(super) text: String,
    pub(super) value: Value,
}

/// What a flag wants behind it.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Value {
    Nothing,
    File,
    Folder,
    OneOf(Vec<String>),
    /// Something that cannot be guessed, by this name.
    Any(String),
}

/// The program itself: the flags of the server, and the commands.
pub(super) fn tree(name: &str) -> Word {
    let flags = SECTIONS.iter().flat_map(|section| section.flags);
    let words = COMMANDS.iter().map(|(name, text)| match *name {
        "bench" => word(&bench::command(), name, text),
        "doctor" => word(&doctor::command(), name, text),
        "top" => word(&top::command(), name, text),
        "completions" => {
            let shells = SHELLS.iter().map(|shell| leaf(shell, "Completions for this shell"));
            Word { words: shells.collect(), ..leaf(name, text) }
        }
        _ => leaf(name, text),
    });
    Word { switches: flags.map(switch).collect(), words: words.collect(), ..leaf(name, "") }
}

fn leaf(name: &str, text: &str) -> Word {
    let (name, text) = (name.to_owned(), text.to_owned());
    Word { name, text, switches: Vec::new(), words: Vec::new() }
}

fn switch(flag: &Flag) -> Switch {
    let choices = |words: &[&str]| Value::OneOf(words.iter().copied().map(str::to_owned).collect());
    let value = match (flag.names[0], flag.value) {
        ("sl", _) => choices(&["ldm", "stop", "quit", "term", "reopen", "reload"]),
        ("profile", _) => choices(&["dev", "latency", "throughput"]),
        (_, "") => Value::Nothing,
        (_, "file") => Value::File,
        (_, "dir") => Value::Folder,
        (_, value) => Value::Any(value.to_owned()),
    };
    Switch { spellings: flag.spellings().collect(), text: flag.text.to_owned(), value }
}

/// A command that clap knows.
fn word(command: &Command, name: &str, text: &str) -> Word {
    // What holds for all that follows is only passed down once the command is built.
    let mut command = command.clone();
    command.build();
    built(&command, name, text)
}

fn built(command: &Command, name: &str, text: &str) -> Word {
    let below = command.get_subcommands().filter(|below| below.get_name() != "help");
    let flags = command.get_arguments().filter(|arg| !arg.is_hide_set() && !arg.is_positional());
    Word {
        switches: flags.map(argument).collect(),
        words: below
            .map(|below| built(below, below.get_name(), &about(below.get_about())))
            .collect(),
        ..leaf(name, text)
    }
}

fn argument(arg: &Arg) -> Switch {
    let short = arg.get_short().map(|letter| format!("-{letter}"));
    let long = arg.get_long().map(|word| format!("--{word}"));
    let name = arg.get_value_names().and_then(<[_]>::first).map_or("VALUE", |name| name.as_str());
    let choices: Vec<String> =
        arg.get_possible_values().iter().map(|value| value.get_name().to_owned()).collect();
    let value = match name {
        _ if !arg.get_action().takes_values() => Value::Nothing,
        _ if !choices.is_empty() => Value::OneOf(choices),
        "FILE" => Value::File,
        "DIR" => Value::Folder,
        name => Value::Any(name.to_lowercase()),
    };
    Switch {
        spellings: short.into_iter().chain(long).collect(),
        text: about(arg.get_help()),
        value,
    }
}

/// The first line, without the marks of documentation.
fn about(text: Option<&clap::builder::StyledStr>) -> String {
    let text = text.map(ToString::to_string).unwrap_or_default();
    text.lines().next().unwrap_or_default().replace('`', "")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find<'a>(words: &'a [Word], name: &str) -> &'a Word {
        words.iter().find(|word| word.name == name).expect("the word is there")
    }

    #[test]
    fn the_tree_reaches_down_to_the_flags_of_each_command() {
        let tree = tree("pinion");
        let bench = find(&tree.words, "bench");
        let publish = find(&bench.words, "pub");
        let spelled = |word: &Word, flag: &str| {
            word.switches.iter().any(|switch| switch.spellings.iter().any(|name| name == flag))
        };
        assert!(spelled(publish, "--connections"));
        assert!(spelled(publish, "--server"), "what holds for all modes holds for each");
        assert!(spelled(find(&tree.words, "doctor"), "--brief"));
        assert!(!spelled(find(&tree.words, "doctor"), "--table"), "hidden flags stay hidden");
        assert!(spelled(find(&tree.words, "top"), "--interval"));
        assert_eq!(find(&tree.words, "completions").words.len(), SHELLS.len());
        let signal = tree.switches.iter().find(|one| one.spellings.contains(&"-sl".to_owned()));
        assert!(matches!(&signal.expect("a flag").value, Value::OneOf(words) if words.len() == 6));
    }
}
