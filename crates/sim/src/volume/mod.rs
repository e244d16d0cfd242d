//! Level 2: a VG on one or two PVs, changed by the manager's own code, the power cut after any operation.

mod change;
mod commits;
mod host;
mod meddler;
mod merges;
mod reader;
mod vg_world;

pub use meddler::DiskBug;

use crate::report::{RunReport, Scenes};
use foldback_testkit::Rng;

/// One run.
pub(crate) fn run(seed: u64, traced: bool, bug: Option<DiskBug>) -> RunReport {
    let mut rng = Rng::new(seed);
    let mut scenes = Scenes::default();
    if rng.one_in(2) {
        let mut merges = merges::Merges::new(seed, &mut rng, traced, bug);
        let failure = merges.run(&mut rng, &mut scenes).err();
        return RunReport {
            seed,
            steps: merges.steps,
            scenes,
            failure,
            trace: merges.trace.unwrap_or_default(),
        };
    }
    let mut commits = commits::Commits::new(seed, &mut rng, traced, bug);
    let failure = commits.run(&mut rng, &mut scenes).err();
    RunReport { seed, steps: commits.steps, scenes, failure, trace: commits.trace.unwrap_or_default() }
}
