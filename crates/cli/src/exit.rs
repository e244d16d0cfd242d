//! Exit codes.
//!
//! What must hold:
//! - LVM2's codes keep LVM2's meaning; codes of our own are above them and belong to `foldback check` alone.
//! - Of several outcomes the worst counts.

use std::process::ExitCode;

/// How a command ended.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Exit {
    /// Done.
    Success,
    /// No such command.
    NoSuchCommand,
    /// The command line cannot be understood.
    BadCommandLine,
    /// It failed, or was refused.
    Failed,
    /// `check` only: usable, and the next merge or activation repairs something first.
    NeedsRepair,
    /// `check` only: damaged; nothing will use it.
    Damaged,
}

impl Exit {
    const fn code(self) -> u8 {
        match self {
            Self::Success => 0,
            Self::NoSuchCommand => 2,
            Self::BadCommandLine => 3,
            Self::Failed => 5,
            Self::NeedsRepair => 10,
            Self::Damaged => 11,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}
