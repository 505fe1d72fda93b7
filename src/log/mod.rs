//! The log: nats-server's line format, written by a thread of its own.
//!
//! Cores hold a [`Logger`] each and hand lines over a bounded channel; only the log thread touches
//! the file. A core that finds the channel full goes on without waiting and says later how many
//! lines are missing. When protocol tracing is on completeness is the point, and it waits instead.

use std::cell::Cell;
use std::fmt;
use std::io::{self, IsTerminal as _, Write as _};
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::config::{LogTime, Options};

mod file;

use file::LogFile;

/// Lines that may wait. A start-up and a shutdown together are a few hundred; more than this only
/// waits when the output is stuck.
const CHANNEL_LINES: usize = 4096;
/// Bytes gathered from waiting lines before they are written in one call.
const BATCH_BYTES: usize = 64 * 1024;
/// How long a flush waits for an output that may be stuck for good.
const FLUSH_WAIT: Duration = Duration::from_secs(2);

/// How much a line matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// What is going on.
    Info,
    /// What the operator should look at.
    Warn,
    /// What went wrong.
    Error,
    /// What the process dies of.
    Fatal,
    /// What only a developer wants to know.
    Debug,
    /// A protocol line.
    Trace,
}

/// Which of the optional levels are on. Each [`Logger`] has its own copy, so that asking costs
/// nothing; a reload hands every core a new one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Levels {
    /// `debug`.
    pub debug: bool,
    /// `trace`.
    pub trace: bool,
}

/// Where the log goes and what its lines look like.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// The file; standard error without one.
    pub file: Option<PathBuf>,
    /// Bytes at which the file is set aside.
    pub size_limit: Option<usize>,
    /// Files to keep, the current one included.
    pub max_files: Option<usize>,
    /// The time stamp of lines.
    pub time: LogTime,
    /// The optional levels.
    pub levels: Levels,
}

impl From<&Options> for Settings {
    fn from(options: &Options) -> Self {
        Self {
            file: options.log_file.clone(),
            size_limit: options.log_size_limit.map(Into::into),
            max_files: options.log_max_files.map(Into::into),
            time: options.log_time,
            levels: Levels { debug: options.debug, trace: options.trace },
        }
    }
}

/// One thread's way to the log. Clone it for every thread.
#[derive(Debug)]
pub struct Logger {
    channel: SyncSender<Message>,
    levels: Levels,
    /// Lines that found no room since the last one that did.
    lost: Cell<u64>,
}

#[derive(Debug)]
enum Message {
    Line { level: Level, at: SystemTime, text: String },
    Configure(Settings),
    Reopen,
    Flush(SyncSender<()>),
}

/// Opens the output and starts the thread, which ends when the last [`Logger`] is gone. The error
/// is one line for the user.
pub fn start(settings: Settings) -> Result<Logger, String> {
    let levels = settings.levels;
    let output = Output::open(&settings)?;
    let (channel, messages) = sync_channel(CHANNEL_LINES);
    let mut sink = Sink { settings, output, zone: TimeZone::system(), batch: Vec::new() };
    thread::Builder::new()
        .name("log".to_owned())
        .spawn(move || sink.run(&messages))
        .map_err(|error| format!("cannot start the log thread: {error}"))?;
    Ok(Logger { channel, levels, lost: Cell::new(0) })
}

impl Clone for Logger {
    fn clone(&self) -> Self {
        Self { channel: self.channel.clone(), levels: self.levels, lost: Cell::new(0) }
    }
}

impl Logger {
    /// `[INF]`
    pub fn info(&self, text: impl fmt::Display) {
        self.line(Level::Info, text);
    }

    /// `[WRN]`
    pub fn warn(&self, text: impl fmt::Display) {
        self.line(Level::Warn, text);
    }

    /// `[ERR]`
    pub fn error(&self, text: impl fmt::Display) {
        self.line(Level::Error, text);
    }

    /// `[DBG]`, if on; pass `format_args!` and nothing is formatted otherwise.
    pub fn debug(&self, text: impl fmt::Display) {
        self.line(Level::Debug, text);
    }

    /// `[TRC]`, if on.
    pub fn trace(&self, text: impl fmt::Display) {
        self.line(Level::Trace, text);
    }

    /// `[FTL]`; on return it is written, so the process may exit.
    pub fn fatal(&self, text: impl fmt::Display) {
        self.line(Level::Fatal, text);
        self.flush();
    }

    /// A line of any level.
    pub fn line(&self, level: Level, text: impl fmt::Display) {
        if !self.is_on(level) {
            return;
        }
        let lost = self.lost.replace(0);
        if lost > 0 {
            let text = format!("{lost} log lines were lost because the log could not keep up");
            self.send(Level::Warn, text, lost);
        }
        self.send(level, text.to_string(), 1);
    }

    /// Whether lines of this level are written.
    pub fn is_on(&self, level: Level) -> bool {
        match level {
            Level::Debug => self.levels.debug,
            Level::Trace => self.levels.trace,
            _ => true,
        }
    }

    /// Switches the optional levels of this handle.
    pub fn set_levels(&mut self, levels: Levels) {
        self.levels = levels;
    }

    /// Waits until everything handed over so far is written, or until that seems hopeless.
    pub fn flush(&self) {
        let (done, written) = sync_channel(1);
        if self.channel.send(Message::Flush(done)).is_ok() {
            let _ = written.recv_timeout(FLUSH_WAIT);
        }
    }

    /// Opens the file by its name again, after someone moved it; the log says what came of it.
    pub fn reopen(&self) {
        let _ = self.channel.send(Message::Reopen);
    }

    /// Changes the output and the form of lines; the log says so if the new file does not open. The
    /// levels of handles change by [`Self::set_levels`].
    pub fn configure(&self, settings: Settings) {
        let _ = self.channel.send(Message::Configure(settings));
    }

    /// Hands a line over; `worth` is how many lines are lost with it.
    fn send(&self, level: Level, text: String, worth: u64) {
        let message = Message::Line { level, at: SystemTime::now(), text };
        if self.levels.trace || level == Level::Fatal {
            let _ = self.channel.send(message);
        } else if self.channel.try_send(message).is_err() {
            self.lost.set(self.lost.get() + worth);
        }
    }
}

/// What the log thread owns.
struct Sink {
    settings: Settings,
    output: Output,
    zone: TimeZone,
    batch: Vec<u8>,
}

enum Output {
    Standard { colours: bool },
    File(LogFile),
}

impl Output {
    fn open(settings: &Settings) -> Result<Self, String> {
        match &settings.file {
            Some(path) => LogFile::open(path, settings.size_limit, settings.max_files)
                .map(Self::File)
                .map_err(|reason| format!("error opening file: {reason}")),
            None => Ok(Self::Standard { colours: io::stderr().is_terminal() }),
        }
    }
}

impl Sink {
    fn run(&mut self, messages: &Receiver<Message>) {
        while let Ok(first) = messages.recv() {
            let mut next = Some(first);
            while let Some(message) = next {
                self.accept(message);
                if self.batch.len() >= BATCH_BYTES {
                    break;
                }
                next = messages.try_recv().ok();
            }
            self.write();
        }
    }

    fn accept(&mut self, message: Message) {
        match message {
            Message::Line { level, at, text } => self.line(level, at, &text),
            Message::Configure(settings) => self.configure(settings),
            Message::Reopen => self.reopen(),
            Message::Flush(done) => {
                self.write();
                let _ = done.send(());
            }
        }
    }

    fn line(&mut self, level: Level, at: SystemTime, text: &str) {
        let colours = matches!(self.output, Output::Standard { colours: true });
        let before = self.batch.len();
        head(&mut self.batch, self.settings.time, &self.zone, at);
        label(&mut self.batch, level, colours);
        self.batch.extend_from_slice(text.as_bytes());
        if !text.ends_with('\n') {
            self.batch.push(b'\n');
        }
        let Output::File(file) = &self.output else {
            return;
        };
        if file.is_full_with(self.batch.len()) {
            assert!(self.batch.len() > before, "a line is never empty");
            self.write();
            self.rotate();
        }
    }

    fn write(&mut self) {
        if self.batch.is_empty() {
            return;
        }
        // There is nowhere to report a log that cannot be written.
        match &mut self.output {
            Output::Standard { .. } => {
                let _ = io::stderr().lock().write_all(&self.batch);
            }
            Output::File(file) => file.append(&self.batch),
        }
        self.batch.clear();
        self.batch.shrink_to(BATCH_BYTES);
    }

    fn rotate(&mut self) {
        let Output::File(file) = &mut self.output else {
            return;
        };
        let now = SystemTime::now();
        let stamp = Timestamp::try_from(now).unwrap_or_default().to_zoned(self.zone.clone());
        for (level, text) in file.rotate(&stamp) {
            // The reference ends these lines, and only these, like a DOS file.
            head(&mut self.batch, self.settings.time, &self.zone, now);
            label(&mut self.batch, level, false);
            self.batch.extend_from_slice(text.as_bytes());
            self.batch.extend_from_slice(b"\r\n");
        }
        self.write();
    }

    fn configure(&mut self, settings: Settings) {
        self.write();
        match Output::open(&settings) {
            Ok(output) => {
                self.output = output;
                self.settings = settings;
            }
            Err(problem) => self.line(Level::Error, SystemTime::now(), &problem),
        }
    }

    fn reopen(&mut self) {
        self.write();
        let text = if self.settings.file.is_none() {
            "File log re-open ignored, not a file logger"
        } else {
            match Output::open(&self.settings) {
                Ok(output) => self.output = output,
                Err(problem) => {
                    return self.line(Level::Error, SystemTime::now(), &problem);
                }
            }
            "File log re-opened"
        };
        self.line(Level::Info, SystemTime::now(), text);
    }
}

/// `[pid] YYYY/MM/DD HH:MM:SS.uuuuuu `
fn head(line: &mut Vec<u8>, time: LogTime, zone: &TimeZone, at: SystemTime) {
    let _ = write!(line, "[{}] ", std::process::id());
    let at = Timestamp::try_from(at).unwrap_or_default();
    let at = match time {
        LogTime::None => return,
        LogTime::Local => zone.to_datetime(at),
        LogTime::Utc => TimeZone::UTC.to_datetime(at),
    };
    let _ = write!(
        line,
        "{:04}/{:02}/{:02} {:02}:{:02}:{:02}.{:06} ",
        at.year(),
        at.month(),
        at.day(),
        at.hour(),
        at.minute(),
        at.second(),
        at.subsec_nanosecond() / 1000
    );
}

/// `[INF] `, in the reference's colours on a terminal.
fn label(line: &mut Vec<u8>, level: Level, colours: bool) {
    let (name, colour) = match level {
        Level::Info => ("INF", "32"),
        Level::Warn => ("WRN", "0;93"),
        Level::Error => ("ERR", "31"),
        Level::Fatal => ("FTL", "31"),
        Level::Debug => ("DBG", "36"),
        Level::Trace => ("TRC", "33"),
    };
    let _ = if colours {
        write!(line, "[\x1b[{colour}m{name}\x1b[0m] ")
    } else {
        write!(line, "[{name}] ")
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_looks_like_the_reference() {
        let at = SystemTime::UNIX_EPOCH + Duration::from_micros(1_763_667_635_012_345);
        let mut line = Vec::new();
        head(&mut line, LogTime::Utc, &TimeZone::UTC, at);
        label(&mut line, Level::Warn, false);
        let expected = format!("[{}] 2025/11/20 19:40:35.012345 [WRN] ", std::process::id());
        assert_eq!(String::from_utf8_lossy(&line), expected);
        line.clear();
        head(&mut line, LogTime::None, &TimeZone::UTC, at);
        label(&mut line, Level::Info, true);
        let expected = format!("[{}] [\x1b[32mINF\x1b[0m] ", std::process::id());
        assert_eq!(String::from_utf8_lossy(&line), expected);
    }

    fn scratch(name: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("{name}-{}.log", std::process::id()));
        let _ = std::fs::remove_file(&path);
        path
    }

    fn to_file(path: &std::path::Path) -> Settings {
        Settings {
            file: Some(path.to_owned()),
            size_limit: None,
            max_files: None,
            time: LogTime::None,
            levels: Levels::default(),
        }
    }

    fn texts(path: &std::path::Path) -> Vec<String> {
        let prefix = format!("[{}] ", std::process::id());
        let lines = std::fs::read_to_string(path).expect("the log is there");
        lines.lines().map(|line| line.replacen(&prefix, "", 1)).collect()
    }

    #[test]
    fn lines_arrive_in_order_and_levels_are_kept() {
        let path = scratch("log-order");
        let mut logger = start(to_file(&path)).expect("opens");
        logger.info("one");
        logger.debug("not shown");
        logger.set_levels(Levels { debug: true, trace: false });
        logger.debug(format_args!("t{}", "wo"));
        logger.trace("not shown");
        logger.fatal("three");
        assert_eq!(texts(&path), ["[INF] one", "[DBG] two", "[FTL] three"]);
        std::fs::remove_file(&path).expect("ours");
    }

    #[test]
    fn a_moved_file_is_begun_anew() {
        let path = scratch("log-reopen");
        let moved = scratch("log-reopen-moved");
        let logger = start(to_file(&path)).expect("opens");
        logger.info("before");
        logger.flush();
        std::fs::rename(&path, &moved).expect("it is there");
        logger.info("still before");
        logger.reopen();
        logger.info("after");
        logger.flush();
        assert_eq!(texts(&moved), ["[INF] before", "[INF] still before"]);
        assert_eq!(texts(&path), ["[INF] File log re-opened", "[INF] after"]);
        logger.configure(to_file(std::path::Path::new("/dev/null/none")));
        logger.flush();
        let last = texts(&path).pop().expect("a line");
        assert_eq!(last, "[ERR] error opening file: open /dev/null/none: not a directory");
        std::fs::remove_file(&path).expect("ours");
        std::fs::remove_file(&moved).expect("ours");
    }

    #[test]
    fn a_full_channel_loses_lines_and_says_so() {
        let (channel, messages) = sync_channel(1);
        let logger = Logger { channel, levels: Levels::default(), lost: Cell::new(0) };
        for _ in 0..3 {
            logger.info("x");
        }
        assert_eq!(logger.lost.get(), 2);
        assert!(matches!(messages.try_recv(), Ok(Message::Line { .. })));
        logger.info("y");
        let Ok(Message::Line { level, text, .. }) = messages.try_recv() else {
            panic!("a line is waiting");
        };
        assert_eq!(level, Level::Warn);
        assert_eq!(text, "2 log lines were lost because the log could not keep up");
        assert_eq!(logger.lost.get(), 1);
    }
}
