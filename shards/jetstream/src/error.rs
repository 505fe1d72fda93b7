//! Errors of the API, as clients see them.

use std::borrow::Cow;

#[path = "error_table.rs"]
pub mod table;

/// An error as it stands in an answer: `{"code":…,"err_code":…,"description":…}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The class, as in HTTP.
    pub code: u16,
    /// The number that clients tell errors apart by.
    pub number: u16,
    /// What people read.
    pub text: Cow<'static, str>,
}

impl Fault {
    const fn new(code: u16, number: u16, text: &'static str) -> Self {
        Self { code, number, text: Cow::Borrowed(text) }
    }

    /// The error with a placeholder of its text, braces included, replaced.
    #[must_use]
    pub fn with(self, placeholder: &str, value: impl std::fmt::Display) -> Self {
        let text = self.text.replace(placeholder, &value.to_string());
        Self { text: Cow::Owned(text), ..self }
    }

    /// Appends its JSON.
    pub(crate) fn put(&self, out: &mut Vec<u8>) {
        let mut writer = crate::json::Writer::open(out);
        writer.natural("code", u64::from(self.code));
        writer.natural("err_code", u64::from(self.number));
        writer.text("description", &self.text);
        writer.close();
    }

    /// The error with `{err}` replaced: those whose text is only their cause.
    #[must_use]
    pub fn because(self, cause: impl std::fmt::Display) -> Self {
        self.with("{err}", cause)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_unique_and_placeholders_are_filled() {
        let mut numbers: Vec<u16> = table::ALL.iter().map(|fault| fault.number).collect();
        numbers.sort_unstable();
        numbers.dedup();
        assert_eq!(numbers.len(), table::ALL.len());
        assert_eq!(table::INVALID_JSON.because("x").text, "invalid JSON: x");
    }
}
