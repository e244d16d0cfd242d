//! From one power cut to the next: how lives begin and end, and what must hold in the end.
//!
//! What must hold:
//! - After a power cut the disks read as the judge allows; what they read as is from then on certain (I2).
//! - In the end the origin reads as the merged snapshot did plus what was written since, the others are as they were,
//!   and nothing is left in the merged store.

use super::control::MERGED;
use super::drive::{Drive, Purpose, Stop};
use crate::report::{Failure, Scene};
use foldback_engine::{Group, RequestKind, Space, StoreStatus, Volume};
use foldback_testkit::cow::load;
use foldback_testkit::{Cut, FaultKind, InjectedFault};

/// Lives in one run: cuts, kills after errors, the last.
const MAX_LIVES: u64 = 40;

impl Drive {
    /// The whole run.
    pub(crate) fn run(&mut self) -> Result<(), Failure> {
        self.refresh();
        if self.scenario.merge && self.scenario.merge_first {
            self.mark_merge()?;
        }
        for life in 0..MAX_LIVES {
            self.prepare(life);
            let stop = self.life()?;
            self.note(|_| format!("life {life} ends: {stop:?}"));
            match stop {
                Stop::Done if self.last_life => return self.finish(),
                Stop::Done | Stop::Cut => self.cut_power()?,
                Stop::Kill => self.kill()?,
            }
        }
        Err(Failure::new("liveness", format!("no end after {MAX_LIVES} lives")))
    }

    /// Lives in which nothing is done but to open the stores.
    #[cfg(test)]
    pub(crate) fn only_open(&mut self, lives: u64) -> Result<(), Failure> {
        for life in 0..lives {
            self.prepare(life);
            self.stop_in = Some((self.rng.below(60), Stop::Cut));
            self.group = Some(self.new_group()?);
            self.refresh();
            if self.open_stores(&self.present(false))? == Some(Stop::Kill) {
                self.kill()?;
            } else {
                self.cut_power()?;
            }
        }
        Ok(())
    }

    /// When this life ends, and which errors it meets.
    fn prepare(&mut self, life: u64) {
        self.life = life;
        self.last_life = life >= self.scenario.cuts;
        self.trouble = false;
        self.resumes = 0;
        self.stop_in = (!self.last_life).then(|| {
            let reach = *self.rng.pick(&[10, 40, 150, 600]);
            let stop = if self.scenario.kills && self.rng.one_in(2) { Stop::Kill } else { Stop::Cut };
            (self.rng.below(reach), stop)
        });
        if self.faults_left > 0 && self.rng.percent(60) {
            self.faults_left -= 1;
            let kinds =
                [FaultKind::Any, FaultKind::Read, FaultKind::Write, FaultKind::Write, FaultKind::Flush];
            let kind = *self.rng.pick(&kinds);
            let fault = InjectedFault {
                kind,
                disk: None,
                after: self.rng.below(if kind == FaultKind::Flush { 10 } else { 60 }),
                times: if self.rng.one_in(4) { self.rng.between(2, 6) } else { 1 },
            };
            self.note(|_| format!("{fault:?}"));
            self.runner.set.inject(fault);
        }
    }

    fn life(&mut self) -> Result<Stop, Failure> {
        self.group = Some(self.new_group()?);
        self.refresh();
        if let Some(stop) = self.open_stores(&self.present(false))? {
            return Ok(stop);
        }
        self.refresh();
        if self.has_merge() {
            let views = self.present(true);
            // Nothing may be written before all snapshots are there.
            self.group.iter_mut().filter(|_| !views.is_empty()).for_each(Group::hold);
            self.start_merge()?;
            if let Some(stop) = self.open_stores(&views)? {
                return Ok(stop);
            }
            self.refresh();
            self.group.iter_mut().for_each(Group::release);
        }
        self.live()
    }

    fn count_group(&mut self) {
        let Some(group) = &self.group else { return };
        let counters = *group.counters();
        self.scenes.add(Scene::CopyOut, counters.chunks_copied_out);
        self.scenes.add(Scene::WriteHeld, counters.writes_held);
        self.scenes.add(Scene::Window, counters.windows);
        self.scenes.add(Scene::DualWrite, counters.written_both_ways);
        self.scenes.add(Scene::Recopy, counters.chunks_recopied);
        let invalid = |store| group.store_status(store) == Some(StoreStatus::Invalid);
        for (store, facts) in &self.facts.stores {
            if invalid(*store) {
                let scene = if facts.may_be_invalid { Scene::StoreFailed } else { Scene::Overflow };
                self.scenes.saw(scene);
            }
        }
    }

    /// What there is of a life that does not survive it.
    fn drop_group(&mut self) {
        self.count_group();
        self.group = None;
        self.openings.clear();
        self.holding = None;
        self.paused = false;
        self.runner.forget();
        self.outstanding.clear();
        self.now += 1;
    }

    fn cut_power(&mut self) -> Result<(), Failure> {
        self.scenes.saw(Scene::Cut);
        let merging = self.has_merge() && !self.merge_is_finished();
        self.scenes.saw_if(merging, Scene::CutInMerge);
        self.scenes.saw_if(merging && !self.present(true).is_empty(), Scene::CutUnderView);
        let image = self.runner.set.cut(None);
        let views = self.facts.judge(&image)?;
        self.drop_group();
        for (volume, view) in views {
            if let Some(model) = self.facts.models.get_mut(&volume) {
                model.collapse(&view);
            }
        }
        self.runner.set.restart(image);
        Ok(())
    }

    /// I/Os under way reach the disks or not; caches keep what they have.
    fn kill(&mut self) -> Result<(), Failure> {
        self.scenes.saw(Scene::Killed);
        let landing = self.rng.below(1 + self.runner.set.under_way() as u64);
        for _ in 0..landing {
            self.runner.set.step();
        }
        self.runner.set.abandon();
        self.runner.set.reopen();
        self.runner.set.clear_faults();
        let image = self.runner.set.visible();
        let views = self.facts.judge(&image)?;
        self.drop_group();
        for (volume, view) in views {
            if let Some(model) = self.facts.models.get_mut(&volume) {
                model.adopt(&view, self.now);
            }
        }
        self.now += 1;
        Ok(())
    }

    /// Reads everything once more, makes it durable, and looks at what is left.
    fn finish(&mut self) -> Result<(), Failure> {
        self.runner.set.clear_faults();
        let volumes: Vec<(Volume, u64)> = self.facts.models.iter().map(|(v, m)| (*v, m.len())).collect();
        for (volume, len) in volumes {
            self.ask(volume, RequestKind::Read, 0, len, false);
            self.ask(volume, RequestKind::Flush, 0, 0, false);
        }
        match self.live()? {
            Stop::Done => {}
            stop => return Err(Failure::new("liveness", format!("the end does not come: {stop:?}"))),
        }
        if self.has_merge() {
            self.judge_finished()?;
        }
        self.hold(Purpose::Nothing);
        self.live()?;
        self.count_group();
        let image = self.runner.set.cut(Some(Cut::LoseAll));
        self.facts.judge(&image).map(|_| ())
    }

    fn judge_finished(&mut self) -> Result<(), Failure> {
        let image = self.runner.set.cut(Some(Cut::LoseAll));
        let left =
            load(&self.facts.maps[&Space::Store(MERGED)].gather(&image)).map(|loaded| loaded.records.len());
        if left != Ok(0) {
            return Err(Failure::new(
                "I9",
                format!("the merge is finished and {left:?} records are visible"),
            ));
        }
        match self.group.as_ref().and_then(|group| group.store_status(MERGED)) {
            Some(StoreStatus::Valid { allocated, metadata, .. }) if allocated == metadata => {}
            other => {
                let what = format!("the merge is finished and the status is {other:?}");
                return Err(Failure::new("I9", what));
            }
        }
        self.hold(Purpose::EndMerge);
        match self.live()? {
            Stop::Done => Ok(()),
            stop => Err(Failure::new("liveness", format!("the merge is over: {stop:?}"))),
        }
    }
}
