//! The manual page, in the language of manual pages (mdoc).

use std::fmt::Write as _;

use super::EXECUTABLE;
use super::flags::{Flag, SECTIONS};
use super::words::{COMMANDS, Word, tree};

/// Where a line of text ends.
const LINE_MAX: usize = 78;

/// The whole page.
pub(super) fn page() -> String {
    let mut page = HEAD.to_owned();
    for section in SECTIONS {
        let _ = writeln!(page, ".Ss {}\n.Bl -tag -width Ds", section.title);
        for flag in section.flags {
            let _ = writeln!(page, ".It {}\n{}", head(flag), escaped(flag.text));
        }
        page.push_str(".El\n");
    }
    page.push_str(".Sh COMMANDS\n.Bl -tag -width Ds\n");
    for (name, about) in COMMANDS {
        let _ = writeln!(page, ".It Cm {name}\n{}", escaped(about));
    }
    page.push_str(".El\n");
    for word in tree(EXECUTABLE).words {
        if word.words.is_empty() && word.switches.is_empty() || word.name == "completions" {
            continue;
        }
        command(&mut page, &word);
    }
    page.push_str(TAIL);
    page
}

fn command(page: &mut String, word: &Word) {
    let _ = writeln!(page, ".Ss {EXECUTABLE} {}", word.name);
    let list = |page: &mut String, rows: &[(String, &str)]| {
        page.push_str(".Bl -tag -width Ds\n");
        for (head, text) in rows {
            let _ = writeln!(page, ".It {head}");
            if !text.is_empty() {
                let _ = writeln!(page, "{}", escaped(text));
            }
        }
        page.push_str(".El\n");
    };
    if !word.words.is_empty() {
        let rows: Vec<_> =
            word.words.iter().map(|below| (format!("Cm {}", below.name), &*below.text)).collect();
        list(page, &rows);
        page.push_str(".Pp\nFor each of these, with more by\n.Fl -help :\n");
    }
    let rows: Vec<_> = word
        .switches
        .iter()
        .map(|switch| {
            let names = switch.spellings.iter().map(|name| dashed(name));
            (names.collect::<Vec<_>>().join(" , "), &*switch.text)
        })
        .collect();
    list(page, &rows);
}

/// `Fl a , Fl -addr Ar host`
fn head(flag: &Flag) -> String {
    let names: Vec<String> = flag.spellings().map(|name| dashed(&name)).collect();
    let value = match flag.value {
        "" => String::new(),
        value => format!(" Ar \"{value}\""),
    };
    format!("{}{value}", names.join(" , "))
}

/// A flag as a macro's argument; the macro brings the first dash.
fn dashed(name: &str) -> String {
    format!("Fl {}", name.strip_prefix('-').expect("a flag has a dash"))
}

/// Text that is not taken for a macro, in lines as short as manual pages have them.
fn escaped(text: &str) -> String {
    let mut lines = vec![String::new()];
    for word in text.replace('\\', r"\e").split(' ') {
        let line = lines.last_mut().expect("there is a line");
        // A sentence begins a line, so that its distance to the one before is the formatter's.
        if line.ends_with('.') || line.len() + word.len() >= LINE_MAX {
            lines.push(word.to_owned());
        } else {
            let blank = if line.is_empty() { "" } else { " " };
            let _ = write!(line, "{blank}{word}");
        }
    }
    for line in &mut lines {
        if line.starts_with(['.', '\'']) {
            line.insert_str(0, r"\&");
        }
    }
    lines.join("\n")
}

const HEAD: &str = r".Dd November 25, 2026
.Dt PINION 1
.Os
.Sh NAME
.Nm pinion
.Nd message broker that stands in for nats-server
.Sh SYNOPSIS
.Nm
.Op Ar options
.Nm
.Ar command
.Op Ar arguments
.Sh DESCRIPTION
.Nm
serves the NATS protocol: publish and subscribe, requests and replies, and
messages that are kept on disk (JetStream).
It takes the flags, the configuration file and the signals of nats-server, and
starts one shard on each core that it may use.
.Pp
Flags are written with one dash or two, and their values behind a blank or
.Sq = .
What is on the command line wins over what is in the configuration file.
.Pp
Linux 6.1 or newer with io_uring is needed, and 512 KiB of lockable memory.
.Sh OPTIONS
";

const TAIL: &str = r".Sh SIGNALS
.Bl -tag -width Ds
.It Dv SIGHUP
reads the configuration again; if it is wrong, nothing changes.
.It Dv SIGUSR1
opens the log file again.
.It Dv SIGUSR2
goes into lame duck mode: no new clients; those that are there are told to go,
and are closed one by one after
.Va lame_duck_grace_period ,
within
.Va lame_duck_duration .
Then it exits.
.It Dv SIGINT , SIGTERM
stop at once.
In lame duck mode
.Dv SIGTERM
is ignored.
.El
.Sh FILES
.Bl -tag -width Ds
.It Pa /etc/pinion/NAME.conf
configuration of the service
.Li pinion@NAME
.It Pa /var/lib/pinion/NAME
what the service keeps
.It Pa /usr/share/pinion/tuning
settings of the host, and what applies them
.El
.Sh EXIT STATUS
The server exits with 0 after a stop that was asked for, and with 1 if it
cannot start, with a line that says why.
A wrong flag prints the help and exits with 0, as nats-server does.
.Sh EXAMPLES
Start with streams, and monitoring on this machine alone:
.Pp
.Dl pinion -js -sd data -m 8222 -a 127.0.0.1
.Pp
Check a configuration file:
.Pp
.Dl pinion -t -c broker.conf
.Pp
Send the clients of a running server away, then let it end:
.Pp
.Dl pinion --signal ldm=pinion.pid
.Sh SEE ALSO
The language of the configuration file:
.Lk https://docs.nats.io/running-a-nats-service/configuration
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_names_every_flag_and_command() {
        let page = page();
        for section in SECTIONS {
            assert!(page.contains(&format!(".Ss {}\n", section.title)));
            for flag in section.flags {
                assert!(page.contains(&format!(".It {}\n", head(flag))), "{}", flag.names[0]);
            }
        }
        assert!(page.contains(".It Fl c , Fl -config Ar \"file\"\n"));
        assert!(page.contains(".It Fl -server\n"));
        assert!(page.lines().all(|line| !line.is_empty() && line.len() <= 80), "{page}");
    }
}
