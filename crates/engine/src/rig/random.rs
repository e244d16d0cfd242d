//! Random requests, random order of completion, power cuts: the group against the model.
//!
//! Goal: each volume always holds what the model says, also after a power cut and a second opening; the merge comes to
//! its end and leaves the origin equal to the merged view. Method: small sizes, so that everything collides; writes of
//! unique stamps; in some runs writes of the same sectors at once, in some errors of the device.

use super::model::{Before, Model};
use super::{Dice, Rig, Snapshot, config, range};
use crate::{Fault, FlushDomain, Io, RequestId, RequestKind, Space, StoreStatus, Volume};
use foldback_dm_snapshot_format::Severity;
use std::collections::BTreeMap;

const ORIGIN: u64 = 200;

enum Under {
    Read { volume: Volume, start: u64, before: Before },
    Write { volume: Volume, start: u64, data: Vec<u64>, fua: bool },
    Flush { volume: Volume, certain: Vec<u64> },
}

struct Run {
    rig: Rig,
    dice: Dice,
    snapshots: Vec<Snapshot>,
    models: BTreeMap<u32, Model>,
    under: BTreeMap<RequestId, Under>,
    merging: bool,
    /// Snapshots that were taken of the merged view of this merge.
    views: Vec<Snapshot>,
    stamp: u64,
    seed: u64,
    /// One I/O in so many fails; none where it is zero.
    errors: u64,
    /// Whether flushes fail as well: then nothing on that cache can be flushed until it is opened again.
    flushes_fail: bool,
}

/// The model of a volume: 0 is the origin.
fn key(volume: Volume) -> u32 {
    match volume {
        Volume::Origin => 0,
        Volume::Snapshot(id) => id.0,
    }
}

impl Run {
    fn new(seed: u64) -> Self {
        let mut dice = Dice(seed.wrapping_mul(77_777) + 5);
        let count = 1 + dice.roll(3) as u32;
        let snapshots: Vec<Snapshot> = (1..=count)
            .map(|id| {
                let size = if dice.roll(3) == 0 { 60 + dice.roll(ORIGIN - 60) } else { ORIGIN };
                let chunk = 1 << dice.roll(6);
                let store = if dice.roll(3) == 0 { 2 * u64::from(chunk) + dice.roll(300) } else { 2000 };
                let mut snapshot = Snapshot::new(id, size, chunk, store);
                snapshot.block = 1 << dice.roll(3);
                snapshot
            })
            .collect();
        let scratch = 32 + dice.roll(6) * 40;
        let window = 1 + dice.roll(80);
        let mut rig = Rig::unopened(config(ORIGIN, scratch, window), &snapshots, Some(&mut dice));
        if dice.roll(3) == 0 {
            // I8: a creation that is interrupted.
            for snapshot in &snapshots {
                let ios = dice.roll(7);
                drop(rig.open_partly(snapshot, ios));
            }
            rig = Rig::over(config(ORIGIN, scratch, window), rig.power_cut(&mut dice));
        }
        for snapshot in &snapshots {
            rig.attach(snapshot);
        }
        let errors = if dice.roll(3) == 0 { 10 + dice.roll(100) } else { 0 };
        let flushes_fail = dice.roll(2) == 0;
        let content = |size: u64| Model::new(1..=size);
        let mut models = BTreeMap::from([(0, content(ORIGIN))]);
        models.extend(snapshots.iter().map(|snapshot| (snapshot.id.0, content(snapshot.size))));
        Self {
            rig,
            dice,
            snapshots,
            models,
            under: BTreeMap::new(),
            merging: false,
            views: Vec::new(),
            stamp: 1_000_000,
            seed,
            errors,
            flushes_fail,
        }
    }

    fn is_invalid(&self, id: u32) -> bool {
        self.rig.group.store_status(crate::StoreId(id)) == Some(StoreStatus::Invalid)
    }

    fn volumes(&self) -> Vec<Volume> {
        let merging = self.merging;
        let snapshots = self.snapshots.iter().filter(|snapshot| !(merging && snapshot.id.0 == 1));
        std::iter::once(Volume::Origin)
            .chain(snapshots.chain(&self.views).map(|snapshot| Volume::Snapshot(snapshot.id)))
            .collect()
    }

    fn submit(&mut self) {
        let volumes = self.volumes();
        let volume = volumes[self.dice.roll(volumes.len() as u64) as usize];
        let model = self.models.get_mut(&key(volume)).unwrap();
        let longest = if self.dice.roll(5) == 0 { 64 } else { 12 };
        let len = (1 + self.dice.roll(longest)).min(model.size());
        let start = self.dice.roll(model.size() - len + 1);
        let fua = self.dice.roll(4) == 0;
        match self.dice.roll(10) {
            0 => {
                let certain = model.begin_flush();
                let id = self.rig.submit(volume, RequestKind::Flush, range(0, 0), &[]);
                self.under.insert(id, Under::Flush { volume, certain });
            }
            1..=3 => {
                let before = model.begin_read(start, len);
                let id = self.rig.submit(volume, RequestKind::Read, range(start, len), &[]);
                self.under.insert(id, Under::Read { volume, start, before });
            }
            _ => {
                let data: Vec<u64> = (0..len).map(|sector| self.stamp + sector).collect();
                self.stamp += len;
                model.begin_write(start, &data);
                let kind = RequestKind::Write { fua };
                let id = self.rig.submit(volume, kind, range(start, len), &data);
                self.under.insert(id, Under::Write { volume, start, data, fua });
            }
        }
    }

    fn answers(&mut self) {
        for (id, result) in std::mem::take(&mut self.rig.answers) {
            let under = self.under.remove(&id).unwrap();
            let volume = match &under {
                Under::Read { volume, .. } | Under::Write { volume, .. } | Under::Flush { volume, .. } => {
                    *volume
                }
            };
            if result == Err(Fault::Invalid) {
                assert!(self.is_invalid(key(volume)), "seed {}: {volume:?} is said to be invalid", self.seed);
            } else {
                assert!(result.is_ok() || self.errors > 0, "seed {}: {result:?}", self.seed);
            }
            let model = self.models.get_mut(&key(volume)).unwrap();
            match under {
                Under::Read { start, before, .. } if result.is_ok() => {
                    let stamps = self.rig.stamps(id);
                    model.end_read(start, &stamps, &before, &format!("seed {} {volume:?}", self.seed));
                }
                Under::Write { start, data, fua, .. } => model.end_write(start, &data, result.is_ok(), fua),
                Under::Flush { certain, .. } if result.is_ok() => model.end_flush(&certain),
                Under::Read { .. } | Under::Flush { .. } => {}
            }
        }
    }

    fn step(&mut self, submits: bool) {
        let busy = self.rig.handed.len() as u64;
        if submits && self.under.len() < 12 && (busy == 0 || self.dice.roll(3) == 0) {
            self.submit();
        } else if busy > 0 {
            let at = self.dice.roll(busy) as usize;
            let flush = matches!(self.rig.handed[at].1, Io::Flush { .. });
            if self.errors > 0 && self.dice.roll(self.errors) == 0 && (!flush || self.flushes_fail) {
                self.rig.fail(at, &mut self.dice);
            } else {
                self.rig.execute(at);
            }
            if self.errors > 0 && self.merging && self.dice.roll(20) == 0 {
                self.rig.group.resume_merge();
                self.rig.collect();
            }
        }
        self.answers();
    }

    fn run(&mut self, steps: u64) {
        for _ in 0..steps {
            self.step(true);
        }
    }

    /// Until nothing is under way.
    fn drain(&mut self) {
        while !self.rig.handed.is_empty() {
            self.step(false);
        }
        assert!(self.under.is_empty(), "seed {}: {} requests hang", self.seed, self.under.len());
    }

    fn start_merge(&mut self) {
        self.rig.group.hold();
        self.rig.collect();
        self.drain();
        assert!(self.rig.group.is_quiet(), "seed {}", self.seed);
        let first = self.snapshots[0].clone();
        if self.is_invalid(1) {
            assert!(self.rig.group.start_merge(first.id).is_err());
        } else {
            self.rig.group.start_merge(first.id).unwrap();
            if !self.merging {
                // The merged view: the snapshot, and the origin behind its end.
                let view = Model::joined(&self.models[&1], &self.models[&0]);
                self.models.insert(0, view);
            }
            self.merging = true;
        }
        self.rig.group.release();
        self.rig.collect();
    }

    /// A snapshot of the merged view, of what is durable in it.
    fn take_view(&mut self) {
        let failed = self.rig.group.merge_progress().is_none_or(|progress| progress.failed);
        if failed || self.errors > 0 || self.views.len() >= 2 {
            return;
        }
        self.rig.group.hold();
        self.rig.collect();
        self.drain();
        self.rig.group.pause_merge();
        self.rig.group.release();
        let frozen = self.rig.read_now(Volume::Origin, range(0, ORIGIN)).unwrap();
        self.models.get_mut(&0).unwrap().check_exact(&frozen, &format!("seed {}: a view", self.seed));
        let certain = self.models[&0].begin_flush();
        self.rig.flush_now(Volume::Origin).unwrap();
        self.models.get_mut(&0).unwrap().end_flush(&certain);
        self.rig.group.hold();
        self.rig.settle();
        self.rig.answers.clear();
        let id = 10 + self.views.len() as u32;
        let size = if self.dice.roll(4) == 0 { 60 + self.dice.roll(ORIGIN - 60) } else { ORIGIN };
        let mut view = Snapshot::new(id, size, 1 << self.dice.roll(6), 2000);
        view.block = 1 << self.dice.roll(3);
        self.rig.disks.insert(Space::Store(view.id), super::cache::Disk::new(view.store));
        self.rig.attach_view(&view);
        self.models.insert(id, Model::new(frozen.into_iter().take(size as usize)));
        self.views.push(view);
        self.rig.group.release();
        self.rig.group.resume_merge();
        self.rig.collect();
    }

    fn read_all(&mut self, what: &str, exact: bool) {
        for volume in self.volumes() {
            if key(volume) != 0 && self.is_invalid(key(volume)) {
                continue;
            }
            let size = self.models[&key(volume)].size();
            let stamps = self.rig.read_now(volume, range(0, size)).unwrap();
            self.rig.answers.clear();
            let what = format!("seed {} {what} {volume:?}", self.seed);
            let model = self.models.get_mut(&key(volume)).unwrap();
            if exact { model.check_exact(&stamps, &what) } else { model.check_and_settle(&stamps, &what) }
        }
    }

    /// The plug is pulled; everything is opened again.
    fn power_cut(mut self) -> Self {
        let snapshots = self.snapshots.clone();
        let was_invalid: Vec<bool> =
            snapshots.iter().map(|snapshot| self.is_invalid(snapshot.id.0)).collect();
        let (scratch, window) = (32 + self.dice.roll(6) * 40, 1 + self.dice.roll(80));
        let disks = self.rig.power_cut(&mut self.dice);
        self.errors = 0;
        self.rig = Rig::over(config(ORIGIN, scratch, window), disks);
        self.under.clear();
        for (snapshot, was_invalid) in snapshots.iter().zip(was_invalid) {
            self.rig.attach(snapshot);
            // I5: opening it again finds nothing to repair.
            let findings = self.rig.open(snapshot).unwrap();
            assert!(
                findings.findings().iter().all(|found| found.severity() != Severity::Repair),
                "seed {}",
                self.seed
            );
            let lost = self.is_invalid(snapshot.id.0);
            assert!(!lost || was_invalid, "seed {}: {:?} was valid", self.seed, snapshot.id);
        }
        if self.merging {
            self.rig.group.hold();
            self.rig.group.start_merge(snapshots[0].id).unwrap();
            self.rig.group.pause_merge();
            for view in self.views.clone() {
                self.rig.attach_view(&view);
            }
            self.rig.group.release();
            self.rig.collect();
        }
        self.read_all("after the power cut", false);
        self.rig.group.resume_merge();
        self.rig.collect();
        self
    }

    /// No more errors; what failed is tried again.
    fn calm(&mut self) {
        self.errors = if self.errors > 0 { u64::MAX } else { 0 };
        self.drain();
        self.rig.group.resume_merge();
        self.rig.collect();
        self.drain();
    }

    fn is_poisoned(&self) -> bool {
        let domains = self.snapshots.iter().chain(&self.views).map(|snapshot| FlushDomain(snapshot.domain));
        let domains: Vec<_> = domains.chain([super::ORIGIN_DOMAIN]).collect();
        self.rig.group.core.flushes.is_poisoned(&domains)
    }

    fn finish_merge(&mut self) {
        self.drain();
        let progress = self.rig.group.merge_progress().unwrap();
        assert!(progress.finished && !progress.failed, "seed {}: {progress:?}", self.seed);
        self.read_all("after the merge", true);
        let origin: Vec<u64> =
            (0..ORIGIN).map(|sector| super::stamp_of(&self.rig.disks[&Space::Origin].get(sector))).collect();
        self.models.get_mut(&0).unwrap().check_exact(&origin, "the origin itself");
    }
}

fn one_run(seed: u64) {
    let mut run = Run::new(seed);
    let steps = run.dice.roll(400);
    run.run(steps);
    if run.dice.roll(3) == 0 {
        run = run.power_cut();
        run.run(50);
    }
    if run.dice.roll(4) > 0 {
        run.start_merge();
        for _ in 0..run.dice.roll(4) {
            if !run.merging {
                break;
            }
            let steps = run.dice.roll(200);
            run.run(steps);
            if run.dice.roll(2) == 0 {
                run.take_view();
            }
            if run.dice.roll(2) == 0 {
                run = run.power_cut();
            }
        }
    }
    run.calm();
    if run.dice.roll(4) == 0 && run.errors > 0 {
        run = run.power_cut();
    }
    if run.is_poisoned() {
        run = run.power_cut();
    }
    if run.merging {
        run.finish_merge();
    }
    run.drain();
    run.read_all("at the end", true);
    assert!(run.rig.group.requests.is_empty() && run.rig.group.ops.is_empty(), "seed {seed}");
    run.rig.group.hold();
    run.rig.settle();
    assert!(run.rig.group.is_quiet(), "seed {seed}");
    let run = run.power_cut();
    drop(run);
}

#[test]
fn i1_i2_i3_every_volume_holds_what_the_model_says() {
    let runs = std::env::var("FOLDBACK_ENGINE_RUNS").ok().and_then(|runs| runs.parse().ok()).unwrap_or(1500);
    let first = std::env::var("FOLDBACK_ENGINE_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(0);
    for seed in first..first + runs {
        let outcome = std::panic::catch_unwind(|| one_run(seed));
        assert!(outcome.is_ok(), "repeat with FOLDBACK_ENGINE_SEED={seed} FOLDBACK_ENGINE_RUNS=1");
    }
}

/// A harness that does not see a broken rule proves nothing: each planted bug must be caught.
#[cfg(feature = "planted-bugs")]
#[test]
fn every_planted_bug_is_caught() {
    let mut missed = Vec::new();
    std::panic::set_hook(Box::new(|_| {}));
    // It wastes room and changes no content: the simulator, which knows who may run full, sees it.
    let seen_elsewhere = crate::planted::Bug::BulkCopyOutViews;
    for bug in crate::planted::Bug::ALL.into_iter().filter(|bug| *bug != seen_elsewhere) {
        crate::planted::set(Some(bug));
        let caught = (0..4000).find(|&seed| std::panic::catch_unwind(|| one_run(seed)).is_err());
        crate::planted::set(None);
        match caught {
            Some(seed) => eprintln!("{bug:?}: seed {seed}"),
            None => missed.push(bug),
        }
    }
    drop(std::panic::take_hook());
    assert_eq!(missed, []);
}
