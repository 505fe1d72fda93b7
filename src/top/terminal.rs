//! The picture on a terminal, drawn again and again.

use std::io::{Stdout, Write as _, stdout};
use std::time::Instant;

use crossterm::cursor::{Hide, MoveTo, Show};
use crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use crossterm::style::{Attribute, Color, Print, ResetColor, SetAttribute, SetForegroundColor};
use crossterm::terminal::{
    Clear, ClearType, EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode,
    enable_raw_mode, size,
};
use crossterm::{execute, queue};

use super::fetch::Source;
use super::sample::Sample;
use super::screen::{self, Line, Look};
use super::{Arguments, Sort};

/// A terminal that is given back as it was, whatever happens.
struct Screen(Stdout);

impl Screen {
    fn open() -> Result<Self, String> {
        enable_raw_mode().map_err(|error| format!("this is no terminal ({error}): use --once"))?;
        let mut screen = Self(stdout());
        execute!(screen.0, EnterAlternateScreen, Hide).map_err(|error| error.to_string())?;
        Ok(screen)
    }

    fn show(&mut self, lines: &[Line]) -> std::io::Result<()> {
        let (width, height) = size()?;
        for row in 0..height {
            queue!(self.0, MoveTo(0, row))?;
            if let Some(line) = lines.get(usize::from(row)) {
                let text: String = line.plain().chars().take(usize::from(width)).collect();
                match line.look {
                    Look::Plain => {}
                    Look::Title => queue!(self.0, SetAttribute(Attribute::Bold))?,
                    Look::Heading => queue!(self.0, SetAttribute(Attribute::Dim))?,
                    Look::Warning => queue!(self.0, SetForegroundColor(Color::Red))?,
                }
                queue!(self.0, Print(text), SetAttribute(Attribute::Reset), ResetColor)?;
            }
            queue!(self.0, Clear(ClearType::UntilNewLine))?;
        }
        self.0.flush()
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // A terminal that is gone needs nothing.
        let _ = execute!(self.0, Show, LeaveAlternateScreen);
        let _ = disable_raw_mode();
    }
}

/// What a key asks for.
enum Wish {
    Quit,
    Sort,
    Hold,
    /// Only that what is there is drawn again.
    Nothing,
}

fn wish(event: &Event) -> Wish {
    let Event::Key(KeyEvent { code, modifiers, kind: KeyEventKind::Press, .. }) = event else {
        return Wish::Nothing;
    };
    match code {
        KeyCode::Char('q') | KeyCode::Esc => Wish::Quit,
        KeyCode::Char('c') if modifiers.contains(KeyModifiers::CONTROL) => Wish::Quit,
        KeyCode::Char('s') => Wish::Sort,
        KeyCode::Char(' ') => Wish::Hold,
        _ => Wish::Nothing,
    }
}

/// Draws until a key says stop.
pub(super) fn run(source: &Source, arguments: &Arguments) -> Result<(), String> {
    let mut before: Option<Sample> = None;
    // If nobody answers there should be a line about it, and no screen.
    let mut now = Sample::take(source, arguments.sort, arguments.rows)?;
    let mut screen = Screen::open()?;
    let mut sort: Sort = arguments.sort;
    let (mut held, mut trouble) = (false, None);
    let told = |error: std::io::Error| error.to_string();
    loop {
        let mut lines = screen::draw(&now, before.as_ref(), sort);
        lines.extend(trouble.take().map(Line::warning));
        screen.show(&lines).map_err(told)?;
        let due = Instant::now() + arguments.interval;
        while let Some(left) = due.checked_duration_since(Instant::now()) {
            if !event::poll(left).map_err(told)? {
                break;
            }
            match wish(&event::read().map_err(told)?) {
                Wish::Quit => return Ok(()),
                Wish::Sort => sort = sort.next(),
                Wish::Hold => held = !held,
                Wish::Nothing => {}
            }
            screen.show(&screen::draw(&now, before.as_ref(), sort)).map_err(told)?;
        }
        if held {
            continue;
        }
        match Sample::take(source, sort, arguments.rows) {
            Ok(sample) => before = Some(std::mem::replace(&mut now, sample)),
            Err(problem) => trouble = Some(problem),
        }
    }
}
