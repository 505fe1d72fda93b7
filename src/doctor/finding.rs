//! One line of the doctor's report.

use serde::Serialize;

/// How something stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum State {
    /// As wanted.
    Good,
    /// Could be better.
    Differs,
    /// The broker cannot start, or cannot keep what it promises.
    Broken,
    /// This machine has no such knob.
    Absent,
    /// Not to be seen by this user.
    Unseen,
    /// Something to know; neither good nor bad.
    Note,
}

impl State {
    /// The mark in front of a line.
    pub(super) const fn mark(self) -> &'static str {
        match self {
            Self::Good => "ok     ",
            Self::Differs => "DIFFERS",
            Self::Broken => "BROKEN ",
            Self::Absent => "absent ",
            Self::Unseen => "unseen ",
            Self::Note => "note   ",
        }
    }
}

/// How one thing stands, and what would mend it.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Finding {
    pub(super) name: &'static str,
    pub(super) area: &'static str,
    pub(super) place: String,
    pub(super) state: State,
    pub(super) now: String,
    pub(super) wanted: String,
    pub(super) why: &'static str,
    /// The command that mends it; empty where there is nothing to mend.
    pub(super) mend: String,
}
