//! The poller (lvm2.md 2.10): it ends what runs, and begins nothing.

use super::fake::{Ear, FakeHost, Until, bring_up, filled, host, names, origin, run, run_poll};
use crate::activation::Group;
use crate::job::{MergeOutcome, Observer, Polled, Progress};
use crate::ops::Notice;
use crate::testing::{Bench, TestEnvironment, lv_name, uuid};
use foldback_dm_table::DmName;
use foldback_lvm2_format::vg::Vg;
use foldback_testkit::{Sector, SimDisks};
use std::ops::ControlFlow;

/// lvm2.md 2.8: the end is one commit, and the origin's device stays up without a merge.
#[test]
fn a_merge_that_runs_is_ended_once() {
    let (image, expected) = filled();
    let mut host = host(image, 1);
    let mut ear = Ear { stop_after: Some(3), ..Ear::default() };
    assert_eq!(run(&mut host, &mut ear).unwrap(), MergeOutcome::Stopped);
    let mut ear = Ear::default();
    assert_eq!(run_poll(&mut host, &mut ear).unwrap(), Polled::NotActive);
    bring_up(&mut host, |group| group);
    assert_eq!(run_poll(&mut host, &mut ear).unwrap(), Polled::Finished);
    assert_eq!((ear.commits, ear.said.len()), (1, 2));
    let after = host.mapper.disks.visible();
    assert!(origin(&after) == expected);
    assert_eq!(names(&after), ["root"]);
    assert_eq!(host.mapper.devices.len(), 1, "the origin stays up, alone");
    assert_eq!(run_poll(&mut host, &mut ear).unwrap(), Polled::NotMerging);
    assert_eq!(ear.commits, 1);
}

/// A merge that waits for its volumes to be closed, and a snapshot that was never marked, or is not any more.
#[test]
fn what_does_not_run_is_left_alone() {
    let (image, _) = filled();
    let mut fresh = host(image.clone(), 1);
    bring_up(&mut fresh, |group| group);
    assert_eq!(run_poll(&mut fresh, &mut Ear::default()).unwrap(), Polled::NotMerging);
    let mut marked = host(image, 2);
    let mut ear = Ear { stop_after: Some(0), ..Ear::default() };
    assert_eq!(run(&mut marked, &mut ear).unwrap(), MergeOutcome::Stopped);
    bring_up(&mut marked, Group::while_deferred);
    let mut ear = Ear::default();
    assert_eq!(run_poll(&mut marked, &mut ear).unwrap(), Polled::Waits);
    assert_eq!((ear.commits, ear.said.len()), (0, 0));
    assert_eq!(names(&marked.mapper.disks.visible()), ["root", "snap", "snapshot0"]);
}

/// Changes the VG in the moment in which the kernel is done.
struct Rival {
    ear: Ear,
    disks: SimDisks,
    paths: Vec<String>,
    change: fn(&mut Vg),
}

impl Observer for Rival {
    fn notice(&mut self, notice: Notice) {
        self.ear.notice(notice);
    }

    fn progress(&mut self, progress: &Progress) -> ControlFlow<()> {
        if progress.chunks_left == 0 {
            let (disks, paths) = (self.disks.clone(), self.paths.clone());
            let mut bench = Bench { disks, paths, environment: TestEnvironment::new() };
            bench.change(self.change).unwrap();
        }
        ControlFlow::Continue(())
    }

    fn committed(&mut self, vg: &Vg) {
        self.ear.committed(vg);
    }
}

/// A merge that the kernel is about to end, and who comes first.
fn raced(seed: u64, change: fn(&mut Vg)) -> (FakeHost, Rival, Vec<Sector>) {
    let (image, expected) = filled();
    let mut host = host(image, seed);
    let mut ear = Ear { stop_after: Some(3), ..Ear::default() };
    assert_eq!(run(&mut host, &mut ear).unwrap(), MergeOutcome::Stopped);
    bring_up(&mut host, |group| group);
    let (disks, paths) = (host.mapper.disks.clone(), host.mapper.paths.clone());
    (host, Rival { ear: Ear::default(), disks, paths, change }, expected)
}

/// lvm2.md 2.10: whoever ends it first has ended it, and removed the snapshot; between the kernel's last chunk and this job's
/// lock as well as before it looks.
#[test]
fn a_merge_that_somebody_else_ends_is_ended_once() {
    let (mut host, mut rival, expected) = raced(4, |vg| vg.lvs.retain(|lv| lv.name.as_str() == "root"));
    assert_eq!(run_poll(&mut host, &mut rival).unwrap(), Polled::Finished);
    assert_eq!(rival.ear.commits, 0, "by the other one");
    let after = host.mapper.disks.visible();
    assert!(origin(&after) == expected && names(&after) == ["root"]);
    assert_eq!(run_poll(&mut host, &mut rival).unwrap(), Polled::NotMerging);
}

/// lvm2.md 2.8: by its UUID. Somebody else has ended it and taken another snapshot of that name, which merges, too.
#[test]
fn another_merge_of_that_name_is_not_ended() {
    let (mut host, mut rival, _) = raced(5, |vg| vg.lv_mut(&lv_name("snap")).unwrap().id = uuid(99));
    assert_eq!(run_poll(&mut host, &mut rival).unwrap(), Polled::Finished, "the one that was looked at");
    assert_eq!(rival.ear.commits, 0, "and nothing of the other one");
    assert_eq!(names(&host.mapper.disks.visible()), ["root", "snap", "snapshot0"]);
}

/// Nothing is tried again by itself: whoever gives the command anew has to.
#[test]
fn a_merge_that_has_failed_is_tried_again_by_each_command() {
    for (polls, until) in
        [(true, Until::Resumed), (false, Until::Resumed), (true, Until::MadeAnew), (false, Until::MadeAnew)]
    {
        let (image, expected) = filled();
        let mut host = host(image, 3);
        let mut ear = Ear { stop_after: Some(3), ..Ear::default() };
        assert_eq!(run(&mut host, &mut ear).unwrap(), MergeOutcome::Stopped);
        bring_up(&mut host, |group| group);
        host.mapper.failed = Some((DmName("vg-root".to_owned()), until));
        // The kernel's device stays with who uses it.
        host.mapper.used = true;
        if until == Until::MadeAnew {
            assert!(
                run_poll(&mut host, &mut Ear::default()).unwrap_err().to_string().contains("Merge failed")
            );
        }
        host.mapper.used = until == Until::Resumed;
        let mut ear = Ear::default();
        if polls {
            assert_eq!(run_poll(&mut host, &mut ear).unwrap(), Polled::Finished);
        } else {
            assert_eq!(run(&mut host, &mut ear).unwrap(), MergeOutcome::Finished);
        }
        assert!(origin(&host.mapper.disks.visible()) == expected, "by the poller: {polls}");
    }
}
