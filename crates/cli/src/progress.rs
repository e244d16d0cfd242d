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
/// Columns of a terminal that does not say how many it has.
const COLUMNS: u16 = 80;
/// What a line of the bar takes beside the name, with the largest numbers and a bar of a few columns.
const BESIDE_THE_NAME: usize = 70;
/// What is shown of a name at least.
const NAME_LEAST: usize = 10;
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
    let width = rustix::termios::tcgetwinsize(io::stderr()).map_or(COLUMNS, |size| size.ws_col);
    bar_on(ProgressDrawTarget::stderr_with_hz(REDRAWS), usize::from(width), what, total)
}

/// The same on any terminal of so many columns.
fn bar_on(target: ProgressDrawTarget, width: usize, what: &str, total: Option<u64>) -> ProgressBar {
    let template = match total {
        Some(_) => {
            "  {msg} [{wide_bar}] {percent:>3}% {binary_bytes} of {binary_total_bytes}, {binary_bytes_per_sec}, {eta} left"
        }
        None => "  {msg} {spinner} {binary_bytes}, {binary_bytes_per_sec}",
    };
    let bar = match total {
        Some(total) => ProgressBar::new(total),
        None => ProgressBar::new_spinner(),
    };
    bar.set_draw_target(target);
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style.progress_chars("=> "));
    }
    bar.set_message(cut(what, width.saturating_sub(BESIDE_THE_NAME)));
    bar
}

/// A name in so many columns, its end cut off where it must be.
pub(crate) fn cut(name: &str, columns: usize) -> String {
    let columns = columns.max(NAME_LEAST);
    if name.chars().count() <= columns {
        return name.to_owned();
    }
    let kept = columns.saturating_sub(2);
    name.chars().take(kept).chain("..".chars()).collect()
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
    use super::{bar_on, bytes_in_words, cut};
    use indicatif::{ProgressDrawTarget, TermLike};
    use std::io;
    use std::sync::{Arc, Mutex};
    use std::time::Duration;

    /// A terminal of 80 columns that keeps what is written to it.
    #[derive(Clone, Debug, Default)]
    struct Paper(Arc<Mutex<String>>);

    impl Paper {
        fn put(&self, text: &str) -> io::Result<()> {
            self.0.lock().unwrap().push_str(text);
            Ok(())
        }
    }

    impl TermLike for Paper {
        fn width(&self) -> u16 {
            80
        }
        fn move_cursor_up(&self, _: usize) -> io::Result<()> {
            self.put("\n")
        }
        fn move_cursor_down(&self, _: usize) -> io::Result<()> {
            self.put("\n")
        }
        fn move_cursor_right(&self, _: usize) -> io::Result<()> {
            self.put("\n")
        }
        fn move_cursor_left(&self, _: usize) -> io::Result<()> {
            self.put("\n")
        }
        fn write_line(&self, text: &str) -> io::Result<()> {
            self.put(&format!("{text}\n"))
        }
        fn write_str(&self, text: &str) -> io::Result<()> {
            self.put(text)
        }
        fn clear_line(&self) -> io::Result<()> {
            self.put("\n")
        }
        fn flush(&self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_bar_fits_80_columns_also_with_the_largest_numbers() {
        let long = "volumegroup/a-very-long-name-of-a-volume";
        for (what, total, done) in [
            (long, u64::MAX, u64::MAX / 2),
            (long, (1 << 50) - 1, (1 << 50) - 2),
            ("vg/root", (1 << 40) - 1, (1 << 40) - (1 << 30)),
            ("vg/root", 4096, 1),
        ] {
            let paper = Paper::default();
            let bar = bar_on(ProgressDrawTarget::term_like(Box::new(paper.clone())), 80, what, Some(total));
            for step in 1..=20 {
                bar.set_position(done / 20 * step);
                std::thread::sleep(Duration::from_millis(2));
                bar.tick();
            }
            let drawn = paper.0.lock().unwrap().clone();
            let lines: Vec<&str> = drawn.split(['\n', '\r']).map(str::trim_end).collect();
            assert!(lines.iter().any(|line| line.contains("% ")), "nothing was drawn: {drawn:?}");
            for line in lines {
                assert!(line.chars().count() <= 80, "{} columns: {line:?}", line.chars().count());
            }
        }
    }

    #[test]
    fn a_name_is_cut_where_it_must_be() {
        assert_eq!(cut("vg/root", 10), "vg/root");
        assert_eq!(cut("vg/rootrootroot", 12), "vg/rootroo..");
        assert_eq!(cut("vg/rootrootroot", 0), "vg/rootr..");
    }

    #[test]
    fn bytes_are_cut_not_rounded_up() {
        assert_eq!(bytes_in_words(0), "0 B");
        assert_eq!(bytes_in_words(1023), "1023 B");
        assert_eq!(bytes_in_words(1024), "1.00 KiB");
        assert_eq!(bytes_in_words((1 << 30) - 1), "1023.99 MiB");
        assert_eq!(bytes_in_words(u64::MAX), "15.99 EiB");
    }
}
