//! Level 3: the live operations of a VG, several origins with their snapshots, over the manager's own plans and the real
//! user-dm: power cuts, kills of the daemon, errors and verbs that fail, at any moment.

mod bug;
mod choice;
mod end;
mod facts;
mod judge;
mod life;
mod op;
mod recover;
mod requests;
mod seen;
mod stores;
mod switch;
mod world;

pub use bug::LiveBug;

use crate::report::{Failure, RunReport, Scene, Scenes};
use facts::Facts;
use foldback_dm_table::Verb;
use foldback_testkit::{Image, Moment, Order, Rng, SimDisks};
use foldback_units::LvmUuid;
use foldback_user_dm::Settings;
use std::collections::{BTreeMap, BTreeSet};

/// What outlives a process: the disks, what is known of them, and what the daemon writes down.
pub(crate) struct Run {
    seed: u64,
    bug: Option<LiveBug>,
    physical: Vec<u64>,
    settings: Settings,
    facts: Facts,
    /// What a transaction under way would make of it, and what its recovery would.
    coming: Vec<Facts>,
    /// Origins whose groups are active (`active.json`).
    active: BTreeSet<LvmUuid>,
    /// How groups were brought up first.
    first_verbs: BTreeMap<LvmUuid, Vec<Verb>>,
    now: Moment,
    next_write: u64,
    transactions: u64,
    names: u64,
    steps: u64,
    trace: Option<Vec<String>>,
}

impl Run {
    fn note(&mut self, line: impl FnOnce() -> String) {
        if let Some(trace) = &mut self.trace {
            trace.push(format!("{:>5} {}", self.steps, line()));
        }
    }

    /// What is found after a life, by the judge: the VG as before or as after, and the volumes as that says.
    fn restart(&mut self, disks: &SimDisks, scenes: &mut Scenes) -> Result<SimDisks, Failure> {
        let killed = disks.is_killed();
        let image = if killed {
            disks.revive();
            disks.visible()
        } else {
            disks.power_off(None)
        };
        self.find(&image)?;
        let contents = self.facts.judge(&image)?;
        self.now += 1;
        for (id, seen) in &contents {
            let now = self.now;
            let volume = self.facts.volume(id)?;
            if killed {
                volume.model.adopt(seen, now);
            } else {
                volume.model.collapse(seen);
            }
        }
        self.now += 1;
        if killed {
            scenes.saw(Scene::LiveKilled);
            return Ok(disks.clone());
        }
        scenes.saw(Scene::LiveCut);
        self.active.clear();
        Ok(self.disks_on(image, Order::Any))
    }

    /// Which of the states that are possible the text is in.
    fn find(&mut self, image: &Image) -> Result<(), Failure> {
        let text = crate::volume::vg_world::read_text(image)?;
        let coming = std::mem::take(&mut self.coming);
        if self.facts.text != text {
            let Some(after) = coming.into_iter().find(|coming| coming.text == text) else {
                let what = format!("seqno {} with a text that is none of those that may be", text.seqno);
                return Err(Failure::new("commit", what));
            };
            self.facts = after;
        }
        self.facts.found = crate::volume::vg_world::found_on(image)?;
        seen::check(&self.facts)
    }

    fn disks_on(&self, image: Image, order: Order) -> SimDisks {
        SimDisks::new(image, &self.physical, order, self.seed ^ (self.steps + 1) << 24)
    }
}

/// One run.
pub(crate) fn run(seed: u64, traced: bool, bug: Option<LiveBug>) -> RunReport {
    let mut rng = Rng::new(seed);
    let mut scenes = Scenes::default();
    let (steps, trace, failure) = match world::make(seed, traced, bug, &mut rng) {
        Err(failure) => (0, None, Some(failure)),
        Ok((mut run, disks)) => {
            let failure = lives(&mut run, disks, &mut rng, &mut scenes).err();
            (run.steps, run.trace, failure)
        }
    };
    RunReport { seed, steps, scenes, failure, trace: trace.unwrap_or_default() }
}

fn lives(run: &mut Run, first: SimDisks, rng: &mut Rng, scenes: &mut Scenes) -> Result<(), Failure> {
    let mut disks = first;
    let lives = rng.between(2, 5);
    for number in 0..lives {
        let last = number + 1 == lives;
        let mut life = life::Life::new(run, &disks, rng, scenes, last)?;
        let ended = life.run();
        life.spread_faults();
        let faulty = life.is_faulty();
        scenes.saw_if(faulty, Scene::LiveFaulty);
        run.note(|| format!("life {number} ends, off {}, faulty {faulty}: {ended:?}", disks.is_off()));
        if let Err(failure) = ended
            && (failure.invariant != "setup" || !(disks.is_off() || faulty))
        {
            return Err(failure);
        }
        if last {
            break;
        }
        if !disks.is_off() && rng.one_in(2) {
            disks.kill_after(0);
        }
        disks = run.restart(&disks, scenes)?;
    }
    Ok(())
}
