//! Level 1: one origin group of the engine on simulated disks.
//!
//! A run is a row of lives. Each opens the stores, serves requests and merges until the power is cut or the process
//! is killed; the last goes on to the end. After every cut, and at many moments between, the judge reads the disks.

mod control;
mod damaged;
mod drive;
mod foreground;
mod full;
mod judge;
mod lives;
mod opening;
mod runner;
mod scenario;
mod world;

use crate::report::{RunReport, Scenes};
use foldback_testkit::Rng;

/// One run.
pub(crate) fn run(seed: u64, traced: bool) -> RunReport {
    let mut rng = Rng::new(seed);
    let scenario = scenario::Scenario::draw(&mut rng);
    let mut scenes = Scenes::default();
    let damaged = if scenario.damaged { damaged::is_refused(&mut rng.fork(), &mut scenes) } else { Ok(()) };
    let drive = damaged.and_then(|()| drive::Drive::new(scenario, rng, scenes, traced));
    match drive {
        Err(failure) => {
            RunReport { seed, steps: 0, scenes: Scenes::default(), failure: Some(failure), trace: Vec::new() }
        }
        Ok(mut drive) => {
            let failure = drive.run().err();
            drive.report(seed, failure)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{drive::Drive, scenario::Scenario};
    use crate::report::{Scene, Scenes};
    use foldback_testkit::Rng;

    /// W1, C6, I8: opening, cut short again and again, scrubs what is stale and creates what is blank.
    #[test]
    fn stores_are_opened_through_any_number_of_power_cuts() {
        let mut seen = Scenes::default();
        for seed in 0..300 {
            let mut rng = Rng::new(seed);
            let scenario = Scenario::draw(&mut rng);
            let mut drive = Drive::new(scenario, rng, Scenes::default(), false).unwrap();
            let opened = drive.only_open(4);
            assert_eq!(opened, Ok(()), "seed {seed}");
            seen.merge(&drive.scenes);
        }
        for scene in [Scene::StaleTail, Scene::StoreCreated, Scene::CutInOpen, Scene::CutInRecovery] {
            assert!(seen.count(scene) > 0, "{}", scene.words());
        }
    }
}
