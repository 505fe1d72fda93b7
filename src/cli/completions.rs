//! Completions for shells, each made from the same tree of words.

use std::fmt::Write as _;

use super::words::{Switch, Value, Word, tree};
use super::{EXECUTABLE, STAND_IN};

/// The script for a shell that is known.
pub(super) fn script(shell: &str) -> String {
    let tree = tree(EXECUTABLE);
    match shell {
        "bash" => bash(&tree),
        "zsh" => zsh(&tree),
        "fish" => fish(&tree),
        _ => unreachable!("the command line is checked"),
    }
}

/// Every command with the words that lead to it.
fn paths(tree: &Word) -> Vec<(Vec<&str>, &Word)> {
    let mut found = vec![(Vec::new(), tree)];
    let mut next = 0;
    while let Some((path, word)) = found.get(next).cloned() {
        for below in &word.words {
            let path = path.iter().copied().chain([below.name.as_str()]).collect();
            found.push((path, below));
        }
        next += 1;
    }
    found
}

/// Text within single quotes.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

fn bash(tree: &Word) -> String {
    let mut text = format!(
        "# Completions of {EXECUTABLE} for bash, made by `{EXECUTABLE} completions bash`.\n\n\
         _{EXECUTABLE}() {{\n    local word=${{COMP_WORDS[COMP_CWORD]}} before path='' each\n    \
         before=${{COMP_WORDS[COMP_CWORD - 1]}}\n    COMPREPLY=()\n    \
         for each in \"${{COMP_WORDS[@]:1:COMP_CWORD - 1}}\"; do\n        \
         case \"$path/$each\" in\n"
    );
    let found = paths(tree);
    let all: Vec<String> =
        found.iter().skip(1).map(|(path, _)| format!("/{}", path.join("/"))).collect();
    let _ = writeln!(text, "            {}) path=$path/$each ;;", all.join(" | "));
    text.push_str("        esac\n    done\n    case $path in\n");
    for (path, word) in &found {
        let pattern = path.iter().fold(String::new(), |text, word| format!("{text}/{word}"));
        let _ = writeln!(text, "        {})", if pattern.is_empty() { "''" } else { &pattern });
        bash_values(&mut text, word);
        let words = word.words.iter().map(|word| word.name.as_str());
        let flags = word.switches.iter().flat_map(|switch| &switch.spellings);
        let offered: Vec<&str> = words.chain(flags.map(String::as_str)).collect();
        let offered = quoted(&offered.join(" "));
        let _ = writeln!(
            text,
            "            mapfile -t COMPREPLY < <(compgen -W {offered} -- \"$word\")"
        );
        text.push_str("            ;;\n");
    }
    let _ = write!(text, "    esac\n}}\n\ncomplete -F _{EXECUTABLE} {EXECUTABLE} {STAND_IN}\n");
    text
}

/// What is offered behind flags that want a value.
fn bash_values(text: &mut String, word: &Word) {
    if word.switches.iter().all(|switch| switch.value == Value::Nothing) {
        return;
    }
    text.push_str("            case $before in\n");
    for switch in &word.switches {
        let offered = match &switch.value {
            Value::Nothing => continue,
            Value::File => {
                "compopt -o filenames; mapfile -t COMPREPLY < <(compgen -f -- \"$word\"); ".into()
            }
            Value::Folder => {
                "compopt -o filenames; mapfile -t COMPREPLY < <(compgen -d -- \"$word\"); ".into()
            }
            Value::OneOf(choices) => {
                let choices = quoted(&choices.join(" "));
                format!("mapfile -t COMPREPLY < <(compgen -W {choices} -- \"$word\"); ")
            }
            Value::Any(_) => String::new(),
        };
        let names = switch.spellings.join(" | ");
        let _ = writeln!(text, "                {names}) {offered}return ;;");
    }
    text.push_str("            esac\n");
}

fn zsh(tree: &Word) -> String {
    let mut text = format!(
        "#compdef {EXECUTABLE} {STAND_IN}\n\
         # Completions of {EXECUTABLE} for zsh, made by `{EXECUTABLE} completions zsh`.\n\n"
    );
    for (path, word) in paths(tree) {
        let name = path.iter().fold(EXECUTABLE.to_owned(), |name, word| format!("{name}_{word}"));
        let _ = writeln!(text, "_{name}() {{");
        if word.words.is_empty() {
            text.push_str("    _arguments");
            zsh_switches(&mut text, word);
        } else {
            text.push_str("    local context state line\n    local -a commands\n    commands=(\n");
            for below in &word.words {
                let about = below.text.replace(':', r"\:");
                let _ = writeln!(text, "        {}", quoted(&format!("{}:{about}", below.name)));
            }
            text.push_str("    )\n    _arguments -C");
            zsh_switches(&mut text, word);
            text.push_str(" \\\n        '1: :{_describe command commands}' '*:: :->below'\n");
            text.push_str("    [[ $state == below ]] || return\n    case $line[1] in\n");
            for below in &word.words {
                let _ = writeln!(text, "        {0}) _{name}_{0} ;;", below.name);
            }
            text.push_str("    esac");
        }
        text.push_str("\n}\n\n");
    }
    // Read from a file of completions it is called at once; from a profile it is registered.
    let _ = write!(
        text,
        "if [[ $funcstack[1] == _{EXECUTABLE} ]]; then\n    _{EXECUTABLE} \"$@\"\nelse\n    \
         compdef _{EXECUTABLE} {EXECUTABLE} {STAND_IN}\nfi\n"
    );
    text
}

fn zsh_switches(text: &mut String, word: &Word) {
    for switch in &word.switches {
        let about = switch.text.replace('[', r"\[").replace(']', r"\]").replace(':', r"\:");
        let value = match &switch.value {
            Value::Nothing => String::new(),
            Value::File => ":file:_files".to_owned(),
            Value::Folder => ":folder:_files -/".to_owned(),
            Value::OneOf(choices) => format!(":word:({})", choices.join(" ")),
            Value::Any(name) => {
                format!(":{}:", name.replace(['[', ']', ',', ':', '='], ""))
            }
        };
        let others = format!("({})", switch.spellings.join(" "));
        for name in &switch.spellings {
            let spec = quoted(&format!("{others}{name}[{about}]{value}"));
            let _ = write!(text, " \\\n        {spec}");
        }
    }
}

fn fish(tree: &Word) -> String {
    let mut text = format!(
        "# Completions of {EXECUTABLE} for fish, made by `{EXECUTABLE} completions fish`.\n"
    );
    for program in [EXECUTABLE, STAND_IN] {
        let _ = writeln!(text, "\ncomplete -c {program} -f");
        for (path, word) in paths(tree) {
            let condition = fish_condition(&path, tree);
            for below in &word.words {
                let (name, about) = (&below.name, quoted_for_fish(&below.text));
                let _ = writeln!(text, "complete -c {program} -n {condition} -a {name} -d {about}");
            }
            for switch in &word.switches {
                let _ =
                    writeln!(text, "complete -c {program} -n {condition}{}", fish_switch(switch));
            }
        }
    }
    text
}

/// Holds where all words of a path were said, and none of those that go on from there.
fn fish_condition(path: &[&str], tree: &Word) -> String {
    let mut word = tree;
    let mut seen = Vec::new();
    for name in path {
        word = word.words.iter().find(|word| word.name == *name).expect("paths are the tree's");
        seen.push(format!("__fish_seen_subcommand_from {name}"));
    }
    if !word.words.is_empty() {
        let names: Vec<&str> = word.words.iter().map(|word| word.name.as_str()).collect();
        seen.push(format!("not __fish_seen_subcommand_from {}", names.join(" ")));
    }
    quoted_for_fish(&seen.join("; and "))
}

fn fish_switch(switch: &Switch) -> String {
    let mut text = String::new();
    for name in &switch.spellings {
        let (option, name) = match (name.strip_prefix("--"), name.strip_prefix('-')) {
            (Some(word), _) => ("-l", word),
            (None, Some(letter)) if letter.len() == 1 => ("-s", letter),
            (None, Some(letters)) => ("-o", letters),
            (None, None) => unreachable!("a flag has a dash"),
        };
        let _ = write!(text, " {option} {name}");
    }
    match &switch.value {
        Value::Nothing => {}
        Value::File => text.push_str(" -r -F"),
        Value::Folder => text.push_str(" -x -a '(__fish_complete_directories)'"),
        Value::OneOf(choices) => {
            let _ = write!(text, " -x -a {}", quoted_for_fish(&choices.join(" ")));
        }
        Value::Any(_) => text.push_str(" -x"),
    }
    let _ = write!(text, " -d {}", quoted_for_fish(&switch.text));
    text
}

fn quoted_for_fish(text: &str) -> String {
    format!("'{}'", text.replace('\\', r"\\").replace('\'', r"\'"))
}

#[cfg(test)]
mod tests {
    use super::*;

    // Whether shells understand them is asked by `packaging/check`.
    #[test]
    fn each_shell_learns_of_flags_commands_and_values() {
        let bash = script("bash");
        assert!(bash.contains("'ldm stop quit term reopen reload'"), "{bash}");
        assert!(bash.contains("-c | --config) compopt -o filenames"), "{bash}");
        assert!(bash.contains("/bench/latency)"), "{bash}");
        let zsh = script("zsh");
        assert!(zsh.contains("'(-sl --signal)-sl[Signal a running server\\: ldm"), "{zsh}");
        assert!(zsh.contains("latency) _pinion_bench_latency ;;"), "{zsh}");
        let fish = script("fish");
        assert!(
            fish.contains(" -o sl -l signal -x -a 'ldm stop quit term reopen reload'"),
            "{fish}"
        );
        assert!(fish.contains(r"the system account\'s too"), "{fish}");
    }
}
