//! How far something is, for people: a bar on a terminal, lines elsewhere, nothing with `-q`.
//!
//! What must hold:
//! - A bar fits 80 columns and shows what is done of what, the rate, and the time that is left.
//! - The bar is on standard error; standard output stays free for results.
//! - It costs nothing worth mentioning: it is drawn a few times a second however often it is told.

use crate::console::Console;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::{self, IsTerminal};
use std::time::{Duration, Instant};

/// Between two lines where there is no terminal.
const LINES_EVERY: Duration = Duration::from_secs(10);
/// Redraws in a second.
const REDRAWS: u8 = 8;

/// Bytes that pass.
#[derive(Debug)]
pub(crate) struct Progress {
    how: How,
    what: String,
    total: Option<u64>,
    done: u64,
}

#[derive(Debug)]
enum How {
    Nothing,
    Bar(ProgressBar),
    Lines { console: Console, last: Instant },
}

/// A bar of bytes on standard error.
pub(crate) fn bar(what: &str, total: Option<u64>) -> ProgressBar {
    let template = match total {
        Some(_) => {
            "  {msg} [{bar:20}] {percent:>3}% {binary_bytes} of {binary_total_bytes}, {binary_bytes_per_sec}, {eta} left"
        }
        None => "  {msg} {spinner} {binary_bytes}, {binary_bytes_per_sec}",
    };
    let bar = match total {
        Some(total) => ProgressBar::new(total),
        None => ProgressBar::new_spinner(),
    };
    bar.set_draw_target(ProgressDrawTarget::stderr_with_hz(REDRAWS));
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style.progress_chars("=> "));
    }
    bar.set_message(what.to_owned());
    bar
}

/// A number of bytes for people: `12.34 MiB`.
pub(crate) fn bytes_in_words(bytes: u64) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    let power = (1..units.len()).take_while(|&power| bytes >> power.saturating_mul(10) > 0).count();
    if power == 0 {
        return format!("{bytes} B");
    }
    let shift = power.saturating_mul(10);
    let hundredths = u128::from(bytes).saturating_mul(100) >> shift;
    let unit = units.get(power).copied().unwrap_or_default();
    format!("{}.{:02} {unit}", hundredths.div_euclid(100), hundredths.rem_euclid(100))
}

impl Progress {
    /// Of `what`; the total may not be known.
    pub(crate) fn new(console: Console, what: &str, total: Option<u64>) -> Self {
        let how = if console.is_quiet() {
            How::Nothing
        } else if io::stderr().is_terminal() {
            How::Bar(bar(what, total))
        } else {
            How::Lines { console, last: Instant::now() }
        };
        Self { how, what: what.to_owned(), total, done: 0 }
    }

    /// More bytes have passed.
    pub(crate) fn add(&mut self, bytes: u64) {
        self.done = self.done.saturating_add(bytes);
        match &mut self.how {
            How::Nothing => {}
            How::Bar(bar) => bar.set_position(self.done),
            How::Lines { console, last } => {
                if last.elapsed() >= LINES_EVERY {
                    *last = Instant::now();
                    let of =
                        self.total.map_or_else(String::new, |total| format!(" of {}", bytes_in_words(total)));
                    console.error(&format!("{}: {}{of}", self.what, bytes_in_words(self.done)));
                }
            }
        }
    }

    /// It is over; the bar goes.
    pub(crate) fn end(&self) {
        if let How::Bar(bar) = &self.how {
            bar.finish_and_clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::bytes_in_words;

    #[test]
    fn bytes_are_cut_not_rounded_up() {
        assert_eq!(bytes_in_words(0), "0 B");
        assert_eq!(bytes_in_words(1023), "1023 B");
        assert_eq!(bytes_in_words(1024), "1.00 KiB");
        assert_eq!(bytes_in_words((1 << 30) - 1), "1023.99 MiB");
        assert_eq!(bytes_in_words(u64::MAX), "15.99 EiB");
    }
}
