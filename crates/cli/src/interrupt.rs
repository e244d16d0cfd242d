//! Ctrl-C, SIGTERM and a terminal that goes (SIGHUP): asked to stop, a long command stops where it can be taken up again.
//!
//! What must hold:
//! - A limit on the size of files is an error like any other, and nothing is left half done because of it.
//! - A signal that the process was told to ignore (`nohup`) stays ignored.
//! - The first signal asks; a second one ends the process at once, as it would have without us.

use crate::error::CliError;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGXFSZ};
use signal_hook::flag;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Whether a signal has asked to stop.
#[derive(Clone, Debug)]
pub(crate) struct Interrupt(Arc<AtomicBool>);

/// Makes a file that may not grow an error of the write, not the end of the process.
pub(crate) fn survive_file_size_limit() {
    // Without it the process ends as it would have: nothing to tell.
    flag::register(SIGXFSZ, Arc::new(AtomicBool::new(false))).ok();
}

/// Whether the process was started with the signal ignored.
fn is_ignored(signal: i32) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    is_in_mask(&status, signal)
}

/// `SigIgn:` is a mask, the lowest bit for signal 1.
fn is_in_mask(status: &str, signal: i32) -> bool {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0);
    let bit = signal.checked_sub(1).and_then(|bit| u32::try_from(bit).ok());
    bit.and_then(|bit| mask.checked_shr(bit)).is_some_and(|mask| mask & 1 == 1)
}

impl Interrupt {
    /// Watches from now on.
    pub(crate) fn watch() -> Result<Self, CliError> {
        let asked = Arc::new(AtomicBool::new(false));
        let hangup = (!is_ignored(SIGHUP)).then_some(SIGHUP);
        for signal in [SIGINT, SIGTERM].into_iter().chain(hangup) {
            // In this order: the flag that the first signal sets is what makes the second one deadly.
            flag::register_conditional_default(signal, Arc::clone(&asked))
                .and_then(|_| flag::register(signal, Arc::clone(&asked)))
                .map_err(|error| CliError::failed(format!("watching for signals: {error}.")))?;
        }
        Ok(Self(asked))
    }

    /// Whether one came.
    pub(crate) fn asked(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// An error if one came.
    pub(crate) fn check(&self) -> Result<(), CliError> {
        if self.asked() { Err(CliError::failed("Interrupted.")) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::is_in_mask;
    use signal_hook::consts::{SIGHUP, SIGINT};

    #[test]
    fn what_nohup_ignores_is_seen() {
        let status = "Name:\tx\nSigBlk:\tffffffffffffffff\nSigIgn:\t0000000000001001\nSigCgt:\t00\n";
        assert!(is_in_mask(status, SIGHUP) && !is_in_mask(status, SIGINT));
        assert!(!is_in_mask("", SIGHUP));
    }
}
