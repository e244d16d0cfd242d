//! What an operation tells the user beside its result.
//!
//! What must hold:
//! - The words are LVM2's; where they go (stdout, stderr, nowhere) is decided by who prints them.

/// How loud.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Level {
    /// A result or a remark on it: standard output, unless quiet.
    Print,
    /// Standard error.
    Warning,
    /// Standard error, and no warning to LVM2.
    Remark,
    /// Only with `-v`.
    Verbose,
}

/// One line, or several.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Notice {
    /// How loud.
    pub level: Level,
    /// The words.
    pub text: String,
}

impl Notice {
    /// For standard output.
    pub fn print(text: String) -> Self {
        Self { level: Level::Print, text }
    }

    /// For standard error.
    pub fn warning(text: String) -> Self {
        Self { level: Level::Warning, text }
    }

    /// For standard error, without the word for a warning.
    pub fn remark(text: String) -> Self {
        Self { level: Level::Remark, text }
    }
}
