//! Case `log-writes`: the kernel's power cut. A life of metadata commits, copies and merges on a PV that dm-log-writes logs;
//! prefixes of the log, cut at borders of flushes, are replayed on the host and read by Foldback and by LVM2.
//!
//! Holds: each prefix reads as before or after the command in flight and never as less than was acknowledged, for both alike;
//! snapshots are bit for bit what they were, and merges end right. A prefix that lacks a write on purpose is noticed.

mod judge;
mod life;
mod log;
mod replay;

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use super::Length;
use crate::guest::Random;
use crate::places;
use crate::program::Foldback;
use crate::rig::{Console, Guest, Scratch, copy_disk};
use judge::{Judge, write_sparse};
use life::{Rows, Step};
use log::{Entry, Kind};
use replay::{Replay, next_border};

const LIFE: &str = include_str!("../../../../../rig/log-writes.sh");
const READ: &str = include_str!("../../../../../rig/log-writes-read.sh");
const DISK_MIB: u64 = 40;
const DISK_BYTES: usize = 40 << 20;
const LOG_MIB: u64 = 1024;
/// Label, metadata area: all that LVM2 reads.
const HEAD: usize = 1 << 20;
const PREFIXES_SHORT: usize = 40;
/// Names a prefix of the log that the last failure kept.
const REPEAT: &str = "FOLDBACK_PREFIX";

/// Where power is cut: right at a border, or with some of what was written after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Cut {
    border: usize,
    some: Option<u64>,
}

impl fmt::Display for Cut {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.some {
            None => write!(out, "{}", self.border),
            Some(seed) => write!(out, "{}:{seed}", self.border),
        }
    }
}

impl FromStr for Cut {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let (border, some) = text.split_once(':').map_or((text, None), |(border, some)| (border, Some(some)));
        let some = some.map(str::parse).transpose().context("reading the seed")?;
        Ok(Self { border: border.parse().context("reading the border")?, some })
    }
}

/// The log of one life, and what was told of it.
struct Logged {
    bytes: Vec<u8>,
    entries: Vec<Entry>,
    steps: Vec<Step>,
    /// Where each step's mark stands.
    marks: Vec<usize>,
}

/// What LVM2 has to read, and how Foldback did.
struct Heads {
    all: Vec<(Vec<u8>, Rows, Cut)>,
}

/// Runs the case.
pub(super) fn run(length: Length) -> Result<String> {
    let program = super::program()?;
    let scratch = Scratch::new("log-writes")?;
    let kept = places::rig_logs()?.join("log-writes.log");
    let repeat = std::env::var(REPEAT).ok().map(|text| text.parse::<Cut>()).transpose()?;
    let (console, log) = match repeat {
        Some(_) => (Console::last_of("log-writes-life")?, kept.clone()),
        None => live(&program, &scratch)?,
    };
    console.expect_all()?;
    let logged = Logged::read(&console, &log)?;
    let cuts = repeat.map_or_else(|| logged.cuts(length), |cut| vec![cut]);
    let judge = logged.judge(&program, &scratch)?;
    let outcome = prefixes(&judge, &scratch, &logged, &cuts);
    if outcome.is_err() && repeat.is_none() {
        copy_disk(&log, &kept)?;
    }
    let heads = outcome?;
    if repeat.is_none() {
        notices_losses(&judge, &logged)?;
    }
    Ok(format!(
        "{} prefixes of {} entries, {} different metadata areas read by LVM2, too",
        cuts.len(),
        logged.entries.len(),
        heads
    ))
}

/// Runs the life in the guest.
fn live(program: &Foldback, scratch: &Scratch) -> Result<(Console, PathBuf)> {
    let mut guest = Guest::new(scratch, "log-writes-life", Duration::from_mins(4));
    let log = scratch.disk("log", LOG_MIB)?;
    let (disk, other) = (guest.disk(&scratch.disk("disk", DISK_MIB)?)?, guest.disk(&log)?);
    guest.set("DISK", &disk).set("OTHER", &other);
    guest.set("FOLDBACK", &program.path().display().to_string());
    Ok((guest.run(LIFE)?, log))
}

impl Logged {
    fn read(console: &Console, log: &Path) -> Result<Self> {
        let bytes = std::fs::read(log).with_context(|| format!("reading {}", log.display()))?;
        let entries = log::parse(&bytes)?;
        let steps = life::steps(console)?;
        let is_mark = |entry: &Entry, name: &str| matches!(&entry.kind, Kind::Mark(mark) if mark == name);
        let mark = |step: &Step| entries.iter().position(|entry| is_mark(entry, &step.name));
        let marks: Option<Vec<usize>> = steps.iter().map(mark).collect();
        let marks = marks.context("a step has no mark in the log")?;
        ensure!(marks.is_sorted(), "marks are not in the order of the steps");
        Ok(Self { bytes, entries, steps, marks })
    }

    /// The borders between the marks of a step and the next, or the log's end.
    fn borders(&self, step: usize) -> Vec<usize> {
        let from = self.marks.get(step).copied().unwrap_or_default();
        let until = self.marks.get(step + 1).copied().unwrap_or(self.entries.len());
        (from..until).filter(|index| self.entries.get(*index).is_some_and(Entry::is_border)).collect()
    }

    /// All borders, each with and without some of what follows; or some of them by seed, as many in each step.
    fn cuts(&self, length: Length) -> Vec<Cut> {
        let both = |border| {
            let seed = u64::try_from(border).unwrap_or_default();
            [Cut { border, some: None }, Cut { border, some: Some(seed) }]
        };
        let steps: Vec<Vec<usize>> =
            (0..self.steps.len()).map(|step| self.borders(step)).filter(|step| !step.is_empty()).collect();
        if length == Length::Long {
            return steps.into_iter().flatten().flat_map(both).collect();
        }
        let mut random = Random::new(1);
        let mut chosen: Vec<Cut> = (0..PREFIXES_SHORT)
            .filter_map(|number| {
                let step = steps.get(number.checked_rem(steps.len())?)?;
                let pick = random.next().checked_rem(u64::try_from(step.len()).ok()?)?;
                let border = *step.get(usize::try_from(pick).ok()?)?;
                both(border).get(number / steps.len() % 2).copied()
            })
            .collect();
        chosen.sort_by_key(|cut| cut.border);
        chosen
    }

    /// The step that was acknowledged last before a cut. What was written after a border may belong to later steps.
    fn before(&self, cut: Cut) -> Result<usize> {
        let until = match cut.some {
            None => cut.border,
            Some(_) => next_border(&self.entries, cut.border.saturating_add(1)),
        };
        let done = self.marks.iter().filter(|mark| **mark < until).count();
        done.checked_sub(1).context("nothing was acknowledged before that cut")
    }

    fn replay(&self) -> Replay<'_> {
        Replay::new(&self.bytes, &self.entries, DISK_BYTES)
    }

    /// The last border that stands before a step's mark.
    fn acknowledged(&self, step: usize) -> Result<usize> {
        let mark = self.marks.get(step).copied().context("no such step")?;
        (0..mark)
            .rev()
            .find(|index| self.entries.get(*index).is_some_and(Entry::is_border))
            .context("nothing was flushed before a mark")
    }

    /// A judge that knows the content at each step.
    fn judge<'j>(&'j self, program: &'j Foldback, scratch: &Scratch) -> Result<Judge<'j>> {
        let mut judge = Judge::new(program, &self.steps, scratch.path());
        let mut replay = self.replay();
        for (at, step) in self.steps.iter().enumerate() {
            replay.to(self.acknowledged(at)?, None)?;
            judge.learn(step, replay.disk())?;
        }
        Ok(judge)
    }
}

/// Judges every cut, then has LVM2 read each metadata area that occurred. How many those were.
fn prefixes(judge: &Judge<'_>, scratch: &Scratch, logged: &Logged, cuts: &[Cut]) -> Result<usize> {
    let mut replay = logged.replay();
    let mut heads = Heads { all: Vec::new() };
    for cut in cuts {
        replay.to(cut.border, None)?;
        let disk = match cut.some {
            None => replay.disk().to_vec(),
            Some(seed) => replay.with_some(seed)?,
        };
        let before = logged.before(*cut)?;
        let rows = judge.judge(before, &disk).with_context(|| told(logged, *cut))?;
        heads.add(&disk, rows, *cut);
    }
    heads.read_by_lvm2(scratch, logged)?;
    Ok(heads.all.len())
}

fn told(logged: &Logged, cut: Cut) -> String {
    let step = logged.before(cut).ok().and_then(|at| logged.steps.get(at));
    let name = step.map_or("nothing", |step| step.name.as_str());
    format!("power cut at {cut}, after {name}; {REPEAT}={cut} cargo xtask uml log-writes repeats it")
}

impl Heads {
    fn add(&mut self, disk: &[u8], rows: Rows, cut: Cut) {
        let head = disk.get(..HEAD).unwrap_or(disk);
        if !self.all.iter().any(|(known, _, _)| known == head) {
            self.all.push((head.to_vec(), rows, cut));
        }
    }

    fn read_by_lvm2(&self, scratch: &Scratch, logged: &Logged) -> Result<()> {
        let image = scratch.path().join("heads.img");
        let mut disks = vec![0; DISK_BYTES * self.all.len()];
        for ((head, _, _), place) in self.all.iter().zip(disks.chunks_mut(DISK_BYTES)) {
            place.get_mut(..head.len()).context("a head is longer than its disk")?.copy_from_slice(head);
        }
        write_sparse(&image, &disks)?;
        drop(disks);
        let mut guest = Guest::new(scratch, "log-writes-read", Duration::from_mins(8));
        let disk = guest.disk(&image)?;
        guest.set("DISK", &disk).set("COUNT", &self.all.len().to_string());
        guest.set("SECTORS", &(DISK_BYTES / 512).to_string());
        let console = guest.run(READ)?;
        console.expect_all()?;
        for (at, (_, rows, cut)) in self.all.iter().enumerate() {
            let prefix = format!("{at} ");
            let read = console.facts("read").find_map(|fact| fact.strip_prefix(&prefix));
            let read = read.with_context(|| format!("LVM2 did not read disk {at}"))?;
            let (found, said) = read.split_once('!').unwrap_or((read, ""));
            let lvm2 = Rows::of(&found.replace(' ', "\n"));
            ensure!(
                lvm2 == *rows && said.is_empty(),
                "LVM2 reads {read}, and Foldback {}; {}",
                rows.line(),
                told(logged, *cut)
            );
        }
        Ok(())
    }
}

/// A disk that loses an acknowledged header, or a block of data, has to be noticed: else nothing above means anything.
fn notices_losses(judge: &Judge<'_>, logged: &Logged) -> Result<()> {
    let step = |name: &str| logged.steps.iter().position(|step| step.name == name).context("no such step");
    let first = step("first")?;
    let border = logged.acknowledged(first)?;
    let is_in = |entry: &Entry, place: std::ops::Range<usize>| matches!(&entry.kind, Kind::Write { at, data } if place.contains(at) && !data.is_empty());
    // What was written last before the snapshot is its store; before that, the origin's own content.
    let filled = logged.acknowledged(step("fill")?)?;
    for (what, place, until) in [("header", 4096..4608, border), ("data", HEAD..DISK_BYTES, filled)] {
        let lost = (0..=until)
            .rev()
            .find(|index| logged.entries.get(*index).is_some_and(|entry| is_in(entry, place.clone())));
        let lost = lost.with_context(|| format!("no write of {what} before {border}"))?;
        let mut replay = logged.replay();
        replay.to(border, Some(lost))?;
        if judge.judge(first, replay.disk()).is_ok() {
            bail!("that entry {lost} with {what} was lost before border {border} was not noticed");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::Cut;

    #[test]
    fn a_cut_is_repeated_by_what_names_it() {
        for cut in [Cut { border: 17, some: None }, Cut { border: 4, some: Some(93) }] {
            assert_eq!(cut.to_string().parse::<Cut>().unwrap(), cut);
        }
        assert!("x".parse::<Cut>().is_err() && "1:y".parse::<Cut>().is_err());
    }
}
