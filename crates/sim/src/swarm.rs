//! Many runs on a few threads.
//!
//! What must hold:
//! - Run `i` of seed `S` is run 0 of seed `S + i`: one number repeats it.
//! - The failure that is reported is the one with the lowest seed of those that were found.

use crate::group;
use crate::live::{self, LiveBug};
use crate::report::{Failure, RunReport, Scene, Scenes};
use crate::volume::{self, DiskBug};
use foldback_engine::planted::{self, Bug};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// What is simulated.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Level {
    /// The engine: one origin group.
    Engine,
    /// The executor and the metadata commit: a VG on its PVs.
    Volume,
    /// Operations on live volumes, and the daemon that dies.
    Live,
}

/// What to run.
#[derive(Clone, Copy, Debug)]
pub struct Swarm {
    /// The first seed.
    pub seed: u64,
    /// How many runs.
    pub runs: u64,
    /// Which level; none: of eight seeds one is a volume's and one is of the live operations, the others are the
    /// engine's.
    pub level: Option<Level>,
    /// On how many threads.
    pub threads: u64,
    /// With this bug planted.
    pub bug: Option<Planted>,
}

/// A rule that is broken on purpose.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Planted {
    /// In the engine.
    Engine(Bug),
    /// Between the manager and its disks.
    Disk(DiskBug),
    /// In whoever drives live volumes.
    Live(LiveBug),
}

impl Planted {
    /// All of them.
    pub fn all() -> Vec<Self> {
        let engine = Bug::ALL.iter().copied().map(Self::Engine);
        let disk = DiskBug::ALL.iter().copied().map(Self::Disk);
        engine.chain(disk).chain(LiveBug::ALL.iter().copied().map(Self::Live)).collect()
    }

    /// Its name on the command line.
    pub fn name(self) -> String {
        match self {
            Self::Engine(bug) => format!("{bug:?}"),
            Self::Disk(bug) => format!("{bug:?}"),
            Self::Live(bug) => format!("{bug:?}"),
        }
    }

    /// The level at which it can be seen.
    pub fn level(self) -> Level {
        match self {
            Self::Engine(_) => Level::Engine,
            Self::Disk(_) => Level::Volume,
            Self::Live(_) => Level::Live,
        }
    }
}

/// What came of it.
#[derive(Clone, Debug, Default)]
pub struct Total {
    /// Runs that were carried out.
    pub runs: u64,
    /// Events in all of them.
    pub steps: u64,
    /// What they came across.
    pub scenes: Scenes,
    /// The first that failed.
    pub failed: Option<RunReport>,
}

impl Total {
    fn add(&mut self, report: RunReport) {
        self.runs += 1;
        self.steps += report.steps;
        self.scenes.merge(&report.scenes);
        if report.failure.is_some() && self.failed.as_ref().is_none_or(|first| report.seed < first.seed) {
            self.failed = Some(report);
        }
    }

    /// What no run came across.
    pub fn unseen(&self, level: Option<Level>) -> Vec<Scene> {
        let belongs = |scene: &Scene| level.is_none_or(|level| scene.level() == level);
        Scene::ALL.iter().copied().filter(|scene| belongs(scene) && self.scenes.count(*scene) == 0).collect()
    }
}

impl Swarm {
    /// One run of this swarm.
    pub fn run_one(&self, seed: u64, traced: bool) -> RunReport {
        let (engine_bug, disk_bug, live_bug) = match self.bug {
            Some(Planted::Engine(bug)) => (Some(bug), None, None),
            Some(Planted::Disk(bug)) => (None, Some(bug), None),
            Some(Planted::Live(bug)) => (bug.in_engine(), None, Some(bug)),
            None => (None, None, None),
        };
        planted::set(engine_bug);
        let level = self.level.unwrap_or(match seed % 8 {
            3 => Level::Volume,
            7 => Level::Live,
            _ => Level::Engine,
        });
        let run = std::panic::catch_unwind(|| match level {
            Level::Engine => group::run(seed, traced),
            Level::Volume => volume::run(seed, traced, disk_bug),
            Level::Live => live::run(seed, traced, live_bug),
        });
        run.unwrap_or_else(|_| RunReport {
            seed,
            steps: 0,
            scenes: Scenes::default(),
            failure: Some(Failure::new("panic", "the code under test panicked; its message is above")),
            trace: Vec::new(),
        })
    }

    /// All of them, until one fails.
    pub fn run(&self) -> Total {
        let next = AtomicU64::new(0);
        let stop = AtomicBool::new(false);
        let total = Mutex::new(Total::default());
        std::thread::scope(|scope| {
            for _ in 0..self.threads.max(1) {
                scope.spawn(|| self.work(&next, &stop, &total));
            }
        });
        total.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn work(&self, next: &AtomicU64, stop: &AtomicBool, total: &Mutex<Total>) {
        let mut mine = Total::default();
        while !stop.load(Ordering::Relaxed) {
            let index = next.fetch_add(1, Ordering::Relaxed);
            if index >= self.runs {
                break;
            }
            let report = self.run_one(self.seed.wrapping_add(index), false);
            if report.failure.is_some() {
                stop.store(true, Ordering::Relaxed);
            }
            mine.add(report);
        }
        let mut total = total.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        total.runs += mine.runs;
        total.steps += mine.steps;
        total.scenes.merge(&mine.scenes);
        let earlier = match (&total.failed, &mine.failed) {
            (Some(theirs), Some(ours)) => ours.seed < theirs.seed,
            (None, Some(_)) => true,
            (_, None) => false,
        };
        if earlier {
            total.failed = mine.failed;
        }
    }
}
