//! What failed, for people: every error of the libraries becomes kind, sentence and hint here, and nowhere else.
//!
//! What must hold:
//! - LVM2's words where LVM2 knows the case; else the attempt, the object, the place, the reason.
//! - The hint says what to do next, in a line of its own.

use crate::carrying::HostError;
use crate::console::Console;
use crate::exit::Exit;
use crate::live::RemoteError;
use foldback_device::{DiskError, DiskErrorKind};
use foldback_manager::apply::ApplyError;
use foldback_manager::job::MergeError;
use foldback_manager::lock::LockError;
use foldback_manager::ops::Refusal;
use foldback_manager::report::BadLayout;
use foldback_manager::store::DiskFault;
use foldback_user_dm::{DiskFailure, DmError};
use std::io::ErrorKind;

/// A command that did not succeed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct CliError {
    pub(crate) exit: Exit,
    /// One message a line; empty where everything was said already.
    pub(crate) message: String,
    pub(crate) hint: Option<String>,
}

impl CliError {
    /// It failed.
    pub(crate) fn failed(message: impl Into<String>) -> Self {
        Self { exit: Exit::Failed, message: message.into(), hint: None }
    }

    /// The command line is wrong in a way that only shows when its parts are put together.
    pub(crate) fn usage(command: &str, message: impl Into<String>) -> Self {
        let message = format!("{}\nRun `{command} --help' for more information.", message.into());
        Self { exit: Exit::BadCommandLine, message, hint: None }
    }

    /// A value that an option cannot have.
    pub(crate) fn value(option: &str, given: &str, why: &str) -> Self {
        let why = if why.is_empty() { String::new() } else { format!("{why}\n") };
        let message =
            format!("{why}Invalid argument for {option}: {given}\nError during parsing of command line.");
        Self { exit: Exit::BadCommandLine, message, hint: None }
    }

    /// What to do about it.
    #[must_use]
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Prints it.
    pub(crate) fn tell(&self, console: Console) {
        if !self.message.is_empty() {
            console.error(&self.message);
        }
        if let Some(hint) = &self.hint {
            console.error(&format!("Hint: {hint}"));
        }
    }
}

impl From<DiskError> for CliError {
    fn from(error: DiskError) -> Self {
        let failed = Self::failed(format!("{error}."));
        match error.kind {
            DiskErrorKind::Missing => Self::failed(format!("No device found for {}.", error.path.display()))
                .hint("make an image file first, for example with: truncate -s 1G FILE"),
            _ => failed,
        }
    }
}

impl From<DiskFault> for CliError {
    fn from(error: DiskFault) -> Self {
        Self::failed(format!("{error}."))
    }
}

impl From<LockError> for CliError {
    fn from(error: LockError) -> Self {
        Self::failed(error.to_string())
    }
}

impl From<BadLayout> for CliError {
    fn from(error: BadLayout) -> Self {
        let hint = match &error {
            BadLayout::Column(_) | BadLayout::SortKey(_) => Some("`-o help' lists the fields."),
            _ => None,
        };
        let failed = Self::failed(error.to_string());
        match hint {
            Some(hint) => failed.hint(hint),
            None => failed,
        }
    }
}

impl From<ApplyError> for CliError {
    fn from(error: ApplyError) -> Self {
        Self::failed(format!("{error}."))
    }
}

/// What is behind an error of a merge's host, where that is known.
pub(crate) trait Cause: std::error::Error + Send + Sync + 'static {
    /// What to wait for, as the beginning of a sentence.
    fn wait_for(&self) -> Option<String> {
        None
    }
}

impl Cause for HostError {
    fn wait_for(&self) -> Option<String> {
        match self {
            Self::Device(error) => error.kind.disk_failure().and_then(want_of_room),
            Self::Kernel(_) | Self::Claim { .. } => {
                Some("when nobody else has the volumes in the kernel".to_owned())
            }
            Self::Lock(_) => None,
        }
    }
}

impl Cause for RemoteError {}

impl<E: Cause> From<MergeError<E>> for CliError {
    fn from(error: MergeError<E>) -> Self {
        let failed = Self::failed(error.to_string());
        match error {
            MergeError::Refused(Refusal::LvNotFound { .. }) => {
                failed.hint("a merge that has ended has removed its snapshot")
            }
            MergeError::Invalidated { vg, lv } => failed.hint(format!(
                "its store was too small for what changed, or its disk failed; the snapshot is lost, remove it with: lvremove {vg}/{lv}"
            )),
            MergeError::WouldOverflow { vg, other, .. } => failed.hint(format!(
                "extend {vg}/{other} with LVM2's lvextend or remove it; with --force it becomes invalid, and its content is lost"
            )),
            MergeError::Grown { vg, lv, origin } => failed.hint(format!(
                "what the snapshot holds can be had with: export {vg}/{lv} FILE; then import FILE {vg}/{origin}"
            )),
            MergeError::Host { source, .. }
            | MergeError::Start { source, .. }
            | MergeError::Finish { source, .. } => {
                let cause = source.wait_for().unwrap_or_else(|| "when the cause is gone".to_owned());
                failed.hint(format!("{cause}, the same command goes on with the merge"))
            }
            _ => failed,
        }
    }
}

/// What to do about an image file that cannot take more, as the beginning of a sentence.
pub(crate) fn want_of_room(failure: &DiskFailure) -> Option<String> {
    let path = &failure.path;
    match failure.error.kind() {
        ErrorKind::StorageFull => {
            Some(format!("the file system on which {path} lies is full; when there is room again"))
        }
        ErrorKind::QuotaExceeded => Some(format!("the quota for {path} is used up; when it is larger")),
        ErrorKind::FileTooLarge => {
            Some(format!("a limit on the size of files stops {path} (ulimit -f); when it is gone"))
        }
        _ => None,
    }
}

impl From<DmError> for CliError {
    fn from(error: DmError) -> Self {
        let failed = Self::failed(format!("{error}."));
        match error.kind.disk_failure().and_then(want_of_room) {
            Some(cause) => failed.hint(format!("{cause}, repeat the command")),
            None => failed,
        }
    }
}
