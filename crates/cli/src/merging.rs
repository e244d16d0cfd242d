//! What a merge says while it runs, and when it is to stop.
//!
//! What must hold:
//! - On a terminal a bar; elsewhere LVM2's line at every interval, on standard output, out at once; with `-i 0` a line
//!   for every durable step; with `-q` nothing of it.
//! - The share shown is the share of the merge: 0 when it begins, 100 when it is done.

use crate::changing::{archive, backup};
use crate::commands::Context;
use crate::console::Console;
use crate::interrupt::Interrupt;
use crate::progress::bar;
use foldback_lvm2_format::vg::Vg;
use foldback_manager::backup::BackupPlaces;
use foldback_manager::environment::Machine;
use foldback_manager::job::{Observer, Progress};
use foldback_manager::ops::{Level, Notice};
use indicatif::ProgressBar;
use std::io::{self, IsTerminal};
use std::ops::ControlFlow;
use std::str::FromStr;
use std::time::{Duration, Instant};

/// LVM2's activation/polling_interval.
pub(crate) const DEFAULT_INTERVAL: Duration = Duration::from_secs(15);

/// `[+]SECONDS`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Interval {
    /// Between two lines.
    pub(crate) every: Duration,
    /// The first only after a wait.
    pub(crate) later: bool,
}

impl FromStr for Interval {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (later, number) = text.strip_prefix('+').map_or((false, text), |number| (true, number));
        let seconds = number.parse().map_err(|_| String::new())?;
        Ok(Self { every: Duration::from_secs(seconds), later })
    }
}

/// When lines come.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    /// Between two of them.
    pub(crate) every: Duration,
    /// The first only after a wait.
    pub(crate) later: bool,
    /// When the merge is to stop.
    pub(crate) until: Option<Instant>,
}

/// How progress is told.
enum Way {
    Nothing,
    Bar(Option<ProgressBar>),
    Lines { every: Duration, last: Option<Instant>, told: Option<u64> },
}

/// Listens to one merge.
pub(crate) struct Listener<'l> {
    context: &'l Context,
    console: Console,
    places: BackupPlaces,
    interrupt: &'l Interrupt,
    /// `VG/ORIGIN`.
    origin: String,
    until: Option<Instant>,
    way: Way,
    /// Nothing is said but warnings.
    quiet: bool,
}

impl<'l> Listener<'l> {
    /// For the merge into `origin`; backups of the VG go to `places`.
    pub(crate) fn new(
        context: &'l Context,
        interrupt: &'l Interrupt,
        origin: String,
        pace: Pace,
        places: BackupPlaces,
    ) -> Self {
        let Pace { every, later, until } = pace;
        let way = if context.console.is_quiet() {
            Way::Nothing
        } else if io::stderr().is_terminal() && io::stdout().is_terminal() {
            Way::Bar(None)
        } else {
            Way::Lines { every, last: later.then(Instant::now), told: None }
        };
        Self { context, console: context.console, places, interrupt, origin, until, way, quiet: false }
    }

    /// Says nothing but warnings from here on.
    pub(crate) fn be_quiet(&mut self) {
        self.quiet = true;
        self.way = Way::Nothing;
    }

    fn is_over(&self) -> bool {
        self.interrupt.asked() || self.until.is_some_and(|until| Instant::now() >= until)
    }

    fn line(&self, progress: &Progress) {
        let total = u128::from(progress.chunks_total);
        let done = u128::from(progress.chunks_done());
        let hundredths = done.saturating_mul(10_000).checked_div(total).unwrap_or(10_000);
        let (whole, part) = (hundredths.div_euclid(100), hundredths.rem_euclid(100));
        self.console.say(&format!("{}: Merged: {whole}.{part:02}%", self.origin));
    }
}

impl Observer for Listener<'_> {
    fn notice(&mut self, notice: Notice) {
        if let Way::Bar(Some(bar)) = &self.way {
            bar.finish_and_clear();
        }
        match notice.level {
            Level::Print if self.quiet => {}
            Level::Print => self.console.say(&notice.text),
            Level::Warning => self.console.warn(&notice.text),
            Level::Remark => self.console.error(&notice.text),
            Level::Verbose => self.console.detail(&notice.text),
        }
    }

    fn changing(&mut self, vg: &Vg) {
        archive(self.context, &self.places, vg, &mut Machine::new(&self.context.line));
    }

    fn stops(&self) -> bool {
        self.is_over()
    }

    fn progress(&mut self, progress: &Progress) -> ControlFlow<()> {
        let mut due = false;
        match &mut self.way {
            Way::Nothing => {}
            Way::Bar(shown) => {
                let total = progress.bytes_total().get();
                shown
                    .get_or_insert_with(|| bar(&self.origin, Some(total)))
                    .set_position(progress.bytes_done().get());
            }
            Way::Lines { every, last, told } => {
                let step = *told != Some(progress.chunks_left);
                let waited = last.is_none_or(|last| last.elapsed() >= *every);
                due = step && (waited || progress.chunks_left == 0);
                if due {
                    *last = Some(Instant::now());
                    *told = Some(progress.chunks_left);
                }
            }
        }
        if due {
            self.line(progress);
        }
        if self.is_over() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }

    fn committed(&mut self, vg: &Vg) {
        backup(self.context, &self.places, vg, &mut Machine::new(&self.context.line));
    }
}

impl Drop for Listener<'_> {
    fn drop(&mut self) {
        if let Way::Bar(Some(bar)) = &self.way {
            bar.finish_and_clear();
        }
    }
}
