//! A short simulation of each level, so that the ordinary tests cover it. The test command makes the long one.
#![allow(clippy::panic, clippy::expect_used, reason = "a test")]

use sim::{Level, Scene, Swarm, Total};

fn run(level: Level, runs: u64) -> Total {
    let total = Swarm { seed: 1, runs, level: Some(level), threads: 2, bug: None }.run();
    if let Some(report) = &total.failed {
        let failure = report.failure.as_ref().expect("a failed run has a failure");
        panic!("seed {} at step {}: {failure}", report.seed, report.steps);
    }
    assert_eq!(total.runs, runs);
    total
}

/// I1 to I10 of dm-snapshot.md 3.5.
#[test]
fn two_hundred_origin_groups_survive() {
    let total = run(Level::Engine, 200);
    for scene in [Scene::Cut, Scene::MergeFinished, Scene::CutInRecovery, Scene::EioWrite, Scene::CopyOut] {
        assert!(total.scenes.count(scene) > 0, "never seen: {}", scene.words());
    }
}

/// lvm2.md 1.6.
#[test]
fn fifty_vgs_survive() {
    let total = run(Level::Volume, 50);
    for scene in [Scene::VgCut, Scene::VgReverted, Scene::VgAdvanced] {
        assert!(total.scenes.count(scene) > 0, "never seen: {}", scene.words());
    }
}

/// architecture.md, "Merging" and "Who touches what".
#[test]
fn forty_vgs_with_live_volumes_survive() {
    let total = run(Level::Live, 40);
    for scene in [Scene::LiveKilled, Scene::LiveView, Scene::LiveKept, Scene::LiveGoneOn] {
        assert!(total.scenes.count(scene) > 0, "never seen: {}", scene.words());
    }
}

/// A failure is worth nothing if it cannot be repeated.
#[test]
fn a_seed_repeats_its_run() {
    for (level, seed) in [(Level::Engine, 11), (Level::Engine, 12), (Level::Volume, 13), (Level::Live, 14)] {
        let swarm = Swarm { seed, runs: 1, level: Some(level), threads: 1, bug: None };
        let (first, second) = (swarm.run_one(seed, true), swarm.run_one(seed, true));
        assert_eq!(first.trace, second.trace);
        assert_eq!(first.steps, second.steps);
    }
}
