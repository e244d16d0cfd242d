//! What the daemon says, on standard error, where systemd or a log keeps it.
//!
//! What must hold:
//! - Saying something never fails whoever says it: the log may lie on a file system that is full, and `eprintln` ends the
//!   thread then that serves, or sees to what is served.

use std::fmt::Arguments;
use std::io::Write;

/// Says a line, formatted as by `format!`.
macro_rules! say {
    ($($text:tt)*) => {
        $crate::said::line(format_args!($($text)*))
    };
}

pub(crate) fn line(text: Arguments<'_>) {
    // With nobody to hear it there is nobody to tell.
    writeln!(std::io::stderr(), "{text}").ok();
}
