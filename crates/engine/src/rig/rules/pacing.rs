//! Pace, pause, and how short a hold is.

use super::super::range;
use super::merging::{check_merged, filled, is_finished, origin_write, start};
use crate::Volume;
use foldback_units::Sectors;

#[test]
fn a_paced_merge_moves_no_more_than_its_allowance_in_windows_of_that_length() {
    let chunks: Vec<u64> = (0..48).map(|step| step * 7 % 48).collect();
    let mut rig = filled(&chunks, 128, &[]);
    rig.group.set_merge_pace(Some(Sectors::ZERO));
    start(&mut rig);
    rig.settle();
    let left = |rig: &super::super::Rig| rig.group.merge_progress().unwrap().chunks_left;
    assert_eq!((left(&rig), rig.group.merge_is_idle()), (48, true));
    for round in 1..=5 {
        rig.group.add_merge_budget(Sectors(16));
        rig.settle();
        assert_eq!((left(&rig), rig.group.counters().windows), (48 - 2 * round, round));
    }
    // A whole window of 16 chunks is the most that piles up.
    for _ in 0..100 {
        rig.group.add_merge_budget(Sectors(7));
    }
    rig.settle();
    assert!(left(&rig) > 0, "what was added at once is not all used at once");
    rig.group.set_merge_pace(None);
    rig.settle();
    assert!(is_finished(&rig));
    check_merged(&rig, &chunks);
}

#[test]
fn a_paused_merge_closes_its_windows_while_requests_go_on_and_then_a_hold_is_quiet_at_once() {
    let chunks: Vec<u64> = (0..48).collect();
    let mut rig = filled(&chunks, 64, &[]);
    start(&mut rig);
    rig.execute(0);
    rig.group.pause_merge();
    assert!(!rig.group.merge_is_idle());
    rig.write_now(Volume::Origin, range(392, 1), &[393]).unwrap();
    assert!(rig.group.merge_is_idle() && !is_finished(&rig));
    rig.group.hold();
    rig.collect();
    assert!(rig.handed.is_empty() && rig.group.is_quiet());
    rig.group.release();
    rig.settle();
    assert!(!is_finished(&rig), "paused still");
    rig.group.resume_merge();
    rig.settle();
    assert!(is_finished(&rig));
    check_merged(&rig, &chunks);
}

#[test]
fn a_merge_that_is_retried_stays_paused() {
    let mut rig = filled(&[3, 9, 5, 7], 8, &[]);
    start(&mut rig);
    let mut dice = super::super::Dice(3);
    rig.execute_all(|io| !origin_write(io));
    rig.fail(0, &mut dice);
    rig.settle();
    assert!(rig.group.merge_progress().unwrap().failed);
    rig.group.pause_merge();
    rig.group.retry_merge();
    rig.settle();
    let progress = rig.group.merge_progress().unwrap();
    assert!(
        !progress.failed && !progress.finished && progress.chunks_left < 4,
        "the window is closed: {progress:?}"
    );
    rig.group.resume_merge();
    rig.settle();
    assert!(is_finished(&rig));
}
