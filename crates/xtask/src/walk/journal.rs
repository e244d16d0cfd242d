//! What came of each step, kept where it outlives the guest: one line for each step.
//!
//! `N killed` is written before a command during which the kernel is ended. Otherwise, and once more after the boot that follows,
//! `N before` (refused, or nothing left of it), `N done K` or `N refused K`, K being which of the allowed outcomes; then `NAME=begun`, `NAME=ended`
//! for merges that went on by themselves, and `NAME=MIB` for a store that a party sized.

use anyhow::{Context, Result, bail};

use super::choose::choose;
use super::model::Model;
use super::step::{Party, Step};

/// A line of the journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    /// The step.
    pub(crate) number: u64,
    /// What came of it.
    pub(crate) outcome: Outcome,
    /// What merges did.
    pub(crate) changes: Vec<String>,
}

/// What came of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The kernel is about to be ended.
    Killed,
    /// The command did nothing.
    Before,
    /// It was done, and led to this one of its outcomes.
    Done(usize),
    /// It was refused, and did this of it all the same.
    Refused(usize),
}

impl Entry {
    /// As it is written.
    pub(crate) fn line(&self) -> String {
        let outcome = match self.outcome {
            Outcome::Killed => "killed".to_owned(),
            Outcome::Before => "before".to_owned(),
            Outcome::Done(which) => format!("done {which}"),
            Outcome::Refused(which) => format!("refused {which}"),
        };
        format!("{} {outcome} {}", self.number, self.changes.join(" ")).trim_end().to_owned()
    }

    fn parse(line: &str) -> Result<Self> {
        let mut words = line.split(' ');
        let mut word = || words.next();
        let number = word().unwrap_or_default().parse().with_context(|| format!("reading {line}"))?;
        let outcome = match word() {
            Some("killed") => Outcome::Killed,
            Some("before") => Outcome::Before,
            Some("done") => Outcome::Done(word().unwrap_or_default().parse()?),
            Some("refused") => Outcome::Refused(word().unwrap_or_default().parse()?),
            _ => bail!("a line of the journal is none: {line}"),
        };
        Ok(Self { number, outcome, changes: words.map(str::to_owned).collect() })
    }
}

/// Where a walk is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    /// The number of the next step.
    pub(crate) next: u64,
    /// What the VG holds.
    pub(crate) model: Model,
    /// A step during which the kernel was ended, and of which it is not known yet what is left of it. The model has its writes.
    pub(crate) killed: Option<Step>,
    /// Whether a process of LVM2's may be ending merges in this kernel.
    pub(crate) lvm2_ends: bool,
}

/// Walks again through what the journal says.
pub(crate) fn replay(seed: u64, journal: &str) -> Result<Place> {
    let mut place = Place { next: 0, model: Model::default(), killed: None, lvm2_ends: false };
    for line in journal.lines() {
        let entry = Entry::parse(line)?;
        place.follow(seed, &entry).with_context(|| format!("following {line}"))?;
    }
    Ok(place)
}

impl Place {
    /// Goes on by one line.
    fn follow(&mut self, seed: u64, entry: &Entry) -> Result<()> {
        let killed = self.killed.take();
        let after_kill = killed.is_some();
        let step = killed.unwrap_or_else(|| self.begin(seed));
        let model = match entry.outcome {
            Outcome::Killed => {
                self.killed = Some(step);
                return Ok(());
            }
            Outcome::Before => None,
            Outcome::Done(which) if after_kill => step.left_by_kill(&self.model).into_iter().nth(which),
            Outcome::Done(which) => step.command.done(step.party, &self.model).into_iter().nth(which),
            Outcome::Refused(which) => step.command.left_by_refusal(&self.model).into_iter().nth(which),
        };
        if let Some(model) = model {
            self.model = model;
        }
        if after_kill {
            self.model.power_cut();
            self.lvm2_ends = false;
        }
        for change in &entry.changes {
            match change.split_once('=') {
                Some((name, "begun")) => self.model.begin(name),
                Some((name, "ended")) => self.model.end(name),
                Some((name, mib)) if mib.parse::<u64>().is_ok() => {
                    self.model.lengthen_store(name, mib.parse()?);
                }
                _ => bail!("a change is none: {change}"),
            }
        }
        self.fill(entry.number);
        self.next = entry.number + 1;
        Ok(())
    }

    /// The next step, with what happens before its command.
    pub(crate) fn begin(&mut self, seed: u64) -> Step {
        let step = choose(seed, self.next, &self.model);
        if let Some((name, held)) = &step.hold
            && let Some(lv) = self.model.lvs.get_mut(name)
        {
            lv.held = *held;
        }
        self.lvm2_ends |= step.party == Party::Lvm2 && step.command.may_end_merges();
        for write in &step.writes {
            self.model.write(&write.lv, write.from, write.until, write.stamp);
        }
        step
    }

    /// What is written after a step where nothing is known of the content.
    pub(crate) fn fill(&mut self, number: u64) -> Vec<super::Write> {
        let stamp = super::choose::stamp(number, 0);
        let ranges = self.model.unknown();
        for (lv, from, until) in &ranges {
            self.model.write(lv, *from, *until, stamp);
        }
        ranges.into_iter().map(|(lv, from, until)| super::Write { lv, from, until, stamp }).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::{Entry, Outcome, replay};
    use crate::walk::STEPS_AND_END;

    /// Walks without parties: every command is done, every third step is one that the kernel does not survive.
    #[test]
    fn a_walk_goes_on_from_its_journal_where_it_was() {
        for seed in 0..20 {
            let (mut journal, mut live) = (String::new(), replay(seed, "").unwrap());
            while live.next < STEPS_AND_END {
                let number = live.next;
                let step = live.begin(seed);
                let mut left = step.command.done(step.party, &live.model);
                if number % 3 == 0 {
                    let entry = Entry { number, outcome: Outcome::Killed, changes: Vec::new() };
                    journal.push_str(&entry.line());
                    journal.push('\n');
                    let again = replay(seed, &journal).unwrap();
                    assert_eq!((again.killed.as_ref(), &again.model), (Some(&step), &live.model));
                    left = step.left_by_kill(&live.model);
                    live.model = left.pop().unwrap();
                    live.model.power_cut();
                    live.lvm2_ends = false;
                } else {
                    live.model = left.pop().unwrap();
                }
                live.fill(number);
                live.next += 1;
                let entry = Entry { number, outcome: Outcome::Done(left.len()), changes: Vec::new() };
                journal.push_str(&entry.line());
                journal.push('\n');
                assert_eq!(replay(seed, &journal).unwrap(), live, "seed {seed}");
            }
        }
    }

    #[test]
    fn what_is_no_journal_is_refused() {
        for line in ["x done 0", "0 gone", "0 done", "0 before s=lost"] {
            assert!(replay(1, line).is_err(), "{line}");
        }
    }
}
