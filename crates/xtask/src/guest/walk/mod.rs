//! Carries a random walk out inside the guest: does a step, looks, compares with the model, keeps the journal.
//!
//! Holds: after every step LVM2 and Foldback report the same VG, which is the model's; LVM2's check is silent; nothing is
//! suspended; every block of every readable LV is what the model says, and a lost snapshot cannot be read. A command that must be
//! done or must be refused is. During a command that the kernel does not survive, nothing is written by the walk.

mod blocks;
mod parties;

use std::fs::File;
use std::io::Write as _;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use clap::Args;

use crate::walk::{
    Entry, Lv, Merge, Model, Outcome, Party, Place, STEPS_AND_END, Step, VG, Verdict, Write, differences,
    merged_by_nobody, replay, words,
};
use parties::Parties;

/// How long merges may take to end once they were told to; only a hang reaches it.
const ENDS_WITHIN: Duration = Duration::from_mins(1);
/// Between two looks at what changes by itself.
const AGAIN: Duration = Duration::from_millis(200);
/// Wrong blocks that are named.
const NAMED: usize = 5;

/// Arguments of `walk`.
#[derive(Args)]
pub(crate) struct WalkJob {
    /// Which walk
    seed: u64,
    /// The program under test
    foldback: PathBuf,
    /// The disk under /dev/mapper/slow
    disk: String,
    /// Where the journal is, and where the host is asked to end the kernel
    folder: PathBuf,
}

/// Goes on with the walk until its end, or until the kernel is ended.
pub(super) fn run(job: &WalkJob) -> Result<()> {
    let journal = job.folder.join("journal");
    let text = if journal.exists() {
        std::fs::read_to_string(&journal).context("reading the journal")?
    } else {
        String::new()
    };
    let place = replay(job.seed, &text)?;
    let parties = Parties { foldback: job.foldback.clone() };
    let mut walk = Walk { job, parties, place, journal: text, open: None };
    if let Some(step) = walk.place.killed.take() {
        let number = walk.place.next;
        walk.recover(&step).with_context(|| format!("after the kernel's end in step {number}"))?;
    }
    while walk.place.next < STEPS_AND_END {
        let number = walk.place.next;
        walk.step().with_context(|| format!("step {number}"))?;
    }
    println!("RESULT walk-{} ok", job.seed);
    Ok(())
}

type Left = std::result::Result<(Outcome, Vec<String>, Model), String>;

struct Walk<'a> {
    job: &'a WalkJob,
    parties: Parties,
    place: Place,
    journal: String,
    open: Option<File>,
}

impl Walk<'_> {
    fn step(&mut self) -> Result<()> {
        let number = self.place.next;
        let step = self.place.begin(self.job.seed);
        println!("FACT step {number} {}", told(&step));
        if let Some((name, held)) = &step.hold {
            self.hold(name, *held)?;
        }
        write(&self.place.model, &step.writes)?;
        if let Some(pace) = step.pace_ms {
            parties::delay(&self.job.disk, pace)?;
        }
        if let Some(after) = step.kill_ms {
            return self.killed(&step, after);
        }
        let (went_well, said) = self.parties.run(step.party, &words(step.party, &step.command))?;
        println!("FACT came {number} {} {said}", if went_well { "done" } else { "refused" });
        let verdict = step.command.verdict(step.party, &self.place.model);
        ensure!(went_well || verdict != Verdict::Must, "it was refused: {said}");
        ensure!(!went_well || verdict != Verdict::MustNot, "it was done: {said}");
        let outcomes = if went_well { step.command.done(step.party, &self.place.model) } else { Vec::new() };
        let partly = step.command.left_by_refusal(&self.place.model);
        let partly = partly.into_iter().enumerate().map(|(which, model)| (Outcome::Refused(which), model));
        let (outcome, changes) = self.settle(outcomes, partly.collect(), went_well)?;
        if step.command.ends_merges() {
            // Who is told to end merges ends them; Foldback does before it returns.
            let limit = if step.party == Party::Foldback { Duration::ZERO } else { ENDS_WITHIN };
            return self.all_ended(number, outcome, changes, limit);
        }
        self.close(number, outcome, changes)
    }

    /// Finds which of the outcomes it is.
    fn settle(
        &mut self,
        outcomes: Vec<Model>,
        partly: Vec<(Outcome, Model)>,
        went_well: bool,
    ) -> Result<(Outcome, Vec<String>)> {
        let seen = self.parties.look(&outcomes.iter().chain([&self.place.model]).collect::<Vec<_>>())?;
        let mut candidates: Vec<(Outcome, Model)> =
            outcomes.into_iter().enumerate().map(|(which, model)| (Outcome::Done(which), model)).collect();
        if !went_well {
            candidates.push((Outcome::Before, self.place.model.clone()));
            candidates.extend(partly);
        }
        let mut reasons = Vec::new();
        for (outcome, mut model) in candidates {
            let mut changes = Vec::new();
            let mut wrong = merged_by_nobody(&model, &seen);
            wrong.extend(differences(&mut model, &seen, &mut changes));
            if wrong.is_empty() {
                self.place.model = model;
                return Ok((outcome, changes));
            }
            reasons.push(wrong.join(", "));
        }
        bail!("{}", reasons.join("; or "))
    }

    fn all_ended(
        &mut self,
        number: u64,
        outcome: Outcome,
        mut changes: Vec<String>,
        limit: Duration,
    ) -> Result<()> {
        let begun = Instant::now();
        let runs = |model: &Model| model.lvs.values().any(|lv| lv.active && lv.merge() == Merge::Begun);
        while runs(&self.place.model) {
            ensure!(begun.elapsed() < limit, "a merge has not ended");
            std::thread::sleep(AGAIN);
            let seen = self.parties.look(&[&self.place.model])?;
            let wrong = differences(&mut self.place.model, &seen, &mut changes);
            ensure!(wrong.is_empty(), "while merges end: {}", wrong.join(", "));
        }
        self.close(number, outcome, changes)
    }

    /// Compares content and writes the line.
    fn close(&mut self, number: u64, outcome: Outcome, changes: Vec<String>) -> Result<()> {
        let fills = self.place.fill(number);
        write(&self.place.model, &fills)?;
        self.running()?;
        let mut wrong = Vec::new();
        for (name, lv) in self.place.model.lvs.iter().filter(|(_, lv)| lv.readable()) {
            let blocks = blocks::compare(&device(&self.place.model, name), &lv.blocks)?;
            wrong.extend(blocks.into_iter().map(|block| format!("{name}: {block}")));
        }
        for (name, _) in self.place.model.lvs.iter().filter(|(_, lv)| lv.active && lv.invalid()) {
            ensure!(!blocks::answers(&device(&self.place.model, name))?, "{name} is lost and can be read");
        }
        let shown: Vec<&str> = wrong.iter().take(NAMED).map(String::as_str).collect();
        ensure!(wrong.is_empty(), "{} blocks are wrong: {}", wrong.len(), shown.join(", "));
        self.place.next = number + 1;
        self.note(&Entry { number, outcome, changes })?;
        let again = replay(self.job.seed, &self.journal)?;
        ensure!(again == self.place, "the journal does not lead here");
        Ok(())
    }

    /// Nothing is suspended, but for the moment in which a merge ends by itself.
    fn running(&self) -> Result<()> {
        let begun = Instant::now();
        loop {
            let suspended = parties::suspended()?;
            if suspended.is_empty() {
                return Ok(());
            }
            let passes = self.place.model.any_begun() && begun.elapsed() < ENDS_WITHIN;
            ensure!(passes, "suspended: {}", suspended.join(" "));
            std::thread::sleep(AGAIN);
        }
    }

    /// The command in whose course the host ends the kernel.
    fn killed(&mut self, step: &Step, after_ms: u64) -> Result<()> {
        self.note(&Entry { number: self.place.next, outcome: Outcome::Killed, changes: Vec::new() })?;
        let ask = File::create(self.job.folder.join("kill")).context("asking for the kernel's end")?;
        (&ask).write_all(format!("{after_ms}\n").as_bytes()).context("asking for the kernel's end")?;
        ask.sync_all().context("asking for the kernel's end")?;
        let (went_well, said) = self.parties.run(step.party, &words(step.party, &step.command))?;
        println!("FACT came {} {went_well} before the end: {said}", self.place.next);
        std::thread::sleep(ENDS_WITHIN);
        bail!("the kernel was not ended")
    }

    /// After the boot: what is left is what was, or what should be.
    fn recover(&mut self, step: &Step) -> Result<()> {
        let number = self.place.next;
        let mut left = self.left(step)?;
        if left.is_err() && self.clear_strays(step)? {
            left = self.left(step)?;
        }
        match left {
            Ok((outcome, changes, model)) => {
                self.place.model = model;
                self.place.lvm2_ends = false;
                println!("FACT left {number} {outcome:?} {}", changes.join(" "));
                self.close(number, outcome, changes)
            }
            Err(why) => bail!("{why}"),
        }
    }

    /// Which outcome is left, or why it is none.
    fn left(&self, step: &Step) -> Result<Left> {
        let mut candidates = vec![(Outcome::Before, self.place.model.clone())];
        let left = step.left_by_kill(&self.place.model).into_iter().enumerate();
        candidates.extend(left.map(|(which, model)| (Outcome::Done(which), model)));
        let seen = self.parties.look(&candidates.iter().map(|(_, model)| model).collect::<Vec<_>>())?;
        let mut reasons = Vec::new();
        for (outcome, mut model) in candidates {
            let mut wrong = merged_by_nobody(&model, &seen);
            model.power_cut();
            let mut changes = Vec::new();
            wrong.extend(differences(&mut model, &seen, &mut changes));
            if wrong.is_empty() {
                return Ok(Ok((outcome, changes, model)));
            }
            reasons.push(wrong.join(", "));
        }
        Ok(Err(reasons.join("; or ")))
    }

    /// LVM2 makes a snapshot, and ends a merge, in two commits: between them there is a plain LV, which people have to remove, and so
    /// does the next party. Foldback needs one commit and leaves nothing. Whether there was any.
    fn clear_strays(&mut self, step: &Step) -> Result<bool> {
        let lvm2s = step.party == Party::Lvm2 || self.place.lvm2_ends;
        let seen = self.parties.look(&[&self.place.model])?;
        let plain = |name: &str| self.place.model.lvs.get(name).is_some_and(|lv| lv.snapshot.is_none());
        let strays = seen.rows.values().filter(|row| row.attr.starts_with('-') && !plain(&row.name));
        let strays: Vec<String> = strays.filter(|_| lvm2s).map(|row| row.name.clone()).collect();
        for name in &strays {
            let words = ["lvremove".to_owned(), "-y".to_owned(), format!("{VG}/{name}")];
            let (went_well, said) = self.parties.run(step.party.other(), &words)?;
            println!("FACT stray {name} {said}");
            ensure!(went_well, "removing what LVM2 left: {said}");
        }
        Ok(!strays.is_empty())
    }

    fn hold(&mut self, name: &str, held: bool) -> Result<()> {
        // One is open at most, whatever it was called when it was opened.
        self.open = if held { Some(blocks::hold(&device(&self.place.model, name))?) } else { None };
        Ok(())
    }

    fn note(&mut self, entry: &Entry) -> Result<()> {
        self.journal.push_str(&entry.line());
        self.journal.push('\n');
        let path = self.job.folder.join("journal");
        let mut file = File::create(&path).with_context(|| format!("writing {}", path.display()))?;
        file.write_all(self.journal.as_bytes()).and_then(|()| file.sync_all()).context("writing the journal")
    }
}

fn write(model: &Model, writes: &[Write]) -> Result<()> {
    for write in writes {
        blocks::write(&device(model, &write.lv), write.from, write.until, write.stamp)?;
    }
    Ok(())
}

/// An LV's link. That of a snapshot whose merge waits is LVM2's to take away with any change of its group, the device stays.
fn device(model: &Model, name: &str) -> PathBuf {
    match model.lvs.get(name).map(Lv::merge) {
        Some(Merge::Marked) => PathBuf::from(format!("/dev/mapper/{VG}-{}", name.replace('-', "--"))),
        _ => PathBuf::from(format!("/dev/{VG}/{name}")),
    }
}

fn told(step: &Step) -> String {
    let party = match step.party {
        Party::Lvm2 => "lvm",
        Party::Foldback => "foldback",
    };
    let mut told = format!("{party} {}", words(step.party, &step.command).join(" "));
    let writes: Vec<String> =
        step.writes.iter().map(|write| format!("{}:{}..{}", write.lv, write.from, write.until)).collect();
    if !writes.is_empty() {
        told = format!("{told}, after writes to {}", writes.join(" "));
    }
    if let Some((name, held)) = &step.hold {
        told = format!("{told}, {} {name} before", if *held { "opening" } else { "closing" });
    }
    if let Some(pace) = step.pace_ms {
        told = format!("{told}, from here on a write takes {pace} ms");
    }
    if let Some(after) = step.kill_ms {
        told = format!("{told}, killed after {after} ms");
    }
    told
}
