//! Level 2: a VG on one or two PVs, changed by the manager's own code, the power cut after any operation.

pub(crate) mod change;
mod commits;
mod host;
pub(crate) mod meddler;
mod merges;
pub(crate) mod reader;
pub(crate) mod vg_world;

pub use meddler::DiskBug;

use crate::report::{RunReport, Scenes};
use foldback_testkit::Rng;

/// One run.
pub(crate) fn run(seed: u64, traced: bool, bug: Option<DiskBug>) -> RunReport {
    let mut rng = Rng::new(seed);
    let mut scenes = Scenes::default();
    let report = |steps, scenes, failure, trace: Option<Vec<String>>| RunReport {
        seed,
        steps,
        scenes,
        failure,
        trace: trace.unwrap_or_default(),
    };
    if rng.one_in(2) {
        let mut merges = merges::Merges::new(seed, &mut rng, traced, bug);
        let failure = merges.run(&mut rng, &mut scenes).err();
        report(merges.steps, scenes, failure, merges.trace)
    } else {
        let mut commits = commits::Commits::new(seed, &mut rng, traced, bug);
        let failure = commits.run(&mut rng, &mut scenes).err();
        report(commits.steps, scenes, failure, commits.trace)
    }
}
