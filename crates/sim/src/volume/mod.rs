//! Level 2: a VG on one or two PVs, changed by the manager's own code, the power cut after any operation.

mod change;
mod commits;
mod host;
mod live;
mod live_facts;
mod live_world;
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
    let report = |steps, scenes, failure, trace: Option<Vec<String>>| RunReport {
        seed,
        steps,
        scenes,
        failure,
        trace: trace.unwrap_or_default(),
    };
    match rng.below(3) {
        0 => {
            let mut merges = merges::Merges::new(seed, &mut rng, traced, bug);
            let failure = merges.run(&mut rng, &mut scenes).err();
            report(merges.steps, scenes, failure, merges.trace)
        }
        1 => match live::Live::new(seed, &mut rng, traced, bug) {
            Err(failure) => report(0, scenes, Some(failure), None),
            Ok(mut live) => {
                let failure = live.run(&mut rng, &mut scenes).err();
                report(live.steps, scenes, failure, live.trace)
            }
        },
        _ => {
            let mut commits = commits::Commits::new(seed, &mut rng, traced, bug);
            let failure = commits.run(&mut rng, &mut scenes).err();
            report(commits.steps, scenes, failure, commits.trace)
        }
    }
}
