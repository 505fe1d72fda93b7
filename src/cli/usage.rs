//! The text behind `--help`.

use std::fmt::Write as _;

use super::flags::{Flag, SECTIONS};
use super::words::COMMANDS;

/// Where the text about a flag begins.
const TEXT_AT: usize = 37;
/// Where a line of text ends.
const LINE_MAX: usize = 100;

/// What is printed for `--help`, and after a flag that does not exist.
pub(super) fn text(name: &str) -> String {
    let mut text = format!("\nUsage: {name} [options]\n       {name} command [arguments]\n");
    for section in SECTIONS {
        let _ = writeln!(text, "\n{}:", section.title);
        for flag in section.flags {
            row(&mut text, &head(flag), flag.text);
        }
    }
    text.push_str("\nCommands:\n");
    for (command, about) in COMMANDS {
        row(&mut text, &format!("    {command}"), about);
    }
    text.push('\n');
    text
}

/// A flag with its names, words below words.
fn head(flag: &Flag) -> String {
    let names: Vec<String> = flag.spellings().collect();
    let indent = if names[0].starts_with("--") { 8 } else { 4 };
    let names = names.join(", ");
    let value = if flag.value.is_empty() { String::new() } else { format!(" <{}>", flag.value) };
    format!("{:indent$}{names}{value}", "")
}

/// A line of two columns, or several.
fn row(text: &mut String, head: &str, about: &str) {
    let mut line = format!("{head:TEXT_AT$}");
    if !line.ends_with(' ') {
        let _ = writeln!(text, "{line}");
        line = " ".repeat(TEXT_AT);
    }
    for word in about.split(' ') {
        if line.len() + word.len() > LINE_MAX {
            let _ = writeln!(text, "{}", line.trim_end());
            line = " ".repeat(TEXT_AT);
        }
        line.push_str(word);
        line.push(' ');
    }
    let _ = writeln!(text, "{}", line.trim_end());
}

/// What is printed for `--help_tls`.
pub(super) const TLS: &str = "\
TLS is configured by flags, or by a block of the configuration file:

    tls {
        cert_file: \"server-cert.pem\"
        key_file:  \"server-key.pem\"
        ca_file:   \"ca.pem\"
        verify:    true
    }

Flags: --tlscert and --tlskey are needed, --tlscacert with --tlsverify asks clients for a
certificate, too. A changed certificate is taken up by --signal reload.

The block has more: verify_and_map, handshake_first, timeout, cipher_suites, curve_preferences,
min_version, pinned_certs and connection_rate_limit.
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_stand_in_columns() {
        let text = text("pinion");
        for line in [
            "    -a, --addr, --net <host>         Address to listen on (default: 0.0.0.0)",
            "    -DVV                             Both -D and -VV",
            "        --cores <number>             Cores to use",
            "    -n, --name, --server_name <name> Name of this server",
            "    -sl, --signal <signal[=pid]>     Signal a running server: ldm, stop,",
            "        --cluster, --cluster_listen <url>\n                                     Where",
        ] {
            assert!(text.contains(line), "{line:?} is not in {text}");
        }
        assert!(text.lines().all(|line| line.len() <= LINE_MAX), "{text}");
    }
}
