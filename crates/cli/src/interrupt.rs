//! Ctrl-C, SIGTERM and a terminal that goes (SIGHUP): asked to stop, a long command stops where it can be taken up again.
//!
//! What must hold:
//! - A limit on the size of files is an error like any other, and nothing is left half done because of it.
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

impl Interrupt {
    /// Watches from now on.
    pub(crate) fn watch() -> Result<Self, CliError> {
        let asked = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM, SIGHUP] {
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
